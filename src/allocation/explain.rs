//! Saying why: why a request has no place, and why a placement is as it is.

use std::collections::BTreeSet;
use std::fmt;

use super::columns::Column;
use super::inventory::{Member, Slot};
use super::place::fits;
use super::refused::{Cause, Excluded, Exclusion, Refused, short};
use super::request::{Layout, Need, ZoneRule, brick_need};
use super::{Inventory, Request};
use crate::units::{Bytes, Id};

/// The most bricks that a raised limit is suggested for.
pub(super) const MOST_BRICKS: usize = 1024;

/// Why a placement is as it is.
#[derive(Clone, Debug)]
pub struct Reasons {
    /// How many sets were placed.
    pub sets: usize,
    /// The size of a brick.
    pub size: Bytes,
    /// What a set is made of.
    pub layout: Layout,
    /// The rule about zones.
    pub zones: ZoneRule,
    /// How many bricks of a set may share a zone.
    pub per_zone: usize,
    /// The size of a brick with fewer sets, if that was allowed and had no room.
    pub too_large: Option<Bytes>,
    /// Whether fewer sets would have had room, and were spared for the sake of later volumes.
    pub spared: bool,
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sets, size) = (self.sets, short(self.size));
        write!(f, "{sets} set{} of {} bricks of {size}", plural(sets), self.layout.set_size())?;
        match self.too_large {
            _ if self.spared => write!(f, ", since larger bricks would leave less for later volumes")?,
            Some(brick) => write!(f, ", since bricks of {} have no room", short(brick))?,
            None if self.sets > 1 => write!(f, ", since fewer bricks would be larger than allowed")?,
            None => {}
        }
        write!(f, "; on the nodes with the most space")?;
        match (self.zones, self.per_zone) {
            (ZoneRule::None, _) => Ok(()),
            (_, 1) => write!(f, ", each brick of a set in a zone of its own"),
            (_, shared) => write!(f, ", up to {shared} bricks of a set in one zone: more zones have no room"),
        }
    }
}

pub(super) fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl Request {
    /// Why a device takes no brick of this request, whatever space it has.
    pub(super) fn excluded(&self, node: Id, member: &Member, slot: &Slot) -> Option<Exclusion> {
        let supposed = |id: Id| self.supposed_open == Some(id);
        if let Some(reason) = member.node.closed.as_ref().filter(|_| !supposed(node)) {
            return Some(Exclusion::Closed(reason.clone()));
        }
        if let Some(reason) = slot.device.closed.as_ref().filter(|_| !supposed(slot.id)) {
            return Some(Exclusion::Closed(reason.clone()));
        }
        if self.avoid.contains(&slot.id) {
            return Some(Exclusion::Avoided);
        }
        let rule = self.tags.as_ref()?;
        let value = slot.device.tags.get(&rule.key);
        (!rule.admits(value.map(String::as_str))).then(|| Exclusion::Tag(rule.clone(), value.cloned()))
    }

    /// The node of what is supposed to be open.
    pub(super) fn supposed_node(&self, inventory: &Inventory) -> Option<Id> {
        let id = self.supposed_open?;
        inventory.slot(id).map_or(Some(id), |(_, slot)| Some(slot.device.node))
    }
}

/// Why a request that has no place has none.
pub fn refused(inventory: &Inventory, request: &Request) -> Refused {
    let allowed: Vec<usize> =
        (1..=request.max_sets()).filter(|sets| request.brick_size(*sets).is_some()).collect();
    let Some(size) = allowed.last().and_then(|sets| request.brick_size(*sets)) else {
        return Refused { cause: no_shape(request), excluded: vec![] };
    };
    let need = brick_need(size, request.snapshot_factor, inventory.extent());
    let mut excluded = vec![];
    let (mut nodes, mut zones) = (0, BTreeSet::new());
    let mut members: Vec<(Id, &Member)> = inventory.ranked(request.cluster).collect();
    members.sort_by(|(_, one), (_, other)| one.node.name.cmp(&other.node.name));
    for (id, member) in &members {
        if Column::of(*id, member, request, need).is_some() {
            nodes += 1;
            zones.insert(member.node.zone);
        } else {
            excluded.extend(why_not(*id, member, request, need));
        }
    }
    let by_zone = request.zones == ZoneRule::Strict;
    let needed = request.layout.set_size();
    let with_room = if by_zone { zones.len() } else { nodes };
    let cause = match request.layout {
        Layout::Arbiter { .. } if with_room + 1 >= needed && nodes >= 2 => {
            no_arbiter(inventory, request, size)
        }
        _ => None,
    };
    let no_room = Cause::NoRoom { zones: by_zone, needed, with_room, brick: size, need: need.total() };
    Refused { cause: cause.unwrap_or(no_room), excluded }
}

/// No number of bricks within the limits gives the size: too many would be needed, or they are too small.
fn no_shape(request: &Request) -> Cause {
    let set_size = request.layout.set_size();
    let parts = request.layout.data();
    let brick = Bytes(request.size.0 / parts.max(1) as u64);
    if brick < request.smallest() {
        return Cause::BrickMinimum { size: request.size, brick, brick_min: request.smallest() };
    }
    let fewest = (1..=MOST_BRICKS).find(|sets| request.brick_size(*sets).is_some()).unwrap_or(MOST_BRICKS);
    Cause::BrickCount {
        size: request.size,
        needed: fewest * set_size,
        limit: request.max_bricks,
        held: request.held * set_size,
        brick_max: request.brick_max,
    }
}

/// Whether what is missing is a device for the arbiter.
fn no_arbiter(inventory: &Inventory, request: &Request, size: Bytes) -> Option<Cause> {
    let plain = Request { layout: Layout::Replicate(2), ..request.clone() };
    let brick = request.arbiter_size(size);
    let need = brick_need(brick, request.snapshot_factor, inventory.extent());
    let holds = |(id, member): &(Id, &Member)| {
        member.slots.iter().any(|slot| {
            super::arbiter::Role::of(slot).holds(true)
                && request.excluded(*id, member, slot).is_none()
                && slot.free(need.metadata) >= need.total()
        })
    };
    let with_room = inventory.ranked(request.cluster).filter(holds).count();
    fits(inventory, &plain).then_some(Cause::NoArbiter { brick, with_room })
}

/// What excludes a node: one line when one rule does, else one for each of its devices.
fn why_not(id: Id, member: &Member, request: &Request, need: Need) -> Vec<Excluded> {
    let why = |device: Option<String>, rule| Excluded { node: member.node.name.clone(), device, rule };
    if let Some(reason) = member.node.closed.as_ref().filter(|_| request.supposed_open != Some(id)) {
        return vec![why(None, Exclusion::Closed(reason.clone()))];
    }
    if member.slots.is_empty() {
        return vec![why(None, Exclusion::Empty)];
    }
    let rule = |slot: &Slot| {
        let small = Exclusion::TooSmall { free: slot.free(need.metadata), need: need.total() };
        request.excluded(id, member, slot).unwrap_or(small)
    };
    let rules: Vec<(String, Exclusion)> =
        member.slots.iter().map(|slot| (slot.device.path.clone(), rule(slot))).collect();
    let small = rules.iter().filter_map(|(_, rule)| match rule {
        Exclusion::TooSmall { free, .. } => Some(*free),
        _ => None,
    });
    match small.clone().max() {
        Some(free) if rules.len() > 1 && small.count() == rules.len() => {
            vec![why(None, Exclusion::TooSmall { free, need: need.total() })]
        }
        _ => rules.into_iter().map(|(path, rule)| why(Some(path), rule)).collect(),
    }
}
