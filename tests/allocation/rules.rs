//! Zones, tags, arbiters, and new places for single bricks.

use std::collections::{BTreeMap, BTreeSet};

use bricklayer::allocation::check::check;
use bricklayer::allocation::replace::{Lost, replace};
use bricklayer::allocation::{Brick, Inventory, Layout, Node, Placement, Request, ZoneRule, place};
use bricklayer::units::{Bytes, GIB};

use crate::fill::{add_device, add_node, id, request};

/// A node: its zone, and its devices with their tags.
type Tagged<'a> = (i32, &'a [(u64, &'a str)]);

/// Devices of so many GiB; a tag is written `key=value`, none as nothing.
pub fn tagged(nodes: &[Tagged]) -> Inventory {
    let mut inventory = Inventory::default();
    for (n, (zone, devices)) in nodes.iter().enumerate() {
        add_node(&mut inventory, n, *zone);
        for (d, (gib, tag)) in devices.iter().enumerate() {
            let tags = tag.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            add_device(&mut inventory, n, d, Bytes(gib * GIB), BTreeMap::from_iter(tags));
        }
    }
    inventory
}

fn placed(inventory: &Inventory, request: &Request) -> Placement {
    let placed = place(inventory, request).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(check(inventory, request, &placed.bricks), Vec::<String>::new());
    placed
}

fn zones_of(inventory: &Inventory, bricks: &[Brick]) -> usize {
    bricks
        .iter()
        .filter_map(|brick| inventory.node(brick.node))
        .map(|node| node.zone)
        .collect::<BTreeSet<_>>()
        .len()
}

const PLAIN: &[(u64, &str)] = &[(100, "")];

#[test]
fn zones_are_kept_while_they_have_room_and_told_when_not() {
    let inventory = tagged(&[(1, &[(900, "")]), (1, &[(900, "")]), (2, PLAIN), (3, PLAIN)]);
    let ask = |gib: u64, zones| Request { zones, max_bricks: 3, ..request(Bytes(gib * GIB)) };
    let soft = placed(&inventory, &ask(50, ZoneRule::Soft));
    assert_eq!(zones_of(&inventory, &soft.bricks), 3);
    assert!(
        soft.reasons.to_string().contains("each brick of a set in a zone of its own"),
        "{}",
        soft.reasons
    );
    let tight = tagged(&[(1, &[(900, "")]), (1, &[(900, "")]), (2, PLAIN), (3, &[(20, "")])]);
    let shared = placed(&tight, &ask(50, ZoneRule::Soft));
    assert_eq!(zones_of(&tight, &shared.bricks), 2);
    let text = shared.reasons.to_string();
    assert!(text.contains("up to 2 bricks of a set in one zone: more zones have no room"), "{text}");
    assert!(place(&tight, &ask(50, ZoneRule::Strict)).is_err());
    // Where zones do not count, the two nodes with the most space are taken first.
    let anywhere = placed(&inventory, &ask(50, ZoneRule::None));
    assert_eq!(zones_of(&inventory, &anywhere.bricks), 2);
}

#[test]
fn reasons_say_why_there_are_several_sets() {
    let inventory = tagged(&[(1, &[(11, ""), (11, ""), (11, "")])]);
    let ask = |gib: u64, max: u64| Request {
        layout: Layout::Distribute,
        brick_max: Bytes(max * GIB),
        ..request(Bytes(gib * GIB))
    };
    let text = placed(&inventory, &ask(30, 4096)).reasons.to_string();
    assert!(text.starts_with("3 sets of 1 bricks of 10Gi, since bricks of 15Gi have no room"), "{text}");
    let text = placed(&inventory, &ask(10, 5)).reasons.to_string();
    assert!(
        text.starts_with("2 sets of 1 bricks of 5Gi, since fewer bricks would be larger than allowed"),
        "{text}"
    );
}

#[test]
fn arbiters_lie_where_their_tag_says() {
    let ask =
        Request { layout: Layout::Arbiter { average_file: Bytes(64 << 10) }, ..request(Bytes(100 * GIB)) };
    let data = &[(3000, "arbiter=disabled")][..];
    let inventory = tagged(&[(1, data), (2, data), (3, &[(20, "arbiter=required")]), (4, &[(900, "")])]);
    let found = placed(&inventory, &ask).bricks;
    let arbiter = &found[2];
    assert_eq!((arbiter.node, arbiter.need.size), (id(3), Bytes(100 * GIB / 64)));
    assert!(found[..2].iter().all(|brick| brick.need.size == Bytes(100 * GIB)));
    // Nothing but data on what is disabled, nothing but arbiters on what is required.
    assert!(place(&tagged(&[(1, data), (2, data), (3, data)]), &ask).is_err());
    let required = &[(300, "arbiter=required")][..];
    assert!(place(&tagged(&[(1, data), (2, required), (3, required)]), &ask).is_err());
    // On equal nodes arbiters go round, so that data fills all of them.
    let mut equal = tagged(&[(1, &[(100, "")]), (2, &[(100, "")]), (3, &[(100, "")])]);
    let small = Request { size: Bytes(10 * GIB), ..ask };
    let made = (0..14).take_while(|n| {
        let Ok(found) = place(&equal, &small) else { return false };
        assert_eq!(check(&equal, &small, &found.bricks), Vec::<String>::new());
        equal.set_volume(id(n + 1), found.bricks.iter().map(crate::search::taken).collect());
        true
    });
    assert_eq!(made.count(), 14, "two data bricks of 10 GiB each on three nodes of 100");
}

#[test]
fn tags_choose_devices() {
    let inventory = tagged(&[
        (1, &[(100, "disk=ssd"), (900, "disk=hdd")]),
        (2, &[(100, "disk=ssd"), (900, "")]),
        (3, &[(100, "disk=ssd"), (900, "")]),
    ]);
    let ask =
        |rule: &str, gib: u64| Request { tags: Some(rule.parse().unwrap()), ..request(Bytes(gib * GIB)) };
    let paths = |rule: &str| {
        let found = placed(&inventory, &ask(rule, 50)).bricks;
        found.iter().map(|brick| brick.device).collect::<BTreeSet<_>>()
    };
    assert_eq!(paths("disk=ssd"), [id(1000), id(2000), id(3000)].into());
    assert_eq!(paths("disk!=ssd"), [id(1001), id(2001), id(3001)].into());
    assert!(place(&inventory, &ask("disk=ssd", 200)).is_err());
    assert!(place(&inventory, &ask("disk=hdd", 50)).is_err());
}

/// A brick whose zone is the last one has to find its new place in that same zone.
#[test]
fn a_replaced_brick_is_no_obstacle() {
    let inventory = tagged(&[(1, PLAIN), (2, PLAIN), (3, &[(100, ""), (90, "")]), (3, &[(60, "")])]);
    let lost = |device: usize, gib: u64| Lost {
        device: id(device),
        size: Bytes(gib * GIB),
        arbiter: false,
        others: vec![id(1), id(2)],
    };
    let strict = Request { zones: ZoneRule::Strict, ..request(Bytes(50 * GIB)) };
    let to = |lost: &Lost, request: &Request| {
        replace(&inventory, request, lost).map(|(device, node, _)| (device, node))
    };
    assert_eq!(to(&lost(3000, 50), &strict), Some((id(3001), id(3))), "its own node, another device");
    assert_eq!(to(&lost(3001, 95), &strict), Some((id(3000), id(3))));
    assert_eq!(to(&lost(3000, 95), &strict), None, "neither its own device nor the nodes of the others");
    let one_zone = tagged(&[(1, PLAIN), (2, PLAIN), (3, PLAIN), (1, &[(300, "")])]);
    let soft = Request { zones: ZoneRule::Soft, ..strict.clone() };
    let found = |request: &Request| replace(&one_zone, request, &lost(3000, 50)).map(|(_, node, _)| node);
    assert_eq!((found(&strict), found(&soft)), (None, Some(id(4))), "a shared zone is better than no brick");
}

#[test]
fn an_arbiter_is_replaced_by_an_arbiter() {
    let data = &[(300, "arbiter=disabled")][..];
    let arbiters = &[(20, "arbiter=required")][..];
    let inventory = tagged(&[(1, data), (2, data), (3, arbiters), (4, arbiters), (5, data)]);
    let ask =
        Request { layout: Layout::Arbiter { average_file: Bytes(64 << 10) }, ..request(Bytes(100 * GIB)) };
    let found = |device: usize, gib: u64, arbiter: bool, others: [usize; 2]| {
        let others = others.map(id).to_vec();
        let lost = Lost { device: id(device), size: Bytes(gib * GIB), arbiter, others };
        replace(&inventory, &ask, &lost).map(|(_, node, _)| node)
    };
    assert_eq!(found(3000, 2, true, [1, 2]), Some(id(4)));
    assert_eq!(found(1000, 100, false, [2, 3]), Some(id(5)));
}

#[test]
fn nodes_of_other_clusters_are_left_alone() {
    let mut inventory = tagged(&[(1, PLAIN), (2, PLAIN), (3, PLAIN), (4, &[(900, "")])]);
    let other = Node { cluster: id(9), ..inventory.node(id(4)).unwrap().clone() };
    inventory.set_node(id(4), other);
    let found = placed(&inventory, &request(Bytes(10 * GIB))).bricks;
    assert!(found.iter().all(|brick| brick.node != id(4)), "{found:?}");
    assert!(
        place(&inventory, &Request { layout: Layout::Replicate(4), ..request(Bytes(10 * GIB)) }).is_err()
    );
}
