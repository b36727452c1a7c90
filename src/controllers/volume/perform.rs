//! Acting on the nodes for a volume. Every batch looks before it acts, so all of this may run twice
//! and may be cut off anywhere.

use std::sync::Arc;

use futures::future::join_all;
use kube::ResourceExt;

use super::exchange;
use super::glusterfs::{self, MadeOf};
use super::reach::Reach;
use crate::controllers::node::suspect;
use crate::controllers::{Context, PassError};
use crate::executor::ops::{brick, gluster};
use crate::executor::{RunError, run};
use crate::resources::{
    GlusterDevice, GlusterNode, GlusterVolume, PlacedBrick, Placement, RebalancePhase, id_of,
};
use crate::units::Id;

/// What came of making a volume.
#[derive(Debug)]
pub enum Made {
    /// Everything is there and started.
    Ready {
        /// What auth.allow was set to, if it was.
        allow: Option<String>,
    },
    /// Devices refused their bricks, or their nodes could not be reached: they are to be left out.
    Unfit {
        /// The devices.
        devices: Vec<Id>,
        /// The first error.
        error: RunError,
    },
    /// GlusterFS refused the volume, or one of its nodes refused a brick that GlusterFS has already.
    Refused(RunError),
    /// Somebody else's volume has the name.
    NameTaken(String),
}

/// What came of an expansion.
#[derive(Debug)]
pub enum Grown {
    /// The bricks that were added serve the volume.
    Done,
    /// The bricks of the volume are as large as they were placed.
    Larger,
    /// A brick cannot be made larger now. What was made larger stays; the others are tried again.
    Stuck(RunError),
    /// Devices refused their bricks, or their nodes could not be reached: they are to be left out.
    Unfit {
        /// The devices.
        devices: Vec<Id>,
        /// The first error.
        error: RunError,
    },
    /// GlusterFS refused them, or a node refused a brick: none of them serves the volume.
    Refused(RunError),
    /// GlusterFS moves data of an earlier expansion, and adds no bricks meanwhile. That it had begun was not
    /// written down: somebody else wrote the volume at that moment.
    Moving,
    /// The expansion is not wanted any more, and none of its bricks serves the volume.
    Withdrawn,
}

/// What was seen of a rebalance, or why it was not begun.
#[derive(Debug)]
pub enum Moved {
    /// It was begun, or goes on already.
    Begun,
    /// GlusterFS refuses to begin it.
    Refused(String),
    /// It waits for nodes that are away: GlusterFS would leave their data where it is, and asking it while
    /// it waits for one of them takes minutes.
    Waits(String),
    /// How far it is.
    Seen(gluster::Rebalance),
}

/// What came of removing bricks.
#[derive(Debug, Default)]
pub struct Cleared {
    /// Bricks that were seen to be gone.
    pub gone: Vec<Id>,
    /// Bricks that are still there or may be.
    pub left: usize,
    /// The first error.
    pub error: Option<RunError>,
    /// Bricks that are kept, since those that took their places do not have all data yet.
    pub kept: Vec<Id>,
    /// Whether it was looked which bricks are to be kept.
    pub looked: bool,
}

impl Cleared {
    /// Whether nothing is left.
    pub fn complete(&self) -> bool {
        self.left == 0 && self.error.is_none() && self.kept.is_empty()
    }
}

/// Makes bricks on all nodes at once, then the volume out of them, then starts it.
pub async fn make(context: &Context, volume: &GlusterVolume) -> Result<Made, PassError> {
    let placement = placement_of(volume);
    let reach = Reach::of(context, &placement.cluster).await?;
    let bricks: Vec<&PlacedBrick> = placement.active().collect();
    let failed = make_bricks(context, &reach, volume, &bricks).await?;
    if let Some((_, error)) = failed.first()
        && glusterfs::what_is_made(&reach, volume, &placement).await?.is_none()
    {
        return Ok(Made::Unfit { devices: all_unfit(context, &failed), error: error.clone() });
    }
    // Once GlusterFS has the volume, its bricks were all made and stay. A node that is away gets
    // the rest from its peers when it is back.
    if let Some((_, error)) = failed.iter().find(|(_, error)| !error.is_lost()) {
        return Ok(Made::Refused(error.clone()));
    }
    let made = glusterfs::make_volume(context, &reach, volume, &placement).await?;
    if let Made::Ready { .. } = made {
        write_down(&reach, &bricks).await?;
    }
    Ok(made)
}

