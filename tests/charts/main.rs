//! The charts: what they render, what they refuse, and what becomes of them on a real API server. There
//! is no kubelet, so the Deployment's pods do not start; where the operator has to work, the binary runs
//! with the token of the service account that the chart made.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario fails by panicking")]

#[path = "../fixture/mod.rs"]
mod fixture;

mod life;
mod policies;
mod rendered;
mod values;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output, Stdio};

use fixture::{ControlPlane, run, tree};
use serde::Deserialize as _;
use serde_json::Value;

/// The namespace of every release here.
const NAMESPACE: &str = "bricklayer-system";

/// A control plane, and a folder for what tests write.
struct World {
    cluster: ControlPlane,
    folder: tempfile::TempDir,
}

fn main() -> ExitCode {
    let world = World { cluster: ControlPlane::start(None), folder: tempfile::tempdir().unwrap() };
    // The level that the operator's pods have to pass, enforced.
    world.cluster.run(&["create", "namespace", NAMESPACE]);
    let label = "pod-security.kubernetes.io/enforce=restricted";
    world.cluster.run(&["label", "namespace", NAMESPACE, label]);
    fixture::scenarios(
        &world,
        &[
            ("what is generated is fresh", rendered::fresh),
            ("both charts pass lint with default values and with every option", rendered::lint),
            ("the notes name the next steps and warn", rendered::notes),
            ("the binary knows the words of its pods", rendered::arguments),
            ("the node plugin has the privileges that its page explains", rendered::privileges),
            ("alerts ask for figures that exist", rendered::alerts),
            ("the schema is closed everywhere", values::closed),
            ("bad values are refused with their key", values::refused),
            ("class parameters are the same everywhere", values::class_parameters),
            ("a real API server takes everything", rendered::dry_run),
            ("install, upgrade with a changed kind, uninstall, install again", life::whole),
            ("secrets of the REST API outlive upgrades", life::secrets),
            ("the policies refuse what hurts, and let the operator work", policies::hold),
        ],
    )
}

impl World {
    /// helm against the control plane.
    fn helm(&self, words: &[&str]) -> std::process::Command {
        let mut helm = fixture::helm(&self.folder.path().join("helm"), words);
        helm.env("KUBECONFIG", self.cluster.admin()).env("HELM_NAMESPACE", NAMESPACE);
        helm
    }

    /// Runs helm and insists that it went well.
    fn helm_run(&self, words: &[&str]) -> String {
        run(&mut self.helm(words))
    }

    /// Runs helm and gives back whatever came of it.
    fn helm_try(&self, words: &[&str]) -> Output {
        self.helm(words).stdin(Stdio::null()).output().unwrap()
    }

    /// A file of this test.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// What `kubectl apply` says to an object that it is to refuse.
    fn refused(&self, object: &Value) -> String {
        let path = self.file("refused.json", &object.to_string());
        self.denied(&["apply", "-f", text(&path)])
    }

    /// What kubectl says when it is to be refused.
    fn denied(&self, words: &[&str]) -> String {
        let output = self.cluster.try_run(words);
        assert!(!output.status.success(), "{words:?} went well");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// A chart of ours.
fn chart(name: &str) -> String {
    text(&tree().join("charts").join(name)).to_owned()
}

/// Values with every option switched on.
fn everything() -> String {
    text(&tree().join("tests/charts/everything.yaml")).to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The objects of a YAML stream.
fn objects(stream: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(stream).map(|one| Value::deserialize(one).unwrap());
    documents.filter(|object| !object.is_null()).collect()
}
