//! The state of all nodes as plain values, for tests and for a checker of invariants.

use std::collections::BTreeMap;

use super::{
    fstab::Fstab,
    group::Vg,
    state::{Disk, Node, Pool, State, dashed},
    text::Text,
};
use crate::units::Bytes;

/// The state of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The nodes by name: that of the first command, or of its `introduce`.
    pub hosts: BTreeMap<String, HostSnapshot>,
    /// The trusted pools.
    pub pools: Vec<PoolSnapshot>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSnapshot {
    /// How often it has restarted.
    pub boots: u64,
    /// Disks that are not blank: the path, and the type of what is on it.
    pub disks: Vec<(String, String)>,
    /// Its volume groups.
    pub vgs: Vec<VgSnapshot>,
    /// What is mounted: device and mount point.
    pub mounts: Vec<(String, String)>,
    /// The lines of its fstabs: device and mount point.
    pub fstab: Vec<(String, String)>,
    /// Directories that were made on the root file system, mount points too.
    pub directories: Vec<String>,
    /// Directories of mounted brick file systems.
    pub bricks: Vec<BrickSnapshot>,
}

/// A volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VgSnapshot {
    /// Its name.
    pub name: String,
    /// The disk it is on.
    pub disk: String,
    /// All its space.
    pub size: Bytes,
    /// Space that nothing has.
    pub free: Bytes,
    /// The hidden spare for the metadata of pools.
    pub spare: Bytes,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its logical volumes, without the hidden ones.
    pub lvs: Vec<LvSnapshot>,
}

/// A logical volume or a thin pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LvSnapshot {
    /// Its name.
    pub name: String,
    /// Its size; for a thin pool that of its data.
    pub size: Bytes,
    /// The size of a pool's metadata; 0 if it is no pool.
    pub metadata: Bytes,
    /// The pool it is in; empty if none.
    pub pool: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it has a file system.
    pub formatted: bool,
    /// Whether it is mounted.
    pub mounted: bool,
}

/// A directory of a brick's file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrickSnapshot {
    /// Its path.
    pub path: String,
    /// The group that owns it.
    pub gid: u32,
    /// Its mode.
    pub mode: u16,
    /// The id of the gluster volume it was made a brick of.
    pub volume: Option<String>,
}

/// A trusted pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSnapshot {
    /// The names of its nodes.
    pub members: Vec<String>,
    /// Its volumes.
    pub volumes: Vec<VolumeSnapshot>,
}

/// A gluster volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSnapshot {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Whether it is started.
    pub started: bool,
    /// Bricks in a set: 1 if it is neither replicated nor dispersed.
    pub set: usize,
    /// Its bricks, set after set: the name of the node, and the path.
    pub bricks: Vec<(String, String)>,
    /// Its options.
    pub options: Vec<(String, String)>,
}

impl Snapshot {
    pub(super) fn of(state: &State) -> Self {
        let used = state.nodes.iter().filter(|(_, node)| !node.is_empty());
        let mut pools: Vec<PoolSnapshot> = state.pools.values().map(|p| pool(state, p)).collect();
        pools.retain(|pool| !pool.members.is_empty());
        Self { hosts: used.map(|(name, node)| (name.to_string(), host(node))).collect(), pools }
    }
}

fn host(node: &Node) -> HostSnapshot {
    let kind = |disk: &Disk| match disk {
        Disk::Signature(kind) => kind.to_string(),
        Disk::Pv { .. } => "LVM2_member".to_owned(),
    };
    let disks = node.disks.iter().map(|(path, disk)| (path.to_string(), kind(disk)));
    let mounts = node
        .places
        .iter()
        .filter_map(|(dir, place)| Some((place.device.as_ref()?.path(&dir.to_string()), dir.to_string())));
    let lines = node.fstabs.values().flat_map(Fstab::lines);
    let fstab = lines.map(|line| (line.device.path(&line.dir.to_string()), line.dir.to_string()));
    let mut host = HostSnapshot {
        boots: node.boots,
        disks: disks.collect(),
        vgs: node.vgs.iter().map(|(name, group)| vg(name, group)).collect(),
        mounts: mounts.collect(),
        fstab: fstab.collect(),
        directories: node.places.keys().map(Text::to_string).collect(),
        bricks: vec![],
    };
    for (device, dir) in &host.mounts {
        let dirs = node.data(device).and_then(|data| data.fs.as_ref());
        host.bricks.extend(dirs.into_iter().flatten().map(|found| BrickSnapshot {
            path: format!("{dir}/{}", found.path),
            gid: found.gid,
            mode: found.mode,
            volume: found.volume.map(dashed),
        }));
    }
    host.vgs.sort_by(|a, b| a.name.cmp(&b.name));
    host.directories.sort();
    host
}

fn vg(name: &Text, vg: &Vg) -> VgSnapshot {
    let bytes = |extents: u32| Bytes(vg.extent * u64::from(extents));
    let lv = |(name, lv): (&Text, &super::group::Lv)| LvSnapshot {
        name: name.to_string(),
        size: bytes(lv.extents),
        metadata: bytes(lv.meta),
        pool: lv.data.as_ref().map(|data| data.pool.to_string()).unwrap_or_default(),
        tags: split(&lv.tags),
        formatted: lv.data.as_ref().is_some_and(|data| data.fs.is_some()),
        mounted: lv.data.as_ref().is_some_and(|data| data.mounted),
    };
    VgSnapshot {
        name: name.to_string(),
        disk: vg.disk.to_string(),
        size: bytes(vg.extents),
        free: bytes(vg.free()),
        spare: bytes(vg.spare),
        tags: split(&vg.tags),
        lvs: vg.lvs.iter().map(lv).collect(),
    }
}

fn split(tags: &Text) -> Vec<String> {
    let tags = tags.to_string();
    let tags = tags.split(',').filter(|tag| !tag.is_empty());
    tags.map(str::to_owned).collect()
}

fn pool(state: &State, pool: &Pool) -> PoolSnapshot {
    let volume = |(name, volume): (&Text, &super::state::Volume)| VolumeSnapshot {
        name: name.to_string(),
        id: dashed(volume.id),
        started: volume.status == 1,
        set: usize::from(volume.replica.max(volume.disperse).max(1)),
        bricks: volume
            .bricks
            .iter()
            .map(|brick| {
                let node = state.resolve(&brick.host.to_string());
                (node.to_string(), brick.path.to_string())
            })
            .collect(),
        options: volume.all_options(),
    };
    PoolSnapshot {
        members: pool.peers.iter().map(|peer| peer.node.to_string()).collect(),
        volumes: pool.volumes.iter().map(volume).collect(),
    }
}
