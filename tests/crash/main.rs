//! The process is killed before and after every durable write and every node command of a volume
//! create, a volume delete, and the coming and going of nodes and devices: all of these moments,
//! one after the other, not a sample. Each time another process opens the same store and the same
//! nodes, and the checker has to find nothing lost, left over or stuck.
//!
//! With BRICKLAYER_TEST_PAIRS, as `make test-long` sets it, the process that comes after is killed too, at one of
//! its own moments, and a third one has to find everything right.
//!
//! The test starts itself: `crash child SCENARIO DIRECTORY list FILE` lists the moments, `... kill
//! MOMENT` dies at one of them, `... recover MOMENT` asks for nothing and dies on the way to rest. An argument that is no option selects scenarios by name.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a case fails by panicking")]

mod csi;
mod points;
#[path = "../rig/mod.rs"]
mod rig;
mod scenarios;

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use points::{Points, Task};
use rig::{Rig, RigOptions, copy, in_runtime};
use scenarios::Scenario;

/// Processes that are killed at the same time: most of the time each waits.
const AT_ONCE: usize = 6;
/// How often moments are listed: nodes that are woken twice at once are looked at once or twice.
const LISTS: usize = 3;
/// How often a moment that came in a list is waited for.
const TRIES: usize = 4;
/// The latest moment at which the second process of a pair is killed.
const LATEST: usize = 40;
/// How many second processes of pairs were killed.
static KILLED_AGAIN: AtomicUsize = AtomicUsize::new(0);
/// A child that takes longer is stuck.
const CHILD_PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["child", scenario, directory, what, which] = words.as_slice() {
        return child(&named(scenario), Path::new(directory), what, which);
    }
    let filter = arguments.iter().find(|a| !a.starts_with('-')).cloned().unwrap_or_default();
    let chosen: Vec<Scenario> =
        scenarios::all().into_iter().filter(|scenario| scenario.name.contains(&filter)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.iter().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    let (started, mut moments) = (Instant::now(), 0);
    for scenario in &chosen {
        let (met, failures) = enumerate(scenario);
        moments += met;
        failed += failures;
    }
    println!("killed at {moments} moments in {:.0} s: {failed} failed", started.elapsed().as_secs_f64());
    if are_pairs() {
        let again = KILLED_AGAIN.load(Ordering::Relaxed);
        println!("of the processes that came after, {again} were killed too");
        assert!(again > moments / 10, "most pairs were none");
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn named(name: &str) -> Scenario {
    scenarios::all().into_iter().find(|scenario| scenario.name == name).expect("a scenario")
}

/// Lists the moments of a scenario and goes through all of them. Gives back how many there were
/// and how many failed.
fn enumerate(scenario: &Scenario) -> (usize, usize) {
    let started = Instant::now();
    let prepared = rig::directory();
    in_runtime(async {
        let rig = Rig::open(prepared.path(), RigOptions::default()).await;
        (scenario.prepare)(&rig).await;
        rig.quiet().await;
        rig.close().await;
    });
    let lists: Vec<Vec<String>> = match scenario.sample {
        Some(_) => vec![list(scenario, prepared.path())],
        None => (0..LISTS).map(|_| list(scenario, prepared.path())).collect(),
    };
    // What is not in every list is part of a detour: on a busy machine something was looked at once more, or later.
    let is_sure = |moment: &String| lists.iter().all(|list| list.contains(moment));
    let mut moments = vec![];
    for moment in lists.iter().flatten() {
        if scenario.sample.is_some() || !moments.contains(moment) {
            moments.push(moment.clone());
        }
    }
    for piece in scenario.meets {
        let piece = piece.replace("NEW", &rig::id("new").to_string());
        assert!(moments.iter().any(|moment| moment.contains(&piece)), "{piece} is not met: {moments:#?}");
    }
    if let Some(sample) = scenario.sample {
        let nth = |n: usize| format!("number {}", (n + 1) * moments.len() / (sample + 1));
        moments = (0..sample).map(nth).collect();
    }
    let queue = Mutex::new(VecDeque::from(moments.clone()));
    let (failures, missed) = (Mutex::new(vec![]), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(moment) = { queue.lock().pop_front() } {
                    let kill = || (0..TRIES).any(|_| kill_at(scenario, prepared.path(), &moment));
                    match catch_unwind(AssertUnwindSafe(kill)) {
                        Ok(true) => {}
                        // Only a repetition or a part of a detour may fail to come again.
                        Ok(false) if !moment.ends_with("#1") || !is_sure(&moment) => {
                            missed.lock().push(moment)
                        }
                        Ok(false) | Err(_) => {
                            println!("FAILED: {}: killed {moment}", scenario.name);
                            failures.lock().push(moment);
                        }
                    }
                }
            });
        }
    });
    let (failed, missed) = (failures.into_inner().len(), missed.into_inner());
    let (count, seconds) = (moments.len() - missed.len(), started.elapsed().as_secs_f64());
    println!("{}: killed at {count} moments in {seconds:.0} s, {failed} failed", scenario.name);
    missed.iter().for_each(|moment| println!("  did not come again in {TRIES} tries: {moment}"));
    (count, failed)
}

