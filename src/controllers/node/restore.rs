//! Bringing a node's bricks back after it has restarted. The fstab does this by itself when all is
//! well; a crash can lose its last lines, or come before they were written.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::future::join_all;

use crate::controllers::transports::fstab;
use crate::controllers::{Context, PassError};
use crate::executor::ops::{brick, gluster};
use crate::executor::{Transport, run};
use crate::resources::{GlusterNode, GlusterVolume, PlacedBrick, READY, condition_is, id_of};
use crate::units::mount_point;

/// Whether a brick of a ready volume belongs on the node and is not mounted there.
pub fn missing(context: &Context, node: &GlusterNode, mounts: &HashSet<String>) -> bool {
    let usage = context.caches.usage.now();
    usage.serving_on(id_of(node)).any(|(device, brick)| !mounts.contains(&mount_point(device, brick)))
}

/// Mounts what is missing, then has GlusterFS start the brick processes of all volumes on the node
/// that do not run. One that fails does not keep the others back; the node counts as restarted until
/// all went well. Gives back what was done, for people.
pub async fn restore(
    context: &Context,
    transport: &dyn Transport,
    node: &GlusterNode,
    mounts: &HashSet<String>,
) -> Result<String, PassError> {
    let host = node.manage_host();
    let fstab = fstab(&*context.cluster(&node.spec.cluster)?);
    let here_are = context.caches.usage.now().volumes_on(id_of(node));
    let volumes: Vec<Arc<GlusterVolume>> =
        here_are.iter().filter_map(|name| context.caches.volumes.get(name)).collect();
    let mut batches = vec![];
    let mut names = BTreeSet::new();
    for volume in &volumes {
        let absent = absent(volume, node, mounts);
        batches.extend(absent.map(|placed| brick::restore(placed.device, placed.id, &fstab)));
        if here(volume, node).next().is_some() {
            names.insert(volume.volume_name());
        }
    }
    tracing::info!(host, bricks = batches.len(), volumes = names.len(), "a node's bricks are brought back");
    let mounted = join_all(batches.iter().map(|batch| run(transport, host, batch))).await;
    let mut failed = mounted.into_iter().find_map(Result::err);
    let lock = context.gluster_lock(&node.spec.cluster);
    for name in &names {
        let _one_at_a_time = lock.lock().await;
        if let Err(error) = run(transport, host, &gluster::restart_bricks(name)).await {
            failed.get_or_insert(error);
        }
    }
    let done = format!(
        "after a restart: {} bricks were mounted again, {} volumes on it were started again",
        batches.len(),
        names.len()
    );
    failed.map_or(Ok(done), |error| Err(error.into()))
}

/// The bricks of a ready volume that belong on the node.
fn here<'a>(
    volume: &'a GlusterVolume,
    node: &GlusterNode,
) -> impl Iterator<Item = &'a PlacedBrick> + use<'a> {
    let id = id_of(node);
    let serves = condition_is(volume.conditions(), READY) && volume.metadata.deletion_timestamp.is_none();
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref()).filter(|_| serves);
    placement.into_iter().flat_map(|placement| placement.active()).filter(move |placed| placed.node == id)
}

fn absent<'a>(
    volume: &'a GlusterVolume,
    node: &GlusterNode,
    mounts: &'a HashSet<String>,
) -> impl Iterator<Item = &'a PlacedBrick> {
    here(volume, node).filter(|placed| !mounts.contains(&mount_point(placed.device, placed.id)))
}
