//! Nodes: taken into the trusted pool, watched, and let go. A pass looks at the node, decides with
//! what the others of its cluster say, does one thing, and reports.

mod decide;
mod restore;

use std::collections::HashMap;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use super::placing::{FOUNDER, transport_name};
use super::{Context, PassError, adopt, release};
use crate::executor::ops::{gluster, lvm, mount};
use crate::executor::{Batch, LOOK_DEADLINE, RunError, Step, Transport, TransportError, run};
use crate::resources::{
    ACCEPTED, FAILED, GlusterDevice, GlusterNode, GlusterNodeStatus, OnRefusal, REACHABLE, READY, condition,
    condition_is, id_of, set_condition,
};
use crate::store::Caches;
use decide::{Next, Seen, decide};

/// Nodes are woken by their own changes, and all nodes of a cluster when its spec changes. What a
/// cluster reports about them does not wake them.
pub fn wakes(caches: &Caches) -> impl Stream<Item = ObjectRef<GlusterNode>> + Send + use<> {
    let (nodes, clusters) = (caches.nodes.clone(), caches.clusters.clone());
    let mut seen = HashMap::new();
    let all = clusters.changes().stream().flat_map(move |cluster| {
        let generation = clusters.get_ref(&cluster).and_then(|cluster| cluster.metadata.generation);
        let news = seen.insert(cluster.name.clone(), generation) != Some(generation);
        let of = nodes.list().into_iter().filter(move |node| news && node.spec.cluster == cluster.name);
        stream::iter(of.map(|node| ObjectRef::from_obj(node.as_ref())).collect::<Vec<_>>())
    });
    stream::select(caches.nodes.changes().stream(), all)
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
    if !condition_is(node.conditions(), ACCEPTED) {
        context.placing.accept_node(node).await?;
        return Ok(Action::requeue(context.look_every));
    }
    let transport = context.transports.to(&*context.cluster(&node.spec.cluster)?, &node).await?;
    let seen = look(&context, transport.as_ref(), &node).await;
    match decide(&node, &seen) {
        Next::Join { through } => {
            let probe = gluster::peer_probe(node.spec.storage_host()).locked("gluster");
            let lock = context.gluster_lock(&node.spec.cluster);
            let _one_at_a_time = lock.lock().await;
            let refused = match run(transport.as_ref(), &through, &probe).await {
                Ok(_) => None,
                Err(error @ RunError::Refused { .. }) => {
                    let is_peer = is_peer(transport.as_ref(), &through, node.spec.storage_host()).await?;
                    (!is_peer).then(|| error.to_string())
                }
                Err(error @ RunError::Lost(TransportError::Unreached { .. })) => Some(error.to_string()),
                // It may be a member now. The next pass, which asks for the same again, tells.
                Err(error) => return Err(error.into()),
            };
            report(&context, &node, &seen, refused).await
        }
        Next::Restore => {
            restore::restore(&context, transport.as_ref(), &node, &seen.mounts).await?;
            report(&context, &node, &seen, None).await
        }
        Next::Report => report(&context, &node, &seen, None).await,
    }
}

/// Looks at a node and at the pool as a member sees it.
async fn look(context: &Context, transport: &dyn Transport, node: &GlusterNode) -> Seen {
    let host = node.spec.manage_host();
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
    seen.through = others.iter().find(joined).map(|other| other.spec.manage_host().to_owned());
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
    let cluster = context.cluster(&node.spec.cluster)?;
    let mut reported = node.clone();
    let generation = node.metadata.generation.unwrap_or_default();
    let now = Timestamp::now();
    let status = reported.status.get_or_insert_default();
    status.id = Some(id_of(node));
    status.observed_generation = generation;
    status.transport = Some(transport_name(&cluster.spec.transport).into());
    if let Some(pin) = context.transports.pin(&node.spec.cluster, node.spec.manage_host()) {
        status.host_key = Some(pin);
    }
    let problem = refused.or_else(|| seen.problem());
    describe(status, seen, problem.as_deref(), now, generation);
    let forget = node.spec.on_refusal == OnRefusal::Forget;
    let was_member = node.status.as_ref().is_some_and(|status| status.peer_uuid.is_some());
    if let Some(problem) = problem.as_deref().filter(|_| forget && !was_member && !seen.waits()) {
        set_condition(&mut status.conditions, now, generation, (FAILED, "True", "GivenUp"), problem);
    }
    if reported.status != node.status {
        context.store.replace_status(&reported).await?;
    }
    Ok(Action::requeue(if problem.is_some() { context.look_every.min(RETRY) } else { context.look_every }))
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
    match &seen.error {
        Some(error) if error.is_lost() => set((REACHABLE, "False", "NoAnswer"), &error.to_string()),
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
    if let Err(error) = context.store.replace_status(&reported).await {
        tracing::debug!(node = node.name_any(), %error, "somebody else has just written down how it is");
    }
}

/// The host of a member that can take a node out of the pool; none when the node is alone. The node
/// itself tells who its peers are: what the objects say may be older, when several nodes go at once.
async fn member_to_ask(context: &Context, transport: &dyn Transport, node: &GlusterNode) -> Option<String> {
    let id = id_of(node);
    let mut others = context.caches.nodes.list();
    others.retain(|other| other.spec.cluster == node.spec.cluster && id_of(other.as_ref()) != id);
    others.sort_by_cached_key(|other| {
        let going = other.metadata.deletion_timestamp.is_some();
        (going, !condition_is(other.conditions(), READY), id_of(other.as_ref()))
    });
    let look = gluster::pool_list().locked("gluster");
    let looked = run(transport, node.spec.manage_host(), &look).await.ok();
    let peers = looked.and_then(|outputs| gluster::parse_pool(outputs.first()?).ok());
    let Some(peers) = peers else {
        // It cannot be asked: then a member is, as far as the objects know one.
        let member = |other: &&Arc<GlusterNode>| {
            other.status.as_ref().is_some_and(|status| status.peer_uuid.is_some())
        };
        return others.iter().find(member).map(|other| other.spec.manage_host().to_owned());
    };
    let peers: Vec<&str> =
        peers.iter().map(|peer| peer.host.as_str()).filter(|host| *host != "localhost").collect();
    let known = |other: &&Arc<GlusterNode>| {
        other.spec.hostnames.storage.iter().any(|host| peers.contains(&host.as_str()))
    };
    let known = others.iter().find(known).map(|other| other.spec.manage_host().to_owned());
    known.or_else(|| peers.first().map(|host| (*host).to_owned()))
}

/// Lets a node go once nothing is on it: takes it out of the pool first.
async fn remove(context: &Context, node: &GlusterNode) -> Result<Action, PassError> {
    let name = node.name_any();
    // Live: a device that was just made may not have been seen yet, and would lose its way to the node.
    let devices: Vec<GlusterDevice> = context.store.list().await?;
    if let Some(device) = devices.iter().find(|device| device.spec.node == name) {
        let text = format!("its removal waits: device {} is still there, delete it first", device.name_any());
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
            let detach = gluster::peer_detach(node.spec.storage_host()).locked("gluster");
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
    set_condition(&mut status.conditions, Timestamp::now(), generation, (READY, "False", "Deleting"), text);
    if reported.status != node.status {
        context.store.replace_status(&reported).await?;
    }
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
