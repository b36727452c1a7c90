//! GlusterNode: a server that holds bricks.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evacuation::is_drained;
use super::{Condition, Evacuation, OnRefusal, State};
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
    printcolumn(name = "Zone", type_ = "integer", json_path = ".status.zone"),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.state"),
    printcolumn(name = "Bricks", type_ = "integer", json_path = ".status.bricks"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Storage",
        type_ = "string",
        json_path = ".status.hostnames.storage[0]",
        priority = 1
    ),
    printcolumn(
        name = "Kubernetes-Node",
        type_ = "string",
        json_path = ".status.kubernetesNode",
        priority = 1
    ),
    printcolumn(name = "Zone-Name", type_ = "string", json_path = ".status.zoneName", priority = 1),
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
#[x_kube(validation = Rule::new("has(self.hostnames) || has(self.kubernetesNode)").message("give hostnames, or kubernetesNode to take them from a node of this Kubernetes cluster"))]
#[x_kube(validation = Rule::new("has(self.hostnames) == has(oldSelf.hostnames)").message("host names are how bricks are addressed and cannot be added or taken away later: delete the node and make a new one"))]
#[x_kube(validation = Rule::new("has(self.kubernetesNode) == has(oldSelf.kubernetesNode)").message("kubernetesNode cannot be added or taken away later: delete the node and make a new one"))]
pub struct GlusterNodeSpec {
    /// The name of the GlusterCluster that the node belongs to.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a node cannot move to another cluster: delete it and make a new one"))]
    pub cluster: String,
    /// The failure zone: nodes with the same number may fail together. When it is not given, it is
    /// taken from the label topology.kubernetes.io/zone of the Kubernetes node, else it is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub zone: Option<i32>,
    /// The names and addresses of the node. When they are not given, they are the InternalIP of the
    /// Kubernetes node at first sight, and stay so.
    #[serde(default, skip_serializing_if = "Hostnames::is_empty")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("host names are how bricks are addressed and cannot change: delete the node and make a new one"))]
    pub hostnames: Hostnames,
    /// The node of this Kubernetes cluster that it is, by name or by labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the Kubernetes node cannot change: delete the node and make a new one"))]
    pub kubernetes_node: Option<KubernetesNode>,
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

/// A node of the Kubernetes cluster: exactly one member is set.
#[derive(kube::KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.name), has(self.matchLabels)].filter(x, x).size() == 1")
    .message("exactly one is expected: name or matchLabels"))]
pub struct KubernetesNode {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Labels that it has and no other node has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
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

impl Hostnames {
    /// Whether none were given.
    pub fn is_empty(&self) -> bool {
        self.manage.is_empty() && self.storage.is_empty()
    }
}

impl GlusterNode {
    /// Whether it was given up, and nobody needs what is on its devices any more.
    pub fn is_drained(&self) -> bool {
        let evacuation = self.status.as_ref().and_then(|status| status.evacuation.as_ref());
        is_drained(self, self.conditions(), evacuation)
    }

    /// Conditions, none before the first visit.
    pub fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }

    /// Its names and addresses: those of the spec, else those that were taken from its Kubernetes node.
    pub fn hostnames(&self) -> &Hostnames {
        let found = self.status.as_ref().and_then(|status| status.hostnames.as_ref());
        found.filter(|_| self.spec.hostnames.is_empty()).unwrap_or(&self.spec.hostnames)
    }

    /// The host that commands are sent to; empty if it is not known yet.
    pub fn manage_host(&self) -> &str {
        self.hostnames().manage.first().map_or("", String::as_str)
    }

    /// The host that peers and clients use; empty if it is not known yet.
    pub fn storage_host(&self) -> &str {
        self.hostnames().storage.first().map_or("", String::as_str)
    }

    /// Its failure zone: that of the spec, else the number that its zone's name was given, else 1.
    pub fn zone(&self) -> i32 {
        let found = self.status.as_ref().filter(|status| status.zone_name.is_some());
        self.spec.zone.or_else(|| found?.zone).unwrap_or(1)
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
    /// Accepted (its names are its own), Located (its Kubernetes node is there), Reachable (answers
    /// commands) Ready (part of the pool) and, once it was given up, Drained (nobody needs what is on its devices
    /// any more).
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The names and addresses that it is known by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostnames: Option<Hostnames>,
    /// The name of its Kubernetes node, once one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_node: Option<String>,
    /// Its failure zone: spec.zone, or a number that stands for zoneName in this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<i32>,
    /// What the label topology.kubernetes.io/zone of its Kubernetes node says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
    /// The last ask to give it up that somebody waited for, and why it was not done if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evacuation: Option<Evacuation>,
    /// How many devices it has. A node with devices is not removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<u32>,
    /// How many bricks of volumes are on it, those on their way out included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bricks: Option<u32>,
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
