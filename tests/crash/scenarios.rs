//! What is asked for while the process is killed, and what has to be true afterwards.

use std::collections::BTreeSet;
use std::pin::Pin;

use bricklayer::executor::transport::sim::{Fault, Rule};
use bricklayer::intent::{self, AskError, Decision};
use bricklayer::resources::{
    DRAINED, FAILED, GlusterDevice, GlusterNode, GlusterVolume, OnRefusal, READY, RebalancePhase, State,
    condition_is,
};
use bricklayer::store::StoreError;
use bricklayer::units::Bytes;
use kube::ResourceExt;

use crate::csi;
use crate::rig::{Rig, device_name, id, node_name, topology_remains, volume_remains, wish};

type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// One thing that is asked for.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// Makes what is there before.
    pub prepare: fn(&Rig) -> Work<'_>,
    /// Asks, says what was acknowledged, and waits until all is done.
    pub ask: fn(&Rig) -> Work<'_>,
    /// Insists that nothing is lost, left over or stuck, after the process was killed and another
    /// one has started; then removes everything and insists that nothing remains.
    pub check: for<'a> fn(&'a Rig, &'a BTreeSet<String>) -> Work<'a>,
    /// Pieces of names of moments that the scenario is about: without them it tests nothing.
    pub meets: &'static [&'static str],
    /// How many moments it is killed at, spread evenly; all if absent.
    pub sample: Option<usize>,
}

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "create, forgotten when it fails",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(create_forget(rig)),
            check: |rig, acknowledged| Box::pin(created(rig, acknowledged)),
            meets: &["Create of bricklayer.dev/glustervolumes", "mkfs.xfs", "volume create", "volume start"],
            sample: None,
        },
        Scenario {
            name: "create, tried until it succeeds",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(create_retry(rig)),
            check: |rig, acknowledged| Box::pin(created(rig, acknowledged)),
            meets: &["chmod 2775", "volume set vol_NEW group metadata-cache"],
            sample: None,
        },
        Scenario {
            name: "create, refused by a device and placed anew",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(create_elsewhere(rig)),
            check: |rig, acknowledged| Box::pin(created(rig, acknowledged)),
            meets: &["lvremove", "fstab-remove", "volume start"],
            sample: None,
        },
        Scenario {
            name: "create, refused by gluster and given up",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(create_in_vain(rig)),
            check: |rig, acknowledged| Box::pin(given_up(rig, acknowledged)),
            meets: &["lvremove", "volume delete"],
            sample: None,
        },
        Scenario {
            name: "CSI, asked for and taken away",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(csi::create_and_delete(rig)),
            check: |rig, acknowledged| Box::pin(csi::asked_again(rig, acknowledged)),
            meets: &["Create of bricklayer.dev/glustervolumes", "volume create", "volume delete"],
            sample: Some(40),
        },
        Scenario {
            name: "delete",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(delete(rig)),
            check: |rig, acknowledged| Box::pin(deleted(rig, acknowledged)),
            meets: &["lvremove", "volume stop", "volume delete", "Delete of bricklayer.dev/glustervolumes"],
            sample: None,
        },
        Scenario {
            name: "expand",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(expand(rig)),
            check: |rig, acknowledged| Box::pin(expanded(rig, acknowledged)),
            meets: &[
                "mkfs.xfs",
                "volume add-brick",
                "volume rebalance",
                "Update of bricklayer.dev/glustervolumes",
            ],
            sample: None,
        },
        Scenario {
            name: "expand in place",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(enlarge(rig)),
            check: |rig, acknowledged| Box::pin(enlarged(rig, acknowledged)),
            meets: &["lvextend", "xfs_growfs", "Update of bricklayer.dev/glustervolumes"],
            sample: None,
        },
        Scenario {
            name: "expand, refused by gluster and taken back",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(expand_in_vain(rig)),
            check: |rig, acknowledged| Box::pin(taken_back(rig, acknowledged)),
            meets: &["lvremove", "volume add-brick"],
            sample: None,
        },
        Scenario {
            name: "delete while it expands",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(expand_and_delete(rig)),
            check: |rig, acknowledged| Box::pin(deleted_while_it_grew(rig, acknowledged)),
            meets: &["lvremove", "volume stop", "volume delete"],
            sample: Some(60),
        },
        Scenario {
            name: "give up a device with bricks",
            prepare: |rig| Box::pin(volumes_before(rig)),
            ask: |rig| Box::pin(evacuate(rig)),
            check: |rig, acknowledged| Box::pin(evacuated(rig, acknowledged)),
            meets: &["mkfs.xfs", "volume heal", "volume replace-brick", "lvremove"],
            sample: None,
        },
        Scenario {
            name: "register a node and a device",
            prepare: |rig| Box::pin(rig.make_topology(1, 1)),
            ask: |rig| Box::pin(register(rig)),
            check: |rig, acknowledged| Box::pin(registered(rig, acknowledged)),
            meets: &["peer probe", "pvcreate", "vgcreate"],
            sample: None,
        },
        Scenario {
            name: "remove a device and a node",
            prepare: |rig| Box::pin(rig.make_topology(2, 1)),
            ask: |rig| Box::pin(unregister(rig)),
            check: |rig, acknowledged| Box::pin(unregistered(rig, acknowledged)),
            meets: &["peer detach", "pvremove", "vgremove"],
            sample: None,
        },
        Scenario {
            name: "many creates at once",
            prepare: |rig| Box::pin(rig.make_topology(4, 2)),
            ask: |rig| Box::pin(create_many(rig)),
            check: |rig, acknowledged| Box::pin(many_created(rig, acknowledged)),
            meets: &["volume start"],
            sample: Some(10),
        },
    ]
}

