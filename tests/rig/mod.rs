//! One server's insides in a test: an embedded store and simulated nodes in a directory, controllers
//! over them, asks, and the checker. Opening the same directory again is a restart.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bricklayer::controllers::access::roster::Roster;
use bricklayer::controllers::audit::audit;
use bricklayer::controllers::audit::judge::Judged;
use bricklayer::controllers::transports::Transports;
use bricklayer::executor::Permit;
use bricklayer::executor::transport::sim::{Sim, SimOptions, Snapshot};
use bricklayer::intent::{self, Decision, Intent, volume::VolumeAsk};
use bricklayer::resources::{
    Condition, GlusterCluster, GlusterClusterSpec, GlusterDevice, GlusterDeviceSpec, GlusterNode,
    GlusterNodeSpec, GlusterVolume, GlusterVolumeSpec, Growth, Hostnames, Limits, OnRefusal, READY,
    SimulatedTransport, Sizing, State, TransportSpec, condition_is, definitions,
};
use bricklayer::serve::Works;
use bricklayer::store::embedded::{Embedded, Hook, Options};
use bricklayer::store::{Cache, Caches, Kind, Store};
use bricklayer::units::{Bytes, Id};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::ListParams;

/// Nothing that is waited for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// The name of the cluster.
pub const CLUSTER: &str = "pool";

/// How a rig is opened.
#[derive(Clone)]
pub struct RigOptions {
    /// Called around every durable write.
    pub write_hook: Option<Hook>,
    /// How often nodes and devices are looked at.
    pub look_every: Duration,
    /// The size of each disk.
    pub device_size: Bytes,
    /// No batch may take longer on a simulated node.
    pub deadline_limit: Duration,
    /// Whether events are written.
    pub tell: bool,
    /// Who the nodes of the Kubernetes cluster are.
    pub roster: Roster,
}

impl Default for RigOptions {
    fn default() -> Self {
        Self {
            write_hook: None,
            look_every: Duration::from_secs(3600),
            device_size: Bytes::from_gib(100),
            deadline_limit: Duration::from_secs(3600),
            tell: false,
            roster: Roster::none(),
        }
    }
}

/// The insides of a server.
pub struct Rig {
    pub embedded: Embedded,
    pub store: Store,
    pub caches: Caches,
    pub intent: Intent,
    pub sim: Sim,
    transports: Transports,
}

/// A directory for what a test stores: in memory where that is possible, since a killed process
/// loses nothing that the kernel has.
pub fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("bricklayer-test-");
        builder
    };
    builder().tempdir_in(memory).or_else(|_| builder().tempdir()).expect("a directory")
}

/// Copies a directory with what is in it.
pub fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir_all(&target).expect("a directory");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Does some work in a runtime of its own; with it everything ends that the work has started.
pub fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

/// A directory in which something has been made ready by a server that has ended.
pub fn prepared(options: RigOptions, work: impl AsyncFnOnce(&Rig)) -> tempfile::TempDir {
    let made = directory();
    in_runtime(async {
        let rig = Rig::open(made.path(), options).await;
        work(&rig).await;
        rig.quiet().await;
        rig.close().await;
    });
    made
}

