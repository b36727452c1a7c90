//! `bricklayer node` on its sockets, as kubelet and other orchestrators call it, in namespaces of its
//! own for mounts and network. Only GlusterFS's mount program is replaced, by `tests/csi/bin`: mount
//! tables, bind mounts, dead and hanging FUSE mounts are real. `make test` runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario fails by panicking")]

#[path = "../fixture/mod.rs"]
mod fixture;

mod api;
mod broken;
mod caller;
mod life;
mod refusals;
mod repair;
mod sanity;
mod sockets;
mod specs;

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};

use bricklayer::csi::node::mounts::{Mounted, Table};
use bricklayer::csi::proto::csi::volume_capability::access_mode::Mode;
use caller::{Caller, Volume, capability};
use fixture::{Server, run, tree};

/// Says that the namespaces are made.
const INSIDE: &str = "BRICKLAYER_TEST_INSIDE";
/// The servers of the volumes; glusterd's port is listened on at the first three.
const SERVERS: [&str; 4] = ["10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4"];

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_none() {
        return enter();
    }
    run(Command::new("ip").args(["link", "set", "lo", "up"]));
    for server in SERVERS {
        run(Command::new("ip").args(["address", "add", &format!("{server}/32"), "dev", "lo"]));
    }
    let listen = |server: &&str| TcpListener::bind((*server, 24007)).unwrap();
    let _glusterd: Vec<TcpListener> = SERVERS.iter().take(3).map(listen).collect();
    let folder = tempfile::tempdir().unwrap();
    let world = World { folder: folder.path().canonicalize().unwrap(), count: AtomicUsize::new(0) };
    let scenarios: &[fixture::Scenario<World>] = &[
        ("a volume's life, each step ten times", life::ten_times),
        ("two pods, one that only reads", life::two_pods),
        ("a sole writer", life::sole_writer),
        ("what a restart finds", life::restart),
        ("servers that are down", life::servers_down),
        ("bad requests", refusals::bad_requests),
        ("requests that contradict what is there", refusals::contradictions),
        ("a call while another one is under way", refusals::under_way),
        ("a client that cannot mount", refusals::client_fails),
        ("half-done states", broken::half_done),
        ("a client that has died", broken::dead),
        ("a client that hangs", broken::hangs),
        ("a client that has died is replaced", repair::replaced),
        ("a client that cannot be replaced yet", repair::later),
        ("what kubelet has forgotten", repair::forgotten),
        ("what was written beside the volume is kept", broken::not_empty),
        ("who we are and what we can", sockets::identity),
        ("registration as kubelet does it", sockets::registration),
        ("sockets of before, and the end", sockets::come_and_go),
        ("the API is asked first", api::asked_first),
        ("csi-sanity passes", sanity::passes),
    ];
    fixture::scenarios(&world, scenarios)
}

