//! Pruning, defaults, structure, rules.

use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cases;
use crate::harness::{Case, Context, invalid, refusal, version, widget_path};
use crate::widget::Color;

pub fn cases() -> Vec<Case> {
    let mut cases = cases![
        defaults_are_filled_in,
        nulls_where_none_can_be,
        unknown_fields_are_dropped,
        unknown_fields_are_refused_when_strict,
        structure_faults_name_their_fields,
        messages_read_as_in_kubernetes,
        several_faults_at_once,
        a_missing_spec,
        numbers_that_do_not_fit_their_format,
        rules_on_create,
        transition_rules,
        rules_below_lists,
        names_labels_and_annotations,
        owners_and_finalizers,
        metadata_of_the_wrong_type,
    ];
    cases.extend(cases![embedded only: unknown_field_validation]);
    cases
}

async fn send(c: &Context, what: &str, spec: Value) -> (u16, Value) {
    let body = json!({
        "apiVersion": "conformance.bricklayer.dev/v1", "kind": "Widget",
        "metadata": { "name": c.name(what) }, "spec": spec,
    });
    c.raw("POST", &widget_path(""), "application/json", body.to_string()).await
}

/// (field, reason) of each cause, sorted.
fn causes(status: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let all = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    let mut causes: Vec<_> = all.iter().map(|c| (text(&c["field"]), text(&c["reason"]))).collect();
    causes.retain(|(field, _)| field != "<nil>"); // "rules were not run": only Kubernetes says so
    causes.sort();
    causes
}

async fn defaults_are_filled_in(c: Context) {
    let made =
        c.made_with("a", json!({ "size": 1, "parts": [{ "name": "x" }, { "name": "y", "count": 3 }] })).await;
    assert_eq!(made.spec.color, Color::Red);
    let (_, raw) = c.raw("GET", &widget_path(&made.name_any()), "application/json", "").await;
    assert_eq!(raw["spec"]["color"], json!("Red"));
    assert_eq!(raw["spec"]["parts"], json!([{ "name": "x", "count": 1 }, { "name": "y", "count": 3 }]));
    let patch = json!({ "spec": { "color": null } });
    let after =
        c.widgets().patch(&made.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(version(&after), version(&made), "the default came back: nothing changed");
    c.remove(&made).await;
}

async fn nulls_where_none_can_be(c: Context) {
    let (code, made) = send(&c, "a", json!({ "size": 1, "color": null, "owner": null })).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["color"], json!("Red"));
    let (_, status) = send(&c, "b", json!({ "size": null })).await;
    assert_eq!(causes(&status), [("spec.size".to_owned(), "FieldValueRequired".to_owned())], "{status}");
    c.remove(&serde_json::from_value(made).unwrap()).await;
}

async fn unknown_fields_are_dropped(c: Context) {
    let (code, made) =
        send(&c, "a", json!({ "size": 1, "invented": true, "parts": [{ "name": "x", "weight": 2 }] })).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"], json!({ "size": 1, "color": "Red", "parts": [{ "name": "x", "count": 1 }] }));
    c.remove(&serde_json::from_value(made).unwrap()).await;
}

async fn unknown_fields_are_refused_when_strict(c: Context) {
    let body = json!({
        "apiVersion": "conformance.bricklayer.dev/v1", "kind": "Widget", "metadata": { "name": c.name("a") },
        "spec": { "size": 1, "invented": true },
    });
    let path = format!("{}?fieldValidation=Strict", widget_path(""));
    let (code, status) = c.raw("POST", &path, "application/json", body.to_string()).await;
    assert_eq!(code, 400, "{status}");
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("strict decoding error: unknown field \"spec.invented\""), "{message}");
}

async fn unknown_field_validation(c: Context) {
    let path = format!("{}?fieldValidation=Sometimes", widget_path(""));
    let (code, status) = c.raw("POST", &path, "application/json", "{}").await;
    assert_eq!(code, 400, "{status}");
}

