//! CSI's Controller service over a real socket, on an embedded store and simulated nodes: every call,
//! every refusal, and what a client sees that hangs up and asks again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod client;
#[path = "../rig/mod.rs"]
mod rig;

mod lives;
mod lost;
mod refusals;
mod world;
