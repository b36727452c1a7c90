//! Telling users of an object what happened to it. The same news about an object is written once and
//! again only after a while; other news is written at once. (The recorder of the runtime library
//! takes two causes under one reason for the same news, and shows only the first.)

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::ResourceExt;
use kube::api::PostParams;
use parking_lot::Mutex;

use super::PROVISIONER;
use crate::store::{Kind, Store};

/// How soon the same news is written again. An event lives for an hour.
const REPEAT: Duration = Duration::from_secs(600);
/// How much news is remembered before what is old is looked for.
const REMEMBERED: usize = 1024;
/// How many bytes an event takes.
const LONGEST_NOTE: usize = 1000;

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
}

/// The last news about each object: uid and reason → text and time.
#[derive(Default)]
struct Told(HashMap<(String, &'static str), (String, Instant)>);

impl Events {
    /// Events in the name of this replica.
    pub fn new(store: Store, instance: &str) -> Self {
        Self { store, instance: instance.chars().take(128).collect(), told: Mutex::default() }
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
                namespace: Some(namespace.clone()),
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
        let made = self.store.within::<Event>(&namespace).create(&PostParams::default(), &event).await;
        if let Err(error) = made {
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

    #[test]
    fn names_and_notes_fit() {
        let name = event_name(&"x".repeat(253), Timestamp::now());
        assert!(name.len() <= 253, "{name}");
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("abc", 10), "abc");
    }
}
