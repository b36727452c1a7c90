//! Whether a brick can be spared, by what its set still has to heal. Pure.

use crate::executor::ops::heal::{HealBrick, Root};
use crate::resources::{Durability, DurabilityType};

/// Why a brick has to stay for now.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// What is in the root directory of its set was never counted: nobody could tell whether a new brick has it.
    Uncounted,
    /// It is not known what is to be healed, and why.
    Unknown(String),
}

impl Hold {
    /// The reason of the condition Replaced.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Source => "HealSource",
            Self::Quorum { .. } => "Quorum",
            Self::Uncounted => "Uncounted",
            Self::Healing | Self::Unknown(_) => "Healing",
        }
    }
}

/// A brick of a set that serves a volume.
#[derive(Clone, Debug)]
pub struct Member {
    /// What GlusterFS says of it.
    pub told: HealBrick,
    /// Its root directory, of a dispersed set and if it could be read: looked at before GlusterFS was asked.
    pub root: Option<Root>,
    /// Whether it has names and attributes only.
    pub arbiter: bool,
    /// Whether it has taken the place of one that is kept, and does not have all data yet.
    pub fills: bool,
}

impl Member {
    /// Whether it has all its data, as far as anybody knows.
    fn is_whole(&self) -> bool {
        self.told.connected && !self.arbiter && !self.fills
    }
}

/// How many others of its set have to answer when a brick is exchanged: with them the data is whole and can be written,
/// and no two halves of a set can go apart (of replicas Heketi's rule, heketi-engine.md 2.1). Bricks of other volumes are
/// not exchanged.
fn quorum(durability: &Durability) -> usize {
    match durability.type_ {
        DurabilityType::Replicate if durability.set_size() < 3 => 1,
        DurabilityType::Replicate => durability.set_size() / 2 + 1,
        DurabilityType::Disperse => data(durability),
        DurabilityType::None => durability.set_size(),
    }
}

/// Out of how many bricks of a set what it holds can be read.
fn data(durability: &Durability) -> usize {
    match durability.type_ {
        DurabilityType::Disperse => durability.data.unwrap_or(4) as usize,
        DurabilityType::Replicate | DurabilityType::None => 1,
    }
}

/// Whether the brick at this position of its set may be exchanged for an empty one: when nobody misses anything. Of one
/// that does not answer nobody knows what it has, and it cannot give it to anybody. Then the others have to have the
/// data, and not only be on the way to it; and `was_source`, that others missed what it has when it was last looked at,
/// must not be so.
pub fn may_go(
    set: &[Member],
    position: usize,
    durability: &Durability,
    was_source: bool,
) -> Result<(), Hold> {
    let unknown = || Hold::Unknown("GlusterFS does not speak of it".into());
    let brick = &set.get(position).ok_or_else(unknown)?.told;
    let others = || set.iter().enumerate().filter(|(at, _)| *at != position).map(|(_, other)| other);
    let (connected, needed) = (others().filter(|other| other.told.connected).count(), quorum(durability));
    if connected < needed {
        return Err(Hold::Quorum { connected, needed });
    }
    let dispersed = durability.type_ == DurabilityType::Disperse;
    if !brick.connected {
        let whole = || others().filter(|other| other.is_whole());
        if was_source || whole().count() < data(durability) {
            return Err(Hold::Source);
        }
        return if !dispersed || same_roots(whole()) { Ok(()) } else { Err(Hold::Healing) };
    }
    match brick.entries {
        None => return Err(unknown()),
        Some(0) => {}
        Some(_) => return Err(Hold::Source),
    }
    let heals = others().any(|other| other.told.entries.is_some_and(|entries| entries > 0));
    let answer = || set.iter().filter(|member| member.told.connected);
    let fills = dispersed && (set.iter().any(|member| member.fills) || !same_roots(answer()));
    if heals || fills { Err(Hold::Healing) } else { Ok(()) }
}

/// Whether every brick of a set has all data.
pub fn healed(set: &[Member], durability: &Durability) -> Result<(), Hold> {
    let whole = |member: &Member| member.told.connected && member.told.entries == Some(0);
    let rooted = durability.type_ != DurabilityType::Disperse || same_roots(set.iter());
    if !set.is_empty() && set.iter().all(whole) && rooted { Ok(()) } else { Err(Hold::Healing) }
}

/// Whether bricks of a dispersed set have the same root directory. What one of them misses further down is to be healed
/// by what GlusterFS says, then. While the root is written they may look alike for a moment though one misses something; but
/// the root is noted, then, as to be healed.
pub fn same_roots<'m>(members: impl Iterator<Item = &'m Member>) -> bool {
    let roots: Option<Vec<&Root>> = members.map(|member| member.root.as_ref()).collect();
    let same = |roots: &[&Root]| {
        let first = roots.first()?;
        let equal = roots.iter().all(|root| root.version == first.version);
        let known = first.version.is_some() || roots.iter().all(|root| !root.named);
        Some(equal && known)
    };
    roots.and_then(|roots| same(&roots)).unwrap_or(false)
}

