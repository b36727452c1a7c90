//! Logs: lines for people on a terminal, JSON otherwise, on the error stream.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

use crate::api::heketi::{Log, LogLevel};

/// Others say less than we do: what they call news is none to whoever runs this.
const OTHERS: &str = "kube=warn,russh=warn,redb=warn";

/// Starts logging. BRICKLAYER_LOG chooses what is logged, such as `info` or `bricklayer=debug`; the level of
/// what is given back begins with the most that is logged, and can be changed while the process runs.
pub fn start() -> Log {
    let filter = EnvFilter::try_from_env("BRICKLAYER_LOG").unwrap_or_else(|_| filter(LogLevel::default()));
    let level = level_of(&filter);
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if std::io::stderr().is_terminal() {
        lines.with_target(false).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Log::new(level, move |level| {
        if let Err(error) = handle.reload(self::filter(level)) {
            tracing::warn!(%error, "the level of the log was not changed");
        }
    })
}

/// The most that a filter lets through.
fn level_of(filter: &EnvFilter) -> LogLevel {
    match filter.max_level_hint() {
        Some(LevelFilter::OFF) => LogLevel::None,
        Some(LevelFilter::ERROR) => LogLevel::Error,
        Some(LevelFilter::WARN) => LogLevel::Warning,
        Some(LevelFilter::INFO) => LogLevel::Info,
        _ => LogLevel::Debug,
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    let ours = level.directive();
    match level {
        LogLevel::Info => EnvFilter::new(format!("{ours},{OTHERS}")),
        LogLevel::Debug => EnvFilter::new(format!("info,{OTHERS},bricklayer={ours}")),
        _ => EnvFilter::new(ours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_that_is_told_is_the_one_that_is_logged() {
        for level in [LogLevel::None, LogLevel::Error, LogLevel::Warning, LogLevel::Info, LogLevel::Debug] {
            assert_eq!(level_of(&filter(level)), level);
        }
        assert_eq!(level_of(&EnvFilter::new("warn,bricklayer=debug")), LogLevel::Debug);
    }
}
