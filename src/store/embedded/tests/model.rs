//! Random histories against a model that anybody can read: what each write answers, what a list shows, and
//! that a watch, replayed, gives the list, across restarts too.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::Embedded;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Create { name: u8, size: i64, held: bool },
    Replace { name: u8, size: i64, stale: bool },
    Patch { name: u8, size: i64 },
    Status { name: u8, phase: u8 },
    Label { name: u8, on: bool },
    Hold { name: u8, on: bool },
    Delete { name: u8 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..3u8;
    let size = -1..4i64; // -1 is against the schema
    prop_oneof![
        3 => (name.clone(), size.clone(), any::<bool>()).prop_map(|(name, size, held)| Step::Create { name, size, held }),
        3 => (name.clone(), size.clone(), any::<bool>()).prop_map(|(name, size, stale)| Step::Replace { name, size, stale }),
        2 => (name.clone(), size).prop_map(|(name, size)| Step::Patch { name, size }),
        3 => (name.clone(), 0..3u8).prop_map(|(name, phase)| Step::Status { name, phase }),
        2 => (name.clone(), any::<bool>()).prop_map(|(name, on)| Step::Label { name, on }),
        2 => (name.clone(), any::<bool>()).prop_map(|(name, on)| Step::Hold { name, on }),
        3 => name.prop_map(|name| Step::Delete { name }),
        1 => Just(Step::Reopen),
    ]
}

/// An object as the model has it.
#[derive(Clone, Debug, PartialEq)]
struct Modelled {
    size: i64,
    phase: Option<String>,
    labelled: bool,
    held: bool,
    deleting: bool,
    generation: i64,
}

type Model = BTreeMap<String, Modelled>;

fn modelled(object: &Value) -> (String, Modelled) {
    let meta = &object["metadata"];
    let thing = Modelled {
        size: object["spec"]["size"].as_i64().unwrap(),
        phase: object["status"]["phase"].as_str().map(str::to_owned),
        labelled: meta["labels"]["on"] == "yes",
        held: meta["finalizers"].as_array().is_some_and(|f| !f.is_empty()),
        deleting: !meta["deletionTimestamp"].is_null(),
        generation: meta["generation"].as_i64().unwrap(),
    };
    (meta["name"].as_str().unwrap().to_owned(), thing)
}

fn name_of(name: u8) -> String {
    format!("t{name}")
}

/// Does the step on the model, and says with which code the service should answer.
fn expect(model: &mut Model, step: &Step) -> u16 {
    let (name, size) = match step {
        Step::Create { name, size, held } => {
            let name = name_of(*name);
            if *size < 0 {
                return 422;
            }
            if model.contains_key(&name) {
                return 409;
            }
            let thing = Modelled {
                size: *size,
                phase: None,
                labelled: false,
                held: *held,
                deleting: false,
                generation: 1,
            };
            model.insert(name, thing);
            return 201;
        }
        Step::Replace { name, size, .. } | Step::Patch { name, size } => (name, Some(*size)),
        Step::Status { name, .. }
        | Step::Label { name, .. }
        | Step::Hold { name, .. }
        | Step::Delete { name } => (name, None),
        Step::Reopen => return 200,
    };
    let name = name_of(*name);
    let Some(thing) = model.get_mut(&name) else { return 404 };
    if matches!(step, Step::Replace { stale: true, .. }) {
        return 409;
    }
    match step {
        Step::Status { phase, .. } => thing.phase = Some(format!("p{phase}")),
        Step::Label { on, .. } => thing.labelled = *on,
        Step::Hold { on: true, .. } if thing.deleting && !thing.held => return 422,
        Step::Hold { on, .. } => thing.held = *on,
        Step::Delete { .. } if thing.held => {
            if !thing.deleting {
                thing.deleting = true;
                thing.generation += 1;
            }
            return 200;
        }
        Step::Delete { .. } => thing.deleting = true,
        _ => {}
    }
    if let Some(size) = size {
        if size < 0 && size != thing.size {
            return 422;
        }
        if size != thing.size {
            thing.size = size;
            thing.generation += 1;
        }
    }
    if thing.deleting && !thing.held {
        model.remove(&name);
    }
    200
}

