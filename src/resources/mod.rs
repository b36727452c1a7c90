//! The stored model: one file a kind. Shapes only; nothing here waits or decides.
//!
//! `spec` is what is wanted and belongs to the user; `status.placement` is what was decided;
//! `status.observed` and the conditions are what was last seen.

#![expect(clippy::duplicated_attributes, reason = "`printcolumn` is given once for each column")]

mod cluster;
mod conditions;
mod device;
mod evacuation;
mod node;
mod placement;
mod volume;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::{CustomResourceExt, Resource, ResourceExt};

pub use cluster::{
    ClusterCapacity, ClusterCounts, GlusterCluster, GlusterClusterSpec, GlusterClusterStatus, HostKeyPolicy,
    KeySource, LargestVolume, Limits, PodExecTransport, PodSelector, SecretKey, SimulatedTransport,
    SshTransport, TransportSpec,
};
pub use conditions::{
    ACCEPTED, ACCESS, Condition, DEGRADED, DRAINED, EXPANDED, FAILED, LOCATED, PLACED, REACHABLE, READY,
    REPLACED, condition, condition_is, set_condition,
};
pub use device::{DeviceCapacity, GlusterDevice, GlusterDeviceSpec, GlusterDeviceStatus, LOOK, look_asked};
pub use evacuation::{
    EVACUATE, Evacuation, FORGET, HEAL_CHECK, Replacement, evacuation_asked, is_forgotten, skips_heal_check,
};
pub use node::{GlusterNode, GlusterNodeSpec, GlusterNodeStatus, Hostnames, KubernetesNode};
pub use placement::{PlacedBrick, Placement};
pub use volume::{
    AVERAGE_FILE, Arbiter, ClaimRef, Durability, DurabilityType, GlusterVolume, GlusterVolumeSpec,
    GlusterVolumeStatus, Growth, LastError, MountInfo, Observed, OnRefusal, Rebalance, RebalancePhase,
    Refusal, Sizing, Zones,
};

use crate::units::Id;

/// The API group of all kinds.
pub const GROUP: &str = "bricklayer.dev";
/// The label that carries the Heketi id of an object.
pub const ID_LABEL: &str = "bricklayer.dev/id";
/// The finalizer that keeps an object until what it stands for is seen to be gone from the nodes.
pub const FINALIZER: &str = "bricklayer.dev/on-nodes";
/// The namespace for what is namespaced when Bricklayer runs on one machine.
pub const HOME_NAMESPACE: &str = "bricklayer";

/// What an administrator wants of a node or device. New volumes go to what is online. What is
/// offline keeps the bricks that it has; those of what has failed are moved elsewhere.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Takes new bricks.
    #[default]
    Online,
    /// Takes no new bricks; those it has stay in use.
    Offline,
    /// Given up: takes no new bricks, those it has are moved elsewhere, and it may be deleted once it is empty.
    Failed,
}

/// The Heketi id of an object: its label, else its uid without dashes. Never fails, so that an
/// object made by `kubectl apply` has its id before anybody wrote the label.
pub fn id_of<K: Resource>(object: &K) -> Id {
    let label = object.labels().get(ID_LABEL).and_then(|text| text.parse().ok());
    label.unwrap_or_else(|| Id::from_uid(object.meta().uid.as_deref().unwrap_or_default()))
}

/// The custom resource definitions of all kinds, in the order in which `crds/` lists them.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let all = [GlusterCluster::crd(), GlusterNode::crd(), GlusterDevice::crd(), GlusterVolume::crd()];
    all.into_iter().map(with_known_formats).collect()
}

/// Takes out formats that Kubernetes does not know and warns about, such as uint32: the minimum
/// beside them says the same.
fn with_known_formats(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    fn strip(schema: &mut JSONSchemaProps) {
        schema.format = schema.format.take().filter(|format| !format.starts_with("uint"));
        schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(strip);
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
            strip(items);
        }
    }
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            strip(schema);
        }
    }
    definition
}
