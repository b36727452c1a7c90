//! How much a cluster can hold at most.
//!
//! Of `T` bytes that are kept `r` times, no node can hold more than `T`, since no two copies of a byte lie on one node,
//! and none more than it has. So `Σ min(capacity of a node, T) ≥ r·T` is needed; and it is enough if volumes may be cut
//! at will, since pieces laid on the nodes one after the other (McNaughton's rule again) meet nowhere. The same holds
//! for zones when the copies have to lie in zones of their own.

use crate::units::Bytes;

/// The largest `T` with `Σ min(capacity, T) ≥ copies·T`; nothing fits when there are fewer nodes than copies.
pub fn most(capacities: &[Bytes], copies: usize) -> Bytes {
    let mut sorted: Vec<u128> = capacities.iter().map(|capacity| u128::from(capacity.0)).collect();
    sorted.sort_unstable();
    let copies = copies.max(1);
    // With k nodes that hold all of T, the others are full: T = Σ(others) / (copies - k).
    let sums = |full: usize| sorted[..sorted.len() - full].iter().sum::<u128>();
    let found = (0..copies.min(sorted.len() + 1)).map(|full| sums(full) / (copies - full) as u128);
    found.min().map_or(Bytes(0), |most| Bytes(u64::try_from(most).unwrap_or(u64::MAX)))
}

/// How much of `copies` times `share` each node is given by whoever may cut at will, so that what is left is as even as
/// can be: all down to one level, no node more than `share`.
pub fn even(free: &[Bytes], copies: usize, share: Bytes) -> Vec<Bytes> {
    let given = |level: u64| free.iter().map(move |free| free.0.saturating_sub(level).min(share.0));
    let wanted = share.0 as u128 * copies as u128;
    let enough = |level: u64| given(level).map(u128::from).sum::<u128>() >= wanted;
    // The highest level down to which there is enough.
    let (mut low, mut high) = (0, free.iter().map(|free| free.0).max().unwrap_or_default());
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if enough(middle) { low = middle } else { high = middle - 1 }
    }
    given(low).map(Bytes).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(capacities: &[u64], copies: usize, most: u64) -> bool {
        let sum: u128 = capacities.iter().map(|capacity| u128::from((*capacity).min(most))).sum();
        sum >= copies as u128 * u128::from(most)
    }

    proptest! {
        #[test]
        fn it_is_the_largest_that_holds(
            capacities in prop::collection::vec(0u64..5000, 0..9), copies in 1usize..6,
        ) {
            let sizes: Vec<Bytes> = capacities.iter().copied().map(Bytes).collect();
            let found = most(&sizes, copies).0;
            prop_assert!(holds(&capacities, copies, found));
            prop_assert!(!holds(&capacities, copies, found + 1), "{found} is not the most");
        }
    }

    #[test]
    fn what_is_left_is_as_even_as_can_be() {
        let gib = |sizes: &[u64]| sizes.iter().copied().map(Bytes::from_gib).collect::<Vec<_>>();
        let given = |free: &[u64], copies, share| even(&gib(free), copies, Bytes::from_gib(share));
        assert_eq!(given(&[100, 100, 100, 100], 3, 40), gib(&[30, 30, 30, 30]));
        assert_eq!(given(&[100, 50, 50], 2, 40), gib(&[40, 20, 20]));
        assert_eq!(given(&[100, 70, 10], 2, 40), gib(&[40, 40, 0]));
        assert_eq!(given(&[10, 10], 1, 40), gib(&[10, 10]), "not enough: all there is");
    }

    #[test]
    fn a_large_node_cannot_be_used_alone() {
        let gib = |sizes: &[u64]| sizes.iter().copied().map(Bytes::from_gib).collect::<Vec<_>>();
        assert_eq!(most(&gib(&[10, 10, 100]), 3), Bytes::from_gib(10));
        assert_eq!(most(&gib(&[10, 10, 100]), 2), Bytes::from_gib(20));
        assert_eq!(most(&gib(&[750, 750, 750, 750]), 3), Bytes::from_gib(1000));
        assert_eq!(most(&gib(&[10, 10]), 3), Bytes(0));
    }
}
