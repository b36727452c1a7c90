//! A whole cluster: a control plane, a node that runs pods from our own images, and real storage
//! nodes beside it. Users' commands only: helm, kubectl, and the clients of the REST API. Needs root;
//! `make test-real` sets it up and runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario fails by panicking")]

#[path = "../fixture/mod.rs"]
mod fixture;

mod failover;
mod install;
mod mounts;
mod pod_exec;
mod rest;
mod world;

use std::process::ExitCode;

use world::World;

fn main() -> ExitCode {
    let world = World::start();
    fixture::scenarios(
        &world,
        &[
            ("the README's path, word for word, done by our pods", install::readme),
            ("a claim mounted by pods", mounts::claim_in_pods),
            ("podExec runs, fails, times out and loses its stream against a real pod", pod_exec::real_pod),
            ("podExec to a storage node whose GlusterFS runs in a pod", pod_exec::node_in_a_pod),
            ("a leader's pod is lost during thirty creates", failover::thirty_claims),
            ("the Python client through TLS with the Secret's keys", rest::python_client),
            ("upgrade, uninstall and a new install keep every object", install::keeps_objects),
        ],
    )
}
