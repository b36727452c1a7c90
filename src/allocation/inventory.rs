//! What there is to place on: the nodes of one cluster, their devices, and what volumes have taken.
//! Free space is derived, never counted: capacity, minus the sum of what was placed, minus room for
//! the spare that LVM keeps beside its largest pool metadata.

use std::collections::{BTreeMap, HashMap};

use crate::units::{Bytes, Id};

/// A node as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, for people.
    pub name: String,
    /// The host that GlusterFS is given.
    pub host: String,
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
    pub(super) nodes: BTreeMap<Id, Node>,
    pub(super) devices: BTreeMap<Id, Device>,
    pub(super) by_node: BTreeMap<Id, Vec<Id>>,
    volumes: HashMap<Id, Vec<Taken>>,
    used: HashMap<Id, Used>,
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
        self.nodes.insert(id, node);
    }

    /// Takes a node away.
    pub fn remove_node(&mut self, id: Id) {
        self.nodes.remove(&id);
    }

    /// Adds or changes a device.
    pub fn set_device(&mut self, id: Id, device: Device) {
        self.remove_device(id);
        self.by_node.entry(device.node).or_default().push(id);
        self.devices.insert(id, device);
    }

    /// Takes a device away.
    pub fn remove_device(&mut self, id: Id) {
        if let Some(old) = self.devices.remove(&id)
            && let Some(siblings) = self.by_node.get_mut(&old.node)
        {
            siblings.retain(|sibling| *sibling != id);
        }
    }

    /// Says what a volume has taken; replaces what was said of it before. Nothing taken forgets it.
    pub fn set_volume(&mut self, id: Id, taken: Vec<Taken>) {
        let old = if taken.is_empty() {
            self.volumes.remove(&id)
        } else {
            self.volumes.insert(id, taken.clone())
        };
        for brick in old.unwrap_or_default() {
            let used = self.used.entry(brick.device).or_default();
            used.bytes = used.bytes.minus(brick.pool.plus(brick.metadata));
            if let Some(count) = used.metadata.get_mut(&brick.metadata) {
                *count -= 1;
                if *count == 0 {
                    used.metadata.remove(&brick.metadata);
                }
            }
        }
        for brick in taken {
            let used = self.used.entry(brick.device).or_default();
            used.bytes = used.bytes.plus(brick.pool.plus(brick.metadata));
            *used.metadata.entry(brick.metadata).or_default() += 1;
        }
    }

    /// What bricks have taken on a device.
    pub fn used(&self, device: Id) -> Bytes {
        self.used.get(&device).map_or(Bytes(0), |used| used.bytes)
    }

    /// The space left on a device for a brick whose pool metadata has this size.
    pub fn free(&self, device: Id, metadata: Bytes) -> Bytes {
        let Some(found) = self.devices.get(&device) else {
            return Bytes(0);
        };
        let used = self.used.get(&device);
        let largest = used
            .and_then(|used| used.metadata.last_key_value())
            .map_or(Bytes(0), |(size, _)| *size);
        let spare = largest.max(metadata);
        found.capacity.minus(self.used(device)).minus(spare)
    }

    /// All space on all devices, and what is left of it.
    pub fn totals(&self) -> (Bytes, Bytes) {
        let total = self.devices.values().map(|device| device.capacity).sum();
        let free = self.devices.keys().map(|id| self.free(*id, Bytes(0))).sum();
        (total, free)
    }

    /// A node by its id.
    pub fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The devices of a node.
    pub fn devices_of(&self, node: Id) -> &[Id] {
        self.by_node.get(&node).map_or(&[], Vec::as_slice)
    }

    /// How many nodes and devices there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.nodes.len(), self.devices.len())
    }
}
