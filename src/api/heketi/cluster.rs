//! `/clusters`

use http::StatusCode;
use kube::ResourceExt;

use super::Face;
use super::answer::{self, Answer, Refused};
use super::json;
use super::view::{self, sees_cluster, sees_node};
use super::wire::{ClusterFlags, ClusterList};
use crate::intent::{self, AskError};
use crate::resources::{GlusterCluster, GlusterClusterSpec};
use crate::units::Id;

/// `GET /clusters`: ids in ascending order.
pub async fn list(face: &Face) -> Result<Answer, Refused> {
    let clusters = face.intent.clusters.list();
    let seen = clusters.iter().map(AsRef::as_ref).filter(|c| sees_cluster(c));
    let list = ClusterList { clusters: view::ids(seen) };
    Ok(answer::json(StatusCode::OK, &list))
}

/// `POST /clusters`: 201 with the cluster. A flag that is left out is off.
pub async fn create(face: &Face, body: &[u8]) -> Result<Answer, Refused> {
    let flags: ClusterFlags = json::read(body)?;
    let Some(transport) = face.options.transport.clone() else {
        let text = "this server was not told how to reach the nodes of new clusters: make a GlusterCluster \
                    with kubectl, or set glusterfs.executor and what belongs to it";
        return Err(Refused::bad(text));
    };
    let spec =
        GlusterClusterSpec { file: flags.file, block: flags.block, transport, limits: face.options.limits };
    let made = intent::cluster::create(&face.intent, Id::random(), spec).await?;
    let clusters = &face.intent.clusters;
    face.seen(clusters, &made.name_any(), |seen| seen.is_some()).await;
    let cluster = view::cluster(&made, vec![], vec![]);
    Ok(answer::json(StatusCode::CREATED, &cluster))
}

/// `GET /clusters/{id}`: the cluster with the ids of its nodes and volumes.
pub async fn info(face: &Face, id: &str) -> Result<Answer, Refused> {
    let cluster = face.cluster(id).await?.ok_or_else(Refused::unknown_id)?;
    let (nodes, volumes) = members(face, &cluster);
    let cluster = view::cluster(&cluster, nodes, volumes);
    Ok(answer::json(StatusCode::OK, &cluster))
}

/// `POST /clusters/{id}/flags`: a flag that is left out is cleared. The answer is empty.
pub async fn set_flags(face: &Face, id: &str, body: &[u8]) -> Result<Answer, Refused> {
    let flags: ClusterFlags = json::read(body)?;
    let cluster = face.cluster(id).await?.ok_or_else(Refused::unknown_id)?;
    let (name, file, block) = (cluster.name_any(), flags.file, flags.block);
    intent::cluster::set_flags(&face.intent, &name, file, block).await?;
    Ok(answer::empty_json())
}

/// `DELETE /clusters/{id}`: 200 when it has neither nodes nor volumes.
pub async fn delete(face: &Face, id: &str) -> Result<Answer, Refused> {
    let cluster = face.cluster(id).await?.ok_or_else(Refused::unknown_id)?;
    match intent::cluster::delete(&face.intent, &cluster).await {
        Ok(()) => {}
        Err(AskError::InUse(why)) => {
            let text = format!("Unable to delete cluster [{id}] because it contains volumes and/or nodes");
            return Err(Refused::conflict(text).because(why));
        }
        Err(error) => return Err(error.into()),
    }
    face.seen_going(&face.intent.clusters, &cluster).await;
    Ok(answer::empty(StatusCode::OK))
}

fn members(face: &Face, cluster: &GlusterCluster) -> (Vec<String>, Vec<String>) {
    let name = cluster.name_any();
    let nodes = face.intent.nodes.list();
    let nodes = nodes.iter().map(AsRef::as_ref);
    let nodes = nodes.filter(|node| node.spec.cluster == name && sees_node(node));
    let volumes = face.volumes.in_cluster(&name);
    (view::ids(nodes), volumes.iter().map(ToString::to_string).collect())
}