/// Does the step on the service.
async fn perform(store: &Embedded, step: &Step) -> u16 {
    let path = |name: &u8| format!("{THINGS}/{}", name_of(*name));
    match step {
        Step::Create { name, size, held } => {
            let mut body = thing(&name_of(*name), *size);
            if *held {
                body["metadata"]["finalizers"] = json!(["test.example/hold"]);
            }
            send(store, "POST", THINGS, Some(&body)).await.0
        }
        Step::Replace { name, size, stale } => {
            let (code, mut body) = send(store, "GET", &path(name), None).await;
            if code != 200 {
                return code;
            }
            body["spec"]["size"] = json!(size);
            if *stale {
                body["metadata"]["resourceVersion"] = json!((version(&body) - 1).to_string());
            }
            body["status"] = json!({ "phase": "forged" });
            send(store, "PUT", &path(name), Some(&body)).await.0
        }
        Step::Patch { name, size } => {
            send(store, "PATCH", &path(name), Some(&json!({ "spec": { "size": size } }))).await.0
        }
        Step::Status { name, phase } => {
            let (code, mut body) = send(store, "GET", &path(name), None).await;
            if code != 200 {
                return code;
            }
            body["status"] = json!({ "phase": format!("p{phase}") });
            body["spec"]["size"] = json!(99);
            send(store, "PUT", &format!("{}/status", path(name)), Some(&body)).await.0
        }
        Step::Label { name, on } => {
            let labels = if *on { json!({ "on": "yes" }) } else { json!({ "on": null }) };
            send(store, "PATCH", &path(name), Some(&json!({ "metadata": { "labels": labels } }))).await.0
        }
        Step::Hold { name, on } => {
            let finalizers = if *on { json!(["test.example/hold"]) } else { Value::Null };
            send(store, "PATCH", &path(name), Some(&json!({ "metadata": { "finalizers": finalizers } })))
                .await
                .0
        }
        Step::Delete { name } => send(store, "DELETE", &path(name), None).await.0,
        Step::Reopen => 200,
    }
}

/// A client that watches: what it knows, and from where it goes on.
struct Follower {
    selector: &'static str,
    known: BTreeMap<String, Value>,
    version: u64,
}

impl Follower {
    fn new(selector: &'static str) -> Follower {
        Follower { selector, known: BTreeMap::new(), version: 0 }
    }

    /// Reads on; after a 410, lists. `events` of a watch that ended because the store was closed.
    async fn follow(&mut self, events: Vec<Value>) {
        for event in events {
            let object = &event["object"];
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let version = version(object);
            assert!(version > self.version, "versions rise: {version} after {}", self.version);
            self.version = version;
            let before = match event["type"].as_str().unwrap() {
                "ADDED" | "MODIFIED" => self.known.insert(name, object.clone()),
                "DELETED" => self.known.remove(&name),
                other => panic!("{other}"),
            };
            assert_eq!(before.is_none(), event["type"] == "ADDED", "{event}");
        }
    }

    async fn list(&mut self, store: &Embedded) {
        let (_, list) = send(store, "GET", &format!("{THINGS}?labelSelector={}", self.selector), None).await;
        self.version = version(&list);
        let items = list["items"].as_array().unwrap().iter();
        self.known = items.map(|o| (o["metadata"]["name"].as_str().unwrap().to_owned(), o.clone())).collect();
    }
}

async fn history(steps: Vec<Step>) {
    let place = Place::new();
    let mut store = place.open();
    let mut model = Model::new();
    let mut followers = [Follower::new(""), Follower::new("on=yes"), Follower::new("!on")];
    let mut rest = steps.as_slice();
    while !rest.is_empty() {
        let until = rest.iter().position(|s| matches!(s, Step::Reopen)).map_or(rest.len(), |at| at + 1);
        let (now, later) = rest.split_at(until);
        rest = later;
        let mut watches = Vec::new();
        for follower in &mut followers {
            follower.list(&store).await;
            let path = format!(
                "{THINGS}?watch=true&labelSelector={}&resourceVersion={}",
                follower.selector, follower.version
            );
            watches.push(request(&store, "GET", &path, "application/json", None).await.into_body());
        }
        for step in now {
            let (before, head) = (model.clone(), store.shared.image.read().head());
            let expected = expect(&mut model, step);
            assert_eq!(perform(&store, step).await, expected, "{step:?} in {steps:?}");
            let raised = store.shared.image.read().head() - head;
            assert_eq!(raised, u64::from(model != before), "versions for {step:?} in {steps:?}");
        }
        let (_, list) = send(&store, "GET", THINGS, None).await;
        let shown: Model = list["items"].as_array().unwrap().iter().map(modelled).collect();
        assert_eq!(shown, model, "{steps:?}");
        let mut expected = Vec::new();
        for follower in &followers {
            let mut listed = Follower::new(follower.selector);
            listed.list(&store).await;
            expected.push(listed.known);
        }
        let reading: Vec<_> = watches.into_iter().map(|w| tokio::spawn(lines(w))).collect();
        store.shutdown().await; // the watches deliver what is committed, then end
        for ((follower, reading), expected) in followers.iter_mut().zip(reading).zip(expected) {
            follower.follow(reading.await.unwrap()).await;
            assert_eq!(follower.known, expected, "watch of '{}' in {steps:?}", follower.selector);
        }
        store = place.open();
        let (_, again) = send(&store, "GET", THINGS, None).await;
        assert_eq!(again, list, "a restart changes nothing");
    }
    store.shutdown().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn histories_follow_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(history(steps));
    }
}
