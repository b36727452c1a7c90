//! Who may mount a volume: the list follows the nodes of the Kubernetes cluster and the wish.

use std::sync::Arc;

use bricklayer::controllers::access::roster::{Nodes, Roster};
use bricklayer::executor::transport::sim::{Fault, Rule, Sim};
use bricklayer::resources::{ACCESS, GlusterVolume, READY, condition, condition_is};
use serde_json::json;
use tokio::sync::watch;

use crate::boundaries::{commands, faults};
use crate::rig::{Rig, RigOptions, directory, id, in_runtime, on_copies, prepared, wish};

/// What the operator shows of the nodes, in a test's hand.
type Shown = watch::Sender<Option<Arc<Nodes>>>;

fn nodes(addresses: &[&str]) -> Option<Arc<Nodes>> {
    let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    Some(Arc::new(Nodes { addresses, settled: true }))
}

/// Options of a rig among these nodes, and the hand that changes them.
fn among(addresses: &[&str]) -> (RigOptions, Shown) {
    let (shown, seen) = watch::channel(nodes(addresses));
    (RigOptions { roster: Roster::new(seen), ..RigOptions::default() }, shown)
}

/// auth.allow of a volume, as gluster has it.
fn allowed(sim: &Sim, name: &str) -> Option<String> {
    let gluster = format!("vol_{}", id(name));
    let snapshot = sim.snapshot();
    let volume =
        snapshot.pools.iter().flat_map(|pool| &pool.volumes).find(|volume| volume.name == gluster)?;
    volume.options.iter().find(|(key, _)| key == "auth.allow").map(|(_, value)| value.clone())
}

/// How many commands have set auth.allow.
fn sets(rig: &Rig) -> usize {
    let log = rig.sim.log();
    log.iter().filter(|entry| entry.argv.0.iter().any(|word| word == "auth.allow")).count()
}

/// Waits until a volume says that its list is this, and insists that gluster has it.
async fn has(rig: &Rig, name: &str, list: &str) {
    let said = |seen: Option<&GlusterVolume>| {
        let status = seen?.status.as_ref()?;
        (status.allow.as_deref() == Some(list)).then_some(())
    };
    rig.until(&rig.caches.volumes, &id(name).to_string(), &format!("lets in {list}"), said).await;
    assert_eq!(allowed(&rig.sim, name).as_deref(), Some(list));
}

async fn wants(rig: &Rig, name: &str, allow: &[&str]) {
    let patch = json!({"spec": {"allow": allow}});
    rig.store.merge::<GlusterVolume>(&id(name).to_string(), &patch).await.expect("a wish");
}

async fn make(rig: &Rig, name: &str, allow: &[&str], options: &[&str]) {
    let mut spec = wish(1);
    spec.allow = allow.iter().map(|word| (*word).to_owned()).collect();
    spec.options = options.iter().map(|word| (*word).to_owned()).collect();
    rig.create_ready(name, spec).await;
}

fn says(volume: &GlusterVolume) -> Option<(&str, &str)> {
    condition(volume.conditions(), ACCESS).map(|said| (said.status.as_str(), said.reason.as_str()))
}

#[test]
fn a_list_follows_the_nodes_and_the_wish() {
    in_runtime(async {
        let (options, shown) = among(&["10.0.0.2", "10.0.0.1"]);
        let made = directory();
        let rig = Rig::open(made.path(), options).await;
        rig.make_topology(3, 1).await;
        make(&rig, "v", &["nodes"], &[]).await;
        make(&rig, "all", &[], &[]).await;
        make(&rig, "own", &["nodes"], &["auth.allow 10.9.*"]).await;
        has(&rig, "v", "10.0.0.1,10.0.0.2").await;
        rig.quiet().await;
        assert_eq!(sets(&rig), 2, "a volume is made with its list, in the command that sets its options");

        shown.send_replace(nodes(&["10.0.0.2", "10.0.0.1", "10.0.0.3"]));
        has(&rig, "v", "10.0.0.1,10.0.0.2,10.0.0.3").await;
        shown.send_replace(nodes(&["10.0.0.3"]));
        has(&rig, "v", "10.0.0.3").await;
        wants(&rig, "v", &["nodes", "192.168.0.0/16"]).await;
        has(&rig, "v", "10.0.0.3,192.168.*").await;
        rig.quiet().await;
        assert_eq!(sets(&rig), 5, "one command for one change of one volume");
        assert_eq!(says(&rig.volume("v").await.expect("a volume")), None, "all is well, and nothing is said");

        // Absence of knowledge changes nothing.
        shown.send_replace(nodes(&[]));
        let key = id("v").to_string();
        let told = |seen: Option<&GlusterVolume>| (says(seen?) == Some(("False", "NoNodes"))).then_some(());
        rig.until(&rig.caches.volumes, &key, "says that no node is known", told).await;
        shown.send_replace(None);
        rig.quiet().await;
        assert_eq!(allowed(&rig.sim, "v").as_deref(), Some("10.0.0.3,192.168.*"));
        shown.send_replace(nodes(&["10.0.0.4"]));
        has(&rig, "v", "10.0.0.4,192.168.*").await;
        assert_eq!(says(&rig.volume("v").await.expect("a volume")), Some(("True", "Set")));

        wants(&rig, "v", &[]).await;
        has(&rig, "v", "*").await;
        assert_eq!(allowed(&rig.sim, "all"), None);
        assert_eq!(
            allowed(&rig.sim, "own").as_deref(),
            Some("10.9.*"),
            "options of the user are not touched"
        );
        assert_eq!(rig.agrees().await, 9);
        rig.delete_all_volumes().await;
        rig.close().await;
    });
}

