//! What Heketi's requests and answers look like. Sizes of volumes are whole GiB, sizes of devices and
//! bricks whole KiB. The order of fields is the order on the wire.

use std::collections::BTreeMap;

use serde::Serialize;

use super::json::{go_number, request};
use crate::units::Id;

/// `POST /clusters` and `POST /clusters/{id}/flags`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterFlags {
    /// Whether the cluster takes volumes that host block volumes.
    pub block: bool,
    /// Whether the cluster takes file volumes.
    pub file: bool,
}
request!(ClusterFlags { block: "block", file: "file" });

/// The names of a node, in requests and answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Hostnames {
    /// Where commands are sent.
    pub manage: Vec<String>,
    /// What peers and clients use.
    pub storage: Vec<String>,
}
request!(Hostnames { manage: "manage", storage: "storage" });

/// `POST /nodes`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeAdd {
    /// The failure zone.
    pub zone: i64,
    /// The names of the node.
    pub hostnames: Hostnames,
    /// The id of the cluster.
    pub cluster: String,
    /// Marks.
    pub tags: BTreeMap<String, String>,
}
request!(NodeAdd { zone: "zone", hostnames: "hostnames", cluster: "cluster", tags: "tags" });

/// `POST /devices`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceAdd {
    /// The path of the disk.
    pub name: String,
    /// The id of the node.
    pub node: String,
    /// Marks.
    pub tags: BTreeMap<String, String>,
    /// Whether what is on the disk may be destroyed.
    pub destroydata: bool,
}
request!(DeviceAdd { name: "name", node: "node", tags: "tags", destroydata: "destroydata" });

/// `DELETE /devices/{id}`, with a body or without
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceDelete {
    /// Whether to drop the device even if its node cannot clean it.
    pub forceforget: bool,
}
request!(DeviceDelete { forceforget: "forceforget" });

/// `POST /nodes/{id}/state` and `POST /devices/{id}/state`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateChange {
    /// online, offline or failed
    pub state: String,
    /// Nothing, enable or disable.
    pub healcheck: String,
}
request!(StateChange { state: "state", healcheck: "healcheck" });

/// `POST /nodes/{id}/tags` and `POST /devices/{id}/tags`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TagsChange {
    /// set, update or delete
    pub change_type: String,
    /// The marks to set, or whose names to delete.
    pub tags: BTreeMap<String, String>,
}
request!(TagsChange { change_type: "change_type", tags: "tags" });

/// `POST /volumes`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VolumeCreate {
    /// GiB
    pub size: i64,
    /// The name to mount; made from the id when it is empty.
    pub name: String,
    /// The ids of the clusters that may hold it; all when there is none.
    pub clusters: Vec<String>,
    /// How the data is kept safe.
    pub durability: Durability,
    /// The group that owns the bricks.
    pub gid: i64,
    /// Options, each as `key value`.
    pub glustervolumeoptions: Vec<String>,
    /// Whether it is to host block volumes.
    pub block: bool,
    /// Room for snapshots.
    pub snapshot: Snapshot,
}
request!(VolumeCreate {
    size: "size",
    name: "name",
    clusters: "clusters",
    durability: "durability",
    gid: "gid",
    glustervolumeoptions: "glustervolumeoptions",
    block: "block",
    snapshot: "snapshot",
});

/// `POST /volumes/{id}/expand`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VolumeExpand {
    /// By how many GiB it grows.
    pub expand_size: i64,
}
request!(VolumeExpand { expand_size: "expand_size" });

/// `POST /volumes/{id}/block-restriction`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockRestriction {
    /// Nothing or locked
    pub restriction: String,
}
request!(BlockRestriction { restriction: "restriction" });

/// `POST /operations/pending/cleanup`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CleanUp {
    /// Ids of operations; all that failed when there is none.
    pub operations: Vec<String>,
}
request!(CleanUp { operations: "operations" });

/// `GET /admin` and `POST /admin`
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServerMode {
    /// normal, read-only or local-client
    pub state: String,
}
request!(ServerMode { state: "state" });

