//! From a released PersistentVolume back to nothing.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::runtime::controller::Action;
use serde_json::json;

use super::{AGAIN, PROVISIONED_BY, PROVISIONER, PV_FINALIZER, PassError, Provisioner, live_volume};
use crate::intent::volume;
use crate::store::StoreError;

/// One pass over a PersistentVolume.
pub async fn pass(seen: Arc<PersistentVolume>, provisioner: Arc<Provisioner>) -> Result<Action, PassError> {
    if !is_ours(&seen) || !(is_released(&seen) || seen.metadata.deletion_timestamp.is_some()) {
        return Ok(Action::await_change());
    }
    let store = &provisioner.intent.store;
    // Read live: whoever set the policy to Retain a second ago wins.
    let name = seen.name_any();
    let Some(live) = store.get::<PersistentVolume>(&name).await? else { return Ok(Action::await_change()) };
    if live.uid() != seen.uid() || !is_ours(&live) {
        return Ok(Action::await_change());
    }
    if live.metadata.deletion_timestamp.is_some() && !wants_deletion(&live) {
        return drop_finalizer(&provisioner, &live).await;
    }
    if !may_be_deleted(&live) || claim_is_there(&provisioner, &live).await? {
        return Ok(Action::requeue(AGAIN));
    }
    let handle = handle(&live).cloned().unwrap_or_default();
    if let Some(volume) = live_volume(&provisioner.intent, &handle).await? {
        if volume.metadata.deletion_timestamp.is_none() {
            volume::delete(&provisioner.intent, &handle, volume.uid()).await?;
        }
        return wait_until_gone(&provisioner, &live, &handle).await;
    }
    match store.delete::<PersistentVolume>(&name, live.uid()).await {
        Ok(_) => {}
        Err(StoreError::Conflict(_)) => return Ok(Action::await_change()),
        Err(error) => return Err(error.into()),
    }
    match store.get::<PersistentVolume>(&name).await? {
        Some(left) if left.uid() == live.uid() => drop_finalizer(&provisioner, &left).await,
        _ => Ok(Action::await_change()),
    }
}

/// Whether the data of a PersistentVolume is to go: it was released, and its policy says so.
pub fn may_be_deleted(volume: &PersistentVolume) -> bool {
    is_released(volume) && wants_deletion(volume)
}

/// The volume object that a PersistentVolume stands for, if it is one of our driver's.
pub fn handle(volume: &PersistentVolume) -> Option<&String> {
    let csi = volume.spec.as_ref()?.csi.as_ref()?;
    (csi.driver == PROVISIONER).then_some(&csi.volume_handle)
}

fn is_ours(volume: &PersistentVolume) -> bool {
    let driver = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref()).map(|csi| csi.driver.as_str());
    let provisioned = volume.annotations().get(PROVISIONED_BY).map(String::as_str);
    driver == Some(PROVISIONER) && provisioned == Some(PROVISIONER)
}

fn is_released(volume: &PersistentVolume) -> bool {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released")
}

fn wants_deletion(volume: &PersistentVolume) -> bool {
    let spec = volume.spec.as_ref();
    let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy == Some("Delete") && volume.finalizers().iter().any(|finalizer| finalizer == PV_FINALIZER)
}

/// Whether the claim that the volume was made for is still there, by a live read.
async fn claim_is_there(provisioner: &Provisioner, volume: &PersistentVolume) -> Result<bool, PassError> {
    let Some(claim) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone()) else { return Ok(false) };
    let (namespace, name) = (claim.namespace.unwrap_or_default(), claim.name.unwrap_or_default());
    let api = provisioner.intent.store.within::<PersistentVolumeClaim>(&namespace);
    let live = api.get_opt(&name).await;
    let live = live.map_err(|error| crate::store::explained(error, "PersistentVolumeClaim", &name))?;
    Ok(live.is_some_and(|live| live.uid() == claim.uid))
}

/// Waits for the volume to go; says why it does not.
async fn wait_until_gone(
    provisioner: &Provisioner,
    volume: &PersistentVolume,
    handle: &str,
) -> Result<Action, PassError> {
    let gone = provisioner.intent.volumes.wait(handle, AGAIN, |seen| seen.is_none().then_some(())).await;
    if gone.is_none()
        && let Some(left) = provisioner.intent.volumes.get(handle)
        && let Some(ready) = crate::resources::condition(left.conditions(), crate::resources::READY)
    {
        provisioner.tell(volume, true, "VolumeFailedDelete", ready.message.clone()).await;
    }
    Ok(Action::requeue(std::time::Duration::from_millis(10)))
}

async fn drop_finalizer(provisioner: &Provisioner, volume: &PersistentVolume) -> Result<Action, PassError> {
    let left: Vec<&String> =
        volume.finalizers().iter().filter(|finalizer| *finalizer != PV_FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": volume.resource_version(), "finalizers": left}});
    match provisioner.intent.store.merge::<PersistentVolume>(&volume.name_any(), &patch).await {
        Ok(_) | Err(StoreError::NotFound(_)) => Ok(Action::await_change()),
        Err(error) => Err(error.into()),
    }
}
