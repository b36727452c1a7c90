//! Figures for Prometheus, taken from the caches when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kube::ResourceExt;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::resources::{READY, condition_is};
use crate::store::Caches;

/// What the figures are made from. Cheap to clone.
#[derive(Clone)]
pub struct Figures {
    caches: Caches,
    audit: Arc<AtomicI64>,
    /// Figures that others keep.
    others: Arc<Mutex<Vec<Registry>>>,
}

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByCluster {
    cluster: String,
    transport: String,
}

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReadiness {
    ready: String,
}

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByKind {
    kind: String,
}

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: String,
}

/// What every replica says of itself.
fn about_process(works: bool) -> Registry {
    let mut registry = Registry::with_prefix("bricklayer");
    let build = Family::<Build, Gauge>::default();
    build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION").into() }).set(1);
    registry.register("build_info", "The version that runs", build);
    let leader = Gauge::<i64>::default();
    leader.set(i64::from(works));
    registry.register("leader", "1 if this replica works, 0 if it waits for the Lease", leader);
    registry
}

/// The figures of a replica that waits. What it sees, the one that works tells: sums stay right.
pub fn waiting() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    encode_registry(&mut text, &about_process(false))?;
    encode_eof(&mut text)?;
    Ok(text)
}

impl Figures {
    /// Figures of what these caches show.
    pub fn new(caches: Caches) -> Self {
        Self { caches, audit: Arc::new(AtomicI64::new(-1)), others: Arc::default() }
    }

    /// Shows figures that somebody else keeps, under their own names.
    pub fn add(&self, others: Registry) {
        self.others.lock().push(others);
    }

    /// Remembers how many faults the last audit has found.
    pub fn audited(&self, wrong: usize) {
        self.audit.store(i64::try_from(wrong).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// All figures in the text format. An error is one of the formatter and never happens with a
    /// string to write to.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut registry = about_process(true);
        let (simulated, free) =
            (Family::<ByCluster, Gauge>::default(), Family::<ByCluster, Gauge>::default());
        for cluster in self.caches.clusters.list() {
            let status = cluster.status.clone().unwrap_or_default();
            let transport = status.transport.unwrap_or_default();
            let labels = ByCluster { cluster: cluster.name_any(), transport };
            let is_simulated = cluster.spec.transport.simulated.is_some();
            simulated.get_or_create(&labels).set(i64::from(is_simulated));
            let bytes = status.capacity.unwrap_or_default().free.0;
            free.get_or_create(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        registry.register(
            "cluster_simulated",
            "1 if the nodes are SIMULATED and nothing is stored",
            simulated,
        );
        registry.register("cluster_free_bytes", "Space left for bricks", free);
        let family = |ready: usize, not: usize| {
            let family = Family::<ByReadiness, Gauge>::default();
            for (ready, count) in [(true, ready), (false, not)] {
                let labels = ByReadiness { ready: ready.to_string() };
                family.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            family
        };
        let counted = |all: Vec<bool>| {
            let ready = all.iter().filter(|ready| **ready).count();
            family(ready, all.len() - ready)
        };
        let nodes = self.caches.nodes.list();
        let nodes = counted(nodes.iter().map(|node| condition_is(node.conditions(), READY)).collect());
        registry.register("nodes", "Storage nodes", nodes);
        let devices = self.caches.devices.list();
        let devices =
            counted(devices.iter().map(|device| condition_is(device.conditions(), READY)).collect());
        registry.register("devices", "Devices for bricks", devices);
        let (ready, not) = self.caches.usage.now().readiness();
        let volumes = family(ready, not);
        registry.register("volumes", "Volumes", volumes);
        let unreadable = Family::<ByKind, Gauge>::default();
        let caches = &self.caches;
        for (kind, count) in [
            ("GlusterCluster", caches.clusters.unreadable().borrow().len()),
            ("GlusterNode", caches.nodes.unreadable().borrow().len()),
            ("GlusterDevice", caches.devices.unreadable().borrow().len()),
            ("GlusterVolume", caches.volumes.unreadable().borrow().len()),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            unreadable.get_or_create(&ByKind { kind: kind.into() }).set(count);
        }
        let help = "Stored objects that are not understood, and that nothing is done about";
        registry.register("unreadable_objects", help, unreadable);
        let audit = Gauge::<i64>::default();
        audit.set(self.audit.load(Ordering::Relaxed));
        let help = "Faults that the last audit has found between objects and nodes; -1 before the first one";
        registry.register("audit_faults", help, audit);
        let mut text = String::new();
        encode_registry(&mut text, &registry)?;
        for others in self.others.lock().iter() {
            encode_registry(&mut text, others)?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }
}
