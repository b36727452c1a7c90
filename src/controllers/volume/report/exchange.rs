//! What came of exchanging a brick, as a status.

use super::Note;
use crate::controllers::volume::exchange::Exchanged;
use crate::controllers::volume::spare::Hold;
use crate::resources::REPLACED;
use crate::units::Id;

impl Note<'_> {
    /// Somebody else may wait for it by now than when it was begun.
    pub(super) fn asked(&mut self, ask: Option<Option<Id>>) {
        if let (Some(replacement), Some(ask)) = (self.status.replacement.as_mut(), ask) {
            replacement.ask = ask;
        }
    }

    pub(super) fn exchanged(&mut self, exchanged: Exchanged, attempts: u32) {
        match exchanged {
            Exchanged::Done => self.exchange_done(),
            Exchanged::Held(hold, brick) => {
                self.set((REPLACED, "False", hold.reason()), &held(&hold, brick));
            }
            Exchanged::Moving => {
                let text = "GlusterFS moves data of an expansion, and exchanges no bricks meanwhile";
                self.set((REPLACED, "False", "Moving"), text);
            }
            Exchanged::Unfit { devices, error } => {
                self.successor_goes();
                self.error(&error);
                self.avoids(devices);
                let replacement = self.status.replacement.get_or_insert_default();
                replacement.attempts += 1;
                // Whoever waits for an answer is not kept waiting for ever.
                if replacement.ask.is_some() && replacement.attempts >= attempts {
                    let text =
                        format!("{attempts} places were tried for the new brick; the last error: {error}");
                    self.set((REPLACED, "False", "NoReplacement"), &text);
                } else {
                    let text = format!("another place is looked for, since {error}");
                    self.set((REPLACED, "False", "Moving"), &text);
                }
            }
            Exchanged::Withdrawn => {
                self.successor_goes();
                self.set((REPLACED, "False", "Moving"), "its device is not given up any more");
            }
        }
    }

    /// The new brick stands where the old one stood, which is kept until the new one has all data.
    fn exchange_done(&mut self) {
        let Some(placement) = self.status.placement.as_mut() else { return };
        let at = |id: Id| placement.bricks.iter().position(|brick| brick.id == id);
        let pair = placement.exchange().and_then(|(old, new)| Some((at(old.id)?, at(new.id)?, new.id)));
        let Some((old, new, successor)) = pair else { return };
        placement.bricks[new].replaces = None;
        let gone = &mut placement.bricks[old];
        (gone.retiring, gone.growing, gone.replaced_by) = (true, false, Some(successor));
        let text = format!("brick {successor} has taken the place of brick {} and gets its data", gone.id);
        placement.bricks.swap(old, new);
        self.status.last_error = None;
        self.status.avoid.clear();
        // Another brick of the same device has as many tries.
        if let Some(replacement) = self.status.replacement.as_mut() {
            replacement.attempts = 0;
        }
        self.serves();
        self.set((REPLACED, "False", "Healing"), &text);
    }

    /// The new brick is on its way out, and the old one stays for now.
    fn successor_goes(&mut self) {
        for brick in self.status.placement.iter_mut().flat_map(|placement| &mut placement.bricks) {
            if brick.replaces.take().is_some() {
                brick.retiring = true;
            }
        }
    }

    pub(super) fn replaced(&mut self) {
        self.set((REPLACED, "True", "Replaced"), "no brick of it is on a device that was given up");
    }
}

/// Heketi's words, where it has some.
fn held(hold: &Hold, brick: Id) -> String {
    match hold {
        Hold::Source => format!("Cannot replace brick {brick} as it is source brick for data to be healed"),
        Hold::Quorum { connected, needed } => format!(
            "Cannot replace brick {brick} as only {connected} of {needed} required peer bricks are online"
        ),
        Hold::Healing => format!("brick {brick} leaves when its set is healed"),
        Hold::Uncounted => format!(
            "Cannot replace brick {brick} as GlusterFS has not counted what is in the root directory of the volume, since the client \
             that made it ended too early: mount the volume, make and remove a file there, and unmount it some seconds later"
        ),
        Hold::Unknown(cause) => {
            format!("brick {brick} leaves when it is known what is to be healed: {cause}")
        }
    }
}
