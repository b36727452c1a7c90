//! csi-sanity, the test of the CSI project itself, against both services: `bricklayer serve` makes
//! volumes on simulated nodes, `bricklayer node` mounts them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use axum::extract::{Request, State};
use axum::response::Response;
use bricklayer::csi::socket::Socket;
use serde_json::{Value, json};
use tonic::service::Routes;
use tonic::transport::{Channel, Server as Grpc};
use tower::{Service, ServiceExt};

use crate::caller::{channel, runtime};
use crate::fixture::{BINARY, Server, run, tree};
use crate::{SERVERS, World};

/// The specs that csi-sanity leaves out: how their names begin, and why we do not claim what they need.
const SKIPPED: &[(&str, &str)] = &[
    (
        "Controller Service [Controller Server] ControllerPublishVolume ",
        "PUBLISH_UNPUBLISH_VOLUME: every node reaches a volume by itself, nothing is attached",
    ),
    (
        "Controller Service [Controller Server] ControllerUnpublishVolume ",
        "PUBLISH_UNPUBLISH_VOLUME: the same",
    ),
    (
        "Controller Service [Controller Server] volume lifecycle ",
        "PUBLISH_UNPUBLISH_VOLUME: the life without it is that of the Node Service",
    ),
    (
        "Controller Service [Controller Server] CreateVolume should create volume from an existing source ",
        "CREATE_DELETE_SNAPSHOT, CLONE_VOLUME: not there yet",
    ),
    (
        "Controller Service [Controller Server] CreateVolume should fail when the volume source ",
        "CREATE_DELETE_SNAPSHOT, CLONE_VOLUME: not there yet",
    ),
    (
        "Controller Service [Controller Server] CreateVolume should create volume with a volume attribute class",
        "MODIFY_VOLUME: not there yet",
    ),
    (
        "Controller Service [Controller Server] CreateVolume should not create volume with an invalid volume attribute class",
        "MODIFY_VOLUME: not there yet",
    ),
    ("Controller Service [Controller Server] ListVolumes pagination ", "switched off in csi-sanity itself"),
    (
        "ControllerGetVolumeHealth ",
        "GET_VOLUME_HEALTH of controllers: alpha, the conditions of GlusterVolumes tell it",
    ),
    ("ControllerListVolumeHealth ", "LIST_VOLUME_HEALTH: alpha, the conditions of GlusterVolumes tell it"),
    ("CreateSnapshot ", "CREATE_DELETE_SNAPSHOT: not there yet"),
    ("DeleteSnapshot ", "CREATE_DELETE_SNAPSHOT: not there yet"),
    ("GetSnapshot ", "GET_SNAPSHOT: not there yet"),
    ("ListSnapshots ", "LIST_SNAPSHOTS: not there yet"),
    ("GroupController Service ", "GROUP_CONTROLLER_SERVICE: there are no snapshots yet"),
    ("ModifyVolume ", "MODIFY_VOLUME: not there yet"),
    ("Node Service NodeExpandVolume ", "EXPAND_VOLUME of nodes: a client sees the new size by itself"),
    ("Node Service NodeGetStorageHealth ", "GET_STORAGE_HEALTH: the conditions of GlusterClusters tell it"),
];

