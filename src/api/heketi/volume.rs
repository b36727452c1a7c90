//! `/volumes`

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use kube::ResourceExt;

use super::Face;
use super::answer::{self, Answer, Refused};
use super::check::{self, Safety};
use super::json;
use super::refusal;
use super::ticket::{Noun, Ticket};
use super::view::{self, ECHO, RESTRICTION, sees_cluster, sees_volume};
use super::wire::{BlockRestriction, VolumeCreate, VolumeEcho, VolumeExpand};
use crate::intent::volume::VolumeAsk;
use crate::intent::{self, AskError, Decision, given_up, placement_options};
use crate::resources::{Durability, GlusterVolume, GlusterVolumeSpec, Growth, Limits, OnRefusal, Sizing};
use crate::store::StoreError;
use crate::units::{Bytes, GIB, Id};

/// Larger volumes are asked for as if they had this size: no cluster has room for either.
const MAX_GIB: u64 = (1 << 33) - 1;

/// The volume that holds Heketi's own database is not deleted by its clients.
const DATABASE_VOLUME: &str = "heketidbstorage";

/// `GET /volumes`: ids in ascending order.
pub async fn list(face: &Face) -> Result<Answer, Refused> {
    let list = face.volumes.list().map_err(|error| Refused::failed(error.to_string()))?;
    Ok(answer::written(StatusCode::OK, list))
}

/// `GET /volumes/{id}`
pub async fn info(face: &Face, id: &str) -> Result<Answer, Refused> {
    let volume = face.volume(id).await?.ok_or_else(Refused::unknown_id)?;
    let cluster = view::cluster_of(&volume).cloned().unwrap_or_default();
    let volume = view::volume(&volume, face.cluster_id(&cluster), face.hosts(&cluster));
    Ok(answer::json(StatusCode::OK, &volume))
}

/// `POST /volumes`: 202 when it has its place. What cannot be placed is refused with 500, as Heketi
/// does, and leaves nothing behind.
pub async fn create(face: &Face, body: &[u8]) -> Result<Answer, Refused> {
    let id = Id::random();
    let ask = understood(face, id, body).await?;
    let name = id.to_string();
    let Some(_slot) = face.volumes.slot(&name) else {
        return Err(Refused::busy());
    };
    let volume_name = ask.spec.name.clone().unwrap_or_else(|| format!("vol_{id}"));
    match intent::volume::create(&face.intent, ask).await? {
        Decision::Accepted(_) => Ok(answer::accepted(&name)),
        Decision::Refused(volume) => {
            let refusals = volume.status.as_ref().map(|status| &status.refusals);
            let refusals = refusals.map_or(&[][..], Vec::as_slice);
            Err(refusal::told(refusals, &volume_name))
        }
    }
}

/// `POST /volumes/plan`, with the body of a create: 200 with what would become of it. Nothing is made, and nothing
/// is kept: what fits now may not fit a moment later.
pub async fn plan(face: &Face, body: &[u8]) -> Result<Answer, Refused> {
    let ask = understood(face, Id::random(), body).await?;
    Ok(answer::json(StatusCode::OK, &intent::volume::plan(&face.intent, ask)))
}

/// What the body of a create asks for, once everything about it is found right.
async fn understood(face: &Face, id: Id, body: &[u8]) -> Result<VolumeAsk, Refused> {
    let request: VolumeCreate = json::read(body)?;
    let safety = check::volume_create(&request)?;
    let clusters = chosen_clusters(face, &request).await?;
    check_size(face, &request)?;
    ask(face, id, request, safety, clusters)
}

/// `POST /volumes/{id}/expand`: 202 when the new bricks have their places, or an earlier expansion goes on.
/// What cannot be placed is refused with 500, as Heketi does, and changes nothing.
pub async fn expand(face: &Face, id: &str, body: &[u8]) -> Result<Answer, Refused> {
    let request: VolumeExpand = json::read(body)?;
    check::volume_expand(&request)?;
    let volume = face.volume(id).await?.ok_or_else(Refused::unknown_id)?;
    let name = volume.name_any();
    let Some(_slot) = face.volumes.slot(&name) else {
        return Err(Refused::busy());
    };
    let (ask, by) = (Id::random(), gib(request.expand_size));
    let asked = intent::volume::expand_by(&face.intent, &name, volume.metadata.uid.as_deref(), by, ask).await;
    match asked {
        Ok(Decision::Accepted(_)) => Ok(face.accepted(&Ticket::Expand(name, volume.metadata.uid, ask))),
        Ok(Decision::Refused(volume)) => {
            let cluster = view::cluster_of(&volume).and_then(|name| face.intent.clusters.get(name));
            let limits = cluster.map_or_else(Limits::default, |cluster| cluster.spec.limits);
            Err(refusal::not_grown(&volume, by, &limits))
        }
        Err(AskError::Store(StoreError::NotFound(_))) => Err(Refused::unknown_id()),
        Err(error) => Err(error.into()),
    }
}

