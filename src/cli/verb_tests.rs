//! The commands that change something, and the ways to print.

use std::io;

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};

use super::tests::{CLUSTER, Cli, DEVICE, Fake, NODE, VOLUME, an_estate, ok, queued, run_words, text};
use super::*;

/// An estate with some more answers.
fn with(more: Vec<(&'static str, (u16, &'static str, String))>) -> Fake {
    Fake::new(an_estate().into_iter().chain(more).collect())
}

fn accepted() -> (u16, &'static str, String) {
    (202, "Location: /queue/77\r\n", String::new())
}

/// What is begun under `line` ends like that.
fn operation(line: &'static str, end: (u16, &'static str, String)) -> Fake {
    let mut more = vec![(line, accepted())];
    more.extend(queued(end).into_iter().map(|canned| ("GET /queue/77", canned)));
    with(more)
}

#[test]
fn states_tags_and_removals_send_what_heketi_wants() {
    let done = || (204, "", String::new());
    let nodes = format!("/nodes/{NODE}");
    let devices = format!("/devices/{DEVICE}");
    for (words, line, body, printed) in [
        (
            vec!["node", "enable", NODE],
            format!("POST {nodes}/state"),
            json!({"state": "online"}),
            "takes bricks",
        ),
        (
            vec!["node", "disable", NODE],
            format!("POST {nodes}/state"),
            json!({"state": "offline"}),
            "takes no new bricks",
        ),
        (
            vec!["node", "remove", NODE],
            format!("POST {nodes}/state"),
            json!({"state": "failed"}),
            "can be deleted",
        ),
        (
            vec!["device", "remove", DEVICE, "--no-heal-check"],
            format!("POST {devices}/state"),
            json!({"state": "failed", "healcheck": "disable"}),
            "can be deleted",
        ),
        (
            vec!["device", "disable", DEVICE],
            format!("POST {devices}/state"),
            json!({"state": "offline"}),
            "Device d0",
        ),
        (vec!["node", "delete", NODE], format!("DELETE {nodes}"), Value::Null, "Deleted node a0"),
        (vec!["device", "delete", DEVICE], format!("DELETE {devices}"), Value::Null, "Deleted device d0"),
        (
            vec!["device", "delete", DEVICE, "--force-forget"],
            format!("DELETE {devices}"),
            json!({"forceforget": true}),
            "Deleted device d0",
        ),
        (vec!["device", "resync", DEVICE], format!("GET {devices}/resync"), Value::Null, "/dev/sdb"),
        (
            vec!["device", "add", "--node", NODE, "--path", "/dev/sdz", "--tags", "a=b,c=d"],
            "POST /devices".into(),
            json!({"node": NODE, "name": "/dev/sdz", "tags": {"a": "b", "c": "d"}, "destroydata": false}),
            "Added device /dev/sdz",
        ),
        (
            vec!["volume", "lock", "mydata"],
            format!("POST /volumes/{VOLUME}/block-restriction"),
            json!({"restriction": "locked"}),
            "takes no more block volumes",
        ),
        (
            vec!["volume", "unlock", VOLUME],
            format!("POST /volumes/{VOLUME}/block-restriction"),
            json!({"restriction": ""}),
            "takes block volumes",
        ),
    ] {
        let fake = operation(Box::leak(line.clone().into_boxed_str()), done());
        let (code, out, err) = fake.run(&words);
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
        assert!(out.contains(printed), "{words:?}: {out}");
        assert_eq!(fake.body(&line), body, "{words:?}");
    }
}

