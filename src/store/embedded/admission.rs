//! What a write makes of an object: pure decisions on the current state and the request.
//!
//! Nothing here waits or looks at a clock; the service hands in the moment and the randomness, submits the
//! decision, and asks again when another writer was faster.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Map, Value};

use super::kind::{Admits, Kind};
use super::metadata;
use super::object::{Draft, Object};
use super::status::{Cause, Refusal};

/// An object may be this large when serialized, in bytes: etcd's limit.
pub(super) const MAX_OBJECT: usize = 1536 * 1024;

/// What to do with the object.
#[derive(Debug)]
pub(super) enum Decision {
    /// Write this.
    Put(Draft),
    /// Remove the object; the draft is its last state.
    Remove(Option<Draft>),
    /// Nothing changes: no new version, no event.
    Same,
}

/// Which part of the object an update may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Everything but `status`.
    Main,
    /// `status` alone.
    Status,
    /// The metadata alone: all else stays as it is, and is not looked at again.
    Metadata,
}

/// How an update is to be judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) part: Part,
    /// Unknown fields are an error instead of being dropped.
    pub(super) strict: bool,
    /// The new object was made from the current one by a patch: it need not claim a version.
    pub(super) patched: bool,
    pub(super) now: Timestamp,
}

/// What a new object gets that its creator does not choose.
#[derive(Clone, Debug)]
pub(super) struct Birth {
    pub(super) now: Timestamp,
    pub(super) uid: String,
    /// For `generateName`.
    pub(super) random: u64,
}

/// What a delete may insist on.
#[derive(Clone, Debug, Default)]
pub(super) struct Preconditions {
    pub(super) uid: Option<String>,
    pub(super) version: Option<String>,
}

/// Decides on a new object. Returns its name.
pub(super) fn create(
    kind: &Kind,
    namespace: Option<&str>,
    mut object: Object,
    strict: bool,
    birth: &Birth,
) -> Result<(String, Draft), Refusal> {
    fits_endpoint(kind, namespace, None, &mut object)?;
    if object.claimed_version().is_some() {
        return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
    }
    metadata::tidy(&mut object.metadata);
    let given = std::mem::take(&mut object.metadata);
    let name = match (given.name.filter(|n| !n.is_empty()), &given.generate_name) {
        (Some(name), _) => Some(name),
        (None, Some(prefix)) => Some(metadata::generated_name(prefix, birth.random)),
        (None, None) => None,
    };
    object.metadata = ObjectMeta {
        name: name.clone(),
        namespace: namespace.map(str::to_owned),
        uid: Some(birth.uid.clone()),
        creation_timestamp: Some(Time(birth.now)),
        generation: matches!(kind.admits, Admits::Schema(_)).then_some(1),
        generate_name: given.generate_name,
        labels: given.labels,
        annotations: given.annotations,
        finalizers: given.finalizers,
        owner_references: given.owner_references,
        ..ObjectMeta::default()
    };
    if kind.has_status {
        object.rest.remove("status");
    }
    let shown = name.clone().unwrap_or_default();
    normalize(kind, &mut object, &shown, strict, Part::Main)?;
    let mut causes = metadata::check(&object.metadata);
    causes.extend(check_content(kind, &object, None, Part::Main));
    refuse_if(kind, &shown, causes)?;
    Ok((shown, draft(kind, object, birth.now)?))
}

