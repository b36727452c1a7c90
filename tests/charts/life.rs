//! Install, upgrade, uninstall, and install again.

use std::process::Command;

use serde_json::{Value, json};

use super::{NAMESPACE, World, chart, run, text, tree};

const KINDS: [&str; 4] = ["glusterclusters", "glusternodes", "glusterdevices", "glustervolumes"];

pub fn install(world: &World, words: &[&str]) {
    world.helm_run(&["install", "bricklayer-crds", &chart("bricklayer-crds")]);
    world.cluster.wait_for_kinds();
    let operator = chart("bricklayer");
    let install = ["install", "bricklayer", operator.as_str()];
    world.helm_run(&install.iter().chain(words).copied().collect::<Vec<_>>());
}

pub fn uninstall(world: &World) {
    world.helm_run(&["uninstall", "bricklayer", "--wait"]);
    world.helm_run(&["uninstall", "bricklayer-crds", "--wait"]);
}

/// Name and uid of every object of ours, and of the kinds themselves: what is made anew has another uid.
fn identities(world: &World) -> String {
    let template = "{range .items[*]}{.kind} {.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
    let output = format!("-o=jsonpath={template}");
    let kinds = world.cluster.run(&["get", &KINDS.join(","), &output]);
    let names = KINDS.map(|kind| format!("crd/{kind}.bricklayer.dev"));
    let words: Vec<&str> = ["get"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let crds = world.cluster.run(&[&words[..], &[&output]].concat());
    kinds + &crds
}

pub fn whole(world: &World) {
    install(world, &[]);
    let topology = tree().join("examples/topology.yaml");
    world.cluster.run(&["apply", "-f", text(&topology)]);
    let volume = |spec: Value| {
        json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterVolume",
            "metadata": {"name": "kept"}, "spec": spec})
    };
    world.cluster.apply(&volume(json!({"size": "1Gi"})).to_string());
    let before = identities(world);
    assert_eq!(
        before.lines().count(),
        12,
        "a cluster, three nodes, three devices, a volume, four kinds: {before}"
    );
    assert!(
        world.refused(&volume(json!({"size": "1Gi", "motto": "x"}))).contains("unknown field \"spec.motto\"")
    );

    // The next version has one field more; helm upgrades the kind, since it is a template.
    let changed = world.folder.path().join("changed");
    run(Command::new("cp").arg("-r").arg(chart("bricklayer-crds")).arg(&changed));
    let templates = changed.join("templates/crds.yaml");
    let kinds = std::fs::read_to_string(&templates).unwrap();
    let anchor = "              onRefusal:\n";
    let (head, tail) = kinds.rsplit_once(anchor).expect("a field of GlusterVolume to write beside");
    let field = "              motto: {maxLength: 64, type: string}\n";
    std::fs::write(&templates, format!("{head}{field}{anchor}{tail}")).unwrap();
    world.helm_run(&["upgrade", "bricklayer-crds", text(&changed)]);
    world.helm_run(&["upgrade", "bricklayer", &chart("bricklayer"), "--set", "replicas=3"]);
    assert_eq!(identities(world), before, "an upgrade keeps every object");
    // The API server needs a moment to serve the new schema.
    let with_motto = world.file("motto.json", &volume(json!({"size": "1Gi", "motto": "steady"})).to_string());
    super::fixture::wait_for("the new field", 30, || {
        world.cluster.try_run(&["apply", "-f", text(&with_motto)]).status.success().then_some(())
    });
    assert_eq!(world.cluster.value(&["gvol/kept"], "{.spec.motto}"), "steady");

    uninstall(world);
    assert_eq!(identities(world), before, "an uninstall keeps the kinds and every object");
    assert_eq!(world.cluster.value(&["gvol/kept"], "{.spec.motto}"), "steady");
    let left =
        world.cluster.run(&["-n", NAMESPACE, "get", "deployment,service,pdb,role,rolebinding", "-o", "name"]);
    assert_eq!(left.trim(), "", "the operator itself is gone");
    let daemons = ["-n", "bricklayer-node", "get", "daemonset,serviceaccount", "-o", "name"];
    assert_eq!(world.cluster.run(&daemons).trim(), "serviceaccount/default", "and so is the node plugin");
    assert_eq!(world.cluster.run(&["get", "csidriver", "-o", "name"]).trim(), "");
    let policies = world.cluster.run(&["get", "validatingadmissionpolicies", "-o", "name"]);
    assert!(
        !policies.contains("/bricklayer-"),
        "no policy holds up an administrator without an operator: {policies}"
    );

    install(world, &[]);
    assert_eq!(identities(world), before, "a new install finds what was there");
    world.cluster.run(&["delete", "gvol/kept"]);
    world.cluster.run(&["delete", "-f", text(&topology)]);
    uninstall(world);
}

