//! What the simulated nodes remember: disks, volume groups, logical volumes, mounts, fstabs,
//! directories, peers and gluster volumes.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::fstab::{Fstab, Line};
use super::group::Vg;
use super::text::{Device, Text};
use crate::units::{Bytes, Id};

/// All nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// Everything that would be random on real nodes is derived from it and from `fresh`, so that
    /// running the journal again makes the same ids.
    seed: Id,
    pub(super) fresh: u64,
    /// The size of a disk that has never been seen before.
    pub(super) device_size: Bytes,
    pub(super) nodes: BTreeMap<Text, Node>,
    /// Other names of nodes.
    names: BTreeMap<Text, Text>,
    pub(super) pools: BTreeMap<u32, Pool>,
}

/// A node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    /// How often it has restarted.
    pub(super) boots: u64,
    /// How many of those restarts the faults file has asked for.
    pub(super) asked: u64,
    /// Disks that are not blank, by path.
    pub(super) disks: BTreeMap<Text, Disk>,
    pub(super) vgs: BTreeMap<Text, Vg>,
    /// Directories of the root file system that were made, and mounts.
    pub(super) places: BTreeMap<Text, Place>,
    /// The lines of each fstab, by its path.
    pub(super) fstabs: BTreeMap<Text, Fstab>,
    /// The trusted pool it is in; none if it is alone and has no volumes.
    pub(super) pool: Option<u32>,
}

/// What is on a disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Disk {
    /// A file system, by its type.
    Signature(Text),
    /// An LVM physical volume, with the volume group it belongs to.
    Pv {
        id: Id,
        /// Where its data begins, in bytes.
        start: u64,
        vg: Option<Text>,
    },
}

/// What a logical volume that is no pool has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Data {
    /// The thin pool it is in; empty for a plain one.
    pub(super) pool: Text,
    pub(super) mounted: bool,
    /// The directories of the XFS on it.
    pub(super) fs: Option<Vec<Dir>>,
}

/// A directory of a brick's file system.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Dir {
    /// Its path below the root of the file system.
    pub(super) path: Text,
    pub(super) gid: u32,
    pub(super) mode: u16,
    /// The gluster volume it was made a brick of.
    pub(super) volume: Option<Id>,
    /// Whether glusterd has made `.glusterfs` in it.
    pub(super) hidden: bool,
    /// Whether a brick process has ever used it, so that its `.glusterfs` is not empty any more.
    pub(super) used: bool,
    /// Whether a brick process uses it now.
    pub(super) running: bool,
}

/// A directory of the root file system and what is mounted on it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) device: Option<Device>,
    /// How many directories were made in it.
    pub(super) children: u32,
}

/// A trusted pool.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pool {
    pub(super) peers: Vec<Peer>,
    pub(super) volumes: BTreeMap<Text, Volume>,
    /// How many bricks of the volumes have a path, whatever node they are on: each new brick is compared with all.
    #[serde(skip)]
    paths: HashMap<Text, u32>,
}

/// A member of a pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Peer {
    pub(super) node: Text,
    /// The name it was probed by.
    pub(super) name: Text,
}

/// A gluster volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Volume {
    pub(super) id: Id,
    /// 0 created, 1 started, 2 stopped.
    pub(super) status: u8,
    pub(super) replica: u16,
    pub(super) arbiter: u16,
    pub(super) disperse: u16,
    pub(super) redundancy: u16,
    pub(super) bricks: Vec<Brick>,
    /// Those that were set, the newest first.
    pub(super) options: Vec<(Text, Text)>,
    /// The last rebalance.
    #[serde(default)]
    pub(super) rebalance: Option<Rebalance>,
    /// The positions of bricks that have taken the place of others and do not have their data yet.
    #[serde(default)]
    pub(super) unfilled: Vec<usize>,
    /// Those of them whose root directory is not healed: in a dispersed set nobody has noted yet what they miss.
    #[serde(default)]
    pub(super) unrooted: Vec<usize>,
}

/// A rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rebalance {
    pub(super) id: Id,
    /// 1 in progress, 2 stopped, 3 completed.
    pub(super) status: u8,
}

/// A brick of a gluster volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Brick {
    /// The host as it was given.
    pub(super) host: Text,
    pub(super) path: Text,
}

impl State {
    pub(super) fn new(device_size: Bytes) -> Self {
        Self {
            seed: Id::random(),
            fresh: 0,
            device_size,
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            pools: BTreeMap::new(),
        }
    }

