//! Who is calling, and what they may do.

pub mod heketi_jwt;

pub use heketi_jwt::{Keys, Refusal, Role};
