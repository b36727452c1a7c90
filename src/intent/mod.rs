//! What a client may ask for: the only way in for faces. An ask writes spec and waits on status;
//! it never picks a device and never runs a command.

pub mod class;
pub mod cluster;
pub mod device;
pub mod mode;
pub mod node;
pub mod placement_options;
pub mod volume;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde_json::json;

use crate::resources::{
    ACCEPTED, Condition, EVACUATE, FAILED, GlusterCluster, GlusterDevice, GlusterNode, GlusterVolume,
    HEAL_CHECK, ID_LABEL, OnRefusal, READY, State, condition, condition_is,
};
use crate::store::{Cache, Caches, Kind, Store, StoreError, Usage};
use crate::units::Id;

/// How long a face waits for the leader to decide an ask.
pub const DECISION_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a read-change-write is tried when somebody else writes the same object.
const WRITE_TRIES: usize = 10;

/// The store and what was last seen of every kind. Cheap to clone.
#[derive(Clone)]
pub struct Intent {
    /// Reads and writes as of now.
    pub store: Store,
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

/// An ask that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody decided in time: no leader is working. Nothing will come of the ask; ask again.
    #[error("nobody decided within {} s: no leader is working; try again", DECISION_TIMEOUT.as_secs())]
    Undecided,
    /// The object is in use.
    #[error("{0}")]
    InUse(String),
}

/// What the leader said to an ask.
#[derive(Debug, Clone)]
pub enum Decision<K> {
    /// It is being done.
    Accepted(Arc<K>),
    /// It will not be done; the object is gone already, this is its last state.
    Refused(Arc<K>),
}

/// How far an ask has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Still working.
    Running,
    /// Done.
    Done,
    /// It failed for good; what is left of it goes by itself. The text says why.
    Failed(String),
}

/// How far the making of an object has come, by its conditions.
pub fn progress(conditions: &[Condition]) -> Progress {
    // What is left of a failed ask may still be on its way out; its answer is certain already.
    if let Some(failed) = condition(conditions, FAILED) {
        return Progress::Failed(failed.message.clone());
    }
    if condition_is(conditions, READY) { Progress::Done } else { Progress::Running }
}

/// Whether clients see an object: not while it is made for somebody who forgets it when it fails,
/// not after that has failed, and not once it is on its way out.
pub fn visible<K: Resource>(object: &K, on_refusal: OnRefusal, conditions: &[Condition]) -> bool {
    let was_ready = condition(conditions, READY).is_some_and(|ready| ready.reason != "Creating");
    let hidden = on_refusal == OnRefusal::Forget && !was_ready;
    let failing = condition(conditions, FAILED).is_some();
    object.meta().deletion_timestamp.is_none() && !failing && !hidden
}

/// Whether an ask has failed for good. What is kept of it is there to be read, and uses nothing.
pub fn given_up(conditions: &[Condition]) -> bool {
    condition_is(conditions, FAILED)
}

/// Metadata of a new object: named, labelled with its id, and kept by our finalizer.
fn metadata(name: &str, id: Id, annotations: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some(BTreeMap::from([(ID_LABEL.into(), id.to_string())])),
        annotations: (!annotations.is_empty()).then_some(annotations),
        finalizers: Some(vec![crate::resources::FINALIZER.into()]),
        ..ObjectMeta::default()
    }
}

impl Intent {
    /// The asks of a store with its caches.
    pub fn new(store: Store, caches: Caches) -> Self {
        let Caches { clusters, nodes, devices, volumes, usage } = caches;
        Self { store, clusters, nodes, devices, volumes, usage }
    }

    /// The volumes with a brick on a device or node.
    pub fn volumes_on(&self, place: Id) -> Vec<Arc<GlusterVolume>> {
        let names = self.usage.now().volumes_on(place);
        names.iter().filter_map(|name| self.volumes.get(name)).collect()
    }

    /// Waits until the leader has decided about a new object: `decided` reads its conditions. What
    /// was refused, or not decided in time, is taken back.
    async fn decision<K>(
        &self,
        cache: &Cache<K>,
        made: K,
        decided: impl Fn(&K) -> Option<bool>,
    ) -> Result<Decision<K>, AskError>
    where
        K: Kind + Resource<Scope = kube::core::ClusterResourceScope>,
    {
        let (name, uid) = (made.name_any(), made.uid());
        let seen = cache
            .wait(&name, DECISION_TIMEOUT, |seen| {
                let seen = seen.filter(|seen| seen.meta().uid == uid)?;
                decided(seen).map(|accepted| (accepted, Arc::new(seen.clone())))
            })
            .await;
        match seen {
            Some((true, object)) => Ok(Decision::Accepted(object)),
            Some((false, object)) => {
                self.take_back::<K>(&name, uid).await?;
                Ok(Decision::Refused(object))
            }
            None => {
                self.take_back::<K>(&name, uid).await?;
                Err(AskError::Undecided)
            }
        }
    }

    /// Reads an object, changes it and writes it, again when somebody else wrote it meanwhile.
    async fn change<K>(&self, name: &str, change: impl Fn(&mut K)) -> Result<K, AskError>
    where
        K: Kind + Resource<Scope = kube::core::ClusterResourceScope>,
    {
        for _ in 0..WRITE_TRIES {
            let found = self.store.get::<K>(name).await?;
            let mut object = found.ok_or_else(|| StoreError::NotFound(name.to_owned()))?;
            change(&mut object);
            match self.store.replace(&object).await {
                Err(StoreError::Conflict(_)) => {}
                done => return Ok(done?),
            }
        }
        Err(StoreError::Conflict(name.to_owned()).into())
    }

    /// Asks for a node or device, named by its id, and waits for the leader to accept its names and paths.
    async fn create_named<K>(
        &self,
        cache: &Cache<K>,
        id: Id,
        mut object: K,
        conditions: fn(&K) -> &[Condition],
    ) -> Result<Decision<K>, AskError>
    where
        K: Kind + Resource<Scope = kube::core::ClusterResourceScope>,
    {
        *object.meta_mut() = metadata(&id.to_string(), id, BTreeMap::new());
        let made = self.store.create(&object).await?;
        let decided = |seen: &K| Some(condition(conditions(seen), ACCEPTED)?.status == "True");
        self.decision(cache, made, decided).await
    }

    /// Says what is wanted of a node or device, unless somebody has changed it since it was read (Conflict). With `ask`
    /// somebody waits for what comes of giving it up: it is offline again if that cannot be done. Without `heal_check`
    /// bricks are exchanged whatever is still to be healed.
    pub async fn set_state<K>(
        &self,
        read: &K,
        state: State,
        ask: Option<Id>,
        heal_check: bool,
    ) -> Result<(), AskError>
    where
        K: Kind + Resource<Scope = kube::core::ClusterResourceScope>,
    {
        let heal_check = (!heal_check).then_some("disable");
        let annotations = json!({EVACUATE: ask, HEAL_CHECK: heal_check});
        let metadata = json!({"resourceVersion": read.resource_version(), "annotations": annotations});
        let patch = json!({"metadata": metadata, "spec": {"state": state}});
        self.store.merge::<K>(&read.name_any(), &patch).await?;
        Ok(())
    }

    async fn take_back<K>(&self, name: &str, uid: Option<String>) -> Result<(), AskError>
    where
        K: Kind + Resource<Scope = kube::core::ClusterResourceScope>,
    {
        self.store.delete::<K>(name, uid).await.map(drop).map_err(AskError::from)
    }
}
