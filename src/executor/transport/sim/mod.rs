//! Simulated nodes, below the command: they get the words of a command, do what the real programs
//! do to their disks, volume groups, mounts and peers, and print what those print.
//!
//! Every host name is a node, and every path below `/dev/` a blank disk of it. A node that is given
//! to gluster under another name than the one commands are sent to is recognised when the
//! two differ in `manage` and `storage` only, when it was told ([`Sim::introduce`]), or when a volume
//! is made on a brick that only one node has.
//!
//! The state lives in a directory that one process may use at a time. A change is on file before
//! its command answers, so a killed process loses nothing that anybody was told about.
//!
//! # Faults
//! [`Sim::faults`] injects them from inside the process. For a process of its own, the file
//! `faults.json` in the directory does; it is read at the start and whenever it has changed:
//!
//! ```json
//! {
//!   "down": ["node2", "10.0.0.*"],
//!   "restart": {"node3": 1},
//!   "rules": [
//!     {"host": "node1", "command": "lvcreate", "skip": 0, "times": 1,
//!      "fault": {"fail_before": {"exit": 5, "stderr": "no"}}},
//!     {"command": "gluster*volume create", "fault": "lose_answer"},
//!     {"command": "mkfs.xfs", "fault": {"slow": 1500}}
//!   ]
//! }
//! ```
//!
//! `restart` counts: a node restarts once when its number is raised. Other faults are
//! `{"fail_after": {...}}`, `{"edit": {"find": "a", "replace": "b"}}`, `"hang"`, `"lose_reply"` and `"node_down"`. All fields but `fault` may be
//! left out. With [`SimOptions::log_commands`], `commands.log` gets every command as a line of JSON.
//!
//! One process holds the state. Others reach the nodes through a socket ([`serve`], [`SimSocket`]), and
//! `commands.log` names the sender.

#[cfg(test)]
mod captured;
mod command;
mod disks;
mod faults;
mod files;
mod fstab;
mod gluster;
mod group;
mod heal;
mod journal;
mod layout;
mod lvcreate;
mod lvextend;
mod lvm;
mod names;
mod perform;
mod print;
mod rebalance;
mod report;
mod snapshot;
mod socket;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod volumes;

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, RwLock};

pub use faults::{Fault, Faults, Rule};
pub use journal::SimError;
pub use snapshot::{
    BrickSnapshot, HostSnapshot, LvSnapshot, PoolSnapshot, Snapshot, VgSnapshot, VolumeSnapshot,
};

pub use socket::{SimSocket, serve};

use crate::executor::Argv;
use crate::units::Bytes;
use faults::FaultsFile;
use journal::{Entry, Journal};
use state::State;
use text::Text;

/// So many commands are kept in memory unless the options say otherwise.
const LOG_LENGTH: usize = 10_000;
/// The faults file is looked at no more often than this.
const FAULTS_FILE_EVERY: Duration = Duration::from_millis(100);

/// How to open a simulation.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Where its state is; made if it does not exist.
    pub directory: PathBuf,
    /// The size of each disk.
    pub device_size: Bytes,
    /// Whether every command is written to `commands.log` in the directory.
    pub log_commands: bool,
    /// How many commands are kept in memory for [`Sim::log`].
    pub remembered: usize,
    /// The deadline of every batch is at most this, so that a test need not wait for a hanging node.
    pub deadline_limit: Duration,
}

impl SimOptions {
    /// Disks of 500 GiB, no log of commands but for the last 10,000 in memory, and deadlines as the batches say.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            device_size: Bytes::from_gib(500),
            log_commands: false,
            remembered: LOG_LENGTH,
            deadline_limit: Duration::from_secs(24 * 3600),
        }
    }
}

/// A command that has been given to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its number: 1 is the first since the simulation was opened.
    pub n: u64,
    /// The host it was sent to.
    pub host: String,
    /// The command; the text of a script is left out.
    pub argv: Argv,
}

/// On which side of a command a [`Point`] lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing of the command is done yet.
    Before,
    /// The command is done, and nobody has been told.
    After,
}

/// A moment of a simulation.
#[derive(Clone, Debug)]
pub struct Point<'a> {
    /// The number of the command, as in [`Logged`].
    pub n: u64,
    /// The host it was sent to.
    pub host: &'a str,
    /// The command.
    pub argv: &'a Argv,
    /// Before or after it.
    pub when: When,
}

