//! Bricklayer: GlusterFS volumes for Kubernetes, and a drop-in Heketi server. One library, one binary.

pub mod allocation;
pub mod cli;
pub mod executor;
pub mod intent;
pub mod resources;
pub mod store;
pub mod units;