/// How many volumes are asked for at once.
const MANY: usize = 50;

/// Says that something was acknowledged: the process that started this one reads it.
pub fn say(acknowledged: &str) {
    println!("acknowledged {acknowledged}");
}

async fn volumes_before(rig: &Rig) {
    rig.make_topology(4, 1).await;
    rig.create_ready("kept", wish(2)).await;
    rig.create_ready("doomed", wish(1)).await;
}

async fn create_forget(rig: &Rig) {
    let decided = rig.create("new", wish(3)).await;
    assert!(matches!(decided, Decision::Accepted(_)), "{decided:?}");
    say("new");
    rig.ready(&rig.caches.volumes, &id("new").to_string()).await;
}

async fn create_retry(rig: &Rig) {
    let mut spec = wish(3);
    spec.on_refusal = OnRefusal::Retry;
    spec.gid = 2000;
    spec.options = vec!["group metadata-cache".into(), "performance.cache-size 256MB".into()];
    rig.want("new", spec).await;
    say("new");
    rig.ready(&rig.caches.volumes, &id("new").to_string()).await;
}

async fn create_elsewhere(rig: &Rig) {
    // The node that has the most room gets a brick for sure, and refuses it when half of it is made.
    let full = Fault::FailBefore { exit: 5, stderr: "insufficient free space".into() };
    let kept = rig.volume("kept").await.expect("a volume");
    let used = kept.status.and_then(|status| status.placement).expect("a placement").bricks;
    let empty = (1..=4).find(|n| used.iter().all(|brick| brick.node != id(&format!("node{n}"))));
    let empty = empty.expect("a node without a brick of it");
    rig.sim.faults().add(Rule::always("--virtualsize", full).on(&crate::rig::host(empty)));
    create_forget(rig).await;
}

async fn create_in_vain(rig: &Rig) {
    let mut spec = wish(3);
    spec.options = vec!["no-such.option on".into()];
    let decided = rig.create("new", spec).await;
    assert!(matches!(decided, Decision::Accepted(_)), "{decided:?}");
    say("new");
    let failed = |seen: Option<&GlusterVolume>| condition_is(seen?.conditions(), FAILED).then_some(());
    rig.until(&rig.caches.volumes, &id("new").to_string(), "has failed", failed).await;
}

