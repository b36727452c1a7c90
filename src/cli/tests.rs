//! The commands against a server on loopback that gives canned answers and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Parser;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use serde_json::{Value, json};

use super::*;

#[derive(Parser)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub command: ClientCommand,
}

pub(super) const CLUSTER: &str = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0";
pub(super) const NODE: &str = "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0";
pub(super) const DEVICE: &str = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0";
pub(super) const VOLUME: &str = "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0";

/// A request as it came in: `METHOD /path`, the token, the body.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    token: Option<String>,
    body: Value,
}

/// Status, headers, body.
pub(super) type Canned = (u16, &'static str, String);

pub(super) struct Fake {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Answers of one line are given one after the other; the last one again and again.
    pub fn new(answers: Vec<(&str, Canned)>) -> Self {
        let mut routes: HashMap<String, VecDeque<Canned>> = HashMap::new();
        for (line, canned) in answers {
            routes.entry(line.into()).or_default().push_back(canned);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(vec![]));
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &mut routes, &log);
            }
        });
        Self { url, asked }
    }

    /// Runs a command: its exit code, its output, its errors.
    pub fn run(&self, words: &[&str]) -> (u8, String, String) {
        run_words(&[words, &["--server", &self.url]].concat())
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked.lock().iter().map(|asked| asked.line.clone()).collect()
    }

    pub fn body(&self, line: &str) -> Value {
        let asked = self.asked.lock();
        asked.iter().find(|asked| asked.line == line).unwrap().body.clone()
    }
}

