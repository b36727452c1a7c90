//! Servers with simulated nodes, ours and the original: creates, reads, memory, start, and what is aimed at.

use std::fmt::Write as _;

use super::aim::{self, Aim, Limit, least};
use super::original::{self, DELETES, day};
use crate::figure::{Figure, rounded};

const VOLUMES: [usize; 3] = [0, 1000, 10_000];
const CLIENTS: [usize; 3] = [1, 8, 64];
/// Reads of both, by the number of volumes.
const READ_OURS: [usize; 2] = [1000, 10_000];
const READ_THEIRS: [usize; 3] = [1000, 5000, 10_000];
const READS: [(&str, &str); 2] = [("get_one", "GET one"), ("list", "list")];
const READERS: [usize; 2] = [1, 8];

/// All of it.
pub fn section() -> String {
    [rates(), reads(), sizes(), aims()].join("\n")
}

fn rate(volumes: usize, clients: usize) -> String {
    format!("create_rate_c{clients}_n{volumes}")
}

fn read(what: &str, volumes: usize, clients: usize) -> String {
    format!("{what}_c{clients}_n{volumes}")
}

fn rates() -> String {
    let mut text = String::from(
        "## Creates\n
From the request to the volume that is ready, asked over REST: `POST /volumes`, then `GET /queue/{id}` until it ends,
again after 2 ms when it has not. Simulated nodes in the server's process, as Heketi's mock (36 nodes with 8 devices
each), replica 3, no volume limit, 64 operations in flight, every write durable. The best of three rounds; the volumes
of a round are deleted before the next one, by 16 clients. One client alone waits for three durable writes one after the
other.

| volumes | clients | creates/s | p50 ms | p99 ms | deletes/s | CPU ms a create | load | others | Heketi: creates/s | p50 ms | p99 ms | deletes/s | times its rate | day |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
",
    );
    for volumes in VOLUMES {
        for clients in CLIENTS {
            let name = rate(volumes, clients);
            let (ours, theirs) = (Figure::read(&name), original::figure(&name));
            let day = day(theirs.as_ref(), ours.as_ref());
            let times = ours.as_ref().zip(theirs.as_ref()).map(|(ours, theirs)| ours.value / theirs.value);
            let times = times.map(|times| rounded(times).to_string()).unwrap_or_default();
            let theirs = theirs.map_or("not measured | | | ".to_owned(), |f| {
                let of_that_day = || format!("{} to {}", DELETES.0, DELETES.1);
                let deletes = f.number("deletes_per_s").map_or_else(of_that_day, |rate| rate.to_string());
                format!("{} | {} | {} | {deletes}", f.value, f.p50, f.p99)
            });
            let ours = ours.map_or("not measured | | | | | | ".to_owned(), |f| {
                let (deletes, cpu) = (f.also("deletes_per_s"), f.also("server_cpu_ms_per_create"));
                format!(
                    "**{}** | {} | {} | {deletes} | {cpu} | {} | {}",
                    f.value, f.p50, f.p99, f.load, f.others
                )
            });
            writeln!(text, "| {volumes} | {clients} | {ours} | {theirs} | {times} | {day} |").unwrap();
        }
    }
    text
}

fn reads() -> String {
    let mut text = String::from(
        "## Reads\n
`GET /volumes/{id}`, one volume after the other, and `GET /volumes`, the list of all: p50 and p99 in ms at a number of
volumes (*at*), with so many clients that each ask again at once. The best of three rounds.

| read | clients | at 1,000: p50 | p99 | at 10,000: p50 | p99 | load | others | Heketi at 1,000: p50 | p99 | at 10,000: p50 | p99 | day | at 5,000: p50 | p99 | day |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
",
    );
    let times = |f: &Option<Figure>| {
        f.as_ref().map_or("not measured | ".to_owned(), |f| format!("{} | **{}**", f.p50, f.p99))
    };
    for (what, shown) in READS {
        for clients in READERS {
            let ours = READ_OURS.map(|volumes| Figure::read(&read(what, volumes, clients)));
            let theirs = READ_THEIRS.map(|volumes| original::figure(&read(what, volumes, clients)));
            let meanwhile =
                ours[1].as_ref().map_or(" | ".to_owned(), |f| format!("{} | {}", f.load, f.others));
            let [_, at_5000, at_10000] =
                theirs.each_ref().map(|theirs| day(theirs.as_ref(), ours[1].as_ref()));
            let [few, many] = ours.each_ref().map(times);
            let [their_few, their_some, their_many] = theirs.each_ref().map(times);
            writeln!(
                text,
                "| {shown} | {clients} | {few} | {many} | {meanwhile} | {their_few} | {their_many} | {at_10000} | {their_some} | {at_5000} |"
            )
            .unwrap();
        }
    }
    text
}

