//! From a claim to a pod that runs, on a whole cluster with real storage nodes: how long it takes, how much of
//! that is mounting, and what a mount costs, beside `mount -t glusterfs` by hand.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::figure::Figure;
use crate::fixture::wait_for;
use crate::machine::{self, Spent};
use crate::node::{PLUGIN, idle};
use crate::world::World;

const ROUNDS: usize = 20;
/// Kubelet's own figures of the calls that it made to the driver.
const CALLS: &str = "csi_operations_seconds_";
/// Calls that are figures of their own. Kubelet makes one of each for a pod.
const METHODS: [(&str, &str); 2] =
    [("stage", "/csi.v1.Node/NodeStageVolume"), ("publish", "/csi.v1.Node/NodePublishVolume")];

/// Measures on a cluster of its own.
pub fn measure() {
    let world = World::start();
    world.installed();
    // The first pod waits for images and connections that are not there yet.
    round(&world, "warm");
    let (load, spent, mut before) = (machine::load(), Spent::now(0), calls(&world));
    let (mut pods, mut of_calls) = (vec![], METHODS.map(|_| vec![]));
    for number in 0..ROUNDS {
        pods.push(round(&world, &format!("pod-{number}")));
        let after = calls(&world);
        for ((_, method), times) in METHODS.iter().zip(&mut of_calls) {
            times.push(one_call(&before, &after, method));
        }
        before = after;
    }
    let others = spent.since(0).others;
    Figure::median("claim_to_running", "ms", pods, load, others).keep();
    for ((name, _), times) in METHODS.iter().zip(of_calls) {
        Figure::median(name, "ms", times, load, others).keep();
    }
    one_mount(&world);
}

/// Milliseconds from the claim to a pod that runs with it; both are gone again afterwards.
fn round(world: &World, name: &str) -> f64 {
    let start = Instant::now();
    world.claims(&[name.to_owned()], "gluster", "1Gi");
    world.start_pods(&[idle(name, name)]);
    let time = start.elapsed().as_secs_f64() * 1000.0;
    away(world, name);
    time
}

fn away(world: &World, name: &str) {
    world.delete_pods(&[name]);
    world.cluster.run(&["delete", "pvc", name, "--timeout=300s"]);
    world.nothing_left();
}

/// What kubelet has counted: seconds (`sum`) and calls (`count`) that went well, by method.
fn calls(world: &World) -> BTreeMap<String, f64> {
    let metrics = world.cluster.run(&["get", "--raw", "/api/v1/nodes/worker1/proxy/metrics"]);
    let ours = metrics.lines().filter(|line| {
        line.starts_with(CALLS) && line.contains("gluster.bricklayer.dev") && line.contains("\"OK\"")
    });
    let read = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let kind = series[CALLS.len()..].split('{').next().unwrap();
        let method = series.split("method_name=\"").nth(1).unwrap().split('"').next().unwrap();
        (format!("{kind} {method}"), value.parse().unwrap())
    };
    ours.filter(|line| !line.contains("_bucket")).map(read).collect()
}

/// Milliseconds of the one call of a method between two looks.
fn one_call(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, method: &str) -> f64 {
    let of = |kind: &str| {
        let key = format!("{kind} {method}");
        after.get(&key).unwrap_or(&0.0) - before.get(&key).unwrap_or(&0.0)
    };
    let count = of("count");
    // A time of several calls would be no single measurement.
    assert!(count == 1.0, "{method} was called {count} times for one pod: {after:?}");
    of("sum") * 1000.0
}

/// What one mounted volume costs, and how long a mount by hand takes in the same container.
fn one_mount(world: &World) {
    let (_, volume) = world.bound_claim("one");
    world.start_pods(&[idle("one", "one")]);
    let load = machine::load();
    let plugin = memory_of(&["bricklayer", " node"]);
    let client = memory_of(&["glusterfs", &volume]);
    Figure::new("plugin_memory", "MiB", plugin.0, vec![plugin.0], load, 0.0).with("most", plugin.1).keep();
    Figure::new("client_memory", "MiB", client.0, vec![client.0], load, 0.0).with("most", client.1).keep();

    // The image has no clock but the kernel's, in hundredths of a second. A client ends at once when it cannot write
    // its log, and nothing but /tmp can be written there.
    let script = format!(
        "set -e; mkdir -p /tmp/plain; i=0; while [ $i -lt {ROUNDS} ]; do read a rest </proc/uptime; \
         mount -t glusterfs -o log-file=/tmp/plain.log {}:/{volume} /tmp/plain; read b rest </proc/uptime; umount /tmp/plain; echo $a $b; \
         i=$((i + 1)); done",
        world.lab.host(1)
    );
    let (load, spent) = (machine::load(), Spent::now(0));
    let plugin = world.plugin_pod();
    let times = world.cluster.run(&["-n", PLUGIN, "exec", &plugin, "--", "sh", "-c", &script]);
    let taken = |line: &str| {
        let (begun, done) = line.split_once(' ').unwrap();
        (done.parse::<f64>().unwrap() - begun.parse::<f64>().unwrap()) * 1000.0
    };
    let times = times.lines().map(taken).collect();
    Figure::median("plain_mount", "ms", times, load, spent.since(0).others).keep();
    away(world, "one");
}

/// Memory in MiB, now and at most, of the one process whose command line has all these words.
fn memory_of(words: &[&str]) -> (f64, f64) {
    let found = wait_for(&format!("a process {words:?}"), 30, || {
        std::fs::read_dir("/proc").unwrap().find_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
            let program = line.split(' ').next()?.rsplit('/').next()?;
            (program == words[0] && words[1..].iter().all(|word| line.contains(word))).then_some(pid)
        })
    });
    machine::memory(found)
}
