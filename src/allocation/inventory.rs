//! What there is to place on: the nodes of all clusters, their devices, and what volumes have taken.
//! Free space is derived, never counted: capacity, minus the sum of what was placed, minus room for
//! the spare that LVM keeps beside its largest pool metadata.
//!
//! Everything that a decision asks for is kept at hand: a change of one volume touches its own devices and the
//! ranks of their nodes, and a decision begins at the nodes with the most space, not at all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::units::{Bytes, Id};

/// The extent of devices that have not told theirs.
const USUAL_EXTENT: Bytes = Bytes(4 << 20);

/// A node as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The cluster it belongs to.
    pub cluster: Id,
    /// Its name, for people.
    pub name: String,
    /// The host that GlusterFS is given.
    pub host: String,
    /// Where it would fail together with others.
    pub zone: i32,
    /// Why it takes no bricks now, in the words of a refusal; nothing if it does.
    pub closed: Option<String>,
}

/// A device as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The node it is in.
    pub node: Id,
    /// Its path, for people.
    pub path: String,
    /// All space in its volume group.
    pub capacity: Bytes,
    /// The size of one extent.
    pub extent: Bytes,
    /// Its tags and those of its node.
    pub tags: BTreeMap<String, String>,
    /// Why it takes no bricks now; nothing if it does.
    pub closed: Option<String>,
}

/// Space that one brick of a volume has on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The device.
    pub device: Id,
    /// The thin pool.
    pub pool: Bytes,
    /// The thin pool's metadata.
    pub metadata: Bytes,
}

/// Nodes, devices, and who has taken what. Updated one volume, node or device at a time.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    nodes: BTreeMap<Id, Member>,
    /// Device → its node.
    places: HashMap<Id, Id>,
    /// Cluster → its nodes by the space on their open devices, those with the least first.
    ranks: BTreeMap<Id, BTreeSet<(Bytes, Id)>>,
    /// How many devices have extents of each size.
    extents: BTreeMap<Bytes, usize>,
    volumes: HashMap<Id, Vec<Taken>>,
    used: HashMap<Id, Used>,
}

/// A node with its devices.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub node: Node,
    pub slots: Vec<Slot>,
    /// The space left on its devices that take bricks; none on a node that takes none.
    pub free: Bytes,
}

/// A device with the space left on it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub id: Id,
    pub device: Device,
    /// What is left when no brick needs a larger spare than those that are there.
    free: Bytes,
    /// The spare that those need.
    spare: Bytes,
}

impl Slot {
    /// What is left for a brick whose pool metadata has this size.
    pub fn free(&self, metadata: Bytes) -> Bytes {
        self.free.minus(metadata.minus(self.spare))
    }
}

#[derive(Clone, Debug, Default)]
struct Used {
    bytes: Bytes,
    /// How many pools have metadata of each size: the largest one decides the spare.
    metadata: BTreeMap<Bytes, u32>,
}

impl Inventory {
    /// Adds or changes a node.
    pub fn set_node(&mut self, id: Id, node: Node) {
        self.unrank(id);
        match self.nodes.get_mut(&id) {
            Some(member) => member.node = node,
            None => {
                self.nodes.insert(id, Member { node, slots: vec![], free: Bytes(0) });
            }
        }
        self.rank(id);
    }

    /// Forgets a node and its devices; what volumes have taken on them stays known.
    pub fn remove_node(&mut self, id: Id) {
        self.unrank(id);
        let Some(member) = self.nodes.remove(&id) else { return };
        for slot in member.slots {
            self.places.remove(&slot.id);
            self.forget_extent(slot.device.extent);
        }
    }

    /// Forgets a device; what volumes have taken on it stays known.
    pub fn remove_device(&mut self, id: Id) {
        let Some(node) = self.places.remove(&id) else { return };
        self.unrank(node);
        if let Some(member) = self.nodes.get_mut(&node)
            && let Some(at) = member.slots.iter().position(|slot| slot.id == id)
        {
            let slot = member.slots.remove(at);
            self.forget_extent(slot.device.extent);
        }
        self.rank(node);
    }

    fn forget_extent(&mut self, extent: Bytes) {
        if let Some(count) = self.extents.get_mut(&extent) {
            *count -= 1;
            if *count == 0 {
                self.extents.remove(&extent);
            }
        }
    }

    /// Adds or changes a device of a node that is there.
    pub fn set_device(&mut self, id: Id, device: Device) {
        let node = device.node;
        if self.places.get(&id).is_some_and(|before| *before != node) {
            self.remove_device(id);
        }
        let Some(member) = self.nodes.get_mut(&node) else { return };
        *self.extents.entry(device.extent).or_default() += 1;
        let slot = Slot { id, device, free: Bytes(0), spare: Bytes(0) };
        let before = match member.slots.iter_mut().find(|slot| slot.id == id) {
            Some(before) => Some(std::mem::replace(before, slot)),
            None => {
                member.slots.push(slot);
                None
            }
        };
        if let Some(before) = before {
            self.forget_extent(before.device.extent);
        }
        self.places.insert(id, node);
        self.measure(id);
    }

