//! Many clients make, enlarge and delete volumes at once, on nodes that fail by chance, while the server is killed
//! three times. Everything comes to an end, nothing that was acknowledged is lost, and objects and nodes agree.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::http::{Answer, Token, try_send};
use crate::server::{ADMIN_KEY, USER_KEY};

const BINARY: &str = env!("CARGO_BIN_EXE_bricklayer");
/// What is drawn from when nobody says; `make test-long` draws another one.
const SEED: u64 = 11;
/// How many things are asked for in all, and by how many clients.
const ASKS: usize = 200;
const CLIENTS: usize = 16;
/// Nothing takes longer, a restart included.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server of its own process, always at the same address.
struct Process {
    address: SocketAddr,
    data: tempfile::TempDir,
    child: Mutex<Option<Child>>,
}

impl Process {
    fn new() -> Self {
        // Not one that the system gives away: between two of its lives somebody's connection would have it.
        let free = (20_000..32_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let free = free.into_iter().find(|address| std::net::TcpListener::bind(address).is_ok());
        let free = free.expect("a free port");
        let data = tempfile::tempdir().unwrap();
        let keys = json!({"admin": {"key": ADMIN_KEY}, "user": {"key": USER_KEY}});
        let config = json!({"jwt": keys, "glusterfs": {"executor": "mock", "loglevel": "error"}});
        std::fs::write(data.path().join("heketi.json"), config.to_string()).unwrap();
        std::fs::create_dir(data.path().join("simulated")).unwrap();
        Self { address: free, data, child: Mutex::default() }
    }

    fn path(&self) -> &Path {
        self.data.path()
    }

    fn start(&self) {
        let config = self.path().join("heketi.json");
        let address = self.address.to_string();
        let log = std::fs::File::options().create(true).append(true).open(self.path().join("log")).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["serve", "--listen", &address, "--data"]).arg(self.path()).arg("--config").arg(config);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        *self.child.lock() = Some(child);
    }

    /// Ends it without a word, or asks it to end.
    fn end(&self, signal: rustix::process::Signal) -> Option<i32> {
        let mut child = self.child.lock().take().expect("a running server");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        child.wait().unwrap().code()
    }

    fn faults(&self, rules: &[Value]) {
        let new = self.path().join("faults.new");
        std::fs::write(&new, json!({ "rules": rules }).to_string()).unwrap();
        std::fs::rename(new, self.path().join("simulated/faults.json")).unwrap();
    }

