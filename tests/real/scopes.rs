//! Clients in scopes of a real systemd. It is the first process of namespaces of its own, in cgroups of its
//! own, and has no unit to start; this program goes on beside it and takes it for the node's.

use std::process::{Child, Command, Stdio};

use crate::cgroup::{self, Cgroup};
use crate::clients;
use crate::elsewhere::{SYSTEMD, go_on};
use crate::fixture::{Lab, command, run, wait_for};

/// The program, where Debian and others have it.
const PROGRAM: &str = "/lib/systemd/systemd";
/// What systemd starts at its own start: nothing.
const TARGET: &str = "bricklayer-test.target";

/// Writes its own pid into each file up to `--`, and becomes the rest.
const ENTER: &str = r#"while [ "$1" != -- ]; do echo $$ >"$1"; shift; done
shift
exec "$@""#;

/// Becomes systemd. Its words are an empty folder, the target and the program.
///
/// /run and /sys/fs/cgroup are its own: systemd makes the latter read-only and mounts there what is not mounted yet,
/// which would be seen by the whole machine. So would be what it writes to the console. mount(8) wants /run/mount.
const BOOT: &str = r#"
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir -p "$1/mount" "$1/netns" "$1/systemd/system"
mount --rbind /run/netns "$1/netns"
printf '[Unit]\nDefaultDependencies=no\n' >"$1/systemd/system/$2"
mount --move "$1" /run
if [ "$(stat --file-system --format=%T /sys/fs/cgroup)" = tmpfs ]; then
  mount -t tmpfs tmpfs "$1"
  for at in $(awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/self/mounts); do
    mkdir "$1/${at##*/}"
    mount --bind "$at" "$1/${at##*/}"
  done
  mount -o remount,ro "$1"
  umount --recursive --lazy /sys/fs/cgroup
  mount --move "$1" /sys/fs/cgroup
fi
mount --bind /dev/null /dev/console
exec env -i PATH="$PATH" container=bricklayer-test "$3" --unit="$2" --log-target=null --show-status=0"#;

/// A systemd that is the first process of its namespaces. All that is in them ends with its value.
struct Systemd {
    process: Child,
    /// Its process, as this one sees it.
    first: String,
    _cgroup: Cgroup,
}

impl Systemd {
    fn start(lab: &Lab) -> Self {
        let cgroup = Cgroup::new(&format!("bricklayer-test-systemd-{}", std::process::id()));
        let folder = lab.file("mnt/systemd");
        std::fs::create_dir_all(&folder).unwrap();
        // In the lab's network, so that nothing of it is left when the lab has gone.
        let mut start = command(Some(&lab.namespace), "sh");
        start.args(["-euc", ENTER, "enter"]).args(cgroup.procs()).args(["--", "unshare", "--kill-child"]);
        start.args(["--pid", "--fork", "--mount-proc", "--mount", "--propagation", "private"]);
        start.args(["--uts", "--ipc", "--", "sh", "-euc", BOOT, "boot"]).arg(folder).args([TARGET, PROGRAM]);
        let process = start.stdin(Stdio::null()).spawn().unwrap();
        let mut systemd = Self { process, first: String::new(), _cgroup: cgroup };
        let parent = systemd.process.id().to_string();
        systemd.first = wait_for("the first process of the namespaces", 10, || {
            let child = Command::new("pgrep").args(["--parent", &parent]).output().unwrap();
            let child = String::from_utf8(child.stdout).unwrap();
            child.lines().next().map(str::to_owned)
        });
        wait_for("systemd to be up", 60, || {
            let ended = systemd.process.try_wait().unwrap();
            assert!(ended.is_none(), "it has ended: {ended:?}");
            let asked = systemd.beside().args(["systemctl", "is-active", TARGET]).output().unwrap();
            asked.status.success().then_some(())
        });
        systemd
    }

    /// A command that becomes the words after its own in these namespaces.
    fn beside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first, "--mount", "--pid", "--uts", "--ipc", "--"]);
        command
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        if let Err(error) = ended {
            eprintln!("systemd does not end: {error}");
        }
    }
}

/// The units of clients, as systemd beside this process knows them.
fn units() -> Vec<String> {
    let list = ["list-units", "--all", "--plain", "--no-legend", "bricklayer-client-*"];
    let lines = run(Command::new("systemctl").args(list));
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The plugin is killed under a writer whose client is in a scope.
pub fn outlive_the_plugin(lab: &Lab) {
    let systemd = Systemd::start(lab);
    go_on(lab, systemd.beside(), SYSTEMD);
}

/// The same, where systemd is the first process.
pub fn beside_systemd(lab: &Lab) {
    assert_eq!(std::fs::read_to_string("/proc/1/comm").unwrap(), "systemd\n");
    assert_eq!(units(), [""; 0]);
    clients::outlive(lab, "systemd", |pid| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let units = units();
        assert!(matches!(&units[..], [unit] if unit.ends_with(".scope")), "{units:?}");
        let of_scope = groups.lines().filter(|line| line.ends_with(&format!("/{}", units[0])));
        let count = of_scope.count();
        println!("  {} is the client's in {count} of {} hierarchies", units[0], cgroup::mounted().len());
        assert!(count > 0, "{groups}");
    });
    wait_for("the unit's end", 10, || units().is_empty().then_some(()));
}