/// Decides on `new` in place of `old`. Both are in the stored form.
pub(super) fn update(kind: &Kind, old: &Object, mut new: Object, terms: Terms) -> Result<Decision, Refusal> {
    let name = old.metadata.name.clone().unwrap_or_default();
    fits_endpoint(kind, old.metadata.namespace.as_deref(), Some(&name), &mut new)?;
    is_current(kind, old, &new, terms.patched)?;
    let mut causes = Vec::new();
    match terms.part {
        Part::Main => {
            causes.extend(immutable_faults(old, &new));
            new.metadata = carried(&old.metadata, std::mem::take(&mut new.metadata));
            if kind.has_status {
                new.rest.remove("status");
                if let Some(status) = old.rest.get("status") {
                    new.rest.insert("status".to_owned(), status.clone());
                }
            }
        }
        Part::Metadata => {
            causes.extend(immutable_faults(old, &new));
            new.metadata = carried(&old.metadata, std::mem::take(&mut new.metadata));
            new.rest = old.rest.clone();
        }
        Part::Status => {
            new.metadata = old.metadata.clone();
            let status = new.rest.remove("status");
            new.rest = old.rest.clone();
            new.rest.remove("status");
            if let Some(status) = status {
                new.rest.insert("status".to_owned(), status);
            }
        }
    }
    new.api_version.clone_from(&old.api_version);
    new.kind.clone_from(&old.kind);
    let mut content_changed = false;
    if terms.part != Part::Metadata {
        normalize(kind, &mut new, &name, terms.strict, terms.part)?;
        content_changed = new.rest != old.rest;
    }
    let metadata_changed = new.metadata != old.metadata;
    if metadata_changed {
        causes.extend(metadata::check(&new.metadata));
        causes.extend(new_finalizers(old, &new));
    }
    if content_changed {
        causes.extend(check_content(kind, &new, Some(old), terms.part));
    }
    refuse_if(kind, &name, causes)?;
    if terms.part == Part::Main && content_changed {
        new.metadata.generation = old.metadata.generation.map(|g| g + 1);
    }
    if old.is_deleting() && !new.has_finalizers() {
        return Ok(Decision::Remove(Some(draft(kind, new, terms.now)?)));
    }
    if !content_changed && !metadata_changed {
        return Ok(Decision::Same);
    }
    Ok(Decision::Put(draft(kind, new, terms.now)?))
}

/// Decides on the wish to delete `old`.
pub(super) fn delete(
    kind: &Kind,
    old: Object,
    wanted: &Preconditions,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let name = old.metadata.name.clone().unwrap_or_default();
    let is = |have: &Option<String>| have.clone().unwrap_or_default();
    if let Some(uid) = &wanted.uid
        && Some(uid) != old.metadata.uid.as_ref()
    {
        return Err(Refusal::conflict(kind, &name, precondition("UID", uid, &is(&old.metadata.uid))));
    }
    if let Some(version) = &wanted.version
        && Some(version) != old.metadata.resource_version.as_ref()
    {
        let why = precondition("ResourceVersion", version, &is(&old.metadata.resource_version));
        return Err(Refusal::conflict(kind, &name, why));
    }
    if !old.has_finalizers() {
        return Ok(Decision::Remove(None));
    }
    if old.is_deleting() {
        return Ok(Decision::Same);
    }
    let mut new = old;
    new.metadata.deletion_timestamp = Some(Time(now));
    new.metadata.deletion_grace_period_seconds = Some(0);
    new.metadata.generation = new.metadata.generation.map(|g| g + 1);
    Ok(Decision::Put(draft(kind, new, now)?))
}

/// Fills in the defaults of the kind as it is now, for an object written under an older schema. Unknown
/// fields stay: a step back to an older program must not lose what the newer one wrote.
/// Returns whether anything changed, and what is wrong with the object, if anything.
pub(super) fn migrate(kind: &Kind, object: &mut Object) -> (bool, Vec<Cause>) {
    let Admits::Schema(schema) = &kind.admits else {
        return (false, vec![]);
    };
    let mut rest = object.rest.clone();
    schema.normalize(&mut rest, |part| part != "status" || object.rest.contains_key("status"));
    let before = object.rest.clone();
    merge_new(&mut object.rest, rest);
    let causes =
        schema.parts().flat_map(|part| schema.check_part(part, object.rest.get(part), None)).collect();
    (object.rest != before, causes)
}

