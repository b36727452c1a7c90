//! What has to be unique among nodes and devices: host names, machines, disks, the founder of a pool, and the
//! numbers of zones.

use std::collections::HashSet;
use std::sync::Arc;

use kube::ResourceExt;

use super::{Index, Verdict};
use crate::resources::{FAILED, GlusterDevice, GlusterNode, condition_is, id_of};
use crate::units::Id;

impl Index {
    /// Checks that no other node has one of the names.
    pub fn accept_node(&mut self, node: &GlusterNode) -> Verdict {
        let id = id_of(node);
        if !self.clusters.values().any(|cluster| cluster.name == node.spec.cluster) {
            let message = format!("there is no GlusterCluster {:?}: make it", node.spec.cluster);
            return Verdict::Waits { reason: "ClusterMissing", message };
        }
        let names = node.hostnames();
        let mut keys = vec![];
        for (space, hosts) in [("manage", &names.manage), ("storage", &names.storage)] {
            for host in hosts {
                let key = format!("{space} {host}");
                if let Some(other) = self.host_owner(space, host, &key, id) {
                    let message = format!("Hostname {host} already used by {}", self.node_by_name(other));
                    return Verdict::Refused { reason: "HostnameInUse", message };
                }
                keys.push(key);
            }
        }
        if let Some(machine) = kubernetes_node(node) {
            let key = format!("kubernetes {machine}");
            if let Some(other) = self.host_owner("kubernetes", machine, &key, id) {
                let other = self.node_by_name(other);
                let message = format!("Kubernetes node {machine} is {other} already: delete one of the two");
                return Verdict::Refused { reason: "SameMachine", message };
            }
            keys.push(key);
        }
        let chosen = self.founders.get(&node.spec.cluster).copied();
        let chosen = chosen.filter(|chosen| self.nodes.values().any(|node| id_of(node.as_ref()) == *chosen));
        let is_first = chosen.map_or_else(
            || !self.nodes.values().any(|other| self.is_before(other, node)),
            |chosen| chosen == id,
        );
        if is_first {
            self.founders.insert(node.spec.cluster.clone(), id);
        }
        self.accepted.extend(keys.into_iter().map(|key| (key, id)));
        if is_first { Verdict::Founder } else { Verdict::Accepted }
    }

    /// Whether another node of the same cluster was accepted already.
    fn is_before(&self, other: &GlusterNode, node: &GlusterNode) -> bool {
        let id = id_of(other);
        let accepted = condition_is(other.conditions(), crate::resources::ACCEPTED)
            || self.accepted.values().any(|accepted| *accepted == id);
        other.spec.cluster == node.spec.cluster
            && id != id_of(node)
            && accepted
            && other.metadata.deletion_timestamp.is_none()
            && !condition_is(other.conditions(), FAILED)
    }

    /// Checks that no other device has the path on the node.
    pub fn accept_device(&mut self, device: &GlusterDevice) -> Verdict {
        let id = id_of(device);
        let Some(node) = self.nodes.get(&device.spec.node) else {
            let message = format!("there is no GlusterNode {:?}: make it", device.spec.node);
            return Verdict::Waits { reason: "NodeMissing", message };
        };
        if node.metadata.deletion_timestamp.is_some() {
            let message = format!("node {:?} is being removed", device.spec.node);
            return Verdict::Waits { reason: "NodeMissing", message };
        }
        let key = (device.spec.node.clone(), device.spec.path.clone());
        let other = self.accepted_disks.get(&key).copied().or_else(|| {
            let same = |other: &&Arc<GlusterDevice>| {
                other.spec.node == key.0
                    && other.spec.path == key.1
                    && condition_is(other.conditions(), crate::resources::ACCEPTED)
                    && !condition_is(other.conditions(), FAILED)
            };
            self.devices.values().find(same).map(|other| id_of(other.as_ref()))
        });
        if let Some(other) = other.filter(|other| *other != id) {
            let named = self.devices.values().find(|device| id_of(device.as_ref()) == other);
            let named = named.map(|device| device.name_any()).filter(|name| *name != other.to_string());
            let other = named.unwrap_or_else(|| other.to_string());
            let message = format!("{} of node {} is device {other} already", key.1, key.0);
            return Verdict::Refused { reason: "DiskInUse", message };
        }
        self.accepted_disks.insert(key, id);
        Verdict::Accepted
    }

    /// The zone of a node as a number. A zone's name keeps the number that a node of the cluster has
    /// for it; a new name gets the smallest number that no node of the cluster has.
    pub fn zone_of(&mut self, node: &GlusterNode) -> i32 {
        let name = node.status.as_ref().and_then(|status| status.zone_name.clone());
        let (None, Some(name)) = (node.spec.zone, name) else { return node.spec.zone.unwrap_or(1) };
        let key = (node.spec.cluster.clone(), name);
        let others = self.nodes.values().filter(|other| other.spec.cluster == key.0);
        let others: Vec<(Option<&str>, i32)> = others
            .filter_map(|other| {
                let status = other.status.as_ref()?;
                Some((status.zone_name.as_deref(), other.spec.zone.or(status.zone)?))
            })
            .collect();
        let known = others.iter().find(|(name, _)| *name == Some(key.1.as_str())).map(|(_, zone)| *zone);
        if let Some(zone) = known.or_else(|| self.zones.get(&key).copied()) {
            return zone;
        }
        let promised = self.zones.iter().filter(|((cluster, _), _)| *cluster == key.0).map(|(_, zone)| *zone);
        let taken: HashSet<i32> = others.iter().map(|(_, zone)| *zone).chain(promised).collect();
        let zone = (1..).find(|zone| !taken.contains(zone)).unwrap_or(1);
        self.zones.insert(key, zone);
        zone
    }

    /// A node as people know it. What REST has made is named by its id.
    fn node_by_name(&self, id: Id) -> String {
        let found = self.nodes.values().find(|node| id_of(node.as_ref()) == id).map(|node| node.name_any());
        match found.filter(|name| *name != id.to_string()) {
            Some(name) => format!("GlusterNode {name}"),
            None => format!("node with id {id}"),
        }
    }

    fn host_owner(&self, space: &str, host: &str, key: &str, not: Id) -> Option<Id> {
        let has = |node: &&Arc<GlusterNode>| {
            let is_it = match space {
                "manage" => node.hostnames().manage.iter().any(|other| other == host),
                "storage" => node.hostnames().storage.iter().any(|other| other == host),
                _ => kubernetes_node(node) == Some(host),
            };
            condition_is(node.conditions(), crate::resources::ACCEPTED)
                && !condition_is(node.conditions(), FAILED)
                && is_it
        };
        let known = self.accepted.get(key).copied();
        let known = known.or_else(|| self.nodes.values().find(has).map(|node| id_of(node.as_ref())));
        known.filter(|other| *other != not)
    }
}

/// The Kubernetes node that a node was found to be.
fn kubernetes_node(node: &GlusterNode) -> Option<&str> {
    node.spec.kubernetes_node.as_ref()?;
    node.status.as_ref()?.kubernetes_node.as_deref()
}
