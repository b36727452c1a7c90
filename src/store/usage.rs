//! What volumes take, and which of them are where: noted once, then kept as volumes change, so that nobody has to look
//! through all of them for those that concern a device, a node, a cluster or a class. The exact numbers are written at
//! the ordinary looks; what changes between none and some is written at once, since removals depend on it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::reflector::ObjectRef;
use parking_lot::{Mutex, MutexGuard};

use super::{Cache, Key, Kind};
use crate::resources::{FAILED, GlusterVolume, PlacedBrick, READY, condition_is};
use crate::units::{Bytes, Id};

/// How long changes of volumes are gathered before they are counted.
const GATHER: Duration = Duration::from_secs(1);

/// What the volumes of a cache take. Cheap to clone.
#[derive(Clone)]
pub struct Usage {
    volumes: Cache<GlusterVolume>,
    counts: Arc<Mutex<Counts>>,
}

impl Usage {
    /// A count of what is there and of all that changes from now on.
    pub(super) fn of(volumes: &Cache<GlusterVolume>) -> Self {
        let counts: Arc<Mutex<Counts>> = Arc::default();
        let noted = counts.clone();
        volumes.observe(move |name, volume| noted.lock().see(name, volume));
        Self { volumes: volumes.clone(), counts }
    }

    /// The numbers as of now. The cache does not change as long as they are held.
    pub fn now(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }

    /// Names objects whose written count says none when there are some, or some when there are none.
    pub fn wakes<K, F>(&self, stale: F) -> impl Stream<Item = ObjectRef<K>> + Send + use<K, F>
    where
        K: Kind,
        F: Fn(&Counts) -> Vec<ObjectRef<K>> + Send + 'static,
    {
        let changes = self.volumes.changes();
        let counted =
            futures::stream::unfold((changes, self.clone(), stale), |(changes, usage, stale)| async move {
                let _ = changes.next().await;
                tokio::time::sleep(GATHER).await;
                changes.drain();
                let found = stale(&usage.now());
                Some((futures::stream::iter(found), (changes, usage, stale)))
            });
        counted.flatten()
    }
}

/// Bricks by where they are, those on their way out included.
#[derive(Debug, Default)]
pub struct Counts {
    devices: HashMap<Id, OnDevice>,
    nodes: HashMap<Id, u32>,
    clusters: HashMap<Arc<str>, Share>,
    /// What each volume that was seen has been counted as.
    volumes: HashMap<Key, Places>,
    ready: usize,
}

/// What volumes take of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many there are.
    pub volumes: u32,
    /// What their bricks need on devices, with all that belongs to them.
    pub taken: Bytes,
}

/// What volumes take of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnDevice {
    /// Bricks on it, those on their way in or out included.
    pub bricks: u32,
    /// Those of them that serve a volume which was not given up.
    pub serving: u32,
    /// What those of volumes that were not given up need, with all that belongs to them.
    pub taken: Bytes,
}

/// What is noted of a volume.
#[derive(Debug)]
struct Places {
    /// None as long as it has no place.
    cluster: Option<Arc<str>>,
    /// Whether clients can mount it.
    is_ready: bool,
    is_going: bool,
    is_given_up: bool,
    /// The StorageClass of its claim, and the group that owns its bricks, if that is not root.
    gid: Option<Box<(String, i64)>>,
    bricks: Box<[Place]>,
}

#[derive(Debug)]
struct Place {
    brick: Id,
    device: Id,
    node: Id,
    taken: Bytes,
    serves: bool,
}

impl Counts {
    /// What volumes take of a device.
    pub fn on_device(&self, device: Id) -> OnDevice {
        self.devices.get(&device).copied().unwrap_or_default()
    }

    /// Bricks on a node.
    pub fn on_node(&self, node: Id) -> u32 {
        self.nodes.get(&node).copied().unwrap_or_default()
    }

    /// What the volumes of a cluster take.
    pub fn in_cluster(&self, cluster: &str) -> Share {
        self.clusters.get(cluster).copied().unwrap_or_default()
    }

    /// The names of the volumes with a brick on a device or node.
    pub fn volumes_on(&self, place: Id) -> Vec<String> {
        let is_on =
            |volume: &Places| volume.bricks.iter().any(|brick| brick.device == place || brick.node == place);
        self.volumes.iter().filter(|(_, volume)| is_on(volume)).map(|(name, _)| name.to_string()).collect()
    }

    /// The bricks that belong on a node and serve a volume that is ready and stays: the device and the id of each.
    pub fn serving_on(&self, node: Id) -> impl Iterator<Item = (Id, Id)> {
        let stays = self.volumes.values().filter(|volume| volume.is_ready && !volume.is_going);
        let bricks = stays.flat_map(|volume| &volume.bricks);
        bricks
            .filter(move |brick| brick.node == node && brick.serves)
            .map(|brick| (brick.device, brick.brick))
    }

