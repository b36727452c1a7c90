//! What the tests of availability work with: replicas of the operator over nodes that are simulated in a
//! process of their own, a client that reads all the time, and a way to the API server that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::World;
use super::fixture::{BINARY, Server, run, wait_for};

/// Simulated nodes in a process of their own.
pub struct Nodes {
    server: Server,
    /// Where replicas reach them.
    socket: PathBuf,
    data: PathBuf,
}

impl Nodes {
    pub fn start(world: &World) -> Self {
        let (data, socket) = (world.data.path().to_owned(), world.data.path().join("nodes.sock"));
        let words = ["simulate", "--data", path(&data), "--socket", path(&socket), "--simulated-log"];
        let mut server = Server::start(None, &words, &[], &data.join("nodes.log"));
        server.wait_for_output("simulates nodes", 30);
        Self { server, socket, data }
    }

    /// How many commands a replica has sent so far, those of guards too.
    pub fn commands_of(&self, identity: &str) -> usize {
        let log = std::fs::read_to_string(self.data.join("simulated/commands.log")).unwrap_or_default();
        let by = format!("\"by\":\"{identity}\"");
        log.lines().filter(|line| line.contains(&by)).count()
    }

    /// Ends them and checks that objects and nodes agree on so many bricks.
    pub fn audit(self, world: &World, bricks: usize) {
        self.server.stop();
        let verdict = run(Command::new(BINARY)
            .args(["audit", "--kubernetes", "--simulated", "--data", path(&self.data)])
            .env("KUBECONFIG", world.cluster.admin()));
        assert!(verdict.contains(&format!("{bricks} bricks as placed, 0 wrong, 0 unsettled")), "{verdict}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A replica of the operator.
pub struct Replica {
    pub server: Server,
    pub identity: String,
    /// Where it serves REST.
    pub url: String,
}

impl Replica {
    /// Starts one that lets everybody in.
    pub fn start(world: &World, nodes: &Nodes, identity: &str) -> Self {
        Self::start_with(world, nodes, identity, &world.kubeconfig, &["--disable-auth"], &[])
    }

    /// Starts one that finds the API server by this kubeconfig.
    pub fn start_with(
        world: &World,
        nodes: &Nodes,
        identity: &str,
        kubeconfig: &Path,
        more: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let mut words = vec!["operator", "--listen", "127.0.0.1:0", "--rest-listen", "127.0.0.1:0"];
        words.extend([
            "--identity",
            identity,
            "--allow-simulated",
            "--simulated-socket",
            path(&nodes.socket),
        ]);
        words.extend(more);
        let mut all = vec![("KUBECONFIG", path(kubeconfig)), ("HEKETI_EXECUTOR", "mock")];
        all.extend(env);
        let log = world.data.path().join(format!("{identity}.log"));
        let mut server = Server::start(None, &words, &all, &log);
        let output = server.wait_for_output("Heketi's REST on", 60);
        let (_, url) = output.split_once("Heketi's REST on ").unwrap();
        let url = url.split_whitespace().next().unwrap().to_owned();
        Self { server, identity: identity.into(), url }
    }

    /// Waits until it works: it has the lease and has taken over.
    pub fn works(&mut self, seconds: u64) {
        self.server.wait_for_output("operator works", seconds);
    }

    /// Pauses it, as a machine that is overloaded or suspended does.
    pub fn pause(&self) {
        run(Command::new("kill").args(["-STOP", &self.server.pid().to_string()]));
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        run(Command::new("kill").args(["-CONT", &self.server.pid().to_string()]));
    }

    /// One request; the status, `Location` and body of its answer. Nothing when there was none.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, String, String)> {
        ask(&self.url, method, path, body)
    }

    /// Makes a volume, asking again until somebody takes the ask; its path.
    pub fn create_volume(&self, gib: u64, seconds: u64) -> String {
        let body = serde_json::json!({"size": gib, "durability": {"type": "replicate"}});
        let queue = wait_for("an ask for a volume to be taken", seconds, || {
            let (status, location, text) = self.ask("POST", "/volumes", Some(&body))?;
            assert!(matches!(status, 202 | 503), "{status}: {text}");
            (status == 202).then_some(location)
        });
        let (status, path, text) = self.finished(&queue, 60);
        assert_eq!(status, 303, "{text}");
        path
    }

    /// Removes a volume and waits until it is gone.
    pub fn delete_volume(&self, path: &str) -> String {
        let (status, queue, text) = self.ask("DELETE", path, None).unwrap();
        assert_eq!(status, 202, "{text}");
        let (status, _, text) = self.finished(&queue, 60);
        assert_eq!(status, 204, "{text}");
        queue
    }

    /// Waits until a queue entry is no longer pending.
    pub fn finished(&self, queue: &str, seconds: u64) -> (u16, String, String) {
        wait_for(&format!("{queue} to be finished"), seconds, || {
            self.ask("GET", queue, None).filter(|(status, ..)| *status != 200)
        })
    }
}

fn ask(url: &str, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, String, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(20)))
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .into();
    let to = format!("{url}{path}");
    let answer = match (method, body) {
        ("GET", None) => agent.get(to).call(),
        ("DELETE", None) => agent.delete(to).call(),
        ("POST", Some(body)) => agent.post(to).send_json(body),
        other => panic!("{other:?} is not asked for"),
    };
    let mut answer = answer.ok()?;
    let location = answer.headers().get("location").map(|l| l.to_str().unwrap().to_owned());
    let text = answer.body_mut().read_to_string().ok()?;
    Some((answer.status().as_u16(), location.unwrap_or_default(), text))
}