/// Does the same for many things, several at once, each on a copy of a directory. Panics at the end
/// with the names of those that failed.
pub fn on_copies<T: Clone + Send + std::fmt::Debug>(
    prepared: &Path,
    things: Vec<T>,
    at_once: usize,
    work: impl Fn(&Path, T) + Sync,
) {
    let queue = parking_lot::Mutex::new(std::collections::VecDeque::from(things));
    let failed = parking_lot::Mutex::new(vec![]);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(thing) = { queue.lock().pop_front() } {
                    let directory = directory();
                    copy(prepared, directory.path());
                    let attempt = std::panic::AssertUnwindSafe(|| work(directory.path(), thing.clone()));
                    if std::panic::catch_unwind(attempt).is_err() {
                        println!("FAILED: {thing:?}");
                        failed.lock().push(thing);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

/// The id of a thing with that name.
pub fn id(name: &str) -> Id {
    Id::from_uid(name)
}

/// The host that commands for a node are sent to.
pub fn host(n: usize) -> String {
    format!("manage{n}")
}

/// The object name of a node.
pub fn node_name(n: usize) -> String {
    id(&format!("node{n}")).to_string()
}

/// The object name of a device.
pub fn device_name(n: usize, d: usize) -> String {
    id(&format!("device{n}-{d}")).to_string()
}

/// A wish for a replica 3 volume that grows by sets.
pub fn wish(gib: u64) -> GlusterVolumeSpec {
    let size = Bytes::from_gib(gib);
    GlusterVolumeSpec {
        sizing: Sizing::Bricks,
        on_refusal: OnRefusal::Forget,
        growth: Growth::Sets,
        ..GlusterVolumeSpec::sized(size)
    }
}

/// An ask for a volume whose object is named by its id.
fn ask(name: &str, spec: GlusterVolumeSpec) -> VolumeAsk {
    VolumeAsk { object_name: id(name).to_string(), id: id(name), spec, annotations: BTreeMap::new() }
}

impl Rig {
    /// Opens a directory, without controllers yet.
    pub async fn open(directory: &Path, options: RigOptions) -> Self {
        let mut store_options = Options::new(directory.join("bricklayer.redb"));
        store_options.hook = options.write_hook.clone();
        let embedded = Embedded::open(store_options, definitions()).expect("the store opens");
        let sim = Sim::open(SimOptions {
            device_size: options.device_size,
            deadline_limit: options.deadline_limit,
            ..SimOptions::new(directory.join("simulated"))
        });
        let sim = sim.expect("the nodes open");
        let store = match options.tell {
            true => Store::telling(embedded.client(), "rig".into()),
            false => Store::new(embedded.client()),
        };
        let (every, roster) = (options.look_every, options.roster);
        let caches = Caches::start(&store).await;
        let works = Works::over(store, caches, Some(sim.clone()), Permit::default(), every, roster);
        let intent = works.intent();
        let Works { store, caches, .. } = works;
        let transports = Transports::new(store.clone(), caches.clone(), Some(sim.clone()));
        Self { embedded, store, caches, intent, sim, transports }
    }

    /// Makes the cluster.
    pub async fn make_cluster(&self) {
        let spec = GlusterClusterSpec {
            file: true,
            block: true,
            transport: TransportSpec { simulated: Some(SimulatedTransport {}), ..TransportSpec::default() },
            limits: Limits::default(),
        };
        let mut cluster = GlusterCluster::new(CLUSTER, spec);
        cluster.labels_mut().insert(bricklayer::resources::ID_LABEL.into(), id(CLUSTER).to_string());
        cluster.finalizers_mut().push(bricklayer::resources::FINALIZER.into());
        self.store.create(&cluster).await.expect("a cluster");
    }

    /// Asks for a node; true when it was accepted.
    pub async fn ask_node(&self, n: usize) -> bool {
        self.ask_node_as(&format!("node{n}"), n).await
    }

    /// Asks for a node under another name.
    pub async fn ask_node_as(&self, name: &str, n: usize) -> bool {
        let spec = GlusterNodeSpec {
            cluster: CLUSTER.into(),
            zone: Some(1),
            kubernetes_node: None,
            hostnames: Hostnames { manage: vec![host(n)], storage: vec![format!("storage{n}")] },
            state: State::Online,
            tags: BTreeMap::new(),
            on_refusal: OnRefusal::Forget,
        };
        let decided = intent::node::create(&self.intent, id(name), spec).await;
        matches!(decided.expect("a decision"), Decision::Accepted(_))
    }

    /// Asks for a device; true when it was accepted.
    pub async fn ask_device(&self, n: usize, d: usize) -> bool {
        self.ask_device_as(&format!("device{n}-{d}"), &node_name(n), d).await
    }

    /// Asks for a device of a node under another name.
    pub async fn ask_device_as(&self, name: &str, node: &str, d: usize) -> bool {
        let spec = GlusterDeviceSpec {
            node: node.into(),
            path: format!("/dev/sd{}", (b'b' + u8::try_from(d).expect("few devices")) as char),
            state: State::Online,
            tags: BTreeMap::new(),
            on_refusal: OnRefusal::Forget,
            wipe: false,
        };
        let decided = intent::device::create(&self.intent, id(name), spec).await;
        matches!(decided.expect("a decision"), Decision::Accepted(_))
    }

    /// Makes a cluster of so many nodes with so many devices each, and waits until all is ready.
    pub async fn make_topology(&self, nodes: usize, devices: usize) {
        self.make_cluster().await;
        for n in 1..=nodes {
            assert!(self.ask_node(n).await, "node {n} is accepted");
            self.ready(&self.caches.nodes, &node_name(n)).await;
            for d in 0..devices {
                assert!(self.ask_device(n, d).await, "device {d} of node {n} is accepted");
            }
        }
        for n in 1..=nodes {
            for d in 0..devices {
                self.ready(&self.caches.devices, &device_name(n, d)).await;
            }
        }
    }

    /// Asks for a volume as Heketi's face does.
    pub async fn create(&self, name: &str, spec: GlusterVolumeSpec) -> Decision<GlusterVolume> {
        intent::volume::create(&self.intent, ask(name, spec)).await.expect("a decision")
    }

    /// Asks for a volume as Heketi's face does, or as a claim does, as its wish says.
    pub async fn want(&self, name: &str, spec: GlusterVolumeSpec) {
        match spec.on_refusal {
            OnRefusal::Retry => {
                let ensured = intent::volume::ensure(&self.intent, ask(name, spec), None).await;
                ensured.expect("a wish");
            }
            OnRefusal::Forget => {
                let decided = self.create(name, spec).await;
                assert!(matches!(decided, Decision::Accepted(_)), "{decided:?}");
            }
        }
    }

    /// Asks for a volume and waits until clients can mount it.
    pub async fn create_ready(&self, name: &str, spec: GlusterVolumeSpec) {
        let decided = self.create(name, spec).await;
        assert!(matches!(decided, Decision::Accepted(_)), "{decided:?}");
        self.ready(&self.caches.volumes, &id(name).to_string()).await;
    }

    /// Asks for a volume to be removed; true if there was one.
    pub async fn delete(&self, name: &str) -> bool {
        intent::volume::delete(&self.intent, &id(name).to_string(), None).await.expect("an answer")
    }

    /// The volume as it is now.
    pub async fn volume(&self, name: &str) -> Option<GlusterVolume> {
        self.store.get(&id(name).to_string()).await.expect("an answer")
    }

    /// Waits until an object is ready.
    pub async fn ready<K: Kind + Conditions>(&self, cache: &Cache<K>, name: &str) -> Arc<K> {
        self.until(cache, name, "is ready", |seen| condition_is(seen?.conditions(), READY).then_some(()))
            .await;
        cache.get(name).unwrap_or_else(|| panic!("{name} went away"))
    }

    /// Waits until a volume is gone.
    pub async fn gone(&self, name: &str) {
        self.until(&self.caches.volumes, &id(name).to_string(), "is gone", |seen| {
            seen.is_none().then_some(())
        })
        .await;
    }

    /// Waits for something about an object.
    pub async fn until<K: Kind, T>(
        &self,
        cache: &Cache<K>,
        name: &str,
        what: &str,
        mut test: impl FnMut(Option<&K>) -> Option<T>,
    ) -> T {
        match cache.wait(name, PATIENCE, &mut test).await {
            Some(value) => value,
            None => panic!("waited in vain until {} {name} {what}: {:#?}", K::kind(&()), cache.get(name)),
        }
    }

    /// The reasons of all events about an object, in no order.
    pub async fn told(&self, name: &str) -> Vec<String> {
        let events = self.store.within::<Event>("default").list(&ListParams::default()).await;
        let about = |event: &Event| event.regarding.as_ref().and_then(|about| about.name.clone());
        let events =
            events.expect("a list").items.into_iter().filter(|event| about(event).as_deref() == Some(name));
        events.filter_map(|event| event.reason).collect()
    }

    /// What the checker says.
    pub async fn audit(&self) -> Judged {
        audit(&self.store, &self.transports).await.expect("the checker can look")
    }

    /// What the checker says once nothing is on its way any more.
    pub async fn settled(&self) -> Judged {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let judged = self.audit().await;
            if judged.unsettled.is_empty() || tokio::time::Instant::now() > until {
                return judged;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Insists that everything settles and that objects and nodes agree then. Gives back how many
    /// bricks there are.
    pub async fn agrees(&self) -> usize {
        let judged = self.settled().await;
        assert!(judged.wrong.is_empty() && judged.unsettled.is_empty(), "{judged}");
        judged.bricks
    }

    /// Waits until the nodes and the store have been left alone for a moment.
    pub async fn quiet(&self) {
        let figures = || (self.sim.commands(), self.embedded.figures().writes);
        let mut last = (figures(), std::time::Instant::now());
        while last.1.elapsed() < Duration::from_millis(60) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if figures() != last.0 {
                last = (figures(), std::time::Instant::now());
            }
        }
    }

    /// The same, unless nodes are looked at all the time.
    pub async fn quiet_unless(&self, watchful: bool) {
        if !watchful {
            self.quiet().await;
        }
    }

    /// Asks for all volumes to be removed and waits until they are gone.
    pub async fn delete_all_volumes(&self) {
        for volume in self.store.list::<GlusterVolume>().await.expect("a list") {
            let name = volume.name_any();
            intent::volume::delete(&self.intent, &name, volume.uid()).await.expect("an answer");
            self.until(&self.caches.volumes, &name, "is gone", |seen| seen.is_none().then_some(())).await;
        }
    }

    /// Removes devices, nodes and the cluster, and waits until they are gone.
    pub async fn delete_topology(&self) {
        for device in self.store.list::<GlusterDevice>().await.expect("a list") {
            intent::device::delete(&self.intent, &device, false).await.expect("an answer");
            let gone = |seen: Option<&GlusterDevice>| seen.is_none().then_some(());
            self.until(&self.caches.devices, &device.name_any(), "is gone", gone).await;
        }
        for node in self.store.list::<GlusterNode>().await.expect("a list") {
            intent::node::delete(&self.intent, &node).await.expect("an answer");
            let gone = |seen: Option<&GlusterNode>| seen.is_none().then_some(());
            self.until(&self.caches.nodes, &node.name_any(), "is gone", gone).await;
        }
        for cluster in self.store.list::<GlusterCluster>().await.expect("a list") {
            intent::cluster::delete(&self.intent, &cluster).await.expect("an answer");
            let gone = |seen: Option<&GlusterCluster>| seen.is_none().then_some(());
            self.until(&self.caches.clusters, &cluster.name_any(), "is gone", gone).await;
        }
    }

    /// Ends everything, so that the directory can be opened again. What runs in the runtime besides
    /// has to be dropped with it.
    pub async fn close(self) {
        self.embedded.shutdown().await;
    }
}

/// What of volumes is left on simulated nodes; empty when nothing is.
pub fn volume_remains(snapshot: &Snapshot) -> Vec<String> {
    let mut left = vec![];
    for (host, at) in &snapshot.hosts {
        for group in &at.vgs {
            left.extend(group.lvs.iter().map(|lv| format!("{host}: {}/{}", group.name, lv.name)));
            if group.free != group.size {
                left.push(format!("{host}: {} has {} free of {}", group.name, group.free, group.size));
            }
        }
        left.extend(at.mounts.iter().map(|(_, point)| format!("{host}: {point} is mounted")));
        left.extend(at.fstab.iter().map(|(_, point)| format!("{host}: {point} is in the fstab")));
        let bricks = at.directories.iter().filter(|directory| directory.contains("/brick_"));
        left.extend(bricks.map(|directory| format!("{host}: {directory}")));
    }
    let volumes = snapshot.pools.iter().flat_map(|pool| &pool.volumes);
    left.extend(volumes.map(|volume| format!("gluster volume {}", volume.name)));
    left
}

/// What of devices and nodes is left on simulated nodes; empty when nothing is.
pub fn topology_remains(snapshot: &Snapshot) -> Vec<String> {
    let mut left = volume_remains(snapshot);
    for (host, at) in &snapshot.hosts {
        left.extend(at.vgs.iter().map(|group| format!("{host}: {}", group.name)));
        left.extend(at.disks.iter().map(|(path, kind)| format!("{host}: {path} is {kind}")));
    }
    let pools = snapshot.pools.iter().filter(|pool| pool.members.len() > 1);
    left.extend(pools.map(|pool| format!("peers {:?}", pool.members)));
    left
}

/// Kinds with conditions.
pub trait Conditions {
    /// The conditions.
    fn conditions(&self) -> &[Condition];
}

impl Conditions for GlusterNode {
    fn conditions(&self) -> &[Condition] {
        self.conditions()
    }
}

impl Conditions for GlusterDevice {
    fn conditions(&self) -> &[Condition] {
        self.conditions()
    }
}

impl Conditions for GlusterVolume {
    fn conditions(&self) -> &[Condition] {
        self.conditions()
    }
}
