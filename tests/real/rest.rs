//! Over REST with the embedded store, on the same nodes: the server is killed, nodes are restarted
//! and lost.

use std::process::{Child, Command, Stdio};

use bricklayer::auth::heketi_jwt::qsh;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::fixture::{BINARY, Lab, Server, command, run, wait_for};

const KEYS: [(&str, &str); 2] = [("HEKETI_CLI_USER", "admin"), ("HEKETI_CLI_KEY", "admin key")];

/// A server on the lab, with authentication, its store kept from scenario to scenario.
pub struct Served<'a> {
    lab: &'a Lab,
    server: Server,
    url: String,
}

impl<'a> Served<'a> {
    /// Starts the server, and loads the topology: what is there already is found.
    pub fn start(lab: &'a Lab) -> Self {
        Self::start_with(lab, &[])
    }

    /// The same with more words for the server.
    pub fn start_with(lab: &'a Lab, more: &[&str]) -> Self {
        let served = Self::start_again_with(lab, more);
        let node = |node: usize| {
            let hostnames = json!({"manage": [lab.host(node)], "storage": [lab.host(node)]});
            json!({"node": {"hostnames": hostnames, "zone": node}, "devices": ["/dev/vdb"]})
        };
        let nodes: Vec<Value> = (1..=lab.nodes).map(node).collect();
        let file = lab.file("topology.json");
        std::fs::write(&file, json!({"clusters": [{"nodes": nodes}]}).to_string()).unwrap();
        served.run(&["topology", "load", "--json", file.to_str().unwrap()]);
        served
    }

    /// Starts the server on whatever it kept.
    pub fn start_again(lab: &'a Lab) -> Self {
        Self::start_again_with(lab, &[])
    }

    fn start_again_with(lab: &'a Lab, more: &[&str]) -> Self {
        let config = json!({
            "jwt": {"admin": {"key": "admin key"}, "user": {"key": "user key"}},
            "glusterfs": {"executor": "ssh", "sshexec": {"keyfile": lab.file("id"), "user": "root", "port": "22"}},
        });
        let path = lab.file("heketi.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let known_hosts = lab.file("known_hosts");
        let data = data(lab);
        let words = ["serve", "--listen", "127.0.0.1:0", "--data", &data, "--config", path.to_str().unwrap()];
        let mut server = Server::start(
            Some(&lab.namespace),
            &[&words[..], more].concat(),
            &[("SSH_KNOWN_HOSTS", known_hosts.to_str().unwrap())],
            &lab.file("serve.log"),
        );
        let url = server.address();
        Self { lab, server, url }
    }

    fn client(&self, words: &[&str]) -> Command {
        let mut client = command(Some(&self.lab.namespace), BINARY);
        client.args(words).args(["--server", &self.url]).envs(KEYS);
        client
    }

    pub fn run(&self, words: &[&str]) -> String {
        run(&mut self.client(words))
    }

    /// What an administrator is answered on a route that no command of ours asks for.
    fn get(&self, path: &str) -> Value {
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({"iss": KEYS[0].1, "iat": now, "exp": now + 60, "qsh": qsh("GET", path)});
        let key = EncodingKey::from_secret(KEYS[1].1.as_bytes());
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
        let header = format!("Authorization: bearer {token}");
        let mut curl = command(Some(&self.lab.namespace), "curl");
        curl.args(["-sS", "--fail-with-body", "--max-time", "70", "-H", &header]);
        serde_json::from_str(&run(curl.arg(format!("{}{path}", self.url)))).unwrap()
    }

    /// Makes a volume of 1 GiB and gives back its id and name.
    pub fn create(&self, more: &[&str]) -> (String, String) {
        let words: Vec<&str> =
            ["volume", "create", "--size", "1", "-o", "json"].iter().chain(more).copied().collect();
        let made: Value = serde_json::from_str(&self.run(&words)).unwrap();
        (made["id"].as_str().unwrap().to_owned(), made["name"].as_str().unwrap().to_owned())
    }

    fn spawn(&self, words: &[&str]) -> Child {
        let mut client = self.client(words);
        client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub fn volumes(&self) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.run(&["volume", "list", "-o", "json"])).unwrap();
        let id = |volume: &Value| volume.as_str().or_else(|| volume["id"].as_str()).unwrap().to_owned();
        list["volumes"].as_array().unwrap().iter().map(id).collect()
    }

