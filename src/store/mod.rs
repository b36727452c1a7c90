//! Reading and writing objects. All code speaks `kube::Client`: in a cluster that is the API
//! server, on one machine the [`embedded`] service. A conflict is an answer here, not a surprise.

mod cache;
pub mod embedded;
mod events;
mod guard;
mod passes;
mod usage;

use std::fmt::Debug;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ClusterResourceScope, PartialObjectMeta, Request};
use kube::{Client, Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};

pub use cache::{Cache, Changes, Key, Noted, Unreadable, in_parts};
pub use events::{Events, News, Told};
use guard::Guarded;
pub use passes::{Action, run_passes};
pub use usage::{Counts, OnDevice, Share, Usage};

use crate::resources::{GlusterCluster, GlusterDevice, GlusterNode, GlusterVolume};

/// What was last seen of our kinds: one shared watch for each. Cheap to clone.
#[derive(Clone)]
pub struct Caches {
    /// All clusters.
    pub clusters: Cache<GlusterCluster>,
    /// All nodes.
    pub nodes: Cache<GlusterNode>,
    /// All devices.
    pub devices: Cache<GlusterDevice>,
    /// All volumes. There may be very many: who looks for those that concern something asks [`Usage`].
    pub volumes: Cache<GlusterVolume>,
    /// What volumes take, and which of them are where.
    pub usage: Usage,
}

/// How many volumes are kept open: those that something is done about, and some more.
const OPEN_VOLUMES: usize = 128;

impl Caches {
    /// Empty caches, and what fills them: it starts the watches as tasks of the runtime, and ends when each has seen
    /// its first list. Who observes a cache before that is told of each object as it comes.
    pub fn new(store: &Store) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (clusters, fill_clusters) = Cache::start(store);
        let (nodes, fill_nodes) = Cache::start(store);
        let (devices, fill_devices) = Cache::start(store);
        let (volumes, fill_volumes) = Cache::resting(store, OPEN_VOLUMES);
        let usage = Usage::of(&volumes);
        let caches = Self { clusters, nodes, devices, volumes, usage };
        let filled = caches.clone();
        let fill = async move {
            spawn_vital(fill_clusters);
            spawn_vital(fill_nodes);
            spawn_vital(fill_devices);
            spawn_vital(fill_volumes);
            filled.clusters.synced().await;
            filled.nodes.synced().await;
            filled.devices.synced().await;
            filled.volumes.synced().await;
        };
        (caches, fill)
    }

    /// Caches that have seen their first lists.
    pub async fn start(store: &Store) -> Self {
        let (caches, fill) = Self::new(store);
        fill.await;
        caches
    }

    /// Lists every kind anew and waits until the lists have been seen: see [`Cache::refresh`].
    pub async fn refresh(&self) {
        let (clusters, nodes) = (self.clusters.refresh(), self.nodes.refresh());
        futures::join!(clusters, nodes, self.devices.refresh(), self.volumes.refresh());
    }
}

/// What the stored kinds have in common.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

/// Why a read or write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote the object first: read it again and decide again.
    #[error("{0} was changed by somebody else meanwhile")]
    Conflict(String),
    /// There is an object of that name already.
    #[error("{0} exists already")]
    Exists(String),
    /// There is no such object.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The server refused what the object says.
    #[error("{0}")]
    Invalid(String),
    /// The server did not answer, or answered that it cannot; whether a write happened is unknown.
    #[error("the object store does not answer: {0}")]
    Unavailable(#[source] Box<kube::Error>),
}

/// Starts a task without which the process is of no use. A panic in it ends the process, so that
/// something starts it again, instead of a process that only looks alive.
pub fn spawn_vital(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        // A panic elsewhere that takes the runtime down is told by whoever panicked.
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            std::process::abort();
        }
    });
}

/// A typed handle on the objects. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    client: Client,
    events: Events,
}

/// Objects of a kind as they are now.
pub struct Listed<K> {
    /// Those that were understood.
    pub objects: Vec<K>,
    /// Those that were not.
    pub unreadable: Vec<Unreadable>,
}

impl From<Client> for Store {
    fn from(client: Client) -> Self {
        Self::new(client)
    }
}

impl Store {
    /// A store behind a client. It tells no events.
    pub fn new(client: Client) -> Self {
        Self { client, events: Events::default() }
    }

    /// A store that tells events, in the name of a replica. Starts a task that writes them.
    pub fn telling(client: Client, instance: String) -> Self {
        let (events, write) = Events::start(client.clone(), instance);
        spawn_vital(write);
        Self { client, events }
    }

    /// Tells something about an object, for those who look at it.
    pub fn tell<K: Kind>(&self, about: &K, news: News) {
        self.events.tell(about.object_ref(&()), news);
    }

    /// Tells that an object is not understood.
    pub fn tell_unreadable<K: Kind>(&self, about: &Unreadable) {
        self.events.tell(about.reference::<K>(), News::warning("Unreadable", about.to_string()));
    }

    /// Tells what has changed in the conditions of an object.
    pub fn tell_transitions<K: Kind + Told>(&self, before: &K, now: &K) {
        for news in events::transitions(before.told(), now.told(), now.only_trouble()) {
            self.tell(now, news);
        }
    }

