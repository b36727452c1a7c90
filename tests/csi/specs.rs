//! How csi-sanity, the test of the CSI project itself, is run against both services: which of its specs it leaves
//! out, and what became of the others. Shared with the test on real nodes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::Response;
use bricklayer::csi::socket::Socket;
use serde_json::Value;
use tonic::service::Routes;
use tonic::transport::{Channel, Server as Grpc};
use tower::{Service, ServiceExt};

use crate::caller::{channel, runtime};
use crate::fixture::{run, tree};

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

/// What csi-sanity is let loose on.
pub struct Subject {
    /// Where its own files go: the report, the log and a socket.
    pub folder: PathBuf,
    /// The socket of the Node service.
    pub node: PathBuf,
    /// The socket of the Controller service.
    pub controller: PathBuf,
    /// Where volumes are staged and published; the folders are made and removed by csi-sanity.
    pub mounts: PathBuf,
    /// How large volumes are, and how large they become, in bytes.
    pub sizes: [u64; 2],
    /// How long all specs may take.
    pub limit: Duration,
}

/// Where csi-sanity is, which is built when it is not there yet.
pub fn sanity() -> String {
    run(&mut Command::new(tree().join("tests/csi/sanity/build")))
}

/// Runs all specs, and insists that none fails and that what is skipped is in the table.
pub fn pass(subject: &Subject) {
    let sanity = sanity();
    let at = |name: &str| subject.folder.join(name);
    let forwarding = runtime();
    forwarding.block_on(join(&at("joined.sock"), &subject.node, &subject.controller));
    let report = at("report.json");
    let log = std::fs::File::create(at("sanity.log")).unwrap();
    let [size, grown] = subject.sizes;
    let mut all = Command::new(sanity.trim());
    all.arg(format!("--csi.endpoint=unix://{}", at("joined.sock").display()))
        .arg(format!("--csi.controllerendpoint=unix://{}", subject.controller.display()))
        .arg(format!("--csi.mountdir={}", subject.mounts.join("mount").display()))
        .arg(format!("--csi.stagingdir={}", subject.mounts.join("staging").display()))
        .arg(format!("--csi.testvolumesize={size}"))
        .arg(format!("--csi.testvolumeexpandsize={grown}"))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .arg(format!("--ginkgo.timeout={}s", subject.limit.as_secs()))
        .args(["--ginkgo.no-color", "--ginkgo.seed=1"]);
    let begun = Instant::now();
    let mut child = all.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    // It ends by itself at its own limit, and writes the report then.
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        if begun.elapsed() > subject.limit + Duration::from_secs(60) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let told = std::fs::read_to_string(at("sanity.log")).unwrap();
    assert!(report.is_file(), "{ended}: {told}");
    let verdict = Verdict::read(&report);
    println!(
        "  csi-sanity: {} specs passed, {} failed, {} skipped for what is not claimed, in {:.0?}",
        verdict.passed,
        verdict.failed.len(),
        verdict.skipped.len(),
        begun.elapsed()
    );
    assert!(verdict.failed.is_empty() && ended.success(), "{ended}: {:#?}\n{told}", verdict.failed);
    assert!(verdict.passed > 40, "{verdict:#?}");
    explained(&verdict.skipped);
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
