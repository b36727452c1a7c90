//! Giving up devices and nodes: what was asked for, and what came of it.

use kube::{Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions::{Condition, DRAINED, condition_is};
use crate::units::Id;

/// The annotation of a device or node that is given up for somebody who waits for an answer: an id of the ask.
/// When a brick cannot go, the device or node is offline again instead of being tried for ever.
pub const EVACUATE: &str = "bricklayer.dev/evacuate";
/// The annotation of a device or node whose bricks are exchanged whatever is still to be healed: `disable`.
pub const HEAL_CHECK: &str = "bricklayer.dev/heal-check";
/// The annotation of a device that is removed although nobody can clean it: `true`. What is left of bricks on it
/// counts as gone.
pub const FORGET: &str = "bricklayer.dev/forget";

/// How an ask to give up a device or node has ended: without a reason, it is drained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evacuation {
    /// The id of the ask.
    pub ask: Id,
    /// Why it was not done: the reason of the volume whose brick cannot go, such as NoReplacement.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub reason: String,
    /// Why it was not done, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The device whose brick cannot go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Id>,
}

/// A brick of a volume that leaves a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replacement {
    /// The device.
    pub device: Id,
    /// The ask to give it up, if somebody waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Id>,
    /// How many places for the new brick were tried.
    #[serde(default)]
    pub attempts: u32,
}

/// The ask to give something up, if somebody waits for that.
pub fn evacuation_asked<K: Resource>(object: &K) -> Option<Id> {
    object.annotations().get(EVACUATE)?.parse().ok()
}

/// Whether bricks are exchanged whatever is still to be healed.
pub fn skips_heal_check<K: Resource>(object: &K) -> bool {
    object.annotations().get(HEAL_CHECK).is_some_and(|value| value == "disable")
}

/// Whether a device or node that was given up is drained: for whoever asks now, if somebody waits for that. What was
/// true of an earlier ask says nothing of this one.
pub(super) fn is_drained<K: Resource>(
    object: &K,
    conditions: &[Condition],
    evacuation: Option<&Evacuation>,
) -> bool {
    let ended = |ask: Id| evacuation.is_some_and(|ended| ended.ask == ask && ended.reason.is_empty());
    condition_is(conditions, DRAINED) && evacuation_asked(object).is_none_or(ended)
}

/// Whether nobody can clean a device that is on its way out.
pub fn is_forgotten<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
        && object.annotations().get(FORGET).is_some_and(|value| value == "true")
}
