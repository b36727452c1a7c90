//! From a claim to a PersistentVolume.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::events::Tone;
use super::ours::{self, Verdict, Wish};
use super::{AGAIN, PassError, Provisioner, bind, object_name, resize};
use crate::intent::AskError;
use crate::intent::cluster;
use crate::intent::volume::{self, HOLDER, VolumeAsk};
use crate::resources::{GlusterVolume, PLACED, READY, condition, condition_is};
use crate::store::{Action, StoreError};
use crate::units::Id;

/// The pause before what cannot be served is looked at again when nobody has changed anything.
const SLOWLY: Duration = Duration::from_secs(300);
/// A claim that is under way for longer than this is told so. (Most are served before, and one event
/// says all that there is to say.)
const LONG: Duration = Duration::from_secs(30);

/// One pass over a claim.
pub async fn pass(
    claim: Arc<PersistentVolumeClaim>,
    provisioner: Arc<Provisioner>,
) -> Result<Action, PassError> {
    let uid = claim.uid().unwrap_or_default();
    // Looked at anew, after the moment was noted: the claim or its class may have changed since this pass was begun, and
    // been given a place in the queue for that.
    let moment = provisioner.admission.lock().moment();
    let now = provisioner.claims.get_ref(&ObjectRef::from_obj(claim.as_ref()));
    let claim = now.filter(|now| now.uid() == claim.uid()).unwrap_or(claim);
    match provisioner.judge(&claim) {
        Verdict::NotOurs | Verdict::Waits => {
            provisioner.done_with_as_of(&uid, moment);
            resize::pass(&claim, &provisioner).await
        }
        Verdict::Populated => {
            provisioner.done_with_as_of(&uid, moment);
            let text = "Assuming an external populator will provision the volume";
            provisioner.events.tell(claim.as_ref(), Tone::Normal, "Provisioning", text).await;
            Ok(Action::await_change())
        }
        Verdict::Refused(why) => {
            provisioner.done_with_as_of(&uid, moment);
            refuse(&provisioner, &claim, &why).await
        }
        Verdict::Serve(wish) => serve(&provisioner, &claim, &wish).await,
    }
}

/// Says why a claim is not served. It is looked at again when it or a class changes, and slowly
/// otherwise.
async fn refuse(
    provisioner: &Provisioner,
    claim: &PersistentVolumeClaim,
    why: &str,
) -> Result<Action, PassError> {
    provisioner.figures.not_provisioned(ours::class_name(claim).map_or("", String::as_str));
    provisioner.events.tell(claim, Tone::Warning, "ProvisioningFailed", why).await;
    Ok(Action::requeue(SLOWLY))
}

async fn serve(
    provisioner: &Provisioner,
    claim: &PersistentVolumeClaim,
    wish: &Wish,
) -> Result<Action, PassError> {
    let uid = claim.uid().unwrap_or_default();
    let name = object_name(&uid);
    if provisioner.volumes.get(&name).is_some() {
        provisioner.done_with(&uid);
        return Ok(Action::await_change());
    }
    let found = match provisioner.intent.volumes.get(&name) {
        Some(found) => found.as_ref().clone(),
        None => match begin(provisioner, claim, wish).await? {
            Begun::Volume(found) => *found,
            Begun::Later(action) => return Ok(action),
        },
    };
    if found.spec.claim_ref.as_ref().is_none_or(|made_for| made_for.uid != uid) {
        let text = format!("GlusterVolume {name} is there and was not made for this claim: delete it");
        provisioner.done_with(&uid);
        return refuse(provisioner, claim, &text).await;
    }
    let goes = found.metadata.deletion_timestamp.is_some();
    if condition_is(found.conditions(), READY) && !goes {
        return bind::make(provisioner, claim, wish, &found).await;
    }
    follow(provisioner, claim, wish, &found).await
}

/// What came of beginning a claim.
enum Begun {
    /// Its volume is asked for.
    Volume(Box<GlusterVolume>),
    /// Not now.
    Later(Action),
}

