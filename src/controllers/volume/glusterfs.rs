//! The GlusterFS volume over the bricks: made, started, stopped and deleted. One transaction at a
//! time in a cluster, each after a look under the same lock.

use futures::future::join_all;

use super::perform::Made;
use super::reach::Reach;
use crate::controllers::{Context, PassError};
use crate::executor::ops::gluster;
use crate::executor::{Batch, GLUSTER_DEADLINE, RunError, Step, TransportError, run};
use crate::resources::{GlusterVolume, PlacedBrick, Placement, id_of};

/// Makes the volume out of its bricks, sets its options and starts it, as far as that is not done.
pub async fn make_volume(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<Made, PassError> {
    let lock = context.gluster_lock(&placement.cluster);
    let _one_at_a_time = lock.lock().await;
    let name = volume.volume_name();
    let (host, seen) = look(reach, placement, &name).await?;
    let bricks: Vec<String> = placement.active().map(PlacedBrick::address).collect();
    if let Some(seen) = &seen
        && seen.bricks != bricks
    {
        refuse_shared(&host, seen, &bricks)?;
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
            let renewed =
                join_all(placement.active().map(|placed| super::perform::renew_brick(reach, volume, placed)))
                    .await;
            renewed.into_iter().collect::<Result<Vec<()>, RunError>>()?;
            Err(error.into())
        }
        Err(error @ RunError::Refused { .. }) if !is_busy(&error) => Ok(Made::Refused(error)),
        Err(error) => Err(error.into()),
    }
}

/// Stops and deletes the volume, if it is there and ours.
pub async fn remove_volume(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<(), RunError> {
    let lock = context.gluster_lock(&placement.cluster);
    let _one_at_a_time = lock.lock().await;
    let name = volume.volume_name();
    let (host, seen) = look(reach, placement, &name).await?;
    let bricks: Vec<String> = placement.active().map(PlacedBrick::address).collect();
    let Some(ours) = seen else { return Ok(()) };
    if ours.bricks != bricks {
        // A volume of the name that is made of other bricks is somebody else's, and stays.
        return refuse_shared(&host, &ours, &bricks);
    }
    let batch = gluster::delete_volume(&name, ours.started).locked("gluster");
    run(reach.transport.as_ref(), &host, &batch).await.map(drop).map_err(|error| reach.explain(error))
}

/// Whether GlusterFS has the volume, made of the bricks that were placed. Under the lock of gluster
/// commands: one that a process before this one has sent may be about to make it.
pub async fn has_volume(
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<bool, RunError> {
    let (_, seen) = look(reach, placement, &volume.volume_name()).await?;
    let bricks: Vec<String> = placement.active().map(PlacedBrick::address).collect();
    Ok(seen.is_some_and(|seen| seen.bricks == bricks))
}

/// The volume of that name as GlusterFS knows it, and the host that said so. Under the lock of
/// gluster commands: one that was sent before, by this process or by one that is no more, may still
/// be at work.
async fn look(
    reach: &Reach,
    placement: &Placement,
    name: &str,
) -> Result<(String, Option<gluster::Volume>), RunError> {
    let batch = Batch { deadline: GLUSTER_DEADLINE, ..gluster::volume_info(name) }.locked("gluster");
    let hosts = reach.gluster_hosts(placement);
    let mut last = None;
    for host in hosts {
        let reply = match reach.transport.run(host, &batch).await {
            Ok(reply) => reply,
            // What is at work there is not known, and another host cannot tell.
            Err(error @ TransportError::Unknown { .. }) => return Err(error.into()),
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
                return Ok((host.to_owned(), found));
            }
            Err(cause) => {
                let command = batch.steps[0].run.shown();
                let stderr = if output.ok() { cause } else { output.stderr.trim().to_owned() };
                last = Some(RunError::Refused { host: host.into(), command, exit: output.exit, stderr });
            }
        }
    }
    Err(last.unwrap_or_else(|| {
        let cause = "the cluster has no node that could be asked".into();
        RunError::Lost(TransportError::Unreached { host: "any node".into(), cause })
    }))
}

/// Refuses to go on when a volume shares some bricks with the placement and not all: somebody has
/// changed it by hand, and its bricks hold data.
fn refuse_shared(host: &str, seen: &gluster::Volume, placed: &[String]) -> Result<(), RunError> {
    let Some(shared) = seen.bricks.iter().find(|brick| placed.contains(brick)) else { return Ok(()) };
    let stderr = format!(
        "volume {} has brick {shared} and others than were placed: it was changed by hand, and is left alone",
        seen.name
    );
    let command = gluster::volume_info(&seen.name).steps[0].run.shown();
    Err(RunError::Refused { host: host.into(), command, exit: 0, stderr })
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

/// Whether a brick carries the mark of a volume that was never made.
fn is_marked(error: &RunError) -> bool {
    matches!(error, RunError::Refused { stderr, .. } if stderr.contains("already part of a volume"))
}

/// Whether glusterd only said that something else is going on, that it does not know yet (its command
/// gives up after ten minutes when a peer died unnoticed), or that a node is away: the next pass
/// finds out which, and places the volume elsewhere if the node stays away.
fn is_busy(error: &RunError) -> bool {
    let RunError::Refused { stderr, .. } = error else { return false };
    [
        "Another transaction",
        "Locking failed",
        "is in progress",
        "not connected",
        "Peer in Cluster",
        "Request timed out",
    ]
    .iter()
    .any(|text| stderr.contains(text))
}
