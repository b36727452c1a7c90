//! Tests of the simulated nodes: their answers, and what survives.

mod faults;

use std::{io::BufRead, sync::Arc, time::Duration};

use super::*;
use crate::executor::{
    Batch, GLUSTER_DEADLINE, LOOK_DEADLINE, Output, Reply, RunError, Step, Transport, TransportError,
    ops::{
        brick::{self, Brick},
        gluster::{self, NewVolume, Sets},
        lvm, mount,
    },
    run,
};
use crate::units::{Bytes, GIB, Id, KIB, MIB, brick_path, lv_name, mount_point, pool_name};

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
        arbiter: false,
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
    NewVolume { name: format!("vol_{volume}"), sets: Sets::Replica(3), bricks: (1..4).map(at).collect() }
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

#[tokio::test]
async fn a_brick_is_in_one_volume() {
    let (directory, sim) = fresh();
    cluster(&sim).await;
    volume(&sim, 7).await;
    drop(sim);
    let sim = open(&directory);
    let taken = replica3(7).bricks[0].clone();
    let again = format!("gluster volume create other {taken} force");
    let refused = words(&sim, "n1", &again).await;
    assert!(refused.stderr.contains("may be containing or be contained by an existing brick"), "{refused:?}");
    for command in ["stop", "delete"] {
        assert!(words(&sim, "n1", &format!("gluster --mode=script volume {command} vol_7")).await.ok());
    }
    let refused = words(&sim, "n1", &again).await;
    assert!(!refused.stderr.contains("existing brick"), "{refused:?}");
}

/// Answers that no captured run shows: host, command, exit code, and what its streams contain.
const ANSWERS: [(&str, &str, i32, &str, &str); 34] = [
    ("n1", "nonsense --now", 127, "", "sh: 1: nonsense: not found\n"),
    ("n1", "test -d /var/lib/heketi/mounts", 1, "", ""),
    ("n1", "mkdir /var/lib/heketi/mounts/x", 1, "", "No such file or directory"),
    ("n1", "mkdir -p /var/lib/heketi/mounts/x", 0, "", ""),
    ("n1", "mkdir -p /var/lib/heketi/mounts/x", 0, "", ""),
    ("n1", "test -d /var/lib/heketi/mounts", 0, "", ""),
    ("n1", "rmdir /var/lib/heketi/mounts", 1, "", "Directory not empty"),
    ("n1", "mountpoint -q /var/lib/heketi/mounts/x", 32, "", ""),
    ("n1", "mountpoint -q /nowhere", 1, "", ""),
    ("n1", "rmdir /var/lib/heketi/mounts/x", 0, "", ""),
    ("n1", "cat /etc/shadow", 1, "", "cat: /etc/shadow: No such file or directory"),
    ("n1", "lvm pvs --bogus", 3, "", "unrecognized option '--bogus'"),
    ("n1", "lvm pvs -o pv_name,pv_nonsense", 3, "", "Unrecognised field: pv_nonsense"),
    ("n1", "lvm pvcreate -qq /dev/disk/by-id/nothing", 5, "", "No device found for"),
    ("n1", "lvm pvcreate -qq --metadatasize=128M --dataalignment=256K /dev/sdb", 0, "", ""),
    ("n1", "udevadm info --query=symlink --name=/dev/sdb", 0, "disk/by-id/sim-sdb", ""),
    ("n1", "lvm pvs --noheadings -o pv_name /dev/disk/by-id/sim-sdb", 0, "  /dev/sdb\n", ""),
    ("n1", "mkfs.xfs -q /dev/sdb", 1, "", "appears to contain an existing filesystem (LVM2_member)"),
    ("n1", "lvm vgcreate -qq --physicalextentsize=4M v-1 /dev/sdb", 0, "", ""),
    ("n1", "lvm lvcreate -qq -L 400M -n l-1 v-1", 0, "", ""),
    ("n1", "mkfs.xfs -q /dev/mapper/v--1-l--1", 0, "", ""),
    ("n1", "mount -t xfs /dev/v-1/l-1 /mnt", 0, "", ""),
    ("n1", "mountpoint -q /mnt", 0, "", ""),
    ("n1", "mkdir /mnt/a", 0, "", ""),
    ("n1", "chown :2000 /mnt/a", 0, "", ""),
    ("n1", "chmod 2775 /mnt/a", 0, "", ""),
    ("n1", "chown root:root /mnt/a", 1, "", "invalid group"),
    ("n1", "gluster volume create v replica 3 n1:/mnt", 1, "", "is a mount point"),
    ("n1", "gluster volume create v n1:mnt", 1, "", "Wrong brick type: n1:mnt"),
    ("n1", "gluster volume create v n1:/mnt/a", 0, "success: please start", ""),
    ("n1", "gluster volume set v a", 1, "", "Invalid number of options"),
    ("n1", "gluster volume frob v", 1, "", "unrecognized command"),
    ("n2", "gluster peer probe n1", 1, "", "n1 is either already part of another cluster or having volumes"),
    ("n2", "gluster volume info all --xml", 0, "<count>0</count>", ""),
];

