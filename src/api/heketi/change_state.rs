//! `POST /nodes/{id}/state` and `POST /devices/{id}/state`: 202; the queue tells whether the change was allowed, and for
//! what is given up when nobody needs it any more.

use kube::core::ClusterResourceScope;
use kube::{Resource, ResourceExt};

use super::Face;
use super::answer::{Answer, Refused};
use super::state::{Step, step};
use super::ticket::{Noun, Ticket};
use super::wire::StateChange;
use super::{check, json};
use crate::intent::AskError;
use crate::resources::{GlusterDevice, GlusterNode, State, evacuation_asked, id_of};
use crate::store::{Cache, Kind, StoreError};
use crate::units::Id;

/// How often a change is tried when somebody else writes the same object.
const TRIES: usize = 10;

/// What has a state: a node or a device.
pub trait Hardware: Kind + Resource<Scope = ClusterResourceScope> {
    /// The word for it.
    const NOUN: Noun;
    /// What is wanted of it now.
    fn state(&self) -> State;
    /// Whether it was given up, and nobody needs it any more.
    fn drained(&self) -> bool;
    /// What was last seen of all.
    fn cache(face: &Face) -> &Cache<Self>;
    /// The one with an id, if clients see it.
    fn find(face: &Face, id: &str) -> impl Future<Output = Result<Option<Self>, Refused>> + Send;
}

impl Hardware for GlusterNode {
    const NOUN: Noun = Noun::Node;

    fn state(&self) -> State {
        self.spec.state
    }

    fn drained(&self) -> bool {
        self.is_drained()
    }

    fn cache(face: &Face) -> &Cache<Self> {
        &face.intent.nodes
    }

    async fn find(face: &Face, id: &str) -> Result<Option<Self>, Refused> {
        face.node(id).await
    }
}

impl Hardware for GlusterDevice {
    const NOUN: Noun = Noun::Device;

    fn state(&self) -> State {
        self.spec.state
    }

    fn drained(&self) -> bool {
        self.is_drained()
    }

    fn cache(face: &Face) -> &Cache<Self> {
        &face.intent.devices
    }

    async fn find(face: &Face, id: &str) -> Result<Option<Self>, Refused> {
        face.device(id).await
    }
}

/// Changes what is wanted of one of them.
pub async fn change_state<K: Hardware>(face: &Face, id: &str, body: &[u8]) -> Result<Answer, Refused> {
    let request: StateChange = json::read(body)?;
    let wanted = check::state_change(&request)?;
    if wanted == State::Failed && face.volumes.is_full() {
        return Err(Refused::busy());
    }
    // What may be done depends on what it is: it is looked at again when somebody has changed it meanwhile.
    for _ in 0..TRIES {
        let found = K::find(face, id).await?.ok_or_else(Refused::unknown_id)?;
        match try_to(face, &found, wanted, request.healcheck != "disable").await {
            Err(AskError::Store(StoreError::Conflict(_))) => {}
            done => return Ok(face.accepted(&done?)),
        }
    }
    Err(AskError::Store(StoreError::Conflict(id.to_owned())).into())
}

async fn try_to<K: Hardware>(
    face: &Face,
    found: &K,
    wanted: State,
    heal_check: bool,
) -> Result<Ticket, AskError> {
    let ask = match step(K::NOUN, id_of(found), found.state(), found.drained(), wanted) {
        Step::Stay => return Ok(Ticket::Done),
        Step::Refuse(text) => return Ok(Ticket::Failed(text)),
        Step::Set => None,
        Step::GiveUp => {
            let ask = evacuation_asked(found).filter(|_| found.state() == wanted);
            Some(ask.unwrap_or_else(Id::random))
        }
    };
    let (name, uid) = (found.name_any(), found.uid());
    face.intent.set_state(found, wanted, ask, heal_check || ask.is_none()).await?;
    let seen = |seen: Option<&K>| seen.is_none_or(|seen| seen.state() == wanted);
    face.seen(K::cache(face), &name, seen).await;
    Ok(ask.map_or(Ticket::Done, |ask| Ticket::GiveUp(K::NOUN, name, uid, ask)))
}
