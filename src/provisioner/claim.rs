//! From a claim to a PersistentVolume.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::{
    AGAIN, PROVISIONED_BY, PROVISIONER, PV_FINALIZER, PassError, Provisioner, class, live_volume,
    object_name, persistent_volume,
};
use crate::intent::volume::{self, VolumeAsk};
use crate::resources::{
    ClaimRef, GlusterVolume, GlusterVolumeSpec, OnRefusal, PLACED, READY, Sizing, condition, condition_is,
};
use crate::store::StoreError;
use crate::units::{Bytes, Id};

/// Marks a volume that a PersistentVolume was made for.
const SERVED: &str = "gluster.bricklayer.dev/served";
/// Our finalizer on the volume of a claim: it is not removed under a PersistentVolume in use.
const HOLDER: &str = "gluster.bricklayer.dev/claimed";
const ASKED_OF: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// Whether a claim has no volume yet.
pub fn is_unbound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    volume.unwrap_or_default().is_empty() && claim.metadata.deletion_timestamp.is_none()
}

/// One pass over a claim.
pub async fn pass(
    claim: Arc<PersistentVolumeClaim>,
    provisioner: Arc<Provisioner>,
) -> Result<Action, PassError> {
    let Some(class) = class_of(&claim, &provisioner).filter(|_| is_unbound(&claim)) else {
        return Ok(Action::await_change());
    };
    let uid = claim.uid().unwrap_or_default();
    let name = object_name(&uid);
    if provisioner.volumes.get(&name).is_some() {
        return Ok(Action::await_change());
    }
    let spec = match wanted(&claim, &class) {
        Ok(spec) => spec,
        Err(text) => {
            provisioner.tell(claim.as_ref(), true, "ProvisioningFailed", text).await;
            return Ok(Action::requeue(std::time::Duration::from_secs(300)));
        }
    };
    // A cache may show a claim that is no more, or not yet that it is served.
    if !is_still_wanted(&provisioner, &claim).await? {
        return Ok(Action::await_change());
    }
    let size = spec.size;
    let found = match provisioner.intent.volumes.get(&name) {
        Some(found) => found.as_ref().clone(),
        None => {
            let text = format!("External provisioner is provisioning volume for claim \"{}\"", shown(&claim));
            provisioner.tell(claim.as_ref(), false, "Provisioning", text).await;
            let id = Id::from_uid(&uid);
            let ask = VolumeAsk { object_name: name.clone(), id, spec, annotations: BTreeMap::new() };
            volume::ensure(&provisioner.intent, ask, Some(HOLDER)).await?
        }
    };
    if condition_is(found.conditions(), READY) && found.metadata.deletion_timestamp.is_none() {
        return bind(&provisioner, &claim, &class, &found, size).await;
    }
    let refused = condition(found.conditions(), PLACED).filter(|placed| placed.status == "False");
    let failed = condition(found.conditions(), READY).filter(|ready| ready.reason == "Refused");
    if let Some(why) = refused.or(failed) {
        provisioner.tell(claim.as_ref(), true, "ProvisioningFailed", why.message.clone()).await;
    }
    Ok(Action::requeue(AGAIN))
}

/// One pass over a volume that was made for a claim. When neither the claim nor its PersistentVolume
/// is there any more, nobody will ever know of it, and it is taken back. When somebody else deletes
/// it while its PersistentVolume is in use, it stays.
pub async fn orphan_pass(
    volume: Arc<GlusterVolume>,
    provisioner: Arc<Provisioner>,
) -> Result<Action, PassError> {
    let Some(claim_ref) = volume.spec.claim_ref.as_ref() else { return Ok(Action::await_change()) };
    let name = volume.name_any();
    if name != object_name(&claim_ref.uid) {
        return Ok(Action::await_change());
    }
    if volume.metadata.deletion_timestamp.is_some() {
        return let_go_if_unused(&volume, &provisioner).await;
    }
    // Once it was served it is a person's data: a PersistentVolume that is gone then was kept by its
    // policy, and only a person removes what it has left.
    if volume.annotations().contains_key(SERVED) || provisioner.volumes.get(&name).is_some() {
        return Ok(Action::await_change());
    }
    let store = &provisioner.intent.store;
    // First the PersistentVolume, then the claim: while a claim is served, one of them is there.
    let claim = live_claim(&provisioner, &claim_ref.namespace, &claim_ref.name).await?;
    if claim.is_some_and(|claim| claim.uid().as_deref() == Some(&claim_ref.uid)) {
        return Ok(Action::requeue(AGAIN));
    }
    if store.get::<PersistentVolume>(&name).await?.is_some() {
        return Ok(Action::await_change());
    }
    tracing::info!(
        volume = name,
        claim = claim_ref.name,
        "the claim went away before it was served; its volume is taken back"
    );
    volume::delete(&provisioner.intent, &name, volume.uid()).await?;
    Ok(Action::await_change())
}

async fn let_go_if_unused(volume: &GlusterVolume, provisioner: &Provisioner) -> Result<Action, PassError> {
    if !volume.finalizers().iter().any(|finalizer| finalizer == HOLDER) {
        return Ok(Action::await_change());
    }
    let name = volume.name_any();
    let own = provisioner.intent.store.get::<PersistentVolume>(&name).await?;
    let uses = |other: &PersistentVolume| persistent_volume::handle(other) == Some(&name);
    let used_by_other = provisioner.volumes.find(|other| other.name_any() != name && uses(other)).is_some();
    if own.as_ref().is_none_or(persistent_volume::may_be_deleted) && !used_by_other {
        volume::let_go(&provisioner.intent, volume, HOLDER).await?;
        return Ok(Action::await_change());
    }
    let text = format!("PersistentVolume {name} is in use: delete its claim, and the volume goes with it");
    provisioner.tell(volume, true, "DeletionWaits", text).await;
    Ok(Action::requeue(AGAIN))
}

