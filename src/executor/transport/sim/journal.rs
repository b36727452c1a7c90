//! The directory of a simulation: a snapshot of the state and the commands since then.
//!
//! `state.json` holds the state and a generation; `journal-GENERATION.jsonl` one line for each
//! command since then that changed something. A line is written in one write before the command
//! answers, so that a killed process loses at most commands that nobody was told about.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{command, state::State, text::Text};
use crate::units::Bytes;

/// Why the directory of a simulation cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// A file has content that no simulation wrote.
    #[error("{path}, line {line}: {source}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// When the journal has grown this large and larger than the state, the state is written anew: reading
/// the journal takes longer than reading the state, and writing the state must not become the main work.
const COMPACT_AT: u64 = 128 << 20;

/// Something that changed the state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// A command; the text of scripts is left out.
    Ran {
        node: Text,
        argv: Vec<String>,
        /// The nodes that were down for it.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        down: BTreeSet<Text>,
        fresh: u64,
    },
    /// A node has restarted, perhaps because the faults file asked so often for it.
    Restarted { node: Text, asked: Option<u64> },
    /// Names of one node.
    Named { node: Text, name: String },
}

impl Entry {
    /// Does it, on a state or again on the same state.
    pub(super) fn apply(&self, state: &mut State) {
        match self {
            Self::Ran { node, argv, down, fresh } => {
                state.fresh = *fresh;
                command::execute(state, node, argv, down);
            }
            Self::Restarted { node, asked } => {
                state.restart(node);
                if let Some(asked) = asked {
                    state.node_mut(node).asked = *asked;
                }
            }
            Self::Named { node, name } => {
                let named = state.resolve(name);
                state.merge(name, &named, node);
            }
        }
    }
}

#[derive(Serialize)]
struct StoredRef<'s> {
    generation: u64,
    state: &'s State,
}

#[derive(Deserialize)]
struct Stored {
    generation: u64,
    state: State,
}

/// The open directory of a simulation.
pub(super) struct Journal {
    directory: PathBuf,
    generation: u64,
    file: File,
    /// Bytes in the journal.
    written: u64,
    /// Bytes of the state as it was written last.
    state_size: u64,
    /// Holds the lock for as long as it lives.
    _lock: File,
}

impl Journal {
    /// Locks a directory and reads what it holds. What was in a journal becomes part of the state,
    /// which is then written anew.
    pub(super) fn open(directory: &Path, device_size: Bytes) -> Result<(Self, State), SimError> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        let lock = lock(directory)?;
        let (mut state, mut journal) = match read_state(directory)? {
            Some((stored, state_size)) => {
                let path = journal_path(directory, stored.generation);
                let file = open_journal(&path)?;
                let generation = stored.generation;
                let journal = Self {
                    directory: directory.to_owned(),
                    generation,
                    file,
                    written: 0,
                    state_size,
                    _lock: lock,
                };
                (stored.state, journal)
            }
            None => {
                let state = State::new(device_size);
                let (file, state_size) = write_state(directory, 1, &state)?;
                let journal = Self {
                    directory: directory.to_owned(),
                    generation: 1,
                    file,
                    written: 0,
                    state_size,
                    _lock: lock,
                };
                (state, journal)
            }
        };
        journal.written = replay(&journal_path(directory, journal.generation), &mut state)?;
        if state.device_size != device_size {
            state.device_size = device_size;
            journal.written += 1;
        }
        journal.settle(&state)?;
        Ok((journal, state))
    }

    /// Writes the state anew if the journal holds anything, so that the next start is quick.
    pub(super) fn settle(&mut self, state: &State) -> Result<(), SimError> {
        if self.written > 0 {
            let written = write_state(&self.directory, self.generation + 1, state)?;
            (self.file, self.state_size) = written;
            self.generation += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Appends an entry that has been applied to `state`.
    pub(super) fn append(&mut self, entry: &Entry, state: &State) -> Result<(), SimError> {
        let path = journal_path(&self.directory, self.generation);
        let mut line = serde_json::to_vec(entry).map_err(|e| at(&path)(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(at(&path))?;
        self.written += line.len() as u64;
        if self.written >= COMPACT_AT.max(self.state_size) { self.settle(state) } else { Ok(()) }
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> SimError + '_ {
    |source| SimError::Io { path: path.to_owned(), source }
}

fn journal_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("journal-{generation}.jsonl"))
}

fn lock(directory: &Path) -> Result<File, SimError> {
    let path = directory.join("lock");
    let file = File::create(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SimError::Locked(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(SimError::Io { path, source }),
    }
}

fn open_journal(path: &Path) -> Result<File, SimError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(at(path))
}

/// The state as it was written last, and how many bytes that took.
fn read_state(directory: &Path) -> Result<Option<(Stored, u64)>, SimError> {
    let path = directory.join("state.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SimError::Io { path, source }),
    };
    let corrupt = |source| SimError::Corrupt { path, line: 1, source };
    let mut stored: Stored = serde_json::from_slice(&text).map_err(corrupt)?;
    stored.state.nodes.values_mut().for_each(super::state::Node::complete);
    stored.state.pools.values_mut().for_each(super::state::Pool::count_paths);
    Ok(Some((stored, text.len() as u64)))
}

/// Applies the lines of a journal and says how many bytes it has. The last line may be torn: nobody was
/// told that it was done.
fn replay(path: &Path, state: &mut State) -> Result<u64, SimError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(at(path)(error)),
    };
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        match serde_json::from_slice::<Entry>(line) {
            Ok(entry) if line.ends_with(b"\n") => entry.apply(state),
            Err(source) if lines.peek().is_some() => {
                return Err(SimError::Corrupt { path: path.to_owned(), line: number + 1, source });
            }
            Ok(_) | Err(_) => tracing::warn!(?path, "the last line is torn and left out"),
        }
    }
    Ok(text.len() as u64)
}

/// Writes the state under a new generation and opens that generation's journal. The old files count
/// until the new state has taken its place.
fn write_state(directory: &Path, generation: u64, state: &State) -> Result<(File, u64), SimError> {
    let (path, new) = (directory.join("state.json"), directory.join("state.json.new"));
    let journal = journal_path(directory, generation);
    let file = open_journal(&journal)?;
    file.set_len(0).map_err(at(&journal))?;
    let stored = StoredRef { generation, state };
    let text = serde_json::to_vec(&stored).map_err(|e| at(&new)(e.into()))?;
    let size = text.len() as u64;
    fs::write(&new, text).map_err(at(&new))?;
    fs::rename(&new, &path).map_err(at(&path))?;
    // A journal that stays behind is never read again.
    let _ = fs::remove_file(journal_path(directory, generation - 1));
    Ok((file, size))
}
