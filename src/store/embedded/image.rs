//! What is committed, in memory: all objects by shelf, and the recent changes in order.
//!
//! Readers take this and never the database. Watchers hold a number, not a queue: the version up to which
//! they have read. The log keeps what was before each change, so that a selector watch can tell "began to
//! match" from "changed", and a list of several pages can show one moment. What leaves the log is packed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::object::Stored;
use super::packed;

/// Where an object lies on its shelf: `namespace/name`, with an empty namespace for cluster-scoped kinds.
pub(super) type Path = Arc<str>;

/// One committed change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) shelf: usize,
    pub(super) path: Path,
    pub(super) before: Option<Arc<Stored>>,
    /// `None`: deleted.
    pub(super) after: Option<Arc<Stored>>,
}

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Changes at most.
    pub(super) changes: usize,
    /// Bytes of superseded objects at most.
    pub(super) bytes: usize,
}

/// How old a change is that is not needed any more, unless it is one of the last few: who reads the changes has read it
/// by then.
const OLD: Duration = Duration::from_secs(2);
/// How far apart the moments are that are remembered of the past.
const MOMENTS: Duration = Duration::from_millis(250);

impl Window {
    /// What is kept of the past that is old.
    fn rested(self) -> Window {
        Window { changes: self.changes.min(1024), bytes: self.bytes.min(1024 * 1024) }
    }
}

/// The objects of a kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    objects: BTreeMap<Path, Arc<Stored>>,
    /// What the others are packed against: the first one that rested and was worth it.
    like: Option<Arc<[u8]>>,
}

impl Shelf {
    /// Adds an object, or another state of it.
    pub(super) fn put(&mut self, path: Path, object: Arc<Stored>) {
        self.objects.insert(path, object);
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.objects.contains_key(path)
    }

    /// Packs an object at once.
    pub(super) fn pack(&mut self, path: &Path) {
        let packed =
            self.objects.get(path).cloned().and_then(|object| Some(object.packed(&self.like(&object)?)));
        if let Some(packed) = packed.flatten() {
            self.put(path.clone(), Arc::new(packed));
        }
    }

    /// What an object is packed against, if it is worth it.
    fn like(&mut self, object: &Stored) -> Option<Arc<[u8]>> {
        let worth_it = object.len() >= packed::WORTH_IT;
        worth_it.then(|| self.like.get_or_insert_with(|| Arc::from(&object.bytes()[..])).clone())
    }
}

/// An object that has not changed for so long that the log has forgotten it.
pub(super) struct Resting {
    shelf: usize,
    path: Path,
    object: Arc<Stored>,
    like: Arc<[u8]>,
}

impl Resting {
    /// The same, packed.
    pub(super) fn packed(self) -> Option<Resting> {
        let packed = self.object.packed(&self.like)?;
        Some(Resting { object: Arc::new(packed), ..self })
    }
}

/// The committed state.
#[derive(Debug)]
pub(super) struct Image {
    shelves: Vec<Shelf>,
    log: VecDeque<Change>,
    log_bytes: usize,
    /// When which version was the newest, oldest first.
    moments: VecDeque<(Instant, u64)>,
    window: Window,
    /// Version of the newest change.
    head: u64,
    /// Version of the newest change that is no longer in the log.
    floor: u64,
}

