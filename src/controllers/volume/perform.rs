//! Acting on the nodes for a volume. Every batch looks before it acts, so all of this may run twice
//! and may be cut off anywhere.

use std::sync::Arc;

use futures::future::join_all;
use kube::ResourceExt;

use crate::controllers::node::suspect;
use crate::controllers::{Context, PassError};
use crate::executor::ops::{brick, gluster};
use crate::executor::{Batch, GLUSTER_DEADLINE, RunError, Step, Transport, run};
use crate::resources::{
    GlusterNode, GlusterVolume, PlacedBrick, Placement, REACHABLE, READY, condition, condition_is, id_of,
};
use crate::units::Id;

/// What came of making a volume.
#[derive(Debug)]
pub enum Made {
    /// Everything is there and started.
    Ready,
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

/// What came of removing bricks.
#[derive(Debug, Default)]
pub struct Cleared {
    /// Bricks that were seen to be gone.
    pub gone: Vec<Id>,
    /// Bricks that are still there or may be.
    pub left: usize,
    /// The first error.
    pub error: Option<RunError>,
}

impl Cleared {
    /// Whether nothing is left.
    pub fn complete(&self) -> bool {
        self.left == 0 && self.error.is_none()
    }
}

/// Makes bricks on all nodes at once, then the volume out of them, then starts it.
pub async fn make(context: &Context, volume: &GlusterVolume) -> Result<Made, PassError> {
    let placement = placement_of(volume);
    let reach = Reach::of(context, &placement.cluster).await?;
    let bricks: Vec<&PlacedBrick> = placement.active().collect();
    let made = join_all(bricks.iter().map(|placed| make_brick(&reach, volume, placed))).await;
    let failed: Vec<(&PlacedBrick, RunError)> =
        bricks.iter().zip(made).filter_map(|(placed, made)| Some((*placed, made.err()?))).collect();
    if let Some((_, error)) = failed.iter().find(|(_, error)| is_unknown(error)) {
        // It may have run. The same batch again, which waits for the first one on the node, tells.
        return Err(error.clone().into());
    }
    for (placed, error) in failed.iter().filter(|(_, error)| error.is_lost()) {
        if let Some(node) = reach.nodes.iter().find(|node| id_of(node.as_ref()) == placed.node) {
            suspect(context, node, error).await;
        }
    }
    if let Some((_, error)) = failed.first()
        && !has_gluster_volume(&reach, volume, &placement).await?
    {
        let devices = failed.iter().flat_map(|(placed, error)| unfit(context, placed, error)).collect();
        return Ok(Made::Unfit { devices, error: error.clone() });
    }
    // Once GlusterFS has the volume, its bricks were all made and stay. A node that is away gets
    // the rest from its peers when it is back.
    if let Some((_, error)) = failed.iter().find(|(_, error)| !error.is_lost()) {
        return Ok(Made::Refused(error.clone()));
    }
    make_gluster_volume(context, &reach, volume, &placement).await
}

/// Removes the bricks that are on their way out.
pub async fn clear_retiring(context: &Context, volume: &GlusterVolume) -> Result<Cleared, PassError> {
    let placement = placement_of(volume);
    let reach = Reach::of(context, &placement.cluster).await?;
    Ok(remove_bricks(&reach, placement.retiring()).await)
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
        && let Err(error) = remove_gluster_volume(context, &reach, volume, &placement).await
    {
        return Ok(Cleared { left: placement.bricks.len(), error: Some(error), ..Cleared::default() });
    }
    Ok(remove_bricks(&reach, placement.bricks.iter()).await)
}

/// The way to the nodes of one cluster.
struct Reach {
    transport: Arc<dyn Transport>,
    fstab: String,
    nodes: Vec<Arc<GlusterNode>>,
}

impl Reach {
    async fn of(context: &Context, cluster: &str) -> Result<Self, PassError> {
        let found = context.cluster(cluster)?;
        let transport = context.transports.of(&found).await?;
        let mut nodes = context.caches.nodes.list();
        nodes.retain(|node| node.spec.cluster == cluster);
        nodes.sort_by_cached_key(|node| id_of(node.as_ref()));
        let fstab = crate::controllers::transports::fstab(&found);
        Ok(Self { transport, fstab, nodes })
    }

    /// Where commands for a node go. A node without an object cannot be reached any more.
    fn manage_host(&self, node: Id) -> Result<&str, RunError> {
        let found = self.nodes.iter().find(|found| id_of(found.as_ref()) == node);
        found.map(|node| node.spec.manage_host()).ok_or_else(|| {
            let cause = "there is no GlusterNode with this id any more".into();
            RunError::Lost(crate::executor::TransportError::Unreached { host: node.to_string(), cause })
        })
    }

