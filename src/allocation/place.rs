//! Placing equal bricks on distinct nodes.
//!
//! A volume is cut into `n` sets of `r` equal bricks; the bricks of a set lie on `r` different nodes, and if zones
//! count, at most `m` of them in one zone. A node whose devices have room for `c` such bricks serves at most
//! `min(c, n)` of the sets, and a zone at most `m·n` bricks, so `n` sets fit only if
//! `Σ over zones min(m·n, Σ over its nodes min(c, n)) ≥ r·n`. That bound is reached, in two steps: bricks are given to
//! nodes until there are `r·n` of them (`columns`: the limits nest, so giving them greedily is as good as any way),
//! then they are dealt out to the sets in turn (`dealt`: McNaughton's rule keeps those of a node and of a zone
//! apart). So a set count is refused only when nothing of that shape fits.
//!
//! Each brick goes to the node with the most space: of all ways to place, that keeps the largest `T` with
//! `Σ min(free of a node, T) ≥ r·T`, which is all that volumes placed later can have ([`super::bound`]). The fewest
//! sets that fit win, since fewer bricks mean fewer processes, unless such large bricks cost more of that `T` than the
//! volume has, and little is left to make up for it (`spoilt`).

use std::collections::BTreeMap;

use super::columns::{AMPLE, columns, dealt};
use super::explain::{self, Reasons};
use super::refused::Refused;
use super::request::{Layout, Need, ZoneRule, brick_need};
use super::{Inventory, Request, arbiter, bound};
use crate::units::{Bytes, Id};

/// One brick and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brick {
    /// The device.
    pub device: Id,
    /// The node the device is in.
    pub node: Id,
    /// What it takes there.
    pub need: Need,
    /// The set, from 0.
    pub set: usize,
    /// The position in the set, from 0; an arbiter is the last one.
    pub position: usize,
}

/// Places for all bricks of a request, and why these.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The bricks, set after set.
    pub bricks: Vec<Brick>,
    /// Why these.
    pub reasons: Reasons,
}

/// Finds places for all bricks of a request, or says why there are none. The same inventory and request give the
/// same answer. When a volume grows, only its new sets are placed: sets know nothing of each other, so they may
/// share nodes.
pub fn place(inventory: &Inventory, request: &Request) -> Result<Placement, Refused> {
    search(inventory, request).ok_or_else(|| explain::refused(inventory, request))
}

/// Whether a request has a place.
pub fn fits(inventory: &Inventory, request: &Request) -> bool {
    search(inventory, request).is_some()
}

fn search(inventory: &Inventory, request: &Request) -> Option<Placement> {
    spreads(inventory, request).find_map(|per_zone| search_with(inventory, request, per_zone))
}

/// The fewest sets that fit and spoil nothing; those that spoil least when all do.
fn search_with(inventory: &Inventory, request: &Request, per_zone: usize) -> Option<Placement> {
    let mut best: Option<(Bytes, Placement)> = None;
    let mut too_large = None;
    for sets in 1..=request.max_sets() {
        let Some(size) = request.brick_size(sets) else { continue };
        let Some(mut bricks) = sets_of(inventory, request, sets, size, per_zone) else {
            too_large = if best.is_none() { Some(size) } else { too_large };
            continue;
        };
        let spoilt = spoilt(inventory, request, &bricks);
        if best.as_ref().is_some_and(|(least, _)| spoilt >= *least) {
            continue;
        }
        bricks.iter_mut().for_each(|brick| brick.set += request.held);
        let spared = best.is_some();
        let reasons =
            Reasons { sets, size, layout: request.layout, zones: request.zones, per_zone, too_large, spared };
        best = Some((spoilt, Placement { bricks, reasons }));
        if spoilt == Bytes(0) {
            break;
        }
    }
    best.map(|(_, placement)| placement)
}

/// How many bricks of a set may share a zone: the numbers to try, the safest first.
fn spreads(inventory: &Inventory, request: &Request) -> std::ops::RangeInclusive<usize> {
    let size = request.layout.set_size();
    match request.zones {
        ZoneRule::None => size..=size,
        ZoneRule::Strict => 1..=1,
        ZoneRule::Soft => {
            let mut zones = vec![];
            for (_, member) in inventory.ranked(request.cluster).take_while(|(_, member)| member.free.0 > 0) {
                if !zones.contains(&member.node.zone) {
                    zones.push(member.node.zone);
                }
                if zones.len() == size {
                    break;
                }
            }
            size.div_ceil(zones.len().max(1))..=size
        }
    }
}

