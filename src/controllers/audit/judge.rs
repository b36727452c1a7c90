//! The rules that objects and nodes keep together. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use kube::ResourceExt;

use crate::executor::ops::gluster::{self, OWNER_OPTION};
use crate::executor::ops::lvm::{BRICK_TAG, DEVICE_TAG, LogicalVolume, VOLUME_TAG, VolumeGroup};
use crate::resources::{
    EXPANDED, FAILED, GlusterDevice, GlusterNode, GlusterVolume, OnRefusal, PlacedBrick, Placement, READY,
    condition, condition_is, id_of,
};
use crate::units::{Bytes, Id, lv_name, mount_point, vg_name};

/// All objects, as they are now.
pub struct Objects<'a> {
    /// All nodes.
    pub nodes: &'a [GlusterNode],
    /// All devices.
    pub devices: &'a [GlusterDevice],
    /// All volumes.
    pub volumes: &'a [GlusterVolume],
}

/// What was seen on a node.
#[derive(Debug, Default)]
pub struct NodeView {
    /// The node.
    pub node: Id,
    /// Its host.
    pub host: String,
    /// Why it could not be looked at.
    pub error: Option<String>,
    /// Its volume groups.
    pub groups: Vec<VolumeGroup>,
    /// Its logical volumes.
    pub logical: Vec<LogicalVolume>,
    /// Where something is mounted.
    pub mounts: HashSet<String>,
    /// What the fstab mounts.
    pub fstab: HashSet<String>,
    /// The gluster volumes that it knows; nodes of a pool share what they agree on.
    pub volumes: Arc<Vec<gluster::Volume>>,
}

/// A view that is asked about thousands of bricks and volumes.
struct Looked<'v> {
    view: &'v NodeView,
    /// By volume group and name.
    logical: HashMap<(&'v str, &'v str), Vec<&'v LogicalVolume>>,
    /// By name.
    volumes: HashMap<&'v str, &'v gluster::Volume>,
}

impl<'v> Looked<'v> {
    fn new(view: &'v NodeView) -> Self {
        let mut logical: HashMap<_, Vec<_>> = HashMap::with_capacity(view.logical.len());
        for lv in &view.logical {
            logical.entry((lv.vg.as_str(), lv.name.as_str())).or_default().push(lv);
        }
        let volumes = view.volumes.iter().map(|volume| (volume.name.as_str(), volume)).collect();
        Self { view, logical, volumes }
    }
}

/// The verdict.
#[derive(Debug, Default)]
pub struct Judged {
    /// What does not agree; empty when all is well.
    pub wrong: Vec<String>,
    /// Volumes that are on their way somewhere: what is incomplete about them is no fault yet.
    pub unsettled: Vec<String>,
    /// How many bricks were found as placed.
    pub bricks: usize,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for wrong in &self.wrong {
            writeln!(f, "wrong: {wrong}")?;
        }
        for unsettled in &self.unsettled {
            writeln!(f, "unsettled: {unsettled}")?;
        }
        let (wrong, unsettled) = (self.wrong.len(), self.unsettled.len());
        write!(f, "{} bricks as placed, {wrong} wrong, {unsettled} unsettled", self.bricks)
    }
}

const MOUNTS: &str = "/var/lib/heketi/mounts/";

/// Compares objects and nodes.
pub fn judge(objects: &Objects<'_>, views: &[NodeView]) -> Judged {
    let mut judged = Judged::default();
    let by_node: HashMap<Id, Looked<'_>> = views.iter().map(|view| (view.node, Looked::new(view))).collect();
    let mut placed: HashMap<Id, (&GlusterVolume, &PlacedBrick)> = HashMap::new();
    for volume in objects.volumes {
        for brick in bricks(volume) {
            if placed.insert(brick.id, (volume, brick)).is_some() {
                judged.wrong.push(format!("brick {} is placed twice", brick.id));
            }
        }
    }
    let owners = Owners::of(objects);
    for view in views {
        match &view.error {
            Some(error) => judged.wrong.push(format!("node {} cannot be looked at: {error}", view.host)),
            None => unowned(&owners, view, &placed, &mut judged),
        }
    }
    for volume in objects.volumes {
        judge_volume(volume, &by_node, &mut judged);
    }
    judge_space(objects, &by_node, &mut judged);
    judged
}

fn bricks(volume: &GlusterVolume) -> impl Iterator<Item = &PlacedBrick> {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    placement.into_iter().flat_map(|placement| &placement.bricks)
}

/// Whether a volume serves clients: then its active bricks are complete, whatever else is on its way.
fn serves(volume: &GlusterVolume) -> bool {
    volume.metadata.deletion_timestamp.is_none() && condition_is(volume.conditions(), READY)
}

/// Whether a volume should be complete on the nodes: ready, with nothing on its way in or out.
fn settled(volume: &GlusterVolume) -> bool {
    serves(volume) && bricks(volume).all(|brick| brick.serves() && !brick.growing)
}

