//! Devices and nodes are given up: their bricks move elsewhere, or it is said why they cannot.

use std::sync::Arc;
use std::time::Duration;

use bricklayer::executor::transport::sim::{Fault, Rule};
use bricklayer::intent::{self, AskError};
use bricklayer::resources::{
    DRAINED, Durability, EVACUATE, GlusterDevice, GlusterNode, GlusterVolume, GlusterVolumeSpec, PlacedBrick,
    REPLACED, State, condition, condition_is,
};
use bricklayer::store::StoreError;
use bricklayer::units::Id;

use crate::boundaries::{AT_ONCE, commands, faults, nothing_remains, with_fault};
use crate::rig::{
    Rig, RigOptions, device_name, directory, host, id, in_runtime, node_name, on_copies, prepared, wish,
};

fn bricks(volume: &GlusterVolume) -> Vec<PlacedBrick> {
    volume.status.as_ref().unwrap().placement.as_ref().unwrap().bricks.clone()
}

/// The number of a node by the id of a brick's.
fn node_of(brick: &PlacedBrick) -> usize {
    (1..=9).find(|n| brick.node.to_string() == node_name(*n)).expect("a node")
}

async fn give_up(rig: &Rig, device: &str, ask: Option<Id>) {
    set_state(rig, device, State::Failed, ask, true).await;
}

/// Says what is wanted of a device, whoever writes it meanwhile.
async fn set_state(rig: &Rig, name: &str, state: State, ask: Option<Id>, heal_check: bool) {
    loop {
        let device = rig.store.get::<GlusterDevice>(name).await.unwrap().expect("a device");
        match rig.intent.set_state(&device, state, ask, heal_check).await {
            Err(AskError::Store(StoreError::Conflict(_))) => {}
            done => return done.expect("an answer"),
        }
    }
}

async fn drained(rig: &Rig, device: &str) -> Arc<GlusterDevice> {
    let gone = |seen: Option<&GlusterDevice>| condition_is(seen?.conditions(), DRAINED).then_some(());
    rig.until(&rig.caches.devices, device, "is drained", gone).await;
    rig.caches.devices.get(device).unwrap()
}

/// Waits until an ask was refused and the device is offline again; gives back the reason and the text.
async fn refused(rig: &Rig, device: &str, ask: Id) -> (String, String) {
    let over = |seen: Option<&GlusterDevice>| {
        let seen = seen?;
        let evacuation = seen.status.as_ref()?.evacuation.as_ref().filter(|one| one.ask == ask)?;
        let said = (evacuation.reason.clone(), evacuation.message.clone());
        (seen.spec.state == State::Offline).then_some(said)
    };
    rig.until(&rig.caches.devices, device, "was refused", over).await
}

/// A volume, and its first brick with the device that it is on.
async fn with_volume(rig: &Rig, spec: GlusterVolumeSpec) -> (PlacedBrick, String) {
    rig.create_ready("v", spec).await;
    first_brick(rig).await
}

/// The first brick of the volume, and the name of its device.
async fn first_brick(rig: &Rig) -> (PlacedBrick, String) {
    let first = bricks(&rig.volume("v").await.unwrap())[0].clone();
    let device = device_name(node_of(&first), 0);
    (first, device)
}

#[test]
fn a_brick_moves_and_its_device_can_be_removed() {
    for durability in [
        Durability::replicate(3),
        Durability::replicate(2),
        Durability::arbiter(bricklayer::resources::AVERAGE_FILE),
        Durability::disperse(2, 1),
    ] {
        in_runtime(async {
            let made = directory();
            let rig = Rig::open(made.path(), RigOptions::default()).await;
            rig.make_topology(4, 1).await;
            let (old, device) = with_volume(&rig, GlusterVolumeSpec { durability, ..wish(4) }).await;
            let before = bricks(&rig.volume("v").await.unwrap());
            give_up(&rig, &device, Some(Id::random())).await;
            drained(&rig, &device).await;
            let replaced =
                |seen: Option<&GlusterVolume>| condition_is(seen?.conditions(), REPLACED).then_some(());
            rig.until(&rig.caches.volumes, &id("v").to_string(), "has replaced it", replaced).await;
            let after = bricks(&rig.volume("v").await.unwrap());
            assert_eq!(after[1..], before[1..], "the others stay where they are");
            let new = &after[0];
            assert_eq!(
                (new.set, new.position, new.size, new.arbiter),
                (old.set, old.position, old.size, old.arbiter)
            );
            assert!(new.device != old.device && new.replaces.is_none() && new.id != old.id, "{new:?}");
            assert!(before.iter().all(|brick| brick.node != new.node), "{new:?}");
            assert_eq!(rig.agrees().await, before.len());
            let gone = rig.store.get::<GlusterDevice>(&device).await.unwrap().unwrap();
            intent::device::delete(&rig.intent, &gone, false).await.unwrap();
            let absent = |seen: Option<&GlusterDevice>| seen.is_none().then_some(());
            rig.until(&rig.caches.devices, &device, "is gone", absent).await;
            nothing_remains(&rig).await;
            rig.close().await;
        });
    }
}

