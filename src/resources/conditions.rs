//! Conditions: what is true of an object, since when, and why.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place was found for every brick of a volume.
pub const PLACED: &str = "Placed";
/// The names and paths of a node or device are its own; decided once, before any command runs.
pub const ACCEPTED: &str = "Accepted";
/// The object does what it is for.
pub const READY: &str = "Ready";
/// Clients can mount a volume, and some of its bricks are away.
pub const DEGRADED: &str = "Degraded";
/// The Kubernetes node of a node is there, and is as it was when its names were taken from it.
pub const LOCATED: &str = "Located";
/// A node answers commands.
pub const REACHABLE: &str = "Reachable";
/// A volume has the size that is wanted; absent before its first expansion. False with the reason Refused
/// (there is no room), Adding (bricks are being added) or Failed (they could not be).
pub const EXPANDED: &str = "Expanded";
/// No brick of a volume is on a device that was given up; absent as long as none ever was. False with the reason
/// Moving (a new brick is being made), Healing (it gets its data), HealSource or Quorum (the brick cannot be spared
/// now), NoReplacement (there is no other device for it) or Unreplaceable (nobody else has its data, or the
/// volume is dispersed).
pub const REPLACED: &str = "Replaced";
/// A device or node that was given up has no data that anybody needs any more. False with the reason Moving, or
/// with that of the volume whose brick cannot go.
pub const DRAINED: &str = "Drained";
/// Those who may mount a volume can, and nobody else; absent as long as there was nothing to say about it.
pub const ACCESS: &str = "Access";
/// An ask that was to be forgotten when it fails has failed for good; nothing of it is left.
pub const FAILED: &str = "Failed";

/// One condition of an object, as the Kubernetes API conventions describe them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about, such as Ready or Placed.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// True, False or Unknown.
    #[schemars(regex(pattern = "^(True|False|Unknown)$"), length(max = 7))]
    pub status: String,
    /// Why, in one CamelCase word for programs.
    #[schemars(length(min = 1, max = 128))]
    pub reason: String,
    /// Why, for people: names the thing, the cause and the next step.
    #[serde(default)]
    #[schemars(length(max = 32768))]
    pub message: String,
    /// When the status last changed.
    pub last_transition_time: Time,
    /// The generation of the spec that was looked at.
    #[serde(default)]
    pub observed_generation: i64,
}

/// Sets the condition `type_` and says whether anything but the message's generation changed. The
/// transition time moves only with the status.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    now: jiff::Timestamp,
    generation: i64,
    (type_, status, reason): (&str, &str, &str),
    message: impl Into<String>,
) -> bool {
    let message = message.into();
    let new = |since| Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        last_transition_time: since,
        observed_generation: generation,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == type_) {
        Some(old) => {
            let since = if old.status == status { old.last_transition_time.clone() } else { Time(now) };
            let new = new(since);
            let changed = *old != new;
            *old = new;
            changed
        }
        None => {
            conditions.push(new(Time(now)));
            true
        }
    }
}

/// The condition of a type, if it was ever set.
pub fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of a type is set to True.
pub fn condition_is(conditions: &[Condition], type_: &str) -> bool {
    condition(conditions, type_).is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let (early, late) = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::from_second(100).unwrap());
        let mut all = vec![];
        assert!(set_condition(&mut all, early, 1, ("Ready", "False", "Waiting"), "a"));
        assert!(set_condition(&mut all, late, 1, ("Ready", "False", "Waiting"), "b"));
        assert_eq!(all[0].last_transition_time, Time(early));
        assert!(!set_condition(&mut all, late, 1, ("Ready", "False", "Waiting"), "b"));
        assert!(set_condition(&mut all, late, 2, ("Ready", "True", "Started"), ""));
        assert_eq!(all[0].last_transition_time, Time(late));
        assert!(condition_is(&all, "Ready"));
        assert_eq!(all.len(), 1);
    }
}