    /// Says what a volume has taken; replaces what was said of it before. Nothing taken forgets it.
    pub fn set_volume(&mut self, id: Id, taken: Vec<Taken>) {
        let old =
            if taken.is_empty() { self.volumes.remove(&id) } else { self.volumes.insert(id, taken.clone()) };
        let old = old.unwrap_or_default();
        for brick in &old {
            let used = self.used.entry(brick.device).or_default();
            used.bytes = used.bytes.minus(brick.pool.plus(brick.metadata));
            if let Some(count) = used.metadata.get_mut(&brick.metadata) {
                *count -= 1;
                if *count == 0 {
                    used.metadata.remove(&brick.metadata);
                }
            }
        }
        for brick in &taken {
            let used = self.used.entry(brick.device).or_default();
            used.bytes = used.bytes.plus(brick.pool.plus(brick.metadata));
            *used.metadata.entry(brick.metadata).or_default() += 1;
        }
        let touched: BTreeSet<Id> = old.iter().chain(&taken).map(|brick| brick.device).collect();
        touched.into_iter().for_each(|device| self.measure(device));
    }

    /// Derives the space of a device and the rank of its node anew.
    fn measure(&mut self, device: Id) {
        let Some(node) = self.places.get(&device).copied() else { return };
        let used = self.used.get(&device);
        let spare = used.and_then(|used| used.metadata.last_key_value()).map_or(Bytes(0), |(size, _)| *size);
        let bytes = used.map_or(Bytes(0), |used| used.bytes);
        let slots = self.nodes.get_mut(&node).map(|member| &mut member.slots);
        if let Some(slot) = slots.and_then(|slots| slots.iter_mut().find(|slot| slot.id == device)) {
            slot.free = slot.device.capacity.minus(bytes).minus(spare);
            slot.spare = spare;
        }
        self.unrank(node);
        self.rank(node);
    }

    fn unrank(&mut self, node: Id) {
        if let Some(member) = self.nodes.get(&node)
            && let Some(ranks) = self.ranks.get_mut(&member.node.cluster)
        {
            ranks.remove(&(member.free, node));
        }
    }

    fn rank(&mut self, node: Id) {
        let Some(member) = self.nodes.get_mut(&node) else { return };
        let open = member.slots.iter().filter(|slot| slot.device.closed.is_none());
        member.free = if member.node.closed.is_some() { Bytes(0) } else { open.map(|slot| slot.free).sum() };
        self.ranks.entry(member.node.cluster).or_default().insert((member.free, node));
    }

    /// The nodes of a cluster, those with the most space first.
    pub(super) fn ranked(&self, cluster: Id) -> impl Iterator<Item = (Id, &Member)> {
        let ranks = self.ranks.get(&cluster).into_iter().flatten().rev();
        ranks.filter_map(|(_, id)| Some((*id, self.nodes.get(id)?)))
    }

    /// The space left on a device for a brick whose pool metadata has this size.
    pub fn free(&self, device: Id, metadata: Bytes) -> Bytes {
        self.slot(device).map_or(Bytes(0), |(_, slot)| slot.free(metadata))
    }

    /// A device and its node.
    pub(super) fn slot(&self, device: Id) -> Option<(&Member, &Slot)> {
        let member = self.nodes.get(self.places.get(&device)?)?;
        Some((member, member.slots.iter().find(|slot| slot.id == device)?))
    }

    /// The extent that needs are rounded to: the largest of all devices, so that a brick has the same
    /// sizes wherever it goes.
    pub(super) fn extent(&self) -> Bytes {
        let largest = self.extents.last_key_value().map(|(extent, _)| *extent);
        largest.filter(|extent| extent.0 > 0).unwrap_or(USUAL_EXTENT)
    }

    /// All space on the devices of a cluster, and what is left of it.
    pub fn totals(&self, cluster: Id) -> (Bytes, Bytes) {
        let slots = || self.ranked(cluster).flat_map(|(_, member)| &member.slots);
        (slots().map(|slot| slot.device.capacity).sum(), slots().map(|slot| slot.free).sum())
    }

    /// What is left on the devices of a cluster that take bricks.
    pub fn open_space(&self, cluster: Id) -> Bytes {
        self.ranked(cluster).map(|(_, member)| member.free).sum()
    }

    /// Whether a cluster has nodes.
    pub fn has_nodes(&self, cluster: Id) -> bool {
        self.ranked(cluster).next().is_some()
    }

    /// Whether any device of a cluster takes bricks.
    pub fn any_open(&self, cluster: Id) -> bool {
        self.ranked(cluster).any(|(_, member)| {
            member.node.closed.is_none() && member.slots.iter().any(|slot| slot.device.closed.is_none())
        })
    }

    /// A node with its devices.
    pub(super) fn member(&self, id: Id) -> Option<&Member> {
        self.nodes.get(&id)
    }

    /// A node by its id.
    pub fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(&id).map(|member| &member.node)
    }
}