/// Makes the bricks of an expansion, then has GlusterFS add them to the volume. Bricks that serve it are
/// not touched, unless they are what grows.
pub async fn grow(context: &Context, volume: &GlusterVolume) -> Result<Grown, PassError> {
    let placement = placement_of(volume);
    let reach = Reach::of(context, &placement.cluster).await?;
    let growing: Vec<&PlacedBrick> = placement.growing().collect();
    if !growing.is_empty() {
        return enlarge(context, &reach, volume, &growing).await;
    }
    let added = async || {
        Ok::<_, RunError>(glusterfs::what_is_made(&reach, volume, &placement).await? == Some(MadeOf::All))
    };
    let withdrawn = placement.size.is_some_and(|size| volume.spec.size < size);
    if withdrawn {
        return Ok(if added().await? { Grown::Done } else { Grown::Withdrawn });
    }
    let bricks: Vec<&PlacedBrick> = placement.adding().collect();
    let failed = make_bricks(context, &reach, volume, &bricks).await?;
    if let Some((_, error)) = failed.first() {
        // Bricks that GlusterFS has were all made and stay.
        if added().await? {
            return Ok(Grown::Done);
        }
        return Ok(Grown::Unfit { devices: all_unfit(context, &failed), error: error.clone() });
    }
    let grown = glusterfs::add_bricks(context, &reach, volume, &placement).await?;
    if let Grown::Done = grown {
        write_down(&reach, &bricks).await?;
    }
    Ok(grown)
}

/// Makes bricks as large as they were placed, on all nodes at once. Done is when all of them are: a volume is as
/// large as its smallest brick lets it be.
async fn enlarge(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    bricks: &[&PlacedBrick],
) -> Result<Grown, PassError> {
    let enlarge = |placed: &PlacedBrick| {
        let (node, batch) = (placed.node, brick::grow(&wanted(volume, placed)));
        async move { run(reach.transport.as_ref(), reach.manage_host(node)?, &batch).await }
    };
    let enlarged = join_all(bricks.iter().map(|placed| enlarge(placed))).await;
    let failed = failed(context, reach, bricks, enlarged).await?;
    Ok(failed.into_iter().next().map_or(Grown::Larger, |(_, error)| Grown::Stuck(error)))
}

/// Has every node write down what GlusterFS has made of its bricks, before a client is told that they are
/// there. A node that has gone meanwhile cannot be asked.
pub async fn write_down(reach: &Reach, bricks: &[&PlacedBrick]) -> Result<(), PassError> {
    let write_down = |placed: &PlacedBrick| {
        let (node, batch) = (placed.node, brick::write_down(placed.device, placed.id));
        async move { run(reach.transport.as_ref(), reach.manage_host(node)?, &batch).await }
    };
    let written = join_all(bricks.iter().map(|placed| write_down(placed))).await;
    match written.into_iter().filter_map(Result::err).find(|error| !error.is_lost() || is_unknown(error)) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Begins the rebalance of a volume, or looks how far it is.
pub async fn rebalance(context: &Context, volume: &GlusterVolume) -> Result<Moved, PassError> {
    let placement = placement_of(volume);
    let reach = Reach::of(context, &placement.cluster).await?;
    if let Some((_, error)) = reach.away(&placement.wanted().collect::<Vec<_>>()).first() {
        return Ok(Moved::Waits(format!("it waits for a node: {error}")));
    }
    let phase = volume.status.as_ref().and_then(|status| status.rebalance.as_ref()).map(|seen| seen.phase);
    if phase == Some(RebalancePhase::Running) {
        return Ok(Moved::Seen(glusterfs::see_rebalance(&reach, volume, &placement).await?));
    }
    Ok(match glusterfs::start_rebalance(context, &reach, volume, &placement).await? {
        None => Moved::Begun,
        Some(refused) => Moved::Refused(refused),
    })
}

/// Sets auth.allow of a volume that is there.
pub async fn set_allowed(context: &Context, volume: &GlusterVolume, value: &str) -> Result<(), PassError> {
    let placement = placement_of(volume);
    let reach = Reach::of(context, &placement.cluster).await?;
    glusterfs::set_allowed(context, &reach, volume, &placement, value).await
}

/// Makes bricks on all nodes at once. Gives back those that could not be made, and why.
pub async fn make_bricks<'a>(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    bricks: &[&'a PlacedBrick],
) -> Result<Vec<(&'a PlacedBrick, RunError)>, PassError> {
    let made = join_all(bricks.iter().map(|placed| make_brick(reach, volume, placed))).await;
    let failed = failed(context, reach, bricks, made).await?;
    // A node that makes bricks and has no glusterd would keep GlusterFS from using them.
    Ok(if failed.is_empty() { reach.away(bricks) } else { failed })
}

