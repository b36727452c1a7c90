//! Dead mounts: finding them, and replacing them. A client that ends leaves a mount at which every call fails,
//! at the staging path, at every pod's path, and inside every running container. Nobody else repairs
//! that: kubelet looks at a volume when a pod starts.
//!
//! Each staged volume is looked at every few seconds, in threads that may hang. What has died is taken out
//! of the mount table, mounted anew with what is recorded, and bound anew wherever it was; so the
//! table is as long afterwards as it was before. Files that were open stay lost: their pods are told.

pub mod containers;
pub mod decide;
mod perform;
mod pods;
pub mod rebind;
mod strays;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Node;
use super::mounts::Table;
use super::record::Record;
use crate::store::Events;
use decide::{Step, decide, pause};
use perform::Fault;
use pods::Pods;

/// Repairs what has died.
pub struct Repair {
    node: Node,
    pods: Pods,
    volumes: Mutex<HashMap<PathBuf, Known>>,
    /// The volumes that are being looked at or worked on.
    at_work: Mutex<HashSet<PathBuf>>,
}

/// What is remembered of a volume from one look to the next.
#[derive(Default)]
struct Known {
    /// Failures in a row, and when the last of them was.
    failures: u32,
    failed: Option<Instant>,
    /// Whether its containers have been looked through since the last repair, and nothing dead was found.
    searched: bool,
    /// What was reported last.
    reported: Option<String>,
}

impl Repair {
    /// Repairs for a node. Pods are told by events if there is somebody to tell them to.
    pub fn new(node: Node, events: Events) -> Arc<Self> {
        let volumes = Mutex::default();
        Arc::new(Self { node, pods: Pods::new(events), volumes, at_work: Mutex::default() })
    }

    /// Looks so often, for as long as this is awaited. What died while no plugin ran is found first of all.
    /// `root` is where kubelet has this driver's volumes staged.
    pub async fn watch(self: Arc<Self>, every: Duration, root: &Path) {
        tokio::join!(self.tend_all(every), strays::watch(&self.node, root, every));
    }

    async fn tend_all(self: &Arc<Self>, every: Duration) {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let records = self.node.records.clone();
            match tokio::task::spawn_blocking(move || records.all()).await {
                Ok(Ok(records)) => self.start(records),
                Ok(Err(error)) => tracing::warn!(%error, "the records of staged volumes cannot be read"),
                Err(error) => tracing::error!(%error, "the records of staged volumes were not read"),
            }
        }
    }

    /// Starts to tend each volume that nobody tends yet: one that hangs holds up no other.
    fn start(self: &Arc<Self>, records: Vec<Record>) {
        self.volumes.lock().retain(|staging, _| records.iter().any(|record| record.staging == *staging));
        for record in records {
            if self.at_work.lock().insert(record.staging.clone()) {
                let (repair, done) =
                    (self.clone(), AtWork { repair: self.clone(), staging: record.staging.clone() });
                tokio::spawn(async move {
                    let _done = done;
                    repair.tend(record).await;
                });
            }
        }
    }

    /// Looks at a volume, and does what is to be done.
    async fn tend(&self, record: Record) {
        let is_soon = self.with(&record, |known| {
            known.failed.is_some_and(|failed| failed.elapsed() < pause(known.failures))
        });
        if is_soon {
            return;
        }
        let (staging, seen) = (record.staging.clone(), self.look(&record).await);
        let looked = tokio::task::spawn_blocking(move || {
            let table = Table::read()?;
            // The name in its folder, not what it stands for: that may be dead.
            let is_there = std::fs::symlink_metadata(staging.parent().unwrap_or(&staging)).is_ok();
            Ok::<_, std::io::Error>((table, is_there))
        });
        let (table, is_there) = match looked.await.map_err(std::io::Error::other).flatten() {
            Ok(looked) => looked,
            Err(error) => {
                tracing::warn!(%error, "the mount table cannot be read");
                return;
            }
        };
        let step = decide(&record, &table, seen.as_ref(), is_there);
        self.carry_out(record, step).await;
    }

    /// What is seen at the staging path, if anything is mounted there.
    async fn look(&self, record: &Record) -> Option<super::touch::Seen> {
        let staging = record.staging.clone();
        let table = tokio::task::spawn_blocking(Table::read).await.ok()?.ok()?;
        table.top(&staging)?;
        Some(self.node.looks.at(&staging).await)
    }

    async fn carry_out(&self, record: Record, step: Step) {
        if let Step::Report(why) = &step {
            let is_news =
                self.with(&record, |known| known.reported.replace(why.clone()).as_ref() != Some(why));
            if is_news {
                tracing::warn!(handle = record.handle, path = %record.staging.display(), why, "a volume is not well");
            }
            return;
        }
        self.with(&record, |known| known.reported = None);
        let was_searched = self.with(&record, |known| known.searched);
        if step == Step::Nothing && was_searched {
            return;
        }
        // Somebody stages it or takes it away: then it is their business, and ours after that.
        let Some(turn) = self.node.turns.take(&record.handle) else { return };
        let done = self.perform(&turn, &record, &step).await;
        let failures = self.with(&record, |known| {
            // What was found is looked for once more, until a search finds nothing.
            known.searched = matches!(done, Ok(true));
            (known.failures, known.failed) = match &done {
                Ok(_) => (0, None),
                Err(_) => (known.failures.saturating_add(1), Some(Instant::now())),
            };
            known.failures
        });
        if let Err(fault) = done {
            tracing::warn!(handle = record.handle, %fault, failures, "a dead mount was not repaired");
            if let (1, Fault::Client(why)) = (failures, &fault) {
                self.pods.are_without(&record, why);
            }
        }
    }

    fn with<T>(&self, record: &Record, work: impl FnOnce(&mut Known) -> T) -> T {
        work(self.volumes.lock().entry(record.staging.clone()).or_default())
    }
}

/// A volume that is being tended; it ends however the tending does.
struct AtWork {
    repair: Arc<Repair>,
    staging: PathBuf,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.repair.at_work.lock().remove(&self.staging);
    }
}
