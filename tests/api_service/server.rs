//! The two servers.

use std::path::Path;
use std::time::Duration;

use bricklayer::store::embedded::{Embedded, Options};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{conditions, wait::await_condition};
use kube::{Client, Config, CustomResourceExt as _, ResourceExt as _};
use serde_json::json;

use crate::harness::{Case, run};
use crate::widget::Widget;

/// Runs all cases on an embedded service with a database of its own. Returns how many failed.
pub async fn on_embedded(cases: &[Case]) -> usize {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options::new(directory.path().join("objects.redb"));
    let store = Embedded::open(options, vec![Widget::crd()]).expect("the store opens");
    let failed = run("embedded service", &store.client(), cases).await;
    store.shutdown().await;
    failed
}

/// Runs the cases that hold for Kubernetes on the server of `kubeconfig`. Returns how many failed.
pub async fn on_real(cases: &[Case], kubeconfig: &Path) -> usize {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default(); // set already: fine
    let read = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    let mut config = config.expect("a usable kubeconfig");
    config.default_retry = false; // a refusal is to be seen, not to be hidden
    let client = Client::try_from(config).expect("a client");
    let version = client.apiserver_version().await.expect("the server answers");
    let cases: Vec<Case> = cases.iter().filter(|c| !c.embedded_only).copied().collect();

    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = Widget::crd_name();
    remove(&client).await; // left by a run that was ended
    let deadline = Duration::from_secs(60);
    definitions.create(&PostParams::default(), &Widget::crd()).await.expect("the definition is taken");
    let established = await_condition(definitions.clone(), name, conditions::is_crd_established());
    tokio::time::timeout(deadline, established).await.expect("in time").expect("it is served");

    let server = format!("kube-apiserver {}", version.git_version);
    let failed = run(&server, &client, &cases).await;
    remove(&client).await;
    failed
}

/// Removes the definition and all widgets. A failed case leaves widgets with finalizers, and those would
/// hold the definition for ever.
async fn remove(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let widgets: Api<Widget> = Api::all(client.clone());
    let name = Widget::crd_name();
    let release = json!({ "metadata": { "finalizers": null } });
    let gone = async {
        while definitions.get_opt(name).await.expect("an answer").is_some() {
            let _ = definitions.delete(name, &DeleteParams::default()).await; // or it is going already
            for widget in widgets.list(&ListParams::default()).await.into_iter().flatten() {
                let patch = Patch::Merge(&release);
                let _ = widgets.patch(&widget.name_any(), &PatchParams::default(), &patch).await; // or gone
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the definition goes away");
}
