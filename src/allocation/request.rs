//! What is to be placed, and the arithmetic from a volume's size to the space of a brick.

use std::collections::BTreeSet;

use crate::units::{Bytes, GIB, Id, MIB, TagRule};

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

/// What one set of bricks is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One brick: each byte once.
    Distribute,
    /// So many bricks, each with the whole content of the set.
    Replicate(usize),
    /// Two bricks with the whole content, and one with only the names and attributes of files.
    Arbiter {
        /// How large a file is on average: it decides how many names a brick of some size stands for.
        average_file: Bytes,
    },
    /// The content is cut into so many parts, and so many more bricks may be lost.
    Disperse {
        /// Bricks whose content is needed.
        data: usize,
        /// Bricks that may be lost.
        redundancy: usize,
    },
}

impl Layout {
    /// How many bricks make one set.
    pub fn set_size(self) -> usize {
        match self {
            Self::Distribute => 1,
            Self::Replicate(copies) => copies,
            Self::Arbiter { .. } => 3,
            Self::Disperse { data, redundancy } => data + redundancy,
        }
    }

    /// How many bricks of a set take about the same space; an arbiter takes next to none.
    pub fn copies(self) -> usize {
        if let Self::Arbiter { .. } = self { 2 } else { self.set_size() }
    }

    /// Over how many bricks of a set its content is cut.
    pub fn data(self) -> usize {
        match self {
            Self::Disperse { data, .. } => data,
            _ => 1,
        }
    }
}

/// How the bricks of a set have to lie in zones. They lie on nodes of their own whatever the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZoneRule {
    /// Zones do not matter.
    None,
    /// In as many zones as there is room in: safety first, then few bricks.
    #[default]
    Soft,
    /// Each in a zone of its own.
    Strict,
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
    /// What its sets are made of.
    pub layout: Layout,
    /// How its sets lie in zones.
    pub zones: ZoneRule,
    /// What the tags of its devices have to be.
    pub tags: Option<TagRule>,
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
    /// A node or device that is taken for open, whatever is said of it: what would be if it were.
    pub supposed_open: Option<Id>,
}

impl Request {
    /// The size of each brick when the volume is cut into that many sets, or nothing if bricks of
    /// that size are not allowed. A whole number of KiB: `lvcreate` is asked in KiB.
    pub fn brick_size(&self, sets: usize) -> Option<Bytes> {
        let (size, smallest) = (self.share(sets)?, self.smallest());
        // Heketi refuses a brick under the limit; what a claim asks for is raised to it instead.
        let size = if self.sizing == Sizing::Usable && sets == 1 { size.max(smallest) } else { size };
        (size >= smallest && size <= self.brick_max).then_some(size)
    }

    /// The size of each brick when the volume is cut into that many sets, whatever is allowed; nothing for no sets.
    pub(super) fn share(&self, sets: usize) -> Option<Bytes> {
        let parts = u64::try_from(sets * self.layout.data()).ok().filter(|parts| *parts > 0)?;
        Some(match self.sizing {
            Sizing::Bricks => Bytes::from_kib(self.size.kib() / parts),
            Sizing::Usable => with_file_system(Bytes(self.size.0.div_ceil(parts))),
        })
    }

    /// The smallest brick that is allowed and has room for a file system.
    pub(super) fn smallest(&self) -> Bytes {
        self.brick_min.max(SMALLEST_BRICK)
    }

    /// The size of the arbiter brick beside data bricks of that size: 1 KiB for each file that they hold on
    /// average, as Heketi counts, and no less than a file system takes.
    pub fn arbiter_size(&self, brick: Bytes) -> Bytes {
        let Layout::Arbiter { average_file } = self.layout else { return brick };
        let size = Bytes::from_kib(brick.kib() / average_file.kib().max(1));
        size.max(SMALLEST_BRICK).min(brick)
    }

    /// Whether the brick at a position of its set is an arbiter.
    pub fn is_arbiter(&self, position: usize) -> bool {
        matches!(self.layout, Layout::Arbiter { .. }) && position == 2
    }

    /// The most sets that may be placed.
    pub fn max_sets(&self) -> usize {
        (self.max_bricks / self.layout.set_size().max(1)).saturating_sub(self.held)
    }

