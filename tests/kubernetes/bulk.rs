//! Many claims: in which order they are served, what they cost, and what is left when everything
//! happens at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::classes::clear;
use super::topology::machine;
use super::{World, class, wait_for};

fn claims_in(world: &World, namespace: &str, count: usize) {
    let claim = |number: usize| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": format!("claim-{number:03}"), "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "gluster",
                "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let items: Vec<Value> = (0..count).map(claim).collect();
    world.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    let annotation = r"{.items[*].metadata.annotations.volume\.kubernetes\.io/storage-provisioner}";
    wait_for("Kubernetes to hand the claims over", 60, || {
        let handed = world.cluster.value(&["pvc", "-n", namespace], annotation);
        (handed.split_whitespace().count() == count).then_some(())
    });
}

/// The claims in the order in which they were served: their PersistentVolumes made. (Kubernetes binds
/// in an order of its own then.) Each as `namespace/name`.
fn served(world: &World, before: usize) -> Vec<String> {
    let path = "{range .items[*]}pvc-{.metadata.uid} {.metadata.namespace}/{.metadata.name} {end}";
    let claims = world.cluster.value(&["pvc", "-A"], path);
    let words: Vec<&str> = claims.split_whitespace().collect();
    let names: BTreeMap<&str, &str> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let writes = world.cluster.writes().split_off(before);
    let made = writes.iter().filter(|write| write.what == "create persistentvolumes" && write.status == 201);
    made.filter_map(|write| Some((*names.get(write.name.as_str())?).to_owned())).collect()
}

/// The claims of a namespace in the order in which they came: made, then handed over by Kubernetes.
fn came(world: &World, namespace: &str) -> Vec<String> {
    let path =
        "{range .items[*]}{.metadata.creationTimestamp} {.metadata.resourceVersion} {.metadata.name} {end}";
    let claims = world.cluster.value(&["pvc", "-n", namespace], path);
    let words: Vec<&str> = claims.split_whitespace().collect();
    let mut came: Vec<(&str, u64, &str)> =
        words.chunks_exact(3).map(|claim| (claim[0], claim[1].parse().unwrap(), claim[2])).collect();
    came.sort_unstable();
    came.into_iter().map(|(_, _, name)| format!("{namespace}/{name}")).collect()
}

/// How many younger claims were served before each, at the most.
fn overtaken(came: &[String], served: &[String]) -> usize {
    let number = |name: &String| came.iter().position(|other| other == name).unwrap();
    let numbers: Vec<usize> = served.iter().map(number).collect();
    let before = |at: usize| numbers[..at].iter().filter(|other| **other > numbers[at]).count();
    (0..numbers.len()).map(before).max().unwrap_or_default()
}

fn wait_bound(world: &World, namespaces: &[&str], count: usize) {
    wait_for("all claims to be bound", 300, || {
        let phases = namespaces.iter().map(|namespace| {
            world
                .cluster
                .value(&["pvc", "-n", namespace], "{.items[*].status.phase}")
                .matches("Bound")
                .count()
        });
        (phases.sum::<usize>() == count).then_some(())
    });
}

