//! Refusals in words: the rule, the numbers, device by device, and what would help.

use bricklayer::allocation::{Device, Inventory, Layout, Node, Request, ZoneRule, advice, brick_need, place};
use bricklayer::units::{Bytes, GIB, Id};

use crate::fill::{id, request};
use crate::rules::tagged;

/// What is said about a request that has no place.
fn told(inventory: &Inventory, request: &Request) -> (String, String) {
    let refused = place(inventory, request).unwrap_err().to_string();
    (refused, advice(inventory, request).map(|advice| advice.to_string()).unwrap_or_default())
}

fn close(inventory: &mut Inventory, node: Id, why: &str) {
    let closed = Node { closed: Some(why.into()), ..inventory.node(node).unwrap().clone() };
    inventory.set_node(node, closed);
}

/// At most one set.
fn one_set(gib: u64) -> Request {
    Request { max_bricks: 3, ..request(Bytes(gib * GIB)) }
}

const PLAIN: &[(u64, &str)] = &[(100, "")];

#[test]
fn what_excluded_each_node_is_named() {
    let mut inventory =
        tagged(&[(1, PLAIN), (2, PLAIN), (3, &[(8, "")]), (4, &[(3, ""), (4, "")]), (5, &[])]);
    close(&mut inventory, id(2), "is unreachable");
    let (refused, _) = told(&inventory, &one_set(10));
    assert_eq!(
        refused,
        "1 of 3 needed nodes have room for a brick of 10Gi (it takes 10.05Gi): node1 is unreachable; \
         node2 /dev/sd0 has 7.94Gi free of 10.05Gi needed; \
         node3 has 3.94Gi free of 10.05Gi needed on its largest device; node4 has no device"
    );
}

#[test]
fn a_node_that_is_away_is_what_to_mend() {
    let mut inventory = tagged(&[(1, PLAIN), (2, PLAIN), (3, PLAIN)]);
    close(&mut inventory, id(3), "is set offline");
    let (refused, help) = told(&inventory, &one_set(10));
    assert!(refused.contains("2 of 3 needed nodes") && refused.contains("node2 is set offline"), "{refused}");
    assert_eq!(help, "it would fit if node node2 took bricks");
    let mut device = Device {
        node: id(3),
        path: "/dev/sd0".into(),
        capacity: Bytes(100 * GIB),
        extent: Bytes(4 << 20),
        tags: Default::default(),
        closed: None,
    };
    let mut inventory = tagged(&[(1, PLAIN), (2, PLAIN), (3, PLAIN)]);
    device.closed = Some("is set failed".into());
    inventory.set_device(id(3000), device);
    let (refused, help) = told(&inventory, &one_set(10));
    assert!(refused.contains("node2 /dev/sd0 is set failed"), "{refused}");
    assert_eq!(help, "it would fit if device /dev/sd0 of node node2 took bricks");
}

#[test]
fn a_rule_about_zones_is_named() {
    let inventory = tagged(&[(1, PLAIN), (1, PLAIN), (2, PLAIN)]);
    let (refused, help) = told(&inventory, &Request { zones: ZoneRule::Strict, ..one_set(10) });
    assert!(refused.starts_with("2 of 3 needed zones have room for a brick of 10Gi"), "{refused}");
    assert_eq!(help, "it would fit if the bricks of a set might share a zone");
}

#[test]
fn a_rule_about_tags_is_named() {
    let inventory = tagged(&[(1, &[(100, "disk=hdd")]), (2, PLAIN), (3, &[(100, "disk=ssd")])]);
    let rule = "disk=ssd".parse().ok();
    let (refused, help) = told(&inventory, &Request { tags: rule, ..one_set(10) });
    assert!(refused.contains("node0 /dev/sd0 has the tag disk=hdd (disk=ssd is asked for)"), "{refused}");
    assert!(refused.contains("node1 /dev/sd0 has no tag disk (disk=ssd is asked for)"), "{refused}");
    assert_eq!(help, "it would fit without the rule disk=ssd about tags");
}

