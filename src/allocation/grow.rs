//! Larger bricks where they are.
//!
//! A volume of `n` sets has the size asked for when each of its bricks is as large as those of a new volume of `n`
//! sets would be. Bricks that are that large already stay as they are, so a volume that was added to before becomes
//! more even by growing.

use std::collections::{BTreeMap, BTreeSet};

use super::request::{Need, brick_need};
use super::{Cause, Excluded, Exclusion, Inventory, Refused, Request};
use crate::units::{Bytes, Id};

/// A brick that a volume has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its device.
    pub device: Id,
    /// What it takes there.
    pub need: Need,
    /// Whether it is the arbiter of its set.
    pub arbiter: bool,
}

/// What each brick of a volume takes once the volume has the size of the request, or the devices that have no room
/// for that. The bricks stay on their devices, so tags and zones do not count; a node or device that takes no bricks
/// lets none grow either.
pub fn grow(inventory: &Inventory, request: &Request, bricks: &[Standing]) -> Result<Vec<Need>, Refused> {
    let sets = bricks.len() / request.layout.set_size().max(1);
    let refused = |brick: Option<Bytes>, excluded: Vec<Excluded>| Refused {
        cause: Cause::InPlace { brick, brick_max: request.brick_max },
        excluded,
    };
    // Bricks that are there have a size that was allowed once; only larger ones are held against the limit.
    let Some(size) = request.share(sets).filter(|size| *size <= request.brick_max) else {
        return Err(refused(None, vec![]));
    };
    let grown: Vec<Need> = bricks.iter().map(|brick| grown(inventory, request, brick, size)).collect();
    let mut wanted: BTreeMap<Id, (Bytes, Bytes)> = BTreeMap::new();
    for (brick, grown) in bricks.iter().zip(&grown).filter(|(brick, grown)| brick.need != **grown) {
        let (more, metadata) = wanted.entry(brick.device).or_default();
        *more = more.plus(grown.total().minus(brick.need.total()));
        *metadata = grown.metadata.max(*metadata);
    }
    let full = wanted.into_iter().filter_map(|(device, need)| obstacle(inventory, request, device, need));
    match full.collect::<Vec<_>>() {
        none if none.is_empty() => Ok(grown),
        excluded => Err(refused(Some(size), excluded)),
    }
}

/// A brick beside data bricks of that size. Nothing of it becomes smaller.
fn grown(inventory: &Inventory, request: &Request, brick: &Standing, size: Bytes) -> Need {
    let size = if brick.arbiter { request.arbiter_size(size) } else { size };
    let need = brick_need(size, request.snapshot_factor, inventory.extent());
    if size <= brick.need.size {
        return brick.need;
    }
    Need { size, pool: need.pool.max(brick.need.pool), metadata: need.metadata.max(brick.need.metadata) }
}

/// Why a device does not give so much more, with metadata of that size.
fn obstacle(
    inventory: &Inventory,
    request: &Request,
    device: Id,
    (more, metadata): (Bytes, Bytes),
) -> Option<Excluded> {
    let Some((member, slot)) = inventory.slot(device) else {
        let rule = Exclusion::Closed("is not known any more".into());
        return Some(Excluded { node: format!("device {device}"), device: None, rule });
    };
    // A device that refused a brick of an earlier expansion has room for what it holds.
    let any = Request { tags: None, avoid: BTreeSet::new(), ..request.clone() };
    let free = slot.free(metadata);
    let small = (free < more).then_some(Exclusion::TooSmall { free, need: more });
    let rule = any.excluded(slot.device.node, member, slot).or(small)?;
    Some(Excluded { node: member.node.name.clone(), device: Some(slot.device.path.clone()), rule })
}
