//! A pod that writes ten numbered records a second and notices every error, and what became of them.

use std::path::Path;

use crate::fixture::wait_for;
use crate::node::pod;
use crate::world::World;

/// A writer at work on a claim.
pub struct Writer<'a> {
    world: &'a World,
    name: String,
    records: usize,
}

impl<'a> Writer<'a> {
    /// Starts one that writes so many seconds' worth of records: into a file that it opens for each, and
    /// into one that it keeps open.
    pub fn start(world: &'a World, name: &str, claim: &str, seconds: usize) -> Self {
        let records = seconds * 10;
        let text = format!(
            "exec 3>>/data/kept; i=0; while [ $i -lt {records} ]; do i=$((i + 1)); \
             echo $i >>/data/opened || echo error: opened $i; echo $i >&3 || echo error: kept $i; sleep 0.1; done; \
             sync; echo finished"
        );
        world.start_pods(&[pod(name, claim, &text)]);
        let writer = Self { world, name: name.to_owned(), records };
        wait_for("the first records", 30, || (writer.written() > 5).then_some(()));
        writer
    }

    /// How many records there are, as the pod sees it.
    pub fn written(&self) -> usize {
        let output = self.world.try_in_pod(&self.name, "wc -l </data/opened");
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0)
    }

    /// Waits until there are more records than now.
    pub fn goes_on(&self, seconds: u64) {
        let before = self.written();
        wait_for("more records", seconds, || (self.written() > before).then_some(()));
    }

    /// Whether it is at work.
    pub fn is_at_work(&self) -> bool {
        self.world.cluster.value(&["pod", &self.name], "{.status.phase}") == "Running"
    }

    /// Waits until it has finished, and insists that there was no error and that it was never started again.
    /// On a busy machine a record takes several times as long; a client waits 42 s for a server that
    /// has gone without a word.
    pub fn finished(self) -> usize {
        let (phase, output) = self.world.ended(&self.name, self.records as u64 / 10 * 5 + 120);
        assert_eq!((phase.as_str(), output.trim()), ("Succeeded", "finished"), "the writer met errors");
        self.records
    }
}

/// Insists that every record is in both files below a mount, once and in order.
pub fn all_there(point: &Path, records: usize) {
    for name in ["opened", "kept"] {
        let text = std::fs::read_to_string(point.join(name)).unwrap();
        let found: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
        let lost: Vec<usize> = (1..=records).filter(|record| !found.contains(record)).collect();
        assert!(lost.is_empty(), "{name}: lost are {lost:?}");
        assert!(found.is_sorted() && found.len() == records, "{name}: {} records", found.len());
    }
}
