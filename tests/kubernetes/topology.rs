//! Clusters, nodes and devices by `kubectl apply`: any order, nodes of this Kubernetes cluster, what is
//! in use, what is broken, and how it all reads on a terminal.

use super::*;

/// A terminal of the old kind.
const COLUMNS: usize = 80;

/// An operator that looks at nodes and devices every two seconds.
fn operator(world: &World) -> Server {
    let words = [
        "operator",
        "--listen",
        "127.0.0.1:0",
        "--allow-simulated",
        "--look-every",
        "2",
        "--data",
        world.data(),
    ];
    let env = [("KUBECONFIG", world.kubeconfig.to_str().unwrap())];
    let mut operator = Server::start(None, &words, &env, &world.data.path().join("operator.log"));
    operator.wait_for_output("operator works", 60);
    operator
}

fn named(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn apply(world: &World, object: &Value) {
    world.cluster.apply(&object.to_string());
}

/// Waits until a path of an object has this text in it.
fn says(world: &World, what: &[&str], path: &str, text: &str) {
    wait_for(&format!("{text:?} in {path} of {what:?}"), 60, || {
        world.cluster.value(what, path).contains(text).then_some(())
    });
}

/// Waits until the messages of an object's conditions have this text.
fn condition_says(world: &World, kind: &str, name: &str, text: &str) {
    says(world, &[kind, name], "{.status.conditions[*].message}", text);
}

fn ready(world: &World, what: &str) {
    world.cluster.run(&["wait", "--for=condition=Ready", what, "--timeout=60s"]);
}

/// Waits until `kubectl describe` shows this text.
fn described(world: &World, kind: &str, name: &str, text: &str) {
    wait_for(&format!("{text:?} in describe {kind} {name}"), 60, || {
        world.cluster.run(&["describe", kind, name]).contains(text).then_some(())
    });
}

/// Removes all clusters, nodes and devices and waits until they are gone. The admission policies go by
/// counts in status, which follow the last volume by a moment.
fn clear(world: &World) {
    wait_for("everything to be deleted", 90, || {
        let words = ["delete", "gvol,gdev,gnode,gcl", "--all", "--timeout=90s"];
        world.cluster.try_run(&words).status.success().then_some(())
    });
}

/// Deletes what has bricks, as somebody does who insists: finalizers are what is left then.
fn delete_all_the_same(world: &World, kind: &str, name: &str) {
    world.cluster.run(&["annotate", kind, name, "bricklayer.dev/unguarded=true"]);
    world.cluster.run(&["delete", kind, name, "--wait=false"]);
}

pub fn any_order(world: &World) {
    let operator = operator(world);
    apply(world, &named("GlusterDevice", "a-sdb", json!({"node": "a", "path": "/dev/sdb"})));
    condition_says(world, "gdev", "a-sdb", "there is no GlusterNode \"a\": make it");
    let hosts = json!({"manage": ["a.example"], "storage": ["10.9.0.1"]});
    apply(world, &named("GlusterNode", "a", json!({"cluster": "late", "hostnames": hosts})));
    condition_says(world, "gnode", "a", "there is no GlusterCluster \"late\": make it");
    described(world, "gnode", "a", "ClusterMissing");
    apply(world, &named("GlusterCluster", "late", json!({"transport": {"simulated": {}}})));
    for what in ["gnode/a", "gdev/a-sdb", "gcl/late"] {
        ready(world, what);
    }
    described(world, "gnode", "a", "is a member of the trusted pool");
    described(world, "gdev", "a-sdb", "takes bricks");
    // The same machine under another name, and the same disk.
    let hosts = json!({"manage": ["a.example"], "storage": ["10.9.0.2"]});
    apply(world, &named("GlusterNode", "b", json!({"cluster": "late", "hostnames": hosts})));
    condition_says(world, "gnode", "b", "Hostname a.example already used by GlusterNode a");
    apply(world, &named("GlusterDevice", "again", json!({"node": "a", "path": "/dev/sdb"})));
    condition_says(world, "gdev", "again", "/dev/sdb of node a is device a-sdb already");
    world.cluster.run(&["delete", "gnode/b", "gdev/again", "--timeout=60s"]);
    for (edit, text) in [
        (
            json!({"hostnames": {"manage": ["z"], "storage": ["z"]}}),
            "host names are how bricks are addressed",
        ),
        (json!({"hostnames": null}), "give hostnames, or kubernetesNode"),
        (json!({"kubernetesNode": {"name": "k"}}), "kubernetesNode cannot be added"),
        (json!({"cluster": "other"}), "a node cannot move to another cluster"),
    ] {
        let patch = json!({"spec": edit}).to_string();
        let edited = world.cluster.try_run(&["patch", "gnode", "a", "--type=merge", "-p", &patch]);
        let answer = String::from_utf8_lossy(&edited.stderr);
        assert!(!edited.status.success() && answer.contains(text), "{edit}: {answer}");
    }
    assert_eq!(
        world.cluster.value(&["gnode/a"], "{.status.conditions[?(@.type==\"Ready\")].status}"),
        "True"
    );
    clear(world);
    world.audit(operator, 0);
}

/// A Node object as a kubelet makes it.
pub fn machine(world: &World, name: &str, address: &str, labels: Value) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
    apply(world, &node);
    address_of(world, name, address);
}

