//! Asking for devices.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::json;

use super::{AskError, Decision, Intent, given_up};
use crate::resources::{FORGET, GlusterDevice, GlusterDeviceSpec, LOOK, PlacedBrick};
use crate::units::Id;

/// Asks for a device to be prepared, and waits for the leader to accept it. The object is named by
/// its id.
pub async fn create(
    intent: &Intent,
    id: Id,
    spec: GlusterDeviceSpec,
) -> Result<Decision<GlusterDevice>, AskError> {
    let object = GlusterDevice::new("", spec);
    intent.create_named(&intent.devices, id, object, GlusterDevice::conditions).await
}

/// Asks for a device to be looked at now. Its status has this id once that was done.
pub async fn look(intent: &Intent, name: &str, uid: Option<String>, ask: Id) -> Result<(), AskError> {
    let patch = json!({"metadata": {"uid": uid, "annotations": {LOOK: ask}}});
    intent.store.merge::<GlusterDevice>(name, &patch).await?;
    Ok(())
}

/// Changes the tags of a device: `change` gets those it has and gives back those it is to have.
pub async fn set_tags(
    intent: &Intent,
    name: &str,
    change: impl Fn(BTreeMap<String, String>) -> BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, AskError> {
    let tagged =
        |device: &mut GlusterDevice| device.spec.tags = change(std::mem::take(&mut device.spec.tags));
    Ok(intent.change(name, tagged).await?.spec.tags)
}

/// Removes a device that has no bricks. With `forget` it goes although nobody can clean it, and bricks that have
/// been replaced count as gone.
pub async fn delete(intent: &Intent, device: &GlusterDevice, forget: bool) -> Result<(), AskError> {
    let (name, id) = (device.name_any(), crate::resources::id_of(device));
    let is_there = |brick: &PlacedBrick| brick.device == id && (brick.is_needed() || !forget);
    let holds = |volume: &crate::resources::GlusterVolume| {
        let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
        placement.is_some_and(|placement| placement.bricks.iter().any(is_there))
            && !given_up(volume.conditions())
    };
    if intent.volumes_on(id).iter().any(|volume| holds(volume)) {
        return Err(AskError::InUse(format!("device {name} has bricks: remove their volumes first")));
    }
    let marked = device.annotations().contains_key(FORGET);
    if forget || marked {
        // An earlier ask that was refused may have left the mark.
        let value = forget.then_some("true");
        let patch = json!({"metadata": {"uid": device.uid(), "annotations": {FORGET: value}}});
        intent.store.merge::<GlusterDevice>(&name, &patch).await?;
    }
    intent.store.delete::<GlusterDevice>(&name, device.uid()).await?;
    Ok(())
}
