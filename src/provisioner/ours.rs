//! Which claims are ours, and what each asks for. Pure: the claim, its class and the clusters in, a
//! verdict out. The order of the questions is that of every provisioner of Kubernetes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedObjectReference};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use super::{PROVISIONER, quantity};
use crate::intent::class::{self, ClassParameters};
use crate::intent::volume::SMALLEST;
use crate::resources::{ClaimRef, GlusterVolumeSpec};
use crate::units::Bytes;

const ASKED_OF: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// Somebody else's driver serves the claim in the provisioner's place.
const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const SELECTED_NODE: [&str; 2] =
    ["volume.kubernetes.io/selected-node", "volume.alpha.kubernetes.io/selected-node"];

/// What is to be done about a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing: it is served, it goes away, or somebody else serves it.
    NotOurs,
    /// Nothing yet: the scheduler has not chosen a node for the first pod.
    Waits,
    /// Nothing: an external populator fills a volume and hands it over.
    Populated,
    /// It cannot be served, and why: the class or the claim has to be another one.
    Refused(String),
    /// It is to be served.
    Serve(Box<Wish>),
}

/// What a claim asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The class.
    pub class: Arc<StorageClass>,
    /// What the class says.
    pub parameters: ClassParameters,
    /// The size that was asked for.
    pub asked: Bytes,
    /// The size that is made.
    pub size: Bytes,
}

/// Whether a claim has no volume yet and wants one.
pub fn is_unbound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    volume.unwrap_or_default().is_empty() && claim.metadata.deletion_timestamp.is_none()
}

/// The class that a claim names.
pub fn class_name(claim: &PersistentVolumeClaim) -> Option<&String> {
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    claim.annotations().get(CLASS_ANNOTATION).or(named).filter(|name| !name.is_empty())
}

/// Judges a claim. `find` gives the class of a name, if there is one.
pub fn judge(claim: &PersistentVolumeClaim, find: impl FnOnce(&str) -> Option<Arc<StorageClass>>) -> Verdict {
    if !is_unbound(claim) || !is_handed_to_us(claim) {
        return Verdict::NotOurs;
    }
    let Some(name) = class_name(claim) else { return Verdict::NotOurs };
    let Some(class) = find(name) else {
        return Verdict::Refused(format!(
            "there is no StorageClass {name:?}: make it, or ask for another one"
        ));
    };
    // The annotation is the user's to write: only the class says whose the claim is.
    if class.provisioner != PROVISIONER {
        return Verdict::NotOurs;
    }
    let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    let selected = SELECTED_NODE.iter().find_map(|key| claim.annotations().get(*key));
    if waits && selected.is_none_or(String::is_empty) {
        return Verdict::Waits;
    }
    let spec = claim.spec.clone().unwrap_or_default();
    match source(&spec) {
        Some(Source::Unknown) => return Verdict::Populated,
        Some(Source::Refused(text)) => return Verdict::Refused(text),
        None => {}
    }
    match wish(&spec, class) {
        Ok(wish) => Verdict::Serve(Box::new(wish)),
        Err(text) => {
            Verdict::Refused(format!("failed to provision volume with StorageClass {name:?}: {text}"))
        }
    }
}

/// Whether Kubernetes has handed a claim to us.
fn is_handed_to_us(claim: &PersistentVolumeClaim) -> bool {
    let annotations = claim.annotations();
    let asked = annotations.get(MIGRATED_TO);
    let asked = asked.or_else(|| ASKED_OF.iter().find_map(|key| annotations.get(*key)));
    asked.is_some_and(|asked| asked == PROVISIONER)
}

enum Source {
    Unknown,
    Refused(String),
}

