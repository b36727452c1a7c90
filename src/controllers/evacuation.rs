//! Devices and nodes that were given up: how far their bricks have moved elsewhere, and what becomes of an ask that
//! cannot be done. Decided by what volumes say; no command is run for it.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::core::ClusterResourceScope;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{Context, PassError};
use crate::resources::{
    ACCEPTED, Condition, DRAINED, EVACUATE, Evacuation, FAILED, GlusterDevice, GlusterNode, GlusterVolume,
    HEAL_CHECK, PlacedBrick, REPLACED, State, condition, condition_is, evacuation_asked, id_of,
    set_condition,
};
use crate::store::{Caches, Kind, Noted};
use crate::units::Id;

/// How far a device is drained.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Drain {
    /// Nobody needs what is on it any more.
    Done,
    /// Bricks are on their way, says the text.
    Moving(String),
    /// A brick cannot go.
    Refused {
        /// Why, in one word.
        reason: String,
        /// Why, for people.
        message: String,
    },
}

/// Whether a device was given up, by itself or with its node; if so, the ask for that if somebody waits for it.
pub fn given_up(caches: &Caches, device: &GlusterDevice) -> Option<Option<Id>> {
    if device.spec.state == State::Failed {
        return Some(evacuation_asked(device));
    }
    let node = caches.nodes.get(&device.spec.node)?;
    (node.spec.state == State::Failed).then(|| evacuation_asked(node.as_ref()))
}

/// The devices and nodes that were given up: each pass over a volume asks whether there are any.
pub struct GivenUp {
    devices: Noted,
    nodes: Noted,
}

impl GivenUp {
    /// Those of these caches.
    pub fn of(caches: &Caches) -> Self {
        Self {
            devices: caches.devices.note(|device| device.spec.state == State::Failed),
            nodes: caches.nodes.note(|node| node.spec.state == State::Failed),
        }
    }

    /// Whether there are any.
    pub fn is_any(&self) -> bool {
        self.devices.is_any() || self.nodes.is_any()
    }
}

/// How long changes are gathered before it is looked who is concerned: each look goes through all devices.
const GATHER: Duration = Duration::from_millis(200);

/// Devices that were given up are woken when volumes change, and by their nodes.
pub fn device_wakes(caches: &Caches) -> impl Stream<Item = ObjectRef<GlusterDevice>> + Send + use<> {
    let changes = (caches.volumes.changes(), caches.nodes.changes());
    let concerned = stream::unfold((changes, caches.clone()), |(changes, caches)| async move {
        let (volumes, nodes) = &changes;
        tokio::select! {
            _ = volumes.next() => {}
            _ = nodes.next() => {}
        }
        tokio::time::sleep(GATHER).await;
        volumes.drain();
        nodes.drain();
        let found = all_given_up(&caches);
        Some((stream::iter(found), (changes, caches)))
    });
    concerned.flatten()
}

/// The devices that were given up, by themselves or with their nodes, and do not say yet how far they are: a look at
/// one of them asks its node as well.
fn all_given_up(caches: &Caches) -> Vec<ObjectRef<GlusterDevice>> {
    let mut devices = caches.devices.list();
    devices.retain(|device| given_up(caches, device).is_some());
    if devices.is_empty() {
        return vec![];
    }
    let says_otherwise = |device: &&Arc<GlusterDevice>| {
        let drain = drained(caches, device);
        let (status, reason, message) = drain.words();
        condition(device.conditions(), DRAINED)
            .is_none_or(|said| (&*said.status, &*said.reason, &*said.message) != (status, reason, message))
    };
    devices.iter().filter(says_otherwise).map(|device| ObjectRef::from_obj(device.as_ref())).collect()
}

/// How far a device is drained that was given up.
fn drained(caches: &Caches, device: &GlusterDevice) -> Drain {
    let ask = given_up(caches, device).flatten();
    let id = id_of(device);
    let volumes = caches.usage.now().volumes_on(id);
    let mut volumes: Vec<_> = volumes.iter().filter_map(|name| caches.volumes.get(name)).collect();
    // It is always the same one that is named.
    volumes.sort_unstable_by_key(|volume| volume.name_any());
    unreadable(caches).unwrap_or_else(|| drain(id, ask, &volumes))
}

/// How many bricks of a volume on a device somebody needs.
fn needs(volume: &GlusterVolume, device: Id) -> usize {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    let needed = |brick: &&PlacedBrick| brick.device == device && brick.is_needed();
    placement.map_or(0, |placement| placement.bricks.iter().filter(needed).count())
}

/// Nodes that were given up are woken by their devices.
pub fn node_wakes(caches: &Caches) -> impl Stream<Item = ObjectRef<GlusterNode>> + Send + use<> {
    let (devices, nodes) = (caches.devices.clone(), caches.nodes.clone());
    caches.devices.changes().stream().filter_map(move |device| {
        let node = devices.get_ref(&device).and_then(|device| nodes.get(&device.spec.node));
        let failed = node.filter(|node| node.spec.state == State::Failed);
        std::future::ready(failed.map(|node| ObjectRef::from_obj(node.as_ref())))
    })
}

