//! The allocator alone: how full a cluster gets before the first refusal, and how long a decision takes.

use std::collections::VecDeque;
use std::time::Instant;

use bricklayer::allocation::{Taken, place};
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
const AIM: usize = 2400;
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
        let mut sorted = times.clone();
        sorted.sort_by(f64::total_cmp);
        let p99 = sorted[sorted.len() * 99 / 100];
        let name = decide_name(nodes * devices);
        Figure::new(&name, "us", p99, times, load, 0.0).with("volumes", volumes as f64).keep();
    }
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
        let taken = placed.bricks.iter().map(|brick| Taken {
            device: brick.device,
            pool: brick.need.pool,
            metadata: brick.need.metadata,
        });
        inventory.set_volume(id(number), taken.collect());
        if number > volumes {
            times.push(begun.elapsed().as_secs_f64() * 1e6);
            inventory.set_volume(there.pop_front().unwrap(), vec![]);
        }
        there.push_back(id(number));
    }
    times
}
