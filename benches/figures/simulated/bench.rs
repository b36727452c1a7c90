//! One server and its volumes, and what is measured of them.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::copies;
use super::subject::{DATABASE, Subject};
use crate::figure::Figure;
use crate::fixture::Server;
use crate::http::Client;
use crate::machine::{self, Spent};

/// How long a server rests before its memory is measured: what a load needed and is over is not what it takes.
const REST: Duration = Duration::from_secs(5);
const NODES: usize = 36;
const DEVICES: usize = 8;
const CREATE: &str = r#"{"size":1,"durability":{"type":"replicate","replicate":{"replica":3}}}"#;
/// How many volumes are there for certain to be copied.
const PATTERNS: usize = 100;
/// How many clients delete.
const DELETERS: usize = 16;
/// What is read, and how often in a round.
const READS: [(&str, usize); 2] = [("get_one", 4000), ("list", 1000)];
const READERS: [usize; 2] = [1, 8];
/// Each figure is the best of so many rounds: others use the machine too, and only take away.
const ROUNDS: usize = 3;
const STARTS: usize = 7;

/// A server under measurement.
pub struct Bench {
    subject: Subject,
    rounds: usize,
    folder: tempfile::TempDir,
    nodes: Option<Server>,
    server: Option<Server>,
    pid: u32,
    address: String,
    /// The volumes that are there.
    volumes: Vec<String>,
}