/// `DELETE /volumes/{id}`: 202; the queue ends with 204 when nothing of it is left on the nodes.
pub async fn delete(face: &Face, id: &str) -> Result<Answer, Refused> {
    // What clients see is as it was seen, or newer: it has a uid that the delete insists on.
    let volume = match face.seen_volume(id) {
        Some(volume) => volume,
        None => Arc::new(face.any_volume(id).await?.ok_or_else(Refused::unknown_id)?),
    };
    if given_up(volume.conditions()) {
        return Err(Refused::unknown_id());
    }
    if !sees_volume(&volume) {
        let text = "Failed to set up volume delete: The target exists, contains other items, or is in use.";
        return Err(Refused::failed(text));
    }
    if volume.volume_name() == DATABASE_VOLUME {
        let text = "Cannot delete volume containing the Heketi database";
        return Err(Refused::conflict(text));
    }
    let name = volume.name_any();
    let Some(_slot) = face.volumes.slot(&name) else {
        return Err(Refused::busy());
    };
    match intent::volume::delete(&face.intent, &name, volume.uid()).await {
        Ok(true) => {}
        // It has gone since it was seen; what has its name now is another one.
        Ok(false) | Err(AskError::Store(StoreError::Conflict(_))) => return Err(Refused::unknown_id()),
        Err(error) => return Err(error.into()),
    }
    face.seen_going(&face.intent.volumes, volume.as_ref()).await;
    Ok(face.accepted(&Ticket::Delete(Noun::Volume, name, volume.uid())))
}

/// `POST /volumes/{id}/block-restriction`: 202; whether a volume that hosts block volumes takes more of them.
pub async fn restrict(face: &Face, id: &str, body: &[u8]) -> Result<Answer, Refused> {
    let request: BlockRestriction = json::read(body)?;
    let locked = check::block_restriction(&request)?;
    let volume = face.volume(id).await?.ok_or_else(Refused::unknown_id)?;
    if !volume.spec.block {
        let text =
            "Failed to set block restriction: Block restrictions can only be set on block hosting volumes";
        return Err(Refused::failed(text));
    }
    let word = if locked { "locked" } else { "" };
    intent::volume::annotate(&face.intent, &volume, RESTRICTION, word).await?;
    let uid = volume.uid();
    let shows = |seen: Option<&GlusterVolume>| {
        let found =
            |seen: &GlusterVolume| seen.annotations().get(RESTRICTION).is_some_and(|found| found == word);
        seen.is_none_or(|seen| seen.uid() != uid || found(seen))
    };
    face.seen(&face.intent.volumes, &volume.name_any(), shows).await;
    Ok(face.accepted(&Ticket::Made(format!("/volumes/{id}"))))
}

/// The object names of the clusters that were asked for, in their order; none when any will do.
async fn chosen_clusters(face: &Face, request: &VolumeCreate) -> Result<Vec<String>, Refused> {
    let clusters = &face.intent.clusters;
    if request.clusters.is_empty() && clusters.find(sees_cluster).is_none() {
        return Err(Refused::bad("No clusters configured"));
    }
    let mut names = Vec::with_capacity(request.clusters.len());
    for id in &request.clusters {
        let unknown = || Refused::bad(format!("Cluster id {id} not found"));
        let cluster = face.cluster(id).await?.ok_or_else(unknown)?;
        names.push(cluster.name_any());
    }
    Ok(names)
}

fn check_size(face: &Face, request: &VolumeCreate) -> Result<(), Refused> {
    let smallest = face.options.limits.brick_min;
    if gib(request.size) < smallest {
        return Err(Refused::bad(format!(
            "Requested volume size ({} GB) is smaller than the minimum supported volume size ({})",
            request.size,
            smallest.kib()
        )));
    }
    Ok(())
}

fn gib(size: i64) -> Bytes {
    Bytes(u64::try_from(size).unwrap_or(0).min(MAX_GIB) * GIB)
}

/// What is written down: the wish, and what answers echo of the request.
fn ask(
    face: &Face,
    id: Id,
    request: VolumeCreate,
    safety: Safety,
    clusters: Vec<String>,
) -> Result<VolumeAsk, Refused> {
    let durability = match safety {
        Safety::None => Durability::none(),
        Safety::Replicate(replicas) => Durability::replicate(replicas),
        Safety::Disperse(data, redundancy) => Durability::disperse(data, redundancy),
    };
    let options = &face.options;
    let listed = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let mut all = listed(&options.pre_request_volume_options);
    if request.block {
        all.extend(listed(&options.block_hosting_volume_options));
    }
    all.extend(request.glustervolumeoptions);
    all.extend(listed(&options.post_request_volume_options));
    let set: Vec<String> = all.iter().filter(|o| !o.trim().is_empty()).cloned().collect();
    let places = placement_options::read(&set).map_err(Refused::bad)?;
    let durability = places.durability(durability, options.average_file).map_err(Refused::bad)?;
    let snapshot = &request.snapshot;
    let snapshot_factor = if snapshot.enable { snapshot.factor } else { 1.0 };
    let echo = VolumeEcho {
        durability: request.durability,
        snapshot: request.snapshot,
        glustervolumeoptions: all,
        clusters: request.clusters,
    };
    let echo = serde_json::to_string(&echo).map_err(|error| Refused::failed(error.to_string()))?;
    let spec = GlusterVolumeSpec {
        name: Some(request.name).filter(|name| !name.is_empty()),
        sizing: Sizing::Bricks,
        durability,
        zones: places.zones.or(options.zones).unwrap_or_default(),
        device_tags: places.device_tags,
        clusters,
        snapshot_factor,
        options: set,
        gid: request.gid,
        block: request.block,
        growth: Growth::Sets,
        on_refusal: OnRefusal::Forget,
        ..GlusterVolumeSpec::sized(gib(request.size))
    };
    Ok(VolumeAsk {
        object_name: id.to_string(),
        id,
        spec,
        annotations: BTreeMap::from([(ECHO.to_owned(), echo)]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_do_not_overflow() {
        assert_eq!(gib(10), Bytes(10 * GIB));
        assert_eq!(gib(i64::MAX), Bytes(MAX_GIB * GIB));
        assert!(i64::try_from(gib(i64::MAX).0).is_ok());
    }
}
