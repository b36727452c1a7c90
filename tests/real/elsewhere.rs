//! Scenarios in other surroundings than this process has: this program is started once more in them, and
//! goes on with the same lab.

use std::process::{Command, ExitCode};

use crate::fixture::{self, Lab};
use crate::{cgroup, clients, scopes};

/// Says to a program that goes on which lab it has: what [`Lab::words`] gives.
const LAB: &str = "BRICKLAYER_TEST_LAB";

/// The scenario of a node with one hierarchy of cgroups.
const SECOND_VERSION: &str = "the only cgroups are of the second version";
/// The scenario of a node whose first process is systemd.
pub const SYSTEMD: &str = "systemd is the node's first process";
/// The scenario of a node whose kernel puts no mount below another one.
const OLD_KERNEL: &str = "the kernel is older than 6.5";

/// A shell that becomes its words where no cgroups are mounted but those of the second version.
const ONE_HIERARCHY: &str = r#"umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec "$@""#;

/// Runs the chosen scenario if this program was started to go on elsewhere.
pub fn continued() -> Option<ExitCode> {
    let words = std::env::var(LAB).ok()?;
    let lab = Lab::of(&words);
    let all: [fixture::Scenario<Lab>; 3] = [
        (SECOND_VERSION, on_second_version),
        (SYSTEMD, scopes::beside_systemd),
        (OLD_KERNEL, on_an_old_kernel),
    ];
    Some(fixture::scenarios(&*lab, &all))
}

/// Goes on with a scenario where `surroundings` leads to: a command that becomes the words after its own.
pub fn go_on(lab: &Lab, mut surroundings: Command, scenario: &str) {
    let program = std::env::current_exe().unwrap();
    let status = surroundings.arg(program).arg(scenario).env(LAB, lab.words()).status().unwrap();
    assert!(status.success(), "{scenario}: {status}");
}

/// Clients outlive the plugin on a node that has cgroups of the second version only: in a cgroup of their own, and
/// in a scope.
pub fn second_version(lab: &Lab) {
    let mut alone = Command::new("unshare");
    alone.args(["--mount", "--propagation", "private", "--", "sh", "-euc", ONE_HIERARCHY, "alone"]);
    go_on(lab, alone, SECOND_VERSION);
}

fn on_second_version(lab: &Lab) {
    let mounted = cgroup::mounted();
    assert!(matches!(&mounted[..], [(kind, _)] if kind == "cgroup2"), "{mounted:?}");
    clients::outlive(lab, "cgroup", |pid| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        // The kernel may know hierarchies of the first version all the same: nobody sees them here.
        assert!(groups.lines().any(|line| line == "0::/bricklayer-clients"), "{groups}");
    });
    scopes::outlive_the_plugin(lab);
}

/// Dead clients are replaced in running containers also where the kernel cannot put a mount below the dead one.
pub fn old_kernel(lab: &Lab) {
    go_on(lab, Command::new("tests/real/old_kernel.py"), OLD_KERNEL);
}

fn on_an_old_kernel(lab: &Lab) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.lines().any(|line| line == "Seccomp:\t2"), "no filter of system calls: {status}");
    clients::are_replaced(lab);
}
