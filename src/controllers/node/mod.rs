//! Nodes: taken into the trusted pool, watched, and let go. A pass looks at the node, decides with
//! what the others of its cluster say, does one thing, and reports.

mod decide;
mod located;
mod restore;

use std::collections::HashMap;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::placing::FOUNDER;
use super::{Context, PassError, adopt, evacuation, release};
use crate::executor::ops::{gluster, lvm, mount};
use crate::executor::{Batch, LOOK_DEADLINE, RunError, Step, Transport, TransportError, run};
use crate::placement::transport_name;
use crate::resources::{
    ACCEPTED, FAILED, GlusterDevice, GlusterNode, GlusterNodeStatus, LOCATED, OnRefusal, REACHABLE, READY,
    condition, condition_is, id_of, set_condition,
};
use crate::store::{Action, Caches, Listed, News};
use decide::{Next, Seen, decide, member, twin};
use located::Missing;

/// Nodes are woken by their own changes, by their first and last brick, and all nodes of a cluster
/// when its spec changes. What a cluster reports about them does not wake them.
pub fn wakes(caches: &Caches) -> impl Stream<Item = ObjectRef<GlusterNode>> + Send + use<> {
    let (nodes, clusters) = (caches.nodes.clone(), caches.clusters.clone());
    let mut seen = HashMap::new();
    let all = clusters.changes().stream().flat_map(move |cluster| {
        let generation = clusters.get_ref(&cluster).and_then(|cluster| cluster.metadata.generation);
        let news = seen.insert(cluster.name.clone(), generation) != Some(generation);
        let of = nodes.list().into_iter().filter(move |node| news && node.spec.cluster == cluster.name);
        stream::iter(of.map(|node| ObjectRef::from_obj(node.as_ref())).collect::<Vec<_>>())
    });
    let nodes = caches.nodes.clone();
    let by_brick = caches.usage.wakes(move |usage| {
        let stale = |node: &&Arc<GlusterNode>| {
            let written = node.status.as_ref().and_then(|status| status.bricks).unwrap_or_default();
            (written > 0) != (usage.on_node(id_of(node.as_ref())) > 0)
        };
        nodes.list().iter().filter(stale).map(|node| ObjectRef::from_obj(node.as_ref())).collect()
    });
    let woken = stream::select(all, evacuation::node_wakes(caches));
    stream::select(stream::select(caches.nodes.changes().stream(), by_brick), woken)
}

/// One pass over a node.
pub async fn pass(node: Arc<GlusterNode>, context: Arc<Context>) -> Result<Action, PassError> {
    if node.metadata.deletion_timestamp.is_some() {
        return remove(&context, &node).await;
    }
    if condition_is(node.conditions(), FAILED) {
        return failed(&context, &node).await;
    }
    if adopt(&context, node.as_ref()).await? {
        return Ok(Action::await_change());
    }
    if evacuation::of_node(&context, &node).await? {
        return Ok(Action::await_change());
    }
    let located = match located::wanted(&node) {
        Some(wanted) => Some(located::find(&context, &wanted).await?),
        None => None,
    };
    if !condition_is(node.conditions(), ACCEPTED) || node.hostnames().is_empty() {
        let named = match located.map(|located| located?.into(&node)) {
            Some(Err(missing)) => return not_located(&context, &node, missing).await,
            Some(Ok(named)) => Arc::new(named),
            None => node,
        };
        context.placing.accept_node(named).await?;
        return Ok(Action::requeue(context.look_every.min(RETRY)));
    }
    let moved = located.map(|located| located.map_or_else(Some, |found| found.changed(&node)));
    let (transport, mut seen) = match way(&context, &node).await {
        Ok(transport) => {
            let seen = look(&context, transport.as_ref(), &node).await;
            (Some(transport), seen)
        }
        Err(PassError::Transport(text)) => (None, Seen { no_way: Some(text), ..Seen::default() }),
        Err(error) => return Err(error),
    };
    seen.moved = moved;
    let Some(transport) = transport else { return report(&context, &node, &seen, None).await };
    match decide(&node, &seen) {
        Next::Join { through } => {
            let probe = gluster::peer_probe(node.storage_host()).locked("gluster");
            let lock = context.gluster_lock(&node.spec.cluster);
            let _one_at_a_time = lock.lock().await;
            let refused = match run(transport.as_ref(), &through, &probe).await {
                Ok(_) => None,
                Err(error @ RunError::Refused { .. }) => {
                    let is_peer = is_peer(transport.as_ref(), &through, node.storage_host()).await?;
                    (!is_peer).then(|| error.to_string())
                }
                Err(error @ RunError::Lost(TransportError::Unreached { .. })) => Some(error.to_string()),
                // It may be a member now. The next pass, which asks for the same again, tells.
                Err(error) => return Err(error.into()),
            };
            report(&context, &node, &seen, refused).await
        }
        Next::Restore => {
            let restored = restore::restore(&context, transport.as_ref(), &node, &seen.mounts).await?;
            context.store.tell(node.as_ref(), News::normal("Restored", restored));
            report(&context, &node, &seen, None).await
        }
        Next::Report => report(&context, &node, &seen, None).await,
    }
}

