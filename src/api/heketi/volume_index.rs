//! What the face keeps in mind of volumes, so that no request has to look through all of them: which
//! there are, which are being made or deleted, and which objects are not named by their id.
//!
//! How many are at work is counted from the objects, so the limit is one for all replicas, and a restart
//! forgets nobody. Only what two replicas begin in the same moment, before either sees it, may exceed it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use parking_lot::Mutex;

use super::json;
use super::view::sees_volume;
use super::wire::VolumeList;
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
    /// The volumes that clients see, and what `GET /volumes` says of them, once somebody has asked.
    seen: BTreeSet<Id>,
    list: Option<Bytes>,
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

    /// The body of `GET /volumes`.
    pub fn list(&self) -> Result<Bytes, serde_json::Error> {
        let mut known = self.state.lock();
        self.catch_up(&mut known);
        if let Some(list) = &known.list {
            return Ok(list.clone());
        }
        let list = json::write(&VolumeList { volumes: known.seen.iter().copied().collect() })?;
        Ok(known.list.insert(Bytes::from(list)).clone())
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
        if self.last_id(&name).is_some_and(|last| last != id) {
            // One that was deleted, and made anew under its name before anybody looked.
            self.forget(&name);
        }
        if is_busy(volume, now) {
            self.busy.insert(name.clone());
        } else {
            self.busy.remove(&name);
        }
        let changed = if sees_volume(volume) { self.seen.insert(id) } else { self.seen.remove(&id) };
        if changed {
            self.list = None;
        }
        if name != id.to_string() {
            self.name_of.insert(id, name.clone());
            self.id_of.insert(name, id);
        }
    }

    fn forget(&mut self, name: &str) {
        self.busy.remove(name);
        let id = self.last_id(name);
        if let Some(id) = self.id_of.remove(name) {
            self.name_of.remove(&id);
        }
        if id.is_some_and(|id| self.seen.remove(&id)) {
            self.list = None;
        }
    }

    /// The id of the object of that name, as far as it was noted. A name may look like the id of another object.
    fn last_id(&self, name: &str) -> Option<Id> {
        let own = || name.parse().ok().filter(|id| !self.name_of.contains_key(id));
        self.id_of.get(name).copied().or_else(own)
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn volume(name: &str, uid: &str, id: Option<Id>) -> GlusterVolume {
        let spec = serde_json::from_value(json!({"size": "1Gi"})).unwrap();
        let mut volume = GlusterVolume::new(name, spec);
        volume.metadata.uid = Some(uid.into());
        let label = id.map(|id| (crate::resources::ID_LABEL.to_owned(), id.to_string()));
        volume.metadata.labels = label.map(|label| [label].into());
        volume
    }

    #[test]
    fn the_list_follows_what_is_there() {
        let (mut known, now) = (Known::default(), Timestamp::UNIX_EPOCH);
        let (first, second) = (Id::from_uid("first"), Id::from_uid("second"));
        let own = Id::from_uid("own");
        known.note(&volume("claim", "first", None), now);
        known.note(&volume(&own.to_string(), "own", Some(own)), now);
        assert_eq!(known.seen, BTreeSet::from([first, own]));
        known.list = Some(Bytes::from_static(b"old"));
        known.note(&volume("claim", "first", None), now);
        assert!(known.list.is_some(), "nothing of it has changed");
        // Deleted and made anew between two looks.
        known.note(&volume("claim", "second", None), now);
        assert_eq!((known.seen.clone(), known.list.clone()), (BTreeSet::from([second, own]), None));
        assert_eq!(known.name_of, HashMap::from([(second, "claim".to_owned())]));
        // One that is named like the other's id.
        known.note(&volume(&second.to_string(), "third", None), now);
        assert!(known.seen.contains(&second) && known.seen.len() == 3);
        known.forget(&second.to_string());
        assert_eq!(known.seen, BTreeSet::from([second, own]));
        known.forget("claim");
        known.forget(&own.to_string());
        assert!(known.seen.is_empty() && known.name_of.is_empty() && known.id_of.is_empty());
    }
}
