//! Many claims: in which order they are served, what they cost, and what is left when everything
//! happens at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::classes::clear;
use super::{World, class, wait_for};

/// `kubectl get pvc --watch` into a file, and the order in which it has shown claims as bound.
struct Watch {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Watch {
    fn start(world: &World) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let columns = "custom-columns=NS:.metadata.namespace,NAME:.metadata.name,PHASE:.status.phase";
        let mut watch =
            world.cluster.kubectl(&["get", "pvc", "-A", "--watch", "--no-headers", "-o", columns]);
        watch.stdin(Stdio::null()).stdout(File::create(log.path()).unwrap()).stderr(Stdio::null());
        Self { child: watch.spawn().unwrap(), log }
    }

    fn bound(&self) -> Vec<String> {
        let (mut order, mut seen) = (vec![], BTreeSet::new());
        for line in std::fs::read_to_string(self.log.path()).unwrap().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [namespace, name, "Bound"] = words[..]
                && seen.insert(format!("{namespace}/{name}"))
            {
                order.push(format!("{namespace}/{name}"));
            }
        }
        order
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended with its API server already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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

/// How many younger claims were bound before each, at the most. The number of a claim is in its name.
fn overtaken(order: &[String]) -> usize {
    let number = |name: &String| name.rsplit('-').next().unwrap().parse::<usize>().unwrap();
    let numbers: Vec<usize> = order.iter().map(number).collect();
    let before = |at: usize| numbers[..at].iter().filter(|other| **other > numbers[at]).count();
    (0..numbers.len()).map(before).max().unwrap_or_default()
}

pub fn two_hundred(world: &World) {
    let operator = world.operator();
    world.topology();
    operator.stop();
    claims_in(world, "default", 200);
    let watch = Watch::start(world);
    let before = world.cluster.writes().len();
    let operator = world.operator();
    let first = wait_for("the first claims", 120, || watch.bound().get(20).cloned());
    let first = first.trim_start_matches("default/").to_owned();
    let volume = world.cluster.value(&[&format!("pvc/{first}")], "{.spec.volumeName}");
    world.cluster.run(&["delete", "pvc", &first, "--wait=false"]);
    let deleted = Instant::now();
    wait_for("a delete in the middle", 120, || {
        world.cluster.value(&["gvol", &volume], "{.metadata.name}").is_empty().then_some(())
    });
    println!("  a delete in the middle took {:.1} s", deleted.elapsed().as_secs_f64());
    let order = wait_for("all claims", 300, || Some(watch.bound()).filter(|order| order.len() == 200));
    let overtaken = overtaken(&order);
    println!("  the claim that was overtaken most was overtaken by {overtaken}");
    assert!(overtaken <= 20, "{order:?}");
    let writes = cost(world, before);
    println!("  {:.2} writes a claim", writes as f64 / 200.0);
    // The one that was deleted costs some more.
    assert!(writes <= 5 * 200 + 20, "{writes} writes");
    let pv = world.cluster.run(&["get", "pv", "-o", "name"]);
    assert_eq!(pv.lines().count(), 199);
    world.cluster.run(&["delete", "pvc", "--all", "--wait=false"]);
    wait_for("everything to go", 300, || {
        world.cluster.run(&["get", "pvc,pv,gvol", "-A", "-o", "name"]).trim().is_empty().then_some(())
    });
    figures(operator.output());
    world.audit(operator, 0);
}

/// The writes of the operator since then, and what they were.
fn cost(world: &World, before: usize) -> usize {
    let mut kinds = BTreeMap::<String, usize>::new();
    let writes = world.cluster.writes().split_off(before);
    for write in &writes {
        *kinds.entry(write.clone()).or_default() += 1;
    }
    println!("  {kinds:?}");
    writes.len()
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
    let watch = Watch::start(world);
    let operator = world.operator();
    let order = wait_for("all claims", 200, || Some(watch.bound()).filter(|order| order.len() == 110));
    let last = order.iter().rposition(|name| name.starts_with("few/")).unwrap();
    println!("  the last of few was bound after {} of many", last - 9);
    assert!(last - 9 <= 35, "ten claims came after a hundred of another namespace: {order:?}");
    let of_many: Vec<String> = order.iter().filter(|name| name.starts_with("many/")).cloned().collect();
    assert!(overtaken(&of_many) <= 20, "{order:?}");
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
