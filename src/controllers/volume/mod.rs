//! Volumes: from a wish to bricks, and back to nothing. A pass: decide, perform, report.

mod decide;
mod glusterfs;
mod perform;
mod reach;
mod report;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use serde_json::json;

use super::{Context, PassError, adopt, release};
use crate::resources::GlusterVolume;
use decide::{Next, decide};
use report::{Again, Report};

/// How many placements an ask gets that is forgotten when it fails.
const ATTEMPTS: u32 = 5;

/// One pass over a volume.
pub async fn pass(volume: Arc<GlusterVolume>, context: Arc<Context>) -> Result<Action, PassError> {
    let name = volume.name_any();
    let tried = context.placed_at.lock().get(&name).copied();
    match decide(&volume, tried, Timestamp::now()) {
        Next::Adopt => adopt(&context, volume.as_ref()).await.map(|_| Action::await_change()),
        Next::Place => {
            context.placed_at.lock().insert(name, Timestamp::now());
            context.placing.place(volume).await?;
            Ok(Action::requeue(decide::REFUSED_PAUSE))
        }
        Next::Make => {
            let outcome = perform::make(&context, &volume).await?;
            report(&context, &volume, Report::Made(outcome)).await
        }
        Next::Grow => {
            let grown = perform::grow(&context, &volume).await?;
            report(&context, &volume, Report::Grown(grown)).await
        }
        Next::Settle => report(&context, &volume, Report::Settled).await,
        Next::Lower => lower(&context, &volume).await,
        Next::Rebalance => {
            let moved = perform::rebalance(&context, &volume).await?;
            report(&context, &volume, Report::Moved(moved)).await
        }
        Next::Clear => {
            let cleared = perform::clear_retiring(&context, &volume).await?;
            report(&context, &volume, Report::Cleared(cleared)).await
        }
        Next::Unmake => {
            let cleared = perform::unmake(&context, &volume).await?;
            if cleared.complete() && volume.metadata.deletion_timestamp.is_some() {
                context.forget::<GlusterVolume>(&name);
                return release(&context, volume.as_ref()).await;
            }
            report(&context, &volume, Report::Unmade(cleared)).await
        }
        Next::Release => {
            context.forget::<GlusterVolume>(&name);
            release(&context, volume.as_ref()).await
        }
        Next::Delete => {
            context.store.delete::<GlusterVolume>(&name, volume.uid()).await?;
            Ok(Action::await_change())
        }
        Next::Wait(pause) => Ok(pause.map_or_else(Action::await_change, Action::requeue)),
    }
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
    let again = news.again(volume);
    let reported = report::status(volume, news, Timestamp::now(), ATTEMPTS);
    if reported.status != volume.status {
        context.store.replace_status(&reported).await?;
    }
    match again {
        Again::AtAChange => Ok(Action::await_change()),
        Again::After(pause) => Ok(Action::requeue(pause)),
        Again::Paused(error) => Err(error),
    }
}

/// The pause before a rebalance is looked at again that has no news.
const MOVED_PAUSE: Duration = Duration::from_secs(5);
/// The pause before a node that did not answer is asked again.
const UNREACHED_PAUSE: Duration = Duration::from_secs(5);