    /// Sends a request until somebody answers, and takes it: nobody is there while the server starts.
    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let until = Instant::now() + PATIENCE;
        let body = body.map(Value::to_string);
        loop {
            let token = Token::admin(method, path).bearer();
            let bytes = body.as_deref().map(str::as_bytes);
            match try_send(self.address, method, path, Some(&token), bytes).await {
                Ok(answer) if !matches!(answer.status, 429 | 503) => return answer,
                _ => {}
            }
            assert!(Instant::now() < until, "{method} {path}: no answer");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the end of what was answered with 202.
    async fn finished(&self, answer: Answer) -> Answer {
        if answer.status != 202 {
            return answer;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.ask("GET", &answer.headers["location"], None).await;
            if !seen.headers.contains_key("x-pending") {
                return seen;
            }
            assert!(Instant::now() < until, "{} is pending for long", answer.headers["location"]);
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn furnish(&self) {
        let made = self.ask("POST", "/clusters", Some(&json!({"file": true}))).await;
        let cluster = crate::server::id_in(&made.body);
        for n in 1..=3 {
            let hostnames = json!({"manage": [format!("m{n}")], "storage": [format!("10.0.0.{n}")]});
            let node = json!({"zone": n, "hostnames": hostnames, "cluster": cluster});
            let made = self.finished(self.ask("POST", "/nodes", Some(&node)).await).await;
            assert_eq!(made.status, 303, "{made:?}");
            let id = made.headers["location"].rsplit('/').next().unwrap().to_owned();
            for disk in ["/dev/sdb", "/dev/sdc"] {
                let device = json!({"name": disk, "node": id});
                assert_eq!(
                    self.finished(self.ask("POST", "/devices", Some(&device)).await).await.status,
                    204
                );
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a client knows of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// It is there and has at least so many GiB.
    There(u64),
    /// It was deleted.
    Gone,
}

/// One client: makes a volume, or enlarges or deletes one of its own.
async fn client(process: &Process, seed: u64, asked: &AtomicUsize) -> BTreeMap<String, Known> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut mine: BTreeMap<String, Known> = BTreeMap::new();
    while asked.fetch_add(1, Ordering::Relaxed) < ASKS {
        let there: Vec<String> =
            mine.iter().filter(|(_, known)| **known != Known::Gone).map(|(id, _)| id.clone()).collect();
        let what = dice.random_range(0..10);
        match there.get(dice.random_range(0..there.len().max(1))) {
            Some(id) if what < 3 => {
                let body = json!({"expand_size": 1});
                let path = format!("/volumes/{id}/expand");
                let done = process.finished(process.ask("POST", &path, Some(&body)).await).await;
                if done.status == 303 {
                    let Some(Known::There(size)) = mine.get_mut(id) else { panic!("{id}") };
                    *size += 1;
                }
            }
            Some(id) if what < 6 => {
                // Asked again because an answer was lost, it is on its way, or gone.
                let path = format!("/volumes/{id}");
                let until = Instant::now() + PATIENCE;
                loop {
                    assert!(Instant::now() < until, "{id} is not deleted");
                    let done = process.finished(process.ask("DELETE", &path, None).await).await;
                    match done.status {
                        204 | 404 => break,
                        500 if done.body.starts_with("Failed to set up volume delete") => {}
                        _ => panic!("{done:?}"),
                    }
                    sleep(Duration::from_millis(50)).await;
                }
                mine.insert(id.clone(), Known::Gone);
            }
            _ => {
                let durability = match what % 2 {
                    0 => json!({"type": "replicate", "replicate": {"replica": 3}}),
                    _ => json!({"type": "none"}),
                };
                let body = json!({"size": 1, "durability": durability});
                let done = process.finished(process.ask("POST", "/volumes", Some(&body)).await).await;
                if done.status == 303 {
                    let id = done.headers["location"].rsplit('/').next().unwrap().to_owned();
                    mine.insert(id, Known::There(1));
                }
            }
        }
    }
    mine
}

/// Faults that come by chance, each once.
fn chances(seed: u64) -> Vec<Value> {
    let mut dice = StdRng::seed_from_u64(seed);
    let commands = [
        "lvcreate",
        "mkfs.xfs",
        "mount",
        "volume create",
        "volume start",
        "volume set",
        "add-brick",
        "volume stop",
        "lvremove",
    ];
    let mut rule = || {
        let fault = match dice.random_range(0..5) {
            0 => json!({"fail_before": {"exit": 5, "stderr": "by chance"}}),
            1 => json!({"fail_after": {"exit": 5, "stderr": "by chance"}}),
            2 => json!("lose_answer"),
            3 => json!("lose_reply"),
            _ => json!({"slow": 1500}),
        };
        let command = commands[dice.random_range(0..commands.len())];
        json!({"command": command, "skip": dice.random_range(0..120), "times": 1, "fault": fault})
    };
    (0..40).map(|_| rule()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_in_turmoil() {
    let seed = std::env::var("BRICKLAYER_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(SEED);
    println!("seed {seed}");
    let process = Arc::new(Process::new());
    process.start();
    process.furnish().await;
    process.faults(&chances(seed));
    let asked = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS as u64)
        .map(|n| {
            let (process, asked) = (process.clone(), asked.clone());
            tokio::spawn(async move { client(&process, seed + n, &asked).await })
        })
        .collect();
    for part in [ASKS / 4, ASKS / 2, ASKS * 3 / 4] {
        let until = Instant::now() + PATIENCE;
        while asked.load(Ordering::Relaxed) < part {
            assert!(Instant::now() < until, "nobody asks any more");
            sleep(Duration::from_millis(5)).await;
        }
        process.end(rustix::process::Signal::KILL);
        process.start();
    }
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for client in clients {
        known.extend(client.await.unwrap());
    }
    process.faults(&[]);
    let until = Instant::now() + PATIENCE;
    loop {
        let operations = process.ask("GET", "/operations", None).await;
        let operations: Value = serde_json::from_str(&operations.body).unwrap();
        if operations["total"] == 0 {
            break;
        }
        assert!(Instant::now() < until, "it does not come to an end: {operations}");
        sleep(Duration::from_millis(100)).await;
    }
    let list: Value = serde_json::from_str(&process.ask("GET", "/volumes", None).await.body).unwrap();
    for (id, known) in &known {
        let found = process.ask("GET", &format!("/volumes/{id}"), None).await;
        match known {
            Known::Gone => assert_eq!(found.status, 404, "{id} was deleted: {found:?}"),
            Known::There(size) => {
                let volume: Value = serde_json::from_str(&found.body).unwrap();
                assert!(volume["size"].as_u64() >= Some(*size), "{id} had {size} GiB: {found:?}");
            }
        }
    }
    let there = known.values().filter(|known| matches!(known, Known::There(_))).count();
    println!(
        "{} volumes were made, {there} are known to be there, {} are",
        known.len(),
        list["volumes"].as_array().unwrap().len()
    );
    assert!(known.len() > ASKS / 5, "most creates have failed");
    assert_eq!(process.end(rustix::process::Signal::TERM), Some(0));
    let audit =
        Command::new(BINARY).args(["audit", "--simulated", "--data"]).arg(process.path()).output().unwrap();
    let verdict = String::from_utf8_lossy(&[audit.stdout, audit.stderr].concat()).into_owned();
    assert!(audit.status.success() && verdict.contains(" 0 wrong, 0 unsettled"), "{verdict}");
}