#[test]
fn nodes_and_clusters_are_made() {
    let made = (303, "Location: /nodes/a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0\r\n", String::new());
    let fake = operation("POST /nodes", made);
    let words =
        ["node", "add", "--cluster", CLUSTER, "--zone", "2", "--manage", "m", "--storage", "10.0.0.9"];
    let (code, out, _) = fake.run(&words);
    assert!(code == 0 && out.contains("Manage:   node1"), "{out}");
    let hostnames = json!({"manage": ["m"], "storage": ["10.0.0.9"]});
    assert_eq!(
        fake.body("POST /nodes"),
        json!({"cluster": CLUSTER, "zone": 2, "hostnames": hostnames, "tags": {}})
    );

    let cluster = json!({"id": CLUSTER, "nodes": [], "volumes": [], "file": true, "block": false});
    let flags = "POST /clusters/c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0/flags";
    let delete = "DELETE /clusters/c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0";
    let fake = with(vec![
        ("POST /clusters", (201, "", cluster.to_string())),
        (flags, (200, "", String::new())),
        (delete, (200, "", String::new())),
    ]);
    let (code, out, _) = fake.run(&["cluster", "create", "--block", "false"]);
    assert_eq!((code, out), (0, format!("Created cluster {CLUSTER}\n")));
    assert_eq!(fake.body("POST /clusters"), json!({"file": true, "block": false}));
    let (code, out, _) = fake.run(&["cluster", "set", CLUSTER, "--file", "false"]);
    assert!(code == 0 && out.contains("Kinds:"), "{out}");
    assert_eq!(fake.body(flags), json!({"file": false, "block": true}));
    let (code, out, _) = fake.run(&["cluster", "delete", CLUSTER, "-o", "json"]);
    assert_eq!((code, out), (0, format!("{{\n  \"deleted\": \"{CLUSTER}\"\n}}\n")));
}

#[test]
fn tags_are_set_and_taken_away() {
    let line = "POST /nodes/a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0/tags";
    let fake = with(vec![(line, ok(json!({"a": "b"}))), (line, ok(json!({"a": "b", "rack": "7"})))]);
    let (code, out, err) = fake.run(&["node", "tag", NODE, "rack=7", "old-"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "TAG   VALUE\na     b\nrack  7\n", ""));
    assert_eq!(fake.body(line), json!({"change_type": "delete", "tags": {"old": ""}}), "first those that go");
    assert_eq!(fake.lines(), [line, line]);
    for wrong in ["rack", "=7", "a b=c"] {
        assert!(Cli::try_parse_from(["bricklayer", "node", "tag", NODE, wrong]).is_err(), "{wrong}");
    }
}

#[test]
fn the_server_itself_is_shown_and_changed() {
    let list = json!({"pendingoperations": [{"id": "77", "type_name": "create-volume", "status": "", "sub_status": "in-flight"}]});
    let details = json!({"id": "77", "type_name": "create-volume", "status": "failed", "sub_status": "",
        "changes": [{"id": "e0", "description": "Add brick"}]});
    let good = json!({"totalinconsistencies": 0});
    let fake = with(vec![
        ("GET /operations/pending", ok(list)),
        ("GET /operations/pending/77", ok(details)),
        ("GET /admin", ok(json!({"state": "read-only"}))),
        ("POST /admin", (204, "", String::new())),
        ("POST /internal/logging", ok(json!({"loglevel": {"glusterfs": "debug"}}))),
        ("GET /db/check", ok(good)),
        ("GET /db/check", ok(json!({"totalinconsistencies": 2}))),
        ("GET /db/dump", ok(json!({"volumeentries": {}}))),
    ]);
    let run = |words: &[&str]| {
        let (code, out, _) = fake.run(words);
        (code, out)
    };
    assert_eq!(
        run(&["server", "operations"]),
        (0, "ID  TYPE           STATUS\n77  create-volume  in-flight\n".into())
    );
    let (code, out) = run(&["server", "operations", "77"]);
    assert!(code == 0 && out.contains("Status:  failed") && out.contains("Add brick  e0"), "{out}");
    assert_eq!(run(&["server", "mode", "read-only"]), (0, "read-only\n".into()));
    assert_eq!(fake.body("POST /admin"), json!({"state": "read-only"}));
    assert_eq!(run(&["server", "log", "debug"]), (0, "debug\n".into()));
    assert_eq!(run(&["server", "check"]).0, 0);
    assert_eq!(run(&["server", "check"]).0, 1, "what is wrong is a failure");
    assert_eq!(run(&["server", "dump"]), (0, "{\n  \"volumeentries\": {}\n}\n".into()));
}

