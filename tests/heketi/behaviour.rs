//! What clients rely on beyond single answers: the life of volumes, nodes and devices over REST.

use std::time::Duration;

use bricklayer::executor::transport::sim::{Fault, Rule};
use bricklayer::resources::{GlusterVolume, GlusterVolumeSpec, PLACED, condition};
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::http::{Answer, ask, finished, job, send};
use crate::server::{LONG, Server, id_in};

fn value(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
    assert!(answer.body.ends_with('\n'));
    serde_json::from_str(&answer.body).unwrap()
}

async fn get(server: &Server, path: &str) -> Value {
    value(&ask(server.address, "GET", path, None).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_lives_and_dies() {
    let server = Server::start(8).await;
    let (cluster, _) = server.furnish(3, 1).await;
    let body = r#"{"size":10,"name":"first","durability":{"type":"replicate","replicate":{"replica":3},"disperse":{"data":4}},
        "snapshot":{"enable":true,"factor":1.5},"gid":2001,"glustervolumeoptions":["performance.cache-size 256MB"],"clusters":[]}"#;
    let accepted = ask(server.address, "POST", "/volumes", Some(body)).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let queue = accepted.headers["location"].clone();
    let made = finished(server.address, &queue).await;
    assert_eq!(made.status, 303);
    let path = made.headers["location"].clone();
    let id = path.strip_prefix("/volumes/").unwrap().to_owned();
    assert_eq!(made.body, format!("<a href=\"{path}\">See Other</a>.\n\n"));

    // The queue can be read again, and by another process.
    assert_eq!(ask(server.address, "GET", &queue, None).await.status, 303);
    assert_eq!(ask(server.other, "GET", &queue, None).await.headers["location"], path);

    let volume = get(&server, &path).await;
    assert_eq!(volume["size"], 10);
    assert_eq!(volume["name"], "first");
    assert_eq!(
        volume["durability"],
        json!({"type": "replicate", "replicate": {"replica": 3}, "disperse": {"data": 4}})
    );
    assert_eq!(volume["gid"], 2001);
    assert_eq!(volume["glustervolumeoptions"], json!(["", "performance.cache-size 256MB", ""]));
    assert_eq!(volume["snapshot"], json!({"enable": true, "factor": 1.5}));
    assert_eq!(
        (volume["cluster"].as_str(), volume["blockinfo"].clone()),
        (Some(cluster.as_str()), json!({}))
    );
    let hosts = volume["mount"]["glusterfs"]["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 3);
    assert_eq!(volume["mount"]["glusterfs"]["device"], format!("{}:first", hosts[0].as_str().unwrap()));
    let bricks = volume["bricks"].as_array().unwrap();
    assert_eq!(bricks.len(), 3);
    assert!(bricks.iter().all(|brick| brick["size"] == 10 * 1024 * 1024 && brick["volume"] == id.as_str()));
    assert!(bricks.is_sorted_by_key(|brick| brick["id"].as_str()));

    // 10 GiB with a pool 1.5 times as large, and its metadata.
    let need = 15 * 1024 * 1024 + (15 * 1024 * 1024 / 200_u64).next_multiple_of(4096);
    let brick = &bricks[0];
    let device = get(&server, &format!("/devices/{}", brick["device"].as_str().unwrap())).await;
    assert_eq!(device["bricks"], json!([brick]));
    assert_eq!(device["storage"]["used"], need);
    let free = device["storage"]["free"].as_u64().unwrap();
    assert_eq!(device["storage"]["total"], free + need);
    let node = get(&server, &format!("/nodes/{}", brick["node"].as_str().unwrap())).await;
    assert_eq!(node["devices"], json!([device]));
    assert_eq!(get(&server, "/volumes").await, json!({"volumes": [id]}));
    assert_eq!(get(&server, &format!("/clusters/{cluster}")).await["volumes"], json!([id]));

    let again = ask(server.address, "POST", "/volumes", Some(r#"{"size":1,"name":"first"}"#)).await;
    assert_eq!(again.body, "Failed to allocate new volume: Volume name 'first' already in use\n");
    assert!(again.headers.contains_key("bricklayer-explanation"), "{again:?}");

    let accepted = ask(server.address, "DELETE", &path, Some("{}")).await;
    assert_eq!(accepted.status, 202);
    assert_eq!(get(&server, "/volumes").await, json!({"volumes": []}), "it is hidden at once");
    let queue = accepted.headers["location"].clone();
    for _ in 0..2 {
        let gone = finished(server.address, &queue).await;
        assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    }
    assert_eq!(ask(server.other, "GET", &queue, None).await.status, 204, "another replica knows it too");
    for (method, path) in [("GET", path.as_str()), ("DELETE", &path)] {
        let unknown = ask(server.address, method, path, None).await;
        assert_eq!((unknown.status, unknown.body.as_str()), (404, "Id not found\n"), "{method}");
    }
    let device = get(&server, &format!("/devices/{}", device["id"].as_str().unwrap())).await;
    assert_eq!(device["storage"]["used"], 0);
    let left = server.sim.snapshot();
    assert!(left.pools.iter().all(|pool| pool.volumes.is_empty()));
    assert!(left.hosts.values().flat_map(|host| &host.vgs).all(|vg| vg.lvs.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_grows() {
    let server = Server::start(1).await;
    server.furnish(3, 1).await;
    let body = r#"{"size":3,"durability":{"type":"replicate","replicate":{"replica":3}}}"#;
    let path = job(server.address, "POST", "/volumes", body).await.headers["location"].clone();
    let expand = format!("{path}/expand");
    server.sim.faults().add(Rule::once("mkfs", Fault::Slow(LONG)));
    let first = ask(server.address, "POST", &expand, Some(r#"{"expand_size":2}"#)).await;
    assert_eq!(first.status, 202, "{first:?}");
    let queue = first.headers["location"].clone();
    let pending = ask(server.address, "GET", &queue, None).await;
    assert_eq!((pending.status, pending.headers["x-pending"].as_str()), (200, "true"));
    let volume = get(&server, &path).await;
    let bricks = |volume: &Value| volume["bricks"].as_array().unwrap().len();
    assert_eq!((&volume["size"], bricks(&volume)), (&json!(3), 3), "what is not done is not shown");
    let busy = ask(server.address, "POST", &expand, Some(r#"{"expand_size":1}"#)).await;
    assert_eq!(busy.status, 429, "{busy:?}");

    // The other process knows of it too, and it can be asked for again.
    server.sim.faults().clear();
    let grown = finished(server.other, &queue).await;
    assert_eq!((grown.status, grown.headers["location"].as_str()), (303, path.as_str()));
    assert_eq!(finished(server.address, &queue).await.status, 303);
    let volume = get(&server, &path).await;
    assert_eq!((&volume["size"], bricks(&volume)), (&json!(5), 6));

    let refused = ask(server.address, "POST", &expand, Some(r#"{"expand_size":3000}"#)).await;
    let text = "Failed to allocate volume expansion: Maximum number of bricks reached.\n";
    assert_eq!((refused.status, refused.body.as_str()), (500, text));
    assert!(refused.headers["bricklayer-explanation"].contains("no room to grow"), "{refused:?}");
    assert_eq!(get(&server, &path).await, volume, "nothing has changed");

    // GlusterFS refuses the bricks: it is taken back, and the queue tells why.
    let refuses = Fault::FailBefore { exit: 1, stderr: "refused by a test".into() };
    server.sim.faults().add(Rule::once("add-brick", refuses));
    let failed = job(server.address, "POST", &expand, r#"{"expand_size":1}"#).await;
    assert_eq!(failed.status, 500, "{failed:?}");
    assert!(failed.body.contains("refused by a test"), "{failed:?}");
    let again = job(server.address, "POST", &expand, r#"{"expand_size":1}"#).await;
    assert_eq!(again.status, 303, "{again:?}");
    assert_eq!(get(&server, &path).await["size"], 6);
    assert_eq!(job(server.address, "DELETE", &path, "").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_volume_says_why_and_leaves_nothing() {
    let server = Server::start(8).await;
    let none = ask(server.address, "POST", "/volumes", Some(r#"{"size":1}"#)).await;
    assert_eq!((none.status, none.body.as_str()), (400, "No clusters configured\n"));
    let (first, _) = server.furnish(1, 1).await;
    let made = ask(server.address, "POST", "/clusters", Some(r#"{"file":true}"#)).await;
    let second = id_in(&made.body);
    let before = server.wishes().await;
    let refused = |body: &'static str| {
        let address = server.address;
        async move {
            let answer = ask(address, "POST", "/volumes", Some(body)).await;
            assert_eq!(answer.status, 500, "{answer:?}");
            answer.body
        }
    };
    let both = refused(r#"{"size":1,"durability":{"type":"replicate"}}"#).await;
    let mut lines = [format!("Cluster {first}: No space"), format!("Cluster {second}: No nodes in cluster")];
    lines.sort();
    let title = "Failed to allocate new volume: Unable to create volume on any cluster:";
    assert_eq!(both, format!("{title}\n{}\n{}\n", lines[0], lines[1]));
    let both = refused(r#"{"size":1,"block":true,"durability":{"type":"replicate"}}"#).await;
    assert!(
        both.contains("No space") && !both.contains("No nodes"),
        "the second takes no block volumes: {both}"
    );
    // Heketi takes an arbiter with any durability, and GlusterFS refuses it then.
    let arbiter = r#"{"size":1,"glustervolumeoptions":["user.heketi.arbiter true"]}"#;
    for path in ["/volumes", "/volumes/plan"] {
        let answer = ask(server.address, "POST", path, Some(arbiter)).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains("an arbiter is the third of three replicas"), "{answer:?}");
    }
    let plan = ask(server.address, "POST", "/volumes/plan", Some(r#"{"size":1}"#)).await;
    let plan: Value = serde_json::from_str(&plan.body).unwrap();
    let brick = |name: &str| plan["bricks"][0][name].clone();
    assert_eq!(
        (&plan["fits"], brick("size"), brick("set")),
        (&json!(true), json!(1 << 20), json!(0)),
        "{plan}"
    );
    assert!(plan["reasons"][0].as_str().unwrap().starts_with("1 set of 1 bricks of 1Gi"), "{plan}");
    let body = r#"{"size":1,"durability":{"type":"replicate"}}"#;
    let plan = ask(server.address, "POST", "/volumes/plan", Some(body)).await;
    let plan: Value = serde_json::from_str(&plan.body).unwrap();
    assert_eq!((&plan["fits"], &plan["bricks"]), (&json!(false), &json!([])), "{plan}");
    assert!(plan["reasons"].to_string().contains("1 of 2 needed nodes"), "{plan}");
    server.unchanged_since(&before).await;
    let made = job(server.address, "POST", "/volumes", r#"{"size":1}"#).await;
    let id = made.headers["location"].rsplit('/').next().unwrap();
    let volume = server.store.get::<GlusterVolume>(id).await.unwrap().unwrap();
    let placed = condition(volume.conditions(), PLACED).unwrap();
    assert!(placed.message.starts_with("1 bricks in cluster "), "{placed:?}");
    assert!(
        placed.message.contains(": 1 set of 1 bricks of 1Gi; on the nodes with the most space"),
        "{placed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_a_time_are_refused() {
    let server = Server::start(1).await;
    server.furnish(1, 1).await;
    server.sim.faults().add(Rule::always("mkfs", Fault::Slow(LONG)));
    let first = ask(server.address, "POST", "/volumes", Some(r#"{"size":1}"#)).await;
    assert_eq!(first.status, 202);
    let pending = ask(server.address, "GET", &first.headers["location"], None).await;
    assert_eq!((pending.status, pending.body.as_str()), (200, ""));
    assert_eq!(pending.headers["x-pending"], "true");
    let id = first.headers["location"].rsplit('/').next().unwrap();
    assert_eq!(ask(server.address, "GET", &format!("/volumes/{id}"), None).await.status, 404);
    let deleted = ask(server.address, "DELETE", &format!("/volumes/{id}"), None).await;
    let text = "Failed to set up volume delete: The target exists, contains other items, or is in use.\n";
    assert_eq!((deleted.status, deleted.body.as_str()), (500, text));

    let wrong = ask(server.address, "POST", "/volumes", Some("{}")).await;
    assert_eq!(wrong.status, 400, "what is wrong is said first");
    let busy = ask(server.address, "POST", "/volumes", Some(r#"{"size":1}"#)).await;
    assert_eq!((busy.status, busy.body.as_str()), (429, "Server busy. Retry operation later.\n"));
    assert_eq!(busy.headers["retry-after"], "5");
    let elsewhere = ask(server.other, "POST", "/volumes", Some(r#"{"size":1}"#)).await;
    assert_eq!(elsewhere.status, 429, "the limit is one for all");

    server.sim.faults().clear();
    assert_eq!(finished(server.address, &first.headers["location"]).await.status, 303);
    assert_eq!(job(server.address, "POST", "/volumes", r#"{"size":1}"#).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_devices_are_given_up_and_removed() {
    let server = Server::start(8).await;
    let (cluster, nodes) = server.furnish(1, 2).await;
    let node = format!("/nodes/{}", nodes[0]);
    let made = job(server.address, "POST", "/volumes", r#"{"size":1}"#).await;
    let volume = get(&server, &made.headers["location"]).await;
    let used = volume["bricks"][0]["device"].as_str().unwrap().to_owned();
    let devices = get(&server, &node).await["devices"].clone();
    let ids: Vec<&str> = devices.as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap()).collect();
    let empty = ids.iter().find(|id| **id != used).unwrap();

    let state = |path: String, state: &'static str| {
        let address = server.address;
        async move {
            let body = format!(r#"{{"state":"{state}"}}"#);
            job(address, "POST", &format!("{path}/state"), &body).await
        }
    };
    for device in [used.as_str(), empty] {
        assert_eq!(state(format!("/devices/{device}"), "offline").await.status, 204);
    }
    // Each byte is on this one brick.
    let refused = state(format!("/devices/{used}"), "failed").await;
    assert_eq!(refused.status, 500);
    assert!(refused.body.contains("nobody else has the data of brick"), "{refused:?}");
    assert_eq!(get(&server, &format!("/devices/{used}")).await["state"], "offline");
    let removed = ask(server.address, "DELETE", &format!("/devices/{used}"), None).await;
    assert_eq!(removed.body, format!("device: {used} is not in failed state\n"));
    assert_eq!(state(format!("/devices/{empty}"), "failed").await.status, 204);
    assert_eq!(get(&server, &format!("/devices/{empty}")).await["state"], "failed");
    assert_eq!(job(server.address, "DELETE", &format!("/devices/{empty}"), "{}").await.status, 204);
    assert_eq!(get(&server, &node).await["devices"].as_array().unwrap().len(), 1);

    assert_eq!(state(node.clone(), "offline").await.status, 204);
    let refused = state(node.clone(), "failed").await;
    let text =
        format!("Unable to remove node [{}] as no device was found to replace device [{used}]", nodes[0]);
    assert!(refused.status == 500 && refused.body.starts_with(&text), "{refused:?}");
    assert_eq!(get(&server, &node).await["state"], "offline");
    let removed = ask(server.address, "DELETE", &node, None).await;
    let text = format!("Unable to delete node [{}] because it contains devices\n", nodes[0]);
    assert_eq!((removed.status, removed.body), (409, text));
    assert_eq!(job(server.address, "DELETE", &made.headers["location"], "").await.status, 204);
    assert_eq!(state(node.clone(), "failed").await.status, 204, "it is empty now");
    assert_eq!(get(&server, &format!("/devices/{used}")).await["state"], "failed");
    assert_eq!(job(server.address, "DELETE", &format!("/devices/{used}"), "").await.status, 204);
    assert_eq!(job(server.address, "DELETE", &node, "").await.status, 204);
    let path = format!("/clusters/{cluster}");
    assert_eq!(ask(server.address, "DELETE", &path, None).await.status, 200);
    assert_eq!(ask(server.address, "GET", &path, None).await.status, 404);
    assert_eq!(get(&server, "/clusters").await, json!({"clusters": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn bricks_of_a_removed_device_move_elsewhere() {
    let server = Server::start(8).await;
    let (_, nodes) = server.furnish(4, 1).await;
    let body = r#"{"size":1,"durability":{"type":"replicate","replicate":{"replica":3}}}"#;
    let made = job(server.address, "POST", "/volumes", body).await;
    let path = made.headers["location"].clone();
    let before = get(&server, &path).await;
    let device = before["bricks"][0]["device"].as_str().unwrap().to_owned();
    let set = async |path: String, state: &str| {
        job(server.address, "POST", &format!("{path}/state"), &format!(r#"{{"state":"{state}"}}"#)).await
    };
    let at = format!("/devices/{device}");
    let early = set(at.clone(), "failed").await;
    assert!(early.status == 500 && early.body.starts_with("Device must be offline"), "{early:?}");
    assert_eq!(set(at.clone(), "offline").await.status, 204);
    server.sim.faults().add(Rule::once("mkfs", Fault::Slow(LONG)));
    let begun = ask(server.address, "POST", &format!("{at}/state"), Some(r#"{"state":"failed"}"#)).await;
    assert_eq!(get(&server, &at).await["state"], "offline", "as long as it is being removed");
    let list = get(&server, "/operations/pending").await;
    assert_eq!(list["pendingoperations"][0]["type_name"], "remove-device", "{list}");
    server.sim.faults().clear();
    assert_eq!(finished(server.address, &begun.headers["location"]).await.status, 204);
    let after = get(&server, &path).await;
    let devices = |volume: &Value| -> Vec<String> {
        volume["bricks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["device"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(devices(&after).len(), 3);
    assert!(!devices(&after).contains(&device), "{after}");
    let empty = get(&server, &at).await;
    assert_eq!((&empty["state"], &empty["bricks"]), (&json!("failed"), &json!([])));
    assert_eq!(job(server.address, "DELETE", &at, "").await.status, 204);

    // Three nodes are left, so a whole node has no other place for its brick.
    let node = after["bricks"][0]["node"].as_str().unwrap().to_owned();
    let at = format!("/nodes/{node}");
    assert_eq!(set(at.clone(), "offline").await.status, 204);
    let refused = set(at.clone(), "failed").await;
    assert!(
        refused.body.starts_with(&format!("Unable to remove node [{node}] as no device was found")),
        "{refused:?}"
    );
    let bare = nodes.iter().find(|id| !after["bricks"].to_string().contains(id.as_str())).unwrap();
    let body = format!(r#"{{"name":"/dev/sdz","node":"{bare}"}}"#);
    assert_eq!(job(server.address, "POST", "/devices", &body).await.status, 204);
    server.sim.faults().add(Rule::once("mkfs", Fault::Slow(LONG)));
    let begun = ask(server.address, "POST", &format!("{at}/state"), Some(r#"{"state":"failed"}"#)).await;
    let list = get(&server, "/operations/pending").await;
    assert_eq!(list["pendingoperations"][0]["type_name"], "remove-device", "with its node: {list}");
    server.sim.faults().clear();
    assert_eq!(finished(server.address, &begun.headers["location"]).await.status, 204);
    let gone = get(&server, &at).await;
    assert_eq!((&gone["state"], &gone["devices"][0]["state"]), (&json!("failed"), &json!("failed")));
    let moved = get(&server, &path).await;
    assert!(!moved["bricks"].to_string().contains(&node), "{moved}");
    let device = gone["devices"][0]["id"].as_str().unwrap();
    assert_eq!(job(server.address, "DELETE", &format!("/devices/{device}"), "").await.status, 204);
    assert_eq!(job(server.address, "DELETE", &at, "").await.status, 204);
}

/// A delete waits for the node to be cleaned; whoever sees that it does not come back can still forget the device.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_waits_for_its_node_can_be_forgotten() {
    let server = Server::start(8).await;
    let (_, nodes) = server.furnish(1, 1).await;
    let node = format!("/nodes/{}", nodes[0]);
    let device = get(&server, &node).await["devices"][0]["id"].as_str().unwrap().to_owned();
    let at = format!("/devices/{device}");
    for state in [r#"{"state":"offline"}"#, r#"{"state":"failed"}"#] {
        assert_eq!(job(server.address, "POST", &format!("{at}/state"), state).await.status, 204);
    }
    server.sim.faults().down("m1");
    let begun = ask(server.address, "DELETE", &at, None).await;
    let pending = ask(server.address, "GET", &begun.headers["location"], None).await;
    assert_eq!(pending.headers.get("x-pending").map(String::as_str), Some("true"), "{pending:?}");
    let again = ask(server.address, "DELETE", &at, None).await;
    assert_eq!(again.status, 404, "it is not shown any more: {again:?}");
    let forgotten = job(server.address, "DELETE", &at, r#"{"forceforget":true}"#).await;
    assert_eq!(forgotten.status, 204, "{forgotten:?}");
    assert_eq!(finished(server.address, &begun.headers["location"]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_somebody_else_made_is_found_by_its_id() {
    let server = Server::start(8).await;
    server.furnish(1, 1).await;
    let spec: GlusterVolumeSpec =
        serde_json::from_value(json!({"size": "1Gi", "durability": {"type": "none"}})).unwrap();
    let object = GlusterVolume::new("from-a-file", spec);
    server.store.all::<GlusterVolume>().create(&PostParams::default(), &object).await.unwrap();
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    let id = loop {
        let list = get(&server, "/volumes").await;
        match list["volumes"][0].as_str() {
            Some(id) => break id.to_owned(),
            None => assert!(tokio::time::Instant::now() < until, "it is not listed"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let volume = get(&server, &format!("/volumes/{id}")).await;
    assert_eq!(volume["name"], format!("vol_{id}"));
    assert_eq!(volume["durability"]["type"], "none");
    assert_eq!(volume["glustervolumeoptions"], json!(["", ""]));
    let path = format!("/volumes/{id}");
    assert_eq!(job(server.address, "DELETE", &path, "").await.status, 204);
    assert_eq!(ask(server.address, "GET", &path, None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_spellings_of_paths_are_answered_as_the_original_does() {
    let server = Server::start(8).await;
    for (path, place) in [("//hello", "/hello"), ("/x/../clusters?a=b", "/clusters?a=b"), ("/./", "/")] {
        let moved = send(server.address, "GET", path, None, None).await;
        assert_eq!((moved.status, moved.body.as_str()), (301, ""), "{path}");
        assert_eq!(moved.headers["location"], place);
    }
    let moved = ask(server.address, "POST", "/clusters/", Some("{}")).await;
    assert_eq!((moved.status, moved.body.as_str()), (301, ""));
    for method in ["HEAD", "OPTIONS", "PUT", "PATCH"] {
        let wrong = ask(server.address, method, "/clusters", None).await;
        assert_eq!((wrong.status, wrong.body.as_str()), (405, ""), "{method}");
        assert!(!wrong.headers.contains_key("allow") && !wrong.headers.contains_key("content-type"));
    }
    let unknown = ask(server.address, "GET", "/clusters/xyz", None).await;
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "Invalid path or request\n"));
    let bad = send(server.address, "GET", "/%zz", None, None).await;
    assert_eq!(bad.status, 400);
    let hello = send(server.address, "GET", "/hello", None, None).await;
    assert_eq!((hello.status, hello.body.as_str()), (200, "Hello from Heketi"));
}
