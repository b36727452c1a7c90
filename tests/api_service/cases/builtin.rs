//! Leases, events, secrets, config maps, namespaces.

use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event as CoreEvent, Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cases;
use crate::harness::{Case, Context, invalid, refused, version};

pub fn cases() -> Vec<Case> {
    let mut cases = cases![
        leases,
        leases_are_compared_and_swapped,
        leases_are_checked,
        secrets_take_plain_text,
        secrets_have_a_lasting_type,
        immutable_config_maps,
        config_map_keys,
        bad_base64,
        events_are_one_under_two_names,
        events_about_elsewhere,
        namespaces_can_be_read,
        unknown_namespaces,
        all_namespaces_at_once,
        the_same_name_in_two_namespaces,
        typed_kinds_are_pruned,
    ];
    cases.extend(cases![embedded only: namespaces_are_a_fixed_set, a_put_never_creates]);
    cases
}

fn lease(c: &Context, what: &str, spec: serde_json::Value) -> Lease {
    let object = json!({ "metadata": { "name": c.name(what), "labels": { "case": c.tag } }, "spec": spec });
    serde_json::from_value(object).unwrap()
}

fn secrets(c: &Context) -> Api<Secret> {
    Api::namespaced(c.client.clone(), "default")
}

fn configs(c: &Context) -> Api<ConfigMap> {
    Api::namespaced(c.client.clone(), "default")
}

