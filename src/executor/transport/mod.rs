//! Ways to a node: one file or folder each.

pub mod sim;
pub mod ssh;
