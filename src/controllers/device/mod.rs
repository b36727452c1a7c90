//! Devices: prepared as volume groups, measured, and let go.

mod decide;

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::node::look_at_groups;
use super::{Context, PassError, adopt, evacuation, kept, release};
use crate::executor::ops::lvm;
use crate::executor::{Batch, LOOK_DEADLINE, LVM_DEADLINE, RunError, Step, Transport, run};
use crate::placement::transport_name;
use crate::resources::{
    ACCEPTED, DeviceCapacity, FAILED, GlusterDevice, GlusterNode, OnRefusal, READY, condition_is, id_of,
    is_forgotten, look_asked, set_condition,
};
use crate::store::{Action, Caches};
use crate::units::vg_name;
use decide::{Next, Seen, decide};

/// How soon a device with a problem is looked at again.
const RETRY: Duration = Duration::from_secs(5);

/// Devices are woken by their own changes, by those of their nodes when one of the two is ready and
/// the other is not, and by their first and last brick.
pub fn wakes(caches: &Caches) -> impl Stream<Item = ObjectRef<GlusterDevice>> + Send + use<> {
    let devices = caches.devices.clone();
    let nodes = caches.nodes.clone();
    let by_node = nodes.changes().stream().flat_map(move |node| {
        let is_ready = nodes.get_ref(&node).is_some_and(|node| condition_is(node.conditions(), READY));
        let of = devices.list().into_iter().filter(move |device| device.spec.node == node.name);
        let waits = of.filter(|device| {
            !condition_is(device.conditions(), ACCEPTED)
                || condition_is(device.conditions(), READY) != is_ready
        });
        stream::iter(waits.map(|device| ObjectRef::from_obj(device.as_ref())).collect::<Vec<_>>())
    });
    let devices = caches.devices.clone();
    let by_brick = caches.usage.wakes(move |usage| {
        let stale = |device: &&Arc<GlusterDevice>| {
            let written = device.status.as_ref().and_then(|status| status.bricks).unwrap_or_default();
            (written > 0) != (usage.on_device(id_of(device.as_ref())).bricks > 0)
        };
        devices.list().iter().filter(stale).map(|device| ObjectRef::from_obj(device.as_ref())).collect()
    });
    let woken = stream::select(by_node, evacuation::device_wakes(caches));
    stream::select(stream::select(caches.devices.changes().stream(), by_brick), woken)
}

/// One pass over a device.
pub async fn pass(device: Arc<GlusterDevice>, context: Arc<Context>) -> Result<Action, PassError> {
    if device.metadata.deletion_timestamp.is_some() {
        return remove(&context, &device).await;
    }
    if condition_is(device.conditions(), FAILED) {
        let Some(rest) = kept(device.conditions(), Timestamp::now()) else {
            context.store.delete::<GlusterDevice>(&device.name_any(), device.uid()).await?;
            return Ok(Action::await_change());
        };
        return Ok(Action::requeue(rest));
    }
    if adopt(&context, device.as_ref()).await? {
        return Ok(Action::await_change());
    }
    if !condition_is(device.conditions(), ACCEPTED) {
        context.placing.accept_device(device).await?;
        return Ok(Action::requeue(context.look_every.min(RETRY)));
    }
    if evacuation::of_device(&context, &device).await? {
        return Ok(Action::await_change());
    }
    let Some(node) = context.caches.nodes.get(&device.spec.node) else {
        let text = format!("there is no GlusterNode {:?} any more", device.spec.node);
        return report(&context, &device, &Found::Waits(text), "none").await;
    };
    let cluster = context.cluster(&node.spec.cluster)?;
    let way = transport_name(&cluster.spec.transport);
    if !condition_is(node.conditions(), READY) {
        let text = format!("node {} is not ready", node.name_any());
        return report(&context, &device, &Found::Waits(text), way).await;
    }
    let transport = context.transports.of(&cluster).await?;
    let found = match prepare(&context, transport.as_ref(), &node, &device).await {
        // Somebody waits for this look: that it could not be done is the answer. It is tried again all the same.
        Err(PassError::Node(error)) if look_waits(&device) => Found::Waits(error.to_string()),
        found => found?,
    };
    report(&context, &device, &found, way).await
}

