//! One shared watch per kind: what it has seen, who waits for which object, and who wants to know
//! of every change. Waiting never opens a watch of its own.

mod changes;
mod noted;
mod objects;
mod unreadable;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::guard::{Guarded, Read};
use super::{Kind, Store};
use changes::Listener;
pub use changes::{Changes, in_parts};
pub use noted::Noted;
pub use objects::Key;
use objects::Objects;
pub(super) use objects::key;
pub use unreadable::Unreadable;

/// What was last seen of all objects of a kind. Cheap to clone.
pub struct Cache<K: Kind> {
    shared: Arc<Shared<K>>,
}

struct Shared<K: Kind> {
    objects: Objects<K>,
    waiting: Mutex<HashMap<String, Arc<Notify>>>,
    listeners: Mutex<Vec<Arc<Listener<K>>>>,
    /// Held while something changes.
    observers: Mutex<Vec<Observer<K>>>,
    /// How many complete lists were asked for, and the number of the last one that has been seen.
    wanted: watch::Sender<u64>,
    synced: watch::Sender<u64>,
    /// Objects that are stored and not understood, by namespace and name.
    unreadable: watch::Sender<BTreeMap<String, Unreadable>>,
}

/// Who notes something of each object: its name and what is seen under it; nothing when it is gone.
type Observer<K> = Box<dyn Fn(&Key, Option<&K>) + Send + Sync>;

/// Where something stands in the map of what is not understood.
fn place(namespace: Option<&str>, name: &str) -> String {
    format!("{}/{name}", namespace.unwrap_or_default())
}

/// How often it is looked what may rest, and how much of it is packed then at the most: it never takes much of what
/// others work with.
const PACK_EVERY: Duration = Duration::from_millis(50);
const PACK_AT_ONCE: usize = 64;

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

impl<K: Kind> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Kind> Cache<K> {
    /// A cache of a kind, and the work that keeps it filled: it ends only when the process does.
    pub fn start(store: &Store) -> (Self, impl Future<Output = ()> + Send + use<K>) {
        Self::keeping(store, None)
    }

    /// The same for a kind of which there are very many: those that changed last, as many as given, are kept as they
    /// are, and the others packed. Each of these is opened whenever it is looked at, so nobody should look at all of
    /// them often.
    pub fn resting(store: &Store, most_open: usize) -> (Self, impl Future<Output = ()> + Send + use<K>) {
        Self::keeping(store, Some(most_open))
    }

    fn keeping(store: &Store, most_open: Option<usize>) -> (Self, impl Future<Output = ()> + Send + use<K>) {
        // An object that is not understood must not end the watch of all others.
        let api = kube::Api::<Guarded<K>>::all(store.client());
        let shared = Arc::new(Shared::new(most_open));
        let cache = Self { shared: shared.clone() };
        let fill = async move {
            let mut wanted = shared.wanted.subscribe();
            let mut pack = tokio::time::interval(PACK_EVERY);
            pack.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let list = *wanted.borrow_and_update();
                let events = watcher(api.clone(), watcher::Config::default()).backoff(Pauses::default());
                let mut events = std::pin::pin!(events);
                loop {
                    tokio::select! {
                        Some(event) = events.next() => shared.see(event, list),
                        // The sender lives in `shared`: this ends with a new number only.
                        Ok(()) = wanted.changed() => break,
                        _ = pack.tick(), if most_open.is_some() => shared.objects.pack(PACK_AT_ONCE),
                        else => return,
                    }
                }
            }
        };
        (cache, fill)
    }

    /// A cache that is filled by hand.
    #[cfg(test)]
    pub(in crate::store) fn by_hand() -> Self {
        Self { shared: Arc::new(Shared::new(None)) }
    }

    /// What a watch says.
    #[cfg(test)]
    pub(in crate::store) fn feed(&self, event: watcher::Event<K>) {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let read = |object: K| {
            let text = serde_json::value::to_raw_value(&object).unwrap();
            Read { object, text }
        };
        self.shared.take_in(match event {
            Apply(object) => Apply(read(object)),
            Delete(object) => Delete(read(object)),
            InitApply(object) => InitApply(read(object)),
            Init => Init,
            InitDone => InitDone,
        });
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
        self.shared.objects.get(name)
    }

    /// The object that a reference names, if it has been seen.
    pub fn get_ref(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        match reference.namespace {
            None => self.get(&reference.name),
            Some(_) => self.get(&key(reference)),
        }
    }

    /// References to all objects, in no order.
    pub fn references(&self) -> Vec<ObjectRef<K>> {
        self.shared.objects.references()
    }

    /// All objects, in no order. Of very many [`Cache::each`] keeps one at a time open.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.each().collect()
    }

    /// All objects, one after the other, in no order.
    pub fn each(&self) -> impl Iterator<Item = Arc<K>> {
        self.shared.objects.each()
    }

    /// The first object that the test accepts.
    pub fn find(&self, test: impl Fn(&K) -> bool) -> Option<Arc<K>> {
        self.each().find(|object| test(object))
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

    /// Tells an observer of all objects that are there, and of each change from now on, before anybody else can see
    /// it. Of an object that rests nothing more has to be opened for it. An observer must not look into the cache.
    pub fn observe(&self, observer: impl Fn(&Key, Option<&K>) + Send + Sync + 'static) {
        let mut observers = self.shared.observers.lock();
        for key in self.shared.objects.keys() {
            observer(&key, self.get(&key).as_deref());
        }
        for (key, object) in self.shared.objects.come_so_far() {
            observer(&key, Some(&object));
        }
        observers.push(Box::new(observer));
    }

    /// A stream of references to objects that changed, beginning with all that are there.
    pub fn changes(&self) -> Changes<K> {
        let listener = Arc::new(Listener { changed: Mutex::default(), wake: Notify::new() });
        self.shared.listeners.lock().push(listener.clone());
        listener.changed.lock().extend(self.references());
        listener.wake.notify_one();
        Changes(listener)
    }
}