/// The way to a node.
async fn way(context: &Context, node: &GlusterNode) -> Result<Arc<dyn Transport>, PassError> {
    context.transports.to(&*context.cluster(&node.spec.cluster)?, node).await
}

/// Writes down that the Kubernetes node of a node was not found. It is looked for again soon.
async fn not_located(context: &Context, node: &GlusterNode, missing: Missing) -> Result<Action, PassError> {
    let mut reported = node.clone();
    let (now, generation) = (Timestamp::now(), node.metadata.generation.unwrap_or_default());
    let Missing(reason, text) = missing;
    let status = reported.status.get_or_insert_default();
    status.id = Some(id_of(node));
    status.observed_generation = generation;
    set_condition(&mut status.conditions, now, generation, (LOCATED, "False", reason), text.clone());
    set_condition(&mut status.conditions, now, generation, (READY, "False", "Creating"), text);
    context.store.report(node, &reported, reported.status != node.status).await?;
    Ok(Action::requeue(context.look_every.min(RETRY)))
}

/// Looks at a node and at the pool as a member sees it.
async fn look(context: &Context, transport: &dyn Transport, node: &GlusterNode) -> Seen {
    let host = node.manage_host();
    let mut steps = gluster::pool_list().steps;
    steps.extend([mount::boot_id(), mount::list_mounts()].map(Step::always));
    let outputs = match run(transport, host, &Batch::new(steps, LOOK_DEADLINE)).await {
        Ok(outputs) => outputs,
        Err(error) => return Seen { error: Some(error), ..Seen::default() },
    };
    let peers = match gluster::parse_pool(&outputs[0]) {
        Ok(peers) => peers,
        Err(cause) => {
            let command = "gluster pool list".into();
            let error = RunError::Garbled { host: host.into(), command, cause };
            return Seen { error: Some(error), ..Seen::default() };
        }
    };
    let own = peers.iter().find(|peer| peer.host == "localhost").map(|peer| peer.uuid.clone());
    let mounts = mount::parse_mounts(&outputs[2]).into_iter().map(|(_, point)| point).collect();
    let mut seen = Seen {
        error: None,
        peer_uuid: own,
        has_peers: peers.len() > 1,
        boot_id: outputs[1].stdout.trim().to_owned(),
        missing: restore::missing(context, node, &mounts),
        mounts,
        ..Seen::default()
    };
    seen.twin = seen.peer_uuid.as_deref().and_then(|uuid| twin(node, uuid, &context.caches.nodes.list()));
    members(context, node, &mut seen);
    seen
}

/// Whether a member of the pool knows a host as another member, whatever it said to a probe.
async fn is_peer(transport: &dyn Transport, through: &str, host: &str) -> Result<bool, RunError> {
    let outputs = run(transport, through, &gluster::pool_list()).await?;
    let garbled =
        |cause| RunError::Garbled { host: through.into(), command: "gluster pool list".into(), cause };
    let peers = outputs.first().map_or(Ok(vec![]), gluster::parse_pool).map_err(garbled)?;
    Ok(peers.iter().any(|peer| peer.host == host))
}

