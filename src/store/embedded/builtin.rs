//! The built-in kinds: leases, events, secrets, config maps and namespaces.
//!
//! They have no schema here. Their content is checked by a round trip through the published type, which
//! refuses wrong types and drops unknown fields, and then by the few rules that callers rely on.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::kind::{Admits, Field, Kind, group_version};
use super::object::Object;
use super::status::Cause;

/// How one built-in kind is admitted.
#[derive(Debug)]
pub(super) struct Builtin {
    /// Through the published type and back.
    pub(super) round_trip: fn(Value) -> Result<Value, serde_json::Error>,
    /// Fills in what is derived, before the round trip.
    pub(super) complete: fn(&mut Map<String, Value>),
    /// What is wrong with the new object, given the old one.
    pub(super) check: fn(Option<&Object>, &Object) -> Vec<Cause>,
}

static LEASE: Builtin = Builtin { round_trip: through::<Lease>, complete: nothing, check: check_lease };
static EVENT: Builtin = Builtin { round_trip: through::<Event>, complete: nothing, check: check_event };
static SECRET: Builtin =
    Builtin { round_trip: through::<Secret>, complete: complete_secret, check: check_secret };
static CONFIG: Builtin =
    Builtin { round_trip: through::<ConfigMap>, complete: nothing, check: check_immutable };
static NAMESPACE: Builtin =
    Builtin { round_trip: through::<Namespace>, complete: nothing, check: |_, _| vec![] };

/// Fields of an event that `v1` calls differently than `events.k8s.io/v1`, the form in which events are kept.
const CORE_EVENT: &[(&str, &str)] = &[
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// The kinds as the path router knows them.
pub(super) fn kinds() -> Vec<Kind> {
    let lease = kind("coordination.k8s.io", "Lease", "leases", &LEASE);
    let mut event = kind("events.k8s.io", "Event", "events", &EVENT);
    event.unconditional = true;
    event.fields = event_fields("regarding", "reportingController");
    let mut core_event = kind("", "Event", "events", &EVENT);
    core_event.unconditional = true;
    core_event.stored_api_version = "events.k8s.io/v1".to_owned();
    core_event.renames = CORE_EVENT;
    core_event.fields = event_fields("involvedObject", "reportingComponent");
    let mut secret = kind("", "Secret", "secrets", &SECRET);
    secret.unconditional = true;
    secret.fields = vec![field("type", &["type"])];
    let mut config = kind("", "ConfigMap", "configmaps", &CONFIG);
    config.unconditional = true;
    config.short_names = vec!["cm".to_owned()];
    let mut namespace = kind("", "Namespace", "namespaces", &NAMESPACE);
    namespace.namespaced = false;
    namespace.read_only = true;
    namespace.short_names = vec!["ns".to_owned()];
    vec![lease, event, core_event, secret, config, namespace]
}

fn kind(group: &str, name: &str, plural: &str, builtin: &'static Builtin) -> Kind {
    Kind {
        group: group.to_owned(),
        version: "v1".to_owned(),
        kind: name.to_owned(),
        list_kind: format!("{name}List"),
        plural: plural.to_owned(),
        singular: name.to_lowercase(),
        short_names: vec![],
        categories: vec![],
        namespaced: true,
        has_status: false,
        shelf: 0,
        stored_api_version: group_version(group, "v1"),
        fingerprint: 0,
        renames: &[],
        fields: vec![],
        admits: Admits::Builtin(builtin),
        unconditional: false,
        read_only: false,
    }
}

/// Both forms list the same places in the same order: the values are kept once.
fn event_fields(regarding: &str, controller: &str) -> Vec<Field> {
    let mut fields: Vec<Field> = ["kind", "namespace", "name", "uid"]
        .into_iter()
        .map(|part| field(&format!("{regarding}.{part}"), &["regarding", part]))
        .collect();
    fields.push(field("reason", &["reason"]));
    fields.push(field("type", &["type"]));
    fields.push(field(controller, &["reportingController"]));
    fields
}

fn field(name: &str, path: &[&str]) -> Field {
    Field { name: name.to_owned(), path: path.iter().map(|p| (*p).to_owned()).collect() }
}

fn through<T: Serialize + DeserializeOwned>(value: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(value)?)
}

