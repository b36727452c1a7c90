//! Who may mount a volume: auth.allow is kept as spec.allow says, also when nodes of the Kubernetes
//! cluster come and go. A volume is made with it; this controller looks after it from then on. What goes
//! wrong here does not make a volume less ready.

pub mod list;
pub mod roster;

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::volume::set_allowed;
use super::{Context, PassError};
use crate::resources::{ACCESS, Condition, GlusterVolume, READY, condition, condition_is, set_condition};
use crate::store::{Action, Caches, in_parts};
use list::{List, Wanted, wanted};
use roster::Roster;

/// How many volumes are looked at at once. They mostly wait for their turn: one volume of a cluster is
/// changed at a time, so that making and removing volumes does not wait for all of them.
pub const CONCURRENCY: usize = 256;

/// Volumes are woken by their own changes, and all of them when the list of nodes has changed, if there is something
/// to do about them then.
pub fn wakes(caches: &Caches, roster: Roster) -> impl Stream<Item = ObjectRef<GlusterVolume>> + Send + use<> {
    let (volumes, seen, here) = (caches.volumes.clone(), caches.volumes.clone(), roster.clone());
    let lists = stream::unfold(roster, |mut roster| async move {
        roster.changed().await;
        Some(((), roster))
    });
    let all = lists.flat_map(move |()| in_parts(volumes.references()));
    stream::select(caches.volumes.changes().stream(), all).filter(move |volume| {
        let due = seen.get_ref(volume).is_some_and(|volume| due(&volume, &here).is_some());
        futures::future::ready(due)
    })
}

/// One pass over a volume.
pub async fn pass(volume: Arc<GlusterVolume>, context: Arc<Context>) -> Result<Action, PassError> {
    let cluster = match placed_in(&volume) {
        Some(cluster) if due(&volume, &context.roster).is_some() => cluster,
        _ => return Ok(Action::await_change()),
    };
    let turn = context.access_turn(cluster);
    let _my_turn = turn.lock().await;
    // It may be another list by now, and another volume.
    let Some(volume) = context.caches.volumes.get(&volume.name_any()) else {
        return Ok(Action::await_change());
    };
    match due(&volume, &context.roster) {
        Some(Wanted::List(list)) => match set_allowed(&context, &volume, &list.value).await {
            Ok(()) => {
                let set = told(&volume, &Wanted::List(list), None);
                context.store.report(volume.as_ref(), &set, true).await?;
            }
            Err(error) => {
                let failed = told(&volume, &Wanted::List(list), Some(&error));
                context.store.report(volume.as_ref(), &failed, failed.status != volume.status).await?;
                return Err(error);
            }
        },
        Some(other) => {
            context.store.report(volume.as_ref(), &told(&volume, &other, None), true).await?;
        }
        None => {}
    }
    Ok(Action::await_change())
}

/// The cluster of a volume that clients can mount.
fn placed_in(volume: &GlusterVolume) -> Option<&str> {
    let serves = condition_is(volume.conditions(), READY) && volume.metadata.deletion_timestamp.is_none();
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    placement.filter(|_| serves).map(|placement| placement.cluster.as_str())
}

/// What there is to do about a volume now: a list that is not set, or something to say.
fn due(volume: &GlusterVolume, roster: &Roster) -> Option<Wanted> {
    placed_in(volume)?;
    let wanted = wanted(volume, roster.now().as_deref());
    let set = volume.status.as_ref().and_then(|status| status.allow.as_deref());
    if matches!(&wanted, Wanted::List(list) if set != Some(&list.value)) {
        return Some(wanted);
    }
    (told(volume, &wanted, None).status != volume.status).then_some(wanted)
}

/// The volume with what is to be said about its access. As long as all is well nothing is said, so that
/// most volumes are never written for it.
fn told(volume: &GlusterVolume, wanted: &Wanted, failed: Option<&PassError>) -> GlusterVolume {
    let mut told = volume.clone();
    let generation = volume.metadata.generation.unwrap_or_default();
    let status = told.status.get_or_insert_default();
    if let (Wanted::List(list), None) = (wanted, failed) {
        status.allow = Some(list.value.clone());
    }
    let known = condition(&status.conditions, ACCESS).is_some();
    let said = match (wanted, failed) {
        (_, Some(error)) => {
            Some(("False", "NotSet", format!("auth.allow could not be set, and is tried again: {error}")))
        }
        (Wanted::Unknown(reason, text), _) => Some(("False", *reason, text.clone())),
        (Wanted::List(List { cut: Some(bits), .. }), _) => {
            let text = format!(
                "there are too many nodes for a list of their addresses: whoever shares the first {bits} bits of one \
                 may mount it (prefixes in spec.allow, instead of nodes, say it more closely)"
            );
            Some(("True", "Prefixes", text))
        }
        (Wanted::List(_), _) if known => {
            Some(("True", "Set", "those whom spec.allow names may mount it".into()))
        }
        (Wanted::Free, _) if known => {
            Some(("True", "Free", "spec.allow does not say who may mount it".into()))
        }
        _ => None,
    };
    if let Some((is, reason, text)) = said {
        // The generation alone is no news, nor is how another try has failed: to write that down would wake
        // the volume for the next one.
        let same = |old: &Condition| {
            old.status == is && old.reason == reason && (old.message == text || failed.is_some())
        };
        if !condition(&status.conditions, ACCESS).is_some_and(same) {
            set_condition(&mut status.conditions, Timestamp::now(), generation, (ACCESS, is, reason), text);
        }
    }
    told
}