    /// Writes a status down if it is news and nobody has changed the object since it was read, and
    /// tells its transitions. Gives back whether the object has another version from now on.
    pub async fn report<K>(&self, before: &K, now: &K, is_news: bool) -> Result<bool, StoreError>
    where
        K: Kind + Told + Resource<Scope = ClusterResourceScope>,
    {
        if !is_news {
            return Ok(false);
        }
        let version = self.replace_status(now).await?;
        self.tell_transitions(before, now);
        Ok(version != before.resource_version())
    }

    /// The client itself, for what the runtime library does (watching, leases, events).
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The object of that name as it is now, if there is one.
    pub async fn get<K>(&self, name: &str) -> Result<Option<K>, StoreError>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let found = self.all::<K>().get_opt(name).await;
        found.map_err(|error| explained(error, K::kind(&()).as_ref(), name))
    }

    /// All objects of a kind as they are now. One that is not understood is an error: whoever can go
    /// on without it takes [`Store::list_all`].
    pub async fn list<K>(&self) -> Result<Vec<K>, StoreError>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let listed = self.list_all().await?;
        match listed.unreadable.first() {
            Some(unreadable) => Err(StoreError::Invalid(unreadable.to_string())),
            None => Ok(listed.objects),
        }
    }

    /// All objects of a kind as they are now, and those that are not understood.
    pub async fn list_all<K>(&self) -> Result<Listed<K>, StoreError>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let found = self.all::<Guarded<K>>().list(&ListParams::default()).await;
        let found = found.map_err(|error| explained(error, K::kind(&()).as_ref(), "list"))?;
        let mut listed = Listed { objects: vec![], unreadable: vec![] };
        for item in found.items {
            match item.0 {
                Ok(read) => listed.objects.push(read.object),
                Err(error) => listed.unreadable.push(Unreadable::new::<K>(&error)),
            }
        }
        Ok(listed)
    }

    /// Makes an object.
    pub async fn create<K>(&self, object: &K) -> Result<K, StoreError>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let made = self.all::<K>().create(&PostParams::default(), object).await;
        made.map_err(|error| explained(error, K::kind(&()).as_ref(), &object.name_any()))
    }

    /// Replaces an object if nobody has changed it since it was read.
    pub async fn replace<K>(&self, object: &K) -> Result<K, StoreError>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let name = object.name_any();
        let done = self.all::<K>().replace(&name, &PostParams::default(), object).await;
        done.map_err(|error| explained(error, K::kind(&()).as_ref(), &name))
    }

    /// Replaces the status of an object if nobody has changed the object since it was read. Gives back the version
    /// that it has now.
    async fn replace_status<K>(&self, object: &K) -> Result<Option<String>, StoreError>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let name = object.name_any();
        let wrong = |error| explained(kube::Error::SerdeError(error), K::kind(&()).as_ref(), &name);
        let body = serde_json::to_vec(object).map_err(wrong)?;
        let request = written::<K>().replace_subresource("status", &name, &PostParams::default(), body);
        let answer = self.send::<K>(request, &name).await?;
        let now: PartialObjectMeta<K> = serde_json::from_str(&answer).map_err(wrong)?;
        Ok(now.resource_version())
    }

    /// Changes parts of an object by JSON merge patch. A `metadata.resourceVersion` in the patch
    /// makes it conditional.
    pub async fn merge<K>(&self, name: &str, patch: &serde_json::Value) -> Result<(), StoreError>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let request = written::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch));
        self.send::<K>(request, name).await.map(drop)
    }

    /// Asks for an object to be deleted if it still has that uid. An object with finalizers stays
    /// until they are gone. True if there was something to delete.
    pub async fn delete<K>(&self, name: &str, uid: Option<String>) -> Result<bool, StoreError>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        match self.send::<K>(written::<K>().delete(name, &params), name).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a write whose answer nobody reads in full: understanding a whole object costs as much as the rest.
    async fn send<K>(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        name: &str,
    ) -> Result<String, StoreError>
    where
        K: Resource<DynamicType = ()>,
    {
        let request = request.map_err(kube::Error::BuildRequest);
        let answer = async { self.client.request_text(request?).await };
        answer.await.map_err(|error| explained(error, K::kind(&()).as_ref(), name))
    }

    /// Handle on a cluster-scoped kind.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
    {
        Api::all(self.client.clone())
    }

    /// Handle on a namespaced kind.
    pub fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Requests about objects of a cluster-scoped kind.
fn written<K>() -> Request
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
{
    Request::new(K::url_path(&(), None))
}

/// Sorts a client's error by what the caller can do about it.
pub fn explained(error: kube::Error, kind: &str, name: &str) -> StoreError {
    let what = format!("{kind} {name}");
    match error {
        kube::Error::Api(status) => match (status.code, status.reason.as_str()) {
            (_, "AlreadyExists") => StoreError::Exists(what),
            (_, "Conflict") | (409, _) => StoreError::Conflict(what),
            (404, _) => StoreError::NotFound(what),
            (400 | 403 | 405 | 413 | 415 | 422, _) => StoreError::Invalid(status.message.clone()),
            _ => StoreError::Unavailable(Box::new(kube::Error::Api(status))),
        },
        kube::Error::SerdeError(error) => StoreError::Invalid(format!("{what} is not understood: {error}")),
        other => StoreError::Unavailable(Box::new(other)),
    }
}
