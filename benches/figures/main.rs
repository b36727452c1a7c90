//! The figures of `docs/benchmarks.md`, measured from outside: the release binary is a process of its own, and
//! all is asked over REST. `tests/bench/run` starts this; the words say what to measure:
//!
//! - `simulated`: creates, reads, memory and cold start with simulated nodes, ours and the original's
//! - `real`: a volume on real nodes, by us and by hand (needs root)
//! - `pods`: from a claim to a pod that runs, on a whole cluster with real nodes (needs root)
//! - `allocation`: the allocator alone, how full a cluster gets and how long a decision takes
//! - `kubernetes`: claims on a real control plane, beside the real external-provisioner
//! - `document`: takes the figures of `target/bench` over into `benches/kept`, and writes the document from there

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement ends at its first surprise")]

#[path = "../../tests/fixture/mod.rs"]
mod fixture;

#[path = "../../tests/cluster/install.rs"]
#[allow(dead_code, reason = "of the scenarios only the way to a cluster is used")]
mod install;
#[path = "../../tests/cluster/node.rs"]
#[allow(dead_code, reason = "of the scenarios only the way to a cluster is used")]
mod node;
#[path = "../../tests/cluster/world.rs"]
#[allow(dead_code, reason = "of the scenarios only the way to a cluster is used")]
mod world;

#[path = "../../tests/allocation/fill.rs"]
mod fill;

mod allocation;
mod document;
mod figure;
mod http;
mod kubernetes;
mod machine;
mod pods;
mod real;
mod simulated;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // The part that has to run inside the network of the lab.
        ["create", url] => real::create_once(url),
        _ => {
            for word in &words {
                match word.as_str() {
                    "simulated" => simulated::measure(),
                    "allocation" => allocation::measure(),
                    "real" => real::measure(),
                    "pods" => pods::measure(),
                    "kubernetes" => kubernetes::measure(),
                    "document" => document::write(&words),
                    other => panic!("nothing is called {other}"),
                }
            }
        }
    }
}
