//! What would help: the smallest single change that gives a refused request a place. Each change is tried before it is
//! suggested, by placing with it.

use std::collections::BTreeMap;
use std::fmt;

use super::explain::{MOST_BRICKS, plural};
use super::inventory::{Device, Node};
use super::place::fits;
use super::refused::short;
use super::request::ZoneRule;
use super::{Inventory, Request};
use crate::units::{Bytes, GIB, Id};

/// Of how many closed nodes and devices it is tried whether opening one would do.
const TRIED: usize = 32;
/// The size in GiB that a new device surely does not need to have.
const HUGE: u64 = 1 << 30;

/// One change that would give a refused request a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// A node or device has to take bricks.
    Open {
        /// Its id.
        id: Id,
        /// What it is, for people.
        name: String,
    },
    /// Zones must not count.
    Zones,
    /// Tags must not count.
    Tags(String),
    /// The volume may have so many bricks.
    Bricks(usize),
    /// Bricks may be so small.
    Minimum(Bytes),
    /// The volume has that size: the largest one that fits, or the smallest that gives bricks of a size allowed.
    Size {
        /// How large.
        size: Bytes,
        /// Whether it comes on top of what the volume has.
        more: bool,
    },
    /// There is a device with so much space on each of so many more nodes, every one in a zone of its own.
    Devices {
        /// How many nodes.
        count: usize,
        /// Whether their zones count.
        zones: bool,
        /// The space of each in whole GiB.
        free: Bytes,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { name, .. } => write!(f, "it would fit if {name} took bricks"),
            Self::Zones => write!(f, "it would fit if the bricks of a set might share a zone"),
            Self::Tags(rule) => write!(f, "it would fit without the rule {rule} about tags"),
            Self::Bricks(count) => write!(f, "it would fit if the volume might have {count} bricks"),
            Self::Minimum(size) => write!(f, "it would fit if bricks might be as small as {}", short(*size)),
            Self::Size { size, more: false } => write!(f, "a volume of {} would fit", short(*size)),
            Self::Size { size, more: true } => write!(f, "{} more would fit", short(*size)),
            Self::Devices { count, zones, free } => {
                let what = if *zones { "zone" } else { "node" };
                write!(
                    f,
                    "it would fit with devices that have {} free on {count} more {what}{}",
                    short(*free),
                    plural(*count)
                )
            }
        }
    }
}

/// The smallest single change that would give a refused request a place, if there is one: first what costs nothing
/// but a repair, then rules, then limits, then the wish itself, then hardware.
pub fn advice(inventory: &Inventory, request: &Request) -> Option<Advice> {
    repair(inventory, request)
        .or_else(|| rule(inventory, request))
        .or_else(|| limit(inventory, request))
        .or_else(|| size(inventory, request))
        .or_else(|| devices(inventory, request))
}

/// What would help where neither size nor shape of the bricks can be another one: a repair, a rule, or hardware.
pub fn advice_as_it_is(inventory: &Inventory, request: &Request) -> Option<Advice> {
    repair(inventory, request).or_else(|| rule(inventory, request)).or_else(|| devices(inventory, request))
}

/// A closed node, or a closed device of an open one.
fn repair(inventory: &Inventory, request: &Request) -> Option<Advice> {
    let mut closed = vec![];
    for (id, member) in inventory.ranked(request.cluster) {
        if member.node.closed.is_some() {
            closed.push((id, format!("node {}", member.node.name)));
            continue;
        }
        for slot in member.slots.iter().filter(|slot| slot.device.closed.is_some()) {
            closed.push((slot.id, format!("device {} of node {}", slot.device.path, member.node.name)));
        }
    }
    let would_do =
        |(id, _): &(Id, String)| fits(inventory, &Request { supposed_open: Some(*id), ..request.clone() });
    closed.into_iter().take(TRIED).find(would_do).map(|(id, name)| Advice::Open { id, name })
}

fn rule(inventory: &Inventory, request: &Request) -> Option<Advice> {
    let anywhere = Request { zones: ZoneRule::None, ..request.clone() };
    if request.zones == ZoneRule::Strict && fits(inventory, &anywhere) {
        return Some(Advice::Zones);
    }
    let rule = request.tags.as_ref()?;
    let untagged = Request { tags: None, ..request.clone() };
    fits(inventory, &untagged).then(|| Advice::Tags(rule.to_string()))
}