/// `GET /internal/logging` and `POST /internal/logging`
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogLevels {
    /// Logger → level
    pub loglevel: BTreeMap<String, String>,
}
request!(LogLevels { loglevel: "loglevel" });

/// How the data of a volume is kept safe; answers echo what was asked, whatever the type.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Durability {
    /// none, replicate or disperse
    #[serde(rename = "type")]
    pub kind: String,
    /// For replicate.
    pub replicate: Replicate,
    /// For disperse.
    pub disperse: Disperse,
}
request!(Durability { kind: "type", replicate: "replicate", disperse: "disperse" });

/// How many bricks hold each byte.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replicate {
    /// 0 means 2.
    #[serde(skip_serializing_if = "is_zero")]
    pub replica: i64,
}
request!(Replicate { replica: "replica" });

/// How many bricks hold data, and how many may be lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Disperse {
    /// Bricks with data.
    #[serde(skip_serializing_if = "is_zero")]
    pub data: i64,
    /// Bricks that may be lost.
    #[serde(skip_serializing_if = "is_zero")]
    pub redundancy: i64,
}
request!(Disperse { data: "data", redundancy: "redundancy" });

/// Room for snapshots.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Whether there is any.
    pub enable: bool,
    /// How many times larger than the brick its thin pool is.
    #[serde(serialize_with = "go_number")]
    pub factor: f64,
}
request!(Snapshot { enable: "enable", factor: "factor" });

/// What a volume's object remembers of the request that made it, since answers echo it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VolumeEcho {
    /// As it was sent.
    pub durability: Durability,
    /// As it was sent.
    pub snapshot: Snapshot,
    /// The options of the configuration around those of the request, empty ones included.
    pub glustervolumeoptions: Vec<String>,
    /// The ids as they were sent.
    pub clusters: Vec<String>,
}
request!(VolumeEcho {
    durability: "durability",
    snapshot: "snapshot",
    glustervolumeoptions: "glustervolumeoptions",
    clusters: "clusters",
});

/// `GET /clusters`
#[derive(Debug, Serialize)]
pub struct ClusterList {
    /// Ids in ascending order.
    pub clusters: Vec<String>,
}

/// `GET /clusters/{id}`
#[derive(Debug, Serialize)]
pub struct Cluster {
    /// The id.
    pub id: String,
    /// Ids in ascending order.
    pub nodes: Vec<String>,
    /// Ids in ascending order.
    pub volumes: Vec<String>,
    /// Whether it takes volumes that host block volumes.
    pub block: bool,
    /// Whether it takes file volumes.
    pub file: bool,
    /// Ids in ascending order.
    pub blockvolumes: Vec<String>,
}

/// What is known of a node itself.
#[derive(Debug, Serialize)]
pub struct NodeRecord {
    /// The failure zone.
    pub zone: i32,
    /// Its names.
    pub hostnames: Hostnames,
    /// The id of its cluster.
    pub cluster: String,
    /// Marks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The id.
    pub id: String,
}

/// `GET /nodes/{id}`
#[derive(Debug, Serialize)]
pub struct Node {
    /// Itself.
    #[serde(flatten)]
    pub record: NodeRecord,
    /// online, offline or failed
    pub state: &'static str,
    /// In ascending order of their ids.
    pub devices: Vec<Device>,
}

/// What is known of a device itself.
#[derive(Debug, Serialize)]
pub struct DeviceRecord {
    /// The path that was given.
    pub name: String,
    /// Marks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Its space.
    pub storage: Storage,
    /// The id.
    pub id: String,
    /// All paths under which its node knows it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The UUID of its LVM physical volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pv_uuid: String,
}

/// `GET /devices/{id}`
#[derive(Debug, Serialize)]
pub struct Device {
    /// Itself.
    #[serde(flatten)]
    pub record: DeviceRecord,
    /// online, offline or failed
    pub state: &'static str,
    /// In ascending order of their ids.
    pub bricks: Vec<Brick>,
}

/// Space of a device in KiB; total is the sum of the others.
#[derive(Debug, Serialize)]
pub struct Storage {
    /// All.
    pub total: u64,
    /// What placements have not taken.
    pub free: u64,
    /// What placements have taken.
    pub used: u64,
}

