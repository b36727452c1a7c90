//! The next step of a volume. Pure: the object and the time in, one step out.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::resources::{
    EXPANDED, FAILED, FINALIZER, GlusterVolume, ID_LABEL, OnRefusal, PLACED, READY, REPLACED, Rebalance,
    RebalancePhase, condition, condition_is,
};
use crate::units::Bytes;

/// How long what has failed can still be read.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How long a refused ask stays that its face has not taken back: the face must have died.
const REFUSED_KEPT: SignedDuration = SignedDuration::from_secs(60);
/// The pause before a refused volume is tried again when nothing else wakes it.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(15);
/// The shortest and the longest pause between two looks at a rebalance.
const LOOK_SECONDS: (i64, i64) = (1, 60);
const REFUSED_AGAIN: SignedDuration = SignedDuration::from_secs(14);

/// What to do next about a volume.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Put our finalizer and the id on it.
    Adopt,
    /// Have it placed.
    Place,
    /// Make bricks and volume as placed, from whatever is there.
    Make,
    /// Make the bricks of an expansion and add them to the volume, or make those that it has larger.
    Grow,
    /// Have another place found for a brick whose device was given up.
    Replace,
    /// Make the new brick and have GlusterFS exchange the two.
    Exchange,
    /// Write down that no brick is on a device that was given up.
    Replaced,
    /// Write down that the volume has the size that is wanted of it, as far as its bricks give that.
    Settle,
    /// Take an expansion back that was refused and is to be forgotten: the wish is what is there.
    Lower,
    /// Begin the rebalance after an expansion, or look how far it is.
    Rebalance,
    /// Remove the bricks on their way out.
    Clear,
    /// Remove the volume and all its bricks.
    Unmake,
    /// Let the object go: nothing of it is on the nodes.
    Release,
    /// Delete the object.
    Delete,
    /// Nothing, until something changes or the time has passed.
    Wait(Option<Duration>),
}

/// Whether a volume has bricks on devices that were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// It has none.
    None,
    /// It has some, and all of them answer.
    Alive,
    /// It has some, and one of them does not answer.
    Dead,
}

/// When this process last had something placed for a volume.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    /// The volume, or what it is to grow by.
    pub place: Option<Timestamp>,
    /// Another place for a brick.
    pub replace: Option<Timestamp>,
}

/// Decides the next step.
pub fn decide(volume: &GlusterVolume, tried: Tried, leaves: Leaves, now: Timestamp) -> Next {
    let just_now =
        |tried: Option<Timestamp>| tried.is_some_and(|tried| now.duration_since(tried) < REFUSED_AGAIN);
    let conditions = volume.conditions();
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    let forget = volume.spec.on_refusal == OnRefusal::Forget;
    let bricks = placement.map_or(0, |placement| placement.bricks.len());
    let active = placement.map_or(0, |placement| placement.active().count());
    let tried_just_now = just_now(tried.place);
    if volume.metadata.deletion_timestamp.is_some() {
        if is_held(volume) {
            return Next::Wait(None);
        }
        return if bricks == 0 { Next::Release } else { Next::Unmake };
    }
    if !is_ours(volume) {
        return Next::Adopt;
    }
    if let Some(failed) = condition(conditions, FAILED) {
        return match bricks {
            0 if failed.status == "True" => kept(now.duration_since(failed.last_transition_time.0), KEPT),
            _ => Next::Unmake,
        };
    }
    let refused = condition(conditions, PLACED).filter(|placed| placed.status == "False");
    if active == 0 {
        return match refused {
            // What earlier tries have left holds space that the next one may need.
            Some(_) if bricks > 0 && (forget || tried_just_now) => Next::Clear,
            Some(refused) if forget => kept(now.duration_since(refused.last_transition_time.0), REFUSED_KEPT),
            Some(_) if tried_just_now => Next::Wait(Some(REFUSED_PAUSE)),
            Some(_) => Next::Place,
            None => Next::Place,
        };
    }
    if !condition_is(conditions, READY) {
        return Next::Make;
    }
    if let Some(next) = replacement(volume, just_now(tried.replace), leaves, now) {
        return next;
    }
    match growth(volume, tried_just_now, now) {
        // A brick that found no place is tried again.
        Next::Wait(None) if leaves != Leaves::None => Next::Wait(Some(REFUSED_PAUSE)),
        next => next,
    }
}

/// The next step about a brick that has to leave its device, unless something else comes first.
fn replacement(volume: &GlusterVolume, tried_just_now: bool, leaves: Leaves, now: Timestamp) -> Option<Next> {
    let status = volume.status.as_ref()?;
    let placement = status.placement.as_ref()?;
    if placement.exchange().is_some() {
        // GlusterFS exchanges no bricks while it moves data. One that waits for a node may wait for the one that was
        // given up.
        let moves = |seen: &&Rebalance| seen.phase == RebalancePhase::Running && seen.message.is_empty();
        let running = status.rebalance.as_ref().filter(moves);
        return running.and_then(|seen| rebalance_due(seen, now)).or(Some(Next::Exchange));
    }
    let replaced = condition(&status.conditions, REPLACED).filter(|replaced| replaced.status == "False");
    // What others of the set still have to get is what the brick that went before has: one after the other, but for one
    // that gives nothing any more. Its set heals without it at last.
    let heals = placement.retiring().any(|brick| brick.replaced_by.is_some());
    let goes = leaves == Leaves::Dead || (leaves == Leaves::Alive && !heals);
    if goes && placement.adding().next().is_none() {
        let refused =
            replaced.is_some_and(|replaced| replaced.reason != "Moving" && replaced.reason != "Healing");
        return (!refused || !tried_just_now).then_some(Next::Replace);
    }
    (replaced.is_some() && leaves == Leaves::None && !heals).then_some(Next::Replaced)
}

