//! What would become of a wish, without anything being done.

use kube::ResourceExt;
use serde::Serialize;

use super::Index;
use crate::resources::{GlusterVolume, Refusal, id_of};
use crate::units::{Bytes, Id};

/// What would become of a wish for a volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Whether it has a place.
    pub fits: bool,
    /// The id of the cluster that it would go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Id>,
    /// Why its bricks would lie where they would lie; why it has no place, cluster by cluster, and what would help.
    pub reasons: Vec<String>,
    /// Its bricks, set after set.
    pub bricks: Vec<PlannedBrick>,
    /// Why clusters do not take it, in their order.
    #[serde(skip)]
    pub refusals: Vec<Refusal>,
}

/// A brick that would be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedBrick {
    /// The set, from 0.
    pub set: u32,
    /// The name of its node.
    pub node: String,
    /// The path of its device.
    pub device: String,
    /// The size of its file system, in KiB.
    #[serde(serialize_with = "kib")]
    pub size: Bytes,
    /// What it takes on the device, in KiB.
    #[serde(serialize_with = "kib")]
    pub takes: Bytes,
    /// Whether it is the arbiter of its set.
    pub arbiter: bool,
}

fn kib<S: serde::Serializer>(size: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(size.kib())
}

impl Index {
    /// What would become of a volume that nobody has asked for yet.
    pub fn plan(&self, volume: &GlusterVolume) -> Plan {
        let placed = match self.place(volume, jiff::Timestamp::UNIX_EPOCH) {
            Ok(placed) => placed,
            Err(refusals) => {
                let reasons = refusals.iter().map(|refusal| refusal.message.clone()).collect();
                return Plan { fits: false, cluster: None, reasons, bricks: vec![], refusals };
            }
        };
        let cluster = self.clusters.values().find(|cluster| cluster.name == placed.placement.cluster);
        let bricks = placed.placement.bricks.iter().map(|brick| {
            let device = self.devices.values().find(|device| id_of(device.as_ref()) == brick.device);
            let node = self.nodes.values().find(|node| id_of(node.as_ref()) == brick.node);
            PlannedBrick {
                set: brick.set,
                node: node.map(|node| node.name_any()).unwrap_or_default(),
                device: device.map(|device| device.spec.path.clone()).unwrap_or_default(),
                size: brick.size,
                takes: brick.need(),
                arbiter: brick.arbiter,
            }
        });
        Plan {
            fits: true,
            cluster: cluster.map(|cluster| cluster.id),
            reasons: vec![placed.reasons.to_string()],
            bricks: bricks.collect(),
            refusals: vec![],
        }
    }
}
