//! A refusal as a value: the rule that was not met, what excluded each device, and the words for it.

use std::fmt;

use crate::units::{Bytes, TagRule};

/// Why a request has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was not met.
    pub cause: Cause,
    /// The nodes and devices that were left out, and why.
    pub excluded: Vec<Excluded>,
}

/// What a refused request did not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// With as many bricks as allowed, each would be larger than allowed.
    BrickCount {
        /// The size asked for.
        size: Bytes,
        /// How many bricks it takes at least.
        needed: usize,
        /// How many the volume may have.
        limit: usize,
        /// How many it has already.
        held: usize,
        /// The largest brick allowed.
        brick_max: Bytes,
    },
    /// Cut as little as possible, each brick is smaller than allowed.
    BrickMinimum {
        /// The size asked for.
        size: Bytes,
        /// The size of a brick.
        brick: Bytes,
        /// The smallest brick allowed.
        brick_min: Bytes,
    },
    /// Too few nodes, or zones, have room for a brick.
    NoRoom {
        /// Whether zones are counted: the rule is strict.
        zones: bool,
        /// How many of them one set needs.
        needed: usize,
        /// How many have room for at least one brick.
        with_room: usize,
        /// The size of the smallest brick that was tried.
        brick: Bytes,
        /// The space that such a brick takes.
        need: Bytes,
    },
    /// The bricks of a volume cannot be made as large as it takes where they are.
    InPlace {
        /// The size that each would have; absent when no brick may be that large.
        brick: Option<Bytes>,
        /// The largest brick allowed.
        brick_max: Bytes,
    },
    /// Data has room, and the arbiter brick beside it has not.
    NoArbiter {
        /// The size of an arbiter brick.
        brick: Bytes,
        /// How many nodes have a device for it.
        with_room: usize,
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
    /// Its tag is not what the request wants.
    Tag(TagRule, Option<String>),
    /// There is no device on it.
    Empty,
    /// The space left is less than one brick takes.
    TooSmall {
        /// What is left; of a node, on its largest device.
        free: Bytes,
        /// What one brick takes.
        need: Bytes,
    },
}

/// How many excluded devices a message names; the rest is counted.
const NAMED: usize = 12;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        for (nth, one) in self.excluded.iter().take(NAMED).enumerate() {
            write!(f, "{} {one}", if nth == 0 { ":" } else { ";" })?;
        }
        if self.excluded.len() > NAMED {
            write!(f, "; and {} more", self.excluded.len() - NAMED)?;
        }
        Ok(())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrickCount { size, needed, limit, held, brick_max } => {
                let beside = match held {
                    0 => String::new(),
                    held => format!(", besides the {held} that are there,"),
                };
                write!(
                    f,
                    "{} takes at least {needed} bricks of at most {}, and the volume may{beside} have {}: ask for \
                     another size or raise the cluster's limits",
                    short(*size),
                    short(*brick_max),
                    limit.saturating_sub(*held)
                )
            }
            Self::BrickMinimum { size, brick, brick_min } => write!(
                f,
                "{} gives bricks of {}, and the smallest brick allowed is {}: ask for another size or lower the \
                 cluster's limit",
                short(*size),
                short(*brick),
                short(*brick_min)
            ),
            Self::NoRoom { zones, needed, with_room, brick, need } => {
                let what = if *zones { "zones" } else { "nodes" };
                write!(
                    f,
                    "{with_room} of {needed} needed {what} have room for a brick of {} (it takes {})",
                    short(*brick),
                    short(*need)
                )?;
                if *with_room >= *needed {
                    write!(f, ", but not for all bricks of the volume")?;
                }
                Ok(())
            }
            Self::InPlace { brick: Some(brick), .. } => {
                write!(f, "its bricks cannot grow to {} where they are", short(*brick))
            }
            Self::InPlace { brick: None, brick_max } => write!(
                f,
                "its bricks cannot grow where they are: each would be larger than the {} that the cluster allows",
                short(*brick_max)
            ),
            Self::NoArbiter { brick, with_room } => write!(
                f,
                "{with_room} nodes have a device for an arbiter brick of {}, none beside the nodes of the data \
                 (the tag arbiter is \"required\" on devices for arbiters alone, \"disabled\" on devices without them)",
                short(*brick)
            ),
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
            Exclusion::Empty => write!(f, " has no device"),
            Exclusion::Tag(rule, None) => write!(f, " has no tag {} ({rule} is asked for)", rule.key),
            Exclusion::Tag(rule, Some(value)) => {
                write!(f, " has the tag {}={value} ({rule} is asked for)", rule.key)
            }
            Exclusion::TooSmall { free, need } => {
                let on = if self.device.is_none() { " on its largest device" } else { "" };
                write!(f, " has {} free of {} needed{on}", short(*free), short(*need))
            }
        }
    }
}

/// A size with two decimals at most, for people.
pub(super) fn short(size: Bytes) -> String {
    let units = [("Ti", 1u64 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let Some((suffix, factor)) = units.into_iter().find(|(_, factor)| size.0 >= *factor) else {
        return size.to_string();
    };
    let hundredths = u128::from(size.0) * 100 / u128::from(factor);
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}
