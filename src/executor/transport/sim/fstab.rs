//! The lines of an fstab, in order, each found by its directory: a node has a line for each of its bricks.

use indexmap::{Equivalent, IndexSet};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::{Device, Text};

/// A line of an fstab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) device: Device,
    pub(super) dir: Text,
    pub(super) options: Text,
}

/// The lines of one fstab: at most one for a directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Fstab(IndexSet<Keyed>);

/// A line that is the same as another one when their directories are.
#[derive(Clone, Debug)]
struct Keyed(Line);

impl PartialEq for Keyed {
    fn eq(&self, other: &Self) -> bool {
        self.0.dir == other.0.dir
    }
}

impl Eq for Keyed {}

impl std::hash::Hash for Keyed {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.dir.hash(state);
    }
}

impl Equivalent<Keyed> for Text {
    fn equivalent(&self, line: &Keyed) -> bool {
        *self == line.0.dir
    }
}

impl Fstab {
    /// The lines in order.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.0.iter().map(|line| &line.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a line at the end, unless its directory has one. True if it was added.
    pub(super) fn add(&mut self, mut line: Line) -> bool {
        // Options that the line before has too are held once.
        if let Some(last) = self.0.last().filter(|last| last.0.options == line.options) {
            line.options = last.0.options.clone();
        }
        self.0.insert(Keyed(line))
    }

    /// Takes the line of a directory away, if there is one.
    pub(super) fn remove(&mut self, dir: &Text) -> bool {
        self.0.shift_remove(dir)
    }

    /// Lets lines have the texts of directories that are held elsewhere.
    pub(super) fn share(&mut self, held: impl Fn(&Text) -> Option<Text>) {
        let shared = std::mem::take(&mut self.0).into_iter().map(|Keyed(line)| {
            let dir = held(&line.dir).unwrap_or(line.dir);
            Keyed(Line { dir, ..line })
        });
        self.0 = shared.collect();
    }
}

impl Serialize for Fstab {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.lines())
    }
}

impl<'de> Deserialize<'de> for Fstab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lines = Vec::<Line>::deserialize(deserializer)?;
        Ok(Self(lines.into_iter().map(Keyed).collect()))
    }
}
