//! A refusal as a value: what excluded each device, and the words for it.

use std::fmt;

use crate::units::Bytes;

/// Why a request has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No number of bricks within the limits gives the size.
    NoShape {
        /// The size asked for.
        size: Bytes,
        /// The most bricks that may be placed.
        max_bricks: usize,
        /// How many bricks the volume has already.
        held: usize,
        /// The largest brick allowed.
        brick_max: Bytes,
        /// The smallest brick allowed.
        brick_min: Bytes,
    },
    /// The bricks fit on too few nodes.
    NoRoom {
        /// How many nodes one set needs.
        needed: usize,
        /// How many nodes have room for at least one brick.
        with_room: usize,
        /// The size of the smallest brick that was tried.
        brick: Bytes,
        /// The space that such a brick takes.
        need: Bytes,
        /// What excluded the others.
        excluded: Vec<Excluded>,
    },
}

/// A node or device that was left out, and the rule that did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// The node's name.
    pub node: String,
    /// The device's path; absent when the rule is about the whole node.
    pub device: Option<String>,
    /// The rule.
    pub rule: Exclusion,
}

/// Rules that leave a node or device out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// It takes no bricks now; the words say why.
    Closed(String),
    /// It refused a brick of this volume before.
    Avoided,
    /// The space left is less than one brick takes.
    TooSmall {
        /// What is left.
        free: Bytes,
        /// What one brick takes.
        need: Bytes,
    },
}

/// How many excluded devices a message names; the rest is counted.
const NAMED: usize = 12;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoShape { size, max_bricks, held, brick_max, brick_min } => {
                let beside =
                    if *held > 0 { format!(" besides the {held} that are there") } else { String::new() };
                write!(
                    f,
                    "{size} cannot be cut into at most {max_bricks} bricks of {brick_min} to {brick_max}{beside}: \
                     ask for another size or raise the cluster's limits"
                )
            }
            Self::NoRoom { needed, with_room, brick, need, excluded } => {
                write!(
                    f,
                    "{with_room} of {needed} needed nodes have room for a brick of {} (it takes {})",
                    short(*brick),
                    short(*need)
                )?;
                if *with_room >= *needed {
                    write!(f, ", but not for all bricks of the volume")?;
                }
                for (nth, one) in excluded.iter().take(NAMED).enumerate() {
                    write!(f, "{} {one}", if nth == 0 { ":" } else { ";" })?;
                }
                if excluded.len() > NAMED {
                    write!(f, "; and {} more", excluded.len() - NAMED)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.node)?;
        if let Some(device) = &self.device {
            write!(f, " {device}")?;
        }
        match &self.rule {
            Exclusion::Closed(reason) => write!(f, " {reason}"),
            Exclusion::Avoided => write!(f, " refused a brick of this volume before"),
            Exclusion::TooSmall { free, need } => {
                write!(f, " has {} free of {} needed", short(*free), short(*need))
            }
        }
    }
}

/// A size with two decimals at most, for people.
fn short(size: Bytes) -> String {
    let units = [("Ti", 1u64 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let Some((suffix, factor)) = units.into_iter().find(|(_, factor)| size.0 >= *factor) else {
        return size.to_string();
    };
    let hundredths = u128::from(size.0) * 100 / u128::from(factor);
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}
