//! The server with simulated nodes: creates, memory and start.

use std::fmt::Write as _;

use crate::figure::Figure;

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

/// Both tables.
pub fn section() -> String {
    [rates(), sizes()].join("\n")
}

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
