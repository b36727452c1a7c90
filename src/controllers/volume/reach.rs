//! The way to the nodes that a volume is on.

use std::sync::Arc;

use crate::controllers::{Context, PassError};
use crate::executor::{RunError, Transport, TransportError};
use crate::resources::{
    GlusterNode, PlacedBrick, Placement, REACHABLE, READY, condition, condition_is, id_of,
};
use crate::units::Id;

/// The way to the nodes of one cluster.
pub struct Reach {
    /// How commands get there.
    pub transport: Arc<dyn Transport>,
    /// The fstab on the nodes.
    pub fstab: String,
    /// The nodes, by id.
    pub nodes: Vec<Arc<GlusterNode>>,
}

impl Reach {
    /// The way to the nodes of the cluster of that name.
    pub async fn of(context: &Context, cluster: &str) -> Result<Self, PassError> {
        let found = context.cluster(cluster)?;
        let transport = context.transports.of(&found).await?;
        let mut nodes = context.caches.nodes.list();
        nodes.retain(|node| node.spec.cluster == cluster);
        nodes.sort_by_cached_key(|node| id_of(node.as_ref()));
        let fstab = crate::controllers::transports::fstab(&found);
        Ok(Self { transport, fstab, nodes })
    }

    /// Where commands for a node go. A node without an object cannot be reached any more.
    pub fn manage_host(&self, node: Id) -> Result<&str, RunError> {
        let found = self.nodes.iter().find(|found| id_of(found.as_ref()) == node);
        found.map(|node| node.manage_host()).ok_or_else(|| {
            let cause = "there is no GlusterNode with this id any more".into();
            RunError::Lost(TransportError::Unreached { host: node.to_string(), cause })
        })
    }

    /// GlusterFS refuses some things while any member is away, and does not say which one it is.
    pub fn explain(&self, error: RunError) -> RunError {
        let away = |node: &&Arc<GlusterNode>| {
            condition(node.conditions(), REACHABLE).is_some_and(|reachable| reachable.status == "False")
        };
        let away: Vec<&str> = self.nodes.iter().filter(away).map(|node| node.manage_host()).collect();
        match error {
            RunError::Refused { host, command, exit, stderr } if !away.is_empty() => {
                let stderr = format!("{stderr} (not reachable: {})", away.join(", "));
                RunError::Refused { host, command, exit, stderr }
            }
            other => other,
        }
    }

    /// The hosts to ask for gluster commands: members of the pool, those with bricks of the volume
    /// first.
    pub fn gluster_hosts(&self, placement: &Placement) -> Vec<&str> {
        let has_brick = |node: &GlusterNode| placement.active().any(|placed| placed.node == id_of(node));
        let mut members: Vec<&Arc<GlusterNode>> =
            self.nodes.iter().filter(|node| condition_is(node.conditions(), READY)).collect();
        if members.is_empty() {
            members = self.nodes.iter().collect();
        }
        members.sort_by_cached_key(|node| !has_brick(node));
        members.into_iter().map(|node| node.manage_host()).collect()
    }

    /// Bricks on nodes that are no working members now, each with what is to be said about it.
    pub fn away<'a>(&self, bricks: &[&'a PlacedBrick]) -> Vec<(&'a PlacedBrick, RunError)> {
        let away = |placed: &&'a PlacedBrick| {
            let node = self.nodes.iter().find(|node| id_of(node.as_ref()) == placed.node)?;
            let ready = condition(node.conditions(), READY)?;
            let host = node.manage_host().to_owned();
            let error = RunError::Lost(TransportError::Unreached { host, cause: ready.message.clone() });
            (ready.status != "True").then_some((*placed, error))
        };
        bricks.iter().filter_map(away).collect()
    }
}
