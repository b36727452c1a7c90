//! How many objects a second the embedded API service takes from create to their last status, every write
//! durable: three writes each of up to 3 KB, typed clients, watches running beside it.
//!
//! `cargo bench --bench api_service` · `OBJECTS`, `CREATORS` and `WATCHES` change the sizes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement ends at its first surprise")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bricklayer::store::embedded::{Embedded, Options};
use futures::StreamExt as _;
use kube::api::{Api, PostParams};
use kube::runtime::watcher;
use kube::{CustomResource, CustomResourceExt as _, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// About the size and the shape of a volume.
#[derive(CustomResource, KubeSchema, Clone, Debug, Serialize, Deserialize)]
#[kube(group = "bench.bricklayer.dev", version = "v1", kind = "Crate", status = "CrateStatus")]
#[x_kube(validation = Rule::new("self.replicas <= 3 || self.size > 10").message("too small"))]
struct CrateSpec {
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the name stays"))]
    name: String,
    #[schemars(range(min = 1))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("cannot shrink"))]
    size: i64,
    #[schemars(range(min = 1, max = 5))]
    replicas: i64,
    #[serde(default)]
    options: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    clusters: Vec<String>,
}

#[derive(KubeSchema, Clone, Debug, Default, Serialize, Deserialize)]
struct CrateStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
    #[serde(default)]
    placement: Vec<Slot>,
    #[serde(default)]
    observed: Vec<Slot>,
    #[serde(default)]
    generation: i64,
}

#[derive(JsonSchema, Clone, Debug, Default, Serialize, Deserialize)]
struct Slot {
    id: String,
    device: String,
    node: String,
    path: String,
    size: i64,
    set: i64,
    role: String,
}

fn main() {
    if std::env::args().any(|a| a == "--test") {
        return; // `cargo test --benches` only wants to know that it builds
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let (objects, creators, watches) = (size("OBJECTS", 5000), size("CREATORS", 16), size("WATCHES", 2));
    let directory =
        tempfile::tempdir_in(std::env::var("DIR").unwrap_or_else(|_| "/var/tmp".to_owned())).unwrap();
    let path = directory.path().join("objects.redb");
    let store = Embedded::open(Options::new(&path), vec![Crate::crd()]).unwrap();
    let idle = rss();
    let api: Api<Crate> = Api::all(store.client());
    let seen = Arc::new(AtomicUsize::new(0));
    let mut watching = tokio::task::JoinSet::new();
    for _ in 0..watches {
        let (api, seen) = (Api::<Crate>::all(store.client()), seen.clone());
        watching.spawn(async move {
            watcher(api, watcher::Config::default())
                .for_each(|event| {
                    event.unwrap();
                    seen.fetch_add(1, Ordering::Relaxed);
                    async {}
                })
                .await;
        });
    }
    let started = Instant::now();
    let mut times: Vec<(Duration, Duration)> = futures::stream::iter(0..objects)
        .map(|n| tokio::spawn(life(api.clone(), n)))
        .buffer_unordered(creators)
        .map(Result::unwrap)
        .collect()
        .await;
    let took = started.elapsed().as_secs_f64();
    let figures = store.figures();
    println!("{objects} objects, {creators} creators, {watches} watches: {took:.2} s");
    println!("objects/s {:.0}   durable writes/s {:.0}", objects as f64 / took, figures.writes as f64 / took);
    println!(
        "writes/commit {:.1}   commit {:?}",
        figures.writes as f64 / figures.commits as f64,
        figures.commit_time / u32::try_from(figures.commits).unwrap()
    );
    times.sort();
    let at = |q: f64| times[((objects - 1) as f64 * q) as usize].0;
    println!("create p50 {:?} p99 {:?}", at(0.5), at(0.99));
    times.sort_by_key(|t| t.1);
    let at = |q: f64| times[((objects - 1) as f64 * q) as usize].1;
    println!("create to last status p50 {:?} p99 {:?}", at(0.5), at(0.99));
    println!("watch events {}", seen.load(Ordering::Relaxed));
    println!("memory: idle {} MiB, after {} MiB", idle / 1024, rss() / 1024);
    let started = Instant::now();
    let bytes = serde_json::to_string(&api.list(&Default::default()).await.unwrap()).unwrap().len();
    println!(
        "one list of all, decoded and encoded: {:?}, {} MiB of JSON, file {} MiB",
        started.elapsed(),
        bytes / 1024 / 1024,
        std::fs::metadata(&path).unwrap().len() / 1024 / 1024
    );
    watching.shutdown().await;
    drop(api);
    store.shutdown().await;
    let started = Instant::now();
    let store = Embedded::open(Options::new(&path), vec![Crate::crd()]).unwrap();
    println!("opened again in {:?}", started.elapsed());
    println!("memory: {} MiB", rss() / 1024);
    store.shutdown().await;
}

/// Create, then two statuses. Returns the time of the create, and of all three.
async fn life(api: Api<Crate>, n: usize) -> (Duration, Duration) {
    let started = Instant::now();
    let spec = CrateSpec {
        name: format!("vol_{n}"),
        size: 11,
        replicas: 3,
        options: [("performance.io-cache".to_owned(), "off".to_owned())].into(),
        clusters: vec!["0123456789abcdef0123456789abcdef".to_owned()],
    };
    let made = api.create(&PostParams::default(), &Crate::new(&format!("vol-{n}"), spec)).await.unwrap();
    let created = started.elapsed();
    let slots: Vec<Slot> = (0..6)
        .map(|slot| Slot {
            id: format!("{n:024x}{slot:08x}"),
            device: "0123456789abcdef0123456789abcdef".to_owned(),
            node: format!("node-{slot}.storage.example"),
            path: format!("/var/lib/mounts/vg_0123456789abcdef/brick_{n:024x}{slot:08x}/brick"),
            size: 11_811_160_064,
            set: slot / 3,
            role: "data".to_owned(),
        })
        .collect();
    let mut new = made;
    new.status = Some(CrateStatus {
        phase: Some("Placed".to_owned()),
        placement: slots.clone(),
        ..Default::default()
    });
    let name = format!("vol-{n}");
    let mut new = api.replace_status(&name, &PostParams::default(), &new).await.unwrap();
    let status = new.status.as_mut().unwrap();
    status.phase = Some("Ready".to_owned());
    status.observed = slots;
    status.generation = 1;
    api.replace_status(&name, &PostParams::default(), &new).await.unwrap();
    (created, started.elapsed())
}

fn size(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Resident memory in KiB.
fn rss() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