/// Places so many sets of bricks of that size.
fn sets_of(
    inventory: &Inventory,
    request: &Request,
    sets: usize,
    size: Bytes,
    per_zone: usize,
) -> Option<Vec<Brick>> {
    let need = brick_need(size, request.snapshot_factor, inventory.extent());
    if let Layout::Arbiter { .. } = request.layout {
        return arbiter::sets_of(inventory, request, sets, need, per_zone);
    }
    let columns = columns(inventory, request, sets, need, per_zone)?;
    let dealt = dealt(columns, sets).into_iter();
    Some(dealt.map(|(set, position, node, device)| Brick { device, node, need, set, position }).collect())
}

/// Where so many times the size of a volume is left, later ones make even what it leaves uneven among the devices of
/// a node.
const AMPLE_ON_NODES: u64 = 5;

/// How far the bricks are from what a placer would do that may cut volumes at will, in bytes of a copy that lie
/// elsewhere. Nothing when ample space is left: what is uneven then is made even by later volumes.
fn spoilt(inventory: &Inventory, request: &Request, bricks: &[Brick]) -> Bytes {
    let copies = request.layout.copies();
    if copies == 1 {
        // All there is can be had, wherever it is.
        return Bytes(0);
    }
    let (nodes, devices) = (given(bricks, |brick| brick.node), given(bricks, |brick| brick.device));
    let share = Bytes(nodes.values().copied().sum::<Bytes>().0 / copies as u64);
    // What `copies` nodes have left can be had for sure. The nodes with the most are looked at, not all of them.
    let first = inventory.ranked(request.cluster).take(copies + nodes.len());
    let mut first: Vec<Bytes> = first.map(|(id, member)| member.free.minus(of(&nodes, id))).collect();
    first.sort_unstable_by(|one, other| other.cmp(one));
    let sure = first.get(copies - 1).map_or(0, |sure| sure.0 / share.0.max(1));
    if sure >= AMPLE {
        return Bytes(0);
    }
    let (ids, free): (Vec<Id>, Vec<Bytes>) =
        inventory.ranked(request.cluster).map(|(id, member)| (id, member.free)).unzip();
    let mut lies_elsewhere = elsewhere(&ids, &bound::even(&free, copies, share), &nodes);
    if sure < AMPLE_ON_NODES {
        let metadata = bricks.iter().map(|brick| brick.need.metadata).max().unwrap_or_default();
        for (id, sum) in &nodes {
            let slots = inventory.member(*id).map_or(&[][..], |member| &member.slots);
            let ids: Vec<Id> = slots.iter().map(|slot| slot.id).collect();
            let free: Vec<Bytes> = slots.iter().map(|slot| slot.free(metadata)).collect();
            let uneven = elsewhere(&ids, &bound::even(&free, 1, *sum), &devices);
            lies_elsewhere = lies_elsewhere.plus(Bytes(uneven.0 / copies as u64));
        }
    }
    // What comes of rounding to extents is nobody's fault.
    if lies_elsewhere.0 < share.0 / 64 { Bytes(0) } else { lies_elsewhere }
}

/// What bricks take, by node or by device.
fn given(bricks: &[Brick], place: impl Fn(&Brick) -> Id) -> BTreeMap<Id, Bytes> {
    let mut given: BTreeMap<Id, Bytes> = BTreeMap::new();
    for brick in bricks {
        let sum = given.entry(place(brick)).or_default();
        *sum = sum.plus(brick.need.total());
    }
    given
}

fn of(given: &BTreeMap<Id, Bytes>, id: Id) -> Bytes {
    given.get(&id).copied().unwrap_or_default()
}

/// How much more than wanted was given to some.
fn elsewhere(ids: &[Id], wanted: &[Bytes], given: &BTreeMap<Id, Bytes>) -> Bytes {
    ids.iter().zip(wanted).map(|(id, wanted)| of(given, *id).minus(*wanted)).sum()
}