    /// Ends the server and checks that objects and nodes agree.
    pub fn audit(self) {
        let lab = self.lab;
        self.server.stop();
        let known_hosts = lab.file("known_hosts");
        let verdict = run(command(Some(&lab.namespace), BINARY)
            .args(["audit", "--data", &data(lab)])
            .env("SSH_KNOWN_HOSTS", known_hosts));
        assert!(verdict.contains(" 0 wrong, 0 unsettled"), "{verdict}");
    }
}

fn data(lab: &Lab) -> String {
    lab.file("rest-data").to_str().unwrap().to_owned()
}

/// Replica 3 from a POST to mounted bytes to deleted. An examination in between sees it on all nodes.
pub fn volume_to_bytes(lab: &Lab) {
    let served = Served::start(lab);
    let before = lab.state();
    let (id, name) = served.create(&["--replica", "3"]);
    examined(&served, &name);
    let mounted = lab.mount(1, &name);
    let written = mounted.write("data", 64);
    mounted.unmount();
    let mounted = lab.mount(3, &name);
    assert_eq!(mounted.checksum("data"), written);
    mounted.unmount();
    served.run(&["volume", "delete", &id]);
    assert_eq!(lab.state(), before, "the nodes are not as before the volume");
    served.audit();
}

/// What real tools say of nodes that have one brick each, all of one volume, is shown and agrees with what is known.
fn examined(served: &Served<'_>, volume: &str) {
    let found = served.get("/internal/state/examine/gluster");
    let matches = "heketi volume list matches with volume list of all nodes";
    assert_eq!(found["report"], json!([matches]), "{found}");
    let nodes = found["clusters"][0]["NodesData"].as_array().unwrap();
    assert_eq!(nodes.len(), served.lab.nodes);
    for node in nodes {
        let volumes = &node["VolumeInfo"]["Volumes"];
        assert_eq!((&volumes["Count"], &volumes["VolumeList"][0]["VolumeName"]), (&json!(1), &json!(volume)));
        let seen = &volumes["VolumeList"][0];
        assert_eq!(
            (&seen["StatusStr"], &seen["TypeStr"]),
            (&json!("Started"), &json!("Replicate")),
            "{seen}"
        );
        assert_eq!((&seen["BrickCount"], &seen["ReplicaCount"]), (&json!(3), &json!(3)), "{seen}");
        let mounts = node["BricksMountStatus"]["Statuses"].as_array().unwrap();
        assert!(
            mounts.len() == 1 && mounts[0]["Mounted"] == true && mounts[0]["Type"] == "xfs",
            "{mounts:?}"
        );
        let lines = |info: &str, kind: &str| node[info]["report"][0][kind].as_array().unwrap().clone();
        let in_kib = |size: &Value| size.as_str().unwrap().ends_with(".00k");
        let pvs = lines("LVMPVInfo", "pv");
        assert!(pvs.iter().any(|pv| pv["pv_name"] == "/dev/vdb" && in_kib(&pv["pv_size"])), "{pvs:?}");
        let vgs = lines("LVMVGInfo", "vg");
        assert!(vgs.iter().any(|vg| vg["pv_count:"] == "1" && in_kib(&vg["vg_free"])), "{vgs:?}");
        let lvs = lines("LVMLVInfo", "lv");
        let brick = |lv: &Value| {
            let is_brick = lv["lv_name"].as_str().unwrap().starts_with("brick_");
            is_brick && lv["lv_attr"] == "Vwi-aotz--" && lv["data_percent"] != "" && in_kib(&lv["lv_size"])
        };
        assert_eq!(lvs.iter().filter(|lv| brick(lv)).count(), 1, "{lvs:?}");
    }
}

