//! Asking for volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use serde_json::json;

use super::{AskError, DECISION_TIMEOUT, Decision, Intent, Progress, WRITE_TRIES, metadata};
use crate::placement::{Index, Plan};
use crate::resources::{EXPANDED, GlusterVolume, GlusterVolumeSpec, OnRefusal, PLACED, Placement, condition};
use crate::store::StoreError;
use crate::units::{Bytes, GIB, Id};

/// The smallest volume that orchestrators get: what asks for less gets this much.
pub const SMALLEST: Bytes = Bytes(GIB);

/// The finalizer on a volume that was made for a claim: it is not removed under a PersistentVolume in
/// use.
pub const HOLDER: &str = "gluster.bricklayer.dev/claimed";

/// A volume that somebody asks for.
#[derive(Clone, Debug)]
pub struct VolumeAsk {
    /// The name of the object. For a claim it comes from the claim's uid: asking twice is asking once.
    pub object_name: String,
    /// The Heketi id.
    pub id: Id,
    /// What is wanted.
    pub spec: GlusterVolumeSpec,
    /// What the face wants to remember about the ask.
    pub annotations: BTreeMap<String, String>,
}

/// Whether the leader has found a place (`Some(true)`), refused (`Some(false)`), or not decided yet.
pub fn decided(volume: &GlusterVolume) -> Option<bool> {
    match condition(volume.conditions(), PLACED)?.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// What CSI drivers are told about a volume, as it is stored in PersistentVolumes: `volume`, the name that
/// GlusterFS clients mount, and `servers`, those to ask for it with commas between them. Servers come and
/// go: whoever can reads them from the volume's status.
pub fn attributes(volume: &GlusterVolume) -> BTreeMap<String, String> {
    let mount = volume.status.as_ref().and_then(|status| status.mount.as_ref());
    let servers = mount.map_or(&[][..], |mount| &mount.servers);
    BTreeMap::from([("volume".to_owned(), volume.volume_name()), ("servers".to_owned(), servers.join(","))])
}

/// Asks for a volume and waits for the leader to place it. A refused ask that is to be forgotten is
/// taken back at once. Asking again under the same object name finds the first ask.
pub async fn create(intent: &Intent, ask: VolumeAsk) -> Result<Decision<GlusterVolume>, AskError> {
    let mut object = GlusterVolume::new(&ask.object_name, ask.spec);
    object.metadata = metadata(&ask.object_name, ask.id, ask.annotations);
    let made = intent.store.create(&object).await?;
    intent.decision(&intent.volumes, made, decided).await
}

/// What would become of an ask, by what the caches show now. Nothing is written.
pub fn plan(intent: &Intent, ask: VolumeAsk) -> Plan {
    let mut object = GlusterVolume::new(&ask.object_name, ask.spec);
    object.metadata = metadata(&ask.object_name, ask.id, ask.annotations);
    let mut index = Index::default();
    index.set_topology(&intent.clusters.list(), &intent.nodes.list(), &intent.devices.list());
    for volume in intent.volumes.each() {
        index.see_volume(&volume.name_any(), Some(&volume));
    }
    index.plan(&object)
}

/// Writes the wish for a volume that is tried until it succeeds, and gives back what is stored: the
/// new object, or the one that an earlier ask of the same name has made. `holder` is a finalizer of
/// the asker: the volume is not removed before the asker takes it away.
pub async fn ensure(
    intent: &Intent,
    ask: VolumeAsk,
    holder: Option<&str>,
) -> Result<GlusterVolume, AskError> {
    let mut object = GlusterVolume::new(&ask.object_name, ask.spec);
    object.metadata = metadata(&ask.object_name, ask.id, ask.annotations);
    object.metadata.finalizers.get_or_insert_default().extend(holder.map(str::to_owned));
    object.spec.on_refusal = OnRefusal::Retry;
    match intent.store.create(&object).await {
        Ok(made) => Ok(made),
        Err(StoreError::Exists(_)) => {
            let found = intent.store.get::<GlusterVolume>(&ask.object_name).await?;
            found.ok_or(AskError::Store(StoreError::Conflict(ask.object_name)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks for a volume to be removed. True if there was one; it is gone once nothing of it is left on
/// the nodes.
pub async fn delete(intent: &Intent, object_name: &str, uid: Option<String>) -> Result<bool, AskError> {
    Ok(intent.store.delete::<GlusterVolume>(object_name, uid).await?)
}

/// What the annotations begin with that remember the expansions which clients may ask about: the id of the
/// ask follows. The value is a number that counts them, and the size in bytes that was asked for. Each is
/// short: caches keep no long ones.
pub const EXPANSION: &str = "expansion.bricklayer.dev/";

/// How many expansions of a volume can be asked about.
const REMEMBERED: usize = 8;

/// Wishes for a size, unless the volume is wanted that large already: asking twice is asking once. Gives
/// back the volume as it is stored. How far it is, its status tells: `status.size` and the condition
/// Expanded.
pub async fn expand(
    intent: &Intent,
    object_name: &str,
    uid: Option<&str>,
    size: Bytes,
) -> Result<GlusterVolume, AskError> {
    grow(intent, object_name, uid, |volume| {
        let wanted = volume.spec.size < size;
        if wanted {
            volume.spec.size = size;
        }
        wanted
    })
    .await
}

/// Takes a wish for a size back to a smaller one, if the volume does not have more already.
pub async fn lower(
    intent: &Intent,
    object_name: &str,
    uid: Option<&str>,
    size: Bytes,
) -> Result<GlusterVolume, AskError> {
    grow(intent, object_name, uid, |volume| {
        let size = size.max(volume.size().unwrap_or_default());
        let undone = volume.spec.size > size && size > Bytes(0);
        if undone {
            volume.spec.size = size;
        }
        undone
    })
    .await
}

/// Asks for a volume to become larger by so much than it is wanted now, and waits for the leader to find
/// places for the bricks. A refused ask is taken back at once. `id` names the ask: [`expansion`] tells what
/// became of it. While an earlier expansion goes on, the ask is accepted and placed after it.
pub async fn expand_by(
    intent: &Intent,
    object_name: &str,
    uid: Option<&str>,
    by: Bytes,
    id: Id,
) -> Result<Decision<GlusterVolume>, AskError> {
    let volume = grow(intent, object_name, uid, |volume| {
        if asked_size(volume, id).is_some() {
            return false;
        }
        volume.spec.size = volume.spec.size.plus(by);
        remember(volume, id);
        true
    })
    .await?;
    let (wished, uid) = (volume.metadata.generation.unwrap_or_default(), volume.uid());
    let seen = intent
        .volumes
        .wait(object_name, DECISION_TIMEOUT, |seen| {
            let seen = seen.filter(|seen| seen.metadata.uid == uid);
            // One that is deleted meanwhile is not placed any more.
            let Some(seen) = seen else { return Some((true, Arc::new(volume.clone()))) };
            let decided = growth_decided(seen, volume.spec.size, wished);
            decided.map(|accepted| (accepted, Arc::new(seen.clone())))
        })
        .await;
    match seen {
        Some((true, seen)) => Ok(Decision::Accepted(seen)),
        Some((false, seen)) => {
            withdraw(intent, object_name, uid.as_deref(), volume.spec.size).await?;
            Ok(Decision::Refused(seen))
        }
        None => {
            if withdraw(intent, object_name, uid.as_deref(), volume.spec.size).await? {
                return Err(AskError::Undecided);
            }
            Ok(Decision::Accepted(Arc::new(volume)))
        }
    }
}

/// Whether the leader has found places for a volume to grow to a size (`Some(true)`), refused
/// (`Some(false)`), or not decided yet. `wished` is the generation of the wish.
fn growth_decided(volume: &GlusterVolume, size: Bytes, wished: i64) -> Option<bool> {
    if volume.metadata.deletion_timestamp.is_some() || placed_size(volume) >= size {
        return Some(true);
    }
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    if placement.is_some_and(Placement::expands) {
        return Some(true);
    }
    let expanded = condition(volume.conditions(), EXPANDED)?;
    let refused = expanded.status == "False" && matches!(expanded.reason.as_str(), "Refused" | "Failed");
    (expanded.observed_generation >= wished && refused).then_some(false)
}

/// How far a volume has come towards a size that was wished for. `wished` is the generation of the wish, or a
/// later one; a wish that was taken back has failed.
pub fn growth(volume: &GlusterVolume, size: Bytes, wished: i64) -> Progress {
    if volume.size().is_some_and(|has| has >= size) {
        return Progress::Done;
    }
    let expanded = condition(volume.conditions(), EXPANDED).filter(|expanded| expanded.status == "False");
    let failed = expanded.filter(|expanded| matches!(expanded.reason.as_str(), "Refused" | "Failed"));
    if volume.spec.size < size {
        let why = failed.map(|failed| failed.message.clone());
        return Progress::Failed(why.unwrap_or_else(|| "the wish for more was taken back".into()));
    }
    match failed.filter(|failed| failed.observed_generation >= wished) {
        Some(failed) => Progress::Failed(failed.message.clone()),
        None => Progress::Running,
    }
}

/// The size that the bricks of a volume give once all of them serve it.
fn placed_size(volume: &GlusterVolume) -> Bytes {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    placement.and_then(|placement| placement.size).or_else(|| volume.size()).unwrap_or_default()
}

/// Takes a wish for a size back, unless it has found its places meanwhile: then it is false.
async fn withdraw(
    intent: &Intent,
    object_name: &str,
    uid: Option<&str>,
    size: Bytes,
) -> Result<bool, AskError> {
    let volume = grow(intent, object_name, uid, |volume| {
        let placed = placed_size(volume);
        let undone = volume.spec.size >= size && placed < size && placed > Bytes(0);
        if undone {
            volume.spec.size = placed;
        }
        undone
    })
    .await?;
    Ok(volume.spec.size < size)
}

/// What became of an expansion that was asked for under an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expansion {
    /// It goes on.
    Running,
    /// Clients have the space.
    Done,
    /// It was taken back. The text says why.
    Failed(String),
}

/// What became of an expansion; nothing when the volume knows of none with that id.
pub fn expansion(volume: &GlusterVolume, id: Id) -> Option<Expansion> {
    let size = asked_size(volume, id)?;
    if volume.size().is_some_and(|has| has >= size) {
        return Some(Expansion::Done);
    }
    if volume.spec.size >= size {
        return Some(Expansion::Running);
    }
    let why = condition(volume.conditions(), EXPANDED).map(|expanded| expanded.message.clone());
    Some(Expansion::Failed(why.unwrap_or_else(|| "it was taken back".into())))
}

/// The size that was asked for under an id.
fn asked_size(volume: &GlusterVolume, id: Id) -> Option<Bytes> {
    let (_, size) = volume.annotations().get(&format!("{EXPANSION}{id}"))?.split_once(' ')?;
    Some(Bytes(size.parse().ok()?))
}

/// Notes that the size that is wanted now was asked for under an id; the oldest notes go.
fn remember(volume: &mut GlusterVolume, id: Id) {
    let size = volume.spec.size.0;
    let annotations = volume.annotations_mut();
    let number =
        |value: &str| value.split_once(' ').and_then(|(number, _)| number.parse().ok()).unwrap_or(0u64);
    let mut known: Vec<(u64, String)> = annotations
        .iter()
        .filter(|(key, _)| key.starts_with(EXPANSION))
        .map(|(key, value)| (number(value), key.clone()))
        .collect();
    known.sort_unstable();
    let next = known.last().map_or(1, |(last, _)| last.saturating_add(1));
    for (_, key) in known.iter().take((known.len() + 1).saturating_sub(REMEMBERED)) {
        annotations.remove(key);
    }
    annotations.insert(format!("{EXPANSION}{id}"), format!("{next} {size}"));
}

/// Reads a volume, changes it and writes it if that is needed, again when somebody else wrote it
/// meanwhile.
async fn grow(
    intent: &Intent,
    object_name: &str,
    uid: Option<&str>,
    change: impl Fn(&mut GlusterVolume) -> bool,
) -> Result<GlusterVolume, AskError> {
    for _ in 0..WRITE_TRIES {
        let found = intent.store.get::<GlusterVolume>(object_name).await?;
        let same = found.filter(|found| uid.is_none() || found.metadata.uid.as_deref() == uid);
        let mut volume = same.ok_or_else(|| StoreError::NotFound(object_name.to_owned()))?;
        if !change(&mut volume) {
            return Ok(volume);
        }
        match intent.store.replace(&volume).await {
            Err(StoreError::Conflict(_)) => {}
            done => return Ok(done?),
        }
    }
    Err(StoreError::Conflict(object_name.to_owned()).into())
}

/// Takes the asker's finalizer away, so that a volume that is to be deleted can go.
pub async fn let_go(intent: &Intent, volume: &GlusterVolume, holder: &str) -> Result<(), AskError> {
    let left: Vec<&String> = volume.finalizers().iter().filter(|finalizer| *finalizer != holder).collect();
    let patch = json!({"metadata": {"resourceVersion": volume.resource_version(), "finalizers": left}});
    match intent.store.merge::<GlusterVolume>(&volume.name_any(), &patch).await {
        Ok(_) | Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes an annotation on a volume, if nobody has changed it since it was read.
pub async fn annotate(
    intent: &Intent,
    volume: &GlusterVolume,
    key: &str,
    value: &str,
) -> Result<(), AskError> {
    let patch =
        json!({"metadata": {"resourceVersion": volume.resource_version(), "annotations": {key: value}}});
    intent.store.merge::<GlusterVolume>(&volume.name_any(), &patch).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_asks_are_remembered() {
        let spec = serde_json::from_value(json!({"size": "1Gi"})).unwrap();
        let mut volume = GlusterVolume::new("v", spec);
        let ids: Vec<Id> = (0..12).map(|n| Id::from_uid(&n.to_string())).collect();
        for (id, gib) in ids.iter().zip(2..) {
            volume.spec.size = Bytes::from_gib(gib);
            remember(&mut volume, *id);
        }
        let known: Vec<bool> = ids.iter().map(|id| expansion(&volume, *id).is_some()).collect();
        assert_eq!(known, [vec![false; 4], vec![true; 8]].concat());
        assert_eq!(asked_size(&volume, ids[11]), Some(Bytes::from_gib(13)));
    }

    #[test]
    fn an_expansion_is_done_goes_on_or_was_taken_back() {
        let spec = serde_json::from_value(json!({"size": "5Gi"})).unwrap();
        let mut volume = GlusterVolume::new("v", spec);
        let id = Id::random();
        remember(&mut volume, id);
        assert_eq!(expansion(&volume, id), Some(Expansion::Running));
        volume.status.get_or_insert_default().size = Some(Bytes::from_gib(5));
        assert_eq!(expansion(&volume, id), Some(Expansion::Done));
        let status = volume.status.as_mut().unwrap();
        status.size = Some(Bytes::from_gib(3));
        let why = (EXPANDED, "False", "Failed");
        crate::resources::set_condition(&mut status.conditions, jiff::Timestamp::UNIX_EPOCH, 1, why, "no");
        volume.spec.size = Bytes::from_gib(3);
        assert_eq!(expansion(&volume, id), Some(Expansion::Failed("no".into())));
    }
}
