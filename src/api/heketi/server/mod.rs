//! The routes about the server itself: what is under way, its mode, its log, its figures, what it knows and what
//! its nodes say.

pub mod consistency;
pub mod dump;
pub mod examine;
pub mod figures;
pub mod logging;
pub mod mode;
mod node_data;
pub mod operations;
