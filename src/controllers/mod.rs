//! The controllers: they make the nodes agree with the objects. One folder per noun. Each pass
//! looks at the wish and at the world and does the next thing; recovery after a crash is the next
//! ordinary pass.

pub mod access;
pub mod audit;
pub mod cluster;
pub mod device;
mod evacuation;
pub mod examine;
pub mod node;
pub mod placing;
pub mod transports;
mod unreadable;
pub mod volume;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use kube::core::ClusterResourceScope;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use crate::executor::RunError;
use crate::resources::{FINALIZER, GlusterCluster, ID_LABEL, id_of};
use crate::store::{Action, Caches, Kind, Store, StoreError, run_passes};
use access::roster::Roster;
use placing::Placing;
use transports::Transports;

/// How many objects of a kind are worked on at the same time.
const CONCURRENCY: usize = 64;
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What every pass works with.
pub struct Context {
    /// Reads and writes.
    pub store: Store,
    /// What was last seen.
    pub caches: Caches,
    /// The ways to nodes.
    pub transports: Transports,
    /// The task that decides what must be unique.
    pub placing: Placing,
    /// Who was given up.
    pub given_up: evacuation::GivenUp,
    /// How often nodes and devices are looked at when nothing changes.
    pub look_every: Duration,
    /// Who the nodes of the Kubernetes cluster are.
    pub roster: Roster,
    /// One gluster transaction at a time in a cluster: glusterd takes a lock of its own and refuses
    /// the second one.
    gluster: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// One volume at a time in a cluster has its access changed: others wait here and not for glusterd.
    access: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Tries in a row that failed, by object: the pauses between them grow.
    tries: Mutex<HashMap<String, u32>>,
    /// When volumes were last tried, by object name.
    tried: Mutex<HashMap<String, volume::Tried>>,
    /// The largest volumes that clusters take, by name, and when they were last looked for.
    largest: Mutex<HashMap<String, cluster::Largest>>,
    /// The version of each volume over which this process has written the last outcome of a pass. A cache that still
    /// shows it is behind.
    overtaken: Mutex<HashMap<String, String>>,
}

/// A pass that did not come to its end. It is tried again after a pause.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A node did not do it.
    #[error(transparent)]
    Node(#[from] RunError),
    /// GlusterFS has something that is in the way.
    #[error("{0}")]
    Refused(String),
    /// The nodes cannot be reached as the cluster says.
    #[error("{0}")]
    Transport(String),
}

impl Context {
    /// A context, without a Kubernetes cluster.
    pub fn new(
        store: Store,
        caches: Caches,
        transports: Transports,
        placing: Placing,
        look_every: Duration,
    ) -> Self {
        let given_up = evacuation::GivenUp::of(&caches);
        Self {
            store,
            caches,
            given_up,
            transports,
            placing,
            look_every,
            roster: Roster::none(),
            gluster: Mutex::default(),
            access: Mutex::default(),
            tries: Mutex::default(),
            tried: Mutex::default(),
            largest: Mutex::default(),
            overtaken: Mutex::default(),
        }
    }

    /// The same in a Kubernetes cluster with these nodes.
    #[must_use]
    pub fn among(self, roster: Roster) -> Self {
        Self { roster, ..self }
    }

    /// The cluster of that name, if it was seen.
    fn cluster(&self, name: &str) -> Result<Arc<GlusterCluster>, PassError> {
        let missing = || PassError::Transport(format!("there is no GlusterCluster {name:?}"));
        self.caches.clusters.get(name).ok_or_else(missing)
    }

    /// The lock under which gluster transactions of a cluster run.
    fn gluster_lock(&self, cluster: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.gluster.lock().entry(cluster.to_owned()).or_default().clone()
    }

    /// The turn of a volume whose access is changed.
    fn access_turn(&self, cluster: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.access.lock().entry(cluster.to_owned()).or_default().clone()
    }

    /// The pause before the next try of an object that failed again: 0.5 s, then twice as long each
    /// time.
    fn pause(&self, key: &str) -> Duration {
        let mut tries = self.tries.lock();
        let count = tries.entry(key.to_owned()).or_default();
        *count = count.saturating_add(1);
        Duration::from_millis(250 << (*count).min(8)).min(LONGEST_PAUSE)
    }

    /// Forgets what is remembered about an object that goes.
    fn forget<K: Kind>(&self, name: &str) {
        self.tried.lock().remove(name);
        self.overtaken.lock().remove(name);
        self.tries.lock().remove(&format!("{}/{name}", K::kind(&())));
    }