/// With an arbiter, dispersed, and each byte once: GlusterFS has what was asked for, clients read what they wrote, also
/// after it grew, and nothing is left.
pub fn every_durability(lab: &Lab) {
    let served = Served::start(lab);
    let before = lab.state();
    for (words, kind) in [
        (&["--arbiter", "--zones", "strict"][..], " x (2 + 1) = "),
        (&["--durability", "disperse", "--disperse", "2+1"], " x (2 + 1) = "),
        (&["--durability", "none"], "Number of Bricks: 1"),
    ] {
        let planned: Value = serde_json::from_str(
            &served.run(&[&["volume", "plan", "--size", "2", "-o", "json"][..], words].concat()),
        )
        .unwrap();
        assert_eq!(planned["fits"], true, "{planned}");
        let words = [&["volume", "create", "--size", "2", "-o", "json"][..], words].concat();
        let made: Value = serde_json::from_str(&served.run(&words)).unwrap();
        let (id, name) = (made["id"].as_str().unwrap(), made["name"].as_str().unwrap());
        let info = lab.on(1, &format!("gluster volume info {name}"));
        assert!(info.contains(kind), "{words:?}: {info}");
        let sets = planned["bricks"].as_array().unwrap().len() / 3;
        let arbiters = if words.contains(&"--arbiter") { sets } else { 0 };
        assert_eq!(info.matches("(arbiter)").count(), arbiters, "{info}");
        let mounted = lab.mount(1, name);
        let written = mounted.write("data", 64);
        served.run(&["volume", "expand", "--volume", id, "--expand-size", "2"]);
        mounted.unmount();
        let mounted = lab.mount(2, name);
        assert_eq!(mounted.checksum("data"), written, "{words:?}");
        mounted.unmount();
        served.run(&["volume", "delete", id]);
        assert_eq!(lab.state(), before, "{words:?}: the nodes are not as before the volume");
    }
    served.audit();
}

/// Runs a client command, and kills the server once `reached` says that its work has come that far.
/// True if the command had not come to its end by then.
pub fn killed(served: Served<'_>, words: &[&str], reached: &dyn Fn() -> bool) -> bool {
    let mut client = served.spawn(words);
    wait_for("the point to kill at", 120, || reached().then_some(()));
    let in_flight = client.try_wait().unwrap().is_none();
    served.server.kill();
    client.wait().unwrap();
    in_flight
}

/// Repeats a round until the server was killed in the middle of it; it may be too quick once.
pub fn in_the_middle(what: &str, mut round: impl FnMut() -> bool) {
    assert!((0..4).any(|_| round()), "{what}: never killed in the middle of the work");
}

/// kill -9 once a first brick exists, once all bricks are mounted, once GlusterFS has the volume.
/// Each time the restarted server goes on, and the volume is there as if nothing had happened.
pub fn killed_while_creating(lab: &Lab) {
    let points: [(&str, &str); 3] = [
        ("a first brick", "lvm lvs --noheadings -o lv_name | grep -q brick_"),
        ("a mounted brick", "grep -q /var/lib/heketi /proc/mounts"),
        ("a gluster volume", "gluster volume list 2>/dev/null | grep -q vol_"),
    ];
    for (what, test) in points {
        in_the_middle(what, || {
            let served = Served::start(lab);
            let before = lab.state();
            let reached = || lab.on(1, &format!("{test} && echo yes || echo no")).contains("yes");
            let in_flight = killed(served, &["volume", "create", "--size", "1"], &reached);
            let served = Served::start_again(lab);
            let volumes = wait_for("the volume after the restart", 120, || {
                let volumes = served.volumes();
                (volumes.len() == 1).then_some(volumes)
            });
            served.audit();
            let served = Served::start_again(lab);
            served.run(&["volume", "delete", &volumes[0]]);
            assert_eq!(lab.state(), before, "killed at {what}: something is left");
            served.audit();
            in_flight
        });
    }
}