/// Whether a look that somebody asked for has not come to its end.
fn look_waits(device: &GlusterDevice) -> bool {
    let looked = device.status.as_ref().and_then(|status| status.looked);
    look_asked(device).is_some_and(|asked| looked != Some(asked))
}

/// What a pass has found.
enum Found {
    /// The volume group is there and ours.
    Ready { pv_uuid: String, paths: Vec<String>, capacity: DeviceCapacity },
    /// It cannot be looked at yet.
    Waits(String),
    /// It was refused; trying again will not help by itself.
    Refused(String),
}

/// Looks, and makes the volume group if it is not there. Safe to repeat from any point.
async fn prepare(
    context: &Context,
    transport: &dyn Transport,
    node: &GlusterNode,
    device: &GlusterDevice,
) -> Result<Found, PassError> {
    let host = node.manage_host();
    let id = id_of(device);
    let seen = look(context, transport, host, device).await?;
    match decide(id, device.spec.wipe, &seen) {
        Next::Measure => {
            let row = seen.group.ok_or_else(|| PassError::Transport("a volume group went away".into()))?;
            let capacity = DeviceCapacity { total: row.size, free: row.free, extent: row.extent };
            Ok(Found::Ready { pv_uuid: seen.pv_uuid.unwrap_or_default(), paths: seen.paths, capacity })
        }
        Next::Refuse(text) => Ok(Found::Refused(text)),
        Next::Make { wipe, pv } => {
            let path = &device.spec.path;
            let wipe = wipe.then(|| lvm::wipe_disk(path));
            let pv = pv.then(|| lvm::create_pv(path));
            let steps = wipe.into_iter().chain(pv).chain([lvm::create_vg(id, path)]).map(Step::always);
            let batch = Batch::new(steps, LVM_DEADLINE).locked(format!("device-{id}"));
            match run(transport, host, &batch).await {
                Ok(_) => {
                    let seen = look(context, transport, host, device).await?;
                    let Some(row) = seen.group else {
                        return Ok(Found::Waits("its volume group was made and is not seen yet".into()));
                    };
                    let capacity = DeviceCapacity { total: row.size, free: row.free, extent: row.extent };
                    Ok(Found::Ready {
                        pv_uuid: seen.pv_uuid.unwrap_or_default(),
                        paths: seen.paths,
                        capacity,
                    })
                }
                Err(error @ RunError::Refused { .. }) => {
                    if device.spec.on_refusal == OnRefusal::Forget {
                        clear(context, transport, host, device).await?;
                    }
                    Ok(Found::Refused(error.to_string()))
                }
                Err(error) => Err(error.into()),
            }
        }
    }
}

async fn look(
    context: &Context,
    transport: &dyn Transport,
    host: &str,
    device: &GlusterDevice,
) -> Result<Seen, PassError> {
    let (path, vg) = (&device.spec.path, vg_name(id_of(device)));
    let (pvs, vgs) = look_at_groups(transport, host).await?;
    let group = vgs.into_iter().find(|group| group.name == vg);
    let own = pvs.iter().find(|pv| pv.vg_name == vg);
    if let (Some(group), Some(own)) = (&group, own) {
        let links = transport.run(host, &Batch::one(lvm::disk_links(&own.pv_name), LOOK_DEADLINE)).await;
        let mut paths = vec![own.pv_name.clone()];
        if let Ok(reply) = links
            && let Some(output) = reply.outputs.first().filter(|output| output.ok())
        {
            paths.extend(lvm::parse_links(output));
        }
        return Ok(Seen {
            group: Some(group.clone()),
            pv_uuid: Some(own.pv_uuid.clone()),
            paths,
            ..Seen::default()
        });
    }
    // LVM knows a disk by one name and the user may have given another: ask it about the user's.
    if let Some(pv) = pv_at(transport, host, path).await? {
        let owner = owner_of(context, device, &pv.pv_uuid).map(|other| other.name_any());
        return Ok(Seen { group, foreign_pv: Some(pv), owner, ..Seen::default() });
    }
    let probe = transport
        .run(host, &Batch::one(lvm::probe_disk(path), LOOK_DEADLINE))
        .await
        .map_err(RunError::from)?;
    let content = probe.outputs.first().filter(|output| output.ok()).and_then(lvm::parse_probe);
    Ok(Seen { group, content, ..Seen::default() })
}

