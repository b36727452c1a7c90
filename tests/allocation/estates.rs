//! Random estates with closed nodes and devices, tags and space in use: what is placed keeps the rules, and what is
//! suggested to whom is refused does help.

use std::collections::{BTreeMap, BTreeSet};

use bricklayer::allocation::check::check;
use bricklayer::allocation::{
    Advice, Cause, Device, Inventory, Layout, Node, Request, Taken, ZoneRule, advice, fits, place,
};
use bricklayer::units::{Bytes, GIB, Id};
use proptest::prelude::*;

use crate::fill::{EXTENT, id, request};
use crate::search::{layouts, zones};

/// A device: its size and what is in use of it in GiB, whether it takes no bricks, and its tag.
type Disk = (u64, u64, bool, Option<&'static str>);

/// A node: its zone, whether it takes no bricks, and its devices.
type Host = (i32, bool, Vec<Disk>);

fn disks() -> impl Strategy<Value = Disk> {
    let tags = prop::sample::select(
        &[None, Some("disk=ssd"), Some("arbiter=required"), Some("arbiter=disabled")][..],
    );
    (2u64..80, 0u64..40, prop::bool::weighted(0.1), tags)
}

fn hosts() -> impl Strategy<Value = Vec<Host>> {
    prop::collection::vec((1i32..4, prop::bool::weighted(0.15), prop::collection::vec(disks(), 0..4)), 0..7)
}

fn node_id(n: usize) -> Id {
    id(n + 1)
}

fn device_id(n: usize, d: usize) -> Id {
    id((n + 1) * 1000 + d)
}

fn tags(tag: Option<&str>) -> BTreeMap<String, String> {
    let pair = tag.and_then(|tag| tag.split_once('='));
    pair.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn closed(is_it: bool) -> Option<String> {
    is_it.then(|| "is set offline".to_owned())
}

fn set_node(inventory: &mut Inventory, n: usize, zone: i32, closed: Option<String>) {
    let (name, host) = (format!("node{n}"), format!("10.0.0.{n}"));
    inventory.set_node(node_id(n), Node { cluster: id(0), name, host, zone, closed });
}

fn set_device(inventory: &mut Inventory, (n, d): (usize, usize), disk: &Disk, closed: Option<String>) {
    let (gib, _, _, tag) = disk;
    let (node, path, capacity) = (node_id(n), format!("/dev/sd{d}"), Bytes(gib * GIB));
    let device = Device { node, path, capacity, extent: EXTENT, tags: tags(*tag), closed };
    inventory.set_device(device_id(n, d), device);
}

/// The estate; devices of a node are told from the last one on when `backwards`.
fn inventory(hosts: &[Host], backwards: bool) -> Inventory {
    let mut inventory = Inventory::default();
    let order = |count: usize| -> Vec<usize> {
        if backwards { (0..count).rev().collect() } else { (0..count).collect() }
    };
    for n in order(hosts.len()) {
        let (zone, is_closed, disks) = &hosts[n];
        set_node(&mut inventory, n, *zone, closed(*is_closed));
        for d in order(disks.len()) {
            let disk = &disks[d];
            set_device(&mut inventory, (n, d), disk, closed(disk.2));
            let used = Bytes(disk.1.min(disk.0 - 1) * GIB);
            let taken = Taken { device: device_id(n, d), pool: used, metadata: Bytes(0) };
            inventory
                .set_volume(id(1_000_000 + n * 1000 + d), if used.0 == 0 { vec![] } else { vec![taken] });
        }
    }
    inventory
}

fn requests() -> impl Strategy<Value = Request> {
    let tag = prop::sample::select(&[None, None, Some("disk=ssd"), Some("disk!=ssd")][..]);
    let limits = (0u64..12, 2u64..60, 1usize..40);
    let avoid = prop::collection::btree_set((0usize..6, 0usize..3), 0..2);
    let shape = (1u64..120, layouts(), zones());
    (shape, tag, limits, 1u32..3, avoid).prop_map(
        |((gib, layout, zones), tag, (min, max, most), factor, avoid)| Request {
            layout,
            zones,
            tags: tag.and_then(|tag| tag.parse().ok()),
            brick_min: Bytes(min * GIB),
            brick_max: Bytes(min.max(max) * GIB),
            max_bricks: most.max(layout.set_size()),
            snapshot_factor: f64::from(factor),
            avoid: avoid.into_iter().map(|(n, d)| device_id(n, d)).collect::<BTreeSet<_>>(),
            ..request(Bytes(gib * GIB))
        },
    )
}

/// The estate and the request once a suggestion was followed.
fn followed(hosts: &[Host], request: &Request, advice: &Advice) -> (Inventory, Request) {
    let (mut inventory, mut request) = (inventory(hosts, false), request.clone());
    match advice {
        Advice::Open { id, .. } => {
            for (n, (zone, _, disks)) in hosts.iter().enumerate() {
                if node_id(n) == *id {
                    set_node(&mut inventory, n, *zone, None);
                }
                for (d, disk) in disks.iter().enumerate().filter(|(d, _)| device_id(n, *d) == *id) {
                    set_device(&mut inventory, (n, d), disk, None);
                }
            }
        }
        Advice::Zones => request.zones = ZoneRule::None,
        Advice::Tags(_) => request.tags = None,
        Advice::Bricks(bricks) => request.max_bricks = *bricks,
        Advice::Minimum(size) => request.brick_min = *size,
        Advice::Size { size, .. } => request.size = *size,
        Advice::Devices { count, free, .. } => {
            let tag = request.tags.as_ref().filter(|rule| rule.equal).map(|_| "disk=ssd");
            for (n, zone) in (100..100 + count).zip(100..) {
                set_node(&mut inventory, n, zone, None);
                set_device(&mut inventory, (n, 0), &(free.0 / GIB, 0, false, tag), None);
            }
        }
    }
    (inventory, request)
}

/// The same suggestion with a little less, where it is one of so much.
fn less(advice: &Advice, layout: Layout) -> Option<Advice> {
    match advice {
        Advice::Bricks(bricks) => Some(Advice::Bricks(bricks.checked_sub(layout.set_size())?)),
        Advice::Devices { count, zones, free } if free.0 > GIB => {
            Some(Advice::Devices { count: *count, zones: *zones, free: free.minus(Bytes(GIB)) })
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn every_placement_keeps_the_rules_whatever_is_there(hosts in hosts(), request in requests()) {
        let (one, other) = (inventory(&hosts, false), inventory(&hosts, true));
        match (place(&one, &request), place(&other, &request)) {
            (Ok(placed), Ok(again)) => {
                prop_assert_eq!(check(&one, &request, &placed.bricks), Vec::<String>::new());
                prop_assert_eq!(placed.bricks, again.bricks, "in whatever order it is told");
            }
            (placed, again) => prop_assert!(placed.is_err() && again.is_err()),
        }
    }

    #[test]
    fn what_is_suggested_helps_and_nothing_less_does(hosts in hosts(), request in requests()) {
        let estate = inventory(&hosts, false);
        let Err(refused) = place(&estate, &request) else { return Ok(()) };
        let Some(advice) = advice(&estate, &request) else {
            // What lacks room can always be given it; more than one thing may be wrong with limits.
            let limits = matches!(refused.cause, Cause::BrickCount { .. } | Cause::BrickMinimum { .. });
            prop_assert!(limits, "no advice: {}", refused);
            return Ok(());
        };
        let (better, changed) = followed(&hosts, &request, &advice);
        prop_assert!(fits(&better, &changed), "{} does not help", advice);
        if let Some(less) = less(&advice, request.layout) {
            let (worse, changed) = followed(&hosts, &request, &less);
            prop_assert!(!fits(&worse, &changed), "{} would do", less);
        }
    }
}
