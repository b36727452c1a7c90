//! The operator on a real API server with simulated nodes: objects applied by kubectl, the process
//! running with its service account's token. `make test` sets it up and runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario fails by panicking")]

#[path = "../fixture/mod.rs"]
mod fixture;

mod access;
mod availability;
mod bulk;
mod claims;
mod classes;
mod csi;
#[path = "../csi_controller/client.rs"]
mod csi_client;
mod expansion;
mod refusals;
mod replicas;
mod rights;
mod topology;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fixture::{BINARY, ControlPlane, Server, run, tree, wait_for};
use serde_json::{Value, json};

/// A control plane with everything applied, and where the operator keeps its simulated nodes.
struct World {
    cluster: ControlPlane,
    kubeconfig: PathBuf,
    data: tempfile::TempDir,
}

fn main() -> ExitCode {
    let cluster = ControlPlane::start(None);
    let kubeconfig = cluster.deploy();
    let world = World { cluster, kubeconfig, data: tempfile::tempdir().unwrap() };
    let ours: &[fixture::Scenario<World>] = &[
        ("the schema explains itself and refuses nonsense", schema),
        ("a topology and a claim, and back", claim_and_back),
        ("a claim that cannot be served says why", refused_claim),
        ("a claim deleted while nobody looks leaves nothing", claim_deleted_unseen),
        ("a volume kept by its policy", retained),
        ("what is in use is not removed", in_use),
        ("fifty claims and a killed operator", fifty_claims),
        ("classes, good and bad", classes::table),
        ("the class is what counts, not the claim", classes::made_anew),
        ("a volume for the kubelets of old", classes::old_source),
        ("access modes and sizes", claims::modes_and_sizes),
        ("claims that wait for others", claims::waiting),
        ("a policy that is changed late wins", claims::policy_changed),
        ("a claim made again at once is another claim", claims::made_again),
        ("a volume whose claim is bound elsewhere is taken back", claims::bound_elsewhere),
        ("a PersistentVolume that is refused for a while", claims::persistent_volume_refused),
        ("a claim grows", expansion::grows),
        ("a claim that cannot grow says why, and may ask for less", expansion::refused),
        ("an interrupted expansion goes on", expansion::interrupted),
        ("claims are left to sidecars where CSI is served", csi::sidecars_instead),
        ("volumes of the provisioner are left to sidecars too", csi::changed_over),
        ("access: volumes let the nodes of the cluster in", access::follows_the_nodes),
        ("access: a mistake is named", access::mistakes),
        ("two hundred claims come in order", bulk::two_hundred),
        ("one namespace does not hold up another", bulk::fair),
        ("claims come and go and the operator dies", bulk::come_and_go),
        ("topology in any order", topology::any_order),
        ("topology of Kubernetes nodes", topology::nodes_of_kubernetes),
        ("topology removals wait and say why", topology::removals_wait),
        ("topology with broken objects", topology::broken_objects),
        ("topology with an edited status", topology::edited_status),
        ("topology in 80 columns", topology::columns),
    ];
    // The last one: its clusters stay.
    let last: &[fixture::Scenario<World>] =
        &[("a refusal names its cause everywhere", refusals::every_cause)];
    fixture::scenarios(&world, &[ours, availability::SCENARIOS, rights::SCENARIOS, last].concat())
}

impl World {
    fn data(&self) -> &str {
        self.data.path().to_str().unwrap()
    }

    fn operator(&self) -> Server {
        self.operator_with(&[])
    }

    fn operator_with(&self, more: &[&str]) -> Server {
        let words = ["operator", "--listen", "127.0.0.1:0", "--allow-simulated", "--data", self.data()];
        let words = [&words[..], more].concat();
        let env = [("KUBECONFIG", self.kubeconfig.to_str().unwrap())];
        let mut operator = Server::start(None, &words, &env, &self.data.path().join("operator.log"));
        // A killed one has not given its lease back: that takes 12 s to run out.
        operator.wait_for_output("operator works", 40);
        operator
    }

    /// Applies the example topology and waits until it takes bricks.
    fn topology(&self) {
        self.example("simulated.yaml");
        for kind in ["gdev", "gnode", "gcl"] {
            self.cluster.run(&["wait", "--for=condition=Ready", kind, "--all", "--timeout=60s"]);
        }
    }

