//! Events: what `kubectl describe` shows of an object. They are told at a transition, never at each
//! pass, and nothing waits for them: one task writes them, and an event that cannot be written is
//! not worth failing for.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use crate::resources::{
    ACCEPTED, Condition, DEGRADED, FAILED, GlusterCluster, GlusterDevice, GlusterNode, GlusterVolume, PLACED,
    READY, condition,
};

/// Who tells: the name of the operator, whatever its replica is called.
const CONTROLLER: &str = "bricklayer.dev";
/// How many events may wait to be written; more are dropped, and the log says so.
const QUEUE: usize = 1024;
/// How long a note may be, in characters: Kubernetes takes 1 KiB.
const NOTE: usize = 1000;

/// The way to the task that writes events. Cheap to clone. On one machine nobody reads events, and
/// none are written.
#[derive(Clone, Default)]
pub struct Events {
    queue: Option<mpsc::Sender<(Event, ObjectReference)>>,
}

/// One thing to tell.
#[derive(Debug, PartialEq, Eq)]
pub struct News {
    /// Whether somebody should look at it.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// For people: what, why and what to do next.
    pub note: String,
}

impl News {
    /// Something that went well.
    pub fn normal(reason: &str, note: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), note: note.into() }
    }

    /// Something that somebody should look at.
    pub fn warning(reason: &str, note: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.into(), note: note.into() }
    }
}

impl Events {
    /// Events told by a replica of that name, and the work that writes them.
    pub fn start(client: kube::Client, instance: String) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, mut waiting) = mpsc::channel::<(Event, ObjectReference)>(QUEUE);
        let reporter = Reporter { controller: CONTROLLER.into(), instance: Some(instance) };
        let recorder = Recorder::new(client, reporter);
        let write = async move {
            while let Some((event, about)) = waiting.recv().await {
                if let Err(error) = recorder.publish(&event, &about).await {
                    let (reason, name) = (event.reason.as_str(), about.name.as_deref().unwrap_or_default());
                    tracing::warn!(%error, reason, name, "an event could not be written");
                }
            }
        };
        (Self { queue: Some(queue) }, write)
    }

    /// Tells something about an object.
    pub fn tell(&self, about: ObjectReference, news: News) {
        let Some(queue) = &self.queue else { return };
        let type_ = if news.warning { EventType::Warning } else { EventType::Normal };
        let note = Some(news.note.chars().take(NOTE).collect());
        let event = Event { type_, reason: news.reason, note, action: "Reconcile".into(), secondary: None };
        if queue.try_send((event, about)).is_err() {
            tracing::warn!("an event was dropped: too many wait to be written");
        }
    }
}

/// Kinds whose conditions are told.
pub trait Told: Resource<DynamicType = ()> {
    /// The conditions as they are.
    fn told(&self) -> &[Condition];

    /// Whether only trouble is told: somebody else tells the rest elsewhere.
    fn only_trouble(&self) -> bool {
        false
    }
}

impl Told for GlusterCluster {
    fn told(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

impl Told for GlusterNode {
    fn told(&self) -> &[Condition] {
        self.conditions()
    }
}

impl Told for GlusterDevice {
    fn told(&self) -> &[Condition] {
        self.conditions()
    }
}

impl Told for GlusterVolume {
    fn told(&self) -> &[Condition] {
        self.conditions()
    }

    /// A claim has events of its own, and thousands of claims should not write events twice.
    fn only_trouble(&self) -> bool {
        self.spec.claim_ref.is_some()
    }
}

/// What is worth telling about a change of conditions. Pure.
pub fn transitions(old: &[Condition], new: &[Condition], only_trouble: bool) -> Vec<News> {
    let mut told = vec![];
    for now in new {
        let before = condition(old, &now.type_);
        let is_same = |before: &Condition| before.status == now.status && before.reason == now.reason;
        if before.is_some_and(is_same) {
            continue;
        }
        let is_bad_when_true = [FAILED, DEGRADED].contains(&now.type_.as_str());
        let bad = if is_bad_when_true { "True" } else { "False" };
        let good = if is_bad_when_true { "False" } else { "True" };
        let warning = now.status == bad;
        // What is only on its way is no trouble, and a beginning that went well shows in Ready.
        let is_progress = warning && now.reason == "Creating" || now.status == "Unknown";
        let is_end = [READY, PLACED].contains(&now.type_.as_str());
        let is_first = now.status == good && before.is_none_or(|before| before.status == "Unknown");
        let is_repeated = warning
            && now.type_ == READY
            && new
                .iter()
                .any(|other| other.type_ != READY && other.status == "False" && other.message == now.message);
        let is_quiet = !warning && (only_trouble || now.type_ == ACCEPTED || (is_first && !is_end));
        if is_progress || is_repeated || is_quiet {
            continue;
        }
        told.push(News { warning, reason: now.reason.clone(), note: now.message.clone() });
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{REACHABLE, set_condition};

    fn with(old: &[Condition], all: &[(&str, &str, &str, &str)]) -> Vec<Condition> {
        let mut new = old.to_vec();
        for (type_, status, reason, message) in all {
            set_condition(&mut new, jiff::Timestamp::UNIX_EPOCH, 1, (type_, status, reason), *message);
        }
        new
    }

    fn reasons(old: &[Condition], new: &[Condition]) -> Vec<(bool, String)> {
        transitions(old, new, false).into_iter().map(|news| (news.warning, news.reason)).collect()
    }

    #[test]
    fn only_transitions_are_told() {
        let begun = with(&[], &[(ACCEPTED, "True", "Unique", ""), (READY, "False", "Creating", "not yet")]);
        assert_eq!(reasons(&[], &begun), []);
        let ready =
            with(&begun, &[(REACHABLE, "True", "Answers", "a"), (READY, "True", "InPool", "a member")]);
        assert_eq!(reasons(&begun, &ready), [(false, "InPool".into())]);
        assert_eq!(reasons(&ready, &ready), []);
        let down = with(
            &ready,
            &[(REACHABLE, "False", "NoAnswer", "gone"), (READY, "False", "Unreachable", "gone")],
        );
        assert_eq!(reasons(&ready, &down), [(true, "NoAnswer".into())], "the same trouble is told once");
        let other = with(
            &down,
            &[(REACHABLE, "False", "NoAnswer", "still"), (READY, "False", "Unreachable", "still")],
        );
        assert_eq!(reasons(&down, &other), [], "another text is no transition");
        let back = with(&down, &[(REACHABLE, "True", "Answers", "a"), (READY, "True", "InPool", "a member")]);
        assert_eq!(reasons(&down, &back), [(false, "InPool".into()), (false, "Answers".into())]);
    }

    #[test]
    fn volumes_of_claims_tell_only_trouble() {
        let ready = with(&[], &[(PLACED, "True", "Placed", "3 bricks"), (READY, "True", "Started", "")]);
        assert_eq!(transitions(&[], &ready, true), []);
        assert_eq!(transitions(&[], &ready, false).len(), 2);
        let degraded = with(&ready, &[(DEGRADED, "True", "BrickAway", "one is away")]);
        assert_eq!(transitions(&ready, &degraded, true), [News::warning("BrickAway", "one is away")]);
        let whole = with(&degraded, &[(DEGRADED, "False", "AllBricks", "all are there")]);
        assert_eq!(transitions(&degraded, &whole, false), [News::normal("AllBricks", "all are there")]);
    }
}
