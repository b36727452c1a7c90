//! One of two pods is lost while there is work.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::json;

use crate::fixture::wait_for;
use crate::world::{NAMESPACE, World};

/// The leader's pod is deleted by force during thirty creates: the other one goes on, every claim is
/// bound, and none twice.
pub fn thirty_claims(world: &World) {
    world.installed();
    let before = world.lab.state();
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "single"},
        "provisioner": "gluster.bricklayer.dev", "parameters": {"volumetype": "none"}});
    world.cluster.apply(&class.to_string());
    let names: Vec<String> = (1..=30).map(|number| format!("many-{number}")).collect();
    world.claims(&names, "single", "512Mi");
    wait_for("the first claims to be bound", 300, || (world.bound() >= 3).then_some(()));
    let leader = world.holder();
    assert!(world.operators().contains(&leader), "the Lease is held by {leader:?}");
    world.cluster.run(&["-n", NAMESPACE, "delete", "pod", &leader, "--grace-period=0", "--force"]);
    let lost = Instant::now();
    assert!(world.bound() < 30, "all is done already: the leader was lost too late");
    wait_for("another leader", 60, || {
        let holder = world.holder();
        (holder != leader && world.operators().contains(&holder)).then_some(())
    });
    println!("  another pod holds the Lease after {:.1} s", lost.elapsed().as_secs_f64());
    wait_for("thirty claims to be bound", 900, || (world.bound() == 30).then_some(()));

    let volumes = world.cluster.value(&["pvc"], "{.items[*].spec.volumeName}");
    let distinct: HashSet<&str> = volumes.split_whitespace().collect();
    assert_eq!(distinct.len(), 30, "thirty claims, thirty volumes");
    for kind in ["pv", "gvol"] {
        assert_eq!(world.cluster.run(&["get", kind, "-o", "name"]).lines().count(), 30, "{kind}");
    }
    assert_eq!(world.lab.on(1, "gluster volume list").lines().count(), 30);
    let verdict = world.audit();
    assert!(verdict.contains("30 bricks as placed, 0 wrong, 0 unsettled"), "{verdict}");

    world.cluster.run(&["delete", "pvc", "--all", "--wait=false"]);
    world.nothing_left();
    world.cluster.run(&["delete", "storageclass", "single"]);
    assert_eq!(world.lab.state(), before, "the nodes are not as before the claims");
    wait_for("two pods again", 60, || (world.operators().len() == 2).then_some(()));
}
