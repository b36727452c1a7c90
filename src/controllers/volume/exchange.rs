//! Exchanging a brick whose device was given up for one elsewhere. Every step looks before it acts, and may run
//! twice.

use super::glusterfs::{self, MadeOf};
use super::heal;
use super::perform::{self, all_unfit, make_bricks, placement_of, write_down};
use super::reach::Reach;
use super::spare::{self, Hold, Member};
use crate::controllers::{Context, PassError};
use crate::executor::RunError;
use crate::resources::{DurabilityType, GlusterVolume, PlacedBrick, Placement, REPLACED, condition};
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
    if !made {
        let (verdict, set) = may_go(&reach, volume, &placement, old, checked).await;
        if let Err(hold) = verdict {
            if matches!(hold, Hold::Healing | Hold::Source) {
                heal::hurry(context, &reach, volume, &placement, &[set]).await;
            }
            return Ok(Exchanged::Held(hold, old.id));
        }
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
        if let (Err(hold), _) = may_go(&reach, volume, &placement, old, checked).await {
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

/// Whether a brick may go, by what is seen of its set now, and that set. That nobody could look is no error but a reason
/// to wait, which is told. Without `checked` it waits for nothing but what would hide that the new brick has nothing.
async fn may_go(
    reach: &Reach,
    volume: &GlusterVolume,
    placement: &Placement,
    old: &PlacedBrick,
    checked: bool,
) -> (Result<(), Hold>, Option<Vec<Member>>) {
    let durability = &volume.spec.durability;
    if !checked && durability.type_ != DurabilityType::Disperse {
        return (Ok(()), None);
    }
    let silent = || Hold::Unknown("GlusterFS does not speak of all bricks of its set".into());
    let seen = heal::see(reach, volume, placement).await.map_err(|error| Hold::Unknown(error.to_string()));
    let set = match seen.and_then(|seen| seen.set(old.set).ok_or_else(silent)) {
        Ok(set) => set,
        Err(hold) => return (if checked { Err(hold) } else { Ok(()) }, None),
    };
    let counted = spare::has_counted(&set, durability);
    if counted.is_err() || !checked {
        return (counted, None);
    }
    let position =
        placement.active().filter(|brick| brick.set == old.set).position(|brick| brick.id == old.id);
    let last = condition(volume.conditions(), REPLACED).filter(|last| last.reason == Hold::Source.reason());
    let replacement = volume.status.as_ref().and_then(|status| status.replacement.as_ref());
    let was_source = last.is_some() && replacement.is_some_and(|one| one.device == old.device);
    (spare::may_go(&set, position.unwrap_or(usize::MAX), durability, was_source), Some(set))
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
    let seen = heal::see(reach, volume, placement).await?;
    let heals = |set: &Option<Vec<Member>>| {
        set.as_ref().is_none_or(|set| spare::healed(set, &volume.spec.durability).is_err())
    };
    let sets = exchanged.iter().map(|brick| (brick.id, seen.set(brick.set))).filter(|(_, set)| heals(set));
    let (kept, sets): (Vec<Id>, Vec<_>) = sets.unzip();
    if !kept.is_empty() {
        heal::hurry(context, reach, volume, placement, &sets).await;
    }
    Ok(kept)
}

/// Whether a brick that is on its way out counts as gone although nobody has looked: its device is forgotten.
pub fn is_given_up(context: &Context, brick: &PlacedBrick) -> bool {
    let device = perform::device_of(context, brick.device);
    device.is_some_and(|device| crate::resources::is_forgotten(device.as_ref()))
}
