//! Logs: lines for people on a terminal, JSON otherwise, on the error stream.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. BRICKLAYER_LOG chooses what is logged, such as `info` or `bricklayer=debug`.
pub fn start() {
    let filter = EnvFilter::try_from_env("BRICKLAYER_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,kube=warn,russh=warn,redb=warn"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.with_target(false).init();
    } else {
        lines.json().flatten_event(true).init();
    }
}
