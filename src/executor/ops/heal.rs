//! What a volume still has to heal, and the exchange of one brick for another.

use serde::Deserialize;

use super::gluster::{gluster, xml};
use crate::executor::{Batch, GLUSTER_DEADLINE, Output};

/// A brick as `volume heal NAME info` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealBrick {
    /// It as `host:path`.
    pub address: String,
    /// Whether it answers.
    pub connected: bool,
    /// How many files and directories it knows to be missing or stale on other bricks of its set; nothing
    /// when it does not answer.
    pub entries: Option<u64>,
}

/// What is to be healed. GlusterFS looks through its lists on all bricks for that: it takes longer the more there is.
pub fn heal_info(name: &str) -> Batch {
    Batch::one(xml(["volume", "heal", name, "info"]), GLUSTER_DEADLINE)
}

/// Has GlusterFS heal what is to be healed now. By itself it looks every ten minutes (cluster.heal-timeout), and misses
/// a brick that has just taken another one's place.
pub fn launch_heal(name: &str) -> Batch {
    Batch::one(gluster(["volume", "heal", name]), GLUSTER_DEADLINE).locked("gluster")
}

/// Puts a new brick, given as `host:path`, in the place of an old one. The new one is filled from the others of
/// its set.
pub fn replace_brick(name: &str, old: &str, new: &str) -> Batch {
    let words = ["volume", "replace-brick", name, old, new, "commit", "force"];
    Batch::one(gluster(words), GLUSTER_DEADLINE).locked("gluster")
}

/// Reads the answer of [`heal_info`].
pub fn parse_heal(output: &Output) -> Result<Vec<HealBrick>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        #[serde(default)]
        name: String,
        #[serde(default)]
        status: String,
        #[serde(default)]
        number_of_entries: String,
    }
    #[derive(Default, Deserialize)]
    struct Rows {
        #[serde(default)]
        brick: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Info {
        #[serde(default)]
        bricks: Rows,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        #[serde(default)]
        op_ret: i32,
        #[serde(default)]
        op_errstr: String,
        heal_info: Option<Info>,
    }
    let answer: Answer = quick_xml::de::from_str(&output.stdout).map_err(|error| error.to_string())?;
    if answer.op_ret != 0 {
        return Err(answer.op_errstr);
    }
    let rows = answer.heal_info.map(|info| info.bricks.brick).unwrap_or_default();
    let brick = |row: Row| HealBrick {
        address: row.name,
        connected: row.status == "Connected",
        entries: row.number_of_entries.trim().parse().ok(),
    };
    Ok(rows.into_iter().map(brick).collect())
}
