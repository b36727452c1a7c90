//! House rules that a compiler does not know: which room may import which, what only some files may
//! name, no file that nobody compiles, no file too long, nothing generated that is stale.
//!
//! An exception needs a reason and stands in a table here. An exception that nothing uses any more fails
//! the test too, so the tables can only shrink unnoticed, never grow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use source::{Source, begins_with, reached};

/// The rooms, and which others each may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("allocation", &["units"]),
    ("resources", &["units"]),
    ("executor", &["units"]),
    ("auth", &["units"]),
    ("store", &["resources", "units"]),
    ("placement", &["allocation", "resources", "units"]),
    ("intent", &["placement", "store", "resources", "units"]),
    ("controllers", &["executor", "placement", "store", "resources", "units"]),
    ("provisioner", &["intent", "store", "resources", "units"]),
    ("csi", &["executor", "intent", "store", "resources", "units"]),
    ("api", &["intent", "auth", "placement", "store", "resources", "units"]),
    ("cli", &["units"]),
    (
        "serve",
        &[
            "allocation",
            "api",
            "auth",
            "cli",
            "controllers",
            "csi",
            "executor",
            "intent",
            "provisioner",
            "resources",
            "store",
            "units",
        ],
    ),
];

/// Folders inside a room that may not even import the rest of their own.
const SEALED: &[(&str, &str)] = &[
    ("src/store/embedded", "crate::store::embedded"), // an API service for any kind, not ours alone
    ("src/api/heketi", "crate::api::heketi"),         // the faces know nothing of each other
];

/// What only these files or folders may name. The first is the rule, the rest are exceptions.
const ONLY_IN: &[(&str, &[(&str, &str)])] = &[
    (
        "kube::Client",
        &[
            ("src/store", "the handle and the embedded service behind it"),
            ("src/serve", "makes the client, and holds the Lease with it"),
        ],
    ),
    (
        "std::env",
        &[
            ("src/serve/config", "the settings of a server"),
            ("src/serve/heketi.rs", "the name under which the process was started"),
            ("src/executor/transport/sim/tests.rs", "how many rounds a test is asked for"),
        ],
    ),
    ("std::sync::Mutex", &[]), // parking_lot's has no poison to handle
    (
        "std::process::Command",
        &[
            (
                "src/executor/transport/sim/tests.rs",
                "a process that a test kills while it uses simulated nodes",
            ),
            ("src/csi/node/client/launch.rs", "the shells that a client is started by, in its tests"),
        ],
    ),
    (
        "tokio::process",
        &[
            ("src/csi/node/client", "starts GlusterFS's own client"),
            ("src/executor/transport/ssh/tests.rs", "a shell at the far end of a test's connection"),
        ],
    ),
    (
        "crate::executor::transport",
        &[
            ("src/executor/transport", "itself"),
            ("src/controllers/transports.rs", "chooses the transport of a cluster"),
            ("src/serve", "opens the simulated nodes"),
        ],
    ),
    ("crate::serve", &[("src/serve", "nobody imports the composition")]),
];

/// What these files and folders may not do: they compute, and are given what they need.
const PURE: &[&str] = &[
    "src/allocation",
    "src/placement",
    "src/resources",
    "src/units",
    "src/executor/ops",
    "src/controllers/device/decide.rs",
    "src/controllers/node/decide.rs",
    "src/controllers/volume/decide.rs",
    "src/controllers/volume/degraded.rs",
    "src/controllers/volume/report.rs",
    "src/controllers/access/list.rs",
    "src/controllers/audit/judge.rs",
    "src/csi/controller/capacity.rs",
    "src/csi/controller/list.rs",
    "src/csi/controller/refusal.rs",
    "src/csi/controller/wish.rs",
    "src/intent/class.rs",
    "src/intent/placement_options.rs",
    "src/store/embedded/patch.rs",
    "src/store/embedded/schema.rs",
    "src/store/embedded/selector.rs",
    "src/csi/node/client/cgroup.rs",
    "src/csi/node/client/launch.rs",
    "src/csi/node/client/words.rs",
    "src/csi/node/repair/decide.rs",
    "src/csi/node/request.rs",
];
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::ToSocketAddrs",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::env",
];
const CLOCKS: &[&str] = &["Timestamp::now", "Instant::now", "SystemTime::now", "Zoned::now"];

