//! Pods use claims, as users' pods do: the plugin mounts for them.

use serde_json::json;

use crate::fixture::wait_for;
use crate::node::{PLUGIN, idle, pod};
use crate::world::World;

const DRIVER: &str = "gluster.bricklayer.dev";

/// The DaemonSet runs, and kubelet has registered the driver.
pub fn registered(world: &World) {
    world.installed();
    let plugin = world.plugin_pod();
    let restarts =
        world.cluster.value(&["-n", PLUGIN, "pod", &plugin], "{.status.containerStatuses[0].restartCount}");
    assert_eq!(restarts, "0");
    let daemons = ["-n", PLUGIN, "daemonset/bricklayer-node"];
    assert_eq!(
        world.cluster.value(&daemons, "{.status.desiredNumberScheduled} {.status.numberReady}"),
        "1 1"
    );
    let driver = |path: &str| {
        let all = format!("{{.spec.drivers[?(@.name==\"{DRIVER}\")]{path}}}");
        world.cluster.value(&["csinode/worker1"], &all)
    };
    wait_for("kubelet to register the driver", 60, || (driver(".nodeID") == "worker1").then_some(()));
    assert_eq!(driver(".allocatable"), "", "no limit is set");
    let object = world.cluster.run(&["get", "csidriver", DRIVER, "-o", "json"]);
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    for (field, value) in [
        ("attachRequired", json!(false)),
        ("podInfoOnMount", json!(true)),
        ("fsGroupPolicy", json!("File")),
        ("volumeLifecycleModes", json!(["Persistent"])),
        ("storageCapacity", json!(false)),
        ("seLinuxMount", json!(false)),
    ] {
        assert_eq!(object["spec"][field], value, "{field}");
    }
    world.no_traces();
}

/// Written by one pod and read by another at the same time; by a pod made anew; grown under them; and
/// nothing is left of it.
pub fn claim_in_pods(world: &World) {
    world.installed();
    let before = world.lab.state();
    let (persistent, volume) = world.bound_claim("shared");
    world.start_pods(&[idle("one", "shared"), idle("two", "shared")]);
    let write = "dd if=/dev/urandom of=/data/one bs=1M count=32 conv=fsync 2>/dev/null; sha256sum </data/one";
    let written = world.in_pod("one", write);
    assert_eq!(written.trim().len(), 67, "a checksum: {written}");
    assert_eq!(world.in_pod("two", "sha256sum </data/one"), written, "what one has written, the other reads");
    world.in_pod("two", "echo hello >/data/two && sync");
    assert_eq!(world.in_pod("one", "cat /data/two"), "hello\n", "and the other way round");
    assert_eq!(world.clients().len(), 1, "two pods have one client");

    // A container that starts again finds its files, and so does a new pod.
    world.delete_pods(&["one"]);
    world.start_pods(&[idle("one", "shared")]);
    assert_eq!(world.in_pod("one", "sha256sum </data/one; cat /data/two"), format!("{written}hello\n"));
    // Not only the client that has written it says so.
    let mounted = world.lab.mount(2, &volume);
    assert_eq!(written.split_whitespace().next().unwrap(), mounted.checksum("one"));
    mounted.unmount();

    let size = || -> u64 {
        let text = world.in_pod("two", "df -k /data | tail -1");
        // Busybox breaks the line after a long name.
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        numbers[0] * 1024
    };
    assert!(size() < 2 << 30, "a claim of 1Gi gives {} bytes", size());
    let more = r#"{"spec": {"resources": {"requests": {"storage": "3Gi"}}}}"#;
    world.cluster.run(&["patch", "pvc", "shared", "-p", more]);
    let grown = "--for=jsonpath={.status.capacity.storage}=3Gi";
    world.cluster.run(&["wait", grown, "pvc/shared", "--timeout=300s"]);
    wait_for("the running pod to see 3Gi", 60, || (size() >= 3 << 30).then_some(()));
    assert_eq!(world.in_pod("two", "sha256sum </data/one"), written);
    // Its bricks have become larger where they are: one file has more than one of them held before.
    let of_volume = |path: &str| world.cluster.value(&["gvol", &persistent], path);
    assert_eq!(of_volume("{.status.placement.bricks[*].id}").split_whitespace().count(), 3);
    assert_eq!(of_volume("{.status.rebalance}"), "", "no data moves");
    world.in_pod("two", "fallocate -l 2500000000 /data/large && sync");
    assert_eq!(world.in_pod("one", "stat -c %s /data/large").trim(), "2500000000");

    world.delete_pods(&["one", "two"]);
    world.cluster.run(&["delete", "pvc", "shared", "--timeout=300s"]);
    world.nothing_left();
    world.no_traces();
    assert_eq!(world.lab.state(), before, "the nodes are not as before the claim");
}

