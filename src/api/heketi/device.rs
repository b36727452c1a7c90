//! `/devices`

use http::StatusCode;
use kube::ResourceExt;

use super::Face;
use super::answer::{self, Answer, Refused};
use super::state::{self, STATE_TRIES, Step, step};
use super::ticket::{Noun, Ticket};
use super::view::{self, sees_device};
use super::wire::{DeviceAdd, DeviceDelete, StateChange, TagsChange};
use super::{check, json};
use crate::intent::{self, AskError, Decision};
use crate::resources::{
    ACCEPTED, GlusterDevice, GlusterDeviceSpec, OnRefusal, State, condition, evacuation_asked, id_of,
};
use crate::store::StoreError;
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
    let volumes = face.intent.volumes.list();
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

/// `POST /devices/{id}/state`: 202; the queue tells whether the change was allowed, and for one that is given up when
/// nobody needs it any more.
pub async fn set_state(face: &Face, id: &str, body: &[u8]) -> Result<Answer, Refused> {
    let request: StateChange = json::read(body)?;
    let wanted = check::state_change(&request)?;
    if wanted == State::Failed && face.volumes.is_full() {
        return Err(Refused::busy());
    }
    // What may be done depends on what it is: it is looked at again when somebody has changed it meanwhile.
    for _ in 0..STATE_TRIES {
        let device = face.device(id).await?.ok_or_else(Refused::unknown_id)?;
        match change_state(face, &device, wanted, request.healcheck != "disable").await {
            Err(AskError::Store(StoreError::Conflict(_))) => {}
            done => return Ok(face.accepted(&done?)),
        }
    }
    Err(AskError::Store(StoreError::Conflict(format!("device {id}"))).into())
}

async fn change_state(
    face: &Face,
    device: &GlusterDevice,
    wanted: State,
    heal_check: bool,
) -> Result<Ticket, AskError> {
    let drained = device.is_drained();
    let ask = match step(Noun::Device, id_of(device), device.spec.state, drained, wanted) {
        Step::Stay => return Ok(Ticket::Done),
        Step::Refuse(text) => return Ok(Ticket::Failed(text)),
        Step::Set => None,
        Step::GiveUp => {
            let ask = evacuation_asked(device).filter(|_| device.spec.state == wanted);
            Some(ask.unwrap_or_else(Id::random))
        }
    };
    let name = device.name_any();
    let heal_check = heal_check || ask.is_none();
    intent::device::set_state(&face.intent, device, wanted, ask, heal_check).await?;
    let seen = |seen: Option<&GlusterDevice>| seen.is_none_or(|seen| seen.spec.state == wanted);
    face.seen(&face.intent.devices, &name, seen).await;
    Ok(ask.map_or(Ticket::Done, |ask| Ticket::GiveUp(Noun::Device, name, device.uid(), ask)))
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
