//! The main job on real parts: a real API server, real LVM, XFS and glusterd on three nodes, a real
//! FUSE mount. Needs root; `make test-real` sets it up and runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario fails by panicking")]

#[path = "../fixture/mod.rs"]
mod fixture;

mod access;
mod bricks;
#[path = "../csi/caller.rs"]
mod caller;
mod cgroup;
mod claims;
mod clients;
mod elsewhere;
mod expansion;
mod replacement;
mod rest;
mod sanity;
mod scopes;
#[path = "../csi/specs.rs"]
mod specs;

use std::process::ExitCode;

use fixture::Lab;

fn main() -> ExitCode {
    if let Some(code) = elsewhere::continued() {
        return code;
    }
    let lab = Lab::start(3);
    // Eight minutes, and it needs nothing of the others: by itself, when it is asked for by its name, so that
    // `make test-real` can run it beside them.
    let sanity = ("csi-sanity passes", sanity::passes as fn(&Lab));
    if std::env::args().any(|word| word == "csi-sanity") {
        return fixture::scenarios(&lab, &[sanity]);
    }
    println!("{}: by itself, when its name is given", sanity.0);
    let code = fixture::scenarios(
        &lab,
        &[
            ("a claim becomes bytes on disks and goes again", claims::claim_to_bytes),
            ("only nodes of the cluster mount a volume", access::nodes_only),
            ("the same over REST with the embedded store", rest::volume_to_bytes),
            ("volumes of every durability", rest::every_durability),
            ("killed at three points of a create", rest::killed_while_creating),
            ("killed at three points of a delete", rest::killed_while_deleting),
            ("a mounted volume grows", expansion::grows_under_a_client),
            ("killed at three points of an expand", expansion::killed_while_expanding),
            ("a device is removed under a writer", replacement::device_removed_under_a_writer),
            (
                "a device of a dispersed volume is removed under a writer",
                replacement::dispersed_device_removed_under_a_writer,
            ),
            ("clients outlive the plugin", clients::outlive_the_plugin),
            ("clients outlive the plugin: cgroups of the second version", elsewhere::second_version),
            ("clients outlive the plugin: in scopes of systemd", scopes::outlive_the_plugin),
            ("clients that die are replaced", clients::are_replaced),
            ("clients that die are replaced: by a kernel before 6.5", elsewhere::old_kernel),
            ("clients that lose all bricks are kept", bricks::all_lost),
            ("clients start with servers down", clients::start_with_servers_down),
            ("a node restarts under a mounted volume", rest::node_restarts),
            ("a node is down", rest::node_is_down),
            ("a dead node is given up", replacement::dead_node_given_up),
        ],
    );
    drop(lab);
    code
}
