//! Heketi's REST API as the chart serves it: through the Service, with TLS, with the Secret's keys.

use std::process::Command;

use base64::Engine as _;

use crate::fixture::{run, tree, wait_for};
use crate::world::{NAMESPACE, World, word};

/// A value of a Secret.
fn secret(world: &World, name: &str, path: &str) -> Vec<u8> {
    let value = world.cluster.value(&["-n", NAMESPACE, "secret", name], path);
    base64::engine::general_purpose::STANDARD.decode(value).unwrap()
}

/// The official Python client makes a volume on the storage nodes, and is refused without the key.
pub fn python_client(world: &World) {
    world.installed();
    let before = world.lab.state();
    let serve = "helm upgrade bricklayer charts/bricklayer --reuse-values --set rest.enabled";
    world.shell(&format!("{serve}=true -n {NAMESPACE} --wait --timeout 5m"));
    let key = String::from_utf8(secret(world, "bricklayer-rest-keys", "{.data.admin-key}")).unwrap();
    let authority = world.file("ca.crt");
    std::fs::write(&authority, secret(world, "bricklayer-rest-tls", "{.data.ca\\.crt}")).unwrap();
    let service = ["-n", NAMESPACE, "service/bricklayer-rest"];
    let address = world.cluster.value(&service, "{.spec.clusterIP}");
    wait_for("endpoints of the Service", 120, || {
        let slices = ["-n", NAMESPACE, "endpointslices", "-l", "kubernetes.io/service-name=bricklayer-rest"];
        let ready = world.cluster.value(&slices, "{.items[*].endpoints[*].conditions.ready}");
        (ready == "true true").then_some(())
    });

    // What the cluster's DNS would say, for this one process.
    let name = format!("bricklayer-rest.{NAMESPACE}.svc");
    let hosts = world.file("hosts");
    std::fs::write(&hosts, format!("{address} {name}\n")).unwrap();
    let clients = run(&mut Command::new(tree().join("tests/heketi/clients/build")));
    let python = format!("{}/python/bin/python", clients.trim());
    let script = tree().join("tests/cluster/rest.py");
    let (hosts, script, authority) = (word(&hosts), word(&script), word(&authority));
    let alone =
        "unshare --mount --propagation private bash -c 'mount --bind \"$1\" /etc/hosts; exec \"${@:2}\"' -";
    let said =
        world.shell(&format!("{alone} {hosts} {python} {script} https://{name}:8080 '{key}' {authority}"));
    assert_eq!(said.trim(), "ok");
    assert_eq!(world.lab.state(), before, "the nodes are not as before");
    world.shell(&format!("{serve}=false -n {NAMESPACE} --wait --timeout 5m"));
}