/// Whether a brick of a dispersed set can be told from an empty one by its root directory. GlusterFS heals a root only
/// where versions differ: an empty one in the midst of others that have names and no version either is never filled, and
/// has the version of the others after the next change. Such a set exchanges no brick, whatever else is known of it.
pub fn has_counted(set: &[Member], durability: &Durability) -> Result<(), Hold> {
    let uncounted = |root: &Root| root.named && root.version.is_none();
    let dispersed = durability.type_ == DurabilityType::Disperse;
    let uncounted = dispersed && set.iter().filter_map(|member| member.root.as_ref()).any(uncounted);
    if uncounted { Err(Hold::Uncounted) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root directory that was changed so often.
    fn root(version: &str) -> Option<Root> {
        Some(Root { version: Some(version.to_owned()), named: true })
    }

    /// Each brick by what it says: entries, or nothing when it does not answer.
    fn members(bricks: &[Option<u64>]) -> Vec<Member> {
        bricks
            .iter()
            .map(|entries| Member {
                told: HealBrick { address: String::new(), connected: entries.is_some(), entries: *entries },
                root: entries.and_then(|_| root("0x7")),
                arbiter: false,
                fills: false,
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
            assert_eq!(may_go(&members(&bricks), 0, &three, false), verdict, "{bricks:?}");
        }
        let mut unknown = members(&[Some(0), Some(0), Some(0)]);
        unknown[0].told.entries = None;
        assert!(matches!(may_go(&unknown, 0, &three, false), Err(Hold::Unknown(_))));
        assert!(matches!(may_go(&[], 0, &three, false), Err(Hold::Unknown(_))));
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
            (Durability::disperse(2, 1), 2),
            (Durability::disperse(4, 2), 4),
            (Durability::none(), 1),
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
    fn of_a_dispersed_set_as_many_stay_as_hold_the_data() {
        let (small, large) = (Durability::disperse(2, 1), Durability::disperse(4, 2));
        let mut three = members(&[Some(0), Some(0), Some(0)]);
        assert_eq!(may_go(&three, 0, &small, false), Ok(()));
        three[1].fills = true;
        assert_eq!(may_go(&three, 0, &small, false), Err(Hold::Healing), "the one before is not done");
        (three[1].fills, three[1].root) = (false, root("0x6"));
        assert_eq!(may_go(&three, 0, &small, false), Err(Hold::Healing), "heal info says so too late");
        three[1].root = None;
        assert_eq!(may_go(&three, 0, &small, false), Err(Hold::Healing), "its root cannot be read");

        let mut three = members(&[None, Some(5), Some(5)]);
        assert_eq!(may_go(&three, 0, &small, false), Ok(()), "both others are whole");
        assert_eq!(may_go(&three, 0, &small, true), Err(Hold::Source));
        three[2].root = root("0x6");
        assert_eq!(may_go(&three, 0, &small, false), Err(Hold::Healing));
        (three[2].root, three[2].fills) = (root("0x7"), true);
        assert_eq!(may_go(&three, 0, &small, false), Err(Hold::Source), "one cannot fill the other");
        let mut six = members(&[None, Some(5), Some(5), Some(5), Some(5), Some(5)]);
        (six[1].fills, six[1].root) = (true, root("0x0"));
        assert_eq!(may_go(&six, 0, &large, false), Ok(()), "four are whole");
        six[2].told.connected = false;
        assert_eq!(may_go(&six, 0, &large, false), Err(Hold::Source));
        six[3].told.connected = false;
        assert_eq!(may_go(&six, 0, &large, false), Err(Hold::Quorum { connected: 3, needed: 4 }));
    }

    #[test]
    fn a_root_that_was_not_counted_keeps_its_bricks() {
        let (replica, dispersed) = (Durability::replicate(3), Durability::disperse(2, 1));
        let mut three = members(&[Some(0), Some(0), Some(0)]);
        assert_eq!(has_counted(&three, &dispersed), Ok(()));
        three.iter_mut().for_each(|member| member.root = Some(Root { version: None, named: false }));
        assert_eq!(has_counted(&three, &dispersed), Ok(()), "nothing is in it");
        three[1].root = Some(Root { version: None, named: true });
        assert_eq!(has_counted(&three, &replica), Ok(()));
        assert_eq!(has_counted(&three, &dispersed), Err(Hold::Uncounted));
    }

    #[test]
    fn a_set_is_healed_when_all_bricks_say_so() {
        for durability in [Durability::replicate(2), Durability::disperse(2, 1)] {
            assert_eq!(healed(&members(&[Some(0), Some(0)]), &durability), Ok(()));
            for bricks in [&[Some(0), Some(1)][..], &[Some(0), None], &[]] {
                assert_eq!(healed(&members(bricks), &durability), Err(Hold::Healing), "{bricks:?}");
            }
        }
    }

    #[test]
    fn a_dispersed_set_is_healed_when_its_roots_are_the_same() {
        let verdict = |roots: [Option<Root>; 3]| {
            let mut set = members(&[Some(0), Some(0), Some(0)]);
            set.iter_mut().zip(roots).for_each(|(member, root)| member.root = root);
            assert_eq!(healed(&set, &Durability::replicate(3)), Ok(()), "replicas are not asked");
            healed(&set, &Durability::disperse(2, 1))
        };
        let never = |named: bool| Some(Root { version: None, named });
        assert_eq!(verdict([root("0x7"), root("0x7"), root("0x7")]), Ok(()));
        assert_eq!(verdict([never(false), never(false), never(false)]), Ok(()), "nothing was ever written");
        for roots in [
            [root("0x7"), root("0x7"), root("0x6")],
            [root("0x7"), never(false), root("0x7")],
            [never(false), root("0x7"), root("0x7")],
            [root("0x7"), None, root("0x7")],
            [None, None, None],
            [never(true), never(false), never(true)],
        ] {
            assert_eq!(verdict(roots.clone()), Err(Hold::Healing), "{roots:?}");
        }
    }
}
