//! The operator's rights, held against everything that it has asked for in all scenarios before: each is
//! used, none is missing, and none is wide. It runs last.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::World;
use super::fixture::{Scenario, wait_for};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario<World>] = &[("rights: each is used and none is missing", used)];

/// Rights that only what this suite cannot have would use, and why.
const NOT_USED_HERE: &[(&str, &str)] = &[];

/// A right: whether in the operator's namespace only, verb, group, resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    within: bool,
    verb: String,
    resource: String,
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map_or(vec![], |all| all.iter().map(|text| text.as_str().unwrap()).collect())
}

/// A resource as it is named here.
fn named(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.into() } else { format!("{resource}.{group}") }
}

/// What the roles of the operator's service account grant, as they are in the cluster.
fn granted(world: &World) -> BTreeSet<Right> {
    let list = |kind: &str| -> Vec<Value> {
        let text = world.cluster.run(&["get", kind, "-A", "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().unwrap().clone()
    };
    let is_ours = |binding: &Value| {
        let ours = json!({"kind": "ServiceAccount", "name": "bricklayer-operator", "namespace": "bricklayer-system"});
        binding["subjects"].as_array().is_some_and(|subjects| subjects.contains(&ours))
    };
    let mut rights = BTreeSet::new();
    for (bindings, roles, within) in
        [("clusterrolebindings", "clusterroles", false), ("rolebindings", "roles", true)]
    {
        let roles = list(roles);
        for binding in list(bindings).iter().filter(|binding| is_ours(binding)) {
            let bound = |role: &&Value| {
                role["metadata"]["name"] == binding["roleRef"]["name"]
                    && (!within || role["metadata"]["namespace"] == binding["metadata"]["namespace"])
            };
            let role = roles.iter().find(bound).unwrap();
            if within {
                assert_eq!(role["metadata"]["namespace"], "bricklayer-system", "{role}");
            }
            for rule in role["rules"].as_array().unwrap() {
                assert!(!rule.to_string().contains('*'), "wide: {rule}");
                for (group, resource) in texts(&rule["apiGroups"]).into_iter().flat_map(|group| {
                    texts(&rule["resources"]).into_iter().map(move |resource| (group, resource))
                }) {
                    assert!(within || resource != "secrets", "secrets of the whole cluster: {rule}");
                    for verb in texts(&rule["verbs"]) {
                        rights.insert(Right { within, verb: verb.into(), resource: named(resource, group) });
                    }
                }
            }
        }
    }
    assert!(rights.len() > 20, "{rights:?}");
    rights
}

/// What was asked for, by verb, resource and namespace.
fn asked(world: &World) -> BTreeSet<(String, String, String)> {
    let events = world.cluster.asked();
    assert!(events.len() > 100, "only {} requests are in the audit log", events.len());
    let refused: BTreeMap<String, usize> = events
        .iter()
        .filter(|event| event["responseStatus"]["code"] == 403)
        .filter(|event| {
            let at = event["requestReceivedTimestamp"].as_str().unwrap();
            !world.cluster.was_away(at.parse().unwrap())
        })
        .fold(BTreeMap::new(), |mut refused, event| {
            *refused.entry(format!("{} {}", event["verb"], event["requestURI"])).or_default() += 1;
            refused
        });
    assert!(refused.is_empty(), "refused for want of a right: {refused:?}");
    let of = |event: &Value, key: &str| event["objectRef"][key].as_str().unwrap_or_default().to_owned();
    let asked = events.iter().filter(|event| event["objectRef"].is_object()).map(|event| {
        let (resource, sub) = (of(event, "resource"), of(event, "subresource"));
        let whole = if sub.is_empty() { resource } else { format!("{resource}/{sub}") };
        let verb = event["verb"].as_str().unwrap().to_owned();
        (verb, named(&whole, &of(event, "apiGroup")), of(event, "namespace"))
    });
    asked.collect()
}

/// Has the key of a cluster read: nodes over SSH are in no other scenario.
fn read_a_key(world: &World) {
    let operator = world.operator();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"id": "no key at all"},
        "metadata": {"name": "rights-ssh", "namespace": "bricklayer-system"}});
    let key = json!({"secret": {"namespace": "bricklayer-system", "name": "rights-ssh", "key": "id"}});
    let cluster = json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterCluster",
        "metadata": {"name": "rights"},
        "spec": {"transport": {"ssh": {"key": key, "hostKeys": "PinFirstContact"}}}});
    let node = json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterNode",
        "metadata": {"name": "rights"},
        "spec": {"cluster": "rights", "zone": 1, "hostnames": {"manage": ["127.0.0.1"], "storage": ["127.0.0.1"]}}});
    let all = json!({"apiVersion": "v1", "kind": "List", "items": [secret, cluster, node]});
    world.cluster.apply(&all.to_string());
    wait_for("the key to be found wanting", 60, || {
        let said = world.cluster.value(&["gnode/rights"], "{.status.conditions[*].message}");
        said.contains("private key cannot be read").then_some(())
    });
    world.cluster.run(&["delete", "gnode/rights", "--wait=false"]);
    world.cluster.run(&["delete", "gcl/rights", "--wait=false"]);
    world.cluster.run(&["-n", "bricklayer-system", "delete", "secret/rights-ssh"]);
    operator.stop();
}

/// Has the mode of the server made and changed, as an administrator does.
fn set_the_mode(world: &World) {
    let mut operator = world.operator_with(&["--rest-listen", "127.0.0.1:0", "--disable-auth"]);
    let line = operator.wait_for_output("serves Heketi's REST on", 30);
    let url = line.rsplit("REST on ").next().unwrap().split_whitespace().next().unwrap().to_owned();
    for mode in ["local-client", "normal"] {
        let answer = ureq::post(format!("{url}/admin")).send(json!({"state": mode}).to_string());
        assert_eq!(answer.unwrap().status(), 204);
        let mut shown = ureq::get(format!("{url}/admin")).call().unwrap();
        assert_eq!(shown.body_mut().read_to_string().unwrap(), format!("{{\"state\":\"{mode}\"}}\n"));
    }
    world.cluster.run(&["-n", "bricklayer-system", "delete", "configmap/bricklayer-mode"]);
    operator.stop();
}

fn used(world: &World) {
    read_a_key(world);
    set_the_mode(world);
    let asked = asked(world);
    let granted = granted(world);
    let uses = |right: &&Right| {
        asked.iter().any(|(verb, resource, namespace)| {
            *verb == right.verb
                && *resource == right.resource
                && (!right.within || namespace == "bricklayer-system")
        })
    };
    let excused = |right: &&Right| {
        let name = format!("{} {}", right.verb, right.resource);
        NOT_USED_HERE.iter().any(|(excused, _)| *excused == name)
    };
    let unused: Vec<String> = granted
        .iter()
        .filter(|right| !uses(right) && !excused(right))
        .map(|right| format!("{} {}", right.verb, right.resource))
        .collect();
    if std::env::args().skip(1).any(|word| !word.starts_with('-')) {
        // Some scenarios were left out, so some rights may be unused.
        println!("  not used by the chosen scenarios: {}", unused.join(", "));
        return;
    }
    assert!(unused.is_empty(), "granted and never used: {}", unused.join(", "));
}
