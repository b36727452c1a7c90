//! Where volumes may go, as far as objects say it: the allocator's inventory, the names that are taken, and the
//! decisions of the placing task that no cache has shown yet. Pure: every method takes values and returns values.

mod growth;
mod known;
mod largest;
mod names;
mod plan;
mod replacement;
mod topology;
mod wish;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::allocation::{self, Cause, Inventory, Reasons, Taken};
use crate::resources::{
    GlusterDevice, GlusterNode, GlusterVolume, Limits, OnRefusal, PlacedBrick, Placement, Refusal, id_of,
};
use crate::units::{Bytes, Id, brick_path};
pub use known::transport_name;
pub use plan::{Plan, PlannedBrick};
pub use replacement::Replaced;
use wish::request;

/// How old an ask may be that is to be forgotten when nobody waits for it any more.
const EXPIRY: SignedDuration = SignedDuration::from_secs(15);

/// A place for a volume.
#[derive(Debug)]
pub struct Placed {
    /// The bricks, those on their way out included.
    pub placement: Placement,
    /// How the nodes are reached, in the words of a status.
    pub transport: String,
    /// Why the bricks lie where they lie.
    pub reasons: Reasons,
}

/// What was decided about a node or device.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the only one of its names.
    Accepted,
    /// It is, and it is the first node of its cluster: the one that the pool begins with. Decided
    /// here, since two nodes that look at the same time would each begin a pool.
    Founder,
    /// What it refers to is not there yet.
    Waits {
        /// One word.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// Something else has the name.
    Refused {
        /// One word.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

#[derive(Debug)]
struct Cluster {
    id: Id,
    name: String,
    file: bool,
    block: bool,
    limits: Limits,
    transport: String,
}

/// A volume as it counts for names and limits.
#[derive(Debug)]
struct Known {
    id: Id,
    cluster: Arc<str>,
    volume_name: Arc<str>,
    gid: Option<(Arc<str>, i64)>,
}

/// Everything that a decision looks at.
#[derive(Debug, Default)]
pub struct Index {
    clusters: BTreeMap<Id, Cluster>,
    /// By their names.
    nodes: BTreeMap<String, Arc<GlusterNode>>,
    devices: BTreeMap<String, Arc<GlusterDevice>>,
    /// Node → the names of its devices.
    devices_of: HashMap<String, BTreeSet<String>>,
    accepted: HashMap<String, Id>,
    accepted_disks: HashMap<(String, String), Id>,
    /// Cluster name → the node that its pool begins with, as decided by this process.
    founders: HashMap<String, Id>,
    /// Cluster name and zone name → the number that stands for it, as decided by this process.
    zones: HashMap<(String, String), i32>,
    inventory: Inventory,
    volumes: HashMap<Box<str>, Known>,
    names: HashMap<(Arc<str>, Arc<str>), Id>,
    /// StorageClass and gid → the volume that has it.
    gids: HashMap<(Arc<str>, i64), Id>,
    per_cluster: HashMap<Arc<str>, u32>,
    /// Object name → uid and attempt of a decision that no cache has shown yet.
    assumed: HashMap<String, (Option<String>, u32)>,
}

impl Index {
    /// Takes in a volume as a cache shows it; nothing when it is gone. A cache that has not yet seen
    /// our own decision does not undo it.
    pub fn see_volume(&mut self, name: &str, volume: Option<&GlusterVolume>) {
        if let Some((uid, assumed)) = self.assumed.get(name) {
            // One that was deleted and made anew meanwhile is another one.
            if volume.is_some_and(|shown| shown.metadata.uid == *uid && attempt_of(shown) < *assumed) {
                return;
            }
            self.assumed.remove(name);
        }
        self.count(name, volume);
    }

    /// Whether a volume was decided about since this state of it: then nothing is decided on it.
    pub fn is_ahead_of(&self, volume: &GlusterVolume) -> bool {
        let assumed = self.assumed.get(&volume.name_any());
        assumed.is_some_and(|(uid, assumed)| *uid == volume.metadata.uid && *assumed > attempt_of(volume))
    }

    /// Takes in our own decision before any cache shows it.
    pub fn assume(&mut self, decided: &GlusterVolume) {
        let name = decided.name_any();
        if decided.status.as_ref().is_some_and(|status| status.placement.is_some()) {
            self.assumed.insert(name.clone(), (decided.metadata.uid.clone(), attempt_of(decided)));
        }
        self.count(&name, Some(decided));
    }

    /// Takes back a decision that could not be written down.
    pub fn forget_assumed(&mut self, name: &str, shown: Option<&GlusterVolume>) {
        self.assumed.remove(name);
        self.count(name, shown);
    }

    /// Finds a place for a volume, or says cluster by cluster why there is none. Bricks on their way
    /// out stay in the placement.
    pub fn place(&self, volume: &GlusterVolume, now: Timestamp) -> Result<Placed, Vec<Refusal>> {
        if expired(volume, now) {
            let message = "nobody waits for it any more: ask again".into();
            return Err(vec![Refusal { reason: "Expired".into(), message, ..Refusal::default() }]);
        }
        let mut refusals = vec![];
        for cluster in self.candidates(volume, &mut refusals) {
            match self.place_in(cluster, volume) {
                Ok(placed) => return Ok(placed),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if refusals.is_empty() {
            let message = "there is no GlusterCluster: make one first".into();
            refusals.push(Refusal { reason: "NoClusters".into(), message, ..Refusal::default() });
        }
        Err(refusals)
    }

    /// Space on the devices of a cluster: all of it, and what is left.
    pub fn totals(&self, cluster: Id) -> (Bytes, Bytes) {
        self.inventory.totals(cluster)
    }

    fn candidates(&self, volume: &GlusterVolume, refusals: &mut Vec<Refusal>) -> Vec<&Cluster> {
        if volume.spec.clusters.is_empty() {
            // By fit: the one with the most space first.
            let mut all: Vec<&Cluster> = self.clusters.values().collect();
            all.sort_by_cached_key(|cluster| std::cmp::Reverse(self.inventory.open_space(cluster.id)));
            return all;
        }
        let mut found = vec![];
        for name in &volume.spec.clusters {
            match self.clusters.values().find(|cluster| cluster.name == *name) {
                Some(cluster) => found.push(cluster),
                None => refusals.push(Refusal {
                    reason: "UnknownCluster".into(),
                    message: format!("there is no GlusterCluster {name:?}"),
                    ..Refusal::default()
                }),
            }
        }
        found
    }

    fn place_in(&self, cluster: &Cluster, volume: &GlusterVolume) -> Result<Placed, Refusal> {
        let refused = |reason: &str, message: String| Refusal {
            cluster: Some(cluster.id),
            reason: reason.into(),
            message: format!("cluster {}: {message}", cluster.name),
            ..Refusal::default()
        };
        let (id, name) = (id_of(volume), volume.volume_name());
        if !cluster.file && !cluster.block {
            return Err(refused(
                "AllKindsDisabled",
                "takes neither file nor block volumes: set spec.file or spec.block".into(),
            ));
        }
        if if volume.spec.block { !cluster.block } else { !cluster.file } {
            let (kind, key) = if volume.spec.block { ("block-hosting", "block") } else { ("file", "file") };
            let text = format!("takes no {kind} volumes; it would if its spec.{key} were true");
            return Err(refused("KindNotOffered", text));
        }
        if self
            .names
            .get(&(cluster.name.as_str().into(), name.as_str().into()))
            .is_some_and(|other| *other != id)
        {
            return Err(refused(
                "NameInUse",
                format!("has a volume named {name:?} already; another name would do"),
            ));
        }
        if let Some(key) = gid_of(volume)
            && self.gids.get(&key).is_some_and(|other| *other != id)
        {
            let text = format!("gid {} is in use by another volume of StorageClass {:?}", key.1, key.0);
            return Err(refused("GidInUse", text));
        }
        let count = self.per_cluster.get(cluster.name.as_str()).copied().unwrap_or_default();
        let limit = u32::try_from(cluster.limits.volumes).unwrap_or(u32::MAX);
        let counted =
            self.volumes.get(volume.name_any().as_str()).is_some_and(|known| *known.cluster == *cluster.name);
        if !counted && count >= limit {
            let text = format!(
                "has {count} volumes and may have {limit}; it would fit if it might have {}",
                count.saturating_add(1)
            );
            return Err(Refusal { count: Some(count), limit: Some(limit), ..refused("ClusterFull", text) });
        }
        self.place_bricks(cluster, volume).map_err(|(reason, message)| refused(reason, message))
    }

    fn place_bricks(
        &self,
        cluster: &Cluster,
        volume: &GlusterVolume,
    ) -> Result<Placed, (&'static str, String)> {
        if !self.inventory.has_nodes(cluster.id) {
            return Err(("NoNodes", "has no nodes".into()));
        }
        let (placed, reasons) = self.placed_bricks(cluster, volume, &request(cluster, volume))?;
        let status = volume.status.as_ref();
        let retiring =
            status.and_then(|status| status.placement.as_ref()).into_iter().flat_map(Placement::retiring);
        let bricks = placed.into_iter().chain(retiring.cloned()).collect();
        let placement = Placement { cluster: cluster.name.clone(), size: Some(volume.spec.size), bricks };
        Ok(Placed { placement, transport: cluster.transport.clone(), reasons })
    }

    fn placed_bricks(
        &self,
        cluster: &Cluster,
        volume: &GlusterVolume,
        request: &allocation::Request,
    ) -> Result<(Vec<PlacedBrick>, Reasons), (&'static str, String)> {
        let (id, attempt) = (id_of(volume), attempt_of(volume) + 1);
        let placed = allocation::place(&self.inventory, request).map_err(|refused| {
            let advice = allocation::advice(&self.inventory, request);
            let text = advice.map_or_else(|| refused.to_string(), |advice| format!("{refused}; {advice}"));
            match (refused.cause, self.inventory.any_open(cluster.id)) {
                (Cause::NoRoom { .. }, false) => ("NoOnlineDevices", text),
                _ => ("NoSpace", text),
            }
        })?;
        let bricks = placed.bricks.iter().map(|brick| self.placed_brick(id, attempt, request, brick));
        Ok((bricks.collect(), placed.reasons))
    }

    fn placed_brick(
        &self,
        volume: Id,
        attempt: u32,
        request: &allocation::Request,
        brick: &allocation::Brick,
    ) -> PlacedBrick {
        let id = volume.derive(&format!("{attempt}/{}/{}", brick.set, brick.position));
        PlacedBrick {
            id,
            device: brick.device,
            node: brick.node,
            host: self.inventory.node(brick.node).map(|node| node.host.clone()).unwrap_or_default(),
            path: brick_path(brick.device, id),
            size: brick.need.size,
            pool_size: brick.need.pool,
            pool_metadata: brick.need.metadata,
            set: u32::try_from(brick.set).unwrap_or(u32::MAX),
            position: u32::try_from(brick.position).unwrap_or(u32::MAX),
            arbiter: request.is_arbiter(brick.position),
            adding: false,
            growing: false,
            replaces: None,
            replaced_by: None,
            retiring: false,
        }
    }

    /// Counts a volume for space, names and limits; what was counted under the name goes first.
    fn count(&mut self, name: &str, volume: Option<&GlusterVolume>) {
        if let Some(old) = self.volumes.remove(name) {
            self.inventory.set_volume(old.id, vec![]);
            let key = (old.cluster.clone(), old.volume_name);
            if self.names.get(&key) == Some(&old.id) {
                self.names.remove(&key);
            }
            if let Some(key) = old.gid.filter(|key| self.gids.get(key) == Some(&old.id)) {
                self.gids.remove(&key);
            }
            if let Some(count) = self.per_cluster.get_mut(&old.cluster) {
                *count = count.saturating_sub(1);
            }
        }
        let placement = volume.and_then(|volume| Some((volume, volume.status.as_ref()?.placement.as_ref()?)));
        let Some((volume, placement)) = placement else { return };
        let (id, volume_name): (_, Arc<str>) = (id_of(volume), volume.volume_name().into());
        let known = self.per_cluster.get_key_value(placement.cluster.as_str());
        // Very many volumes are in the same few.
        let cluster: Arc<str> =
            known.map_or_else(|| placement.cluster.as_str().into(), |(name, _)| name.clone());
        let taken = |brick: &PlacedBrick| Taken {
            device: brick.device,
            pool: brick.pool_size,
            metadata: brick.pool_metadata,
        };
        self.inventory.set_volume(id, placement.bricks.iter().map(taken).collect());
        *self.per_cluster.entry(cluster.clone()).or_default() += 1;
        self.names.insert((cluster.clone(), volume_name.clone()), id);
        let gid = gid_of(volume);
        self.gids.extend(gid.clone().map(|key| (key, id)));
        let known = Known { id, cluster, volume_name, gid };
        self.volumes.insert(name.into(), known);
    }
}

/// The class of a volume's claim and its gid, if it was given one: unique together.
fn gid_of(volume: &GlusterVolume) -> Option<(Arc<str>, i64)> {
    let class = volume.spec.claim_ref.as_ref()?.storage_class.as_deref()?.into();
    (volume.spec.gid != 0).then_some((class, volume.spec.gid))
}

fn attempt_of(volume: &GlusterVolume) -> u32 {
    volume.status.as_ref().map_or(0, |status| status.attempt)
}

fn expired(volume: &GlusterVolume, now: Timestamp) -> bool {
    let made = volume.metadata.creation_timestamp.as_ref().map(|time| time.0);
    volume.spec.on_refusal == OnRefusal::Forget
        && attempt_of(volume) == 0
        && made.is_some_and(|made| now.duration_since(made) > EXPIRY)
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
