//! Volumes: from a wish to bricks, and back to nothing. A pass: decide, perform, report.

mod decide;
mod degraded;
mod exchange;
mod glusterfs;
mod heal;
mod perform;
mod reach;
mod report;
mod spare;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use serde_json::json;

use super::{Context, PassError, adopt, evacuation, release};
use crate::resources::{
    EXPANDED, GlusterVolume, Placement, READY, REPLACED, State, condition, condition_is, id_of, is_forgotten,
    skips_heal_check,
};
use crate::store::{Action, Caches, in_parts};
use crate::units::Id;
pub use decide::Tried;
use decide::{Leaves, Next, decide};
pub use perform::set_allowed;
use report::{Again, Report};

/// How many placements an ask gets that is forgotten when it fails.
const ATTEMPTS: u32 = 5;

/// Volumes are woken by their own changes, and all that have bricks on a node or device when it goes
/// away or comes back.
pub fn wakes(caches: &Caches) -> impl Stream<Item = ObjectRef<GlusterVolume>> + Send + use<> {
    let (nodes, devices) = (caches.nodes.clone(), caches.devices.clone());
    let of_nodes = nodes.changes().stream().map(move |reference| {
        let node = nodes.get_ref(&reference);
        node.map(|node| {
            let away = (
                degraded::node_is_away(&node),
                node.spec.state == State::Failed,
                skips_heal_check(node.as_ref()),
            );
            (id_of(node.as_ref()), away)
        })
    });
    let of_devices = devices.changes().stream().map(move |reference| {
        let device = devices.get_ref(&reference);
        device.map(|device| {
            let given_up = device.spec.state == State::Failed;
            let hint = skips_heal_check(device.as_ref()) || is_forgotten(device.as_ref());
            (id_of(device.as_ref()), (degraded::device_is_broken(&device), given_up, hint))
        })
    });
    let usage = caches.usage.clone();
    let mut known: HashMap<Id, (bool, bool, bool)> = HashMap::new();
    let concerned = stream::select(of_nodes, of_devices).flat_map(move |seen| {
        let turned = seen.filter(|(id, away)| known.insert(*id, *away).unwrap_or_default() != *away);
        let found: Vec<_> = match turned {
            Some((id, _)) => usage.now().volumes_on(id),
            None => vec![],
        };
        in_parts(found.into_iter().map(|volume| ObjectRef::new(&volume)))
    });
    stream::select(caches.volumes.changes().stream(), concerned)
}

/// The pause before it is looked whether a status that was written has come back; its change wakes the volume before.
const OVERTAKEN_PAUSE: Duration = Duration::from_secs(1);

/// Whether this process has found something out about a volume that has not come back to it yet: commands for what was
/// before would be for bricks that are on their way out by now.
fn is_overtaken(context: &Context, volume: &GlusterVolume) -> bool {
    let (mut overtaken, name) = (context.overtaken.lock(), volume.name_any());
    let is_behind = overtaken.get(&name).map(|before| volume.resource_version().as_ref() == Some(before));
    if is_behind == Some(false) {
        overtaken.remove(&name);
    }
    is_behind == Some(true)
}

/// One pass over a volume.
pub async fn pass(volume: Arc<GlusterVolume>, context: Arc<Context>) -> Result<Action, PassError> {
    let name = volume.name_any();
    if is_overtaken(&context, &volume) {
        return Ok(Action::requeue(OVERTAKEN_PAUSE));
    }
    let leaving = leaving(&context, &volume);
    let leaves = leaves(&context, &volume, &leaving);
    let next = || {
        let tried = context.tried.lock().get(&name).copied().unwrap_or_default();
        decide(&volume, tried, leaves, Timestamp::now())
    };
    let next = match next() {
        Next::Replace => {
            context.tried.lock().entry(name.clone()).or_default().replace = Some(Timestamp::now());
            if context.placing.replace(volume.clone(), leaving.clone()).await? {
                return Ok(Action::requeue(decide::REFUSED_PAUSE));
            }
            // There is no place for the brick still: nothing else of the volume is to wait for that.
            next()
        }
        other => other,
    };
    step(&context, &volume, &leaving, next).await
}

