//! A whole cluster: a control plane, a node that runs pods from our own images, and real storage
//! nodes beside it. Users' commands only: helm, kubectl, and the clients of the REST API. Needs root;
//! `make test-real` sets it up and runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario fails by panicking")]

#[path = "../fixture/mod.rs"]
mod fixture;

mod broken;
mod failover;
mod install;
mod node;
mod outlive;
mod pod_exec;
mod pods;
mod rest;
mod world;
mod writer;

use std::process::ExitCode;

use world::World;

fn main() -> ExitCode {
    let world = World::start();
    fixture::scenarios(
        &world,
        &[
            ("the README's path, word for word, done by our pods", install::readme),
            ("the node plugin is registered", pods::registered),
            ("a claim in pods: written, read by two at once, grown, gone", pods::claim_in_pods),
            ("a claim in pods: read-only, subPath, fsGroup", pods::ways_to_mount),
            ("a claim in pods: deleted while one uses it", pods::deleted_in_use),
            ("the plugin is lost under a writer", outlive::plugin_lost),
            ("the client's process is killed", outlive::client_killed),
            ("the client is killed while no server can be reached", outlive::killed_without_servers),
            ("a storage node is killed under a writer", outlive::storage_node_killed),
            ("kubelet and containerd start again and the operator is away", outlive::daemons_restarted),
            ("broken node: stale sockets", broken::stale_sockets),
            ("broken node: half-made staging directories", broken::half_staged),
            ("broken node: a full disk", broken::full_disk),
            ("broken node: no server can be reached", broken::no_servers),
            ("broken node: the first server is down", broken::first_server_down),
            ("podExec runs, fails, times out and loses its stream against a real pod", pod_exec::real_pod),
            ("podExec to a storage node whose GlusterFS runs in a pod", pod_exec::node_in_a_pod),
            ("a leader's pod is lost during thirty creates", failover::thirty_claims),
            ("the Python client through TLS with the Secret's keys", rest::python_client),
            ("upgrade, uninstall and a new install keep every object", install::keeps_objects),
        ],
    )
}