fn nothing(_: &mut Map<String, Value>) {}

/// `stringData` is write-only: it ends up in `data`, and wins over it.
fn complete_secret(rest: &mut Map<String, Value>) {
    use base64::Engine as _;
    if let Some(Value::Object(plain)) = rest.remove("stringData") {
        let data = rest.entry("data").or_insert_with(|| json!({}));
        if data.is_null() {
            *data = json!({});
        }
        if let Value::Object(data) = data {
            for (key, value) in plain {
                let value = match value {
                    Value::String(text) => {
                        Value::from(base64::engine::general_purpose::STANDARD.encode(text))
                    }
                    other => other, // left for the round trip to refuse
                };
                data.insert(key, value);
            }
        }
    }
    let kind = rest.entry("type").or_insert(Value::Null);
    if kind.as_str().is_none_or(str::is_empty) && !kind.is_number() {
        *kind = json!("Opaque");
    }
}

fn check_secret(old: Option<&Object>, new: &Object) -> Vec<Cause> {
    let mut causes = check_immutable(old, new);
    if let Some(old) = old
        && old.rest.get("type") != new.rest.get("type")
    {
        let value = new.rest.get("type").map_or_else(String::new, Value::to_string);
        causes.push(Cause::invalid("type", &value, "field is immutable"));
    }
    causes
}

fn check_immutable(old: Option<&Object>, new: &Object) -> Vec<Cause> {
    let mut causes = check_keys(new);
    let Some(old) = old else { return causes };
    if old.rest.get("immutable") != Some(&json!(true)) {
        return causes;
    }
    for part in ["immutable", "data", "binaryData"] {
        if old.rest.get(part) != new.rest.get(part) {
            causes.push(Cause::forbidden(part, "field is immutable when `immutable` is set"));
        }
    }
    causes
}

fn check_keys(new: &Object) -> Vec<Cause> {
    const WHY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
    let mut causes = Vec::new();
    for part in ["data", "binaryData"] {
        for key in new.rest.get(part).and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let reserved = key == "." || key.starts_with("..");
            if key.is_empty() || key.len() > 253 || reserved || !key.chars().all(fits) {
                causes.push(Cause::invalid(format!("{part}[{key}]"), &format!("\"{key}\""), WHY));
            }
        }
    }
    causes
}

fn check_lease(_: Option<&Object>, new: &Object) -> Vec<Cause> {
    let mut causes = Vec::new();
    let number = |name: &str| new.rest.get("spec").and_then(|s| s.get(name)).and_then(Value::as_i64);
    if let Some(seconds) = number("leaseDurationSeconds").filter(|s| *s <= 0) {
        let why = "must be greater than 0";
        causes.push(Cause::invalid("spec.leaseDurationSeconds", &seconds.to_string(), why));
    }
    if let Some(count) = number("leaseTransitions").filter(|c| *c < 0) {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.leaseTransitions", &count.to_string(), why));
    }
    causes
}

/// An event lies in the namespace of what it is about; about cluster-scoped things, in `default`.
fn check_event(_: Option<&Object>, new: &Object) -> Vec<Cause> {
    let namespace = new.metadata.namespace.as_deref().unwrap_or_default();
    let about = new.rest.get("regarding").and_then(|r| r.get("namespace")).and_then(Value::as_str);
    let about = about.unwrap_or_default();
    let fits =
        if about.is_empty() { matches!(namespace, "default" | "kube-system") } else { about == namespace };
    if fits {
        return vec![];
    }
    vec![Cause::invalid(
        "involvedObject.namespace",
        &format!("\"{about}\""),
        "does not match event.namespace",
    )]
}