/// kill -9 once the volume is stopped, once GlusterFS has forgotten it, once a first brick is gone.
pub fn killed_while_deleting(lab: &Lab) {
    let points: [(&str, &str); 3] = [
        ("a stopped volume", "! gluster volume info 2>/dev/null | grep -q Started"),
        ("a forgotten volume", "! gluster volume list 2>/dev/null | grep -q vol_"),
        ("a removed brick", "! lvm lvs --noheadings -o lv_name | grep -q brick_"),
    ];
    for (what, test) in points {
        in_the_middle(what, || {
            let served = Served::start(lab);
            let before = lab.state();
            let (id, _) = served.create(&[]);
            let reached = || lab.on(1, &format!("{test} && echo yes || echo no")).contains("yes");
            let in_flight = killed(served, &["volume", "delete", &id], &reached);
            let served = Served::start_again(lab);
            wait_for("the end of the delete after the restart", 120, || {
                (lab.state() == before).then_some(())
            });
            assert_eq!(served.volumes(), Vec::<String>::new(), "killed at {what}");
            served.audit();
            in_flight
        });
    }
}

/// A node loses power under a mounted volume, and comes back without the fstab line of its brick:
/// the brick is brought back, everything heals, and the data is what was written.
pub fn node_restarts(lab: &Lab) {
    let served = Served::start(lab);
    let before = lab.state();
    let (id, name) = served.create(&["--options", "network.ping-timeout 5"]);
    let mounted = lab.mount(1, &name);
    let first = mounted.write("first", 16);
    lab.on(2, "sed -i '/heketi/d' /etc/fstab; sync");
    lab.kill_node(2);
    let second = mounted.write("second", 16);
    lab.start_node(2);
    wait_for("the brick to be mounted again", 90, || {
        lab.on(2, "grep -c /var/lib/heketi /proc/mounts; true").starts_with('1').then_some(())
    });
    wait_for("healing to end", 120, || {
        let text = lab.on(1, &format!("gluster volume heal {name} info 2>&1; true"));
        let healed = text.matches("Number of entries: 0").count();
        (healed == 3 && !text.contains("not connected")).then_some(())
    });
    assert_eq!((mounted.checksum("first"), mounted.checksum("second")), (first, second));
    mounted.unmount();
    served.run(&["volume", "delete", &id]);
    // The line that this test took away is not missed: its volume is gone.
    assert_eq!(lab.state(), before);
    served.audit();
}

/// With one of three nodes down: what fits on two is made there, what needs three is refused by the
/// name of the node, and a delete ends when the node is back.
pub fn node_is_down(lab: &Lab) {
    let served = Served::start(lab);
    let before = lab.state();
    let (on_all, _) = served.create(&["--replica", "3"]);
    lab.on(3, "sync");
    lab.kill_node(3);
    // A gluster command that begins before glusterd has noticed waits for its peer for ten minutes:
    // nobody can help that from outside.
    for node in [1, 2] {
        wait_for("glusterd to notice that a peer is gone", 120, || {
            lab.on(node, "gluster pool list").contains("Disconnected").then_some(())
        });
    }
    let (on_two, name) = served.create(&["--replica", "2"]);
    let mounted = lab.mount(1, &name);
    let written = mounted.write("data", 8);
    assert_eq!(mounted.checksum("data"), written);
    mounted.unmount();
    let refused = served.client(&["volume", "create", "--size", "1", "--replica", "3"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    let named = format!("{} is unreachable", lab.host(3));
    assert!(text.contains(&named), "the refusal names the node: {text}");
    let mut deletes =
        [served.spawn(&["volume", "delete", &on_all]), served.spawn(&["volume", "delete", &on_two])];
    // GlusterFS stops the volumes and then refuses to forget them while a member is away: the bricks
    // stay where they are, and the deletes wait.
    wait_for("both volumes to be stopped", 60, || {
        let text = lab.on(1, "gluster volume info");
        (text.matches("Status: Stopped").count() == 2).then_some(())
    });
    assert_eq!(
        lab.on(1, "grep -c /var/lib/heketi /proc/mounts").trim(),
        "2",
        "bricks stay until the volume is gone"
    );
    for delete in &mut deletes {
        assert!(delete.try_wait().unwrap().is_none(), "a delete ended while a node was down");
    }
    lab.start_node(3);
    for delete in &mut deletes {
        let status = wait_for("the delete after the node is back", 120, || delete.try_wait().unwrap());
        assert!(status.success(), "a delete ended with {status}");
    }
    wait_for("the nodes as before", 60, || (lab.state() == before).then_some(()));
    served.audit();
}
