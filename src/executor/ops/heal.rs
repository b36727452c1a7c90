//! What a volume still has to heal, and the exchange of one brick for another.

use super::answer::{Answer, HealRow};
use super::gluster::{gluster, xml};
use crate::executor::{Batch, GLUSTER_DEADLINE, Output};

/// A brick as `volume heal NAME info summary` reports it.
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

/// How much is to be healed. GlusterFS looks through its lists on all bricks for that: it takes longer the more there is.
/// Without `summary` it would print every name.
pub fn heal_info(name: &str) -> Batch {
    Batch::one(xml(["volume", "heal", name, "info", "summary"]), GLUSTER_DEADLINE)
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
    let rows = Answer::read(output)?.done()?.heal_info.ok_or("the answer has no bricks")?.bricks.brick;
    let brick = |row: HealRow| HealBrick {
        address: row.name,
        connected: row.status == "Connected",
        entries: row.total_number_of_entries.trim().parse().ok(),
    };
    Ok(rows.into_iter().map(brick).collect())
}
