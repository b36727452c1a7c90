//! Asking for clusters.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::json;

use super::{AskError, Intent, given_up, metadata};
use crate::resources::{GlusterCluster, GlusterClusterSpec, id_of};
use crate::units::Id;

/// Makes a cluster; its object is named by its id.
pub async fn create(intent: &Intent, id: Id, spec: GlusterClusterSpec) -> Result<GlusterCluster, AskError> {
    let name = id.to_string();
    let mut object = GlusterCluster::new(&name, spec);
    object.metadata = metadata(&name, id, BTreeMap::new());
    Ok(intent.store.create(&object).await?)
}

/// Says which kinds of volumes a cluster takes.
pub async fn set_flags(intent: &Intent, name: &str, file: bool, block: bool) -> Result<(), AskError> {
    let patch = json!({"spec": {"file": file, "block": block}});
    Ok(intent.store.merge::<GlusterCluster>(name, &patch).await?)
}

/// Removes a cluster that has neither nodes nor volumes.
pub async fn delete(intent: &Intent, cluster: &GlusterCluster) -> Result<(), AskError> {
    let name = cluster.name_any();
    if in_use(intent, &name) {
        return Err(AskError::InUse(format!("cluster {name} has nodes or volumes: remove them first")));
    }
    intent.store.delete::<GlusterCluster>(&name, cluster.uid()).await?;
    Ok(())
}

/// The names of clusters that somebody names by name or by id. What is neither stays as it is: placing
/// names it in its refusal.
pub fn names(intent: &Intent, named: &[String]) -> Vec<String> {
    let name = |text: &String| {
        let is_it =
            |cluster: &GlusterCluster| cluster.name_any() == *text || id_of(cluster).to_string() == *text;
        intent.clusters.find(is_it).map_or_else(|| text.clone(), |cluster| cluster.name_any())
    };
    named.iter().map(name).collect()
}

/// Whether a cluster has nodes or volumes.
pub fn in_use(intent: &Intent, name: &str) -> bool {
    let holds = |cluster: Option<&str>| cluster == Some(name);
    intent.nodes.find(|node| node.spec.cluster == name).is_some()
        || intent
            .volumes
            .find(|volume| {
                let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
                holds(placement.map(|placement| placement.cluster.as_str())) && !given_up(volume.conditions())
            })
            .is_some()
}
