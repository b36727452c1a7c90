//! Claims on a real control plane: ours, which places and stores a volume for each (simulated nodes), beside the
//! real external-provisioner with a driver that makes nothing. `tests/bench/run kubernetes` builds the peer and turns
//! the API server's audit log on.

mod bare;
mod claims;
mod requests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::figure::Figure;
use crate::fixture::{ControlPlane, Server, wait_for};
use crate::machine::{self, Spent};
use claims::{Claims, Round};
use requests::Requests;

const CLAIMS: usize = 200;
/// How many claims the memory figure stands for.
const MANY: usize = 1000;
const NODES: usize = 6;
const DEVICES: usize = 4;
/// Rounds of ours and of the tuned one.
const ROUNDS: usize = 3;

/// Who serves the claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Ours,
    /// external-provisioner with 100 requests a second, 200 in a burst.
    Tuned,
    /// external-provisioner as it comes: 5 requests a second, 10 in a burst.
    Default,
}

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Tuned => "tuned",
            Self::Default => "default",
        }
    }

    fn class(self) -> &'static str {
        if self == Self::Ours { "gluster" } else { "nothing" }
    }

    /// How it names itself to the API server.
    fn client(self) -> &'static str {
        if self == Self::Ours {
            "system:serviceaccount:bricklayer-system:bricklayer-operator"
        } else {
            "csi-provisioner"
        }
    }
}

/// Measures all of it, or one contender (`ONLY=ours`). Ours and the tuned one take turns, and both run all the time: a
/// control plane that has served for a while is faster than a new one.
pub fn measure() {
    let plane = Plane::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let claims = runtime.block_on(Claims::new(&plane.cluster.admin()));
    let only = std::env::var("ONLY").ok();
    let serve = |contender: Contender| {
        only.as_ref().is_none_or(|only| only == contender.name()).then(|| {
            let served = plane.serve(contender);
            plane.wait_until_it_serves(&runtime, &claims, contender);
            (served, Tally::default())
        })
    };
    let mut ours = serve(Contender::Ours);
    let mut tuned = serve(Contender::Tuned);
    for _ in 0..ROUNDS {
        for (contender, running) in [(Contender::Ours, &mut ours), (Contender::Tuned, &mut tuned)] {
            if let Some((served, tally)) = running {
                tally.take(&plane, &runtime, &claims, contender, served);
            }
        }
    }
    if let Some((served, tally)) = tuned {
        tally.keep(Contender::Tuned);
        served.end();
    }
    // It takes most of a minute for a round.
    if let Some((served, mut tally)) = serve(Contender::Default) {
        tally.take(&plane, &runtime, &claims, Contender::Default, &served);
        tally.keep(Contender::Default);
        served.end();
    }
    if let Some((served, tally)) = ours {
        tally.keep(Contender::Ours);
        let many = runtime.block_on(claims.create(Contender::Ours.class(), MANY));
        let like = runtime.block_on(bare::Like::of(&plane.cluster.admin(), &many.names[0]));
        let (now, most) = machine::memory(served.pid());
        Figure::new("claims_memory", "MiB", now, vec![now], machine::load(), 0.0).with("most", most).keep();
        runtime.block_on(claims.delete(&many.names));
        served.end();
        least_that_a_volume_takes(&plane, &runtime, &claims, like);
    }
}

/// How fast claims are Bound when nobody does more than write what a stored volume takes.
fn least_that_a_volume_takes(
    plane: &Plane,
    runtime: &tokio::runtime::Runtime,
    claims: &Claims,
    like: bare::Like,
) {
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": bare::CLASS}, "provisioner": bare::PROVISIONER});
    plane.cluster.apply(&class.to_string());
    let running = runtime.block_on(bare::Bare::start(&plane.cluster.admin(), like));
    runtime.block_on(claims.round(bare::CLASS, 1));
    let load = machine::load();
    let rounds = (0..ROUNDS).map(|_| runtime.block_on(claims.round(bare::CLASS, CLAIMS)));
    let best = rounds.max_by(|a, b| a.bound_per_second().total_cmp(&b.bound_per_second())).unwrap();
    running.end();
    let bound = best.bound.iter().map(|s| s * 1000.0).collect();
    Figure::new("claims_bound_bare", "claims/s", best.bound_per_second(), bound, load, 0.0).keep();
    let volumes = best.volumes.iter().map(|s| s * 1000.0).collect();
    Figure::new("claims_pv_bare", "claims/s", best.volumes_per_second(), volumes, load, 0.0).keep();
}