async fn report(
    context: &Context,
    device: &GlusterDevice,
    found: &Found,
    transport: &str,
) -> Result<Action, PassError> {
    let mut reported = device.clone();
    let (now, generation) = (Timestamp::now(), device.metadata.generation.unwrap_or_default());
    let was_ready = device.status.as_ref().is_some_and(|status| status.pv_uuid.is_some());
    let status = reported.status.get_or_insert_default();
    status.id = Some(id_of(device));
    status.observed_generation = generation;
    status.transport = Some(transport.into());
    status.looked = look_asked(device).or(status.looked);
    status.bricks = Some(context.caches.usage.now().on_device(id_of(device)).bricks);
    let mut again = RETRY;
    match found {
        Found::Ready { pv_uuid, paths, capacity } => {
            status.pv_uuid = Some(pv_uuid.clone());
            status.paths.clone_from(paths);
            status.capacity = Some(*capacity);
            let text = "takes bricks";
            set_condition(&mut status.conditions, now, generation, (READY, "True", "Prepared"), text);
            again = context.look_every;
        }
        Found::Waits(text) => {
            let reason = if was_ready { "NodeNotReady" } else { "Creating" };
            set_condition(&mut status.conditions, now, generation, (READY, "False", reason), text.clone());
        }
        Found::Refused(text) => {
            let reason = if was_ready { "Broken" } else { "Creating" };
            set_condition(&mut status.conditions, now, generation, (READY, "False", reason), text.clone());
            if device.spec.on_refusal == OnRefusal::Forget && !was_ready {
                set_condition(
                    &mut status.conditions,
                    now,
                    generation,
                    (FAILED, "True", "GivenUp"),
                    text.clone(),
                );
            }
        }
    }
    context.store.report(device, &reported, reported.status != device.status).await?;
    Ok(Action::requeue(again))
}

/// Lets a device go once no brick is on it: removes its volume group first.
async fn remove(context: &Context, device: &GlusterDevice) -> Result<Action, PassError> {
    if let Some(text) = in_use(context, device) {
        return blocked(context, device, text).await;
    }
    // Preparing it may have begun even if nothing was reported: only an ask that was never accepted
    // has surely left nothing, and one that has failed was cleared then.
    let failed = condition_is(device.conditions(), FAILED);
    let touched = condition_is(device.conditions(), ACCEPTED) && !failed;
    if touched
        && !is_forgotten(device)
        && let Some(node) = context.caches.nodes.get(&device.spec.node)
    {
        let transport = context.transports.of(&*context.cluster(&node.spec.cluster)?).await?;
        let cleared = clear(context, transport.as_ref(), node.manage_host(), device);
        if let Err(error) = cleared.await {
            return blocked(context, device, format!("its removal waits: {error}")).await;
        }
    }
    release(context, device).await
}

