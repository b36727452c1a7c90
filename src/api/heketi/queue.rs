//! `/queue/{id}`: how far something has come that was answered with 202.
//!
//! What makes an object has the object's id and is a view of the object. The id of what deletes or
//! changes one says itself what it is about ([`super::ticket`]). So nothing is kept in the process: every
//! replica answers, also after a restart, and an answer may be read twice.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use kube::core::ClusterResourceScope;
use kube::{Resource, ResourceExt};

use super::Face;
use super::answer::{self, Answer, Refused};
use super::state;
use super::ticket::{Noun, Ticket};
use super::view::{sees_device, sees_node, sees_volume};
use crate::intent::volume::{Expansion, expansion};
use crate::intent::{Progress, progress};
use crate::resources::{
    Condition, Evacuation, GlusterDevice, GlusterNode, GlusterVolume, READY, State, condition,
    evacuation_asked, id_of, look_asked,
};
use crate::store::{Cache, Kind};
use crate::units::Id;

/// How long a question waits for the end of the work before the answer is that it goes on.
const WAIT: Duration = Duration::from_millis(300);

/// Where the objects are looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Among those that were seen.
    Seen,
    /// As they are now.
    Live,
}

/// What there is to say about a job.
enum Outcome {
    Running,
    Done,
    /// Done, and this is the path of the result.
    Made(String),
    Failed(String),
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Running => answer::pending(),
            Outcome::Done => answer::empty(StatusCode::NO_CONTENT),
            Outcome::Made(path) => answer::see_other(&path),
            Outcome::Failed(text) => Refused::failed(text).into(),
        }
    }
}

/// `GET /queue/{id}`
pub async fn get(face: &Face, text: &str) -> Result<Answer, Refused> {
    let outcome = match text.parse::<Id>() {
        Ok(id) if id.to_string() == text => face.made(text).await?,
        Ok(_) => None,
        Err(_) => match face.tickets.read(text) {
            Some(Ticket::Done) => Some(Outcome::Done),
            Some(Ticket::Made(path)) => Some(Outcome::Made(path)),
            Some(Ticket::Failed(text)) => Some(Outcome::Failed(text)),
            Some(Ticket::Look(name, uid, ask)) => Some(face.looked_at(&name, &uid, ask).await?),
            Some(Ticket::Expand(name, uid, ask)) => Some(face.grown(&name, &uid, ask).await?),
            Some(Ticket::GiveUp(noun, name, uid, ask)) => Some(face.given_up(noun, &name, &uid, ask).await),
            Some(Ticket::Delete(noun, name, uid)) => Some(face.deleted(noun, &name, uid).await?),
            None => None,
        },
    };
    outcome.map(Answer::from).ok_or_else(Refused::unknown_id)
}

impl Face {
    /// The answer to work of that kind: 202 with where its progress is told.
    pub(super) fn accepted(&self, ticket: &Ticket) -> Answer {
        answer::accepted(&self.tickets.write(ticket))
    }