/// Adds to `into` what only `from` has, at every depth.
fn merge_new(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge_new(into, from),
            (Some(Value::Array(into)), Value::Array(from)) => {
                for (into, from) in into.iter_mut().zip(from) {
                    if let (Value::Object(into), Value::Object(from)) = (into, from) {
                        merge_new(into, from);
                    }
                }
            }
            (Some(Value::Null) | None, value) => drop(into.insert(key, value)),
            (Some(_), _) => {}
        }
    }
}

/// When an object of this kind may be forgotten: events live one `ttl` after they were last seen.
pub(super) fn expiry(kind: &Kind, object: &Object, now: Timestamp) -> Option<i64> {
    const TTL: i64 = 3600;
    (kind.plural == "events" && matches!(kind.admits, Admits::Builtin(_))).then(|| {
        let series = object.rest.get("series").and_then(|s| s.get("lastObservedTime"));
        let seen = [series, object.rest.get("deprecatedLastTimestamp")];
        let seen = seen.into_iter().flatten().filter_map(|t| t.as_str()?.parse::<Timestamp>().ok());
        let born = object.metadata.creation_timestamp.as_ref().map(|t| t.0);
        // A clock of the far future in an event must not keep it for ever.
        let last = seen.chain(born).max().map_or(now, |t| t.min(now));
        last.as_second() + TTL
    })
}

fn draft(kind: &Kind, object: Object, now: Timestamp) -> Result<Draft, Refusal> {
    let expires = expiry(kind, &object, now);
    let draft = Draft::new(kind, object, expires);
    if draft.len() > MAX_OBJECT {
        return Err(Refusal::too_large(MAX_OBJECT));
    }
    Ok(draft)
}

/// Type, namespace and name in the body must be those of the path.
fn fits_endpoint(
    kind: &Kind,
    namespace: Option<&str>,
    name: Option<&str>,
    object: &mut Object,
) -> Result<(), Refusal> {
    let custom = matches!(kind.admits, Admits::Schema(_));
    for (what, got, wanted) in [
        ("API version", &mut object.api_version, kind.stored_api_version.as_str()),
        ("kind", &mut object.kind, kind.kind.as_str()),
    ] {
        match got.as_deref() {
            Some(got) if got == wanted => {}
            None | Some("") if !custom => *got = Some(wanted.to_owned()),
            None | Some("") => {
                return Err(Refusal::bad_request(format!("the object has no {what}")));
            }
            Some(got) if custom && what == "kind" => {
                let cause = Cause::invalid("kind", &format!("\"{got}\""), format!("must be {wanted}"));
                let name = object.metadata.name.as_deref().unwrap_or_default();
                return Err(Refusal::invalid(kind, name, vec![cause]));
            }
            Some(got) => {
                return Err(Refusal::bad_request(format!(
                    "the {what} in the data ({got}) does not match the expected {what} ({wanted})"
                )));
            }
        }
    }
    let metadata = &mut object.metadata;
    match (metadata.namespace.as_deref().filter(|n| !n.is_empty()), namespace) {
        (Some(got), Some(wanted)) if got != wanted => {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        (Some(_), None) => metadata.namespace = None,
        _ => {}
    }
    match (metadata.name.as_deref().filter(|n| !n.is_empty()), name) {
        (Some(got), Some(wanted)) if got != wanted => Err(Refusal::bad_request(format!(
            "the name of the object ({got}) does not match the name on the URL ({wanted})"
        ))),
        (None, Some(wanted)) if custom => Err(Refusal::bad_request(format!(
            "name must be provided: the object has none, the URL says {wanted}"
        ))),
        _ => Ok(()),
    }
}

fn is_current(kind: &Kind, old: &Object, new: &Object, patched: bool) -> Result<(), Refusal> {
    let name = old.metadata.name.as_deref().unwrap_or_default();
    if let Some(uid) = new.metadata.uid.as_deref().filter(|u| !u.is_empty())
        && Some(uid) != old.metadata.uid.as_deref()
    {
        let have = old.metadata.uid.clone().unwrap_or_default();
        return Err(Refusal::conflict(kind, name, precondition("UID", uid, &have)));
    }
    match new.claimed_version() {
        Some(version) if Some(version) != old.metadata.resource_version.as_deref() => {
            Err(Refusal::stale(kind, name))
        }
        None if !patched && !kind.unconditional => {
            let cause = Cause::invalid("metadata.resourceVersion", "0", "must be specified for an update");
            Err(Refusal::invalid(kind, name, vec![cause]))
        }
        _ => Ok(()),
    }
}

fn precondition(what: &str, wanted: &str, have: &str) -> String {
    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {have}")
}

/// The metadata of an update: what clients may write from `new`, the rest from `old`.
fn carried(old: &ObjectMeta, mut new: ObjectMeta) -> ObjectMeta {
    metadata::tidy(&mut new);
    ObjectMeta {
        labels: new.labels,
        annotations: new.annotations,
        finalizers: new.finalizers,
        owner_references: new.owner_references,
        ..old.clone()
    }
}

/// A deletion cannot be begun by writing its time.
fn immutable_faults(old: &Object, new: &Object) -> Vec<Cause> {
    if old.is_deleting() || !new.is_deleting() {
        return vec![];
    }
    vec![Cause::invalid("metadata.deletionTimestamp", "\"object\"", "field is immutable")]
}

fn new_finalizers(old: &Object, new: &Object) -> Vec<Cause> {
    if !old.is_deleting() {
        return vec![];
    }
    let had = old.metadata.finalizers.as_deref().unwrap_or_default();
    let added = new.metadata.finalizers.iter().flatten().filter(|f| !had.contains(f));
    let added: Vec<&str> = added.map(String::as_str).collect();
    if added.is_empty() {
        return vec![];
    }
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
    );
    vec![Cause::forbidden("metadata.finalizers", &why)]
}

