//! `/nodes`

use http::StatusCode;
use kube::ResourceExt;

use super::Face;
use super::answer::{self, Answer, Refused};
use super::ticket::{Noun, Ticket};
use super::view::{self, sees_device};
use super::wire::{NodeAdd, StateChange, TagsChange};
use super::{check, json};
use crate::intent::{self, AskError, Decision};
use crate::resources::{
    ACCEPTED, GlusterNode, GlusterNodeSpec, Hostnames, OnRefusal, State, condition, id_of,
};
use crate::units::Id;

/// What a change of state comes to.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is so already.
    Stay,
    /// It may be set.
    Set,
    /// It may not.
    Refuse(String),
}

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
    let volumes = face.intent.volumes.list();
    let node_id = id_of(&node);
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

/// `POST /nodes/{id}/state`: 202; the queue tells whether the change was allowed.
pub async fn set_state(face: &Face, id: &str, body: &[u8]) -> Result<Answer, Refused> {
    let request: StateChange = json::read(body)?;
    let wanted = check::state_change(&request)?;
    let node = face.node(id).await?.ok_or_else(Refused::unknown_id)?;
    if wanted == State::Failed && face.volumes.is_full() {
        return Err(Refused::busy());
    }
    let done = match step(&node, wanted) {
        Step::Stay => Ticket::Done,
        Step::Refuse(text) => Ticket::Failed(text),
        Step::Set if wanted == State::Failed => give_up(face, &node).await?,
        Step::Set => {
            put_state(face, &node, wanted).await?;
            Ticket::Done
        }
    };
    Ok(face.accepted(&done))
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

/// Heketi's rules for the states of a node.
fn step(node: &GlusterNode, wanted: State) -> Step {
    match (node.spec.state, wanted) {
        (State::Online, State::Failed) => Step::Refuse(format!(
            "Node must be offline before remove operation is performed, node:{}",
            id_of(node)
        )),
        (State::Failed, State::Online | State::Offline) => {
            Step::Refuse(format!("Cannot move a failed/removed node to {} state", view::state(wanted)))
        }
        (now, wanted) if now == wanted => Step::Stay,
        _ => Step::Set,
    }
}

/// Gives up a node and its devices. Moving bricks elsewhere is not offered yet, so it has none.
async fn give_up(face: &Face, node: &GlusterNode) -> Result<Ticket, Refused> {
    let (name, id) = (node.name_any(), id_of(node));
    let devices = face.intent.devices.list();
    let mine: Vec<_> = devices.iter().filter(|d| d.spec.node == name).collect();
    let used = |device: Id| {
        let holds = |volume: &_| view::has_bricks_on(volume, device);
        face.intent.volumes.find(holds).is_some()
    };
    if let Some(device) = mine.iter().map(|d| id_of(d.as_ref())).find(|id| used(*id)) {
        return Ok(Ticket::Failed(format!(
            "Unable to remove node [{id}] as device [{device}] has bricks: moving bricks to other devices is not offered yet"
        )));
    }
    for device in mine {
        intent::device::set_state(&face.intent, &device.name_any(), State::Failed).await?;
    }
    put_state(face, node, State::Failed).await?;
    Ok(Ticket::Done)
}

async fn put_state(face: &Face, node: &GlusterNode, state: State) -> Result<(), Refused> {
    let name = node.name_any();
    intent::node::set_state(&face.intent, &name, state).await?;
    let seen = |seen: Option<&GlusterNode>| seen.is_none_or(|node| node.spec.state == state);
    face.seen(&face.intent.nodes, &name, seen).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_a_node() {
        let spec = GlusterNodeSpec {
            cluster: "c".into(),
            zone: Some(1),
            hostnames: Hostnames::default(),
            kubernetes_node: None,
            state: State::Online,
            tags: Default::default(),
            on_refusal: OnRefusal::Retry,
        };
        let mut node = GlusterNode::new(&"1".repeat(32), spec);
        node.labels_mut().insert(crate::resources::ID_LABEL.into(), "1".repeat(32));
        let mut try_all = |from, wanted| {
            node.spec.state = from;
            step(&node, wanted)
        };
        use State::{Failed, Offline, Online};
        assert_eq!(try_all(Online, Online), Step::Stay);
        assert_eq!(try_all(Online, Offline), Step::Set);
        let text =
            format!("Node must be offline before remove operation is performed, node:{}", "1".repeat(32));
        assert_eq!(try_all(Online, Failed), Step::Refuse(text));
        assert_eq!(try_all(Offline, Online), Step::Set);
        assert_eq!(try_all(Offline, Failed), Step::Set);
        let text = "Cannot move a failed/removed node to online state";
        assert_eq!(try_all(Failed, Online), Step::Refuse(text.into()));
        let text = "Cannot move a failed/removed node to offline state";
        assert_eq!(try_all(Failed, Offline), Step::Refuse(text.into()));
        assert_eq!(try_all(Failed, Failed), Step::Stay);
    }
}
