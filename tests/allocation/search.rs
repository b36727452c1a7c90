//! Random topologies and requests: what is placed keeps the rules, and what fits at all is placed.

use std::collections::BTreeMap;

use bricklayer::allocation::check::check;
use bricklayer::allocation::{Brick, Inventory, Layout, Request, Taken, ZoneRule, brick_need, fits, place};
use bricklayer::units::{Bytes, GIB, Id};
use proptest::prelude::*;

use crate::fill::{EXTENT, add_device, add_node, id, request as replicated};

/// A node: its zone, and the GiB of its devices.
pub type Shape = (i32, Vec<u64>);

/// Nodes in the order in which they are told; their ids say which they are.
pub fn inventory(nodes: &[(usize, Shape)]) -> Inventory {
    let mut inventory = Inventory::default();
    for (n, (zone, devices)) in nodes {
        add_node(&mut inventory, *n, *zone);
        for (d, gib) in devices.iter().enumerate() {
            add_device(&mut inventory, *n, d, Bytes(gib * GIB), BTreeMap::new());
        }
    }
    inventory
}

fn numbered(nodes: Vec<Shape>) -> Vec<(usize, Shape)> {
    nodes.into_iter().enumerate().collect()
}

fn request(gib: u64, layout: Layout, zones: ZoneRule) -> Request {
    Request { layout, zones, ..replicated(Bytes(gib * GIB)) }
}

pub fn layouts() -> impl Strategy<Value = Layout> {
    prop_oneof![
        Just(Layout::Distribute),
        (2usize..4).prop_map(Layout::Replicate),
        (2usize..4).prop_map(|data| Layout::Disperse { data, redundancy: 1 }),
        Just(Layout::Arbiter { average_file: Bytes(64 << 10) }),
    ]
}

fn equal_bricks() -> impl Strategy<Value = Layout> {
    layouts().prop_filter("its bricks are equal", |layout| !matches!(layout, Layout::Arbiter { .. }))
}

pub fn zones() -> impl Strategy<Value = ZoneRule> {
    prop_oneof![Just(ZoneRule::None), Just(ZoneRule::Soft), Just(ZoneRule::Strict)]
}

fn shapes(most: u64, devices: usize, nodes: usize) -> impl Strategy<Value = Vec<Shape>> {
    prop::collection::vec((1i32..4, prop::collection::vec(1u64..most, 0..devices)), 0..nodes)
}

