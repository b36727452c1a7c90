//! Placing equal bricks on distinct nodes.
//!
//! A volume is cut into `n` sets of `r` equal bricks; the bricks of a set lie on `r` different
//! nodes. A node whose devices have room for `c` such bricks can serve at most `min(c, n)` of the
//! sets, so `n` sets fit only if `Σ min(c, n) ≥ r·n`. That bound is reached: giving each set to the
//! `r` nodes with the most room left never lets the rooms drift apart by more than the bound allows
//! (the argument is the one for scheduling unit jobs of which no two of a group may share a
//! machine). So a set count is refused only when nothing of that shape fits. The fewest sets that
//! fit win: fewer bricks mean fewer processes.

use super::refused::{Excluded, Exclusion, Refused};
use super::{Inventory, Request, brick_need};
use crate::units::{Bytes, Id};

/// One brick and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brick {
    /// The device.
    pub device: Id,
    /// The node the device is in.
    pub node: Id,
    /// The size of the logical volume.
    pub size: Bytes,
    /// The size of the thin pool.
    pub pool: Bytes,
    /// The size of the thin pool's metadata.
    pub metadata: Bytes,
    /// The set, from 0.
    pub set: usize,
    /// The position in the set, from 0.
    pub position: usize,
}

/// A node's open devices with the space left on each.
struct Open {
    node: Id,
    devices: Vec<(Bytes, Id)>,
}

impl Open {
    fn room(&self, need: Bytes) -> u64 {
        self.devices.iter().map(|(free, _)| free.0 / need.0.max(1)).sum()
    }

    fn free(&self) -> Bytes {
        self.devices.iter().map(|(free, _)| *free).sum()
    }
}

/// Finds places for all bricks of a request, or says why there are none. The same inventory,
/// request and seed give the same answer; the seed only breaks ties between equal nodes. When a volume
/// grows, only its new sets are placed: sets know nothing of each other, so they may share nodes.
pub fn place(inventory: &Inventory, request: &Request, seed: u64) -> Result<Vec<Brick>, Refused> {
    let mut tried = None;
    for sets in 1..=request.max_sets() {
        let Some(size) = request.brick_size(sets) else {
            continue;
        };
        if let Some(bricks) = place_sets(inventory, request, sets, size, seed) {
            return Ok(bricks);
        }
        tried = Some(size);
    }
    Err(refusal(inventory, request, tried))
}

fn place_sets(
    inventory: &Inventory,
    request: &Request,
    sets: usize,
    size: Bytes,
    seed: u64,
) -> Option<Vec<Brick>> {
    let mut open = open_nodes(inventory, request, size);
    let extent = extent(inventory);
    let (pool, metadata) = brick_need(size, request.snapshot_factor, extent);
    let need = pool.plus(metadata);
    let wanted = u64::try_from(sets).ok()?;
    let reachable: u64 = open.iter().map(|node| node.room(need).min(wanted)).sum();
    if reachable < wanted * u64::try_from(request.set_size).ok()? {
        return None;
    }
    let mut bricks = Vec::with_capacity(sets * request.set_size);
    for set in 0..sets {
        open.sort_by_cached_key(|node| {
            std::cmp::Reverse((node.room(need), node.free(), tie(node.node, seed)))
        });
        if open.len() < request.set_size {
            return None;
        }
        for (position, node) in open.iter_mut().take(request.set_size).enumerate() {
            let (free, device) = node.devices.iter_mut().max_by_key(|(free, id)| (*free, *id))?;
            if *free < need {
                return None;
            }
            *free = free.minus(need);
            let set = request.held + set;
            bricks.push(Brick { device: *device, node: node.node, size, pool, metadata, set, position });
        }
    }
    Some(bricks)
}

fn open_nodes(inventory: &Inventory, request: &Request, size: Bytes) -> Vec<Open> {
    let (_, metadata) = brick_need(size, request.snapshot_factor, extent(inventory));
    let open_device = |id: &Id| {
        let device = inventory.devices.get(id)?;
        let shut = device.closed.is_some() || request.avoid.contains(id);
        (!shut).then(|| (inventory.free(*id, metadata), *id))
    };
    let nodes = inventory.members(request.cluster).filter(|(_, node)| node.closed.is_none());
    nodes
        .map(|(id, _)| Open {
            node: *id,
            devices: inventory.devices_of(*id).iter().filter_map(open_device).collect(),
        })
        .collect()
}

/// The extent that needs are rounded to: the largest of all devices, so that a brick has the same
/// sizes wherever it goes.
fn extent(inventory: &Inventory) -> Bytes {
    let largest = inventory.devices.values().map(|device| device.extent).max();
    largest.filter(|extent| extent.0 > 0).unwrap_or(Bytes(4 << 20))
}

/// A number that orders equal nodes differently for each seed (Fibonacci hashing of the id's text).
fn tie(node: Id, seed: u64) -> u64 {
    let text = node.to_string();
    text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn refusal(inventory: &Inventory, request: &Request, tried: Option<Bytes>) -> Refused {
    let needed = request.set_size;
    let Some(size) = tried else {
        return Refused::NoShape {
            size: request.size,
            max_bricks: request.max_sets() * request.set_size,
            held: request.held * request.set_size,
            brick_max: request.brick_max,
            brick_min: request.brick_min,
        };
    };
    let (pool, metadata) = brick_need(size, request.snapshot_factor, extent(inventory));
    let need = pool.plus(metadata);
    let mut excluded = vec![];
    let mut with_room = 0;
    for (id, node) in inventory.members(request.cluster) {
        let why = |device: Option<String>, rule| Excluded { node: node.name.clone(), device, rule };
        if let Some(reason) = &node.closed {
            excluded.push(why(None, Exclusion::Closed(reason.clone())));
            continue;
        }
        let before = excluded.len();
        for device_id in inventory.devices_of(*id) {
            let Some(device) = inventory.devices.get(device_id) else {
                continue;
            };
            let free = inventory.free(*device_id, metadata);
            let rule = match &device.closed {
                Some(reason) => Exclusion::Closed(reason.clone()),
                None if request.avoid.contains(device_id) => Exclusion::Avoided,
                None if free < need => Exclusion::TooSmall { free, need },
                None => continue,
            };
            excluded.push(why(Some(device.path.clone()), rule));
        }
        let devices = inventory.devices_of(*id).len();
        if devices == 0 {
            excluded.push(why(None, Exclusion::Closed("has no devices".into())));
        } else if excluded.len() - before < devices {
            with_room += 1;
        }
    }
    Refused::NoRoom { needed, with_room, brick: size, need, excluded }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
