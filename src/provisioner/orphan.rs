//! Volumes whose claims went away before they were served, or were bound to something else, and volumes that
//! somebody deletes while they are in use.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::bind::SERVED;
use super::events::Tone;
use super::{AGAIN, PassError, Provisioner, live_claim, object_name, persistent_volume};
use crate::intent::volume::{self, HOLDER};
use crate::resources::{ClaimRef, GlusterVolume, READY, condition};
use crate::store::Action;

/// How long after it became ready a volume may still be taken back. What is older was served once,
/// or this was a backup that somebody restores: only a person deletes that.
const YOUNG: SignedDuration = SignedDuration::from_hours(1);
/// How often a volume is looked at that waits for a person.
const SELDOM: Duration = Duration::from_secs(1800);

/// One pass over a volume that was made for a claim. When neither a claim that waits for it nor its
/// PersistentVolume is there, nobody will ever know of it, and it is taken back. When somebody else deletes
/// it while its PersistentVolume is in use, it stays.
pub async fn pass(volume: Arc<GlusterVolume>, provisioner: Arc<Provisioner>) -> Result<Action, PassError> {
    let Some(claim_ref) = volume.spec.claim_ref.as_ref() else { return Ok(Action::await_change()) };
    let name = volume.name_any();
    if name != object_name(&claim_ref.uid) {
        return Ok(Action::await_change());
    }
    if volume.metadata.deletion_timestamp.is_some() {
        return let_go_if_unused(&volume, &provisioner).await;
    }
    // Once it is kept by its policy it is a person's data: only a person removes what is left of it.
    if volume.annotations().contains_key(SERVED) || provisioner.volumes.get(&name).is_some() {
        return Ok(Action::await_change());
    }
    let reference = ObjectRef::new(&claim_ref.name).within(&claim_ref.namespace);
    if provisioner.claims.get_ref(&reference).is_some_and(|seen| may_wait(&seen, claim_ref, &name)) {
        // The claim wakes this again when it is bound or goes.
        return Ok(Action::requeue(AGAIN * 6));
    }
    // First the claim, then the PersistentVolume: while a claim is served, one of them is there.
    let claim = live_claim(&provisioner, &claim_ref.namespace, &claim_ref.name).await?;
    if claim.is_some_and(|claim| may_wait(&claim, claim_ref, &name)) {
        return Ok(Action::requeue(AGAIN));
    }
    if provisioner.intent.store.get::<PersistentVolume>(&name).await?.is_some() {
        return Ok(Action::await_change());
    }
    if !is_young(&volume, Timestamp::now()) {
        let text = "neither its claim nor its PersistentVolume is there: delete it if nobody needs its data";
        provisioner.events.tell(volume.as_ref(), Tone::Warning, "Orphaned", text).await;
        return Ok(Action::requeue(SELDOM));
    }
    tracing::info!(
        volume = name,
        claim = claim_ref.name,
        "its claim went away, or was bound to another volume, before it was served; it is taken back"
    );
    volume::delete(&provisioner.intent, &name, volume.uid()).await?;
    provisioner.gids.forget(&claim_ref.uid);
    Ok(Action::await_change())
}

/// Whether a claim is the one that a volume was made for, and may be bound to its PersistentVolume of that name.
fn may_wait(claim: &PersistentVolumeClaim, made_for: &ClaimRef, name: &str) -> bool {
    let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
    claim.uid().as_deref() == Some(&made_for.uid) && (bound.is_empty() || bound == name)
}

/// Whether a volume is still being made, or was ready for the first time a short while ago.
fn is_young(volume: &GlusterVolume, now: Timestamp) -> bool {
    let Some(ready) = condition(volume.conditions(), READY) else { return true };
    let since = match (ready.status.as_str(), ready.reason.as_str()) {
        ("True", _) => Some(ready.last_transition_time.0),
        (_, "Creating" | "Refused" | "NameTaken") => return true,
        // It was ready once.
        _ => volume.metadata.creation_timestamp.as_ref().map(|time| time.0),
    };
    since.is_some_and(|since| now.duration_since(since) < YOUNG)
}

async fn let_go_if_unused(volume: &GlusterVolume, provisioner: &Provisioner) -> Result<Action, PassError> {
    if !volume.finalizers().iter().any(|finalizer| finalizer == HOLDER) {
        return Ok(Action::await_change());
    }
    let name = volume.name_any();
    let own = provisioner.intent.store.get::<PersistentVolume>(&name).await?;
    let used_by_other = persistent_volume::user_of(provisioner, &name, &name);
    if own.as_ref().is_none_or(persistent_volume::may_be_deleted) && used_by_other.is_none() {
        volume::let_go(&provisioner.intent, volume, HOLDER).await?;
        return Ok(Action::await_change());
    }
    let user = used_by_other.unwrap_or(name);
    let text = format!("PersistentVolume {user} is in use: delete its claim, and the volume goes with it");
    provisioner.events.tell(volume, Tone::Warning, "DeletionWaits", &text).await;
    Ok(Action::requeue(AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_was_ready_for_long_is_a_persons_to_delete() {
        let since = |status: &str, reason: &str, seconds: i64| -> GlusterVolume {
            let time = Timestamp::from_second(seconds).unwrap().to_string();
            serde_json::from_value(json!({
                "apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterVolume", "metadata": {"name": "x"},
                "spec": {"size": "1Gi"},
                "status": {"conditions": [
                    {"type": "Ready", "status": status, "reason": reason, "lastTransitionTime": time}]}
            }))
            .unwrap()
        };
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert!(is_young(&since("True", "Started", 999_000), now));
        assert!(!is_young(&since("True", "Started", 996_000), now));
        assert!(is_young(&since("False", "Creating", 1_000), now), "it was never ready: there is no data");
        assert!(!is_young(&since("False", "Degraded", 999_999), now), "it was ready once");
    }
}
