//! When two answers are the same: apart from which id it is, the order of lists, where bricks landed,
//! and how long something took.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The headers that are part of the contract.
pub const HEADERS: [&str; 8] = [
    "content-type",
    "location",
    "x-pending",
    "retry-after",
    "www-authenticate",
    "x-request-id",
    "allow",
    "content-disposition",
];

/// How two answers differ; nothing when they are the same.
pub fn difference(
    wanted: (u16, &BTreeMap<String, String>, &str),
    got: (u16, &BTreeMap<String, String>, &str),
) -> Option<String> {
    let (wanted_status, wanted_headers, wanted_body) = wanted;
    let (status, headers, body) = got;
    if wanted_status != status {
        return Some(format!("status {wanted_status} -> {status}: {body}"));
    }
    let of = |headers: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let kept = headers.iter().filter(|(name, _)| HEADERS.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), flat(value))).collect()
    };
    if of(wanted_headers) != of(headers) {
        return Some(format!("headers {:?} -> {:?}", of(wanted_headers), of(headers)));
    }
    // The recording left out some long bodies.
    if wanted_body != "<not kept>" && shape(wanted_body) != shape(body) {
        return Some(format!("body {wanted_body:?} -> {body:?}"));
    }
    None
}

/// Text with every id and every duration masked.
fn flat(text: &str) -> String {
    let text = masked_numbers(&masked_ids(text));
    match text.split_once("expired by ") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || "hms.".contains(c));
            format!("{before}expired by <time>{rest}")
        }
        None => text,
    }
}

/// Ids as they are sent: 32 hexadecimal digits in lower case and no more; those of a queue may be longer.
fn masked_ids(text: &str) -> String {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(hex) {
        let run = rest[start..].find(|c| !hex(c)).map_or(rest.len(), |length| start + length);
        out.push_str(&rest[..start]);
        let is_id = run - start == 32 || (run - start > 32 && out.ends_with("/queue/"));
        out.push_str(if is_id { "<id>" } else { &rest[start..run] });
        rest = &rest[run..];
    }
    out.push_str(rest);
    out
}

/// Ids as they are recorded: `<id7>`.
fn masked_numbers(text: &str) -> String {
    let mut parts = text.split("<id");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let after = part.trim_start_matches(|c: char| c.is_ascii_digit());
        out.push_str(if after.starts_with('>') { "<id" } else { "<id?" });
        out.push_str(after);
    }
    out
}

/// A body as it is compared: the order of the outermost names counts, that of lists does not.
fn shape(body: &str) -> (Vec<String>, Value) {
    let text = flat(body);
    let Ok(mut value) = serde_json::from_str::<Value>(&text) else {
        return (vec![], Value::String(any_cluster_first(&text)));
    };
    let names = outer_names(&text);
    if let Some(object) = value.as_object_mut() {
        loosen(object);
        object.get_mut("mount").map(any_server);
        if let Some(Value::Array(devices)) = object.get_mut("devices") {
            devices.iter_mut().filter_map(Value::as_object_mut).for_each(loosen);
        }
    }
    (names, sorted(value))
}

/// Which of several clusters is told first follows from their ids.
fn any_cluster_first(text: &str) -> String {
    let is_cluster = |line: &&str| line.starts_with("Cluster <id>: ");
    let mut clusters: Vec<&str> = text.split_inclusive('\n').filter(is_cluster).collect();
    clusters.sort_unstable();
    let others = text.split_inclusive('\n').filter(|line| !is_cluster(line));
    others.chain(clusters).collect()
}

/// Where bricks land and how large a device is counted is not part of the contract.
fn loosen(device: &mut Map<String, Value>) {
    let sizes = device.get("storage").and_then(Value::as_object);
    let Some(sizes) = sizes.map(|sizes| sizes.keys().cloned().collect::<Vec<_>>()) else { return };
    if let Some(bricks) = device.get_mut("bricks") {
        assert!(bricks.is_array(), "bricks are a list");
        *bricks = "<list>".into();
        device.insert("storage".into(), sizes.into());
    }
}

/// Which server of a volume comes first follows from the ids of nodes.
fn any_server(mount: &mut Value) {
    let mount = &mut mount["glusterfs"];
    let name = mount["device"].as_str().and_then(|device| Some(device.split_once(':')?.1.to_owned()));
    let backups = mount["options"]["backup-volfile-servers"].as_str().map(|list| list.split(',').count());
    mount["device"] = name.expect("a host and a name").into();
    mount["options"]["backup-volfile-servers"] = backups.expect("a list").into();
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, sorted(value))).collect(),
        other => other,
    }
}

/// The names of the outermost object in the order in which they stand.
fn outer_names(text: &str) -> Vec<String> {
    let (mut names, mut depth, mut quoted, mut start) = (vec![], 0, false, 0);
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' if quoted => {
                quoted = false;
                if depth == 1 && bytes.get(at + 1) == Some(&b':') {
                    names.push(text[start..at].to_owned());
                }
            }
            b'"' => (quoted, start) = (true, at + 1),
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    names
}

#[test]
fn answers_that_mean_the_same_are_the_same() {
    let id = "0123456789abcdef0123456789abcdef";
    let same = |a: &str, b: &str| shape(a) == shape(b);
    assert!(same(
        r#"{"id":"<id3>","l":["<id1>","<id2>"]}"#,
        &format!(r#"{{"id":"{id}","l":["{id}","{id}"]}}"#)
    ));
    assert!(!same(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#));
    assert!(!same(r#"{"a":1}"#, r#"{"a":"1"}"#));
    assert!(!same(r#"{"a":[]}"#, r#"{"a":null}"#));
    assert!(same("expired by 5m0s\n", "expired by 1h2m3s\n"));
    assert!(!same("a\n", "a"));
    assert!(same("t\nCluster <id1>: a\nCluster <id2>: b\n", "t\nCluster <id2>: b\nCluster <id1>: a\n"));
    assert!(!same("a\nb\n", "b\na\n"));
    assert!(!same(&format!("{id}0"), "<id1>"));
    assert!(same(
        r#"{"storage":{"total":1,"free":1,"used":0},"bricks":[]}"#,
        r#"{"storage":{"total":9,"free":8,"used":1},"bricks":[{}]}"#
    ));
}
