//! One replica 3 volume of 1 GiB on real nodes: by us over REST, and by a script with the plain commands.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::figure::Figure;
use crate::fixture::{Lab, Server, command, run};
use crate::http::Client;
use crate::machine::{self, Spent};

const ROUNDS: usize = 5;
const CREATE: &str = r#"{"size":1,"durability":{"type":"replicate","replicate":{"replica":3}}}"#;

/// Takes turns, so that both see the same machine.
pub fn measure() {
    let lab = Lab::start(3);
    let served = Served::start(&lab);
    let (mut ours, mut by_hand) = (vec![], vec![]);
    let (load, spent) = (machine::load(), Spent::now(0));
    // The first round opens connections and fills caches.
    for round in 0..=ROUNDS {
        let own = served.create();
        let script = run(lab.script("by-hand").stderr(std::process::Stdio::inherit()));
        let script: Value = serde_json::from_str(script.lines().last().unwrap()).unwrap();
        println!("round {round}: ours {own:.0} ms, by hand {script}");
        if round > 0 {
            ours.push(own);
            by_hand.push(script["total_ms"].as_f64().unwrap());
        }
    }
    let others = spent.since(0).others;
    served.server.stop();
    let ratios: Vec<f64> = ours.iter().zip(&by_hand).map(|(ours, by_hand)| ours / by_hand).collect();
    let ratio = Figure::median("ratio", "", ratios, load, others);
    let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    Figure::median("real_create", "ms", ours.clone(), load, others)
        .with("least", least(&ours))
        .with("ratio_to_by_hand", ratio.value)
        .keep();
    Figure::median("real_create_by_hand", "ms", by_hand.clone(), load, others)
        .with("least", least(&by_hand))
        .keep();
}

/// Creates a volume, waits until it is ready, deletes it; prints the milliseconds of the create.
pub fn create_once(url: &str) {
    let mut client = Client::connect(url.trim_start_matches("http://")).unwrap();
    let start = Instant::now();
    let made = client.done("POST", "/volumes", CREATE).location.unwrap();
    println!("{}", start.elapsed().as_secs_f64() * 1000.0);
    client.done("DELETE", &made, "");
}

struct Served<'a> {
    lab: &'a Lab,
    server: Server,
    url: String,
}

impl<'a> Served<'a> {
    fn start(lab: &'a Lab) -> Self {
        let config = json!({
            "use_auth": false,
            "glusterfs": {"executor": "ssh", "sshexec": {"keyfile": lab.file("id"), "user": "root", "port": "22"}},
        });
        let path = lab.file("heketi.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let (data, known_hosts) = (lab.file("bench-data"), lab.file("known_hosts"));
        let mut server = Server::start(
            Some(&lab.namespace),
            &[
                "serve",
                "--disable-auth",
                "--listen",
                "127.0.0.1:0",
                "--data",
                data.to_str().unwrap(),
                "--config",
                path.to_str().unwrap(),
            ],
            &[("SSH_KNOWN_HOSTS", known_hosts.to_str().unwrap())],
            &lab.file("serve.log"),
        );
        let url = server.address();
        let node = |node: usize| {
            let hostnames = json!({"manage": [lab.host(node)], "storage": [lab.host(node)]});
            json!({"node": {"hostnames": hostnames, "zone": node}, "devices": ["/dev/vdb"]})
        };
        let nodes: Vec<Value> = (1..=lab.nodes).map(node).collect();
        let file = lab.file("topology.json");
        std::fs::write(&file, json!({"clusters": [{"nodes": nodes}]}).to_string()).unwrap();
        run(command(Some(&lab.namespace), crate::fixture::BINARY).args([
            "topology",
            "load",
            "--json",
            file.to_str().unwrap(),
            "--server",
            &url,
        ]));
        Self { lab, server, url }
    }

    /// Milliseconds from the request to the volume; it is deleted again.
    fn create(&self) -> f64 {
        let own = std::env::current_exe().unwrap();
        let mut create: Command = command(Some(&self.lab.namespace), own);
        run(create.args(["create", &self.url])).trim().parse().unwrap()
    }
}