fn sizes() -> String {
    let mut text = String::from(
        "## Memory and start\n
*Memory*, in MiB, is what the server has 5 s after all creates and deletes of its row, its simulated nodes included (*most*:
the most it ever had), and what it has 5 s after a start on the same data. *Alone* it has its simulated nodes in another
process: after it was filled, and after a start, each with the most that it had. *Start*, in seconds, is from the start of the process to the first
answer, and to the answer that shows a volume; the process before it had ended in order.

| volumes | memory | most | after a start | alone | after a start | start: first answer | a volume | load | others | Heketi: memory | start | day |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
",
    );
    for volumes in VOLUMES {
        let named = |what: &str| format!("{what}_n{volumes}");
        let ours = |what: &str| Figure::read(&named(what));
        let start = ours("cold_start");
        let memory = ours("memory")
            .map_or("not measured | ".to_owned(), |f| format!("**{}** | {}", f.value, f.also("most")));
        let most =
            |f: &Figure, most: &str| f.number(most).map_or_else(String::new, |most| format!(" ({most})"));
        let alone = ours("memory_alone")
            .map_or("not measured".to_owned(), |f| format!("**{}**{}", f.value, most(&f, "most")));
        let fresh = |start: Option<&Figure>| {
            let of = |f: &Figure| format!("{}{}", f.also("memory_after_mib"), most(f, "memory_most_mib"));
            start.map(of).unwrap_or_default()
        };
        let (with, without) = (fresh(start.as_ref()), fresh(ours("cold_start_alone").as_ref()));
        let started = start.as_ref().map_or("not measured | | | ".to_owned(), |f| {
            format!("{} | **{}** | {} | {}", f.also("hello_s"), f.value, f.load, f.others)
        });
        let theirs = ["memory", "cold_start"].map(|what| original::figure(&named(what)));
        let day = day(theirs[1].as_ref(), start.as_ref());
        let [their_memory, their_start] =
            theirs.map(|f| f.map_or("not measured".to_owned(), |f| format!("{} {}", f.value, f.unit)));
        writeln!(
            text,
            "| {volumes} | {memory} | {with} | {alone} | {without} | {started} | {their_memory} | {their_start} | {day} |"
        )
        .unwrap();
    }
    text
}

fn aims() -> String {
    let text = "### Aims\n
Rates beside Heketi's are the highest that each reaches with 1, 8 or 64 clients; of deletes it is our lowest to Heketi's
highest, at the number of volumes where that is least. *Flat* is the rate at 10,000 volumes to the one when empty, of 1, 8
or 64 clients where it is least.\n
";
    text.to_owned() + &aim::table(&all_aims())
}

fn all_aims() -> Vec<Aim> {
    let times_theirs = |volumes| {
        let best = |figure: fn(&str) -> Option<Figure>| {
            CLIENTS
                .iter()
                .filter_map(|clients| Some(figure(&rate(volumes, *clients))?.value))
                .reduce(f64::max)
        };
        Some(best(Figure::read)? / best(original::figure)?)
    };
    let mut aims = vec![
        Aim::new("creates/s when empty, times Heketi's", Limit::AtLeast(15.0), times_theirs(0)),
        Aim::new("creates/s at 1,000 volumes, times Heketi's", Limit::AtLeast(60.0), times_theirs(1000)),
        Aim::new(
            "creates/s of 8 and of 64 clients, at any number of volumes",
            Limit::AtLeast(500.0),
            slowest(),
        ),
        Aim::new("creates/s, flat to 10,000 volumes", Limit::AtLeast(FLAT), flatness()),
        Aim::new("deletes/s, times Heketi's", Limit::AtLeast(5.0), deletes()),
    ];
    for (what, shown) in READS {
        for clients in READERS {
            let theirs = original::figure(&read(what, 5000, clients)).unwrap();
            let who = if clients == 1 { "1 client" } else { "8 clients" };
            let aim = format!("p99 ms of {shown} at 10,000 volumes with {who}, Heketi's at 5,000");
            let ours = Figure::read(&read(what, 10_000, clients)).map(|f| f.p99);
            aims.push(Aim::new(aim, Limit::Below(theirs.p99), ours));
        }
    }
    let start = Figure::read("cold_start_n10000").map(|f| f.value);
    aims.extend([
        Aim::new("MiB alone at 10,000 volumes, filled or started", Limit::AtMost(64.0), memory_alone()),
        Aim::new("seconds from a start to a volume, at 10,000 volumes", Limit::AtMost(0.5), start),
    ]);
    aims
}

/// What still counts as flat: rates of one machine differ by as much from round to round.
const FLAT: f64 = 0.8;

/// The lowest rate of several clients.
fn slowest() -> Option<f64> {
    let rates =
        VOLUMES.iter().flat_map(|volumes| CLIENTS[1..].iter().map(|clients| rate(*volumes, *clients)));
    least(rates.map(|name| Some(Figure::read(&name)?.value)))
}

fn flatness() -> Option<f64> {
    let at = |volumes, clients| Some(Figure::read(&rate(volumes, clients))?.value);
    least(CLIENTS.iter().map(|clients| Some(at(10_000, *clients)? / at(0, *clients)?)))
}

/// Our lowest rate of deletes to Heketi's highest at the same number of volumes: it is always 16 clients that delete.
fn deletes() -> Option<f64> {
    let rates = |volumes: usize, figure: fn(&str) -> Option<Figure>| {
        CLIENTS.iter().filter_map(move |clients| figure(&rate(volumes, *clients))?.number("deletes_per_s"))
    };
    least(VOLUMES.into_iter().map(|volumes| {
        let theirs = rates(volumes, original::figure).reduce(f64::max).unwrap_or(DELETES.1);
        Some(rates(volumes, Figure::read).reduce(f64::min)? / theirs)
    }))
}

fn memory_alone() -> Option<f64> {
    let filled = Figure::read("memory_alone_n10000")?.value;
    Some(filled.max(Figure::read("cold_start_alone_n10000")?.number("memory_after_mib")?))
}
