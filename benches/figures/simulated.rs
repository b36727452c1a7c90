//! Creates, memory and cold start: one server with simulated nodes.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::figure::Figure;
use crate::fixture::Server;
use crate::http::Client;
use crate::machine::{self, Spent};

const NODES: usize = 36;
const DEVICES: usize = 8;
const CREATE: &str = r#"{"size":1,"durability":{"type":"replicate","replicate":{"replica":3}}}"#;
const CONFIG: &str = r#"{"port": "0", "use_auth": false, "glusterfs": {"executor": "mock",
    "max_volumes_per_cluster": -1, "max_inflight_operations": 64}}"#;

/// Clients, and creates in a round.
const CLIENTS: [(usize, usize); 3] = [(1, 300), (8, 1000), (64, 2000)];
/// Each rate is the best of so many rounds: others use the machine too, and only take away.
const ROUNDS: usize = 3;
const STARTS: usize = 7;

/// Measures everything at each number of volumes. `VOLUMES` (`0,1000,10000`) and `ROUNDS` change the sizes.
pub fn measure() {
    let levels = std::env::var("VOLUMES").unwrap_or_else(|_| "0,1000,10000".into());
    let mut bench = Bench::start();
    bench.furnish();
    for level in levels.split(',').map(|n| n.parse().unwrap()) {
        bench.fill_to(level);
        for (clients, creates) in CLIENTS {
            bench.rate(level, clients, creates);
        }
        bench.memory(level);
        bench.cold_start(level);
    }
    bench.server.take().unwrap().stop();
}

struct Bench {
    data: tempfile::TempDir,
    server: Option<Server>,
    pid: u32,
    address: String,
    /// The volumes that are there.
    volumes: Vec<String>,
}

impl Bench {
    fn start() -> Self {
        let data = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::write(data.path().join("heketi.json"), CONFIG).unwrap();
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut bench = Self { data, server: None, pid: 0, address, volumes: vec![] };
        bench.start_server();
        bench.first_answer();
        bench
    }

    fn start_server(&mut self) {
        let file = |name: &str| -> PathBuf { self.data.path().join(name) };
        let (data, config) = (file("data"), file("heketi.json"));
        let words = ["serve", "--simulated", "--disable-auth", "--listen", &self.address];
        let paths = ["--data", data.to_str().unwrap(), "--config", config.to_str().unwrap()];
        let server = Server::start(None, &[&words[..], &paths].concat(), &[], &file("serve.log"));
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

    fn client(&self) -> Client {
        Client::connect(&self.address).expect("a server that listens")
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

    /// Creates so many volumes with so many clients. Gives back the milliseconds of each, and the new ids.
    fn create(&self, clients: usize, count: usize) -> (Vec<f64>, Vec<String>) {
        let begun = AtomicUsize::new(0);
        let work = || {
            let mut client = self.client();
            let mut made = vec![];
            while begun.fetch_add(1, Ordering::Relaxed) < count {
                let start = Instant::now();
                let answer = loop {
                    match client.job("POST", "/volumes", CREATE) {
                        Some(answer) => break answer,
                        None => std::thread::sleep(Duration::from_millis(2)),
                    }
                };
                made.push((start.elapsed().as_secs_f64() * 1000.0, answer.location.unwrap()));
            }
            made
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).unzip()
        })
    }

    fn delete(&self, volumes: Vec<String>) {
        let rest = parking_lot::Mutex::new(volumes);
        let work = || {
            let mut client = self.client();
            loop {
                let Some(volume) = rest.lock().pop() else { return };
                while client.job("DELETE", &volume, "").is_none() {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        };
        std::thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(work))));
    }

    fn fill_to(&mut self, level: usize) {
        let missing = level.saturating_sub(self.volumes.len());
        let start = Instant::now();
        let (_, made) = self.create(32, missing);
        self.volumes.extend(made);
        println!("filled to {level} in {:.1} s", start.elapsed().as_secs_f64());
    }

    fn rate(&self, level: usize, clients: usize, creates: usize) {
        let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
        let mut best: Option<Figure> = None;
        for _ in 0..rounds {
            let (load, spent, start) = (machine::load(), Spent::now(self.pid), Instant::now());
            let (times, made) = self.create(clients, creates);
            let seconds = start.elapsed().as_secs_f64();
            let share = spent.since(self.pid);
            let name = format!("create_rate_c{clients}_n{level}");
            let figure = Figure::new(&name, "creates/s", creates as f64 / seconds, times, load, share.others)
                .with("server_cpu_ms_per_create", share.server * 1000.0 / creates as f64);
            if best.as_ref().is_none_or(|best| figure.value > best.value) {
                best = Some(figure);
            }
            let (count, start) = (made.len(), Instant::now());
            self.delete(made);
            let rate = count as f64 / start.elapsed().as_secs_f64();
            best = best.map(|best| best.with("deletes_per_s", rate));
        }
        best.unwrap().keep();
    }

    fn memory(&self, level: usize) {
        let (now, most) = machine::memory(self.pid);
        Figure::new(&format!("memory_n{level}"), "MiB", now, vec![now], machine::load(), 0.0)
            .with("most", most)
            .keep();
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
        let (fresh, _) = machine::memory(self.pid);
        hello.sort_by(f64::total_cmp);
        let others = others.iter().sum::<f64>() / STARTS as f64;
        Figure::median(&format!("cold_start_n{level}"), "s", volume, load, others)
            .with("hello_s", hello[STARTS / 2])
            .with("memory_after_mib", fresh)
            .keep();
    }
}
