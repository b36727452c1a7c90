//! What the machine does meanwhile, from `/proc`.

use std::fs::read_to_string;

/// Processor time so far, in seconds.
#[derive(Clone, Copy)]
pub struct Spent {
    at: std::time::Instant,
    /// Of all processors together, everybody's.
    all: f64,
    /// Of the process that is measured.
    server: f64,
    /// Of this process.
    own: f64,
}

/// What was spent between two looks.
pub struct Share {
    /// Processors' worth of work that had nothing to do with the measurement.
    pub others: f64,
    /// Seconds of the process that is measured.
    pub server: f64,
}

impl Spent {
    /// Looks.
    pub fn now(server: u32) -> Self {
        let stat = read_to_string("/proc/stat").unwrap();
        let fields: Vec<f64> =
            stat.lines().next().unwrap().split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
        // Everything but idle and waiting for disks; guests are counted in user already.
        let all = (fields[..3].iter().sum::<f64>() + fields[5..8].iter().sum::<f64>()) / 100.0;
        Self { at: std::time::Instant::now(), all, server: of(server), own: of(std::process::id()) }
    }

    /// What was spent since then.
    pub fn since(self, server: u32) -> Share {
        let now = Self::now(server);
        let (of_server, own) = (now.server - self.server, now.own - self.own);
        let seconds = now.at.duration_since(self.at).as_secs_f64();
        Share { others: ((now.all - self.all - of_server - own) / seconds).max(0.0), server: of_server }
    }
}

/// Seconds of processor time of a process.
fn of(pid: u32) -> f64 {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(')') else { return 0.0 };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields[11..13].iter().map(|n| n.parse::<f64>().unwrap() / 100.0).sum()
}

/// The load of the last minute.
pub fn load() -> f64 {
    read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Memory of a process, in MiB: what it has now, and the most it ever had.
pub fn memory(pid: u32) -> (f64, f64) {
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Processors, memory and kernel, for the document.
pub fn described() -> String {
    let info = read_to_string("/proc/cpuinfo").unwrap();
    let model =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let cores = std::thread::available_parallelism().unwrap();
    format!("{cores} × {}", model.map_or("unknown processor", |(_, name)| name))
}
