//! Whether requests may change things. The mode is kept in the store, so all replicas have the same one.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};

use super::{AskError, Intent, WRITE_TRIES};
use crate::store::{StoreError, explained};

/// The ConfigMap that holds the mode, in the namespace of the server.
const NAME: &str = "bricklayer-mode";
/// Its key.
const KEY: &str = "mode";

/// Who may change things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everybody who may at all.
    #[default]
    Normal,
    /// Nobody: requests only read.
    ReadOnly,
    /// Clients on the same machine.
    LocalClient,
}

impl Mode {
    /// The word for it, as Heketi has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::ReadOnly => "read-only",
            Self::LocalClient => "local-client",
        }
    }
}

/// The text is no mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("normal, read-only or local-client is expected")]
pub struct UnknownMode;

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        let all = [Self::Normal, Self::ReadOnly, Self::LocalClient];
        all.into_iter().find(|mode| mode.word() == text).ok_or(UnknownMode)
    }
}

/// The mode as of now; nothing when none was ever set. One that is not understood is read-only: somebody
/// wanted to restrict something.
pub async fn read(intent: &Intent, namespace: &str) -> Result<Option<Mode>, StoreError> {
    let found = intent.store.within::<ConfigMap>(namespace).get_opt(NAME).await;
    let found = found.map_err(|error| explained(error, "ConfigMap", NAME))?;
    Ok(found.map(|config| {
        let data = config.data.unwrap_or_default();
        data.get(KEY).and_then(|text| text.parse().ok()).unwrap_or(Mode::ReadOnly)
    }))
}

/// Sets the mode.
pub async fn write(intent: &Intent, namespace: &str, mode: Mode) -> Result<(), AskError> {
    let api = intent.store.within::<ConfigMap>(namespace);
    let told = |error| explained(error, "ConfigMap", NAME);
    for _ in 0..WRITE_TRIES {
        let found = api.get_opt(NAME).await.map_err(told)?;
        let done = match found {
            Some(mut config) => {
                config.data = Some(BTreeMap::from([(KEY.to_owned(), mode.word().to_owned())]));
                api.replace(NAME, &PostParams::default(), &config).await
            }
            None => {
                let config = ConfigMap {
                    metadata: ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() },
                    data: Some(BTreeMap::from([(KEY.to_owned(), mode.word().to_owned())])),
                    ..ConfigMap::default()
                };
                api.create(&PostParams::default(), &config).await
            }
        };
        match done.map_err(told) {
            Err(StoreError::Conflict(_) | StoreError::Exists(_)) => {}
            done => return Ok(done.map(drop)?),
        }
    }
    Err(StoreError::Conflict(NAME.to_owned()).into())
}
