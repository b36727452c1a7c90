//! One shared watch per kind: what it has seen, who waits for which object, and who wants to know
//! of every change. Waiting never opens a watch of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::guard::Guarded;
use super::{Kind, Store};

/// What was last seen of all objects of a kind. Cheap to clone.
pub struct Cache<K: Kind> {
    shared: Arc<Shared<K>>,
}

struct Shared<K: Kind> {
    objects: reflector::Store<K>,
    waiting: Mutex<HashMap<String, Arc<Notify>>>,
    listeners: Mutex<Vec<Arc<Listener<K>>>>,
    /// How many complete lists were asked for, and the number of the last one that has been seen.
    wanted: watch::Sender<u64>,
    synced: watch::Sender<u64>,
    /// What was there before a list that is under way: what is missing from it went unseen.
    before: Mutex<Vec<Arc<K>>>,
    /// Objects that are stored and not understood, by namespace and name.
    unreadable: watch::Sender<BTreeMap<String, Unreadable>>,
}

/// A stored object that is not understood: it was written under another schema, or past ours. The
/// cache keeps what it last understood of it; nobody works on it until it was mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its kind.
    pub kind: String,
    /// Its namespace; none when the kind has none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Option<String>,
    /// The state of it that was looked at.
    pub resource_version: Option<String>,
    /// What is wrong with it.
    pub error: String,
}

impl Unreadable {
    /// An object by what was understood of it.
    pub(super) fn new<K: Kind>(object: &InvalidObject) -> Self {
        let metadata = &object.metadata;
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            error: object.error.clone(),
        }
    }

    /// What an event about it refers to.
    pub(super) fn reference<K: Kind>(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(self.kind.clone()),
            namespace: self.namespace.clone(),
            name: Some(self.name.clone()),
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
            field_path: None,
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, error, .. } = self;
        write!(
            f,
            "{kind} {name} is stored and not understood: {error}; nothing is done about it until it is mended (kubectl edit)"
        )
    }
}

/// Where something stands in the map of what is not understood.
fn place(namespace: Option<&str>, name: &str) -> String {
    format!("{}/{name}", namespace.unwrap_or_default())
}

struct Listener<K: Kind> {
    changed: Mutex<HashSet<ObjectRef<K>>>,
    wake: Notify,
}

/// Somebody who waits for an object; nobody is left waiting when this is dropped.
struct Waiting<'a, K: Kind> {
    shared: &'a Shared<K>,
    name: &'a str,
    notify: Arc<Notify>,
}

impl<'a, K: Kind> Waiting<'a, K> {
    fn new(shared: &'a Shared<K>, name: &'a str) -> Self {
        let notify = shared.waiting.lock().entry(name.to_owned()).or_default().clone();
        Self { shared, name, notify }
    }
}

impl<K: Kind> Drop for Waiting<'_, K> {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting.lock();
        // Two references are left when nobody else waits: ours and the map's.
        if Arc::strong_count(&self.notify) <= 2 {
            waiting.remove(self.name);
        }
    }
}

/// How many changes are handed on at once, at the most.
const PART: usize = 256;
/// The pause after each part.
const BETWEEN_PARTS: Duration = Duration::from_millis(5);

/// The names of changed objects, each once however often it changed: the queue is never longer than
/// the number of objects.
pub struct Changes<K: Kind>(Arc<Listener<K>>);

impl<K: Kind> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Kind> Cache<K> {
    /// A cache of a kind, and the work that keeps it filled: it ends only when the process does.
    pub fn start(store: &Store) -> (Self, impl Future<Output = ()> + Send + use<K>) {
        // An object that is not understood must not end the watch of all others.
        let api = kube::Api::<Guarded<K>>::all(store.client());
        let (objects, mut writer) = reflector::store::<K>();
        let shared = Arc::new(Shared {
            objects,
            waiting: Mutex::default(),
            listeners: Mutex::default(),
            wanted: watch::Sender::new(1),
            synced: watch::Sender::new(0),
            before: Mutex::default(),
            unreadable: watch::Sender::default(),
        });
        let cache = Self { shared: shared.clone() };
        let fill = async move {
            let mut wanted = shared.wanted.subscribe();
            loop {
                let list = *wanted.borrow_and_update();
                let events = watcher(api.clone(), watcher::Config::default()).backoff(Pauses::default());
                let mut events = std::pin::pin!(events);
                loop {
                    tokio::select! {
                        Some(event) = events.next() => shared.see(event, list, &mut writer),
                        // The sender lives in `shared`: this ends with a new number only.
                        Ok(()) = wanted.changed() => break,
                        else => return,
                    }
                }
            }
        };
        (cache, fill)
    }

