//! Sets of two data bricks and an arbiter.
//!
//! The three bricks differ in size and in the devices that may hold them (the tag `arbiter`), so dealing in turn does
//! not do. Sets are placed one after the other, each on the nodes with the most space; on which node the arbiter
//! lies is tried until both data bricks have a node beside it.

use super::inventory::{Member, Slot};
use super::place::Brick;
use super::request::{Need, brick_need};
use super::{Inventory, Request};
use crate::units::{Bytes, Id};

/// The tag that says which bricks a device holds.
pub const TAG: &str = "arbiter";

/// Which bricks of a set with an arbiter a device holds, by its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `required`: arbiters alone.
    Arbiter,
    /// `disabled`: data alone.
    Data,
    /// `supported`, anything else, and nothing: both.
    Both,
}

impl Role {
    pub(super) fn of(slot: &Slot) -> Self {
        match slot.device.tags.get(TAG).map(String::as_str) {
            Some("required") => Self::Arbiter,
            Some("disabled") => Self::Data,
            _ => Self::Both,
        }
    }

    /// Whether a device of this role holds the arbiter of a set, or its data.
    pub fn holds(self, arbiter: bool) -> bool {
        self != if arbiter { Self::Data } else { Self::Arbiter }
    }
}

/// A node with the devices that may hold bricks of the request.
#[derive(Clone)]
struct Place {
    node: Id,
    zone: i32,
    devices: Vec<(Bytes, Id, Role)>,
}

impl Place {
    fn of(id: Id, member: &Member, request: &Request, metadata: Bytes) -> Self {
        let admitted = member.slots.iter().filter(|slot| request.excluded(id, member, slot).is_none());
        let devices = admitted.map(|slot| (slot.free(metadata), slot.id, Role::of(slot))).collect();
        Self { node: id, zone: member.node.zone, devices }
    }

    fn free(&self) -> Bytes {
        self.devices.iter().map(|(free, ..)| *free).sum()
    }

    /// The device for a brick: one for arbiters alone if it is an arbiter, then the one with the most space.
    fn device(&self, need: Bytes, arbiter: bool) -> Option<usize> {
        let fits = |(_, (free, _, role)): &(usize, &(Bytes, Id, Role))| role.holds(arbiter) && *free >= need;
        let best = self.devices.iter().enumerate().filter(fits);
        best.max_by_key(|(_, (free, id, role))| (*role == Role::Arbiter, *free, *id)).map(|(at, _)| at)
    }
}

/// Places so many sets; `need` is that of a data brick. The arbiter is the last brick of its set, as GlusterFS
/// wants it.
pub fn sets_of(
    inventory: &Inventory,
    request: &Request,
    sets: usize,
    need: Need,
    per_zone: usize,
) -> Option<Vec<Brick>> {
    let small = brick_need(request.arbiter_size(need.size), request.snapshot_factor, inventory.extent());
    let members = inventory.ranked(request.cluster);
    let mut places: Vec<Place> =
        members.map(|(id, member)| Place::of(id, member, request, need.metadata)).collect();
    let mut bricks = vec![];
    for set in 0..sets {
        places.sort_by_cached_key(|place| (std::cmp::Reverse(place.free()), place.node));
        let chosen = one_set(&places, need.total(), small.total(), per_zone)?;
        for (position, ((at, device), need)) in chosen.into_iter().zip([need, need, small]).enumerate() {
            let place = &mut places[at];
            let (free, device, _) = &mut place.devices[device];
            *free = free.minus(need.total());
            bricks.push(Brick { device: *device, node: place.node, need, set, position });
        }
    }
    Some(bricks)
}

/// The nodes and devices of one set, the arbiter's last. Its node is a device's for arbiters alone, else the third of
/// those with the most space, else any.
fn one_set(places: &[Place], need: Bytes, small: Bytes, per_zone: usize) -> Option<[(usize, usize); 3]> {
    let arbiters = places.iter().enumerate().filter_map(|(at, place)| Some((at, place.device(small, true)?)));
    let mut arbiters: Vec<(usize, usize)> = arbiters.collect();
    let alone = |(at, device): &(usize, usize)| places[*at].devices[*device].2 == Role::Arbiter;
    arbiters.sort_by_key(|arbiter| (!alone(arbiter), arbiter.0 < 2, arbiter.0));
    arbiters.into_iter().find_map(|arbiter| {
        let mut data = vec![];
        for (at, place) in places.iter().enumerate().filter(|(at, _)| *at != arbiter.0) {
            let same = |other: usize| usize::from(places[other].zone == place.zone);
            let in_zone = same(arbiter.0) + data.iter().map(|(other, _)| same(*other)).sum::<usize>();
            if let Some(device) = place.device(need, false).filter(|_| in_zone < per_zone) {
                data.push((at, device));
            }
            if let [one, other] = data[..] {
                return Some([one, other, arbiter]);
            }
        }
        None
    })
}
