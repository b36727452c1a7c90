//! Logs: lines for people on a terminal, JSON otherwise, on the error stream.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

use crate::api::heketi::{Log, LogLevel};

/// Others say less than we do: what they call news is none to whoever runs this.
const OTHERS: &str = "kube=warn,russh=warn,redb=warn";

/// Starts logging. BRICKLAYER_LOG chooses what is logged, such as `info` or `bricklayer=debug`; the level of
/// what is given back can be changed while the process runs.
pub fn start() -> Log {
    let filter = EnvFilter::try_from_env("BRICKLAYER_LOG").unwrap_or_else(|_| filter(LogLevel::default()));
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if std::io::stderr().is_terminal() {
        lines.with_target(false).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Log::new(LogLevel::default(), move |level| {
        if let Err(error) = handle.reload(self::filter(level)) {
            tracing::warn!(%error, "the level of the log was not changed");
        }
    })
}

fn filter(level: LogLevel) -> EnvFilter {
    let ours = level.directive();
    match level {
        LogLevel::Info => EnvFilter::new(format!("{ours},{OTHERS}")),
        LogLevel::Debug => EnvFilter::new(format!("info,{OTHERS},bricklayer={ours}")),
        _ => EnvFilter::new(ours),
    }
}
