//! Claims one at a time: what they may ask for, whom they wait for, and how they go.

use serde_json::{Value, json};

use super::classes::{bound, clear};
use super::{World, class, told, wait_for};

fn claim(name: &str, change: Value) -> Value {
    let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "gluster",
            "resources": {"requests": {"storage": "1Gi"}}}});
    for (key, value) in change.as_object().unwrap() {
        claim["spec"][key] = value.clone();
    }
    claim
}

fn apply(world: &World, claims: &[Value]) {
    world.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": claims}).to_string());
}

fn wait_bound(world: &World, name: &str) -> String {
    let phase = "--for=jsonpath={.status.phase}=Bound";
    world.cluster.run(&["wait", phase, &format!("pvc/{name}"), "--timeout=90s"]);
    world.cluster.value(&[&format!("pvc/{name}")], "{.spec.volumeName}")
}

pub fn modes_and_sizes(world: &World) {
    let operator = world.operator();
    world.topology();
    let modes = |name: &str, modes: &[&str]| claim(name, json!({"accessModes": modes}));
    apply(
        world,
        &[
            modes("rwx", &["ReadWriteMany"]),
            modes("rwo", &["ReadWriteOnce"]),
            modes("rox", &["ReadOnlyMany"]),
            modes("rwop", &["ReadWriteOncePod"]),
            modes("all", &["ReadWriteMany", "ReadOnlyMany", "ReadWriteOnce"]),
            modes("odd", &["ReadOnlyMany", "ReadWriteOnce"]),
            claim("block", json!({"volumeMode": "Block"})),
            claim("chosen", json!({"selector": {"matchLabels": {"a": "b"}}})),
            claim("small", json!({"resources": {"requests": {"storage": "100Mi"}}})),
            claim("exponent", json!({"resources": {"requests": {"storage": "2e9"}}})),
        ],
    );
    for (name, wanted) in [
        ("rwx", r#"["ReadWriteMany"]"#),
        ("rwo", r#"["ReadWriteOnce"]"#),
        ("rox", r#"["ReadOnlyMany"]"#),
        ("rwop", r#"["ReadWriteOncePod"]"#),
        ("all", r#"["ReadWriteMany","ReadOnlyMany","ReadWriteOnce"]"#),
    ] {
        let made = wait_bound(world, name);
        assert_eq!(world.cluster.value(&["pv", &made], "{.spec.accessModes}"), wanted);
    }
    told(world, "odd", "do not go together");
    told(world, "block", "Block is not offered");
    told(world, "chosen", "claim Selector is not supported");
    let capacity = |name: &str| {
        let made = wait_bound(world, name);
        let of_claim = world.cluster.value(&[&format!("pvc/{name}")], "{.status.capacity.storage}");
        assert_eq!(world.cluster.value(&["pv", &made], "{.spec.capacity.storage}"), of_claim);
        of_claim
    };
    assert_eq!(capacity("small"), "1Gi", "the real size");
    told(world, "small", "100Mi was asked for; the smallest volume is 1Gi");
    assert_eq!(capacity("exponent"), "1953125Ki");
    clear(world);
    world.audit(operator, 0);
}

pub fn waiting(world: &World) {
    let operator = world.operator();
    world.topology();
    let late = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"},
        "provisioner": "gluster.bricklayer.dev", "volumeBindingMode": "WaitForFirstConsumer",
        "mountOptions": ["log-level=WARNING"]});
    world.cluster.apply(&late.to_string());
    let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    let clone = json!({"kind": "PersistentVolumeClaim", "name": "base"});
    let hello = json!({"apiGroup": "example.com", "kind": "Hello", "name": "h"});
    bound(world, "base", "gluster", "1Gi");
    apply(
        world,
        &[
            claim("late", json!({"storageClassName": "late"})),
            claim("snapshot", json!({"dataSourceRef": snapshot})),
            claim("clone", json!({"dataSource": clone})),
            claim("populated", json!({"dataSourceRef": hello})),
        ],
    );
    told(world, "snapshot", "VolumeSnapshot \"s\" cannot be used yet");
    told(world, "clone", "PersistentVolumeClaim \"base\" cannot be used yet");
    told(world, "populated", "Assuming an external populator will provision the volume");
    // One that came later is served: the others were looked at, and left alone.
    bound(world, "next", "gluster", "1Gi");
    assert_eq!(world.bound(), 2);
    assert_eq!(world.cluster.run(&["get", "gvol", "-o", "name"]).lines().count(), 2);
    // The scheduler would write this when the first pod comes.
    world.cluster.run(&["annotate", "pvc", "late", "volume.kubernetes.io/selected-node=some-node"]);
    let made = wait_bound(world, "late");
    assert_eq!(world.cluster.value(&["pv", &made], "{.spec.mountOptions[0]}"), "log-level=WARNING");
    assert_eq!(
        world.cluster.value(&["pv", &made], "{.spec.nodeAffinity}"),
        "",
        "it is reached from everywhere"
    );
    clear(world);
    world.audit(operator, 0);
}

const FINALIZERS: &str = "{.metadata.finalizers}";
const OURS: &str = "external-provisioner.volume.kubernetes.io/finalizer";

fn policy(world: &World, volume: &str, policy: &str) {
    let patch = json!({"spec": {"persistentVolumeReclaimPolicy": policy}}).to_string();
    world.cluster.run(&["patch", "pv", volume, "-p", &patch]);
}

fn wait_finalizer(world: &World, volume: &str, is_there: bool) {
    wait_for("our finalizer to follow the policy", 30, || {
        (world.cluster.value(&["pv", volume], FINALIZERS).contains(OURS) == is_there).then_some(())
    });
}

pub fn policy_changed(world: &World) {
    let operator = world.operator();
    world.topology();
    class(world, "keeps", json!({"volumetype": "none"}), "Retain");
    let (one, two) = (bound(world, "one", "gluster", "1Gi"), bound(world, "two", "keeps", "1Gi"));
    wait_finalizer(world, &one, true);
    wait_finalizer(world, &two, false);
    policy(world, &one, "Retain");
    policy(world, &two, "Delete");
    wait_finalizer(world, &one, false);
    wait_finalizer(world, &two, true);
    world.cluster.run(&["delete", "pvc", "one", "two", "--timeout=60s"]);
    wait_for("the volume whose policy says Delete by now to go", 60, || {
        (world.cluster.value(&["gvol", &two], "{.metadata.name}").is_empty()
            && world.cluster.value(&["pv", &two], "{.metadata.name}").is_empty())
        .then_some(())
    });
    assert_eq!(world.cluster.value(&["pv", &one], "{.status.phase}"), "Released");
    // Its PersistentVolume goes, and its data stays, also for an operator that knows nothing of it.
    world.cluster.run(&["delete", "pv", &one, "--timeout=60s"]);
    operator.stop();
    let operator = world.operator();
    bound(world, "next", "gluster", "1Gi");
    assert_eq!(world.cluster.value(&["gvol", &one], "{.metadata.deletionTimestamp}{.status.phase}"), "Ready");
    // A PersistentVolume that is deleted before its claim waits for it, and its volume goes with it.
    let next = world.cluster.value(&["pvc/next"], "{.spec.volumeName}");
    world.cluster.run(&["delete", "pv", &next, "--wait=false"]);
    world.cluster.run(&["delete", "pvc", "next", "--timeout=60s"]);
    wait_for("a volume whose PersistentVolume was deleted first", 60, || {
        world.cluster.value(&["gvol", &next], "{.metadata.name}").is_empty().then_some(())
    });
    world.cluster.run(&["annotate", "gvol", &one, "bricklayer.dev/unguarded=true"]);
    world.cluster.run(&["delete", "gvol", &one, "--timeout=60s"]);
    world.nothing_left();
    world.audit(operator, 0);
}

/// The names are the same, the uids are not: each has a volume of its own, and the old ones go.
pub fn made_again(world: &World) {
    let operator = world.operator();
    world.topology();
    let mut volumes = vec![];
    for _ in 0..10 {
        world.claims(&["again".into()], "gluster", "1Gi");
        volumes.push(format!("pvc-{}", world.cluster.value(&["pvc/again"], "{.metadata.uid}")));
        world.cluster.run(&["delete", "pvc", "again", "--timeout=60s"]);
    }
    let last = bound(world, "again", "gluster", "1Gi");
    assert!(!volumes.contains(&last), "another claim has another volume");
    wait_for("the volumes of the earlier claims to go", 90, || {
        let left = world.cluster.run(&["get", "gvol,pv", "-o", "name"]);
        (left.lines().count() == 2).then_some(())
    });
    clear(world);
    world.audit(operator, 0);
}

/// What was begun for a claim that was bound to another PersistentVolume meanwhile: nobody will ever use it.
pub fn bound_elsewhere(world: &World) {
    let operator = world.operator();
    world.topology();
    let by_hand = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "by-hand"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "gluster",
            "persistentVolumeReclaimPolicy": "Retain", "nfs": {"server": "x", "path": "/"},
            "claimRef": {"namespace": "default", "name": "data"}}});
    apply(world, &[by_hand, claim("data", json!({"volumeName": "by-hand"}))]);
    assert_eq!(wait_bound(world, "data"), "by-hand");
    let uid = world.cluster.value(&["pvc/data"], "{.metadata.uid}");
    let volume = json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterVolume",
        "metadata": {"name": format!("pvc-{uid}")},
        "spec": {"size": "1Gi", "claimRef": {"namespace": "default", "name": "data", "uid": uid}}});
    apply(world, &[volume]);
    world.cluster.run(&["wait", "--for=delete", &format!("gvol/pvc-{uid}"), "--timeout=90s"]);
    world.cluster.run(&["delete", "pvc/data", "pv/by-hand", "--timeout=60s"]);
    clear(world);
    world.audit(operator, 0);
}