    /// The making of an object that has this name and id, if there is one.
    async fn made(&self, name: &str) -> Result<Option<Outcome>, Refused> {
        let intent = &self.intent;
        for look in [Look::Seen, Look::Live] {
            let found = match self.view(&intent.volumes, name, look, volume).await? {
                None => self.view(&intent.nodes, name, look, node).await?,
                found => found,
            };
            let found = match found {
                None => self.view(&intent.devices, name, look, device).await?,
                found => found,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Waits a moment for the end of the work on an object; nothing when there is no such object.
    async fn view<K>(
        &self,
        cache: &Cache<K>,
        name: &str,
        look: Look,
        outcome: fn(&K) -> Outcome,
    ) -> Result<Option<Outcome>, Refused>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let found = match look {
            Look::Seen => cache.get(name),
            Look::Live => self.intent.store.get::<K>(name).await?.map(Arc::new),
        };
        let Some(found) = found.filter(|object| id_of(object.as_ref()).to_string() == name) else {
            return Ok(None);
        };
        match outcome(&found) {
            Outcome::Running => {}
            finished => return Ok(Some(finished)),
        }
        let finished = cache.wait(name, WAIT, |seen| match seen.map(outcome) {
            None | Some(Outcome::Running) => None,
            finished => finished,
        });
        if let Some(finished) = finished.await {
            return Ok(Some(finished));
        }
        // It may have gone meanwhile, or the watch may be behind.
        let now = self.intent.store.get::<K>(name).await?;
        Ok(now.as_ref().map(outcome))
    }

    /// Waits a moment for the end of an expansion.
    async fn grown(&self, name: &str, uid: &Option<String>, ask: Id) -> Result<Outcome, Refused> {
        let outcome = |volume: Option<&GlusterVolume>| match grown(volume, uid, ask) {
            Outcome::Running => None,
            finished => Some(finished),
        };
        if let Some(finished) = self.intent.volumes.wait(name, WAIT, outcome).await
            && matches!(finished, Outcome::Made(_))
        {
            return Ok(finished);
        }
        // What was seen may be older than the ask.
        let live = self.intent.store.get::<GlusterVolume>(name).await?;
        Ok(grown(live.as_ref(), uid, ask))
    }

    /// Waits a moment until a device was looked at.
    async fn looked_at(&self, name: &str, uid: &Option<String>, ask: Id) -> Result<Outcome, Refused> {
        let outcome = |device: Option<&GlusterDevice>| match looked_at(device, uid, ask) {
            Outcome::Running => None,
            finished => Some(finished),
        };
        let found = self.intent.devices.wait(name, WAIT, outcome).await;
        Ok(found.unwrap_or(Outcome::Running))
    }

    /// Waits a moment until a node or device is drained, or until it is certain that it will not be.
    async fn given_up(&self, noun: Noun, name: &str, uid: &Option<String>, ask: Id) -> Outcome {
        let of_node = |node: Option<&GlusterNode>| {
            let leaving = node.filter(|node| node.uid() == *uid).map(|node| Leaving {
                id: id_of(node),
                state: node.spec.state,
                drained: node.is_drained(),
                asked: evacuation_asked(node),
                evacuation: node.status.as_ref().and_then(|status| status.evacuation.as_ref()),
            });
            given_up(noun, leaving, ask)
        };
        let of_device = |device: Option<&GlusterDevice>| {
            let leaving = device.filter(|device| device.uid() == *uid).map(|device| Leaving {
                id: id_of(device),
                state: device.spec.state,
                drained: device.is_drained(),
                asked: evacuation_asked(device),
                evacuation: device.status.as_ref().and_then(|status| status.evacuation.as_ref()),
            });
            given_up(noun, leaving, ask)
        };
        let found = match noun {
            Noun::Node => self.intent.nodes.wait(name, WAIT, of_node).await,
            _ => self.intent.devices.wait(name, WAIT, of_device).await,
        };
        found.unwrap_or(Outcome::Running)
    }

    async fn deleted(&self, noun: Noun, name: &str, uid: Option<String>) -> Result<Outcome, Refused> {
        let intent = &self.intent;
        let gone = match noun {
            Noun::Node => self.gone(&intent.nodes, name, &uid).await?,
            Noun::Device => self.gone(&intent.devices, name, &uid).await?,
            Noun::Volume => self.gone(&intent.volumes, name, &uid).await?,
        };
        Ok(if gone { Outcome::Done } else { Outcome::Running })
    }

    /// Whether an object is gone: not seen any more. If it was not seen at all, it is not there either: a watch that is
    /// behind may not have seen it yet.
    async fn gone<K>(&self, cache: &Cache<K>, name: &str, uid: &Option<String>) -> Result<bool, Refused>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let mut was_seen = false;
        let unseen = cache.wait(name, WAIT, |seen| {
            let is_there = seen.is_some_and(|seen| seen.uid() == *uid);
            was_seen |= is_there;
            (!is_there).then_some(was_seen)
        });
        match unseen.await {
            None => return Ok(false),
            Some(true) => return Ok(true),
            Some(false) => {}
        }
        Ok(self.intent.store.get::<K>(name).await?.is_none_or(|there| there.uid() != *uid))
    }
}

fn node(node: &GlusterNode) -> Outcome {
    match ended(node.conditions(), sees_node(node)) {
        Progress::Done => Outcome::Made(format!("/nodes/{}", id_of(node))),
        other => unfinished(other),
    }
}

fn device(device: &GlusterDevice) -> Outcome {
    match ended(device.conditions(), sees_device(device)) {
        Progress::Done => Outcome::Done,
        other => unfinished(other),
    }
}

fn volume(volume: &GlusterVolume) -> Outcome {
    match ended(volume.conditions(), sees_volume(volume)) {
        Progress::Done => Outcome::Made(format!("/volumes/{}", id_of(volume))),
        other => unfinished(other),
    }
}

fn grown(volume: Option<&GlusterVolume>, uid: &Option<String>, ask: Id) -> Outcome {
    let going =
        |volume: &&GlusterVolume| volume.uid() != *uid || volume.metadata.deletion_timestamp.is_some();
    let Some(volume) = volume.filter(|volume| !going(volume)) else {
        return Outcome::Failed("the volume was deleted".into());
    };
    match expansion(volume, ask) {
        Some(Expansion::Done) => Outcome::Made(format!("/volumes/{}", id_of(volume))),
        Some(Expansion::Failed(text)) => Outcome::Failed(text),
        Some(Expansion::Running) => Outcome::Running,
        None => {
            Outcome::Failed("too many expansions were asked for since: see how large the volume is".into())
        }
    }
}

/// A node or device that is being given up.
struct Leaving<'a> {
    id: Id,
    state: State,
    drained: bool,
    asked: Option<Id>,
    evacuation: Option<&'a Evacuation>,
}

