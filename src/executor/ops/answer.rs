//! What the gluster command answers in XML: how it went, and the part that the command is about.

use serde::Deserialize;

use crate::executor::Output;

/// An answer in XML (`cliOutput`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    /// Zero when it was done. An answer without it is none.
    pub op_ret: i32,
    /// Why it was not done.
    #[serde(default)]
    pub op_errstr: String,
    /// `pool list`
    pub peer_status: Option<PeerRows>,
    /// `volume info`
    pub vol_info: Option<VolumeInfo>,
    /// `volume rebalance`
    pub vol_rebalance: Option<RebalanceRows>,
    /// `volume heal NAME info summary`
    pub heal_info: Option<HealInfo>,
}

impl Answer {
    /// Reads what was printed.
    pub fn read(output: &Output) -> Result<Self, String> {
        quick_xml::de::from_str(&output.stdout).map_err(|error| error.to_string())
    }

    /// The answer, or why it was not done.
    pub fn done(self) -> Result<Self, String> {
        if self.op_ret == 0 { Ok(self) } else { Err(self.op_errstr) }
    }
}

#[derive(Deserialize)]
pub(super) struct PeerRows {
    #[serde(default)]
    pub peer: Vec<PeerRow>,
}

#[derive(Deserialize)]
pub(super) struct PeerRow {
    pub uuid: String,
    pub hostname: String,
    pub connected: u8,
}

#[derive(Deserialize)]
pub(super) struct VolumeInfo {
    pub volumes: VolumeRows,
}

#[derive(Deserialize)]
pub(super) struct VolumeRows {
    #[serde(default)]
    pub volume: Vec<VolumeRow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeRow {
    pub name: String,
    #[serde(default)]
    pub status_str: String,
    pub bricks: BrickRows,
    pub options: Option<OptionRows>,
    // What only people look at is no reason to find the rest garbled: versions of GlusterFS differ in it.
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub status: i64,
    #[serde(default)]
    pub brick_count: i64,
    #[serde(default)]
    pub dist_count: i64,
    #[serde(default)]
    pub stripe_count: i64,
    #[serde(default)]
    pub replica_count: i64,
    #[serde(default)]
    pub arbiter_count: i64,
    #[serde(default)]
    pub disperse_count: i64,
    #[serde(default)]
    pub redundancy_count: i64,
    #[serde(default, rename = "type")]
    pub kind: i64,
    #[serde(default, rename = "typeStr")]
    pub kind_str: String,
    #[serde(default)]
    pub transport: i64,
}

#[derive(Deserialize)]
pub(super) struct BrickRows {
    #[serde(default)]
    pub brick: Vec<BrickRow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BrickRow {
    pub name: String,
    #[serde(default, rename = "@uuid")]
    pub uuid: String,
    #[serde(default)]
    pub host_uuid: String,
    #[serde(default)]
    pub is_arbiter: i64,
}

#[derive(Deserialize)]
pub(super) struct OptionRows {
    #[serde(default)]
    pub option: Vec<OptionRow>,
}

#[derive(Deserialize)]
pub(super) struct OptionRow {
    pub name: String,
    #[serde(default)]
    pub value: String,
}

#[derive(Default, Deserialize)]
pub(super) struct RebalanceRows {
    pub aggregate: Option<RebalanceRow>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RebalanceRow {
    pub files: u64,
    /// Bytes.
    pub size: u64,
    pub failures: u64,
    pub skipped: u64,
    pub status: u8,
}

#[derive(Deserialize)]
pub(super) struct HealInfo {
    #[serde(default)]
    pub bricks: HealRows,
}

#[derive(Default, Deserialize)]
pub(super) struct HealRows {
    #[serde(default)]
    pub brick: Vec<HealRow>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HealRow {
    pub name: String,
    pub status: String,
    /// A number; nothing when the brick does not answer.
    pub total_number_of_entries: String,
}