/// Whatever refuses the PersistentVolume: the volume that is made for it stays, and it is tried until it
/// is taken.
pub fn persistent_volume_refused(world: &World) {
    let operator = world.operator();
    world.topology();
    let name = "no-persistent-volumes";
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["persistentvolumes"]});
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "reason": "Invalid", "message": "not now"}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    apply(world, &[policy, binding]);
    let probe = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "probe"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "nfs": {"server": "x", "path": "/"}}});
    let path = world.data.path().join("probe.json");
    std::fs::write(&path, probe.to_string()).unwrap();
    wait_for("the policy to be enforced", 60, || {
        let words = ["create", "--dry-run=server", "-f", path.to_str().unwrap()];
        (!world.cluster.try_run(&words).status.success()).then_some(())
    });
    let before = world.cluster.writes().len();
    apply(world, &[claim("data", json!({})), claim("given-up", json!({}))]);
    let refused = || {
        let writes = world.cluster.writes().split_off(before);
        writes.iter().filter(|write| write.what == "create persistentvolumes" && write.status == 422).count()
    };
    wait_for("some refusals", 60, || (refused() >= 5).then_some(()));
    let volumes = world.cluster.value(&["gvol"], "{.items[*].status.phase}");
    assert_eq!(volumes, "Ready Ready", "what may have a PersistentVolume is not deleted");
    assert_eq!(world.bound(), 0);
    // One claim is given up meanwhile: nobody will know of its volume.
    world.cluster.run(&["delete", "pvc", "given-up", "--timeout=60s"]);
    world.cluster.run(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name]);
    wait_bound(world, "data");
    wait_for("the other volume to go", 60, || {
        (world.cluster.run(&["get", "gvol", "-o", "name"]).lines().count() == 1).then_some(())
    });
    clear(world);
    world.audit(operator, 0);
}