/// Runs this program again in namespaces of its own, so that no mount can leak.
fn enter() -> ExitCode {
    // From there nothing can be downloaded.
    specs::sanity();
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--mount", "--net", "--propagation", "private", "--"]);
    let program = std::env::current_exe().unwrap();
    let status = unshare.arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1").status();
    let status = status.expect("unshare (util-linux) is needed for namespaces of the test's own");
    if let Some(signal) = status.signal() {
        eprintln!("the test was ended by signal {signal}");
    }
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Where the scenarios have their folders.
struct World {
    folder: PathBuf,
    count: AtomicUsize,
}

/// A node of a scenario, with a kubelet's directory of its own.
struct Machine {
    folder: PathBuf,
    server: Server,
    caller: Caller,
}

impl World {
    /// Starts a node in a folder of its own.
    fn machine(&self) -> Machine {
        let folder = self.folder.join(self.count.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir_all(folder.join("fake")).unwrap();
        Machine::start(folder)
    }
}

impl Machine {
    fn start(folder: PathBuf) -> Self {
        Self::looking_every("0", folder)
    }

    /// Starts it so that it looks after its clients every so many seconds.
    fn looking_every(seconds: &str, folder: PathBuf) -> Self {
        let server = Self::process(&folder, seconds);
        let caller = Caller::new(&folder.join("kubelet/plugins/gluster.bricklayer.dev/csi.sock"));
        Self { folder, server, caller }
    }

    fn process(folder: &Path, look: &str) -> Server {
        let path = format!("{}:{}", tree().join("tests/csi/bin").display(), std::env::var("PATH").unwrap());
        let fake = folder.join("fake");
        let env = [("PATH", path.as_str()), ("FAKE_CLIENT", fake.to_str().unwrap()), ("NODE_NAME", "node-a")];
        let kubelet = folder.join("kubelet");
        let words =
            ["node", "--kubelet-dir", kubelet.to_str().unwrap(), "--clients", "plugin", "--look-every", look];
        let words = [&words[..], &["--max-volumes", "32"]].concat();
        let config = folder.join("kubeconfig");
        let of_cluster = ["--kubeconfig", config.to_str().unwrap()];
        let words = [&words[..], if config.is_file() { &of_cluster } else { &[] }].concat();
        let mut server = Server::start(None, &words, &env, &folder.join("node.log"));
        server.wait_for_output("serves CSI on", 30);
        server
    }

    /// Kills the node and starts it again.
    fn again(self) -> Self {
        self.server.kill();
        Self::start(self.folder)
    }

    /// Kills the node and starts it again so that it looks after its clients.
    fn looking(self) -> Self {
        self.server.kill();
        Self::looking_every("1", self.folder)
    }

    /// A volume of this machine.
    fn volume(&self, name: &str) -> Volume {
        let staging = self.folder.join("kubelet/plugins/kubernetes.io/csi").join(name).join("globalmount");
        let context = [("volume", format!("vol_{name}")), ("servers", SERVERS[..2].join(","))];
        let context = context.map(|(key, value)| (key.to_owned(), value));
        Volume {
            handle: format!("pvc-{name}"),
            staging,
            context: HashMap::from(context),
            capability: capability(Mode::MultiNodeMultiWriter, &[]),
        }
    }

    /// Where a pod has its volume. The folder around it is made, as kubelet does.
    fn target(&self, pod: &str) -> PathBuf {
        let folder = self.folder.join("kubelet/pods").join(pod).join("volumes/kubernetes.io~csi/pv");
        std::fs::create_dir_all(&folder).unwrap();
        folder.join("mount")
    }

    /// Makes the fake client go wrong in a way, or work again.
    fn client(&self, how: &str, wrong: bool) {
        let file = self.folder.join("fake").join(how);
        if wrong {
            std::fs::write(file, "").unwrap();
        } else {
            std::fs::remove_file(file).unwrap();
        }
    }

    /// With which words clients were started.
    fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.folder.join("fake/calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// The records of staged volumes.
    fn records(&self) -> usize {
        let folder = self.folder.join("kubelet/plugins/gluster.bricklayer.dev/staged");
        std::fs::read_dir(folder).unwrap().count()
    }

    /// The mounts below the machine's folder.
    fn mounts(&self) -> Vec<Mounted> {
        let table = Table::read().unwrap();
        table.all().iter().filter(|mounted| mounted.at.starts_with(&self.folder)).cloned().collect()
    }

    /// Checks that nothing is left of any volume, and ends the node.
    fn clean(self) {
        assert_eq!(self.mounts(), []);
        assert_eq!(self.records(), 0);
        let logs = self.folder.join("kubelet/plugins/gluster.bricklayer.dev/log");
        assert!(std::fs::read_dir(logs).is_ok_and(|mut logs| logs.next().is_none()), "logs stay behind");
        self.server.stop();
    }
}

/// The code of a refusal, when its text has this in it.
fn refused<T: std::fmt::Debug>(answer: Result<T, tonic::Status>, text: &str) -> tonic::Code {
    let status = answer.unwrap_err();
    assert!(status.message().contains(text), "{status} does not say {text:?}");
    status.code()
}
