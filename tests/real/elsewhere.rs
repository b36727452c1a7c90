//! Scenarios in other surroundings than this process has: this program is started once more in them, and
//! goes on with the same lab.

use std::process::{Command, ExitCode};

use crate::fixture::{self, Lab};
use crate::scopes;

/// Says to a program that goes on which lab it has: what [`Lab::words`] gives.
const LAB: &str = "BRICKLAYER_TEST_LAB";

/// The scenario of a node whose first process is systemd.
pub const SYSTEMD: &str = "systemd is the node's first process";

/// Runs the chosen scenario if this program was started to go on elsewhere.
pub fn continued() -> Option<ExitCode> {
    let words = std::env::var(LAB).ok()?;
    let lab = Lab::of(&words);
    Some(fixture::scenarios(&*lab, &[(SYSTEMD, scopes::beside_systemd as fn(&Lab))]))
}

/// Goes on with a scenario where `surroundings` leads to: a command that becomes the words after its own.
pub fn go_on(lab: &Lab, mut surroundings: Command, scenario: &str) {
    let program = std::env::current_exe().unwrap();
    let status = surroundings.arg(program).arg(scenario).env(LAB, lab.words()).status().unwrap();
    assert!(status.success(), "{scenario}: {status}");
}