/// What was measured of one contender.
#[derive(Default)]
struct Tally {
    /// The best round, the machine's load before it, and how many processors others took meanwhile.
    best: Option<(Round, f64, f64)>,
    /// Of the best round.
    requests: Requests,
    /// Seconds of processor time, in all rounds.
    spent: f64,
    rounds: usize,
}

impl Tally {
    fn take(
        &mut self,
        plane: &Plane,
        runtime: &tokio::runtime::Runtime,
        claims: &Claims,
        contender: Contender,
        served: &Served,
    ) {
        let mark = Requests::mark(&plane.audit);
        let (load, spent) = (machine::load(), Spent::now(served.pid()));
        let round = runtime.block_on(claims.round(contender.class(), CLAIMS));
        let share = spent.since(served.pid());
        self.rounds += 1;
        self.spent += share.server;
        let requests = Requests::since(&plane.audit, mark, contender.client());
        if self.best.as_ref().is_none_or(|(best, ..)| round.bound_per_second() > best.bound_per_second()) {
            self.best = Some((round, load, share.others));
            self.requests = requests;
        }
    }

    fn keep(self, contender: Contender) {
        let (round, load, others) = self.best.unwrap();
        let cpu = self.spent * 1000.0 / (self.rounds * CLAIMS) as f64;
        keep(contender, &round, &self.requests, cpu, load, others);
    }
}

fn keep(contender: Contender, round: &Round, requests: &Requests, cpu: f64, load: f64, others: f64) {
    let name = contender.name();
    let per_claim = |count: usize| count as f64 / CLAIMS as f64;
    let bound = round.bound.iter().map(|s| s * 1000.0).collect();
    Figure::new(&format!("claims_bound_{name}"), "claims/s", round.bound_per_second(), bound, load, others)
        .with("deletes_per_s", CLAIMS as f64 / round.deleted)
        .with("requests_per_claim", per_claim(requests.creating.all))
        .with("requests_per_delete", per_claim(requests.deleting.all))
        .with("cpu_ms_per_claim", cpu)
        .keep();
    let volumes = round.volumes.iter().map(|s| s * 1000.0).collect();
    Figure::new(&format!("claims_pv_{name}"), "claims/s", round.volumes_per_second(), volumes, load, others)
        .keep();
    let writes = per_claim(requests.creating.writes);
    let figure =
        if contender == Contender::Ours { "claim_writes".into() } else { format!("claim_writes_{name}") };
    let mut figure = Figure::new(&figure, "writes/claim", writes, vec![writes], load, others)
        .with("deleting", per_claim(requests.deleting.writes))
        .with("looks", per_claim(requests.creating.looks + requests.deleting.looks));
    for (phase, kinds) in [("making", &requests.creating.by_kind), ("deleting", &requests.deleting.by_kind)] {
        for (what, count) in kinds {
            figure = figure.with(&format!("{phase}: {what}"), per_claim(*count));
        }
    }
    figure.keep();
}

/// The control plane with both classes, and a pool of simulated nodes.
struct Plane {
    cluster: ControlPlane,
    operator: PathBuf,
    peer: PathBuf,
    audit: PathBuf,
    scratch: tempfile::TempDir,
}

