//! `/queue/{id}`: how far something has come that was answered with 202.
//!
//! What makes an object has the object's id and is a view of the object, so it works after a restart
//! and may be read twice. What deletes or changes one is kept here for a while.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use kube::core::ClusterResourceScope;
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Face;
use super::answer::{self, Answer, Refused};
use super::view::{sees_device, sees_node, sees_volume};
use crate::intent::{Progress, progress};
use crate::resources::{Condition, GlusterDevice, GlusterNode, GlusterVolume, id_of};
use crate::store::{Cache, Kind};
use crate::units::Id;

/// How long a question waits for the end of the work before the answer is that it goes on.
const WAIT: Duration = Duration::from_millis(300);

/// How long an entry is kept.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// How many entries are kept; the oldest goes when there are more.
const MAX_ENTRIES: usize = 20_000;

/// The kinds whose objects are made and deleted in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noun {
    /// A node.
    Node,
    /// A device.
    Device,
    /// A volume.
    Volume,
}

/// Work that was answered with 202.
#[derive(Clone, Debug)]
pub enum Job {
    /// The object whose id is the entry's is made.
    Make(Noun),
    /// The object with this name and uid is deleted.
    Delete(Noun, String, Option<String>),
    /// It is done.
    Done,
    /// It was refused or failed.
    Failed(String),
}

/// The jobs of this process.
#[derive(Default)]
pub struct Queue(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    jobs: HashMap<Id, Job>,
    order: VecDeque<(Instant, Id)>,
}

impl Queue {
    /// Keeps a job under a new id.
    pub fn add(&self, job: Job) -> Id {
        let id = Id::random();
        self.put(id, job);
        id
    }

    /// Keeps a job under the id of the object that it makes.
    pub fn put(&self, id: Id, job: Job) {
        let now = Instant::now();
        let mut entries = self.0.lock();
        entries.jobs.insert(id, job);
        entries.order.push_back((now, id));
        while let Some((since, oldest)) = entries.order.front().copied() {
            if entries.order.len() <= MAX_ENTRIES && now.duration_since(since) < KEEP {
                break;
            }
            entries.order.pop_front();
            entries.jobs.remove(&oldest);
        }
    }

    fn get(&self, id: Id) -> Option<Job> {
        self.0.lock().jobs.get(&id).cloned()
    }
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
    let id: Id = text.parse().map_err(|_| Refused::unknown_id())?;
    if id.to_string() != text {
        return Err(Refused::unknown_id());
    }
    let outcome = match face.queue.get(id) {
        Some(Job::Done) => Some(Outcome::Done),
        Some(Job::Failed(text)) => Some(Outcome::Failed(text)),
        Some(Job::Delete(noun, name, uid)) => Some(face.deleted(noun, &name, uid).await),
        Some(Job::Make(noun)) => face.made(noun, text).await?,
        None => face.found(text).await?,
    };
    outcome.map(Answer::from).ok_or_else(Refused::unknown_id)
}

impl Face {
    /// The making of an object that another process has begun, or this one before a restart.
    async fn found(&self, name: &str) -> Result<Option<Outcome>, Refused> {
        for noun in [Noun::Volume, Noun::Node, Noun::Device] {
            if let Some(outcome) = self.made(noun, name).await? {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    async fn made(&self, noun: Noun, name: &str) -> Result<Option<Outcome>, Refused> {
        let intent = &self.intent;
        match noun {
            Noun::Node => self.view(&intent.nodes, name, node).await,
            Noun::Device => self.view(&intent.devices, name, device).await,
            Noun::Volume => self.view(&intent.volumes, name, volume).await,
        }
    }

    /// Waits a moment for the end of the work on an object; nothing when there is no such object.
    async fn view<K>(
        &self,
        cache: &Cache<K>,
        name: &str,
        outcome: fn(&K) -> Outcome,
    ) -> Result<Option<Outcome>, Refused>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let live = match cache.get(name) {
            Some(seen) => Some(seen),
            None => self.intent.store.get::<K>(name).await?.map(Arc::new),
        };
        let Some(live) = live.filter(|object| id_of(object.as_ref()).to_string() == name) else {
            return Ok(None);
        };
        match outcome(&live) {
            Outcome::Running => {}
            finished => return Ok(Some(finished)),
        }
        let finished = cache.wait(name, WAIT, |seen| match seen.map(outcome) {
            Some(Outcome::Running) => None,
            finished => Some(finished),
        });
        Ok(finished.await.unwrap_or(Some(Outcome::Running)))
    }

    async fn deleted(&self, noun: Noun, name: &str, uid: Option<String>) -> Outcome {
        let intent = &self.intent;
        let gone = match noun {
            Noun::Node => gone(&intent.nodes, name, &uid).await,
            Noun::Device => gone(&intent.devices, name, &uid).await,
            Noun::Volume => gone(&intent.volumes, name, &uid).await,
        };
        if gone { Outcome::Done } else { Outcome::Running }
    }
}

async fn gone<K: Kind>(cache: &Cache<K>, name: &str, uid: &Option<String>) -> bool {
    let gone = cache.wait(name, WAIT, |seen| {
        let there = seen.is_some_and(|seen| seen.uid() == *uid);
        (!there).then_some(())
    });
    gone.await.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_go_first() {
        let queue = Queue::default();
        let first = queue.add(Job::Done);
        for _ in 0..MAX_ENTRIES {
            queue.add(Job::Done);
        }
        assert!(queue.get(first).is_none());
        assert_eq!(queue.0.lock().jobs.len(), MAX_ENTRIES);
        assert_eq!(queue.0.lock().order.len(), MAX_ENTRIES);
    }
}
