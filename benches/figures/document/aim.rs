//! What is aimed at, and whether the figures reach it.

use crate::figure::rounded;

/// Where a figure has to be.
#[derive(Clone, Copy)]
pub enum Limit {
    AtLeast(f64),
    Above(f64),
    AtMost(f64),
    Below(f64),
}

use Limit::{Above, AtLeast, AtMost, Below};

/// An aim, and what was reached, once all that it needs was measured.
pub struct Aim {
    what: String,
    limit: Limit,
    reached: Option<f64>,
}

impl Aim {
    /// An aim.
    pub fn new(what: impl Into<String>, limit: Limit, reached: Option<f64>) -> Self {
        Self { what: what.into(), limit, reached }
    }

    fn row(&self) -> String {
        let (AtLeast(bound) | Above(bound) | AtMost(bound) | Below(bound)) = self.limit;
        let (word, is_met): (_, fn(f64, f64) -> bool) = match self.limit {
            AtLeast(_) => ("≥", |value, least| value >= least),
            Above(_) => (">", |value, bound| value > bound),
            AtMost(_) => ("≤", |value, most| value <= most),
            Below(_) => ("<", |value, bound| value < bound),
        };
        let (shown, verdict) = match self.reached {
            None => ("not measured".to_owned(), ""),
            Some(value) if is_met(value, bound) => (rounded(value).to_string(), "met"),
            Some(value) => (rounded(value).to_string(), "**missed**"),
        };
        format!("| {} | {word} {bound} | {shown} | {verdict} |\n", self.what)
    }
}

/// A table of aims.
pub fn table(aims: &[Aim]) -> String {
    let rows: String = aims.iter().map(Aim::row).collect();
    format!("| aim | | reached | |\n|---|---|---|---|\n{rows}")
}

/// The least of all; none when one is missing.
pub fn least(all: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    all.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::min)
}
