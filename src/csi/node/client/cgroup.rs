//! Which cgroups a client has to leave. A container's processes are ended by its cgroups: kubelet and the
//! container runtime collect the pids of every hierarchy, so a client that stays in one of them ends
//! with the container.

use std::path::{Path, PathBuf};

/// The cgroup of all clients, right below the root of each hierarchy: no pod's is above it.
pub const CLIENTS: &str = "bricklayer-clients";

/// One hierarchy that this process is in, and that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where its root is mounted.
    pub root: PathBuf,
    /// A new cgroup of the first version has no CPUs and no memory nodes, and takes no process until it has.
    pub needs_cpus: bool,
    /// Systemd keeps it, and moves processes in it by itself.
    pub is_of_systemd: bool,
}

impl Hierarchy {
    /// The folder of the clients' cgroup.
    pub fn clients(&self) -> PathBuf {
        self.root.join(CLIENTS)
    }
}

/// The hierarchies, by a process's /proc/self/cgroup and the mount table (/proc/1/mountinfo) of a
/// process whose root directory is seen at `root`. The text of cgroups(7): `4:memory:/a` or `0::/a`.
pub fn hierarchies(own: &str, mountinfo: &str, root: &Path) -> Vec<Hierarchy> {
    let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(mount).collect();
    let of = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers) = (fields.next()?, fields.next()?);
        let is_it = |mount: &&Mount<'_>| match controllers {
            "" => mount.kind == "cgroup2",
            all => mount.kind == "cgroup" && all.split(',').all(|one| mount.has(one)),
        };
        let found = mounts.iter().find(is_it)?;
        Some(Hierarchy {
            root: root.join(found.at.trim_start_matches('/')),
            needs_cpus: controllers.split(',').any(|one| one == "cpuset"),
            is_of_systemd: matches!(controllers, "" | "name=systemd"),
        })
    };
    own.lines().filter_map(of).collect()
}

/// A mounted hierarchy.
struct Mount<'a> {
    at: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl Mount<'_> {
    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|option| option == controller)
    }
}

/// A line of a mount table, if it is of cgroups. Their paths have no signs that are written otherwise.
fn mount(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let at = before.split(' ').nth(4)?;
    let mut fields = after.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    kind.starts_with("cgroup").then_some(Mount { at, kind, options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(own: &str, mountinfo: &str) -> Vec<(String, bool, bool)> {
        let all = hierarchies(own, mountinfo, Path::new("/proc/1/root"));
        let shown = |one: Hierarchy| (one.clients().display().to_string(), one.needs_cpus, one.is_of_systemd);
        all.into_iter().map(shown).collect()
    }

    fn at(path: &str, needs_cpus: bool, is_of_systemd: bool) -> (String, bool, bool) {
        (format!("/proc/1/root/sys/fs/cgroup{path}/bricklayer-clients"), needs_cpus, is_of_systemd)
    }

    const V1: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
";

    #[test]
    fn every_mounted_hierarchy_of_the_first_version() {
        let own = "9:name=systemd:/kubepods/pod1/c\n5:devices:/kubepods/pod1/c\n3:cpuset:/kubepods/pod1/c\n\
                   1:cpu,cpuacct:/kubepods/pod1/c\n";
        let expected =
            [at("/systemd", false, true), at("/cpuset", true, false), at("/cpu,cpuacct", false, false)];
        assert_eq!(found(own, V1), expected, "devices is mounted nowhere");
    }

    #[test]
    fn the_one_of_the_second_version() {
        let table = "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(found("0::/kubepods.slice/x.scope\n", table), [at("", false, true)]);
        assert_eq!(found("0::/\n", table), [at("", false, true)], "a namespace hides where it is");
    }

    #[test]
    fn both_at_once() {
        let table = format!("{V1}42 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        let own = "3:cpuset:/a\n0::/a\n";
        assert_eq!(found(own, &table), [at("/cpuset", true, false), at("/unified", false, true)]);
        assert_eq!(found(own, "not a table\n1 2 3\n"), []);
    }
}
