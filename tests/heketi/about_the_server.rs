//! The routes about the server itself, while something is under way and afterwards.

use bricklayer::executor::transport::sim::{Fault, Rule};
use serde_json::{Value, json};

use crate::http::{Answer, ask, finished, job};
use crate::server::{LONG, Server};

async fn get(server: &Server, path: &str) -> Value {
    let answer = ask(server.address, "GET", path, None).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

async fn set_mode(server: &Server, mode: &str) -> Answer {
    ask(server.address, "POST", "/admin", Some(&format!(r#"{{"state":"{mode}"}}"#))).await
}

/// A volume that takes some seconds: its id and its place in the queue.
async fn slow_volume(server: &Server, body: &str) -> (String, String) {
    server.sim.faults().add(Rule::always("mkfs", Fault::Slow(LONG)));
    let made = ask(server.address, "POST", "/volumes", Some(body)).await;
    assert_eq!(made.status, 202, "{made:?}");
    let queue = made.headers["location"].clone();
    (queue.rsplit('/').next().unwrap().to_owned(), queue)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_told_until_it_is_done() {
    let server = Server::start(8).await;
    server.furnish(2, 1).await;
    let body = r#"{"size":1,"durability":{"type":"replicate","replicate":{"replica":2}}}"#;
    let (volume, queue) = slow_volume(&server, body).await;
    let wanted = json!({"total": 1, "in_flight": 1, "stale": 0, "failed": 0, "new": 1});
    assert_eq!(get(&server, "/operations").await, wanted);
    let list = get(&server, "/operations/pending").await;
    let [one] = list["pendingoperations"].as_array().unwrap().as_slice() else { panic!("{list}") };
    let id = one["id"].as_str().unwrap().to_owned();
    assert_ne!(id, volume);
    assert_eq!(
        *one,
        json!({"id": id, "type_name": "create-volume", "status": "", "sub_status": "in-flight"})
    );
    let details = get(&server, &format!("/operations/pending/{id}")).await;
    let changes = details["changes"].as_array().unwrap();
    let told: Vec<&str> = changes.iter().map(|change| change["description"].as_str().unwrap()).collect();
    assert_eq!(told, ["Add brick", "Add brick", "Add volume"], "{details}");
    assert_eq!(changes[2]["id"], volume.as_str());
    assert_eq!(
        (details["type_name"].as_str(), details["sub_status"].as_str()),
        (Some("create-volume"), Some(""))
    );

    let dump = get(&server, "/db/dump").await;
    assert_eq!(dump["volumeentries"][&volume]["Pending"]["Id"], id.as_str());
    let pending = &dump["pendingoperations"][&id];
    assert_eq!((&pending["Type"], pending["Actions"].as_array().unwrap().len()), (&json!(1), 3), "{pending}");
    for brick in dump["brickentries"].as_object().unwrap().values() {
        assert_eq!(brick["Pending"]["Id"], id.as_str());
    }
    let check = get(&server, "/db/check").await;
    assert_eq!(
        (&check["bricks"]["pending"], &check["totalinconsistencies"]),
        (&json!(2), &json!(0)),
        "{check}"
    );

    server.sim.faults().clear();
    assert_eq!(finished(server.address, &queue).await.status, 303);
    assert_eq!(get(&server, "/operations").await["total"], 0);
    let gone = ask(server.address, "GET", &format!("/operations/pending/{id}"), None).await;
    assert_eq!((gone.status, gone.body), (404, format!("Id not found: {id}\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expansion_and_a_delete_are_operations_too() {
    let server = Server::start(8).await;
    server.furnish(1, 2).await;
    let made = job(server.address, "POST", "/volumes", r#"{"size":1}"#).await;
    let path = made.headers["location"].clone();
    server.sim.faults().add(Rule::always("mkfs", Fault::Slow(LONG)));
    let grows = ask(server.address, "POST", &format!("{path}/expand"), Some(r#"{"expand_size":2}"#)).await;
    let dump = get(&server, "/db/dump").await;
    let all: Vec<&Value> = dump["pendingoperations"].as_object().unwrap().values().collect();
    let [one] = all[..] else { panic!("{dump}") };
    assert_eq!(one["Type"], 3);
    let actions = one["Actions"].as_array().unwrap();
    let grown = actions.iter().find(|action| action["Change"] == 5).unwrap();
    assert_eq!(grown["Delta"], 2, "{one}");
    assert!(actions.iter().any(|action| action["Change"] == 1 && action["Delta"].is_null()), "{one}");
    server.sim.faults().clear();
    assert_eq!(finished(server.address, &grows.headers["location"]).await.status, 303);

    server.sim.faults().add(Rule::always("lvremove", Fault::Slow(LONG)));
    let goes = ask(server.address, "DELETE", &path, None).await;
    let list = get(&server, "/operations/pending").await;
    assert_eq!(list["pendingoperations"][0]["type_name"], "delete-volume", "{list}");
    server.sim.faults().clear();
    assert_eq!(finished(server.address, &goes.headers["location"]).await.status, 204);
    assert_eq!(get(&server, "/operations/pending").await, json!({"pendingoperations": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_up_takes_ids_and_nothing_else() {
    let server = Server::start(8).await;
    let clean = async |body: &str| job(server.address, "POST", "/operations/pending/cleanup", body).await;
    let id = "0".repeat(32);
    assert_eq!(clean("{}").await.status, 204);
    assert_eq!(clean(&json!({"operations": [&id]}).to_string()).await.status, 204);
    let clean =
        async |body: &str| ask(server.address, "POST", "/operations/pending/cleanup", Some(body)).await;
    let bad = clean(r#"{"operations":["x"]}"#).await;
    assert_eq!(
        (bad.status, bad.body.as_str()),
        (400, "validation failed: operations: x is not a valid UUID.\n")
    );
    let many = clean(&json!({"operations": vec![id; 33]}).to_string()).await;
    let text = "validation failed: operations: too many ids specified (33), up to 32 supported.\n";
    assert_eq!((many.status, many.body.as_str()), (400, text));
    assert_eq!(clean("[").await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_counts_for_all_replicas_and_only_for_changes() {
    let server = Server::start(8).await;
    assert_eq!(get(&server, "/admin").await, json!({"state": "normal"}));
    assert_eq!(set_mode(&server, "local-client").await.status, 204);
    assert_eq!(
        ask(server.other, "POST", "/clusters", Some("{}")).await.status,
        201,
        "it comes from 127.0.0.1"
    );
    for (body, text) in [
        ("{}", "validation failed: state: cannot be blank.\n"),
        (r#"{"state":"x"}"#, "validation failed: state: must be a valid value.\n"),
    ] {
        let bad = ask(server.address, "POST", "/admin", Some(body)).await;
        assert_eq!((bad.status, bad.body.as_str()), (400, text));
    }
    for body in ["", "{", r#"{"state":1}"#] {
        let bad = ask(server.address, "POST", "/admin", Some(body)).await;
        assert!(bad.status == 400 && bad.body.starts_with("request unable to be parsed: "), "{bad:?}");
    }
    assert_eq!(set_mode(&server, "read-only").await.status, 204);
    let before = server.wishes().await;
    for (method, path, body) in [
        ("POST", "/clusters", "{}"),
        ("POST", "/volumes", "not even JSON"),
        ("DELETE", "/nodes/0", ""),
        ("POST", "/nothing", ""),
        ("POST", "/admin", r#"{"state":"normal"}"#),
    ] {
        let refused = ask(server.other, method, path, Some(body)).await;
        let wanted = (503, "Service disabled for maintenance\n");
        assert_eq!((refused.status, refused.body.as_str()), wanted, "{method} {path}");
    }
    server.unchanged_since(&before).await;
    for path in ["/clusters", "/volumes", "/admin", "/operations", "/db/dump", "/internal/logging"] {
        assert_eq!(ask(server.other, "GET", path, None).await.status, 200, "{path}");
    }
    let hello = ask(server.other, "GET", "/hello", None).await;
    assert_eq!(hello.body, "Hello from Heketi");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_for_block_volumes_is_locked_and_unlocked() {
    let server = Server::start(8).await;
    server.furnish(1, 1).await;
    let body = r#"{"size":101,"block":true,"glustervolumeoptions":["performance.io-cache off"]}"#;
    let made = job(server.address, "POST", "/volumes", body).await;
    let path = made.headers["location"].clone();
    let volume = get(&server, &path).await;
    assert_eq!(volume["blockinfo"], json!({"freesize": 98, "reservedsize": 3}));
    let options = json!(["", "group gluster-block", "performance.io-cache off", ""]);
    assert_eq!((&volume["block"], &volume["glustervolumeoptions"]), (&json!(true), &options));
    for (word, shown) in [("locked", json!("locked")), ("", Value::Null)] {
        let body = format!(r#"{{"restriction":"{word}"}}"#);
        let done = job(server.address, "POST", &format!("{path}/block-restriction"), &body).await;
        assert_eq!((done.status, done.headers["location"].as_str()), (303, path.as_str()), "{done:?}");
        assert_eq!(get(&server, &path).await["blockinfo"]["restriction"], shown);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_asks_the_node_again() {
    let server = Server::start(8).await;
    server.furnish(1, 1).await;
    let node = get(&server, "/clusters").await["clusters"][0].as_str().unwrap().to_owned();
    let node = get(&server, &format!("/clusters/{node}")).await["nodes"][0].as_str().unwrap().to_owned();
    let device =
        get(&server, &format!("/nodes/{node}")).await["devices"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/devices/{device}/resync");
    let begun = ask(server.address, "GET", &path, None).await;
    assert_eq!((begun.status, begun.headers["content-type"].as_str()), (202, "text/html; charset=utf-8"));
    assert_eq!(finished(server.address, &begun.headers["location"]).await.status, 204);
    server
        .sim
        .faults()
        .add(Rule::always("vgs", Fault::FailBefore { exit: 5, stderr: "vgs: it burns".into() }));
    let begun = ask(server.address, "GET", &path, None).await;
    let failed = finished(server.address, &begun.headers["location"]).await;
    assert!(failed.status == 500 && failed.body.contains("vgs: it burns"), "{failed:?}");
    server.sim.faults().clear();
    let begun = ask(server.address, "GET", &path, None).await;
    assert_eq!(finished(server.address, &begun.headers["location"]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_tell_what_there_is() {
    let server = Server::start(8).await;
    let (cluster, _) = server.furnish(2, 2).await;
    let made = job(server.address, "POST", "/volumes", r#"{"size":1}"#).await;
    assert_eq!(made.status, 303);
    let answer = crate::http::send(server.address, "GET", "/metrics", None, None).await;
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "heketi_up 1".to_owned(),
        "heketi_cluster_count 1".to_owned(),
        format!(r#"heketi_volumes_count{{cluster="{cluster}"}} 1"#),
        format!(r#"heketi_block_volumes_count{{cluster="{cluster}"}} 0"#),
        format!(r#"heketi_nodes_count{{cluster="{cluster}"}} 2"#),
        format!(r#"heketi_device_count{{cluster="{cluster}",hostname="m1",storage_hostname="10.0.0.1"}} 2"#),
        "heketi_operations_total_count 0".to_owned(),
        "heketi_operations_inFlight_count 0".to_owned(),
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line} in {}", answer.body);
    }
    let sum = |name: &str| -> u64 {
        let lines = answer.body.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    assert_eq!(sum("heketi_device_brick_count"), 1);
    assert_eq!(sum("heketi_device_size"), sum("heketi_device_free") + sum("heketi_device_used"));
    assert_eq!(sum("heketi_device_used_bytes"), sum("heketi_device_used") * 1024);
    assert!(sum("heketi_device_used") >= 1 << 20, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_holds_all_that_a_database_holds() {
    let server = Server::start(8).await;
    let (cluster, nodes) = server.furnish(3, 1).await;
    let body = r#"{"size":2,"name":"a","gid":2001,"clusters":["CLUSTER"],"durability":{"type":"replicate",
        "replicate":{"replica":3}},"glustervolumeoptions":["user.heketi.arbiter true"]}"#;
    let made = job(server.address, "POST", "/volumes", &body.replace("CLUSTER", &cluster)).await;
    let id = made.headers["location"].rsplit('/').next().unwrap().to_owned();
    let dump = get(&server, "/db/dump").await;
    let volume = &dump["volumeentries"][&id];
    assert_eq!(volume["Info"]["clusters"], json!([cluster]));
    assert_eq!((&volume["Info"]["name"], &volume["Info"]["gid"]), (&json!("a"), &json!(2001)));
    assert!(volume["Info"].get("bricks").is_none() && volume["Info"].get("glustervolumeoptions").is_none());
    assert_eq!(volume["GlusterVolumeOptions"], json!(["", "user.heketi.arbiter true", ""]));
    let bricks = dump["brickentries"].as_object().unwrap();
    assert_eq!(bricks.len(), 3);
    let mut kinds: Vec<u64> = bricks.values().map(|brick| brick["SubType"].as_u64().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [1, 1, 2]);
    for (brick, entry) in bricks {
        let device = &dump["deviceentries"][entry["Info"]["device"].as_str().unwrap()];
        assert!(device["Bricks"].as_array().unwrap().contains(&json!(brick)), "{device}");
        let used = entry["TpSize"].as_u64().unwrap() + entry["PoolMetadataSize"].as_u64().unwrap();
        assert_eq!(device["Info"]["storage"]["used"], used, "one brick on each");
        assert_eq!(device["ExtentSize"], 4096);
        let node = &dump["nodeentries"][device["NodeId"].as_str().unwrap()];
        assert_eq!((&node["State"], &node["Info"]["cluster"]), (&json!("online"), &json!(cluster)));
    }
    let entry = &dump["clusterentries"][&cluster]["Info"];
    assert_eq!(entry["nodes"].as_array().unwrap().len(), nodes.len());
    assert_eq!(entry["volumes"], json!([id]));
    assert_eq!(dump["dbattributeentries"]["DB_HAS_PENDING_OPS_BUCKET"]["Value"], "yes");
    let backup = ask(server.address, "GET", "/backup/db", None).await;
    assert_eq!(
        serde_json::from_str::<Value>(&backup.body).unwrap(),
        dump,
        "nothing has changed between them"
    );
}