#[tokio::test]
async fn answers() {
    let (_directory, sim) = fresh();
    for (host, line, exit, stdout, stderr) in ANSWERS {
        let output = words(&sim, host, line).await;
        assert_eq!(output.exit, exit, "{line}: {output:?}");
        assert!(output.stdout.contains(stdout) && output.stderr.contains(stderr), "{line}: {output:?}");
    }
    let host = &sim.snapshot().hosts["n1"];
    assert_eq!((host.bricks[0].gid, host.bricks[0].mode), (2000, 0o2775));
}

#[tokio::test]
async fn space_is_extents() {
    let (_directory, sim) = fresh();
    prepare(&sim, "n1", 1).await;
    let vg = |sim: &Sim| sim.snapshot().hosts["n1"].vgs[0].clone();
    // 500 GiB without 128 MiB and 4 KiB of metadata, rounded up to 256 KiB, in whole 4 MiB.
    let all = (500 * GIB - 128 * MIB - 256 * KIB) / (4 * MIB) * (4 * MIB);
    assert_eq!((vg(&sim).size, vg(&sim).free), (Bytes(all), Bytes(all)));
    // Sizes are rounded up to extents; the spare is as large as the largest metadata.
    let small = Brick { pool_size: Bytes(513 * MIB), pool_metadata: Bytes(5 * MIB), ..brick_of(1, 1, 9) };
    must(&sim, "n1", brick::create(&small, FSTAB)).await;
    assert_eq!(vg(&sim).free, Bytes(all - 516 * MIB - 2 * 8 * MIB));
    let large = Brick { pool_metadata: Bytes(64 * MIB), ..brick_of(2, 1, 9) };
    must(&sim, "n1", brick::create(&large, FSTAB)).await;
    assert_eq!(vg(&sim).spare, Bytes(64 * MIB));
    // A pool that fits only without its metadata is refused, and nothing stays of it.
    let rest = vg(&sim).free;
    let huge = Brick { pool_size: rest, pool_metadata: Bytes(64 * MIB), ..brick_of(3, 1, 9) };
    let refused = run(&sim, "n1", &brick::create(&huge, FSTAB)).await.unwrap_err();
    assert!(refused.to_string().contains("Insufficient free space: 16 extents"), "{refused}");
    assert_eq!(vg(&sim).free, rest);
    let exact = Brick { pool_size: rest.minus(Bytes(64 * MIB)), ..huge };
    must(&sim, "n1", brick::create(&exact, FSTAB)).await;
    assert_eq!(vg(&sim).free, Bytes(0));
    for number in 1..4 {
        must(&sim, "n1", brick::remove(id(1), id(number), FSTAB)).await;
    }
    assert_eq!((vg(&sim).free, vg(&sim).spare), (Bytes(all), Bytes(0)));
}

