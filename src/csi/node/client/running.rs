//! The client processes that run on this node, whoever started them: seen in /proc, without touching any mount.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::csi::node::mounts::Table;

/// The processes of GlusterFS that mount, or have mounted, at one of these paths.
pub fn at(paths: &[PathBuf]) -> Vec<i32> {
    let is_client = |pid: &i32| {
        // One that has ended, and that nobody has waited for yet, has no words any more.
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| mounts_at(&words, paths))
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_client).collect()
}

/// Whether the client still runs that serves what is mounted at a path, be it the staging path or a bind of it.
pub fn serves(table: &Table, path: &Path) -> bool {
    let Some(top) = table.top(path) else { return false };
    let same = table.all().iter().filter(|one| one.device == top.device);
    !at(&same.map(|one| one.at.clone()).collect::<Vec<_>>()).is_empty()
}

/// Whether the words of a process, each ended by a NUL, are those of a client that is mounted at one of these paths.
fn mounts_at(words: &[u8], paths: &[PathBuf]) -> bool {
    let mut words = words.split(|byte| *byte == 0);
    words.next().is_some_and(|program| program.ends_with(b"/glusterfs"))
        && words.any(|word| paths.iter().any(|path| path.as_os_str().as_bytes() == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_its_program_and_its_path() {
        let paths = ["/s/a", "/p/t"].map(PathBuf::from);
        let client = b"/usr/sbin/glusterfs\0--volfile-id=/v\0/s/a\0";
        assert!(mounts_at(client, &paths));
        for other in [
            &b"/usr/sbin/glusterfs\0--volfile-id=/v\0/s/ab\0"[..],
            b"/usr/sbin/glusterfsd\0/s/a\0",
            b"umount\0/s/a\0",
            b"",
        ] {
            assert!(!mounts_at(other, &paths), "{}", String::from_utf8_lossy(other));
        }
        assert!(!mounts_at(client, &[]));
    }

    #[test]
    fn nobody_serves_what_no_client_has_mounted() {
        let table = Table::parse(b"1 0 0:5 / /s/nobody rw - fuse.glusterfs a:/v rw\n");
        assert!(!serves(&table, Path::new("/s/nobody")));
        assert!(!serves(&table, Path::new("/s/nothing")));
    }
}
