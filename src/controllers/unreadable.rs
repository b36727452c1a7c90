//! Tells of stored objects that are not understood: an event on each, once for each state of it. The
//! caches keep them apart, so that everything else goes on.

use std::collections::{BTreeMap, HashMap};

use super::Context;
use crate::store::{Cache, Kind, Store, Unreadable};

/// Tells of what is not understood, for as long as the process runs.
pub async fn tell(context: &Context) {
    let (store, caches) = (&context.store, &context.caches);
    futures::join!(
        of(store, &caches.clusters),
        of(store, &caches.nodes),
        of(store, &caches.devices),
        of(store, &caches.volumes)
    );
}

async fn of<K: Kind>(store: &Store, cache: &Cache<K>) {
    let mut all = cache.unreadable();
    let mut told = HashMap::new();
    loop {
        let now: BTreeMap<String, Unreadable> = all.borrow_and_update().clone();
        told.retain(|key, _| now.contains_key(key));
        for (key, unreadable) in now {
            if told.insert(key, unreadable.error.clone()).as_ref() != Some(&unreadable.error) {
                store.tell_unreadable::<K>(&unreadable);
            }
        }
        // The sender lives as long as the cache.
        if all.changed().await.is_err() {
            return;
        }
    }
}
