//! The PersistentVolume of a volume that is ready. Kubernetes binds it to the claim.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, GlusterfsPersistentVolumeSource, ObjectReference, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::events::Tone;
use super::ours::Wish;
use super::{AGAIN, PROVISIONED_BY, PROVISIONER, PV_FINALIZER, PassError, Provisioner, endpoints};
use crate::intent::class::PvSource;
use crate::intent::volume;
use crate::resources::{GlusterVolume, id_of};
use crate::store::{Action, StoreError};

/// Marks a volume that is a person's data: a PersistentVolume that keeps it was made for it.
pub const SERVED: &str = "gluster.bricklayer.dev/served";
/// The reclaim policy that the class had when the volume was asked for.
pub const POLICY: &str = "gluster.bricklayer.dev/reclaim-policy";
/// The group of a volume, as kubelet reads it: pods get it as a supplemental group.
const GID: &str = "pv.beta.kubernetes.io/gid";
/// The Heketi id, where the old provisioner wrote it.
const HEKETI_ID: &str = "gluster.kubernetes.io/heketi-volume-id";

/// What becomes of the volumes of a class when their claims go.
pub fn policy(class: &StorageClass) -> &str {
    class.reclaim_policy.as_deref().unwrap_or("Delete")
}

/// Makes the PersistentVolume. One that is there already is as good, if it is for this claim. The volume is not
/// read once more: what shows it to us as ready shows its deletion to the loop that lets it go (`orphan`), and that
/// one looks for the PersistentVolume first.
pub async fn make(
    provisioner: &Provisioner,
    claim: &PersistentVolumeClaim,
    wish: &Wish,
    volume: &GlusterVolume,
) -> Result<Action, PassError> {
    let (name, uid) = (volume.name_any(), claim.uid().unwrap_or_default());
    // What is kept by its policy may lose its PersistentVolume without our seeing it.
    if policy(&wish.class) != "Delete" && !volume.annotations().contains_key(SERVED) {
        volume::annotate(&provisioner.intent, volume, SERVED, "true").await?;
    }
    let object = persistent_volume(claim, wish, volume);
    let made = match provisioner.intent.store.create(&object).await {
        Ok(_) => true,
        Err(StoreError::Exists(_)) => {
            let found = provisioner.intent.store.get::<PersistentVolume>(&name).await?;
            let claimed = found.and_then(|found| found.spec?.claim_ref?.uid);
            if claimed.as_ref().is_some_and(|claimed| *claimed != uid) {
                provisioner.done_with(&uid);
                let text = format!("PersistentVolume {name} is there and is not for this claim: delete it");
                provisioner.events.tell(claim, Tone::Warning, "ProvisioningFailed", &text).await;
                return Ok(Action::requeue(AGAIN));
            }
            false
        }
        Err(error) => return Err(error.into()),
    };
    let took = provisioner.waits_since(&uid);
    provisioner.done_with(&uid);
    if made {
        provisioner.figures.provisioned(&wish.class.name_any(), took);
        let text = succeeded(&name, wish);
        provisioner.events.tell(claim, Tone::Normal, "ProvisioningSucceeded", &text).await;
    }
    Ok(Action::await_change())
}

/// What a user is told: the volume, and what of the wish is otherwise than it was written.
fn succeeded(name: &str, wish: &Wish) -> String {
    let mut text = format!("Successfully provisioned volume {name}");
    if wish.size > wish.asked {
        text += &format!(". {} was asked for; the smallest volume is {}", wish.asked, wish.size);
    }
    let unused = wish.parameters.unused.join(", ");
    if !unused.is_empty() {
        text += &format!(". StorageClass parameters that mean nothing here were not used: {unused}");
    }
    text
}

fn persistent_volume(claim: &PersistentVolumeClaim, wish: &Wish, volume: &GlusterVolume) -> PersistentVolume {
    let (spec, class) = (claim.spec.clone().unwrap_or_default(), &wish.class);
    let mut annotations = BTreeMap::from([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())]);
    if volume.spec.gid != 0 {
        annotations.insert(GID.into(), volume.spec.gid.to_string());
    }
    let size = volume.size().unwrap_or(volume.spec.size);
    let mut made = PersistentVolumeSpec {
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
        mount_options: class.mount_options.clone(),
        persistent_volume_reclaim_policy: Some(policy(class).into()),
        storage_class_name: class.metadata.name.clone(),
        volume_mode: spec.volume_mode,
        ..PersistentVolumeSpec::default()
    };
    match &wish.parameters.source {
        PvSource::Csi => made.csi = Some(csi(volume)),
        PvSource::Glusterfs { endpoints_prefix } => {
            annotations.insert(HEKETI_ID.into(), id_of(volume).to_string());
            made.glusterfs = Some(GlusterfsPersistentVolumeSource {
                endpoints: endpoints::name(endpoints_prefix, &claim.uid().unwrap_or_default()),
                endpoints_namespace: claim.namespace(),
                path: volume.volume_name(),
                read_only: None,
            });
        }
    }
    // Only what deletes its volume has to be kept until that is done.
    let finalizers = (policy(class) == "Delete").then(|| vec![PV_FINALIZER.to_owned()]);
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(volume.name_any()),
            annotations: Some(annotations),
            finalizers,
            ..ObjectMeta::default()
        },
        spec: Some(made),
        ..PersistentVolume::default()
    }
}

fn csi(volume: &GlusterVolume) -> CSIPersistentVolumeSource {
    CSIPersistentVolumeSource {
        driver: PROVISIONER.into(),
        volume_handle: volume.name_any(),
        volume_attributes: Some(volume::attributes(volume)),
        ..CSIPersistentVolumeSource::default()
    }
}