impl Bench {
    /// Starts a server with empty nodes.
    pub fn start(subject: Subject) -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
        let (nodes, address) = (subject.nodes(folder.path()), free_address());
        let mut bench =
            Self { subject, rounds, folder, nodes, server: None, pid: 0, address, volumes: vec![] };
        bench.start_server();
        bench.first_answer();
        bench.furnish();
        bench
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        for server in [self.server.take(), self.nodes.take()].into_iter().flatten() {
            server.stop();
        }
    }

    /// Fills it to so many volumes, and measures everything.
    pub fn measure(&mut self, level: usize) {
        self.fill_to(level);
        for (clients, creates) in self.subject.creates(level) {
            self.rate(level, *clients, *creates);
        }
        self.memory(level);
        for (what, reads) in READS {
            for clients in READERS {
                if self.subject.is_read() && level > 0 {
                    self.reads(what, level, clients, reads);
                }
            }
        }
        self.cold_start(level);
    }

    fn start_server(&mut self) {
        let server = self.subject.serve(self.folder.path(), &self.address);
        self.pid = server.pid();
        self.server = Some(server);
    }

    /// Waits for the answer to a first request, looking every millisecond.
    fn first_answer(&self) -> Client {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(mut client) = Client::connect(&self.address) {
                assert_eq!(client.ask("GET", "/hello", "").status, 200);
                return client;
            }
            assert!(Instant::now() < until, "the server does not listen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn furnish(&self) {
        let mut client = self.client();
        let made = client.ask("POST", "/clusters", r#"{"file":true,"block":true}"#);
        let id = |body: &[u8]| {
            serde_json::from_slice::<serde_json::Value>(body).unwrap()["id"].as_str().unwrap().to_owned()
        };
        let cluster = id(&made.body);
        for node in 1..=NODES {
            let zone = node % 3 + 1;
            let body = format!(
                r#"{{"zone":{zone},"cluster":"{cluster}","hostnames":{{"manage":["node{node}.manage"],"storage":["node{node}.storage"]}}}}"#
            );
            let made = client.done("POST", "/nodes", &body).location.unwrap();
            let node = made.rsplit('/').next().unwrap();
            for disk in 0..DEVICES {
                let path = format!("/dev/sd{}", char::from(b'b' + disk as u8));
                client.done("POST", "/devices", &format!(r#"{{"name":"{path}","node":"{node}"}}"#));
            }
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.address).expect("a server that listens")
    }

    /// Does something so often, with so many clients at once; it is told which time it is.
    fn by_clients<T: Send>(
        &self,
        clients: usize,
        count: usize,
        one: impl Fn(&mut Client, usize) -> T + Sync,
    ) -> Vec<T> {
        let begun = AtomicUsize::new(0);
        let work = || {
            let mut client = self.client();
            let next = || Some(begun.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count);
            std::iter::from_fn(next).map(|number| one(&mut client, number)).collect::<Vec<T>>()
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        })
    }

    /// Creates so many volumes with so many clients. Gives back the milliseconds of each, and the new ids.
    fn create(&self, clients: usize, count: usize) -> (Vec<f64>, Vec<String>) {
        let one = |client: &mut Client, _| {
            let start = Instant::now();
            let made = client.insist("POST", "/volumes", CREATE).location.unwrap();
            (milliseconds(start), made)
        };
        self.by_clients(clients, count, one).into_iter().unzip()
    }

    fn fill_to(&mut self, level: usize) {
        let start = Instant::now();
        if let Some(binary) = self.subject.copied_by(level) {
            self.create(self.subject.fillers(), PATTERNS);
            self.server.take().unwrap().stop();
            let ids = copies::fill(&binary, &self.folder.path().join(DATABASE), level);
            self.volumes = ids.into_iter().map(|id| format!("/volumes/{id}")).collect();
            self.start_server();
            self.first_answer();
        }
        let missing = level.saturating_sub(self.volumes.len());
        let (_, made) = self.create(self.subject.fillers(), missing);
        self.volumes.extend(made);
        println!("filled to {level} in {:.1} s", start.elapsed().as_secs_f64());
    }

    fn rate(&self, level: usize, clients: usize, creates: usize) {
        let name = self.subject.figure("create_rate", &format!("c{clients}_n{level}"));
        let mut rounds = vec![];
        let mut deletes: f64 = 0.0;
        for _ in 0..self.rounds {
            let (load, spent, start) = (machine::load(), Spent::now(self.pid), Instant::now());
            let (times, made) = self.create(clients, creates);
            let seconds = start.elapsed().as_secs_f64();
            let share = spent.since(self.pid);
            let figure = Figure::new(&name, "creates/s", creates as f64 / seconds, times, load, share.others)
                .with("server_cpu_ms_per_create", share.server * 1000.0 / creates as f64);
            rounds.push(figure);
            let start = Instant::now();
            self.by_clients(DELETERS, creates, |client, number| client.insist("DELETE", &made[number], ""));
            deletes = deletes.max(creates as f64 / start.elapsed().as_secs_f64());
        }
        let best = rounds.into_iter().max_by(|one, other| one.value.total_cmp(&other.value));
        best.unwrap().with("deletes_per_s", deletes).keep();
    }

    /// Asks for one volume after the other, or for the list of all.
    fn reads(&self, what: &str, level: usize, clients: usize, reads: usize) {
        let name = self.subject.figure(what, &format!("c{clients}_n{level}"));
        let read = |client: &mut Client, number: usize| {
            let path = if what == "list" { "/volumes" } else { &self.volumes[number % self.volumes.len()] };
            let start = Instant::now();
            let answer = client.ask("GET", path, "");
            let time = milliseconds(start);
            assert_eq!(answer.status, 200, "{path}");
            time
        };
        let round = || {
            let (load, spent) = (machine::load(), Spent::now(self.pid));
            let times = self.by_clients(clients, reads, read);
            Figure::p99(&name, "ms", times, load, spent.since(self.pid).others)
        };
        let rounds = std::iter::repeat_with(round).take(self.rounds);
        rounds.min_by(|one, other| one.value.total_cmp(&other.value)).unwrap().keep();
    }

    fn memory(&self, level: usize) {
        std::thread::sleep(REST);
        let (now, most) = machine::memory(self.pid);
        let name = self.subject.figure("memory", &format!("n{level}"));
        Figure::new(&name, "MiB", now, vec![now], machine::load(), 0.0).with("most", most).keep();
    }

    fn cold_start(&mut self, level: usize) {
        let (mut hello, mut volume, mut others) = (vec![], vec![], vec![]);
        let load = machine::load();
        for _ in 0..STARTS {
            self.server.take().unwrap().stop();
            let (spent, start) = (Spent::now(0), Instant::now());
            self.start_server();
            let mut client = self.first_answer();
            hello.push(start.elapsed().as_secs_f64());
            if let Some(path) = self.volumes.first() {
                client.json(path);
            }
            volume.push(start.elapsed().as_secs_f64());
            // The new process had spent nothing before: all of its time is its own.
            others.push(spent.since(self.pid).others);
        }
        std::thread::sleep(REST);
        let (fresh, most) = machine::memory(self.pid);
        hello.sort_by(f64::total_cmp);
        let others = others.iter().sum::<f64>() / STARTS as f64;
        Figure::median(&self.subject.figure("cold_start", &format!("n{level}")), "s", volume, load, others)
            .with("hello_s", hello[STARTS / 2])
            .with("memory_after_mib", fresh)
            .with("memory_most_mib", most)
            .keep();
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Not one that the system gives away: between two lives of a server somebody's connection would have it.
fn free_address() -> String {
    let free = (20_000..32_000).map(|port| format!("127.0.0.1:{port}"));
    free.into_iter().find(|address| TcpListener::bind(address).is_ok()).expect("a free port")
}
