//! Volumes of claims, mounted by pods with the real FUSE client.

use serde_json::json;

use crate::fixture::wait_for;
use crate::world::World;

/// Runs a shell text in a pod of the host's network that may mount, with the volume at /volume, and
/// gives back what it printed.
fn in_pod(world: &World, name: &str, source: &str, text: &str) -> String {
    let image = concat!("gluster-server:", env!("CARGO_PKG_VERSION"));
    let text = format!("set -e; mkdir /volume; mount -t glusterfs {source} /volume; {text}; umount /volume");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"hostNetwork": true, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "fuse", "hostPath": {"path": "/dev/fuse"}}],
            "containers": [{"name": "client", "image": image, "imagePullPolicy": "Never",
                "command": ["bash", "-c", text], "securityContext": {"privileged": true},
                "volumeMounts": [{"name": "fuse", "mountPath": "/dev/fuse"}]}]}});
    world.cluster.apply(&pod.to_string());
    let phase = wait_for(&format!("pod {name} to end"), 300, || {
        let phase = world.cluster.value(&["pod", name], "{.status.phase}");
        ["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase)
    });
    let output = world.cluster.run(&["logs", name]);
    assert_eq!(phase, "Succeeded", "{name}: {output}");
    world.cluster.run(&["delete", "pod", name, "--timeout=60s"]);
    output
}

/// Written by one pod, grown, read by another, and gone again.
pub fn claim_in_pods(world: &World) {
    world.installed();
    let before = world.lab.state();
    let (_, volume) = world.bound_claim("shared");
    let source = |node| format!("{}:/{volume}", world.lab.host(node));
    let written = in_pod(
        world,
        "writer",
        &source(1),
        "dd if=/dev/urandom of=/volume/data bs=1M count=64 conv=fsync status=none; sha256sum </volume/data",
    );
    assert_eq!(written.trim().len(), 67, "a checksum: {written}");

    let more = r#"{"spec": {"resources": {"requests": {"storage": "3Gi"}}}}"#;
    world.cluster.run(&["patch", "pvc", "shared", "-p", more]);
    let grown = "--for=jsonpath={.status.capacity.storage}=3Gi";
    world.cluster.run(&["wait", grown, "pvc/shared", "--timeout=300s"]);
    let look = "sha256sum </volume/data; df --block-size=1 --output=size /volume | tail -1";
    let read = in_pod(world, "reader", &source(2), look);
    let (read, size) = read.trim().split_once('\n').unwrap();
    assert_eq!(read, written.trim(), "what one pod has written, the other reads");
    let size: u64 = size.trim().parse().unwrap();
    assert!(size >= 3 << 30, "a claim that has grown to 3Gi gives {size} bytes");
    world.cluster.run(&["delete", "pvc", "shared", "--timeout=300s"]);
    world.nothing_left();
    assert_eq!(world.lab.state(), before, "the nodes are not as before the claim");
}