    fn went_well(&self, key: &str) {
        self.tries.lock().remove(key);
    }
}

/// Runs all controllers until the process ends.
pub async fn run(context: Arc<Context>) {
    let caches = &context.caches;
    let many = CONCURRENCY;
    let volumes = drive(context.clone(), caches.volumes.clone(), volume::wakes(caches), many, volume::pass);
    let nodes = drive(context.clone(), caches.nodes.clone(), node::wakes(caches), many, node::pass);
    let devices = drive(context.clone(), caches.devices.clone(), device::wakes(caches), many, device::pass);
    let clusters =
        drive(context.clone(), caches.clusters.clone(), cluster::wakes(caches), many, cluster::pass);
    let lists = access::wakes(caches, context.roster.clone());
    let access = drive(context.clone(), caches.volumes.clone(), lists, access::CONCURRENCY, access::pass);
    futures::join!(volumes, nodes, devices, clusters, access, unreadable::tell(&context));
}

/// Runs one controller: wakes an object's pass when `wakes` names it, one pass at a time for each
/// object and `at_once` in all, and again after a pause when it failed.
async fn drive<K, F>(
    context: Arc<Context>,
    cache: crate::store::Cache<K>,
    wakes: impl Stream<Item = ObjectRef<K>> + Send + 'static,
    at_once: usize,
    pass: impl Fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Kind,
    F: Future<Output = Result<Action, PassError>> + Send + 'static,
{
    let seen = cache.clone();
    run_passes(cache, wakes, at_once, move |object: Arc<K>| {
        // What is stored and not understood cannot be written back. It is woken again when it was mended.
        let pass = (!seen.is_unreadable(&object)).then(|| pass(object.clone(), context.clone()));
        let context = context.clone();
        Box::pin(async move {
            let Some(pass) = pass else { return Action::await_change() };
            match pass.await {
                Ok(action) => {
                    context.went_well(&format!("{}/{}", K::kind(&()), object.name_any()));
                    action
                }
                Err(error) => again(&context, object.as_ref(), &error),
            }
        })
    })
    .await;
}

/// When an object is looked at again whose pass failed.
fn again<K: Kind>(context: &Context, object: &K, error: &PassError) -> Action {
    let name = object.name_any();
    if let PassError::Store(StoreError::Conflict(_)) = error {
        tracing::debug!(kind = %K::kind(&()), name, "decided on an old state, decides again");
        return Action::requeue(Duration::from_millis(20));
    }
    let pause = context.pause(&format!("{}/{name}", K::kind(&())));
    tracing::warn!(kind = %K::kind(&()), name, %error, pause_ms = pause.as_millis() as u64, "a pass failed and is tried again");
    Action::requeue(pause)
}

/// Puts our finalizer and the id label on an object that a user made. True if it was missing; the
/// write wakes the object again.
async fn adopt<K>(context: &Context, object: &K) -> Result<bool, PassError>
where
    K: Kind + Resource<Scope = ClusterResourceScope>,
{
    let has_label = object.labels().contains_key(ID_LABEL);
    let has_finalizer = object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    if has_label && has_finalizer {
        return Ok(false);
    }
    let mut finalizers = object.finalizers().to_vec();
    if !has_finalizer {
        finalizers.push(FINALIZER.into());
    }
    let patch = json!({"metadata": {
        "resourceVersion": object.resource_version(),
        "labels": {ID_LABEL: id_of(object).to_string()},
        "finalizers": finalizers,
    }});
    context.store.merge::<K>(&object.name_any(), &patch).await?;
    Ok(true)
}

/// Lets an object go: takes our finalizer away. Only after what it stands for was seen to be gone.
async fn release<K>(context: &Context, object: &K) -> Result<Action, PassError>
where
    K: Kind + Resource<Scope = ClusterResourceScope>,
{
    let finalizers: Vec<&String> =
        object.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    if finalizers.len() == object.finalizers().len() {
        return Ok(Action::await_change());
    }
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
    match context.store.merge::<K>(&object.name_any(), &patch).await {
        Ok(_) | Err(StoreError::NotFound(_)) => Ok(Action::await_change()),
        Err(error) => Err(error.into()),
    }
}

/// How long a failed ask can still be read: what is left of a day, or nothing.
fn kept(conditions: &[crate::resources::Condition], now: jiff::Timestamp) -> Option<Duration> {
    let failed = crate::resources::condition(conditions, crate::resources::FAILED)?;
    let rest = jiff::SignedDuration::from_hours(24) - now.duration_since(failed.last_transition_time.0);
    Duration::try_from(rest).ok().filter(|rest| !rest.is_zero())
}
