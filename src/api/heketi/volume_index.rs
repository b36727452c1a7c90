//! What the face keeps in mind of volumes, so that no request has to look through all of them: which
//! are being made or deleted, and which objects are not named by their id.
//!
//! How many are at work is counted from the objects, so the limit is one for all replicas, and a restart
//! forgets nobody. Only what two replicas begin in the same moment, before either sees it, may exceed it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use parking_lot::Mutex;

use super::view::sees_volume;
use crate::intent::given_up;
use crate::resources::{EXPANDED, GlusterVolume, OnRefusal, Placement, condition, id_of};
use crate::store::{Cache, Changes};
use crate::units::Id;

/// How long one volume takes up a slot at most: what waits for a node that is down does not keep
/// everybody else from working.
const SLOT_TIME: SignedDuration = SignedDuration::from_secs(120);

/// See the module.
pub struct VolumeIndex {
    cache: Cache<GlusterVolume>,
    changes: Changes<GlusterVolume>,
    state: Mutex<Known>,
    limit: usize,
}

#[derive(Default)]
struct Known {
    /// Names of objects that were being made or deleted when they last changed.
    busy: HashSet<String>,
    /// Names of objects that requests of this process are about to make or delete.
    starting: HashSet<String>,
    /// Objects that are not named by their id, both ways.
    name_of: HashMap<Id, String>,
    id_of: HashMap<String, Id>,
}

/// One of the slots for volumes that are made or deleted; given back when it is dropped.
pub struct Slot {
    index: Arc<VolumeIndex>,
    name: String,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.index.state.lock().starting.remove(&self.name);
    }
}

impl VolumeIndex {
    /// An index over a cache, with so many slots.
    pub fn new(cache: Cache<GlusterVolume>, limit: usize) -> Self {
        Self { changes: cache.changes(), cache, state: Mutex::default(), limit }
    }

    /// A slot for making or deleting the object of that name; none when all are taken. Hold it until
    /// the cache has seen the work begin.
    pub fn slot(self: &Arc<Self>, name: &str) -> Option<Slot> {
        let mut known = self.state.lock();
        self.catch_up(&mut known);
        if self.taken(&mut known) >= self.limit {
            return None;
        }
        known.starting.insert(name.to_owned());
        Some(Slot { index: self.clone(), name: name.to_owned() })
    }

    /// Whether all slots are taken.
    pub fn is_full(&self) -> bool {
        let mut known = self.state.lock();
        self.catch_up(&mut known);
        self.taken(&mut known) >= self.limit
    }

    /// The name of the object with an id, if it is not named by the id itself.
    pub fn name_of(&self, id: Id) -> Option<String> {
        let mut known = self.state.lock();
        self.catch_up(&mut known);
        known.name_of.get(&id).cloned()
    }

    /// Counts anew those that were busy: they are few.
    fn taken(&self, known: &mut Known) -> usize {
        let now = Timestamp::now();
        let still = |name: &String| self.cache.get(name).is_some_and(|v| is_busy(&v, now));
        known.busy.retain(still);
        let unseen = known.starting.difference(&known.busy).count();
        known.busy.len() + unseen
    }

    fn catch_up(&self, known: &mut Known) {
        let now = Timestamp::now();
        for reference in self.changes.drain() {
            let name = reference.name;
            match self.cache.get(&name) {
                Some(volume) => known.note(&volume, now),
                None => known.forget(&name),
            }
        }
    }
}

impl Known {
    fn note(&mut self, volume: &GlusterVolume, now: Timestamp) {
        let (name, id) = (volume.name_any(), id_of(volume));
        if is_busy(volume, now) {
            self.busy.insert(name.clone());
        } else {
            self.busy.remove(&name);
        }
        if name != id.to_string() {
            self.name_of.insert(id, name.clone());
            self.id_of.insert(name, id);
        }
    }

    fn forget(&mut self, name: &str) {
        self.busy.remove(name);
        if let Some(id) = self.id_of.remove(name) {
            self.name_of.remove(&id);
        }
    }
}

/// Whether a volume is being made or grows for a client of this face, or is deleted.
pub fn is_busy(volume: &GlusterVolume, now: Timestamp) -> bool {
    if given_up(volume.conditions()) {
        return false;
    }
    let since = match &volume.metadata.deletion_timestamp {
        Some(deleted) => Some(deleted),
        None if volume.spec.on_refusal == OnRefusal::Forget && !sees_volume(volume) => {
            volume.metadata.creation_timestamp.as_ref()
        }
        None if volume.spec.on_refusal == OnRefusal::Forget && grows(volume) => {
            condition(volume.conditions(), EXPANDED).map(|expanded| &expanded.last_transition_time)
        }
        None => None,
    };
    since.is_some_and(|since| now.duration_since(since.0) < SLOT_TIME)
}

fn grows(volume: &GlusterVolume) -> bool {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    placement.is_some_and(Placement::expands)
}