/// Does the next step of a volume.
async fn step(
    context: &Context,
    volume: &Arc<GlusterVolume>,
    leaving: &BTreeMap<Id, Option<Id>>,
    next: Next,
) -> Result<Action, PassError> {
    let name = volume.name_any();
    match next {
        Next::Adopt => adopt(context, volume.as_ref()).await.map(|_| Action::await_change()),
        Next::Place => {
            context.tried.lock().entry(name).or_default().place = Some(Timestamp::now());
            context.placing.place(volume.clone()).await?;
            Ok(Action::requeue(decide::REFUSED_PAUSE))
        }
        Next::Make => {
            let outcome = perform::make(context, volume).await?;
            report(context, volume, Report::Made(outcome)).await
        }
        Next::Grow => {
            // What does not come to its end for long must not hide that bricks are away.
            if is_stuck(volume) && judge_bricks(context, volume).await? {
                return Ok(Action::await_change());
            }
            let grown = perform::grow(context, volume).await?;
            report(context, volume, Report::Grown(grown)).await
        }
        // Tried a moment ago.
        Next::Replace => Ok(Action::requeue(decide::REFUSED_PAUSE)),
        Next::Exchange => exchange_brick(context, volume, leaving).await,
        Next::Replaced => report(context, volume, Report::Replaced).await,
        Next::Settle => report(context, volume, Report::Settled).await,
        Next::Lower => lower(context, volume).await,
        Next::Rebalance => {
            let moved = perform::rebalance(context, volume).await?;
            report(context, volume, Report::Moved(moved)).await
        }
        Next::Clear => {
            // What cannot be removed for long must not hide that bricks are away.
            if judge_bricks(context, volume).await? {
                return Ok(Action::await_change());
            }
            let cleared = perform::clear_retiring(context, volume).await?;
            report(context, volume, Report::Cleared(cleared)).await
        }
        Next::Unmake => {
            let cleared = perform::unmake(context, volume).await?;
            if cleared.complete() && volume.metadata.deletion_timestamp.is_some() {
                context.forget::<GlusterVolume>(&name);
                return release(context, volume.as_ref()).await;
            }
            report(context, volume, Report::Unmade(cleared)).await
        }
        Next::Release => {
            context.forget::<GlusterVolume>(&name);
            release(context, volume.as_ref()).await
        }
        Next::Delete => {
            context.store.delete::<GlusterVolume>(&name, volume.uid()).await?;
            Ok(Action::await_change())
        }
        Next::Wait(pause) => {
            if pause.is_none() {
                // There is nothing to try again.
                context.tried.lock().remove(&name);
            }
            judge_bricks(context, volume).await?;
            Ok(pause.map_or_else(Action::await_change, Action::requeue))
        }
    }
}

/// Exchanges the brick that is to be exchanged.
async fn exchange_brick(
    context: &Context,
    volume: &GlusterVolume,
    leaving: &BTreeMap<Id, Option<Id>>,
) -> Result<Action, PassError> {
    // What has to wait for long must not hide that bricks are away.
    if judge_bricks(context, volume).await? {
        return Ok(Action::await_change());
    }
    if is_refused_for_the_ask(volume, leaving) {
        // Who asked was told so, or will be at once: the device is offline again then.
        return Ok(Action::requeue(OVERTAKEN_PAUSE));
    }
    let placement = perform::placement_of(volume);
    let Some(pair) = placement.exchange() else { return Ok(Action::await_change()) };
    let device = volume.status.as_ref().and_then(|status| status.replacement.as_ref());
    let leaves = device.is_some_and(|replacement| leaving.contains_key(&replacement.device));
    let exchanged = exchange::exchange(context, volume, pair, leaves, is_checked(context, volume)).await?;
    let ask = device.and_then(|replacement| leaving.get(&replacement.device).copied());
    report(context, volume, Report::Exchanged(exchanged, ask)).await
}

/// Whether the exchange was refused for the very ask that is still there.
fn is_refused_for_the_ask(volume: &GlusterVolume, leaving: &BTreeMap<Id, Option<Id>>) -> bool {
    let replacement = volume.status.as_ref().and_then(|status| status.replacement.as_ref());
    let is_this = replacement
        .is_some_and(|one| one.ask.is_some() && leaving.get(&one.device).is_some_and(|ask| *ask == one.ask));
    let replaced = condition(volume.conditions(), REPLACED).filter(|replaced| replaced.status == "False");
    is_this && replaced.is_some_and(evacuation::is_refusal)
}