/// The class of a claim that is ours to serve: the claim was handed to us, and its class is ours.
fn class_of(claim: &PersistentVolumeClaim, provisioner: &Provisioner) -> Option<Arc<StorageClass>> {
    let annotations = claim.annotations();
    let asked = ASKED_OF.iter().find_map(|key| annotations.get(*key));
    if asked.is_none_or(|asked| asked != PROVISIONER) {
        return None;
    }
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    let class = provisioner.classes.get(annotations.get(CLASS_ANNOTATION).or(named)?)?;
    let immediate = class.volume_binding_mode.as_deref().unwrap_or("Immediate") == "Immediate";
    (class.provisioner == PROVISIONER && immediate).then_some(class)
}

/// The volume that a claim asks for, or why it cannot be had.
fn wanted(claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<GlusterVolumeSpec, String> {
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("volumeMode Block is not offered: ask for Filesystem".into());
    }
    if spec.selector.is_some() {
        return Err("claim Selector is not supported".into());
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return Err("data sources are not offered: leave dataSource and dataSourceRef out".into());
    }
    let parameters = class::read(&class.parameters.clone().unwrap_or_default())?;
    let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    let asked = requests.get("storage").map(|asked| asked.0.as_str()).unwrap_or_default();
    let size: Bytes = asked.parse().map_err(|error| format!("spec.resources.requests.storage: {error}"))?;
    if size.0 == 0 {
        return Err("spec.resources.requests.storage is 0: ask for at least 1Mi".into());
    }
    Ok(GlusterVolumeSpec {
        name: None,
        size,
        sizing: Sizing::Usable,
        durability: parameters.durability,
        clusters: parameters.clusters,
        snapshot_factor: 1.0,
        options: parameters.options,
        gid: 0,
        block: false,
        claim_ref: Some(ClaimRef {
            namespace: claim.namespace().unwrap_or_default(),
            name: claim.name_any(),
            uid: claim.uid().unwrap_or_default(),
        }),
        on_refusal: OnRefusal::Retry,
    })
}

async fn live_claim(
    provisioner: &Provisioner,
    namespace: &str,
    name: &str,
) -> Result<Option<PersistentVolumeClaim>, StoreError> {
    let api = provisioner.intent.store.within::<PersistentVolumeClaim>(namespace);
    api.get_opt(name).await.map_err(|error| crate::store::explained(error, "PersistentVolumeClaim", name))
}

/// Reads claim and PersistentVolume live: a cache may lag behind either.
async fn is_still_wanted(
    provisioner: &Provisioner,
    claim: &PersistentVolumeClaim,
) -> Result<bool, PassError> {
    let uid = claim.uid().unwrap_or_default();
    let live = live_claim(provisioner, &claim.namespace().unwrap_or_default(), &claim.name_any()).await?;
    if !live.is_some_and(|live| live.uid().as_deref() == Some(&uid) && is_unbound(&live)) {
        return Ok(false);
    }
    Ok(provisioner.intent.store.get::<PersistentVolume>(&object_name(&uid)).await?.is_none())
}

/// Makes the PersistentVolume; Kubernetes binds it to the claim.
async fn bind(
    provisioner: &Provisioner,
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    volume: &GlusterVolume,
    size: Bytes,
) -> Result<Action, PassError> {
    // The volume may have been taken back a moment ago.
    let live = live_volume(&provisioner.intent, &volume.name_any()).await?;
    let Some(live) = live.filter(|live| live.metadata.deletion_timestamp.is_none()) else {
        return Ok(Action::requeue(AGAIN));
    };
    if !live.annotations().contains_key(SERVED) {
        volume::annotate(&provisioner.intent, &live, SERVED, "true").await?;
    }
    let object = new_persistent_volume(claim, class, &live, size);
    match provisioner.intent.store.create(&object).await {
        Ok(_) => {
            let text = format!("Successfully provisioned volume {}", object.name_any());
            provisioner.tell(claim, false, "ProvisioningSucceeded", text).await;
        }
        Err(StoreError::Exists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Action::await_change())
}

fn new_persistent_volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    volume: &GlusterVolume,
    size: Bytes,
) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let servers = volume.status.as_ref().and_then(|status| status.mount.clone()).unwrap_or_default().servers;
    let attributes = BTreeMap::from([
        ("volume".to_owned(), volume.volume_name()),
        ("servers".to_owned(), servers.join(",")),
    ]);
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(volume.name_any()),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())])),
            finalizers: Some(vec![PV_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes,
            capacity: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.to_string()))])),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("PersistentVolumeClaim".into()),
                namespace: claim.namespace(),
                name: Some(claim.name_any()),
                uid: claim.uid(),
                resource_version: claim.resource_version(),
                ..ObjectReference::default()
            }),
            csi: Some(CSIPersistentVolumeSource {
                driver: PROVISIONER.into(),
                volume_handle: volume.name_any(),
                volume_attributes: Some(attributes),
                ..CSIPersistentVolumeSource::default()
            }),
            mount_options: class.mount_options.clone(),
            persistent_volume_reclaim_policy: Some(
                class.reclaim_policy.clone().unwrap_or_else(|| "Delete".into()),
            ),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: spec.volume_mode,
            ..PersistentVolumeSpec::default()
        }),
        ..PersistentVolume::default()
    }
}

fn shown(claim: &PersistentVolumeClaim) -> String {
    format!("{}/{}", claim.namespace().unwrap_or_default(), claim.name_any())
}
