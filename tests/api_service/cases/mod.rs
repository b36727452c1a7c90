//! The cases, by subject.

mod builtin;
mod deletion;
mod lists;
mod objects;
mod refusals;
mod runtime;
mod status;
mod validation;
mod watches;

use crate::harness::Case;

/// All cases.
pub fn all() -> Vec<Case> {
    [
        objects::cases(),
        status::cases(),
        deletion::cases(),
        validation::cases(),
        lists::cases(),
        watches::cases(),
        builtin::cases(),
        refusals::cases(),
        runtime::cases(),
    ]
    .concat()
}