async fn delete(rig: &Rig) {
    assert!(rig.delete("doomed").await);
    say("doomed");
    rig.gone("doomed").await;
}

async fn ask_to_grow(rig: &Rig, name: &str, by: u64) {
    let key = id(name).to_string();
    let asked = intent::volume::expand_by(&rig.intent, &key, None, Bytes::from_gib(by), id("ask")).await;
    assert!(matches!(asked, Ok(Decision::Accepted(_))), "{asked:?}");
}

/// Waits until a volume has the size that is wanted, and its data has moved.
async fn has_grown(rig: &Rig, name: &str) {
    let grown = |seen: Option<&GlusterVolume>| {
        let (volume, status) = (seen?, seen?.status.as_ref()?);
        let moved = status.rebalance.as_ref().is_some_and(|seen| seen.phase == RebalancePhase::Completed);
        (moved && status.size == Some(volume.spec.size)).then_some(())
    };
    rig.until(&rig.caches.volumes, &id(name).to_string(), "has grown", grown).await;
}

async fn expand(rig: &Rig) {
    ask_to_grow(rig, "kept", 3).await;
    say("kept");
    has_grown(rig, "kept").await;
}

/// The volume has its bricks, larger, once it has the size that is wanted.
async fn enlarge(rig: &Rig) {
    let key = id("kept").to_string();
    let in_place = serde_json::json!({"spec": {"growth": "InPlace"}});
    rig.store.merge::<GlusterVolume>(&key, &in_place).await.expect("an answer");
    ask_to_grow(rig, "kept", 3).await;
    say("kept");
    let grown = |seen: Option<&GlusterVolume>| (seen?.size() == Some(seen?.spec.size)).then_some(());
    rig.until(&rig.caches.volumes, &key, "has grown", grown).await;
}

async fn enlarged(rig: &Rig, acknowledged: &BTreeSet<String>) {
    assert_eq!(rig.agrees().await, 6);
    let kept = rig.volume("kept").await.expect("the volume");
    assert_eq!(kept.size(), Some(kept.spec.size), "{kept:#?}");
    let grown = kept.spec.size == Bytes::from_gib(5);
    assert!(grown || !acknowledged.contains("kept"), "what was acknowledged is lost");
    nothing_remains(rig).await;
}

async fn expand_in_vain(rig: &Rig) {
    let refuses = Fault::FailBefore { exit: 1, stderr: "refused by a test".into() };
    rig.sim.faults().add(Rule::always("add-brick", refuses));
    ask_to_grow(rig, "kept", 3).await;
    say("kept");
    let back = |seen: Option<&GlusterVolume>| {
        let placement = seen?.status.as_ref()?.placement.as_ref()?;
        (seen?.spec.size == Bytes::from_gib(2) && placement.bricks.len() == 3).then_some(())
    };
    rig.until(&rig.caches.volumes, &id("kept").to_string(), "was taken back", back).await;
}

async fn expand_and_delete(rig: &Rig) {
    ask_to_grow(rig, "doomed", 2).await;
    delete(rig).await;
}

/// The device of the first brick of a volume.
async fn first_device(rig: &Rig, name: &str) -> String {
    let volume = rig.volume(name).await.expect("a volume");
    let bricks = volume.status.and_then(|status| status.placement).expect("a placement").bricks;
    let n = (1..=4).find(|n| bricks[0].node == id(&format!("node{n}"))).expect("a node");
    device_name(n, 0)
}

async fn drained(rig: &Rig, device: &str) {
    let gone = |seen: Option<&GlusterDevice>| condition_is(seen?.conditions(), DRAINED).then_some(());
    rig.until(&rig.caches.devices, device, "is drained", gone).await;
}

async fn evacuate(rig: &Rig) {
    let device = first_device(rig, "kept").await;
    let ask = Some(id("ask"));
    loop {
        let read = rig.store.get::<GlusterDevice>(&device).await.expect("an answer").expect("a device");
        match rig.intent.set_state(&read, State::Failed, ask, true).await {
            Err(AskError::Store(StoreError::Conflict(_))) => {}
            done => break done.expect("an answer"),
        }
    }
    say(&device);
    drained(rig, &device).await;
}

