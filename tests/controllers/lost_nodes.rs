//! Nodes that are down, come back, and restart.

use std::time::Duration;

use bricklayer::executor::ops::mount;
use bricklayer::executor::{Batch, LOOK_DEADLINE, Transport};
use bricklayer::intent::Decision;
use bricklayer::resources::{
    DEGRADED, FAILED, GlusterNode, GlusterVolume, OnRefusal, PLACED, REACHABLE, READY, condition,
    condition_is,
};

use crate::rig::{Rig, RigOptions, directory, host, id, in_runtime, node_name, volume_remains, wish};

fn watchful() -> RigOptions {
    RigOptions { look_every: Duration::from_millis(100), ..RigOptions::default() }
}

async fn seen_down(rig: &Rig, n: usize) {
    let down = |seen: Option<&GlusterNode>| {
        let reachable = condition(seen?.conditions(), REACHABLE)?;
        (reachable.status == "False").then_some(())
    };
    rig.until(&rig.caches.nodes, &node_name(n), "is seen to be down", down).await;
}

fn nodes_of(volume: &GlusterVolume) -> Vec<String> {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    placement
        .into_iter()
        .flat_map(|placement| placement.active())
        .map(|brick| brick.node.to_string())
        .collect()
}

/// Whether or not it was noticed before that the node is down.
#[test]
fn a_create_goes_to_the_nodes_that_are_there() {
    for noticed in [true, false] {
        let directory = directory();
        in_runtime(async {
            let options = if noticed { watchful() } else { RigOptions::default() };
            let rig = Rig::open(directory.path(), options).await;
            rig.make_topology(4, 2).await;
            rig.quiet_unless(noticed).await;
            rig.sim.faults().down(&host(2));
            if noticed {
                seen_down(&rig, 2).await;
            }
            for name in ["a", "b", "c"] {
                rig.create_ready(name, wish(3)).await;
                let volume = rig.volume(name).await.expect("a volume");
                assert!(!nodes_of(&volume).contains(&node_name(2)), "{volume:#?}");
            }
            rig.sim.faults().up(&host(2));
            assert_eq!(rig.agrees().await, 9);
            rig.delete_all_volumes().await;
            assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
            rig.close().await;
        });
    }
}

#[test]
fn a_volume_says_which_brick_is_away_and_when_it_is_back() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), watchful()).await;
        rig.make_topology(3, 1).await;
        rig.create_ready("a", wish(3)).await;
        rig.sim.faults().down(&host(2));
        let volume = id("a").to_string();
        let away = |seen: Option<&GlusterVolume>| {
            let degraded = condition(seen?.conditions(), DEGRADED)?;
            (degraded.status == "True").then(|| degraded.message.clone())
        };
        let text = rig.until(&rig.caches.volumes, &volume, "is degraded", away).await;
        assert!(text.starts_with("1 of 3 bricks are away: storage2:/"), "{text}");
        assert!(text.ends_with("node manage2 does not answer"), "{text}");
        rig.sim.faults().up(&host(2));
        let whole = |seen: Option<&GlusterVolume>| {
            (condition(seen?.conditions(), DEGRADED)?.status == "False").then_some(())
        };
        rig.until(&rig.caches.volumes, &volume, "is whole again", whole).await;
        assert_eq!(rig.agrees().await, 3);
        rig.close().await;
    });
}

#[test]
fn without_enough_nodes_a_create_is_refused_and_the_node_is_named() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), watchful()).await;
        rig.make_topology(3, 1).await;
        rig.sim.faults().down(&host(2));
        seen_down(&rig, 2).await;
        let Decision::Refused(volume) = rig.create("a", wish(3)).await else { panic!("no place for it") };
        let placed = condition(volume.conditions(), PLACED).expect("a verdict");
        assert!(placed.message.contains("manage2 is unreachable"), "{}", placed.message);
        rig.gone("a").await;
        rig.sim.faults().up(&host(2));
        assert_eq!(rig.agrees().await, 0);
        rig.close().await;
    });
}

/// The node goes down and nobody has noticed: the ask was accepted, and fails by name.
#[test]
fn a_node_that_is_down_unnoticed_fails_an_accepted_create_by_name() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), RigOptions::default()).await;
        rig.make_topology(3, 1).await;
        rig.quiet().await;
        rig.sim.faults().down(&host(2));
        assert!(matches!(rig.create("a", wish(3)).await, Decision::Accepted(_)));
        let failed = |seen: Option<&GlusterVolume>| {
            condition(seen?.conditions(), FAILED).map(|failed| failed.message.clone())
        };
        let text = rig.until(&rig.caches.volumes, &id("a").to_string(), "has failed", failed).await;
        assert!(text.contains("manage2"), "{text}");
        rig.sim.faults().up(&host(2));
        assert_eq!(rig.agrees().await, 0);
        assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
        rig.close().await;
    });
}

