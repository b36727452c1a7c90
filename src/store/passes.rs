//! Runs passes over the objects of a cache: one at a time for each object, so many in all, in the order in which they
//! were asked for. What is asked for while a pass runs comes after it, once. The queue remembers names, and only of
//! objects that there is something to do about.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use kube::runtime::reflector::ObjectRef;
use tokio_util::time::{DelayQueue, delay_queue};
use tracing::Instrument;

use super::Kind;
use super::cache::{Cache, Key, key};

/// The longest time until an object is looked at again: the clock behind it goes no further than two years.
const LONGEST: Duration = Duration::from_secs(180 * 86_400);

/// What comes of a pass: when the object is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    after: Option<Duration>,
}

impl Action {
    /// When something changes.
    pub const fn await_change() -> Self {
        Self { after: None }
    }

    /// After a pause, or when something changes before.
    pub const fn requeue(after: Duration) -> Self {
        Self { after: Some(after) }
    }
}

/// Runs a pass over an object whenever `wakes` names it, and again when the pass says so; `at_once` of them at the same
/// time. Ends when `wakes` does.
pub async fn run_passes<K: Kind, F>(
    cache: Cache<K>,
    wakes: impl Stream<Item = ObjectRef<K>> + Send,
    at_once: usize,
    pass: impl Fn(Arc<K>) -> F,
) where
    F: Future<Output = Action> + Send,
{
    let mut wakes = std::pin::pin!(wakes);
    let mut running = FuturesUnordered::new();
    let mut queue = Queue::default();
    let mut later = Later::default();
    loop {
        while running.len() < at_once {
            let Some(next) = queue.take() else { break };
            let Some(object) = cache.get(&next) else {
                queue.done(&next);
                continue;
            };
            let span = tracing::info_span!("pass", kind = %K::kind(&()), object = &*next);
            let outcome = span.in_scope(|| pass(object)).map(move |action| (next, action));
            running.push(outcome.instrument(span));
        }
        tokio::select! {
            Some((done, action)) = running.next() => {
                let is_wanted = queue.done(&done);
                if let Some(pause) = action.after.filter(|_| !is_wanted) {
                    later.put(done, pause);
                }
            }
            woken = wakes.next() => {
                let Some(woken) = woken else { return };
                let woken = key(&woken);
                later.forget(&woken);
                queue.ask(woken);
            }
            Some(due) = later.due() => queue.ask(due),
        }
    }
}

/// Who is to have a pass now, and who has one.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Key>,
    /// Those in `waiting`.
    asked: HashSet<Key>,
    /// Those that have a pass, and whether they are to have another one.
    running: HashMap<Key, bool>,
}

impl Queue {
    fn ask(&mut self, key: Key) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = true;
        } else if self.asked.insert(key.clone()) {
            self.waiting.push_back(key);
        }
    }

    fn take(&mut self) -> Option<Key> {
        let next = self.waiting.pop_front()?;
        self.asked.remove(&next);
        self.running.insert(next.clone(), false);
        if self.waiting.is_empty() {
            // A start has all objects in it, and memory is not kept for that.
            (self.waiting, self.asked) = Default::default();
        }
        Some(next)
    }

    /// A pass is over. Whether the object is to have another one at once.
    fn done(&mut self, key: &Key) -> bool {
        let again = self.running.remove(key).unwrap_or_default();
        if again {
            self.ask(key.clone());
        }
        again
    }
}

/// Who is to have a pass after a pause.
#[derive(Default)]
struct Later {
    queue: DelayQueue<Key>,
    places: HashMap<Key, delay_queue::Key>,
}

impl Later {
    fn put(&mut self, key: Key, pause: Duration) {
        self.forget(&key);
        let place = self.queue.insert(key.clone(), pause.min(LONGEST));
        self.places.insert(key, place);
    }

