//! Our PersistentVolumes: kept as their policy says while they are in use, and from a released one
//! back to nothing.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt;
use serde_json::json;

use super::bind::SERVED;
use super::events::Tone;
use super::{
    AGAIN, PROVISIONED_BY, PROVISIONER, PV_FINALIZER, PassError, Provisioner, endpoints, live_claim,
    live_volume,
};
use crate::intent::volume;
use crate::resources::{GlusterVolume, READY, condition};
use crate::store::{Action, StoreError};

/// One pass over a PersistentVolume.
pub async fn pass(seen: Arc<PersistentVolume>, provisioner: Arc<Provisioner>) -> Result<Action, PassError> {
    match next(&seen) {
        Next::Nothing => Ok(Action::await_change()),
        Next::KeepEndpoints => {
            endpoints::keep(&provisioner, &seen).await?;
            Ok(Action::requeue(endpoints::LOOK_EVERY))
        }
        _ => act(&seen, &provisioner).await,
    }
}

/// What a PersistentVolume needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    /// Its servers have to be found by kubelets.
    KeepEndpoints,
    /// It is bound and its policy says Delete: it has to stay until its volume is gone.
    Hold,
    /// Its policy does not say Delete any more: nothing keeps it.
    Release,
    /// It is released, and its policy says Delete.
    Remove,
    /// It is to be removed, and is still in use.
    Wait,
}

fn next(volume: &PersistentVolume) -> Next {
    let has_finalizer = volume.finalizers().iter().any(|finalizer| finalizer == PV_FINALIZER);
    let (goes, phase) = (volume.metadata.deletion_timestamp.is_some(), phase(volume));
    if !is_ours(volume) {
        return Next::Nothing;
    }
    match (deletes(volume), phase) {
        (false, _) if has_finalizer => Next::Release,
        (true, "Released") if has_finalizer || !goes => Next::Remove,
        (true, "Bound") if !has_finalizer && !goes => Next::Hold,
        (true, _) if goes && has_finalizer => Next::Wait,
        (_, "Bound") if volume.spec.as_ref().is_some_and(|spec| spec.glusterfs.is_some()) => {
            Next::KeepEndpoints
        }
        // Its Endpoints are made as soon as it is there, before anybody can mount it.
        (_, "Pending" | "Available" | "")
            if !goes && volume.spec.as_ref().is_some_and(|spec| spec.glusterfs.is_some()) =>
        {
            Next::KeepEndpoints
        }
        _ => Next::Nothing,
    }
}

/// Reads the PersistentVolume live, and does what it needs by then: whoever set the policy to Retain
/// a second ago wins. Nothing is to be done, and nothing to be read, while its volume is on its way out.
async fn act(seen: &PersistentVolume, provisioner: &Provisioner) -> Result<Action, PassError> {
    let volume = provisioner.intent.volumes.get(handle(seen).unwrap_or_default());
    if next(seen) == Next::Remove
        && let Some(goes) = volume.filter(|volume| volume.metadata.deletion_timestamp.is_some())
        && why_it_stays(&goes).is_none()
    {
        return Ok(Action::requeue(AGAIN));
    }
    let live = provisioner.intent.store.get::<PersistentVolume>(&seen.name_any()).await?;
    let Some(live) = live.filter(|live| live.uid() == seen.uid()) else { return Ok(Action::await_change()) };
    match next(&live) {
        Next::Nothing | Next::KeepEndpoints => Ok(Action::await_change()),
        Next::Hold => hold(provisioner, &live).await,
        Next::Release => release(provisioner, &live).await,
        Next::Wait => Ok(Action::requeue(AGAIN)),
        Next::Remove if claim_is_there(provisioner, &live).await? => Ok(Action::requeue(AGAIN)),
        Next::Remove => remove(provisioner, &live).await,
    }
}

