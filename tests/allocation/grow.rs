//! Bricks that become larger where they are.

use bricklayer::allocation::grow::{Standing, grow};
use bricklayer::allocation::{Brick, Inventory, Layout, Need, Request, Taken, place};
use bricklayer::units::{Bytes, GIB, MIB};
use proptest::prelude::*;

use crate::fill::{id, request};
use crate::rules::tagged;
use crate::search::{Shape, inventory};

fn gib(gib: u64) -> Bytes {
    Bytes(gib * GIB)
}

/// Places a volume, counts it, and gives back its bricks.
fn stand(inventory: &mut Inventory, request: &Request) -> Vec<Standing> {
    let placed = place(inventory, request).unwrap_or_else(|refused| panic!("{refused}"));
    let taken = placed.bricks.iter().map(|brick| Taken {
        device: brick.device,
        pool: brick.need.pool,
        metadata: brick.need.metadata,
    });
    inventory.set_volume(id(1), taken.collect());
    let standing = |brick: &Brick| Standing {
        device: brick.device,
        need: brick.need,
        arbiter: request.is_arbiter(brick.position),
    };
    placed.bricks.iter().map(standing).collect()
}

#[test]
fn bricks_grow_as_far_as_each_device_lets_them() {
    let mut three = tagged(&[(1, &[(100, "")]), (2, &[(100, "")]), (3, &[(60, "")])]);
    let bricks = stand(&mut three, &request(gib(10)));
    let grown = grow(&three, &request(gib(50)), &bricks).unwrap();
    assert!(grown.iter().all(|need| need.size == gib(50) && need.pool == gib(50)), "{grown:?}");
    // What the metadata of a larger pool and LVM's spare take counts too.
    let refused = grow(&three, &request(gib(60)), &bricks).unwrap_err().to_string();
    assert!(
        refused.starts_with("its bricks cannot grow to 60Gi where they are: node2 /dev/sd0 has"),
        "{refused}"
    );
    assert!(refused.contains("of 50.25Gi needed") && !refused.contains("node1"), "{refused}");
    let limited = Request { brick_max: gib(40), ..request(gib(50)) };
    let refused = grow(&three, &limited, &bricks).unwrap_err().to_string();
    assert_eq!(
        refused,
        "its bricks cannot grow where they are: each would be larger than the 40Gi that the cluster allows"
    );
}

#[test]
fn what_takes_no_bricks_lets_none_grow_whatever_its_tags() {
    let mut three =
        tagged(&[(1, &[(100, "disk=ssd")]), (2, &[(100, "disk=ssd")]), (3, &[(100, "disk=ssd")])]);
    let ask = |size| Request { tags: Some("disk=ssd".parse().unwrap()), ..request(gib(size)) };
    let bricks = stand(&mut three, &ask(10));
    let other = Request { tags: Some("disk=hdd".parse().unwrap()), ..request(gib(20)) };
    assert!(grow(&three, &other, &bricks).is_ok(), "the bricks stay where they are");
    let mut node = three.node(id(2)).unwrap().clone();
    node.closed = Some("is set offline".into());
    three.set_node(id(2), node);
    let refused = grow(&three, &ask(20), &bricks).unwrap_err().to_string();
    assert!(refused.ends_with("where they are: node1 /dev/sd0 is set offline"), "{refused}");
}

#[test]
fn sets_of_several_sizes_become_even_and_arbiters_stay_small() {
    let mut three = tagged(&[(1, &[(900, "")]), (2, &[(900, "")]), (3, &[(900, "")])]);
    let layout = Layout::Arbiter { average_file: Bytes::from_kib(64) };
    let ask = |size| Request { layout, ..request(gib(size)) };
    let mut bricks = stand(&mut three, &ask(10));
    let larger = bricks.iter().map(|brick| Standing {
        need: if brick.arbiter { brick.need } else { Need { size: gib(40), ..brick.need } },
        ..*brick
    });
    bricks.extend(larger.collect::<Vec<_>>());
    let grown = grow(&three, &ask(60), &bricks).unwrap();
    let sizes: Vec<Bytes> = grown.iter().map(|need| need.size).collect();
    // 30 GiB a set: the second one has more already, and keeps it.
    let arbiter = Bytes(30 * GIB / 64).max(Bytes(320 * MIB));
    assert_eq!(sizes, [gib(30), gib(30), arbiter, gib(40), gib(40), arbiter]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Whatever grows has the size that is asked for, takes no more than there is, and loses nothing.
    #[test]
    fn what_grows_fits(
        shapes in prop::collection::vec((1i32..4, prop::collection::vec(1u64..200, 1..3)), 3..6),
        first in 1u64..60,
        more in 1u64..120,
    ) {
        let nodes: Vec<(usize, Shape)> = shapes.into_iter().enumerate().collect();
        let mut inventory = inventory(&nodes);
        if place(&inventory, &request(gib(first))).is_err() {
            return Ok(());
        }
        let bricks = stand(&mut inventory, &request(gib(first)));
        let whole = request(gib(first + more));
        let free: Bytes = bricks.iter().map(|brick| inventory.free(brick.device, Bytes(0))).min().unwrap();
        match grow(&inventory, &whole, &bricks) {
            Ok(grown) => {
                let size = whole.brick_size(bricks.len() / 3).unwrap();
                prop_assert!(grown.iter().all(|need| need.size >= size));
                let grows = |(brick, grown): (&Standing, &Need)| {
                    grown.pool >= brick.need.pool && grown.metadata >= brick.need.metadata
                };
                prop_assert!(bricks.iter().zip(&grown).all(grows));
                for (n, (_, devices)) in &nodes {
                    for (d, capacity) in devices.iter().enumerate() {
                        let device = id((n + 1) * 1000 + d);
                        let of = || bricks.iter().zip(&grown).filter(|(brick, _)| brick.device == device);
                        let taken: Bytes = of().map(|(_, grown)| grown.total()).sum();
                        let spare = of().map(|(_, grown)| grown.metadata).max().unwrap_or_default();
                        prop_assert!(taken.plus(spare) <= gib(*capacity), "{taken} of {capacity}");
                    }
                }
            }
            Err(_) => prop_assert!(
                // Metadata and its spare take a hundredth at most.
                free < gib(first + more + 2) || whole.brick_size(bricks.len() / 3).is_none(),
                "each device has {} free", free
            ),
        }
    }
}
