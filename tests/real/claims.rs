//! Through a claim: a real API server and the lab's nodes together.

use serde_json::json;

use crate::fixture::{ControlPlane, Lab, Server, wait_for};

/// The topology of the lab as objects: one cluster over ssh as an unprivileged user with sudo, with
/// the known hosts of the lab, and the first disk of each node.
pub fn topology(lab: &Lab) -> String {
    let known_hosts = std::fs::read_to_string(lab.file("known_hosts")).unwrap();
    let object = |kind: &str, name: &str, spec: serde_json::Value| json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let secret = json!({"namespace": "bricklayer-system", "name": "gluster-ssh"});
    let ssh = json!({"user": "heketi", "sudo": true, "key": {"secret": secret}, "knownHosts": known_hosts});
    let mut items = vec![object("GlusterCluster", "main", json!({"transport": {"ssh": ssh}}))];
    for node in 1..=lab.nodes {
        let (name, host) = (format!("node{node}"), lab.host(node));
        let hostnames = json!({"manage": [host], "storage": [host]});
        items.push(object(
            "GlusterNode",
            &name,
            json!({"cluster": "main", "zone": node, "hostnames": hostnames}),
        ));
        items.push(object(
            "GlusterDevice",
            &format!("{name}-vdb"),
            json!({"node": name, "path": "/dev/vdb"}),
        ));
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

pub const CLAIM: &str = r#"{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "default"},
  "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "gluster", "resources": {"requests": {"storage": "1Gi"}}}}"#;

/// Replica 3 from claim to mounted bytes to deleted. The nodes are left as they were, the topology
/// is taken away again by kubectl alone.
pub fn claim_to_bytes(lab: &Lab) {
    let bare = lab.state();
    let cluster = ControlPlane::start(Some((&lab.namespace, "10.77.0.1")));
    let kubeconfig = cluster.deploy();
    let key = format!("--from-file=ssh-privatekey={}", lab.file("id").display());
    cluster.run(&["-n", "bricklayer-system", "create", "secret", "generic", "gluster-ssh", &key]);
    let mut operator = Server::start(
        Some(&lab.namespace),
        &["operator", "--listen", "127.0.0.1:0", "--look-every", "5"],
        &[("KUBECONFIG", kubeconfig.to_str().unwrap())],
        &lab.file("operator.log"),
    );
    operator.wait_for_output("operator works", 30);
    cluster.apply(&topology(lab));
    for kind in ["glusterdevice", "glusternode", "glustercluster"] {
        cluster.run(&["wait", "--for=condition=Ready", kind, "--all", "--timeout=120s"]);
    }
    let prepared = lab.state();

    cluster.apply(CLAIM);
    cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=120s"]);
    let name = cluster.value(&["pvc/data"], "{.spec.volumeName}");
    let pv = [name.as_str()];
    let pv = ["pv", pv[0]];
    assert_eq!(cluster.value(&pv, "{.spec.csi.driver}"), "gluster.bricklayer.dev");
    let volume = cluster.value(&pv, "{.spec.csi.volumeAttributes.volume}");
    assert_eq!(cluster.value(&["gvol", &name], "{.status.transport}"), "ssh");
    let bricks = cluster.value(&["gvol", &name], "{.status.placement.bricks[*].node}");
    let mut nodes: Vec<&str> = bricks.split_whitespace().collect();
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "three bricks on three nodes: {bricks}");

    let mounted = lab.mount(1, &volume);
    assert!(mounted.available() >= 1 << 30, "a claim of 1Gi gives {} bytes", mounted.available());
    let written = mounted.write("data", 64);
    mounted.unmount();
    let mounted = lab.mount(2, &volume);
    assert_eq!(mounted.checksum("data"), written);
    mounted.unmount();

    cluster.run(&["delete", "pvc", "data", "--timeout=120s"]);
    wait_for("PersistentVolume and GlusterVolume to go", 120, || {
        let left = cluster.run(&["get", "pv,gvol", "-o", "name"]);
        left.trim().is_empty().then_some(())
    });
    assert_eq!(lab.state(), prepared, "the nodes are not as before the claim");

    let used = cluster.try_run(&["delete", "glusternode", "node1", "--wait=false"]);
    assert!(used.status.success());
    wait_for("the reason why the node stays", 60, || {
        let why = cluster.value(&["glusternode/node1"], "{.status.conditions[?(@.type=='Ready')].message}");
        why.contains("its removal waits: device node1-vdb").then_some(())
    });
    cluster.run(&["delete", "glusterdevice", "--all", "--timeout=120s"]);
    cluster.run(&["delete", "glusternode", "--all", "--timeout=120s"]);
    cluster.run(&["delete", "glustercluster", "--all", "--timeout=60s"]);
    assert_eq!(lab.state(), bare, "the nodes are not as before the topology");
    operator.stop();
}