    /// An id that nothing else has.
    pub(super) fn fresh_id(&mut self) -> Id {
        self.fresh += 1;
        self.seed.derive(&format!("fresh/{}", self.fresh))
    }

    /// The uuid of a node's glusterd.
    pub(super) fn node_id(&self, node: &Text) -> Id {
        self.seed.derive(&format!("node/{node}"))
    }

    /// Changes whenever the node restarts.
    pub(super) fn boot_id(&self, node: &Text) -> Id {
        let boots = self.nodes.get(node).map_or(0, |node| node.boots);
        self.seed.derive(&format!("boot/{node}/{boots}"))
    }

    /// The node that has this name.
    pub(super) fn resolve(&self, name: &str) -> Text {
        let plain = Text::from(name);
        if let Some(node) = self.names.get(&plain) {
            return node.clone();
        }
        if name.contains("storage") {
            let manage = Text::from(name.replace("storage", "manage").as_str());
            return self.names.get(&manage).cloned().unwrap_or(manage);
        }
        plain
    }

    /// Makes `name` another name of `node`.
    pub(super) fn call(&mut self, name: &str, node: &Text) {
        self.names.insert(name.into(), node.clone());
    }

    pub(super) fn node_mut(&mut self, node: &Text) -> &mut Node {
        self.nodes.entry(node.clone()).or_default()
    }

    /// Mounts vanish, brick processes end; then the node comes back with what its fstabs say.
    pub(super) fn restart(&mut self, key: &Text) {
        let node = self.node_mut(key);
        node.boots += 1;
        for place in node.places.values_mut() {
            place.device = None;
        }
        let volumes = node.vgs.values_mut().flat_map(|vg| vg.lvs.values_mut());
        for data in volumes.filter_map(|lv| lv.data.as_mut()) {
            data.mounted = false;
            for dir in data.fs.iter_mut().flatten() {
                dir.running = false;
            }
        }
        let lines: Vec<Line> = node.fstabs.values().flat_map(Fstab::lines).cloned().collect();
        for line in lines {
            // A line whose device or directory is gone is skipped, as with the option `nofail`.
            let dir = line.dir.to_string();
            let _ = node.mount(&line.device.path(&dir), &dir);
        }
        self.start_bricks(key);
    }

    /// Starts the brick processes of a node's started volumes, as glusterd does when it starts.
    fn start_bricks(&mut self, key: &Text) {
        let Some(pool) = self.nodes.get(key).and_then(|node| node.pool) else {
            return;
        };
        let started = self.pools.get(&pool).into_iter().flat_map(|pool| {
            let volumes = pool.volumes.values().filter(|volume| volume.status == 1);
            volumes.flat_map(|volume| volume.bricks.iter().map(|brick| (volume.id, brick.clone())))
        });
        let started: Vec<(Id, Brick)> = started.collect();
        for (volume, brick) in started {
            if self.resolve(&brick.host.to_string()) != *key {
                continue;
            }
            if let Some(dir) = self.node_mut(key).dir_mut(&brick.path.to_string())
                && dir.volume == Some(volume)
            {
                dir.running = true;
                dir.used = true;
            }
        }
    }
}

impl Node {
    /// Fills in what a file does not say, and holds texts once that it has several times: after it was read.
    pub(super) fn complete(&mut self) {
        for fstab in self.fstabs.values_mut() {
            fstab.share(|dir| self.places.get_key_value(dir).map(|(dir, _)| dir.clone()));
        }
        self.vgs.values_mut().for_each(Vg::complete);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.boots == 0
            && self.pool.is_none()
            && self.disks.is_empty()
            && self.places.is_empty()
            && self.fstabs.values().all(Fstab::is_empty)
    }

    /// The logical volume that a device path means, as volume group and name.
    pub(super) fn find_lv(&self, path: &str) -> Option<(Text, Text)> {
        let (vg, lv) = match path.strip_prefix("/dev/mapper/") {
            Some(mapped) => unmapped(mapped)?,
            None => {
                let (vg, lv) = path.strip_prefix("/dev/")?.split_once('/')?;
                (vg.to_owned(), lv.to_owned())
            }
        };
        let (vg, lv) = (Text::from(vg.as_str()), Text::from(lv.as_str()));
        self.vgs.get(&vg)?.lvs.get(&lv)?;
        Some((vg, lv))
    }

    /// What is on the logical volume of a device path.
    pub(super) fn data(&self, path: &str) -> Option<&Data> {
        let (vg, lv) = self.find_lv(path)?;
        self.vgs.get(&vg)?.lvs.get(&lv)?.data.as_deref()
    }

