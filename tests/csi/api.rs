//! What the node asks a Kubernetes API for, and what it makes of the answers: a server on loopback gives them.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tonic::Code;

use crate::caller::runtime;
use crate::{Machine, SERVERS, World, refused};

type Asked = Arc<Mutex<Vec<String>>>;

/// A cluster with one volume, of which it is asked by name.
async fn answer(Path(name): Path<String>, State(asked): State<Asked>) -> Response {
    asked.lock().push(name.clone());
    let refusal = |code: u16, details: Value| {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no",
            "reason": "no", "code": code, "details": details});
        (StatusCode::from_u16(code).unwrap(), Json(status)).into_response()
    };
    match name.as_str() {
        "pvc-there" | "pvc-pending" => {
            let status = if name == "pvc-there" {
                json!({"volumeName": "vol_of_status", "mount": {"servers": [SERVERS[2], SERVERS[0]]}})
            } else {
                json!({})
            };
            Json(json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterVolume",
                "metadata": {"name": name}, "spec": {"size": "1Gi"}, "status": status}))
            .into_response()
        }
        "pvc-gone" => {
            refusal(404, json!({"name": name, "group": "bricklayer.dev", "kind": "glustervolumes"}))
        }
        "pvc-no-kinds" => refusal(404, json!({})),
        _ => refusal(403, json!({"name": name})),
    }
}

pub fn asked_first(world: &World) {
    let (asked, serving) = (Asked::default(), runtime());
    let listener = serving.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let route = "/apis/bricklayer.dev/v1alpha1/glustervolumes/{name}";
    let router = axum::Router::new().route(route, axum::routing::get(answer)).with_state(asked.clone());
    let server = serving.spawn(async move { axum::serve(listener, router).await });
    let folder = world.folder.join("api");
    std::fs::create_dir_all(folder.join("fake")).unwrap();
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": format!("http://{address}")}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "users": [{"name": "x", "user": {}}]});
    std::fs::write(folder.join("kubeconfig"), config.to_string()).unwrap();
    let machine = Machine::start(folder);
    let caller = &machine.caller;

    // The status is the truth, whatever the PersistentVolume says.
    let there = machine.volume("there");
    there.stage(caller).unwrap();
    let call = machine.calls().pop().unwrap();
    assert!(call.starts_with(&format!("{}:/vol_of_status ", SERVERS[2])), "{call}");
    assert!(call.contains(&format!("backup-volfile-servers={}", SERVERS[0])), "{call}");
    there.unstage(caller).unwrap();
    assert_eq!(refused(machine.volume("gone").stage(caller), "no GlusterVolume pvc-gone"), Code::NotFound);
    assert_eq!(refused(machine.volume("pending").stage(caller), "not served yet"), Code::Unavailable);
    let mut odd = machine.volume("there");
    odd.handle = "../secrets/x".into();
    assert_eq!(refused(odd.stage(caller), "no GlusterVolume"), Code::NotFound);
    // No right to ask, or a cluster that has no such kind: the PersistentVolume is believed.
    for name in ["forbidden", "no-kinds"] {
        let volume = machine.volume(name);
        volume.stage(caller).unwrap();
        let call = machine.calls().pop().unwrap();
        assert!(call.starts_with(&format!("{}:/vol_{name} ", SERVERS[0])), "{call}");
        volume.unstage(caller).unwrap();
        let mut nothing = machine.volume(name);
        nothing.context.clear();
        assert_eq!(refused(nothing.stage(caller), "the API does not say"), Code::InvalidArgument);
    }
    assert!(asked.lock().iter().all(|name| name.starts_with("pvc-")), "{:?}", asked.lock());

    // And so it is when nobody answers.
    server.abort();
    serving.shutdown_background();
    let volume = machine.volume("there");
    let begun = std::time::Instant::now();
    volume.stage(caller).unwrap();
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert!(machine.calls().pop().unwrap().starts_with(&format!("{}:/vol_there ", SERVERS[0])));
    volume.unstage(caller).unwrap();
    machine.clean();
}
