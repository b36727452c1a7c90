//! Objects as Heketi shows them: pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::json;
use super::state::shown;
use super::wire;
use crate::intent::{given_up, visible};
use crate::resources::{
    DurabilityType, GlusterCluster, GlusterDevice, GlusterNode, GlusterVolume, OnRefusal, PlacedBrick, State,
    id_of,
};
use crate::units::{Bytes, Id};

/// The annotation with what a volume echoes of its request, as JSON.
pub const ECHO: &str = "bricklayer.dev/heketi-request";

/// The annotation of a volume that takes no more block volumes: `locked`.
pub const RESTRICTION: &str = "bricklayer.dev/block-restriction";

/// What volumes take of a device.
#[derive(Default)]
pub struct Usage {
    used: Bytes,
    bricks: Vec<wire::Brick>,
}

impl Usage {
    /// What is taken, without telling by what.
    pub fn without_bricks(used: Bytes) -> Self {
        Self { used, bricks: vec![] }
    }
}

/// Whether clients see a cluster.
pub fn sees_cluster(cluster: &GlusterCluster) -> bool {
    let conditions = cluster.status.as_ref().map(|status| &status.conditions);
    let conditions = conditions.map_or(&[][..], Vec::as_slice);
    visible(cluster, OnRefusal::Retry, conditions)
}

/// Whether clients see a node.
pub fn sees_node(node: &GlusterNode) -> bool {
    visible(node, node.spec.on_refusal, node.conditions())
}

/// Whether clients see a device.
pub fn sees_device(device: &GlusterDevice) -> bool {
    visible(device, device.spec.on_refusal, device.conditions())
}

/// Whether clients see a volume.
pub fn sees_volume(volume: &GlusterVolume) -> bool {
    visible(volume, volume.spec.on_refusal, volume.conditions())
}

/// The ids of objects in ascending order.
pub fn ids<'a, K: kube::Resource + 'a>(objects: impl Iterator<Item = &'a K>) -> Vec<String> {
    let mut ids: Vec<Id> = objects.map(id_of).collect();
    ids.sort_unstable();
    ids.iter().map(Id::to_string).collect()
}

/// A cluster with its nodes and volumes, in ascending order of their ids.
pub fn cluster(cluster: &GlusterCluster, nodes: Vec<String>, volumes: Vec<String>) -> wire::Cluster {
    wire::Cluster {
        id: id_of(cluster).to_string(),
        nodes,
        volumes,
        block: cluster.spec.block,
        file: cluster.spec.file,
        blockvolumes: vec![],
    }
}

/// A node with its devices.
pub fn node(node: &GlusterNode, cluster: String, mut devices: Vec<wire::Device>) -> wire::Node {
    devices.sort_unstable_by(|a, b| a.record.id.cmp(&b.record.id));
    wire::Node {
        record: wire::NodeRecord {
            zone: node.zone(),
            hostnames: wire::Hostnames {
                manage: node.hostnames().manage.clone(),
                storage: node.hostnames().storage.clone(),
            },
            cluster,
            tags: node.spec.tags.clone(),
            id: id_of(node).to_string(),
        },
        state: state(shown(node.spec.state, node.is_drained())),
        devices,
    }
}

/// A device with what volumes take of it.
pub fn device(device: &GlusterDevice, usage: Usage) -> wire::Device {
    let status = device.status.as_ref();
    let total = status.and_then(|status| status.capacity).map_or(0, |c| c.total.kib());
    let used = usage.used.kib().min(total);
    let mut bricks = usage.bricks;
    bricks.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    wire::Device {
        record: wire::DeviceRecord {
            name: device.spec.path.clone(),
            tags: device.spec.tags.clone(),
            storage: wire::Storage { total, free: total - used, used },
            id: id_of(device).to_string(),
            paths: status.map_or(vec![], |status| status.paths.clone()),
            pv_uuid: status.and_then(|status| status.pv_uuid.clone()).unwrap_or_default(),
        },
        state: state(shown(device.spec.state, device.is_drained())),
        bricks,
    }
}

/// What volumes take of devices by the bricks that `wanted` accepts. Volumes that are being made or deleted take
/// their space too; those that failed have left nothing.
pub fn usage(volumes: &[Arc<GlusterVolume>], wanted: impl Fn(&PlacedBrick) -> bool) -> HashMap<Id, Usage> {
    let mut devices: HashMap<Id, Usage> = HashMap::new();
    for volume in volumes {
        if given_up(volume.conditions()) {
            continue;
        }
        for placed in bricks_of(volume).iter().filter(|brick| wanted(brick)) {
            let usage = devices.entry(placed.device).or_default();
            usage.used = usage.used.plus(placed.need());
            if placed.serves() {
                usage.bricks.push(brick(placed, id_of(volume.as_ref())));
            }
        }
    }
    devices
}

