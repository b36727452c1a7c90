//! The rules that every placement keeps: the judge for tests and for what others have placed.

use std::collections::{BTreeMap, BTreeSet};

use super::arbiter::Role;
use super::request::{Layout, ZoneRule};
use super::{Brick, Inventory, Request};
use crate::units::Bytes;

/// What is wrong with a placement; empty when nothing is. When a volume grows, the bricks are those of its
/// new sets.
pub fn check(inventory: &Inventory, request: &Request, bricks: &[Brick]) -> Vec<String> {
    let mut wrong = vec![];
    let mut sets: BTreeMap<usize, Vec<&Brick>> = BTreeMap::new();
    for brick in bricks {
        sets.entry(brick.set).or_default().push(brick);
    }
    sets.iter().for_each(|(set, members)| check_set(inventory, request, *set, members, &mut wrong));
    let expected: Vec<usize> = (request.held..request.held + sets.len()).collect();
    if !sets.keys().eq(&expected) || !bricks.is_sorted_by_key(|brick| (brick.set, brick.position)) {
        wrong.push(format!("the sets do not follow the {} that are there in order", request.held));
    }
    let all = bricks.len() + request.held * request.layout.set_size();
    if bricks.is_empty() || all > request.max_bricks {
        wrong.push(format!("{all} bricks are not between 1 and {}", request.max_bricks));
    }
    check_sizes(request, bricks, sets.len(), &mut wrong);
    check_devices(inventory, request, bricks, &mut wrong);
    wrong
}

fn check_set(
    inventory: &Inventory,
    request: &Request,
    set: usize,
    members: &[&Brick],
    wrong: &mut Vec<String>,
) {
    let size = request.layout.set_size();
    let nodes: BTreeSet<_> = members.iter().map(|brick| brick.node).collect();
    if members.len() != size || !members.iter().map(|brick| brick.position).eq(0..size) {
        wrong.push(format!("set {set} has {} bricks instead of {size}", members.len()));
    }
    if nodes.len() != members.len() {
        wrong.push(format!("set {set} has two bricks on one node"));
    }
    let zones: BTreeSet<_> =
        nodes.iter().filter_map(|node| inventory.node(*node)).map(|node| node.zone).collect();
    if request.zones == ZoneRule::Strict && zones.len() != members.len() {
        wrong.push(format!("set {set} has two bricks in one zone"));
    }
}

fn check_sizes(request: &Request, bricks: &[Brick], sets: usize, wrong: &mut Vec<String>) {
    let is_arbiter = |brick: &Brick| request.is_arbiter(brick.position);
    let sizes: BTreeSet<_> =
        bricks.iter().filter(|brick| !is_arbiter(brick)).map(|brick| brick.need.size).collect();
    if sizes.len() > 1 {
        wrong.push("the bricks differ in size".into());
    }
    let Some(size) = sizes.first() else { return };
    if request.brick_size(sets) != Some(*size) {
        wrong.push(format!("bricks of {size} are not what {sets} sets ask for"));
    }
    let arbiter = request.arbiter_size(*size);
    if bricks.iter().any(|brick| is_arbiter(brick) && brick.need.size != arbiter) {
        wrong.push(format!("an arbiter beside bricks of {size} has {arbiter}"));
    }
}

fn check_devices(inventory: &Inventory, request: &Request, bricks: &[Brick], wrong: &mut Vec<String>) {
    let mut needs: BTreeMap<_, (Bytes, Bytes)> = BTreeMap::new();
    for brick in bricks {
        let need = needs.entry(brick.device).or_default();
        *need = (need.0.plus(brick.need.total()), need.1.max(brick.need.metadata));
        let found = inventory.slot(brick.device).filter(|(member, slot)| {
            slot.device.node == brick.node
                && member.node.cluster == request.cluster
                && request.excluded(brick.node, member, slot).is_none()
        });
        let Some((_, slot)) = found else {
            wrong.push(format!("device {} takes no bricks", brick.device));
            continue;
        };
        if let Layout::Arbiter { .. } = request.layout
            && !Role::of(slot).holds(request.is_arbiter(brick.position))
        {
            wrong.push(format!("device {} does not take this kind of brick", brick.device));
        }
    }
    for (device, (need, metadata)) in needs {
        let free = inventory.free(device, metadata);
        if need > free {
            wrong.push(format!("device {device} has {free} free, and {need} was placed on it"));
        }
    }
}