#[test]
fn a_missing_place_for_the_arbiter_is_named() {
    let data = &[(100, "arbiter=disabled")][..];
    let inventory = tagged(&[(1, data), (2, data), (3, data)]);
    let layout = Layout::Arbiter { average_file: Bytes(64 << 10) };
    let (refused, help) = told(&inventory, &Request { layout, ..one_set(10) });
    assert!(refused.starts_with("0 nodes have a device for an arbiter brick of 320Mi"), "{refused}");
    assert_eq!(help, "it would fit with devices that have 1Gi free on 1 more node");
}

#[test]
fn limits_are_named_with_what_would_do() {
    let inventory =
        tagged(&[(1, &[(100, ""), (100, "")]), (2, &[(100, ""), (100, "")]), (3, &[(100, ""), (100, "")])]);
    let (refused, help) = told(&inventory, &one_set(150));
    assert!(refused.starts_with("0 of 3 needed nodes have room for a brick of 150Gi"), "{refused}");
    assert_eq!(help, "it would fit if the volume might have 6 bricks");
    let large = Request { brick_max: Bytes(10 * GIB), max_bricks: 12, ..request(Bytes(50 * GIB)) };
    let (refused, help) = told(&inventory, &large);
    assert!(
        refused.starts_with("50Gi takes at least 15 bricks of at most 10Gi, and the volume may have 12"),
        "{refused}"
    );
    assert_eq!(help, "it would fit if the volume might have 15 bricks");
    let held = Request { held: 3, ..large };
    let (refused, _) = told(&inventory, &held);
    assert!(refused.contains("the volume may, besides the 9 that are there, have 3"), "{refused}");
    let small = Request { brick_min: Bytes(20 * GIB), ..request(Bytes(15 * GIB)) };
    let (refused, help) = told(&inventory, &small);
    assert!(
        refused.starts_with("15Gi gives bricks of 15Gi, and the smallest brick allowed is 20Gi"),
        "{refused}"
    );
    assert_eq!(help, "it would fit if bricks might be as small as 15Gi");
    let tiny = Request { brick_min: Bytes(0), ..request(Bytes(GIB / 8)) };
    assert_eq!(told(&inventory, &tiny).1, "a volume of 1Gi would fit", "no file system is that small");
}

#[test]
fn what_is_too_large_is_told_what_would_fit() {
    let inventory = tagged(&[(1, PLAIN), (2, PLAIN), (3, PLAIN)]);
    let (refused, help) = told(&inventory, &request(Bytes(500 * GIB)));
    assert!(
        refused.starts_with("0 of 3 needed nodes have room for a brick of 50Gi")
            || refused.contains("not for all"),
        "{refused}"
    );
    assert_eq!(help, "a volume of 99Gi would fit");
    assert!(
        place(&inventory, &request(Bytes(99 * GIB))).is_ok()
            && place(&inventory, &request(Bytes(100 * GIB))).is_err()
    );
}

#[test]
fn too_few_nodes_need_more() {
    let inventory = tagged(&[(1, PLAIN), (2, PLAIN)]);
    let (refused, help) = told(&inventory, &one_set(10));
    assert!(refused.starts_with("2 of 3 needed nodes have room"), "{refused}");
    assert_eq!(help, "it would fit with devices that have 11Gi free on 1 more node");
    // However many bricks it is cut into, the third node has one of each set.
    assert_eq!(
        told(&inventory, &request(Bytes(90 * GIB))).1,
        "it would fit with devices that have 91Gi free on 1 more node"
    );
    let strict = Request { zones: ZoneRule::Strict, ..one_set(10) };
    assert_eq!(told(&inventory, &strict).1, "it would fit with devices that have 11Gi free on 1 more zone");
}

#[test]
fn an_exact_fit_is_taken() {
    let need = brick_need(Bytes(GIB), 1.0, Bytes(4 << 20));
    let mut inventory = tagged(&[(1, &[(0, "")])]);
    let device = Device {
        node: id(1),
        path: "/dev/sd0".into(),
        capacity: need.total().plus(need.metadata),
        extent: Bytes(4 << 20),
        tags: Default::default(),
        closed: None,
    };
    inventory.set_device(id(1000), device);
    let ask = Request { layout: Layout::Distribute, ..request(Bytes(GIB)) };
    assert!(place(&inventory, &ask).is_ok());
}
