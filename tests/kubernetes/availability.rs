//! Two replicas: one works, both answer. What happens when the one that works is killed, paused or cut
//! off, and when the API server or etcd is away or has forgotten what was watched.

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::World;
use super::fixture::{Scenario, run, tree, wait_for};
use super::replicas::{Nodes, Reader, Replica, Way};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario<World>] = &[
    ("availability: both replicas answer, whoever works", both_answer),
    ("availability: HTTPS and tokens through the standby", encrypted),
    ("availability: the leader is killed during thirty creates", killed),
    ("availability: the leader is paused for a minute", paused),
    ("availability: the leader is cut off from the API server", cut_off),
    ("availability: the API server and etcd are killed", servers_killed),
    ("availability: the history of the watches is lost", history_lost),
];

/// How soon writes go on, in seconds.
const GOES_ON: u64 = 20;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("claim-{n}")).collect()
}

/// Deletes all claims and checks that nothing is left anywhere.
fn tidy_up(world: &World, nodes: Nodes, replicas: Vec<Replica>) {
    world.cluster.run(&["delete", "pvc", "--all", "--wait=false"]);
    world.nothing_left();
    for replica in replicas {
        replica.server.stop();
    }
    nodes.audit(world, 0);
}

/// What a replica has asked of the API server for its work since then: events of the audit log.
fn asked_since(world: &World, identity: &str, since: Timestamp) -> Vec<Value> {
    let agent = format!("({identity}; works)");
    let by_it = |event: &Value| event["userAgent"].as_str().is_some_and(|name| name.contains(&agent));
    let at =
        |event: &Value| event["requestReceivedTimestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
    world.cluster.asked().into_iter().filter(|event| by_it(event) && at(event) > since).collect()
}

fn both_answer(world: &World) {
    let nodes = Nodes::start(world);
    let mut first = Replica::start(world, &nodes, "first");
    first.works(40);
    let second = Replica::start(world, &nodes, "second");
    world.topology();
    // Through the one that waits: asked, decided by the other one, made, read, deleted.
    let path = second.create_volume(5, 30);
    let read = |replica: &Replica| {
        let (status, _, body) = replica.ask("GET", &path, None).unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    assert_eq!(read(&second)["size"], 5);
    assert_eq!(read(&first), read(&second));
    let queue = second.delete_volume(&path);
    let (status, ..) = first.ask("GET", &queue, None).unwrap();
    assert_eq!(status, 204, "a replica knows the ids that another one has given");
    assert_eq!(nodes.commands_of("second"), 0, "only the one that works sends commands");
    tidy_up(world, nodes, vec![first, second]);
}

/// Makes an authority and a certificate of it for 127.0.0.1, and puts the certificate where it is served.
fn certificate(directory: &Path, authority: &str) -> PathBuf {
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let openssl = |words: &[&str]| run(Command::new("openssl").args(words).current_dir(directory));
    let (ca, ca_key) = (file(&format!("{authority}.crt")), file(&format!("{authority}.key")));
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let subject = format!("/CN={authority}");
    let own = ["req", "-x509", "-subj", subject.as_str(), "-keyout", ca_key.as_str(), "-out", ca.as_str()];
    openssl(&[&own[..], &new_key[..]].concat());
    let signed = ["-CA", ca.as_str(), "-CAkey", ca_key.as_str(), "-addext", "subjectAltName=IP:127.0.0.1"];
    // The certificate is exchanged before its key: for a moment they are no pair.
    let leaf = ["req", "-x509", "-subj", "/CN=rest", "-keyout", "new.key", "-out", "new.crt"];
    openssl(
        &[&leaf[..], &signed[..], &["-addext", "basicConstraints=critical,CA:FALSE"], &new_key[..]].concat(),
    );
    std::fs::rename(directory.join("new.crt"), directory.join("tls.crt")).unwrap();
    std::fs::rename(directory.join("new.key"), directory.join("tls.key")).unwrap();
    PathBuf::from(ca)
}

fn encrypted(world: &World) {
    let clients = PathBuf::from(run(&mut Command::new(tree().join("tests/heketi/clients/build"))).trim());
    let directory = tempfile::tempdir().unwrap();
    let authority = certificate(directory.path(), "first");
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (certificate_file, key_file) = (file("tls.crt"), file("tls.key"));
    let more = ["--tls-cert", certificate_file.as_str(), "--tls-key", key_file.as_str()];
    let keys = [("HEKETI_ADMIN_KEY", "My Secret"), ("HEKETI_USER_KEY", "Their Secret")];
    let nodes = Nodes::start(world);
    let start = |identity| Replica::start_with(world, &nodes, identity, &world.kubeconfig, &more, &keys);
    let mut first = start("first");
    first.works(40);
    let second = start("second");
    assert!(second.url.starts_with("https://"), "{}", second.url);
    // Somebody who connects and says nothing is sent away, and holds up nobody meanwhile.
    let port = second.url.trim_start_matches("https://");
    let mut silent = TcpStream::connect(port).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let said = run(Command::new(clients.join("python/bin/python"))
        .arg(tree().join("tests/kubernetes/client.py"))
        .args([second.url.as_str(), "My Secret"])
        .env("REQUESTS_CA_BUNDLE", &authority));
    assert!(said.contains("came and went"), "{said}");
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0, "the silent connection is closed");
    let answers = |authority: &Path| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--noproxy", "*", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]);
        let output = curl.arg(authority).arg(format!("{}/clusters", second.url)).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(answers(&authority), "401", "a token is needed");
    let other = certificate(directory.path(), "second");
    wait_for("the new certificate to be served", 60, || (answers(&other) == "401").then_some(()));
    assert_eq!(answers(&authority), "000", "the old one is not served any more");
    tidy_up(world, nodes, vec![first, second]);
}

fn killed(world: &World) {
    let nodes = Nodes::start(world);
    let mut first = Replica::start(world, &nodes, "first");
    first.works(40);
    let mut second = Replica::start(world, &nodes, "second");
    world.topology();
    let reads = Reader::of(&second);
    world.claims(&names(30), "gluster", "2Gi");
    wait_for("the first volumes", 60, || (world.bound() >= 3).then_some(()));
    first.server.kill();
    let since = Instant::now();
    let path = second.create_volume(1, GOES_ON);
    println!("  writes went on after {:.1} s", since.elapsed().as_secs_f64());
    second.works(1);
    wait_for("all claims to be bound", 120, || (world.bound() == 30).then_some(()));
    reads.all_went_well();
    second.delete_volume(&path);
    second.server.stop();
    nodes.audit(world, 90);
    // The one that was killed comes back.
    let nodes = Nodes::start(world);
    let mut first = Replica::start(world, &nodes, "first");
    first.works(40);
    tidy_up(world, nodes, vec![first]);
}

fn paused(world: &World) {
    let nodes = Nodes::start(world);
    let mut first = Replica::start(world, &nodes, "first");
    first.works(40);
    let mut second = Replica::start(world, &nodes, "second");
    world.topology();
    let reads = Reader::of(&second);
    world.claims(&names(30), "gluster", "2Gi");
    wait_for("the first volumes", 60, || (world.bound() >= 3).then_some(()));
    first.pause();
    let (since, stopped) = (Instant::now(), Timestamp::now());
    let path = second.create_volume(1, GOES_ON);
    println!("  writes went on after {:.1} s", since.elapsed().as_secs_f64());
    second.works(1);
    let commands = nodes.commands_of("first");
    assert!(commands > 0, "the first one has worked");
    wait_for("all claims to be bound", 120, || (world.bound() == 30).then_some(()));
    // The pause is what is tested: there is no condition to wait for.
    std::thread::sleep(Duration::from_secs(60).saturating_sub(since.elapsed()));
    first.go_on();
    ended_by_itself(first);
    reads.all_went_well();
    assert_eq!(nodes.commands_of("first"), commands, "no command after the pause");
    // What was under way when it was stopped may have been received a moment later.
    let late = asked_since(world, "first", stopped + Duration::from_secs(2));
    assert!(late.is_empty(), "asked after the pause: {:?}", late.first());
    second.delete_volume(&path);
    second.server.stop();
    nodes.audit(world, 90);
    let nodes = Nodes::start(world);
    let mut second = Replica::start(world, &nodes, "second");
    second.works(40);
    tidy_up(world, nodes, vec![second]);
}

/// Waits until a replica that has lost the lease has ended, and insists that it says so.
fn ended_by_itself(replica: Replica) {
    let (code, output) = replica.server.ended(30);
    assert_ne!(code, Some(0), "{output}");
    assert!(output.contains("the lease is lost"), "{output}");
}

fn cut_off(world: &World) {
    let nodes = Nodes::start(world);
    let way = Way::to(world);
    let mut first = Replica::start_with(world, &nodes, "first", &way.kubeconfig, &["--disable-auth"], &[]);
    first.works(40);
    let mut second = Replica::start(world, &nodes, "second");
    world.topology();
    let reads = Reader::of(&second);
    world.claims(&names(20), "gluster", "2Gi");
    wait_for("the first volumes", 60, || (world.bound() >= 3).then_some(()));
    way.swallow();
    let since = Instant::now();
    let path = second.create_volume(1, GOES_ON);
    println!("  writes went on after {:.1} s", since.elapsed().as_secs_f64());
    second.works(1);
    let (commands, taken_over) = (nodes.commands_of("first"), Timestamp::now());
    wait_for("all claims to be bound", 120, || (world.bound() == 20).then_some(()));
    way.mend();
    ended_by_itself(first);
    reads.all_went_well();
    assert_eq!(nodes.commands_of("first"), commands, "no command once another one works");
    let late = asked_since(world, "first", taken_over);
    assert!(late.is_empty(), "asked when another one worked: {:?}", late.first());
    second.delete_volume(&path);
    let mut first = Replica::start(world, &nodes, "first");
    second.server.stop();
    // It was given back, so this does not take as long as a lease lasts.
    first.works(10);
    tidy_up(world, nodes, vec![first]);
}

fn servers_killed(world: &World) {
    let nodes = Nodes::start(world);
    let mut first = Replica::start(world, &nodes, "first");
    first.works(40);
    let mut second = Replica::start(world, &nodes, "second");
    world.topology();
    for (round, name) in ["apiserver", "etcd"].into_iter().enumerate() {
        let claims: Vec<String> = (0..10).map(|n| format!("claim-{round}-{n}")).collect();
        world.claims(&claims, "gluster", "1Gi");
        wait_for("a volume to be asked for", 60, || {
            (!world.cluster.run(&["get", "gvol", "-o", "name"]).is_empty()).then_some(())
        });
        world.cluster.kill(name);
        world.cluster.start_again(name);
        wait_for("all claims to be bound", 120, || (world.bound() == 10 * (round + 1)).then_some(()));
        for replica in [&mut first, &mut second] {
            assert!(replica.server.runs(), "{} ended: {}", replica.identity, replica.server.output());
        }
        wait_for("the standby to make a volume", 60, || {
            second.ask("GET", "/volumes", None).filter(|(status, ..)| *status == 200)
        });
        let path = second.create_volume(1, 60);
        second.delete_volume(&path);
    }
    tidy_up(world, nodes, vec![first, second]);
}

fn history_lost(world: &World) {
    let nodes = Nodes::start(world);
    let ways = [Way::to(world), Way::to(world)];
    let start = |identity, way: &Way| {
        Replica::start_with(world, &nodes, identity, &way.kubeconfig, &["--disable-auth"], &[])
    };
    let mut first = start("first", &ways[0]);
    first.works(40);
    let mut second = start("second", &ways[1]);
    world.topology();
    world.claims(&["before".into()], "gluster", "1Gi");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/before", "--timeout=60s"]);
    ways.iter().for_each(Way::cut);
    // A claim comes, one goes, and of what happened meanwhile nobody keeps a record.
    world.claims(&["meanwhile".into()], "gluster", "1Gi");
    world.cluster.run(&["delete", "pvc", "before", "--wait=false"]);
    world.cluster.compact();
    world.cluster.kill("apiserver");
    world.cluster.start_again("apiserver");
    ways.iter().for_each(Way::mend);
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/meanwhile", "--timeout=120s"]);
    wait_for("the other volume to go", 120, || {
        (world.cluster.run(&["get", "gvol", "-o", "name"]).lines().count() == 1).then_some(())
    });
    for replica in [&mut first, &mut second] {
        let output = replica.server.output();
        assert!(replica.server.runs(), "{} ended: {output}", replica.identity);
        assert!(output.contains("too old resource version"), "{}: {output}", replica.identity);
    }
    // Both have seen what they missed.
    for replica in [&first, &second] {
        wait_for("the list to show one volume", 30, || {
            let (status, _, body) = replica.ask("GET", "/volumes", None)?;
            let list: Value = serde_json::from_str(&body).ok()?;
            (status == 200 && list["volumes"].as_array()?.len() == 1).then_some(())
        });
    }
    tidy_up(world, nodes, vec![first, second]);
}