    fn example(&self, name: &str) {
        let path = tree().join("examples").join(name);
        self.cluster.run(&["apply", "-f", path.to_str().unwrap()]);
    }

    fn claims(&self, names: &[String], class: &str, size: &str) {
        let claim = |name: &String| {
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": class,
                    "resources": {"requests": {"storage": size}}}})
        };
        let items: Vec<Value> = names.iter().map(claim).collect();
        self.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    }

    fn bound(&self) -> usize {
        self.cluster.value(&["pvc"], "{.items[*].status.phase}").matches("Bound").count()
    }

    fn nothing_left(&self) {
        wait_for("PersistentVolumes and GlusterVolumes to go", 240, || {
            let left = self.cluster.run(&["get", "pvc,pv,gvol", "-A", "-o", "name"]);
            left.trim().is_empty().then_some(())
        });
    }

    /// Ends the operator and checks that objects and nodes agree on so many bricks.
    fn audit(&self, operator: Server, bricks: usize) {
        operator.stop();
        let verdict = run(Command::new(BINARY)
            .args(["audit", "--kubernetes", "--simulated", "--data", self.data()])
            .env("KUBECONFIG", self.cluster.admin()));
        assert!(verdict.contains(&format!("{bricks} bricks as placed, 0 wrong, 0 unsettled")), "{verdict}");
    }
}

/// What `kubectl` says to an object that it is to refuse.
fn refused(world: &World, object: &Value) -> String {
    let path = world.data.path().join("refused.json");
    std::fs::write(&path, object.to_string()).unwrap();
    let output = world.cluster.try_run(&["apply", "-f", path.to_str().unwrap()]);
    assert!(!output.status.success(), "{object} was taken");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn object(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec})
}

fn schema(world: &World) {
    let ssh = |more: Value| {
        let mut ssh = json!({"key": {"file": "/k"}});
        ssh.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object("GlusterCluster", json!({"transport": {"ssh": ssh}}))
    };
    let both = json!({"transport": {"simulated": {}, "ssh": {"key": {"file": "/k"}, "knownHosts": "x"}}});
    let volume =
        |durability: Value| object("GlusterVolume", json!({"size": "1Gi", "durability": durability}));
    for (object, text) in [
        (object("GlusterCluster", json!({"transport": {}})), "exactly one transport"),
        (object("GlusterCluster", both), "exactly one transport"),
        (ssh(json!({})), "known hosts are required"),
        (volume(json!({"type": "replicate", "replicas": 5})), "replicas: 2 or 3"),
        (volume(json!({"type": "none", "replicas": 2})), "none and disperse take no replicas"),
        (volume(json!({"type": "magic"})), "Unsupported value"),
        (volume(json!({"type": "replicate", "replicas": 2, "arbiter": {}})), "third of three replicas"),
        (volume(json!({"type": "disperse", "data": 2, "redundancy": 2})), "more data than redundancy"),
        (volume(json!({"type": "none", "data": 4})), "take neither"),
        (object("GlusterVolume", json!({"size": "1Gi", "deviceTags": "a b"})), "spec.deviceTags"),
        (object("GlusterVolume", json!({"size": "ten"})), "spec.size"),
        (object("GlusterVolume", json!({"size": "0"})), "at least one byte"),
        (object("GlusterVolume", json!({"size": "1Gi", "name": "a;id"})), "spec.name"),
        (object("GlusterDevice", json!({"node": "n", "path": "/dev/sdb;id"})), "spec.path"),
        (
            object(
                "GlusterNode",
                json!({"cluster": "c", "hostnames": {"manage": ["$(id)"], "storage": ["s"]}}),
            ),
            "spec.hostnames.manage",
        ),
        (object("GlusterNode", json!({"cluster": "c"})), "give hostnames, or kubernetesNode"),
        (
            object("GlusterNode", json!({"cluster": "c", "kubernetesNode": {}})),
            "exactly one is expected: name or matchLabels",
        ),
        (
            object("GlusterCluster", json!({"transport": {"podExec": {"namespace": "n", "selector": {}}}})),
            "matchLabels",
        ),
    ] {
        let answer = refused(world, &object);
        assert!(answer.contains(text), "{object}: {answer}");
    }
    world.cluster.apply(&object("GlusterVolume", json!({"size": "1Gi", "name": "a"})).to_string());
    world.cluster.run(&["annotate", "gvol", "x", "bricklayer.dev/unguarded=true"]);
    let has = r#"{"status": {"size": "1Gi"}}"#;
    world.cluster.run(&["patch", "gvol", "x", "--subresource=status", "--type=merge", "-p", has]);
    for (spec, text) in [
        (json!({"size": "512Mi", "name": "a"}), "volumes do not shrink"),
        (json!({"size": "1Gi", "name": "b"}), "the name cannot change"),
        (json!({"size": "1Gi"}), "cannot be added or taken away"),
    ] {
        let path = ["replace", "--validate=false", "-f", "-"];
        let mut replace = world.cluster.kubectl(&path);
        let changed = object("GlusterVolume", spec).to_string();
        let file = world.data.path().join("changed.json");
        std::fs::write(&file, changed).unwrap();
        let output = replace.stdin(std::fs::File::open(file).unwrap()).output().unwrap();
        let answer = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(answer.contains(text), "{answer}");
    }
    world.cluster.run(&["delete", "gvol", "x"]);
    let explained = world.cluster.run(&["explain", "glustervolume.spec.onRefusal"]);
    assert!(explained.contains("What happens when there is no room"), "{explained}");
}