#[test]
fn a_plan_says_where_and_why() {
    let bricks = [("node1", false), ("node2", true)].map(|(node, arbiter)| {
        json!({"set": 0, "node": node, "device": "/dev/sdb", "size": 1 << 20, "takes": 1_060_864,
            "arbiter": arbiter})
    });
    let reasons = ["1 set of 2 bricks of 1Gi; on the nodes with the most space"];
    let plan = json!({"fits": true, "cluster": "c1", "reasons": reasons, "bricks": bricks});
    let fake = with(vec![("POST /volumes/plan", (200, "", plan.to_string()))]);
    let (code, out, _) = fake.run(&["volume", "plan", "--size", "1"]);
    assert_eq!(code, 0, "{out}");
    for line in [
        "Cluster:  c1",
        "Why:      1 set of 2 bricks of 1Gi; on the nodes with the most space",
        "0    node1  /dev/sdb  1.0 GiB  1.0 GiB  data",
        "0    node2  /dev/sdb  1.0 GiB  1.0 GiB  arbiter",
    ] {
        assert!(out.lines().any(|found| found.trim_end() == line), "{line:?} in\n{out}");
    }
}

#[test]
fn a_request_is_printed_instead_of_sent() {
    let fake = with(vec![]);
    let (code, out, _) = fake.run(&["volume", "create", "--size", "1", "--curl"]);
    let url = format!("{}/volumes", fake.url);
    assert!(code == 0 && out.starts_with("curl -X POST ") && out.ends_with(&format!("'{url}'\n")), "{out}");
    assert!(out.contains(r#""size":1"#) && !out.contains("Authorization"), "{out}");
    let (_, out, _) = fake.run(&["node", "list", "--curl", "--secret", "hush"]);
    assert!(out.contains("-H 'Authorization: Bearer ey") && !out.contains("hush"), "{out}");
    let tags = ["node", "tag", NODE, "a=b", "old-", "--curl"];
    let (_, out, _) = fake.run(&tags);
    assert!(out.lines().count() == 2 && out.contains(r#""delete""#) && out.contains(r#""update""#), "{out}");
    assert_eq!(fake.lines(), Vec::<String>::new(), "nothing was sent");
    // What a change is about is looked up; the change is printed.
    for (verb, more, request) in [
        ("delete", &[][..], "-X DELETE"),
        ("expand", &["--expand-size", "1"], "-X POST"),
        ("lock", &[], "-X POST"),
        ("unlock", &[], "-X POST"),
    ] {
        let volume: &[&str] = if verb == "expand" { &["--volume", "mydata"] } else { &["mydata"] };
        let (code, out, _) = fake.run(&[&["volume", verb][..], volume, more, &["--curl"]].concat());
        assert!(code == 0 && out.starts_with(&format!("curl {request} ")), "{verb}: {out}");
    }
    assert!(fake.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", fake.lines());
}

#[test]
fn what_is_begun_need_not_be_waited_for() {
    let fake = operation("POST /volumes", (500, "", "never asked".into()));
    let (code, out, _) = fake.run(&["volume", "create", "--size", "1", "--no-wait"]);
    assert_eq!((code, out), (0, format!("{}/queue/77\n", fake.url)));
    assert_eq!(fake.lines(), ["POST /volumes"]);
}

#[test]
fn yaml_says_what_json_says() {
    let fake = with(vec![]);
    for words in [&["node", "info", NODE][..], &["volume", "info", "mydata"], &["topology", "info"]] {
        let printed = |format: &'static str| fake.run(&[words, &["-o", format]].concat()).1;
        let json: Value = serde_json::from_str(&printed("json")).unwrap();
        let yaml: Value = serde_yaml::from_str(&printed("yaml")).unwrap();
        assert_eq!(json, yaml, "{words:?}");
    }
}

/// Takes so many pictures, then nobody reads any more.
struct Reader(Vec<u8>, usize);

impl io::Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1 == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1 -= 1;
        Ok(())
    }
}

fn watched(fake: &Fake, words: &[&str], width: Option<u16>) -> (u8, String, String) {
    let words =
        [&["bricklayer"], words, &["--watch", "--every", "0s", "--server", fake.url.as_str()]].concat();
    let cli = Cli::try_parse_from(words).unwrap();
    let (mut reader, mut err) = (Reader(vec![], 3), vec![]);
    let mut out = match width {
        Some(width) => Out::of_width(&mut reader, width),
        None => Out::plain(&mut reader),
    };
    let code = run_to(&cli.command, &mut out, &mut err, false);
    (code, String::from_utf8(reader.0).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn what_is_watched_is_shown_again_until_nobody_looks() {
    let fake = with(vec![]);
    let (code, out, err) = watched(&fake, &["volume", "list"], None);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out.matches("mydata  10 GiB").count(), 3, "{out}");
    let (_, out, _) = watched(&fake, &["volume", "list"], Some(200));
    let pictures = (out.matches("\u{1b}[H").count(), out.matches("\u{1b}[J").count());
    assert_eq!(pictures, (3, 3), "each in the place of the last: {out:?}");
    assert!(out.contains("\u{1b}[K\n") && !out.contains("\u{1b}[2J"), "{out:?}");
    let (code, _, err) = watched(&fake, &["volume", "delete", "mydata"], None);
    assert!(code == 2 && err.contains("only show"), "{err}");
    assert!(!fake.lines().iter().any(|line| line.starts_with("DELETE")));
    // A refusal ends it: it would come again and again.
    let fake = Fake::new(vec![("GET /volumes", text(401, "Invalid JWT token: Unknown user"))]);
    assert_eq!(watched(&fake, &["volume", "list"], None).0, 1);
}

#[test]
fn tables_fit_the_terminal_and_have_colours_only_there() {
    let fake = with(vec![]);
    let shown = |width: u16| {
        let words = ["bricklayer", "node", "info", NODE, "--server", fake.url.as_str()];
        let cli = Cli::try_parse_from(words).unwrap();
        let (mut out, mut err) = (vec![], vec![]);
        assert_eq!(run_to(&cli.command, &mut Out::of_width(&mut out, width), &mut err, false), 0);
        String::from_utf8(out).unwrap()
    };
    let (wide, narrow) = (shown(200), shown(70));
    assert!(wide.contains("\u{1b}[") && wide.contains("online"), "{wide:?}");
    let bare = |line: &str| {
        let mut text = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("\u{1b}[") {
            text.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        text + rest
    };
    let longest = |text: &str| text.lines().map(|line| bare(line).trim_end().chars().count()).max().unwrap();
    assert!(longest(&narrow) <= 70, "{} {narrow}", longest(&narrow));
    assert!(longest(&wide) > 70);
    let (_, out, _) = fake.run(&["node", "info", NODE]);
    assert!(!out.contains('\u{1b}'), "{out:?}");
}

#[test]
fn every_command_explains_itself() {
    fn each(command: &clap::Command, path: &str) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            assert!(sub.get_about().is_some(), "{path} says nothing of itself");
            for argument in sub.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(
                    argument.get_help().is_some(),
                    "{path}: {} says nothing of itself",
                    argument.get_id()
                );
            }
            each(sub, &path);
        }
    }
    each(&Cli::command(), "bricklayer");
    assert_eq!(run_words(&["volume", "list", "--server", "ftp://x"]).0, 2);
}
