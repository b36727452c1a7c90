//! A whole server in this process: embedded store, controllers, simulated nodes, Heketi's REST on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::http::{ask, job};
use bricklayer::api::heketi::{self, Examiner, HeketiOptions, Log, LogLevel};
use bricklayer::auth::Keys;
use bricklayer::controllers::examine::examine;
use bricklayer::controllers::placing::Placing;
use bricklayer::controllers::transports::Transports;
use bricklayer::controllers::{self, Context};
use bricklayer::executor::transport::sim::{Sim, SimOptions};
use bricklayer::intent::Intent;
use bricklayer::intent::mode::Mode;
use bricklayer::resources::{
    AVERAGE_FILE, GlusterCluster, GlusterDevice, GlusterNode, GlusterVolume, Limits, SimulatedTransport,
    TransportSpec, definitions, evacuation_asked,
};
use bricklayer::store::embedded::{Embedded, Options};
use bricklayer::store::{Caches, Kind, Store};
use kube::core::ClusterResourceScope;
use kube::{Resource, ResourceExt};

/// How long a command takes at most that is to last until the faults are cleared.
pub const LONG: Duration = Duration::from_secs(300);
/// The keys of the recorded original.
pub const ADMIN_KEY: &str = "adminkey";
pub const USER_KEY: &str = "userkey";

/// A running server; it ends with the test's runtime.
pub struct Server {
    pub address: SocketAddr,
    /// Another face over the same store, as another replica has it or this one after a restart.
    pub other: SocketAddr,
    pub sim: Sim,
    pub store: Store,
    pub intent: Intent,
    /// The first face, for requests that need no connection.
    pub router: axum::Router,
    _data: tempfile::TempDir,
}

impl Server {
    /// Starts a server whose nodes are simulated.
    pub async fn start(max_inflight: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(Options::new(data.path().join("store.redb")), definitions()).unwrap();
        let store = Store::new(embedded.client());
        let sim = Sim::open(SimOptions::new(data.path().join("simulated"))).unwrap();
        let caches = Caches::start(&store).await;
        let (placing, work) = Placing::start(store.clone(), caches.clone());
        tokio::spawn(work);
        let transports = Transports::new(store.clone(), caches.clone(), Some(sim.clone()));
        let look_every = Duration::from_secs(30);
        let context = Context::new(store.clone(), caches.clone(), transports, placing, look_every);
        tokio::spawn(controllers::run(Arc::new(context)));
        let ways = Arc::new(Transports::new(store.clone(), caches.clone(), Some(sim.clone())));
        let examiner = Examiner::new(move |wanted| {
            let ways = ways.clone();
            Box::pin(async move { examine(&wanted, &ways).await })
        });
        let options = HeketiOptions {
            auth: Some(Keys::new(ADMIN_KEY, USER_KEY, 120)),
            transport: Some(TransportSpec {
                simulated: Some(SimulatedTransport {}),
                ..TransportSpec::default()
            }),
            limits: Limits::default(),
            max_inflight,
            pre_request_volume_options: String::new(),
            post_request_volume_options: String::new(),
            block_hosting_volume_options: "group gluster-block".into(),
            zones: None,
            average_file: AVERAGE_FILE,
            namespace: "bricklayer".into(),
            default_mode: Mode::Normal,
            // As in the recording's configuration.
            log: Log::new(LogLevel::Warning, |_| {}),
            examiner,
        };
        let intent = Intent::new(store.clone(), caches);
        let router = heketi::router(intent.clone(), options.clone());
        let address = listen(router.clone()).await;
        let other = listen(heketi::router(intent.clone(), options)).await;
        Self { address, other, sim, store, intent, router, _data: data }
    }

    /// Makes a cluster of so many nodes with so many disks each, through REST. Gives back the cluster's id
    /// and those of the nodes.
    pub async fn furnish(&self, nodes: usize, disks: usize) -> (String, Vec<String>) {
        let made = ask(self.address, "POST", "/clusters", Some(r#"{"file":true,"block":true}"#)).await;
        let cluster = id_in(&made.body);
        let mut ids = vec![];
        for node in 1..=nodes {
            let body = format!(
                r#"{{"zone":{node},"hostnames":{{"manage":["m{node}"],"storage":["10.0.0.{node}"]}},"cluster":"{cluster}"}}"#
            );
            let done = job(self.address, "POST", "/nodes", &body).await;
            assert_eq!(done.status, 303, "{done:?}");
            let id = done.headers["location"].rsplit('/').next().unwrap().to_owned();
            for disk in 0..disks {
                let path = format!("/dev/sd{}", char::from(b'b' + u8::try_from(disk).unwrap()));
                let body = format!(r#"{{"name":"{path}","node":"{id}"}}"#);
                let done = job(self.address, "POST", "/devices", &body).await;
                assert_eq!(done.status, 204, "{done:?}");
            }
            ids.push(id);
        }
        (cluster, ids)
    }

    /// Waits until the objects are as they were: an ask that was taken back goes a moment later.
    pub async fn unchanged_since(&self, before: &[String]) {
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let now = self.wishes().await;
            if now == before {
                return;
            }
            assert!(tokio::time::Instant::now() < until, "{now:#?}\nis not as before:\n{before:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until what was given up is drained, or offline again since it cannot be.
    pub async fn settled(&self) {
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let devices = self.store.list::<GlusterDevice>().await.unwrap();
            let nodes = self.store.list::<GlusterNode>().await.unwrap();
            let leaves = devices.iter().any(|one| evacuation_asked(one).is_some() && !one.is_drained())
                || nodes.iter().any(|one| evacuation_asked(one).is_some() && !one.is_drained());
            if !leaves {
                return;
            }
            assert!(
                tokio::time::Instant::now() < until,
                "something is given up still: {devices:#?} {nodes:#?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All objects as far as clients write them: kind, name, uid, generation, labels, annotations. Those that are being
    /// deleted go by themselves, and are left out.
    pub async fn wishes(&self) -> Vec<String> {
        let mut all = wishes::<GlusterCluster>(&self.store).await;
        all.extend(wishes::<GlusterNode>(&self.store).await);
        all.extend(wishes::<GlusterDevice>(&self.store).await);
        all.extend(wishes::<GlusterVolume>(&self.store).await);
        all
    }
}

async fn listen(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).into_future(),
    );
    address
}

async fn wishes<K>(store: &Store) -> Vec<String>
where
    K: Kind + Resource<Scope = ClusterResourceScope>,
{
    let objects = store.list::<K>().await.unwrap();
    let told = |object: &K| {
        let meta = object.meta();
        format!(
            "{} {} {:?} {:?} {:?} {:?}",
            K::kind(&()),
            object.name_any(),
            meta.uid,
            meta.generation,
            meta.labels,
            meta.annotations
        )
    };
    objects.iter().filter(|object| object.meta().deletion_timestamp.is_none()).map(told).collect()
}

/// The `id` of a JSON object.
pub fn id_in(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    value["id"].as_str().unwrap().to_owned()
}