/// Removes the volume group of a device and the mark on its disk. The path may have changed since
/// it was prepared: LVM tells which disk it is.
async fn clear(
    context: &Context,
    transport: &dyn Transport,
    host: &str,
    device: &GlusterDevice,
) -> Result<(), RunError> {
    let id = id_of(device);
    let (pvs, _) = look_at_groups(transport, host).await?;
    let known = device.status.as_ref().and_then(|status| status.pv_uuid.as_ref());
    let in_group = pvs.iter().find(|pv| pv.vg_name == vg_name(id));
    // A try that was cut off has removed the group, or has not made it yet: the disk is marked still.
    let bare = pvs.iter().find(|pv| pv.vg_name.is_empty() && Some(&pv.pv_uuid) == known).cloned();
    let own = match in_group.cloned().or(bare) {
        Some(own) => own,
        None if known.is_some() => return Ok(()),
        None => match bare_pv_at(context, transport, host, device).await? {
            Some(found) => found,
            None => return Ok(()),
        },
    };
    let batch = lvm::remove_device(id, &own.pv_name).locked(format!("device-{id}"));
    run(transport, host, &batch).await.map(drop)
}

/// The physical volume on the path of a device if it is in no group and no other device's.
async fn bare_pv_at(
    context: &Context,
    transport: &dyn Transport,
    host: &str,
    device: &GlusterDevice,
) -> Result<Option<lvm::PhysicalVolume>, RunError> {
    let Some(found) = pv_at(transport, host, &device.spec.path).await? else { return Ok(None) };
    let bare = found.vg_name.is_empty() && owner_of(context, device, &found.pv_uuid).is_none();
    Ok(bare.then_some(found))
}

/// The physical volume on a disk, by whatever name the disk is given.
async fn pv_at(
    transport: &dyn Transport,
    host: &str,
    path: &str,
) -> Result<Option<lvm::PhysicalVolume>, RunError> {
    let reply = transport.run(host, &Batch::one(lvm::pv_of(path), LOOK_DEADLINE)).await?;
    let rows = reply.outputs.first().filter(|output| output.ok()).map(lvm::parse_pvs);
    Ok(rows.and_then(Result::ok).and_then(|rows| rows.into_iter().next()))
}

/// The other device that has a physical volume.
fn owner_of(context: &Context, device: &GlusterDevice, pv_uuid: &str) -> Option<Arc<GlusterDevice>> {
    context.caches.devices.find(|other| {
        other.status.as_ref().and_then(|status| status.pv_uuid.as_deref()) == Some(pv_uuid)
            && id_of(other) != id_of(device)
    })
}

async fn blocked(context: &Context, device: &GlusterDevice, text: String) -> Result<Action, PassError> {
    let mut reported = device.clone();
    let generation = device.metadata.generation.unwrap_or_default();
    let status = reported.status.get_or_insert_default();
    status.bricks = Some(context.caches.usage.now().on_device(id_of(device)).bricks);
    let condition = (READY, "False", "Deleting");
    set_condition(&mut status.conditions, Timestamp::now(), generation, condition, text.clone());
    let is_news = reported.status != device.status;
    if is_news {
        tracing::warn!(node = device.spec.node, path = device.spec.path, "{text}");
    }
    context.store.report(device, &reported, is_news).await?;
    Ok(Action::requeue(RETRY))
}

/// Why a device cannot go yet: bricks are on it, or a volume may have some that nobody can read.
fn in_use(context: &Context, device: &GlusterDevice) -> Option<String> {
    let id = id_of(device);
    let mut names = context.caches.usage.now().volumes_on(id);
    // It is always the same one that is named.
    names.sort_unstable();
    match names.as_slice() {
        [] => {}
        [name] => {
            return Some(format!("its removal waits: volume {name} has a brick on it, delete it first"));
        }
        [first, ..] => {
            let count = names.len();
            return Some(format!(
                "its removal waits: {count} volumes such as {first} have bricks on it, delete them first"
            ));
        }
    }
    let unreadable = context.caches.volumes.unreadable();
    let unreadable = unreadable.borrow();
    let volume = unreadable.values().next()?;
    Some(format!(
        "its removal waits: volume {} is not understood and may have bricks on it: mend it first",
        volume.name
    ))
}