#[test]
fn without_another_place_it_is_offline_again_and_says_why() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(3, 1).await;
        let (old, device) = with_volume(&rig, wish(4)).await;
        let ask = Id::random();
        give_up(&rig, &device, Some(ask)).await;
        let (reason, text) = refused(&rig, &device, ask).await;
        assert_eq!(reason, "NoReplacement");
        assert!(text.contains(&old.id.to_string()) && text.contains("its set has bricks on"), "{text}");
        assert!(text.ends_with("; it would fit with devices that have 5Gi free on 1 more node"), "{text}");
        assert_eq!(bricks(&rig.volume("v").await.unwrap())[0], old, "nothing has changed");
        assert_eq!(rig.agrees().await, 3);

        // Who does not wait for an answer is served when there is room.
        give_up(&rig, &device, None).await;
        let waits = |seen: Option<&GlusterDevice>| {
            condition(seen?.conditions(), DRAINED)
                .filter(|drained| drained.reason == "NoReplacement")
                .map(drop)
        };
        rig.until(&rig.caches.devices, &device, "says why", waits).await;
        assert!(rig.ask_node(4).await && rig.ask_device(4, 0).await);
        drained(&rig, &device).await;
        assert_eq!(node_of(&bricks(&rig.volume("v").await.unwrap())[0]), 4);
        nothing_remains(&rig).await;
        rig.close().await;
    });
}

/// A brick without replicas is refused a move, and nothing has changed.
#[test]
fn what_nobody_else_has_stays() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(4, 1).await;
        let spec = GlusterVolumeSpec { durability: Durability::none(), ..wish(4) };
        let (old, device) = with_volume(&rig, spec).await;
        let before = bricks(&rig.volume("v").await.unwrap());
        let ask = Id::random();
        give_up(&rig, &device, Some(ask)).await;
        let (reason, text) = refused(&rig, &device, ask).await;
        assert_eq!(reason, "Unreplaceable");
        let words = "nobody else has the data of brick";
        assert!(text.contains(words) && text.contains(&old.id.to_string()), "{text}");
        assert_eq!(bricks(&rig.volume("v").await.unwrap()), before);
        assert_eq!(rig.agrees().await, before.len());
        let device = rig.store.get::<GlusterDevice>(&device).await.unwrap().unwrap();
        assert!(
            !device.metadata.annotations.unwrap_or_default().contains_key(EVACUATE),
            "an ask that has ended leaves nothing for the next one"
        );
        nothing_remains(&rig).await;
        rig.close().await;
    });
}

/// What GlusterFS says of a brick that it has nothing to heal for.
fn entries(brick: &PlacedBrick, count: &str) -> Rule {
    let said = |count: &str| {
        format!(
            "{}</name>\n        <status>Connected</status>\n        <totalNumberOfEntries>{count}<",
            brick.address()
        )
    };
    Rule::always("volume heal", Fault::Edit { find: said("0"), replace: said(count) })
}