    /// Waits until the first complete list has been seen.
    pub async fn synced(&self) {
        self.seen_list(1).await;
    }

    /// Lists everything anew, as it is now, and waits until that has been seen: what was written
    /// before the call is in the cache afterwards, however long the watch was behind.
    pub async fn refresh(&self) {
        let mut list = 0;
        self.shared.wanted.send_modify(|wanted| {
            *wanted += 1;
            list = *wanted;
        });
        self.seen_list(list).await;
    }

    async fn seen_list(&self, list: u64) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives in `shared`, which `self` holds: waiting cannot end without a value.
        let _ = synced.wait_for(|synced| *synced >= list).await;
    }

    /// The cluster-scoped object of that name, if it has been seen.
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.shared.objects.get(&ObjectRef::new(name))
    }

    /// The object that a reference names, if it has been seen.
    pub fn get_ref(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        self.shared.objects.get(reference)
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.objects.state()
    }

    /// The first object that the test accepts.
    pub fn find(&self, test: impl Fn(&K) -> bool) -> Option<Arc<K>> {
        self.shared.objects.find(test)
    }

    /// Whether the object is stored in a form that is not understood now.
    pub fn is_unreadable(&self, object: &K) -> bool {
        let key = place(object.meta().namespace.as_deref(), &object.name_any());
        self.shared.unreadable.borrow().contains_key(&key)
    }

    /// The objects that are not understood now, and whoever waits for changes of that.
    pub fn unreadable(&self) -> watch::Receiver<BTreeMap<String, Unreadable>> {
        self.shared.unreadable.subscribe()
    }

    /// The reader that the controller runtime wants.
    pub fn reader(&self) -> reflector::Store<K> {
        self.shared.objects.clone()
    }

    /// Waits until `test` gives a value for what is seen under `name` (nothing when it is gone), or
    /// until the time is over.
    pub async fn wait<T>(
        &self,
        name: &str,
        timeout: Duration,
        mut test: impl FnMut(Option<&K>) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + timeout;
        let waiting = Waiting::new(&self.shared, name);
        loop {
            let mut woken = std::pin::pin!(waiting.notify.notified());
            woken.as_mut().enable();
            if let Some(value) = test(self.get(name).as_deref()) {
                return Some(value);
            }
            if tokio::time::timeout_at(until, woken).await.is_err() {
                return test(self.get(name).as_deref());
            }
        }
    }

    /// A stream of references to objects that changed, beginning with all that are there.
    pub fn changes(&self) -> Changes<K> {
        let listener = Arc::new(Listener { changed: Mutex::default(), wake: Notify::new() });
        self.shared.listeners.lock().push(listener.clone());
        let now = self.list();
        listener.changed.lock().extend(now.iter().map(|object| ObjectRef::from_obj(object.as_ref())));
        listener.wake.notify_one();
        Changes(listener)
    }
}

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

    /// The changes as a stream for the controller runtime. Very many at once, as at a start, come in parts: the
    /// runtime keeps room for as many as ever waited there.
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

