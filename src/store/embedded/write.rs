//! The writer: one thread that turns queued writes into durable transactions.
//!
//! A request decides on the image that it sees and hands over the finished object together with the version
//! it decided on. The writer only compares that version, numbers the change and stores it, so many writes
//! share one commit. Nothing is answered and nothing is visible before its commit; a batch whose commit
//! fails leaves no trace, and after that the store takes no more writes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::company::Company;
use super::database::Database;
use super::image::{Change, Image, Path, Resting};
use super::object::{Draft, Stored};

/// Writes that may wait for the writer; more wait outside, unparsed.
const QUEUE: usize = 1024;
/// Writes in one transaction.
const BATCH: usize = 512;
/// Bytes in one transaction; one write more than this still goes through.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How often what is old of the past is let go, and how many changes at once.
const REST_EVERY: Duration = Duration::from_millis(100);
const REST_AT_ONCE: usize = 256;
/// Expired objects removed at one look.
const SWEEP_MOST: usize = 2048;

/// What a write does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The object was not there before.
    Create,
    /// The object is replaced.
    Update,
    /// The object is removed.
    Delete,
}

/// Where a write stands, as told to the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing is on disk yet.
    Before,
    /// The write is durable, and neither visible nor answered.
    After,
}

/// One side of one durable write.
#[derive(Clone, Debug)]
pub struct WritePoint {
    /// Number of the write since the database was opened, from 1.
    pub nth: u64,
    /// Before or after the commit.
    pub moment: Moment,
    /// What is done.
    pub verb: Verb,
    /// `group/plural`, for example `coordination.k8s.io/leases`.
    pub resource: String,
    /// `namespace/name`; the namespace is empty for cluster-scoped kinds.
    pub name: String,
}

/// What the hook wants to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Stop as if the process had died here: no answer, no further write, the database is let go.
    Halt,
}

/// Called around every durable write, on the writer's thread; it may also end the process. With a hook every
/// write is a transaction of its own, so that each point is one at which a crash can really happen.
pub type Hook = Arc<dyn Fn(&WritePoint) -> Verdict + Send + Sync>;

/// A write that was decided on.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) shelf: usize,
    pub(super) path: String,
    /// The version on which the decision rests; `None`: no such object.
    pub(super) expected: Option<u64>,
    pub(super) content: Content,
}

/// The outcome that a write wants.
#[derive(Debug)]
pub(super) enum Content {
    Put(Draft),
    /// Remove; the draft, if any, is the last state to be shown to the client.
    Remove(Option<Draft>),
}

impl Write {
    fn size(&self) -> usize {
        match &self.content {
            Content::Put(draft) | Content::Remove(Some(draft)) => draft.len(),
            Content::Remove(None) => 0,
        }
    }
}

/// Why a write was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotWritten {
    /// The object is no longer in the expected version. Its newer version is visible by now.
    #[error("the object changed in between")]
    Raced,
    /// The disk refused; the store is read-only from now on.
    #[error("the write did not reach the disk: {0}")]
    Storage(String),
    /// Read-only after an earlier storage error.
    #[error("the store is read-only after a storage error")]
    ReadOnly,
    /// Shutting down, or halted.
    #[error("the store is shutting down")]
    Stopped,
}

type Answer = Result<Arc<Stored>, NotWritten>;

enum Message {
    Write(Write, oneshot::Sender<Answer>, OwnedSemaphorePermit),
    Stop(oneshot::Sender<()>),
}

/// Counters of the writer.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) writes: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) commit_micros: AtomicU64,
}

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    /// Set by the writer after a storage error; closed when the writer is gone.
    read_only: watch::Receiver<bool>,
}

impl Queue {
    /// Hands a write over and waits until it is durable and visible, or refused.
    pub(super) async fn write(&self, write: Write) -> Answer {
        if self.is_read_only() {
            return Err(NotWritten::ReadOnly);
        }
        let permit = self.room.clone().acquire_owned().await.map_err(|_| NotWritten::Stopped)?;
        let (answer, answered) = oneshot::channel();
        self.sender.send(Message::Write(write, answer, permit)).map_err(|_| NotWritten::Stopped)?;
        answered.await.unwrap_or(Err(NotWritten::Stopped))
    }

    /// Whether a storage error has ended all writing.
    pub(super) fn is_read_only(&self) -> bool {
        *self.read_only.borrow()
    }

    /// Waits until no write can succeed any more: a storage error, a halt, or a shutdown.
    pub(super) async fn ended(&self) {
        let _ = self.read_only.clone().wait_for(|read_only| *read_only).await; // an error: the writer is gone
    }