const LONGEST: usize = 600;
const NAMES_THAT_SAY_NOTHING: &[&str] = &["utils", "util", "helpers", "helper", "manager", "common", "misc"];

/// Every file of the crate and of its test programs, read once.
static SOURCES: LazyLock<BTreeMap<PathBuf, Source>> = LazyLock::new(|| reached(&roots()));

/// The files of the crate itself.
fn library() -> Vec<&'static Source> {
    SOURCES.values().filter(|source| source.is_in("src")).collect()
}

/// Fails with all complaints at once.
fn check(complaints: impl IntoIterator<Item = String>) {
    let complaints: BTreeSet<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_room_stands_in_the_table() {
    let rooms: BTreeSet<String> = std::fs::read_dir("src")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() || !["main.rs", "lib.rs"].iter().any(|file| path.ends_with(file)))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let table: BTreeSet<String> = ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(rooms, table);
}

#[test]
fn rooms_import_only_what_they_may() {
    let may: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut complaints = Vec::new();
    for source in library() {
        let Some(may) = may.get(source.room()) else { continue };
        for name in source.names_of("crate") {
            let Some(other) = name.split("::").nth(1).filter(|_| name.contains("::")) else { continue };
            if other != source.room() && ROOMS.iter().any(|(room, _)| *room == other) && !may.contains(&other)
            {
                complaints.push(format!(
                    "{}: {} may not import {name}",
                    source.path.display(),
                    source.room()
                ));
            }
        }
    }
    check(complaints);
}

#[test]
fn sealed_folders_import_nothing_around_them() {
    let mut complaints = Vec::new();
    for (folder, itself) in SEALED {
        let sources: Vec<&Source> = library().into_iter().filter(|source| source.is_in(folder)).collect();
        assert!(!sources.is_empty(), "{folder} is gone: take it out of the table");
        let room = itself.split("::").nth(1).unwrap_or_default();
        for source in sources {
            for name in source.names_of("crate").filter(|name| name.split("::").nth(1) == Some(room)) {
                if !begins_with(name, itself) {
                    complaints.push(format!("{}: may not import {name}", source.path.display()));
                }
            }
        }
    }
    check(complaints);
}

#[test]
fn the_embedded_store_knows_nothing_of_ours() {
    let mut complaints = Vec::new();
    for source in library().into_iter().filter(|source| source.is_in("src/store/embedded")) {
        let ours = source.names_of("crate").filter(|name| !begins_with(name, "crate::store::embedded"));
        complaints.extend(ours.map(|name| format!("{}: may not import {name}", source.path.display())));
        let text = std::fs::read_to_string(&source.path).unwrap().to_lowercase();
        complaints.extend(
            ["gluster", "heketi"]
                .iter()
                .filter(|word| text.contains(*word))
                .map(|word| format!("{}: says {word}", source.path.display())),
        );
    }
    check(complaints);
}

#[test]
fn some_things_are_named_in_few_places() {
    let sources = library();
    let mut complaints = Vec::new();
    for (thing, places) in ONLY_IN {
        let naming: Vec<&&Source> =
            sources.iter().filter(|source| source.names_of(thing).next().is_some()).collect();
        for source in &naming {
            if !places.iter().any(|(place, _)| source.is_in(place)) {
                complaints.push(format!("{}: may not name {thing}", source.path.display()));
            }
        }
        for (place, reason) in *places {
            if !naming.iter().any(|source| source.is_in(place)) {
                complaints
                    .push(format!("{place} does not name {thing} any more ({reason}): take it out here"));
            }
        }
    }
    check(complaints);
}

#[test]
fn what_decides_does_not_wait() {
    let sources = library();
    let mut complaints = Vec::new();
    for place in PURE {
        let inside: Vec<&&Source> = sources.iter().filter(|source| source.is_in(place)).collect();
        if inside.is_empty() {
            complaints.push(format!("{place} is gone: take it out of the table"));
        }
        for source in inside {
            let path = source.path.display();
            if source.awaits {
                complaints.push(format!("{path}: may not await"));
            }
            for name in &source.names_in_earnest {
                if IMPURE.iter().any(|banned| begins_with(name, banned))
                    || CLOCKS.iter().any(|now| name.ends_with(now))
                {
                    complaints.push(format!("{path}: may not use {name}"));
                }
            }
        }
    }
    check(complaints);
}