fn claim_and_back(world: &World) {
    let operator = world.operator();
    world.topology();
    world.example("claim.yaml");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=60s"]);
    let name = world.cluster.value(&["pvc/data"], "{.spec.volumeName}");
    assert_eq!(world.cluster.value(&["gvol", &name], "{.status.transport}"), "SIMULATED");
    let pv = world.cluster.value(&["pv", &name], "{.spec.csi.driver} {.spec.capacity.storage}");
    assert_eq!(pv, "gluster.bricklayer.dev 10Gi");
    let events = world.cluster.run(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
    assert!(events.contains("ProvisioningSucceeded"), "{events}");
    world.audit(operator, 3);
    let operator = world.operator();
    world.cluster.run(&["delete", "pvc", "data", "--timeout=60s"]);
    world.nothing_left();
    world.audit(operator, 0);
}

fn class(world: &World, name: &str, parameters: Value, policy: &str) {
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "gluster.bricklayer.dev", "parameters": parameters, "reclaimPolicy": policy});
    world.cluster.apply(&class.to_string());
}

/// Waits for an event on a claim that has this text.
fn told(world: &World, claim: &str, text: &str) {
    let selector = format!("--field-selector=involvedObject.name={claim}");
    wait_for(&format!("an event on {claim} with {text:?}"), 60, || {
        world.cluster.run(&["get", "events", &selector]).contains(text).then_some(())
    });
}

fn refused_claim(world: &World) {
    let operator = world.operator();
    world.topology();
    class(world, "typo", json!({"volumetype": "replicate:9"}), "Delete");
    world.claims(&["typo".into()], "typo", "1Gi");
    told(world, "typo", "StorageClass parameter volumetype is");
    world.claims(&["huge".into()], "gluster", "3Ti");
    told(world, "huge", "needed nodes have room");
    assert_eq!(world.bound(), 0);
    world.cluster.run(&["delete", "pvc", "--all", "--timeout=60s"]);
    world.nothing_left();
    world.audit(operator, 0);
}

/// The claim is made, its operator dies, the claim is deleted: the volume that nobody knows of goes.
fn claim_deleted_unseen(world: &World) {
    let operator = world.operator();
    world.topology();
    world.claims(&["unseen".into()], "gluster", "3Ti");
    told(world, "unseen", "needed nodes have room");
    operator.kill();
    world.cluster.run(&["delete", "pvc", "unseen", "--timeout=60s"]);
    assert!(world.cluster.run(&["get", "gvol", "-o", "name"]).contains("pvc-"), "the wish is remembered");
    let operator = world.operator();
    world.nothing_left();
    world.audit(operator, 0);
}