/// Who else is in the pool, by what the objects say.
fn members(context: &Context, node: &GlusterNode, seen: &mut Seen) {
    let mut others = context.caches.nodes.list();
    others.retain(|other| other.spec.cluster == node.spec.cluster && other.uid() != node.uid());
    others.retain(|other| {
        condition_is(other.conditions(), ACCEPTED)
            && !condition_is(other.conditions(), FAILED)
            && other.metadata.deletion_timestamp.is_none()
    });
    others.sort_by_key(|other| (!condition_is(other.conditions(), READY), id_of(other.as_ref())));
    let joined =
        |other: &&Arc<GlusterNode>| other.status.as_ref().is_some_and(|status| status.peer_uuid.is_some());
    seen.through = others.iter().find(joined).map(|other| other.manage_host().to_owned());
    // When the founder is gone, the oldest of those that wait begins anew.
    let founder = |node: &GlusterNode| {
        condition(node.conditions(), ACCEPTED).is_some_and(|accepted| accepted.reason == FOUNDER)
    };
    let age = |node: &GlusterNode| (node.metadata.creation_timestamp.clone(), id_of(node));
    let has_founder = others.iter().any(|other| founder(other));
    let is_oldest = others.iter().all(|other| age(node) < age(other));
    seen.is_first = founder(node) || (!has_founder && is_oldest);
}

async fn report(
    context: &Context,
    node: &GlusterNode,
    seen: &Seen,
    refused: Option<String>,
) -> Result<Action, PassError> {
    let cluster = context.caches.clusters.get(&node.spec.cluster);
    let mut reported = node.clone();
    let generation = node.metadata.generation.unwrap_or_default();
    let now = Timestamp::now();
    let status = reported.status.get_or_insert_default();
    status.id = Some(id_of(node));
    status.observed_generation = generation;
    status.transport = cluster.map(|cluster| transport_name(&cluster.spec.transport).into());
    status.zone = Some(node.zone());
    status.hostnames = Some(node.hostnames().clone());
    count(context, node, status);
    if let Some(pin) = context.transports.pin(&node.spec.cluster, node.manage_host()) {
        status.host_key = Some(pin);
    }
    let problem = refused.or_else(|| seen.problem());
    describe(status, seen, problem.as_deref(), now, generation);
    let forget = node.spec.on_refusal == OnRefusal::Forget;
    let was_member = node.status.as_ref().is_some_and(|status| status.peer_uuid.is_some());
    if let Some(problem) = problem.as_deref().filter(|_| forget && !was_member && !seen.waits()) {
        set_condition(&mut status.conditions, now, generation, (FAILED, "True", "GivenUp"), problem);
    }
    context.store.report(node, &reported, reported.status != node.status).await?;
    Ok(Action::requeue(if problem.is_some() { context.look_every.min(RETRY) } else { context.look_every }))
}

/// Counts what is on a node.
fn count(context: &Context, node: &GlusterNode, status: &mut GlusterNodeStatus) {
    let name = node.name_any();
    let devices = context.caches.devices.list().iter().filter(|device| device.spec.node == name).count();
    status.devices = Some(u32::try_from(devices).unwrap_or(u32::MAX));
    status.bricks = Some(context.caches.usage.now().on_node(id_of(node)));
}

/// How soon a node with a problem is looked at again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(3);

fn describe(
    status: &mut GlusterNodeStatus,
    seen: &Seen,
    problem: Option<&str>,
    now: Timestamp,
    generation: i64,
) {
    let mut set = |condition, message: &str| {
        set_condition(&mut status.conditions, now, generation, condition, message);
    };
    match &seen.moved {
        Some(Some(Missing(reason, text))) => set((LOCATED, "False", reason), text),
        Some(None) => set((LOCATED, "True", "Found"), "its Kubernetes node was found"),
        None => {}
    }
    match (&seen.error, &seen.no_way) {
        (Some(error), _) if error.is_lost() => set((REACHABLE, "False", "NoAnswer"), &error.to_string()),
        (_, Some(text)) => set((REACHABLE, "Unknown", "NoTransport"), text),
        _ => set((REACHABLE, "True", "Answers"), "commands are answered"),
    }
    match problem {
        Some(problem) => set((READY, "False", seen.reason()), problem),
        None => set((READY, "True", "InPool"), "is a member of the trusted pool"),
    }
    if problem.is_none() {
        status.peer_uuid.clone_from(&seen.peer_uuid);
    }
    if !seen.boot_id.is_empty() {
        status.boot_id = Some(seen.boot_id.clone());
    }
}

/// Writes down that a node did not answer somebody else's command, so that nothing is placed on it.
/// This wakes the node: its own pass looks again.
pub(super) async fn suspect(context: &Context, node: &GlusterNode, error: &RunError) {
    let mut reported = node.clone();
    let (now, generation) = (Timestamp::now(), node.metadata.generation.unwrap_or_default());
    let conditions = &mut reported.status.get_or_insert_default().conditions;
    let text = error.to_string();
    set_condition(conditions, now, generation, (REACHABLE, "False", "NoAnswer"), text.clone());
    set_condition(conditions, now, generation, (READY, "False", "Unreachable"), text);
    if let Err(error) = context.store.report(node, &reported, true).await {
        tracing::debug!(node = node.name_any(), %error, "somebody else has just written down how it is");
    }
}

