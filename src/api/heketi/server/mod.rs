//! The routes about the server itself: what is under way, its mode, its log, its figures and what it knows.

pub mod consistency;
pub mod dump;
pub mod figures;
pub mod logging;
pub mod mode;
pub mod operations;
