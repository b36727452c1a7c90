//! What LVM and GlusterFS refuse.

use std::collections::BTreeSet;

use bricklayer::executor::ops::gluster::{NewVolume, Sets, create_volume};
use bricklayer::executor::transport::sim::{Fault, Rule};
use bricklayer::executor::{Argv, Batch, LOOK_DEADLINE, Transport};
use bricklayer::intent::{self, Decision};
use bricklayer::resources::{FAILED, GlusterVolume, OnRefusal, READY, condition};
use bricklayer::units::{Bytes, vg_name};

use crate::rig::{Rig, RigOptions, directory, host, id, in_runtime, volume_remains, wish};

fn full() -> Fault {
    Fault::FailBefore { exit: 5, stderr: "has insufficient free space".into() }
}

fn devices_of(volume: &GlusterVolume) -> BTreeSet<String> {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    placement
        .into_iter()
        .flat_map(|placement| &placement.bricks)
        .map(|brick| brick.device.to_string())
        .collect()
}

async fn failure(rig: &Rig, name: &str) -> String {
    let failed = |seen: Option<&GlusterVolume>| {
        let failed = condition(seen?.conditions(), FAILED)?;
        (failed.status == "True").then(|| failed.message.clone())
    };
    rig.until(&rig.caches.volumes, &id(name).to_string(), "has failed", failed).await
}

#[test]
fn a_brick_that_a_device_refuses_goes_elsewhere() {
    for on_refusal in [OnRefusal::Forget, OnRefusal::Retry] {
        let directory = directory();
        in_runtime(async {
            let rig = Rig::open(directory.path(), RigOptions::default()).await;
            rig.make_topology(3, 2).await;
            let bad = id("device1-0");
            rig.sim.faults().add(Rule::always(&format!("lvcreate*{}", vg_name(bad)), full()));
            let mut tried = 0;
            for name in ["a", "b", "c", "d"] {
                let mut spec = wish(3);
                spec.on_refusal = on_refusal;
                rig.want(name, spec.clone()).await;
                rig.ready(&rig.caches.volumes, &id(name).to_string()).await;
                assert!(rig.agrees().await > 0);
                let volume = rig.volume(name).await.expect("a volume");
                assert!(!devices_of(&volume).contains(&bad.to_string()), "{volume:#?}");
                let status = volume.status.expect("a status");
                assert!(status.avoid.is_empty(), "once it is ready nothing is left out");
                tried += status.attempt;
            }
            assert!(tried > 4, "the device was never chosen");
            assert_eq!(rig.agrees().await, 12);
            rig.delete_all_volumes().await;
            assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
            rig.close().await;
        });
    }
}

/// Each device has room for one brick: the bricks of the first try are in the way of the second.
#[test]
fn old_bricks_make_room_for_new_ones() {
    for on_refusal in [OnRefusal::Forget, OnRefusal::Retry] {
        let directory = directory();
        in_runtime(async {
            let options = RigOptions { device_size: Bytes::from_gib(10), ..RigOptions::default() };
            let rig = Rig::open(directory.path(), options).await;
            rig.make_topology(4, 1).await;
            rig.sim.faults().add(Rule::once("lvcreate", full()));
            let mut spec = wish(7);
            spec.on_refusal = on_refusal;
            rig.want("a", spec.clone()).await;
            rig.ready(&rig.caches.volumes, &id("a").to_string()).await;
            assert_eq!(rig.agrees().await, 3);
            let volume = rig.volume("a").await.expect("a volume");
            assert_eq!(volume.status.map(|status| status.attempt), Some(2), "it was placed anew");
            rig.close().await;
        });
    }
}

#[test]
fn an_option_that_gluster_refuses_fails_the_ask_and_frees_its_name() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), RigOptions::default()).await;
        rig.make_topology(3, 1).await;
        let mut spec = wish(3);
        spec.name = Some("data".into());
        spec.options = vec!["no-such.option on".into()];
        assert!(matches!(rig.create("a", spec.clone()).await, Decision::Accepted(_)));
        let text = failure(&rig, "a").await;
        assert!(text.contains("no-such.option") && text.contains("does not exist"), "{text}");
        assert_eq!(rig.agrees().await, 0);
        assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
        let failed = rig.volume("a").await.expect("a failure that can be read");
        assert!(!intent::visible(&failed, failed.spec.on_refusal, failed.conditions()));
        spec.options.clear();
        rig.create_ready("b", spec).await;
        assert_eq!(rig.agrees().await, 3);
        rig.close().await;
    });
}

/// A wish that is tried until it succeeds does not hammer the nodes meanwhile.
#[test]
fn a_wish_that_gluster_refuses_is_tried_with_pauses() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), RigOptions::default()).await;
        rig.make_topology(3, 1).await;
        let mut spec = wish(3);
        spec.on_refusal = OnRefusal::Retry;
        spec.options = vec!["no-such.option on".into()];
        rig.want("a", spec).await;
        let refused = |seen: Option<&GlusterVolume>| {
            let ready = condition(seen?.conditions(), READY)?;
            (ready.reason == "Refused").then(|| ready.message.clone())
        };
        let text = rig.until(&rig.caches.volumes, &id("a").to_string(), "is refused", refused).await;
        assert!(text.contains("no-such.option"), "{text}");
        let before = rig.sim.commands();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let commands = rig.sim.commands() - before;
        assert!(commands < 250, "{commands} commands in 2 s");
        rig.delete("a").await;
        rig.gone("a").await;
        assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
        rig.close().await;
    });
}

/// A gluster volume of somebody else is in the way: it is neither taken over nor removed.
#[test]
fn a_volume_of_somebody_else_stays() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), RigOptions::default()).await;
        rig.make_topology(3, 1).await;
        let brick = |n: usize| format!("storage{n}:/srv/brick");
        let mkdir = |_| Batch::one(Argv::new(["mkdir", "-p", "/srv"]), LOOK_DEADLINE);
        for n in 1..=3 {
            rig.sim.run(&host(n), &mkdir(n)).await.expect("an answer");
        }
        let theirs =
            NewVolume { name: "data".into(), sets: Sets::Replica(3), bricks: (1..=3).map(brick).collect() };
        let mut force = create_volume(&theirs);
        force.0.push("force".into());
        let reply = rig.sim.run(&host(1), &Batch::one(force, LOOK_DEADLINE)).await.expect("an answer");
        assert!(reply.outputs[0].ok(), "{reply:?}");
        let mut spec = wish(3);
        spec.name = Some("data".into());
        assert!(matches!(rig.create("a", spec).await, Decision::Accepted(_)));
        let text = failure(&rig, "a").await;
        assert!(text.contains("made of other bricks"), "{text}");
        assert_eq!(rig.agrees().await, 0);
        let pools = rig.sim.snapshot().pools;
        let names: Vec<&String> =
            pools.iter().flat_map(|pool| &pool.volumes).map(|volume| &volume.name).collect();
        assert_eq!(names, ["data"]);
        rig.close().await;
    });
}
