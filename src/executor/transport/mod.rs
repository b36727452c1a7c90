//! Ways to a node: one file or folder each, and what those share that speak to a shell.

pub mod pod_exec;
mod script;
mod shell;
pub mod sim;
pub mod ssh;
