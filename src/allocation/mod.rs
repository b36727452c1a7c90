//! Choosing places for bricks. Pure: knows sizes and ids, and values of its own. No waiting, no
//! clock, no objects.
//!
//! [`place`](place::place) takes an [`Inventory`] and a [`Request`] and gives a list of bricks, or a
//! [`Refused`] that says device by device what excluded it. [`check`](check::check) is the judge
//! that tests compare with.

pub mod check;
mod inventory;
pub mod place;
mod refused;
mod request;

pub use inventory::{Device, Inventory, Node, Taken};
pub use place::{Brick, place};
pub use refused::{Excluded, Exclusion, Refused};
pub use request::{Request, Sizing, brick_need};
