//! What is not served, and says so.

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::params::PropagationPolicy;
use serde_json::json;

use crate::cases;
use crate::harness::{Case, Context, refused, version, widget_path};
use kube::ResourceExt as _;

pub fn cases() -> Vec<Case> {
    let mut cases = cases![
        unknown_paths,
        no_status_where_there_is_none,
        methods_that_make_no_sense,
        bodies_that_are_no_json,
        bodies_of_unknown_form,
        answers_of_unknown_form,
        bodies_that_are_too_large,
        objects_that_are_too_large,
        broken_patches,
    ];
    cases.extend(cases![embedded only:
        apply_is_not_served,
        strategic_merge_is_not_served,
        deletecollection_is_not_served,
        dry_run_is_not_served,
        only_background_deletion_is_served,
        scale_and_exec_are_not_served,
        protobuf_is_not_served,
    ]);
    cases
}

async fn unknown_paths(c: Context) {
    for path in [
        "/apis/conformance.bricklayer.dev/v1/gadgets",
        "/apis/conformance.bricklayer.dev/v9/widgets",
        "/apis/nobody.example/v1/things",
        "/api/v1/namespaces/default/gadgets",
        "/apis/conformance.bricklayer.dev/v1/namespaces/default/widgets",
        "/nowhere",
        "/api/v7",
    ] {
        let (code, body) = c.raw("GET", path, "application/json", "").await;
        assert_eq!(code, 404, "{path} gave {body}");
    }
    let (code, status) =
        c.raw("GET", "/apis/conformance.bricklayer.dev/v9/widgets", "application/json", "").await;
    assert_eq!(code, 404, "{status}");
}

async fn no_status_where_there_is_none(c: Context) {
    let (code, _) =
        c.raw("GET", "/api/v1/namespaces/default/configmaps/x/status", "application/json", "").await;
    assert_eq!(code, 404);
}

async fn methods_that_make_no_sense(c: Context) {
    for (method, path) in [
        ("PUT", "/api/v1/namespaces/default/configmaps".to_owned()),
        ("POST", "/api/v1/namespaces/default/configmaps/x".to_owned()),
    ] {
        let (code, status) = c.raw(method, &path, "application/json", "{}").await;
        assert_eq!((code, &status["reason"]), (405, &json!("MethodNotAllowed")), "{method} {path}: {status}");
    }
}

async fn bodies_that_are_no_json(c: Context) {
    for body in ["", "{", "[]", "7", "{\"metadata\":7}"] {
        let (code, status) = c.raw("POST", &widget_path(""), "application/json", body).await;
        assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")), "{body}: {status}");
    }
}

async fn bodies_of_unknown_form(c: Context) {
    let (code, status) = c.raw("POST", &widget_path(""), "text/plain", "hello").await;
    assert_eq!((code, &status["reason"]), (415, &json!("UnsupportedMediaType")), "{status}");
    let made = c.made("a").await;
    let (code, status) = c.raw("PATCH", &widget_path(&made.name_any()), "application/json", "{}").await;
    assert_eq!((code, &status["reason"]), (415, &json!("UnsupportedMediaType")), "{status}");
    c.remove(&made).await;
}

async fn answers_of_unknown_form(c: Context) {
    let request = http::Request::get(widget_path("")).header("accept", "text/html").body(vec![]).unwrap();
    let (code, status) = c.send(request).await;
    assert_eq!((code, &status["reason"]), (406, &json!("NotAcceptable")), "{status}");
}

async fn bodies_that_are_too_large(c: Context) {
    let body = format!("{{\"metadata\":{{\"name\":\"{}\"}}}}", "x".repeat(4 * 1024 * 1024));
    let (code, status) = c.raw("POST", &widget_path(""), "application/json", body).await;
    assert_eq!((code, &status["reason"]), (413, &json!("RequestEntityTooLarge")), "{status}");
}

