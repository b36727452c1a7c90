//! Claims that want to grow. The volume grows first, then the PersistentVolume says so, then the
//! claim: whoever reads a PersistentVolume as large as the claim asks knows that the rest was done.
//! What was begun is written to the claim before the volume is touched.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::events::Tone;
use super::target::{IN_PROGRESS, INFEASIBLE, Sizes};
use super::{AGAIN, PassError, Provisioner, persistent_volume, quantity};
use crate::intent::AskError;
use crate::intent::volume;
use crate::resources::{Condition, EXPANDED, GlusterVolume, condition};
use crate::store::{Action, StoreError, explained};
use crate::units::Bytes;

/// Nothing is to be done on a node: kubelet need not look.
const NO_NODE_STEP: &str = "volume.kubernetes.io/node-expansion-not-required";
const RESIZING: &str = "Resizing";
const ERROR: &str = "ControllerResizeError";
/// The conditions of an expansion.
const OF_A_RESIZE: [&str; 4] = [RESIZING, "FileSystemResizePending", ERROR, "NodeResizeError"];

/// What the pass works with.
struct Growth<'a> {
    provisioner: &'a Provisioner,
    claim: &'a PersistentVolumeClaim,
    of_claim: Sizes,
    persistent: &'a PersistentVolume,
    volume: &'a GlusterVolume,
    target: Bytes,
}

/// One pass over a bound claim.
pub async fn pass(claim: &PersistentVolumeClaim, provisioner: &Provisioner) -> Result<Action, PassError> {
    let Some(of_claim) = Sizes::of(claim).filter(|sizes| sizes.spec > sizes.has) else {
        return Ok(Action::await_change());
    };
    let Some((persistent, handle)) = provisioner.persistent_of(claim) else {
        return Ok(Action::await_change());
    };
    let Some(volume) = provisioner.intent.volumes.get(&handle) else {
        let text = format!("GlusterVolume {handle} is not there");
        provisioner.events.tell(claim, Tone::Warning, "VolumeResizeFailed", &text).await;
        return Ok(Action::requeue(AGAIN * 6));
    };
    let failed = why_failed(&volume).is_some();
    let Some(target) = of_claim.target(capacity(&persistent), failed) else {
        return Ok(Action::await_change());
    };
    let growth = Growth { provisioner, claim, of_claim, persistent: &persistent, volume: &volume, target };
    growth.step().await
}

/// Why the volume does not grow, when the last word about the size that is wanted now is that it
/// does not.
fn why_failed(volume: &GlusterVolume) -> Option<&Condition> {
    let expanded = condition(volume.conditions(), EXPANDED)?;
    let is_last = Some(expanded.observed_generation) == volume.metadata.generation;
    let failed = expanded.status == "False" && matches!(expanded.reason.as_str(), "Refused" | "Failed");
    (failed && is_last && volume.size().is_none_or(|has| has < volume.spec.size)).then_some(expanded)
}

fn capacity(volume: &PersistentVolume) -> Bytes {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    capacity.and_then(|capacity| quantity::read(&capacity.get("storage")?.0)).unwrap_or_default()
}

impl Provisioner {
    /// The PersistentVolume of a bound claim and the name of its volume, if both are ours and know
    /// of each other.
    fn persistent_of(
        &self,
        claim: &PersistentVolumeClaim,
    ) -> Option<(std::sync::Arc<PersistentVolume>, String)> {
        let phase = claim.status.as_ref()?.phase.as_deref();
        let found = self.volumes.get(claim.spec.as_ref()?.volume_name.as_ref()?)?;
        let of_claim = found.spec.as_ref()?.claim_ref.as_ref()?;
        let same = of_claim.uid == claim.uid() && of_claim.namespace == claim.namespace();
        let handle = persistent_volume::handle(&found)?.to_owned();
        (phase == Some("Bound") && same && claim.metadata.deletion_timestamp.is_none())
            .then_some((found, handle))
    }
}