/// All files below a folder with that ending.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|given| given == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The root files of all programs: those in `src/`, and `tests/NAME.rs` or `tests/NAME/main.rs`.
fn roots() -> Vec<PathBuf> {
    let is_root = |path: &PathBuf| path.components().count() == 2 || path.ends_with("main.rs");
    let programs = [files("tests", "rs"), files("benches", "rs")].concat().into_iter().filter(is_root);
    programs.chain(["src/lib.rs".into(), "src/main.rs".into()]).collect()
}

#[test]
fn every_file_is_compiled() {
    let all = [files("src", "rs"), files("tests", "rs"), files("benches", "rs")].concat();
    let dead = all.iter().filter(|file| !SOURCES.contains_key(*file));
    check(dead.map(|file| format!("{}: no module declares it", file.display())));
}

#[test]
fn no_file_is_long_and_each_has_a_name() {
    let mut complaints = Vec::new();
    for source in SOURCES.values() {
        let path = source.path.display();
        if source.lines > LONGEST {
            complaints.push(format!("{path}: {} lines, {LONGEST} at the most", source.lines));
        }
        let mut parts = source.path.iter().filter_map(|part| Path::new(part).file_stem()?.to_str());
        if let Some(name) = parts.find(|part| NAMES_THAT_SAY_NOTHING.contains(part)) {
            complaints.push(format!("{path}: nobody can guess what is in {name}"));
        }
    }
    check(complaints);
}

#[test]
fn generated_files_are_fresh() {
    let printed = Command::new(env!("CARGO_BIN_EXE_bricklayer")).arg("crds").output().unwrap();
    assert!(printed.status.success());
    let kept = std::fs::read("crds/bricklayer.yaml").unwrap();
    assert!(printed.stdout == kept, "crds/bricklayer.yaml is stale: run `make generate`");
    // The chart has the same, with two lines of its own in each kind; deploy/ is looked at by `make check`.
    let template = std::fs::read_to_string("charts/bricklayer-crds/templates/crds.yaml").unwrap();
    let is_ours = |line: &&str| !line.contains("helm.sh/resource-policy") && !line.contains("{{");
    let kinds: String = template.lines().skip(1).filter(is_ours).flat_map(|line| [line, "\n"]).collect();
    assert!(kinds.as_bytes() == kept, "charts/bricklayer-crds is stale: run `make generate`");
}

#[test]
fn manifests_are_yaml_and_grant_nothing_wholesale() {
    let mut complaints = Vec::new();
    let paths = [files("deploy", "yaml"), files("examples", "yaml"), files("crds", "yaml")].concat();
    assert!(paths.iter().any(|path| path.ends_with("rbac.yaml")));
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object: serde_json::Value = serde::Deserialize::deserialize(document)
                .unwrap_or_else(|error| panic!("{} is not YAML: {error}", path.display()));
            if !object["kind"].is_string() || !object["apiVersion"].is_string() {
                complaints.push(format!("{}: an object without kind or apiVersion", path.display()));
            }
            let rules = object["rules"].as_array().into_iter().flatten();
            for list in rules.filter_map(|rule| rule.as_object()).flat_map(|rule| rule.values()) {
                if list
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|word| word.as_str().is_some_and(|w| w.contains('*')))
                {
                    complaints.push(format!(
                        "{}: a wildcard in {}",
                        path.display(),
                        object["metadata"]["name"]
                    ));
                }
            }
        }
    }
    check(complaints);
}

/// Links between documents, and the files of ours that they name in backticks.
#[test]
fn documents_name_files_that_exist() {
    let documents = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from);
    let decisions = if Path::new("docs").exists() { files("docs", "md") } else { Vec::new() };
    let charts = files("charts", "md");
    let mut complaints = Vec::new();
    for document in documents.iter().chain(&decisions).chain(&charts) {
        let text = std::fs::read_to_string(document)
            .unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        let beside = document.parent().unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let local = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
        let linked = local.map(|link| beside.join(link.split('#').next().unwrap_or_default()));
        let quoted = text.split('`').skip(1).step_by(2).filter(|word| {
            let ours = ["src/", "tests/", "docs/", "deploy/", "crds/", "charts/", "examples/"];
            ours.iter().any(|folder| word.starts_with(folder)) && !word.contains([' ', '*', '{', '<', '\n'])
        });
        for named in linked.chain(quoted.map(PathBuf::from)).filter(|path| !path.exists()) {
            complaints.push(format!("{}: there is no {}", document.display(), named.display()));
        }
    }
    check(complaints);
}