    /// GlusterFS refuses some things while any member is away, and does not say which one it is.
    fn explain(&self, error: RunError) -> RunError {
        let away = |node: &&Arc<GlusterNode>| {
            condition(node.conditions(), REACHABLE).is_some_and(|reachable| reachable.status == "False")
        };
        let away: Vec<&str> = self.nodes.iter().filter(away).map(|node| node.spec.manage_host()).collect();
        match error {
            RunError::Refused { host, command, exit, stderr } if !away.is_empty() => {
                let stderr = format!("{stderr} (not reachable: {})", away.join(", "));
                RunError::Refused { host, command, exit, stderr }
            }
            other => other,
        }
    }

    /// The hosts to ask for gluster commands: members of the pool, those with bricks of the volume
    /// first.
    fn gluster_hosts(&self, placement: &Placement) -> Vec<&str> {
        let has_brick = |node: &GlusterNode| placement.active().any(|placed| placed.node == id_of(node));
        let mut members: Vec<&Arc<GlusterNode>> =
            self.nodes.iter().filter(|node| condition_is(node.conditions(), READY)).collect();
        if members.is_empty() {
            members = self.nodes.iter().collect();
        }
        members.sort_by_cached_key(|node| !has_brick(node));
        members.into_iter().map(|node| node.spec.manage_host()).collect()
    }
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
        size: placed.size,
        pool_size: placed.pool_size,
        pool_metadata: placed.pool_metadata,
        gid: volume.spec.gid,
    }
}

async fn renew_brick(reach: &Reach, volume: &GlusterVolume, placed: &PlacedBrick) -> Result<(), RunError> {
    let host = reach.manage_host(placed.node)?;
    run(reach.transport.as_ref(), host, &brick::renew(&wanted(volume, placed))).await.map(drop)
}