async fn leases(c: Context) {
    let api: Api<Lease> = Api::namespaced(c.client.clone(), "default");
    let wanted = lease(&c, "a", json!({ "holderIdentity": "me", "leaseDurationSeconds": 15 }));
    let made = api.create(&PostParams::default(), &wanted).await.unwrap();
    assert_eq!(made.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(made.metadata.generation, None);
    assert_eq!(made.spec.as_ref().unwrap().holder_identity.as_deref(), Some("me"));
    let mut new = made.clone();
    new.spec.as_mut().unwrap().renew_time =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(k8s_openapi::jiff::Timestamp::now()));
    let renewed = api.replace(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    assert!(version(&renewed) > version(&made));
    api.delete(&made.name_any(), &DeleteParams::default()).await.unwrap();
}

async fn leases_are_compared_and_swapped(c: Context) {
    let api: Api<Lease> = Api::namespaced(c.client.clone(), "default");
    let wanted = lease(&c, "a", json!({ "holderIdentity": "me" }));
    let made = api.create(&PostParams::default(), &wanted).await.unwrap();
    let mut new = made.clone();
    new.spec.as_mut().unwrap().holder_identity = Some("you".to_owned());
    api.replace(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    new.spec.as_mut().unwrap().holder_identity = Some("them".to_owned());
    refused(api.replace(&made.name_any(), &PostParams::default(), &new).await, 409, "Conflict");
    new.metadata.resource_version = None;
    invalid(api.replace(&made.name_any(), &PostParams::default(), &new).await, &["metadata.resourceVersion"]);
    api.delete(&made.name_any(), &DeleteParams::default()).await.unwrap();
}

async fn leases_are_checked(c: Context) {
    let api: Api<Lease> = Api::namespaced(c.client.clone(), "default");
    let wrong = lease(&c, "a", json!({ "holderIdentity": "me", "leaseDurationSeconds": 0 }));
    invalid(api.create(&PostParams::default(), &wrong).await, &["spec.leaseDurationSeconds"]);
}

async fn secrets_take_plain_text(c: Context) {
    let secret = Secret {
        metadata: kube::core::ObjectMeta { name: Some(c.name("a")), ..Default::default() },
        data: Some([("kept".to_owned(), ByteString(b"x".to_vec()))].into()),
        string_data: Some([("plain".to_owned(), "secret".to_owned())].into()),
        ..Secret::default()
    };
    let made = secrets(&c).create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(made.type_.as_deref(), Some("Opaque"));
    assert_eq!(made.string_data, None);
    let data = made.data.clone().unwrap();
    assert_eq!(data["plain"], ByteString(b"secret".to_vec()));
    assert_eq!(data["kept"], ByteString(b"x".to_vec()));
    let patch = json!({ "stringData": { "plain": "changed" } });
    let after =
        secrets(&c).patch(&made.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(after.data.unwrap()["plain"], ByteString(b"changed".to_vec()));
    secrets(&c).delete(&made.name_any(), &DeleteParams::default()).await.unwrap();
}

async fn secrets_have_a_lasting_type(c: Context) {
    let object = json!({ "metadata": { "name": c.name("a") }, "type": "conformance/x" });
    let secret: Secret = serde_json::from_value(object).unwrap();
    let made = secrets(&c).create(&PostParams::default(), &secret).await.unwrap();
    let mut new = made.clone();
    new.type_ = Some("conformance/y".to_owned());
    invalid(secrets(&c).replace(&made.name_any(), &PostParams::default(), &new).await, &["type"]);
    secrets(&c).delete(&made.name_any(), &DeleteParams::default()).await.unwrap();
}

async fn immutable_config_maps(c: Context) {
    let object = json!({ "metadata": { "name": c.name("a") }, "data": { "k": "v" } });
    let map: ConfigMap = serde_json::from_value(object).unwrap();
    let made = configs(&c).create(&PostParams::default(), &map).await.unwrap();
    let mut new = made.clone();
    new.metadata.resource_version = None; // config maps may be replaced blindly
    new.data = Some([("k".to_owned(), "w".to_owned())].into());
    new.immutable = Some(true);
    let fixed = configs(&c).replace(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    let mut again = fixed.clone();
    again.data = None;
    invalid(configs(&c).replace(&made.name_any(), &PostParams::default(), &again).await, &["data"]);
    configs(&c).delete(&made.name_any(), &DeleteParams::default()).await.unwrap();
}

async fn config_map_keys(c: Context) {
    let object = json!({ "metadata": { "name": c.name("a") }, "data": { "bad key": "v" } });
    let map: ConfigMap = serde_json::from_value(object).unwrap();
    invalid(configs(&c).create(&PostParams::default(), &map).await, &["data[bad key]"]);
}

async fn bad_base64(c: Context) {
    let body = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": c.name("a") }, "data": { "k": "!!!" },
    });
    let path = "/api/v1/namespaces/default/secrets";
    let (code, status) = c.raw("POST", path, "application/json", body.to_string()).await;
    assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")), "{status}");
}

async fn events_are_one_under_two_names(c: Context) {
    let new: Api<Event> = Api::namespaced(c.client.clone(), "default");
    let old: Api<CoreEvent> = Api::namespaced(c.client.clone(), "default");
    let object = json!({
        "metadata": { "name": c.name("a"), "labels": { "case": c.tag } },
        "eventTime": "2026-01-02T03:04:05.000006Z", "type": "Normal", "reason": "Tested", "action": "Testing",
        "note": "it works", "reportingController": "conformance.bricklayer.dev/tests", "reportingInstance": "one",
        "regarding": { "apiVersion": "conformance.bricklayer.dev/v1", "kind": "Widget", "name": c.name("w"), "uid": "u" },
    });
    let event: Event = serde_json::from_value(object).unwrap();
    new.create(&PostParams::default(), &event).await.unwrap();
    let core = old.get(&c.name("a")).await.unwrap();
    assert_eq!(core.message.as_deref(), Some("it works"));
    assert_eq!(core.involved_object.name.as_deref(), Some(&*c.name("w")));
    assert_eq!(core.reporting_component.as_deref(), Some("conformance.bricklayer.dev/tests"));
    let about = format!("involvedObject.name={}", c.name("w"));
    assert_eq!(old.list(&ListParams::default().fields(&about)).await.unwrap().items.len(), 1);
    let patch = json!({ "series": { "count": 2, "lastObservedTime": "2026-01-02T03:05:05.000006Z" } });
    let after = new.patch(&c.name("a"), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(after.series.unwrap().count, 2);
    let patch = json!({ "message": "changed" });
    old.patch(&c.name("a"), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(new.get(&c.name("a")).await.unwrap().note.as_deref(), Some("changed"));
    old.delete(&c.name("a"), &DeleteParams::default()).await.unwrap();
    assert!(new.get_opt(&c.name("a")).await.unwrap().is_none());
}

async fn events_about_elsewhere(c: Context) {
    let api: Api<CoreEvent> = Api::namespaced(c.client.clone(), "default");
    let object = json!({
        "metadata": { "name": c.name("a") },
        "involvedObject": { "kind": "Pod", "name": "p", "namespace": "elsewhere" },
    });
    let event: CoreEvent = serde_json::from_value(object).unwrap();
    invalid(api.create(&PostParams::default(), &event).await, &["involvedObject.namespace"]);
}

async fn namespaces_can_be_read(c: Context) {
    let api: Api<Namespace> = Api::all(c.client.clone());
    let read = api.get("default").await.unwrap();
    assert_eq!(read.status.unwrap().phase.as_deref(), Some("Active"));
    assert_eq!(read.metadata.labels.unwrap()["kubernetes.io/metadata.name"], "default");
    assert!(api.list(&ListParams::default()).await.unwrap().items.iter().any(|n| n.name_any() == "default"));
}

async fn unknown_namespaces(c: Context) {
    let api: Api<ConfigMap> = Api::namespaced(c.client.clone(), "no-such-place");
    let object = json!({ "metadata": { "name": c.name("a") } });
    let map: ConfigMap = serde_json::from_value(object).unwrap();
    let status = refused(api.create(&PostParams::default(), &map).await, 404, "NotFound");
    assert_eq!(status.message, "namespaces \"no-such-place\" not found");
    refused(api.get("x").await, 404, "NotFound");
    assert!(api.list(&ListParams::default()).await.unwrap().items.is_empty());
}

async fn all_namespaces_at_once(c: Context) {
    let api: Api<Lease> = Api::namespaced(c.client.clone(), "default");
    let wanted = lease(&c, "a", json!({}));
    api.create(&PostParams::default(), &wanted).await.unwrap();
    let all: Api<Lease> = Api::all(c.client.clone());
    let list = all.list(&ListParams::default().labels(&c.label())).await.unwrap();
    assert_eq!(list.items.len(), 1);
    let list = all
        .list(&ListParams::default().labels(&c.label()).fields("metadata.namespace=default"))
        .await
        .unwrap();
    assert_eq!(list.items.len(), 1);
    let list = all
        .list(&ListParams::default().labels(&c.label()).fields("metadata.namespace!=default"))
        .await
        .unwrap();
    assert!(list.items.is_empty());
    api.delete(&c.name("a"), &DeleteParams::default()).await.unwrap();
}

async fn the_same_name_in_two_namespaces(c: Context) {
    let second = c.second_namespace().await;
    let here = lease(&c, "a", json!({ "holderIdentity": "here" }));
    let there = lease(&c, "a", json!({ "holderIdentity": "there" }));
    let in_default: Api<Lease> = Api::namespaced(c.client.clone(), "default");
    let in_second: Api<Lease> = Api::namespaced(c.client.clone(), &second);
    in_default.create(&PostParams::default(), &here).await.unwrap();
    in_second.create(&PostParams::default(), &there).await.unwrap();
    let list = in_second.list(&ListParams::default().labels(&c.label())).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].spec.as_ref().unwrap().holder_identity.as_deref(), Some("there"));
    in_default.delete(&c.name("a"), &DeleteParams::default()).await.unwrap();
    in_second.delete(&c.name("a"), &DeleteParams::default()).await.unwrap();
}

async fn typed_kinds_are_pruned(c: Context) {
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": c.name("a") }, "data": { "k": "v" },
        "invented": { "x": 1 },
    });
    let path = "/api/v1/namespaces/default/configmaps";
    let (code, made) = c.raw("POST", path, "application/json", body.to_string()).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!((&made["data"]["k"], made.get("invented")), (&json!("v"), None));
    configs(&c).delete(&c.name("a"), &DeleteParams::default()).await.unwrap();
}

async fn namespaces_are_a_fixed_set(c: Context) {
    let api: Api<Namespace> = Api::all(c.client.clone());
    let object = json!({ "metadata": { "name": c.name("a") } });
    let namespace: Namespace = serde_json::from_value(object).unwrap();
    refused(api.create(&PostParams::default(), &namespace).await, 403, "Forbidden");
    refused(api.delete("default", &DeleteParams::default()).await, 403, "Forbidden");
}

/// Kubernetes creates leases and events by PUT; here create is create.
async fn a_put_never_creates(c: Context) {
    let api: Api<Lease> = Api::namespaced(c.client.clone(), "default");
    let none = lease(&c, "none", json!({}));
    refused(api.replace(&c.name("none"), &PostParams::default(), &none).await, 404, "NotFound");
}
