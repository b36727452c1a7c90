//! `/internal/state/examine/gluster`: the nodes are looked at, and what they say is held against what is known.

use bricklayer::executor::transport::sim::{Fault, Rule};
use bricklayer::executor::{Argv, Batch, LOOK_DEADLINE, run};
use serde_json::{Value, json};

use crate::http::{ask, finished, job};
use crate::server::{LONG, Server};

const PATH: &str = "/internal/state/examine/gluster";
const MATCHES: &str = "heketi volume list matches with volume list of all nodes";

async fn examined(server: &Server) -> Value {
    let answer = ask(server.address, "GET", PATH, None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
    assert!(answer.body.starts_with("{\n    \"heketidb\": {\n        \""), "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Runs a command on a node, behind the back of the server.
async fn on(server: &Server, host: &str, words: &str) {
    let batch = Batch::one(Argv::new(words.split(' ')), LOOK_DEADLINE);
    run(&server.sim, host, &batch).await.unwrap();
}

fn compared(what: &str, node: &str) -> String {
    format!("heketi volume list {what}{node}")
}

fn does_not_match(node: &str) -> String {
    compared("does not match with volume list of node ", node)
}

fn not_compared(node: &str) -> String {
    compared("could not be compared with volume list of node ", node) + " due to missing info"
}

/// The data of a node.
fn of<'a>(found: &'a Value, node: &str) -> &'a Value {
    let nodes = found["clusters"][0]["NodesData"].as_array().unwrap();
    nodes.iter().find(|data| data["NodeHeketiID"] == node).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_there_to_look_at() {
    let server = Server::start(8).await;
    let found = examined(&server).await;
    assert_eq!((&found["clusters"], &found["report"]), (&Value::Null, &json!([])));
    let (cluster, _) = server.furnish(0, 0).await;
    let empty = json!([{"ClusterHeketiID": cluster, "NodesData": []}]);
    let found = examined(&server).await;
    assert_eq!((&found["clusters"], &found["report"]), (&empty, &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_nodes_say_is_shown() {
    let server = Server::start(8).await;
    let (cluster, nodes) = server.furnish(3, 1).await;
    let body = r#"{"size":2,"durability":{"type":"replicate","replicate":{"replica":3}},
        "glustervolumeoptions":["user.heketi.arbiter true"]}"#;
    let made = job(server.address, "POST", "/volumes", body).await;
    let id = made.headers["location"].rsplit('/').next().unwrap().to_owned();
    let found = examined(&server).await;
    assert_eq!(keys(&found), ["clusters", "heketidb", "report"]);
    assert_eq!(found["report"], json!([MATCHES]));
    let dump = ask(server.address, "GET", "/db/dump", None).await;
    assert_eq!(found["heketidb"], serde_json::from_str::<Value>(&dump.body).unwrap());
    let [one] = found["clusters"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!((keys(one), &one["ClusterHeketiID"]), (vec!["ClusterHeketiID", "NodesData"], &json!(cluster)));
    let mut sorted = nodes.clone();
    sorted.sort();
    let order: Vec<&str> = one["NodesData"]
        .as_array()
        .unwrap()
        .iter()
        .map(|data| data["NodeHeketiID"].as_str().unwrap())
        .collect();
    assert_eq!(order, sorted);

    let bricks = found["heketidb"]["brickentries"].as_object().unwrap();
    for node in &nodes {
        let data = of(&found, node);
        assert_eq!(
            keys(data),
            [
                "BlockVolumeNames",
                "BricksMountStatus",
                "LVMLVInfo",
                "LVMPVInfo",
                "LVMVGInfo",
                "NodeHeketiID",
                "VolumeInfo"
            ]
        );
        assert_eq!(data["BlockVolumeNames"], Value::Null);
        volume_info(&data["VolumeInfo"], &id, bricks);
        let (brick, entry) = bricks.iter().find(|(_, entry)| entry["Info"]["node"] == node.as_str()).unwrap();
        lvm(data, entry["Info"]["device"].as_str().unwrap(), brick, entry);
        let [status] = data["BricksMountStatus"]["Statuses"].as_array().unwrap().as_slice() else {
            panic!("{data}")
        };
        let path = entry["Info"]["path"].as_str().unwrap();
        let device = entry["Info"]["device"].as_str().unwrap();
        let wanted = json!({
            "Device": format!("/dev/mapper/vg_{device}-brick_{brick}"),
            "MountPoint": path.strip_suffix("/brick").unwrap(),
            "Type": "xfs",
            "MountOptions": "rw,inode64,noatime,nouuid",
            "Mounted": true,
        });
        assert_eq!(*status, wanted);
    }
}

/// The volume list of a node, with one volume with an arbiter.
fn volume_info(info: &Value, id: &str, bricks: &serde_json::Map<String, Value>) {
    let name = |local: &str| json!({"Space": "", "Local": local});
    assert_eq!((keys(info), &info["XMLName"]), (vec!["Volumes", "XMLName"], &name("volInfo")));
    let volumes = &info["Volumes"];
    assert_eq!(keys(volumes), ["Count", "VolumeList", "XMLName"]);
    assert_eq!((&volumes["XMLName"], &volumes["Count"]), (&name("volumes"), &json!(1)));
    let mut volume = volumes["VolumeList"][0].clone();
    let mut taken = |key: &str| volume.as_object_mut().unwrap().remove(key).unwrap();
    assert_eq!(taken("ID").as_str().unwrap().len(), 36);
    let (list, options) = (taken("Bricks"), taken("Options"));
    let count = taken("OptCount");
    let rest = json!({
        "XMLName": name("volume"), "VolumeName": format!("vol_{id}"), "Status": 1, "StatusStr": "Started",
        "BrickCount": 3, "DistCount": 1, "StripeCount": 0, "ReplicaCount": 3, "ArbiterCount": 1,
        "DisperseCount": 0, "RedundancyCount": 0, "Type": 2, "TypeStr": "Replicate", "Transport": 0,
    });
    assert_eq!(volume, rest);
    assert_eq!((keys(&list), &list["XMLName"]), (vec!["BrickList", "XMLName"], &name("bricks")));
    let list = list["BrickList"].as_array().unwrap();
    let arbiters: Vec<&Value> = list.iter().map(|brick| &brick["IsArbiter"]).collect();
    assert_eq!(arbiters, [&json!(0), &json!(0), &json!(1)]);
    for brick in list {
        assert_eq!(keys(brick), ["HostUUID", "IsArbiter", "Name", "UUID"]);
        assert_eq!((brick["UUID"].as_str().unwrap().len(), &brick["UUID"]), (36, &brick["HostUUID"]));
        let (_, path) = brick["Name"].as_str().unwrap().split_once(':').unwrap();
        assert!(bricks.values().any(|entry| entry["Info"]["path"] == path), "{brick}");
    }
    assert_eq!((keys(&options), &options["XMLName"]), (vec!["OptionList", "XMLName"], &name("options")));
    let list = options["OptionList"].as_array().unwrap();
    assert_eq!(json!(list.len()), count);
    assert!(list.contains(&json!({"Name": "user.heketi.id", "Value": id})), "{options}");
}

/// What LVM says of a node with one brick on one device.
fn lvm(data: &Value, device: &str, brick: &str, entry: &Value) {
    let report = |info: &str, kind: &str| {
        let [one] = data[info]["report"].as_array().unwrap().as_slice() else { panic!("{data}") };
        assert_eq!((keys(&data[info]), keys(one)), (vec!["report"], vec![kind]));
        one[kind].as_array().unwrap().clone()
    };
    let kib = |kib: &Value| format!("{kib}.00k");
    let vg = format!("vg_{device}");
    let (pvs, vgs) = (report("LVMPVInfo", "pv"), report("LVMVGInfo", "vg"));
    let size = pvs[0]["pv_size"].as_str().unwrap();
    let free = pvs[0]["pv_free"].as_str().unwrap();
    assert!(size.ends_with(".00k") && free.ends_with(".00k") && free != size, "{pvs:?}");
    let pv = json!({"pv_name": "/dev/sdb", "vg_name": vg, "pv_fmt": "lvm2", "pv_attr": "a--", "pv_size": size, "pv_free": free});
    assert_eq!(pvs, [pv]);
    let group = json!({"vg_name": vg, "pv_count:": "1", "lv_count": "2", "snap_count": "0", "vg_attr": "wz--n-", "vg_size": size, "vg_free": free});
    assert_eq!(vgs, [group]);
    let (name, pool) = (format!("brick_{brick}"), format!("tp_{brick}"));
    let line = |name: &str, attr: &str, size: &Value, pool: &str, metadata: &str| {
        json!({
            "lv_name": name, "vg_name": vg, "lv_attr": attr, "lv_size": kib(size), "pool_lv": pool, "origin": "",
            "data_percent": "12.74", "metadata_percent": metadata, "move_pv": "", "mirror_log": "",
            "copy_percent": "", "convert_lv": "",
        })
    };
    let wanted = [
        line(&name, "Vwi-aotz--", &entry["Info"]["size"], &pool, ""),
        line(&pool, "twi-aotz--", &entry["TpSize"], "", "10.55"),
    ];
    assert_eq!(report("LVMLVInfo", "lv"), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_nobody_asked_for_is_told() {
    let server = Server::start(8).await;
    let (_, nodes) = server.furnish(2, 1).await;
    on(&server, "m1", "mkdir /mnt/other").await;
    on(&server, "m1", "gluster --mode=script volume create other 10.0.0.1:/mnt/other force").await;
    let found = examined(&server).await;
    let mut sorted = nodes.clone();
    sorted.sort();
    let told: Vec<String> = sorted.iter().map(|node| does_not_match(node)).collect();
    assert_eq!(found["report"], json!(told), "the whole pool knows it");
    on(&server, "m1", "gluster --mode=script volume delete other").await;
    assert_eq!(examined(&server).await["report"], json!([MATCHES]));

    let made = job(server.address, "POST", "/volumes", r#"{"size":1}"#).await;
    assert_eq!(examined(&server).await["report"], json!([MATCHES]));
    let id = made.headers["location"].rsplit('/').next().unwrap();
    on(&server, "m1", &format!("gluster --mode=script volume stop vol_{id} force")).await;
    on(&server, "m1", &format!("gluster --mode=script volume delete vol_{id}")).await;
    assert_eq!(examined(&server).await["report"], json!(told), "a volume is gone that should be there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_down_is_told_and_has_nulls() {
    let server = Server::start(8).await;
    let (cluster, nodes) = server.furnish(2, 1).await;
    server.sim.faults().down("m2");
    let found = examined(&server).await;
    let told = json!(["could not fetch data from node m2", not_compared(&nodes[1])]);
    assert_eq!(found["report"], told);
    let nothing = json!({
        "NodeHeketiID": nodes[1], "VolumeInfo": null, "LVMPVInfo": null, "LVMVGInfo": null, "LVMLVInfo": null,
        "BricksMountStatus": null, "BlockVolumeNames": null,
    });
    assert_eq!(*of(&found, &nodes[1]), nothing);
    assert_eq!(of(&found, &nodes[0])["VolumeInfo"]["Volumes"]["VolumeList"], json!([]));

    server.sim.faults().down("m1");
    let report = examined(&server).await["report"].clone();
    let mut sorted: Vec<(&String, &str)> = nodes.iter().zip(["m1", "m2"]).collect();
    sorted.sort();
    let mut told: Vec<String> =
        sorted.iter().map(|(_, host)| format!("could not fetch data from node {host}")).collect();
    told.push(format!("not able to fetch any data from cluster {cluster}"));
    told.extend(sorted.iter().map(|(node, _)| not_compared(node)));
    assert_eq!(report, json!(told));
    server.sim.faults().clear();
    assert_eq!(examined(&server).await["report"], json!([MATCHES]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_command_does_not_say_is_missing_alone() {
    let server = Server::start(8).await;
    let (_, nodes) = server.furnish(1, 1).await;
    let burns = |command: &str| {
        let fault = Fault::FailBefore { exit: 5, stderr: "  it burns\n".into() };
        server.sim.faults().clear();
        server.sim.faults().add(Rule::always(command, fault));
    };
    for (command, info) in [("lvm pvs", "LVMPVInfo"), ("lvm vgs", "LVMVGInfo"), ("lvm lvs", "LVMLVInfo")] {
        burns(command);
        let found = examined(&server).await;
        let (_, short) = command.split_once(' ').unwrap();
        let told = format!("could not fetch LVM {short} data from node m1 : it burns");
        assert_eq!(found["report"], json!([told, MATCHES]));
        let data = of(&found, &nodes[0]);
        let null: Vec<&str> =
            keys(data).into_iter().filter(|key| data[*key].is_null() && *key != "BlockVolumeNames").collect();
        assert_eq!(null, [info]);
    }
    for command in ["fstab-list", "/proc/mounts"] {
        burns(command);
        let found = examined(&server).await;
        let told = "could not fetch brick mount status from node m1 : it burns";
        assert_eq!(found["report"], json!([told, MATCHES]));
        assert_eq!(of(&found, &nodes[0])["BricksMountStatus"], Value::Null);
    }
    burns("volume info all");
    let found = examined(&server).await;
    assert_eq!(found["report"], json!(["could not fetch data from node m1", not_compared(&nodes[0])]));
    let data = of(&found, &nodes[0]);
    assert!(data["VolumeInfo"].is_null() && data["LVMPVInfo"].is_object(), "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_counted_and_is_no_difference() {
    let server = Server::start(8).await;
    server.furnish(1, 1).await;
    server.sim.faults().add(Rule::always("mkfs", Fault::Slow(LONG)));
    let made = ask(server.address, "POST", "/volumes", Some(r#"{"size":1}"#)).await;
    assert_eq!(made.status, 202, "{made:?}");
    let told = json!(["OnDemand Examiner invoked while 1 ops are in flight", MATCHES]);
    assert_eq!(examined(&server).await["report"], told);
    server.sim.faults().clear();
    assert_eq!(finished(server.address, &made.headers["location"]).await.status, 303);
    assert_eq!(examined(&server).await["report"], json!([MATCHES]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_look_at_the_same_time_is_refused_for_now() {
    let server = Server::start(8).await;
    server.furnish(1, 1).await;
    server.sim.faults().add(Rule::always("volume info all", Fault::Slow(LONG)));
    // Either of them may be the first to arrive; that one looks for long.
    let both = [(), ()].map(|()| tokio::spawn(ask(server.address, "GET", PATH, None)));
    let (refused, _, others) = futures::future::select_all(both).await;
    let refused = refused.unwrap();
    assert_eq!((refused.status, refused.body.as_str()), (429, "Server busy. Retry operation later.\n"));
    server.sim.faults().clear();
    for other in others {
        assert_eq!(other.await.unwrap().status, 200);
    }
}