/// Whether more is wanted of a volume than it has, and somebody is about to do something about it.
fn grows(volume: &GlusterVolume) -> bool {
    let refused = condition(volume.conditions(), EXPANDED)
        .is_some_and(|expanded| expanded.reason == "Refused" && volume.spec.on_refusal == OnRefusal::Retry);
    volume.size().is_some_and(|size| size < volume.spec.size) && !refused
}

fn judge_volume(volume: &GlusterVolume, by_node: &HashMap<Id, Looked<'_>>, judged: &mut Judged) {
    let name = volume.name_any();
    let given_up = condition_is(volume.conditions(), FAILED) && bricks(volume).next().is_none();
    let refused = condition(volume.conditions(), crate::resources::PLACED)
        .is_some_and(|placed| placed.status == "False" && bricks(volume).next().is_none());
    if (!settled(volume) || grows(volume)) && !given_up && !refused {
        judged.unsettled.push(format!("volume {name}"));
    }
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    let Some(placement) = placement.filter(|_| serves(volume)) else { return };
    judged.wrong.extend(set_faults(volume, placement));
    let active: Vec<String> = placement.active().map(PlacedBrick::address).collect();
    // The bricks of an expansion are in the volume or not yet, all of them at once.
    let wanted: Vec<String> = placement.wanted().map(PlacedBrick::address).collect();
    // A brick that is to be exchanged is in it, or the one that takes its place.
    let exchanged: Vec<String> = placement.exchanged().map(PlacedBrick::address).collect();
    let right = [active, wanted, exchanged];
    let volume_name = volume.volume_name();
    for brick in placement.active() {
        let Some(looked) = by_node.get(&brick.node).filter(|looked| looked.view.error.is_none()) else {
            judged.wrong.push(format!("volume {name}: the node of brick {} was not looked at", brick.id));
            continue;
        };
        let view = looked.view;
        match brick_faults(volume, brick, looked) {
            faults if faults.is_empty() => judged.bricks += 1,
            faults => judged.wrong.extend(faults),
        }
        match looked.volumes.get(volume_name.as_str()) {
            None => judged.wrong.push(format!("volume {name} is not known on {}", view.host)),
            Some(known) if !right.contains(&known.bricks) => {
                judged
                    .wrong
                    .push(format!("volume {name} has other bricks on {} than were placed", view.host));
            }
            Some(known) if !known.started => judged.wrong.push(format!("volume {name} is not started")),
            Some(_) => {}
        }
    }
}

/// The sets of a volume stand one after the other, those of expansions last; the bricks of one set are of
/// one size, but for an arbiter, which is the last one, and on nodes of their own.
fn set_faults(volume: &GlusterVolume, placement: &Placement) -> Vec<String> {
    let mut faults = vec![];
    let name = volume.name_any();
    let bricks: Vec<&PlacedBrick> = placement.wanted().collect();
    for (n, set) in bricks.chunks(volume.spec.durability.set_size()).enumerate() {
        let in_order =
            |(at, brick): (usize, &&PlacedBrick)| (brick.set as usize, brick.position as usize) == (n, at);
        if set.len() != volume.spec.durability.set_size() || !set.iter().enumerate().all(in_order) {
            faults.push(format!("volume {name}: set {n} is not complete and in order"));
        }
        if set.iter().any(|brick| !brick.arbiter && brick.size != set[0].size) {
            faults.push(format!("volume {name}: the bricks of set {n} differ in size"));
        }
        let arbiter = volume.spec.durability.arbiter.map(|_| 2);
        if set.iter().enumerate().any(|(at, brick)| brick.arbiter != (Some(at) == arbiter)) {
            faults.push(format!("volume {name}: set {n} has an arbiter in the wrong place, or none"));
        }
        let nodes: BTreeSet<Id> = set.iter().map(|brick| brick.node).collect();
        if nodes.len() != set.len() {
            faults.push(format!("volume {name}: set {n} has two bricks on one node"));
        }
    }
    faults
}

fn brick_faults(volume: &GlusterVolume, brick: &PlacedBrick, looked: &Looked<'_>) -> Vec<String> {
    let (mut faults, view) = (vec![], looked.view);
    let mut fault = |text: String| faults.push(format!("brick {} on {}: {text}", brick.id, view.host));
    let (vg, lv) = (vg_name(brick.device), lv_name(brick.id));
    match looked.logical.get(&(vg.as_str(), lv.as_str())).map_or(&[][..], Vec::as_slice) {
        [found] => {
            // One that grows is on its way to that.
            if found.size < brick.size && !brick.growing {
                fault(format!("has {} instead of {}", found.size, brick.size));
            }
            for tag in [format!("{BRICK_TAG}{}", brick.id), format!("{VOLUME_TAG}{}", id_of(volume))] {
                if !found.tags.contains(&tag) {
                    fault(format!("lacks the tag {tag}"));
                }
            }
        }
        [] => fault("its logical volume is missing".into()),
        _ => fault("its logical volume is there more than once".into()),
    }
    let point = mount_point(brick.device, brick.id);
    if !view.mounts.contains(&point) {
        fault("is not mounted".into());
    }
    if !view.fstab.contains(&point) {
        fault("is not in the fstab".into());
    }
    faults
}