/// The host of a member that can take a node out of the pool; none when the node is alone. The node
/// itself tells who its peers are: what the objects say may be older, when several nodes go at once.
async fn member_to_ask(context: &Context, transport: &dyn Transport, node: &GlusterNode) -> Option<String> {
    let look = gluster::pool_list().locked("gluster");
    let looked = run(transport, node.manage_host(), &look)
        .await
        .inspect_err(
            |error| tracing::debug!(host = node.manage_host(), %error, "cannot be asked for its peers"),
        )
        .ok();
    let pool = looked.and_then(|outputs| gluster::parse_pool(outputs.first()?).ok());
    member(node, context.caches.nodes.list(), pool.as_deref())
}

/// Lets a node go once nothing is on it: takes it out of the pool first.
async fn remove(context: &Context, node: &GlusterNode) -> Result<Action, PassError> {
    let name = node.name_any();
    // Live: a device that was just made may not have been seen yet, and would lose its way to the node.
    let Listed { objects, unreadable } = context.store.list_all::<GlusterDevice>().await?;
    let device = objects.iter().find(|device| device.spec.node == name).map(|device| device.name_any());
    if let Some(device) = device {
        let text = format!("its removal waits: device {device} is still there, delete it first");
        return blocked(context, node, &text).await;
    }
    if let Some(device) = unreadable.first() {
        let text = format!("its removal waits: {device}; it may be a device of this node");
        return blocked(context, node, &text).await;
    }
    // It may have been taken in without anybody having seen it: only an ask that was never accepted,
    // or that has failed, is surely outside.
    let touched = condition_is(node.conditions(), ACCEPTED) && !condition_is(node.conditions(), FAILED);
    if touched && let Ok(cluster) = context.cluster(&node.spec.cluster) {
        let transport = context.transports.of(&cluster).await?;
        let lock = context.gluster_lock(&node.spec.cluster);
        let _one_at_a_time = lock.lock().await;
        if let Some(member) = member_to_ask(context, transport.as_ref(), node).await {
            let detach = gluster::peer_detach(node.storage_host()).locked("gluster");
            match run(transport.as_ref(), &member, &detach).await {
                Err(RunError::Refused { stderr, .. }) if stderr.contains("not part of cluster") => {}
                Err(error) => return blocked(context, node, &format!("its removal waits: {error}")).await,
                Ok(_) => {}
            }
        }
    }
    release(context, node).await
}

async fn blocked(context: &Context, node: &GlusterNode, text: &str) -> Result<Action, PassError> {
    let mut reported = node.clone();
    let generation = node.metadata.generation.unwrap_or_default();
    let status = reported.status.get_or_insert_default();
    count(context, node, status);
    set_condition(&mut status.conditions, Timestamp::now(), generation, (READY, "False", "Deleting"), text);
    let is_news = reported.status != node.status;
    if is_news {
        tracing::warn!(host = node.manage_host(), "{text}");
    }
    context.store.report(node, &reported, is_news).await?;
    Ok(Action::requeue(RETRY))
}

/// A failed ask can be read for a day.
async fn failed(context: &Context, node: &GlusterNode) -> Result<Action, PassError> {
    match super::kept(node.conditions(), Timestamp::now()) {
        Some(rest) => Ok(Action::requeue(rest)),
        None => {
            context.store.delete::<GlusterNode>(&node.name_any(), node.uid()).await?;
            Ok(Action::await_change())
        }
    }
}

/// The physical volumes and volume groups of a node.
pub(super) async fn look_at_groups(
    transport: &dyn Transport,
    host: &str,
) -> Result<(Vec<lvm::PhysicalVolume>, Vec<lvm::VolumeGroup>), RunError> {
    let batch = lvm::look_at_groups();
    let outputs = run(transport, host, &batch).await?;
    let garbled = |step: usize| {
        let command = batch.steps[step].run.shown();
        move |cause| RunError::Garbled { host: host.into(), command, cause }
    };
    Ok((lvm::parse_pvs(&outputs[0]).map_err(garbled(0))?, lvm::parse_vgs(&outputs[1]).map_err(garbled(1))?))
}