    fn forget(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            self.queue.remove(&place);
        }
    }

    async fn due(&mut self) -> Option<Key> {
        let due = self.queue.next().await?.into_inner();
        self.places.remove(&due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;
    use kube::runtime::watcher;
    use parking_lot::Mutex;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A cache with objects of these names.
    fn cache(names: &[&str]) -> Cache<ConfigMap> {
        let cache = Cache::by_hand();
        for name in names {
            cache.feed(watcher::Event::Apply(ConfigMap {
                metadata: ObjectMeta { name: Some((*name).into()), ..ObjectMeta::default() },
                ..ConfigMap::default()
            }));
        }
        cache
    }

    type Wakes = mpsc::UnboundedSender<ObjectRef<ConfigMap>>;

    /// Runs passes over these objects; what they wake goes into the sender.
    fn start<F: Future<Output = Action> + Send + 'static>(
        names: &[&str],
        at_once: usize,
        pass: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> Wakes {
        let (send, receive) = mpsc::unbounded_channel();
        let wakes = futures::stream::unfold(receive, |mut receive: mpsc::UnboundedReceiver<_>| async move {
            Some((receive.recv().await?, receive))
        });
        let pass = move |object: Arc<ConfigMap>| pass(object.metadata.name.clone().unwrap_or_default());
        tokio::spawn(run_passes(cache(names), wakes, at_once, pass));
        send
    }

    fn wake(wakes: &Wakes, name: &str) {
        wakes.send(ObjectRef::new(name)).unwrap();
    }

    /// The shortest pause here: long enough that a busy machine does not turn one into two.
    const WHILE: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn an_object_has_one_pass_at_a_time_and_all_have_so_many() {
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let now: Arc<Mutex<Vec<String>>> = Arc::default();
        let (most, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let wakes = start(&names, 3, {
            let (now, most, done) = (now.clone(), most.clone(), done.clone());
            move |name| {
                let (now, most, done) = (now.clone(), most.clone(), done.clone());
                async move {
                    {
                        let mut now = now.lock();
                        assert!(!now.contains(&name), "{name} has a pass already");
                        now.push(name.clone());
                        most.fetch_max(now.len(), Ordering::Relaxed);
                    }
                    sleep(WHILE).await;
                    now.lock().retain(|other| *other != name);
                    done.fetch_add(1, Ordering::Relaxed);
                    Action::await_change()
                }
            }
        });
        names.iter().for_each(|name| wake(&wakes, name));
        while now.lock().len() < 3 {
            sleep(WHILE / 20).await;
        }
        // Those that have a pass are to have one more; those that wait have been asked for already.
        (0..5).for_each(|_| names.iter().for_each(|name| wake(&wakes, name)));
        while done.load(Ordering::Relaxed) < 13 {
            sleep(WHILE / 20).await;
        }
        sleep(2 * WHILE).await;
        assert_eq!((most.load(Ordering::Relaxed), done.load(Ordering::Relaxed)), (3, 13));
    }

    #[tokio::test]
    async fn a_pass_comes_again_when_it_said_so_or_when_it_is_woken_before() {
        let (begun, at): (_, Arc<Mutex<Vec<Duration>>>) = (Instant::now(), Arc::default());
        let wakes = start(&["a", "b"], 2, {
            let at = at.clone();
            move |_| {
                let mut at = at.lock();
                at.push(begun.elapsed());
                let again = if at.len() < 3 { Action::requeue(10 * WHILE) } else { Action::await_change() };
                async move { again }
            }
        });
        wake(&wakes, "a");
        while at.lock().len() < 2 {
            sleep(WHILE / 20).await;
        }
        wake(&wakes, "a");
        sleep(15 * WHILE).await;
        let at = at.lock().clone();
        assert_eq!(at.len(), 3, "the pause that was left has ended with the pass that came before: {at:?}");
        assert!(at[1] - at[0] >= 10 * WHILE && at[2] - at[1] < 10 * WHILE, "{at:?}");
    }

    #[tokio::test]
    async fn what_is_gone_has_no_pass_and_stops_nobody() {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let wakes = start(&["here"], 1, {
            let seen = seen.clone();
            move |name| {
                seen.lock().push(name);
                async { Action::requeue(Duration::MAX) }
            }
        });
        wake(&wakes, "gone");
        wake(&wakes, "here");
        sleep(WHILE).await;
        wake(&wakes, "gone");
        wake(&wakes, "here");
        sleep(WHILE).await;
        assert_eq!(*seen.lock(), ["here", "here"]);
    }
}