/// Who may own what carries our marks.
struct Owners {
    devices: HashSet<Id>,
    /// Ids of volumes, as text.
    volumes: HashSet<String>,
    /// Addresses of bricks.
    bricks: HashSet<String>,
}

impl Owners {
    fn of(objects: &Objects<'_>) -> Self {
        Self {
            devices: objects.devices.iter().map(id_of).collect(),
            volumes: objects.volumes.iter().map(|volume| id_of(volume).to_string()).collect(),
            bricks: objects.volumes.iter().flat_map(bricks).map(PlacedBrick::address).collect(),
        }
    }
}

/// What carries our marks on a node and belongs to no object.
fn unowned(
    owners: &Owners,
    view: &NodeView,
    placed: &HashMap<Id, (&GlusterVolume, &PlacedBrick)>,
    judged: &mut Judged,
) {
    let host = &view.host;
    let on_node = |id: &Id| placed.get(id).is_some_and(|(_, brick)| brick.node == view.node);
    for lv in &view.logical {
        let id = lv.tags.iter().find_map(|tag| tag.strip_prefix(BRICK_TAG)?.parse::<Id>().ok());
        if id.is_some_and(|id| !on_node(&id)) {
            judged.wrong.push(format!("{}/{} on {host} belongs to no volume", lv.vg, lv.name));
        }
    }
    for group in &view.groups {
        let id = group.tags.iter().find_map(|tag| tag.strip_prefix(DEVICE_TAG)?.parse::<Id>().ok());
        if id.is_some_and(|id| !owners.devices.contains(&id)) {
            judged.wrong.push(format!("volume group {} on {host} belongs to no device", group.name));
        }
    }
    for (what, points) in [("is mounted", &view.mounts), ("is in the fstab", &view.fstab)] {
        for point in points.iter().filter(|point| point.starts_with(MOUNTS)) {
            let id = point.rsplit_once("/brick_").and_then(|(_, id)| id.parse::<Id>().ok());
            if id.is_none_or(|id| !on_node(&id)) {
                judged.wrong.push(format!("{point} {what} on {host} and belongs to no volume"));
            }
        }
    }
    for volume in view.volumes.iter() {
        let owner = volume.options.iter().find(|(key, _)| key == OWNER_OPTION).map(|(_, id)| id.as_str());
        let owned = owner.is_some_and(|owner| owners.volumes.contains(owner))
            || volume.bricks.iter().any(|brick| owners.bricks.contains(brick));
        // One that was made and not yet marked when its maker died is ours by where its bricks are.
        let on_our_device = |brick: &String| {
            let vg = brick.split_once(MOUNTS).and_then(|(_, below)| below.split('/').next());
            vg.is_some_and(|vg| owners.devices.iter().any(|device| vg == vg_name(*device)))
        };
        let ours = owner.is_some() || volume.bricks.iter().any(on_our_device);
        if ours && !owned {
            judged.wrong.push(format!("gluster volume {} on {host} belongs to no object", volume.name));
        }
    }
}

/// Derived space is physical space, on devices where nothing is on its way.
fn judge_space(objects: &Objects<'_>, by_node: &HashMap<Id, Looked<'_>>, judged: &mut Judged) {
    let mut derived: BTreeMap<Id, (Bytes, Bytes)> = BTreeMap::new();
    let mut moving = BTreeSet::new();
    for volume in objects.volumes {
        for brick in bricks(volume) {
            let sum = derived.entry(brick.device).or_default();
            *sum = (sum.0.plus(brick.need()), sum.1.max(brick.pool_metadata));
            if !settled(volume) {
                moving.insert(brick.device);
            }
        }
    }
    let node_ids: HashMap<String, Id> =
        objects.nodes.iter().map(|node| (node.name_any(), id_of(node))).collect();
    for device in objects.devices.iter().filter(|device| condition_is(device.conditions(), READY)) {
        let id = id_of(device);
        let view = node_ids.get(&device.spec.node).and_then(|node| by_node.get(node));
        let Some(view) = view.map(|looked| looked.view).filter(|view| view.error.is_none()) else { continue };
        let Some(group) = view.groups.iter().find(|group| group.name == vg_name(id)) else {
            judged.wrong.push(format!(
                "device {}: its volume group is missing on {}",
                device.name_any(),
                view.host
            ));
            continue;
        };
        let (sum, spare) = derived.get(&id).copied().unwrap_or_default();
        let used = group.size.minus(group.free);
        // LVM keeps the spare at the size of the largest metadata that the group ever had.
        let hidden = view.logical.iter().find(|lv| lv.vg == group.name && lv.name.contains("pmspare"));
        let spare = hidden.map_or(spare, |lv| lv.size);
        if !moving.contains(&id) && used != sum.plus(spare) {
            let text = format!("{used} are used and {sum} were placed, with a spare of {spare}");
            judged.wrong.push(format!("device {}: {text}", device.name_any()));
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
