//! Clusters, nodes and devices as they come, change and go: each change touches what it concerns and no more.

use std::sync::Arc;

use kube::ResourceExt;

use super::Index;
use super::known::{known_cluster, known_device, known_node};
use crate::resources::{FAILED, GlusterCluster, GlusterDevice, GlusterNode, condition_is, id_of};
use crate::units::Id;

impl Index {
    /// Takes in all clusters, nodes and devices that there are, into an index that knows none.
    pub fn set_topology(
        &mut self,
        clusters: &[Arc<GlusterCluster>],
        nodes: &[Arc<GlusterNode>],
        devices: &[Arc<GlusterDevice>],
    ) {
        clusters.iter().for_each(|cluster| self.see_cluster(&cluster.name_any(), Some(cluster)));
        nodes.iter().for_each(|node| self.see_node(&node.name_any(), Some(node.clone())));
        devices.iter().for_each(|device| self.see_device(&device.name_any(), Some(device.clone())));
    }

    /// Takes in a cluster as a cache shows it; nothing when it is gone.
    pub fn see_cluster(&mut self, name: &str, cluster: Option<&GlusterCluster>) {
        let before = self.cluster_id(name);
        let now = cluster.map(known_cluster);
        let same = before == now.as_ref().map(|cluster| cluster.id);
        if let Some(id) = before.filter(|_| !same) {
            self.clusters.remove(&id);
        }
        self.clusters.extend(now.map(|cluster| (cluster.id, cluster)));
        if !same {
            let of_it = self.nodes.values().filter(|node| node.spec.cluster == name);
            for node in of_it.cloned().collect::<Vec<_>>() {
                self.link_node(&node, true);
            }
        }
    }

    /// Takes in a node as a cache shows it; nothing when it is gone.
    pub fn see_node(&mut self, name: &str, node: Option<Arc<GlusterNode>>) {
        let before = match &node {
            Some(node) => self.nodes.insert(name.to_owned(), node.clone()),
            None => self.nodes.remove(name),
        };
        let id = node.as_ref().map(|node| id_of(node.as_ref()));
        if let Some(old) = before.as_ref().map(|old| id_of(old.as_ref())).filter(|old| Some(*old) != id) {
            self.inventory.remove_node(old);
            self.accepted.retain(|_, accepted| *accepted != old);
        }
        let Some(node) = node else { return };
        // A failed ask can still be read for a while, and holds no name.
        if condition_is(node.conditions(), FAILED) {
            self.accepted.retain(|_, accepted| Some(*accepted) != id);
        }
        let is_other =
            before.is_none_or(|old| old.spec.tags != node.spec.tags || Some(id_of(old.as_ref())) != id);
        self.link_node(&node, is_other);
    }

    /// Takes in a device as a cache shows it; nothing when it is gone.
    pub fn see_device(&mut self, name: &str, device: Option<Arc<GlusterDevice>>) {
        let before = match &device {
            Some(device) => self.devices.insert(name.to_owned(), device.clone()),
            None => self.devices.remove(name),
        };
        if let Some(old) = before {
            let (id, of_node) = (id_of(old.as_ref()), self.devices_of.get_mut(&old.spec.node));
            of_node.map(|names| names.remove(name));
            if device.as_ref().is_none_or(|device| id_of(device.as_ref()) != id) {
                self.inventory.remove_device(id);
                self.accepted_disks.retain(|_, accepted| *accepted != id);
            }
        }
        let Some(device) = device else { return };
        self.devices_of.entry(device.spec.node.clone()).or_default().insert(name.to_owned());
        if condition_is(device.conditions(), FAILED) {
            let id = id_of(device.as_ref());
            self.accepted_disks.retain(|_, accepted| *accepted != id);
        }
        self.link_device(&device);
    }

    fn cluster_id(&self, name: &str) -> Option<Id> {
        self.clusters.values().find(|cluster| cluster.name == name).map(|cluster| cluster.id)
    }

    /// Puts a node of a known cluster into the inventory; with its devices when they may be otherwise now.
    fn link_node(&mut self, node: &GlusterNode, and_devices: bool) {
        let Some(cluster) = self.cluster_id(&node.spec.cluster) else {
            self.inventory.remove_node(id_of(node));
            return;
        };
        self.inventory.set_node(id_of(node), known_node(node, cluster));
        if and_devices {
            let names = self.devices_of.get(&node.name_any()).cloned().unwrap_or_default();
            for device in names.iter().filter_map(|name| self.devices.get(name).cloned()).collect::<Vec<_>>()
            {
                self.link_device(&device);
            }
        }
    }

    /// Puts a device of a known node into the inventory.
    fn link_device(&mut self, device: &GlusterDevice) {
        let Some(node) = self.nodes.get(&device.spec.node) else { return };
        match known_device(device, id_of(node.as_ref()), &node.spec.tags) {
            Some(known) => self.inventory.set_device(id_of(device), known),
            None => self.inventory.remove_device(id_of(device)),
        }
    }
}
