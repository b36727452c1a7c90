//! The states of nodes and devices, and giving them up: Heketi's rules and words. Pure.

use super::ticket::Noun;
use crate::resources::{Evacuation, State};
use crate::units::Id;

/// What a change of state comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is so already.
    Stay,
    /// It is set, and that is all.
    Set,
    /// It is given up: its bricks are moved elsewhere first.
    GiveUp,
    /// It may not be so.
    Refuse(String),
}

/// The state that clients see: what is being given up is offline until it is drained.
pub fn shown(state: State, drained: bool) -> State {
    match state {
        State::Failed if !drained => State::Offline,
        state => state,
    }
}

/// What a change of the state of a node or device comes to; `state` is what is wanted of it now, and `drained` whether
/// nobody needs what is on it any more.
pub fn step(noun: Noun, id: Id, state: State, drained: bool, wanted: State) -> Step {
    let shown = shown(state, drained);
    let title = if noun == Noun::Node { "Node" } else { "Device" };
    let word = title.to_lowercase();
    match (shown, wanted) {
        (State::Online, State::Failed) => {
            Step::Refuse(format!("{title} must be offline before remove operation is performed, {word}:{id}"))
        }
        (State::Failed, State::Online) => {
            Step::Refuse(format!("Cannot move a failed/removed {word} to online state"))
        }
        (State::Failed, State::Offline) if noun == Noun::Node => {
            Step::Refuse(format!("Cannot move a failed/removed {word} to offline state"))
        }
        (State::Offline, State::Failed) => Step::GiveUp,
        // Also when it is being given up: then it is so no longer.
        (_, wanted) if state == wanted => Step::Stay,
        _ => Step::Set,
    }
}

/// Why a node or device was not given up.
pub fn refusal(noun: Noun, id: Id, evacuation: &Evacuation) -> String {
    // The message names the volume first.
    let message = &evacuation.message;
    let bare = message.split_once(": ").map_or(message.as_str(), |(_, bare)| bare);
    match (evacuation.reason.as_str(), noun) {
        ("HealSource" | "Quorum" | "Uncounted", _) => bare.to_owned(),
        (_, Noun::Node) => {
            let device = evacuation.device.unwrap_or_default();
            format!(
                "Unable to remove node [{id}] as no device was found to replace device [{device}]: {message}"
            )
        }
        _ => format!(
            "Unable to delete device [{id}] as no device was found to replace it: No Replacement was found for \
             resource requested to be removed: {message}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Failed, Offline, Online};

    #[test]
    fn states_change_as_in_heketi() {
        let id = Id::from_uid("x");
        let refuse = |text: &str| Step::Refuse(text.to_owned());
        for noun in [Noun::Node, Noun::Device] {
            let word = if noun == Noun::Node { "node" } else { "device" };
            let title = if noun == Noun::Node { "Node" } else { "Device" };
            let early = format!("{title} must be offline before remove operation is performed, {word}:{id}");
            let late = refuse(&format!("Cannot move a failed/removed {word} to online state"));
            let offline = match noun {
                Noun::Node => refuse("Cannot move a failed/removed node to offline state"),
                _ => Step::Set,
            };
            for (state, drained, wanted, expected) in [
                (Online, false, Online, Step::Stay),
                (Online, false, Offline, Step::Set),
                (Online, false, Failed, refuse(&early)),
                (Offline, false, Online, Step::Set),
                (Offline, false, Offline, Step::Stay),
                (Offline, false, Failed, Step::GiveUp),
                (Failed, true, Failed, Step::Stay),
                (Failed, true, Online, late.clone()),
                (Failed, true, Offline, offline),
                // While it is being given up it is offline to clients.
                (Failed, false, Failed, Step::GiveUp),
                (Failed, false, Offline, Step::Set),
                (Failed, false, Online, Step::Set),
            ] {
                assert_eq!(step(noun, id, state, drained, wanted), expected, "{noun:?} {state:?} {wanted:?}");
            }
        }
        assert_eq!(
            (shown(Failed, true), shown(Failed, false), shown(Online, false)),
            (Failed, Offline, Online)
        );
    }

    #[test]
    fn refusals_have_the_words_of_the_original() {
        let id = Id::from_uid("x");
        let told = |noun, reason: &str| {
            let (reason, message) = (reason.into(), "volume v: why not".into());
            refusal(noun, id, &Evacuation { ask: id, reason, message, device: Some(id) })
        };
        let none = told(Noun::Device, "NoReplacement");
        let text = "as no device was found to replace it: No Replacement was found for resource requested to be removed";
        assert!(none.starts_with(&format!("Unable to delete device [{id}] {text}")), "{none}");
        assert!(none.ends_with("volume v: why not"), "{none}");
        let none = told(Noun::Node, "NoReplacement");
        let text = format!("Unable to remove node [{id}] as no device was found to replace device [{id}]");
        assert!(none.starts_with(&text), "{none}");
        assert_eq!(told(Noun::Device, "HealSource"), "why not");
    }
}
