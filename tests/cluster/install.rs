//! helm and kubectl as the README says it; upgrades; and what outlives an uninstall.

use serde_json::{Value, json};

use crate::fixture::{tree, wait_for};
use crate::node::PLUGIN;
use crate::world::{NAMESPACE, World, word};

const ACCOUNT: &str = "system:serviceaccount:bricklayer-system:bricklayer-operator";

/// The commands of the README's chapter about installing, as they stand there.
fn readme_commands() -> String {
    let readme = std::fs::read_to_string(tree().join("README.md")).unwrap();
    let (_, chapter) = readme.split_once("## Install in Kubernetes").expect("the README's chapter");
    let (_, block) = chapter.split_once("```sh\n").expect("its commands");
    block.split_once("```").expect("their end").0.to_owned()
}

/// Runs the commands of the README, up to one of them.
pub fn follow_readme(world: &World, before: &str) {
    let commands = readme_commands();
    assert!(commands.contains(before), "no {before:?} in the README: {commands}");
    world.shell(commands.split_once(before).unwrap().0);
}

/// Word for word, and it was the Deployment's pods from our image that did it.
pub fn readme(world: &World) {
    world.shell(&readme_commands());
    let claim = ["pvc/data"];
    assert_eq!(world.cluster.value(&claim, "{.status.phase}"), "Bound");
    assert_eq!(world.cluster.value(&claim, "{.status.capacity.storage}"), "10Gi");
    let volume = world.cluster.value(&claim, "{.spec.volumeName}");

    let pods = wait_for("two pods at work", 120, || {
        let pods = world.operators();
        (pods.len() == 2).then_some(pods)
    });
    for pod in &pods {
        let pod = ["-n", NAMESPACE, "pod", pod.as_str()];
        let version = env!("CARGO_PKG_VERSION");
        let image = world.cluster.value(&pod, "{.status.containerStatuses[0].image}");
        assert!(image.ends_with(&format!("/bricklayer:{version}")), "the pod runs {image}");
        assert_eq!(world.cluster.value(&pod, "{.status.containerStatuses[0].restartCount}"), "0");
        assert_eq!(world.cluster.value(&pod, "{.spec.serviceAccountName}"), "bricklayer-operator");
    }
    let holder = world.holder();
    assert!(pods.contains(&holder), "the Lease is held by {holder:?}, the pods are {pods:?}");

    // Tokens of a pod name their pod: so it is known which one has made the PersistentVolume.
    let creates = wait_for("the create in the audit log", 30, || {
        let mut requests = world.cluster.asked();
        requests.retain(|request| {
            request["verb"] == "create" && request["objectRef"]["resource"] == "persistentvolumes"
        });
        (!requests.is_empty()).then_some(requests)
    });
    assert_eq!(creates.len(), 1, "one PersistentVolume is created once: {creates:?}");
    let user = &creates[0]["user"];
    assert_eq!(creates[0]["objectRef"]["name"], json!(volume));
    assert_eq!(user["username"], json!(ACCOUNT));
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!([holder]));
    assert_eq!(world.cluster.value(&["gvol", &volume], "{.status.transport}"), "ssh");

    let image =
        world.cluster.value(&["-n", PLUGIN, "pod", &world.plugin_pod()], "{.spec.containers[0].image}");
    assert_eq!(image, concat!("bricklayer-node:", env!("CARGO_PKG_VERSION")));
    assert!(world.in_pod("writer", "cat /data/log").contains(":"), "the time is in the volume");

    world.shell("kubectl delete -f examples/pod.yaml -f examples/claim.yaml --timeout=5m");
    world.nothing_left();
    world.no_traces();
    rights_suffice(world);
}

/// The shipped roles are enough: nothing that the operator asked for was forbidden.
fn rights_suffice(world: &World) {
    let forbidden: Vec<Value> = world
        .cluster
        .asked()
        .into_iter()
        .filter(|request| request["responseStatus"]["code"] == 403)
        .collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}

/// Name and uid of every object of ours: what is made anew has another uid.
fn identities(world: &World) -> String {
    let template = "-o=jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
    world.cluster.run(&["get", "gcl,gnode,gdev,gvol,pv,pvc", template])
}

/// A CRD chart with one field more upgrades under the running operator; an uninstall leaves volumes
/// that hold data; a new install takes them over.
pub fn keeps_objects(world: &World) {
    world.installed();
    let (persistent, volume) = world.bound_claim("kept");
    let mounted = world.lab.mount(1, &volume);
    let written = mounted.write("data", 8);
    let before = identities(world);

    let changed = world.file("changed");
    world.shell(&format!("cp -rL charts/bricklayer-crds {}", word(&changed)));
    let templates = changed.join("templates/crds.yaml");
    let kinds = std::fs::read_to_string(&templates).unwrap();
    let anchor = "              onRefusal:\n";
    let (head, tail) = kinds.rsplit_once(anchor).expect("a field of GlusterVolume to write beside");
    let field = "              motto: {maxLength: 64, type: string}\n";
    std::fs::write(&templates, format!("{head}{field}{anchor}{tail}")).unwrap();
    world.shell(&format!("helm upgrade bricklayer-crds {} -n {NAMESPACE}", word(&changed)));
    world.shell(&format!("helm upgrade bricklayer charts/bricklayer -n {NAMESPACE} --wait --timeout 5m"));
    assert_eq!(identities(world), before, "an upgrade keeps every object");
    let motto =
        format!("kubectl patch gvol {persistent} --type=merge -p '{{\"spec\":{{\"motto\":\"steady\"}}}}'");
    wait_for("the new field", 120, || {
        let _ = world.try_shell(&motto);
        (world.cluster.value(&["gvol", &persistent], "{.spec.motto}") == "steady").then_some(())
    });

    // An uninstall takes the roles before the pods have given their Lease back.
    rights_suffice(world);
    world.shell(&format!("helm uninstall bricklayer -n {NAMESPACE} --wait --timeout 5m"));
    world.shell(&format!("helm uninstall bricklayer-crds -n {NAMESPACE} --wait --timeout 5m"));
    wait_for("the operator's pods to go", 120, || world.operators().is_empty().then_some(()));
    assert_eq!(identities(world), before, "an uninstall keeps every object");
    assert_eq!(mounted.checksum("data"), written, "the data is still served");
    mounted.unmount();

    for command in [
        "helm install bricklayer-crds charts/bricklayer-crds",
        "helm install bricklayer charts/bricklayer --wait",
    ] {
        world.shell(&format!("{command} -n {NAMESPACE} --timeout 5m"));
    }
    assert_eq!(identities(world), before, "a new install finds what was there");
    let mounted = world.lab.mount(2, &volume);
    assert_eq!(mounted.checksum("data"), written);
    mounted.unmount();
    world.cluster.run(&["delete", "pvc", "kept", "--timeout=300s"]);
    world.nothing_left();
}
