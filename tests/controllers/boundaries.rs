//! Every fault at every node command of a create and of a delete.

use std::path::Path;
use std::time::Duration;

use bricklayer::executor::Argv;
use bricklayer::executor::transport::sim::{Fault, Rule};
use bricklayer::resources::{
    Condition, FAILED, GlusterDevice, GlusterNode, GlusterVolume, OnRefusal, READY, condition, condition_is,
};

use kube::ResourceExt;

use crate::rig::{
    PATIENCE, Rig, RigOptions, copy, directory, id, in_runtime, on_copies, prepared, topology_remains,
    volume_remains, wish,
};

/// Rigs that work at the same time: most of the time each waits.
pub const AT_ONCE: usize = 16;

fn options() -> RigOptions {
    RigOptions {
        look_every: Duration::from_secs(1),
        deadline_limit: Duration::from_millis(400),
        ..RigOptions::default()
    }
}

/// A command as rules see it: a script by its name.
fn words(argv: &Argv) -> String {
    match argv.0.as_slice() {
        [shell, flag, _, rest @ ..] if shell == "sh" && flag == "-c" => rest.join(" "),
        all => all.join(" "),
    }
}

/// The node commands of some work, each as a rule that strikes at it and nowhere else.
pub fn commands(prepared: &Path, work: impl AsyncFnOnce(&Rig)) -> Vec<Rule> {
    let made = directory();
    copy(prepared, made.path());
    in_runtime(async {
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.quiet().await;
        let before = rig.sim.commands();
        work(&rig).await;
        rig.quiet().await;
        let log = rig.sim.log();
        let log: Vec<(&String, String)> = log
            .iter()
            .filter(|entry| entry.n > before)
            .map(|entry| (&entry.host, words(&entry.argv)))
            .collect();
        let rule = |(n, (host, command)): (usize, &(&String, String))| {
            assert!(!command.contains('*'), "{command}");
            let same = |earlier: &&(&String, String)| earlier.0 == *host && earlier.1.contains(command);
            let skip = log[..n].iter().filter(same).count() as u64;
            Rule::once(command, Fault::Hang).on(host).after(skip)
        };
        let rules = log.iter().enumerate().map(rule).collect();
        rig.close().await;
        rules
    })
}

/// All faults at all commands.
pub fn faults(commands: Vec<Rule>) -> Vec<Rule> {
    let refusal = || (5, "refused by a test".to_owned());
    let all = |rule: Rule| {
        let ((exit, stderr), (exit2, stderr2)) = (refusal(), refusal());
        [
            Fault::FailBefore { exit, stderr },
            Fault::FailAfter { exit: exit2, stderr: stderr2 },
            Fault::Hang,
            Fault::LoseAnswer,
            Fault::LoseReply,
            Fault::NodeDown,
        ]
        .map(|fault| Rule { fault, ..rule.clone() })
    };
    commands.into_iter().flat_map(all).collect()
}

pub async fn with_fault(directory: &Path, rule: Rule) -> Rig {
    let rig = Rig::open(directory, options()).await;
    rig.quiet().await;
    rig.sim.faults().add(rule);
    rig
}

/// How long a volume may take that waits for a node to come back: nobody brings it back meanwhile.
const A_WHILE: Duration = Duration::from_secs(3);

/// Waits until a volume is ready or has failed, or until the time is over.
async fn decided(rig: &Rig, name: &str, patience: Duration) {
    let over = |seen: Option<&GlusterVolume>| {
        let conditions = seen?.conditions();
        (condition_is(conditions, READY) || condition(conditions, FAILED).is_some()).then_some(())
    };
    let _ = rig.caches.volumes.wait(&id(name).to_string(), patience, over).await;
}

pub async fn nothing_remains(rig: &Rig) {
    rig.delete_all_volumes().await;
    assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
    rig.agrees().await;
}

#[test]
fn a_create_that_is_forgotten_is_done_or_leaves_nothing() {
    let prepared = prepared(RigOptions::default(), async |rig| rig.make_topology(4, 1).await);
    let commands = commands(prepared.path(), async |rig| rig.create_ready("new", wish(3)).await);
    assert!(commands.len() > 30, "{commands:?}");
    on_copies(prepared.path(), faults(commands), AT_ONCE, |directory, rule| {
        in_runtime(async {
            let fault = rule.fault.clone();
            let rig = with_fault(directory, rule).await;
            rig.create("new", wish(3)).await;
            decided(&rig, "new", PATIENCE).await;
            let answered = rig.volume("new").await.expect("the object");
            let failed = condition(answered.conditions(), FAILED).is_some();
            assert!(failed || condition_is(answered.conditions(), READY), "no answer: {answered:#?}");
            rig.sim.faults().clear();
            assert_eq!(rig.agrees().await, if failed { 0 } else { 3 });
            if failed {
                let volume = rig.volume("new").await.expect("a failure that can be read");
                let failed = condition(volume.conditions(), FAILED).expect("a failure");
                let why = if fault == Fault::NodeDown { "manage" } else { "refused by a test" };
                assert!(failed.status == "True" && failed.message.contains(why), "{volume:#?}");
                assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
            }
            nothing_remains(&rig).await;
            rig.close().await;
        });
    });
}

