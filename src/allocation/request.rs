//! What is to be placed, and the arithmetic from a volume's size to the space of a brick.

use std::collections::BTreeSet;

use crate::units::{Bytes, GIB, Id, MIB};

/// The smallest brick that mkfs.xfs makes a file system on.
const SMALLEST_BRICK: Bytes = Bytes(320 * MIB);

/// What the size of a volume means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizing {
    /// What a client can use: the file system's own share is added to each brick.
    Usable,
    /// The plain sum of the bricks.
    Bricks,
}

/// A volume to place.
#[derive(Clone, Debug)]
pub struct Request {
    /// The cluster to place in.
    pub cluster: Id,
    /// Its size.
    pub size: Bytes,
    /// What the size means.
    pub sizing: Sizing,
    /// Bricks in a set; each on a node of its own.
    pub set_size: usize,
    /// The smallest brick that the cluster allows.
    pub brick_min: Bytes,
    /// The largest brick that the cluster allows.
    pub brick_max: Bytes,
    /// How many bricks the volume may have, those that it has already included.
    pub max_bricks: usize,
    /// How many sets it has already: when a volume grows, what is placed comes beside them.
    pub held: usize,
    /// How much larger than the brick its thin pool is; at least 1.
    pub snapshot_factor: f64,
    /// Devices that are left out.
    pub avoid: BTreeSet<Id>,
}

impl Request {
    /// The size of each brick when the volume is cut into that many sets, or nothing if bricks of
    /// that size are not allowed. A whole number of KiB: `lvcreate` is asked in KiB.
    pub fn brick_size(&self, sets: usize) -> Option<Bytes> {
        let sets = u64::try_from(sets).ok().filter(|sets| *sets > 0)?;
        let size = match self.sizing {
            Sizing::Bricks => Bytes::from_kib(self.size.kib() / sets),
            Sizing::Usable => with_file_system(Bytes(self.size.0.div_ceil(sets))),
        };
        // Heketi refuses a brick under the limit; what a claim asks for is raised to it instead.
        let smallest = self.brick_min.max(SMALLEST_BRICK);
        let size = if self.sizing == Sizing::Usable && sets == 1 { size.max(smallest) } else { size };
        (size >= smallest && size <= self.brick_max).then_some(size)
    }

    /// The most sets that may be placed.
    pub fn max_sets(&self) -> usize {
        (self.max_bricks / self.set_size.max(1)).saturating_sub(self.held)
    }

    /// Whether so many sets, of which the smallest has bricks of that size, give the size asked for. A small
    /// claim is given a whole brick, so that it can grow for a while without another one.
    pub fn is_met_by(&self, sets: usize, smallest: Bytes) -> bool {
        self.sizing == Sizing::Usable && self.brick_size(sets).is_some_and(|needed| needed <= smallest)
    }
}

/// A brick on which a client can use `usable` bytes: the log of XFS (a 2048th of the file system,
/// 64 MiB at least and 2 GiB at most), its headers and reserve, and the hundredth that GlusterFS
/// keeps free on a brick (`storage.reserve`) come on top. Rounded up to MiB.
fn with_file_system(usable: Bytes) -> Bytes {
    let log = Bytes((usable.0 / 2048).clamp(64 * MIB, 2 * GIB));
    let headers = Bytes(48 * MIB).plus(Bytes(usable.0 / 100));
    let reserve = Bytes(usable.0 / 90);
    usable.plus(log).plus(headers).plus(reserve).round_up(Bytes(MIB))
}

/// The thin pool of a brick and its metadata on a device with that extent: the pool is the brick
/// times the snapshot factor, the metadata half a percent of it and 16 GiB at most, both rounded up
/// to whole extents. The same arithmetic as Heketi's, so that both see the same space.
pub fn brick_need(brick: Bytes, snapshot_factor: f64, extent: Bytes) -> (Bytes, Bytes) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "sizes are far below 2^53 KiB and the factor is at least 1"
    )]
    let pool_kib = (brick.kib() as f64 * snapshot_factor.max(1.0)) as u64;
    let pool = Bytes::from_kib(pool_kib).round_up(extent);
    let metadata = Bytes::from_kib((pool.kib() / 200).min(16 * 1024 * 1024)).round_up(extent);
    (pool, metadata.max(extent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(kib: u64) -> Bytes {
        Bytes::from_kib(kib)
    }

    #[test]
    fn a_brick_takes_what_heketi_takes() {
        let extent = extents(4096);
        for (gib, factor, pool, metadata) in [
            (1, 1.0, 1_048_576, 8_192),
            (10, 1.0, 10_485_760, 53_248),
            (100, 1.0, 104_857_600, 524_288),
            (100, 1.5, 157_286_400, 786_432),
            (4096, 1.0, 4_294_967_296, 16_777_216),
        ] {
            assert_eq!(
                brick_need(Bytes::from_gib(gib), factor, extent),
                (extents(pool), extents(metadata)),
                "{gib}"
            );
        }
    }

    #[test]
    fn sizes_outside_the_limits_are_no_bricks() {
        let request = Request {
            cluster: Id::from_uid("c"),
            size: Bytes::from_gib(10),
            sizing: Sizing::Bricks,
            set_size: 1,
            brick_min: Bytes::from_gib(1),
            brick_max: Bytes::from_gib(4),
            max_bricks: 32,
            held: 0,
            snapshot_factor: 1.0,
            avoid: BTreeSet::new(),
        };
        assert_eq!(request.brick_size(2), None);
        assert_eq!(request.brick_size(4), Some(Bytes(GIB * 5 / 2)));
        assert_eq!(request.brick_size(11), None);
        assert_eq!(request.brick_size(0), None);
    }

    #[test]
    fn a_small_claim_grows_into_its_brick() {
        let request = |size| Request {
            cluster: Id::from_uid("c"),
            size,
            sizing: Sizing::Usable,
            set_size: 3,
            brick_min: Bytes::from_gib(1),
            brick_max: Bytes::from_gib(4),
            max_bricks: 32,
            held: 0,
            snapshot_factor: 1.0,
            avoid: BTreeSet::new(),
        };
        assert!(request(Bytes(500 * MIB)).is_met_by(1, Bytes(GIB)));
        assert!(!request(Bytes(GIB)).is_met_by(1, Bytes(GIB)), "the file system takes its share");
        assert!(!Request { sizing: Sizing::Bricks, ..request(Bytes(GIB)) }.is_met_by(1, Bytes(GIB)));
    }
}
