//! The allocator alone: how full a cluster gets before the first refusal, and how long a decision takes.

use std::collections::VecDeque;
use std::time::Instant;

use bricklayer::allocation::{Brick, Layout, Request, Taken, ZoneRule, advice, place};
use bricklayer::units::{Bytes, GIB};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::figure::Figure;
use crate::fill::{Run, SETUPS, cluster, id, median, request, run};
use crate::machine;

/// Nodes, devices of each, and volumes of the estates that decisions are timed on.
pub const ESTATES: [(usize, usize, usize); 6] =
    [(5, 2, 50), (3, 24, 100), (10, 24, 500), (40, 24, 2000), (100, 24, 5000), (417, 24, 20_000)];
/// The devices of the estate that the aim is about.
pub const AIM: usize = 2400;
const DECISIONS: usize = 5000;

/// Measures both.
pub fn measure() {
    for (number, setup) in SETUPS.iter().enumerate() {
        let load = machine::load();
        let runs: Vec<Run> = (0..setup.runs).map(|seed| run(setup, seed)).collect();
        let ratios: Vec<f64> = runs.iter().map(Run::ratio).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let name = format!("allocation_fill_{}", number + 1);
        Figure::new(&name, "of the bound", median(ratios.iter().copied()), ratios, load, 0.0)
            .with("min", least)
            .with("fill", median(runs.iter().map(|run| run.fill)))
            .with("cv", median(runs.iter().map(|run| run.cv)))
            .keep();
    }
    for (nodes, devices, volumes) in ESTATES {
        let load = machine::load();
        let times = decisions(nodes, devices, volumes);
        let name = decide_name(nodes * devices);
        Figure::p99(&name, "us", times, load, 0.0).with("volumes", volumes as f64).keep();
    }
    let (load, times) = (machine::load(), refusals());
    let most = times.iter().copied().fold(0.0, f64::max);
    Figure::new("allocation_refuse", "us", most, times, load, 0.0).keep();
}

/// Microseconds of refusals with what would help, on the estate that the aim is about: of volumes that would fit with
/// more bricks, without a rule about zones, and not at all.
fn refusals() -> Vec<f64> {
    let (mut inventory, _) = cluster(100, 3, 24, Bytes(2048 * GIB));
    let mut sizes = StdRng::seed_from_u64(100);
    for number in 1..=5000 {
        let placed = place(&inventory, &request(Bytes(sizes.random_range(1..=100) * GIB))).unwrap();
        inventory.set_volume(id(number), placed.bricks.iter().map(taken).collect());
    }
    let mut times = vec![];
    for n in 0..10 {
        let terabytes = |count: u64| request(Bytes((count * 1024 + n) * GIB));
        let strict =
            Request { zones: ZoneRule::Strict, layout: Layout::Replicate(4), max_bricks: 32, ..terabytes(1) };
        for refused in [terabytes(20), strict, terabytes(10_000)] {
            let begun = Instant::now();
            assert!(place(&inventory, &refused).is_err() && advice(&inventory, &refused).is_some());
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    times
}

/// What a brick takes.
fn taken(brick: &Brick) -> Taken {
    Taken { device: brick.device, pool: brick.need.pool, metadata: brick.need.metadata }
}

/// What the figure of an estate with so many devices is called.
pub fn decide_name(devices: usize) -> String {
    if devices == AIM { "allocation_decide".into() } else { format!("allocation_decide_{devices}") }
}

/// Microseconds of decisions on an estate with so many volumes: each one places a volume and counts it, and the oldest
/// one goes.
fn decisions(nodes: usize, devices: usize, volumes: usize) -> Vec<f64> {
    let mut sizes = StdRng::seed_from_u64(nodes as u64);
    let (mut inventory, _) = cluster(nodes, nodes.min(3), devices, Bytes(2048 * GIB));
    let mut there = VecDeque::new();
    let mut times = vec![];
    for number in 1..=volumes + DECISIONS {
        let size = Bytes(sizes.random_range(1..=100) * GIB);
        let begun = Instant::now();
        let placed = place(&inventory, &request(size)).unwrap();
        inventory.set_volume(id(number), placed.bricks.iter().map(taken).collect());
        if number > volumes {
            times.push(begun.elapsed().as_secs_f64() * 1e6);
            inventory.set_volume(there.pop_front().unwrap(), vec![]);
        }
        there.push_back(id(number));
    }
    times
}
