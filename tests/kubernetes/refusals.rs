//! A volume that has no place is refused with the right cause and numbers, whoever asks: as a claim (its event),
//! as an object (its condition), over REST, and with the command line.

use std::process::Command;

use serde_json::{Value, json};

use super::classes::clear;
use super::{World, class, told, wait_for};
use crate::fixture::{BINARY, Server};

/// A cause: a cluster of its own in which it shows, what is asked for, and what has to be said.
struct Cause {
    name: &'static str,
    /// The spec of the cluster, its nodes as (zone, spec of node), and the spec of their one device each.
    cluster: Value,
    nodes: Vec<(i32, Value)>,
    device: Value,
    /// GiB.
    size: u64,
    /// Parameters of the class, beside the cluster.
    class: Value,
    /// Of a GlusterVolume, beside size and cluster.
    spec: Value,
    /// Words of `volume create`.
    words: Vec<&'static str>,
    /// What Heketi's clients compare; then what explains it.
    leading: &'static str,
    text: String,
}

impl Cause {
    /// Three nodes in three zones with a device of 500 GiB each, and a volume of 10 GiB.
    fn new(name: &'static str, text: &str) -> Self {
        Self {
            name,
            cluster: json!({}),
            nodes: (1..=3).map(|zone| (zone, json!({}))).collect(),
            device: json!({}),
            size: 10,
            class: json!({}),
            spec: json!({}),
            words: vec![],
            leading: "No space",
            text: text.into(),
        }
    }

    /// The objects that it takes.
    fn objects(&self) -> Vec<Value> {
        let object = |kind: &str, name: String, spec: Value| json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let with = |mut one: Value, other: &Value| {
            json_patch::merge(&mut one, other);
            one
        };
        let transport = json!({"transport": {"simulated": {}}});
        let mut objects = vec![object("GlusterCluster", self.name.into(), with(transport, &self.cluster))];
        for (n, (zone, spec)) in self.nodes.iter().enumerate() {
            let name = format!("{}-{n}", self.name);
            let hostnames = json!({"manage": [&name], "storage": [&name]});
            let node = json!({"cluster": self.name, "zone": zone, "hostnames": hostnames});
            objects.push(object("GlusterNode", name.clone(), with(node, spec)));
            let device = json!({"node": &name, "path": "/dev/sdb"});
            objects.push(object("GlusterDevice", name, with(device, &self.device)));
        }
        objects
    }
}

fn causes() -> Vec<Cause> {
    let cause = Cause::new;
    let limits = |limits: Value| json!({"limits": limits});
    let options = |options: &str| json!({"volumeoptions": options});
    vec![
        Cause {
            nodes: vec![(1, json!({})), (2, json!({}))],
            ..cause("nodes", "2 of 3 needed nodes have room for a brick")
        },
        Cause {
            nodes: vec![(1, json!({})), (2, json!({})), (3, json!({"state": "offline"}))],
            ..cause("offline", "offline-2 is set offline; it would fit if node offline-2 took bricks")
        },
        Cause {
            size: 600,
            cluster: limits(json!({"bricksPerVolume": 3})),
            ..cause("full", "full-0 /dev/sdb has 49")
        },
        Cause {
            nodes: vec![(1, json!({})), (1, json!({})), (2, json!({}))],
            class: json!({"zoneChecking": "strict"}),
            spec: json!({"zones": "Strict"}),
            words: vec!["--zones", "strict"],
            ..cause("zones", "2 of 3 needed zones have room for a brick")
        },
        Cause {
            cluster: limits(json!({"bricksPerVolume": 6, "brickMax": "4Gi"})),
            ..cause("count", "takes at least 9 bricks of at most 4Gi, and the volume may have 6")
        },
        Cause {
            cluster: limits(json!({"volumes": 0})),
            leading: "Cluster has 0 volumes and limit is 0",
            ..cause("limit", "cluster limit: has 0 volumes and may have 0")
        },
        Cause {
            device: json!({"tags": {"arbiter": "disabled"}}),
            class: options("user.heketi.arbiter true"),
            spec: json!({"durability": {"type": "replicate", "replicas": 3, "arbiter": {}}}),
            words: vec!["--arbiter"],
            ..cause("arbiter", "0 nodes have a device for an arbiter brick of 320Mi")
        },
        Cause {
            device: json!({"tags": {"disk": "hdd"}}),
            class: json!({"deviceTags": "disk=ssd"}),
            spec: json!({"deviceTags": "disk=ssd"}),
            words: vec!["--device-tags", "disk=ssd"],
            ..cause("tags", "tags-0 /dev/sdb has the tag disk=hdd (disk=ssd is asked for)")
        },
        Cause {
            device: json!({"state": "failed"}),
            leading: "No online storage devices in cluster",
            ..cause("failed", "failed-0 /dev/sdb is set failed")
        },
        Cause {
            cluster: json!({"file": false, "block": true}),
            leading: "Cluster does not support requested volume type",
            ..cause("kind", "cluster kind: takes no file volumes")
        },
    ]
}

