//! Cgroups as containers have them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::wait_for;

/// A cgroup in every hierarchy, as a container has. It ends with its value, and what is in it too.
pub struct Cgroup(Vec<PathBuf>);

impl Cgroup {
    pub fn new(name: &str) -> Self {
        let made = mounted().into_iter().map(|(_, root)| {
            let folder = root.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            for file in ["cpuset.cpus", "cpuset.mems"] {
                // Only in a hierarchy of the first version, where nothing is inherited.
                if let (Ok(all), true) = (std::fs::read(root.join(file)), folder.join(file).exists()) {
                    std::fs::write(folder.join(file), all).unwrap();
                }
            }
            folder
        });
        Self(made.collect())
    }

    /// The files that take a process.
    pub fn procs(&self) -> Vec<PathBuf> {
        self.0.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    pub fn take(&self, pid: u32) {
        for file in self.procs() {
            std::fs::write(file, pid.to_string()).unwrap();
        }
    }

    /// Kills whatever is in any of them, until nothing is.
    pub fn kill(&self) {
        wait_for("an empty cgroup", 10, || {
            let texts = self.procs().into_iter().map(|file| std::fs::read_to_string(file).unwrap());
            let pids: BTreeSet<String> =
                texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
            pids.iter().for_each(|pid| kill(pid));
            pids.is_empty().then_some(())
        });
    }

    pub fn remove(&self) {
        for folder in &self.0 {
            wait_for("the cgroup's end", 10, || std::fs::remove_dir(folder).ok());
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // After a failure: removed already in the ordinary case.
        let until = Instant::now() + Duration::from_secs(10);
        for folder in &self.0 {
            while folder.exists() && !cleared(folder) {
                if Instant::now() > until {
                    eprintln!("the cgroup {} stays", folder.display());
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// The kind and the root of each hierarchy that is mounted, as this process sees them.
pub fn mounted() -> Vec<(String, PathBuf)> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let of_cgroups = lines.filter(|fields| matches!(fields[2], "cgroup" | "cgroup2"));
    of_cgroups.map(|fields| (fields[2].to_owned(), PathBuf::from(fields[1]))).collect()
}

/// Kills what is in a cgroup and in those below, and removes them; whether they have gone.
fn cleared(folder: &Path) -> bool {
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in below.filter(|path| path.is_dir()) {
        cleared(&path);
    }
    let pids = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    pids.lines().for_each(kill);
    std::fs::remove_dir(folder).is_ok()
}

fn kill(pid: &str) {
    // It may have ended by itself.
    let _ = Command::new("kill").args(["-9", pid]).stderr(Stdio::null()).status();
}