impl Plane {
    fn start() -> Self {
        let told = |name: &str| {
            PathBuf::from(
                std::env::var(name).unwrap_or_else(|_| panic!("{name}: start this with tests/bench/run")),
            )
        };
        let (peer, audit) = (told("PEER"), told("AUDIT_LOG"));
        let cluster = ControlPlane::start(None);
        let operator = cluster.deploy();
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "nothing"}, "provisioner": "nothing.bench.bricklayer.dev"});
        cluster.apply(&class.to_string());
        cluster.apply(&topology().to_string());
        machine_that_mounts(&cluster);
        Self { cluster, operator, peer, audit, scratch: tempfile::tempdir_in("/var/tmp").unwrap() }
    }

    fn serve(&self, contender: Contender) -> Served {
        let log = self.scratch.path().join(format!("{}.log", contender.name()));
        match contender {
            Contender::Ours => {
                let data = self.scratch.path().join("data");
                let words = ["operator", "--listen", "127.0.0.1:0", "--allow-simulated", "--data"];
                let more = [data.to_str().unwrap(), "--simulated-device-size", "4Ti"];
                let env = [("KUBECONFIG", self.operator.to_str().unwrap()), ("RUST_LOG", "warn")];
                let mut server = Server::start(None, &[&words[..], &more].concat(), &env, &log);
                server.wait_for_output("operator works", 60);
                self.cluster.run(&[
                    "wait",
                    "--for=condition=Ready",
                    "gdev,gnode,gcl,gvol",
                    "--all",
                    "--timeout=120s",
                ]);
                Served::Ours(server)
            }
            Contender::Tuned => self.peer(&log, "100", "200"),
            Contender::Default => self.peer(&log, "5", "10"),
        }
    }

    fn peer(&self, log: &Path, rate: &str, burst: &str) -> Served {
        let socket = self.scratch.path().join(format!("csi-{rate}.sock"));
        let driver = start(
            Command::new(self.peer.join("driver")).arg("-socket").arg(&socket),
            &log.with_extension("driver"),
        );
        wait_for("the driver's socket", 10, || socket.exists().then_some(()));
        let mut words = Command::new(self.peer.join("csi-provisioner"));
        words.arg(format!("--csi-address={}", socket.display()));
        words.arg(format!("--kubeconfig={}", self.cluster.admin().display()));
        words.args([format!("--kube-api-qps={rate}"), format!("--kube-api-burst={burst}")]);
        Served::Peer { provisioner: start(&mut words, log), driver }
    }

    /// One claim, there and back: what follows measures no start.
    fn wait_until_it_serves(&self, runtime: &tokio::runtime::Runtime, claims: &Claims, contender: Contender) {
        let limit = Duration::from_secs(120);
        let first =
            runtime.block_on(async { tokio::time::timeout(limit, claims.round(contender.class(), 1)).await });
        assert!(first.is_ok(), "{contender:?} does not serve claims");
    }
}

/// A machine of Kubernetes with an address: without one, nobody could mount a volume, and each would say so.
fn machine_that_mounts(cluster: &ControlPlane) {
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "worker"}}).to_string());
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.8.0.1"}]}});
    let status = status.to_string();
    cluster.run(&["patch", "node", "worker", "--subresource=status", "--type=merge", "-p", &status]);
}

/// A pool with room for a thousand claims, and some volumes already: a device that gets its first brick says so
/// at once, which is not what a claim costs.
fn topology() -> Value {
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let spec = json!({"transport": {"simulated": {}}, "limits": {"volumes": -1}});
    let mut items = vec![object("GlusterCluster", "bench", spec)];
    for node in 1..=NODES {
        let name = format!("node{node}");
        let hostnames = json!({"manage": [&name], "storage": [format!("10.0.0.{node}")]});
        items.push(object(
            "GlusterNode",
            &name,
            json!({"cluster": "bench", "zone": node, "hostnames": hostnames}),
        ));
        for disk in ["sdb", "sdc", "sdd", "sde"].iter().take(DEVICES) {
            let spec = json!({"node": &name, "path": format!("/dev/{disk}")});
            items.push(object("GlusterDevice", &format!("{name}-{disk}"), spec));
        }
    }
    for volume in 0..NODES * DEVICES {
        items.push(object("GlusterVolume", &format!("standing-{volume}"), json!({"size": "1Gi"})));
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// The processes that serve claims.
enum Served {
    Ours(Server),
    Peer { provisioner: Child, driver: Child },
}

impl Served {
    fn pid(&self) -> u32 {
        match self {
            Self::Ours(server) => server.pid(),
            Self::Peer { provisioner, .. } => provisioner.id(),
        }
    }

    fn end(self) {
        match self {
            Self::Ours(server) => server.stop(),
            Self::Peer { provisioner, driver } => {
                for mut child in [provisioner, driver] {
                    child.kill().unwrap();
                    child.wait().unwrap();
                }
            }
        }
    }
}

fn start(command: &mut Command, log: &Path) -> Child {
    let file = File::create(log).unwrap();
    let command = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