pub fn two_hundred(world: &World) {
    // Without any node each volume is told that nobody is let in: one write more than in a cluster.
    machine(world, "worker-1", "10.8.0.1", json!({}));
    let operator = world.operator();
    world.topology();
    operator.stop();
    claims_in(world, "default", 200);
    let came = came(world, "default");
    let (before, told_before) = (world.cluster.writes().len(), told_to_wait(world));
    let operator = world.operator();
    let bound = "{.items[?(@.status.phase==\"Bound\")].metadata.name}";
    let first = wait_for("the first claims", 120, || {
        let names = world.cluster.value(&["pvc"], bound);
        let names: Vec<&str> = names.split_whitespace().collect();
        (names.len() >= 20).then(|| names[0].to_owned())
    });
    let volume = world.cluster.value(&[&format!("pvc/{first}")], "{.spec.volumeName}");
    world.cluster.run(&["delete", "pvc", &first, "--wait=false"]);
    let deleted = Instant::now();
    wait_for("a delete in the middle", 120, || {
        world.cluster.value(&["gvol", &volume], "{.metadata.name}").is_empty().then_some(())
    });
    println!("  a delete in the middle took {:.1} s", deleted.elapsed().as_secs_f64());
    wait_bound(world, &["default"], 199);
    let order =
        wait_for("the audit log", 30, || Some(served(world, before)).filter(|order| order.len() == 199));
    let overtaken = overtaken(&came, &order);
    println!("  the claim that was overtaken most was overtaken by {overtaken}");
    assert!(overtaken <= 20, "{order:?}");
    let writes = cost(world, before);
    // On a slow machine some claims wait for so long that they are told so: one more event for each.
    let told = told_to_wait(world) - told_before;
    println!(
        "  {:.2} writes a claim, {told} of them events to claims that waited long",
        writes as f64 / 200.0
    );
    // The one that was deleted costs some more; nothing is begun twice.
    assert!(writes - told <= 5 * 200 + 10, "{writes} writes");
    world.cluster.run(&["delete", "pvc", "--all", "--wait=false"]);
    wait_for("everything to go", 300, || {
        world.cluster.run(&["get", "pvc,pv,gvol", "-A", "-o", "name"]).trim().is_empty().then_some(())
    });
    figures(operator.output());
    world.cluster.run(&["delete", "node", "worker-1"]);
    world.audit(operator, 0);
}

/// How many claims were told that they are being worked on.
fn told_to_wait(world: &World) -> usize {
    let words = ["events", "-A", "--field-selector=reason=Provisioning"];
    world.cluster.value(&words, "{.items[*].reason}").split_whitespace().count()
}

/// How much the operator has written for claims since then; prints what. Nodes, devices and clusters
/// are looked at by a new operator whatever there is to do.
fn cost(world: &World, before: usize) -> usize {
    let mut kinds = BTreeMap::<String, usize>::new();
    for write in world.cluster.writes().split_off(before) {
        *kinds.entry(format!("{} {}", write.what, write.status)).or_default() += 1;
    }
    println!("  {kinds:?}");
    kinds.retain(|what, _| {
        !["glusterclusters", "glusternodes", "glusterdevices"].iter().any(|kind| what.contains(kind))
    });
    kinds.values().sum()
}