fn address_of(world: &World, name: &str, address: &str) {
    let status = json!({"status": {"addresses": [
        {"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]}});
    world.cluster.run(&[
        "patch",
        "node",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &status.to_string(),
    ]);
}

pub fn nodes_of_kubernetes(world: &World) {
    let operator = operator(world);
    apply(world, &named("GlusterCluster", "here", json!({"transport": {"simulated": {}}})));
    let labels = json!({"matchLabels": {"storage": "gluster"}});
    apply(world, &named("GlusterNode", "one", json!({"cluster": "here", "kubernetesNode": labels})));
    condition_says(world, "gnode", "one", "no Kubernetes node has the labels storage=gluster");
    let zoned = |zone: &str| json!({"storage": "gluster", "topology.kubernetes.io/zone": zone});
    machine(world, "worker-1", "10.8.0.1", zoned("east"));
    machine(world, "worker-2", "10.8.0.2", zoned("west"));
    // It may have been found while there was one: then it is the first.
    wait_for("a decision about the labels", 60, || {
        let text =
            world.cluster.value(&["gnode/one"], "{.status.conditions[*].message} {.status.kubernetesNode}");
        let two = "2 Kubernetes nodes have the labels storage=gluster, and exactly one is expected: worker-1, worker-2";
        (text.contains(two) || text.contains("worker-1")).then_some(())
    });
    world.cluster.run(&["label", "node", "worker-2", "storage-"]);
    ready(world, "gnode/one");
    let status = |name: &str| {
        let path =
            "{.status.kubernetesNode} {.status.hostnames.storage[0]} {.status.zone} {.status.zoneName}";
        world.cluster.value(&["gnode", name], path)
    };
    assert_eq!(status("one"), "worker-1 10.8.0.1 1 east");
    let by_name = |name: &str| json!({"cluster": "here", "kubernetesNode": {"name": name}});
    apply(world, &named("GlusterNode", "two", by_name("worker-2")));
    ready(world, "gnode/two");
    assert_eq!(status("two"), "worker-2 10.8.0.2 2 west");
    machine(world, "worker-3", "10.8.0.3", zoned("east"));
    let mut third = by_name("worker-3");
    third["zone"] = json!(7);
    apply(world, &named("GlusterNode", "three", third));
    ready(world, "gnode/three");
    assert_eq!(status("three"), "worker-3 10.8.0.3 7 east", "the spec wins");
    apply(world, &named("GlusterNode", "twice", by_name("worker-1")));
    condition_says(world, "gnode", "twice", "already used by GlusterNode one");
    apply(world, &named("GlusterNode", "nowhere", by_name("worker-9")));
    condition_says(world, "gnode", "nowhere", "there is no Kubernetes node \"worker-9\"");
    // Bricks are addressed by what was found first, whatever becomes of the Node.
    address_of(world, "worker-1", "10.8.0.99");
    condition_says(
        world,
        "gnode",
        "one",
        "has the address 10.8.0.99 now, and bricks are addressed by 10.8.0.1",
    );
    described(world, "gnode", "one", "AddressChanged");
    assert_eq!(status("one"), "worker-1 10.8.0.1 1 east");
    address_of(world, "worker-1", "10.8.0.1");
    says(world, &["gnode/one"], "{.status.conditions[?(@.type==\"Located\")].status}", "True");
    world.cluster.run(&["delete", "node", "worker-2"]);
    condition_says(world, "gnode", "two", "there is no Kubernetes node \"worker-2\"");
    clear(world);
    world.cluster.run(&["delete", "node", "worker-1", "worker-3"]);
    world.audit(operator, 0);
}

pub fn removals_wait(world: &World) {
    let operator = operator(world);
    world.topology();
    world.claims(&["held".into()], "gluster", "1Gi");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/held", "--timeout=60s"]);
    let bricks = |kind: &str| world.cluster.value(&[kind], "{.items[*].status.bricks}");
    wait_for("bricks to be counted", 60, || {
        (bricks("gdev").matches('1').count() == 3 && bricks("gnode").matches('1').count() == 3).then_some(())
    });
    says(world, &["gcl/trial"], "{.status.counts.volumes}", "1");
    let of = "{range .items[?(@.status.bricks>0)]}{.metadata.name} {end}";
    let devices = world.cluster.value(&["gdev"], of);
    let device = devices.split_whitespace().next().unwrap();
    let volume = world.cluster.value(&["pvc/held"], "{.spec.volumeName}");
    delete_all_the_same(world, "gdev", device);
    described(world, "gdev", device, &format!("its removal waits: volume {volume} has a brick on it"));
    let node = world.cluster.value(&["gdev", device], "{.spec.node}");
    delete_all_the_same(world, "gnode", &node);
    described(world, "gnode", &node, "is still there, delete it first");
    assert_eq!(world.cluster.value(&["gvol", &volume], "{.status.phase}"), "Ready", "its data is untouched");
    world.cluster.run(&["delete", "pvc", "held", "--timeout=60s"]);
    wait_for("the device to go", 60, || {
        (!world.cluster.try_run(&["get", "gdev", device]).status.success()).then_some(())
    });
    world.nothing_left();
    clear(world);
    world.audit(operator, 0);
}

pub fn broken_objects(world: &World) {
    let first = operator(world);
    world.topology();
    world.claims(&["before".into()], "gluster", "1Gi");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/before", "--timeout=60s"]);
    let before = world.cluster.value(&["pvc/before"], "{.spec.volumeName}");
    let crd = "customresourcedefinition/glustervolumes.bricklayer.dev";
    let loose = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]);
    world.cluster.run(&["patch", crd, "--type=json", "-p", &loose.to_string()]);
    // The API server takes the new schema a moment later.
    let strange = named("GlusterVolume", "strange", json!({"size": "1Gi", "gid": "nobody"}));
    let path = world.data.path().join("strange.json");
    std::fs::write(&path, strange.to_string()).unwrap();
    wait_for("the loose schema", 60, || {
        let tried = world.cluster.try_run(&["create", "--validate=false", "-f", path.to_str().unwrap()]);
        tried.status.success().then_some(())
    });
    let nonsense = json!({"spec": {"gid": "nobody"}}).to_string();
    world.cluster.run(&["patch", "gvol", &before, "--type=merge", "-p", &nonsense]);
    world.cluster.run(&["apply", "-f", tree().join("crds/bricklayer.yaml").to_str().unwrap()]);
    described(world, "gvol", "strange", "GlusterVolume strange is stored and not understood");
    described(world, "gvol", &before, "nothing is done about it until it is mended");
    world.claims(&["beside".into()], "gluster", "1Gi");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/beside", "--timeout=60s"]);
    first.stop();
    let second = operator(world);
    world.claims(&["after".into()], "gluster", "1Gi");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/after", "--timeout=60s"]);
    let output = second.output();
    let address = output.split_once("probes on http://").unwrap().1.split_whitespace().next().unwrap();
    let mut figures = ureq::get(format!("http://{address}/metrics")).call().unwrap();
    let figures = figures.body_mut().read_to_string().unwrap();
    assert!(figures.contains("bricklayer_unreadable_objects{kind=\"GlusterVolume\"} 2"), "{figures}");
    let device = world.cluster.value(&["gdev"], "{.items[0].metadata.name}");
    delete_all_the_same(world, "gdev", &device);
    described(world, "gdev", &device, "its removal waits");
    let mended = json!({"spec": {"gid": 0}}).to_string();
    for name in ["strange", before.as_str()] {
        world.cluster.run(&["patch", "gvol", name, "--type=merge", "-p", &mended]);
    }
    ready(world, "gvol/strange");
    world.cluster.run(&["delete", "pvc", "--all", "--timeout=90s"]);
    world.cluster.run(&["delete", "gvol", "strange", "--timeout=60s"]);
    world.nothing_left();
    clear(world);
    world.audit(second, 0);
}

pub fn edited_status(world: &World) {
    let operator = operator(world);
    world.topology();
    apply(world, &named("GlusterVolume", "data", json!({"size": "1Gi"})));
    ready(world, "gvol/data");
    described(world, "gvol", "data", "clients can mount it");
    let smaller = ["patch", "gvol", "data", "--type=merge", "-p", r#"{"spec": {"size": "512Mi"}}"#];
    let edited = world.cluster.try_run(&smaller);
    assert!(String::from_utf8_lossy(&edited.stderr).contains("volumes do not shrink"), "{edited:?}");
    let bricks = "{.status.placement.bricks[*].id}";
    let placed = world.cluster.value(&["gvol/data"], bricks);
    let edit = |what: &str, status: Value| {
        // Only the operator writes status, unless somebody insists.
        world.cluster.run(&["annotate", what, "bricklayer.dev/unguarded=true"]);
        let patch = json!({"status": status}).to_string();
        world.cluster.run(&["patch", what, "--subresource=status", "--type=merge", "-p", &patch]);
    };
    edit("gvol/data", json!({"conditions": []}));
    edit("gnode/node1", json!({"conditions": [], "peerUuid": null}));
    edit(
        "gdev/node1-sdb",
        json!({"capacity": {"total": "9Ei", "free": "9Ei", "extent": "4Mi"}, "bricks": 77}),
    );
    edit("gcl/trial", json!({"counts": null, "conditions": []}));
    for what in ["gvol/data", "gnode/node1", "gdev/node1-sdb", "gcl/trial"] {
        wait_for(&format!("{what} to be mended"), 60, || {
            let ready = "{.status.conditions[?(@.type==\"Ready\")].status}";
            (world.cluster.value(&[what], ready) == "True").then_some(())
        });
    }
    assert_eq!(world.cluster.value(&["gvol/data"], bricks), placed, "its bricks stay where they are");
    wait_for("the true capacity", 60, || {
        let seen = world.cluster.value(&["gdev/node1-sdb"], "{.status.capacity.total} {.status.bricks}");
        (!seen.starts_with("9Ei") && !seen.ends_with("77")).then_some(())
    });
    says(world, &["gcl/trial"], "{.status.counts.nodes}", "4");
    clear(world);
    world.audit(operator, 0);
}

pub fn columns(world: &World) {
    let operator = operator(world);
    world.topology();
    world.claims(&["wide".into()], "gluster", "1500Gi");
    world.claims(&["data".into()], "gluster", "10Gi");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=60s"]);
    let name = world.cluster.value(&["pvc/data"], "{.spec.volumeName}");
    assert_eq!(name.len(), 40, "{name}");
    for (kind, headers) in [
        ("gcl", "NAME READY TRANSPORT NODES VOLUMES FREE AGE"),
        ("gnode", "NAME ZONE STATE BRICKS READY AGE"),
        ("gdev", "NAME PATH FREE BRICKS READY AGE"),
        ("gvol", "NAME SIZE TYPE READY AGE"),
    ] {
        let table = world.cluster.run(&["get", kind]);
        let widest = table.lines().map(str::len).max().unwrap_or_default();
        assert!(widest <= COLUMNS, "{widest} columns:\n{table}");
        let found: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(found.join(" "), headers);
        let wide = world.cluster.run(&["get", kind, "-o", "wide"]);
        let more = wide.lines().next().unwrap().split_whitespace().count();
        assert!(more > found.len(), "-o wide adds nothing:\n{wide}");
        println!("{table}");
    }
    world.cluster.run(&["delete", "pvc", "--all", "--timeout=60s"]);
    world.nothing_left();
    clear(world);
    world.audit(operator, 0);
}