    pub(super) fn data_mut(&mut self, path: &str) -> Option<&mut Data> {
        let (vg, lv) = self.find_lv(path)?;
        let lv = self.vgs.get_mut(&vg)?.lvs.get_mut(&lv)?;
        lv.data.as_deref_mut()
    }

    /// The directory of a mounted file system.
    pub(super) fn dir_mut(&mut self, path: &str) -> Option<&mut Dir> {
        let (device, rest) = self.mounted_above(path)?;
        let rest = Text::from(rest);
        let dirs = self.data_mut(&device)?.fs.as_mut()?;
        dirs.iter_mut().find(|dir| dir.path == rest)
    }

    pub(super) fn dir(&self, path: &str) -> Option<&Dir> {
        let (device, rest) = self.mounted_above(path)?;
        let rest = Text::from(rest);
        let dirs = self.data(&device)?.fs.as_ref()?;
        dirs.iter().find(|dir| dir.path == rest)
    }

    /// The mounted device that a path lies on, and the path below its mount point; none if the
    /// path lies on the root file system.
    pub(super) fn mounted_above<'p>(&self, path: &'p str) -> Option<(String, &'p str)> {
        let mut above = path;
        loop {
            let place = self.places.get(&Text::from(above));
            if let Some(device) = place.and_then(|place| place.device.as_ref()) {
                let rest = path[above.len()..].trim_start_matches('/');
                return Some((device.path(above), rest));
            }
            above = above.rsplit_once('/')?.0;
        }
    }
}

impl Pool {
    /// A pool with one member.
    pub(super) fn of(peer: Peer) -> Self {
        Self { peers: vec![peer], ..Self::default() }
    }

    /// Counts the paths of all bricks: after it was read from a file.
    pub(super) fn count_paths(&mut self) {
        self.paths.clear();
        let Self { volumes, paths, .. } = self;
        for brick in volumes.values().flat_map(|volume| &volume.bricks) {
            *paths.entry(brick.path.clone()).or_default() += 1;
        }
    }

    /// Takes note of new bricks of a volume.
    pub(super) fn note_paths(&mut self, bricks: &[Brick]) {
        for brick in bricks {
            *self.paths.entry(brick.path.clone()).or_default() += 1;
        }
    }

    /// Takes note that bricks are in no volume any more.
    pub(super) fn forget_paths(&mut self, bricks: &[Brick]) {
        for brick in bricks {
            if let Some(count) = self.paths.get_mut(&brick.path) {
                *count -= 1;
                if *count == 0 {
                    self.paths.remove(&brick.path);
                }
            }
        }
    }

    /// Whether a brick of a volume has the path, on whatever node.
    pub(super) fn has_path(&self, path: &Text) -> bool {
        self.paths.contains_key(path)
    }
}

impl Volume {
    /// All options, with those that glusterd sets when it makes a volume.
    pub(super) fn all_options(&self) -> Vec<(String, String)> {
        let replicated = self.replica > 1;
        let usual = [
            ("cluster.granular-entry-heal", "on", replicated),
            ("storage.fips-mode-rchecksum", "on", true),
            ("transport.address-family", "inet", true),
            ("nfs.disable", "on", true),
            ("performance.client-io-threads", "off", replicated),
        ];
        let set = self.options.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        let mut all: Vec<(String, String)> = set.collect();
        for (key, value, _) in usual.iter().filter(|usual| usual.2) {
            if all.iter().all(|(set, _)| set != key) {
                all.push(((*key).to_owned(), (*value).to_owned()));
            }
        }
        all
    }
}

/// The volume group and logical volume of a device-mapper name, where `-` inside a name is doubled.
fn unmapped(mapped: &str) -> Option<(String, String)> {
    let bytes = mapped.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'-', Some(b'-')) => at += 2,
            (b'-', _) => {
                let (vg, lv) = (&mapped[..at], &mapped[at + 1..]);
                return Some((vg.replace("--", "-"), lv.replace("--", "-")));
            }
            _ => at += 1,
        }
    }
    None
}

/// An id the way uuids are written.
pub(super) fn dashed(id: Id) -> String {
    let hex = id.to_string();
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// An id the way LVM writes its own.
pub(super) fn lvm_id(id: Id) -> String {
    let hex = id.to_string();
    let cut = [0, 6, 10, 14, 18, 22, 26, 32];
    let parts: Vec<&str> = cut.windows(2).map(|ends| &hex[ends[0]..ends[1]]).collect();
    parts.join("-")
}
