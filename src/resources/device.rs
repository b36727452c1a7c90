//! GlusterDevice: a disk of a node that bricks are carved out of.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evacuation::is_drained;
use super::{Condition, Evacuation, OnRefusal, State};
use crate::units::{Bytes, Id};

/// A disk of a node. It becomes an LVM volume group of its own, and bricks are carved out of it.
#[derive(CustomResource, kube::KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bricklayer.dev",
    version = "v1alpha1",
    kind = "GlusterDevice",
    doc = "A disk of a GlusterNode. It becomes an LVM volume group, and bricks are carved out of it.",
    plural = "glusterdevices",
    shortname = "gdev",
    category = "gluster",
    status = "GlusterDeviceStatus",
    selectable = ".spec.node",
    printcolumn(name = "Path", type_ = "string", json_path = ".spec.path"),
    printcolumn(name = "Free", type_ = "string", json_path = ".status.capacity.free"),
    printcolumn(name = "Bricks", type_ = "integer", json_path = ".status.bricks"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node", priority = 1),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.state", priority = 1),
    printcolumn(name = "Total", type_ = "string", json_path = ".status.capacity.total", priority = 1),
    printcolumn(name = "PV-UUID", type_ = "string", json_path = ".status.pvUuid", priority = 1),
    printcolumn(name = "Transport", type_ = "string", json_path = ".status.transport", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GlusterDeviceSpec {
    /// The name of the GlusterNode that has the disk.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a device cannot move to another node: delete it and make a new one"))]
    pub node: String,
    /// The path of the disk on the node when it is first prepared, such as /dev/sdb or /dev/disk/by-id/...
    #[schemars(length(min = 2, max = 255), regex(pattern = "^/[a-zA-Z0-9_.:/-]+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the path cannot change: delete the device and make a new one"))]
    pub path: String,
    /// What is wanted of the device: online, offline or failed.
    #[serde(default)]
    pub state: State,
    /// Marks for choosing devices, laid over those of the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub tags: BTreeMap<String, String>,
    /// What happens when it cannot be taken in: try again, or forget it.
    #[serde(default)]
    pub on_refusal: OnRefusal,
    /// Whether what is found on the disk may be destroyed when it is prepared. A disk that another
    /// GlusterDevice uses is never wiped.
    #[serde(default)]
    pub wipe: bool,
}

/// The annotation that asks for a look at a device: an id of the ask.
pub const LOOK: &str = "bricklayer.dev/look";

/// The look that was last asked for.
pub fn look_asked(device: &GlusterDevice) -> Option<Id> {
    device.metadata.annotations.as_ref()?.get(LOOK)?.parse().ok()
}

impl GlusterDevice {
    /// Whether it was given up, and nobody needs what is on it any more.
    pub fn is_drained(&self) -> bool {
        let evacuation = self.status.as_ref().and_then(|status| status.evacuation.as_ref());
        is_drained(self, self.conditions(), evacuation)
    }

    /// Conditions, none before the first visit.
    pub fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

/// What was last seen of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GlusterDeviceStatus {
    /// The Heketi id of the device; its volume group is `vg_<id>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// How the device is reached: ssh, or SIMULATED so that nobody takes it for storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// The generation of the spec that was looked at.
    pub observed_generation: i64,
    /// Ready (its volume group exists and is ours), Drained (it was given up, and no data on it is needed any more;
    /// absent as long as it never was).
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The UUID of the LVM physical volume: the identity of the disk, whatever its path becomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pv_uuid: Option<String>,
    /// All paths under which the node knows the disk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Space in the volume group, as LVM reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<DeviceCapacity>,
    /// The last look that was asked for with the annotation bricklayer.dev/look and was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked: Option<Id>,
    /// The last ask to give it up that somebody waited for, and why it was not done if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evacuation: Option<Evacuation>,
    /// How many bricks of volumes are on it, those on their way out included. A device with bricks is
    /// not removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bricks: Option<u32>,
}

/// Space in a volume group, as LVM reported it when the device was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceCapacity {
    /// All space in the volume group.
    pub total: Bytes,
    /// Space that no logical volume has. Placement does not use it: it derives free space from the
    /// placements themselves.
    pub free: Bytes,
    /// The size of one physical extent.
    pub extent: Bytes,
}
