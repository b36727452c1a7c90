//! Pods go on with their volumes while the plugin, its clients, the node's daemons, the operator or a storage
//! node go away.

use std::time::Instant;

use crate::fixture::wait_for;
use crate::node::{PLUGIN, idle};
use crate::world::{NAMESPACE, World};
use crate::writer::{Writer, all_there};

/// How long a writer writes: a minute, or as many seconds as this says.
fn writing() -> usize {
    std::env::var("BRICKLAYER_TEST_WRITE").map_or(60, |text| text.parse().expect("a number of seconds"))
}

/// The plugin's pod is deleted three times under a writer, once by force, and its process killed once.
pub fn plugin_lost(world: &World) {
    world.installed();
    let (_, volume) = world.bound_claim("outlives");
    let writer = Writer::start(world, "writer", "outlives", writing());
    let (client, traces) = (world.clients(), world.traces());
    for force in [false, true, false] {
        let plugin = world.plugin_pod();
        let delete = ["-n", PLUGIN, "delete", "pod", &plugin];
        let how: &[&str] = if force { &["--force", "--grace-period=0"] } else { &["--timeout=60s"] };
        world.cluster.run(&[&delete, how].concat());
        wait_for("another pod of the plugin", 60, || (world.plugin_pod() != plugin).then_some(()));
        writer.goes_on(10);
    }
    world.kill_plugin();
    writer.goes_on(10);
    world.plugin_pod();
    assert!(writer.is_at_work(), "all is written already: the plugin was lost too late");
    assert_eq!(world.clients(), client, "it is the client of the beginning");
    assert_eq!(world.traces(), traces, "nothing has piled up on the node");
    // A new pod gets the volume that an earlier plugin has staged, and the writer's client with it.
    world.start_pods(&[idle("reader", "outlives")]);
    assert_eq!(world.clients(), client);
    let records = writer.finished();

    let mounted = world.lab.mount(1, &volume);
    all_there(mounted.point(), records);
    mounted.unmount();
    world.delete_pods(&["writer", "reader"]);
    world.cluster.run(&["delete", "pvc", "outlives", "--timeout=300s"]);
    world.nothing_left();
    world.no_traces();
}

