//! The GlusterFS volume over the bricks: made, started, stopped and deleted. One transaction at a
//! time in a cluster, each after a look under the same lock.

use futures::future::join_all;

use super::exchange::Exchanged;
use super::perform::{Grown, Made};
use super::reach::Reach;
use crate::controllers::access::list::{self, Wanted};
use crate::controllers::{Context, PassError};
use crate::executor::ops::{gluster, heal};
use crate::executor::{Batch, GLUSTER_DEADLINE, RunError, Step, TransportError, run};
use crate::resources::{Durability, DurabilityType, GlusterVolume, PlacedBrick, Placement, id_of};

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
        && made_of(seen, placement).is_none()
    {
        refuse_shared(&host, seen, placement)?;
        return Ok(Made::NameTaken(format!("GlusterFS has a volume {name:?} already, made of other bricks")));
    }
    let mut steps = vec![];
    if seen.is_none() {
        let new = gluster::NewVolume { name: name.clone(), sets: sets(&volume.spec.durability), bricks };
        steps.push(gluster::create_volume(&new));
    }
    let allow = match list::wanted(volume, context.roster.now().as_deref()) {
        Wanted::List(list) => Some(list.value),
        Wanted::Free | Wanted::Unknown(..) => None,
    };
    steps.extend(option_commands(volume, &name, allow.as_deref()));
    if !seen.is_some_and(|seen| seen.started) {
        steps.push(gluster::start_volume(&name));
    }
    let batch = Batch::new(steps.into_iter().map(Step::always), GLUSTER_DEADLINE).locked("gluster");
    match run(reach.transport.as_ref(), &host, &batch).await {
        Ok(_) => Ok(Made::Ready { allow }),
        // glusterd has marked the bricks for a create that it then did not do: they are empty still.
        Err(error) if is_marked(&error) => {
            renew(reach, volume, placement.active()).await?;
            Err(error.into())
        }
        Err(error @ RunError::Refused { .. }) if !is_busy(&error) => Ok(Made::Refused(error)),
        Err(error) => Err(error.into()),
    }
}