fn normalize(kind: &Kind, object: &mut Object, name: &str, strict: bool, part: Part) -> Result<(), Refusal> {
    match &kind.admits {
        Admits::Schema(schema) => {
            let touched = |field: &str| !kind.has_status || (field == "status") == (part == Part::Status);
            let dropped = schema.normalize(&mut object.rest, touched);
            if strict && !dropped.is_empty() {
                let fields: Vec<String> = dropped.iter().map(|f| format!("unknown field \"{f}\"")).collect();
                return Err(Refusal::bad_request(format!("strict decoding error: {}", fields.join(", "))));
            }
        }
        Admits::Builtin(builtin) => {
            (builtin.complete)(&mut object.rest);
            let whole = Value::Object(std::mem::take(&mut object.rest));
            let back = (builtin.round_trip)(whole).map_err(|e| {
                Refusal::bad_request(format!("{} \"{name}\" cannot be handled: {e}", kind.kind))
            })?;
            if let Value::Object(mut back) = back {
                for own in ["apiVersion", "kind", "metadata"] {
                    back.remove(own);
                }
                object.rest = back;
            }
        }
    }
    Ok(())
}

/// Only the fields that changed are checked; what is stored has passed before.
fn check_content(kind: &Kind, new: &Object, old: Option<&Object>, part: Part) -> Vec<Cause> {
    match &kind.admits {
        Admits::Schema(schema) => {
            let mut causes = Vec::new();
            for field in schema.parts() {
                if kind.has_status && (field == "status") != (part == Part::Status) {
                    continue;
                }
                let (after, before) = (new.rest.get(field), old.and_then(|o| o.rest.get(field)));
                if old.is_none() || after != before {
                    causes.extend(schema.check_part(field, after, before));
                }
            }
            if causes.is_empty() {
                causes = schema.check_root(kind, new, old);
            }
            causes
        }
        Admits::Builtin(builtin) => (builtin.check)(old, new),
    }
}

fn refuse_if(kind: &Kind, name: &str, causes: Vec<Cause>) -> Result<(), Refusal> {
    if causes.is_empty() { Ok(()) } else { Err(Refusal::invalid(kind, name, causes)) }
}
