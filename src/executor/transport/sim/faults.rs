//! Faults: what goes wrong, where and how often.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use serde::Deserialize;

/// What goes wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Nothing is done; the command fails.
    FailBefore {
        /// Its exit code.
        exit: i32,
        /// Its error stream.
        stderr: String,
    },
    /// The work is done, and the command fails all the same.
    FailAfter {
        /// Its exit code.
        exit: i32,
        /// Its error stream.
        stderr: String,
    },
    /// The work is done, and its answer says something else wherever it says `find`.
    Edit {
        /// What the answer says.
        find: String,
        /// What stands there instead.
        replace: String,
    },
    /// Nothing is done, and no answer comes before the deadline of the batch.
    Hang,
    /// The command is done, the rest of the batch is not, and no answer comes.
    LoseAnswer,
    /// The whole batch is done, and no answer comes.
    LoseReply,
    /// The command takes so long, in milliseconds in the faults file, or until the faults are cleared. It is done if
    /// the deadline of the batch has not passed by then.
    #[serde(deserialize_with = "milliseconds")]
    Slow(Duration),
    /// The node goes down just before the command and stays down.
    NodeDown,
}

fn milliseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// Where and when a fault happens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The hosts it is for; `*` stands for any text.
    #[serde(default = "any")]
    pub host: String,
    /// Text that is in the command (its words with spaces between, a script by its name); `*`
    /// stands for any text.
    #[serde(default = "any")]
    pub command: String,
    /// So many matching commands go well first.
    #[serde(default)]
    pub skip: u64,
    /// Then so many fail; all if absent.
    #[serde(default)]
    pub times: Option<u64>,
    /// What happens.
    pub fault: Fault,
}

fn any() -> String {
    "*".into()
}

impl Rule {
    /// A fault for the first command that contains `command`, on any host.
    pub fn once(command: &str, fault: Fault) -> Self {
        Self { host: any(), command: command.into(), skip: 0, times: Some(1), fault }
    }

    /// A fault for every command that contains `command`, on any host.
    pub fn always(command: &str, fault: Fault) -> Self {
        Self { times: None, ..Self::once(command, fault) }
    }

    /// The same on one host, or on those that match a pattern.
    #[must_use]
    pub fn on(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    /// The same after so many matching commands went well.
    #[must_use]
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }
}

/// The faults file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FaultsFile {
    /// Patterns of the nodes that are down.
    pub(super) down: Vec<String>,
    /// How often nodes are to have restarted; counting up restarts a node.
    pub(super) restart: BTreeMap<String, u64>,
    pub(super) rules: Vec<Rule>,
}

/// The faults of a simulation: rules for commands, and nodes that are down.
#[derive(Debug, Default)]
pub struct Faults {
    inner: Mutex<Inner>,
    cleared: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Inner {
    rules: Vec<Live>,
    down: Vec<String>,
    file_rules: Vec<Live>,
    file_down: Vec<String>,
}

#[derive(Debug)]
struct Live {
    rule: Rule,
    seen: u64,
}

impl Faults {
    /// Adds a rule. The first rule that matches a command decides.
    pub fn add(&self, rule: Rule) {
        self.inner.lock().rules.push(Live { rule, seen: 0 });
    }

    /// Forgets all rules and brings all nodes up; what the faults file says stays.
    pub fn clear(&self) {
        let mut inner = self.inner.lock();
        inner.rules.clear();
        inner.down.clear();
        self.cleared.notify_waiters();
    }

    /// Waits until the faults are cleared.
    pub(super) async fn cleared(&self) {
        self.cleared.notified().await;
    }

    /// Takes a node down: nothing reaches it, and its peers see it disconnected.
    pub fn down(&self, host: &str) {
        let mut inner = self.inner.lock();
        if !inner.down.iter().any(|down| down == host) {
            inner.down.push(host.into());
        }
    }

    /// Brings a node up again that [`Faults::down`] or a rule took down. It did not restart in
    /// between: its mounts are still there.
    pub fn up(&self, host: &str) {
        self.inner.lock().down.retain(|down| down != host);
    }

    /// The names and patterns of nodes that are down.
    pub(super) fn down_patterns(&self) -> Vec<String> {
        let inner = self.inner.lock();
        inner.down.iter().chain(&inner.file_down).cloned().collect()
    }

    pub(super) fn replace_file(&self, file: FaultsFile) {
        let live = |rule: Rule| Live { rule, seen: 0 };
        let mut inner = self.inner.lock();
        inner.file_rules = file.rules.into_iter().map(live).collect();
        inner.file_down = file.down;
    }

    /// The fault that this command meets. `text` is only asked for if there are rules.
    pub(super) fn meet(&self, host: &str, text: impl FnOnce() -> String) -> Option<Fault> {
        let mut inner = self.inner.lock();
        if inner.rules.is_empty() && inner.file_rules.is_empty() {
            return None;
        }
        let text = text();
        let Inner { rules, file_rules, .. } = &mut *inner;
        let mut met = None;
        for live in rules.iter_mut().chain(file_rules) {
            let rule = &live.rule;
            if !matches(&rule.host, host) || !matches(&format!("*{}*", rule.command), &text) {
                continue;
            }
            live.seen += 1;
            let last = rule.times.map_or(u64::MAX, |times| rule.skip.saturating_add(times));
            if met.is_none() && live.seen > rule.skip && live.seen <= last {
                met = Some(rule.fault.clone());
            }
        }
        met
    }
}

/// Whether a text matches a pattern in which `*` stands for any text.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    if !pattern.contains('*') {
        return rest.is_empty();
    }
    let pieces: Vec<&str> = pieces.collect();
    let (last, middle) = match pieces.split_last() {
        Some((last, middle)) => (*last, middle),
        None => ("", &[][..]),
    };
    for piece in middle {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "node1", true),
            ("node1", "node1", true),
            ("node1", "node11", false),
            ("node*", "node11", true),
            ("*1", "node1", true),
            ("n*e*1", "node-11", true),
            ("*lvcreate*tp_*", "lvm lvcreate --thin vg/tp_1 x", true),
            ("*lvcreate*tp_*", "lvm lvremove tp_1", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_rule_counts() {
        let faults = Faults::default();
        faults.add(Rule::once("lvcreate", Fault::Hang).on("n1").after(1));
        let meet = |host: &str, text: &str| faults.meet(host, || text.into());
        assert_eq!(meet("n2", "lvm lvcreate"), None);
        assert_eq!(meet("n1", "lvm lvcreate"), None);
        assert_eq!(meet("n1", "lvm lvs"), None);
        assert_eq!(meet("n1", "lvm lvcreate"), Some(Fault::Hang));
        assert_eq!(meet("n1", "lvm lvcreate"), None);
    }
}
