//! Exchanging a brick whose device was given up for one elsewhere. Every step looks before it acts, and may run
//! twice.

use super::glusterfs::{self, MadeOf};
use super::perform::{self, all_unfit, make_bricks, placement_of, write_down};
use super::reach::Reach;
use super::spare::{self, Hold, Member};
use crate::controllers::{Context, PassError};
use crate::executor::RunError;
use crate::executor::ops::heal::HealBrick;
use crate::resources::{GlusterVolume, PlacedBrick, Placement, REPLACED, condition};
use crate::units::Id;

/// What came of exchanging a brick.
#[derive(Debug)]
pub enum Exchanged {
    /// GlusterFS has the new brick.
    Done,
    /// The old brick cannot be spared now.
    Held(Hold, Id),
    /// GlusterFS moves data, and exchanges no bricks meanwhile.
    Moving,
    /// Devices refused the new brick, or GlusterFS did: they are to be left out.
    Unfit {
        /// The devices.
        devices: Vec<Id>,
        /// The error.
        error: RunError,
    },
    /// The old brick may stay, and GlusterFS has it.
    Withdrawn,
}

/// Exchanges `old`, a brick of a volume, for `new`. `leaves` says whether its device is given up still, `checked` whether
/// it has to stay as long as others of its set need it.
pub async fn exchange(
    context: &Context,
    volume: &GlusterVolume,
    (old, new): (&PlacedBrick, &PlacedBrick),
    leaves: bool,
    checked: bool,
) -> Result<Exchanged, PassError> {
    let placement = placement_of(volume);
    let reach = Reach::of(context, &placement.cluster).await?;
    let made = glusterfs::what_is_made(&reach, volume, &placement).await? == Some(MadeOf::Exchanged);
    if !made && !leaves {
        return Ok(Exchanged::Withdrawn);
    }
    if !made
        && checked
        && let Err(hold) = may_go(&reach, volume, &placement, old).await
    {
        hurry_heal(context, &reach, volume, &placement, hold).await;
        return Ok(Exchanged::Held(hold, old.id));
    }
    // Also when GlusterFS has it: its node may have lost the mount meanwhile.
    let failed = make_bricks(context, &reach, volume, &[new]).await?;
    match failed.first() {
        // The old one is kept until the new one has all data, whatever becomes of it.
        Some(_) if made => return Ok(Exchanged::Done),
        Some((_, error)) => {
            return Ok(Exchanged::Unfit { devices: all_unfit(context, &failed), error: error.clone() });
        }
        None => {}
    }
    if !made {
        let lock = context.gluster_lock(&placement.cluster);
        let _one_at_a_time = lock.lock().await;
        // The brick took its time to make: what was true of its set before may not be so any more.
        if checked && let Err(hold) = may_go(&reach, volume, &placement, old).await {
            return Ok(Exchanged::Held(hold, old.id));
        }
        match glusterfs::exchange(&reach, volume, &placement, (old, new)).await? {
            Exchanged::Done => {}
            other => return Ok(other),
        }
    }
    write_down(&reach, &[new]).await?;
    Ok(Exchanged::Done)
}

/// Whether a brick may go, by what GlusterFS says of its set now. That it cannot be asked is no error but a reason to
/// wait, which is told.
async fn may_go(
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
    old: &PlacedBrick,
) -> Result<(), Hold> {
    let seen = glusterfs::see_heal(reach, volume, placement).await.map_err(|error| {
        tracing::info!(volume = volume.volume_name(), %error, "GlusterFS does not say what is to be healed");
        Hold::Unknown
    })?;
    let told = told_of(&seen, placement, old.set).ok_or(Hold::Unknown)?;
    let member = |(brick, told): (&PlacedBrick, HealBrick)| Member {
        told,
        arbiter: brick.arbiter,
        fills: placement.retiring().any(|gone| gone.replaced_by == Some(brick.id)),
    };
    let set: Vec<Member> = of_set(placement, old.set).zip(told).map(member).collect();
    let position = of_set(placement, old.set).position(|brick| brick.id == old.id).unwrap_or(usize::MAX);
    let last = condition(volume.conditions(), REPLACED).filter(|last| last.reason == Hold::Source.reason());
    let replacement = volume.status.as_ref().and_then(|status| status.replacement.as_ref());
    let was_source = last.is_some() && replacement.is_some_and(|one| one.device == old.device);
    spare::may_go(&set, position, &volume.spec.durability, was_source)
}

/// Has GlusterFS heal what a brick waits for.
async fn hurry_heal(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
    hold: Hold,
) {
    if matches!(hold, Hold::Healing | Hold::Source) {
        glusterfs::hurry_heal(context, reach, volume, placement).await;
    }
}

/// Of the bricks that were exchanged, those whose successors do not have all their data yet: they are not removed.
pub async fn kept(
    context: &Context,
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
) -> Result<Vec<Id>, RunError> {
    let exchanged: Vec<&PlacedBrick> =
        placement.retiring().filter(|brick| brick.replaced_by.is_some()).collect();
    if exchanged.is_empty() {
        return Ok(vec![]);
    }
    let seen = glusterfs::see_heal(reach, volume, placement).await?;
    let heals = |brick: &&&PlacedBrick| {
        told_of(&seen, placement, brick.set).is_none_or(|bricks| spare::healed(&bricks).is_err())
    };
    let kept: Vec<Id> = exchanged.iter().filter(heals).map(|brick| brick.id).collect();
    if !kept.is_empty() {
        glusterfs::hurry_heal(context, reach, volume, placement).await;
    }
    Ok(kept)
}

/// The bricks of a set that serve the volume.
fn of_set(placement: &Placement, set: u32) -> impl Iterator<Item = &PlacedBrick> {
    placement.active().filter(move |brick| brick.set == set)
}

/// What GlusterFS says of each brick of a set; nothing when it does not speak of all of them.
fn told_of(seen: &[HealBrick], placement: &Placement, set: u32) -> Option<Vec<HealBrick>> {
    of_set(placement, set)
        .map(|brick| seen.iter().find(|told| told.address == brick.address()).cloned())
        .collect()
}

/// Whether a brick that is on its way out counts as gone although nobody has looked: its device is forgotten.
pub fn is_given_up(context: &Context, brick: &PlacedBrick) -> bool {
    let device = perform::device_of(context, brick.device);
    device.is_some_and(|device| crate::resources::is_forgotten(device.as_ref()))
}