/// A brick.
#[derive(Debug, Serialize)]
pub struct Brick {
    /// The id.
    pub id: String,
    /// Its directory on the node.
    pub path: String,
    /// The id of its device.
    pub device: String,
    /// The id of its node.
    pub node: String,
    /// The id of its volume.
    pub volume: String,
    /// KiB
    pub size: u64,
}

/// `GET /volumes`
#[derive(Debug, Serialize)]
pub struct VolumeList {
    /// Ids in ascending order.
    pub volumes: Vec<Id>,
}

/// `GET /volumes/{id}`, and what a dump of the database has of a volume.
#[derive(Debug, Serialize)]
pub struct Volume {
    /// GiB
    pub size: u64,
    /// The ids of the request, in a dump only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// The name to mount.
    pub name: String,
    /// As it was asked.
    pub durability: Durability,
    /// The group that owns the bricks.
    #[serde(skip_serializing_if = "is_zero")]
    pub gid: i64,
    /// Options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub glustervolumeoptions: Vec<String>,
    /// Whether it hosts block volumes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub block: bool,
    /// Room for snapshots.
    pub snapshot: Snapshot,
    /// The id.
    pub id: String,
    /// The id of its cluster.
    pub cluster: String,
    /// How to mount it.
    pub mount: Mount,
    /// Empty for file volumes.
    pub blockinfo: BlockInfo,
    /// In ascending order of their ids; a dump has them elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bricks: Option<Vec<Brick>>,
}

/// How to mount a volume.
#[derive(Debug, Serialize)]
pub struct Mount {
    /// With GlusterFS.
    pub glusterfs: GlusterfsMount,
}

/// How to mount a volume with GlusterFS.
#[derive(Debug, Serialize)]
pub struct GlusterfsMount {
    /// Storage hosts of the cluster in ascending order of node ids.
    pub hosts: Vec<String>,
    /// `host:name`
    pub device: String,
    /// `backup-volfile-servers`
    pub options: BTreeMap<&'static str, String>,
}

/// What a volume that hosts block volumes has room for; empty for file volumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BlockInfo {
    /// GiB that block volumes can still have.
    #[serde(skip_serializing_if = "is_nothing")]
    pub freesize: u64,
    /// GiB that are kept for what surrounds block volumes.
    #[serde(skip_serializing_if = "is_nothing")]
    pub reservedsize: u64,
    /// The ids of its block volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockvolume: Vec<String>,
    /// locked, when it takes no more of them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub restriction: String,
}

/// `GET /operations`
#[derive(Debug, Serialize)]
pub struct OperationCounts {
    /// All.
    pub total: usize,
    /// Those that take up a slot for work.
    pub in_flight: usize,
    /// Those that nobody works on; there are none.
    pub stale: usize,
    /// Those that failed and are being cleaned up.
    pub failed: usize,
    /// The others.
    pub new: usize,
}

/// `GET /operations/pending`
#[derive(Debug, Serialize)]
pub struct OperationList {
    /// In ascending order of their ids.
    pub pendingoperations: Vec<OperationInfo>,
}

/// An operation in a list.
#[derive(Debug, Serialize)]
pub struct OperationInfo {
    /// The id.
    pub id: String,
    /// The kind of work.
    pub type_name: &'static str,
    /// Nothing, or failed
    pub status: &'static str,
    /// Nothing, or in-flight
    pub sub_status: &'static str,
}

/// `GET /operations/pending/{id}`
#[derive(Debug, Serialize)]
pub struct OperationDetails {
    /// As in a list.
    #[serde(flatten)]
    pub info: OperationInfo,
    /// What it does.
    pub changes: Vec<OperationChange>,
}

/// What an operation does to one brick or volume.
#[derive(Debug, Serialize)]
pub struct OperationChange {
    /// The id of the brick or volume.
    pub id: String,
    /// What is done.
    pub description: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_nothing(number: &u64) -> bool {
    *number == 0
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}