#[test]
fn a_wish_waits_for_the_node_and_is_done_when_it_is_back() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), watchful()).await;
        rig.make_topology(3, 1).await;
        rig.sim.faults().down(&host(2));
        seen_down(&rig, 2).await;
        let mut spec = wish(3);
        spec.on_refusal = OnRefusal::Retry;
        rig.want("a", spec).await;
        let refused = |seen: Option<&GlusterVolume>| {
            let placed = condition(seen?.conditions(), PLACED)?;
            (placed.status == "False" && placed.message.contains("manage2")).then_some(())
        };
        rig.until(&rig.caches.volumes, &id("a").to_string(), "is refused by name", refused).await;
        rig.sim.faults().up(&host(2));
        rig.ready(&rig.caches.volumes, &id("a").to_string()).await;
        assert_eq!(rig.agrees().await, 3);
        rig.close().await;
    });
}

#[test]
fn a_delete_waits_for_the_node_and_says_why() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), watchful()).await;
        rig.make_topology(3, 1).await;
        rig.create_ready("a", wish(3)).await;
        rig.sim.faults().down(&host(3));
        seen_down(&rig, 3).await;
        assert!(rig.delete("a").await);
        let waits = |seen: Option<&GlusterVolume>| {
            let ready = condition(seen?.conditions(), READY)?;
            let why = ready.reason == "Deleting" && ready.message.contains("manage3");
            (ready.status == "False" && why).then_some(())
        };
        rig.until(&rig.caches.volumes, &id("a").to_string(), "waits for manage3", waits).await;
        // Waiting is quiet: the object is not written again and again, nor the nodes asked.
        let version = |volume: Option<GlusterVolume>| volume.expect("a volume").metadata.resource_version;
        let (before, commands) = (version(rig.volume("a").await), gluster_commands(&rig));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(version(rig.volume("a").await), before);
        assert!(gluster_commands(&rig) <= commands + 4, "a volume that waits keeps the nodes busy");
        rig.sim.faults().up(&host(3));
        rig.gone("a").await;
        assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
        assert_eq!(rig.agrees().await, 0);
        rig.close().await;
    });
}

fn gluster_commands(rig: &Rig) -> usize {
    let of_volume = |words: &[String]| words.iter().any(|word| word == "volume");
    rig.sim.log().iter().filter(|entry| of_volume(&entry.argv.0)).count()
}

#[test]
fn a_node_that_restarts_gets_its_bricks_back() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), RigOptions { tell: true, ..watchful() }).await;
        rig.make_topology(3, 1).await;
        rig.create_ready("a", wish(3)).await;
        rig.create_ready("b", wish(2)).await;
        // The fstab of the node has lost its last line.
        let lost = rig.sim.snapshot().hosts[&host(1)].fstab.last().expect("a line").1.clone();
        let forget = Batch::one(mount::fstab_remove("/etc/fstab", &lost), LOOK_DEADLINE);
        rig.sim.run(&host(1), &forget).await.expect("an answer");
        rig.sim.restart(&host(1)).expect("a restart");
        let is_mounted =
            |rig: &Rig| rig.sim.snapshot().hosts[&host(1)].mounts.iter().any(|(_, at)| *at == lost);
        assert!(!is_mounted(&rig), "the fault is no fault");
        let until = tokio::time::Instant::now() + crate::rig::PATIENCE;
        while !rig.audit().await.wrong.is_empty() {
            assert!(tokio::time::Instant::now() < until, "{}", rig.audit().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(rig.agrees().await, 6);
        assert!(is_mounted(&rig));
        while !rig.told(&node_name(1)).await.contains(&"Restored".to_owned()) {
            assert!(tokio::time::Instant::now() < until, "{:?}", rig.told(&node_name(1)).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut told = rig.told(&id("a").to_string()).await;
        told.sort_unstable();
        assert_eq!(told, ["Placed", "Started"], "two events in the life of a volume");
        rig.close().await;
    });
}

/// An ask for a node that does not answer fails, and the names are free for the next one.
#[test]
fn a_node_that_failed_can_be_asked_for_again() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), RigOptions::default()).await;
        rig.make_topology(2, 1).await;
        rig.sim.faults().down(&host(3));
        assert!(rig.ask_node(3).await);
        let failed = |seen: Option<&GlusterNode>| condition_is(seen?.conditions(), FAILED).then_some(());
        rig.until(&rig.caches.nodes, &node_name(3), "has failed", failed).await;
        rig.sim.faults().up(&host(3));
        let again = rig.ask_node_as("again", 3).await;
        assert!(again, "the names are free");
        rig.ready(&rig.caches.nodes, &id("again").to_string()).await;
        rig.close().await;
    });
}
