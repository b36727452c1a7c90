//! Exchanging a brick whose device was given up for one elsewhere. Every step looks before it acts, and may run
//! twice.

use super::glusterfs::{self, MadeOf};
use super::perform::{self, all_unfit, make_bricks, placement_of, write_down};
use super::reach::Reach;
use super::spare::{self, Hold};
use crate::controllers::{Context, PassError};
use crate::executor::RunError;
use crate::executor::ops::heal::HealBrick;
use crate::resources::{GlusterVolume, PlacedBrick, Placement};
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

/// Exchanges the brick of a volume that is to be exchanged. `leaves` says whether its device is given up still,
/// `checked` whether it has to stay as long as others of its set need it.
pub async fn exchange(
    context: &Context,
    volume: &GlusterVolume,
    leaves: bool,
    checked: bool,
) -> Result<Exchanged, PassError> {
    let placement = placement_of(volume);
    let Some((old, new)) = placement.exchange() else { return Ok(Exchanged::Withdrawn) };
    let reach = Reach::of(context, &placement.cluster).await?;
    let made = glusterfs::what_is_made(&reach, volume, &placement).await? == Some(MadeOf::Exchanged);
    if !made && !leaves {
        return Ok(Exchanged::Withdrawn);
    }
    if !made
        && checked
        && let Err(hold) = may_go(&reach, volume, &placement, old).await?
    {
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
        match glusterfs::exchange(context, &reach, volume, &placement).await? {
            Exchanged::Done => {}
            other => return Ok(other),
        }
    }
    write_down(&reach, &[new]).await?;
    Ok(Exchanged::Done)
}

async fn may_go(
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
    old: &PlacedBrick,
) -> Result<Result<(), Hold>, RunError> {
    let seen = glusterfs::see_heal(reach, volume, placement).await?;
    let position = of_set(placement, old.set).position(|brick| brick.id == old.id).unwrap_or(usize::MAX);
    let verdict = match told_of(&seen, placement, old.set) {
        Some(bricks) => spare::may_go(&bricks, position, &volume.spec.durability),
        None => Err(Hold::Unknown),
    };
    if let Err(Hold::Healing | Hold::Source) = verdict {
        glusterfs::hurry_heal(reach, volume, placement).await;
    }
    Ok(verdict)
}

/// Of the bricks that were exchanged, those whose successors do not have all their data yet: they are not removed.
pub async fn kept(reach: &Reach, volume: &GlusterVolume, placement: &Placement) -> Result<Vec<Id>, RunError> {
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
        glusterfs::hurry_heal(reach, volume, placement).await;
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
