//! GlusterCluster: a trusted pool of nodes, and how to reach them.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, Durability};
use crate::units::{Bytes, GIB, Id};

/// A GlusterFS trusted pool: which volumes it takes, how its nodes are reached, and its limits.
#[derive(CustomResource, kube::KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bricklayer.dev",
    version = "v1alpha1",
    kind = "GlusterCluster",
    doc = "A GlusterFS trusted pool: how its nodes are reached, which volumes it takes, and its limits.",
    plural = "glusterclusters",
    shortname = "gcl",
    category = "gluster",
    status = "GlusterClusterStatus",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Transport", type_ = "string", json_path = ".status.transport"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.counts.nodes"),
    printcolumn(name = "Volumes", type_ = "integer", json_path = ".status.counts.volumes"),
    printcolumn(name = "Free", type_ = "string", json_path = ".status.capacity.free"),
    printcolumn(name = "Total", type_ = "string", json_path = ".status.capacity.total", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GlusterClusterSpec {
    /// Whether the cluster takes file volumes.
    #[serde(default = "yes")]
    pub file: bool,
    /// Whether the cluster takes block-hosting volumes.
    #[serde(default = "yes")]
    pub block: bool,
    /// How commands reach the nodes of this cluster: exactly one of ssh, podExec and
    /// simulated.
    pub transport: TransportSpec,
    /// Limits for bricks and volumes.
    #[serde(default)]
    pub limits: Limits,
}

/// How commands reach the nodes: exactly one member is set.
#[derive(kube::KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.ssh), has(self.podExec), has(self.simulated)].filter(x, x).size() == 1")
    .message("exactly one transport is expected: ssh, podExec or simulated"))]
pub struct TransportSpec {
    /// Commands run over SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshTransport>,
    /// Commands run in the GlusterFS pod of each node. Every node names its Kubernetes node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_exec: Option<PodExecTransport>,
    /// Nothing is stored: the nodes are simulated in the server's data directory. For trials and tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<SimulatedTransport>,
}

/// Commands run over SSH. The known hosts are required unless hostKeys says PinFirstContact.
#[derive(kube::KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.hostKeys) && self.hostKeys == 'PinFirstContact') || has(self.knownHosts) || has(self.knownHostsFile)")
    .message("known hosts are required: give knownHosts or knownHostsFile, or set hostKeys to PinFirstContact to trust each node's key at first contact"))]
pub struct SshTransport {
    /// The user to log in as.
    #[serde(default = "root")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z_][A-Za-z0-9_.-]*$"))]
    pub user: String,
    /// The TCP port of sshd on the nodes.
    #[serde(default = "ssh_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Whether commands run through `sudo -n`; needed when the user is not root.
    #[serde(default)]
    pub sudo: bool,
    /// The private key to log in with.
    pub key: KeySource,
    /// Lines in the format of OpenSSH's known_hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262144))]
    pub known_hosts: Option<String>,
    /// A file in the format of OpenSSH's known_hosts, read where the server runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub known_hosts_file: Option<String>,
    /// What to do with a node whose key is not among the known hosts.
    #[serde(default)]
    pub host_keys: HostKeyPolicy,
    /// The fstab on the nodes that brick mounts are written to.
    #[serde(default = "fstab")]
    #[schemars(length(min = 2, max = 255), regex(pattern = "^/[a-zA-Z0-9_./-]+$"))]
    pub fstab: String,
}

/// Commands run in pods, as `kubectl exec` does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodExecTransport {
    /// The namespace of the pods.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Which pods run GlusterFS: one on each node.
    pub selector: PodSelector,
    /// The container to run in; the pod's first when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// The fstab in the pods that brick mounts are written to. It has to outlive the pod.
    #[serde(default = "pod_fstab")]
    #[schemars(length(min = 2, max = 255), regex(pattern = "^/[a-zA-Z0-9_./-]+$"))]
    pub fstab: String,
}

/// Chooses pods by their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSelector {
    /// The labels that a pod has to have.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: std::collections::BTreeMap<String, String>,
}

/// What to do with a node whose key is not among the known hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HostKeyPolicy {
    /// Refuse to talk to it.
    #[default]
    Required,
    /// Trust the key that it shows first, keep it in the node's status, and refuse another one later.
    PinFirstContact,
}

/// Where the private key is: exactly one member is set.
#[derive(kube::KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.secret), has(self.file)].filter(x, x).size() == 1")
    .message("exactly one source of the key is expected: secret or file"))]
pub struct KeySource {
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretKey>,
    /// A file, read where the server runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub file: Option<String>,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The namespace of the Secret.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in its data that holds an OpenSSH private key.
    #[serde(default = "private_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Simulated nodes. Any host name and any device path exist on them; no data is ever stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedTransport {}

/// Limits for bricks and volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The smallest brick. Never under 320Mi, since mkfs.xfs refuses less.
    #[serde(default = "brick_min")]
    pub brick_min: Bytes,
    /// The largest brick.
    #[serde(default = "brick_max")]
    pub brick_max: Bytes,
    /// How many bricks a volume may have.
    #[serde(default = "bricks_per_volume")]
    #[schemars(range(min = 1, max = 1024))]
    pub bricks_per_volume: u32,
    /// How many volumes the cluster may have; -1 means no limit.
    #[serde(default = "volumes")]
    #[schemars(range(min = -1))]
    pub volumes: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            brick_min: brick_min(),
            brick_max: brick_max(),
            bricks_per_volume: bricks_per_volume(),
            volumes: volumes(),
        }
    }
}

/// What was last seen of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GlusterClusterStatus {
    /// The Heketi id of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// How the nodes are reached: ssh, or SIMULATED so that nobody takes it for storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// The generation of the spec that was looked at.
    pub observed_generation: i64,
    /// Ready.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Space on the devices of all nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<ClusterCapacity>,
    /// How many objects belong to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<ClusterCounts>,
}

/// Space on the devices of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCapacity {
    /// All space in the volume groups.
    pub total: Bytes,
    /// What placements have not taken and reserves do not need.
    pub free: Bytes,
    /// The largest volume that fits, by its durability, as of the last look.
    #[serde(default)]
    pub largest: LargestVolume,
}

/// The largest volumes that a cluster takes, of what a client can use, in whole GiB. Zero where none fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LargestVolume {
    /// With each byte once.
    pub none: Bytes,
    /// With each byte on two nodes.
    pub replicate2: Bytes,
    /// With each byte on three nodes.
    pub replicate3: Bytes,
}

impl LargestVolume {
    /// The largest volume of a durability.
    pub fn of(&self, durability: &Durability) -> Bytes {
        match durability.set_size() {
            1 => self.none,
            2 => self.replicate2,
            _ => self.replicate3,
        }
    }
}

/// How many objects belong to a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCounts {
    /// Nodes of the cluster.
    pub nodes: u32,
    /// Devices on those nodes.
    pub devices: u32,
    /// Volumes placed in the cluster.
    pub volumes: u32,
}

fn yes() -> bool {
    true
}

fn root() -> String {
    "root".into()
}

fn ssh_port() -> u16 {
    22
}

fn private_key() -> String {
    "ssh-privatekey".into()
}

fn fstab() -> String {
    "/etc/fstab".into()
}

fn pod_fstab() -> String {
    "/var/lib/heketi/fstab".into()
}

fn brick_min() -> Bytes {
    Bytes(GIB)
}

fn brick_max() -> Bytes {
    Bytes(4096 * GIB)
}

fn bricks_per_volume() -> u32 {
    32
}

fn volumes() -> i32 {
    1000
}