/// Removes the volume, then the PersistentVolume, then our finalizer.
async fn remove(provisioner: &Provisioner, live: &PersistentVolume) -> Result<Action, PassError> {
    let (name, uid) = (live.name_any(), live.uid().unwrap_or_default());
    let took = provisioner.waits_since(&uid);
    let handle = handle(live).unwrap_or_default();
    if let Some(other) = user_of(provisioner, handle, &name) {
        let text = format!("PersistentVolume {other} has the same volume {handle}: delete that one first");
        return failed(provisioner, live, &text).await;
    }
    if let Some(volume) = live_volume(&provisioner.intent, handle).await? {
        if volume.metadata.deletion_timestamp.is_none() {
            volume::delete(&provisioner.intent, handle, volume.uid()).await?;
        } else if let Some(text) = why_it_stays(&volume) {
            return failed(provisioner, live, text).await;
        }
        // The volume wakes this again when it is gone.
        return Ok(Action::requeue(AGAIN));
    }
    let store = &provisioner.intent.store;
    if live.metadata.deletion_timestamp.is_none() {
        match store.delete::<PersistentVolume>(&name, live.uid()).await {
            Ok(_) => {}
            Err(StoreError::Conflict(_)) => return Ok(Action::await_change()),
            Err(error) => return Err(error.into()),
        }
    }
    let left = store.get::<PersistentVolume>(&name).await?.filter(|left| left.uid() == live.uid());
    if let Some(left) = left {
        set_finalizer(provisioner, &left, false).await?;
    }
    provisioner.done_with(&uid);
    provisioner.figures.deleted(class_of(live), took);
    Ok(Action::await_change())
}

async fn failed(provisioner: &Provisioner, live: &PersistentVolume, text: &str) -> Result<Action, PassError> {
    provisioner.figures.not_deleted(class_of(live));
    provisioner.events.tell(live, Tone::Warning, "VolumeFailedDelete", text).await;
    Ok(Action::requeue(AGAIN))
}

/// Why the removal of a volume does not come to its end, if it says so.
fn why_it_stays(volume: &GlusterVolume) -> Option<&str> {
    let text = condition(volume.conditions(), READY).map(|ready| ready.message.as_str());
    text.filter(|text| text.contains("waits"))
}

async fn hold(provisioner: &Provisioner, live: &PersistentVolume) -> Result<Action, PassError> {
    set_finalizer(provisioner, live, true).await?;
    Ok(Action::await_change())
}

/// Takes our finalizer away. From then on the PersistentVolume may go without our seeing it, so the
/// volume is marked first: its data is a person's.
async fn release(provisioner: &Provisioner, live: &PersistentVolume) -> Result<Action, PassError> {
    let handle = handle(live).unwrap_or_default();
    if let Some(volume) = live_volume(&provisioner.intent, handle).await?
        && !volume.annotations().contains_key(SERVED)
    {
        volume::annotate(&provisioner.intent, &volume, SERVED, "true").await?;
    }
    set_finalizer(provisioner, live, false).await?;
    Ok(Action::await_change())
}

/// Whether the data of a PersistentVolume is to go: it was released, and its policy says so.
pub fn may_be_deleted(volume: &PersistentVolume) -> bool {
    next(volume) == Next::Remove
}

/// The volume object that a PersistentVolume stands for, if it is one of our driver's.
pub fn handle(volume: &PersistentVolume) -> Option<&str> {
    let spec = volume.spec.as_ref()?;
    match (&spec.csi, &spec.glusterfs) {
        (Some(csi), _) => (csi.driver == PROVISIONER).then_some(csi.volume_handle.as_str()),
        // The old source names the GlusterFS volume; ours are called like their PersistentVolumes.
        (None, Some(_)) => volume.metadata.name.as_deref().filter(|_| is_ours(volume)),
        (None, None) => None,
    }
}

/// Another PersistentVolume than `not` that stands for a volume object.
pub fn user_of(provisioner: &Provisioner, volume: &str, not: &str) -> Option<String> {
    let uses = |other: &PersistentVolume| other.name_any() != not && handle(other) == Some(volume);
    provisioner.volumes.find(uses).map(|other| other.name_any())
}

