//! Clusters: what their nodes, devices and volumes add up to, and whether objects and nodes agree.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::{Context, PassError, adopt, release};
use crate::placement::transport_name;
use crate::resources::{
    ClusterCapacity, ClusterCounts, FAILED, GlusterCluster, GlusterClusterStatus, GlusterNode, LargestVolume,
    READY, condition_is, id_of, set_condition,
};
use crate::store::{Action, Caches};

/// How soon a cluster with a problem is looked at again.
const RETRY: Duration = Duration::from_secs(5);
/// How often the largest volume is looked for at the most: it takes as long as placing some dozens, and each change of
/// a device is a pass. Numbers alone are not written more often, either: each write is a pass again, which while
/// volumes come finds other numbers.
const LARGEST_EVERY: Duration = Duration::from_secs(5);

/// The largest volumes that a cluster takes, and when that was found.
pub type Largest = (Instant, LargestVolume);

/// Clusters are woken by their own changes, by those of their nodes and devices, and by their first
/// and last volume. Other volumes do not wake them: they are counted at the next regular look.
pub fn wakes(caches: &Caches) -> impl Stream<Item = ObjectRef<GlusterCluster>> + Send + use<> {
    let nodes = caches.nodes.clone();
    let of_node = nodes.changes().stream().filter_map({
        let nodes = nodes.clone();
        move |node| {
            let cluster = nodes.get_ref(&node).map(|node| ObjectRef::new(&node.spec.cluster));
            futures::future::ready(cluster)
        }
    });
    let devices = caches.devices.clone();
    let of_device = devices.changes().stream().filter_map(move |device| {
        let node = devices.get_ref(&device).and_then(|device| nodes.get(&device.spec.node));
        futures::future::ready(node.map(|node| ObjectRef::new(&node.spec.cluster)))
    });
    let clusters = caches.clusters.clone();
    let of_volumes = caches.usage.wakes(move |usage| {
        let stale = |cluster: &&Arc<GlusterCluster>| {
            let counts = cluster.status.as_ref().and_then(|status| status.counts).unwrap_or_default();
            (counts.volumes > 0) != (usage.in_cluster(&cluster.name_any()).volumes > 0)
        };
        clusters.list().iter().filter(stale).map(|cluster| ObjectRef::from_obj(cluster.as_ref())).collect()
    });
    let own = stream::select(caches.clusters.changes().stream(), of_volumes);
    stream::select(own, stream::select(of_node, of_device))
}

/// One pass over a cluster.
pub async fn pass(cluster: Arc<GlusterCluster>, context: Arc<Context>) -> Result<Action, PassError> {
    let name = cluster.name_any();
    // What was given up is only kept to be read about.
    let counts = |node: &GlusterNode| node.spec.cluster == name && !condition_is(node.conditions(), FAILED);
    let nodes = context.caches.nodes.list().iter().filter(|node| counts(node)).count();
    let volumes = context.caches.usage.now().in_cluster(&name).volumes;
    if cluster.metadata.deletion_timestamp.is_some() {
        if nodes == 0 && volumes == 0 {
            context.largest.lock().remove(&name);
            return release(&context, cluster.as_ref()).await;
        }
        let text =
            format!("its removal waits: it has {nodes} nodes and {volumes} volumes, delete them first");
        return report(&context, &cluster, Some(("Deleting", text))).await;
    }
    if adopt(&context, cluster.as_ref()).await? {
        return Ok(Action::await_change());
    }
    let problem = context.transports.of(&cluster).await.err().map(|error| ("Transport", error.to_string()));
    report(&context, &cluster, problem).await
}

