//! The rules that every placement keeps: the judge for tests and for what others have placed.

use std::collections::{BTreeMap, BTreeSet};

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
    for (set, members) in &sets {
        let nodes: BTreeSet<_> = members.iter().map(|brick| brick.node).collect();
        if members.len() != request.set_size {
            wrong.push(format!("set {set} has {} bricks instead of {}", members.len(), request.set_size));
        }
        if nodes.len() != members.len() {
            wrong.push(format!("set {set} has two bricks on one node"));
        }
    }
    let expected: Vec<usize> = (request.held..request.held + sets.len()).collect();
    if !sets.keys().eq(&expected) || !bricks.is_sorted_by_key(|brick| (brick.set, brick.position)) {
        wrong.push(format!("the sets do not follow the {} that are there in order", request.held));
    }
    let sizes: BTreeSet<_> = bricks.iter().map(|brick| brick.size).collect();
    if sizes.len() > 1 {
        wrong.push("the bricks differ in size".into());
    }
    if let Some(size) = sizes.first()
        && request.brick_size(sets.len()) != Some(*size)
    {
        wrong.push(format!("bricks of {size} are not what {} sets ask for", sets.len()));
    }
    let all = bricks.len() + request.held * request.set_size;
    if bricks.is_empty() || all > request.max_bricks {
        wrong.push(format!("{all} bricks are not between 1 and {}", request.max_bricks));
    }
    let mut needs: BTreeMap<_, (Bytes, Bytes)> = BTreeMap::new();
    for brick in bricks {
        let need = needs.entry(brick.device).or_default();
        *need = (need.0.plus(brick.pool).plus(brick.metadata), need.1.max(brick.metadata));
        let open = inventory
            .devices
            .get(&brick.device)
            .filter(|device| device.node == brick.node && device.closed.is_none());
        let node_open = inventory
            .nodes
            .get(&brick.node)
            .is_some_and(|node| node.cluster == request.cluster && node.closed.is_none());
        if open.is_none() || !node_open || request.avoid.contains(&brick.device) {
            wrong.push(format!("device {} takes no bricks", brick.device));
        }
    }
    for (device, (need, metadata)) in needs {
        let free = inventory.free(device, metadata);
        if need > free {
            wrong.push(format!("device {device} has {free} free, and {need} was placed on it"));
        }
    }
    wrong
}
