//! DeleteVolume: gone is gone, whoever asks and however often.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt;
use tokio::time::Instant;
use tonic::Status;

use super::{left, refusal};
use crate::intent::volume::HOLDER;
use crate::intent::{self, Intent};
use crate::resources::{GlusterVolume, READY, condition};
use crate::store::StoreError;

/// The pause before something is read again that a cache does not show yet.
const BEHIND: Duration = Duration::from_millis(50);

/// Removes a volume and waits until nothing of it is left.
pub async fn delete(intent: &Intent, id: &str, until: Instant) -> Result<(), Status> {
    let found = intent.store.get::<GlusterVolume>(id).await.map_err(|error| refusal::of_store(&error))?;
    let Some(volume) = found else { return Ok(()) };
    let is_held = |volume: &GlusterVolume| volume.finalizers().iter().any(|finalizer| finalizer == HOLDER);
    if is_held(&volume) {
        refuse_in_use(intent, id).await?;
    }
    mark(intent, &volume).await?;
    if is_held(&volume) {
        let_go(intent, id).await?;
    }
    if gone(intent, id, volume.uid(), until).await? {
        return Ok(());
    }
    let last = intent.volumes.get(id);
    let why = last.as_ref().and_then(|last| condition(last.conditions(), READY));
    let why = why.map_or("", |ready| ready.message.as_str());
    Err(Status::aborted(refusal::short(&format!("volume {id} is still being removed: ask again. {why}"))))
}

/// Has a volume removed.
pub async fn mark(intent: &Intent, volume: &GlusterVolume) -> Result<(), Status> {
    match intent::volume::delete(intent, &volume.name_any(), volume.uid()).await {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal::of_ask(&error)),
    }
}

/// Waits until nothing of a volume is left, and this process's cache knows that too; false when the time is
/// over before.
pub async fn gone(intent: &Intent, id: &str, uid: Option<String>, until: Instant) -> Result<bool, Status> {
    loop {
        let is_gone = |seen: Option<&GlusterVolume>| seen.is_none_or(|seen| seen.uid() != uid).then_some(());
        if intent.volumes.wait(id, left(until), is_gone).await.is_none() {
            return Ok(false);
        }
        // A cache may not have seen it yet.
        let live = intent.store.get::<GlusterVolume>(id).await.map_err(|error| refusal::of_store(&error))?;
        if live.is_none_or(|live| live.uid() != uid) {
            return Ok(true);
        }
        if left(until).is_zero() {
            return Ok(false);
        }
        tokio::time::sleep(BEHIND).await;
    }
}

/// A volume that our provisioner has made has a PersistentVolume of its own name. As long as that is bound,
/// the volume is in use.
async fn refuse_in_use(intent: &Intent, id: &str) -> Result<(), Status> {
    let found = intent.store.get::<PersistentVolume>(id).await.map_err(|error| refusal::of_store(&error))?;
    let Some(found) = found else { return Ok(()) };
    let phase = found.status.and_then(|status| status.phase).unwrap_or_default();
    if ["Released", "Failed"].contains(&phase.as_str()) {
        return Ok(());
    }
    let text = format!("volume {id} is in use: PersistentVolume {id} is {phase:?}; delete its claim first");
    Err(Status::failed_precondition(text))
}

/// Takes the provisioner's hold of a volume away, in its stead.
async fn let_go(intent: &Intent, id: &str) -> Result<(), Status> {
    let live = intent.store.get::<GlusterVolume>(id).await.map_err(|error| refusal::of_store(&error))?;
    let Some(live) = live else { return Ok(()) };
    match intent::volume::let_go(intent, &live, HOLDER).await {
        Ok(()) | Err(intent::AskError::Store(StoreError::NotFound(_))) => Ok(()),
        Err(error) => Err(refusal::of_ask(&error)),
    }
}
