//! `/devices`

use http::StatusCode;
use kube::ResourceExt;

use super::Face;
use super::answer::{self, Answer, Refused};
use super::state;
use super::ticket::{Noun, Ticket};
use super::view::{self, sees_device};
use super::wire::{DeviceAdd, DeviceDelete, TagsChange};
use super::{check, json};
use crate::intent::{self, AskError, Decision};
use crate::resources::{ACCEPTED, GlusterDevice, GlusterDeviceSpec, OnRefusal, State, condition, id_of};
use crate::units::Id;

/// `POST /devices`: 202; the queue ends with 204 and does not tell the id of the device.
pub async fn create(face: &Face, body: &[u8]) -> Result<Answer, Refused> {
    let request: DeviceAdd = json::read(body)?;
    check::device_add(&request)?;
    let no_node = || Refused::missing("Node id does not exist");
    let node = face.node(&request.node).await?.ok_or_else(no_node)?;
    let path = request.name.clone();
    let spec = GlusterDeviceSpec {
        node: node.name_any(),
        path: request.name,
        state: State::Online,
        tags: request.tags,
        on_refusal: OnRefusal::Forget,
        wipe: request.destroydata,
    };
    let id = Id::random();
    match intent::device::create(&face.intent, id, spec).await? {
        Decision::Accepted(_) => Ok(answer::accepted(&id.to_string())),
        Decision::Refused(device) => {
            let why = condition(device.conditions(), ACCEPTED);
            let (reason, message) = why.map_or(("", ""), |why| (&why.reason, &why.message));
            if reason == "NodeMissing" {
                return Err(no_node());
            }
            // The original finds this out on the node, after it has said 202.
            let text = format!(
                "Initializing device {path} failed (already initialized or contains data?): {message}"
            );
            Ok(face.accepted(&Ticket::Failed(text)))
        }
    }
}

/// `GET /devices/{id}`: the device with its bricks.
pub async fn info(face: &Face, id: &str) -> Result<Answer, Refused> {
    let device = face.device(id).await?.ok_or_else(Refused::unknown_id)?;
    let device_id = id_of(&device);
    let volumes = face.intent.volumes_on(device_id);
    let mut usage = view::usage(&volumes, |brick| brick.device == device_id);
    let taken = usage.remove(&device_id).unwrap_or_default();
    let device = view::device(&device, taken);
    Ok(answer::json(StatusCode::OK, &device))
}

/// `DELETE /devices/{id}`: 202 when it was given up and is empty.
pub async fn delete(face: &Face, id: &str, body: &[u8]) -> Result<Answer, Refused> {
    let mut forget = false;
    if !body.is_empty() {
        let request: DeviceDelete = json::read(body)?;
        forget = request.forceforget;
    }
    // One that waits for its node to be cleaned can be forgotten still.
    let found = face.any_device(id).await?;
    let found = found
        .filter(|device| sees_device(device) || (forget && device.metadata.deletion_timestamp.is_some()));
    let device = found.ok_or_else(Refused::unknown_id)?;
    if state::shown(device.spec.state, device.is_drained()) != State::Failed {
        let text = format!("device: {id} is not in failed state");
        return Err(Refused::bad(text));
    }
    match intent::device::delete(&face.intent, &device, forget).await {
        Ok(()) => {}
        Err(AskError::InUse(why)) => {
            let text = format!("Unable to delete device [{id}] because it contains bricks");
            return Err(Refused::conflict(text).because(why));
        }
        Err(error) => return Err(error.into()),
    }
    face.seen_going(&face.intent.devices, &device).await;
    Ok(face.accepted(&Ticket::Delete(Noun::Device, device.name_any(), device.uid())))
}

/// `GET /devices/{id}/resync`: 202; the queue ends once its node was asked how large it is.
pub async fn resync(face: &Face, id: &str) -> Result<Answer, Refused> {
    let device = face.device(id).await?.ok_or_else(Refused::unknown_id)?;
    let (name, look) = (device.name_any(), Id::random());
    intent::device::look(&face.intent, &name, device.uid(), look).await?;
    let ticket = Ticket::Look(name, device.uid(), look);
    Ok(answer::accepted_page(&face.tickets.write(&ticket)))
}

/// `POST /devices/{id}/tags`: 200 with the marks that it has then.
pub async fn set_tags(face: &Face, id: &str, body: &[u8]) -> Result<Answer, Refused> {
    let request: TagsChange = json::read(body)?;
    let change = check::tags_change(&request)?;
    let device = face.device(id).await?.ok_or_else(Refused::unknown_id)?;
    let name = device.name_any();
    let tags =
        intent::device::set_tags(&face.intent, &name, |had| check::changed_tags(had, change, &request.tags));
    let tags = tags.await?;
    let seen = |seen: Option<&GlusterDevice>| seen.is_none_or(|device| device.spec.tags == tags);
    face.seen(&face.intent.devices, &name, seen).await;
    Ok(answer::json(StatusCode::OK, &tags))
}
