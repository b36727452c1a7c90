//! Tests of the simulated nodes: their answers, and what survives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::executor::{
    Batch, GLUSTER_DEADLINE, LOOK_DEADLINE, Output, RunError, Step, Transport, TransportError,
    ops::{
        brick::{self, Brick},
        gluster::{self, NewVolume},
        lvm, mount,
    },
    run,
};
use crate::units::{GIB, Id, MIB, brick_path, lv_name, mount_point, pool_name, vg_name};

const FSTAB: &str = "/etc/fstab";

fn open(directory: &tempfile::TempDir) -> Sim {
    Sim::open(SimOptions::new(directory.path())).unwrap()
}

fn fresh() -> (tempfile::TempDir, Sim) {
    let directory = tempfile::tempdir().unwrap();
    let sim = open(&directory);
    (directory, sim)
}

fn id(number: u128) -> Id {
    format!("{number:032x}").parse().unwrap()
}

fn brick_of(number: u128, device: u128, volume: u128) -> Brick {
    Brick {
        id: id(number),
        device: id(device),
        volume: id(volume),
        size: Bytes(512 * MIB),
        pool_size: Bytes(512 * MIB),
        pool_metadata: Bytes(8 * MIB),
        gid: 0,
    }
}

/// One command; its output whatever it is.
async fn ask(sim: &Sim, host: &str, argv: Argv) -> Output {
    let batch = Batch::one(argv, LOOK_DEADLINE);
    sim.run(host, &batch).await.unwrap().outputs.remove(0)
}

async fn words(sim: &Sim, host: &str, line: &str) -> Output {
    ask(sim, host, Argv::new(line.split(' '))).await
}

async fn must(sim: &Sim, host: &str, batch: Batch) -> Vec<Output> {
    run(sim, host, &batch).await.unwrap()
}

async fn prepare(sim: &Sim, host: &str, device: u128) {
    let steps = [lvm::create_pv("/dev/sdb"), lvm::create_vg(id(device), "/dev/sdb")];
    let batch = Batch::new(steps.map(Step::always), LOOK_DEADLINE);
    must(sim, host, batch).await;
}

/// Three nodes in a pool, with device 1, 2 and 3.
async fn cluster(sim: &Sim) {
    for (host, device) in [("n1", 1), ("n2", 2), ("n3", 3)] {
        prepare(sim, host, device).await;
        if device > 1 {
            must(sim, "n1", gluster::peer_probe(host)).await;
        }
    }
}

/// The volume `vol_V` of bricks `V1` to `V3`.
fn replica3(volume: u128) -> NewVolume {
    let at = |node: u128| format!("n{node}:{}", brick_path(id(node), id(10 * volume + node)));
    NewVolume { name: format!("vol_{volume}"), replicas: 3, bricks: (1..4).map(at).collect() }
}

async fn bricks(sim: &Sim, volume: u128) {
    for node in 1..4 {
        let batch = brick::create(&brick_of(10 * volume + node, node, volume), FSTAB);
        must(sim, &format!("n{node}"), batch).await;
    }
}

async fn volume(sim: &Sim, number: u128) {
    bricks(sim, number).await;
    let new = replica3(number);
    let options = gluster::owner_options(id(number));
    let steps = [
        gluster::create_volume(&new),
        gluster::set_options(&new.name, &options),
        gluster::start_volume(&new.name),
    ];
    must(sim, "n1", Batch::new(steps.map(Step::always), GLUSTER_DEADLINE)).await;
}

async fn remove(sim: &Sim, number: u128) {
    must(sim, "n1", gluster::delete_volume(&format!("vol_{number}"), true)).await;
    for node in 1..4 {
        let batch = brick::remove(id(node), id(10 * number + node), FSTAB);
        must(sim, &format!("n{node}"), batch).await;
    }
}

#[tokio::test]
async fn a_volume_is_made_survives_and_goes() {
    let (directory, sim) = fresh();
    cluster(&sim).await;
    let empty = sim.snapshot();
    volume(&sim, 7).await;
    // Making it once more changes nothing.
    let before = sim.snapshot();
    bricks(&sim, 7).await;
    assert_eq!(sim.snapshot(), before);
    drop(sim);

    let sim = open(&directory);
    assert_eq!(sim.snapshot(), before);
    let outputs = must(&sim, "n2", gluster::all_volumes()).await;
    let found = gluster::parse_volumes(&outputs[0]).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].started);
    assert_eq!(found[0].bricks, replica3(7).bricks);
    let owner = gluster::owner_options(id(7));
    assert!(owner.iter().all(|option| found[0].options.contains(option)));
    let outputs = must(&sim, "n1", lvm::look()).await;
    let vgs = lvm::parse_vgs(&outputs[1]).unwrap();
    // 512 MiB of data, 8 MiB of metadata and as much for the spare.
    assert_eq!(vgs[0].size.minus(vgs[0].free), Bytes(528 * MIB));
    let lvs = lvm::parse_lvs(&outputs[2]).unwrap();
    let lv = lvs.iter().find(|lv| lv.name == lv_name(id(71))).unwrap();
    assert_eq!(lv.pool, pool_name(id(71)));
    assert_eq!(lv.tags.len(), 2);

    remove(&sim, 7).await;
    let mut after = sim.snapshot();
    for (host, snapshot) in &mut after.hosts {
        // The directory of the device stays until the device goes.
        snapshot.directories = empty.hosts[host].directories.clone();
        assert_eq!(snapshot, &empty.hosts[host], "{host}");
    }
    assert!(after.pools[0].volumes.is_empty());
    for (host, device) in [("n1", 1), ("n2", 2), ("n3", 3)] {
        must(&sim, host, lvm::remove_device(id(device), "/dev/sdb")).await;
        let snapshot = sim.snapshot().hosts[host].clone();
        assert!(snapshot.disks.is_empty() && snapshot.vgs.is_empty(), "{snapshot:?}");
    }
}