/// The devices with bricks of a volume that were given up, by themselves or with their nodes, each with the ask to
/// give it up if somebody waits for that.
fn leaving(context: &Context, volume: &GlusterVolume) -> BTreeMap<Id, Option<Id>> {
    // Looking bricks up costs more than seeing that nobody was given up.
    if !context.given_up.is_any() {
        return BTreeMap::new();
    }
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    let devices = placement.into_iter().flat_map(Placement::active).map(|brick| brick.device);
    let given_up = |id: Id| {
        Some((id, evacuation::given_up(&context.caches, perform::device_of(context, id)?.as_ref())?))
    };
    devices.filter_map(given_up).collect()
}

/// Whether bricks leave, and whether one of them does not answer.
fn leaves(context: &Context, volume: &GlusterVolume, leaving: &BTreeMap<Id, Option<Id>>) -> Leaves {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    let bricks = placement.into_iter().flat_map(Placement::active);
    let mut nodes =
        bricks.filter(|brick| leaving.contains_key(&brick.device)).map(|brick| brick.node).peekable();
    if nodes.peek().is_none() {
        return Leaves::None;
    }
    let answers = |node: Id| {
        let found = perform::node_of(context, node);
        found.is_some_and(|node| condition_is(node.conditions(), READY))
    };
    if nodes.all(answers) { Leaves::Alive } else { Leaves::Dead }
}

/// Whether a brick stays as long as others of its set need it.
fn is_checked(context: &Context, volume: &GlusterVolume) -> bool {
    let replacement = volume.status.as_ref().and_then(|status| status.replacement.as_ref());
    let device = replacement.and_then(|replacement| perform::device_of(context, replacement.device));
    let node = device.as_ref().and_then(|device| context.caches.nodes.get(&device.spec.node));
    // That of the node counts for those that leave with it.
    let own = device.as_ref().is_some_and(|device| device.spec.state == State::Failed);
    let skips = match (own, device, node) {
        (true, Some(device), _) => skips_heal_check(device.as_ref()),
        (false, _, Some(node)) => node.spec.state == State::Failed && skips_heal_check(node.as_ref()),
        _ => false,
    };
    !skips
}

/// Whether its bricks are to grow and have not, the last time that it was tried.
fn is_stuck(volume: &GlusterVolume) -> bool {
    condition(volume.conditions(), EXPANDED).is_some_and(|expanded| expanded.reason == "Failed")
}

/// Writes down whether bricks of the volume are away, if that is news. Tells whether it was.
async fn judge_bricks(context: &Context, volume: &GlusterVolume) -> Result<bool, PassError> {
    if !condition_is(volume.conditions(), READY) {
        return Ok(false);
    }
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    let bricks = || placement.into_iter().flat_map(Placement::active);
    let nodes = bricks().filter_map(|brick| perform::node_of(context, brick.node));
    let devices = bricks().filter_map(|brick| perform::device_of(context, brick.device));
    let places = degraded::Places::new(nodes, devices);
    let Some(judged) = degraded::judged(volume, &places, Timestamp::now()) else { return Ok(false) };
    context.store.report(volume, &judged, true).await?;
    Ok(true)
}

/// Lowers the wish to what the bricks give, if nobody has wished for something else meanwhile.
async fn lower(context: &Context, volume: &GlusterVolume) -> Result<Action, PassError> {
    let patch = json!({
        "metadata": {"resourceVersion": volume.resource_version()},
        "spec": {"size": decide::given(volume)},
    });
    context.store.merge::<GlusterVolume>(&volume.name_any(), &patch).await?;
    Ok(Action::await_change())
}

/// Writes down what a pass has found, if it is news, and says when to look again.
async fn report(context: &Context, volume: &GlusterVolume, news: Report) -> Result<Action, PassError> {
    let now = Timestamp::now();
    let again = news.again(volume, now);
    let reported = report::status(volume, news, now, ATTEMPTS);
    let changed = context.store.report(volume, &reported, reported.status != volume.status).await?;
    if let (true, Some(before)) = (changed, volume.resource_version()) {
        context.overtaken.lock().insert(volume.name_any(), before);
    }
    match again {
        Again::AtAChange => Ok(Action::await_change()),
        Again::After(pause) => Ok(Action::requeue(pause)),
        Again::Paused(error) => Err(error),
    }
}

/// The pause before a node that did not answer is asked again.
const UNREACHED_PAUSE: Duration = Duration::from_secs(5);