impl Growth<'_> {
    async fn step(&self) -> Result<Action, PassError> {
        let wanted = self.volume.spec.size;
        if let Some(real) = self.volume.size().filter(|real| *real >= self.target) {
            return self.finish(real).await;
        }
        let failed = why_failed(self.volume);
        if let Some(why) = failed.filter(|_| wanted == self.target) {
            return self.refuse(why.reason == "Refused", &why.message).await;
        }
        let refused = self.error().and_then(|error| Some(error.last_transition_time.as_ref()?.0));
        if let Some(rest) = refused.and_then(|at| self.of_claim.rests(self.target, at, Timestamp::now())) {
            return Ok(Action::requeue(rest));
        }
        self.begin().await?;
        let (name, uid) = (self.volume.name_any(), self.volume.uid());
        let asked = match failed {
            // Nothing of the larger size was done, and nobody asks for it any more.
            Some(_) if wanted > self.target => {
                volume::lower(&self.provisioner.intent, &name, uid.as_deref(), self.target).await
            }
            _ => volume::expand(&self.provisioner.intent, &name, uid.as_deref(), self.target).await,
        };
        match asked {
            // The volume wakes this again.
            Ok(_) => Ok(Action::requeue(AGAIN * 6)),
            Err(AskError::Store(StoreError::Invalid(why))) => self.refuse(true, &why).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down what is worked towards, if it is not there yet. A claim that has changed meanwhile
    /// is looked at anew.
    async fn begin(&self) -> Result<(), PassError> {
        let Sizes { allocated, state, .. } = &self.of_claim;
        if *allocated == Some(self.target)
            && state.as_deref() == Some(IN_PROGRESS)
            && self.condition(RESIZING).is_some()
        {
            return Ok(());
        }
        let mut conditions = vec![json!({
            "type": RESIZING, "status": "True", "lastTransitionTime": Timestamp::now().to_string(),
        })];
        conditions.extend(without(&OF_A_RESIZE[1..]));
        let patch = json!({
            "metadata": {
                "resourceVersion": self.claim.resource_version(),
                "annotations": {NO_NODE_STEP: null},
            },
            "status": {
                "conditions": conditions,
                "allocatedResources": {"storage": self.target},
                "allocatedResourceStatuses": {"storage": IN_PROGRESS},
            },
        });
        self.patch(&patch).await?;
        let text = format!("External resizer is resizing volume {}", self.persistent.name_any());
        self.provisioner.events.tell(self.claim, Tone::Normal, "Resizing", &text).await;
        Ok(())
    }

    /// The volume is large enough: the PersistentVolume says so first, then the claim.
    async fn finish(&self, real: Bytes) -> Result<Action, PassError> {
        if capacity(self.persistent) < real {
            let name = self.persistent.name_any();
            let patch = json!({
                "metadata": {"uid": self.persistent.uid()},
                "spec": {"capacity": {"storage": real}},
            });
            self.provisioner.intent.store.merge::<PersistentVolume>(&name, &patch).await?;
        }
        let patch = json!({
            "metadata": {
                "resourceVersion": self.claim.resource_version(),
                "annotations": {NO_NODE_STEP: "true"},
            },
            "status": {
                "capacity": {"storage": real},
                "conditions": without(&OF_A_RESIZE),
                "allocatedResourceStatuses": {"storage": null},
            },
        });
        self.patch(&patch).await?;
        let text = "Resize volume succeeded";
        self.provisioner.events.tell(self.claim, Tone::Normal, "VolumeResizeSuccessful", text).await;
        Ok(Action::await_change())
    }

    /// Says why the volume does not grow. What there is no room for is infeasible: the user may ask
    /// for less. Written whatever the claim has become meanwhile, as the contract says.
    async fn refuse(&self, infeasible: bool, why: &str) -> Result<Action, PassError> {
        let message = format!("failed to expand pvc with {why}");
        let state = self.of_claim.state.as_deref();
        let is_told = self.error().is_some_and(|error| error.message.as_deref() == Some(message.as_str()))
            && (!infeasible || state == Some(INFEASIBLE));
        if !is_told {
            let mut status = json!({"conditions": [{
                "type": ERROR, "status": "True", "message": message,
                "lastTransitionTime": Timestamp::now().to_string(),
            }]});
            if infeasible {
                status["allocatedResources"] = json!({"storage": self.target});
                status["allocatedResourceStatuses"] = json!({"storage": INFEASIBLE});
            }
            self.patch(&json!({"metadata": {"uid": self.claim.uid()}, "status": status})).await?;
        }
        self.provisioner.events.tell(self.claim, Tone::Warning, "VolumeResizeFailed", why).await;
        Ok(Action::requeue(super::LONGEST_PAUSE))
    }

    /// Strategic, since conditions are a list that others write too.
    async fn patch(&self, patch: &Value) -> Result<(), PassError> {
        let (namespace, name) = (self.claim.namespace().unwrap_or_default(), self.claim.name_any());
        let api = self.provisioner.intent.store.within::<PersistentVolumeClaim>(&namespace);
        let done = api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        done.map_err(|error| explained(error, "PersistentVolumeClaim", &name))?;
        Ok(())
    }

    fn error(&self) -> Option<&PersistentVolumeClaimCondition> {
        self.condition(ERROR)
    }

    fn condition(&self, type_: &str) -> Option<&PersistentVolumeClaimCondition> {
        let conditions = self.claim.status.as_ref()?.conditions.as_deref()?;
        conditions.iter().find(|one| one.type_ == type_ && one.status == "True")
    }
}

/// Takes conditions away, in a strategic merge patch.
fn without(types: &[&str]) -> Vec<Value> {
    types.iter().map(|type_| json!({"$patch": "delete", "type": type_})).collect()
}