async fn make_gluster_volume(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<Made, PassError> {
    let lock = context.gluster_lock(&placement.cluster);
    let _one_at_a_time = lock.lock().await;
    let hosts = reach.gluster_hosts(placement);
    let name = volume.volume_name();
    let (host, seen) = look(reach, &hosts, &name).await?;
    let bricks: Vec<String> = placement.active().map(PlacedBrick::address).collect();
    if let Some(seen) = &seen
        && seen.bricks != bricks
    {
        return Ok(Made::NameTaken(format!("GlusterFS has a volume {name:?} already, made of other bricks")));
    }
    let mut steps = vec![];
    if seen.is_none() {
        let new =
            gluster::NewVolume { name: name.clone(), replicas: volume.spec.durability.set_size(), bricks };
        steps.push(gluster::create_volume(&new));
    }
    steps.extend(option_commands(volume, &name));
    if !seen.is_some_and(|seen| seen.started) {
        steps.push(gluster::start_volume(&name));
    }
    let batch = Batch::new(steps.into_iter().map(Step::always), GLUSTER_DEADLINE).locked("gluster");
    match run(reach.transport.as_ref(), &host, &batch).await {
        Ok(_) => Ok(Made::Ready),
        // glusterd has marked the bricks for a create that it then did not do: they are empty still.
        Err(error) if is_marked(&error) => {
            let renewed = join_all(placement.active().map(|placed| renew_brick(reach, volume, placed))).await;
            renewed.into_iter().collect::<Result<Vec<()>, RunError>>()?;
            Err(error.into())
        }
        Err(error @ RunError::Refused { .. }) if !is_busy(&error) => Ok(Made::Refused(error)),
        Err(error) => Err(error.into()),
    }
}

async fn remove_gluster_volume(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<(), RunError> {
    let lock = context.gluster_lock(&placement.cluster);
    let _one_at_a_time = lock.lock().await;
    let name = volume.volume_name();
    let (host, seen) = look(reach, &reach.gluster_hosts(placement), &name).await?;
    let bricks: Vec<String> = placement.active().map(PlacedBrick::address).collect();
    // A volume of the name that is made of other bricks is somebody else's, and stays.
    let Some(ours) = seen.filter(|seen| seen.bricks == bricks) else { return Ok(()) };
    let batch = gluster::delete_volume(&name, ours.started).locked("gluster");
    run(reach.transport.as_ref(), &host, &batch).await.map(drop).map_err(|error| reach.explain(error))
}

/// Whether GlusterFS has the volume, made of the bricks that were placed. Under the lock of gluster
/// commands: one that a process before this one has sent may be about to make it.
async fn has_gluster_volume(
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<bool, RunError> {
    let hosts = reach.gluster_hosts(placement);
    let look_locked = gluster::volume_info(&volume.volume_name()).locked("gluster");
    let (_, seen) = ask(reach, &hosts, &volume.volume_name(), &look_locked).await?;
    let bricks: Vec<String> = placement.active().map(PlacedBrick::address).collect();
    Ok(seen.is_some_and(|seen| seen.bricks == bricks))
}

/// The volume of that name as GlusterFS knows it, and the host that said so.
async fn look(
    reach: &Reach,
    hosts: &[&str],
    name: &str,
) -> Result<(String, Option<gluster::Volume>), RunError> {
    ask(reach, hosts, name, &gluster::volume_info(name)).await
}

async fn ask(
    reach: &Reach,
    hosts: &[&str],
    name: &str,
    batch: &Batch,
) -> Result<(String, Option<gluster::Volume>), RunError> {
    let mut last = None;
    for host in hosts {
        let reply = match reach.transport.run(host, batch).await {
            Ok(reply) => reply,
            Err(error) => {
                last = Some(error.into());
                continue;
            }
        };
        let output = reply.outputs.into_iter().next().unwrap_or_default();
        // Without an answer in XML the command itself failed, such as when glusterd is not running.
        match gluster::parse_volumes(&output) {
            Ok(volumes) => {
                let found = volumes.into_iter().find(|volume| volume.name == name);
                return Ok(((*host).to_owned(), found));
            }
            Err(cause) => {
                let command = batch.steps[0].run.shown();
                let stderr = if output.ok() { cause } else { output.stderr.trim().to_owned() };
                last = Some(RunError::Refused { host: (*host).into(), command, exit: output.exit, stderr });
            }
        }
    }
    Err(last.unwrap_or_else(|| {
        let cause = "the cluster has no node that could be asked".into();
        RunError::Lost(crate::executor::TransportError::Unreached { host: "any node".into(), cause })
    }))
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

/// The commands that set the options asked for and our marks: all in one, but for option groups,
/// which GlusterFS takes only by themselves.
fn option_commands(volume: &GlusterVolume, name: &str) -> Vec<crate::executor::Argv> {
    let asked = volume.spec.options.iter().filter_map(|option| {
        let (key, value) = option.trim().split_once(char::is_whitespace)?;
        Some((key.to_owned(), value.trim().to_owned()))
    });
    let (groups, mut single): (Vec<_>, Vec<_>) = asked.partition(|(key, _)| key == "group");
    single.extend(gluster::owner_options(id_of(volume)));
    let groups = groups.into_iter().map(|group| gluster::set_options(name, &[group]));
    groups.chain([gluster::set_options(name, &single)]).collect()
}

/// The devices to leave out after an error: the one that refused, or all of a node that cannot be
/// reached.
fn unfit(context: &Context, placed: &PlacedBrick, error: &RunError) -> Vec<Id> {
    if !error.is_lost() {
        return vec![placed.device];
    }
    let node = context.caches.nodes.find(|node| id_of(node) == placed.node);
    let name = node.map(|node| node.name_any()).unwrap_or_default();
    let devices = context.caches.devices.list();
    let of_node = devices.iter().filter(|device| device.spec.node == name);
    of_node.map(|device| id_of(device.as_ref())).chain([placed.device]).collect()
}

fn placement_of(volume: &GlusterVolume) -> Placement {
    volume.status.as_ref().and_then(|status| status.placement.clone()).unwrap_or_default()
}

fn is_unknown(error: &RunError) -> bool {
    matches!(
        error,
        RunError::Lost(crate::executor::TransportError::Unknown { .. }) | RunError::Garbled { .. }
    )
}

/// Whether a brick carries the mark of a volume that was never made.
fn is_marked(error: &RunError) -> bool {
    matches!(error, RunError::Refused { stderr, .. } if stderr.contains("already part of a volume"))
}

/// Whether glusterd only said that something else is going on, or that a node is away: the next pass
/// finds out which, and places the volume elsewhere if the node stays away.
fn is_busy(error: &RunError) -> bool {
    let RunError::Refused { stderr, .. } = error else { return false };
    ["Another transaction", "Locking failed", "is in progress", "not connected", "Peer in Cluster"]
        .iter()
        .any(|text| stderr.contains(text))
}
