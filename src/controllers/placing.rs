//! The one task that decides what must be unique: places of bricks, volume names, host names,
//! disks. One request after the other, over the caches plus what it has itself decided and not yet
//! seen there. So two volumes cannot win the same space, and no reservation on devices is needed.
//!
//! Deciding is sequential and pure ([`Index`]); writing the decisions down goes on beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::core::ClusterResourceScope;
use kube::{Resource, ResourceExt};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::placement::{Index, Placed, Replaced, Verdict};
use crate::resources::{
    ACCEPTED, EXPANDED, FAILED, GlusterDevice, GlusterNode, GlusterVolume, LOCATED, LargestVolume, OnRefusal,
    PLACED, Placement, READY, REPLACED, Refusal, Replacement, condition, condition_is, id_of, set_condition,
};
use crate::store::{Caches, Changes, Kind, Store, StoreError, Told};
use crate::units::Id;

/// How many requests may wait: every object at most once, since its reconciler waits for the answer.
const QUEUE: usize = 4096;
/// How many decisions are written down at the same time.
const WRITES: usize = 64;

enum Request {
    Volume(Arc<GlusterVolume>, Answer),
    Brick(Arc<GlusterVolume>, Leaving, Answer),
    Node(Arc<GlusterNode>, Answer),
    Device(Arc<GlusterDevice>, Answer),
    Largest(String, oneshot::Sender<Result<LargestVolume, StoreError>>),
}

/// Devices that were given up, each with the ask for that if somebody waits for it.
type Leaving = BTreeMap<Id, Option<Id>>;
/// Whether the decision was news.
type Answer = oneshot::Sender<Result<bool, StoreError>>;

/// The way to the task. Cheap to clone.
#[derive(Clone)]
pub struct Placing {
    requests: mpsc::Sender<Request>,
}

impl Placing {
    /// The task and the way to it. The work ends when nobody can send requests any more.
    pub fn start(store: Store, caches: Caches) -> (Self, impl Future<Output = ()> + Send) {
        let (requests, queue) = mpsc::channel(QUEUE);
        (Self { requests }, work(store, caches, queue))
    }

    /// Has a volume placed, or refused; the decision is in its status afterwards.
    pub async fn place(&self, volume: Arc<GlusterVolume>) -> Result<(), StoreError> {
        self.ask(|answer| Request::Volume(volume, answer)).await.map(drop)
    }

    /// Has another place found for a brick of the volume that is on one of these devices, or refused; the decision
    /// is in its status afterwards. Tells whether that is news.
    pub async fn replace(&self, volume: Arc<GlusterVolume>, leaving: Leaving) -> Result<bool, StoreError> {
        self.ask(|answer| Request::Brick(volume, leaving, answer)).await
    }

    /// Has the names of a node checked.
    pub async fn accept_node(&self, node: Arc<GlusterNode>) -> Result<(), StoreError> {
        self.ask(|answer| Request::Node(node, answer)).await.map(drop)
    }

    /// Has the path of a device checked.
    pub async fn accept_device(&self, device: Arc<GlusterDevice>) -> Result<(), StoreError> {
        self.ask(|answer| Request::Device(device, answer)).await.map(drop)
    }

    /// The largest volumes that a cluster takes now, all that was decided taken into account.
    pub async fn largest(&self, cluster: &str) -> Result<LargestVolume, StoreError> {
        self.ask(|answer| Request::Largest(cluster.to_owned(), answer)).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (answer, decided) = oneshot::channel();
        let gone = || StoreError::Conflict("the placing task ended; the request".into());
        self.requests.send(request(answer)).await.map_err(|_| gone())?;
        decided.await.map_err(|_| gone())?
    }
}

struct Work {
    store: Store,
    caches: Caches,
    index: Index,
    /// Decisions whose writing failed: the index has to look at the cache again.
    failed: (mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<String>),
    writes: Arc<Semaphore>,
}

/// After so many volumes that are taken in at once, as at a start, others have their turn.
const MANY: usize = 256;

struct Feeds {
    clusters: Changes<crate::resources::GlusterCluster>,
    nodes: Changes<GlusterNode>,
    devices: Changes<GlusterDevice>,
    volumes: Changes<GlusterVolume>,
}

