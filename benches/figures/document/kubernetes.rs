//! Claims on a real control plane.

use std::fmt::Write as _;

use super::aim::{self, Aim, Limit};
use crate::figure::Figure;

/// The table, and what of it was aimed at.
pub fn section() -> String {
    let mut text = String::from(
        "## Claims on a real control plane\n
200 claims made at once on etcd, kube-apiserver and kube-controller-manager of this machine; ours places and stores a
volume for each (simulated nodes, replica 3), external-provisioner 6.3.0 has a driver behind it that makes nothing:
*tuned* with 100 requests a second and 200 in a burst, *default* with 5 and 10. The controller manager's own limit is
raised to 1000 requests a second: with its default it binds 4 claims a second for everybody. Best of three rounds, in
turns (default: one). *Bare* is a client that writes what a stored volume takes (made, placed, ready, and its
PersistentVolume), of the same size as ours, and does nothing else: no decision, no node, no event. Requests and writes are those of the provisioner alone, from the API server's audit log.

| | Bound/s | p50 ms | p99 ms | PV/s | p50 ms | p99 ms | deleted/s | requests a claim | writes a claim | writes a delete | CPU ms a claim, there and back | load | others |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
",
    );
    for (name, writes) in
        [("ours", "claim_writes"), ("tuned", "claim_writes_tuned"), ("default", "claim_writes_default")]
    {
        let figures = ["claims_bound_", "claims_pv_"].map(|figure| Figure::read(&format!("{figure}{name}")));
        let ([Some(bound), Some(volume)], Some(writes)) = (figures, Figure::read(writes)) else {
            writeln!(text, "| {name} | not measured | | | | | | | | | | | | |").unwrap();
            continue;
        };
        writeln!(
            text,
            "| {name} | **{}** | {} | {} | **{}** | {} | {} | {} | {} | **{}** | {} | {} | {} | {} |",
            bound.value,
            bound.p50,
            bound.p99,
            volume.value,
            volume.p50,
            volume.p99,
            bound.also("deletes_per_s"),
            bound.also("requests_per_claim"),
            writes.value,
            writes.also("deleting"),
            bound.also("cpu_ms_per_claim"),
            bound.load,
            bound.others
        )
        .unwrap();
    }
    if let (Some(bound), Some(volume)) = (Figure::read("claims_bound_bare"), Figure::read("claims_pv_bare")) {
        let Figure { value, p50, p99, load, .. } = &bound;
        let (volumes, of_50, of_99) = (volume.value, volume.p50, volume.p99);
        writeln!(
            text,
            "| bare | **{value}** | {p50} | {p99} | **{volumes}** | {of_50} | {of_99} | | | **4** | | | {load} | |"
        )
        .unwrap();
    }
    let memory = Figure::read("claims_memory").map_or("not measured".into(), |f| format!("{} MiB", f.value));
    writeln!(text, "\nMemory of ours with 1,000 bound claims, the simulated nodes included: **{memory}**.")
        .unwrap();
    if let Some(looks) = Figure::read("claim_writes").and_then(|writes| writes.number("looks")) {
        let looks = looks * 200.0;
        writeln!(
            text,
            "Beside the writes that are about claims, {looks} of what clusters, nodes and devices say now and then of \
             themselves fell into the best round of ours."
        )
        .unwrap();
    }
    writeln!(text, "\n{}", aim::table(&aims())).unwrap();
    text.push_str(
        "What limits all of them is the CPU of the API server and of the controller manager. Ours has a volume written three
times for each claim (made, placed, ready) beside what a PersistentVolume takes; the driver behind the others keeps
nothing. Events that all is well wait until claims are served, with both.
",
    );
    text.push_str(&room());
    text
}

/// How much of the tuned one's rate is possible for anybody who stores volumes, and how much of that is reached.
fn room() -> String {
    let rate = |name: &str| Some(Figure::read(&format!("claims_bound_{name}"))?.value);
    let (Some(ours), Some(tuned), Some(bare)) = (rate("ours"), rate("tuned"), rate("bare")) else {
        return String::new();
    };
    format!(
        "The bare client reaches {:.2} times the tuned one's rate: more is not possible here for anybody who stores each volume. \
         Ours reaches {:.2} of that.\n",
        bare / tuned,
        ours / bare
    )
}

fn aims() -> [Aim; 4] {
    let value = |name: &str| Figure::read(name).map(|f| f.value);
    let beside = |other: &str| Some(value("claims_bound_ours")? / value(&format!("claims_bound_{other}"))?);
    [
        Aim::new("Bound/s, times the tuned one's", Limit::AtLeast(1.0), beside("tuned")),
        Aim::new("Bound/s, times the default one's", Limit::AtLeast(5.0), beside("default")),
        Aim::new("writes a claim", Limit::AtMost(5.0), value("claim_writes")),
        Aim::new("MiB with 1,000 bound claims", Limit::AtMost(64.0), value("claims_memory")),
    ]
}