/// Asks for the volume of a claim when it is its turn.
async fn begin(
    provisioner: &Provisioner,
    claim: &PersistentVolumeClaim,
    wish: &Wish,
) -> Result<Begun, PassError> {
    let uid = claim.uid().unwrap_or_default();
    let name = object_name(&uid);
    if !provisioner.has_its_turn(claim) {
        return Ok(Begun::Later(Action::await_change()));
    }
    // A cache may show a claim that is no more, or not yet that it is bound. What is begun for it then is the volume
    // of that claim's uid and no other, and `orphan` takes it back after a live look.
    let spec = match provisioner.spec_of(claim, wish) {
        Ok(spec) => spec,
        Err(why) => {
            provisioner.done_with(&uid);
            return refuse(provisioner, claim, &why).await.map(Begun::Later);
        }
    };
    let policy = bind::policy(&wish.class).to_owned();
    let annotations = BTreeMap::from([(bind::POLICY.to_owned(), policy)]);
    let ask = VolumeAsk { object_name: name, id: Id::from_uid(&uid), spec, annotations };
    match volume::ensure(&provisioner.intent, ask, Some(HOLDER)).await {
        Ok(volume) => Ok(Begun::Volume(Box::new(volume))),
        Err(AskError::Store(StoreError::Invalid(why))) => {
            provisioner.done_with(&uid);
            refuse(provisioner, claim, &why).await.map(Begun::Later)
        }
        Err(error) => Err(error.into()),
    }
}

/// Looks how a volume that is not ready gets on.
async fn follow(
    provisioner: &Provisioner,
    claim: &PersistentVolumeClaim,
    wish: &Wish,
    volume: &GlusterVolume,
) -> Result<Action, PassError> {
    let uid = claim.uid().unwrap_or_default();
    let refused = condition(volume.conditions(), PLACED).filter(|placed| placed.status == "False");
    let failed = condition(volume.conditions(), READY).filter(|ready| ready.reason == "Refused");
    let Some(why) = refused.or(failed).filter(|_| volume.metadata.deletion_timestamp.is_none()) else {
        let since = provisioner.admission.lock().since(&uid);
        let waits = since.map_or_else(|| provisioner.waits_since(&uid), |since| since.elapsed());
        if waits >= LONG {
            let name = format!("{}/{}", claim.namespace().unwrap_or_default(), claim.name_any());
            let text = format!("External provisioner is provisioning volume for claim {name:?}");
            provisioner.events.tell(claim, Tone::Normal, "Provisioning", &text).await;
        }
        return Ok(Action::requeue(AGAIN.max(LONG.saturating_sub(waits))));
    };
    provisioner.done_with(&uid);
    if is_outdated(provisioner, claim, wish, volume) {
        // Nothing was made of it yet, and it is not what the class says by now.
        volume::delete(&provisioner.intent, &volume.name_any(), volume.uid()).await?;
        return Ok(Action::requeue(Duration::from_millis(500)));
    }
    provisioner.figures.not_provisioned(ours::class_name(claim).map_or("", String::as_str));
    provisioner.events.tell(claim, Tone::Warning, "ProvisioningFailed", &why.message).await;
    Ok(Action::requeue(SLOWLY))
}

/// Whether a refused volume that has no bricks asks for something else than claim and class do now:
/// the class was deleted and made anew, or somebody else was given its gid.
fn is_outdated(
    provisioner: &Provisioner,
    claim: &PersistentVolumeClaim,
    wish: &Wish,
    volume: &GlusterVolume,
) -> bool {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    if placement.is_some_and(|placement| !placement.bricks.is_empty()) {
        return false;
    }
    let refusals = volume.status.as_ref().map_or(&[][..], |status| &status.refusals);
    let gid_in_use = refusals.iter().any(|refusal| refusal.reason == "GidInUse");
    let now = ours::volume_spec(
        claim,
        wish,
        cluster::names(&provisioner.intent, &wish.parameters.clusters),
        volume.spec.gid,
    );
    gid_in_use || now != volume.spec || wish.parameters.gids.is_some() != (volume.spec.gid != 0)
}

impl Provisioner {
    /// What is to be done about a claim, by what the caches show.
    pub fn judge(&self, claim: &PersistentVolumeClaim) -> Verdict {
        ours::judge(claim, |name| self.classes.get(name))
    }

    fn spec_of(
        &self,
        claim: &PersistentVolumeClaim,
        wish: &Wish,
    ) -> Result<crate::resources::GlusterVolumeSpec, String> {
        let class = wish.class.name_any();
        let gid = match wish.parameters.gids {
            None => 0,
            Some(range) => {
                let uid = claim.uid().unwrap_or_default();
                let in_use = self.intent.usage.now().gids(&class);
                let given = self.gids.give(&class, range, &uid, in_use);
                given.ok_or_else(|| {
                    format!(
                        "failed to provision volume with StorageClass {class:?}: all gids from gidMin {} to \
                         gidMax {} are in use",
                        range.min, range.max
                    )
                })?
            }
        };
        Ok(ours::volume_spec(claim, wish, cluster::names(&self.intent, &wish.parameters.clusters), gid))
    }
}