async fn work(store: Store, caches: Caches, mut queue: mpsc::Receiver<Request>) {
    let feeds = Feeds {
        clusters: caches.clusters.changes(),
        nodes: caches.nodes.changes(),
        devices: caches.devices.changes(),
        volumes: caches.volumes.changes(),
    };
    let mut work = Work {
        store,
        caches,
        index: Index::default(),
        failed: mpsc::unbounded_channel(),
        writes: Arc::new(Semaphore::new(WRITES)),
    };
    // What is there already is not left to the first request.
    work.catch_up(&feeds).await;
    while let Some(request) = queue.recv().await {
        work.catch_up(&feeds).await;
        work.decide(request).await;
    }
}

impl Work {
    /// Takes in what the caches have seen since the last request.
    async fn catch_up(&mut self, feeds: &Feeds) {
        while let Ok(name) = self.failed.1.try_recv() {
            self.index.forget_assumed(&name, self.caches.volumes.get(&name).as_deref());
        }
        let caches = &self.caches;
        for seen in feeds.clusters.drain() {
            self.index.see_cluster(&seen.name, caches.clusters.get(&seen.name).as_deref());
        }
        for seen in feeds.nodes.drain() {
            self.index.see_node(&seen.name, caches.nodes.get(&seen.name));
        }
        for seen in feeds.devices.drain() {
            self.index.see_device(&seen.name, caches.devices.get(&seen.name));
        }
        for (number, reference) in feeds.volumes.drain().into_iter().enumerate() {
            if number % MANY == MANY - 1 {
                tokio::task::yield_now().await;
            }
            self.index.see_volume(&reference.name, self.caches.volumes.get(&reference.name).as_deref());
        }
    }

    async fn decide(&mut self, request: Request) {
        let now = jiff::Timestamp::now();
        match request {
            Request::Volume(volume, answer) | Request::Brick(volume, _, answer)
                if self.index.is_ahead_of(&volume) =>
            {
                // Nobody waits any more when the reconciler was cancelled.
                let _ = answer.send(Err(StoreError::Conflict(volume.name_any())));
            }
            Request::Volume(volume, answer) => {
                let decided = if condition_is(volume.conditions(), READY) {
                    growth_decided(&volume, self.index.grow(&volume), now)
                } else {
                    volume_decided(&volume, self.index.place(&volume, now), now)
                };
                self.index.assume(&decided);
                let is_news = decided.status != volume.status;
                self.write(volume, decided, is_news, answer, true).await;
            }
            Request::Brick(volume, leaving, answer) => {
                let devices = leaving.keys().copied().collect();
                let decided = match self.index.replace(&volume, &devices) {
                    Some(replaced) => replacement_decided(&volume, replaced, &leaving, now),
                    None => volume.as_ref().clone(),
                };
                self.index.assume(&decided);
                let is_news = decided.status != volume.status;
                self.write(volume, decided, is_news, answer, true).await;
            }
            Request::Node(node, answer) => {
                let verdict = self.index.accept_node(&node);
                let decided = node_decided(&node, verdict, self.index.zone_of(&node), now);
                let before = self.caches.nodes.get(&node.name_any()).unwrap_or_else(|| node.clone());
                let is_news = decided.status != before.status;
                self.write(before, decided, is_news, answer, false).await;
            }
            Request::Device(device, answer) => {
                let verdict = self.index.accept_device(&device);
                let decided = device_decided(&device, verdict, now);
                let is_news = decided.status != device.status;
                self.write(device, decided, is_news, answer, false).await;
            }
            // Nobody waits any more when the reconciler was cancelled.
            Request::Largest(cluster, answer) => drop(answer.send(Ok(self.index.largest(&cluster)))),
        }
    }

    /// Writes a decision down beside the next decisions. A volume's space stays taken meanwhile.
    async fn write<K>(&self, before: Arc<K>, object: K, is_news: bool, answer: Answer, is_volume: bool)
    where
        K: Kind + Told + Resource<Scope = ClusterResourceScope>,
    {
        // The semaphore is never closed; were it, writing without a permit would still be right.
        let permit = self.writes.clone().acquire_owned().await.ok();
        let (store, failed) = (self.store.clone(), self.failed.0.clone());
        tokio::spawn(async move {
            let done = store.report(before.as_ref(), &object, is_news).await;
            if is_volume && done.is_err() {
                // The receiver lives as long as the task that sends here.
                let _ = failed.send(object.meta().name.clone().unwrap_or_default());
            }
            drop(permit);
            // Nobody waits any more when the reconciler was cancelled; the decision stands in status.
            let _ = answer.send(done);
        });
    }
}

