//! A new place for one brick of a set whose others stay where they are.

use std::collections::BTreeSet;

use super::columns::Column;
use super::request::{Layout, Need, ZoneRule, brick_need};
use super::{Inventory, Request, arbiter};
use crate::units::{Bytes, Id};

/// The brick that is to go, and the rest of its set.
#[derive(Clone, Debug)]
pub struct Lost {
    /// The device that it is to leave.
    pub device: Id,
    /// Its size; the new one has the same.
    pub size: Bytes,
    /// Whether it is the arbiter of its set.
    pub arbiter: bool,
    /// The nodes of the other bricks of its set.
    pub others: Vec<Id>,
}

/// The device and node for the new brick: on no node of the others and, if zones have to differ, in none of their
/// zones, on the node with the most space. What is replaced is no obstacle: its own node and zone may be used again,
/// its own device may not.
pub fn replace(inventory: &Inventory, request: &Request, lost: &Lost) -> Option<(Id, Id, Need)> {
    let need = brick_need(lost.size, request.snapshot_factor, inventory.extent());
    let mut request = request.clone();
    request.avoid.insert(lost.device);
    let zones: BTreeSet<i32> =
        lost.others.iter().filter_map(|node| inventory.node(*node)).map(|node| node.zone).collect();
    let members: Vec<_> =
        inventory.ranked(request.cluster).filter(|(id, _)| !lost.others.contains(id)).collect();
    if let Layout::Arbiter { .. } = request.layout {
        let slots = members.iter().flat_map(|(_, member)| &member.slots);
        let unfit = slots.filter(|slot| !arbiter::Role::of(slot).holds(lost.arbiter));
        request.avoid.extend(unfit.map(|slot| slot.id));
    }
    let mut columns = members.into_iter().filter_map(|(id, member)| Column::of(id, member, &request, need));
    let mut found = match request.zones {
        ZoneRule::None => columns.next(),
        ZoneRule::Strict => columns.find(|column| !zones.contains(&column.zone)),
        ZoneRule::Soft => {
            let mut columns: Vec<Column> = columns.collect();
            let apart = columns.iter().position(|column| !zones.contains(&column.zone)).unwrap_or_default();
            (apart < columns.len()).then(|| columns.swap_remove(apart))
        }
    }?;
    Some((found.take(need.total(), usize::MAX)?, found.node, need))
}
