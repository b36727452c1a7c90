//! What the conformance suite cannot see from outside: restarts, faults, the edges of the window, and random
//! histories against a model.

mod faults;
mod model;
mod restart;
mod window;

use http_body_util::BodyExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use tower::Service as _;

use super::{Body, Embedded, Options};

/// Where the things of these tests live.
const THINGS: &str = "/apis/test.example/v1/things";

/// A definition of `Thing`, whose spec has these properties besides `size`.
fn things(properties: Value) -> CustomResourceDefinition {
    let mut spec = json!({
        "type": "object", "required": ["size"],
        "properties": { "size": { "type": "integer", "minimum": 0 } },
    });
    for (name, schema) in properties.as_object().into_iter().flatten() {
        spec["properties"][name] = schema.clone();
    }
    let status = json!({ "type": "object", "properties": { "phase": { "type": "string" } } });
    serde_json::from_value(json!({
        "metadata": { "name": "things.test.example" },
        "spec": {
            "group": "test.example", "scope": "Cluster",
            "names": { "kind": "Thing", "plural": "things" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "required": ["spec"],
                    "properties": { "spec": spec, "status": status } } },
            }],
        },
    }))
    .unwrap()
}

fn thing(name: &str, size: i64) -> Value {
    json!({ "apiVersion": "test.example/v1", "kind": "Thing", "metadata": { "name": name }, "spec": { "size": size } })
}

/// A store in a directory of its own.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    fn options(&self) -> Options {
        Options::new(self.directory.path().join("objects.redb"))
    }

    fn open(&self) -> Embedded {
        Embedded::open(self.options(), vec![things(json!({}))]).unwrap()
    }
}

/// Sends a request, and returns code and body.
async fn send(store: &Embedded, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let form = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    send_as(store, method, path, form, body).await
}

async fn send_as(
    store: &Embedded,
    method: &str,
    path: &str,
    form: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let response = request(store, method, path, form, body).await;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap())
}

async fn request(
    store: &Embedded,
    method: &str,
    path: &str,
    form: &str,
    body: Option<&Value>,
) -> http::Response<Body> {
    let bytes = body.map(Value::to_string).unwrap_or_default();
    let request = http::Request::builder().method(method).uri(path).header("content-type", form);
    let request = request.body(http_body_util::Full::new(bytes::Bytes::from(bytes))).unwrap();
    store.service().call(request).await.unwrap()
}

/// Opens a watch and reads it to its end, line by line. Give it a short `timeoutSeconds`, or shut down.
async fn watch(store: &Embedded, path: &str) -> Vec<Value> {
    let response = request(store, "GET", path, "application/json", None).await;
    assert_eq!(response.status(), 200);
    lines(response.into_body()).await
}

async fn lines(body: Body) -> Vec<Value> {
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}