fn retained(world: &World) {
    let operator = world.operator();
    world.topology();
    class(world, "kept", json!({"volumetype": "replicate:2"}), "Retain");
    world.claims(&["kept".into()], "kept", "1Gi");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/kept", "--timeout=60s"]);
    let name = world.cluster.value(&["pvc/kept"], "{.spec.volumeName}");
    world.cluster.run(&["delete", "pvc", "kept", "--timeout=60s"]);
    world.cluster.run(&[
        "wait",
        "--for=jsonpath={.status.phase}=Released",
        &format!("pv/{name}"),
        "--timeout=30s",
    ]);
    world.audit(operator, 2);
    let operator = world.operator();
    world.cluster.run(&["delete", "pv", &name, "--timeout=60s"]);
    // A new operator looks at everything anew, and still leaves it alone.
    operator.stop();
    let operator = world.operator();
    world.claims(&["other".into()], "gluster", "1Gi");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/other", "--timeout=60s"]);
    assert!(world.cluster.run(&["get", "gvol", "-o", "name"]).contains(&name), "Retain keeps the data");
    assert_eq!(world.cluster.value(&["gvol", &name], "{.metadata.deletionTimestamp}"), "");
    world.cluster.run(&["delete", "pvc", "other", "--timeout=60s"]);
    world.cluster.run(&["annotate", "gvol", &name, "bricklayer.dev/unguarded=true"]);
    world.cluster.run(&["delete", "gvol", &name, "--timeout=60s"]);
    world.nothing_left();
    world.audit(operator, 0);
}

fn in_use(world: &World) {
    let operator = world.operator();
    world.topology();
    world.claims(&["data".into()], "gluster", "1Gi");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=60s"]);
    // The admission policies would refuse what has volumes (tests/charts); finalizers are what is left
    // when somebody insists.
    world.cluster.run(&["annotate", "gdev,gnode,gcl,gvol", "--all", "bricklayer.dev/unguarded=true"]);
    world.cluster.run(&["delete", "gdev,gnode,gcl,gvol", "--all", "--wait=false"]);
    let name = world.cluster.value(&["pvc/data"], "{.spec.volumeName}");
    told(world, &name, "is in use: delete its claim");
    assert_eq!(world.cluster.value(&["gvol", &name], "{.status.phase}"), "Ready", "its data is untouched");
    for (kind, text) in [("gnode", "is still there, delete it first"), ("gcl", "its removal waits: it has")] {
        wait_for(&format!("a reason why a {kind} stays"), 30, || {
            let reasons = world.cluster.value(&[kind], "{.items[*].status.conditions[*].message}");
            reasons.contains(text).then_some(())
        });
    }
    let devices = world.cluster.run(&["get", "gdev", "-o", "name"]);
    assert_eq!(devices.lines().count(), 3, "devices with bricks stay: {devices}");
    world.cluster.run(&["delete", "pvc", "data", "--timeout=60s"]);
    world.nothing_left();
    wait_for("the topology to go", 60, || {
        world.cluster.run(&["get", "gdev,gnode,gcl", "-o", "name"]).trim().is_empty().then_some(())
    });
    world.audit(operator, 0);
}

fn fifty_claims(world: &World) {
    let operator = world.operator();
    world.topology();
    let names: Vec<String> = (0..50).map(|n| format!("claim-{n}")).collect();
    world.claims(&names, "gluster", "2Gi");
    wait_for("the first volumes", 60, || (world.bound() >= 5).then_some(()));
    operator.kill();
    let operator = world.operator();
    wait_for("all claims to be bound", 120, || (world.bound() == 50).then_some(()));
    world.audit(operator, 150);
    let operator = world.operator();
    world.cluster.run(&["delete", "pvc", "--all", "--wait=false"]);
    wait_for("the first volumes to go", 60, || {
        (world.cluster.run(&["get", "gvol", "-o", "name"]).lines().count() < 45).then_some(())
    });
    operator.kill();
    let operator = world.operator();
    world.nothing_left();
    world.audit(operator, 0);
    assert_logs_are_free_of_panics(&world.data.path().join("operator.log"));
}

fn assert_logs_are_free_of_panics(log: &Path) {
    let text = std::fs::read_to_string(log).unwrap();
    assert!(!text.contains("panicked"), "{text}");
}
