//! Telling users of an object what happened to it. The same news about an object is written once and
//! again only after a while. Warnings are written at once; that all is well is told when nobody waits for work, or
//! a few seconds later. (The recorder of the runtime library takes two causes under one reason for the same news, and
//! shows only the first.)

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::ResourceExt;
use kube::api::PostParams;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::PROVISIONER;
use crate::store::{Kind, Store};

/// How soon the same news is written again. An event lives for an hour.
const REPEAT: Duration = Duration::from_secs(600);
/// How much news is remembered before what is old is looked for.
const REMEMBERED: usize = 1024;
/// How many bytes an event takes.
const LONGEST_NOTE: usize = 1000;
/// How many events may wait to be written; more are dropped, and the log says so.
const QUEUE: usize = 4096;
/// How long an event waits for work to end, and how often it looks.
const LATEST: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What an event is about: good news or a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Writes events.
pub struct Events {
    store: Store,
    instance: String,
    told: Mutex<Told>,
    queue: mpsc::Sender<(Event, Instant)>,
}

/// Events that wait until there is nothing else to do.
pub struct Waiting(mpsc::Receiver<(Event, Instant)>);

/// The last news about each object: uid and reason → text and time.
#[derive(Default)]
struct Told(HashMap<(String, &'static str), (String, Instant)>);

impl Events {
    /// Events in the name of this replica, and those that wait: [`Events::write`] has to be run with them.
    pub fn new(store: Store, instance: &str) -> (Self, Waiting) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let instance = instance.chars().take(128).collect();
        (Self { store, instance, told: Mutex::default(), queue }, Waiting(waiting))
    }

    /// Writes the events that wait, when nobody waits for work.
    pub async fn write(&self, Waiting(mut waiting): Waiting, is_idle: impl Fn() -> bool) {
        while let Some((event, told)) = waiting.recv().await {
            while !is_idle() && told.elapsed() < LATEST {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            self.create(&event).await;
        }
    }

    /// Tells the user of an object what happened to it. An event that cannot be written is not worth
    /// failing for.
    pub async fn tell<K: Kind>(&self, about: &K, tone: Tone, reason: &'static str, note: &str) {
        let uid = about.meta().uid.clone().unwrap_or_default();
        if !self.told.lock().is_news(uid, reason, note, Instant::now()) {
            return;
        }
        let regarding = about.object_ref(&());
        let namespace = regarding.namespace.clone().unwrap_or_else(|| "default".into());
        let now = Timestamp::now();
        let event = Event {
            metadata: ObjectMeta {
                name: Some(event_name(&about.name_any(), now)),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            action: Some("Provision".into()),
            reason: Some(reason.into()),
            note: Some(cut(note, LONGEST_NOTE).into()),
            type_: Some(if tone == Tone::Normal { "Normal" } else { "Warning" }.into()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding),
            reporting_controller: Some(PROVISIONER.into()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        };
        match tone {
            Tone::Warning => self.create(&event).await,
            Tone::Normal => {
                if self.queue.try_send((event, Instant::now())).is_err() {
                    tracing::warn!(reason, "an event was dropped: too many wait to be written");
                }
            }
        }
    }

    async fn create(&self, event: &Event) {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let made = self.store.within::<Event>(namespace).create(&PostParams::default(), event).await;
        if let Err(error) = made {
            let reason = event.reason.as_deref().unwrap_or_default();
            tracing::warn!(%error, reason, "an event could not be written");
        }
    }
}

impl Told {
    fn is_news(&mut self, uid: String, reason: &'static str, note: &str, now: Instant) -> bool {
        let Self(told) = self;
        if told.len() > REMEMBERED {
            told.retain(|_, (_, at)| now.duration_since(*at) < REPEAT);
        }
        let same = |(text, at): &(String, Instant)| text == note && now.duration_since(*at) < REPEAT;
        if told.get(&(uid.clone(), reason)).is_some_and(same) {
            return false;
        }
        told.insert((uid, reason), (note.to_owned(), now));
        true
    }
}

/// A name that no other event has: the object's, which may be as long as names get, and the time.
fn event_name(about: &str, now: Timestamp) -> String {
    format!("{}.{:x}", cut(about, 200).trim_end_matches(['.', '-']), now.as_nanosecond())
}

/// The beginning of a text that fits so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_and_a_new_cause_at_once() {
        let (mut events, now) = (Told::default(), Instant::now());
        let mut told = |uid: &str, note: &str, after: u64| {
            events.is_news(uid.into(), "ProvisioningFailed", note, now + Duration::from_secs(after))
        };
        assert!(told("a", "no class", 0));
        assert!(!told("a", "no class", 60));
        assert!(told("a", "no room", 61));
        assert!(told("a", "no class", 62));
        assert!(told("a", "no class", 62 + REPEAT.as_secs()));
        assert!(told("b", "no class", 63), "about another object");
    }

    #[tokio::test]
    async fn that_all_is_well_is_told_when_there_is_nothing_else_to_do() {
        use std::sync::atomic::{AtomicBool, Ordering};

        use crate::resources::{GlusterVolume, definitions};
        use crate::store::embedded::{Embedded, Options};

        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path().join("store.redb"));
        let store = Store::new(Embedded::open(options, definitions()).unwrap().client());
        let (events, waiting) = Events::new(store.clone(), "replica");
        let spec = serde_json::from_value(serde_json::json!({"size": "1Gi"})).unwrap();
        let volume = GlusterVolume::new("v", spec);
        let (idle, asked) = (AtomicBool::new(false), tokio::sync::Notify::new());
        let is_idle = || {
            asked.notify_one();
            idle.load(Ordering::Relaxed)
        };
        let reasons = async || {
            let found = store.within::<Event>("default").list(&Default::default()).await.unwrap();
            let mut reasons: Vec<String> = found.items.into_iter().filter_map(|event| event.reason).collect();
            reasons.sort();
            reasons
        };
        let told = async {
            events.tell(&volume, Tone::Normal, "Done", "all is well").await;
            asked.notified().await;
            events.tell(&volume, Tone::Warning, "Failed", "all is not").await;
            assert_eq!(reasons().await, ["Failed"]);
            idle.store(true, Ordering::Relaxed);
            while reasons().await.len() < 2 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            assert_eq!(reasons().await, ["Done", "Failed"]);
        };
        tokio::select! {
            () = events.write(waiting, is_idle) => unreachable!("the queue is open"),
            told = tokio::time::timeout(Duration::from_secs(60), told) => told.unwrap(),
        }
    }

    #[test]
    fn names_and_notes_fit() {
        let name = event_name(&"x".repeat(253), Timestamp::now());
        assert!(name.len() <= 253, "{name}");
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("abc", 10), "abc");
    }
}
