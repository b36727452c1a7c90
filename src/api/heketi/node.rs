//! `/nodes`

use http::StatusCode;
use kube::ResourceExt;

use super::Face;
use super::answer::{self, Answer, Refused};
use super::ticket::{Noun, Ticket};
use super::view::{self, sees_device};
use super::wire::{NodeAdd, TagsChange};
use super::{check, json};
use crate::intent::{self, AskError, Decision};
use crate::resources::{ACCEPTED, GlusterNodeSpec, Hostnames, OnRefusal, State, condition, id_of};
use crate::units::Id;

/// `POST /nodes`: 202; the node is under `/nodes/{id}` when the queue says so.
pub async fn create(face: &Face, body: &[u8]) -> Result<Answer, Refused> {
    let request: NodeAdd = json::read(body)?;
    check::node_add(&request)?;
    let no_cluster = || Refused::missing("Cluster id does not exist");
    let cluster = face.cluster(&request.cluster).await?;
    let cluster = cluster.ok_or_else(no_cluster)?;
    let spec = GlusterNodeSpec {
        cluster: cluster.name_any(),
        zone: Some(i32::try_from(request.zone).unwrap_or(i32::MAX)),
        hostnames: Hostnames { manage: request.hostnames.manage, storage: request.hostnames.storage },
        kubernetes_node: None,
        state: State::Online,
        tags: request.tags,
        on_refusal: OnRefusal::Forget,
    };
    let id = Id::random();
    match intent::node::create(&face.intent, id, spec).await? {
        Decision::Accepted(_) => Ok(answer::accepted(&id.to_string())),
        Decision::Refused(node) => {
            let why = condition(node.conditions(), ACCEPTED);
            let (reason, message) = why.map_or(("", ""), |why| (&why.reason, &why.message));
            Err(match reason {
                // The original ends this text, and only this one, with two line ends.
                "HostnameInUse" => Refused::conflict(format!("{message}\n")),
                "ClusterMissing" => no_cluster(),
                _ => Refused::failed(message),
            })
        }
    }
}

/// `GET /nodes/{id}`: the node with its devices and their bricks.
pub async fn info(face: &Face, id: &str) -> Result<Answer, Refused> {
    let node = face.node(id).await?.ok_or_else(Refused::unknown_id)?;
    let name = node.name_any();
    let devices = face.intent.devices.list();
    let devices = devices.iter().filter(|device| device.spec.node == name && sees_device(device));
    let node_id = id_of(&node);
    let volumes = face.intent.volumes_on(node_id);
    let mut usage = view::usage(&volumes, |brick| brick.node == node_id);
    let devices = devices
        .map(|device| {
            let taken = usage.remove(&id_of(device.as_ref())).unwrap_or_default();
            view::device(device, taken)
        })
        .collect();
    let cluster = face.cluster_id(&node.spec.cluster);
    let node = view::node(&node, cluster, devices);
    Ok(answer::json(StatusCode::OK, &node))
}

/// `DELETE /nodes/{id}`: 202 when it has no devices.
pub async fn delete(face: &Face, id: &str) -> Result<Answer, Refused> {
    let node = face.node(id).await?.ok_or_else(Refused::unknown_id)?;
    match intent::node::delete(&face.intent, &node).await {
        Ok(()) => {}
        Err(AskError::InUse(why)) => {
            let text = format!("Unable to delete node [{id}] because it contains devices");
            return Err(Refused::conflict(text).because(why));
        }
        Err(error) => return Err(error.into()),
    }
    face.seen_going(&face.intent.nodes, &node).await;
    Ok(face.accepted(&Ticket::Delete(Noun::Node, node.name_any(), node.uid())))
}

/// `POST /nodes/{id}/tags`: 200 with the marks that it has then.
pub async fn set_tags(face: &Face, id: &str, body: &[u8]) -> Result<Answer, Refused> {
    let request: TagsChange = json::read(body)?;
    let change = check::tags_change(&request)?;
    let node = face.node(id).await?.ok_or_else(Refused::unknown_id)?;
    let name = node.name_any();
    let tags =
        intent::node::set_tags(&face.intent, &name, |had| check::changed_tags(had, change, &request.tags));
    let tags = tags.await?;
    Ok(answer::json(StatusCode::OK, &tags))
}