/// What a volume is to be made from. `dataSource` is only a copy that drops what it does not know.
fn source(spec: &PersistentVolumeClaimSpec) -> Option<Source> {
    let copied = spec.data_source.clone().map(|source| TypedObjectReference {
        api_group: source.api_group,
        kind: source.kind,
        name: source.name,
        namespace: None,
    });
    let source = spec.data_source_ref.clone().or(copied)?;
    let group = source.api_group.as_deref().unwrap_or_default();
    let refused = |what: &str| {
        let name = &source.name;
        Some(Source::Refused(format!(
            "the data source {what} {name:?} cannot be used yet: clones and snapshots are not offered; make \
             the claim without dataSource and dataSourceRef"
        )))
    };
    match (group, source.kind.as_str()) {
        ("", "PersistentVolumeClaim") => refused("PersistentVolumeClaim"),
        ("snapshot.storage.k8s.io", "VolumeSnapshot") => refused("VolumeSnapshot"),
        _ => Some(Source::Unknown),
    }
}

fn wish(spec: &PersistentVolumeClaimSpec, class: Arc<StorageClass>) -> Result<Wish, String> {
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("volumeMode Block is not offered: ask for Filesystem".into());
    }
    if spec.selector.is_some() {
        return Err("claim Selector is not supported".into());
    }
    if class.allowed_topologies.as_ref().is_some_and(|terms| !terms.is_empty()) {
        return Err("its allowedTopologies cannot be kept: a GlusterFS volume is reached from every node; \
                    take them out of the class"
            .into());
    }
    check_modes(spec.access_modes.as_deref().unwrap_or_default())?;
    let parameters = class::read(&class.parameters.clone().unwrap_or_default())?;
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let text = requests.and_then(|requests| requests.get("storage")).map_or("", |asked| asked.0.as_str());
    let asked = quantity::read(text).filter(|asked| asked.0 > 0);
    let asked = asked.ok_or_else(|| {
        format!("spec.resources.requests.storage is {text:?}: ask for a size such as 10Gi, below 8Ei")
    })?;
    Ok(Wish { class, parameters, asked, size: asked.max(SMALLEST) })
}

/// GlusterFS can serve every mode; some make no sense together.
fn check_modes(modes: &[String]) -> Result<(), String> {
    let has = |mode: &str| modes.iter().any(|other| other == mode);
    let known = ["ReadWriteMany", "ReadWriteOnce", "ReadOnlyMany", "ReadWriteOncePod"];
    if let Some(other) = modes.iter().find(|mode| !known.contains(&mode.as_str())) {
        return Err(format!("access mode {other:?} is not known; known are {}", known.join(", ")));
    }
    if modes.is_empty() {
        return Err(format!("it has no access mode; offered are {}", known.join(", ")));
    }
    if has("ReadWriteOncePod") && modes.len() > 1 {
        return Err("access mode ReadWriteOncePod goes with no other one".into());
    }
    if has("ReadOnlyMany") && has("ReadWriteOnce") && !has("ReadWriteMany") {
        return Err(
            "access modes ReadOnlyMany and ReadWriteOnce do not go together: ask for one of them, or \
                    for ReadWriteMany"
                .into(),
        );
    }
    Ok(())
}

/// The volume that a wish of a claim means. `clusters` are the names of the GlusterClusters.
pub fn volume_spec(
    claim: &PersistentVolumeClaim,
    wish: &Wish,
    clusters: Vec<String>,
    gid: i64,
) -> GlusterVolumeSpec {
    let parameters = &wish.parameters;
    let claim_ref = ClaimRef {
        namespace: claim.namespace().unwrap_or_default(),
        name: claim.name_any(),
        uid: claim.uid().unwrap_or_default(),
        storage_class: wish.class.metadata.name.clone(),
    };
    GlusterVolumeSpec {
        name: parameters.volume_name(&[&claim_ref.namespace, &claim_ref.name], &claim_ref.uid),
        durability: parameters.durability,
        zones: parameters.zones,
        device_tags: parameters.device_tags.clone(),
        clusters,
        snapshot_factor: parameters.snapshot_factor,
        growth: parameters.growth,
        options: parameters.options.clone(),
        allow: parameters.allow.clone(),
        gid,
        claim_ref: Some(claim_ref),
        ..GlusterVolumeSpec::sized(wish.size)
    }
}

#[cfg(test)]
#[path = "ours_tests.rs"]
mod tests;
