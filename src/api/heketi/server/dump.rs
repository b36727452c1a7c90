//! `/db/dump`: everything that is known, in the form in which Heketi dumps its database; and `/backup/db`,
//! the same as a file. Lists are sorted, and what is under way is in them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::super::Face;
use super::super::answer::{self, Answer, Refused};
use super::super::json;
use super::super::view::{self, sees_cluster, sees_device, sees_node};
use super::super::wire;
use super::operations::{Operation, Work, of_device, of_volume};
use crate::intent::given_up;
use crate::resources::{GlusterDevice, GlusterNode, GlusterVolume, PlacedBrick, Placement, id_of};
use crate::units::Id;

/// The database's own marks: which of its upgrades were done. A dump without them is taken for an old one.
const MARKS: [&str; 4] = [
    "DB_CLUSTER_HAS_FILE_BLOCK_FLAG",
    "DB_BRICK_HAS_SUBTYPE_FIELD",
    "DB_HAS_PENDING_OPS_BUCKET",
    "DB_DEVICE_HAS_ID_META",
];
/// The mark with an id of its own for each database.
const GENERATION: &str = "DB_GENERATION_ID";
/// The size of an extent in KiB when it is not known.
const EXTENT: u64 = 4096;

/// The whole database: id → entry for each kind.
#[derive(Debug, Default, Serialize)]
pub struct Dump {
    clusterentries: BTreeMap<String, Entry<wire::Cluster>>,
    volumeentries: BTreeMap<String, VolumeEntry>,
    brickentries: BTreeMap<String, BrickEntry>,
    nodeentries: BTreeMap<String, NodeEntry>,
    deviceentries: BTreeMap<String, DeviceEntry>,
    blockvolumeentries: BTreeMap<String, ()>,
    dbattributeentries: BTreeMap<String, Attribute>,
    pendingoperations: BTreeMap<String, PendingOperation>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<T> {
    info: T,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pending {
    id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct VolumeEntry {
    info: wire::Volume,
    bricks: Vec<String>,
    gluster_volume_options: Vec<String>,
    pending: Pending,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct BrickEntry {
    info: wire::Brick,
    tp_size: u64,
    pool_metadata_size: u64,
    pending: Pending,
    lvm_thin_pool: String,
    lvm_lv: String,
    sub_type: u8,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeEntry {
    state: &'static str,
    info: wire::NodeRecord,
    devices: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeviceEntry {
    state: &'static str,
    info: wire::DeviceRecord,
    bricks: Vec<String>,
    node_id: String,
    extent_size: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    key: String,
    value: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PendingOperation {
    id: String,
    timestamp: i64,
    #[serde(rename = "Type")]
    kind: u8,
    actions: Vec<Action>,
    status: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Action {
    change: u8,
    id: String,
    delta: Option<u64>,
}

/// `GET /db/dump`
pub async fn get(face: &Face) -> Result<Answer, Refused> {
    Ok(answer::indented_json(&dump(face).await?))
}

/// `GET /backup/db`: the original sends its database file, which nobody but itself reads.
pub async fn backup(face: &Face) -> Result<Answer, Refused> {
    let text =
        json::write_indented(&dump(face).await?).map_err(|error| Refused::failed(error.to_string()))?;
    Ok(answer::attachment("heketi.db", text))
}

/// Everything that is known now.
pub async fn dump(face: &Face) -> Result<Dump, Refused> {
    let now = Timestamp::now();
    let mut dump = Dump::default();
    // The cache has not all that volumes remember of their requests.
    let volumes = face.intent.store.list_all::<GlusterVolume>().await?.objects;
    let mut volumes: Vec<Arc<GlusterVolume>> = volumes.into_iter().map(Arc::new).collect();
    volumes.retain(|volume| !given_up(volume.conditions()) && placement(volume).is_some());
    let mut hosts: HashMap<&str, Vec<String>> = HashMap::new();
    let mut bricks: HashMap<Id, Vec<String>> = HashMap::new();
    for (volume, placement) in volumes.iter().filter_map(|volume| Some((volume, placement(volume)?))) {
        let hosts = hosts.entry(&placement.cluster).or_insert_with(|| face.hosts(&placement.cluster));
        dump.add_volume(face, volume, placement, hosts.clone(), now);
        for brick in &placement.bricks {
            bricks.entry(brick.device).or_default().push(brick.id.to_string());
        }
    }
    let mut usage = view::usage(&volumes, |_| true);
    let devices = face.intent.devices.list();
    for device in devices.iter().filter(|device| sees_device(device)) {
        let id = id_of(device.as_ref());
        let shown = view::device(device, usage.remove(&id).unwrap_or_default());
        dump.add_device(face, device, shown, bricks.remove(&id).unwrap_or_default());
    }
    for operation in devices.iter().filter_map(|device| of_device(face, device)) {
        dump.pendingoperations.insert(operation.id.to_string(), pending_operation(&operation));
    }
    for node in face.intent.nodes.list().iter().filter(|node| sees_node(node)) {
        dump.add_node(face, node, &devices);
    }
    for cluster in face.intent.clusters.list().iter().filter(|cluster| sees_cluster(cluster)) {
        let name = cluster.name_any();
        let nodes = face.intent.nodes.list();
        let nodes =
            view::ids(nodes.iter().map(Arc::as_ref).filter(|n| n.spec.cluster == name && sees_node(n)));
        let inside = volumes.iter().map(Arc::as_ref).filter(|v| view::cluster_of(v) == Some(&name));
        let info = view::cluster(cluster, nodes, view::ids(inside));
        dump.clusterentries.insert(info.id.clone(), Entry { info });
    }
    dump.add_marks(face);
    Ok(dump)
}

impl Dump {
    fn add_volume(
        &mut self,
        face: &Face,
        volume: &GlusterVolume,
        placement: &Placement,
        hosts: Vec<String>,
        now: Timestamp,
    ) {
        let id = id_of(volume);
        let operation = of_volume(volume, now);
        let cluster = face.cluster_id(&placement.cluster);
        let shown = view::volume(volume, cluster, hosts);
        let whole = operation.as_ref().filter(|operation| operation.work != Work::Expand);
        let mut bricks: Vec<String> = placement.wanted().map(|brick| brick.id.to_string()).collect();
        bricks.sort_unstable();
        for brick in &placement.bricks {
            let pending = operation.as_ref().filter(|_| brick.adding || whole.is_some());
            self.brickentries.insert(brick.id.to_string(), brick_entry(brick, id, pending));
        }
        if let Some(operation) = &operation {
            self.pendingoperations.insert(operation.id.to_string(), pending_operation(operation));
        }
        let (info, gluster_volume_options) = view::volume_record(volume, shown);
        let entry = VolumeEntry { info, bricks, gluster_volume_options, pending: Pending::of(whole) };
        self.volumeentries.insert(id.to_string(), entry);
    }

    fn add_device(
        &mut self,
        face: &Face,
        device: &GlusterDevice,
        shown: wire::Device,
        mut bricks: Vec<String>,
    ) {
        let node = face.intent.nodes.get(&device.spec.node);
        let capacity = device.status.as_ref().and_then(|status| status.capacity);
        bricks.sort_unstable();
        let entry = DeviceEntry {
            state: shown.state,
            bricks,
            node_id: node.map_or_else(|| device.spec.node.clone(), |node| id_of(node.as_ref()).to_string()),
            extent_size: capacity.map_or(EXTENT, |capacity| capacity.extent.kib()),
            info: shown.record,
        };
        self.deviceentries.insert(id_of(device).to_string(), entry);
    }

    fn add_node(&mut self, face: &Face, node: &GlusterNode, devices: &[Arc<GlusterDevice>]) {
        let name = node.name_any();
        let own = devices.iter().map(Arc::as_ref).filter(|d| d.spec.node == name && sees_device(d));
        let shown = view::node(node, face.cluster_id(&node.spec.cluster), vec![]);
        let entry = NodeEntry { state: shown.state, devices: view::ids(own), info: shown.record };
        self.nodeentries.insert(id_of(node).to_string(), entry);
    }

    fn add_marks(&mut self, face: &Face) {
        let ids: Vec<String> = self.clusterentries.keys().cloned().collect();
        let generation = Id::from_uid(&face.options.namespace).derive(&ids.join(" ")).to_string();
        let marks = MARKS.into_iter().map(|mark| (mark, "yes".to_owned()));
        for (key, value) in marks.chain([(GENERATION, generation)]) {
            self.dbattributeentries.insert(key.to_owned(), Attribute { key: key.to_owned(), value });
        }
    }
}

impl Pending {
    fn of(operation: Option<&Operation>) -> Self {
        Self { id: operation.map_or_else(String::new, |operation| operation.id.to_string()) }
    }
}

fn brick_entry(brick: &PlacedBrick, volume: Id, operation: Option<&Operation>) -> BrickEntry {
    BrickEntry {
        info: view::brick(brick, volume),
        tp_size: brick.pool_size.kib(),
        pool_metadata_size: brick.pool_metadata.kib(),
        pending: Pending::of(operation),
        lvm_thin_pool: String::new(),
        lvm_lv: String::new(),
        sub_type: if brick.arbiter { 2 } else { 1 },
    }
}

fn pending_operation(operation: &Operation) -> PendingOperation {
    let actions = operation.changes.iter().map(|(id, change)| Action {
        change: change.number(),
        id: id.to_string(),
        delta: change.delta(),
    });
    PendingOperation {
        id: operation.id.to_string(),
        timestamp: operation.since,
        kind: operation.work.number(),
        actions: actions.collect(),
        status: operation.status(),
    }
}

fn placement(volume: &GlusterVolume) -> Option<&Placement> {
    volume.status.as_ref()?.placement.as_ref()
}
