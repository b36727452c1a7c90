//! The next step of a volume. Pure: the object and the time in, one step out.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::resources::{
    FAILED, FINALIZER, GlusterVolume, ID_LABEL, OnRefusal, PLACED, READY, condition, condition_is,
};

/// How long what has failed can still be read.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How long a refused ask stays that its face has not taken back: the face must have died.
const REFUSED_KEPT: SignedDuration = SignedDuration::from_secs(60);
/// The pause before a refused volume is tried again when nothing else wakes it.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(15);
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

/// Decides the next step. `tried` is when this process last had the volume placed.
pub fn decide(volume: &GlusterVolume, tried: Option<Timestamp>, now: Timestamp) -> Next {
    let conditions = volume.conditions();
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    let forget = volume.spec.on_refusal == OnRefusal::Forget;
    let bricks = placement.map_or(0, |placement| placement.bricks.len());
    let active = placement.map_or(0, |placement| placement.active().count());
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
        let tried = tried.map(|tried| now.duration_since(tried));
        let tried_just_now = tried.is_some_and(|age| age < REFUSED_AGAIN);
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
    if bricks > active { Next::Clear } else { Next::Wait(None) }
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