/// The bricks about which something could not be done, and why; nodes that did not answer are suspected. An
/// outcome that is not known is an error: the same batch again, which waits for the first one on the node, tells.
async fn failed<'a, T>(
    context: &Context,
    reach: &Reach,
    bricks: &[&'a PlacedBrick],
    outcomes: Vec<Result<T, RunError>>,
) -> Result<Vec<(&'a PlacedBrick, RunError)>, PassError> {
    let failed: Vec<(&PlacedBrick, RunError)> =
        bricks.iter().zip(outcomes).filter_map(|(placed, made)| Some((*placed, made.err()?))).collect();
    if let Some((_, error)) = failed.iter().find(|(_, error)| is_unknown(error)) {
        return Err(error.clone().into());
    }
    for (placed, error) in failed.iter().filter(|(_, error)| error.is_lost()) {
        if let Some(node) = reach.node(placed.node) {
            suspect(context, node, error).await;
        }
    }
    Ok(failed)
}

/// The devices to leave out after these errors.
pub fn all_unfit(context: &Context, failed: &[(&PlacedBrick, RunError)]) -> Vec<Id> {
    failed.iter().flat_map(|(placed, error)| unfit(context, placed, error)).collect()
}

/// Removes the bricks that are on their way out.
pub async fn clear_retiring(context: &Context, volume: &GlusterVolume) -> Result<Cleared, PassError> {
    let placement = placement_of(volume);
    let reach = Reach::of(context, &placement.cluster).await?;
    if placement.active().next().is_some()
        && let Err(error) = glusterfs::refuse_in_use(&reach, volume, &placement).await
    {
        return Ok(Cleared { left: placement.retiring().count(), error: Some(error), ..Cleared::default() });
    }
    let (given_up, left): (Vec<&PlacedBrick>, Vec<_>) =
        placement.retiring().partition(|brick| exchange::is_given_up(context, brick));
    let kept = match exchange::kept(context, &reach, volume, &placement).await {
        Ok(kept) => kept,
        Err(error) => return Ok(Cleared { left: left.len(), error: Some(error), ..Cleared::default() }),
    };
    let goes = left.into_iter().filter(|brick| !kept.contains(&brick.id));
    let mut cleared = remove_bricks(&reach, goes).await;
    (cleared.kept, cleared.looked) = (kept, true);
    cleared.gone.extend(given_up.iter().map(|brick| brick.id));
    Ok(cleared)
}

/// The node of that id.
pub fn node_of(context: &Context, id: Id) -> Option<Arc<GlusterNode>> {
    let named = context.caches.nodes.get(&id.to_string()).filter(|node| id_of(node.as_ref()) == id);
    named.or_else(|| context.caches.nodes.find(|node| id_of(node) == id))
}

/// The device of that id.
pub fn device_of(context: &Context, id: Id) -> Option<Arc<GlusterDevice>> {
    // Those that REST has made are named by their ids.
    let named = context.caches.devices.get(&id.to_string()).filter(|device| id_of(device.as_ref()) == id);
    named.or_else(|| context.caches.devices.find(|device| id_of(device) == id))
}