async fn objects_that_are_too_large(c: Context) {
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": c.name("a") },
        "data": { "k": "x".repeat(1_700_000) },
    });
    let path = "/api/v1/namespaces/default/configmaps";
    let (code, status) = c.raw("POST", path, "application/json", body.to_string()).await;
    assert!(code == 413 || code == 422, "{code} {status}");
}

async fn broken_patches(c: Context) {
    let made = c.made("a").await;
    let path = widget_path(&made.name_any());
    for (form, body) in [
        ("application/merge-patch+json", "{"),
        ("application/json-patch+json", "{}"),
        ("application/json-patch+json", "[{\"op\":\"replace\"}]"),
    ] {
        let (code, status) = c.raw("PATCH", &path, form, body).await;
        assert!(code == 400 || code == 422, "{form} {body}: {code} {status}");
    }
    assert_eq!(version(&c.widgets().get(&made.name_any()).await.unwrap()), version(&made));
    c.remove(&made).await;
}

async fn apply_is_not_served(c: Context) {
    let widget = c.widget("a", json!({ "size": 1 }));
    let params = PatchParams::apply("conformance");
    let result = c.widgets().patch(&c.name("a"), &params, &Patch::Apply(&widget)).await;
    let status = refused(result, 415, "UnsupportedMediaType");
    assert!(status.message.contains("application/merge-patch+json"), "{}", status.message);
}

async fn strategic_merge_is_not_served(c: Context) {
    let made = c.made("a").await;
    let patch = json!({ "spec": { "size": 2 } });
    let result =
        c.widgets().patch(&made.name_any(), &PatchParams::default(), &Patch::Strategic(&patch)).await;
    refused(result, 415, "UnsupportedMediaType");
    c.remove(&made).await;
}

async fn deletecollection_is_not_served(c: Context) {
    let result = c.widgets().delete_collection(&DeleteParams::default(), &ListParams::default()).await;
    refused(result.map(|_| ()), 405, "MethodNotAllowed");
}

async fn dry_run_is_not_served(c: Context) {
    let dry = PostParams { dry_run: true, ..Default::default() };
    refused(c.widgets().create(&dry, &c.widget("a", json!({ "size": 1 }))).await, 400, "BadRequest");
    let made = c.made("a").await;
    let dry = DeleteParams { dry_run: true, ..Default::default() };
    refused(c.widgets().delete(&made.name_any(), &dry).await, 400, "BadRequest");
    assert!(c.widgets().get_opt(&made.name_any()).await.unwrap().is_some());
    c.remove(&made).await;
}

async fn only_background_deletion_is_served(c: Context) {
    let made = c.made("a").await;
    let foreground =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..Default::default() };
    refused(c.widgets().delete(&made.name_any(), &foreground).await, 400, "BadRequest");
    c.widgets().delete(&made.name_any(), &DeleteParams::background()).await.unwrap();
}

async fn scale_and_exec_are_not_served(c: Context) {
    let made = c.made("a").await;
    let (code, _) =
        c.raw("GET", &format!("{}/scale", widget_path(&made.name_any())), "application/json", "").await;
    assert_eq!(code, 404);
    let (code, _) = c.raw("POST", "/api/v1/namespaces/default/pods/x/exec", "application/json", "").await;
    assert_eq!(code, 404);
    c.remove(&made).await;
}

/// `kubectl create secret generic` and its like send it; `kubectl apply -f` does not.
async fn protobuf_is_not_served(c: Context) {
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let path = "/api/v1/namespaces/default/configmaps";
    let (code, status) = c.raw("POST", path, PROTOBUF, "k8s").await;
    assert_eq!((code, &status["reason"]), (415, &json!("UnsupportedMediaType")), "{status}");
    let request = http::Request::get(path).header("accept", PROTOBUF).body(vec![]).unwrap();
    assert_eq!(c.send(request).await.0, 406);
    let both = format!("{PROTOBUF}, application/json");
    let request = http::Request::get(path).header("accept", both).body(vec![]).unwrap();
    assert_eq!(c.send(request).await.0, 200);
}