#[test]
fn without_a_kubernetes_cluster_nodes_means_everybody() {
    in_runtime(async {
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions::default()).await;
        rig.make_topology(3, 1).await;
        make(&rig, "v", &["nodes"], &[]).await;
        let told =
            |seen: Option<&GlusterVolume>| (says(seen?) == Some(("False", "NodesUnknown"))).then_some(());
        rig.until(&rig.caches.volumes, &id("v").to_string(), "says so", told).await;
        make(&rig, "named", &["10.0.0.0/8"], &[]).await;
        has(&rig, "named", "10.*").await;
        rig.quiet().await;
        assert_eq!(allowed(&rig.sim, "v"), None);
        rig.close().await;
    });
}

#[test]
fn a_refused_list_is_told_and_tried_again_and_the_volume_stays_ready() {
    in_runtime(async {
        let (options, shown) = among(&["10.0.0.1"]);
        let made = directory();
        let rig = Rig::open(made.path(), RigOptions { tell: true, ..options }).await;
        rig.make_topology(3, 1).await;
        make(&rig, "v", &["nodes"], &[]).await;
        let stderr = "volume set: failed: not today".to_owned();
        let refused = Rule::once("auth.allow", Fault::FailBefore { exit: 1, stderr });
        rig.sim.faults().add(Rule { times: Some(2), ..refused });
        shown.send_replace(nodes(&["10.0.0.1", "10.0.0.2"]));
        let told = |seen: Option<&GlusterVolume>| {
            let said = condition(seen?.conditions(), ACCESS)?;
            let named =
                said.status == "False" && said.reason == "NotSet" && said.message.contains("not today");
            (named && condition_is(seen?.conditions(), READY)).then_some(())
        };
        rig.until(&rig.caches.volumes, &id("v").to_string(), "tells the refusal", told).await;
        has(&rig, "v", "10.0.0.1,10.0.0.2").await;
        assert_eq!(says(&rig.volume("v").await.expect("a volume")), Some(("True", "Set")));
        rig.quiet().await;
        let events = rig.told(&id("v").to_string()).await;
        assert_eq!(events.iter().filter(|reason| *reason == "NotSet").count(), 1, "{events:?}");
        rig.close().await;
    });
}

/// Every fault at every command of an update: the list is right in the end, and nothing else is touched.
#[test]
fn every_fault_at_every_command_of_an_update() {
    let ready = prepared(among(&["10.0.0.1"]).0, async |rig| {
        rig.make_topology(3, 1).await;
        make(rig, "v", &["nodes"], &[]).await;
    });
    // Without a Kubernetes cluster the wish is what changes.
    let change = async |rig: &Rig| wants(rig, "v", &["10.0.0.2"]).await;
    let rules = faults(commands(ready.path(), async |rig| {
        change(rig).await;
        has(rig, "v", "10.0.0.2").await;
    }));
    assert!(rules.len() >= 12, "{rules:#?}");
    on_copies(ready.path(), rules, crate::boundaries::AT_ONCE, |directory, rule| {
        in_runtime(async {
            let rig = crate::boundaries::with_fault(directory, rule.clone()).await;
            change(&rig).await;
            has(&rig, "v", "10.0.0.2").await;
            rig.sim.faults().clear();
            assert_eq!(rig.agrees().await, 3);
            rig.close().await;
        });
    });
}
