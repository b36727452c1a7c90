//! GlusterNode: a server that holds bricks.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, OnRefusal, State};
use crate::units::Id;

/// A server of a cluster: it runs glusterd and has devices for bricks.
#[derive(CustomResource, kube::KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bricklayer.dev",
    version = "v1alpha1",
    kind = "GlusterNode",
    doc = "A server of a GlusterCluster: it runs glusterd and has devices for bricks.",
    plural = "glusternodes",
    shortname = "gnode",
    category = "gluster",
    status = "GlusterNodeStatus",
    selectable = ".spec.cluster",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "Zone", type_ = "integer", json_path = ".spec.zone"),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.state"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Transport", type_ = "string", json_path = ".status.transport"),
    printcolumn(name = "Storage", type_ = "string", json_path = ".spec.hostnames.storage[0]", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GlusterNodeSpec {
    /// The name of the GlusterCluster that the node belongs to.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a node cannot move to another cluster: delete it and make a new one"))]
    pub cluster: String,
    /// The failure zone: nodes with the same number may fail together.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub zone: i32,
    /// The names and addresses of the node.
    #[x_kube(validation = Rule::new("self == oldSelf").message("host names are how bricks are addressed and cannot change: delete the node and make a new one"))]
    pub hostnames: Hostnames,
    /// What is wanted of the node: online, offline or failed.
    #[serde(default)]
    pub state: State,
    /// Marks for choosing nodes, such as tier: ssd.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub tags: BTreeMap<String, String>,
    /// What happens when it cannot be taken in: try again, or forget it.
    #[serde(default)]
    pub on_refusal: OnRefusal,
}

/// The names and addresses of a node. The first of each list is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hostnames {
    /// Where commands are sent.
    #[schemars(
        length(min = 1, max = 8),
        inner(length(min = 1, max = 255), regex(pattern = "^[A-Za-z0-9_.:-]+$"))
    )]
    pub manage: Vec<String>,
    /// What GlusterFS peers and clients use.
    #[schemars(
        length(min = 1, max = 8),
        inner(length(min = 1, max = 255), regex(pattern = "^[A-Za-z0-9_.:-]+$"))
    )]
    pub storage: Vec<String>,
}

impl GlusterNodeSpec {
    /// The host that commands are sent to; empty if the object broke its schema.
    pub fn manage_host(&self) -> &str {
        self.hostnames.manage.first().map_or("", String::as_str)
    }

    /// The host that peers and clients use; empty if the object broke its schema.
    pub fn storage_host(&self) -> &str {
        self.hostnames.storage.first().map_or("", String::as_str)
    }
}

impl GlusterNode {
    /// Conditions, none before the first visit.
    pub fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

/// What was last seen of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GlusterNodeStatus {
    /// The Heketi id of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// How the node is reached: ssh, or SIMULATED so that nobody takes it for storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// The generation of the spec that was looked at.
    pub observed_generation: i64,
    /// Ready (part of the pool) and Reachable (answers commands).
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The uuid that glusterd knows the node by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_uuid: Option<String>,
    /// The kernel's boot id when the node was last seen; another one means that it restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The SSH host key that was pinned at first contact, as in a known_hosts line without the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
}

fn one() -> i32 {
    1
}