/// Runs the scenario once without a kill, in a process of its own as ever.
fn list(scenario: &Scenario, prepared: &Path) -> Vec<String> {
    let directory = rig::directory();
    copy(prepared, directory.path());
    let file = directory.path().join("moments");
    let output = start(scenario, directory.path(), "list", file.to_str().expect("a path"));
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(file).expect("a list");
    text.lines().map(str::to_owned).collect()
}

/// Kills a process at a moment and looks at what comes after. False if the moment did not come.
fn kill_at(scenario: &Scenario, prepared: &Path, moment: &str) -> bool {
    let directory = rig::directory();
    copy(prepared, directory.path());
    let output = start(scenario, directory.path(), "kill", moment);
    if output.status.success() {
        return false;
    }
    assert_eq!(output.status.signal(), Some(9), "{moment}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let said = text.lines().filter_map(|line| line.strip_prefix("acknowledged "));
    let acknowledged: BTreeSet<String> = said.map(str::to_owned).collect();
    if are_pairs() {
        kill_again(scenario, directory.path(), moment);
    }
    in_runtime(async {
        let rig = Rig::open(directory.path(), RigOptions::default()).await;
        (scenario.check)(&rig, &acknowledged).await;
        rig.close().await;
    });
    true
}

/// Kills the process that comes after, too: at a moment that follows from the first one, so that all together many are
/// met. It may come to rest before.
fn kill_again(scenario: &Scenario, directory: &Path, first: &str) {
    let nth = first.bytes().fold(7_usize, |sum, byte| (sum * 31 + usize::from(byte)) % 9973) % LATEST + 1;
    let output = start(scenario, directory, "recover", &format!("number {nth}"));
    let killed = output.status.signal() == Some(9);
    KILLED_AGAIN.fetch_add(usize::from(killed), Ordering::Relaxed);
    assert!(killed || output.status.success(), "{first}, then moment {nth}: {output:?}");
}

fn are_pairs() -> bool {
    std::env::var_os("BRICKLAYER_TEST_PAIRS").is_some()
}

fn start(scenario: &Scenario, directory: &Path, what: &str, which: &str) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["child", scenario.name]).arg(directory).args([what, which]);
    command.stdin(Stdio::null()).output().expect("a process")
}

/// The process that is killed.
fn child(scenario: &Scenario, directory: &Path, what: &str, which: &str) -> ExitCode {
    let task = match which.strip_prefix("number ").map(|n| n.parse().expect("a number")) {
        _ if what == "list" => Task::List,
        Some(n) => Task::KillNth(n),
        None => Task::Kill(which.to_owned()),
    };
    let points = Points::new(task);
    let options = RigOptions { write_hook: Some(points.write_hook()), ..RigOptions::default() };
    let work = async {
        if what == "recover" {
            points.arm();
        }
        let rig = Rig::open(directory, options).await;
        rig.sim.set_hook(Some(points.command_hook()));
        if what == "recover" {
            rig.quiet().await;
            return;
        }
        rig.quiet().await;
        points.arm();
        (scenario.ask)(&rig).await;
        // What still happens after the last thing that was waited for belongs to it.
        rig.quiet().await;
        if what == "list" {
            std::fs::write(which, points.names().join("\n")).expect("a list");
        }
    };
    let done = in_runtime(async { tokio::time::timeout(CHILD_PATIENCE, work).await });
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
