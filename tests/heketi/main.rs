//! Heketi's REST as clients meet it: the recorded answers of the original, and bad input.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on ends")]

#[path = "../fixture/mod.rs"]
mod fixture;

mod about_the_server;
mod authorization;
mod bad_input;
mod behaviour;
mod compare;
mod examine;
mod fuzz;
mod http;
mod load;
mod nodes_elsewhere;
mod recorded;
mod server;
mod turmoil;
