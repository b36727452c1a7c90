//! The largest volume that fits: what a cluster's status tells those who choose where to ask.

use super::wish::wished;
use super::{Cluster, Index};
use crate::allocation;
use crate::resources::{Durability, GlusterVolumeSpec, LargestVolume};
use crate::units::Bytes;

impl Index {
    /// The largest volumes that a cluster takes now, in whole GiB; zero where none fits.
    pub fn largest(&self, cluster: &str) -> LargestVolume {
        let found = self.clusters.values().find(|found| found.name == cluster && found.file);
        let count = self.per_cluster.get(cluster).copied().unwrap_or_default();
        let is_open =
            |cluster: &&Cluster| u32::try_from(cluster.limits.volumes).is_ok_and(|limit| count < limit);
        let unlimited = |cluster: &&Cluster| cluster.limits.volumes < 0;
        let Some(found) = found.filter(|cluster| unlimited(cluster) || is_open(cluster)) else {
            return LargestVolume::default();
        };
        LargestVolume {
            none: self.largest_of(found, Durability::none()),
            replicate2: self.largest_of(found, Durability::replicate(2)),
            replicate3: self.largest_of(found, Durability::replicate(3)),
        }
    }

    fn largest_of(&self, cluster: &Cluster, durability: Durability) -> Bytes {
        let (_, free) = self.inventory.totals(cluster.id);
        let copies = u64::try_from(durability.set_size()).unwrap_or(1);
        let spec = GlusterVolumeSpec { durability, ..GlusterVolumeSpec::sized(Bytes(free.0 / copies)) };
        allocation::largest(&self.inventory, &wished(cluster, &spec))
    }
}