#[test]
fn a_brick_that_others_need_stays_until_they_are_healed() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(4, 1).await;
        let (old, device) = with_volume(&rig, wish(4)).await;
        rig.sim.faults().add(entries(&old, "3"));
        let ask = Id::random();
        give_up(&rig, &device, Some(ask)).await;
        let (reason, text) = refused(&rig, &device, ask).await;
        assert_eq!(reason, "HealSource");
        let words = format!("Cannot replace brick {} as it is source brick for data to be healed", old.id);
        assert!(text.contains(&words), "{text}");
        rig.sim.faults().clear();
        assert_eq!(rig.agrees().await, 3, "the new brick that was made for it goes again");

        // Its set is being healed: it waits for that.
        let other = bricks(&rig.volume("v").await.unwrap())[1].clone();
        rig.sim.faults().add(entries(&other, "7"));
        give_up(&rig, &device, Some(Id::random())).await;
        let waits = |seen: Option<&GlusterVolume>| {
            condition(seen?.conditions(), REPLACED).filter(|replaced| replaced.reason == "Healing").map(drop)
        };
        rig.until(&rig.caches.volumes, &id("v").to_string(), "waits", waits).await;
        assert_eq!(bricks(&rig.volume("v").await.unwrap())[0], old);
        rig.sim.faults().clear();
        drained(&rig, &device).await;
        assert_eq!(rig.agrees().await, 3);

        // Without the check nothing is waited for.
        let (old, device) = first_brick(&rig).await;
        rig.sim.faults().add(entries(&old, "3"));
        for n in 1..=4 {
            set_state(&rig, &device_name(n, 0), State::Online, None, true).await;
        }
        set_state(&rig, &device, State::Failed, Some(Id::random()), false).await;
        drained(&rig, &device).await;
        rig.sim.faults().clear();
        nothing_remains(&rig).await;
        rig.close().await;
    });
}

/// The brick that took its place gets its data from it still: it stays although it is not needed for anything else.
#[test]
fn what_was_exchanged_is_kept_until_the_new_brick_has_its_data() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(5, 1).await;
        let (old, device) =
            with_volume(&rig, GlusterVolumeSpec { durability: Durability::replicate(2), ..wish(4) }).await;
        let other = bricks(&rig.volume("v").await.unwrap())[1].clone();
        // The first rule decides: looks go on, and no heal is begun.
        rig.sim.faults().add(Rule::always("info summary", Fault::Slow(Duration::ZERO)));
        let fails = Fault::FailBefore { exit: 1, stderr: "not now".into() };
        rig.sim.faults().add(Rule::always("volume heal", fails));
        give_up(&rig, &device, Some(Id::random())).await;
        let exchanged = |seen: Option<&GlusterVolume>| {
            bricks(seen?).iter().any(|brick| brick.replaced_by.is_some()).then_some(())
        };
        rig.until(&rig.caches.volumes, &id("v").to_string(), "is exchanged", exchanged).await;

        // The other one is given up too, and its node dies: nobody else has all data.
        let (second, dying) = (device_name(node_of(&other), 0), host(node_of(&other)));
        rig.sim.faults().down(&dying);
        give_up(&rig, &second, None).await;
        let waits = |seen: Option<&GlusterVolume>| {
            condition(seen?.conditions(), REPLACED)
                .filter(|replaced| replaced.reason == "HealSource")
                .map(drop)
        };
        rig.until(&rig.caches.volumes, &id("v").to_string(), "waits for its source", waits).await;
        let now = bricks(&rig.volume("v").await.unwrap());
        assert!(now.iter().any(|brick| brick.id == old.id && brick.retiring), "{now:#?}");
        assert!(now.iter().any(|brick| brick.id == other.id && brick.serves()), "{now:#?}");
        assert!(!condition_is(rig.caches.devices.get(&device).unwrap().conditions(), DRAINED));

        rig.sim.faults().clear();
        drained(&rig, &device).await;
        drained(&rig, &second).await;
        assert_eq!(rig.agrees().await, 2);
        nothing_remains(&rig).await;
        rig.close().await;
    });
}

/// GlusterFS says of a dispersed set that nothing is to be healed, until the root of the new brick is. One brick of it
/// leaves at a time.
#[test]
fn of_a_dispersed_set_what_was_exchanged_is_kept_though_nothing_is_said_to_be_healed() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(5, 1).await;
        let spec = GlusterVolumeSpec { durability: Durability::disperse(2, 1), ..wish(4) };
        let (old, device) = with_volume(&rig, spec).await;
        let other = bricks(&rig.volume("v").await.unwrap())[1].clone();
        let second = device_name(node_of(&other), 0);
        let fails = Fault::FailBefore { exit: 1, stderr: "not now".into() };
        rig.sim.faults().add(Rule::always(" full", fails));
        give_up(&rig, &device, None).await;
        give_up(&rig, &second, None).await;
        let exchanged = |seen: Option<&GlusterVolume>| {
            bricks(seen?).iter().any(|brick| brick.replaced_by.is_some()).then_some(())
        };
        rig.until(&rig.caches.volumes, &id("v").to_string(), "is exchanged", exchanged).await;
        let tried = || rig.sim.log().iter().filter(|seen| seen.argv.shown().ends_with(" full")).count();
        let before = tried();
        let thrice = async {
            while tried() < before + 3 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), thrice)
            .await
            .expect("three more full heals are asked for");
        let now = bricks(&rig.volume("v").await.unwrap());
        assert_eq!(now.iter().filter(|brick| brick.replaced_by.is_some()).count(), 1, "{now:#?}");
        let stays = |brick: &PlacedBrick| [old.id, other.id].contains(&brick.id);
        assert_eq!(now.iter().filter(|brick| stays(brick)).count(), 2, "{now:#?}");
        for device in [&device, &second] {
            assert!(!condition_is(rig.caches.devices.get(device).unwrap().conditions(), DRAINED));
        }
        rig.sim.faults().clear();
        drained(&rig, &device).await;
        drained(&rig, &second).await;
        assert_eq!(rig.agrees().await, 3);
        nothing_remains(&rig).await;
        rig.close().await;
    });
}