/// The client's process is killed: the pod reads again within ten seconds, or is told why it cannot. One that has mounted
/// a directory that was removed meanwhile cannot have it again: that it has to be deleted is told.
pub fn client_killed(world: &World) {
    world.installed();
    let (persistent, _) = world.bound_claim("killed");
    let handle = world.cluster.value(&["pv", &persistent], "{.spec.csi.volumeHandle}");
    let mut below = idle("below", "killed");
    below["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = "a/b".into();
    world.start_pods(&[idle("reader", "killed"), idle("other", "killed"), below.clone()]);
    world.in_pod("reader", "echo here >/data/file && sync");
    world.in_pod("below", "echo inside >/data/inside && sync");
    world.in_pod("reader", "test -e /data/a/b/inside && rm -r /data/a");
    let (mounts, client) = (world.mount_count(), world.clients());
    assert_eq!(client.len(), 1, "{client:?}");
    world.on_node(&format!("kill -9 {}", client[0]));
    let lost = Instant::now();
    for name in ["reader", "other"] {
        let how = wait_for(&format!("{name} to read again, or to be told"), 10, || {
            let read = world.try_in_pod(name, "cat /data/file");
            if read.status.success() {
                return Some("reads again".to_owned());
            }
            world.events_of(name).lines().find(|line| line.contains("GlusterFS")).map(str::to_owned)
        });
        println!("  {name}, {:.1} s after the client was killed: {how}", lost.elapsed().as_secs_f64());
    }
    let why = "its directory /a/b was removed from the volume";
    world.told("below", 30, &["VolumeMountLost", &handle, "delete the pod", why]);
    // New pods are served in any case.
    world.delete_pods(&["below"]);
    world.start_pods(&[idle("new", "killed"), below]);
    assert_eq!(world.in_pod("new", "cat /data/file"), "here\n");
    world.in_pod("below", "echo again >/data/inside");
    assert_eq!(world.in_pod("reader", "cat /data/a/b/inside"), "again\n");
    world.delete_pods(&["new"]);
    wait_for("a mount table as long as before", 30, || (world.mount_count() == mounts).then_some(()));
    assert_eq!(world.clients().len(), 1);
    world.delete_pods(&["reader", "other", "below"]);
    world.cluster.run(&["delete", "pvc", "killed", "--timeout=300s"]);
    world.nothing_left();
    world.no_traces();
}

/// The client's process is killed while none can be started anew: the pod is told so, and reads again once a server
/// is there.
pub fn killed_without_servers(world: &World) {
    world.installed();
    let (persistent, _) = world.bound_claim("without");
    let handle = world.cluster.value(&["pv", &persistent], "{.spec.csi.volumeHandle}");
    world.start_pods(&[idle("reader", "without")]);
    world.in_pod("reader", "echo here >/data/file && sync");
    let (mounts, client) = (world.mount_count(), world.clients());
    let lost = world.lose_glusterd(None);
    world.on_node(&format!("kill -9 {}", client[0]));
    let why = "no server of the volume can be reached";
    world.told("reader", 60, &["VolumeMountLost", &handle, why, "10.77.0.11:24007"]);
    assert!(!world.try_in_pod("reader", "cat /data/file").status.success(), "nobody serves it");
    assert!(world.clients().is_empty(), "{}", world.traces());
    drop(lost);
    let begun = Instant::now();
    // It is tried again after a minute at most.
    wait_for("the pod to read again", 90, || {
        (world.try_in_pod("reader", "cat /data/file").stdout == b"here\n").then_some(())
    });
    println!("  it reads {:.1} s after servers can be reached", begun.elapsed().as_secs_f64());
    world.told("reader", 30, &["VolumeMountRepaired", &handle]);
    world.in_pod("reader", "echo more >>/data/file");
    wait_for("a mount table as long as before", 30, || (world.mount_count() == mounts).then_some(()));
    assert_eq!(world.clients().len(), 1);
    world.delete_pods(&["reader"]);
    world.cluster.run(&["delete", "pvc", "without", "--timeout=300s"]);
    world.nothing_left();
    world.no_traces();
}

/// A storage node loses power under a writer: no error, and no record is lost, neither while the node is away
/// nor after it has been healed.
pub fn storage_node_killed(world: &World) {
    world.installed();
    let (_, volume) = world.bound_claim("healed");
    let writer = Writer::start(world, "writer", "healed", 40);
    world.lab.kill_node(3);
    let records = writer.finished();
    world.lab.start_node(3);
    // The power cut took files with it that nobody had asked to be on disk: their names too. GlusterFS has no note
    // of that; it makes a name anew where somebody looks for it, as the next pod would.
    let mounted = world.lab.mount(3, &volume);
    let pending = format!("gluster volume heal {volume} >/dev/null; gluster volume heal {volume} info");
    wait_for("the volume to be healed", 240, || {
        for name in ["opened", "kept"] {
            mounted.point().join(name).metadata().ok()?;
        }
        let info = world.lab.try_on(1, &pending)?;
        let entries: Vec<&str> =
            info.lines().filter_map(|line| line.strip_prefix("Number of entries: ")).collect();
        (entries == ["0"; 3]).then_some(())
    });
    let mut sums = (1..=3).map(|server| {
        let find =
            format!("gluster volume info {volume} | grep -F ' {}:' | cut -d: -f3", world.lab.host(server));
        let brick = world.lab.on(server, &find);
        world.lab.on(server, &format!("cat {0}/opened {0}/kept | sha256sum", brick.trim()))
    });
    let first = sums.next().unwrap();
    assert!(sums.all(|sum| sum == first), "the bricks differ after the heal");
    all_there(mounted.point(), records);
    mounted.unmount();
    world.delete_pods(&["writer"]);
    world.cluster.run(&["delete", "pvc", "healed", "--timeout=300s"]);
    world.nothing_left();
    world.no_traces();
}

/// Kubelet and containerd start again and no operator runs: pods go on, and new ones get their volumes.
pub fn daemons_restarted(world: &World) {
    world.installed();
    let (_, volume) = world.bound_claim("steady");
    world.start_pods(&[idle("idle", "steady")]);
    let writer = Writer::start(world, "writer", "steady", writing());
    let client = world.clients();
    let restarts = || world.cluster.value(&["pods"], "{.items[*].status.containerStatuses[*].restartCount}");
    for daemon in ["kubelet", "containerd"] {
        world.restart_on_node(daemon);
        wait_for(&format!("exec after the restart of {daemon}"), 60, || {
            world.try_in_pod("idle", "cat /data/opened").status.success().then_some(())
        });
        writer.goes_on(10);
    }
    world.cluster.run(&["-n", NAMESPACE, "scale", "deployment/bricklayer-operator", "--replicas=0"]);
    wait_for("the operator to go", 60, || world.operators().is_empty().then_some(()));
    writer.goes_on(10);
    world.cluster.run(&["wait", "--for=condition=Ready", "node/worker1", "--timeout=60s"]);
    world.delete_pods(&["idle"]);
    world.start_pods(&[idle("idle", "steady")]);
    assert_eq!(world.clients(), client, "it is the client of the beginning");
    world.cluster.run(&["-n", NAMESPACE, "scale", "deployment/bricklayer-operator", "--replicas=2"]);
    let records = writer.finished();
    assert_eq!(restarts(), "0 0", "no container was started again");

    let mounted = world.lab.mount(2, &volume);
    all_there(mounted.point(), records);
    mounted.unmount();
    world.delete_pods(&["writer", "idle"]);
    wait_for("two pods of the operator", 120, || (world.operators().len() == 2).then_some(()));
    world.cluster.run(&["delete", "pvc", "steady", "--timeout=300s"]);
    world.nothing_left();
    world.no_traces();
}
