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
    /// The nodes with their ids, in the order of these.
    pub nodes: Vec<(Id, Arc<GlusterNode>)>,
}

impl Reach {
    /// The way to the nodes of the cluster of that name.
    pub async fn of(context: &Context, cluster: &str) -> Result<Self, PassError> {
        let found = context.cluster(cluster)?;
        let transport = context.transports.of(&found).await?;
        let mut nodes = context.caches.nodes.list();
        nodes.retain(|node| node.spec.cluster == cluster);
        let mut nodes: Vec<_> = nodes.into_iter().map(|node| (id_of(node.as_ref()), node)).collect();
        nodes.sort_unstable_by_key(|(id, _)| *id);
        let fstab = crate::controllers::transports::fstab(&found);
        Ok(Self { transport, fstab, nodes })
    }

    /// The node of that id.
    pub fn node(&self, id: Id) -> Option<&Arc<GlusterNode>> {
        let at = self.nodes.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.nodes.get(at).map(|(_, node)| node)
    }

    /// Where commands for a node go. A node without an object cannot be reached any more.
    pub fn manage_host(&self, node: Id) -> Result<&str, RunError> {
        self.node(node).map(|node| node.manage_host()).ok_or_else(|| {
            let cause = "there is no GlusterNode with this id any more".into();
            RunError::Lost(TransportError::Unreached { host: node.to_string(), cause })
        })
    }

    /// GlusterFS refuses some things while any member is away, and does not say which one it is.
    pub fn explain(&self, error: RunError) -> RunError {
        let away = |node: &&Arc<GlusterNode>| {
            condition(node.conditions(), REACHABLE).is_some_and(|reachable| reachable.status == "False")
        };
        let nodes = self.nodes.iter().map(|(_, node)| node);
        let away: Vec<&str> = nodes.filter(away).map(|node| node.manage_host()).collect();
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
        let has_brick = |id: Id| placement.active().any(|placed| placed.node == id);
        let mut members: Vec<_> =
            self.nodes.iter().filter(|(_, node)| condition_is(node.conditions(), READY)).collect();
        if members.is_empty() {
            members = self.nodes.iter().collect();
        }
        members.sort_by_cached_key(|(id, _)| !has_brick(*id));
        members.into_iter().map(|(_, node)| node.manage_host()).collect()
    }

    /// Bricks on nodes that are no working members now, each with what is to be said about it.
    pub fn away<'a>(&self, bricks: &[&'a PlacedBrick]) -> Vec<(&'a PlacedBrick, RunError)> {
        let away = |placed: &&'a PlacedBrick| {
            let node = self.node(placed.node)?;
            let ready = condition(node.conditions(), READY)?;
            let host = node.manage_host().to_owned();
            let error = RunError::Lost(TransportError::Unreached { host, cause: ready.message.clone() });
            (ready.status != "True").then_some((*placed, error))
        };
        bricks.iter().filter_map(away).collect()
    }
}
