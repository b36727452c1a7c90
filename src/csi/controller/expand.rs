//! ControllerExpandVolume: larger, never smaller, and what is refused is taken back.

use kube::ResourceExt;
use tokio::time::Instant;
use tonic::Status;

use super::wish::Range;
use super::{left, live, refusal};
use crate::intent::{self, Intent, Progress};
use crate::resources::{EXPANDED, condition};
use crate::units::Bytes;

/// Makes a volume as large as is asked, and waits until clients have the space. Gives back its size.
pub async fn expand(intent: &Intent, id: &str, range: Range, until: Instant) -> Result<Bytes, Status> {
    let volume = live(intent, id).await?;
    let Some(has) = volume.size() else {
        return Err(Status::aborted(format!("volume {id} is still being made: ask again")));
    };
    if range.holds(has) {
        return Ok(has);
    }
    if has > range.required {
        let text = format!("volume {id} has {has} already, more than capacity_range.limit_bytes");
        return Err(Status::out_of_range(text));
    }
    let (uid, size) = (volume.uid(), range.required);
    let asked = intent::volume::expand(intent, id, uid.as_deref(), size).await;
    let asked = asked.map_err(|error| refusal::of_ask(&error))?;
    let wished = asked.metadata.generation.unwrap_or_default();
    let ended = intent.volumes.wait(id, left(until), |seen| {
        let Some(seen) = seen.filter(|seen| seen.uid() == uid) else { return Some(None) };
        let is_current = seen.metadata.generation.unwrap_or_default() >= wished;
        let ended = is_current && intent::volume::growth(seen, size, wished) != Progress::Running;
        ended.then(|| Some(seen.clone()))
    });
    let Some(ended) = ended.await else {
        return Err(Status::aborted(format!("volume {id} is still being expanded: ask again")));
    };
    let Some(ended) = ended else { return Err(refusal::no_volume(id)) };
    let Progress::Failed(why) = intent::volume::growth(&ended, size, wished) else {
        return Ok(ended.size().unwrap_or(size));
    };
    // Nobody tries again in the asker's place: what he was refused is not to come later.
    let lowered = intent::volume::lower(intent, id, uid.as_deref(), has).await;
    lowered.map_err(|error| refusal::of_ask(&error))?;
    let text = refusal::short(&format!("volume {id} stays {has}: {why}"));
    let no_room =
        condition(ended.conditions(), EXPANDED).is_some_and(|expanded| expanded.reason == "Refused");
    Err(if no_room { Status::out_of_range(text) } else { Status::internal(text) })
}