async fn structure_faults_name_their_fields(c: Context) {
    for (spec, field, reason) in [
        (json!({ "size": "big" }), "spec.size", "FieldValueTypeInvalid"),
        (json!({ "size": 1.5 }), "spec.size", "FieldValueTypeInvalid"),
        (json!({ "size": 0 }), "spec.size", "FieldValueInvalid"),
        (json!({ "size": 1001 }), "spec.size", "FieldValueInvalid"),
        (json!({}), "spec.size", "FieldValueRequired"),
        (json!({ "size": 1, "color": "Pink" }), "spec.color", "FieldValueNotSupported"),
        (json!({ "size": 1, "note": "far too long for a note" }), "spec.note", "FieldValueTooLong"),
        (json!({ "size": 1, "parts": {} }), "spec.parts", "FieldValueTypeInvalid"),
        (json!({ "size": 1, "due": "tomorrow" }), "spec.due", "FieldValueTypeInvalid"),
        (json!({ "size": 1, "tags": ["a", "b", "a"] }), "spec.tags[2]", "FieldValueDuplicate"),
        (json!({ "size": 1, "parts": [{ "count": 2 }] }), "spec.parts[0].name", "FieldValueRequired"),
        (
            json!({ "size": 1, "parts": [{ "name": "a" }, { "name": "b", "count": -4 }] }),
            "spec.parts[1].count",
            "FieldValueInvalid",
        ),
        (
            json!({ "size": 1, "parts": [{ "name": "a" }, { "name": "b" }, { "name": "c" }, { "name": "d" }, { "name": "e" }] }),
            "spec.parts",
            "FieldValueTooMany",
        ),
    ] {
        let (code, status) = send(&c, "a", spec.clone()).await;
        assert_eq!(code, 422, "{spec} gave {status}");
        assert!(
            causes(&status).contains(&(field.to_owned(), reason.to_owned())),
            "{spec} gave {status}, not {field} {reason}"
        );
        assert_eq!(status["reason"], json!("Invalid"));
        assert_eq!(status["details"]["kind"], json!("Widget"));
    }
}

async fn messages_read_as_in_kubernetes(c: Context) {
    let name = c.name("a");
    for (spec, message) in [
        (json!({}), "spec.size: Required value"),
        (
            json!({ "size": 0 }),
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            json!({ "size": 1, "note": "far too long for a note" }),
            "spec.note: Too long: may not be more than 10 bytes",
        ),
        (
            json!({ "size": 1, "parts": [{ "name": "a" }, { "name": "b" }, { "name": "c" }, { "name": "d" }, { "name": "e" }] }),
            "spec.parts: Too many: 5: must have at most 4 items",
        ),
        (
            json!({ "size": 1, "color": "Pink" }),
            "spec.color: Unsupported value: \"Pink\": supported values: \"Red\", \"Green\", \"Black\"",
        ),
    ] {
        let (_, status) = send(&c, "a", spec.clone()).await;
        let full = format!("Widget.conformance.bricklayer.dev \"{name}\" is invalid: {message}");
        // Kubernetes adds a note about rules that it did not run; what it says first is the same.
        let got = status["message"].as_str().unwrap_or_default().replace("is invalid: [", "is invalid: ");
        assert!(got.starts_with(&full), "{spec}:\n  {got}\n  {full}");
    }
}

async fn several_faults_at_once(c: Context) {
    let (code, status) = send(&c, "a", json!({ "size": 0, "color": "Pink" })).await;
    assert_eq!(code, 422);
    let fields: Vec<String> = causes(&status).into_iter().map(|(field, _)| field).collect();
    assert!(
        fields.contains(&"spec.color".to_owned()) && fields.contains(&"spec.size".to_owned()),
        "{fields:?}"
    );
}

async fn numbers_that_do_not_fit_their_format(c: Context) {
    let (code, status) = send(&c, "a", json!({ "size": 1, "small": 3_000_000_000_u64 })).await;
    assert_eq!(code, 422, "{status}");
    assert!(status["message"].as_str().unwrap().contains("spec.small"), "{status}");
}

async fn a_missing_spec(c: Context) {
    let body = json!({
        "apiVersion": "conformance.bricklayer.dev/v1", "kind": "Widget", "metadata": { "name": c.name("a") },
    });
    let (code, status) = c.raw("POST", &widget_path(""), "application/json", body.to_string()).await;
    assert_eq!(code, 422, "{status}");
    assert!(causes(&status).contains(&("spec".to_owned(), "FieldValueRequired".to_owned())), "{status}");
}

async fn rules_on_create(c: Context) {
    let widget = c.widget("a", json!({ "size": 100, "color": "Black" }));
    let status = invalid(c.widgets().create(&PostParams::default(), &widget).await, &["spec"]);
    assert!(status.message.contains("a black widget is smaller than 100"), "{}", status.message);
    let widget = c.widget("a", json!({ "size": 99, "color": "Black" }));
    let made = c.widgets().create(&PostParams::default(), &widget).await.unwrap();
    c.remove(&made).await;
}