async fn report(
    context: &Context,
    cluster: &GlusterCluster,
    problem: Option<(&str, String)>,
) -> Result<Action, PassError> {
    let mut reported = cluster.clone();
    let (now, generation) = (Timestamp::now(), cluster.metadata.generation.unwrap_or_default());
    let status = reported.status.get_or_insert_default();
    status.id = Some(id_of(cluster));
    status.observed_generation = generation;
    status.transport = Some(transport_name(&cluster.spec.transport).into());
    let (counts, mut capacity, ready) = add_up(context, &cluster.name_any());
    let (largest, is_new) = largest_lately(context, &cluster.name_any()).await?;
    capacity.largest = largest;
    status.counts = Some(counts);
    status.capacity = Some(capacity);
    let conditions = &mut status.conditions;
    let again = if problem.is_some() { context.look_every.min(RETRY) } else { context.look_every };
    let again = if is_new { again } else { again.min(LARGEST_EVERY) };
    match problem {
        Some((reason, text)) => set_condition(conditions, now, generation, (READY, "False", reason), text),
        None if ready < counts.nodes => {
            let text = format!("{ready} of {} nodes are ready", counts.nodes);
            set_condition(conditions, now, generation, (READY, "False", "NodesNotReady"), text)
        }
        None => {
            set_condition(conditions, now, generation, (READY, "True", "NodesReady"), "all nodes are ready")
        }
    };
    let is_news = reported.status != cluster.status && (is_new || !differs_in_numbers(cluster, &reported));
    context.store.report(cluster, &reported, is_news).await?;
    Ok(Action::requeue(again))
}

/// Whether all that has changed is how many volumes there are and the space that they leave. The first volume and the
/// last one are more than that.
fn differs_in_numbers(before: &GlusterCluster, now: &GlusterCluster) -> bool {
    let (Some(before), Some(now)) = (&before.status, &now.status) else { return false };
    let with = |status: &GlusterClusterStatus| status.counts.is_some_and(|counts| counts.volumes > 0);
    let mut as_before = now.clone();
    if let (Some(capacity), Some(old)) = (&mut as_before.capacity, before.capacity) {
        (capacity.free, capacity.largest) = (old.free, old.largest);
    }
    if let (Some(counts), Some(old)) = (&mut as_before.counts, before.counts) {
        counts.volumes = old.volumes;
    }
    as_before == *before && with(before) == with(now)
}

fn add_up(context: &Context, cluster: &str) -> (ClusterCounts, ClusterCapacity, u32) {
    let mut counts = ClusterCounts::default();
    let mut capacity = ClusterCapacity::default();
    let mut ready = 0;
    let nodes = context.caches.nodes.list();
    let nodes: Vec<_> = nodes.iter().filter(|node| node.spec.cluster == cluster).collect();
    for node in &nodes {
        counts.nodes += 1;
        ready += u32::from(condition_is(node.conditions(), READY));
    }
    for device in context.caches.devices.list() {
        if nodes.iter().any(|node| node.name_any() == device.spec.node) {
            counts.devices += 1;
            let total = device.status.as_ref().and_then(|status| status.capacity).unwrap_or_default().total;
            capacity.total = capacity.total.plus(total);
        }
    }
    let share = context.caches.usage.now().in_cluster(cluster);
    counts.volumes = share.volumes;
    capacity.free = capacity.total.minus(share.taken);
    (counts, capacity, ready)
}

/// What fits, as it was found last if that is not long ago; and whether it was looked for now.
async fn largest_lately(context: &Context, cluster: &str) -> Result<(LargestVolume, bool), PassError> {
    let last = context.largest.lock().get(cluster).copied();
    if let Some((_, found)) = last.filter(|(at, _)| at.elapsed() < LARGEST_EVERY) {
        return Ok((found, false));
    }
    let found = context.placing.largest(cluster).await?;
    context.largest.lock().insert(cluster.to_owned(), (Instant::now(), found));
    Ok((found, true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(volumes: u32, free: &str, more: serde_json::Value) -> GlusterCluster {
        let mut status = json!({
            "counts": {"nodes": 1, "devices": 1, "volumes": volumes},
            "capacity": {"total": "10Gi", "free": free},
        });
        json_patch::merge(&mut status, &more);
        serde_json::from_value(json!({
            "apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterCluster", "metadata": {"name": "c"},
            "spec": {"transport": {"simulated": {}}}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn numbers_alone_can_wait_and_nothing_else_can() {
        let before = cluster(1, "9Gi", json!({}));
        assert!(differs_in_numbers(&before, &cluster(2, "8Gi", json!({}))));
        let more_space = json!({"capacity": {"total": "20Gi"}});
        for news in [
            cluster(0, "10Gi", json!({})),
            cluster(2, "8Gi", json!({"counts": {"devices": 2}})),
            cluster(2, "18Gi", more_space),
            cluster(2, "8Gi", json!({"transport": "SSH"})),
        ] {
            assert!(!differs_in_numbers(&before, &news), "{:?}", news.status);
        }
        assert!(!differs_in_numbers(&cluster(0, "10Gi", json!({})), &before), "the first volume");
    }
}