pub fn every_cause(world: &World) {
    let mut operator = world.operator_with(&["--rest-listen", "127.0.0.1:0", "--disable-auth"]);
    let server = rest_of(&mut operator);
    let causes = causes();
    made_ready(world, &causes);
    for cause in &causes {
        as_claim(world, cause);
        as_object(world, cause);
    }
    for cause in &causes {
        told(world, cause.name, &cause.text);
        let says =
            |what: &str| world.cluster.value(&[what], "{.status.conditions[?(@.type==\"Placed\")].message}");
        let object = format!("gvol/{}-object", cause.name);
        wait_for(&object, 60, || says(&object).contains(&cause.text).then_some(()));
        over_rest(world, cause, &server);
    }
    of_heketi_alone(world, &server);
    world.cluster.run(&["delete", "pvc", "--all", "--timeout=60s"]);
    world.cluster.run(&["delete", "gvol", "--all", "--timeout=60s"]);
    // A volume goes when its bricks were seen to be gone. Nodes of other scenarios cannot be looked at any more.
    clear(world);
    operator.stop();
}

/// Makes the objects of causes, and waits until theirs are Ready: other scenarios have left nodes that nobody answers for.
fn made_ready(world: &World, causes: &[Cause]) {
    let objects: Vec<Value> = causes.iter().flat_map(Cause::objects).collect();
    let names: Vec<String> = objects
        .iter()
        .map(|o| format!("{}/{}", o["kind"].as_str().unwrap(), o["metadata"]["name"].as_str().unwrap()))
        .collect();
    world.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
    let names = names.iter().map(String::as_str);
    let words: Vec<&str> =
        ["wait", "--for=condition=Ready", "--timeout=90s"].into_iter().chain(names).collect();
    world.cluster.run(&words);
}

/// Where an operator serves REST.
fn rest_of(operator: &mut Server) -> String {
    let output = operator.wait_for_output("Heketi's REST on", 30);
    let (_, url) = output.split_once("Heketi's REST on ").unwrap();
    url.split_whitespace().next().unwrap().to_owned()
}

fn as_claim(world: &World, cause: &Cause) {
    let mut parameters = json!({"clusters": cause.name});
    json_patch::merge(&mut parameters, &cause.class);
    let class_name = format!("refusal-{}", cause.name);
    class(world, &class_name, parameters, "Delete");
    world.claims(&[cause.name.into()], &class_name, &format!("{}Gi", cause.size));
}

fn as_object(world: &World, cause: &Cause) {
    let mut spec = json!({"size": format!("{}Gi", cause.size), "clusters": [cause.name]});
    json_patch::merge(&mut spec, &cause.spec);
    let volume = json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterVolume",
        "metadata": {"name": format!("{}-object", cause.name)}, "spec": spec});
    world.cluster.apply(&volume.to_string());
}

/// Runs `volume <verb>` and gives back what it complained about.
fn complained(server: &str, verb: &str, words: &[&str]) -> String {
    let output =
        Command::new(BINARY).args(["volume", verb, "--server", server]).args(words).output().unwrap();
    assert!(!output.status.success(), "{verb} {words:?} was taken");
    String::from_utf8(output.stderr).unwrap()
}

/// The command line shows the answer's text, which begins as Heketi's does, and its explanation.
fn over_rest(world: &World, cause: &Cause, server: &str) {
    let id = world.cluster.value(&["gcl", cause.name], "{.status.id}");
    let size = cause.size.to_string();
    let words = [&["--size", &size, "--clusters", &id][..], &cause.words].concat();
    let text = complained(server, "create", &words);
    let leading = format!("Failed to allocate new volume: {}", cause.leading);
    assert!(text.contains(&leading) && text.contains(&cause.text), "{}: {text}", cause.name);
    let planned = complained(server, "plan", &words);
    assert!(planned.contains(&cause.text), "{}: {planned}", cause.name);
}

/// What no claim can meet: its bricks are never too small, and its volume's name is its own.
fn of_heketi_alone(world: &World, server: &str) {
    let small = Cause {
        cluster: json!({"limits": {"brickMin": "20Gi"}}),
        ..Cause::new("small", "10Gi gives bricks of 10Gi, and the smallest brick allowed is 20Gi")
    };
    let name = Cause {
        leading: "Volume name 'taken' already in use",
        words: vec!["--name", "taken"],
        ..Cause::new("name", "cluster name: has a volume named \"taken\" already")
    };
    let both = [small, name];
    made_ready(world, &both);
    let [small, name] = both;
    let id = world.cluster.value(&["gcl", "name"], "{.status.id}");
    let made = Command::new(BINARY)
        .args(["volume", "create", "--server", server, "--size", "1", "--name", "taken", "--clusters", &id])
        .status();
    assert!(made.unwrap().success());
    for (cause, spec) in [(small, json!({"sizing": "Bricks"})), (name, json!({"name": "taken"}))] {
        over_rest(world, &cause, server);
        let cause = Cause { spec, ..cause };
        as_object(world, &cause);
        let object = format!("gvol/{}-object", cause.name);
        wait_for(&object, 60, || {
            let path = "{.status.conditions[?(@.type==\"Placed\")].message}";
            world.cluster.value(&[&object], path).contains(&cause.text).then_some(())
        });
        told(world, &format!("{}-object", cause.name), &cause.text);
    }
}
