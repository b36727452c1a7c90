//! Random topologies against the judge, and against a search that tries every combination.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::check::check;
use super::super::{Device, Inventory, Node, Request, Sizing, Taken};
use super::*;
use crate::units::GIB;

fn id(n: usize) -> Id {
    format!("{n:032x}").parse().unwrap()
}

fn inventory(nodes: &[Vec<u64>]) -> Inventory {
    let mut inventory = Inventory::default();
    for (n, devices) in nodes.iter().enumerate() {
        let node = id(n + 1);
        inventory.set_node(
            node,
            Node { cluster: id(0), name: format!("node{n}"), host: format!("10.0.0.{n}"), closed: None },
        );
        for (d, gib) in devices.iter().enumerate() {
            let device = Device {
                node,
                path: format!("/dev/sd{d}"),
                capacity: Bytes(gib * GIB),
                extent: Bytes(4 << 20),
                closed: None,
            };
            inventory.set_device(id((n + 1) * 1000 + d), device);
        }
    }
    inventory
}

fn request(gib: u64, set_size: usize) -> Request {
    Request {
        cluster: id(0),
        size: Bytes(gib * GIB),
        sizing: Sizing::Bricks,
        set_size,
        brick_min: Bytes(GIB),
        brick_max: Bytes(4096 * GIB),
        max_bricks: 32,
        held: 0,
        snapshot_factor: 1.0,
        avoid: BTreeSet::new(),
    }
}

/// Whether `sets` sets fit, by trying every choice of devices.
fn fits_by_search(inventory: &Inventory, request: &Request, sets: usize) -> bool {
    let Some(size) = request.brick_size(sets) else {
        return false;
    };
    let (pool, metadata) = brick_need(size, 1.0, Bytes(4 << 20));
    let need = pool.plus(metadata);
    let rooms: Vec<(Id, u64)> = inventory
        .devices
        .iter()
        .map(|(id, device)| (device.node, inventory.free(*id, metadata).0 / need.0))
        .collect();
    fn search(rooms: &mut Vec<(Id, u64)>, sets: usize, r: usize, used: &mut Vec<Id>, from: usize) -> bool {
        if used.len() == r {
            return sets == 1 || search(rooms, sets - 1, r, &mut vec![], 0);
        }
        for at in from..rooms.len() {
            if rooms[at].1 > 0 && !used.contains(&rooms[at].0) {
                rooms[at].1 -= 1;
                used.push(rooms[at].0);
                let found = search(rooms, sets, r, used, at + 1);
                used.pop();
                rooms[at].1 += 1;
                if found {
                    return true;
                }
            }
        }
        false
    }
    search(&mut rooms.clone(), sets, request.set_size, &mut vec![], 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_placement_keeps_the_rules(
        nodes in prop::collection::vec(prop::collection::vec(1u64..200, 0..5), 0..7),
        gib in 1u64..400, set_size in 1usize..4, seed: u64,
    ) {
        let inventory = inventory(&nodes);
        let request = request(gib, set_size);
        if let Ok(bricks) = place(&inventory, &request, seed) {
            prop_assert_eq!(check(&inventory, &request, &bricks), Vec::<String>::new());
        }
    }

    #[test]
    fn what_a_search_finds_is_found(
        nodes in prop::collection::vec(prop::collection::vec(1u64..12, 0..3), 0..5),
        gib in 1u64..14, set_size in 1usize..4, seed: u64,
    ) {
        let inventory = inventory(&nodes);
        let mut request = request(gib, set_size);
        request.max_bricks = 4 * set_size;
        let found = place(&inventory, &request, seed).is_ok();
        let possible = (1..=request.max_sets()).any(|sets| fits_by_search(&inventory, &request, sets));
        prop_assert_eq!(found, possible);
    }

    #[test]
    fn a_volume_grows_beside_what_it_has(
        nodes in prop::collection::vec(prop::collection::vec(1u64..60, 0..4), 0..6),
        sizes in prop::collection::vec(1u64..40, 1..6), set_size in 1usize..4, max_sets in 1usize..8, seed: u64,
    ) {
        let mut inventory = inventory(&nodes);
        let (mut all, mut held) = (Vec::<Brick>::new(), 0);
        for gib in sizes {
            let request = Request { held, max_bricks: max_sets * set_size, ..request(gib, set_size) };
            let Ok(bricks) = place(&inventory, &request, seed) else {
                let fits = |sets| fits_by_search(&inventory, &request, sets);
                // The search goes through every combination: only small cases are for it.
                if nodes.iter().map(Vec::len).sum::<usize>() <= 6 {
                    prop_assert!(!(1..=request.max_sets().min(3)).any(fits));
                }
                continue;
            };
            prop_assert_eq!(check(&inventory, &request, &bricks), Vec::<String>::new());
            held += bricks.len() / set_size;
            all.extend(bricks);
            let taken = |brick: &Brick| Taken { device: brick.device, pool: brick.pool, metadata: brick.metadata };
            inventory.set_volume(id(1), all.iter().map(taken).collect());
        }
        prop_assert!(all.len() <= max_sets * set_size);
        prop_assert!(all.iter().enumerate().all(|(n, brick)| (brick.set, brick.position) == (n / set_size, n % set_size)));
        for device in inventory.devices.keys() {
            let placed: Bytes = all.iter().filter(|b| b.device == *device).map(|b| b.pool.plus(b.metadata)).sum();
            prop_assert!(placed <= inventory.devices[device].capacity);
        }
    }

    #[test]
    fn taking_and_giving_back_leaves_the_space_as_it_was(
        sizes in prop::collection::vec((1u64..50, 1u64..3), 1..20),
    ) {
        let mut inventory = inventory(&[vec![5000]]);
        let before = inventory.free(id(1000), Bytes(0));
        for (n, (pool, metadata)) in sizes.iter().enumerate() {
            let taken = Taken { device: id(1000), pool: Bytes(pool * GIB), metadata: Bytes(metadata * GIB) };
            inventory.set_volume(id(n + 1), vec![taken]);
        }
        let spare = sizes.iter().map(|(_, metadata)| *metadata).max().unwrap();
        let sum: u64 = sizes.iter().map(|(pool, metadata)| pool + metadata).sum();
        prop_assert_eq!(inventory.free(id(1000), Bytes(0)), Bytes((5000 - sum - spare) * GIB));
        for n in 0..sizes.len() {
            inventory.set_volume(id(n + 1), vec![]);
        }
        prop_assert_eq!(inventory.free(id(1000), Bytes(0)), before);
    }
}

#[test]
fn a_refusal_names_what_excluded_each_device() {
    let mut inventory = inventory(&[vec![100], vec![100], vec![100]]);
    let closed = Some("is unreachable".to_owned());
    inventory.set_node(id(2), Node { cluster: id(0), name: "node1".into(), host: "h".into(), closed });
    let mut small = inventory.devices[&id(3000)].clone();
    small.capacity = Bytes(8 * GIB);
    inventory.set_device(id(3000), small);
    let mut request = request(10, 3);
    request.max_bricks = 3;
    let refused = place(&inventory, &request, 0).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "1 of 3 needed nodes have room for a brick of 10Gi (it takes 10.05Gi): \
         node1 is unreachable; node2 /dev/sd0 has 7.94Gi free of 10.05Gi needed"
    );
}