/// How an ask to give something up has ended; nothing as long as it has not.
fn given_up(noun: Noun, leaving: Option<Leaving<'_>>, ask: Id) -> Option<Outcome> {
    let Some(leaving) = leaving else { return Some(Outcome::Failed("it was deleted".into())) };
    let ended =
        leaving.evacuation.filter(|evacuation| evacuation.ask == ask && !evacuation.reason.is_empty());
    if let Some(refused) = ended {
        return Some(Outcome::Failed(state::refusal(noun, leaving.id, refused)));
    }
    if leaving.asked != Some(ask) {
        return Some(Outcome::Failed("another state was asked for meanwhile".into()));
    }
    (state::shown(leaving.state, leaving.drained) == State::Failed).then_some(Outcome::Done)
}

fn looked_at(device: Option<&GlusterDevice>, uid: &Option<String>, ask: Id) -> Outcome {
    let Some(device) = device.filter(|device| device.uid() == *uid) else {
        return Outcome::Failed("the device was deleted".into());
    };
    let looked = device.status.as_ref().and_then(|status| status.looked);
    match condition(device.conditions(), READY) {
        _ if looked != Some(ask) && !looked_at_later(device, ask) => Outcome::Running,
        Some(ready) if ready.status != "True" => Outcome::Failed(ready.message.clone()),
        _ => Outcome::Done,
    }
}

/// Somebody else has asked for another look meanwhile: that one answers both.
fn looked_at_later(device: &GlusterDevice, ask: Id) -> bool {
    let asked = look_asked(device);
    asked != Some(ask) && asked == device.status.as_ref().and_then(|status| status.looked)
}

fn unfinished(progress: Progress) -> Outcome {
    match progress {
        Progress::Failed(text) => Outcome::Failed(text),
        Progress::Running | Progress::Done => Outcome::Running,
    }
}

/// What was made once stays made, whatever becomes of it: clients see it.
fn ended(conditions: &[Condition], visible: bool) -> Progress {
    match progress(conditions) {
        Progress::Running if visible => Progress::Done,
        other => other,
    }
}
