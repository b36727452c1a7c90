//! PersistentVolumeClaims become volumes and PersistentVolumes, grow, and go. Three loops: over claims,
//! over our PersistentVolumes, and over volumes whose claim went away before it was served.
//!
//! Rules of the contract with Kubernetes that are easy to break: names come from uids, never from
//! names; before a delete the objects are read live, since a cache may show a world that is no more (a
//! create needs no look: it can only make the one volume of its claim, which is taken back if nobody
//! waits for it); what may exist is never given up.

mod admission;
mod bind;
mod claim;
mod endpoints;
mod events;
mod gids;
mod metrics;
mod orphan;
mod ours;
mod persistent_volume;
mod quantity;
mod resize;
mod target;
mod wakes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::intent::{AskError, Intent};
use crate::resources::GlusterVolume;
use crate::store::{Action, Cache, Kind, StoreError, run_passes, spawn_vital};
use admission::Admission;
use events::Events;
use gids::Gids;
pub use metrics::ClaimFigures;

/// The name of the provisioner and CSI driver.
pub const PROVISIONER: &str = "gluster.bricklayer.dev";
/// Says who provisioned a PersistentVolume.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Keeps a PersistentVolume until its volume is gone.
const PV_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// How many objects of a kind are worked on at the same time.
const CONCURRENCY: usize = 32;
/// How soon something that waits is looked at again when nothing wakes it.
const AGAIN: Duration = Duration::from_secs(10);
/// The longest pause between two tries of a pass that fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Of how many objects failed tries are remembered.
const MOST_TRIES: usize = 10_000;

/// What the loops work with.
pub struct Provisioner {
    intent: Intent,
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    classes: Cache<StorageClass>,
    events: Events,
    figures: ClaimFigures,
    admission: Mutex<Admission>,
    /// Somebody has left the queue, or came to it.
    moved: Notify,
    gids: Gids,
    /// When claims and PersistentVolumes, by uid, were first seen to need something.
    since: Mutex<HashMap<String, Instant>>,
    /// Tries in a row that failed, by object: the pauses between them grow.
    tries: Mutex<HashMap<String, u32>>,
}

/// A pass that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ask was not taken.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl Provisioner {
    /// Starts the watches and waits until each has seen its first list.
    pub async fn start(intent: Intent, instance: String, figures: ClaimFigures) -> Arc<Self> {
        let (claims, fill_claims) = Cache::start(&intent.store);
        let (volumes, fill_volumes) = Cache::start(&intent.store);
        let (classes, fill_classes) = Cache::start(&intent.store);
        spawn_vital(fill_claims);
        spawn_vital(fill_volumes);
        spawn_vital(fill_classes);
        claims.synced().await;
        volumes.synced().await;
        classes.synced().await;
        let (events, waiting) = Events::new(intent.store.clone(), &instance);
        let provisioner = Arc::new(Self {
            intent,
            claims,
            volumes,
            classes,
            events,
            figures,
            admission: Mutex::default(),
            moved: Notify::new(),
            gids: Gids::default(),
            since: Mutex::default(),
            tries: Mutex::default(),
        });
        let writer = provisioner.clone();
        spawn_vital(async move {
            writer.events.write(waiting, || writer.admission.lock().is_idle()).await;
        });
        provisioner
    }

    /// Runs the loops until the process ends.
    pub async fn run(self: Arc<Self>) {
        let claims = drive(self.clone(), self.claims.clone(), wakes::claims(self.clone()), claim::pass);
        let volumes =
            drive(self.clone(), self.volumes.clone(), wakes::volumes(&self), persistent_volume::pass);
        let orphans = drive(self.clone(), self.intent.volumes.clone(), wakes::orphans(&self), orphan::pass);
        futures::join!(claims, volumes, orphans);
    }

    /// How long an object was seen to need something; from now on it is.
    fn waits_since(&self, uid: &str) -> Duration {
        self.since.lock().entry(uid.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    /// An object needs nothing more, or not before it changes.
    fn done_with(&self, uid: &str) {
        self.admission.lock().leave(uid);
        self.forget(uid);
    }

    /// The same by what was seen at a moment of the queue. What was seen since may say otherwise.
    fn done_with_as_of(&self, uid: &str, moment: u64) {
        if self.admission.lock().leave_as_of(uid, moment) {
            self.forget(uid);
        }
    }

    fn forget(&self, uid: &str) {
        self.since.lock().remove(uid);
        self.gids.forget(uid);
        self.moved.notify_one();
    }
}

async fn drive<K, F>(
    provisioner: Arc<Provisioner>,
    cache: Cache<K>,
    wakes: impl futures::Stream<Item = ObjectRef<K>> + Send + 'static,
    pass: impl Fn(Arc<K>, Arc<Provisioner>) -> F,
) where
    K: Kind,
    F: Future<Output = Result<Action, PassError>> + Send + 'static,
{
    run_passes(cache, wakes, CONCURRENCY, move |object: Arc<K>| {
        let pass = pass(object.clone(), provisioner.clone());
        let provisioner = provisioner.clone();
        Box::pin(async move {
            match pass.await {
                Ok(action) => {
                    provisioner.tries.lock().remove(&key(object.as_ref()));
                    action
                }
                Err(error) => provisioner.again(object.as_ref(), &error),
            }
        })
    })
    .await;
}

fn key<K: Kind>(object: &K) -> String {
    format!("{} {}", K::kind(&()), object.uid().unwrap_or_default())
}

impl Provisioner {
    /// When an object is looked at again whose pass failed.
    fn again<K: Kind>(&self, object: &K, error: &PassError) -> Action {
        if let PassError::Store(StoreError::Conflict(_))
        | PassError::Ask(AskError::Store(StoreError::Conflict(_))) = error
        {
            return Action::requeue(persistent_volume::SOON);
        }
        let pause = self.pause(key(object));
        tracing::warn!(kind = %K::kind(&()), name = object.name_any(), %error, pause_ms = pause.as_millis() as u64, "a pass failed and is tried again");
        Action::requeue(pause)
    }

    /// The pause before the next try of an object that failed again: 1 s, then twice as long each
    /// time, 5 min at the most.
    fn pause(&self, key: String) -> Duration {
        let mut tries = self.tries.lock();
        if tries.len() > MOST_TRIES {
            // What went away while it failed is still there; the others begin with short pauses anew.
            tries.clear();
        }
        let count = tries.entry(key).or_default();
        *count = count.saturating_add(1);
        Duration::from_millis(500 << (*count).min(12)).min(LONGEST_PAUSE)
    }
}

/// The volume object of a claim: named after the claim's uid, so that asking twice is asking once.
fn object_name(claim_uid: &str) -> String {
    format!("pvc-{claim_uid}")
}

/// A volume object as the store knows it now, whatever the caches show.
async fn live_volume(intent: &Intent, name: &str) -> Result<Option<GlusterVolume>, StoreError> {
    intent.store.get::<GlusterVolume>(name).await
}

/// A claim as the store knows it now.
async fn live_claim(
    provisioner: &Provisioner,
    namespace: &str,
    name: &str,
) -> Result<Option<PersistentVolumeClaim>, StoreError> {
    let api = provisioner.intent.store.within::<PersistentVolumeClaim>(namespace);
    api.get_opt(name).await.map_err(|error| crate::store::explained(error, "PersistentVolumeClaim", name))
}