/// Called before and after every single command, those of guards too.
pub type Hook = Arc<dyn Fn(&Point<'_>) + Send + Sync>;

/// Simulated nodes. Clones are the same nodes.
#[derive(Clone)]
pub struct Sim {
    shared: Arc<Shared>,
}

/// Held by a batch while it runs.
type Lock = Arc<tokio::sync::Mutex<()>>;

struct Shared {
    inner: Mutex<Inner>,
    faults: Faults,
    faults_file: Mutex<Watched>,
    hook: RwLock<Option<Hook>>,
    log: Mutex<VecDeque<Logged>>,
    remembered: usize,
    log_file: Option<Mutex<File>>,
    /// The locks of batches, by node and name.
    locks: Mutex<HashMap<(Text, String), Lock>>,
    commands: AtomicU64,
    deadline_limit: Duration,
}

struct Inner {
    state: State,
    journal: Journal,
    /// Why nothing more can be remembered, and so nothing more is done.
    broken: Option<String>,
}

/// The faults file as it was last seen.
struct Watched {
    path: PathBuf,
    looked: Option<std::time::Instant>,
    stamp: Option<(SystemTime, u64)>,
}

impl Sim {
    /// Opens a simulation, alone: another process that has it open is an error.
    pub fn open(options: SimOptions) -> Result<Self, SimError> {
        let (journal, state) = Journal::open(&options.directory, options.device_size)?;
        let log_path = options.directory.join("commands.log");
        let log_file = if options.log_commands {
            let file = OpenOptions::new().create(true).append(true).open(&log_path);
            let at = |source| SimError::Io { path: log_path, source };
            Some(Mutex::new(file.map_err(at)?))
        } else {
            None
        };
        let shared = Shared {
            inner: Mutex::new(Inner { state, journal, broken: None }),
            faults: Faults::default(),
            faults_file: Mutex::new(Watched {
                path: options.directory.join("faults.json"),
                looked: None,
                stamp: None,
            }),
            hook: RwLock::new(None),
            log: Mutex::new(VecDeque::new()),
            remembered: options.remembered,
            log_file,
            locks: Mutex::new(HashMap::new()),
            commands: AtomicU64::new(0),
            deadline_limit: options.deadline_limit,
        };
        let sim = Self { shared: Arc::new(shared) };
        sim.read_faults_file();
        Ok(sim)
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Has `hook` called before and after every command from now on; none ends that.
    pub fn set_hook(&self, hook: Option<Hook>) {
        *self.shared.hook.write() = hook;
    }

    /// The last commands, the oldest first.
    pub fn log(&self) -> Vec<Logged> {
        self.shared.log.lock().iter().cloned().collect()
    }

    /// How many commands were given to nodes since the simulation was opened.
    pub fn commands(&self) -> u64 {
        self.shared.commands.load(Ordering::Relaxed)
    }

    /// Writes the state in the form that is read quickest. Nothing is lost without it.
    pub fn settle(&self) -> Result<(), SimError> {
        let mut inner = self.shared.inner.lock();
        let Inner { state, journal, .. } = &mut *inner;
        journal.settle(state)
    }

    /// The state of all nodes.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.shared.inner.lock().state)
    }

    /// Restarts a node: its mounts vanish and come back as its fstab says, its boot id changes.
    pub fn restart(&self, host: &str) -> Result<(), SimError> {
        self.restart_asked(host, None)
    }

    /// Says that these are names of one node; commands are sent to the first one.
    pub fn introduce(&self, names: &[&str]) -> Result<(), SimError> {
        let Some((first, others)) = names.split_first() else {
            return Ok(());
        };
        let mut inner = self.shared.inner.lock();
        let node = inner.state.resolve(first);
        for name in others {
            if inner.state.resolve(name) != node {
                let name = (*name).to_owned();
                inner.remember(&Entry::Named { node: node.clone(), name })?;
            }
        }
        Ok(())
    }

    fn restart_asked(&self, host: &str, asked: Option<u64>) -> Result<(), SimError> {
        let mut inner = self.shared.inner.lock();
        let node = inner.state.resolve(host);
        inner.remember(&Entry::Restarted { node, asked })
    }

    /// Looks at the faults file, if that was not just done.
    fn read_faults_file(&self) {
        let mut watched = self.shared.faults_file.lock();
        if watched.looked.is_some_and(|at| at.elapsed() < FAULTS_FILE_EVERY) {
            return;
        }
        watched.looked = Some(std::time::Instant::now());
        let metadata = std::fs::metadata(&watched.path).ok();
        let stamp = metadata.and_then(|found| Some((found.modified().ok()?, found.len())));
        if stamp == watched.stamp {
            return;
        }
        let read = match stamp {
            Some(_) => read_faults(&watched.path),
            None => Ok(FaultsFile::default()),
        };
        match read {
            Ok(file) => {
                watched.stamp = stamp;
                drop(watched);
                self.use_faults_file(file);
            }
            // It may be half written; the next look tells.
            Err(error) => {
                tracing::warn!(path = ?watched.path, %error, "the faults file is not used")
            }
        }
    }

    fn use_faults_file(&self, file: FaultsFile) {
        for (host, count) in &file.restart {
            let asked = {
                let inner = self.shared.inner.lock();
                let node = inner.state.resolve(host);
                inner.state.nodes.get(&node).map_or(0, |node| node.asked)
            };
            if asked < *count
                && let Err(error) = self.restart_asked(host, Some(*count))
            {
                tracing::warn!(%host, %error, "the node could not be restarted");
            }
        }
        self.shared.faults.replace_file(file);
    }
}

impl Inner {
    fn remember(&mut self, entry: &Entry) -> Result<(), SimError> {
        entry.apply(&mut self.state);
        self.journal.append(entry, &self.state)
    }
}

fn read_faults(path: &Path) -> Result<FaultsFile, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}
