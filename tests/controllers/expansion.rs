//! A volume grows: bricks are added beside those that it has, and its data moves.

use bricklayer::executor::transport::sim::{Fault, Rule};
use bricklayer::intent::volume::{Expansion, expand, expand_by, expansion};
use bricklayer::intent::{Decision, volume};
use bricklayer::resources::{
    EXPANDED, GlusterVolume, GlusterVolumeSpec, Growth, OnRefusal, RebalancePhase, condition, condition_is,
};
use bricklayer::units::{Bytes, Id};

use crate::rig::{Rig, RigOptions, directory, id, in_runtime, volume_remains, wish};

fn gib(size: u64) -> Bytes {
    Bytes::from_gib(size)
}

/// Waits until a volume has a size and its data has moved.
async fn has(rig: &Rig, name: &str, size: u64) -> GlusterVolume {
    let grown = |seen: Option<&GlusterVolume>| {
        let status = seen?.status.as_ref()?;
        let moved = status.rebalance.as_ref().is_some_and(|seen| seen.phase == RebalancePhase::Completed);
        (moved && status.size == Some(gib(size)) && condition_is(&status.conditions, EXPANDED)).then_some(())
    };
    let key = id(name).to_string();
    rig.until(&rig.caches.volumes, &key, "has grown", grown).await;
    rig.volume(name).await.unwrap()
}

/// The hosts and paths of the bricks of a volume, in the order of the placement.
fn bricks(volume: &GlusterVolume) -> Vec<String> {
    let placement = volume.status.as_ref().unwrap().placement.as_ref().unwrap();
    placement.bricks.iter().map(|brick| brick.address()).collect()
}

#[test]
fn a_volume_grows_twice_and_goes() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(4, 1).await;
        rig.create_ready("v", wish(3)).await;
        let before = rig.volume("v").await.unwrap();
        assert_eq!(before.size(), Some(gib(3)));
        assert!(condition(before.conditions(), EXPANDED).is_none());

        let name = id("v").to_string();
        expand(&rig.intent, &name, None, gib(8)).await.unwrap();
        let once = has(&rig, "v", 8).await;
        assert_eq!(bricks(&once)[..3], bricks(&before), "what was there stays where it is");
        let status = once.status.as_ref().unwrap();
        let placed = status.placement.as_ref().unwrap();
        assert_eq!(placed.size, Some(gib(8)));
        let added: Vec<_> = placed.bricks[3..].iter().map(|b| (b.set, b.position, b.size)).collect();
        assert_eq!(added, [(1, 0, gib(5)), (1, 1, gib(5)), (1, 2, gib(5))]);
        assert_eq!(rig.agrees().await, 6);

        // Asking for what is there asks for nothing.
        let same = expand(&rig.intent, &name, None, gib(8)).await.unwrap();
        assert_eq!(same.metadata.resource_version, once.metadata.resource_version);

        let ask = Id::random();
        let decided = expand_by(&rig.intent, &name, None, gib(2), ask).await.unwrap();
        assert!(matches!(decided, Decision::Accepted(_)), "{decided:?}");
        let again = expand_by(&rig.intent, &name, None, gib(2), ask).await.unwrap();
        assert!(matches!(again, Decision::Accepted(_)), "{again:?}");
        let twice = has(&rig, "v", 10).await;
        assert_eq!(expansion(&twice, ask), Some(Expansion::Done));
        assert_eq!(expansion(&twice, Id::random()), None);
        assert_eq!(bricks(&twice)[..6], bricks(&once));
        assert_eq!(rig.agrees().await, 9);

        rig.delete_all_volumes().await;
        assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
        rig.close().await;
    });
}

