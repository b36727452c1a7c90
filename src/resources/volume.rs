//! GlusterVolume: a GlusterFS volume, from the wish to the bricks.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, Placement, Replacement};
use crate::units::{Bytes, Id};

/// A GlusterFS volume: what is wanted of it, where its bricks were placed, and what was last seen.
#[derive(CustomResource, kube::KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "bricklayer.dev",
    version = "v1alpha1",
    kind = "GlusterVolume",
    doc = "A GlusterFS volume: what is wanted of it, where its bricks were placed, and what was last seen.",
    plural = "glustervolumes",
    shortname = "gvol",
    category = "gluster",
    status = "GlusterVolumeStatus",
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.size"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.durability.type"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", priority = 1),
    printcolumn(
        name = "Degraded",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Degraded")].status"#,
        priority = 1
    ),
    printcolumn(name = "Volume", type_ = "string", json_path = ".status.volumeName", priority = 1),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".status.placement.cluster", priority = 1),
    printcolumn(name = "Claim", type_ = "string", json_path = ".spec.claimRef.name", priority = 1),
    printcolumn(name = "Transport", type_ = "string", json_path = ".status.transport", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(
        "!has(self.status) || !has(self.status.size) || quantity(self.spec.size).compareTo(quantity(self.status.size)) >= 0"
    )
    .message("the size cannot be less than what the volume has already (status.size): volumes do not shrink")
    .field_path(".spec.size")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.name) == has(oldSelf.name)").message("the name cannot be added or taken away later"))]
#[x_kube(validation = Rule::new("has(self.claimRef) == has(oldSelf.claimRef)").message("the claim cannot be added or taken away later"))]
pub struct GlusterVolumeSpec {
    /// The name that GlusterFS clients mount; `vol_<id>` when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = "^[a-zA-Z0-9_][a-zA-Z0-9_-]*$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the name cannot change"))]
    pub name: Option<String>,
    /// The size, such as 10Gi. It may grow, as spec.growth says. It cannot go under what the volume has
    /// already, status.size; a larger size that has not been done yet may be taken back.
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('1')) >= 0").message("a volume has at least one byte"))]
    pub size: Bytes,
    /// What the size means: what a client can use, or the plain sum of the bricks (Heketi's way).
    #[serde(default)]
    pub sizing: Sizing,
    /// How the data is kept safe.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the durability cannot change"))]
    pub durability: Durability,
    /// How the bricks of a set lie in failure zones: None, Soft (in as many as have room) or Strict.
    #[serde(default)]
    pub zones: Zones,
    /// A rule about the tags of devices, those of their nodes included: `key=value`, or `key!=value`, which
    /// devices without the tag keep too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = crate::units::TAG_RULE_PATTERN))]
    pub device_tags: Option<String>,
    /// The names of the GlusterClusters that may hold it, tried in this order; when empty any, the one with the
    /// most space first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub clusters: Vec<String>,
    /// How much larger than the brick its thin pool is, to leave room for snapshots: 1 to 100.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub snapshot_factor: f64,
    /// Options for `gluster volume set`, each written as `key value`. A value does not begin with two
    /// dashes: the gluster command would take it for an option of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(max = 3072), regex(pattern = crate::units::OPTION_PATTERN)))]
    pub options: Vec<String>,
    /// Who may mount it: `nodes` (the nodes of the Kubernetes cluster, kept up to date as they come and
    /// go), addresses, and prefixes of IPv4 such as 10.0.0.0/24; everybody when empty. It becomes the
    /// option auth.allow. When `options` sets that, they win and this is not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64), regex(pattern = crate::units::ALLOWED_PATTERN)))]
    pub allow: Vec<String>,
    /// The group that owns the bricks; 0 leaves them to root.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2147483646))]
    pub gid: i64,
    /// Whether the volume hosts block volumes.
    #[serde(default)]
    pub block: bool,
    /// How it grows when a larger size is asked for.
    #[serde(default)]
    pub growth: Growth,
    /// The PersistentVolumeClaim that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the claim cannot change"))]
    pub claim_ref: Option<ClaimRef>,
    /// What happens when there is no room: try again later, or forget the wish.
    #[serde(default)]
    pub on_refusal: OnRefusal,
}

impl GlusterVolumeSpec {
    /// A wish for a volume of that size, all else as it is when nobody says.
    pub fn sized(size: Bytes) -> Self {
        Self {
            name: None,
            size,
            sizing: Sizing::default(),
            durability: Durability::default(),
            zones: Zones::default(),
            device_tags: None,
            clusters: vec![],
            snapshot_factor: 1.0,
            options: vec![],
            allow: vec![],
            gid: 0,
            block: false,
            growth: Growth::default(),
            claim_ref: None,
            on_refusal: OnRefusal::default(),
        }
    }
}

