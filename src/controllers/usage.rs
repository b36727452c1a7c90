//! How much of each device, node and cluster the volumes take: counted once, then kept as volumes change. The exact
//! numbers are written at the ordinary looks; what changes between none and some is written at once, since removals
//! depend on it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::reflector::ObjectRef;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use crate::resources::GlusterVolume;
use crate::store::{Cache, Changes, Kind};
use crate::units::{Bytes, Id};

/// How long changes of volumes are gathered before they are counted.
const GATHER: Duration = Duration::from_secs(1);

/// What the volumes of a cache take. Cheap to clone.
#[derive(Clone)]
pub struct Usage {
    volumes: Cache<GlusterVolume>,
    counted: Arc<Counted>,
}

struct Counted {
    changes: Changes<GlusterVolume>,
    now: Mutex<Counts>,
}

impl Usage {
    /// A count of what is there and of all that changes from now on.
    pub fn of(volumes: Cache<GlusterVolume>) -> Self {
        let counted = Counted { changes: volumes.changes(), now: Mutex::default() };
        Self { volumes, counted: Arc::new(counted) }
    }

    /// The numbers as the cache shows the volumes now. Nobody else can look as long as they are held.
    pub fn now(&self) -> MappedMutexGuard<'_, Counts> {
        let mut now = self.counted.now.lock();
        for changed in self.counted.changes.drain() {
            now.see(&changed.name, self.volumes.get_ref(&changed).as_deref());
        }
        MutexGuard::map(now, |now| now)
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
    devices: HashMap<Id, u32>,
    nodes: HashMap<Id, u32>,
    clusters: HashMap<Arc<str>, Share>,
    /// What each volume that was seen has been counted as.
    volumes: HashMap<String, Places>,
}

/// What volumes take of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many there are.
    pub volumes: u32,
    /// What their bricks need on devices, with all that belongs to them.
    pub taken: Bytes,
}

#[derive(Debug)]
struct Places {
    cluster: Arc<str>,
    taken: Bytes,
    /// The device and the node of each brick.
    bricks: Box<[(Id, Id)]>,
}

impl Counts {
    /// Bricks on a device.
    pub fn on_device(&self, device: Id) -> u32 {
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

    /// Counts a volume as it is now, or no longer when it is gone.
    fn see(&mut self, name: &str, volume: Option<&GlusterVolume>) {
        if let Some(before) = self.volumes.remove(name) {
            self.subtract(&before);
        }
        let Some(placement) = volume.and_then(|volume| volume.status.as_ref()?.placement.as_ref()) else {
            return;
        };
        let known = self.clusters.get_key_value(placement.cluster.as_str());
        let counted = Places {
            cluster: known.map_or_else(|| placement.cluster.as_str().into(), |(name, _)| name.clone()),
            taken: placement.bricks.iter().map(|brick| brick.need()).sum(),
            bricks: placement.bricks.iter().map(|brick| (brick.device, brick.node)).collect(),
        };
        let share = self.clusters.entry(counted.cluster.clone()).or_default();
        share.volumes += 1;
        share.taken = share.taken.plus(counted.taken);
        for (device, node) in &counted.bricks {
            *self.devices.entry(*device).or_default() += 1;
            *self.nodes.entry(*node).or_default() += 1;
        }
        self.volumes.insert(name.to_owned(), counted);
    }

    fn subtract(&mut self, volume: &Places) {
        if let Some(share) = self.clusters.get_mut(&volume.cluster) {
            share.volumes -= 1;
            share.taken = share.taken.minus(volume.taken);
            if share.volumes == 0 {
                self.clusters.remove(&volume.cluster);
            }
        }
        for (device, node) in &volume.bricks {
            take_one(&mut self.devices, *device);
            take_one(&mut self.nodes, *node);
        }
    }
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
    use serde_json::json;

    use super::*;

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

    fn on(counts: &Counts, device: &str) -> u32 {
        counts.on_device(Id::from_uid(device))
    }

    #[test]
    fn a_volume_counts_as_it_was_seen_last() {
        let mut counts = Counts::default();
        counts.see("one", Some(&volume("c", &["a", "b"])));
        counts.see("two", Some(&volume("c", &["a"])));
        assert_eq!((on(&counts, "a"), on(&counts, "b"), counts.on_node(Id::from_uid("node"))), (2, 1, 3));
        assert_eq!(counts.in_cluster("c"), Share { volumes: 2, taken: Bytes(6 << 30) });

        counts.see("one", Some(&volume("d", &["b", "c"])));
        assert_eq!((on(&counts, "a"), on(&counts, "b"), on(&counts, "c")), (1, 1, 1));
        assert_eq!(counts.in_cluster("c"), Share { volumes: 1, taken: Bytes(2 << 30) });
        assert_eq!(counts.in_cluster("d"), Share { volumes: 1, taken: Bytes(4 << 30) });
    }

    #[test]
    fn what_is_gone_or_placed_nowhere_leaves_nothing() {
        let mut counts = Counts::default();
        let mut unplaced = volume("c", &["a"]);
        counts.see("one", Some(&unplaced));
        counts.see("two", Some(&unplaced));
        counts.see("one", None);
        counts.see("three", None);
        unplaced.status = None;
        counts.see("two", Some(&unplaced));
        assert_eq!((on(&counts, "a"), counts.on_node(Id::from_uid("node"))), (0, 0));
        assert_eq!(counts.in_cluster("c"), Share::default());
        assert!(counts.volumes.is_empty() && counts.devices.is_empty() && counts.clusters.is_empty());
    }
}
