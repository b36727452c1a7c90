//! `/version`, `/api`, `/apis` and the resource lists below them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::kind::{Kind, Kinds, group_version};

/// The answer for the path with these segments; `None`: there is nothing.
pub(super) fn answer(kinds: &Kinds, path: &[String]) -> Option<Value> {
    let segments: Vec<&str> = path.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["version"] => Some(version()),
        ["healthz" | "livez" | "readyz"] => Some(json!("ok")),
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        ["apis"] => {
            let groups: Vec<Value> = groups(kinds).into_iter().map(|(g, v)| group(g, v)).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["api", "v1"] => resources(kinds, "", "v1"),
        ["apis", wanted] => {
            let (name, version) = groups(kinds).into_iter().find(|(name, _)| name == wanted)?;
            let mut group = group(name, version);
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            Some(group)
        }
        ["apis", group, version] => resources(kinds, group, version),
        _ => None,
    }
}

/// The version of the Kubernetes API that is followed.
fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": concat!("v1.33.0+", env!("CARGO_PKG_NAME")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn groups(kinds: &Kinds) -> BTreeSet<(&str, &str)> {
    let named = kinds.iter().filter(|k| !k.group.is_empty());
    named.map(|k| (k.group.as_str(), k.version.as_str())).collect()
}

fn group(name: &str, version: &str) -> Value {
    let version = json!({ "groupVersion": group_version(name, version), "version": version });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

fn resources(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let served = kinds.iter().filter(|k| k.group == group && k.version == version);
    let resources: Vec<Value> = served.flat_map(|kind| resource(kind)).collect();
    (!resources.is_empty()).then(|| {
        json!({
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": group_version(group, version), "resources": resources,
        })
    })
}

fn resource(kind: &Kind) -> Vec<Value> {
    let verbs: &[&str] = if kind.read_only {
        &["get", "list", "watch"]
    } else {
        &["create", "delete", "get", "list", "patch", "update", "watch"]
    };
    let mut all = vec![json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": verbs, "shortNames": kind.short_names, "categories": kind.categories,
    })];
    if kind.has_status {
        all.push(json!({
            "name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": ["get", "patch", "update"],
        }));
    }
    all
}