impl<K: Kind> Shared<K> {
    fn new(most_open: Option<usize>) -> Self {
        Self {
            objects: Objects::new(most_open),
            waiting: Mutex::default(),
            listeners: Mutex::default(),
            observers: Mutex::default(),
            wanted: watch::Sender::new(1),
            synced: watch::Sender::new(0),
            unreadable: watch::Sender::default(),
        }
    }

    /// Takes in what a watch says that began with the list of this number.
    fn see(&self, event: Result<watcher::Event<Guarded<K>>, watcher::Error>, list: u64) {
        match event {
            Ok(event) => {
                let Some(event) = self.understood(event) else { return };
                let is_complete = matches!(event, watcher::Event::InitDone);
                self.take_in(event);
                if is_complete {
                    self.synced.send_replace(list);
                }
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "a watch was interrupted and starts again")
            }
        }
    }

    /// An event as far as it is understood. What was last understood of an object stays as it was.
    fn understood(&self, event: watcher::Event<Guarded<K>>) -> Option<watcher::Event<Read<K>>> {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        match event {
            Init => {
                self.unreadable.send_if_modified(|all| !std::mem::take(all).is_empty());
                Some(Init)
            }
            InitDone => Some(InitDone),
            Apply(Guarded(Ok(read))) => {
                self.forget_unreadable(read.object.meta());
                Some(Apply(read))
            }
            InitApply(Guarded(Ok(read))) => Some(InitApply(read)),
            Delete(Guarded(Ok(read))) => {
                self.forget_unreadable(read.object.meta());
                Some(Delete(read))
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
                self.forget_unreadable(&object.metadata);
                Some(Delete(last?))
            }
        }
    }

    fn last_understood(&self, object: &InvalidObject) -> Option<Read<K>> {
        let mut reference = ObjectRef::<K>::new(object.metadata.name.as_deref()?);
        reference.namespace.clone_from(&object.metadata.namespace);
        let last = self.objects.get(&key(&reference))?;
        let text = serde_json::value::to_raw_value(last.as_ref()).ok()?;
        Some(Read { object: Arc::unwrap_or_clone(last), text })
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

    fn forget_unreadable(&self, metadata: &ObjectMeta) {
        let key = place(metadata.namespace.as_deref(), metadata.name.as_deref().unwrap_or_default());
        self.unreadable.send_if_modified(|all| all.remove(&key).is_some());
    }

    /// Takes an event in and tells everybody. Whoever has seen the new state and then looks what has changed finds
    /// it there: lists of changes are held while the state changes.
    fn take_in(&self, event: watcher::Event<Read<K>>) {
        let is_list = matches!(event, watcher::Event::InitDone);
        let listeners = self.listeners.lock();
        let mut lists: Vec<_> = listeners.iter().map(|listener| listener.changed.lock()).collect();
        let changed = self.apply(event);
        for list in &mut lists {
            list.extend(changed.iter().cloned());
        }
        drop(lists);
        if !changed.is_empty() {
            listeners.iter().for_each(|listener| listener.wake.notify_one());
        }
        drop(listeners);
        let waiting = self.waiting.lock();
        if is_list {
            // Whoever waits for an object that went away while the watch was down looks again too.
            waiting.values().for_each(|notify| notify.notify_waiters());
        } else if let Some(notify) = changed.first().and_then(|one| waiting.get(&one.name)) {
            notify.notify_waiters();
        }
    }

    /// Changes what is held by an event, and gives back the objects that it has changed. A list does not say what went
    /// away while the watch was down: after one, all that were there before count as changed too.
    fn apply(&self, event: watcher::Event<Read<K>>) -> Vec<ObjectRef<K>> {
        let observers = self.observers.lock();
        let tell =
            |key: &Key, object: Option<&K>| observers.iter().for_each(|observer| observer(key, object));
        match event {
            watcher::Event::Apply(read) => {
                let changed = ObjectRef::from_obj(&read.object);
                let key = key(&changed);
                tell(&key, Some(&read.object));
                self.objects.put(key, read);
                vec![changed]
            }
            watcher::Event::Delete(read) => {
                let changed = ObjectRef::from_obj(&read.object);
                let key = key(&changed);
                tell(&key, None);
                self.objects.remove(&key);
                vec![changed]
            }
            watcher::Event::Init => {
                self.objects.begin();
                vec![]
            }
            watcher::Event::InitApply(read) => {
                let key = key(&ObjectRef::from_obj(&read.object));
                tell(&key, Some(&read.object));
                self.objects.come(key, read);
                vec![]
            }
            watcher::Event::InitDone => {
                self.objects.going().iter().for_each(|key| tell(key, None));
                self.objects.complete()
            }
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

#[cfg(test)]
mod tests;
