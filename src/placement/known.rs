//! Clusters, nodes and devices as placement sees them. Pure.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::Cluster;
use crate::allocation::{Device, Node};
use crate::resources::{
    FAILED, GlusterCluster, GlusterDevice, GlusterNode, REACHABLE, READY, State, TransportSpec, condition,
    condition_is, id_of,
};
use crate::units::Id;

pub(super) fn known_cluster(cluster: &GlusterCluster) -> Cluster {
    Cluster {
        id: id_of(cluster),
        name: cluster.name_any(),
        file: cluster.spec.file,
        block: cluster.spec.block,
        limits: cluster.spec.limits,
        transport: transport_name(&cluster.spec.transport).into(),
    }
}

pub(super) fn known_node(node: &GlusterNode, cluster: Id) -> Node {
    let conditions = node.conditions();
    let closed = if node.metadata.deletion_timestamp.is_some() {
        Some("is being removed".to_owned())
    } else if node.spec.state != State::Online {
        Some(format!("is set {}", state_word(node.spec.state)))
    } else if condition(conditions, REACHABLE).is_some_and(|reachable| reachable.status == "False") {
        Some("is unreachable".into())
    } else if !condition_is(conditions, READY) {
        Some("is not ready".into())
    } else {
        None
    };
    // What REST has made is named by its id; people know it by its host.
    let named_by_id = node.name_any() == id_of(node).to_string();
    let name = if named_by_id { node.manage_host().to_owned() } else { node.name_any() };
    let zone = node.spec.zone.or_else(|| node.status.as_ref()?.zone).unwrap_or(1);
    Node { cluster, name, host: node.storage_host().to_owned(), zone, closed }
}

/// A device, with the tags of its node under its own.
pub(super) fn known_device(
    device: &GlusterDevice,
    node: Id,
    tags: &BTreeMap<String, String>,
) -> Option<Device> {
    let closed = if device.metadata.deletion_timestamp.is_some() {
        Some("is being removed".to_owned())
    } else if device.spec.state != State::Online {
        Some(format!("is set {}", state_word(device.spec.state)))
    } else if !condition_is(device.conditions(), READY) {
        Some("is not ready".into())
    } else {
        None
    };
    let capacity = device.status.as_ref().and_then(|status| status.capacity);
    let known = capacity.unwrap_or_default();
    (!condition_is(device.conditions(), FAILED)).then(|| Device {
        node,
        path: device.spec.path.clone(),
        capacity: known.total,
        extent: known.extent,
        tags: tags.iter().chain(&device.spec.tags).map(|(key, value)| (key.clone(), value.clone())).collect(),
        closed,
    })
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Online => "online",
        State::Offline => "offline",
        State::Failed => "failed",
    }
}

/// How nodes are reached, as a status says it. Simulated nodes are loud about it, so that nobody
/// takes them for storage.
pub fn transport_name(transport: &TransportSpec) -> &'static str {
    match (&transport.simulated, &transport.ssh, &transport.pod_exec) {
        (Some(_), _, _) => "SIMULATED",
        (None, Some(_), _) => "ssh",
        (None, None, Some(_)) => "podExec",
        (None, None, None) => "none",
    }
}
