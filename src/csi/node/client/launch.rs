//! The words that start a client outside of the plugin's container. They are a chain of programs,
//! each of which becomes the next: a shell that leaves the container's cgroups, `systemd-run` where the
//! host runs systemd, `unshare`, a shell that arranges the client's own mounts, and `mount.glusterfs`. The
//! shells get everything as words after their script, so nothing of it is ever read as syntax.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Writes its own pid into each file up to `--`, and becomes what comes after it. What cannot be left
/// is a failure: a client that stays in one of the cgroups dies with the container.
const LEAVE: &str = r#"while [ "$1" != -- ]; do
  echo $$ >"$1" || { echo "the cgroup $1 takes no process" >&2; exit 71; }
  shift
done
shift
exec "$@""#;

/// In a mount namespace of its own: shows the kept copy of the client's files as /usr, lets go of the
/// pods' mounts, and becomes the rest. Its first words are the copy and the pods' directory, each may be empty.
/// The root mount is made private first, so that nobody else sees what is mounted on it; the
/// directory that volumes are staged in stays shared, so that everybody sees the client's mount.
/// A lazy unmount takes all that is mounted below with it and touches none of it.
const ARRANGE: &str = r#"set -e
if [ -n "$1" ]; then
  mount --make-private /
  mount --bind -- "$1" /usr
  mount --make-private /usr
fi
if [ -n "$2" ]; then
  mount --make-rprivate -- "$2"
  umount --lazy --no-canonicalize -- "$2"
fi
shift 2
exec "$@""#;

/// How a client is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// The `cgroup.procs` files that it writes itself into.
    pub procs: Vec<PathBuf>,
    /// The systemd scope that it becomes.
    pub scope: Option<Scope>,
    /// A folder that it sees as `/usr`.
    pub usr: Option<PathBuf>,
    /// A mount point that it lets go of, with all below.
    pub pods: Option<PathBuf>,
}

/// A transient unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Its name, without the ending.
    pub unit: String,
    /// What `systemctl` shows.
    pub description: String,
}

/// The program and the words that start `words` in that way.
pub fn words(launch: &Launch, words: &[OsString]) -> (OsString, Vec<OsString>) {
    let mut all: Vec<OsString> = ["-c", LEAVE, "leave"].map(OsString::from).into();
    all.extend(launch.procs.iter().map(|file| file.clone().into()));
    all.push("--".into());
    if let Some(scope) = &launch.scope {
        let options = ["--scope", "--quiet", "--collect"].map(OsString::from);
        all.push("systemd-run".into());
        all.extend(options);
        all.extend(
            [format!("--unit={}", scope.unit), format!("--description={}", scope.description)]
                .map(OsString::from),
        );
        all.push("--".into());
    }
    let path = |path: Option<&PathBuf>| path.map_or_else(OsString::new, |path| path.clone().into());
    all.extend(
        ["unshare", "--mount", "--propagation", "unchanged", "--", "sh", "-c", ARRANGE, "arrange"]
            .map(OsString::from),
    );
    all.extend([path(launch.usr.as_ref()), path(launch.pods.as_ref())]);
    all.extend(words.iter().cloned());
    ("sh".into(), all)
}

/// Whether a mount at this path is seen by others than this process's mount namespace, by its
/// /proc/self/mountinfo: the mount that the path is on has to be shared.
pub fn is_shared(mountinfo: &str, path: &Path) -> bool {
    let lines = mountinfo.lines().filter_map(|line| {
        let at = Path::new(line.split(' ').nth(4)?);
        path.starts_with(at).then(|| (at.components().count(), line))
    });
    // Of several mounts at one path, the last in the table is the one that is seen.
    let Some((_, line)) = lines.max_by_key(|(depth, _)| *depth) else { return false };
    line.split(" - ")
        .next()
        .is_some_and(|fields| fields.split(' ').skip(6).any(|tag| tag.starts_with("shared:")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::process::Command;

    use super::*;

    fn owned(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn each_part_is_there_when_it_is_asked_for() {
        let scope = Scope { unit: "bricklayer-1".into(), description: "volume a b".into() };
        let launch = Launch {
            procs: vec!["/c/a/cgroup.procs".into(), "/c/b/cgroup.procs".into()],
            scope: Some(scope),
            usr: Some("/state/client/1".into()),
            pods: Some("/k/pods".into()),
        };
        let (program, all) = words(&launch, &owned(&["mount.glusterfs", "a:/v", "/at"]));
        assert_eq!(program, "sh");
        let arrange = all.iter().position(|word| word == "arrange").unwrap();
        let begin = owned(&[
            "leave",
            "/c/a/cgroup.procs",
            "/c/b/cgroup.procs",
            "--",
            "systemd-run",
            "--scope",
            "--quiet",
            "--collect",
            "--unit=bricklayer-1",
            "--description=volume a b",
            "--",
            "unshare",
        ]);
        assert_eq!(all[2..2 + begin.len()], begin);
        assert_eq!(
            all[arrange + 1..],
            owned(&["/state/client/1", "/k/pods", "mount.glusterfs", "a:/v", "/at"])
        );
        let (_, plain) = words(&Launch::default(), &owned(&["x"]));
        assert_eq!(plain[2..5], owned(&["leave", "--", "unshare"]));
        assert_eq!(plain[plain.len() - 3..], owned(&["", "", "x"]));
    }

    #[test]
    fn the_shell_takes_words_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let odd = "a b'\"$(touch broken)`;*\n";
        let (one, two) = (folder.path().join(odd), folder.path().join("two"));
        let (program, mut all) = words(
            &Launch { procs: vec![one.clone(), two.clone()], ..Launch::default() },
            &owned(&["printf", "%s|", odd, ""]),
        );
        // Without the namespace, which needs root.
        let from = all.iter().position(|word| word == "unshare").unwrap();
        all.drain(from..from + 5);
        let output = Command::new(program).args(all).current_dir(folder.path()).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{odd}||"));
        let pid: u32 = std::fs::read_to_string(&one).unwrap().trim().parse().unwrap();
        assert_eq!(std::fs::read_to_string(&two).unwrap().trim(), pid.to_string(), "one process all the way");
        assert!(!folder.path().join("broken").exists());
    }

    #[test]
    fn a_cgroup_that_cannot_be_entered_is_a_failure() {
        let launch = Launch { procs: vec!["/nowhere/cgroup.procs".into()], ..Launch::default() };
        let (program, all) = words(&launch, &owned(&["true"]));
        let output = Command::new(program).args(all).output().unwrap();
        assert_eq!(output.status.code(), Some(71));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("the cgroup /nowhere/cgroup.procs takes no process"), "{said}");
    }

    #[test]
    fn the_nearest_mount_decides_whether_others_see() {
        let table = "\
1 0 8:1 / / rw - ext4 /dev/a rw
2 1 8:1 /k /k/plugins rw,relatime shared:7 master:1 - ext4 /dev/a rw
3 2 8:1 /p /k/plugins/private rw,relatime master:1 - ext4 /dev/a rw
";
        assert!(is_shared(table, Path::new("/k/plugins/a/globalmount")));
        assert!(!is_shared(table, Path::new("/k/plugins/private/globalmount")));
        assert!(!is_shared(table, Path::new("/k/pluginsx")));
        assert!(!is_shared("", Path::new("/k")));
    }
}
