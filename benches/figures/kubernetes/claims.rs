//! Many claims at once, and when each got its PersistentVolume and was Bound.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

/// How many requests are on their way at once, as a busy cluster's clients would have them.
const AT_ONCE: usize = 50;
const LIMIT: Duration = Duration::from_secs(600);

/// A user who makes claims.
pub struct Claims {
    claims: Api<PersistentVolumeClaim>,
    volumes: Api<PersistentVolume>,
}

/// Claims that were made: seconds from asking for each one.
pub struct Made {
    pub names: Vec<String>,
    /// To Bound.
    pub bound: Vec<f64>,
    /// To the PersistentVolume.
    pub volumes: Vec<f64>,
    /// From the first request to the last claim that was Bound, and to the last PersistentVolume.
    pub last_bound: f64,
    pub last_volume: f64,
}

/// Claims made and deleted.
pub struct Round {
    pub bound: Vec<f64>,
    pub volumes: Vec<f64>,
    last_bound: f64,
    last_volume: f64,
    /// Seconds until the last PersistentVolume was gone.
    pub deleted: f64,
}

impl Round {
    pub fn bound_per_second(&self) -> f64 {
        self.bound.len() as f64 / self.last_bound
    }

    pub fn volumes_per_second(&self) -> f64 {
        self.volumes.len() as f64 / self.last_volume
    }
}

impl Claims {
    pub async fn new(kubeconfig: &Path) -> Self {
        let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        Self { claims: Api::namespaced(client.clone(), "default"), volumes: Api::all(client) }
    }

    /// So many claims, there and back.
    pub async fn round(&self, class: &str, count: usize) -> Round {
        let made = self.create(class, count).await;
        let deleted = self.delete(&made.names).await;
        let Made { bound, volumes, last_bound, last_volume, .. } = made;
        Round { bound, volumes, last_bound, last_volume, deleted }
    }

    /// Makes claims all at once, and waits until all are Bound.
    pub async fn create(&self, class: &str, count: usize) -> Made {
        let prefix = format!("c{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let names: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
        let mut claims =
            std::pin::pin!(touched(self.claims.clone(), &prefix, |claim: &PersistentVolumeClaim| {
                let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
                (phase == Some("Bound")).then(|| claim.name_any())
            }));
        let mut volumes =
            std::pin::pin!(touched(self.volumes.clone(), &prefix, |volume: &PersistentVolume| {
                volume.spec.as_ref()?.claim_ref.as_ref()?.name.clone()
            }));
        let (start, asked) = (Instant::now(), Mutex::new(HashMap::new()));
        let ask = stream::iter(&names).for_each_concurrent(AT_ONCE, |name| {
            asked.lock().insert(name.clone(), start.elapsed().as_secs_f64());
            async move {
            let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
                "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": class,
                    "resources": {"requests": {"storage": "1Gi"}}}});
            let claim = serde_json::from_value(claim).unwrap();
            self.claims.create(&PostParams::default(), &claim).await.unwrap();
        }});
        let seen = async {
            let mut bound = HashMap::new();
            let mut served = HashMap::new();
            while bound.len() < count || served.len() < count {
                let (seen, name) = tokio::select! {
                    Some(name) = claims.next() => (&mut bound, name),
                    Some(name) = volumes.next() => (&mut served, name),
                };
                seen.entry(name).or_insert_with(|| start.elapsed().as_secs_f64());
            }
            (bound, served)
        };
        let both = tokio::time::timeout(LIMIT, futures::future::join(ask, seen)).await;
        let ((), (bound, served)) = both.expect("all claims Bound in time");
        let asked = asked.into_inner();
        let last = |seen: &HashMap<String, f64>| seen.values().copied().fold(0.0, f64::max);
        let waits = |seen: &HashMap<String, f64>| seen.iter().map(|(name, at)| at - asked[name]).collect();
        let (last_bound, last_volume) = (last(&bound), last(&served));
        let (bound, volumes) = (waits(&bound), waits(&served));
        Made { names, bound, volumes, last_bound, last_volume }
    }

    /// Deletes claims and waits until no PersistentVolume is left; gives back the seconds.
    pub async fn delete(&self, names: &[String]) -> f64 {
        let start = Instant::now();
        stream::iter(names)
            .for_each_concurrent(AT_ONCE, |name| async {
                self.claims.delete(name, &DeleteParams::default()).await.unwrap();
            })
            .await;
        let one = ListParams::default().limit(1);
        while !self.volumes.list_metadata(&one).await.unwrap().items.is_empty() {
            assert!(start.elapsed() < LIMIT, "PersistentVolumes are left");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        start.elapsed().as_secs_f64()
    }
}

/// The names of claims with a prefix, whenever an object shows that one got so far.
fn touched<K>(api: Api<K>, prefix: &str, name: fn(&K) -> Option<String>) -> impl Stream<Item = String>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let prefix = prefix.to_owned();
    watcher(api, watcher::Config::default())
        .applied_objects()
        .try_filter_map(move |object| std::future::ready(Ok(name(&object))))
        .filter_map(|name| std::future::ready(name.ok()))
        .filter(move |name| std::future::ready(name.starts_with(&prefix)))
}