pub(super) fn run_words(words: &[&str]) -> (u8, String, String) {
    let cli = Cli::try_parse_from([&["bricklayer"], words].concat()).unwrap();
    let (mut out, mut err) = (vec![], vec![]);
    let code = run_to(&cli.command, &mut Out::plain(&mut out), &mut err, false);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn serve(stream: TcpStream, routes: &mut HashMap<String, VecDeque<Canned>>, log: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim().to_owned()
    };
    let first = line();
    let (mut token, mut length) = (None, 0);
    loop {
        let header = line();
        let Some((name, value)) = header.split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "authorization" => token = value.strip_prefix("Bearer ").map(str::to_owned),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let line = first.trim_end_matches(" HTTP/1.1").to_owned();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    log.lock().push(Asked { line: line.clone(), token, body });
    let missing = (404, "", "Invalid path or request\n".to_owned());
    let (status, headers, body) = match routes.get_mut(&line) {
        Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
        Some(answers) => answers.front().cloned().unwrap(),
        None => missing,
    };
    let length = body.len();
    let mut stream = stream;
    let answer = format!(
        "HTTP/1.1 {status} X\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).unwrap();
}

pub(super) fn ok(body: Value) -> Canned {
    (200, "", body.to_string())
}

pub(super) fn text(status: u16, body: &str) -> Canned {
    (status, "", format!("{body}\n"))
}

pub(super) fn device() -> Value {
    json!({ "id": DEVICE, "name": "/dev/sdb", "state": "online", "tags": { "tier": "ssd" },
        "storage": { "total": 104857600, "free": 94371840, "used": 10485760 },
        "pv_uuid": "xyz", "bricks": [brick()] })
}

fn brick() -> Value {
    json!({ "id": "e0", "path": "/bricks/e0/brick", "device": DEVICE, "node": NODE, "volume": VOLUME,
        "size": 10485760 })
}

pub(super) fn node() -> Value {
    json!({ "id": NODE, "cluster": CLUSTER, "zone": 1, "state": "online", "devices": [device()],
        "hostnames": { "manage": ["node1"], "storage": ["10.0.0.1"] } })
}

pub(super) fn cluster_of(nodes: &[&str], volumes: &[&str]) -> Value {
    json!({ "id": CLUSTER, "nodes": nodes, "volumes": volumes, "block": false, "file": true,
        "blockvolumes": [] })
}

pub(super) fn volume(name: &str) -> Value {
    json!({ "id": VOLUME, "name": name, "size": 10, "cluster": CLUSTER,
        "durability": { "type": "replicate", "replicate": { "replica": 3 }, "disperse": {} },
        "glustervolumeoptions": ["", "performance.cache-size 64MB", ""],
        "snapshot": { "enable": true, "factor": 1.5 }, "blockinfo": {}, "bricks": [brick()],
        "mount": { "glusterfs": { "hosts": ["10.0.0.1", "10.0.0.2"], "device": format!("10.0.0.1:{name}"),
            "options": { "backup-volfile-servers": "10.0.0.2" } } } })
}

pub(super) fn an_estate() -> Vec<(&'static str, Canned)> {
    vec![
        ("GET /clusters", ok(json!({ "clusters": [CLUSTER] }))),
        ("GET /clusters/c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0", ok(cluster_of(&[NODE], &[VOLUME]))),
        ("GET /nodes/a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0", ok(node())),
        ("GET /devices/d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0", ok(device())),
        ("GET /volumes", ok(json!({ "volumes": [VOLUME] }))),
        ("GET /volumes/b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0", ok(volume("mydata"))),
    ]
}

pub(super) fn queued(end: Canned) -> Vec<Canned> {
    vec![(200, "X-Pending: true\r\n", String::new()), (200, "X-Pending: true\r\n", String::new()), end]
}

#[test]
fn lists_and_things_are_aligned_columns() {
    let fake = Fake::new(an_estate());
    for (words, expected) in [
        (
            vec!["cluster", "list"],
            "\
ID                                KINDS  NODES  VOLUMES
c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0  file   1      1
",
        ),
        (
            vec!["node", "list"],
            "\
ID                                MANAGE  STORAGE   ZONE  STATE   DEVICES  SIZE       FREE      CLUSTER
a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0  node1   10.0.0.1  1     online  1        100.0 GiB  90.0 GiB  c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0
",
        ),
        (
            vec!["device", "info", DEVICE],
            "\
Id:       d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0
Name:     /dev/sdb
State:    online
Size:     100.0 GiB
Used:     10.0 GiB
Free:     90.0 GiB
PV UUID:  xyz
Tags:     tier=ssd

SIZE      VOLUME                            PATH
10.0 GiB  b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0  /bricks/e0/brick
",
        ),
        (
            vec!["volume", "list"],
            "\
ID                                NAME    SIZE    DURABILITY   MOUNT            CLUSTER
b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0  mydata  10 GiB  replicate 3  10.0.0.1:mydata  c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0
",
        ),
        (
            vec!["volume", "info", "mydata"],
            "\
Name:             mydata
Id:               b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0
Size:             10 GiB
Durability:       replicate 3
Cluster:          c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0
Snapshot factor:  1.5
Options:          performance.cache-size 64MB
Mount it:         mount -t glusterfs -o backup-volfile-servers=10.0.0.2 10.0.0.1:mydata /mnt

NODE                              DEVICE                            SIZE      PATH
a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0  d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0  10.0 GiB  /bricks/e0/brick
",
        ),
    ] {
        let (code, out, err) = fake.run(&words);
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
        assert_eq!(out, expected, "{words:?}");
    }
}

#[test]
fn every_look_prints_the_servers_json() {
    let fake = Fake::new(an_estate());
    let whole = json!({ "clusters": [{ "id": CLUSTER, "file": true, "block": false, "nodes": [node()],
        "volumes": [volume("mydata")] }] });
    for (words, expected) in [
        (vec!["cluster", "list"], json!({ "clusters": [CLUSTER] })),
        (vec!["cluster", "info", CLUSTER], cluster_of(&[NODE], &[VOLUME])),
        (vec!["node", "list"], json!({ "nodes": [node()] })),
        (vec!["node", "info", NODE], node()),
        (vec!["device", "info", DEVICE], device()),
        (vec!["volume", "list"], json!({ "volumes": [VOLUME] })),
        (vec!["volume", "info", VOLUME], volume("mydata")),
        (vec!["topology", "info"], whole),
    ] {
        let (code, out, err) = fake.run(&[&words[..], &["-o", "json"]].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected, "{words:?}");
    }
}

#[test]
fn the_whole_estate_is_shown() {
    let fake = Fake::new(an_estate());
    let (code, out, _) = fake.run(&["topology", "info"]);
    assert_eq!(code, 0);
    for part in ["Cluster c0c0c0", "(file)", "Devices of node1:", "/dev/sdb", "tier=ssd", "mydata"] {
        assert!(out.contains(part), "{part} in {out}");
    }
    let empty = Fake::new(vec![("GET /clusters", ok(json!({ "clusters": [] })))]);
    let (code, out, _) = empty.run(&["topology", "info"]);
    assert!(code == 0 && out.contains("topology load"), "{out}");
}

#[test]
fn a_volume_is_created_waited_for_and_shown() {
    let mut answers = an_estate();
    answers.push(("POST /volumes", (202, "Location: /queue/77\r\n", String::new())));
    let location = "Location: /volumes/b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0\r\n";
    answers
        .extend(queued((303, location, String::new())).into_iter().map(|canned| ("GET /queue/77", canned)));
    let fake = Fake::new(answers);
    let words = [
        "volume",
        "create",
        "--size=10",
        "--name=mydata",
        "--gid=2000",
        "--options=a.b 1,c.d 2",
        "--snapshot-factor=1.5",
        "--user=admin",
        "--secret=My Secret",
        "--clusters",
        CLUSTER,
    ];
    let (code, out, err) = fake.run(&words);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("mount -t glusterfs") && out.contains("mydata"), "{out}");
    assert_eq!(
        fake.body("POST /volumes"),
        json!({ "size": 10, "name": "mydata", "gid": 2000, "clusters": [CLUSTER],
            "durability": { "type": "replicate", "replicate": { "replica": 3 } },
            "glustervolumeoptions": ["a.b 1", "c.d 2"], "snapshot": { "enable": true, "factor": 1.5 } })
    );
    let queue = "GET /queue/77";
    let result = "GET /volumes/b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0";
    assert_eq!(fake.lines(), ["POST /volumes", queue, queue, queue, result]);
    for asked in fake.asked.lock().iter() {
        check_token(asked);
    }
}

/// Every request has a token of its own, for its method and path.
fn check_token(asked: &Asked) {
    let token = asked.token.as_ref().unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let qsh = Sha256::digest(asked.line.replacen(' ', "&", 1));
    let qsh: String = qsh.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(claims["iss"], "admin");
    assert_eq!(claims["qsh"], json!(qsh));
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(lifetime, 300);
    let key = jsonwebtoken::DecodingKey::from_secret(b"My Secret");
    let rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    assert!(jsonwebtoken::decode::<Value>(token, &key, &rules).is_ok());
}

#[test]
fn a_volume_is_expanded_by_its_name() {
    let mut grown = volume("mydata");
    grown["size"] = json!(15);
    let path = format!("POST /volumes/{VOLUME}/expand");
    let fake = Fake::new(vec![
        ("GET /volumes", ok(json!({ "volumes": [VOLUME] }))),
        ("GET /volumes/b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0", ok(volume("mydata"))),
        ("GET /volumes/b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0", ok(grown)),
        (&path, (202, "Location: /queue/1\r\n", String::new())),
        ("GET /queue/1", (303, "Location: /volumes/b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0\r\n", String::new())),
    ]);
    let (code, out, err) = fake.run(&["volume", "expand", "--volume", "mydata", "--expand-size", "5"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("15"), "{out}");
    assert_eq!(fake.body(&path), json!({ "expand_size": 5 }));
}

#[test]
fn a_volume_is_deleted_by_its_name() {
    let mut answers = an_estate();
    let delete = "DELETE /volumes/b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0";
    answers.push((delete, (202, "Location: /queue/78\r\n", String::new())));
    answers.push(("GET /queue/78", (204, "", String::new())));
    let fake = Fake::new(answers);
    let (code, out, err) = fake.run(&["volume", "delete", "mydata"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("Deleted volume mydata ({VOLUME})\n"));
    assert!(fake.lines().contains(&delete.to_owned()));
    assert!(fake.asked.lock().iter().all(|asked| asked.token.is_none()));

    let (code, _, err) = fake.run(&["volume", "delete", "other"]);
    assert_eq!(code, 1);
    assert!(err.contains("volume other: there is no volume of this name"), "{err}");
}

#[test]
fn refusals_are_told_with_what_to_do() {
    let create = ["volume", "create", "--size", "10"];
    let location = |to: &'static str| (202, to, String::new());
    for (canned, queue, code, said) in [
        (text(401, "Required authorization token not found"), None, 1, "give --user and --secret"),
        (text(401, "Administrator access required"), None, 1, "--user admin"),
        (text(500, "Failed to allocate new volume: No space"), None, 1, "add devices"),
        (text(400, "No clusters configured"), None, 1, "topology load"),
        (text(409, ""), None, 1, "status 409"),
        (text(503, "Service disabled for maintenance"), None, 1, "maintenance"),
        (location("Location: /queue/1\r\n"), Some(text(500, "lvcreate: no")), 1, "lvcreate: no"),
        (location("Location: /queue/1\r\n"), Some(text(404, "Id not found")), 1, "forgotten"),
        (location("Location: http://elsewhere/queue/1\r\n"), None, 1, "elsewhere"),
        (ok(json!({})), None, 1, "status 200"),
    ] {
        let mut answers = vec![("POST /volumes", canned.clone())];
        answers.extend(queue.map(|queue| ("GET /queue/1", queue)));
        let (seen, out, err) = Fake::new(answers).run(&create);
        assert_eq!((seen, out.as_str()), (code, ""), "{canned:?}");
        assert!(err.starts_with("error: create a volume of 10 GiB") || err.contains("status 200"), "{err}");
        assert!(err.contains(said), "{said:?} in {err}");
    }
    let garbled = Fake::new(vec![("GET /clusters", text(200, "<html>"))]);
    let (code, _, err) = garbled.run(&["cluster", "list"]);
    assert!(code == 1 && err.contains("not understood") && err.contains("Heketi"), "{err}");
}

#[test]
fn a_busy_server_is_asked_again() {
    let mut answers = vec![("GET /clusters", (429, "Retry-After: 0\r\n", "busy".into()))];
    answers.extend(an_estate());
    let fake = Fake::new(answers);
    assert_eq!(fake.run(&["cluster", "list"]).0, 0);
    let always = Fake::new(vec![("GET /clusters", (429, "Retry-After: 0\r\n", "busy".into()))]);
    let (code, _, err) = always.run(&["cluster", "list"]);
    assert!(code == 1 && err.contains("try again later"), "{err}");
    assert_eq!(always.lines().len(), 7);
}

#[test]
fn waiting_has_an_end() {
    let fake = Fake::new(vec![
        ("POST /volumes", (202, "Location: /queue/1\r\n", String::new())),
        ("GET /queue/1", (200, "X-Pending: true\r\n", String::new())),
    ]);
    let (code, _, err) = fake.run(&["volume", "create", "--size=1", "--timeout=1s"]);
    assert!(code == 1 && err.contains("still not done after 1 s") && err.contains("--timeout"), "{err}");
}

#[test]
fn an_absent_server_is_exit_3() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", taken.local_addr().unwrap());
    drop(taken);
    let (code, out, err) = run_words(&["volume", "list", "--server", &url]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("connection refused") && err.contains("make run"), "{err}");
}

#[test]
fn wrong_usage_is_refused_before_anything_is_sent() {
    for words in [
        vec!["volume", "create"],
        vec!["volume", "create", "--size=0"],
        vec!["volume", "create", "--size=1", "--name=a/b"],
        vec!["volume", "create", "--size=1", "--snapshot-factor=0.5"],
        vec!["volume", "create", "--size=1", "--replica=1"],
        vec!["volume", "info", "../x"],
        vec!["cluster", "info", "xyz"],
        vec!["volume", "list", "--timeout=soon"],
        vec!["volume", "list", "-o", "xml"],
    ] {
        let error = Cli::try_parse_from([&["bricklayer"], &words[..]].concat()).err().unwrap();
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
    assert_eq!(run_words(&["volume", "list", "--server", "https://x"]).0, 2);
    assert_eq!(run_words(&["topology", "load", "--json", "/nonexistent"]).0, 2);
}

#[test]
fn the_options_are_well_formed_and_help_teaches() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    let mut cli = Cli::command();
    let volume = cli.find_subcommand_mut("volume").unwrap();
    let create = volume.find_subcommand_mut("create").unwrap().render_long_help().to_string();
    assert!(create.contains("bricklayer volume create --size 10 --durability none"), "{create}");
}

/// A server that takes whole topologies. It refuses the host `bad` and the disk `/dev/bad`.
fn for_loading(there: Vec<Value>) -> Fake {
    let ids: Vec<String> = there.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
    let clusters = if there.is_empty() { vec![] } else { vec![CLUSTER] };
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    Fake::new(vec![
        ("GET /clusters", ok(json!({ "clusters": clusters }))),
        ("GET /clusters/c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0", ok(cluster_of(&ids, &[]))),
        ("POST /clusters", (201, "", cluster_of(&[], &[]).to_string())),
        ("DELETE /clusters/c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0", (200, "", String::new())),
        ("GET /nodes/a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0", ok(node())),
        ("POST /nodes", (202, "Location: /queue/1\r\n", String::new())),
        ("GET /queue/1", (303, "Location: /nodes/a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0\r\n", String::new())),
        ("POST /devices", (202, "Location: /queue/2\r\n", String::new())),
        ("GET /queue/2", (204, "", String::new())),
        ("GET /queue/2", text(500, "Initializing device failed (already initialized?)")),
    ])
}

fn load(fake: &Fake, topology: &Value, more: &[&str]) -> (u8, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("topology.json");
    std::fs::write(&file, topology.to_string()).unwrap();
    fake.run(&[&["topology", "load", "--json", file.to_str().unwrap()], more].concat())
}

fn topology() -> Value {
    json!({ "clusters": [{ "nodes": [{
        "node": { "hostnames": { "manage": ["node1"], "storage": ["10.0.0.1"] }, "zone": 2,
            "tags": { "arbiter": "required" } },
        "devices": ["/dev/sdb", { "name": "/dev/sdc", "tags": { "a": "b" }, "destroydata": true }] }] }] })
}

#[test]
fn a_topology_is_loaded_and_its_failures_are_counted() {
    let fake = for_loading(vec![]);
    let (code, out, err) = load(&fake, &topology(), &[]);
    assert_eq!(code, 1);
    assert_eq!(
        out,
        format!(
            "cluster {CLUSTER}: created\n  node node1: created as {NODE}\n    device /dev/sdb: added\n\
             cluster {CLUSTER}: deleted again, since it has no node\n\n\
             clusters: 0 created, 0 found, 0 failed; nodes: 1 created, 0 found, 0 failed; \
             devices: 1 created, 0 found, 1 failed\n"
        )
    );
    assert!(err.contains("error: add device /dev/sdc to node1: Initializing device failed"), "{err}");
    assert!(err.contains("error: 1 of the things in the file failed"), "{err}");
    assert_eq!(fake.body("POST /clusters"), json!({ "file": true, "block": true }));
    assert_eq!(
        fake.body("POST /nodes"),
        json!({ "zone": 2, "cluster": CLUSTER, "tags": { "arbiter": "required" },
            "hostnames": { "manage": ["node1"], "storage": ["10.0.0.1"] } })
    );
    let devices: Vec<Value> =
        fake.asked.lock().iter().filter(|a| a.line == "POST /devices").map(|a| a.body.clone()).collect();
    assert_eq!(
        devices,
        [
            json!({ "name": "/dev/sdb", "node": NODE }),
            json!({ "name": "/dev/sdc", "node": NODE, "tags": { "a": "b" }, "destroydata": true })
        ]
    );
}

#[test]
fn what_is_there_is_found_and_left_as_it_is() {
    let fake = for_loading(vec![node()]);
    let (code, out, err) = load(&fake, &topology(), &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("node node1: found in cluster") && out.contains("device /dev/sdb: found"), "{out}");
    assert!(out.contains("device /dev/sdc: added"), "{out}");
    assert!(out.ends_with(
        "clusters: 0 created, 1 found, 0 failed; nodes: 0 created, 1 found, 0 failed; \
         devices: 1 created, 1 found, 0 failed\n"
    ));
    let posts: Vec<String> = fake.lines().into_iter().filter(|line| !line.starts_with("GET")).collect();
    assert_eq!(posts, ["POST /devices"]);

    let fake = for_loading(vec![node()]);
    let (code, out, _) = load(&fake, &topology(), &["-o", "json"]);
    assert_eq!(code, 0);
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["devices"], json!({ "created": 1, "found": 1, "failed": 0 }));
}

#[test]
fn a_node_that_fails_takes_its_devices_with_it() {
    let mut answers = vec![("POST /nodes", text(409, "Hostname node1 already used"))];
    answers.extend([
        ("GET /clusters", ok(json!({ "clusters": [] }))),
        ("POST /clusters", (201, "", cluster_of(&[], &[]).to_string())),
        ("GET /clusters/c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0", ok(cluster_of(&[], &[]))),
        ("DELETE /clusters/c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0", (200, "", String::new())),
    ]);
    let fake = Fake::new(answers);
    let (code, out, err) = load(&fake, &topology(), &[]);
    assert_eq!(code, 1);
    assert!(
        out.contains("nodes: 0 created, 0 found, 1 failed; devices: 0 created, 0 found, 2 failed"),
        "{out}"
    );
    assert!(out.contains("deleted again"), "{out}");
    assert!(err.contains("device /dev/sdb of node1 is left out"), "{err}");
}

#[test]
fn bad_files_are_named() {
    let fake = for_loading(vec![]);
    for (file, said) in [
        (json!({}), "missing field `clusters`"),
        (
            json!({ "clusters": [{ "nodes": [{ "node": { "zone": 1, "hostnames": { "manage": ["a"] } } }] }] }),
            "clusters[0].nodes[0].node.hostnames.storage is empty",
        ),
        (json!({ "clusters": [{ "nodes": [{ "node": { "hostnames": {} } }] }] }), "missing field `zone`"),
    ] {
        let (code, _, err) = load(&fake, &file, &[]);
        assert!(code == 2 && err.contains(said), "{said:?} in {err}");
    }
    assert_eq!(fake.lines(), Vec::<String>::new());
}

#[test]
fn the_example_is_a_topology() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/topology.json");
    let fake = for_loading(vec![node()]);
    let (_, out, _) = fake.run(&["topology", "load", "--json", example]);
    assert!(out.contains("nodes: 3 created, 1 found, 0 failed"), "{out}");
}

#[test]
fn a_probe_tries_until_the_answer_is_good() {
    let fake = Fake::new(vec![("GET /readyz", text(503, "not yet")), ("GET /readyz", text(200, "ok"))]);
    let ready = format!("{}/readyz", fake.url);
    assert_eq!(run_words(&["probe", &ready]), (0, "ok\n".into(), String::new()));
    assert_eq!(fake.lines(), ["GET /readyz"; 2]);
    let (code, _, err) = run_words(&["probe", &format!("{}/other", fake.url), "--timeout", "0s"]);
    assert!(code == 1 && err.contains("status 404: Invalid path"), "{err}");
    assert_eq!(run_words(&["probe", "http://127.0.0.1:1/", "--timeout", "0s"]).0, 3);
    assert_eq!(run_words(&["probe", "ftp://x", "--timeout", "0s"]).0, 2);
}
