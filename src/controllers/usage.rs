//! How many bricks are on each device and node. The exact numbers are written at the ordinary looks;
//! what changes between none and some is written at once, since removals depend on it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::reflector::ObjectRef;

use crate::resources::GlusterVolume;
use crate::store::{Caches, Kind};
use crate::units::Id;

/// How long changes of volumes are gathered before they are counted.
const GATHER: Duration = Duration::from_secs(1);

/// Bricks by where they are, those on their way out included.
#[derive(Debug, Default)]
pub struct Usage {
    devices: HashMap<Id, u32>,
    nodes: HashMap<Id, u32>,
    clusters: HashSet<String>,
}

impl Usage {
    /// Counts the bricks of volumes.
    pub fn of(volumes: &[Arc<GlusterVolume>]) -> Self {
        let mut usage = Self::default();
        for volume in volumes {
            let Some(placement) = volume.status.as_ref().and_then(|status| status.placement.as_ref()) else {
                continue;
            };
            usage.clusters.insert(placement.cluster.clone());
            for brick in &placement.bricks {
                *usage.devices.entry(brick.device).or_default() += 1;
                *usage.nodes.entry(brick.node).or_default() += 1;
            }
        }
        usage
    }

    /// Bricks on a device.
    pub fn on_device(&self, device: Id) -> u32 {
        self.devices.get(&device).copied().unwrap_or_default()
    }

    /// Bricks on a node.
    pub fn on_node(&self, node: Id) -> u32 {
        self.nodes.get(&node).copied().unwrap_or_default()
    }

    /// Whether a cluster has volumes.
    pub fn in_cluster(&self, cluster: &str) -> bool {
        self.clusters.contains(cluster)
    }
}

/// Names objects whose written count says none when there are some, or some when there are none.
pub fn wakes<K, F>(caches: &Caches, stale: F) -> impl Stream<Item = ObjectRef<K>> + Send + use<K, F>
where
    K: Kind,
    F: Fn(&Usage) -> Vec<ObjectRef<K>> + Send + 'static,
{
    let volumes = caches.volumes.clone();
    let changes = volumes.changes();
    let counted =
        futures::stream::unfold((changes, volumes, stale), |(changes, volumes, stale)| async move {
            let _ = changes.next().await;
            tokio::time::sleep(GATHER).await;
            changes.drain();
            let found = stale(&Usage::of(&volumes.list()));
            Some((futures::stream::iter(found), (changes, volumes, stale)))
        });
    counted.flatten()
}