/// A client that reads all the time, and remembers what it was not told.
pub struct Reader {
    ends: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Reads lists and, once there is one, a volume from a replica.
    pub fn of(replica: &Replica) -> Self {
        let (ends, reads, failures) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<Mutex<Vec<_>>>)>::default();
        let (end, read, fail, url) = (ends.clone(), reads.clone(), failures.clone(), replica.url.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                let begun = Instant::now();
                let list = ask(&url, "GET", "/volumes", None);
                let cluster = ask(&url, "GET", "/clusters", None);
                for answer in [list, cluster] {
                    if !matches!(answer, Some((200, ..))) {
                        fail.lock().unwrap().push(format!("{answer:?} after {:?}", begun.elapsed()));
                    }
                }
                read.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { ends, reads, failures, thread: Some(thread) }
    }

    /// Ends, and insists that no read has failed.
    pub fn all_went_well(mut self) {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        let failures = self.failures.lock().unwrap();
        let reads = self.reads.load(Ordering::SeqCst);
        assert!(failures.is_empty(), "{} of {reads} reads failed: {:?}", failures.len(), failures.first());
        assert!(reads > 10, "only {reads} reads");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
    }
}

/// How a way treats what goes through it.
const PASS: usize = 0;
const SWALLOW: usize = 1;
const CUT: usize = 2;

/// A way to the API server that can be cut: connections stay open and nothing arrives any more, or they
/// break and new ones are not let in.
pub struct Way {
    /// A kubeconfig that takes this way.
    pub kubeconfig: PathBuf,
    mode: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    pub fn to(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let there = world.cluster.address();
        let text = std::fs::read_to_string(&world.kubeconfig).unwrap();
        let (old, new) = (format!("https://{there}"), format!("https://{here}"));
        assert!(text.contains(&old), "{old} is the server of the kubeconfig");
        let kubeconfig = world.data.path().join(format!("way-{}.conf", here.port()));
        std::fs::write(&kubeconfig, text.replace(&old, &new)).unwrap();
        let way = Self { kubeconfig, mode: Arc::default(), open: Arc::default() };
        let (mode, open) = (way.mode.clone(), way.open.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                match mode.load(Ordering::SeqCst) {
                    CUT => drop(stream),
                    _ => connect(stream, there, &mode, &open),
                }
            }
        });
        way
    }

    /// Nothing arrives any more, and nobody is told.
    pub fn swallow(&self) {
        self.mode.store(SWALLOW, Ordering::SeqCst);
    }

    /// All connections break, and no new ones are let in.
    pub fn cut(&self) {
        self.mode.store(CUT, Ordering::SeqCst);
        self.break_all();
    }

    /// All is well again. What was swallowed is lost with its connections.
    pub fn mend(&self) {
        self.break_all();
        self.mode.store(PASS, Ordering::SeqCst);
    }

    fn break_all(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn connect(here: TcpStream, to: SocketAddr, mode: &Arc<AtomicUsize>, open: &Mutex<Vec<TcpStream>>) {
    let Ok(there) = TcpStream::connect(to) else { return };
    open.lock().unwrap().extend([here.try_clone().unwrap(), there.try_clone().unwrap()]);
    for (mut from, mut to) in [(here.try_clone().unwrap(), there.try_clone().unwrap()), (there, here)] {
        let mode = mode.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                if mode.load(Ordering::SeqCst) == PASS && to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
