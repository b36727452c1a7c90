//! `/db/check`: whether everything that is known refers to something that is known.
//!
//! Heketi writes each link twice and checks that both ends agree. Here each is written once, so an end cannot
//! disagree; what can be is that something was deleted by force and is still referred to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::super::Face;
use super::super::answer::{self, Answer};
use super::super::view::{self, sees_cluster, sees_device, sees_node};
use super::operations::{Work, of_volume};
use crate::intent::given_up;
use crate::resources::{PlacedBrick, id_of};
use crate::units::Id;

/// What was found of one kind.
#[derive(Debug, Default, Serialize)]
struct Found {
    total: usize,
    pending: usize,
    ok: usize,
    notok: usize,
    /// `null` when there is none.
    inconsistencies: Option<Vec<String>>,
}

impl Found {
    /// Counts one object and what is wrong with it.
    fn count(&mut self, pending: bool, wrong: Vec<String>) {
        self.total += 1;
        self.pending += usize::from(pending);
        if wrong.is_empty() {
            self.ok += 1;
        } else {
            self.notok += 1;
            self.inconsistencies.get_or_insert_default().extend(wrong);
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct Report {
    clusters: Found,
    volumes: Found,
    bricks: Found,
    nodes: Found,
    devices: Found,
    blockvolumes: Found,
    dbattributes: Found,
    pendingoperations: Found,
    totalinconsistencies: usize,
}

/// `GET /db/check`
pub fn get(face: &Face) -> Answer {
    let mut report = Report::default();
    let (clusters, nodes) = (face.intent.clusters.list(), face.intent.nodes.list());
    let known: BTreeSet<String> =
        clusters.iter().filter(|cluster| sees_cluster(cluster)).map(|cluster| cluster.name_any()).collect();
    known.iter().for_each(|_| report.clusters.count(false, vec![]));
    let mut hosts = BTreeMap::new();
    for node in nodes.iter().filter(|node| sees_node(node)) {
        let id = id_of(node.as_ref());
        let unknown = format!("Node {id} unknown cluster {}", node.spec.cluster);
        report.nodes.count(false, refers(known.contains(&node.spec.cluster), unknown));
        hosts.insert(node.name_any(), id);
    }
    let mut disks = BTreeMap::new();
    for device in face.intent.devices.list().iter().filter(|device| sees_device(device)) {
        let id = id_of(device.as_ref());
        let unknown = format!("Device {id} unknown node {}", device.spec.node);
        report.devices.count(false, refers(hosts.contains_key(&device.spec.node), unknown));
        disks.insert(id, hosts.get(&device.spec.node).copied());
    }
    report.volumes(face, &known, &disks);
    let all = [&report.clusters, &report.volumes, &report.bricks, &report.nodes, &report.devices];
    report.totalinconsistencies =
        all.into_iter().filter_map(|found| found.inconsistencies.as_ref()).map(Vec::len).sum();
    answer::indented_json(&report)
}

impl Report {
    fn volumes(&mut self, face: &Face, clusters: &BTreeSet<String>, disks: &BTreeMap<Id, Option<Id>>) {
        let now = Timestamp::now();
        for volume in face.intent.volumes.each() {
            let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
            let Some(placement) = placement.filter(|_| !given_up(volume.conditions())) else { continue };
            let id = id_of(volume.as_ref());
            let operation = of_volume(&volume, now);
            let whole = operation.as_ref().is_some_and(|operation| operation.work != Work::Expand);
            let cluster = view::cluster_of(&volume).is_some_and(|cluster| clusters.contains(cluster));
            let unknown = format!("Volume {id} unknown cluster {}", placement.cluster);
            self.volumes.count(whole, refers(cluster, unknown));
            for brick in &placement.bricks {
                self.bricks.count(whole || brick.adding, wrong_with(brick, disks));
            }
            if operation.is_some() {
                self.pendingoperations.count(true, vec![]);
            }
        }
    }
}

fn wrong_with(brick: &PlacedBrick, disks: &BTreeMap<Id, Option<Id>>) -> Vec<String> {
    let device = disks.get(&brick.device);
    let mut wrong = refers(device.is_some(), format!("Brick {} unknown device {}", brick.id, brick.device));
    let on_node = device.is_none_or(|node| *node == Some(brick.node));
    wrong.extend(refers(on_node, format!("Brick {} unknown node {}", brick.id, brick.node)));
    wrong
}

fn refers(known: bool, otherwise: String) -> Vec<String> {
    if known { vec![] } else { vec![otherwise] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brick_refers_to_its_device_and_node() {
        let id = Id::from_uid;
        let brick = |device: &str, node: &str| {
            let (device, node) = (id(device), id(node));
            let json = serde_json::json!({
                "id": id("b"), "device": device, "node": node, "host": "h", "path": "/p", "size": "1Gi",
                "poolSize": "1Gi", "poolMetadata": "8Mi", "set": 0, "position": 0,
            });
            serde_json::from_value::<PlacedBrick>(json).unwrap()
        };
        let disks = BTreeMap::from([(id("d"), Some(id("n"))), (id("lost"), None)]);
        assert_eq!(wrong_with(&brick("d", "n"), &disks), Vec::<String>::new());
        let unknown = |what: &str, which: &str| format!("Brick {} unknown {what} {}", id("b"), id(which));
        assert_eq!(wrong_with(&brick("x", "n"), &disks), [unknown("device", "x")]);
        assert_eq!(wrong_with(&brick("d", "m"), &disks), [unknown("node", "m")]);
        assert_eq!(wrong_with(&brick("lost", "n"), &disks), [unknown("node", "n")]);
    }
}
