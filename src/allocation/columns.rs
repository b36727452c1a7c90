//! How many bricks each node takes, and which sets they belong to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::inventory::Member;
use super::request::Need;
use super::{Inventory, Request};
use crate::units::{Bytes, Id};

/// How many times the size of a volume has to be left for later ones, so that they can make even what it leaves
/// uneven.
pub const AMPLE: u64 = 10;

/// A node that takes bricks, its devices with room for one more at least, and what was put on them.
#[derive(Debug)]
pub struct Column {
    /// The node.
    pub node: Id,
    /// Its zone.
    pub zone: i32,
    /// The space left on the node.
    pub free: Bytes,
    /// The devices of the bricks that it was given.
    pub devices: Vec<Id>,
    slots: Vec<(Bytes, Id)>,
}

impl Column {
    /// The devices of a node that may hold bricks of the request, if any has room for one.
    pub fn of(id: Id, member: &Member, request: &Request, need: Need) -> Option<Self> {
        let slots: Vec<(Bytes, Id)> = member
            .slots
            .iter()
            .filter(|slot| request.excluded(id, member, slot).is_none())
            .map(|slot| (slot.free(need.metadata), slot.id))
            .filter(|(free, _)| *free >= need.total())
            .collect();
        let free = slots.iter().map(|(free, _)| *free).sum::<Bytes>().max(member.free);
        (!slots.is_empty()).then_some(Self { node: id, zone: member.node.zone, free, devices: vec![], slots })
    }

    /// Puts a brick on a device: on the fullest that has room for it, except that the `evenly` ones with the most
    /// space are filled evenly, and last.
    pub fn take(&mut self, need: Bytes, evenly: usize) -> Option<Id> {
        self.slots.sort_unstable_by(|one, other| other.cmp(one));
        let others = self.slots.get(evenly..).unwrap_or_default();
        let at = others.iter().rposition(|(free, _)| *free >= need).map_or(0, |at| evenly + at);
        let (free, device) = self.slots.get_mut(at)?;
        *free = Bytes(free.0.checked_sub(need.0)?);
        self.free = self.free.minus(need);
        self.devices.push(*device);
        Some(*device)
    }

    /// Whether one more brick has room.
    pub fn has_room(&self, need: Bytes) -> bool {
        self.slots.iter().any(|(free, _)| *free >= need)
    }
}

/// Gives `set_size · sets` bricks to nodes, one after the other to the node with the most space left: at most `sets`
/// to a node and `per_zone · sets` to a zone. Nothing when they do not fit.
///
/// The limits nest (devices in nodes in zones), so no choice of the greedy can cost a place: whatever order the
/// bricks are given in, as many fit as fit at all. Nodes are looked at in the order of their space, and no more of
/// them than are needed.
pub fn columns(
    inventory: &Inventory,
    request: &Request,
    sets: usize,
    need: Need,
    per_zone: usize,
) -> Option<Vec<Column>> {
    let wanted = sets * request.layout.set_size();
    if !may_fit(inventory, request, sets, need.total(), wanted) {
        return None;
    }
    let evenly = filled_evenly(inventory, request, need);
    let supposed = request.supposed_node(inventory);
    let mut ranked = inventory.ranked(request.cluster).filter(|(id, _)| supposed != Some(*id)).peekable();
    let mut columns: Vec<Column> = vec![];
    let mut heap: BinaryHeap<(Bytes, Reverse<usize>)> = BinaryHeap::new();
    let mut zones: BTreeMap<i32, usize> = BTreeMap::new();
    let add = |columns: &mut Vec<Column>, heap: &mut BinaryHeap<_>, id: Id, member: &Member| {
        if let Some(column) = Column::of(id, member, request, need) {
            heap.push((column.free, Reverse(columns.len())));
            columns.push(column);
        }
    };
    if let Some((id, member)) = supposed.and_then(|id| Some((id, inventory.member(id)?))) {
        add(&mut columns, &mut heap, id, member);
    }
    for _ in 0..wanted {
        loop {
            let top = heap.peek().map(|(free, _)| *free);
            while let Some((id, member)) = ranked.next_if(|(_, member)| {
                member.free >= need.total() && top.is_none_or(|top| member.free >= top)
            }) {
                add(&mut columns, &mut heap, id, member);
                if top.is_none() && !heap.is_empty() {
                    break;
                }
            }
            let (_, Reverse(at)) = heap.pop()?;
            let column = &mut columns[at];
            let in_zone = zones.entry(column.zone).or_default();
            // A zone that has all its bricks gets no more, so its nodes need not come back.
            if *in_zone >= per_zone * sets {
                continue;
            }
            column.take(need.total(), evenly)?;
            *in_zone += 1;
            if column.devices.len() < sets && column.has_room(need.total()) {
                heap.push((column.free, Reverse(at)));
            }
            break;
        }
    }
    Some(columns)
}

/// How many devices of each node are filled evenly; all while ample space is left. When it gets tight, those that a
/// volume can reach with as many bricks as it may have: the others are filled up first. What is left is then in pieces
/// that one volume can use (filling all evenly to the end leaves 1.4 % of twelve nodes with four devices unused, this
/// nothing: docs/placement.md).
fn filled_evenly(inventory: &Inventory, request: &Request, need: Need) -> usize {
    let share = Bytes(request.size.0 / request.layout.data() as u64);
    if inventory.sure(request, share) >= AMPLE {
        return usize::MAX;
    }
    let open = inventory.ranked(request.cluster).take_while(|(_, member)| member.free >= need.total());
    (request.max_sets() * request.layout.set_size() / open.count().max(1)).max(1)
}

impl Inventory {
    /// How many times a volume that takes `share` of each of its copies can be had for sure, by the nodes with the
    /// most space.
    fn sure(&self, request: &Request, share: Bytes) -> u64 {
        let last = self.ranked(request.cluster).nth(request.layout.copies() - 1);
        last.map_or(0, |(_, member)| member.free.0 / share.0.max(1))
    }
}

/// Whether the bricks might fit if the space of each node were in one piece: quickly said, and mostly right.
fn may_fit(inventory: &Inventory, request: &Request, sets: usize, need: Bytes, wanted: usize) -> bool {
    if request.supposed_open.is_some() {
        return true;
    }
    let rooms = inventory.ranked(request.cluster).map(|(_, member)| member.free.0 / need.0.max(1));
    let mut reached = 0;
    for room in rooms.take_while(|room| *room > 0) {
        reached += usize::try_from(room).unwrap_or(usize::MAX).min(sets);
        if reached >= wanted {
            return true;
        }
    }
    false
}

/// Deals the bricks of the columns out to sets: node after node, zone after zone, brick `k` to set `k mod sets`
/// (McNaughton's rule). The bricks of a node follow one another and are no more than `sets`, so no two of them meet
/// in a set; those of a zone are no more than `per_zone · sets`, so at most `per_zone` of them do. Gives set,
/// position, node and device of each.
pub fn dealt(mut columns: Vec<Column>, sets: usize) -> Vec<(usize, usize, Id, Id)> {
    columns.sort_by_key(|column| (column.zone, column.node));
    let bricks = columns
        .iter()
        .flat_map(|column| column.devices.iter().map(|device| (column.node, *device)))
        .enumerate()
        .map(|(k, (node, device))| (k % sets, k / sets, node, device));
    let mut dealt: Vec<_> = bricks.collect();
    dealt.sort_unstable();
    dealt
}
