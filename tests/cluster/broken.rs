//! What a node can be in when a volume is to be mounted: named errors within the deadline, no hang, and
//! nothing left once it has been put right.

use std::time::Instant;

use crate::fixture::wait_for;
use crate::node::{PLUGIN, STAGING, STATE, idle};
use crate::world::World;

/// The plugin's process is killed and its sockets stay: the next one takes their place.
pub fn stale_sockets(world: &World) {
    world.installed();
    let plugin = world.plugin_pod();
    let restarts = || {
        world.cluster.value(&["-n", PLUGIN, "pod", &plugin], "{.status.containerStatuses[0].restartCount}")
    };
    let before = restarts();
    world.kill_plugin();
    wait_for("the container to start again", 180, || (restarts() != before).then_some(()));
    assert_eq!(world.plugin_pod(), plugin, "the pod is the same");
    world.bound_claim("sockets");
    world.start_pods(&[idle("user", "sockets")]);
    world.in_pod("user", "echo x >/data/x");
    gone(world, "user", "sockets");
}

/// Staging directories that a crash has left: an empty one, and one where a client has died.
pub fn half_staged(world: &World) {
    world.installed();
    for (claim, what) in [("left-empty", ""), ("left-dead", "dead")] {
        let (persistent, volume) = world.bound_claim(claim);
        let folder = format!("{STAGING}/$(printf %s {persistent} | sha256sum | cut -d' ' -f1)/globalmount");
        world.on_node(&format!("mkdir -p {folder}"));
        if what == "dead" {
            world.on_node(&format!(
                "mount -t glusterfs -o log-file=/var/tmp/left.log {}:/{volume} {folder}; \
                 kill -9 $(pgrep -f '^/usr/sbin/glusterfs .*globalmount'); \
                 ! stat {folder} 2>/dev/null",
                world.lab.host(1)
            ));
            // Kubelet asks for nothing where it finds a mount, dead or not.
            wait_for("the dead mount to be taken away", 30, || {
                (!world.try_on_node(&format!("grep -q {folder} /proc/mounts")).status.success()).then_some(())
            });
        }
        world.start_pods(&[idle("user", claim)]);
        world.in_pod("user", "echo x >/data/x");
        gone(world, "user", claim);
    }
}

/// No room for the plugin's records: the pod is told, and starts once there is.
pub fn full_disk(world: &World) {
    world.installed();
    world.bound_claim("full");
    // dd fails when the disk is full, which is what it is for; the pod is to be told so below.
    world.on_node(&format!(
        "mount -t tmpfs -o size=64k none {STATE}/staged; \
         dd if=/dev/zero of={STATE}/staged/filler bs=4k 2>/dev/null || true"
    ));
    world.cluster.apply(&idle("user", "full").to_string());
    world.told("user", 60, &["FailedMount", "No space left on device"]);
    assert!(world.clients().is_empty(), "a client without a record: {}", world.traces());
    world.on_node(&format!("rm {STATE}/staged/filler"));
    runs(world, "user");
    gone(world, "user", "full");
    world.on_node(&format!("umount {STATE}/staged"));
    world.no_traces();
}

/// No server can be reached: the pod is told which and why, and starts once one is there again.
pub fn no_servers(world: &World) {
    world.installed();
    world.bound_claim("cut-off");
    let lost = world.lose_glusterd(None);
    let begun = Instant::now();
    world.cluster.apply(&idle("user", "cut-off").to_string());
    let texts =
        ["FailedMount", "no server of the volume can be reached", "10.77.0.11:24007", "10.77.0.13:24007"];
    world.told("user", 60, &texts);
    assert!(begun.elapsed().as_secs() < 30, "told only after {:?}", begun.elapsed());
    assert!(world.clients().is_empty(), "{}", world.traces());
    drop(lost);
    runs(world, "user");
    gone(world, "user", "cut-off");
}

/// One server of three is away, the one that stands first: the mount does not wait until that one answers.
pub fn first_server_down(world: &World) {
    world.installed();
    let (persistent, _) = world.bound_claim("first-down");
    let servers = world.cluster.value(&["gvol", &persistent], "{.status.mount.servers}");
    let first: Vec<String> = serde_json::from_str(&servers).unwrap();
    let lost = world.lose_glusterd(Some(&first[0]));
    let begun = Instant::now();
    world.start_pods(&[idle("user", "first-down")]);
    drop(lost);
    assert!(begun.elapsed().as_secs() < 10, "it took {:?}", begun.elapsed());
    world.in_pod("user", "echo x >/data/x");
    gone(world, "user", "first-down");
}

/// Waits until a pod that could not start runs: kubelet tries again after two minutes at most.
fn runs(world: &World, name: &str) {
    let begun = Instant::now();
    world.cluster.run(&["wait", "--for=condition=Ready", "pod", name, "--timeout=180s"]);
    println!("  it runs {:.1} s after that was put right", begun.elapsed().as_secs_f64());
    world.in_pod(name, "echo x >/data/x");
}

/// Deletes a pod and its claim, and insists that nothing is left.
fn gone(world: &World, pod: &str, claim: &str) {
    world.delete_pods(&[pod]);
    world.cluster.run(&["delete", "pvc", claim, "--timeout=300s"]);
    world.nothing_left();
    world.no_traces();
}