    /// How many volumes clients can mount, and how many not.
    pub fn readiness(&self) -> (usize, usize) {
        (self.ready, self.volumes.len() - self.ready)
    }

    /// The groups of the volumes of a StorageClass.
    pub fn gids(&self, class: &str) -> BTreeSet<i64> {
        let given = self.volumes.values().filter_map(|volume| volume.gid.as_deref());
        given.filter(|(of, _)| of == class).map(|(_, gid)| *gid).collect()
    }

    /// Counts a volume as it is now, or no longer when it is gone.
    fn see(&mut self, name: &Key, volume: Option<&GlusterVolume>) {
        let before = self.volumes.remove(name);
        if let Some(before) = &before {
            self.subtract(before);
        }
        if let Some(volume) = volume {
            let counted = self.places(volume);
            self.add(&counted);
            self.volumes.insert(name.clone(), counted);
        }
    }

    fn places(&self, volume: &GlusterVolume) -> Places {
        let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
        let bricks = placement.map_or(&[][..], |placement| &placement.bricks);
        let class = volume.spec.claim_ref.as_ref().and_then(|claim| claim.storage_class.clone());
        let gid = class.map(|class| (class, volume.spec.gid)).filter(|(_, gid)| *gid != 0);
        Places {
            cluster: placement.map(|placement| shared(&placement.cluster, self.clusters.keys())),
            is_ready: condition_is(volume.conditions(), READY),
            is_going: volume.metadata.deletion_timestamp.is_some(),
            is_given_up: condition_is(volume.conditions(), FAILED),
            gid: gid.map(Box::new),
            bricks: bricks.iter().map(Place::of).collect(),
        }
    }

    fn add(&mut self, volume: &Places) {
        self.ready += usize::from(volume.is_ready);
        if let Some(cluster) = &volume.cluster {
            let share = self.clusters.entry(cluster.clone()).or_default();
            share.volumes += 1;
            share.taken = share.taken.plus(volume.taken());
        }
        for brick in &volume.bricks {
            self.devices.entry(brick.device).or_default().add(brick, volume.is_given_up);
            *self.nodes.entry(brick.node).or_default() += 1;
        }
    }

    fn subtract(&mut self, volume: &Places) {
        self.ready -= usize::from(volume.is_ready);
        if let Some(cluster) = &volume.cluster
            && let Some(share) = self.clusters.get_mut(cluster)
        {
            share.volumes -= 1;
            share.taken = share.taken.minus(volume.taken());
            if share.volumes == 0 {
                self.clusters.remove(cluster);
            }
        }
        for brick in &volume.bricks {
            if let Some(on) = self.devices.get_mut(&brick.device) {
                on.subtract(brick, volume.is_given_up);
                if on.bricks == 0 {
                    self.devices.remove(&brick.device);
                }
            }
            take_one(&mut self.nodes, brick.node);
        }
    }
}

impl Places {
    fn taken(&self) -> Bytes {
        self.bricks.iter().map(|brick| brick.taken).sum()
    }
}

impl OnDevice {
    fn add(&mut self, brick: &Place, is_given_up: bool) {
        self.bricks += 1;
        if !is_given_up {
            self.serving += u32::from(brick.serves);
            self.taken = self.taken.plus(brick.taken);
        }
    }

    fn subtract(&mut self, brick: &Place, is_given_up: bool) {
        self.bricks -= 1;
        if !is_given_up {
            self.serving -= u32::from(brick.serves);
            self.taken = self.taken.minus(brick.taken);
        }
    }
}

impl Place {
    fn of(brick: &PlacedBrick) -> Self {
        let (device, node) = (brick.device, brick.node);
        Self { brick: brick.id, device, node, taken: brick.need(), serves: brick.serves() }
    }
}

/// A text as it is known already, if it is: very many volumes say the same few.
fn shared<'a>(text: &str, mut known: impl Iterator<Item = &'a Arc<str>>) -> Arc<str> {
    known.find(|known| &***known == text).cloned().unwrap_or_else(|| text.into())
}

