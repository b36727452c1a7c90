//! Choosing places for bricks. Pure: knows sizes and ids, and values of its own. No waiting, no
//! clock, no objects, no chance.
//!
//! [`place`](place::place) takes an [`Inventory`] and a [`Request`] and gives a list of bricks and why they lie where
//! they lie, or a [`Refused`] that says device by device what excluded it; [`advice`](fn@advice) says what would help.
//! [`replace`](replace::replace) finds a new place for one brick, [`grow`](grow::grow) makes those of a volume larger.
//! [`check`](check::check) is the judge that tests compare with, [`bound`] how much fits at most.

mod advice;
mod arbiter;
pub mod bound;
pub mod check;
mod columns;
mod explain;
pub mod grow;
mod inventory;
pub mod place;
mod refused;
pub mod replace;
mod request;

pub use advice::{Advice, advice, advice_as_it_is, largest};
pub use explain::Reasons;
pub use inventory::{Device, Inventory, Node, Taken};
pub use place::{Brick, Placement, fits, place};
pub use refused::{Cause, Excluded, Exclusion, Refused};
pub use request::{Layout, Need, Request, Sizing, ZoneRule, brick_need};