/// Read-only in both ways, subPath, and a user who is not root with a group of his own.
pub fn ways_to_mount(world: &World) {
    world.installed();
    world.bound_claim("ways");
    let mut of_container = idle("container-reads", "ways");
    of_container["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = true.into();
    let mut of_volume = idle("volume-reads", "ways");
    of_volume["spec"]["volumes"][0]["persistentVolumeClaim"]["readOnly"] = true.into();
    let mut below = idle("below", "ways");
    below["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = "a/b".into();
    let mut user = pod("user", "ways", "id >/data/by-user && exec sleep 100000");
    user["spec"]["securityContext"] =
        json!({"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "runAsNonRoot": true});
    world.start_pods(&[of_container, of_volume, below, idle("writes", "ways"), user]);

    world.in_pod("writes", "echo whole >/data/file");
    for name in ["container-reads", "volume-reads"] {
        assert_eq!(world.in_pod(name, "cat /data/file"), "whole\n");
        let refused = world.try_in_pod(name, "echo no >/data/file");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("Read-only file system"), "{name}: {said}");
    }
    world.in_pod("below", "test ! -e /data/file && echo part >/data/inside");
    assert_eq!(world.in_pod("writes", "cat /data/a/b/inside"), "part\n");

    // He wrote before anything else was done for him.
    let by_user = world
        .in_pod("user", "cat /data/by-user && stat -c '%u %g' /data/by-user && echo more >>/data/by-user");
    assert!(
        by_user.contains("uid=1000") && by_user.contains("2000") && by_user.contains("\n1000 2000\n"),
        "{by_user}"
    );
    assert_eq!(world.in_pod("writes", "stat -c '%g %a' /data").trim(), "2000 2775");

    world.delete_pods(&["container-reads", "volume-reads", "below", "writes", "user"]);
    world.cluster.run(&["delete", "pvc", "ways", "--timeout=300s"]);
    world.nothing_left();
    world.no_traces();
}

/// A claim that is deleted while a pod uses it waits for the pod, and goes then.
pub fn deleted_in_use(world: &World) {
    world.installed();
    let (persistent, _) = world.bound_claim("in-use");
    world.start_pods(&[idle("user", "in-use")]);
    world.cluster.run(&["delete", "pvc", "in-use", "--wait=false"]);
    // Another claim comes and goes meanwhile: enough time for a deletion that does not wait.
    world.bound_claim("other");
    world.cluster.run(&["delete", "pvc", "other", "--timeout=300s"]);
    let claim = world.cluster.value(&["pvc/in-use"], "{.metadata.deletionTimestamp} {.status.phase}");
    assert!(claim.len() > 20 && claim.ends_with(" Bound"), "it is marked and bound: {claim:?}");
    assert_eq!(world.cluster.value(&["gvol", &persistent], "{.metadata.deletionTimestamp}"), "");
    world.in_pod("user", "echo still >/data/file && cat /data/file");
    world.delete_pods(&["user"]);
    world.nothing_left();
    world.no_traces();
}
