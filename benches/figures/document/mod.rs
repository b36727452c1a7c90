//! `docs/benchmarks.md` from the figures in `benches/kept`, those of `target/bench` taken over first.

mod aim;
mod allocation;
mod kubernetes;
mod original;
mod real;
mod simulated;

use std::collections::BTreeSet;

use crate::figure::{self, Figure};
use crate::fixture::tree;
use crate::machine;

/// Writes the document, and prints what of it was measured now. Figures that were never measured are named as such.
pub fn write(measured: &[String]) {
    figure::take_over();
    let sections = [
        ("simulated", simulated::section()),
        ("allocation", allocation::section()),
        ("real", real::volume()),
        ("pods", real::pods()),
        ("kubernetes", kubernetes::section()),
    ];
    for (_, section) in sections.iter().filter(|(word, _)| measured.iter().any(|one| one == word)) {
        println!("\n{section}");
    }
    let sections = sections.map(|(_, section)| section).join("\n");
    let text = [head(), sections, how()].join("\n");
    let docs = tree().join("docs");
    std::fs::create_dir_all(&docs).unwrap();
    std::fs::write(docs.join("benchmarks.md"), text).unwrap();
}

fn head() -> String {
    format!(
        "# Benchmarks

Written by `make bench`. Beside our figures stand those of Heketi 10.3.0 for the same work. *day* says whether they were
measured on the same day as ours; those of {} are from 2 cores at a load of 1.5 to 3.4. *load* is the machine's load of
the last minute when the measurement began, the measurement before it included; *others* is how many processors were
busy meanwhile with something else than server and clients.
",
        original::DAY
    )
}

fn how() -> String {
    let dates: BTreeSet<String> = ["create_rate_c1_n0", "real_create", "claims_bound_ours"]
        .iter()
        .filter_map(|name| Figure::read(name))
        .map(|figure| figure.date)
        .collect();
    format!(
        "## How to run\n
`make bench` measures all of it, and needs root for the real nodes; `tests/bench/run simulated` needs none;
`make bench-kubernetes` measures the claims, `make bench-real` what needs real nodes. The program
is `benches/figures/main.rs`; it starts the release binary and asks it over loopback. Each figure is kept in
`target/bench`, one file of JSON each, and in `benches/kept`: what was not measured this time stays as it was. `VOLUMES=0,1000` and
`ROUNDS=1` make it shorter. `HEKETI_BINARY`, the path of Heketi's server, has that measured in the same run, at
`HEKETI_VOLUMES=0,1000,10000`. To 10,000 it is filled by copies of the volumes that it made, in what it exports and
imports again: to make them would take it half an hour and more. There creates are measured with one client only.

Measured on {} ({}).
",
        machine::described(),
        dates.into_iter().collect::<Vec<_>>().join(", ")
    )
}