    /// Lets the writer finish what is queued, and waits for it.
    pub(super) async fn stop(&self) {
        self.room.close();
        let (done, stopped) = oneshot::channel();
        if self.sender.send(Message::Stop(done)).is_ok() {
            let _ = stopped.await; // an error means it is gone already, which is what we want
        }
    }
}

/// What the writer works on.
pub(super) struct Writer {
    pub(super) database: Database,
    pub(super) image: Arc<RwLock<Image>>,
    pub(super) head: watch::Sender<u64>,
    pub(super) shelves: Vec<String>,
    pub(super) hook: Option<Hook>,
    pub(super) counters: Arc<Counters>,
    /// Shelves whose objects expire, and how many each may hold.
    pub(super) expiring: HashSet<usize>,
    pub(super) expiring_most: usize,
    /// How often expired objects are looked for.
    pub(super) sweep_every: Duration,
}

struct Halted;

/// A batch in the making.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    overlay: HashMap<(usize, Path), Option<Arc<Stored>>>,
    answers: Vec<(oneshot::Sender<Answer>, Answer, OwnedSemaphorePermit)>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(self) -> std::io::Result<Queue> {
        let (sender, receiver) = mpsc::channel();
        let room = Arc::new(Semaphore::new(QUEUE));
        let (trouble, read_only) = watch::channel(false);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || self.run(&receiver, &trouble))?;
        Ok(Queue { sender, room, read_only })
    }

    fn run(mut self, receiver: &mpsc::Receiver<Message>, trouble: &watch::Sender<bool>) {
        let mut swept = Instant::now();
        let mut rested = Instant::now();
        let mut company = Company::new();
        let mut stopping = None;
        while stopping.is_none() {
            let mut taken = Vec::new();
            let patience = if self.image.read().can_rest() { REST_EVERY } else { self.sweep_every };
            match receiver.recv_timeout(patience.min(self.sweep_every)) {
                Ok(Message::Write(write, answer, permit)) => taken.push((write, answer, permit)),
                Ok(Message::Stop(done)) => stopping = Some(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let most = if self.hook.is_some() { 1 } else { BATCH };
            if most > 1 && !taken.is_empty() {
                company.wait();
            }
            let mut bytes = taken.iter().map(|(w, ..)| w.size()).sum::<usize>();
            while stopping.is_none() && !taken.is_empty() && taken.len() < most && bytes < BATCH_BYTES {
                match receiver.try_recv() {
                    Ok(Message::Write(write, answer, permit)) => {
                        bytes += write.size();
                        taken.push((write, answer, permit));
                    }
                    Ok(Message::Stop(done)) => stopping = Some(done),
                    Err(_) => break,
                }
            }
            if !taken.is_empty() {
                company.came(taken.len());
            }
            if self.perform(taken, trouble).is_err() {
                return;
            }
            if rested.elapsed() >= REST_EVERY {
                rested = Instant::now();
                self.rest();
            }
            if swept.elapsed() >= self.sweep_every {
                swept = Instant::now();
                if self.sweep(trouble).is_err() {
                    return;
                }
            }
        }
        drop(self); // the database is closed before anybody is told so
        if let Some(done) = stopping {
            let _ = done.send(()); // nobody waits any more: fine
        }
    }

    /// Decides, stores, publishes and answers one batch.
    fn perform(
        &mut self,
        taken: Vec<(Write, oneshot::Sender<Answer>, OwnedSemaphorePermit)>,
        trouble: &watch::Sender<bool>,
    ) -> Result<(), Halted> {
        let mut batch = Batch::default();
        let image = self.image.clone();
        {
            let image = image.read();
            for (write, answer, permit) in taken {
                let result = batch.add(&image, write);
                batch.answers.push((answer, result, permit));
            }
        }
        let failed = self.commit(&batch.changes, trouble)?;
        if failed.is_none() {
            self.publish(std::mem::take(&mut batch.changes));
        }
        for (answer, result, _permit) in batch.answers {
            let result = match (&failed, result) {
                (Some(why), Ok(_)) => Err(why.clone()),
                (_, result) => result,
            };
            let _ = answer.send(result); // the client went away: the write stands
        }
        Ok(())
    }

    /// Makes the changes durable. `Some` is why it was refused.
    fn commit(
        &mut self,
        changes: &[Change],
        trouble: &watch::Sender<bool>,
    ) -> Result<Option<NotWritten>, Halted> {
        if changes.is_empty() {
            return Ok(None);
        }
        if *trouble.borrow() {
            return Ok(Some(NotWritten::ReadOnly));
        }
        self.tell(changes, Moment::Before)?;
        let started = Instant::now();
        if let Err(error) = self.database.write(&self.shelves, changes) {
            tracing::error!(error = &error as &dyn std::error::Error, "the store is read-only from now on");
            trouble.send_replace(true);
            return Ok(Some(NotWritten::Storage(error.to_string())));
        }
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.commit_micros.fetch_add(micros, Ordering::Relaxed);
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.tell(changes, Moment::After)?;
        self.counters.writes.fetch_add(changes.len() as u64, Ordering::Relaxed);
        Ok(None)
    }

    fn publish(&self, changes: Vec<Change>) {
        let Some(newest) = changes.last().map(|c| c.version) else {
            return;
        };
        let resting = self.image.write().publish(changes, Instant::now());
        self.head.send_replace(newest);
        self.pack(resting);
    }

    fn rest(&self) {
        let resting = self.image.write().rest(Instant::now(), REST_AT_ONCE);
        self.pack(resting);
    }

    fn pack(&self, resting: Vec<Resting>) {
        let packed: Vec<_> = resting.into_iter().filter_map(Resting::packed).collect();
        if !packed.is_empty() {
            self.image.write().put_back(packed);
        }
    }

    fn tell(&self, changes: &[Change], moment: Moment) -> Result<(), Halted> {
        let Some(hook) = &self.hook else {
            return Ok(());
        };
        let done = self.counters.writes.load(Ordering::Relaxed);
        for (nth, change) in (done + 1..).zip(changes) {
            let verb = match (&change.before, &change.after) {
                (_, None) => Verb::Delete,
                (None, Some(_)) => Verb::Create,
                (Some(_), Some(_)) => Verb::Update,
            };
            let resource = self.shelves.get(change.shelf).cloned().unwrap_or_default();
            let point = WritePoint { nth, moment, verb, resource, name: change.path.to_string() };
            if hook(&point) == Verdict::Halt {
                return Err(Halted);
            }
        }
        Ok(())
    }

    /// Removes expired objects, and the oldest of those that are too many.
    fn sweep(&mut self, trouble: &watch::Sender<bool>) -> Result<(), Halted> {
        let now = jiff::Timestamp::now().as_second();
        let most = if self.hook.is_some() { 1 } else { SWEEP_MOST };
        let mut batch = Batch::default();
        {
            let image = self.image.read();
            for &shelf in &self.expiring {
                let mut all: Vec<(i64, &Path, u64)> = image
                    .shelf(shelf)
                    .map(|(path, object)| (object.expires.unwrap_or(i64::MAX), path, object.version))
                    .collect();
                all.sort_unstable();
                let surplus = all.len().saturating_sub(self.expiring_most);
                let gone =
                    all.iter().enumerate().filter(|(at, (expires, ..))| *at < surplus || *expires <= now);
                for (_, (_, path, version)) in gone.take(most) {
                    let write = Write {
                        shelf,
                        path: path.to_string(),
                        expected: Some(*version),
                        content: Content::Remove(None),
                    };
                    let _ = batch.add(&image, write); // cannot race: this thread is the only writer
                }
            }
        }
        let changes = std::mem::take(&mut batch.changes);
        if self.commit(&changes, trouble)?.is_none() {
            self.publish(changes);
        }
        Ok(())
    }
}

impl Batch {
    /// Adds a write, if its object is still what the decision was made on.
    fn add(&mut self, image: &Image, write: Write) -> Answer {
        let path: Path = match image.path(write.shelf, &write.path) {
            Some(known) => known,
            None => Path::from(write.path.as_str()),
        };
        let key = (write.shelf, path.clone());
        let before = match self.overlay.get(&key) {
            Some(pending) => pending.clone(),
            None => image.get(write.shelf, &path).cloned(),
        };
        if before.as_ref().map(|b| b.version) != write.expected {
            return Err(NotWritten::Raced);
        }
        let version = self.changes.last().map_or(image.head(), |c| c.version) + 1;
        let (after, shown) = match write.content {
            Content::Put(draft) => {
                let stored = Arc::new(draft.seal(version));
                (Some(stored.clone()), stored)
            }
            Content::Remove(last) => {
                let shown = match (last, &before) {
                    (Some(draft), _) => draft.seal(version),
                    (None, Some(before)) => before.with_version(version),
                    (None, None) => return Err(NotWritten::Raced),
                };
                (None, Arc::new(shown))
            }
        };
        self.overlay.insert(key, after.clone());
        self.changes.push(Change { version, shelf: write.shelf, path, before, after });
        Ok(shown)
    }
}
