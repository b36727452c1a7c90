//! Controllers on simulated nodes that misbehave. After everything the checker has to find that
//! objects and nodes agree.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a case fails by panicking")]

mod access;
mod boundaries;
mod expansion;
mod growth;
mod lost_nodes;
mod races;
mod refusals;
mod replacement;
#[path = "../rig/mod.rs"]
mod rig;
mod space;
