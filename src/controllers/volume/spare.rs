//! Whether a brick can be spared, by what its set still has to heal. Pure.

use crate::executor::ops::heal::HealBrick;
use crate::resources::{Durability, DurabilityType};

/// Why a brick has to stay for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Others of its set do not have all that it has yet.
    Source,
    /// Too few others of its set answer.
    Quorum {
        /// How many do.
        connected: usize,
        /// How many have to.
        needed: usize,
    },
    /// Its set is being healed.
    Healing,
    /// GlusterFS does not say what is to be healed.
    Unknown,
}

impl Hold {
    /// The reason of the condition Replaced.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Source => "HealSource",
            Self::Quorum { .. } => "Quorum",
            Self::Healing | Self::Unknown => "Healing",
        }
    }
}

/// How many others of its set have to answer when a brick is exchanged: with them the data is whole, and no two halves
/// of a set can go apart (Heketi's rule, heketi-engine.md 2.1).
fn quorum(durability: &Durability) -> usize {
    match durability.type_ {
        DurabilityType::Replicate if durability.set_size() < 3 => 1,
        DurabilityType::Replicate => durability.set_size() / 2 + 1,
        DurabilityType::Disperse => durability.data.unwrap_or(4) as usize,
        DurabilityType::None => 1,
    }
}

/// Whether the brick at this position of its set may be exchanged for an empty one. What others miss because it does
/// not answer is no obstacle: it cannot give it to them.
pub fn may_go(set: &[HealBrick], position: usize, durability: &Durability) -> Result<(), Hold> {
    let brick = set.get(position).ok_or(Hold::Unknown)?;
    let others = || set.iter().enumerate().filter(|(at, _)| *at != position).map(|(_, other)| other);
    let (connected, needed) = (others().filter(|other| other.connected).count(), quorum(durability));
    if connected < needed {
        return Err(Hold::Quorum { connected, needed });
    }
    if !brick.connected {
        return Ok(());
    }
    match brick.entries {
        None => return Err(Hold::Unknown),
        Some(0) => {}
        Some(_) => return Err(Hold::Source),
    }
    let heals = others().any(|other| other.entries.is_some_and(|entries| entries > 0));
    if heals { Err(Hold::Healing) } else { Ok(()) }
}

/// Whether every brick of a set has all data.
pub fn healed(set: &[HealBrick]) -> Result<(), Hold> {
    let whole = |brick: &HealBrick| brick.connected && brick.entries == Some(0);
    if !set.is_empty() && set.iter().all(whole) { Ok(()) } else { Err(Hold::Healing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each brick by what it says: entries, or nothing when it does not answer.
    fn set(bricks: &[Option<u64>]) -> Vec<HealBrick> {
        bricks
            .iter()
            .map(|entries| HealBrick {
                address: String::new(),
                connected: entries.is_some(),
                entries: *entries,
            })
            .collect()
    }

    #[test]
    fn a_brick_that_others_need_stays() {
        let three = Durability::replicate(3);
        for (bricks, verdict) in [
            ([Some(0), Some(0), Some(0)], Ok(())),
            ([Some(2), Some(0), Some(0)], Err(Hold::Source)),
            ([Some(0), Some(2), Some(0)], Err(Hold::Healing)),
            ([Some(0), None, Some(0)], Err(Hold::Quorum { connected: 1, needed: 2 })),
            // It is away: what the others have for it does not keep it.
            ([None, Some(7), Some(7)], Ok(())),
            ([None, Some(7), None], Err(Hold::Quorum { connected: 1, needed: 2 })),
        ] {
            assert_eq!(may_go(&set(&bricks), 0, &three), verdict, "{bricks:?}");
        }
        let unknown = HealBrick { address: String::new(), connected: true, entries: None };
        let bricks = [unknown, set(&[Some(0)])[0].clone(), set(&[Some(0)])[0].clone()];
        assert_eq!(may_go(&bricks, 0, &three), Err(Hold::Unknown));
        assert_eq!(may_go(&[], 0, &three), Err(Hold::Unknown));
    }

    #[test]
    fn how_many_have_to_answer() {
        for (durability, needed) in [
            (Durability::replicate(2), 1),
            (Durability::replicate(3), 2),
            (Durability::disperse(2, 1), 2),
            (Durability::disperse(8, 3), 8),
        ] {
            let mut bricks = vec![Some(0); needed + 1];
            assert_eq!(may_go(&set(&bricks), 0, &durability), Ok(()), "{durability:?}");
            bricks[1] = None;
            let connected = needed - 1;
            assert_eq!(may_go(&set(&bricks), 0, &durability), Err(Hold::Quorum { connected, needed }));
        }
    }

    #[test]
    fn a_set_is_healed_when_all_bricks_say_so() {
        assert_eq!(healed(&set(&[Some(0), Some(0)])), Ok(()));
        for bricks in [&[Some(0), Some(1)][..], &[Some(0), None], &[]] {
            assert_eq!(healed(&set(bricks)), Err(Hold::Healing), "{bricks:?}");
        }
    }
}
