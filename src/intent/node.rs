//! Asking for nodes.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::{AskError, Decision, Intent, given_up};
use crate::resources::{GlusterNode, GlusterNodeSpec};
use crate::units::Id;

/// Asks for a node to be taken into its cluster, and waits for the leader to accept its names. The
/// object is named by its id.
pub async fn create(
    intent: &Intent,
    id: Id,
    spec: GlusterNodeSpec,
) -> Result<Decision<GlusterNode>, AskError> {
    let object = GlusterNode::new("", spec);
    intent.create_named(&intent.nodes, id, object, GlusterNode::conditions).await
}

/// Changes the tags of a node: `change` gets those it has and gives back those it is to have.
pub async fn set_tags(
    intent: &Intent,
    name: &str,
    change: impl Fn(BTreeMap<String, String>) -> BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, AskError> {
    let tagged = |node: &mut GlusterNode| node.spec.tags = change(std::mem::take(&mut node.spec.tags));
    Ok(intent.change(name, tagged).await?.spec.tags)
}

/// Removes a node that has no devices.
pub async fn delete(intent: &Intent, node: &GlusterNode) -> Result<(), AskError> {
    let name = node.name_any();
    if intent.devices.find(|device| device.spec.node == name && !given_up(device.conditions())).is_some() {
        return Err(AskError::InUse(format!("node {name} has devices: remove them first")));
    }
    intent.store.delete::<GlusterNode>(&name, node.uid()).await?;
    Ok(())
}