/// What the size of a volume means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Sizing {
    /// What a client can use: the share of the file system is added to the bricks.
    #[default]
    Usable,
    /// The plain sum of the bricks that hold data, as Heketi counts.
    Bricks,
}

/// How the data of a volume is kept safe.
#[derive(kube::KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.type == 'replicate' ? (has(self.replicas) && self.replicas >= 2 && self.replicas <= 3) : !has(self.replicas)")
    .message("replicate needs replicas: 2 or 3; none and disperse take no replicas"))]
#[x_kube(validation = Rule::new("!has(self.arbiter) || (self.type == 'replicate' && has(self.replicas) && self.replicas == 3)")
    .message("an arbiter is the third of three replicas: it needs type replicate and replicas 3"))]
#[x_kube(validation = Rule::new("self.type == 'disperse' ? (has(self.data) && has(self.redundancy) && self.redundancy < self.data) : !(has(self.data) || has(self.redundancy))")
    .message("disperse needs data and redundancy, with more data than redundancy; none and replicate take neither"))]
pub struct Durability {
    /// none: each byte once. replicate: each byte on as many nodes as replicas says. disperse: each file is
    /// cut over data bricks, and redundancy more may be lost.
    #[serde(rename = "type")]
    pub type_: DurabilityType,
    /// How many bricks hold each byte: 2 or 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The third of three replicas holds the names of files and not their content: it keeps the other two
    /// from going apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arbiter: Option<Arbiter>,
    /// Over how many bricks a file is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 16))]
    pub data: Option<u32>,
    /// How many bricks of a set may be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub redundancy: Option<u32>,
}

/// An arbiter brick in each set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Arbiter {
    /// How large a file is on average. It decides how large the arbiter's brick is: 1 KiB for each file that the
    /// data bricks hold then.
    #[serde(default = "average_file_size")]
    pub average_file_size: Bytes,
}

/// The kinds of durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityType {
    /// Each byte once.
    None,
    /// Each byte on several nodes.
    Replicate,
    /// Each file cut over several nodes, some of which may be lost.
    Disperse,
}

impl Default for Durability {
    fn default() -> Self {
        Self::replicate(3)
    }
}

impl Durability {
    const fn of(type_: DurabilityType) -> Self {
        Self { type_, replicas: None, arbiter: None, data: None, redundancy: None }
    }

    /// Each byte once.
    pub const fn none() -> Self {
        Self::of(DurabilityType::None)
    }

    /// Each byte on so many nodes: 2 or 3.
    pub const fn replicate(replicas: u32) -> Self {
        Self { replicas: Some(replicas), ..Self::of(DurabilityType::Replicate) }
    }

    /// Each byte on two nodes, and a third one that knows which of them is right. The size is that of a file on
    /// average.
    pub const fn arbiter(average_file_size: Bytes) -> Self {
        Self { arbiter: Some(Arbiter { average_file_size }), ..Self::replicate(3) }
    }

    /// Each file cut over `data` bricks, with `redundancy` more that may be lost.
    pub const fn disperse(data: u32, redundancy: u32) -> Self {
        Self { data: Some(data), redundancy: Some(redundancy), ..Self::of(DurabilityType::Disperse) }
    }

    /// The ways to disperse that GlusterFS's guidance and Heketi know, as data and redundancy: (2, 1), (4, 2), (8, 3)
    /// and (8, 4).
    pub const DISPERSED: [(u32, u32); 4] = [(2, 1), (4, 2), (8, 3), (8, 4)];

    /// How many bricks make one set.
    pub fn set_size(&self) -> usize {
        let count = match self.type_ {
            DurabilityType::None => 1,
            DurabilityType::Replicate => self.replicas.unwrap_or(3),
            DurabilityType::Disperse => self.data.unwrap_or(4) + self.redundancy.unwrap_or(2),
        };
        count as usize
    }
}

/// How the bricks of a set lie in failure zones. They lie on nodes of their own in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Zones {
    /// Zones do not count.
    None,
    /// In as many zones as have room.
    #[default]
    Soft,
    /// Each in a zone of its own, or not at all.
    Strict,
}

/// How a volume grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Growth {
    /// Its bricks are made larger, where each of their devices has room for that: no data moves, and a single
    /// file can be larger too. Sets of bricks are added otherwise.
    #[default]
    Auto,
    /// Its bricks are made larger, or it does not grow.
    InPlace,
    /// Sets of bricks are added, as Heketi does.
    Sets,
}

/// How large a file is on average when nobody says: as Heketi assumes.
pub const AVERAGE_FILE: Bytes = Bytes(64 << 10);

fn average_file_size() -> Bytes {
    AVERAGE_FILE
}

/// The claim that a volume was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRef {
    /// The namespace of the claim.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// The name of the claim.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The uid of the claim: a claim that is made again under the same name is another claim.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The StorageClass of the claim. Among its volumes each gid is given once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class: Option<String>,
}

