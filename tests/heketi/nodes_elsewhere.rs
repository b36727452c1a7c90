//! `serve --simulated-socket`: the nodes are those of another process, and outlive the server.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::fixture::{BINARY, Server, run};
use crate::http::{ask, job};

const VOLUME: &str = r#"{"size":1,"durability":{"type":"replicate","replicate":{"replica":3}}}"#;

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server whose nodes are at the socket, and its address.
fn serve(folder: &Path, socket: &Path) -> (Server, SocketAddr) {
    let words =
        ["serve", "--listen", "127.0.0.1:0", "--data", path(folder), "--simulated-socket", path(socket)];
    let mut server = Server::start(None, &words, &[], &folder.join("serve.log"));
    let output = server.wait_for_output("http://", 30);
    assert!(output.contains("with SIMULATED nodes"), "{output}");
    let address = server.address().trim_start_matches("http://").parse().unwrap();
    (server, address)
}

/// A cluster with three nodes of one device each.
async fn furnish(address: SocketAddr) {
    let made = ask(address, "POST", "/clusters", Some(r#"{"file":true,"block":true}"#)).await;
    let cluster = serde_json::from_str::<Value>(&made.body).unwrap()["id"].clone();
    for node in 1..=3 {
        let names = json!({"manage": [format!("node{node}")], "storage": [format!("node{node}")]});
        let body = json!({"cluster": cluster, "zone": node, "hostnames": names}).to_string();
        let made = job(address, "POST", "/nodes", &body).await;
        let node = made.headers["location"].rsplit('/').next().unwrap();
        let device = json!({"node": node, "name": "/dev/sdb"}).to_string();
        job(address, "POST", "/devices", &device).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_works_on_simulated_nodes_of_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let nodes_folder = tempfile::tempdir().unwrap();
    let socket = nodes_folder.path().join("nodes.sock");
    let words =
        ["simulate", "--data", path(nodes_folder.path()), "--socket", path(&socket), "--simulated-log"];
    let mut nodes = Server::start(None, &words, &[], &nodes_folder.path().join("nodes.log"));
    nodes.wait_for_output("simulates nodes", 30);

    let (server, address) = serve(folder.path(), &socket);
    furnish(address).await;
    let volume = job(address, "POST", "/volumes", VOLUME).await.headers["location"].clone();
    assert!(!folder.path().join("simulated").exists(), "the server keeps no nodes of its own");
    let commands = std::fs::read_to_string(nodes_folder.path().join("simulated/commands.log")).unwrap();
    assert!(commands.contains(r#""by":"serve""#) && commands.contains("lvcreate"), "{commands}");
    server.stop();

    // The next one finds the nodes as they were left, and can undo what was done on them.
    let (server, address) = serve(folder.path(), &socket);
    assert_eq!(ask(address, "GET", &volume, None).await.status, 200);
    job(address, "POST", "/volumes", VOLUME).await;
    job(address, "DELETE", &volume, "").await;
    server.stop();
    nodes.stop();

    // The audit takes objects and nodes from one directory.
    std::fs::rename(nodes_folder.path().join("simulated"), folder.path().join("simulated")).unwrap();
    let verdict = run(Command::new(BINARY).args(["audit", "--simulated", "--data", path(folder.path())]));
    assert!(verdict.contains("3 bricks as placed, 0 wrong, 0 unsettled"), "{verdict}");
}
