//! Devices and nodes that were given up: how far their bricks have moved elsewhere, and what becomes of an ask that
//! cannot be done. Decided by what volumes say; no command is run for it.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::core::ClusterResourceScope;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{Context, PassError};
use crate::resources::{
    Condition, DRAINED, Evacuation, FAILED, GlusterDevice, GlusterNode, GlusterVolume, PlacedBrick, REPLACED,
    State, condition, condition_is, evacuation_asked, id_of, set_condition,
};
use crate::store::{Caches, Kind};
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
pub fn given_up(context: &Context, device: &GlusterDevice) -> Option<Option<Id>> {
    if device.spec.state == State::Failed {
        return Some(evacuation_asked(device));
    }
    let node = context.caches.nodes.get(&device.spec.node)?;
    (node.spec.state == State::Failed).then(|| evacuation_asked(node.as_ref()))
}

/// Devices that were given up are woken when a volume changes, and by their nodes.
pub fn device_wakes(caches: &Caches) -> impl Stream<Item = ObjectRef<GlusterDevice>> + Send + use<> {
    let (devices, nodes) = (caches.devices.clone(), caches.nodes.clone());
    let volumes = caches.volumes.changes().stream().map(drop);
    let by_node = caches.nodes.changes().stream().map(drop);
    stream::select(volumes, by_node).flat_map(move |()| {
        let failed = |device: &&Arc<GlusterDevice>| {
            let node = nodes.get(&device.spec.node);
            device.spec.state == State::Failed || node.is_some_and(|node| node.spec.state == State::Failed)
        };
        let all = devices.list();
        let found = all.iter().filter(failed).map(|device| ObjectRef::from_obj(device.as_ref()));
        stream::iter(found.collect::<Vec<_>>())
    })
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
    let Some(ask) = given_up(context, device) else {
        let status = reported.status.get_or_insert_default();
        status.conditions.retain(|condition| condition.type_ != DRAINED);
        let news = reported.status.as_ref() != device.status.as_ref() && device.status.is_some();
        if news {
            context.store.report(device, &reported, true).await?;
        }
        return Ok(news);
    };
    let id = id_of(device);
    let drain = drain(id, ask, &context.caches.volumes.list());
    let status = reported.status.get_or_insert_default();
    note(&mut status.conditions, &drain, device.metadata.generation.unwrap_or_default());
    if let (Some(ask), Drain::Refused { reason, message }) = (ask, &drain) {
        let (reason, message) = (reason.clone(), message.clone());
        status.evacuation = Some(Evacuation { ask, reason, message, device: Some(id) });
    }
    if reported.status != device.status {
        context.store.report(device, &reported, true).await?;
        return Ok(true);
    }
    let own = device.spec.state == State::Failed;
    match drain {
        // With its node: clients remove devices that have failed themselves.
        Drain::Done if !own => put_state(context, device, State::Failed).await?,
        Drain::Refused { .. } if own && ask.is_some() => put_state(context, device, State::Offline).await?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Changes what is wanted of a device or node, if nobody has changed that meanwhile.
async fn put_state<K>(context: &Context, object: &K, state: State) -> Result<(), PassError>
where
    K: Kind + Resource<Scope = ClusterResourceScope>,
{
    let patch = json!({"metadata": {"resourceVersion": object.resource_version()}, "spec": {"state": state}});
    context.store.merge::<K>(&object.name_any(), &patch).await?;
    Ok(())
}

/// Writes down how far a node is drained, and does what follows from it. Tells whether something was written.
pub async fn of_node(context: &Context, node: &GlusterNode) -> Result<bool, PassError> {
    let mut reported = node.clone();
    let status = reported.status.get_or_insert_default();
    let ask = evacuation_asked(node);
    let mut drain = Drain::Done;
    if node.spec.state == State::Failed {
        let name = node.name_any();
        let mut devices = context.caches.devices.list();
        devices.retain(|device| device.spec.node == name);
        drain = together(&devices, ask);
        note(&mut status.conditions, &drain, node.metadata.generation.unwrap_or_default());
        let refused = devices.iter().find_map(|device| refused(device, ask));
        if let (Some(refused), Drain::Refused { .. }) = (refused, &drain) {
            status.evacuation = Some(refused);
        }
    } else {
        status.conditions.retain(|condition| condition.type_ != DRAINED);
    }
    if reported.status.as_ref() != node.status.as_ref() && node.status.is_some() {
        context.store.report(node, &reported, true).await?;
        return Ok(true);
    }
    if node.spec.state == State::Failed && ask.is_some() && matches!(drain, Drain::Refused { .. }) {
        put_state(context, node, State::Offline).await?;
        return Ok(true);
    }
    Ok(false)
}

/// The refusal of a device, if it is one of this ask.
fn refused(device: &GlusterDevice, ask: Option<Id>) -> Option<Evacuation> {
    let evacuation = device.status.as_ref()?.evacuation.as_ref()?;
    (Some(evacuation.ask) == ask && !evacuation.reason.is_empty()).then(|| evacuation.clone())
}

/// How far the devices of a node are drained.
fn together(devices: &[Arc<GlusterDevice>], ask: Option<Id>) -> Drain {
    if let Some(Evacuation { reason, message, .. }) = devices.iter().find_map(|device| refused(device, ask)) {
        return Drain::Refused { reason, message };
    }
    let left: Vec<&Arc<GlusterDevice>> = devices
        .iter()
        .filter(|device| {
            condition(device.conditions(), DRAINED).is_none_or(|drained| drained.status != "True")
        })
        .collect();
    match left.first() {
        None => Drain::Done,
        Some(first) => {
            let says = condition(first.conditions(), DRAINED).map_or("", |drained| drained.message.as_str());
            let text =
                format!("{} of {} devices are left: {} {says}", left.len(), devices.len(), first.name_any());
            Drain::Moving(text)
        }
    }
}

/// How far a device is drained, by what volumes have on it.
fn drain(device: Id, ask: Option<Id>, volumes: &[Arc<GlusterVolume>]) -> Drain {
    let mut left = 0;
    let mut first = None;
    for volume in volumes {
        let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
        let needed =
            |brick: &&PlacedBrick| brick.device == device && (!brick.retiring || brick.replaced_by.is_some());
        let count = placement.map_or(0, |placement| placement.bricks.iter().filter(needed).count());
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

fn is_refusal(replaced: &Condition) -> bool {
    matches!(replaced.reason.as_str(), "NoReplacement" | "Unreplaceable" | "HealSource" | "Quorum")
}

fn note(conditions: &mut Vec<Condition>, drain: &Drain, generation: i64) {
    let (status, reason, message) = match drain {
        Drain::Done => ("True", "Drained", "nobody needs what is on it any more"),
        Drain::Moving(text) => ("False", "Moving", text.as_str()),
        Drain::Refused { reason, message } => ("False", reason.as_str(), message.as_str()),
    };
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