/// The reason of Accepted that the node has which the pool of its cluster begins with.
pub const FOUNDER: &str = "Founder";

fn volume_decided(
    volume: &GlusterVolume,
    verdict: Result<Placed, Vec<Refusal>>,
    now: jiff::Timestamp,
) -> GlusterVolume {
    let mut decided = volume.clone();
    decided.metadata.managed_fields = None;
    let generation = volume.metadata.generation.unwrap_or_default();
    let (id, name) = (id_of(volume), volume.volume_name());
    let status = decided.status.get_or_insert_default();
    status.id = Some(id);
    status.volume_name = Some(name);
    status.observed_generation = generation;
    match verdict {
        Ok(Placed { placement, transport, reasons }) => {
            let count = placement.active().count();
            let text = format!("{count} bricks in cluster {}: {reasons}", placement.cluster);
            status.attempt += 1;
            status.refusals.clear();
            status.transport = Some(transport);
            status.placement = Some(placement);
            status.phase = Some("Creating".into());
            set_condition(&mut status.conditions, now, generation, (PLACED, "True", "Placed"), text);
            let text = "the bricks are being made";
            set_condition(&mut status.conditions, now, generation, (READY, "False", "Creating"), text);
        }
        Err(refusals) => {
            let reason = refusals.first().map_or("Refused", |refusal| refusal.reason.as_str()).to_owned();
            let texts: Vec<&str> = refusals.iter().map(|refusal| refusal.message.as_str()).collect();
            let text = texts.join("\n");
            set_condition(&mut status.conditions, now, generation, (PLACED, "False", &reason), text.clone());
            let unready = "there is no place for it";
            set_condition(&mut status.conditions, now, generation, (READY, "False", "Creating"), unready);
            status.phase = Some("Refused".into());
            // It was accepted once, and its face no longer waits: the refusal has to be kept for it.
            // What earlier tries have left is removed first, then it gets another look.
            let old = status.placement.as_ref().map_or(0, |placement| placement.bricks.len());
            if volume.spec.on_refusal == OnRefusal::Forget && status.attempt > 0 && old == 0 {
                let error = status.last_error.as_ref().map(|error| error.stderr.clone()).unwrap_or_default();
                let text =
                    format!("{text}\nit was placed {} times before; the last error: {error}", status.attempt);
                set_condition(
                    &mut status.conditions,
                    now,
                    generation,
                    (FAILED, "Unknown", "CleaningUp"),
                    text,
                );
            }
            status.refusals = refusals;
            // Leaving devices out has not helped: the next try looks at all of them again.
            if old == 0 {
                status.avoid.clear();
            }
        }
    }
    decided
}

/// What becomes of a volume that is to grow: its new bricks have their places, or it stays as it is.
fn growth_decided(
    volume: &GlusterVolume,
    verdict: Result<Placement, Refusal>,
    now: jiff::Timestamp,
) -> GlusterVolume {
    let mut decided = volume.clone();
    decided.metadata.managed_fields = None;
    let generation = volume.metadata.generation.unwrap_or_default();
    let size = volume.spec.size;
    let status = decided.status.get_or_insert_default();
    status.observed_generation = generation;
    let last = condition(&status.conditions, EXPANDED);
    if last.is_none_or(|last| last.observed_generation != generation) {
        status.expansion_attempts = 0;
    }
    let (reason, text) = match verdict {
        Ok(placement) => {
            let (growing, adding) = (placement.growing().count(), placement.adding().count());
            let largest = placement.growing().map(|brick| brick.size).max();
            let (reason, text) = match (largest, adding) {
                (Some(largest), _) => {
                    ("Growing", format!("{growing} bricks grow where they are, to {largest}, for {size}"))
                }
                (None, 0) => ("Settling", format!("its bricks give {size} already")),
                (None, _) => ("Adding", format!("{adding} bricks are being added for {size}")),
            };
            status.attempt += 1;
            status.expansion_attempts += 1;
            status.refusals.clear();
            status.placement = Some(placement);
            (reason, text)
        }
        Err(refusal) => {
            let mut text = format!("there is no room to grow to {size}: {}", refusal.message);
            if let Some(error) = status.last_error.as_ref().filter(|_| status.expansion_attempts > 0) {
                let tries = status.expansion_attempts;
                text = format!("{text}\nit was begun {tries} times before; the last error: {}", error.stderr);
            }
            status.refusals = vec![refusal];
            // Leaving devices out has not helped: the next try looks at all of them again.
            status.avoid.clear();
            ("Refused", text)
        }
    };
    set_condition(&mut status.conditions, now, generation, (EXPANDED, "False", reason), text);
    decided
}

