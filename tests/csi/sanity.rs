//! csi-sanity against both services: `bricklayer serve` makes volumes on simulated nodes, `bricklayer node`
//! mounts them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{BINARY, Server, run};
use crate::specs::{self, Subject};
use crate::{SERVERS, World};

pub fn passes(world: &World) {
    let machine = world.machine();
    let mut serve = serve(&machine.folder);
    let address = serve.address();
    let topology = machine.folder.join("topology.json");
    std::fs::write(&topology, estate().to_string()).unwrap();
    let load = ["topology", "load", "--server", &address, "--json", topology.to_str().unwrap()];
    run(Command::new(BINARY).args(load));
    specs::pass(&Subject {
        folder: machine.folder.clone(),
        node: machine.folder.join("kubelet/plugins/gluster.bricklayer.dev/csi.sock"),
        controller: machine.folder.join("controller/csi.sock"),
        mounts: machine.folder.clone(),
        sizes: [10 << 30, 20 << 30],
        limit: Duration::from_secs(600),
    });
    serve.stop();
    machine.clean();
}

/// A server with simulated nodes that serves CSI.
fn serve(folder: &Path) -> Server {
    let data = folder.join("data");
    let socket = format!("unix://{}", folder.join("controller/csi.sock").display());
    let words = [
        "serve",
        "--simulated",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
        "--csi-endpoint",
        &socket,
    ];
    Server::start(None, &words, &[], &folder.join("serve.log"))
}

/// Simulated nodes at addresses where somebody listens.
fn estate() -> Value {
    let node = |(index, server): (usize, &&str)| {
        json!({"node": {"hostnames": {"manage": [format!("node{index}")], "storage": [server]}, "zone": index + 1},
            "devices": ["/dev/sdb", "/dev/sdc"]})
    };
    let nodes: Vec<Value> = SERVERS.iter().take(3).enumerate().map(node).collect();
    json!({"clusters": [{"nodes": nodes}]})
}