/// What was made in the root and never counted is not healed on a new brick: who waits is told what to do.
#[test]
fn a_dispersed_brick_stays_while_its_root_is_not_counted() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(4, 1).await;
        let spec = GlusterVolumeSpec { durability: Durability::disperse(2, 1), ..wish(4) };
        let (old, device) = with_volume(&rig, spec).await;
        let (find, replace) = ("version=0x0000000000000002".into(), "version=0x0000000000000000".into());
        rig.sim.faults().add(Rule::always("getfattr", Fault::Edit { find, replace }));
        // Not to be had without the check either: nobody would ever know when the old one may go.
        for checked in [true, false] {
            let ask = Id::random();
            set_state(&rig, &device, State::Failed, Some(ask), checked).await;
            let (reason, text) = refused(&rig, &device, ask).await;
            assert_eq!(reason, "Uncounted");
            assert!(text.contains(&old.id.to_string()) && text.contains("make and remove a file"), "{text}");
            assert_eq!(bricks(&rig.volume("v").await.unwrap())[0], old);
        }
        rig.sim.faults().clear();
        give_up(&rig, &device, Some(Id::random())).await;
        drained(&rig, &device).await;
        assert_eq!(rig.agrees().await, 3);
        nothing_remains(&rig).await;
        rig.close().await;
    });
}

/// A node that cannot look at attributes says nothing of them: that is told, and nothing leaves by it.
#[test]
fn a_dispersed_brick_stays_while_roots_cannot_be_looked_at() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(4, 1).await;
        let spec = GlusterVolumeSpec { durability: Durability::disperse(2, 1), ..wish(4) };
        let (old, device) = with_volume(&rig, spec).await;
        let fails = Fault::FailBefore { exit: 127, stderr: "sh: 1: getfattr: not found".into() };
        rig.sim.faults().add(Rule::always("getfattr", fails));
        give_up(&rig, &device, None).await;
        let told = |seen: Option<&GlusterVolume>| {
            let replaced = condition(seen?.conditions(), REPLACED)?;
            (replaced.message.contains("getfattr: not found")).then_some(())
        };
        rig.until(&rig.caches.volumes, &id("v").to_string(), "says why", told).await;
        assert_eq!(bricks(&rig.volume("v").await.unwrap())[0], old);
        rig.sim.faults().clear();
        drained(&rig, &device).await;
        assert_eq!(rig.agrees().await, 3);
        nothing_remains(&rig).await;
        rig.close().await;
    });
}

/// With the others whole, the data of the brick that is lost is made anew out of theirs.
#[test]
fn a_dead_node_with_a_dispersed_brick_is_given_up() {
    for (durability, nodes) in [(Durability::disperse(2, 1), 4), (Durability::disperse(4, 2), 7)] {
        in_runtime(async {
            let made = directory();
            let rig = Rig::open(made.path(), RigOptions::default()).await;
            rig.make_topology(nodes, 1).await;
            let size = durability.set_size();
            let (old, _) = with_volume(&rig, GlusterVolumeSpec { durability, ..wish(4) }).await;
            let dead = node_of(&old);
            rig.sim.faults().down(&host(dead));
            let node = node_name(dead);
            fail_node(&rig, &node, Some(Id::random())).await;
            let gone = |seen: Option<&GlusterNode>| condition_is(seen?.conditions(), DRAINED).then_some(());
            rig.until(&rig.caches.nodes, &node, "is drained", gone).await;
            let now = bricks(&rig.volume("v").await.unwrap());
            assert_eq!(now.iter().filter(|brick| brick.serves()).count(), size, "{now:#?}");
            assert!(now.iter().all(|brick| brick.retiring || brick.node != old.node), "{now:#?}");
            rig.close().await;
        });
    }
}