pub fn passes(world: &World) {
    let sanity = run(&mut Command::new(tree().join("tests/csi/sanity/build")));
    let machine = world.machine();
    let mut serve = serve(&machine.folder);
    let address = serve.address();
    let topology = machine.folder.join("topology.json");
    std::fs::write(&topology, estate().to_string()).unwrap();
    let load = ["topology", "load", "--server", &address, "--json", topology.to_str().unwrap()];
    run(Command::new(BINARY).args(load));

    let forwarding = runtime();
    let at = |name: &str| machine.folder.join(name);
    let node = at("kubelet/plugins/gluster.bricklayer.dev/csi.sock");
    forwarding.block_on(join(&at("joined/csi.sock"), &node, &at("controller/csi.sock")));
    let report = machine.folder.join("report.json");
    let log = std::fs::File::create(machine.folder.join("sanity.log")).unwrap();
    let at = |name: &str| machine.folder.join(name).display().to_string();
    let ended = Command::new(sanity.trim())
        .arg(format!("--csi.endpoint=unix://{}", at("joined/csi.sock")))
        .arg(format!("--csi.controllerendpoint=unix://{}", at("controller/csi.sock")))
        .arg(format!("--csi.mountdir={}", at("mount")))
        .arg(format!("--csi.stagingdir={}", at("staging")))
        .arg(format!("--csi.testvolumeexpandsize={}", 20_u64 << 30))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .args(["--ginkgo.no-color", "--ginkgo.seed=1"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .status()
        .unwrap();
    let told = std::fs::read_to_string(machine.folder.join("sanity.log")).unwrap();
    assert!(report.is_file(), "{ended}: {told}");
    let verdict = Verdict::read(&report);
    println!(
        "  csi-sanity: {} specs passed, {} failed, {} skipped for what is not claimed",
        verdict.passed,
        verdict.failed.len(),
        verdict.skipped.len()
    );
    assert!(verdict.failed.is_empty() && ended.success(), "{ended}: {:#?}\n{told}", verdict.failed);
    assert!(verdict.passed > 40, "{verdict:#?}");
    explained(&verdict.skipped);
    serve.stop();
    machine.clean();
}

/// Serves both halves of the driver on one socket. csi-sanity asks where the Node service is whether there
/// is a Controller service, and `bricklayer node` rightly has none.
async fn join(socket: &Path, node: &Path, controller: &Path) {
    let capabilities = axum::routing::any(forward).with_state(channel(controller));
    let router = axum::Router::new()
        .route("/csi.v1.Identity/GetPluginCapabilities", capabilities)
        .fallback_service(axum::routing::any(forward).with_state(channel(node)));
    let socket = Socket::listen(socket.to_str().unwrap()).await.unwrap();
    tokio::spawn(Grpc::builder().add_routes(Routes::from(router)).serve_with_incoming(socket));
}

async fn forward(State(mut to): State<Channel>, request: Request) -> Response {
    let ready = to.ready().await.unwrap();
    ready.call(request.map(tonic::body::Body::new)).await.unwrap().map(axum::body::Body::new)
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

/// What became of the specs.
#[derive(Debug, Default)]
struct Verdict {
    passed: usize,
    failed: Vec<String>,
    skipped: BTreeSet<String>,
}

impl Verdict {
    fn read(report: &Path) -> Self {
        let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        let suites = report.as_array().unwrap().iter();
        let specs = suites.flat_map(|suite| suite["SpecReports"].as_array().unwrap());
        let mut verdict = Self::default();
        for spec in specs.filter(|spec| spec["LeafNodeType"] == "It") {
            let containers = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten();
            let words: Vec<&str> =
                containers.chain([&spec["LeafNodeText"]]).filter_map(Value::as_str).collect();
            let name = words.join(" ");
            match spec["State"].as_str() {
                Some("passed") => verdict.passed += 1,
                Some("skipped" | "pending") => drop(verdict.skipped.insert(name)),
                _ => verdict.failed.push(format!("{name}: {}", spec["Failure"]["Message"])),
            }
        }
        verdict
    }
}

/// Holds what was skipped against the table, in both directions.
fn explained(skipped: &BTreeSet<String>) {
    let unexplained: Vec<&String> =
        skipped.iter().filter(|name| !SKIPPED.iter().any(|(begin, _)| name.starts_with(begin))).collect();
    assert!(unexplained.is_empty(), "skipped without a reason in the table: {unexplained:#?}");
    for (begin, reason) in SKIPPED {
        let count = skipped.iter().filter(|name| name.starts_with(begin)).count();
        assert!(count > 0, "{begin} ({reason}) is not skipped any more: take it out of the table");
        println!("  skipped {count}: {begin}: {reason}");
    }
}