/// Whether so many sets fit, by trying every choice of devices.
fn fits_by_search(nodes: &[(usize, Shape)], inventory: &Inventory, request: &Request, sets: usize) -> bool {
    let Some(size) = request.brick_size(sets) else { return false };
    let need = brick_need(size, 1.0, EXTENT);
    let mut rooms: Vec<(usize, i32, u64)> = vec![];
    for (n, (zone, devices)) in nodes {
        for d in 0..devices.len() {
            let free = inventory.free(id((n + 1) * 1000 + d), need.metadata);
            rooms.push((*n, *zone, free.0 / need.total().0));
        }
    }
    let strict = request.zones == ZoneRule::Strict;
    fn search(
        rooms: &mut Vec<(usize, i32, u64)>,
        sets: usize,
        (size, strict): (usize, bool),
        used: &mut Vec<(usize, i32)>,
        from: usize,
    ) -> bool {
        if used.len() == size {
            return sets == 1 || search(rooms, sets - 1, (size, strict), &mut vec![], 0);
        }
        for at in from..rooms.len() {
            let (node, zone, room) = rooms[at];
            let meets = used.iter().any(|(other, there)| *other == node || (strict && *there == zone));
            if room > 0 && !meets {
                rooms[at].2 -= 1;
                used.push((node, zone));
                let found = search(rooms, sets, (size, strict), used, at + 1);
                used.pop();
                rooms[at].2 += 1;
                if found {
                    return true;
                }
            }
        }
        false
    }
    search(&mut rooms, sets, (request.layout.set_size(), strict), &mut vec![], 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn every_placement_keeps_the_rules(
        nodes in shapes(200, 5, 8), gib in 1u64..400, layout in layouts(), zones in zones(),
    ) {
        let inventory = inventory(&numbered(nodes));
        let request = request(gib, layout, zones);
        if let Ok(placed) = place(&inventory, &request) {
            prop_assert_eq!(check(&inventory, &request, &placed.bricks), Vec::<String>::new());
        }
    }

    #[test]
    fn what_a_search_finds_is_found(
        nodes in shapes(12, 3, 5), gib in 1u64..14, layout in equal_bricks(), zones in zones(),
    ) {
        let nodes = numbered(nodes);
        let inventory = inventory(&nodes);
        let mut request = request(gib, layout, zones);
        request.max_bricks = 4 * layout.set_size();
        let possible = (1..=request.max_sets()).any(|sets| fits_by_search(&nodes, &inventory, &request, sets));
        prop_assert_eq!(fits(&inventory, &request), possible);
    }

    #[test]
    fn the_order_of_what_is_there_does_not_matter(
        nodes in shapes(60, 4, 6).prop_map(numbered).prop_flat_map(|nodes| {
            (Just(nodes.clone()), Just(nodes).prop_shuffle())
        }),
        gib in 1u64..100, layout in layouts(), zones in zones(),
    ) {
        let request = request(gib, layout, zones);
        let (one, other) = (inventory(&nodes.0), inventory(&nodes.1));
        let bricks = |inventory: &Inventory| place(inventory, &request).map(|placed| placed.bricks).ok();
        prop_assert_eq!(bricks(&one), bricks(&other));
    }

    #[test]
    fn a_volume_grows_beside_what_it_has(
        nodes in shapes(60, 4, 6), sizes in prop::collection::vec(1u64..40, 1..6),
        layout in equal_bricks(), max_sets in 1usize..8,
    ) {
        let nodes = numbered(nodes);
        let mut inventory = inventory(&nodes);
        let set_size = layout.set_size();
        let (mut all, mut held) = (Vec::<Brick>::new(), 0);
        for gib in sizes {
            let request =
                Request { held, max_bricks: max_sets * set_size, ..request(gib, layout, ZoneRule::None) };
            let Ok(placed) = place(&inventory, &request) else { continue };
            prop_assert_eq!(check(&inventory, &request, &placed.bricks), Vec::<String>::new());
            held += placed.bricks.len() / set_size;
            all.extend(placed.bricks);
            inventory.set_volume(id(1), all.iter().map(taken).collect());
        }
        prop_assert!(all.len() <= max_sets * set_size);
        prop_assert!(all.iter().enumerate().all(|(n, brick)| (brick.set, brick.position) == (n / set_size, n % set_size)));
        for (n, (_, devices)) in &nodes {
            for (d, gib) in devices.iter().enumerate() {
                let here = all.iter().filter(|brick| brick.device == id((n + 1) * 1000 + d));
                prop_assert!(here.map(|brick| brick.need.total()).sum::<Bytes>() <= Bytes(gib * GIB));
            }
        }
    }

    #[test]
    fn taking_and_giving_back_leaves_the_space_as_it_was(
        sizes in prop::collection::vec((1u64..50, 1u64..3), 1..20),
    ) {
        let mut inventory = inventory(&[(0, (1, vec![5000]))]);
        let device: Id = id(1000);
        let before = (inventory.free(device, Bytes(0)), inventory.totals(id(0)));
        for (n, (pool, metadata)) in sizes.iter().enumerate() {
            let taken = Taken { device, pool: Bytes(pool * GIB), metadata: Bytes(metadata * GIB) };
            inventory.set_volume(id(n + 1), vec![taken]);
        }
        let spare = sizes.iter().map(|(_, metadata)| *metadata).max().unwrap();
        let sum: u64 = sizes.iter().map(|(pool, metadata)| pool + metadata).sum();
        prop_assert_eq!(inventory.free(device, Bytes(0)), Bytes((5000 - sum - spare) * GIB));
        for n in 0..sizes.len() {
            inventory.set_volume(id(n + 1), vec![]);
        }
        prop_assert_eq!((inventory.free(device, Bytes(0)), inventory.totals(id(0))), before);
    }
}

/// What a brick takes.
pub fn taken(brick: &Brick) -> Taken {
    Taken { device: brick.device, pool: brick.need.pool, metadata: brick.need.metadata }
}
