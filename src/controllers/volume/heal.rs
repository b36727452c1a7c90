//! What a volume has to heal: looked at brick by brick, and hurried.

use futures::future::join_all;

use super::glusterfs;
use super::reach::Reach;
use super::spare::{Member, same_roots};
use crate::controllers::Context;
use crate::executor::ops::heal::{self, Root};
use crate::executor::{RunError, run};
use crate::resources::{DurabilityType, GlusterVolume, PlacedBrick, Placement};

/// The bricks that serve a volume by their sets, with what is to be healed of them now. Nothing of a brick that GlusterFS
/// does not speak of.
pub struct Seen(Vec<(u32, Option<Member>)>);

impl Seen {
    /// The bricks of a set; nothing when GlusterFS does not speak of all of them.
    pub fn set(&self, set: u32) -> Option<Vec<Member>> {
        self.0.iter().filter(|(of, _)| *of == set).map(|(_, member)| member.clone()).collect()
    }
}

/// Looks what is to be healed. The root directories of dispersed sets come first: what they say counts only with an
/// answer of GlusterFS that was asked for after it. Of other sets that answer says everything.
pub async fn see(reach: &Reach, volume: &GlusterVolume, placement: &Placement) -> Result<Seen, RunError> {
    let roots: Vec<Option<Root>> = match volume.spec.durability.type_ {
        DurabilityType::Disperse => {
            let roots = join_all(placement.active().map(|brick| root(reach, brick))).await;
            roots.into_iter().collect::<Result<_, _>>()?
        }
        DurabilityType::Replicate | DurabilityType::None => vec![None; placement.active().count()],
    };
    let batch = heal::heal_info(&volume.volume_name());
    let (_, seen) = glusterfs::asked(reach, placement, &batch, heal::parse_heal).await?;
    let member = |(brick, root): (&PlacedBrick, Option<Root>)| {
        let told = seen.iter().find(|told| told.address == brick.address()).cloned();
        let fills = placement.retiring().any(|gone| gone.replaced_by == Some(brick.id));
        (brick.set, told.map(|told| Member { told, root, arbiter: brick.arbiter, fills }))
    };
    Ok(Seen(placement.active().zip(roots).map(member).collect()))
}

/// The root directory of a brick; nothing when its node does not answer or has no such directory.
async fn root(reach: &Reach, brick: &PlacedBrick) -> Result<Option<Root>, RunError> {
    let batch = heal::root(&brick.path);
    let asked = async {
        let host = reach.manage_host(brick.node)?;
        Ok((host, reach.transport.run(host, &batch).await?))
    };
    let (host, reply) = match asked.await {
        Ok(answer) => answer,
        Err(error @ RunError::Lost(_)) => {
            tracing::debug!(%error, "a root directory was not looked at");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    heal::parse_root(&reply.outputs).map_err(|cause| {
        let command = batch.steps[0].run.shown();
        RunError::Garbled { host: host.to_owned(), command, cause }
    })
}

/// Has GlusterFS heal what is to be healed now: from the root on where dispersed `sets` differ in that. That it does not,
/// while a brick is away for example, is no error: it is looked at again, and asked again.
pub async fn hurry(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
    sets: &[Option<Vec<Member>>],
) {
    let lock = context.gluster_lock(&placement.cluster);
    let _one_at_a_time = lock.lock().await;
    let dispersed = volume.spec.durability.type_ == DurabilityType::Disperse;
    let name = volume.volume_name();
    // Of a root that differs nothing is noted: only a look at everything finds it.
    let full = dispersed && sets.iter().flatten().any(|set| !same_roots(set.iter()));
    let batch = if full { heal::launch_full_heal(&name) } else { heal::launch_heal(&name) };
    let Some(host) = reach.gluster_hosts(placement).first().copied() else { return };
    if let Err(error) = run(reach.transport.as_ref(), host, &batch).await {
        tracing::debug!(%error, "a heal was not launched");
    }
}
