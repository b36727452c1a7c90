//! The allocator against its judge, against a search that tries every combination, against the bound, and in words.

#![allow(clippy::unwrap_used, reason = "a case fails by panicking")]

mod estates;
mod fill;
mod grow;
mod packing;
mod refusals;
mod rules;
mod search;
