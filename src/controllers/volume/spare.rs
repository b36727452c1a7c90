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

/// A brick of a set that serves a volume.
#[derive(Clone, Debug)]
pub struct Member {
    /// What GlusterFS says of it.
    pub told: HealBrick,
    /// Whether it has names and attributes only.
    pub arbiter: bool,
    /// Whether it has taken the place of one that is kept, and does not have all data yet.
    pub fills: bool,
}

impl Member {
    /// Whether what the set holds can be read from it alone, as far as anybody knows.
    fn is_whole(&self) -> bool {
        self.told.connected && !self.arbiter && !self.fills
    }
}

/// How many others of its set have to answer when a brick is exchanged: with them the data is whole, and no two halves
/// of a set can go apart (Heketi's rule, heketi-engine.md 2.1). Bricks of other volumes are not exchanged.
fn quorum(durability: &Durability) -> usize {
    match durability.type_ {
        DurabilityType::Replicate if durability.set_size() < 3 => 1,
        DurabilityType::Replicate => durability.set_size() / 2 + 1,
        DurabilityType::Disperse | DurabilityType::None => durability.set_size(),
    }
}

/// Whether the brick at this position of its set may be exchanged for an empty one: when nobody misses anything. Of one
/// that does not answer nobody knows what it has, and it cannot give it to anybody. Then one of the others has to have
/// the data, and not only be on the way to it; and `was_source`, that others missed what it has when it was last looked
/// at, must not be so.
pub fn may_go(
    set: &[Member],
    position: usize,
    durability: &Durability,
    was_source: bool,
) -> Result<(), Hold> {
    let brick = &set.get(position).ok_or(Hold::Unknown)?.told;
    let others = || set.iter().enumerate().filter(|(at, _)| *at != position).map(|(_, other)| other);
    let (connected, needed) = (others().filter(|other| other.told.connected).count(), quorum(durability));
    if connected < needed {
        return Err(Hold::Quorum { connected, needed });
    }
    if !brick.connected {
        let is_spare = !was_source && others().any(Member::is_whole);
        return if is_spare { Ok(()) } else { Err(Hold::Source) };
    }
    match brick.entries {
        None => return Err(Hold::Unknown),
        Some(0) => {}
        Some(_) => return Err(Hold::Source),
    }
    let heals = others().any(|other| other.told.entries.is_some_and(|entries| entries > 0));
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

    fn members(bricks: &[Option<u64>]) -> Vec<Member> {
        set(bricks).into_iter().map(|told| Member { told, arbiter: false, fills: false }).collect()
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
            assert_eq!(may_go(&members(&bricks), 0, &three, false), verdict, "{bricks:?}");
        }
        let mut unknown = members(&[Some(0), Some(0), Some(0)]);
        unknown[0].told.entries = None;
        assert_eq!(may_go(&unknown, 0, &three, false), Err(Hold::Unknown));
        assert_eq!(may_go(&[], 0, &three, false), Err(Hold::Unknown));
    }

    /// It is away, so it looks as if it had nothing to give; but nobody else has the data.
    #[test]
    fn the_last_that_has_all_data_stays() {
        let (two, three) = (Durability::replicate(2), Durability::replicate(3));
        let mut pair = members(&[None, Some(5)]);
        assert_eq!(may_go(&pair, 0, &two, false), Ok(()));
        pair[1].fills = true;
        assert_eq!(may_go(&pair, 0, &two, false), Err(Hold::Source), "the other is being filled from it");
        let mut three_of_them = members(&[None, Some(5), Some(5)]);
        three_of_them[1].fills = true;
        assert_eq!(may_go(&three_of_them, 0, &three, false), Ok(()), "the third has all data");
        three_of_them[2].fills = true;
        assert_eq!(may_go(&three_of_them, 0, &three, false), Err(Hold::Source));
        (three_of_them[2].fills, three_of_them[2].arbiter) = (false, true);
        assert_eq!(may_go(&three_of_them, 0, &three, false), Err(Hold::Source), "an arbiter has no data");
        let away = members(&[None, Some(5), Some(5)]);
        assert_eq!(may_go(&away, 0, &three, true), Err(Hold::Source), "it had what the others miss");
    }

    #[test]
    fn how_many_have_to_answer() {
        for (durability, needed) in [
            (Durability::replicate(2), 1),
            (Durability::replicate(3), 2),
            (Durability::replicate(4), 3),
            (Durability::disperse(2, 1), 3),
        ] {
            let mut bricks = vec![Some(0); needed + 1];
            assert_eq!(may_go(&members(&bricks), 0, &durability, false), Ok(()), "{durability:?}");
            bricks[1] = None;
            let connected = needed - 1;
            let refused = Err(Hold::Quorum { connected, needed });
            assert_eq!(may_go(&members(&bricks), 0, &durability, false), refused);
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