    /// Whether so many sets, of which the smallest has bricks of that size, give the size asked for. A small
    /// claim is given a whole brick, so that it can grow for a while without another one.
    pub fn is_met_by(&self, sets: usize, smallest: Bytes) -> bool {
        self.sizing == Sizing::Usable && self.share(sets).is_some_and(|needed| needed <= smallest)
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

/// What one brick takes on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The brick: the size of its logical volume.
    pub size: Bytes,
    /// Its thin pool.
    pub pool: Bytes,
    /// The metadata of the pool.
    pub metadata: Bytes,
}

impl Need {
    /// All of it. The spare that LVM keeps for the largest metadata comes on top, once a device.
    pub fn total(self) -> Bytes {
        self.pool.plus(self.metadata)
    }
}

/// The thin pool of a brick and its metadata on a device with that extent: the pool is the brick
/// times the snapshot factor, the metadata half a percent of it and 16 GiB at most, both rounded up
/// to whole extents. The same arithmetic as Heketi's, so that both see the same space.
pub fn brick_need(brick: Bytes, snapshot_factor: f64, extent: Bytes) -> Need {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "sizes are far below 2^53 KiB and the factor is at least 1"
    )]
    let pool_kib = (brick.kib() as f64 * snapshot_factor.max(1.0)) as u64;
    let pool = Bytes::from_kib(pool_kib).round_up(extent);
    let metadata = Bytes::from_kib((pool.kib() / 200).min(16 * 1024 * 1024)).round_up(extent);
    Need { size: brick, pool, metadata: metadata.max(extent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(kib: u64) -> Bytes {
        Bytes::from_kib(kib)
    }

    fn request(size: Bytes, sizing: Sizing, layout: Layout) -> Request {
        Request {
            cluster: Id::from_uid("c"),
            size,
            sizing,
            layout,
            zones: ZoneRule::None,
            tags: None,
            brick_min: Bytes::from_gib(1),
            brick_max: Bytes::from_gib(4),
            max_bricks: 32,
            held: 0,
            snapshot_factor: 1.0,
            avoid: BTreeSet::new(),
            supposed_open: None,
        }
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
            let need = brick_need(Bytes::from_gib(gib), factor, extent);
            assert_eq!((need.pool, need.metadata), (extents(pool), extents(metadata)), "{gib}");
        }
    }

    #[test]
    fn sizes_outside_the_limits_are_no_bricks() {
        let request = request(Bytes::from_gib(10), Sizing::Bricks, Layout::Distribute);
        assert_eq!(request.brick_size(2), None);
        assert_eq!(request.brick_size(4), Some(Bytes(GIB * 5 / 2)));
        assert_eq!(request.brick_size(11), None);
        assert_eq!(request.brick_size(0), None);
    }

    #[test]
    fn a_small_claim_grows_into_its_brick() {
        let request = |size| request(size, Sizing::Usable, Layout::Replicate(3));
        assert!(request(Bytes(500 * MIB)).is_met_by(1, Bytes(GIB)));
        assert!(!request(Bytes(GIB)).is_met_by(1, Bytes(GIB)), "the file system takes its share");
        assert!(!Request { sizing: Sizing::Bricks, ..request(Bytes(GIB)) }.is_met_by(1, Bytes(GIB)));
    }

    #[test]
    fn arbiters_hold_a_kib_for_each_file() {
        let arbiter = |kib| Layout::Arbiter { average_file: Bytes::from_kib(kib) };
        for (gib, average_kib, kib) in [
            (100, 64, 1_638_400),
            (1024, 64, 16_777_216),
            (10, 64, 320 * 1024),
            (10, 8, 1_310_720),
            (10, 0, 10 * 1024 * 1024),
        ] {
            let request = request(Bytes::from_gib(gib), Sizing::Bricks, arbiter(average_kib));
            assert_eq!(
                request.arbiter_size(Bytes::from_gib(gib)),
                Bytes::from_kib(kib),
                "{gib} {average_kib}"
            );
        }
    }

    #[test]
    fn a_dispersed_set_is_cut_over_its_data_bricks() {
        let layout = Layout::Disperse { data: 4, redundancy: 2 };
        let request = request(Bytes::from_gib(8), Sizing::Bricks, layout);
        assert_eq!((layout.set_size(), request.max_sets()), (6, 5));
        assert_eq!(request.brick_size(1), Some(Bytes::from_gib(2)));
        assert_eq!(request.brick_size(2), Some(Bytes::from_gib(1)));
        assert_eq!(request.brick_size(3), None);
    }
}
