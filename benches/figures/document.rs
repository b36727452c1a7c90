//! `docs/benchmarks.md` from the figures in `benches/kept`, those of `target/bench` taken over first.

use std::fmt::Write as _;

use crate::allocation::{ESTATES, decide_name};
use crate::figure::{self, Figure};
use crate::fill::{SETUPS, Setup};
use crate::fixture::tree;
use crate::machine;

const VOLUMES: [usize; 3] = [0, 1000, 10_000];

/// What the original does for the same work: volumes, clients, creates/s, p50 and p99 in ms.
const ORIGINAL: [(usize, usize, f64, f64, f64); 7] = [
    (0, 1, 30.0, 31.0, 113.0),
    (0, 8, 35.0, 205.0, 332.0),
    (0, 64, 22.0, 2109.0, 4535.0),
    (1000, 1, 10.0, 97.0, 146.0),
    (1000, 8, 8.0, 1000.0, 1099.0),
    (1000, 64, 5.3, 7938.0, 14_980.0),
    (10_000, 1, 1.1, 990.0, 1026.0),
];

/// Memory in MiB and start in seconds of the original, by volumes.
const ORIGINAL_SIZE: [(usize, f64, f64); 3] = [(0, 31.0, 0.06), (1000, 45.0, 0.3), (10_000, 109.0, 4.0)];