/// What becomes of a volume with a brick that has to go: a new one has its place, or the old one stays.
fn replacement_decided(
    volume: &GlusterVolume,
    replaced: Replaced,
    leaving: &Leaving,
    now: jiff::Timestamp,
) -> GlusterVolume {
    let mut decided = volume.clone();
    decided.metadata.managed_fields = None;
    let generation = volume.metadata.generation.unwrap_or_default();
    let status = decided.status.get_or_insert_default();
    let (device, ask) = (replaced.device, leaving.get(&replaced.device).copied().flatten());
    let same = status.replacement.take().filter(|last| last.device == device && last.ask == ask);
    status.replacement = Some(same.unwrap_or(Replacement { device, ask, attempts: 0 }));
    let (reason, text) = match replaced.placement {
        Ok(placement) => {
            let new = placement.exchange().map(|(old, new)| {
                format!("brick {} leaves device {device}: brick {} is made on {}", old.id, new.id, new.host)
            });
            status.attempt += 1;
            status.placement = Some(placement);
            ("Moving".to_owned(), new.unwrap_or_default())
        }
        Err(refusal) => {
            // Leaving devices out has not helped: the next try looks at all of them again.
            status.avoid.clear();
            (refusal.reason, refusal.message)
        }
    };
    set_condition(&mut status.conditions, now, generation, (REPLACED, "False", &reason), text);
    decided
}

fn node_decided(node: &GlusterNode, verdict: Verdict, zone: i32, now: jiff::Timestamp) -> GlusterNode {
    let mut decided = node.clone();
    let generation = node.metadata.generation.unwrap_or_default();
    let forget = node.spec.on_refusal == OnRefusal::Forget;
    let id = id_of(node);
    let status = decided.status.get_or_insert_default();
    status.id = Some(id);
    status.zone = Some(zone);
    status.hostnames = Some(node.hostnames().clone());
    if status.kubernetes_node.is_some() {
        let found = "its Kubernetes node was found";
        set_condition(&mut status.conditions, now, generation, (LOCATED, "True", "Found"), found);
    }
    accept(&mut status.conditions, verdict, forget, generation, now);
    decided
}

fn device_decided(device: &GlusterDevice, verdict: Verdict, now: jiff::Timestamp) -> GlusterDevice {
    let mut decided = device.clone();
    let generation = device.metadata.generation.unwrap_or_default();
    let forget = device.spec.on_refusal == OnRefusal::Forget;
    let id = id_of(device);
    let status = decided.status.get_or_insert_default();
    status.id = Some(id);
    accept(&mut status.conditions, verdict, forget, generation, now);
    decided
}

/// Puts a verdict into conditions. What is only missing yet is no refusal for an ask that waits.
fn accept(
    conditions: &mut Vec<crate::resources::Condition>,
    verdict: Verdict,
    forget: bool,
    generation: i64,
    now: jiff::Timestamp,
) {
    match verdict {
        Verdict::Accepted | Verdict::Founder => {
            let reason = if verdict == Verdict::Founder { FOUNDER } else { "Unique" };
            set_condition(conditions, now, generation, (ACCEPTED, "True", reason), "");
            set_condition(conditions, now, generation, (READY, "False", "Creating"), "not looked at yet");
        }
        Verdict::Waits { reason, message } | Verdict::Refused { reason, message } => {
            set_condition(conditions, now, generation, (ACCEPTED, "False", reason), message.clone());
            set_condition(conditions, now, generation, (READY, "False", "Creating"), message.clone());
            if forget {
                set_condition(conditions, now, generation, (FAILED, "True", reason), message);
            }
        }
    }
}