async fn transition_rules(c: Context) {
    let made = c.made_with("a", json!({ "size": 10 })).await;
    let name = made.name_any();
    let shrink = json!({ "spec": { "size": 9 } });
    let status = invalid(
        c.widgets().patch(&name, &PatchParams::default(), &Patch::Merge(&shrink)).await,
        &["spec.size"],
    );
    assert!(status.message.contains("size cannot shrink"), "{}", status.message);
    let mut new = made.clone();
    new.spec.size = 2;
    invalid(c.widgets().replace(&name, &PostParams::default(), &new).await, &["spec.size"]);
    new.spec.size = 11;
    let grown = c.widgets().replace(&name, &PostParams::default(), &new).await.unwrap();
    assert_eq!(grown.spec.size, 11);
    c.remove(&made).await;
}

async fn rules_below_lists(c: Context) {
    let widget = c.widget("a", json!({ "size": 1, "parts": [{ "name": "a" }, { "name": "cursed" }] }));
    let status = invalid(c.widgets().create(&PostParams::default(), &widget).await, &["spec.parts[1].name"]);
    assert!(status.message.contains("no cursed parts"), "{}", status.message);
}

async fn names_labels_and_annotations(c: Context) {
    for (metadata, field) in [
        (json!({ "name": "Upper" }), "metadata.name"),
        (json!({ "name": "under_score" }), "metadata.name"),
        (json!({ "name": "-dash" }), "metadata.name"),
        (json!({ "name": "x".repeat(254) }), "metadata.name"),
        (json!({ "name": "a", "labels": { "bad key": "v" } }), "metadata.labels"),
        (json!({ "name": "a", "labels": { "k": "no spaces" } }), "metadata.labels"),
        (json!({ "name": "a", "labels": { "k": "v".repeat(64) } }), "metadata.labels"),
        (json!({ "name": "a", "labels": { "/k": "v" } }), "metadata.labels"),
        (json!({ "name": "a", "annotations": { "bad key": "v" } }), "metadata.annotations"),
        (json!({ "name": "a", "annotations": { "big": "x".repeat(300_000) } }), "metadata.annotations"),
    ] {
        let body = json!({
            "apiVersion": "conformance.bricklayer.dev/v1", "kind": "Widget", "metadata": metadata, "spec": { "size": 1 },
        });
        let (code, status) = c.raw("POST", &widget_path(""), "application/json", body.to_string()).await;
        assert_eq!(code, 422, "{status}");
        let fields: Vec<String> = causes(&status).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, [field], "{}", status["message"]);
    }
}

async fn owners_and_finalizers(c: Context) {
    let owner = |uid: &str, controller: bool| json!({ "apiVersion": "v1", "kind": "Thing", "name": "n", "uid": uid, "controller": controller });
    for (part, value, field) in [
        ("ownerReferences", json!([owner("", false)]), "metadata.ownerReferences.uid"),
        ("ownerReferences", json!([owner("a", true), owner("b", true)]), "metadata.ownerReferences"),
        ("finalizers", json!(["not a name"]), "metadata.finalizers"),
    ] {
        let body = json!({
            "apiVersion": "conformance.bricklayer.dev/v1", "kind": "Widget",
            "metadata": { "name": c.name("a"), part: value }, "spec": { "size": 1 },
        });
        let (code, status) = c.raw("POST", &widget_path(""), "application/json", body.to_string()).await;
        assert_eq!(code, 422, "{status}");
        let fields: Vec<String> = causes(&status).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, [field], "{}", status["message"]);
    }
}

async fn metadata_of_the_wrong_type(c: Context) {
    let made = c.made("a").await;
    let patch = json!({ "metadata": { "labels": { "k": 7 } } });
    let status =
        refusal(c.widgets().patch(&made.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await);
    assert!(status.code == 400 || status.code == 422, "{status:?}");
    let body = json!({
        "apiVersion": "conformance.bricklayer.dev/v1", "kind": "Widget",
        "metadata": { "name": c.name("b"), "labels": ["k"] }, "spec": { "size": 1 },
    });
    let (code, status) = c.raw("POST", &widget_path(""), "application/json", body.to_string()).await;
    assert_eq!(code, 400, "{status}");
    c.remove(&made).await;
}
