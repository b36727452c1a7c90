//! What the face keeps in mind of volumes, so that no request has to look through all of them: which
//! there are, which are being made or deleted, and which objects are not named by their id.
//!
//! How many are at work is counted from the objects, so the limit is one for all replicas, and a restart
//! forgets nobody. Only what two replicas begin in the same moment, before either sees it, may exceed it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use parking_lot::Mutex;

use super::json;
use super::server::operations::work_of;
use super::view::{self, sees_volume};
use super::wire::VolumeList;
use crate::intent::given_up;
use crate::resources::{EXPANDED, GlusterVolume, OnRefusal, Placement, condition, id_of};
use crate::store::Cache;
use crate::units::Id;

/// How long one volume takes up a slot at most: what waits for a node that is down does not keep
/// everybody else from working.
const SLOT_TIME: SignedDuration = SignedDuration::from_secs(120);

/// See the module.
pub struct VolumeIndex {
    state: Arc<Mutex<Known>>,
    limit: usize,
}

#[derive(Default)]
struct Known {
    /// Objects that were being made or deleted when they last changed, by name, and since when.
    busy: HashMap<String, Timestamp>,
    /// Names of objects that something is under way for.
    working: HashSet<String>,
    /// Names of objects that requests of this process are about to make or delete.
    starting: HashSet<String>,
    /// Objects that are not named by their id, both ways.
    name_of: HashMap<Id, String>,
    id_of: HashMap<String, Id>,
    /// The volumes that clients see, each with its cluster, and what `GET /volumes` says of them, once somebody has
    /// asked.
    seen: BTreeMap<Id, Option<Arc<str>>>,
    list: Option<Bytes>,
    /// The names of clusters that volumes were seen in.
    clusters: HashSet<Arc<str>>,
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
    pub fn new(cache: &Cache<GlusterVolume>, limit: usize) -> Self {
        let state: Arc<Mutex<Known>> = Arc::default();
        let known = state.clone();
        cache.observe(move |name, volume| match volume {
            Some(volume) => known.lock().note(volume),
            None => known.lock().forget(name),
        });
        Self { state, limit }
    }

    /// A slot for making or deleting the object of that name; none when all are taken. Hold it until
    /// the cache has seen the work begin.
    pub fn slot(self: &Arc<Self>, name: &str) -> Option<Slot> {
        let mut known = self.state.lock();
        if known.taken() >= self.limit {
            return None;
        }
        known.starting.insert(name.to_owned());
        Some(Slot { index: self.clone(), name: name.to_owned() })
    }

    /// Whether all slots are taken.
    pub fn is_full(&self) -> bool {
        let mut known = self.state.lock();
        known.taken() >= self.limit
    }

    /// The name of the object with an id, if it is not named by the id itself.
    pub fn name_of(&self, id: Id) -> Option<String> {
        let known = self.state.lock();
        known.name_of.get(&id).cloned()
    }

    /// The body of `GET /volumes`.
    pub fn list(&self) -> Result<Bytes, serde_json::Error> {
        let mut known = self.state.lock();
        if let Some(list) = &known.list {
            return Ok(list.clone());
        }
        let list = json::write(&VolumeList { volumes: known.seen.keys().copied().collect() })?;
        Ok(known.list.insert(Bytes::from(list)).clone())
    }

    /// The names of the objects that something is under way for.
    pub fn working(&self) -> Vec<String> {
        self.state.lock().working.iter().cloned().collect()
    }

    /// How many volumes clients see in each cluster.
    pub fn per_cluster(&self) -> HashMap<Arc<str>, usize> {
        let known = self.state.lock();
        let mut counts = HashMap::new();
        for cluster in known.seen.values().flatten() {
            *counts.entry(cluster.clone()).or_default() += 1;
        }
        counts
    }

    /// The volumes that clients see in a cluster, in ascending order.
    pub fn in_cluster(&self, name: &str) -> Vec<Id> {
        let known = self.state.lock();
        let here = known.seen.iter().filter(|(_, cluster)| cluster.as_deref() == Some(name));
        here.map(|(id, _)| *id).collect()
    }
}