/// Writes down how far a device is drained, and does what follows from it. Tells whether something was written.
pub async fn of_device(context: &Context, device: &GlusterDevice) -> Result<bool, PassError> {
    let mut reported = device.clone();
    let Some(ask) = given_up(&context.caches, device) else {
        let status = reported.status.get_or_insert_default();
        status.conditions.retain(|condition| condition.type_ != DRAINED);
        let news = reported.status.as_ref() != device.status.as_ref() && device.status.is_some();
        if news {
            context.store.report(device, &reported, true).await?;
        }
        return Ok(news);
    };
    let id = id_of(device);
    let drain = drained(&context.caches, device);
    let status = reported.status.get_or_insert_default();
    note(&mut status.conditions, &drain, device.metadata.generation.unwrap_or_default());
    if !is_refused(status.evacuation.as_ref(), ask) {
        status.evacuation = ended(ask, &drain, Some(id)).or(status.evacuation.take());
    }
    if reported.status != device.status {
        context.store.report(device, &reported, true).await?;
        return Ok(true);
    }
    let own = device.spec.state == State::Failed;
    if own && is_refused(device.status.as_ref().and_then(|status| status.evacuation.as_ref()), ask) {
        put_state(context, device, State::Offline).await?;
    } else if !own && drain == Drain::Done {
        // With its node: clients remove devices that have failed themselves.
        put_state(context, device, State::Failed).await?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// How an ask has ended, if somebody waits for it and it has.
fn ended(ask: Option<Id>, drain: &Drain, device: Option<Id>) -> Option<Evacuation> {
    let ask = ask?;
    match drain {
        Drain::Done => Some(Evacuation { ask, ..Evacuation::default() }),
        Drain::Moving(_) => None,
        Drain::Refused { reason, message } => {
            Some(Evacuation { ask, reason: reason.clone(), message: message.clone(), device })
        }
    }
}

/// Whether somebody was told that an ask cannot be done: then it is not done, whatever has become possible since.
fn is_refused(evacuation: Option<&Evacuation>, ask: Option<Id>) -> bool {
    evacuation.is_some_and(|ended| Some(ended.ask) == ask && !ended.reason.is_empty())
}

/// Changes what is wanted of a device or node, if nobody has changed that meanwhile. What an ask said beside it has
/// ended with that.
async fn put_state<K>(context: &Context, object: &K, state: State) -> Result<(), PassError>
where
    K: Kind + Resource<Scope = ClusterResourceScope>,
{
    let mut patch =
        json!({"metadata": {"resourceVersion": object.resource_version()}, "spec": {"state": state}});
    if state == State::Offline {
        patch["metadata"]["annotations"] = json!({EVACUATE: null, HEAL_CHECK: null});
    }
    context.store.merge::<K>(&object.name_any(), &patch).await?;
    Ok(())
}

/// Writes down how far a node is drained, and does what follows from it. Tells whether something was written.
pub async fn of_node(context: &Context, node: &GlusterNode) -> Result<bool, PassError> {
    let mut reported = node.clone();
    let status = reported.status.get_or_insert_default();
    let ask = evacuation_asked(node);
    if node.spec.state == State::Failed {
        let name = node.name_any();
        let mut devices = context.caches.devices.list();
        devices.retain(|device| device.spec.node == name);
        let (drain, device) = together(&context.caches, &devices);
        note(&mut status.conditions, &drain, node.metadata.generation.unwrap_or_default());
        if !is_refused(status.evacuation.as_ref(), ask) {
            status.evacuation = ended(ask, &drain, device).or(status.evacuation.take());
        }
    } else {
        status.conditions.retain(|condition| condition.type_ != DRAINED);
    }
    if reported.status.as_ref() != node.status.as_ref() && node.status.is_some() {
        context.store.report(node, &reported, true).await?;
        return Ok(true);
    }
    let told = node.status.as_ref().and_then(|status| status.evacuation.as_ref());
    if node.spec.state == State::Failed && is_refused(told, ask) {
        put_state(context, node, State::Offline).await?;
        return Ok(true);
    }
    Ok(false)
}

/// How far the devices of a node are drained, and the device that cannot be. Those that were never taken in have nothing.
fn together(caches: &Caches, devices: &[Arc<GlusterDevice>]) -> (Drain, Option<Id>) {
    let taken_in = |device: &&Arc<GlusterDevice>| {
        condition_is(device.conditions(), ACCEPTED) && !condition_is(device.conditions(), FAILED)
    };
    let mut left = vec![];
    for device in devices.iter().filter(taken_in) {
        match drained(caches, device) {
            Drain::Done if device.spec.state == State::Failed && device.is_drained() => {}
            // It says so itself next: who has seen the node leave finds its devices gone as well.
            Drain::Done => left.push((device.name_any(), "it is empty".into())),
            refused @ Drain::Refused { .. } => return (refused, Some(id_of(device.as_ref()))),
            Drain::Moving(text) => left.push((device.name_any(), text)),
        }
    }
    match left.first() {
        None => (Drain::Done, None),
        Some((name, text)) => {
            let text = format!("{} of {} devices are left: {name}: {text}", left.len(), devices.len());
            (Drain::Moving(text), None)
        }
    }
}

/// How far a device is drained, by what volumes have on it.
fn drain(device: Id, ask: Option<Id>, volumes: &[Arc<GlusterVolume>]) -> Drain {
    let mut left = 0;
    let mut first = None;
    for volume in volumes {
        let count = needs(volume, device);
        if count == 0 || condition_is(volume.conditions(), FAILED) {
            continue;
        }
        left += count;
        let replaced = condition(volume.conditions(), REPLACED).filter(|replaced| replaced.status == "False");
        let replacement = volume.status.as_ref().and_then(|status| status.replacement.as_ref());
        let is_this = replacement.is_some_and(|one| one.device == device && one.ask == ask);
        if let Some(replaced) = replaced.filter(|replaced| is_this && is_refusal(replaced)) {
            let message = format!("volume {}: {}", volume.volume_name(), replaced.message);
            return Drain::Refused { reason: replaced.reason.clone(), message };
        }
        let says =
            replaced.map_or_else(|| "its brick is to go".to_owned(), |replaced| replaced.message.clone());
        first.get_or_insert_with(|| format!("volume {}: {says}", volume.volume_name()));
    }
    match first {
        None => Drain::Done,
        Some(first) => Drain::Moving(format!("{left} bricks are needed still; {first}")),
    }
}

/// A volume that is not understood may have bricks anywhere.
fn unreadable(caches: &Caches) -> Option<Drain> {
    let unreadable = caches.volumes.unreadable();
    let unreadable = unreadable.borrow();
    let volume = unreadable.values().next()?;
    Some(Drain::Moving(format!(
        "volume {} is not understood and may have bricks on it: mend it first",
        volume.name
    )))
}

/// Whether what holds an exchange up ends an ask, if somebody waits for it.
pub fn is_refusal(replaced: &Condition) -> bool {
    matches!(
        replaced.reason.as_str(),
        "NoReplacement" | "Unreplaceable" | "HealSource" | "Quorum" | "Uncounted"
    )
}

impl Drain {
    /// Status, reason and message of the condition Drained.
    fn words(&self) -> (&str, &str, &str) {
        match self {
            Self::Done => ("True", "Drained", "nobody needs what is on it any more"),
            Self::Moving(text) => ("False", "Moving", text),
            Self::Refused { reason, message } => ("False", reason, message),
        }
    }
}

fn note(conditions: &mut Vec<Condition>, drain: &Drain, generation: i64) {
    let (status, reason, message) = drain.words();
    set_condition(conditions, Timestamp::now(), generation, (DRAINED, status, reason), message);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(bricks: &serde_json::Value, replaced: Option<(&str, &str)>) -> Arc<GlusterVolume> {
        let bricks: Vec<serde_json::Value> = bricks
            .as_array()
            .unwrap()
            .iter()
            .map(|brick| {
                let mut whole = json!({"id": Id::from_uid("b"), "node": Id::from_uid("n"), "host": "h", "path": "/p",
                    "size": "1Gi", "poolSize": "1Gi", "poolMetadata": "8Mi", "set": 0, "position": 0});
                whole.as_object_mut().unwrap().extend(brick.as_object().unwrap().clone());
                whole
            })
            .collect();
        let mut status = json!({"placement": {"cluster": "c", "bricks": bricks},
            "replacement": {"device": Id::from_uid("d"), "ask": Id::from_uid("ask")}});
        if let Some((reason, message)) = replaced {
            status["conditions"] = json!([{"type": REPLACED, "status": "False", "reason": reason,
                "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        }
        let object = json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterVolume",
            "metadata": {"name": "v"}, "spec": {"size": "1Gi", "name": "v"}, "status": status});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_device_is_drained_when_nobody_needs_it() {
        let (d, other) = (Id::from_uid("d"), Id::from_uid("other"));
        let ask = Some(Id::from_uid("ask"));
        let on = |bricks: serde_json::Value, replaced| drain(d, ask, &[volume(&bricks, replaced)]);
        assert_eq!(drain(d, ask, &[]), Drain::Done);
        assert_eq!(on(json!([{"device": other}]), None), Drain::Done);
        assert_eq!(
            on(json!([{"device": d, "retiring": true}]), None),
            Drain::Done,
            "it waits for its node only"
        );
        let heals = json!([{"device": d, "retiring": true, "replacedBy": other}]);
        assert!(
            matches!(on(heals, Some(("Healing", "x"))), Drain::Moving(text) if text.starts_with("1 bricks"))
        );
        assert!(matches!(on(json!([{"device": d}]), Some(("Moving", "x"))), Drain::Moving(_)));
        let refused = Drain::Refused { reason: "NoReplacement".into(), message: "volume v: x".into() };
        assert_eq!(on(json!([{"device": d}]), Some(("NoReplacement", "x"))), refused);
        let old = drain(d, None, &[volume(&json!([{"device": d}]), Some(("NoReplacement", "x")))]);
        assert!(matches!(old, Drain::Moving(_)), "a refusal of another ask says nothing of this one");
    }
}
