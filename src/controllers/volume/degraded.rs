//! Whether a volume has all its bricks, by what is known of nodes and devices. Pure, and no command
//! is run for it.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::resources::{
    DEGRADED, GlusterDevice, GlusterNode, GlusterVolume, REACHABLE, READY, State, condition, condition_is,
    id_of, set_condition,
};
use crate::units::Id;

/// How many bricks that are away a condition names.
const NAMED: usize = 8;

/// What bricks are on: nodes and devices by id.
pub struct Places {
    nodes: HashMap<Id, Arc<GlusterNode>>,
    devices: HashMap<Id, Arc<GlusterDevice>>,
}

impl Places {
    /// The places by what was last seen.
    pub fn new(
        nodes: impl Iterator<Item = Arc<GlusterNode>>,
        devices: impl Iterator<Item = Arc<GlusterDevice>>,
    ) -> Self {
        let nodes = nodes.map(|node| (id_of(node.as_ref()), node)).collect();
        let devices = devices.map(|device| (id_of(device.as_ref()), device)).collect();
        Self { nodes, devices }
    }

    /// Why a brick there does not serve, as far as one knows.
    fn trouble(&self, node: Id, device: Id) -> Option<String> {
        match self.nodes.get(&node) {
            None => return Some("its node has no object any more".into()),
            Some(node) if node_is_away(node) => {
                return Some(format!("node {} does not answer", shown(node)));
            }
            Some(node) if node.spec.state == State::Failed => {
                return Some(format!("node {} is given up", shown(node)));
            }
            Some(_) => {}
        }
        match self.devices.get(&device) {
            None => Some("its device has no object any more".into()),
            Some(device) if device_is_broken(device) => {
                Some(format!("device {} is broken", device.name_any()))
            }
            Some(device) if device.spec.state == State::Failed => {
                Some(format!("device {} is given up", device.name_any()))
            }
            Some(_) => None,
        }
    }
}

/// A node as people know it: what REST has made is named by its id.
fn shown(node: &GlusterNode) -> String {
    let named_by_id = node.name_any() == id_of(node).to_string();
    if named_by_id { node.manage_host().to_owned() } else { node.name_any() }
}

/// Whether a node does not answer.
pub fn node_is_away(node: &GlusterNode) -> bool {
    condition(node.conditions(), REACHABLE).is_some_and(|reachable| reachable.status == "False")
}

/// Whether a device that was prepared once is not what it was.
pub fn device_is_broken(device: &GlusterDevice) -> bool {
    condition(device.conditions(), READY)
        .is_some_and(|ready| ready.status == "False" && ready.reason == "Broken")
}

/// The volume with what is known about its bricks, if that is news. As long as no brick was ever
/// away, nothing is said: most volumes are never written for it.
pub fn judged(volume: &GlusterVolume, places: &Places, now: Timestamp) -> Option<GlusterVolume> {
    let placement = volume.status.as_ref()?.placement.as_ref()?;
    if !condition_is(volume.conditions(), READY) || volume.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let away: Vec<String> = placement
        .active()
        .filter_map(|brick| {
            Some(format!("{}: {}", brick.address(), places.trouble(brick.node, brick.device)?))
        })
        .collect();
    let generation = volume.metadata.generation.unwrap_or_default();
    let mut judged = volume.clone();
    let conditions = &mut judged.status.get_or_insert_default().conditions;
    let changed = if !away.is_empty() {
        let all = placement.active().count();
        let named = away.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        let text = format!("{} of {all} bricks are away: {named}", away.len());
        set_condition(conditions, now, generation, (DEGRADED, "True", "BrickAway"), text)
    } else if condition(conditions, DEGRADED).is_some() {
        set_condition(
            conditions,
            now,
            generation,
            (DEGRADED, "False", "AllBricks"),
            "all bricks are where they belong",
        )
    } else {
        false
    };
    changed.then_some(judged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, body: serde_json::Value) -> K {
        let mut object = json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "uid": name, "generation": 1}});
        object.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        serde_json::from_value(object).unwrap()
    }

    fn conditions(type_: &str, status: &str, reason: &str) -> serde_json::Value {
        json!({"conditions": [{"type": type_, "status": status, "reason": reason,
            "lastTransitionTime": "1970-01-01T00:00:00Z"}]})
    }

    fn world(reachable: &str, device: &str) -> (GlusterVolume, Places) {
        let spec = json!({"cluster": "c", "hostnames": {"manage": ["m"], "storage": ["s"]}});
        let seen = conditions("Reachable", reachable, "NoAnswer");
        let node: GlusterNode = object("GlusterNode", "n", json!({"spec": spec, "status": seen}));
        let spec = json!({"node": "n", "path": "/dev/sdb", "state": device});
        let device: GlusterDevice = object("GlusterDevice", "d", json!({"spec": spec}));
        let mut status = conditions("Ready", "True", "Started");
        let brick = json!({"id": Id::from_uid("b"), "device": id_of(&device), "node": id_of(&node), "host": "s",
            "path": "/b", "size": "1Gi", "poolSize": "1Gi", "poolMetadata": "8Mi", "set": 0, "position": 0});
        status["placement"] = json!({"cluster": "c", "bricks": [brick]});
        let volume = object("GlusterVolume", "v", json!({"spec": {"size": "1Gi"}, "status": status}));
        (volume, Places::new([Arc::new(node)].into_iter(), [Arc::new(device)].into_iter()))
    }

    #[test]
    fn a_brick_that_is_away_is_named_and_its_return_too() {
        let now = Timestamp::UNIX_EPOCH;
        let (volume, well) = world("True", "online");
        assert!(judged(&volume, &well, now).is_none(), "nothing is said as long as nothing was wrong");
        let (_, away) = world("False", "online");
        let degraded = judged(&volume, &away, now).unwrap();
        let told = condition(degraded.conditions(), DEGRADED).unwrap();
        assert_eq!(told.message, "1 of 1 bricks are away: s:/b: node n does not answer");
        assert!(judged(&degraded, &away, now).is_none(), "told once");
        let whole = judged(&degraded, &well, now).unwrap();
        assert_eq!(condition(whole.conditions(), DEGRADED).unwrap().status, "False");
        let (_, given_up) = world("True", "failed");
        let told = judged(&volume, &given_up, now).unwrap();
        assert!(condition(told.conditions(), DEGRADED).unwrap().message.contains("device d is given up"));
    }
}
