//! Filling a cluster until the first refusal: how much a sequence of volumes gets out of it, beside what could be
//! had at most. The setups are those that Heketi was measured on (heketi-engine.md, section 3.9).

use std::collections::{BTreeMap, HashMap};

use bricklayer::allocation::{
    Device, Inventory, Layout, Node, Request, Sizing, Taken, ZoneRule, bound, brick_need, place,
};
use bricklayer::units::{Bytes, GIB, Id};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const COPIES: usize = 3;
pub const EXTENT: Bytes = Bytes(4 << 20);

/// A cluster, the sizes of its volumes, and what Heketi reached on it.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub nodes: usize,
    pub zones: usize,
    pub devices: usize,
    /// Of a device, in GiB.
    pub device: u64,
    /// Volumes have a whole number of GiB between these, both included.
    pub sizes: (u64, u64),
    pub runs: u64,
    /// The share of all space that Heketi used at its first refusal: the median of the runs.
    pub heketi_median: f64,
    /// Its coefficient of variation over the devices at about 30 % of use.
    pub heketi_cv: f64,
}

const fn setup(
    (nodes, zones, devices, device): (usize, usize, usize, u64),
    sizes: (u64, u64),
    runs: u64,
    (heketi_median, heketi_cv): (f64, f64),
) -> Setup {
    Setup { nodes, zones, devices, device, sizes, runs, heketi_median, heketi_cv }
}

pub const SETUPS: [Setup; 6] = [
    setup((4, 4, 1, 750), (1, 100), 40, (0.902, 0.24)),
    setup((4, 4, 1, 750), (100, 400), 40, (0.718, 0.39)),
    setup((3, 3, 8, 500), (10, 200), 20, (0.963, 0.81)),
    setup((4, 4, 8, 500), (10, 200), 20, (0.961, 0.84)),
    setup((12, 3, 4, 1024), (10, 300), 10, (0.984, 0.78)),
    setup((9, 3, 4, 1024), (10, 300), 10, (0.980, 0.71)),
];

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The share of all space that was used at the first refusal.
    pub fill: f64,
    /// That of a placer that may cut volumes at will, at its own first refusal of the same sequence.
    pub fluid: f64,
    /// The coefficient of variation over the devices at about 30 % of use.
    pub cv: f64,
}

impl Run {
    pub fn ratio(&self) -> f64 {
        self.fill / self.fluid
    }
}

pub fn id(n: usize) -> Id {
    format!("{n:032x}").parse().unwrap()
}

/// Adds node `n`, whose id is `n + 1`.
pub fn add_node(inventory: &mut Inventory, n: usize, zone: i32) {
    let (name, host) = (format!("node{n}"), format!("10.0.{}.{}", n / 250, n % 250));
    inventory.set_node(id(n + 1), Node { cluster: id(0), name, host, zone, closed: None });
}

/// Adds device `d` of node `n`, whose id is `1000·(n + 1) + d`.
pub fn add_device(
    inventory: &mut Inventory,
    n: usize,
    d: usize,
    capacity: Bytes,
    tags: BTreeMap<String, String>,
) -> Id {
    let (device, path) = (id((n + 1) * 1000 + d), format!("/dev/sd{d}"));
    inventory
        .set_device(device, Device { node: id(n + 1), path, capacity, extent: EXTENT, tags, closed: None });
    device
}

/// A cluster of equal nodes; node `n` is in zone `n mod zones`.
pub fn cluster(nodes: usize, zones: usize, devices: usize, device: Bytes) -> (Inventory, Vec<Id>) {
    let mut inventory = Inventory::default();
    let mut all = vec![];
    for n in 0..nodes {
        add_node(&mut inventory, n, i32::try_from(n % zones).unwrap() + 1);
        all.extend((0..devices).map(|d| add_device(&mut inventory, n, d, device, BTreeMap::new())));
    }
    (inventory, all)
}

/// A replicated volume with Heketi's limits and arithmetic.
pub fn request(size: Bytes) -> Request {
    Request {
        cluster: id(0),
        size,
        sizing: Sizing::Bricks,
        layout: Layout::Replicate(COPIES),
        zones: ZoneRule::Soft,
        tags: None,
        brick_min: Bytes(GIB),
        brick_max: Bytes(4096 * GIB),
        max_bricks: 32,
        held: 0,
        snapshot_factor: 1.0,
        avoid: Default::default(),
        supposed_open: None,
    }
}

/// Makes volumes of random sizes until one is refused.
pub fn run(setup: &Setup, seed: u64) -> Run {
    let mut sizes = StdRng::seed_from_u64(seed);
    let device = Bytes(setup.device * GIB);
    let (mut inventory, devices) = cluster(setup.nodes, setup.zones, setup.devices, device);
    let all = device.0 as f64 * devices.len() as f64;
    let (mut placed, mut fluid) = (Bytes(0), Bytes(0));
    let (mut ended, mut fluid_ended, mut cv) = (false, false, None);
    let mut used: HashMap<Id, Bytes> = HashMap::new();
    for number in 0.. {
        let size = Bytes(sizes.random_range(setup.sizes.0..=setup.sizes.1) * GIB);
        // The metadata of thin pools is what storage costs, however it is placed.
        let need = brick_need(size, 1.0, EXTENT).total();
        if !fluid_ended {
            fluid_ended = fluid.plus(need) > most(setup, &inventory, &devices, &used);
            fluid = if fluid_ended { fluid } else { fluid.plus(need) };
        }
        if !ended {
            match place(&inventory, &request(size)) {
                Ok(placement) => {
                    let taken = placement.bricks.iter().map(|brick| Taken {
                        device: brick.device,
                        pool: brick.need.pool,
                        metadata: brick.need.metadata,
                    });
                    inventory.set_volume(id(number + 1), taken.collect());
                    for brick in &placement.bricks {
                        let sum = used.entry(brick.device).or_default();
                        *sum = sum.plus(brick.need.total());
                    }
                    placed = placed.plus(need);
                }
                Err(_) => ended = true,
            }
            if cv.is_none() && placed.0 as f64 * COPIES as f64 >= 0.3 * all {
                cv = Some(variation(&devices, &used));
            }
        }
        if ended && fluid_ended {
            break;
        }
    }
    let share = |bytes: Bytes| bytes.0 as f64 * COPIES as f64 / all;
    Run { fill: share(placed), fluid: share(fluid), cv: cv.unwrap_or(f64::NAN) }
}

/// The most that all volumes together can have: the bound over the nodes, without what LVM keeps on each device for
/// the metadata of its largest pool (our bricks decide that, for both placers).
fn most(setup: &Setup, inventory: &Inventory, devices: &[Id], used: &HashMap<Id, Bytes>) -> Bytes {
    let usable =
        |device: &Id| inventory.free(*device, Bytes(0)).plus(used.get(device).copied().unwrap_or_default());
    let nodes = devices.chunks(setup.devices).map(|of_node| of_node.iter().map(usable).sum());
    bound::most(&nodes.collect::<Vec<Bytes>>(), COPIES)
}

/// Standard deviation / mean of the use of the devices.
fn variation(devices: &[Id], used: &HashMap<Id, Bytes>) -> f64 {
    let used: Vec<f64> =
        devices.iter().map(|device| used.get(device).map_or(0.0, |used| used.0 as f64)).collect();
    let mean = used.iter().sum::<f64>() / used.len() as f64;
    let squares = used.iter().map(|bytes| (bytes - mean).powi(2)).sum::<f64>() / used.len() as f64;
    squares.sqrt() / mean
}

/// The middle of some numbers.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}
