//! Bricklayer: GlusterFS volumes for Kubernetes, and a drop-in Heketi server. One library, one binary.

pub mod allocation;
pub mod api;
pub mod auth;
pub mod cli;
pub mod controllers;
pub mod csi;
pub mod executor;
pub mod intent;
pub mod placement;
pub mod provisioner;
pub mod resources;
pub mod serve;
pub mod store;
pub mod units;