impl<K: Kind> Shared<K> {
    /// Takes in what a watch says that began with the list of this number.
    fn see(
        &self,
        event: Result<watcher::Event<Guarded<K>>, watcher::Error>,
        list: u64,
        writer: &mut reflector::store::Writer<K>,
    ) {
        match event {
            Ok(event) => {
                let Some(mut event) = self.understood(event) else { return };
                strip(&mut event);
                self.take_in(&event, writer);
                if matches!(event, watcher::Event::InitDone) {
                    self.synced.send_replace(list);
                }
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "a watch was interrupted and starts again")
            }
        }
    }

    /// An event as far as it is understood. What was last understood of an object stays as it was.
    fn understood(&self, event: watcher::Event<Guarded<K>>) -> Option<watcher::Event<K>> {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        match event {
            Init => {
                self.unreadable.send_if_modified(|all| !std::mem::take(all).is_empty());
                Some(Init)
            }
            InitDone => Some(InitDone),
            Apply(Guarded(Ok(object))) => {
                self.forget_unreadable(&object);
                Some(Apply(object))
            }
            InitApply(Guarded(Ok(object))) => Some(InitApply(object)),
            Delete(Guarded(Ok(object))) => {
                self.forget_unreadable(&object);
                Some(Delete(object))
            }
            Apply(Guarded(Err(object))) => {
                self.remember_unreadable(&object);
                None
            }
            InitApply(Guarded(Err(object))) => {
                self.remember_unreadable(&object);
                Some(InitApply(self.last_understood(&object)?))
            }
            Delete(Guarded(Err(object))) => {
                let last = self.last_understood(&object);
                let metadata = &object.metadata;
                let name = metadata.name.as_deref().unwrap_or_default();
                let key = place(metadata.namespace.as_deref(), name);
                self.unreadable.send_if_modified(|all| all.remove(&key).is_some());
                Some(Delete(last?))
            }
        }
    }

    fn last_understood(&self, object: &InvalidObject) -> Option<K> {
        let mut reference = ObjectRef::new(object.metadata.name.as_deref()?);
        reference.namespace.clone_from(&object.metadata.namespace);
        self.objects.get(&reference).map(Arc::unwrap_or_clone)
    }

    fn remember_unreadable(&self, object: &InvalidObject) {
        let unreadable = Unreadable::new::<K>(object);
        tracing::warn!(
            kind = unreadable.kind,
            name = unreadable.name,
            error = unreadable.error,
            "a stored object is not understood"
        );
        let key = place(unreadable.namespace.as_deref(), &unreadable.name);
        self.unreadable.send_modify(|all| drop(all.insert(key, unreadable)));
    }

    fn forget_unreadable(&self, object: &K) {
        let key = place(object.meta().namespace.as_deref(), &object.name_any());
        self.unreadable.send_if_modified(|all| all.remove(&key).is_some());
    }

    /// Keeps what is there when a new list begins: the list does not say what went away meanwhile.
    fn remember(&self, event: &watcher::Event<K>) {
        if matches!(event, watcher::Event::Init) {
            *self.before.lock() = self.objects.state();
        }
    }

    /// Takes an event in and tells everybody. Whoever has seen the new state and then looks what has changed finds
    /// it there: lists of changes are held while the state changes.
    fn take_in(&self, event: &watcher::Event<K>, writer: &mut reflector::store::Writer<K>) {
        self.remember(event);
        let listeners = self.listeners.lock();
        let mut lists: Vec<_> = listeners.iter().map(|listener| listener.changed.lock()).collect();
        writer.apply_watcher_event(event);
        let changed = self.changed(event);
        for list in &mut lists {
            list.extend(changed.iter().cloned());
        }
        drop(lists);
        if !changed.is_empty() {
            listeners.iter().for_each(|listener| listener.wake.notify_one());
        }
        drop(listeners);
        let waiting = self.waiting.lock();
        if matches!(event, watcher::Event::InitDone) {
            // Whoever waits for an object that went away while the watch was down looks again too.
            waiting.values().for_each(|notify| notify.notify_waiters());
        } else if let Some(notify) = changed.first().and_then(|one| waiting.get(&one.name)) {
            notify.notify_waiters();
        }
    }

    /// The objects that an event which has been taken in has changed.
    fn changed(&self, event: &watcher::Event<K>) -> Vec<ObjectRef<K>> {
        match event {
            watcher::Event::Apply(object) | watcher::Event::Delete(object) => {
                vec![ObjectRef::from_obj(object)]
            }
            watcher::Event::InitDone => {
                let before = std::mem::take(&mut *self.before.lock());
                let now = self.objects.state();
                now.iter().chain(&before).map(|object| ObjectRef::from_obj(object.as_ref())).collect()
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => vec![],
        }
    }
}

/// The longest pause before a broken watch starts again: whoever waits for an object waits for the
/// watch too.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The usual pauses, but none longer than [`LONGEST_PAUSE`].
#[derive(Default)]
struct Pauses(DefaultBackoff);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST_PAUSE))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Annotations longer than this many bytes are kept by their writers for themselves, and read live.
const LONG_ANNOTATION: usize = 128;

/// Drops what is only ever read live and what would double the memory of a large cache.
fn strip<K: Kind>(event: &mut watcher::Event<K>) {
    if let watcher::Event::Apply(object) | watcher::Event::InitApply(object) = event {
        object.meta_mut().managed_fields = None;
        if let Some(annotations) = object.meta_mut().annotations.as_mut() {
            annotations.retain(|_, value| value.len() <= LONG_ANNOTATION);
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
