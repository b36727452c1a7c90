//! The part of Heketi's objects that is shown. Sizes of volumes are GiB, all others KiB.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::CliError;

#[derive(Debug, Deserialize)]
pub(super) struct Clusters {
    pub clusters: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Volumes {
    pub volumes: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cluster {
    pub id: String,
    pub nodes: Vec<String>,
    pub volumes: Vec<String>,
    #[serde(default)]
    pub file: bool,
    #[serde(default)]
    pub block: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Hostnames {
    pub manage: Vec<String>,
    pub storage: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub id: String,
    pub cluster: String,
    pub zone: i64,
    pub hostnames: Hostnames,
    pub state: String,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default)]
    pub devices: Vec<Device>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Device {
    pub id: String,
    pub name: String,
    pub state: String,
    pub storage: Storage,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default)]
    pub paths: Vec<String>,
    #[serde(default)]
    pub pv_uuid: String,
    #[serde(default)]
    pub bricks: Vec<Brick>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Storage {
    pub total: u64,
    pub free: u64,
    pub used: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Brick {
    pub path: String,
    pub device: String,
    pub node: String,
    pub volume: String,
    pub size: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Volume {
    pub id: String,
    pub name: String,
    pub size: u64,
    pub cluster: String,
    #[serde(default)]
    pub durability: Durability,
    #[serde(default)]
    pub gid: i64,
    #[serde(default, rename = "glustervolumeoptions")]
    pub options: Vec<String>,
    #[serde(default)]
    pub block: bool,
    #[serde(default)]
    pub snapshot: Snapshot,
    pub mount: Mount,
    #[serde(default)]
    pub bricks: Vec<Brick>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Operations {
    pub pendingoperations: Vec<Operation>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    pub id: String,
    pub type_name: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub sub_status: String,
    #[serde(default)]
    pub changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Change {
    pub id: String,
    pub description: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ServerMode {
    pub state: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct LogLevels {
    pub loglevel: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    pub fits: bool,
    pub cluster: Option<String>,
    pub reasons: Vec<String>,
    pub bricks: Vec<PlannedBrick>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PlannedBrick {
    pub set: u32,
    pub node: String,
    pub device: String,
    pub size: u64,
    pub takes: u64,
    pub arbiter: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Durability {
    #[serde(rename = "type")]
    pub kind: String,
    pub replicate: Replicate,
    pub disperse: Disperse,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replicate {
    pub replica: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Disperse {
    pub data: u32,
    pub redundancy: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Snapshot {
    pub enable: bool,
    pub factor: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Mount {
    pub glusterfs: GlusterfsMount,
}

#[derive(Debug, Deserialize)]
pub(super) struct GlusterfsMount {
    pub device: String,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// Reads an answer into its type.
pub(super) fn read<T: DeserializeOwned>(what: &str, answer: &Value) -> Result<T, CliError> {
    T::deserialize(answer).map_err(|error| CliError::Strange { what: what.into(), cause: error.to_string() })
}
