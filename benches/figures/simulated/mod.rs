//! Creates, deletes, reads, memory and cold start: servers with simulated nodes, ours and the original.

mod bench;
mod copies;
mod subject;

use bench::Bench;
use subject::Subject;

/// Measures ours at each number of volumes, and then the original if `HEKETI_BINARY` says where it is. `VOLUMES`
/// and `HEKETI_VOLUMES` (`0,1000,10000`) and `ROUNDS` change the sizes.
pub fn measure() {
    let ours = levels("VOLUMES", "0,1000,10000");
    at(Subject::Bricklayer, &ours);
    at(Subject::Alone, &ours);
    if let Some(binary) = std::env::var_os("HEKETI_BINARY") {
        at(Subject::Heketi(binary.into()), &levels("HEKETI_VOLUMES", "0,1000,10000"));
    }
}

fn at(subject: Subject, levels: &[usize]) {
    let mut bench = Bench::start(subject);
    for level in levels {
        bench.measure(*level);
    }
    bench.stop();
}

fn levels(variable: &str, default: &str) -> Vec<usize> {
    let given = std::env::var(variable).unwrap_or_else(|_| default.into());
    given.split(',').map(|n| n.parse().unwrap()).collect()
}
