//! One measured figure, as it is kept in `target/bench/NAME.json`, and in `benches/kept` for whoever has not measured
//! it on this machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fixture::tree;

/// A figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: String,
    /// How many single measurements it stands for.
    pub n: usize,
    /// Of the single measurements: milliseconds for rates, else in `unit`.
    pub p50: f64,
    pub p99: f64,
    /// The machine's load of the last minute when the measurement began.
    pub load: f64,
    /// How many processors were busy with other things meanwhile.
    pub others: f64,
    pub date: String,
    /// Whatever else was seen.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Figure {
    /// A figure from single measurements.
    pub fn new(name: &str, unit: &str, value: f64, mut single: Vec<f64>, load: f64, others: f64) -> Self {
        single.sort_by(f64::total_cmp);
        let at = |share: f64| single[((single.len() - 1) as f64 * share).round() as usize];
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let (p50, p99) = (rounded(at(0.5)), rounded(at(0.99)));
        let (name, unit) = (name.to_owned(), unit.to_owned());
        let value = rounded(value);
        Self {
            name,
            value,
            unit,
            n: single.len(),
            p50,
            p99,
            load,
            others: rounded(others),
            date,
            more: Default::default(),
        }
    }

    /// A figure whose value is the median.
    pub fn median(name: &str, unit: &str, single: Vec<f64>, load: f64, others: f64) -> Self {
        let mut figure = Self::new(name, unit, 0.0, single, load, others);
        figure.value = figure.p50;
        figure
    }

    /// A figure whose value is what only one in a hundred exceeds.
    pub fn p99(name: &str, unit: &str, single: Vec<f64>, load: f64, others: f64) -> Self {
        let mut figure = Self::new(name, unit, 0.0, single, load, others);
        figure.value = figure.p99;
        figure
    }

    /// Notes something else.
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.more.insert(name.to_owned(), rounded(value).into());
        self
    }

    /// Writes it down, and says it.
    pub fn keep(&self) {
        std::fs::create_dir_all(directory()).unwrap();
        let text = serde_json::to_string_pretty(self).unwrap();
        std::fs::write(directory().join(format!("{}.json", self.name)), text + "\n").unwrap();
        let more =
            if self.more.is_empty() { String::new() } else { serde_json::to_string(&self.more).unwrap() };
        println!(
            "{:28} {:>9} {:10} n {:5}  p50 {:>8} p99 {:>8}  load {:5} others {:4} {more}",
            self.name, self.value, self.unit, self.n, self.p50, self.p99, self.load, self.others
        );
    }

    /// What was noted under a name, as text.
    pub fn also(&self, name: &str) -> String {
        self.more.get(name).map(ToString::to_string).unwrap_or_default()
    }

    /// The same, as a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.more.get(name)?.as_f64()
    }

    /// Reads a figure, if it was ever measured.
    pub fn read(name: &str) -> Option<Self> {
        let text = std::fs::read_to_string(kept().join(format!("{name}.json"))).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }
}

/// Takes what was measured on this machine over into the tree.
pub fn take_over() {
    let Ok(measured) = std::fs::read_dir(directory()) else { return };
    for file in measured.map(|entry| entry.unwrap()) {
        std::fs::copy(file.path(), kept().join(file.file_name())).unwrap();
    }
}

/// Where the last measured figures stand in the tree.
fn kept() -> PathBuf {
    tree().join("benches/kept")
}

/// Where figures of this machine are kept.
fn directory() -> PathBuf {
    tree().join("target/bench")
}

/// As figures are written down.
pub fn rounded(value: f64) -> f64 {
    let digits = if value.abs() < 10.0 { 1000.0 } else { 10.0 };
    (value * digits).round() / digits
}
