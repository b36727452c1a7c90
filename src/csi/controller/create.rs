//! CreateVolume: one volume for one name, however often it is asked for.

use kube::ResourceExt;
use tokio::time::Instant;
use tonic::Status;

use super::refusal;
use super::wish::Wish;
use super::{delete, left};
use crate::intent::{self, AskError, Decision, Intent, Progress, cluster, progress};
use crate::resources::{GlusterVolume, PLACED, condition};
use crate::store::StoreError;

/// Makes a volume, or finds the one that was asked for before, and waits until clients can mount it. What
/// is refused is taken back: nothing is left of it, and who asks again asks anew.
pub async fn create(intent: &Intent, wish: &Wish, until: Instant) -> Result<GlusterVolume, Status> {
    loop {
        let found = intent.store.get::<GlusterVolume>(&wish.object_name).await;
        let found = found.map_err(|error| refusal::of_store(&error))?;
        let volume = match found {
            Some(found) if is_over(&found) => {
                let (name, uid) = (found.name_any(), found.uid());
                delete::mark(intent, &found).await?;
                if !delete::gone(intent, &name, uid, until).await? {
                    let text =
                        format!("what is left of an earlier try for {name} is being removed: ask again");
                    return Err(Status::aborted(text));
                }
                continue;
            }
            Some(found) => {
                wish.check_same(&found)?;
                found
            }
            None => {
                let ask = wish.ask(cluster::names(intent, wish.clusters()))?;
                match intent::volume::create(intent, ask).await {
                    Ok(Decision::Accepted(made)) => made.as_ref().clone(),
                    Ok(Decision::Refused(refused)) => return Err(no_place(&refused)),
                    // Another replica was asked at the same time.
                    Err(AskError::Store(StoreError::Exists(_))) if !left(until).is_zero() => continue,
                    Err(error) => return Err(refusal::of_ask(&error)),
                }
            }
        };
        return ready(intent, volume, until).await;
    }
}

/// Whether nothing will come of a volume: it goes away, or it was refused, or could not be made. What
/// clients could mount once is never meant.
fn is_over(volume: &GlusterVolume) -> bool {
    let failed = matches!(progress(volume.conditions()), Progress::Failed(_));
    let never_served = volume.size().is_none();
    volume.metadata.deletion_timestamp.is_some() || never_served && (failed || is_refused(volume))
}

/// Whether there is no place for a volume, and nothing is left of earlier tries that would be removed
/// before the next one.
fn is_refused(volume: &GlusterVolume) -> bool {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    let refused = condition(volume.conditions(), PLACED).is_some_and(|placed| placed.status == "False");
    refused && placement.is_none_or(|placement| placement.bricks.is_empty())
}

/// Waits until clients can mount a volume.
async fn ready(intent: &Intent, volume: GlusterVolume, until: Instant) -> Result<GlusterVolume, Status> {
    let (name, uid) = (volume.name_any(), volume.uid());
    let ended = intent.volumes.wait(&name, left(until), |seen| {
        let seen = seen.filter(|seen| seen.uid() == uid)?;
        (seen.size().is_some() || is_over(seen)).then(|| seen.clone())
    });
    let Some(ended) = ended.await else {
        return Err(Status::aborted(format!("volume {name} is still being made: ask again")));
    };
    if ended.metadata.deletion_timestamp.is_some() {
        return Err(Status::aborted(format!("volume {name} is being removed: ask again")));
    }
    if ended.size().is_some() {
        return Ok(ended);
    }
    delete::mark(intent, &ended).await?;
    match progress(ended.conditions()) {
        Progress::Failed(why) if !is_refused(&ended) => {
            Err(Status::internal(refusal::short(&format!("volume {name} could not be made: {why}"))))
        }
        _ => Err(no_place(&ended)),
    }
}

/// Why there is no place for a volume.
fn no_place(volume: &GlusterVolume) -> Status {
    let placed = condition(volume.conditions(), PLACED);
    let why = refusal::short(placed.map_or("there is no place for it", |placed| placed.message.as_str()));
    // It was asked for while no leader worked, and is not what is asked for now.
    let expired = placed.is_some_and(|placed| placed.reason == "Expired");
    if expired { Status::aborted(why) } else { Status::resource_exhausted(why) }
}