/// What happens when there is no room for a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnRefusal {
    /// It is tried again when something changed.
    #[default]
    Retry,
    /// It is refused once, and never placed later.
    Forget,
}

// One writer has all of it, so who owns which field need not be kept: that took a quarter of what writing it costs the
// API server.
/// What was decided and last seen of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct GlusterVolumeStatus {
    /// The Heketi id of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// How its nodes are reached: ssh, or SIMULATED so that nobody takes it for storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// The name that GlusterFS clients mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// One word for people: Pending, Refused, Creating, Ready, Deleting or Failed. Derived from the
    /// conditions and never read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The generation of the spec that was looked at.
    pub observed_generation: i64,
    /// Placed (bricks have their places), Ready (clients can mount it), Degraded (some of its bricks
    /// are away; absent as long as none ever was), Access (those of spec.allow and nobody else can mount
    /// it; absent as long as there was nothing to say about that), after the first expansion Expanded
    /// (it has the size that is wanted), and after a device of it was given up Replaced (no brick of it is on such
    /// a device).
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Why it has no place, cluster by cluster; empty once it has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub refusals: Vec<Refusal>,
    /// How many times it was placed; part of the brick ids, so that a new try never meets old names.
    pub attempt: u32,
    /// Devices (by id) that refused a brick of this volume or could not be reached. They are left
    /// out of the next placement.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub avoid: Vec<Id>,
    /// Where the bricks are. Written before the first command runs, and never edited by anybody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// What the volume has, in the unit of spec.size: set when clients can mount it, raised when an
    /// expansion is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// How many times the expansion that is wanted now was begun.
    #[serde(skip_serializing_if = "is_zero")]
    pub expansion_attempts: u32,
    /// How the data moves to the bricks of the last expansion; absent before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<Rebalance>,
    /// The brick that leaves a device which was given up, or the last one that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
    /// What was last seen on the nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// How clients mount it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<MountInfo>,
    /// What auth.allow was last set to for spec.allow: addresses, and beginnings of addresses such as
    /// `10.0.0.*`, with commas between, or `*`; absent as long as it was never set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// The last command that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// How the data of a volume moves to the bricks of its last expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rebalance {
    /// How far it has come.
    pub phase: RebalancePhase,
    /// How many files were moved.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub files: u64,
    /// How much data was moved.
    #[serde(default)]
    pub moved: Bytes,
    /// How many files could not be moved.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failures: u64,
    /// How many files were left where they are.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub skipped: u64,
    /// How many times it was begun.
    #[serde(default)]
    pub attempts: u32,
    /// When the phase last changed.
    #[serde(default)]
    pub since: String,
    /// When there was last news of it.
    #[serde(default)]
    pub seen: String,
    /// Why it is not going on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 8192))]
    pub message: String,
}

/// How far a rebalance has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebalancePhase {
    /// It is to be started.
    #[default]
    Pending,
    /// Files are moved.
    Running,
    /// All is where it belongs, but for what was skipped or failed.
    Completed,
    /// It ended before all was done, and is started again.
    Failed,
    /// Somebody has stopped it by hand: it is left alone until the next expansion.
    Stopped,
}

/// Why one cluster does not take a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Refusal {
    /// The id of the GlusterCluster; absent when there is no cluster at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Id>,
    /// Why, in one word: NoSpace, NoNodes, NoOnlineDevices, NameInUse, ClusterFull,
    /// AllKindsDisabled, KindNotOffered, NoClusters, UnknownCluster or Expired.
    pub reason: String,
    /// Why, for people, device by device, and what would help.
    pub message: String,
    /// With ClusterFull: how many volumes the cluster has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// With ClusterFull: how many it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl GlusterVolume {
    /// The name that GlusterFS clients mount: the one asked for, else `vol_<id>`.
    pub fn volume_name(&self) -> String {
        self.spec.name.clone().unwrap_or_else(|| format!("vol_{}", super::id_of(self)))
    }

    /// What it has in the unit of spec.size; nothing before clients could mount it.
    pub fn size(&self) -> Option<Bytes> {
        self.status.as_ref()?.size
    }

    /// Conditions, none before the first visit.
    pub fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

/// What was last seen of a volume on the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// When it was looked at.
    pub time: String,
    /// How many of the placed bricks were seen to be ready.
    pub bricks_ready: u32,
    /// Whether GlusterFS reported the volume as started.
    pub started: bool,
}

/// How clients mount a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MountInfo {
    /// Servers to ask for the volume file, in order of preference.
    pub servers: Vec<String>,
}

/// A command that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// When.
    pub time: String,
    /// The host it ran on.
    pub node: String,
    /// The command.
    pub command: String,
    /// Its exit code; absent when no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What it wrote to its error stream, or why no answer came.
    pub stderr: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn one() -> f64 {
    1.0
}
