//! What was answered is on disk: a process that writes and says so is killed with SIGKILL in the middle, again
//! and again, and nothing that it said may be missing afterwards.
//!
//! The test starts itself as the process to be killed, hence its own `main`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use bricklayer::store::embedded::{Embedded, Options};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

/// Names the database, in the process to be killed.
const CHILD: &str = "BRICKLAYER_TEST_DURABILITY_CHILD";
/// How often the process is killed.
const ROUNDS: usize = 4;
/// Acknowledgements awaited before the kill, per round more.
const ACKNOWLEDGED: usize = 500;
/// Writers at once.
const WRITERS: usize = 8;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match std::env::var_os(CHILD) {
        Some(path) => runtime.block_on(write_and_say_so(path.as_ref())),
        None if std::env::args().any(|a| a == "--list") => println!("nothing_acknowledged_is_lost: test"),
        None => runtime.block_on(nothing_acknowledged_is_lost()),
    }
}

fn configs(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

/// Creates, changes and removes without end. Says `put NAME VERSION` or `gone NAME` after the answer.
async fn write_and_say_so(path: &Path) {
    let store = Embedded::open(Options::new(path), vec![]).unwrap();
    let run = uuid::Uuid::new_v4().simple().to_string();
    let writers = (0..WRITERS).map(|writer| {
        let (api, run) = (configs(store.client()), run.clone());
        tokio::spawn(async move {
            for n in 0.. {
                let object = json!({
                    "metadata": { "name": format!("{run}-{writer}-{n}") }, "data": { "k": "x".repeat(500) },
                });
                let object: ConfigMap = serde_json::from_value(object).unwrap();
                let mut made = api.create(&PostParams::default(), &object).await.unwrap();
                say(&format!("put {} {}", made.name_any(), made.resource_version().unwrap()));
                made.data = Some([("k".to_owned(), n.to_string())].into());
                let name = made.name_any();
                let changed = api.replace(&name, &PostParams::default(), &made).await.unwrap();
                say(&format!("put {name} {}", changed.resource_version().unwrap()));
                if n % 3 == 0 {
                    api.delete(&name, &DeleteParams::default()).await.unwrap();
                    say(&format!("gone {name}"));
                }
            }
        })
    });
    futures::future::join_all(writers).await;
}

/// One line, out of this process for good.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

async fn nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("objects.redb");
    // Name, and the version acknowledged last; `None`: its deletion.
    let mut said: BTreeMap<String, Option<u64>> = BTreeMap::new();
    let mut newest = 0;
    for round in 1..=ROUNDS {
        let before = said.len();
        let lines = run_and_kill(&path, ACKNOWLEDGED * round);
        for line in &lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["put", name, version] => {
                    let version: u64 = version.parse().unwrap();
                    newest = newest.max(version);
                    said.insert((*name).to_owned(), Some(version));
                }
                ["gone", name] => drop(said.insert((*name).to_owned(), None)),
                other => panic!("{other:?}"),
            }
        }
        assert!(said.len() > before, "round {round} did something");
        let opened = Instant::now();
        let store = Embedded::open(Options::new(&path), vec![]).unwrap();
        let opened = opened.elapsed();
        let list = configs(store.client()).list(&ListParams::default()).await.unwrap();
        let head: u64 = list.metadata.resource_version.as_deref().unwrap().parse().unwrap();
        let found: BTreeMap<String, u64> = list
            .items
            .iter()
            .map(|o| (o.name_any(), o.resource_version().unwrap().parse().unwrap()))
            .collect();
        for (name, version) in &said {
            match (version, found.get(name)) {
                (None, None) => {}
                (None, Some(_)) => panic!("round {round}: {name} was deleted, and is back"),
                // Gone without having said so: its deletion was on disk and not yet answered.
                (Some(_), None) => assert!(may_be_gone(name), "round {round}: {name} is lost"),
                (Some(said), Some(found)) => {
                    assert!(found >= said, "round {round}: {name}: {found} < {said}")
                }
            }
        }
        assert!(head >= newest, "round {round}: the version went back: {head} < {newest}");
        println!("round {round}: {} acknowledgements, none lost, opened again in {opened:?}", lines.len());
        store.shutdown().await;
    }
}

/// Whether the writer was going to delete this one.
fn may_be_gone(name: &str) -> bool {
    let n: usize = name.rsplit('-').next().unwrap().parse().unwrap();
    n.is_multiple_of(3)
}

/// Runs the writing process, kills it after so many lines, and returns all that it said.
fn run_and_kill(path: &Path, after: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said: Vec<String> = lines.by_ref().take(after).map(Result::unwrap).collect();
    assert_eq!(said.len(), after, "the process ended by itself");
    child.kill().unwrap();
    // Whole lines that were on their way; one that was cut off was not said.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    said.extend(
        rest.into_iter()
            .filter(|l| l.starts_with("put ") && l.split(' ').count() == 3 || l.starts_with("gone ")),
    );
    child.wait().unwrap();
    said
}