/// The figures that dashboards know are served.
fn figures(output: String) {
    let (_, address) = output.split_once("probes on http://").unwrap();
    let address = address.split_whitespace().next().unwrap();
    let mut answer = ureq::get(format!("http://{address}/metrics")).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    for name in [
        "controller_persistentvolumeclaim_provision_total{class=\"gluster\",source=\"\"} 200",
        "controller_persistentvolumeclaim_provision_duration_seconds_count{class=\"gluster\",source=\"\"} 200",
        "controller_persistentvolume_delete_total{class=\"gluster\"} 200",
        "bricklayer_volumes",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
}

pub fn fair(world: &World) {
    let operator = world.operator();
    world.topology();
    operator.stop();
    for namespace in ["many", "few"] {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        world.cluster.apply(&object.to_string());
    }
    claims_in(world, "many", 100);
    claims_in(world, "few", 10);
    let came = came(world, "many");
    let before = world.cluster.writes().len();
    let operator = world.operator();
    wait_bound(world, &["many", "few"], 110);
    let order =
        wait_for("the audit log", 30, || Some(served(world, before)).filter(|order| order.len() == 110));
    let last = order.iter().rposition(|name| name.starts_with("few/")).unwrap();
    println!("  the last of few was served after {} of many", last - 9);
    assert!(last - 9 <= 35, "ten claims came after a hundred of another namespace: {order:?}");
    let of_many: Vec<String> = order.iter().filter(|name| name.starts_with("many/")).cloned().collect();
    assert!(overtaken(&came, &of_many) <= 20, "{order:?}");
    world.cluster.run(&["delete", "namespace", "many", "few", "--wait=false"]);
    world.nothing_left();
    world.audit(operator, 0);
}

/// Numbers that look random and can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// How many claims come and go in all.
fn loops() -> usize {
    std::env::var("BRICKLAYER_TEST_LOOPS").map_or(50, |text| text.parse().unwrap())
}

const PEOPLE: usize = 5;

pub fn come_and_go(world: &World) {
    let seed = u64::from(std::process::id());
    println!("  {} claims, seed {seed}", loops());
    let operator = world.operator();
    world.topology();
    class(world, "churn", json!({"volumetype": "replicate:3"}), "Delete");
    let (left, over) = (AtomicUsize::new(loops()), AtomicBool::new(false));
    let operator = std::thread::scope(|scope| {
        let dies = scope.spawn(|| {
            let (mut dice, mut operator, mut deaths) = (Dice(seed), operator, 0);
            while !over.load(Ordering::Relaxed) {
                let until = Instant::now() + Duration::from_millis(2000 + dice.roll(15_000));
                wait_for("the time to die", 60, || (Instant::now() > until).then_some(()));
                assert!(!operator.output().contains("panicked"), "{}", operator.output());
                if dice.roll(3) == 0 {
                    operator.stop()
                } else {
                    operator.kill()
                }
                deaths += 1;
                operator = world.operator();
            }
            println!("  the operator ended {deaths} times");
            operator
        });
        let classes = scope.spawn(|| {
            let mut dice = Dice(seed + 1);
            while !over.load(Ordering::Relaxed) {
                let until = Instant::now() + Duration::from_millis(dice.roll(4000));
                wait_for("the class's time", 60, || (Instant::now() > until).then_some(()));
                world.cluster.run(&["delete", "storageclass", "churn"]);
                class(world, "churn", json!({"volumetype": "replicate:3"}), "Delete");
            }
        });
        let people: Vec<_> = (0..PEOPLE)
            .map(|number| {
                let left = &left;
                scope.spawn(move || one_person(world, left, Dice(seed + 10 + number as u64)))
            })
            .collect();
        let done: Vec<_> = people.into_iter().map(|person| person.join()).collect();
        over.store(true, Ordering::Relaxed);
        let operator = dies.join().unwrap();
        classes.join().unwrap();
        done.into_iter().for_each(|person| person.unwrap());
        operator
    });
    settled(world);
    let kept = world.cluster.run(&["get", "pvc", "-o", "name"]).lines().count();
    println!("  {kept} claims were kept");
    world.audit(operator, 3 * kept);
    let operator = world.operator();
    clear(world);
    world.audit(operator, 0);
}

/// Makes claims and deletes most of them 0 to 5 s later.
fn one_person(world: &World, left: &AtomicUsize, mut dice: Dice) {
    while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
    {
        let name = format!("churn-{number}");
        let class = if dice.roll(2) == 0 { "churn" } else { "gluster" };
        world.claims(std::slice::from_ref(&name), class, "1Gi");
        if dice.roll(5) == 0 {
            continue;
        }
        let until = Instant::now() + Duration::from_millis(dice.roll(5000));
        wait_for("the time to go", 60, || (Instant::now() > until).then_some(()));
        world.cluster.run(&["delete", "pvc", &name, "--timeout=120s"]);
    }
}

/// Waits until every claim is bound, and there is one volume and one PersistentVolume for each, and
/// nothing of anything else.
fn settled(world: &World) {
    let names = |kind: &str, path: &str| -> BTreeSet<String> {
        world.cluster.value(&[kind], path).split_whitespace().map(str::to_owned).collect()
    };
    let going = "{.items[?(@.metadata.deletionTimestamp)].metadata.name}";
    wait_for("volumes to be those of the bound claims", 240, || {
        let claims = names("pvc", "{.items[*].metadata.uid}");
        let wanted: BTreeSet<String> = claims.iter().map(|uid| format!("pvc-{uid}")).collect();
        let bound = names("pvc", "{.items[?(@.status.phase==\"Bound\")].spec.volumeName}");
        let (volumes, gvols) =
            (names("pv", "{.items[*].metadata.name}"), names("gvol", "{.items[*].metadata.name}"));
        let going = names("pv,gvol,pvc", going);
        (bound == wanted && volumes == wanted && gvols == wanted && going.is_empty()).then_some(())
    });
}