impl Known {
    /// How many slots are taken: by those that are busy, as long as they may take one up, and those about to be.
    fn taken(&mut self) -> usize {
        let now = Timestamp::now();
        self.busy.retain(|_, since| takes_a_slot(*since, now));
        let unseen = self.starting.iter().filter(|name| !self.busy.contains_key(*name)).count();
        self.busy.len() + unseen
    }

    fn note(&mut self, volume: &GlusterVolume) {
        let (name, id) = (volume.name_any(), id_of(volume));
        if self.last_id(&name).is_some_and(|last| last != id) {
            // One that was deleted, and made anew under its name before anybody looked.
            self.forget(&name);
        }
        match busy_since(volume) {
            Some(since) => drop(self.busy.insert(name.clone(), since)),
            None => drop(self.busy.remove(&name)),
        }
        if work_of(volume).is_some() {
            self.working.insert(name.clone());
        } else {
            self.working.remove(&name);
        }
        let had = if sees_volume(volume) {
            let cluster = view::cluster_of(volume).map(|cluster| self.shared(cluster));
            self.seen.insert(id, cluster)
        } else {
            self.seen.remove(&id)
        };
        if had.is_some() != self.seen.contains_key(&id) {
            self.list = None;
        }
        if name != id.to_string() {
            self.name_of.insert(id, name.clone());
            self.id_of.insert(name, id);
        }
    }

    fn forget(&mut self, name: &str) {
        self.busy.remove(name);
        self.working.remove(name);
        let id = self.last_id(name);
        if let Some(id) = self.id_of.remove(name) {
            if self.name_of.get(&id).is_some_and(|other| other != name) {
                // Another object has the id by now.
                return;
            }
            self.name_of.remove(&id);
        }
        if id.is_some_and(|id| self.seen.remove(&id).is_some()) {
            self.list = None;
        }
    }

    /// The name of a cluster, one text for all volumes in it.
    fn shared(&mut self, cluster: &str) -> Arc<str> {
        if let Some(known) = self.clusters.get(cluster) {
            return known.clone();
        }
        let name: Arc<str> = cluster.into();
        self.clusters.insert(name.clone());
        name
    }

    /// The id of the object of that name, as far as it was noted. A name may look like the id of another object.
    fn last_id(&self, name: &str) -> Option<Id> {
        let own = || name.parse().ok().filter(|id| !self.name_of.contains_key(id));
        self.id_of.get(name).copied().or_else(own)
    }
}

/// Whether a volume is being made or grows for a client of this face, or is deleted.
pub fn is_busy(volume: &GlusterVolume, now: Timestamp) -> bool {
    busy_since(volume).is_some_and(|since| takes_a_slot(since, now))
}

fn takes_a_slot(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) < SLOT_TIME
}

fn busy_since(volume: &GlusterVolume) -> Option<Timestamp> {
    if given_up(volume.conditions()) {
        return None;
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
    since.map(|since| since.0)
}

fn grows(volume: &GlusterVolume) -> bool {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    placement.is_some_and(Placement::expands)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    fn seen(known: &Known) -> BTreeSet<Id> {
        known.seen.keys().copied().collect()
    }

    #[test]
    fn the_list_follows_what_is_there() {
        let mut known = Known::default();
        let (first, second) = (Id::from_uid("first"), Id::from_uid("second"));
        let own = Id::from_uid("own");
        known.note(&volume("claim", "first", None));
        known.note(&volume(&own.to_string(), "own", Some(own)));
        assert_eq!(seen(&known), BTreeSet::from([first, own]));
        known.list = Some(Bytes::from_static(b"old"));
        known.note(&volume("claim", "first", None));
        assert!(known.list.is_some(), "nothing of it has changed");
        // Deleted and made anew between two looks.
        known.note(&volume("claim", "second", None));
        assert_eq!((seen(&known), known.list.clone()), (BTreeSet::from([second, own]), None));
        assert_eq!(known.name_of, HashMap::from([(second, "claim".to_owned())]));
        // One that is named like the other's id.
        known.note(&volume(&second.to_string(), "third", None));
        assert!(known.seen.contains_key(&second) && known.seen.len() == 3);
        known.forget(&second.to_string());
        assert_eq!(seen(&known), BTreeSet::from([second, own]));
        known.forget("claim");
        known.forget(&own.to_string());
        assert!(known.seen.is_empty() && known.name_of.is_empty() && known.id_of.is_empty());
    }
}