/// Writes the document, and prints what of it was measured now. Figures that were never measured are named as such.
pub fn write(measured: &[String]) {
    figure::take_over();
    let sections = [
        ("simulated", [rates(), sizes()].join("\n")),
        ("allocation", [fills(), decisions()].join("\n")),
        ("real", real()),
        ("pods", pods()),
        ("kubernetes", claims()),
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

fn rates() -> String {
    let mut text = String::from(
        "## Creates\n
From the request to the volume that is ready, asked over REST: `POST /volumes`, then `GET /queue/{id}` until it ends.
Simulated nodes in the server's process (36 nodes with 8 devices each), replica 3, no volume limit, 64 operations in
flight, every write durable. The best of three rounds; the volumes of a round are deleted before the next one. The
aim is 300 creates/s whatever the number of volumes: one client alone is below it, because it waits for three durable
writes one after the other.

| volumes | clients | creates/s | p50 ms | p99 ms | deletes/s | CPU ms a create | load | others | Heketi: creates/s | p50 ms | p99 ms |
|---|---|---|---|---|---|---|---|---|---|---|---|
",
    );
    for volumes in VOLUMES {
        for clients in [1, 8, 64] {
            let theirs = ORIGINAL.iter().find(|row| (row.0, row.1) == (volumes, clients));
            let theirs = theirs.map_or("not measured | | ".to_owned(), |(_, _, rate, p50, p99)| {
                format!("{rate} | {p50} | {p99}")
            });
            let ours = Figure::read(&format!("create_rate_c{clients}_n{volumes}")).map_or_else(
                || "not measured | | | | | | ".to_owned(),
                |f| {
                    let (deletes, cpu) = (f.also("deletes_per_s"), f.also("server_cpu_ms_per_create"));
                    format!(
                        "**{}** | {} | {} | {deletes} | {cpu} | {} | {}",
                        f.value, f.p50, f.p99, f.load, f.others
                    )
                },
            );
            writeln!(text, "| {volumes} | {clients} | {ours} | {theirs} |").unwrap();
        }
    }
    text
}

fn sizes() -> String {
    let mut text = String::from(
        "## Memory and start\n
*Memory* is what the server has after all creates and deletes of its row (its simulated nodes included; *most*: the
most it ever had), and what it has after a start on the same data. *Start* is the time from the start of the process to
the first answer, and to the answer that shows a volume; the process before it had ended in order. The aim is 150 MiB
at 10,000 volumes: it is met after a start, and missed after thousands of creates and deletes.

| volumes | memory MiB | most | after a start | start: first answer s | a volume s | load | others | Heketi: memory MB | start s |
|---|---|---|---|---|---|---|---|---|---|
",
    );
    for (volumes, memory, start) in ORIGINAL_SIZE {
        let ours = match (
            Figure::read(&format!("memory_n{volumes}")),
            Figure::read(&format!("cold_start_n{volumes}")),
        ) {
            (Some(m), Some(s)) => format!(
                "**{}** | {} | {} | {} | **{}** | {} | {}",
                m.value,
                m.also("most"),
                s.also("memory_after_mib"),
                s.also("hello_s"),
                s.value,
                s.load,
                s.others
            ),
            _ => "not measured | | | | | | ".to_owned(),
        };
        writeln!(text, "| {volumes} | {ours} | {memory} | {start} |").unwrap();
    }
    text
}

fn fills() -> String {
    let mut text = String::from(
        "## How full a cluster gets\n
Volumes with three copies and a random whole number of GiB are placed until the first one is refused; bricks of 1 GiB
to 4 TiB, at most 32 a volume. *Of the bound*: what was placed, to what a placer reaches that may cut volumes at will, at
its own first refusal of the same sequence (`src/allocation/bound.rs`). *Fill*: the share of all space that was used.
*CV*: standard deviation / mean over the devices at about 30 % of use. Aims: of the bound 0.99 in the median and
0.95 in every run, and both medians better than Heketi's. `cargo test --test allocation` holds them, and prints them. The sizes
of run *n* are drawn with the seed *n*, from 0 on.

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
    text
}

fn decisions() -> String {
    let mut text = String::from(
        "## How long a decision takes\n
The time to place a volume of 1 to 100 GiB with three copies and to count it, on nodes with 24 devices of 2 TiB (two in the first row) that
hold volumes already. The aim is p99 ≤ 1000 µs at 2,400 devices and 5,000 volumes; Heketi takes 90 to 250 ms there.

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

fn real() -> String {
    let mut text = String::from(
        "## A volume on real nodes\n
Replica 3, 1 GiB, on three virtual nodes with real LVM, XFS and glusterd: by us over REST with ssh connections that are
open already, and by a script with the plain commands, which looks at nothing first (`tests/lab/by-hand`). In turns; the median.

| | ms | least | rounds | load | others |
|---|---|---|---|---|---|
",
    );
    let mut ratio = String::from("not measured");
    for (name, shown) in [("real_create", "Bricklayer"), ("real_create_by_hand", "by hand")] {
        let row = Figure::read(name).map_or("not measured | | | | ".to_owned(), |f| {
            if f.more.contains_key("ratio_to_by_hand") {
                ratio = f.also("ratio_to_by_hand");
            }
            format!("**{}** | {} | {} | {} | {}", f.value, f.also("least"), f.n, f.load, f.others)
        });
        writeln!(text, "| {shown} | {row} |").unwrap();
    }
    writeln!(text, "\nThe median of the ratios, ours to the one by hand: **{ratio}**. Heketi took 8,700 ms, the script of").unwrap();
    writeln!(text, "that day 7,100 ms: 1.23.").unwrap();
    text
}

fn pods() -> String {
    let mut text = String::from(
        "## Pods\n
On a whole cluster of this machine (kubelet, containerd) with three virtual storage nodes, replica 3, 1 GiB: from the
claim to a pod that is Ready; what kubelet's calls to the driver took of that (its own figures: the mean); and
`mount -t glusterfs` by hand in the plugin's container. Memory is that of the plugin, and of the one client of a volume.

| | | p50 | p99 | n | load | others |
|---|---|---|---|---|---|---|
",
    );
    for (name, shown) in [
        ("claim_to_running", "from a claim to a pod that runs"),
        ("stage", "NodeStageVolume"),
        ("publish", "NodePublishVolume"),
        ("plain_mount", "a mount by hand"),
        ("plugin_memory", "memory of the plugin"),
        ("client_memory", "memory of a client"),
    ] {
        let row = Figure::read(name).map_or("not measured | | | | | ".to_owned(), |f| {
            format!(
                "**{} {}** | {} | {} | {} | {} | {}",
                f.value, f.unit, f.p50, f.p99, f.n, f.load, f.others
            )
        });
        writeln!(text, "| {shown} | {row} |").unwrap();
    }
    text
}

fn claims() -> String {
    let mut text = String::from(
        "## Claims on a real control plane\n
200 claims made at once on etcd, kube-apiserver and kube-controller-manager of this machine; ours places and stores a
volume for each (simulated nodes, replica 3), external-provisioner 6.3.0 has a driver behind it that makes nothing:
*tuned* with 100 requests a second and 200 in a burst, *default* with 5 and 10. The controller manager's own limit is
raised to 1000 requests a second: with its default it binds 4 claims a second for everybody. Best of three rounds
(default: one). Requests and writes are those of the provisioner alone, from the API server's audit log.

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
    let memory = Figure::read("claims_memory").map_or("not measured".into(), |f| format!("{} MiB", f.value));
    writeln!(text, "\nMemory of ours with 1,000 bound claims, the simulated nodes included: **{memory}**.")
        .unwrap();
    text.push_str(
        "
Aims: at least the tuned one's rate, five times the default one's, five writes a claim, 64 MiB. The first is missed: what
limits both is the CPU of the API server and of the controller manager, and ours has a volume written three times for each
claim (made, placed, ready) beside what a PersistentVolume takes. That costs the API server about 15 ms of CPU a claim, as
much as half of what a claim of the tuned one costs all processes together; without any schema it would be hardly less.
",
    );
    text
}

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
