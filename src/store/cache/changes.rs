//! Who wants to know of every change.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::store::Kind;

/// What has changed since somebody looked last.
pub(super) struct Listener<K: Kind> {
    pub(super) changed: Mutex<HashSet<ObjectRef<K>>>,
    pub(super) wake: Notify,
}

/// How many changes are handed on at once, at the most.
const PART: usize = 256;
/// The pause after each part.
const BETWEEN_PARTS: Duration = Duration::from_millis(5);

/// The names of changed objects, each once however often it changed: the queue is never longer than
/// the number of objects.
pub struct Changes<K: Kind>(pub(super) Arc<Listener<K>>);

impl<K: Kind> Changes<K> {
    /// The next changed objects; waits until there is at least one.
    pub async fn next(&self) -> HashSet<ObjectRef<K>> {
        loop {
            let woken = self.0.wake.notified();
            let changed = std::mem::take(&mut *self.0.changed.lock());
            if !changed.is_empty() {
                return changed;
            }
            woken.await;
        }
    }

    /// The objects that changed since the last look; does not wait.
    pub fn drain(&self) -> HashSet<ObjectRef<K>> {
        std::mem::take(&mut *self.0.changed.lock())
    }

    /// The changes as a stream. Very many at once, as at a start, come in parts, so that others have their turn.
    pub fn stream(self) -> impl Stream<Item = ObjectRef<K>> + Send {
        let sets =
            futures::stream::unfold(self, |changes| async move { Some((changes.next().await, changes)) });
        sets.flat_map(in_parts)
    }
}

/// Hands very many on in parts, with pauses in which others have their turn.
pub fn in_parts<T: Send>(many: impl IntoIterator<Item = T, IntoIter: Send>) -> impl Stream<Item = T> + Send {
    let parts = futures::stream::iter(many).chunks(PART).enumerate().then(|(at, part)| async move {
        if at > 0 {
            tokio::time::sleep(BETWEEN_PARTS).await;
        }
        futures::stream::iter(part)
    });
    parts.flatten()
}