/// The fewest bricks that a volume would have to be allowed to have, or the size that they would have to be allowed.
fn limit(inventory: &Inventory, request: &Request) -> Option<Advice> {
    let set_size = request.layout.set_size();
    let with = |bricks: usize| fits(inventory, &Request { max_bricks: bricks, ..request.clone() });
    if with(MOST_BRICKS.max(request.max_bricks)) {
        let sets = (request.held + request.max_sets() + 1)..=(MOST_BRICKS / set_size);
        return sets.map(|sets| sets * set_size).find(|bricks| with(*bricks)).map(Advice::Bricks);
    }
    let whole = request.share(1).filter(|whole| *whole < request.brick_min)?;
    let smaller = Request { brick_min: whole, ..request.clone() };
    fits(inventory, &smaller).then_some(Advice::Minimum(whole))
}

/// The largest smaller size in whole GiB that has a place; else the smallest that gives bricks of the size allowed.
fn size(inventory: &Inventory, request: &Request) -> Option<Advice> {
    let more = request.held > 0;
    let smaller = Request { size: Bytes(request.size.0.saturating_sub(1)), ..request.clone() };
    let found = largest(inventory, &smaller);
    if found > Bytes(0) {
        return Some(Advice::Size { size: found, more });
    }
    let least = Bytes(request.smallest().0 * request.layout.data() as u64).round_up(Bytes(GIB));
    let larger = least > request.size && fits(inventory, &Request { size: least, ..request.clone() });
    larger.then_some(Advice::Size { size: least, more })
}

/// The largest size in whole GiB, up to that of the request, that has a place; zero if none has. Found by placing,
/// so that it is never more than what placing would take.
pub fn largest(inventory: &Inventory, request: &Request) -> Bytes {
    let would_fit = |gib| fits(inventory, &Request { size: Bytes::from_gib(gib), ..request.clone() });
    let (mut fitting, mut above) = (0, request.size.0 / GIB + 1);
    while above - fitting > 1 {
        let middle = fitting + (above - fitting) / 2;
        if would_fit(middle) { fitting = middle } else { above = middle }
    }
    Bytes::from_gib(fitting)
}

/// On how many more nodes devices are missing, and how much space on each of them.
fn devices(inventory: &Inventory, request: &Request) -> Option<Advice> {
    let mut supposed = inventory.clone();
    let count = (1..=request.layout.set_size()).find(|count| {
        suppose(&mut supposed, request, *count, HUGE);
        fits(&supposed, request)
    })?;
    let (mut missing, mut enough) = (0, HUGE);
    while enough - missing > 1 {
        let middle = missing + (enough - missing) / 2;
        suppose(&mut supposed, request, count, middle);
        if fits(&supposed, request) { enough = middle } else { missing = middle }
    }
    let zones = request.zones == ZoneRule::Strict;
    Some(Advice::Devices { count, zones, free: Bytes::from_gib(enough) })
}

/// Adds nodes that are not there, each in a zone of its own and with a device of so many GiB that the request may use;
/// or gives those that were added before devices of that size.
fn suppose(inventory: &mut Inventory, request: &Request, count: usize, gib: u64) {
    let extent = inventory.extent();
    let tag = request.tags.iter().filter(|rule| rule.equal);
    let tags: BTreeMap<String, String> = tag.map(|rule| (rule.key.clone(), rule.value.clone())).collect();
    for (n, zone) in (0..count).zip(i32::MIN..) {
        let (node, device) =
            (request.cluster.derive(&format!("{n}")), request.cluster.derive(&format!("{n}/d")));
        let (name, host, path) = (format!("new node {n}"), String::new(), String::new());
        inventory.set_node(node, Node { cluster: request.cluster, name, host, zone, closed: None });
        let (capacity, tags) = (Bytes::from_gib(gib), tags.clone());
        inventory.set_device(device, Device { node, path, capacity, extent, tags, closed: None });
    }
}
