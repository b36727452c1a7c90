//! What a node says of itself when somebody asks to see it: plain values, in the words of the tools that said
//! them. They stand here since who reads them (the executor) and who shows them (a face) do not know each
//! other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Id;

/// A line of one of LVM's reports: column and value, as LVM writes it.
pub type Line = BTreeMap<String, String>;

/// A node that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// Which one.
    pub node: Id,
    /// The host name or address under which it was asked.
    pub host: String,
    /// What it said, or why it said nothing at all.
    pub said: Result<Said, String>,
}

/// What a node said. Each part was asked for by itself, and has its own reason when it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The volumes that its GlusterFS knows: those of the whole pool. Nodes that know the same share them.
    pub volumes: Result<Arc<Vec<VolumeSeen>>, String>,
    /// LVM's report of its physical volumes.
    pub pvs: Result<Vec<Line>, String>,
    /// LVM's report of its volume groups.
    pub vgs: Result<Vec<Line>, String>,
    /// LVM's report of its logical volumes, without hidden ones.
    pub lvs: Result<Vec<Line>, String>,
    /// The bricks of its fstab.
    pub mounts: Result<Vec<MountSeen>, String>,
}

/// A volume as GlusterFS describes it. The numbers are GlusterFS's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeSeen {
    /// Its name.
    pub name: String,
    /// GlusterFS's id of it, with dashes.
    pub id: String,
    /// Its status as a number: 0 created, 1 started, 2 stopped.
    pub status: i64,
    /// Its status as a word.
    pub status_text: String,
    /// How many bricks it has.
    pub brick_count: i64,
    /// How many sets of bricks it has.
    pub dist_count: i64,
    /// How many bricks a set is striped over; 0 where GlusterFS knows no stripes any more.
    pub stripe_count: i64,
    /// How many bricks of a set have the same content.
    pub replica_count: i64,
    /// How many bricks of a set are arbiters.
    pub arbiter_count: i64,
    /// How many bricks a dispersed set has.
    pub disperse_count: i64,
    /// How many bricks of a dispersed set may be lost.
    pub redundancy_count: i64,
    /// Its type as a number.
    pub kind: i64,
    /// Its type as a word.
    pub kind_text: String,
    /// Its transport as a number: 0 is TCP.
    pub transport: i64,
    /// Its bricks, in set order.
    pub bricks: Vec<BrickSeen>,
    /// Its options: key and value.
    pub options: Vec<(String, String)>,
}

/// A brick of a volume as GlusterFS describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrickSeen {
    /// The uuid of the glusterd that serves it, as an attribute.
    pub uuid: String,
    /// It as `host:path`.
    pub name: String,
    /// The same uuid once more, as GlusterFS writes it.
    pub host_uuid: String,
    /// 1 for an arbiter.
    pub is_arbiter: i64,
}

/// A brick's line of an fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSeen {
    /// The device.
    pub device: String,
    /// Where it belongs.
    pub point: String,
    /// The type of its file system.
    pub kind: String,
    /// The options it is to be mounted with.
    pub options: String,
    /// Whether something is mounted there.
    pub mounted: bool,
}