#[test]
fn a_dead_node_is_given_up_and_forgotten() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(4, 2).await;
        for n in 0..3 {
            rig.create_ready(&format!("v{n}"), wish(2)).await;
        }
        let dead = node_of(&bricks(&rig.volume("v0").await.unwrap())[0]);
        rig.sim.faults().down(&host(dead));
        let node = node_name(dead);
        fail_node(&rig, &node, Some(Id::random())).await;
        let gone = |seen: Option<&GlusterNode>| condition_is(seen?.conditions(), DRAINED).then_some(());
        rig.until(&rig.caches.nodes, &node, "is drained", gone).await;
        for n in 0..3 {
            let volume = rig.volume(&format!("v{n}")).await.unwrap();
            assert!(
                bricks(&volume).iter().all(|brick| node_of(brick) != dead || brick.retiring),
                "{volume:#?}"
            );
        }
        for d in 0..2 {
            let name = device_name(dead, d);
            let failed = |seen: Option<&GlusterDevice>| (seen?.spec.state == State::Failed).then_some(());
            rig.until(&rig.caches.devices, &name, "has failed with its node", failed).await;
            let device = rig.store.get::<GlusterDevice>(&name).await.unwrap().unwrap();
            let held =
                bricks(&rig.volume("v0").await.unwrap()).iter().any(|brick| brick.device == id_of(&device));
            let refused = intent::device::delete(&rig.intent, &device, false).await;
            assert!(refused.is_err() || !held, "nobody has seen its bricks gone");
            intent::device::delete(&rig.intent, &device, true).await.unwrap();
            let absent = |seen: Option<&GlusterDevice>| seen.is_none().then_some(());
            rig.until(&rig.caches.devices, &name, "is forgotten", absent).await;
        }
        for n in 0..3 {
            let volume = rig.volume(&format!("v{n}")).await.unwrap();
            assert_eq!(bricks(&volume).len(), 3, "{volume:#?}");
        }
        rig.close().await;
    });
}

async fn fail_node(rig: &Rig, name: &str, ask: Option<Id>) {
    loop {
        let node = rig.store.get::<GlusterNode>(name).await.unwrap().expect("a node");
        match rig.intent.set_state(&node, State::Failed, ask, true).await {
            Err(AskError::Store(StoreError::Conflict(_))) => {}
            done => return done.expect("an answer"),
        }
    }
}

fn id_of(device: &GlusterDevice) -> Id {
    bricklayer::resources::id_of(device)
}

#[test]
fn every_fault_at_every_command_of_an_exchange_comes_to_an_end() {
    let prepared = prepared(RigOptions::default(), async |rig| {
        rig.make_topology(5, 1).await;
        with_volume(rig, wish(4)).await;
    });
    let work = async |rig: &Rig| {
        let (_, device) = first_brick(rig).await;
        give_up(rig, &device, None).await;
        drained(rig, &device).await;
    };
    let commands = commands(prepared.path(), work);
    assert!(commands.iter().any(|rule| rule.command.contains("replace-brick")), "{commands:?}");
    assert!(commands.iter().any(|rule| rule.command.contains("lvremove")), "{commands:?}");
    on_copies(prepared.path(), faults(commands), AT_ONCE, |directory, rule| {
        in_runtime(async {
            let down = rule.fault == Fault::NodeDown;
            let rig = with_fault(directory, rule).await;
            let (first, device) = first_brick(&rig).await;
            give_up(&rig, &device, None).await;
            if down {
                // So long is the node away: what is wanted is that time, whatever happens in it.
                tokio::time::sleep(Duration::from_secs(2)).await;
                rig.sim.faults().clear();
            }
            drained(&rig, &device).await;
            // One that no command has met is not for the checker's own looks.
            rig.sim.faults().clear();
            assert_eq!(rig.agrees().await, 3);
            let after = bricks(&rig.volume("v").await.unwrap());
            assert!(after.iter().all(|brick| brick.device != first.device), "{after:?}");
            nothing_remains(&rig).await;
            rig.close().await;
        });
    });
}
