//! `docs/benchmarks.md` from the figures in `benches/kept`, those of `target/bench` taken over first.

mod allocation;
mod kubernetes;
mod real;
mod simulated;

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
    let text: Vec<&str> = sections.iter().map(|(_, section)| section.as_str()).collect();
    let text = [HEAD, &text.join("\n"), &how()].join("\n");
    let docs = tree().join("docs");
    std::fs::create_dir_all(&docs).unwrap();
    std::fs::write(docs.join("benchmarks.md"), text).unwrap();
}

const HEAD: &str = "# Benchmarks

Written by `make bench`. Beside our figures stand those of Heketi 10.3.0 for the same work, measured on 2 cores at a
load of 1.5 to 3.4. *load* is the machine's load of the last minute when the measurement began, the measurement before
it included; *others* is how many processors were busy meanwhile with something else than server and clients.
";

fn how() -> String {
    let dates: Vec<String> = ["create_rate_c1_n0", "real_create", "claims_bound_ours"]
        .iter()
        .filter_map(|name| Figure::read(name))
        .map(|figure| figure.date)
        .collect();
    format!(
        "## How to run\n
`make bench` measures all of it, and needs root for the real nodes; `tests/bench/run simulated` needs none;
`make bench-kubernetes` measures the claims, `make bench-real` what needs real nodes. The program
is `benches/figures/main.rs`; it starts the release binary and asks it over loopback. Each figure is kept in
`target/bench`, one file of JSON each, and in `benches/kept`: what was not measured this time stays as it was. `VOLUMES=0,1000` and `ROUNDS=1` make it shorter.

Measured on {} ({}).
",
        machine::described(),
        dates.join(", ")
    )
}
