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
    context.caches.volumes.find(|volume| absent(volume, node, mounts).next().is_some()).is_some()
}

/// Mounts what is missing, then has GlusterFS start the brick processes again.
pub async fn restore(
    context: &Context,
    transport: &dyn Transport,
    node: &GlusterNode,
    mounts: &HashSet<String>,
) -> Result<(), PassError> {
    let host = node.spec.manage_host();
    let fstab = fstab(&*context.cluster(&node.spec.cluster)?);
    let volumes: Vec<Arc<GlusterVolume>> = context.caches.volumes.list();
    let mut batches = vec![];
    let mut names = BTreeSet::new();
    for volume in &volumes {
        for placed in absent(volume, node, mounts) {
            batches.push(brick::restore(placed.device, placed.id, &fstab));
            names.insert(volume.volume_name());
        }
    }
    tracing::info!(host, bricks = batches.len(), "bricks that are not mounted are brought back");
    for done in join_all(batches.iter().map(|batch| run(transport, host, batch))).await {
        done?;
    }
    let lock = context.gluster_lock(&node.spec.cluster);
    let _one_at_a_time = lock.lock().await;
    for name in names {
        run(transport, host, &gluster::restart_bricks(&name)).await?;
    }
    Ok(())
}

fn absent<'a>(
    volume: &'a GlusterVolume,
    node: &GlusterNode,
    mounts: &'a HashSet<String>,
) -> impl Iterator<Item = &'a PlacedBrick> {
    let id = id_of(node);
    let serves = condition_is(volume.conditions(), READY) && volume.metadata.deletion_timestamp.is_none();
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref()).filter(|_| serves);
    let bricks = placement.into_iter().flat_map(|placement| placement.active());
    bricks.filter(move |placed| placed.node == id && !mounts.contains(&mount_point(placed.device, placed.id)))
}