async fn evacuated(rig: &Rig, acknowledged: &BTreeSet<String>) {
    for device in acknowledged {
        drained(rig, device).await;
    }
    assert_eq!(rig.agrees().await, 6);
    nothing_remains(rig).await;
}

async fn register(rig: &Rig) {
    assert!(rig.ask_node(2).await);
    say("node2");
    rig.ready(&rig.caches.nodes, &node_name(2)).await;
    assert!(rig.ask_device(2, 0).await);
    say("device2-0");
    rig.ready(&rig.caches.devices, &device_name(2, 0)).await;
}

async fn unregister(rig: &Rig) {
    let device = rig.store.get::<GlusterDevice>(&device_name(2, 0)).await.expect("an answer");
    intent::device::delete(&rig.intent, &device.expect("a device"), false).await.expect("an answer");
    say("device2-0");
    let gone = |seen: Option<&GlusterDevice>| seen.is_none().then_some(());
    rig.until(&rig.caches.devices, &device_name(2, 0), "is gone", gone).await;
    let node = rig.store.get::<GlusterNode>(&node_name(2)).await.expect("an answer");
    intent::node::delete(&rig.intent, &node.expect("a node")).await.expect("an answer");
    say("node2");
    let gone = |seen: Option<&GlusterNode>| seen.is_none().then_some(());
    rig.until(&rig.caches.nodes, &node_name(2), "is gone", gone).await;
}

async fn create_many(rig: &Rig) {
    let one = async |n: usize| {
        let name = format!("many{n}");
        let decided = rig.create(&name, wish(1)).await;
        assert!(matches!(decided, Decision::Accepted(_)), "{decided:?}");
        say(&name);
        rig.ready(&rig.caches.volumes, &id(&name).to_string()).await;
    };
    futures::future::join_all((0..MANY).map(one)).await;
}

async fn many_created(rig: &Rig, acknowledged: &BTreeSet<String>) {
    let bricks = rig.agrees().await;
    let volumes: Vec<GlusterVolume> = rig.store.list().await.expect("a list");
    assert!(volumes.iter().all(|volume| condition_is(volume.conditions(), READY)), "{volumes:#?}");
    assert_eq!(bricks, 3 * volumes.len());
    let names: BTreeSet<String> = volumes.iter().map(ResourceExt::name_any).collect();
    for name in acknowledged {
        assert!(names.contains(&id(name).to_string()), "{name} was acknowledged and is lost");
    }
    nothing_remains(rig).await;
}

async fn created(rig: &Rig, acknowledged: &BTreeSet<String>) {
    let bricks = rig.agrees().await;
    let new = rig.volume("new").await;
    assert!(new.is_some() || !acknowledged.contains("new"), "what was acknowledged is lost");
    if let Some(new) = &new {
        assert!(condition_is(new.conditions(), READY), "{new:#?}");
    }
    assert_eq!(bricks, if new.is_some() { 9 } else { 6 });
    nothing_remains(rig).await;
}

async fn given_up(rig: &Rig, _acknowledged: &BTreeSet<String>) {
    let bricks = rig.agrees().await;
    assert_eq!(bricks, 6);
    if let Some(new) = rig.volume("new").await {
        let failed = bricklayer::resources::condition(new.conditions(), FAILED);
        let failed = failed.filter(|failed| failed.status == "True");
        assert!(failed.is_some_and(|failed| failed.message.contains("no-such.option")), "{new:#?}");
    }
    nothing_remains(rig).await;
}

async fn deleted(rig: &Rig, acknowledged: &BTreeSet<String>) {
    let bricks = rig.agrees().await;
    let doomed = rig.volume("doomed").await;
    assert!(doomed.is_none() || !acknowledged.contains("doomed"), "what was to be deleted is there");
    assert_eq!(bricks, if doomed.is_some() { 6 } else { 3 });
    nothing_remains(rig).await;
}

