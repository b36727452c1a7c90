//! What the original does: as it was measured beside ours, else as it was on another day.

use crate::figure::Figure;

/// The day of what was not measured beside ours, on 2 cores at a load of 1.5 to 3.4.
pub const DAY: &str = "2026-11-22";
/// Deletes/s of that day, at any number of volumes: the least and the most.
pub const DELETES: (f64, f64) = (103.0, 112.0);

/// Name, unit, value, p50 and p99 of figures of that day.
const OF_THAT_DAY: [(&str, &str, f64, f64, f64); 17] = [
    ("create_rate_c1_n0", "creates/s", 30.0, 31.0, 113.0),
    ("create_rate_c8_n0", "creates/s", 35.0, 205.0, 332.0),
    ("create_rate_c64_n0", "creates/s", 22.0, 2109.0, 4535.0),
    ("create_rate_c1_n1000", "creates/s", 10.0, 97.0, 146.0),
    ("create_rate_c8_n1000", "creates/s", 8.0, 1000.0, 1099.0),
    ("create_rate_c64_n1000", "creates/s", 5.3, 7938.0, 14_980.0),
    ("create_rate_c1_n10000", "creates/s", 1.1, 990.0, 1026.0),
    ("get_one_c1_n5000", "ms", 7.0, 2.3, 7.0),
    ("get_one_c8_n5000", "ms", 69.9, 14.6, 69.9),
    ("list_c1_n5000", "ms", 4.8, 1.4, 4.8),
    ("list_c8_n5000", "ms", 25.4, 8.3, 25.4),
    ("memory_n0", "MB", 31.0, 31.0, 31.0),
    ("memory_n1000", "MB", 45.0, 45.0, 45.0),
    ("memory_n10000", "MB", 109.0, 109.0, 109.0),
    ("cold_start_n0", "s", 0.06, 0.06, 0.06),
    ("cold_start_n1000", "s", 0.3, 0.3, 0.3),
    ("cold_start_n10000", "s", 4.0, 4.0, 4.0),
];

/// The original's figure of something.
pub fn figure(name: &str) -> Option<Figure> {
    Figure::read(&format!("heketi_{name}")).or_else(|| of_that_day(name))
}

fn of_that_day(name: &str) -> Option<Figure> {
    let (_, unit, value, p50, p99) = OF_THAT_DAY.into_iter().find(|figure| figure.0 == name)?;
    let (name, unit, date) = (name.to_owned(), unit.to_owned(), DAY.to_owned());
    Some(Figure { name, value, unit, n: 0, p50, p99, load: 0.0, others: 0.0, date, more: Default::default() })
}

/// When it was measured, seen from the day of ours.
pub fn day(theirs: Option<&Figure>, ours: Option<&Figure>) -> String {
    match theirs {
        None => String::new(),
        Some(theirs) if ours.is_some_and(|ours| ours.date == theirs.date) => "the same".to_owned(),
        Some(theirs) => format!("another: {}", theirs.date),
    }
}
