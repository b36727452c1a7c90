//! Bad input: it is refused with the right status, it changes nothing, and what is taken never becomes
//! shell syntax.

use crate::http::{ask, job, send};
use crate::server::Server;

const ZERO: &str = "00000000000000000000000000000000";

/// What shells make something of.
const NASTY: [&str; 14] = [
    "$(touch /tmp/x)",
    "`id`",
    "a;id",
    "a|id",
    "a&id",
    "a>b",
    "a'b",
    "a\\\"b",
    "a\\nb",
    "a\\tb",
    "a*b",
    "a b",
    "../../etc/passwd",
    "\\u0000",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_and_changes_nothing() {
    let server = Server::start(8).await;
    let (cluster, nodes) = server.furnish(3, 1).await;
    let node = &nodes[0];
    let device = {
        let answer = ask(server.address, "GET", &format!("/nodes/{node}"), None).await;
        let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        value["devices"][0]["id"].as_str().unwrap().to_owned()
    };
    let before = server.wishes().await;
    let posts = [
        "/clusters".to_owned(),
        format!("/clusters/{cluster}/flags"),
        "/nodes".into(),
        format!("/nodes/{node}/state"),
        format!("/nodes/{node}/tags"),
        "/devices".into(),
        format!("/devices/{device}/state"),
        format!("/devices/{device}/tags"),
        "/volumes".into(),
    ];
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(2 << 20));
    let unparsable: [&[u8]; 13] = [
        b"",
        b"{",
        b"}",
        b"[]",
        b"1",
        b"\"x\"",
        b"{}{}",
        b"{} x",
        b"{'a':1}",
        b"\xff\xfe",
        b"{\"name\":\"\xff\",\"state\":\"\xff\",\"tags\":{\"\xff\":\"\"},\"file\":\"\xff\",\"zone\":\"\"}",
        deep.as_bytes(),
        large.as_bytes(),
    ];
    for path in &posts {
        for body in unparsable {
            let token = crate::http::Token::admin("POST", path).bearer();
            let answer = send(server.address, "POST", path, Some(&token), Some(body)).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            assert_eq!(answer.status, 422, "{path} {shown}: {answer:?}");
            assert_eq!(answer.body, "request unable to be parsed\n");
        }
    }
    for (path, body) in [
        ("/clusters", r#"{"file":1}"#),
        ("/clusters", r#"{"block":"true"}"#),
        ("/nodes", r#"{"zone":1.5}"#),
        ("/nodes", r#"{"hostnames":["m"]}"#),
        ("/nodes", r#"{"hostnames":{"manage":"m"}}"#),
        ("/nodes", r#"{"tags":{"a":1}}"#),
        ("/devices", r#"{"name":["/dev/sdb"]}"#),
        ("/devices", r#"{"destroydata":"yes"}"#),
        ("/volumes", r#"{"size":"1"}"#),
        ("/volumes", r#"{"size":1e1}"#),
        ("/volumes", r#"{"size":99999999999999999999}"#),
        ("/volumes", r#"{"durability":"none"}"#),
        ("/volumes", r#"{"durability":{"replicate":3}}"#),
        ("/volumes", r#"{"snapshot":{"factor":"1"}}"#),
        ("/volumes", r#"{"gid":"0"}"#),
        ("/volumes", r#"{"clusters":"x"}"#),
        ("/volumes", r#"{"glustervolumeoptions":[1]}"#),
        ("/volumes", r#"{"block":0}"#),
    ] {
        let answer = ask(server.address, "POST", path, Some(body)).await;
        assert_eq!(answer.status, 422, "{path} {body}: {answer:?}");
    }
    assert_eq!(server.wishes().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_that_break_the_rules_are_refused_and_change_nothing() {
    let server = Server::start(8).await;
    let (cluster, nodes) = server.furnish(3, 1).await;
    let node = &nodes[0];
    let before = server.wishes().await;
    let commands = server.sim.commands();
    let long = "x".repeat(100_000);
    let mut cases: Vec<(String, String)> = vec![];
    for text in NASTY.iter().copied().chain([long.as_str()]) {
        let hosts = |manage: &str, storage: &str| {
            format!(
                r#"{{"zone":1,"hostnames":{{"manage":["{manage}"],"storage":["{storage}"]}},"cluster":"{cluster}"}}"#
            )
        };
        cases.push(("/nodes".into(), hosts(text, "10.0.1.1")));
        cases.push(("/nodes".into(), hosts("m9", text)));
        let ids = hosts("m9", "10.0.1.1").replace(&cluster, text);
        cases.push(("/nodes".into(), ids));
        cases.push(("/devices".into(), format!(r#"{{"name":"/dev/{text} ","node":"{node}"}}"#)));
        cases.push(("/devices".into(), format!(r#"{{"name":"/dev/sdx","node":"{text}"}}"#)));
        cases.push(("/volumes".into(), format!(r#"{{"size":1,"name":"{text}"}}"#)));
        cases.push(("/volumes".into(), format!(r#"{{"size":1,"clusters":["{text}"]}}"#)));
        // With a blank in it, the text is a key and a value.
        let key = text.replace(' ', ";");
        cases.push(("/volumes".into(), format!(r#"{{"size":1,"glustervolumeoptions":["{key} on"]}}"#)));
        cases.push(("/volumes".into(), format!(r#"{{"size":1,"durability":{{"type":"{text}"}}}}"#)));
        cases.push((format!("/nodes/{node}/state"), format!(r#"{{"state":"{text}"}}"#)));
        cases
            .push((format!("/nodes/{node}/state"), format!(r#"{{"state":"offline","healcheck":"{text}"}}"#)));
        cases.push((format!("/nodes/{node}/tags"), format!(r#"{{"change_type":"{text}","tags":{{}}}}"#)));
        cases.push((
            format!("/nodes/{node}/tags"),
            format!(r#"{{"change_type":"set","tags":{{"/{text}":""}}}}"#),
        ));
    }
    for option in ["--log-file=/etc/passwd x", "x --log-file=/etc/passwd", "-x y", "alone", "x y\\nz"] {
        cases.push(("/volumes".into(), format!(r#"{{"size":1,"glustervolumeoptions":["{option}"]}}"#)));
    }
    for name in ["-rf", "--xml"] {
        cases.push(("/volumes".into(), format!(r#"{{"size":1,"name":"{name}"}}"#)));
        cases.push((
            "/nodes".into(),
            format!(
                r#"{{"zone":1,"hostnames":{{"manage":["{name}"],"storage":["s"]}},"cluster":"{cluster}"}}"#
            ),
        ));
    }
    let nine = ["\"h\""; 9].join(",");
    cases.push((
        "/nodes".into(),
        format!(r#"{{"zone":1,"hostnames":{{"manage":[{nine}],"storage":["s"]}},"cluster":"{cluster}"}}"#),
    ));
    cases.push((
        "/nodes".into(),
        format!(
            r#"{{"zone":4294967297,"hostnames":{{"manage":["h"],"storage":["s"]}},"cluster":"{cluster}"}}"#
        ),
    ));
    for (path, body) in &cases {
        let answer = ask(server.address, "POST", path, Some(body)).await;
        let shown: String = body.chars().take(200).collect();
        assert_eq!(answer.status, 400, "{path} {shown}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    for path in
        ["/clusters/$(id)", "/volumes/%00", "/queue/..%2f..", &format!("/volumes/{}", "a".repeat(6000))]
    {
        let answer = ask(server.address, "GET", path, None).await;
        assert!(matches!(answer.status, 301 | 401 | 404), "{path}: {answer:?}");
    }
    for what in ["clusters", "nodes", "devices", "volumes", "queue"] {
        for id in [ZERO, &ZERO[1..], &"A".repeat(32), &"0".repeat(200)] {
            let answer = ask(server.address, "GET", &format!("/{what}/{id}"), None).await;
            assert_eq!((answer.status, answer.body.as_str()), (404, "Id not found\n"), "{what} {id}");
        }
    }
    assert_eq!(server.wishes().await, before);
    let log = server.sim.log();
    let new = log.iter().filter(|command| command.n > commands);
    for command in new {
        assert!(
            !command.argv.0.iter().any(|word| word.contains("10.0.1.1") || word.contains("sdx")),
            "{command:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_reaches_nodes_as_one_word() {
    let server = Server::start(8).await;
    let (_, nodes) = server.furnish(1, 1).await;
    let values =
        ["$(touch /tmp/MARK)", "`id MARK`", "a;MARK|b&c>d", "'MARK' \\\"b\\\" \\\\", "*MARK?", "-MARK"];
    for value in values {
        let tags = format!(r#"{{"change_type":"set","tags":{{"a":"{value}"}}}}"#);
        let answer = ask(server.address, "POST", &format!("/nodes/{}/tags", nodes[0]), Some(&tags)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = format!(r#"{{"size":1,"glustervolumeoptions":["user.note {value}"]}}"#);
        let made = job(server.address, "POST", "/volumes", &body).await;
        assert_eq!(made.status, 303, "{value}: {made:?}");
        let meant: String = serde_json::from_str(&format!("\"{value}\"")).unwrap();
        let log = server.sim.log();
        let words: Vec<&String> = log
            .iter()
            .flat_map(|command| &command.argv.0)
            .filter(|word| word.contains(meant.as_str()))
            .collect();
        assert!(!words.is_empty(), "the option was set");
        assert!(words.iter().all(|word| **word == meant), "{words:?}");
        let shown = log.iter().find(|command| command.argv.0.contains(&meant)).unwrap().argv.shown();
        let quoted = format!("'{}'", meant.replace('\'', r"'\''"));
        assert!(
            shown.contains(&quoted) || !meant.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-'),
            "{shown}"
        );
    }
}