/// Removes the gluster volume, then all bricks. Nothing of the bricks is touched before the volume
/// is gone.
pub async fn unmake(context: &Context, volume: &GlusterVolume) -> Result<Cleared, PassError> {
    let placement = placement_of(volume);
    if placement.bricks.is_empty() {
        return Ok(Cleared::default());
    }
    let reach = Reach::of(context, &placement.cluster).await?;
    if placement.active().next().is_some()
        && let Err(error) = glusterfs::remove_volume(context, &reach, volume, &placement).await
    {
        return Ok(Cleared { left: placement.bricks.len(), error: Some(error), ..Cleared::default() });
    }
    let given_up = |brick: &&PlacedBrick| exchange::is_given_up(context, brick);
    let (given_up, left): (Vec<&PlacedBrick>, Vec<_>) = placement.bricks.iter().partition(given_up);
    let mut cleared = remove_bricks(&reach, left.into_iter()).await;
    cleared.gone.extend(given_up.iter().map(|brick| brick.id));
    Ok(cleared)
}

async fn make_brick(reach: &Reach, volume: &GlusterVolume, placed: &PlacedBrick) -> Result<(), RunError> {
    let host = reach.manage_host(placed.node)?;
    run(reach.transport.as_ref(), host, &brick::create(&wanted(volume, placed), &reach.fstab)).await.map(drop)
}

fn wanted(volume: &GlusterVolume, placed: &PlacedBrick) -> brick::Brick {
    brick::Brick {
        id: placed.id,
        device: placed.device,
        volume: id_of(volume),
        arbiter: placed.arbiter,
        size: placed.size,
        pool_size: placed.pool_size,
        pool_metadata: placed.pool_metadata,
        gid: volume.spec.gid,
    }
}

/// Makes the directory of a brick anew, after GlusterFS has marked it for nothing.
pub async fn renew_brick(
    reach: &Reach,
    volume: &GlusterVolume,
    placed: &PlacedBrick,
) -> Result<(), RunError> {
    let host = reach.manage_host(placed.node)?;
    run(reach.transport.as_ref(), host, &brick::renew(&wanted(volume, placed))).await.map(drop)
}

async fn remove_bricks<'a>(reach: &Reach, bricks: impl Iterator<Item = &'a PlacedBrick>) -> Cleared {
    let remove = |placed: &'a PlacedBrick| async move {
        let host = reach.manage_host(placed.node)?;
        let batch = brick::remove(placed.device, placed.id, &reach.fstab);
        let outputs = run(reach.transport.as_ref(), host, &batch).await?;
        brick::seen_gone(host, &batch, &outputs)
    };
    let bricks: Vec<&PlacedBrick> = bricks.collect();
    let removed = join_all(bricks.iter().map(|placed| remove(placed))).await;
    let mut cleared = Cleared::default();
    for (placed, removed) in bricks.iter().zip(removed) {
        match removed {
            Ok(_) => cleared.gone.push(placed.id),
            Err(error) => {
                cleared.left += 1;
                cleared.error.get_or_insert(error);
            }
        }
    }
    cleared
}

/// The devices to leave out after an error: the one that refused, or all of a node that cannot be
/// reached.
fn unfit(context: &Context, placed: &PlacedBrick, error: &RunError) -> Vec<Id> {
    if !error.is_lost() {
        return vec![placed.device];
    }
    let node = node_of(context, placed.node);
    let name = node.map(|node| node.name_any()).unwrap_or_default();
    let devices = context.caches.devices.list();
    let of_node = devices.iter().filter(|device| device.spec.node == name);
    of_node.map(|device| id_of(device.as_ref())).chain([placed.device]).collect()
}

/// Where the bricks of a volume are.
pub fn placement_of(volume: &GlusterVolume) -> Placement {
    volume.status.as_ref().and_then(|status| status.placement.clone()).unwrap_or_default()
}

fn is_unknown(error: &RunError) -> bool {
    matches!(
        error,
        RunError::Lost(crate::executor::TransportError::Unknown { .. }) | RunError::Garbled { .. }
    )
}