/// Whether a PersistentVolume is ours: the provisioner says so, else the driver.
fn is_ours(volume: &PersistentVolume) -> bool {
    let driver = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref()).map(|csi| csi.driver.as_str());
    let provisioned = volume.annotations().get(PROVISIONED_BY).map(String::as_str);
    provisioned.or(driver) == Some(PROVISIONER)
}

fn phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn deletes(volume: &PersistentVolume) -> bool {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy == Some("Delete")
}

fn class_of(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default()
}

/// Whether the claim that the volume was made for is still there, by a live read.
async fn claim_is_there(provisioner: &Provisioner, volume: &PersistentVolume) -> Result<bool, PassError> {
    let Some(claim) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone()) else { return Ok(false) };
    let (namespace, name) = (claim.namespace.unwrap_or_default(), claim.name.unwrap_or_default());
    let live = live_claim(provisioner, &namespace, &name).await?;
    Ok(live.is_some_and(|live| live.uid() == claim.uid))
}

async fn set_finalizer(
    provisioner: &Provisioner,
    volume: &PersistentVolume,
    wanted: bool,
) -> Result<(), PassError> {
    let mut finalizers: Vec<&str> = volume
        .finalizers()
        .iter()
        .map(String::as_str)
        .filter(|finalizer| *finalizer != PV_FINALIZER)
        .collect();
    if wanted {
        finalizers.push(PV_FINALIZER);
    }
    if finalizers.len() == volume.finalizers().len() {
        return Ok(());
    }
    let patch = json!({"metadata": {"resourceVersion": volume.resource_version(), "finalizers": finalizers}});
    match provisioner.intent.store.merge::<PersistentVolume>(&volume.name_any(), &patch).await {
        Ok(_) | Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How soon a pass that met somebody else's write is made again.
pub const SOON: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn volume(phase: &str, policy: &str, change: Value) -> PersistentVolume {
        let mut volume = json!({
            "metadata": {"name": "pvc-1", "annotations": {PROVISIONED_BY: PROVISIONER},
                "finalizers": [PV_FINALIZER]},
            "spec": {"persistentVolumeReclaimPolicy": policy, "csi": {"driver": PROVISIONER, "volumeHandle": "pvc-1"}},
            "status": {"phase": phase}
        });
        json_patch::merge(&mut volume, &change);
        serde_json::from_value(volume).unwrap()
    }

    #[test]
    fn what_a_persistent_volume_needs() {
        let bare = json!({"metadata": {"finalizers": null}});
        let goes = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let goes_bare =
            json!({"metadata": {"finalizers": null, "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let old = json!({"spec": {"csi": null, "glusterfs": {"endpoints": "e", "path": "v"}}});
        let other = json!({"metadata": {"annotations": {PROVISIONED_BY: "example.com/other"}}});
        let by_hand = json!({"metadata": {"annotations": null}});
        let foreign = json!({"metadata": {"annotations": null}, "spec": {"csi": {"driver": "example.com"}}});
        for (phase, policy, change, wanted) in [
            ("Bound", "Delete", json!({}), Next::Nothing),
            ("Bound", "Delete", bare.clone(), Next::Hold),
            ("Bound", "Retain", json!({}), Next::Release),
            ("Bound", "Retain", bare.clone(), Next::Nothing),
            ("Released", "Delete", json!({}), Next::Remove),
            ("Released", "Delete", bare, Next::Remove),
            ("Released", "Delete", goes.clone(), Next::Remove),
            ("Released", "Delete", goes_bare, Next::Nothing),
            ("Released", "Retain", json!({}), Next::Release),
            ("Released", "Retain", goes.clone(), Next::Release),
            ("Bound", "Delete", goes, Next::Wait),
            ("Failed", "Delete", json!({}), Next::Nothing),
            ("Bound", "Delete", old.clone(), Next::KeepEndpoints),
            ("Released", "Delete", old, Next::Remove),
            ("Released", "Delete", other, Next::Nothing),
            ("Released", "Delete", by_hand, Next::Remove),
            ("Released", "Delete", foreign, Next::Nothing),
        ] {
            assert_eq!(next(&volume(phase, policy, change.clone())), wanted, "{phase} {policy} {change}");
        }
    }
}