#[tokio::test]
async fn a_torn_line_is_a_command_that_nobody_heard_of() {
    let (directory, sim) = fresh();
    prepare(&sim, "n1", 1).await;
    let before = sim.snapshot();
    must(&sim, "n1", Batch::one(Argv::new(["mkdir", "-p", "/mnt/x"]), LOOK_DEADLINE)).await;
    drop(sim);
    let journal = directory.path().join("journal-1.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, &text[..text.len() - 5]).unwrap();
    let sim = open(&directory);
    assert_eq!(sim.snapshot(), before);
    drop(sim);
    // Elsewhere than at the end, it is no torn line.
    std::fs::write(directory.path().join("journal-2.jsonl"), "{\n{}\n").unwrap();
    let error = Sim::open(SimOptions::new(directory.path())).err().unwrap();
    assert!(matches!(error, SimError::Corrupt { line: 1, .. }), "{error}");
}

/// The test starts itself once more; that process makes directories until it is killed.
#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_has_told() {
    const CHILD: &str = "SIM_TEST_TO_BE_KILLED";
    if let Ok(directory) = std::env::var(CHILD) {
        let sim = Sim::open(SimOptions::new(directory)).unwrap();
        for number in 0.. {
            assert!(words(&sim, "n1", &format!("mkdir -p /mnt/d{number}")).await.ok());
            println!("made {number}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let name = "executor::transport::sim::tests::a_killed_process_loses_nothing_that_it_has_told";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, directory.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut told = 0;
    for line in lines {
        let number = line.rsplit_once("made ").and_then(|(_, number)| number.parse::<usize>().ok());
        told = told.max(number.map_or(0, |number| number + 1));
        // What it tells after that is read as well, up to its end.
        if told == 200 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(told >= 200, "{told}");
    let made = open(&directory).snapshot().hosts["n1"].directories.len();
    assert!(made == told || made == told + 1, "{made} made, {told} told");
}

#[tokio::test]
async fn one_process_at_a_time() {
    let (directory, sim) = fresh();
    let second = Sim::open(SimOptions::new(directory.path()));
    assert!(matches!(second.err(), Some(SimError::Locked(_))));
    drop(sim);
    open(&directory);
}

#[tokio::test]
async fn ids_stay_after_commands_that_failed() {
    let (directory, sim) = fresh();
    cluster(&sim).await;
    let refused = words(&sim, "n1", "gluster volume create v n9:/mnt/a").await;
    assert!(!refused.ok());
    volume(&sim, 1).await;
    let before = sim.snapshot();
    let peers = words(&sim, "n1", "gluster pool list").await;
    drop(sim);
    let sim = open(&directory);
    assert_eq!(sim.snapshot(), before);
    assert_eq!(words(&sim, "n1", "gluster pool list").await, peers);
}

#[tokio::test]
async fn what_is_not_in_the_fstab_is_gone_after_a_restart() {
    let (directory, sim) = fresh();
    cluster(&sim).await;
    volume(&sim, 1).await;
    volume(&sim, 2).await;
    let boot = ask(&sim, "n1", mount::boot_id()).await;
    let kept = mount_point(id(1), id(11));
    let lost = mount_point(id(1), id(21));
    must(&sim, "n1", Batch::one(mount::fstab_remove(FSTAB, &lost), LOOK_DEADLINE)).await;
    sim.restart("n1").unwrap();
    let check = async |sim: &Sim| {
        assert_ne!(ask(sim, "n1", mount::boot_id()).await, boot);
        assert!(ask(sim, "n1", mount::is_mounted(&kept)).await.ok());
        assert_eq!(ask(sim, "n1", mount::is_mounted(&lost)).await.exit, 32);
        // A brick process runs again on the one, and holds it.
        assert_eq!(
            ask(sim, "n1", mount::unmount(&kept)).await.stderr.split(": ").last(),
            Some("target is busy.\n")
        );
    };
    check(&sim).await;
    drop(sim);
    let sim = open(&directory);
    check(&sim).await;
    must(&sim, "n1", brick::restore(id(1), id(21), "/etc/fstab")).await;
    assert!(ask(&sim, "n1", mount::is_mounted(&lost)).await.ok());
}

#[tokio::test]
async fn a_create_that_one_node_refuses_marks_the_bricks_of_the_others() {
    let (_directory, sim) = fresh();
    cluster(&sim).await;
    for node in 1..3 {
        must(&sim, &format!("n{node}"), brick::create(&brick_of(10 + node, node, 1), FSTAB)).await;
    }
    let new = replica3(1);
    let create = || gluster::create_volume(&new);
    let refused = ask(&sim, "n1", create()).await;
    assert!(
        refused.stderr.contains("Staging failed on n3. Error: Failed to create brick directory"),
        "{refused:?}"
    );
    must(&sim, "n3", brick::create(&brick_of(13, 3, 1), FSTAB)).await;
    let refused = ask(&sim, "n1", create()).await;
    assert!(refused.stderr.ends_with("/brick is already part of a volume\n"), "{refused:?}");
    for node in 1..4 {
        must(&sim, &format!("n{node}"), brick::renew(&brick_of(10 + node, node, 1))).await;
    }
    assert!(ask(&sim, "n1", create()).await.ok());
    // Not once it is a brick that has been used.
    assert!(ask(&sim, "n1", gluster::start_volume(&new.name)).await.ok());
    let refused = run(&sim, "n1", &brick::renew(&brick_of(11, 1, 1))).await.unwrap_err();
    assert!(refused.to_string().contains("Directory not empty"), "{refused}");
}

#[tokio::test]
async fn batches_under_one_lock_wait_for_each_other() {
    let (_directory, sim) = fresh();
    sim.faults().add(Rule::once("mkdir", Fault::Slow(Duration::from_millis(100))));
    let batch = |word: &str| Batch::one(Argv::new(["mkdir", "-p", word]), LOOK_DEADLINE);
    let ended = Mutex::new(vec![]);
    let timed = async |name: &'static str, batch: Batch| {
        sim.run("n1", &batch).await.unwrap();
        ended.lock().push(name);
    };
    tokio::join!(
        timed("slow", batch("/mnt/a").locked("one")),
        timed("waits", batch("/mnt/b").locked("one")),
        timed("free", batch("/mnt/c").locked("two")),
    );
    assert_eq!(*ended.lock(), ["free", "slow", "waits"]);
    // Who waits for a lock until the deadline has not run.
    sim.faults().add(Rule::once("mkdir", Fault::Slow(Duration::from_millis(100))));
    let hurried = Batch { deadline: Duration::from_millis(10), ..batch("/mnt/late").locked("one") };
    let (_, late) = tokio::join!(timed("slow", batch("/mnt/a").locked("one")), sim.run("n1", &hurried));
    assert!(matches!(late, Err(TransportError::Unknown { .. })), "{late:?}");
    assert!(!sim.snapshot().hosts["n1"].directories.contains(&"/mnt/late".to_owned()));
}

#[tokio::test]
async fn a_node_has_several_names() {
    let (_directory, sim) = fresh();
    // By `manage` and `storage`; told; and by a brick that only one node has.
    let names = [("manage1.x", "storage1.x"), ("a2", "10.0.0.2"), ("a3", "10.0.0.3")];
    sim.introduce(&["a2", "10.0.0.2"]).unwrap();
    for (at, (manage, storage)) in (1..).zip(names) {
        prepare(&sim, manage, at).await;
        if at > 1 {
            must(&sim, "manage1.x", gluster::peer_probe(storage)).await;
        }
        must(&sim, manage, brick::create(&brick_of(10 + at, at, 1), FSTAB)).await;
    }
    let brick =
        |at: usize| format!("{}:{}", names[at].1, brick_path(id(at as u128 + 1), id(at as u128 + 11)));
    let new = NewVolume { name: "v".into(), sets: Sets::Replica(3), bricks: (0..3).map(brick).collect() };
    must(&sim, "manage1.x", Batch::one(gluster::create_volume(&new), GLUSTER_DEADLINE)).await;
    let volumes = gluster::parse_volumes(&must(&sim, "a3", gluster::all_volumes()).await[0]).unwrap();
    assert_eq!(volumes[0].bricks, new.bricks);
    let snapshot = sim.snapshot();
    assert_eq!(snapshot.pools[0].members, ["manage1.x", "a2", "a3"]);
    sim.faults().down("10.0.0.3");
    assert!(sim.run("a3", &gluster::pool_list()).await.is_err());
}

#[tokio::test]
async fn what_a_user_types_stays_one_word() {
    let directory = tempfile::tempdir().unwrap();
    let options = SimOptions { log_commands: true, ..SimOptions::new(directory.path()) };
    let sim = Sim::open(options).unwrap();
    let evil = "a'; rm -rf / #\n$(id)";
    let output = ask(&sim, "n1", gluster::start_volume(evil)).await;
    assert!(output.stderr.contains("does not exist"));
    let text = std::fs::read_to_string(directory.path().join("commands.log")).unwrap();
    let logged: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(logged["argv"][5], evil);
    assert_eq!(logged["host"], "n1");
}

/// Many nodes with many bricks, and what they cost: printed, for the curious.
#[tokio::test]
async fn many_bricks() {
    let number = |name: &str, usual: u128| {
        let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
        given.unwrap_or(usual)
    };
    let (hosts, bricks) = (number("SIM_HOSTS", 30), number("SIM_BRICKS", 10));
    let memory = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
    };
    let (directory, sim) = fresh();
    for host in 0..hosts {
        let name = format!("n{host}");
        prepare(&sim, &name, host).await;
        if host > 0 {
            must(&sim, "n0", gluster::peer_probe(&name)).await;
        }
    }
    // The log of commands is full of the same when memory is compared.
    let fill_log = async || {
        for _ in 0..LOG_LENGTH {
            words(&sim, "n0", "true").await;
        }
    };
    fill_log().await;
    let (before, start, first) = (memory(), std::time::Instant::now(), sim.commands());
    for number in 0..bricks {
        for host in 0..hosts {
            let brick = brick_of(10_000 * (host + 1) + number, host, 1);
            must(&sim, &format!("n{host}"), brick::create(&brick, FSTAB)).await;
        }
        for first in (0..hosts).step_by(3) {
            let at = |host| format!("n{host}:{}", brick_path(id(host), id(10_000 * (host + 1) + number)));
            let name = format!("vol_{}", id(10_000 * number + first));
            let new =
                NewVolume { name, sets: Sets::Replica(3), bricks: (first..first + 3).map(at).collect() };
            let options = gluster::owner_options(id(first));
            let steps = [
                gluster::create_volume(&new),
                gluster::set_options(&new.name, &options),
                gluster::start_volume(&new.name),
            ];
            must(&sim, "n0", Batch::new(steps.map(Step::always), GLUSTER_DEADLINE)).await;
        }
    }
    let took = start.elapsed();
    let (commands, all) = (sim.commands() - first, (hosts * bricks) as u64);
    assert_eq!(commands, 12 * all);
    fill_log().await;
    let each = memory().saturating_sub(before) / all;
    println!("{commands} commands in {took:?}, {each} bytes a brick");
    let snapshot = sim.snapshot();
    drop(sim);
    let start = std::time::Instant::now();
    let sim = open(&directory);
    println!("opened again in {:?}", start.elapsed());
    assert_eq!(sim.snapshot(), snapshot);
}
