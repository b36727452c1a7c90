//! The largest volume that fits: what a cluster's status tells those who choose where to ask. Found by
//! placing, so that it is never more than what placing would take.

use std::collections::BTreeSet;

use super::{Cluster, Index};
use crate::allocation::{self, Request};
use crate::resources::LargestVolume;
use crate::units::{Bytes, GIB};

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
            none: self.largest_of(found, 1),
            replicate2: self.largest_of(found, 2),
            replicate3: self.largest_of(found, 3),
        }
    }

    fn largest_of(&self, cluster: &Cluster, set_size: usize) -> Bytes {
        let (_, free) = self.inventory.totals(cluster.id);
        let copies = u64::try_from(set_size).unwrap_or(1);
        // What fits lies below `above`, and at `fits` when that is not zero.
        let (mut fits, mut above) = (0, free.0 / copies / GIB + 1);
        while above - fits > 1 {
            let middle = fits + (above - fits) / 2;
            let request = request(cluster, set_size, Bytes::from_gib(middle));
            match allocation::place(&self.inventory, &request, 0) {
                Ok(_) => fits = middle,
                Err(_) => above = middle,
            }
        }
        Bytes::from_gib(fits)
    }
}

fn request(cluster: &Cluster, set_size: usize, size: Bytes) -> Request {
    Request {
        cluster: cluster.id,
        size,
        sizing: allocation::Sizing::Usable,
        set_size,
        brick_min: cluster.limits.brick_min,
        brick_max: cluster.limits.brick_max,
        max_bricks: cluster.limits.bricks_per_volume as usize,
        held: 0,
        snapshot_factor: 1.0,
        avoid: BTreeSet::new(),
    }
}