/// A volume; `hosts` are the storage hosts of its cluster in ascending order of node ids.
pub fn volume(volume: &GlusterVolume, cluster: String, hosts: Vec<String>) -> wire::Volume {
    let id = id_of(volume);
    let echo = echo(volume);
    let name = volume.volume_name();
    let first = hosts.first().cloned().unwrap_or_default();
    let others = hosts.get(1..).unwrap_or_default().join(",");
    let active = bricks_of(volume).iter().filter(|brick| brick.serves());
    let mut bricks: Vec<_> = active.map(|placed| brick(placed, id)).collect();
    bricks.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    wire::Volume {
        size: volume.size().unwrap_or(volume.spec.size).gib_ceil(),
        clusters: vec![],
        durability: shown_durability(echo.durability),
        gid: volume.spec.gid,
        glustervolumeoptions: echo.glustervolumeoptions,
        block: volume.spec.block,
        snapshot: shown_snapshot(echo.snapshot),
        id: id.to_string(),
        cluster,
        mount: wire::Mount {
            glusterfs: wire::GlusterfsMount {
                device: format!("{first}:{name}"),
                hosts,
                options: BTreeMap::from([("backup-volfile-servers", others)]),
            },
        },
        blockinfo: block_info(volume),
        bricks: Some(bricks),
        name,
    }
}

/// What a dump has of a volume, and its options.
pub fn volume_record(volume: &GlusterVolume, mut shown: wire::Volume) -> (wire::Volume, Vec<String>) {
    let options = std::mem::take(&mut shown.glustervolumeoptions);
    (wire::Volume { clusters: echo(volume).clusters, bricks: None, ..shown }, options)
}

/// Of a volume that hosts block volumes a fiftieth is kept for what surrounds them, rounded up to GiB.
fn block_info(volume: &GlusterVolume) -> wire::BlockInfo {
    if !volume.spec.block {
        return wire::BlockInfo::default();
    }
    let size = volume.size().unwrap_or(volume.spec.size).gib_ceil();
    let free = size * 98 / 100;
    let annotations = volume.metadata.annotations.as_ref();
    wire::BlockInfo {
        freesize: free,
        reservedsize: size - free,
        blockvolume: vec![],
        restriction: annotations.and_then(|all| all.get(RESTRICTION).cloned()).unwrap_or_default(),
    }
}

/// The name of the cluster that a volume was placed in.
pub fn cluster_of(volume: &GlusterVolume) -> Option<&String> {
    let placement = volume.status.as_ref()?.placement.as_ref()?;
    Some(&placement.cluster)
}

/// The word for a state.
pub fn state(state: State) -> &'static str {
    match state {
        State::Online => "online",
        State::Offline => "offline",
        State::Failed => "failed",
    }
}

fn bricks_of(volume: &GlusterVolume) -> &[PlacedBrick] {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    placement.map_or(&[], |placement| &placement.bricks)
}

/// A brick as clients see it.
pub fn brick(placed: &PlacedBrick, volume: Id) -> wire::Brick {
    wire::Brick {
        id: placed.id.to_string(),
        path: placed.path.clone(),
        device: placed.device.to_string(),
        node: placed.node.to_string(),
        volume: volume.to_string(),
        size: placed.size.kib(),
    }
}

/// What the request said; for a volume that somebody else made, what it would have said.
fn echo(volume: &GlusterVolume) -> wire::VolumeEcho {
    let annotations = volume.metadata.annotations.as_ref();
    let kept = annotations.and_then(|annotations| annotations.get(ECHO));
    if let Some(echo) = kept.and_then(|text| json::read(text.as_bytes()).ok()) {
        return echo;
    }
    let spec = &volume.spec;
    let durability = &spec.durability;
    let kind = match durability.type_ {
        DurabilityType::None => "none",
        DurabilityType::Replicate => "replicate",
        DurabilityType::Disperse => "disperse",
    };
    let number = |count: Option<u32>| count.map_or(0, i64::from);
    let mut options = vec![String::new()];
    options.extend(spec.options.iter().cloned());
    options.push(String::new());
    wire::VolumeEcho {
        durability: wire::Durability {
            kind: kind.into(),
            replicate: wire::Replicate { replica: number(durability.replicas) },
            disperse: wire::Disperse {
                data: number(durability.data),
                redundancy: number(durability.redundancy),
            },
        },
        snapshot: wire::Snapshot { enable: spec.snapshot_factor > 1.0, factor: spec.snapshot_factor },
        glustervolumeoptions: options,
        clusters: vec![],
    }
}

/// No type is called none. A replica count that was left out is filled in, since heketi-cli divides by
/// it.
fn shown_durability(mut durability: wire::Durability) -> wire::Durability {
    if durability.kind.is_empty() {
        durability.kind = "none".into();
    }
    if durability.kind == "replicate" && durability.replicate.replica == 0 {
        durability.replicate.replica = 2;
    }
    durability
}

/// The factor means nothing unless there is room for snapshots.
fn shown_snapshot(snapshot: wire::Snapshot) -> wire::Snapshot {
    let factor = if snapshot.enable { snapshot.factor } else { 1.0 };
    wire::Snapshot { enable: snapshot.enable, factor }
}
