//! From words to the program that they name, and the answers that all programs share.

use std::collections::BTreeSet;

use super::{disks, files, gluster, heal, lvextend, lvm, state::State, text::Text};
use crate::executor::Output;

/// What a command has done.
pub(super) struct Done {
    pub(super) output: Output,
    /// Whether it has changed anything.
    pub(super) changed: bool,
}

impl Done {
    /// It went well and wrote `stdout`.
    pub(super) fn wrote(stdout: impl Into<String>) -> Self {
        let output = Output { exit: 0, stdout: stdout.into(), stderr: String::new() };
        Self { output, changed: false }
    }

    /// It went well and changed something.
    pub(super) fn changed() -> Self {
        Self { changed: true, ..Self::wrote("") }
    }

    /// It failed and wrote `stderr`.
    pub(super) fn failed(exit: i32, stderr: impl Into<String>) -> Self {
        let output = Output { exit, stdout: String::new(), stderr: stderr.into() };
        Self { output, changed: false }
    }

    pub(super) fn warned(mut self, stderr: &str) -> Self {
        self.output.stderr.push_str(stderr);
        self
    }
}

/// Runs one command on a node. `down` are the nodes that cannot be reached from it.
pub(super) fn execute(state: &mut State, node: &Text, argv: &[String], down: &BTreeSet<Text>) -> Done {
    let (program, words) = match argv {
        [shell, flag, _, name, words @ ..] if shell == "sh" && flag == "-c" => (name.as_str(), words),
        [program, words @ ..] => {
            let sbin = ["/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"];
            let short = sbin.iter().find_map(|dir| program.strip_prefix(dir));
            (short.unwrap_or(program), words)
        }
        [] => return Done::failed(127, "sh: 1: : not found\n"),
    };
    match program {
        "lvm" => lvm::run(state, node, words),
        "gluster" => gluster::run(state, node, words, down),
        "blkid" => disks::blkid(state, node, words),
        "wipefs" => disks::wipefs(state, node, words),
        "udevadm" => disks::udevadm(state, node, words),
        "mkfs.xfs" | "mkfs.ext4" => disks::mkfs(state, node, program, words),
        "bricklayer-xfs-complete" => disks::xfs_complete(state, node, words),
        "bricklayer-lv-holds" => lvextend::holds(state, node, words),
        "cat" => files::cat(state, node, words),
        "getfattr" => heal::getfattr(state, node, words),
        "find" => heal::find(state, node, words),
        "systemctl" => files::systemctl(words),
        _ => files::run(state.node_mut(node), program, words)
            .unwrap_or_else(|| Done::failed(127, format!("sh: 1: {program}: not found\n"))),
    }
}

/// The words of a command, sorted into options and operands.
pub(super) struct Words {
    options: Vec<(String, String)>,
    pub(super) operands: Vec<String>,
}

impl Words {
    /// Reads `--name=value`, `--name value` for the names in `valued`, and the switches in `flags`.
    /// An option that is in neither is an error: the real programs refuse it too.
    pub(super) fn read(words: &[String], valued: &[&str], flags: &[&str]) -> Result<Self, String> {
        let mut read = Self { options: vec![], operands: vec![] };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            if !word.starts_with('-') {
                read.operands.push(word.clone());
            } else if valued.contains(&name) {
                let value = joined.or_else(|| rest.next().cloned()).unwrap_or_default();
                read.options.push((name.to_owned(), value));
            } else if flags.contains(&word.as_str()) {
                read.options.push((word.clone(), String::new()));
            } else {
                return Err(word.clone());
            }
        }
        Ok(read)
    }

    /// The value of the first of these names that was given.
    pub(super) fn get(&self, names: &[&str]) -> Option<&str> {
        let found = self.options.iter().find(|(name, _)| names.contains(&name.as_str()));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(&[name]).is_some()
    }

    /// All values of a name.
    pub(super) fn all<'w>(&'w self, wanted: &'w str) -> impl Iterator<Item = &'w str> {
        let matching = self.options.iter().filter(move |(name, _)| name == wanted);
        matching.map(|(_, value)| value.as_str())
    }
}