#[test]
fn nodes_of_other_clusters_are_left_alone() {
    let mut inventory = inventory(&[vec![100], vec![100], vec![100], vec![900]]);
    let other = Node { cluster: id(9), ..inventory.nodes[&id(4)].clone() };
    inventory.set_node(id(4), other);
    let bricks = place(&inventory, &request(10, 3), 0).unwrap();
    assert!(bricks.iter().all(|brick| brick.node != id(4)), "{bricks:?}");
    assert!(place(&inventory, &request(10, 4), 0).is_err());
}

#[test]
fn set_counts_that_are_no_powers_of_two_are_used() {
    // Three devices of 11 GiB hold 30 GiB only as three bricks of 10 GiB.
    let inventory = inventory(&[vec![11, 11, 11]]);
    let bricks = place(&inventory, &request(30, 1), 0).unwrap();
    assert_eq!(bricks.len(), 3);
}

#[test]
fn bricks_that_are_there_count_for_the_limit() {
    let inventory = inventory(&[vec![100], vec![100], vec![100]]);
    let grows = Request { held: 2, max_bricks: 9, ..request(10, 3) };
    let bricks = place(&inventory, &grows, 0).unwrap();
    assert_eq!((bricks.len(), bricks[0].set), (3, 2));
    let full = Request { held: 3, ..grows };
    assert_eq!(
        place(&inventory, &full, 0).unwrap_err().to_string(),
        "10Gi cannot be cut into at most 0 bricks of 1Gi to 4Ti besides the 9 that are there: \
         ask for another size or raise the cluster's limits"
    );
    assert!(!check(&inventory, &full, &bricks).is_empty(), "the judge counts them too");
}

#[test]
fn an_exact_fit_is_taken() {
    let mut inventory = inventory(&[vec![0]]);
    let mut device = inventory.devices[&id(1000)].clone();
    let (pool, metadata) = brick_need(Bytes(GIB), 1.0, Bytes(4 << 20));
    device.capacity = pool.plus(metadata).plus(metadata);
    inventory.set_device(id(1000), device);
    assert!(place(&inventory, &request(1, 1), 0).is_ok());
}
