//! The allocator alone.

use std::fmt::Write as _;

use super::aim::{self, Aim, Limit, least};
use crate::allocation::{AIM, ESTATES, decide_name};
use crate::figure::Figure;
use crate::fill::{SETUPS, Setup};

/// Both tables.
pub fn section() -> String {
    [fills(), decisions()].join("\n")
}

fn fills() -> String {
    let mut text = String::from(
        "## How full a cluster gets\n
Volumes with three copies and a random whole number of GiB are placed until the first one is refused; bricks of 1 GiB
to 4 TiB, at most 32 a volume. *Of the bound*: what was placed, to what a placer reaches that may cut volumes at will, at
its own first refusal of the same sequence (`src/allocation/bound.rs`). *Fill*: the share of all space that was used.
*CV*: standard deviation / mean over the devices at about 30 % of use. `cargo test --test allocation` holds the aims, and
prints the figures. The sizes of run *n* are drawn with the seed *n*, from 0 on.

| nodes (zones) × devices × GiB | volumes, GiB | runs | of the bound: median | least | fill: median | CV | Heketi: fill | CV |
|---|---|---|---|---|---|---|---|---|
",
    );
    for (number, setup) in SETUPS.iter().enumerate() {
        let ours = Figure::read(&format!("allocation_fill_{}", number + 1)).map_or_else(
            || "not measured | | | ".to_owned(),
            |f| format!("**{}** | {} | {} | {}", f.value, f.also("min"), f.also("fill"), f.also("cv")),
        );
        let Setup { nodes, zones, devices, device, sizes, runs, heketi_median, heketi_cv } = setup;
        let (from, to) = sizes;
        writeln!(
            text,
            "| {nodes} ({zones}) × {devices} × {device} | {from}–{to} | {runs} | {ours} | {heketi_median} | {heketi_cv} |"
        )
        .unwrap();
    }
    writeln!(text, "\n{}", aim::table(&aims_of_fills()).trim_end()).unwrap();
    text
}

fn aims_of_fills() -> [Aim; 4] {
    let over_setups = |of: fn(&Setup, &Figure) -> Option<f64>| {
        let setups = SETUPS.iter().enumerate();
        least(
            setups
                .map(|(number, setup)| of(setup, &Figure::read(&format!("allocation_fill_{}", number + 1))?)),
        )
    };
    [
        Aim::new("of the bound, the least median", Limit::AtLeast(0.99), over_setups(|_, f| Some(f.value))),
        Aim::new(
            "of the bound, the least of all runs",
            Limit::AtLeast(0.95),
            over_setups(|_, f| f.number("min")),
        ),
        Aim::new(
            "fill, times Heketi's, the least of the medians",
            Limit::Above(1.0),
            over_setups(|setup, f| Some(f.number("fill")? / setup.heketi_median)),
        ),
        Aim::new(
            "Heketi's CV, times ours, the least of the medians",
            Limit::Above(1.0),
            over_setups(|setup, f| Some(setup.heketi_cv / f.number("cv")?)),
        ),
    ]
}

fn decisions() -> String {
    let mut text = String::from(
        "## How long a decision takes\n
The time to place a volume of 1 to 100 GiB with three copies and to count it, on nodes with 24 devices of 2 TiB (two in the first row) that
hold volumes already. Heketi takes 90 to 250 ms at 2,400 devices and 5,000 volumes.

| devices | volumes | p50 µs | p99 µs | load |
|---|---|---|---|---|
",
    );
    for (nodes, devices, volumes) in ESTATES {
        let ours = Figure::read(&decide_name(nodes * devices)).map_or_else(
            || "not measured | | ".to_owned(),
            |f| format!("{} | **{}** | {}", f.p50, f.value, f.load),
        );
        writeln!(text, "| {} | {volumes} | {ours} |", nodes * devices).unwrap();
    }
    let decision = Figure::read(&decide_name(AIM)).map(|f| f.value);
    let aim = Aim::new("p99 µs at 2,400 devices and 5,000 volumes", Limit::AtMost(1000.0), decision);
    writeln!(text, "\n{}", aim::table(&[aim]).trim_end()).unwrap();
    if let Some(refusals) = Figure::read("allocation_refuse") {
        writeln!(
            text,
            "\nA refusal, with all that excludes devices and what would help, takes {:.1} ms there (median; {:.1} ms at most): \
             changes are tried by placing.",
            refusals.p50 / 1000.0,
            refusals.value / 1000.0
        )
        .unwrap();
    }
    text
}