fn take_one(counts: &mut HashMap<Id, u32>, of: Id) {
    if let Some(count) = counts.get_mut(&of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&of);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::resources::set_condition;

    /// A volume in a cluster with a brick of 2 GiB on each of these devices, all of one node.
    fn volume(cluster: &str, devices: &[&str]) -> GlusterVolume {
        let bricks = devices.iter().map(|device| {
            json!({
                "id": Id::from_uid(device), "device": Id::from_uid(device), "node": Id::from_uid("node"),
                "host": "10.0.0.1", "path": "/b", "size": "1Gi", "poolSize": "1Gi", "poolMetadata": "1Gi",
                "set": 0, "position": 0,
            })
        });
        let placement = json!({ "cluster": cluster, "size": "1Gi", "bricks": bricks.collect::<Vec<_>>() });
        serde_json::from_value(json!({
            "apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterVolume", "metadata": { "name": "v" },
            "spec": { "size": "1Gi" }, "status": { "placement": placement },
        }))
        .unwrap()
    }

    fn see(counts: &mut Counts, name: &str, volume: Option<&GlusterVolume>) {
        counts.see(&name.into(), volume);
    }

    fn on(counts: &Counts, device: &str) -> u32 {
        counts.on_device(Id::from_uid(device)).bricks
    }

    #[test]
    fn a_volume_counts_as_it_was_seen_last() {
        let mut counts = Counts::default();
        see(&mut counts, "one", Some(&volume("c", &["a", "b"])));
        see(&mut counts, "two", Some(&volume("c", &["a"])));
        assert_eq!((on(&counts, "a"), on(&counts, "b"), counts.on_node(Id::from_uid("node"))), (2, 1, 3));
        assert_eq!(counts.in_cluster("c"), Share { volumes: 2, taken: Bytes(6 << 30) });

        see(&mut counts, "one", Some(&volume("d", &["b", "c"])));
        assert_eq!((on(&counts, "a"), on(&counts, "b"), on(&counts, "c")), (1, 1, 1));
        assert_eq!(counts.in_cluster("c"), Share { volumes: 1, taken: Bytes(2 << 30) });
        assert_eq!(counts.in_cluster("d"), Share { volumes: 1, taken: Bytes(4 << 30) });
    }

    #[test]
    fn what_is_gone_or_placed_nowhere_leaves_nothing() {
        let mut counts = Counts::default();
        let mut unplaced = volume("c", &["a"]);
        see(&mut counts, "one", Some(&unplaced));
        see(&mut counts, "two", Some(&unplaced));
        see(&mut counts, "one", None);
        see(&mut counts, "three", None);
        unplaced.status = None;
        see(&mut counts, "two", Some(&unplaced));
        assert_eq!((on(&counts, "a"), counts.on_node(Id::from_uid("node"))), (0, 0));
        assert_eq!(counts.in_cluster("c"), Share::default());
        assert!(counts.devices.is_empty() && counts.clusters.is_empty());
    }

    #[test]
    fn who_is_where_is_told_without_looking_at_all() {
        let mut counts = Counts::default();
        let (node, there) = (Id::from_uid("node"), |counts: &Counts, device: &str| {
            let mut names = counts.volumes_on(Id::from_uid(device));
            names.sort();
            names
        });
        let mut ready = volume("c", &["a", "b"]);
        ready.spec.gid = 2000;
        let claim = json!({ "namespace": "n", "name": "c", "uid": "u", "storageClass": "fast" });
        ready.spec.claim_ref = serde_json::from_value(claim).unwrap();
        let conditions = &mut ready.status.as_mut().unwrap().conditions;
        set_condition(conditions, Timestamp::UNIX_EPOCH, 1, (READY, "True", "Ready"), "it is");
        see(&mut counts, "one", Some(&ready));
        see(&mut counts, "two", Some(&volume("c", &["a"])));
        assert_eq!(there(&counts, "a"), ["one", "two"]);
        assert_eq!(there(&counts, "node"), ["one", "two"]);
        assert_eq!(there(&counts, "b"), ["one"]);
        assert_eq!(counts.readiness(), (1, 1));
        assert_eq!(counts.serving_on(node).count(), 2, "those of the one that is ready");
        assert_eq!((counts.gids("fast"), counts.gids("slow")), (BTreeSet::from([2000]), BTreeSet::new()));
        assert_eq!(
            counts.on_device(Id::from_uid("a")),
            OnDevice { bricks: 2, serving: 2, taken: Bytes(4 << 30) }
        );

        ready.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let failed = &mut ready.status.as_mut().unwrap().conditions;
        set_condition(failed, Timestamp::UNIX_EPOCH, 1, (FAILED, "True", "NoSpace"), "no room");
        see(&mut counts, "one", Some(&ready));
        assert_eq!(counts.serving_on(node).count(), 0);
        assert_eq!(
            counts.on_device(Id::from_uid("a")),
            OnDevice { bricks: 2, serving: 1, taken: Bytes(2 << 30) }
        );
        see(&mut counts, "one", None);
        assert_eq!((counts.readiness(), there(&counts, "b")), ((0, 1), vec![]));
    }
}