impl Image {
    /// An image of what was loaded: the past is not known.
    pub(super) fn new(shelves: Vec<Shelf>, head: u64, window: Window) -> Image {
        Image {
            shelves,
            log: VecDeque::new(),
            log_bytes: 0,
            moments: VecDeque::new(),
            window,
            head,
            floor: head,
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// The oldest version from which a watch can start.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Changes in the log.
    pub(super) fn log_len(&self) -> usize {
        self.log.len()
    }

    pub(super) fn get(&self, shelf: usize, path: &str) -> Option<&Arc<Stored>> {
        self.shelves.get(shelf)?.objects.get(path)
    }

    /// The path as the shelf spells it, to be shared instead of copied.
    pub(super) fn path(&self, shelf: usize, path: &str) -> Option<Path> {
        self.shelves.get(shelf)?.objects.get_key_value(path).map(|(path, _)| path.clone())
    }

    /// A whole shelf, in order of path.
    pub(super) fn shelf(&self, shelf: usize) -> impl DoubleEndedIterator<Item = (&Path, &Arc<Stored>)> {
        self.shelves.get(shelf).into_iter().flat_map(|shelf| &shelf.objects)
    }

    /// The part of a shelf from `start` on.
    pub(super) fn from(&self, shelf: usize, start: &str) -> impl Iterator<Item = (&Path, &Arc<Stored>)> {
        use std::ops::Bound::{Included, Unbounded};
        let shelf = self.shelves.get(shelf).into_iter();
        shelf.flat_map(move |shelf| shelf.objects.range::<str, _>((Included(start), Unbounded)))
    }

    /// The changes after `version`, oldest first; `None` when they are no longer all known, or when the
    /// version lies in the future (a restored database).
    pub(super) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        if version < self.floor || version > self.head {
            return None;
        }
        let from = self.log.partition_point(|c| c.version <= version);
        Some(self.log.range(from..))
    }

    /// What a shelf held at `version`, where that differs from now: the objects as they were, `None` for
    /// those that were not there.
    pub(super) fn undo_to(&self, shelf: usize, version: u64) -> Option<HashMap<Path, Option<Arc<Stored>>>> {
        let mut past = HashMap::new();
        for change in self.since(version)?.filter(|c| c.shelf == shelf) {
            past.entry(change.path.clone()).or_insert_with(|| change.before.clone());
        }
        Some(past)
    }

    /// Makes a committed batch visible. `changes` are in order of version. What rests from now on is to be packed, and
    /// put back with [`Image::put_back`]: not here, where readers wait.
    pub(super) fn publish(&mut self, changes: Vec<Change>, now: Instant) -> Vec<Resting> {
        for change in changes {
            let Some(shelf) = self.shelves.get_mut(change.shelf) else {
                continue;
            };
            match &change.after {
                Some(after) => shelf.put(change.path.clone(), after.clone()),
                None => drop(shelf.objects.remove(&change.path)),
            }
            self.head = change.version;
            self.log_bytes += weight(&change);
            self.log.push_back(change);
        }
        if self.moments.back().is_none_or(|(last, _)| now.duration_since(*last) >= MOMENTS) {
            self.moments.push_back((now, self.head));
        }
        self.forget(self.window, u64::MAX, usize::MAX)
    }

    /// Whether more of the past is kept than the last few changes.
    pub(super) fn can_rest(&self) -> bool {
        self.exceeds(self.window.rested())
    }

    /// Forgets so many changes at the most that are old and not among the last few. What rests from now on is to be
    /// packed, as after [`Image::publish`].
    pub(super) fn rest(&mut self, now: Instant, at_once: usize) -> Vec<Resting> {
        let is_old = |(at, _): &(Instant, u64)| now.duration_since(*at) >= OLD;
        let Some(old) = self.moments.iter().rev().find(|moment| is_old(moment)).map(|(_, version)| *version)
        else {
            return vec![];
        };
        let resting = self.forget(self.window.rested(), old, at_once);
        let floor = self.floor;
        self.moments.retain(|(_, version)| *version > floor);
        if self.log.len() < self.log.capacity() / 4 {
            self.log.shrink_to(self.log.len() * 2);
        }
        resting
    }

    fn exceeds(&self, window: Window) -> bool {
        self.log.len() > window.changes || self.log_bytes > window.bytes
    }

    /// Forgets the oldest changes up to a version until a window is kept, or so many.
    fn forget(&mut self, window: Window, until: u64, most: usize) -> Vec<Resting> {
        let mut resting = vec![];
        for _ in 0..most {
            if !self.exceeds(window) || self.log.front().is_none_or(|oldest| oldest.version > until) {
                break;
            }
            let Some(oldest) = self.log.pop_front() else {
                break;
            };
            self.log_bytes -= weight(&oldest);
            self.floor = oldest.version;
            resting.extend(self.resting(oldest));
        }
        resting
    }

    /// What a forgotten change has left, if nothing has changed it since.
    fn resting(&mut self, Change { version, shelf: at, path, .. }: Change) -> Option<Resting> {
        let shelf = self.shelves.get_mut(at)?;
        let object = shelf.objects.get(&path).filter(|now| now.version == version)?.clone();
        let like = shelf.like(&object)?;
        Some(Resting { shelf: at, path, object, like })
    }

    /// Takes packed objects instead of those that they were, unless they have changed meanwhile.
    pub(super) fn put_back(&mut self, packed: Vec<Resting>) {
        for Resting { shelf, path, object, .. } in packed {
            let now = self.shelves.get_mut(shelf).and_then(|shelf| shelf.objects.get_mut(&path));
            if let Some(now) = now.filter(|now| now.version == object.version) {
                *now = object;
            }
        }
    }
}

/// What a change keeps alive that the shelves do not.
fn weight(change: &Change) -> usize {
    change.before.as_ref().map_or(0, |before| before.weight())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kind::Kinds;
    use super::super::object::Draft;
    use super::*;

    /// Another state of the only object, large enough to be packed.
    fn change(kinds: &Kinds, version: u64, before: Option<Arc<Stored>>) -> Change {
        let kind = kinds.find("", "v1", "configmaps").unwrap();
        let data: BTreeMap<String, String> = (0..40).map(|n| (format!("key-{n}"), "x".repeat(40))).collect();
        let object = json!({ "metadata": { "name": "a", "namespace": "n" }, "data": data });
        let stored = Draft::new(kind, serde_json::from_value(object).unwrap(), None).seal(version);
        Change { version, shelf: 0, path: "n/a".into(), before, after: Some(Arc::new(stored)) }
    }

    /// An image after so many changes, each a while after the one before.
    fn image(count: u64, begun: Instant, apart: Duration) -> Image {
        let kinds = Kinds::new(&[]).unwrap();
        let window = Window { changes: usize::MAX, bytes: usize::MAX };
        let mut image = Image::new(vec![Shelf::default()], 0, window);
        for version in 1..=count {
            let before = image.get(0, "n/a").cloned();
            let at = begun + apart * u32::try_from(version).unwrap();
            assert!(image.publish(vec![change(&kinds, version, before)], at).is_empty());
        }
        image
    }

    fn settle(image: &mut Image, now: Instant) {
        for _ in 0..100 {
            let resting = image.rest(now, 64);
            image.put_back(resting.into_iter().filter_map(Resting::packed).collect());
        }
    }

    #[test]
    fn the_past_is_let_go_once_it_is_old() {
        let begun = Instant::now();
        let mut image = image(3000, begun, Duration::from_millis(1));
        settle(&mut image, begun + Duration::from_secs(2));
        assert_eq!((image.log_len(), image.floor()), (3000, 0), "nothing of it is two seconds old");
        settle(&mut image, begun + Duration::from_secs(3));
        let floor = image.floor();
        assert!((750..=1000).contains(&floor), "the first second of it is: {floor}");
        settle(&mut image, begun + Duration::from_secs(60));
        assert!(!image.can_rest() && image.log_len() <= 1024, "{}", image.log_len());
        assert!(image.since(image.floor()).is_some() && image.since(image.floor() - 1).is_none());
        assert!(image.log_bytes <= 1024 * 1024 && image.moments.len() <= 13, "{}", image.moments.len());
    }

    #[test]
    fn the_last_few_changes_are_kept_however_old() {
        let begun = Instant::now();
        let mut image = image(100, begun, Duration::from_millis(1));
        settle(&mut image, begun + Duration::from_secs(3600));
        assert_eq!((image.log_len(), image.floor()), (100, 0));
    }
}
