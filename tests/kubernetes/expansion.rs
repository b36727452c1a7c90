//! Bound claims that ask for more.

use serde_json::json;

use super::classes::{bound, clear};
use super::{World, class, told, wait_for};

/// Asks for a larger claim.
pub fn ask(world: &World, claim: &str, size: &str) {
    let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}}).to_string();
    world.cluster.run(&["patch", "pvc", claim, "-p", &patch]);
}

fn of_claim(world: &World, claim: &str, path: &str) -> String {
    world.cluster.value(&[&format!("pvc/{claim}")], path)
}

/// Waits until claim, PersistentVolume and volume all have a size, and nothing is left of the way.
fn wait_size(world: &World, claim: &str, size: &str) {
    let name = of_claim(world, claim, "{.spec.volumeName}");
    wait_for(&format!("{claim} to have {size}"), 90, || {
        (of_claim(world, claim, "{.status.capacity.storage}") == size).then_some(())
    });
    assert_eq!(world.cluster.value(&["pv", &name], "{.spec.capacity.storage}"), size);
    assert_eq!(
        world.cluster.value(&["gvol", &name], "{.spec.size} {.status.size}"),
        format!("{size} {size}")
    );
    let left = "{.status.conditions}{.status.allocatedResourceStatuses}";
    assert_eq!(of_claim(world, claim, left), "");
    assert_eq!(of_claim(world, claim, "{.status.allocatedResources.storage}"), size);
    let no_node_step = r"{.metadata.annotations.volume\.kubernetes\.io/node-expansion-not-required}";
    assert_eq!(of_claim(world, claim, no_node_step), "true");
}

pub fn grows(world: &World) {
    let operator = world.operator();
    world.topology();
    bound(world, "data", "gluster", "1Gi");
    let before = world.cluster.writes().len();
    ask(world, "data", "3Gi");
    wait_size(world, "data", "3Gi");
    told(world, "data", "External resizer is resizing volume");
    told(world, "data", "Resize volume succeeded");
    let volume = of_claim(world, "data", "{.spec.volumeName}");
    // The PersistentVolume is written before the claim is told.
    let writes: Vec<String> =
        world.cluster.writes().split_off(before).into_iter().map(|write| write.what).collect();
    let last = |what: &str| writes.iter().rposition(|other| other == what);
    let claim = last("patch persistentvolumeclaims/status");
    assert!(last("patch persistentvolumes") < claim && claim.is_some(), "{writes:?}");
    // Somebody else grows the volume: the claim shows it with the next expansion.
    ask(world, "data", "4Gi");
    wait_size(world, "data", "4Gi");
    let bricks = world.cluster.value(&["gvol", &volume], "{.status.placement.bricks[*].id}");
    world.audit(operator, bricks.split_whitespace().count());
    let operator = world.operator();
    clear(world);
    world.audit(operator, 0);
}

pub fn refused(world: &World) {
    let operator = world.operator();
    world.topology();
    bound(world, "data", "gluster", "1Gi");
    ask(world, "data", "30Ti");
    wait_for("the claim to say that it cannot grow", 60, || {
        let state = of_claim(world, "data", "{.status.allocatedResourceStatuses.storage}");
        (state == "ControllerResizeInfeasible").then_some(())
    });
    told(world, "data", "there is no room to grow to 30Ti");
    let condition = "{.status.conditions[?(@.type==\"ControllerResizeError\")].message}";
    let message = of_claim(world, "data", condition);
    assert!(message.starts_with("failed to expand pvc with") && message.contains("no room"), "{message}");
    assert_eq!(of_claim(world, "data", "{.status.capacity.storage}"), "1Gi");
    // Lowered in mid-flight: down to anything above what it has.
    ask(world, "data", "2Gi");
    wait_size(world, "data", "2Gi");
    clear(world);
    world.audit(operator, 0);
}

pub fn interrupted(world: &World) {
    let mut operator = world.operator();
    world.topology();
    class(world, "by-sets", json!({"growth": "sets"}), "Delete");
    world.cluster.run(&["patch", "storageclass", "by-sets", "-p", r#"{"allowVolumeExpansion": true}"#]);
    bound(world, "data", "by-sets", "1Gi");
    bound(world, "in-place", "gluster", "1Gi");
    for size in ["2Gi", "3Gi", "5Gi"] {
        ask(world, "in-place", size);
        ask(world, "data", size);
        wait_for("the expansion to begin", 60, || {
            (of_claim(world, "data", "{.status.allocatedResources.storage}") == size).then_some(())
        });
        operator.kill();
        operator = world.operator();
        wait_size(world, "data", size);
        wait_size(world, "in-place", size);
    }
    for (claim, sets) in [("data", true), ("in-place", false)] {
        let volume = of_claim(world, claim, "{.spec.volumeName}");
        let bricks = world.cluster.value(&["gvol", &volume], "{.status.placement.bricks[*].id}");
        assert_eq!(bricks.split_whitespace().count() > 3, sets, "{claim}: {bricks}");
    }
    // Nobody is there when the wish comes, and it changes again before somebody is.
    operator.stop();
    ask(world, "data", "9Gi");
    ask(world, "data", "7Gi");
    operator = world.operator();
    wait_size(world, "data", "7Gi");
    clear(world);
    world.audit(operator, 0);
}
