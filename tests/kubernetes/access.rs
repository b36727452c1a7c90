//! Who may mount the volumes of claims: the nodes of the cluster, as they come and go.

use serde_json::{Value, json};

use super::classes::{bound, clear};
use super::topology::machine;
use super::{Server, World, told, wait_for};

/// An operator that lets a node that has left in for three more seconds.
fn operator(world: &World) -> Server {
    let words = [
        "operator",
        "--listen",
        "127.0.0.1:0",
        "--allow-simulated",
        "--node-leaves-after",
        "3",
        "--simulated-log",
        "--data",
        world.data(),
    ];
    let env = [("KUBECONFIG", world.kubeconfig.to_str().unwrap())];
    let mut operator = Server::start(None, &words, &env, &world.data.path().join("operator.log"));
    operator.wait_for_output("operator works", 60);
    operator
}

/// How many commands have set auth.allow of a volume that was there.
fn sets(world: &World) -> usize {
    let log = std::fs::read_to_string(world.data.path().join("simulated/commands.log")).unwrap_or_default();
    log.lines().filter(|line| line.contains("auth.allow") && !line.contains("user.bricklayer.id")).count()
}

fn of_claim(world: &World, claim: &str) -> String {
    world.cluster.value(&[&format!("pvc/{claim}")], "{.spec.volumeName}")
}

fn wait_list(world: &World, claim: &str, list: &str) {
    let name = of_claim(world, claim);
    wait_for(&format!("{claim} to let {list} in"), 30, || {
        (world.cluster.value(&["gvol", &name], "{.status.allow}") == list).then_some(())
    });
}

fn class(name: &str, parameters: &Value) -> String {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "gluster.bricklayer.dev", "parameters": parameters})
    .to_string()
}

pub fn follows_the_nodes(world: &World) {
    machine(world, "worker-1", "10.8.0.1", json!({}));
    machine(world, "worker-2", "10.8.0.2", json!({}));
    let operator = operator(world);
    world.topology();
    for (name, parameters) in [
        ("any", json!({"allow": "any"})),
        ("wide", json!({"allow": "nodes, 10.9.0.0/16"})),
        ("own", json!({"volumeoptions": "auth.allow 10.7.*"})),
    ] {
        world.cluster.apply(&class(name, &parameters));
    }
    bound(world, "data", "gluster", "1Gi");
    for name in ["any", "wide", "own"] {
        bound(world, name, name, "1Gi");
    }
    wait_list(world, "data", "10.8.0.1,10.8.0.2");
    wait_list(world, "wide", "10.8.0.1,10.8.0.2,10.9.*");
    assert_eq!(sets(world), 0, "a volume is made with its list");

    // Ten nodes come at once: each volume is changed once or twice, not ten times.
    for n in 3..=12 {
        machine(world, &format!("worker-{n}"), &format!("10.8.0.{n}"), json!({}));
    }
    let all: Vec<String> = (1..=12).map(|n| format!("10.8.0.{n}")).collect();
    wait_list(world, "data", &all.join(","));
    wait_list(world, "wide", &format!("{},10.9.*", all.join(",")));
    let many = sets(world);
    assert!((2..=8).contains(&many), "{many} commands for ten nodes and two volumes");

    for n in 3..=12 {
        world.cluster.run(&["delete", "node", &format!("worker-{n}"), "--wait=false"]);
    }
    wait_list(world, "data", "10.8.0.1,10.8.0.2");

    // The wish can be changed at any time.
    let patch = |claim: &str, allow: Value| {
        let patch = json!({"spec": {"allow": allow}}).to_string();
        world.cluster.run(&["patch", "gvol", &of_claim(world, claim), "--type=merge", "-p", &patch]);
    };
    patch("data", json!(["10.1.2.3"]));
    wait_list(world, "data", "10.1.2.3");
    patch("data", json!([]));
    wait_list(world, "data", "*");
    patch("data", json!(["10.1.2.3/8"]));
    let name = of_claim(world, "data");
    wait_for("the mistake to be named", 30, || {
        let said =
            world.cluster.value(&["gvol", &name], "{.status.conditions[?(@.type==\"Access\")].message}");
        said.contains("10.1.2.3/8").then_some(())
    });
    for free in ["any", "own"] {
        assert_eq!(world.cluster.value(&["gvol", &of_claim(world, free)], "{.status.allow}"), "");
    }

    // Whoever starts later knows who is there, and changes nothing that is right.
    let before = sets(world);
    operator.stop();
    let operator = self::operator(world);
    machine(world, "worker-3", "10.8.0.3", json!({}));
    wait_list(world, "wide", "10.8.0.1,10.8.0.2,10.8.0.3,10.9.*");
    assert_eq!(sets(world), before + 1, "one change of one volume");
    for n in 1..=3 {
        world.cluster.run(&["delete", "node", &format!("worker-{n}")]);
    }
    clear(world);
    for name in ["any", "wide", "own"] {
        world.cluster.run(&["delete", "storageclass", name]);
    }
    world.audit(operator, 0);
}

/// A class with a mistake is refused, or said on the claim.
pub fn mistakes(world: &World) {
    let operator = operator(world);
    world.topology();
    world.cluster.apply(&class("mistaken", &json!({"allow": "10.0.0.1/8"})));
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "mistaken", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "mistaken",
            "resources": {"requests": {"storage": "1Gi"}}}});
    world.cluster.apply(&claim.to_string());
    told(world, "mistaken", "StorageClass parameter allow is \"10.0.0.1/8\"; accepted is any, or nodes");
    world.cluster.run(&["delete", "pvc/mistaken", "storageclass/mistaken"]);
    clear(world);
    world.audit(operator, 0);
}
