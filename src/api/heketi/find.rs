//! Finding objects by their ids, as they are now or as they were seen; and waiting until lists show what was just written.

use std::sync::Arc;
use std::time::Duration;

use kube::core::ClusterResourceScope;
use kube::{Resource, ResourceExt};

use super::Face;
use super::answer::Refused;
use super::view::{sees_cluster, sees_device, sees_node, sees_volume};
use crate::resources::{GlusterCluster, GlusterDevice, GlusterNode, GlusterVolume, id_of};
use crate::store::{Cache, Kind};
use crate::units::Id;

/// How long an answer waits for the cache to have seen what was written for it. The cache feeds the
/// lists, and a client expects to see in them what it was told is done.
const SEEN_TIMEOUT: Duration = Duration::from_secs(2);

impl Face {
    /// The cluster with an id, if clients see it.
    pub(super) async fn cluster(&self, id: &str) -> Result<Option<GlusterCluster>, Refused> {
        let cache = &self.intent.clusters;
        let found = self.by_id(id, |id| other_name(cache, id)).await?;
        Ok(found.filter(sees_cluster))
    }

    /// The node with an id, if clients see it.
    pub(super) async fn node(&self, id: &str) -> Result<Option<GlusterNode>, Refused> {
        let cache = &self.intent.nodes;
        let found = self.by_id(id, |id| other_name(cache, id)).await?;
        Ok(found.filter(sees_node))
    }

    /// The device with an id, whether or not clients see it.
    pub(super) async fn any_device(&self, id: &str) -> Result<Option<GlusterDevice>, Refused> {
        self.by_id(id, |id| other_name(&self.intent.devices, id)).await
    }

    /// The device with an id, if clients see it.
    pub(super) async fn device(&self, id: &str) -> Result<Option<GlusterDevice>, Refused> {
        Ok(self.any_device(id).await?.filter(sees_device))
    }

    /// The volume with an id, whether or not clients see it.
    pub(super) async fn any_volume(&self, id: &str) -> Result<Option<GlusterVolume>, Refused> {
        self.by_id(id, |id| self.volumes.name_of(id)).await
    }

    /// The volume with an id as it was seen, if clients see it and it is understood.
    pub(super) fn seen_volume(&self, text: &str) -> Option<Arc<GlusterVolume>> {
        let id = text.parse::<Id>().ok().filter(|id| id.to_string() == text)?;
        let volumes = &self.intent.volumes;
        let found = volumes.get(text).or_else(|| volumes.get(&self.volumes.name_of(id)?));
        found.filter(|volume| {
            id_of(volume.as_ref()) == id && sees_volume(volume) && !volumes.is_unreadable(volume)
        })
    }

    /// The volume with an id, if clients see it.
    pub(super) async fn volume(&self, id: &str) -> Result<Option<GlusterVolume>, Refused> {
        Ok(self.any_volume(id).await?.filter(sees_volume))
    }

    /// The id of the cluster whose object has that name.
    pub(super) fn cluster_id(&self, name: &str) -> String {
        match self.intent.clusters.get(name) {
            Some(cluster) => id_of(cluster.as_ref()).to_string(),
            None => name.to_owned(),
        }
    }

    /// The storage hosts of the cluster whose object has that name, in ascending order of node ids.
    pub(super) fn hosts(&self, cluster: &str) -> Vec<String> {
        let mut nodes = self.intent.nodes.list();
        nodes.retain(|node| node.spec.cluster == cluster && sees_node(node));
        nodes.sort_unstable_by_key(|node| id_of(node.as_ref()));
        nodes.iter().map(|node| node.storage_host().to_owned()).collect()
    }

    /// What REST has made is named by its id; what somebody else has made is looked up.
    async fn by_id<K>(
        &self,
        text: &str,
        other_name: impl FnOnce(Id) -> Option<String>,
    ) -> Result<Option<K>, Refused>
    where
        K: Kind + Resource<Scope = ClusterResourceScope>,
    {
        // Ids are in lower case; the path may be in any.
        let Some(id) = text.parse::<Id>().ok().filter(|id| id.to_string() == text) else {
            return Ok(None);
        };
        let right = |object: &K| id_of(object) == id;
        if let Some(found) = self.intent.store.get::<K>(text).await?.filter(right) {
            return Ok(Some(found));
        }
        let Some(name) = other_name(id) else {
            return Ok(None);
        };
        Ok(self.intent.store.get::<K>(&name).await?.filter(right))
    }

    /// Waits a moment until the cache shows an object as it was written. When it does not in time, the
    /// answer is given all the same: what was written is written.
    pub(super) async fn seen<K: Kind>(
        &self,
        cache: &Cache<K>,
        name: &str,
        test: impl Fn(Option<&K>) -> bool,
    ) {
        let seen = cache.wait(name, SEEN_TIMEOUT, |object| test(object).then_some(()));
        if seen.await.is_none() {
            tracing::warn!(kind = %K::kind(&()), name, "a write has not come back by the watch yet");
        }
    }

    /// Waits a moment until the cache shows that an object is gone or on its way out.
    pub(super) async fn seen_going<K: Kind>(&self, cache: &Cache<K>, object: &K) {
        let uid = object.uid();
        let going = |seen: Option<&K>| {
            seen.is_none_or(|seen| seen.uid() != uid || seen.meta().deletion_timestamp.is_some())
        };
        self.seen(cache, &object.name_any(), going).await;
    }
}

fn other_name<K: Kind>(cache: &Cache<K>, id: Id) -> Option<String> {
    cache.find(|object| id_of(object) == id).map(|object| object.name_any())
}
