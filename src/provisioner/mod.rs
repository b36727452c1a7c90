//! PersistentVolumeClaims become volumes and PersistentVolumes, and back. Three loops: over claims,
//! over our PersistentVolumes, and over volumes whose claim went away before it was served.
//!
//! Rules of the contract with Kubernetes that are easy to break: names come from uids, never from
//! names; before a create and before a delete the objects are read live, since a cache may show a
//! world that is no more; what may exist is never given up.

mod claim;
mod class;
mod persistent_volume;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;

use crate::intent::{AskError, Intent};
use crate::resources::GlusterVolume;
use crate::store::{Cache, Kind, StoreError, spawn_vital};

/// The name of the provisioner and CSI driver.
pub const PROVISIONER: &str = "gluster.bricklayer.dev";
/// Says who provisioned a PersistentVolume.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Keeps a PersistentVolume until its volume is gone.
const PV_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// How many objects of a kind are worked on at the same time.
const CONCURRENCY: u16 = 32;
/// How soon something that waits is looked at again when nothing wakes it.
const AGAIN: Duration = Duration::from_secs(10);

/// What the loops work with.
pub struct Provisioner {
    intent: Intent,
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    classes: Cache<StorageClass>,
    recorder: Recorder,
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
    pub async fn start(intent: Intent, instance: String) -> Arc<Self> {
        let (claims, fill_claims) = Cache::start(&intent.store);
        let (volumes, fill_volumes) = Cache::start(&intent.store);
        let (classes, fill_classes) = Cache::start(&intent.store);
        spawn_vital(fill_claims);
        spawn_vital(fill_volumes);
        spawn_vital(fill_classes);
        claims.synced().await;
        volumes.synced().await;
        classes.synced().await;
        let reporter = Reporter { controller: PROVISIONER.into(), instance: Some(instance) };
        let recorder = Recorder::new(intent.store.client(), reporter);
        Arc::new(Self { intent, claims, volumes, classes, recorder })
    }

    /// Runs the loops until the process ends.
    pub async fn run(self: Arc<Self>) {
        let claims = self.claims.changes().stream();
        let (of_volumes, of_classes) = (self.intent.volumes.clone(), self.claims.clone());
        let served = self.intent.volumes.changes().stream().flat_map(move |name| {
            let claim = of_volumes.get(&name.name).and_then(|volume| volume.spec.claim_ref.clone());
            stream::iter(claim.map(|claim| ObjectRef::new(&claim.name).within(&claim.namespace)))
        });
        let classes = self.classes.changes().stream().flat_map(move |_| {
            let waiting = of_classes.list().into_iter().filter(|claim| claim::is_unbound(claim));
            stream::iter(waiting.map(|claim| ObjectRef::from_obj(claim.as_ref())).collect::<Vec<_>>())
        });
        let claim_wakes = stream::select(claims, stream::select(served, classes));
        let claims = drive(self.clone(), self.claims.clone(), claim_wakes, claim::pass);
        let volumes = drive(
            self.clone(),
            self.volumes.clone(),
            self.volumes.changes().stream(),
            persistent_volume::pass,
        );
        let orphan_wakes = self.intent.volumes.changes().stream();
        let orphans = drive(self.clone(), self.intent.volumes.clone(), orphan_wakes, claim::orphan_pass);
        futures::join!(claims, volumes, orphans);
    }

    /// Tells the user of an object what happened to it. An event that cannot be written is not worth
    /// failing for.
    async fn tell<K: Kind>(&self, about: &K, warning: bool, reason: &str, note: String) {
        let type_ = if warning { EventType::Warning } else { EventType::Normal };
        let note = Some(note.chars().take(1000).collect());
        let event = Event { type_, reason: reason.into(), note, action: "Provision".into(), secondary: None };
        if let Err(error) = self.recorder.publish(&event, &about.object_ref(&())).await {
            tracing::warn!(%error, reason, "an event could not be written");
        }
    }
}

async fn drive<K, F>(
    provisioner: Arc<Provisioner>,
    cache: Cache<K>,
    wakes: impl futures::Stream<Item = ObjectRef<K>> + Send + 'static,
    pass: impl Fn(Arc<K>, Arc<Provisioner>) -> F + Send + Sync + Clone + 'static,
) where
    K: Kind,
    F: Future<Output = Result<Action, PassError>> + Send + 'static,
{
    let reconcile = move |object: Arc<K>, provisioner: Arc<Provisioner>| Box::pin(pass(object, provisioner));
    let again = |object: Arc<K>, error: &PassError, _: Arc<Provisioner>| {
        tracing::warn!(kind = %K::kind(&()), name = object.name_any(), %error, "a pass failed and is tried again");
        let conflict = matches!(error, PassError::Store(StoreError::Conflict(_)));
        Action::requeue(if conflict { Duration::from_millis(50) } else { Duration::from_secs(2) })
    };
    let config = Config::default().concurrency(CONCURRENCY);
    let queue = wakes.map(Ok::<_, std::convert::Infallible>);
    applier(reconcile, again, provisioner, cache.reader(), queue, config).for_each(|_| async {}).await;
}

/// The volume object of a claim: named after the claim's uid, so that asking twice is asking once.
fn object_name(claim_uid: &str) -> String {
    format!("pvc-{claim_uid}")
}

/// Whether the store knows a volume object now, whatever the caches show.
async fn live_volume(intent: &Intent, name: &str) -> Result<Option<GlusterVolume>, StoreError> {
    intent.store.get::<GlusterVolume>(name).await
}