/// Adds the bricks of an expansion to the volume, if they are not in it already.
pub async fn add_bricks(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<Grown, PassError> {
    let lock = context.gluster_lock(&placement.cluster);
    let _one_at_a_time = lock.lock().await;
    let name = volume.volume_name();
    let (host, seen) = look(reach, placement, &name).await?;
    let gone = || PassError::Refused(format!("GlusterFS has no volume {name:?}: it was removed by hand"));
    let seen = seen.ok_or_else(gone)?;
    match made_of(&seen, placement) {
        Some(MadeOf::All) => return Ok(Grown::Done),
        Some(MadeOf::Active) => {}
        Some(MadeOf::Exchanged) | None => {
            refuse_shared(&host, &seen, placement)?;
            return Err(PassError::Refused(format!("GlusterFS has another volume {name:?}")));
        }
    }
    let bricks: Vec<String> = placement.adding().map(PlacedBrick::address).collect();
    let batch = gluster::add_bricks(&name, &bricks);
    match run(reach.transport.as_ref(), &host, &batch).await {
        Ok(_) => Ok(Grown::Done),
        Err(error) if is_marked(&error) => {
            renew(reach, volume, placement.adding()).await?;
            Err(error.into())
        }
        Err(error) if is_moving(&error) => Ok(Grown::Moving),
        Err(error @ RunError::Refused { .. }) if !is_busy(&error) => {
            // A refusal can come from one node after another one has done it.
            let (_, seen) = look(reach, placement, &name).await?;
            match seen.and_then(|seen| made_of(&seen, placement)) {
                Some(MadeOf::Active) => Ok(Grown::Refused(error)),
                Some(MadeOf::All) => Ok(Grown::Done),
                Some(MadeOf::Exchanged) | None => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Sets auth.allow of the volume, if that is not its value already.
pub async fn set_allowed(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
    value: &str,
) -> Result<(), PassError> {
    let lock = context.gluster_lock(&placement.cluster);
    let _one_at_a_time = lock.lock().await;
    let name = volume.volume_name();
    let (host, seen) = look(reach, placement, &name).await?;
    let Some(seen) = seen.filter(|seen| made_of(seen, placement).is_some()) else {
        return Err(PassError::Refused(format!("GlusterFS has no volume {name:?} of these bricks")));
    };
    let pair = (list::OPTION.to_owned(), value.to_owned());
    if seen.options.contains(&pair) {
        return Ok(());
    }
    let batch = Batch::one(gluster::set_options(&name, &[pair]), GLUSTER_DEADLINE).locked("gluster");
    run(reach.transport.as_ref(), &host, &batch).await?;
    Ok(())
}

/// Has GlusterFS exchange `old` for `new`, if it has not done so already. The caller holds the lock of the cluster.
pub async fn exchange(
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
    (old, new): (&PlacedBrick, &PlacedBrick),
) -> Result<Exchanged, PassError> {
    let name = volume.volume_name();
    let (host, seen) = look(reach, placement, &name).await?;
    let gone = || PassError::Refused(format!("GlusterFS has no volume {name:?}: it was removed by hand"));
    let seen = seen.ok_or_else(gone)?;
    match made_of(&seen, placement) {
        Some(MadeOf::Exchanged) => return Ok(Exchanged::Done),
        Some(_) => {}
        None => {
            refuse_shared(&host, &seen, placement)?;
            return Err(PassError::Refused(format!("GlusterFS has another volume {name:?}")));
        }
    }
    let batch = heal::replace_brick(&name, &old.address(), &new.address());
    match run(reach.transport.as_ref(), &host, &batch).await {
        Ok(_) => Ok(Exchanged::Done),
        Err(error) if is_marked(&error) => {
            renew(reach, volume, std::iter::once(new)).await?;
            Err(error.into())
        }
        Err(error) if is_moving(&error) => Ok(Exchanged::Moving),
        Err(error @ RunError::Refused { .. }) if !is_busy(&error) => {
            // A refusal can come from one node after another one has done it.
            let (_, seen) = look(reach, placement, &name).await?;
            match seen.and_then(|seen| made_of(&seen, placement)) {
                Some(MadeOf::Exchanged) => Ok(Exchanged::Done),
                Some(_) => Ok(Exchanged::Unfit { devices: vec![new.device], error }),
                None => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Starts a rebalance. A refusal comes back as a text.
pub async fn start_rebalance(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<Option<String>, PassError> {
    let lock = context.gluster_lock(&placement.cluster);
    let _one_at_a_time = lock.lock().await;
    let batch = gluster::rebalance_start(&volume.volume_name());
    let (_, refused) = asked(reach, placement, &batch, gluster::parse_rebalance_start).await?;
    Ok(refused)
}

/// Looks how far the rebalance is.
pub async fn see_rebalance(
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<gluster::Rebalance, RunError> {
    let batch = gluster::rebalance_status(&volume.volume_name());
    asked(reach, placement, &batch, gluster::parse_rebalance).await.map(|(_, seen)| seen)
}

async fn renew(
    reach: &Reach,
    volume: &GlusterVolume,
    bricks: impl Iterator<Item = &PlacedBrick>,
) -> Result<(), RunError> {
    let renewed = join_all(bricks.map(|placed| super::perform::renew_brick(reach, volume, placed))).await;
    renewed.into_iter().collect::<Result<Vec<()>, RunError>>().map(drop)
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
    let Some(ours) = seen else { return Ok(()) };
    if made_of(&ours, placement).is_none() {
        // A volume of the name that is made of other bricks is somebody else's, and stays.
        return refuse_shared(&host, &ours, placement);
    }
    let batch = gluster::delete_volume(&name, ours.started).locked("gluster");
    run(reach.transport.as_ref(), &host, &batch).await.map(drop).map_err(|error| reach.explain(error))
}

/// What a volume is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeOf {
    /// The bricks that were placed, without those of an expansion.
    Active,
    /// Those of the expansion too, if there is one.
    All,
    /// Those that were placed, with the new one in the place of the one that is to be exchanged.
    Exchanged,
}

/// What of a placement a volume is made of; nothing when it is made of something else.
fn made_of(seen: &gluster::Volume, placement: &Placement) -> Option<MadeOf> {
    if placement.wanted().map(PlacedBrick::address).eq(seen.bricks.iter().cloned()) {
        return Some(MadeOf::All);
    }
    let active = placement.active().map(PlacedBrick::address).eq(seen.bricks.iter().cloned());
    let exchanged = placement.exchanged().map(PlacedBrick::address).eq(seen.bricks.iter().cloned());
    active.then_some(MadeOf::Active).or(exchanged.then_some(MadeOf::Exchanged))
}

/// What GlusterFS has made the volume of; nothing when it has none of that name and these bricks. Under
/// the lock of gluster commands: one that a process before this one has sent may be about to change it.
pub async fn what_is_made(
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<Option<MadeOf>, RunError> {
    let (_, seen) = look(reach, placement, &volume.volume_name()).await?;
    Ok(seen.and_then(|seen| made_of(&seen, placement)))
}

/// Refuses to go on when the volume has bricks that are on their way out.
pub async fn refuse_in_use(
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<(), RunError> {
    let (host, seen) = look(reach, placement, &volume.volume_name()).await?;
    let Some(seen) = seen else { return Ok(()) };
    let Some(used) = placement.retiring().map(PlacedBrick::address).find(|brick| seen.bricks.contains(brick))
    else {
        return Ok(());
    };
    let stderr = format!("brick {used} is on its way out and serves volume {}: it is left alone", seen.name);
    let command = gluster::volume_info(&seen.name).steps[0].run.shown();
    Err(RunError::Refused { host, command, exit: 0, stderr })
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
    let (host, volumes) = asked(reach, placement, &batch, gluster::parse_volumes).await?;
    Ok((host, volumes.into_iter().find(|volume| volume.name == name)))
}

/// Asks one host after the other, until one of them answers in XML.
pub async fn asked<T>(
    reach: &Reach,
    placement: &Placement,
    batch: &Batch,
    parse: impl Fn(&crate::executor::Output) -> Result<T, String>,
) -> Result<(String, T), RunError> {
    let mut last = None;
    for host in reach.gluster_hosts(placement) {
        let reply = match reach.transport.run(host, batch).await {
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
        match parse(&output) {
            Ok(answer) => return Ok((host.to_owned(), answer)),
            Err(cause) => {
                let command = batch.steps[0].run.shown();
                let stderr =
                    if output.stderr.trim().is_empty() { cause } else { output.stderr.trim().to_owned() };
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
fn refuse_shared(host: &str, seen: &gluster::Volume, placement: &Placement) -> Result<(), RunError> {
    let placed = |brick: &&String| placement.bricks.iter().any(|placed| placed.address() == **brick);
    let Some(shared) = seen.bricks.iter().find(placed) else { return Ok(()) };
    let stderr = format!(
        "volume {} has brick {shared} and others than were placed: it was changed by hand, and is left alone",
        seen.name
    );
    let command = gluster::volume_info(&seen.name).steps[0].run.shown();
    Err(RunError::Refused { host: host.into(), command, exit: 0, stderr })
}

/// The commands that set the options asked for, who may mount it and our marks: all in one, but for option groups,
/// which GlusterFS takes only by themselves.
fn option_commands(volume: &GlusterVolume, name: &str, allow: Option<&str>) -> Vec<crate::executor::Argv> {
    let asked = volume.spec.options.iter().filter_map(|option| {
        let (key, value) = option.trim().split_once(char::is_whitespace)?;
        Some((key.to_owned(), value.trim().to_owned()))
    });
    let (groups, mut single): (Vec<_>, Vec<_>) = asked.partition(|(key, _)| key == "group");
    single.extend(allow.map(|allow| (list::OPTION.to_owned(), allow.to_owned())));
    single.extend(gluster::owner_options(id_of(volume)));
    let groups = groups.into_iter().map(|group| gluster::set_options(name, &[group]));
    groups.chain([gluster::set_options(name, &single)]).collect()
}

/// Whether GlusterFS refuses something because it moves the data of a volume.
fn is_moving(error: &RunError) -> bool {
    matches!(error, RunError::Refused { stderr, .. } if stderr.contains("rebalance is in progress"))
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

/// What GlusterFS calls the sets of a volume.
fn sets(durability: &Durability) -> gluster::Sets {
    let redundancy = durability.redundancy.unwrap_or(2) as usize;
    match (durability.type_, durability.arbiter) {
        (DurabilityType::None, _) => gluster::Sets::Single,
        (DurabilityType::Replicate, None) => gluster::Sets::Replica(durability.set_size()),
        (DurabilityType::Replicate, Some(_)) => gluster::Sets::Arbiter,
        (DurabilityType::Disperse, _) => {
            gluster::Sets::Disperse { data: durability.set_size().saturating_sub(redundancy), redundancy }
        }
    }
}