/// Keys and certificate are made once. An upgrade or a new install that changed them would lock out every
/// client.
pub fn secrets(world: &World) {
    let data = || {
        let both = ["secret/bricklayer-rest-keys", "secret/bricklayer-rest-tls"];
        let list = world.cluster.run(&["-n", NAMESPACE, "get", both[0], both[1], "-o", "json"]);
        let list: Value = serde_json::from_str(&list).unwrap();
        [list["items"][0]["data"].clone(), list["items"][1]["data"].clone()]
    };
    install(world, &["--set", "rest.enabled=true"]);
    let made = data();
    for (secret, key) in [(0, "admin-key"), (0, "user-key"), (1, "ca.crt"), (1, "tls.crt"), (1, "tls.key")] {
        assert!(made[secret][key].as_str().is_some_and(|text| text.len() > 40), "{key}");
    }
    assert_ne!(made[0]["admin-key"], made[0]["user-key"]);
    certificate_is_good(world, &made[1]);
    world.helm_run(&["upgrade", "bricklayer", &chart("bricklayer"), "--set", "rest.enabled=true,replicas=3"]);
    assert_eq!(data(), made, "an upgrade keeps them");
    uninstall(world);
    assert_eq!(data(), made, "an uninstall keeps them");
    install(world, &["--set", "rest.enabled=true"]);
    assert_eq!(data(), made, "a new install finds them");
    uninstall(world);
    world.cluster.run(&["-n", NAMESPACE, "delete", "secret", "bricklayer-rest-keys", "bricklayer-rest-tls"]);
    // Secrets of the administrator's own are used, and none is made.
    install(
        world,
        &["--set", "rest.enabled=true,rest.auth.existingSecret=mine,rest.tls.existingSecret=cert"],
    );
    let secrets = world.cluster.run(&["-n", NAMESPACE, "get", "secrets", "-o", "name"]);
    assert!(!secrets.contains("secret/bricklayer-rest"), "{secrets}");
    let pod = world.cluster.run(&["-n", NAMESPACE, "get", "deployment/bricklayer-operator", "-o", "json"]);
    assert!(pod.contains("\"mine\"") && pod.contains("\"cert\""), "{pod}");
    uninstall(world);
}

/// What clients trust has signed what the server shows, for the names of the Service.
fn certificate_is_good(world: &World, data: &Value) {
    use base64::Engine as _;
    let write = |key: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data[key].as_str().unwrap()).unwrap();
        world.file(key, std::str::from_utf8(&bytes).unwrap())
    };
    let (ca, cert) = (write("ca.crt"), write("tls.crt"));
    for host in [
        "bricklayer-rest",
        "bricklayer-rest.bricklayer-system.svc",
        "bricklayer-rest.bricklayer-system.svc.cluster.local",
    ] {
        let verify =
            ["verify", "-purpose", "sslserver", "-verify_hostname", host, "-CAfile", text(&ca), text(&cert)];
        run(Command::new("openssl").args(verify));
    }
}
