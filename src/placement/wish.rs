//! A volume as a request to the allocator. Pure.

use std::collections::BTreeSet;

use super::Cluster;
use crate::allocation::{self, Layout, Request, ZoneRule};
use crate::resources::{Durability, DurabilityType, GlusterVolume, GlusterVolumeSpec, Sizing, Zones};

/// The whole volume as a request.
pub(super) fn request(cluster: &Cluster, volume: &GlusterVolume) -> Request {
    let status = volume.status.as_ref();
    let avoid = status.map(|status| BTreeSet::from_iter(status.avoid.iter().copied()));
    Request { avoid: avoid.unwrap_or_default(), ..wished(cluster, &volume.spec) }
}

/// A wish as a request.
pub(super) fn wished(cluster: &Cluster, spec: &GlusterVolumeSpec) -> Request {
    Request {
        cluster: cluster.id,
        size: spec.size,
        sizing: match spec.sizing {
            Sizing::Usable => allocation::Sizing::Usable,
            Sizing::Bricks => allocation::Sizing::Bricks,
        },
        layout: layout(&spec.durability),
        zones: match spec.zones {
            Zones::None => ZoneRule::None,
            Zones::Soft => ZoneRule::Soft,
            Zones::Strict => ZoneRule::Strict,
        },
        // The schema keeps out what is no rule.
        tags: spec.device_tags.as_deref().and_then(|rule| rule.parse().ok()),
        brick_min: cluster.limits.brick_min,
        brick_max: cluster.limits.brick_max,
        max_bricks: cluster.limits.bricks_per_volume as usize,
        held: 0,
        snapshot_factor: spec.snapshot_factor,
        avoid: BTreeSet::new(),
        supposed_open: None,
    }
}

fn layout(durability: &Durability) -> Layout {
    let size = durability.set_size();
    match (durability.type_, durability.arbiter) {
        (DurabilityType::None, _) => Layout::Distribute,
        (DurabilityType::Replicate, None) => Layout::Replicate(size),
        (DurabilityType::Replicate, Some(arbiter)) => {
            Layout::Arbiter { average_file: arbiter.average_file_size }
        }
        (DurabilityType::Disperse, _) => {
            let redundancy = durability.redundancy.unwrap_or(2) as usize;
            Layout::Disperse { data: size.saturating_sub(redundancy), redundancy }
        }
    }
}
