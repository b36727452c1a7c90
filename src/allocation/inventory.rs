//! What there is to place on: the nodes of all clusters, their devices, and what volumes have taken.
//! Free space is derived, never counted: capacity, minus the sum of what was placed, minus room for
//! the spare that LVM keeps beside its largest pool metadata.

use std::collections::{BTreeMap, HashMap};

use crate::units::{Bytes, Id};

/// A node as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The cluster it belongs to.
    pub cluster: Id,
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

    /// Forgets all nodes and devices, so that they can be listed anew; what volumes have taken stays.
    pub fn clear_topology(&mut self) {
        self.nodes.clear();
        self.devices.clear();
        self.by_node.clear();
    }

    /// Adds or changes a device.
    pub fn set_device(&mut self, id: Id, device: Device) {
        let siblings = self.by_node.entry(device.node).or_default();
        if !siblings.contains(&id) {
            siblings.push(id);
        }
        self.devices.insert(id, device);
    }

    /// Says what a volume has taken; replaces what was said of it before. Nothing taken forgets it.
    pub fn set_volume(&mut self, id: Id, taken: Vec<Taken>) {
        let old =
            if taken.is_empty() { self.volumes.remove(&id) } else { self.volumes.insert(id, taken.clone()) };
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
        let largest =
            used.and_then(|used| used.metadata.last_key_value()).map_or(Bytes(0), |(size, _)| *size);
        let spare = largest.max(metadata);
        found.capacity.minus(self.used(device)).minus(spare)
    }

    /// All space on the devices of a cluster, and what is left of it.
    pub fn totals(&self, cluster: Id) -> (Bytes, Bytes) {
        let devices: Vec<Id> =
            self.members(cluster).flat_map(|(id, _)| self.devices_of(*id)).copied().collect();
        let total = devices.iter().filter_map(|id| self.devices.get(id)).map(|device| device.capacity).sum();
        let free = devices.iter().map(|id| self.free(*id, Bytes(0))).sum();
        (total, free)
    }

    /// The nodes of a cluster.
    pub fn members(&self, cluster: Id) -> impl Iterator<Item = (&Id, &Node)> {
        self.nodes.iter().filter(move |(_, node)| node.cluster == cluster)
    }

    /// Whether any device of a cluster takes bricks.
    pub fn any_open(&self, cluster: Id) -> bool {
        let open = |id: &Id| self.devices.get(id).is_some_and(|device| device.closed.is_none());
        self.members(cluster).any(|(id, node)| node.closed.is_none() && self.devices_of(*id).iter().any(open))
    }

    /// A node by its id.
    pub fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The devices of a node.
    pub fn devices_of(&self, node: Id) -> &[Id] {
        self.by_node.get(&node).map_or(&[], Vec::as_slice)
    }
}