/// How many bricks a volume of ours has, as its sizes say: three for each expansion and three before.
async fn bricks_of(rig: &Rig, name: &str, before: u64) -> usize {
    let Some(volume) = rig.volume(name).await else { return 0 };
    assert_eq!(volume.size(), Some(volume.spec.size), "{volume:#?}");
    if volume.spec.size == Bytes::from_gib(before) {
        return 3;
    }
    has_grown(rig, name).await;
    6
}

async fn expanded(rig: &Rig, acknowledged: &BTreeSet<String>) {
    let bricks = rig.agrees().await;
    let kept = bricks_of(rig, "kept", 2).await;
    assert!(kept == 6 || !acknowledged.contains("kept"), "what was acknowledged is lost");
    assert_eq!(bricks, kept + 3);
    nothing_remains(rig).await;
}

/// After the kill GlusterFS refuses nothing any more: what had not been taken back is done.
async fn taken_back(rig: &Rig, _acknowledged: &BTreeSet<String>) {
    let bricks = rig.agrees().await;
    assert_eq!(bricks, bricks_of(rig, "kept", 2).await + 3);
    nothing_remains(rig).await;
}

async fn deleted_while_it_grew(rig: &Rig, acknowledged: &BTreeSet<String>) {
    let bricks = rig.agrees().await;
    let doomed = bricks_of(rig, "doomed", 1).await;
    assert!(doomed == 0 || !acknowledged.contains("doomed"), "what was to be deleted is there");
    assert_eq!(bricks, doomed + 3);
    nothing_remains(rig).await;
}

pub async fn nothing_remains(rig: &Rig) {
    rig.delete_all_volumes().await;
    assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
    assert_eq!(rig.agrees().await, 0);
}

async fn registered(rig: &Rig, acknowledged: &BTreeSet<String>) {
    let (nodes, devices) = at_rest(rig).await;
    assert!(nodes.contains(&node_name(2)) || !acknowledged.contains("node2"), "the node is lost");
    assert!(
        devices.contains(&device_name(2, 0)) || !acknowledged.contains("device2-0"),
        "the device is lost"
    );
    rig.agrees().await;
    rig.delete_topology().await;
    assert_eq!(topology_remains(&rig.sim.snapshot()), Vec::<String>::new());
}

async fn unregistered(rig: &Rig, acknowledged: &BTreeSet<String>) {
    let (nodes, devices) = at_rest(rig).await;
    assert!(!nodes.contains(&node_name(2)) || !acknowledged.contains("node2"), "the node is still there");
    let device = devices.contains(&device_name(2, 0));
    assert!(!device || !acknowledged.contains("device2-0"), "the device is still there");
    rig.agrees().await;
    rig.delete_topology().await;
    assert_eq!(topology_remains(&rig.sim.snapshot()), Vec::<String>::new());
}

/// Waits until all nodes and devices are ready, and those that are to go are gone. Gives back the
/// names of what is there.
async fn at_rest(rig: &Rig) -> (BTreeSet<String>, BTreeSet<String>) {
    let until = tokio::time::Instant::now() + crate::rig::PATIENCE;
    loop {
        let nodes: Vec<GlusterNode> = rig.store.list().await.expect("a list");
        let devices: Vec<GlusterDevice> = rig.store.list().await.expect("a list");
        let node_rests = |node: &GlusterNode| {
            node.metadata.deletion_timestamp.is_none() && condition_is(node.conditions(), READY)
        };
        let device_rests = |device: &GlusterDevice| {
            device.metadata.deletion_timestamp.is_none() && condition_is(device.conditions(), READY)
        };
        if nodes.iter().all(node_rests) && devices.iter().all(device_rests) {
            let names = nodes.iter().map(ResourceExt::name_any).collect();
            return (names, devices.iter().map(ResourceExt::name_any).collect());
        }
        assert!(tokio::time::Instant::now() < until, "no rest: {nodes:#?} {devices:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
