//! Putting everything together: the only room that sees all others.

pub mod config;
