//! The admission policies of the chart, with the operator at work under its service account.

use serde_json::json;

use super::fixture::{Server, wait_for};
use super::{World, life, text, tree};

pub fn hold(world: &World) {
    life::install(world, &[]);
    let cluster = &world.cluster;
    unknown_parameters(world);
    // The expressions fit the kinds: the controller manager has checked them.
    let checked = wait_for("the policies to be checked", 60, || {
        let policies = cluster.run(&["get", "validatingadmissionpolicies", "-o", "json"]);
        let policies: serde_json::Value = serde_json::from_str(&policies).unwrap();
        let policies = policies["items"].as_array().unwrap().clone();
        policies.iter().all(|policy| policy["status"]["observedGeneration"].is_u64()).then_some(policies)
    });
    let warned =
        checked.iter().filter(|policy| !policy["status"]["typeChecking"]["expressionWarnings"].is_null());
    let warned: Vec<String> = warned.map(|policy| policy["status"]["typeChecking"].to_string()).collect();
    assert!(checked.len() >= 5 && warned.is_empty(), "{warned:?}");

    let config = cluster.operator_config();
    let data = world.folder.path().join("data");
    let words = [
        "operator",
        "--listen",
        "127.0.0.1:0",
        "--allow-simulated",
        "--data",
        text(&data),
        "--look-every",
        "2",
    ];
    let env = [("KUBECONFIG", text(&config))];
    let mut operator = Server::start(None, &words, &env, &world.folder.path().join("operator.log"));
    operator.wait_for_output("operator works", 60);
    cluster.run(&["apply", "-f", text(&tree().join("examples/simulated.yaml"))]);
    for kind in ["gdev", "gnode", "gcl"] {
        cluster.run(&["wait", "--for=condition=Ready", kind, "--all", "--timeout=60s"]);
    }
    claims(world, &["used", "kept"]);
    let used = cluster.value(&["pvc/used"], "{.spec.volumeName}");
    let kept = cluster.value(&["pvc/kept"], "{.spec.volumeName}");
    wait_for("volumes and bricks to be counted", 60, || {
        let bricks = cluster.value(&["gdev"], "{.items[*].status.bricks}");
        let bricks: u32 = bricks.split_whitespace().filter_map(|count| count.parse::<u32>().ok()).sum();
        let volumes = cluster.value(&["gcl/trial"], "{.status.counts.volumes}");
        (bricks == 6 && volumes == "2").then_some(())
    });

    let with_bricks = |kind: &str| {
        cluster
            .value(&[kind], "{.items[?(@.status.bricks>0)].metadata.name}")
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    let (device, node) = (with_bricks("gdev"), with_bricks("gnode"));

    for (words, said) in [
        (vec!["delete", "gvol", &used], "it was made for the claim default/used: delete the claim"),
        (vec!["delete", "gvol", "--all"], "it was made for the claim default/"),
        (vec!["delete", "gdev", &device], "(kubectl get gvol -o wide). Delete those volumes first"),
        (vec!["delete", "gnode", &node], "Delete those volumes first"),
        (vec!["delete", "gcl", "trial"], "volumes in it: 2 (kubectl get gvol -o wide). Delete them first"),
        (
            vec![
                "patch",
                "gvol",
                &used,
                "--subresource=status",
                "--type=merge",
                "-p",
                r#"{"status":{"phase":"x"}}"#,
            ],
            "only the operator writes it",
        ),
        (
            vec![
                "patch",
                "gnode",
                "node1",
                "--subresource=status",
                "--type=merge",
                "-p",
                r#"{"status":{"id":null}}"#,
            ],
            "only the operator writes it",
        ),
        (
            vec!["patch", "gvol", &used, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#],
            "the finalizer bricklayer.dev/on-nodes, gluster.bricklayer.dev/claimed keeps the object",
        ),
        (
            vec![
                "patch",
                "gdev",
                &device,
                "--type=json",
                "-p",
                r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
            ],
            "the finalizer bricklayer.dev/on-nodes keeps the object",
        ),
    ] {
        let answer = world.denied(&words);
        assert!(answer.contains(said), "{words:?}: {answer}");
    }
    assert_eq!(cluster.value(&["gvol", &used], "{.metadata.deletionTimestamp}"), "");
    assert_eq!(cluster.value(&["gdev", &device], "{.metadata.deletionTimestamp}"), "");
    // What is not guarded stays as easy as it was.
    cluster.run(&["label", "gvol", &used, "team=storage"]);
    let spare = json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterDevice",
        "metadata": {"name": "spare"}, "spec": {"node": "node4", "path": "/dev/sdd"}});
    cluster.apply(&spare.to_string());
    cluster.run(&["wait", "--for=condition=Ready", "gdev/spare", "--timeout=60s"]);
    cluster.run(&["delete", "gdev", "spare", "--timeout=60s"]);

    // The operator removes the volume of a claim, finalizers and all.
    cluster.run(&["delete", "pvc", "used", "--timeout=60s"]);
    wait_for("the volume of the deleted claim to go", 60, || {
        cluster.value(&["gvol", &used], "{.metadata.name}").is_empty().then_some(())
    });
    // A volume that its policy kept is for a person to remove, in two words.
    cluster.run(&["patch", "pv", &kept, "-p", r#"{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}"#]);
    cluster.run(&["delete", "pvc", "kept", "--timeout=60s"]);
    cluster.run(&["delete", "pv", &kept, "--timeout=60s"]);
    assert!(
        world
            .denied(&["delete", "gvol", &kept])
            .contains("bricklayer.dev/unguarded=true, and delete it again")
    );
    cluster.run(&["annotate", "gvol", &kept, "bricklayer.dev/unguarded=true"]);
    cluster.run(&["delete", "gvol", &kept, "--timeout=60s"]);

    // Nothing is left in use: the topology goes, in whatever order.
    wait_for("the topology to go", 60, || {
        let words = ["delete", "gcl,gnode,gdev", "--all", "--timeout=60s"];
        cluster.try_run(&words).status.success().then_some(())
    });
    operator.stop();
    life::uninstall(world);
}

fn unknown_parameters(world: &World) {
    let class = |name: &str, provisioner: &str, parameters: serde_json::Value| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": provisioner, "parameters": parameters})
    };
    // A policy is enforced a moment after it was made.
    let typo = class("typo", "gluster.bricklayer.dev", json!({"volumtype": "none", "volumetype": "none"}));
    let path = world.file("typo.json", &typo.to_string());
    let answer = wait_for("the policies to be enforced", 60, || {
        let output = world.cluster.try_run(&["create", "-f", text(&path)]);
        if output.status.success() {
            world.cluster.run(&["delete", "storageclass", "typo"]);
            return None;
        }
        Some(String::from_utf8_lossy(&output.stderr).into_owned())
    });
    assert!(answer.contains("unknown StorageClass parameter volumtype; known are: "), "{answer}");
    assert!(answer.contains("volumeoptions, volumetype, zoneChecking"), "{answer}");
    let of_csi = class("csi", "gluster.bricklayer.dev", json!({"csi.storage.k8s.io/fstype": "xfs"}));
    assert!(world.refused(&of_csi).contains("unknown StorageClass parameter csi.storage.k8s.io/fstype"));
    for good in [
        class("good", "gluster.bricklayer.dev", json!({"volumetype": "none"})),
        class("heketi", "gluster.bricklayer.dev", json!({"restURL": "http://x:8080", "VolumeType": "none"})),
        class("other", "example.org/other", json!({"volumtype": "none"})),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "bare"},
            "provisioner": "gluster.bricklayer.dev"}),
    ] {
        world.cluster.apply(&good.to_string());
    }
    world.cluster.run(&["delete", "storageclass", "good", "heketi", "other", "bare"]);
}

fn claims(world: &World, names: &[&str]) {
    for name in names {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "gluster",
                "resources": {"requests": {"storage": "1Gi"}}}});
        world.cluster.apply(&claim.to_string());
    }
    for name in names {
        let claim = format!("pvc/{name}");
        world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", &claim, "--timeout=120s"]);
    }
}
