//! Asking for volumes.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::json;

use super::{AskError, Decision, Intent, metadata};
use crate::resources::{GlusterVolume, GlusterVolumeSpec, OnRefusal, PLACED, condition};
use crate::store::StoreError;
use crate::units::Id;

/// A volume that somebody asks for.
#[derive(Clone, Debug)]
pub struct VolumeAsk {
    /// The name of the object. For a claim it comes from the claim's uid: asking twice is asking once.
    pub object_name: String,
    /// The Heketi id.
    pub id: Id,
    /// What is wanted.
    pub spec: GlusterVolumeSpec,
    /// What the face wants to remember about the ask.
    pub annotations: BTreeMap<String, String>,
}

/// Whether the leader has found a place (`Some(true)`), refused (`Some(false)`), or not decided yet.
pub fn decided(volume: &GlusterVolume) -> Option<bool> {
    match condition(volume.conditions(), PLACED)?.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// Asks for a volume and waits for the leader to place it. A refused ask that is to be forgotten is
/// taken back at once. Asking again under the same object name finds the first ask.
pub async fn create(intent: &Intent, ask: VolumeAsk) -> Result<Decision<GlusterVolume>, AskError> {
    let mut object = GlusterVolume::new(&ask.object_name, ask.spec);
    object.metadata = metadata(&ask.object_name, ask.id, ask.annotations);
    let made = intent.store.create(&object).await?;
    intent.decision(&intent.volumes, made, decided).await
}

/// Writes the wish for a volume that is tried until it succeeds, and gives back what is stored: the
/// new object, or the one that an earlier ask of the same name has made. `holder` is a finalizer of
/// the asker: the volume is not removed before the asker takes it away.
pub async fn ensure(
    intent: &Intent,
    ask: VolumeAsk,
    holder: Option<&str>,
) -> Result<GlusterVolume, AskError> {
    let mut object = GlusterVolume::new(&ask.object_name, ask.spec);
    object.metadata = metadata(&ask.object_name, ask.id, ask.annotations);
    object.metadata.finalizers.get_or_insert_default().extend(holder.map(str::to_owned));
    object.spec.on_refusal = OnRefusal::Retry;
    match intent.store.create(&object).await {
        Ok(made) => Ok(made),
        Err(StoreError::Exists(_)) => {
            let found = intent.store.get::<GlusterVolume>(&ask.object_name).await?;
            found.ok_or(AskError::Store(StoreError::Conflict(ask.object_name)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks for a volume to be removed. True if there was one; it is gone once nothing of it is left on
/// the nodes.
pub async fn delete(intent: &Intent, object_name: &str, uid: Option<String>) -> Result<bool, AskError> {
    Ok(intent.store.delete::<GlusterVolume>(object_name, uid).await?)
}

/// Takes the asker's finalizer away, so that a volume that is to be deleted can go.
pub async fn let_go(intent: &Intent, volume: &GlusterVolume, holder: &str) -> Result<(), AskError> {
    let left: Vec<&String> = volume.finalizers().iter().filter(|finalizer| *finalizer != holder).collect();
    let patch = json!({"metadata": {"resourceVersion": volume.resource_version(), "finalizers": left}});
    match intent.store.merge::<GlusterVolume>(&volume.name_any(), &patch).await {
        Ok(_) | Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes an annotation on a volume, if nobody has changed it since it was read.
pub async fn annotate(
    intent: &Intent,
    volume: &GlusterVolume,
    key: &str,
    value: &str,
) -> Result<(), AskError> {
    let patch =
        json!({"metadata": {"resourceVersion": volume.resource_version(), "annotations": {key: value}}});
    intent.store.merge::<GlusterVolume>(&volume.name_any(), &patch).await?;
    Ok(())
}
