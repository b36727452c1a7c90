//! `/metrics`: Heketi's figures, under its names, for the dashboards and alerts that know them. Open to all.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::super::Face;
use super::super::answer::{self, Answer, Refused};
use super::super::view::{self, sees_cluster, sees_device, sees_node};
use super::operations::under_way;
use crate::resources::{GlusterNode, id_of};
use crate::units::KIB;

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByCluster {
    cluster: String,
}

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByHost {
    cluster: String,
    hostname: String,
    storage_hostname: String,
}

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByDevice {
    cluster: String,
    hostname: String,
    storage_hostname: String,
    id: String,
    device: String,
    pv_uuid: String,
}

type PerCluster = Family<ByCluster, Gauge>;
type PerHost = Family<ByHost, Gauge>;
type PerDevice = Family<ByDevice, Gauge>;

/// `GET /metrics`
pub fn get(face: &Face) -> Result<Answer, Refused> {
    let mut registry = Registry::with_prefix("heketi");
    single(&mut registry, "up", "Is heketi running?", 1);
    clusters(face, &mut registry);
    devices(face, &mut registry);
    operations(face, &mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| Refused::failed(error.to_string()))?;
    let mut answer = answer::text(StatusCode::OK, text.trim_end());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(answer)
}

fn clusters(face: &Face, registry: &mut Registry) {
    let intent = &face.intent;
    let mut seen = intent.clusters.list();
    seen.retain(|cluster| sees_cluster(cluster));
    single(registry, "cluster_count", "Number of clusters", seen.len());
    let (volumes, blocks, nodes) = (PerCluster::default(), PerCluster::default(), PerCluster::default());
    for cluster in &seen {
        let labels = ByCluster { cluster: id_of(cluster.as_ref()).to_string() };
        for family in [&volumes, &blocks, &nodes] {
            family.get_or_create(&labels).set(0);
        }
    }
    for (name, count) in face.volumes.per_cluster() {
        let labels = ByCluster { cluster: face.cluster_id(&name) };
        volumes.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    for node in intent.nodes.list().iter().filter(|node| sees_node(node)) {
        nodes.get_or_create(&ByCluster { cluster: face.cluster_id(&node.spec.cluster) }).inc();
    }
    registry.register("volumes_count", "Number of volumes on cluster", volumes);
    registry.register("block_volumes_count", "Number of block volumes on cluster", blocks);
    registry.register("nodes_count", "Number of nodes on cluster", nodes);
}

fn devices(face: &Face, registry: &mut Registry) {
    let nodes = face.intent.nodes.list();
    let nodes: HashMap<String, Arc<GlusterNode>> = nodes
        .into_iter()
        .filter(|node| sees_node(node))
        .map(|node| (kube::ResourceExt::name_any(node.as_ref()), node))
        .collect();
    let count = PerHost::default();
    let families: [PerDevice; 7] = Default::default();
    for node in nodes.values() {
        count.get_or_create(&host(face, node)).set(0);
    }
    for device in face.intent.devices.list().iter().filter(|device| sees_device(device)) {
        let Some(node) = nodes.get(&device.spec.node) else { continue };
        let ByHost { cluster, hostname, storage_hostname } = host(face, node);
        let taken = face.intent.usage.now().on_device(id_of(device.as_ref()));
        let shown = view::device(device, view::Usage::without_bricks(taken.taken));
        count.get_or_create(&host(face, node)).inc();
        let labels = ByDevice {
            cluster,
            hostname,
            storage_hostname,
            id: shown.record.id,
            device: shown.record.name,
            pv_uuid: shown.record.pv_uuid,
        };
        let storage = shown.record.storage;
        let (size, free, used) = (storage.total, storage.free, storage.used);
        let bricks = u64::from(taken.serving);
        let values = [size, free, used, size * KIB, free * KIB, used * KIB, bricks];
        for (family, value) in families.iter().zip(values) {
            family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
    registry.register("device_count", "Number of devices on host", count);
    let told = [
        ("device_size", "Total size of the device"),
        ("device_free", "Amount of Free space available on the device"),
        ("device_used", "Amount of space used on the device"),
        ("device_size_bytes", "Total size of the device in bytes"),
        ("device_free_bytes", "Amount of Free space available on the device in bytes"),
        ("device_used_bytes", "Amount of space used on the device in bytes"),
        ("device_brick_count", "Number of bricks on device"),
    ];
    for ((name, help), family) in told.into_iter().zip(families) {
        registry.register(name, help, family);
    }
}

fn host(face: &Face, node: &GlusterNode) -> ByHost {
    let names = node.hostnames();
    let first = |names: &[String]| names.first().cloned().unwrap_or_default();
    ByHost {
        cluster: face.cluster_id(&node.spec.cluster),
        hostname: first(&names.manage),
        storage_hostname: first(&names.storage),
    }
}

fn operations(face: &Face, registry: &mut Registry) {
    let all = under_way(face);
    let failed = all.iter().filter(|operation| operation.failed).count();
    let in_flight = all.iter().filter(|operation| operation.in_flight).count();
    single(registry, "operations_stale_count", "Number of Stale Operations", 0);
    single(registry, "operations_failed_count", "Number of Failed Operations", failed);
    single(registry, "operations_new_count", "Number of New Operations", all.len() - failed);
    single(registry, "operations_total_count", "Total Number of Operations", all.len());
    single(registry, "operations_inFlight_count", "Number of in flight Operations", in_flight);
}

fn single(registry: &mut Registry, name: &str, help: &str, value: usize) {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}
