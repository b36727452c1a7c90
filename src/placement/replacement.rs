//! Another place for a brick whose device was given up. Pure.

use std::collections::BTreeSet;

use super::wish::request;
use super::{Cluster, Index, attempt_of};
use crate::allocation::replace::{Lost, replace};
use crate::allocation::{self, Layout, Need, Request};
use crate::resources::{
    DurabilityType, GlusterVolume, PlacedBrick, Placement, READY, Refusal, condition_is, id_of,
};
use crate::units::{Bytes, Id, brick_path};

/// A brick that has to go, and the placement in which another one is to take its place.
#[derive(Debug)]
pub struct Replaced {
    /// The device that is left.
    pub device: Id,
    /// The placement, or why there is none.
    pub placement: Result<Placement, Refusal>,
}

impl Index {
    /// Finds another place for a brick of a volume that is on one of these devices; nothing when none is. Those whose
    /// nodes are away come first: others of their sets may not be spared before. The first that has another place is
    /// taken. The others of its set stay where they are.
    pub fn replace(&self, volume: &GlusterVolume, leaving: &BTreeSet<Id>) -> Option<Replaced> {
        let old = volume.status.as_ref()?.placement.as_ref()?;
        let mut lost: Vec<&PlacedBrick> =
            old.active().filter(|brick| leaving.contains(&brick.device)).collect();
        lost.sort_by_key(|brick| self.answers(brick.node));
        let mut all = lost.iter().map(|brick| Replaced {
            device: brick.device,
            placement: self.replacement(volume, old, brick, leaving),
        });
        let first = all.next()?;
        if first.placement.is_ok() {
            return Some(first);
        }
        all.find(|replaced| replaced.placement.is_ok()).or(Some(first))
    }

    /// Whether a node is a working member of its cluster.
    fn answers(&self, node: Id) -> bool {
        let found = self.nodes.values().find(|found| id_of(found.as_ref()) == node);
        found.is_some_and(|node| condition_is(node.conditions(), READY))
    }

    fn replacement(
        &self,
        volume: &GlusterVolume,
        old: &Placement,
        lost: &PlacedBrick,
        leaving: &BTreeSet<Id>,
    ) -> Result<Placement, Refusal> {
        let Some(cluster) = self.clusters.values().find(|cluster| cluster.name == old.cluster) else {
            let message = format!("there is no GlusterCluster {:?} any more", old.cluster);
            return Err(Refusal { reason: "NoReplacement".into(), message, ..Refusal::default() });
        };
        let refused = |reason: &str, message: String| Refusal {
            cluster: Some(cluster.id),
            reason: reason.into(),
            message,
            ..Refusal::default()
        };
        if volume.spec.durability.type_ == DurabilityType::None {
            let text = format!(
                "each byte of volume {} is on one brick only, so nobody else has the data of brick {}: copy it to \
                 a volume with replicas, and delete this one",
                volume.volume_name(),
                lost.id
            );
            return Err(refused("Unreplaceable", text));
        }
        let set = old.active().filter(|brick| brick.set == lost.set && brick.id != lost.id);
        let others: Vec<Id> = set.map(|brick| brick.node).collect();
        let mut request = request(cluster, volume);
        request.avoid.extend(leaving);
        let lost_brick = Lost { device: lost.device, size: lost.size, arbiter: lost.arbiter, others };
        let Some((device, node, need)) = replace(&self.inventory, &request, &lost_brick) else {
            return Err(refused("NoReplacement", self.no_replacement(cluster, request, lost, &lost_brick)));
        };
        let mut placement = old.clone();
        placement.bricks.push(self.successor(volume, lost, device, node, need));
        Ok(placement)
    }

    fn successor(
        &self,
        volume: &GlusterVolume,
        lost: &PlacedBrick,
        device: Id,
        node: Id,
        need: Need,
    ) -> PlacedBrick {
        let attempt = attempt_of(volume) + 1;
        let id = id_of(volume).derive(&format!("{attempt}/{}/{}", lost.set, lost.position));
        PlacedBrick {
            id,
            device,
            node,
            host: self.inventory.node(node).map(|node| node.host.clone()).unwrap_or_default(),
            path: brick_path(device, id),
            // The size of its set, whatever the factor for snapshots has become.
            size: lost.size,
            pool_size: need.pool,
            pool_metadata: need.metadata,
            growing: false,
            replaces: Some(lost.id),
            ..lost.clone()
        }
    }

    /// Why no other device takes the brick: what a volume of that one brick would be told, away from the nodes of
    /// its set.
    fn no_replacement(
        &self,
        cluster: &Cluster,
        request: Request,
        lost: &PlacedBrick,
        brick: &Lost,
    ) -> String {
        let nodes = brick.others.iter().filter_map(|id| self.inventory.node(*id));
        let names: Vec<&str> = nodes.map(|node| node.host.as_str()).collect();
        let text = format!(
            "no other device of cluster {} can take brick {} of {}: its set has bricks on {} already",
            cluster.name,
            lost.id,
            lost.size,
            names.join(", ")
        );
        let others = self.devices.values().filter(|device| {
            let node = self.nodes.get(&device.spec.node);
            node.is_some_and(|node| brick.others.contains(&id_of(node.as_ref())))
        });
        let mut alone = Request {
            layout: Layout::Distribute,
            size: lost.size,
            sizing: allocation::Sizing::Bricks,
            brick_min: Bytes(0),
            brick_max: lost.size,
            max_bricks: 1,
            ..request
        };
        alone.avoid.extend(others.map(|device| id_of(device.as_ref())));
        match allocation::place(&self.inventory, &alone) {
            Ok(_) => {
                format!("{text}; those elsewhere are in zones of theirs, or for other bricks by their tags")
            }
            Err(refused) => {
                let advice = allocation::advice_as_it_is(&self.inventory, &alone);
                let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
                format!("{text}; {refused}{advice}")
            }
        }
    }
}