/// The next step of a volume that clients can mount: it may be wanted larger.
fn growth(volume: &GlusterVolume, tried_just_now: bool, now: Timestamp) -> Next {
    let forget = volume.spec.on_refusal == OnRefusal::Forget;
    let Some(status) = &volume.status else { return Next::Wait(None) };
    let adding = status.placement.as_ref().is_some_and(|placement| placement.adding().next().is_some());
    let growing = status.placement.as_ref().is_some_and(|placement| placement.growing().next().is_some());
    let retiring = status.placement.as_ref().is_some_and(|placement| placement.retiring().next().is_some());
    let moves = status.rebalance.as_ref().and_then(|rebalance| rebalance_due(rebalance, now));
    if adding {
        // GlusterFS adds no bricks while it moves data. It is waited for, unless nobody knows how it goes.
        let running = status.rebalance.as_ref().is_some_and(|seen| seen.phase == RebalancePhase::Running);
        return moves.filter(|_| running).unwrap_or(Next::Grow);
    }
    if growing {
        return Next::Grow;
    }
    let (wanted, given) = (volume.spec.size, given(volume));
    if status.size != Some(wanted.min(given)) {
        return Next::Settle;
    }
    let expanded = condition(&status.conditions, EXPANDED).filter(|expanded| expanded.status == "False");
    let failed = expanded.filter(|expanded| matches!(expanded.reason.as_str(), "Refused" | "Failed"));
    if wanted > given {
        // A refusal of an older wish says nothing of this one.
        let failed = failed.filter(|failed| Some(failed.observed_generation) == volume.metadata.generation);
        match failed {
            Some(_) if forget => return Next::Lower,
            Some(_) if tried_just_now => {}
            _ => return Next::Place,
        }
    } else if expanded.is_some() && !(forget && failed.is_some()) {
        return Next::Settle;
    }
    let starts = status.rebalance.as_ref().is_some_and(|seen| seen.phase == RebalancePhase::Pending);
    match moves {
        Some(moves) if starts || !retiring => moves,
        _ if retiring => Next::Clear,
        _ if wanted > given => Next::Wait(Some(REFUSED_PAUSE)),
        _ => Next::Wait(None),
    }
}

/// The size that the bricks of a volume give, in the unit of the wish.
pub fn given(volume: &GlusterVolume) -> Bytes {
    let status = volume.status.as_ref();
    let placed = status.and_then(|status| status.placement.as_ref()).and_then(|placement| placement.size);
    placed.or_else(|| volume.size()).unwrap_or(volume.spec.size)
}

/// What is to be done about a rebalance now, if anything is left of it.
fn rebalance_due(rebalance: &Rebalance, now: Timestamp) -> Option<Next> {
    let (age, pause) = match rebalance.phase {
        RebalancePhase::Completed | RebalancePhase::Stopped => return None,
        RebalancePhase::Pending => return Some(Next::Rebalance),
        RebalancePhase::Running => (age(&rebalance.seen, now), look_pause(rebalance, now)),
        RebalancePhase::Failed => {
            let pause = (LOOK_SECONDS.1 / 4) << rebalance.attempts.min(6);
            (age(&rebalance.since, now), SignedDuration::from_secs(pause))
        }
    };
    if age >= pause {
        return Some(Next::Rebalance);
    }
    let rest = Duration::try_from(pause - age).unwrap_or_default();
    Some(Next::Wait(Some(rest + Duration::from_millis(100))))
}

/// The pause between two looks at a rebalance: the longer it runs, the less often it is looked at.
pub fn look_pause(rebalance: &Rebalance, now: Timestamp) -> SignedDuration {
    let runs = age(&rebalance.since, now).as_secs() / 8;
    SignedDuration::from_secs(runs.clamp(LOOK_SECONDS.0, LOOK_SECONDS.1))
}

/// How long ago something was written down; for ever when that cannot be read.
fn age(time: &str, now: Timestamp) -> SignedDuration {
    time.parse::<Timestamp>().map_or(SignedDuration::MAX, |time| now.duration_since(time))
}

/// Whether somebody else has a finalizer on it: then it is in use, and nothing of it is touched.
fn is_held(volume: &GlusterVolume) -> bool {
    volume.metadata.finalizers.iter().flatten().any(|finalizer| finalizer != FINALIZER)
}

fn is_ours(volume: &GlusterVolume) -> bool {
    let labels = volume.metadata.labels.as_ref();
    let finalizers = volume.metadata.finalizers.as_deref().unwrap_or_default();
    labels.is_some_and(|labels| labels.contains_key(ID_LABEL)) && finalizers.iter().any(|f| f == FINALIZER)
}

/// Deletes what was kept for long enough, and waits for the rest of the time otherwise.
fn kept(age: SignedDuration, limit: SignedDuration) -> Next {
    if age >= limit {
        return Next::Delete;
    }
    let rest = Duration::try_from(limit - age).unwrap_or_default();
    Next::Wait(Some(rest + Duration::from_millis(100)))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