#[test]
fn a_create_that_is_tried_again_succeeds() {
    let prepared = prepared(RigOptions::default(), async |rig| rig.make_topology(4, 1).await);
    let spec = || {
        let mut spec = wish(3);
        spec.on_refusal = OnRefusal::Retry;
        spec
    };
    let commands = commands(prepared.path(), async |rig| rig.create_ready("new", spec()).await);
    on_copies(prepared.path(), faults(commands), AT_ONCE, |directory, rule| {
        in_runtime(async {
            let rig = with_fault(directory, rule).await;
            rig.want("new", spec()).await;
            decided(&rig, "new", A_WHILE).await;
            rig.sim.faults().clear();
            rig.ready(&rig.caches.volumes, &id("new").to_string()).await;
            assert_eq!(rig.agrees().await, 3);
            nothing_remains(&rig).await;
            rig.close().await;
        });
    });
}

#[test]
fn a_delete_comes_to_its_end() {
    let prepared = prepared(RigOptions::default(), async |rig| {
        rig.make_topology(4, 1).await;
        rig.create_ready("doomed", wish(3)).await;
        rig.create_ready("kept", wish(2)).await;
    });
    let commands = commands(prepared.path(), async |rig| {
        rig.delete("doomed").await;
        rig.gone("doomed").await;
    });
    assert!(commands.len() > 20, "{commands:?}");
    on_copies(prepared.path(), faults(commands), AT_ONCE, |directory, rule| {
        in_runtime(async {
            let down = rule.fault == Fault::NodeDown;
            let rig = with_fault(directory, rule).await;
            assert!(rig.delete("doomed").await);
            if down {
                let waits = |seen: Option<&GlusterVolume>| {
                    let ready = seen.and_then(|seen| condition(seen.conditions(), READY));
                    let waits = ready.is_some_and(|ready| {
                        ready.reason == "Deleting" && ready.message.contains("removal waits")
                    });
                    (waits || seen.is_none()).then_some(())
                };
                rig.until(&rig.caches.volumes, &id("doomed").to_string(), "waits or is gone", waits).await;
                rig.sim.faults().clear();
            }
            rig.gone("doomed").await;
            assert_eq!(rig.agrees().await, 3);
            nothing_remains(&rig).await;
            rig.close().await;
        });
    });
}

/// Whether an object is where it stays: ready, or failed for good.
fn over(conditions: &[Condition]) -> bool {
    condition_is(conditions, READY) || condition_is(conditions, FAILED)
}

async fn register(rig: &Rig, node: &str, device: &str) {
    assert!(rig.ask_node_as(node, 2).await, "the names are free");
    let rests = |seen: Option<&GlusterNode>| over(seen?.conditions()).then_some(());
    rig.until(&rig.caches.nodes, &id(node).to_string(), "rests", rests).await;
    if rig.caches.nodes.get(&id(node).to_string()).is_some_and(|n| condition_is(n.conditions(), READY)) {
        assert!(rig.ask_device_as(device, &id(node).to_string(), 0).await, "the path is free");
        let rests = |seen: Option<&GlusterDevice>| over(seen?.conditions()).then_some(());
        // A device whose node went down waits for it.
        let _ = rig.caches.devices.wait(&id(device).to_string(), Duration::from_secs(3), rests).await;
    }
}

#[test]
fn a_node_and_a_device_come_or_leave_nothing() {
    let prepared = prepared(RigOptions::default(), async |rig| rig.make_topology(1, 1).await);
    let commands = commands(prepared.path(), async |rig| register(rig, "node2", "device2-0").await);
    let meets = |what: &str| commands.iter().any(|rule| rule.command.contains(what));
    assert!(meets("peer probe") && meets("pvcreate") && meets("vgcreate"), "{commands:?}");
    on_copies(prepared.path(), faults(commands), AT_ONCE, |directory, rule| {
        in_runtime(async {
            let rig = with_fault(directory, rule).await;
            register(&rig, "node2", "device2-0").await;
            rig.sim.faults().clear();
            let nodes: Vec<GlusterNode> = rig.store.list().await.expect("a list");
            if nodes.iter().any(|node| condition_is(node.conditions(), FAILED)) {
                // It can be read why, and the same may be asked for again.
                register(&rig, "again", "device-again").await;
            }
            let devices: Vec<GlusterDevice> = rig.store.list().await.expect("a list");
            for device in &devices {
                let rests = |seen: Option<&GlusterDevice>| over(seen?.conditions()).then_some(());
                rig.until(&rig.caches.devices, &device.name_any(), "rests", rests).await;
            }
            let failed = |device: &&GlusterDevice| condition_is(device.conditions(), FAILED);
            if let Some(failed) = rig.store.list::<GlusterDevice>().await.expect("a list").iter().find(failed)
            {
                assert!(rig.ask_device_as("once-more", &failed.spec.node, 0).await, "the path is free");
                rig.ready(&rig.caches.devices, &id("once-more").to_string()).await;
            }
            rig.agrees().await;
            rig.delete_topology().await;
            assert_eq!(topology_remains(&rig.sim.snapshot()), Vec::<String>::new());
            rig.close().await;
        });
    });
}