#[test]
fn bricks_grow_where_they_are_while_their_devices_have_room() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions { device_size: gib(10), ..RigOptions::default() }).await;
        rig.make_topology(3, 2).await;
        for (name, growth) in [("auto", Growth::Auto), ("only", Growth::InPlace)] {
            rig.create_ready(name, GlusterVolumeSpec { growth, ..wish(2) }).await;
            let key = id(name).to_string();
            let before = bricks(&rig.volume(name).await.unwrap());
            expand(&rig.intent, &key, None, gib(6)).await.unwrap();
            let larger = |seen: Option<&GlusterVolume>| (seen?.size() == Some(gib(6))).then_some(());
            rig.until(&rig.caches.volumes, &key, "has grown", larger).await;
            let after = rig.volume(name).await.unwrap();
            assert_eq!(bricks(&after), before);
            let status = after.status.as_ref().unwrap();
            assert!(status.rebalance.is_none(), "no data moves");
            assert!(condition_is(&status.conditions, EXPANDED));
            let sizes = status.placement.as_ref().unwrap().bricks.iter().map(|brick| brick.size);
            assert!(sizes.eq([gib(6); 3]));
        }
        assert_eq!(rig.agrees().await, 6);

        // Each device has less than 4 GiB left.
        let ask = Id::random();
        let decided = expand_by(&rig.intent, &id("only").to_string(), None, gib(6), ask).await.unwrap();
        let Decision::Refused(refused) = decided else { panic!("{decided:?}") };
        let why = &condition(refused.conditions(), EXPANDED).unwrap().message;
        assert!(
            why.contains("its bricks cannot grow to 12Gi where they are: ") && why.contains("free of"),
            "{why}"
        );
        assert!(why.ends_with("; it would fit if bricks were added beside them (growth: Auto)"), "{why}");
        expand(&rig.intent, &id("auto").to_string(), None, gib(10)).await.unwrap();
        let sets = has(&rig, "auto", 10).await;
        assert_eq!(bricks(&sets).len(), 9, "two sets are added");
        assert_eq!(rig.agrees().await, 12);
        rig.delete_all_volumes().await;
        rig.close().await;
    });
}

#[test]
fn what_cannot_grow_stays_as_it_is() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions { device_size: gib(10), ..RigOptions::default() }).await;
        rig.make_topology(3, 1).await;
        rig.create_ready("v", wish(3)).await;
        let mut kept = wish(1);
        kept.on_refusal = OnRefusal::Retry;
        rig.want("kept", kept).await;
        rig.ready(&rig.caches.volumes, &id("kept").to_string()).await;
        for name in ["v", "kept"] {
            let before = rig.volume(name).await.unwrap();
            let ask = Id::random();
            let key = id(name).to_string();
            let decided = expand_by(&rig.intent, &key, None, gib(20), ask).await.unwrap();
            let Decision::Refused(refused) = decided else { panic!("{decided:?}") };
            let why = condition(refused.conditions(), EXPANDED).unwrap();
            assert_eq!((why.status.as_str(), why.reason.as_str()), ("False", "Refused"));
            assert!(why.message.contains("have room for a brick"), "{why:?}");
            let after = rig.volume(name).await.unwrap();
            assert_eq!(
                (after.spec.size, after.size()),
                (before.spec.size, before.size()),
                "it is taken back"
            );
            assert_eq!(bricks(&after), bricks(&before));
            assert!(matches!(expansion(&after, ask), Some(Expansion::Failed(_))));
        }
        // Something smaller fits.
        volume::expand(&rig.intent, &id("v").to_string(), None, gib(5)).await.unwrap();
        has(&rig, "v", 5).await;
        assert_eq!(rig.agrees().await, 9);
        rig.delete_all_volumes().await;
        rig.close().await;
    });
}

#[test]
fn what_gluster_refuses_is_taken_back() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(4, 1).await;
        rig.create_ready("v", wish(3)).await;
        let before = rig.volume("v").await.unwrap();
        let refuses = Fault::FailBefore { exit: 1, stderr: "refused by a test".into() };
        rig.sim.faults().add(Rule::once("add-brick", refuses));
        let (ask, key) = (Id::random(), id("v").to_string());
        let decided = expand_by(&rig.intent, &key, None, gib(2), ask).await.unwrap();
        assert!(matches!(decided, Decision::Accepted(_)), "{decided:?}");
        let over = |seen: Option<&GlusterVolume>| match expansion(seen?, ask)? {
            Expansion::Failed(why) => Some(why),
            Expansion::Running | Expansion::Done => None,
        };
        let why = rig.until(&rig.caches.volumes, &key, "was taken back", over).await;
        assert!(why.contains("refused by a test"), "{why}");
        assert_eq!(rig.agrees().await, 3);
        let after = rig.volume("v").await.unwrap();
        assert_eq!((after.spec.size, after.size()), (gib(3), Some(gib(3))));
        assert_eq!(bricks(&after), bricks(&before));
        expand(&rig.intent, &key, None, gib(5)).await.unwrap();
        has(&rig, "v", 5).await;
        assert_eq!(rig.agrees().await, 6);
        rig.delete_all_volumes().await;
        rig.close().await;
    });
}
