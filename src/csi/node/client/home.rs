//! A copy of the client's files outside of the plugin's image. GlusterFS loads its parts when it needs
//! them, and the image of a container that has ended may be removed: a client that outlives its container
//! sees a copy as its `/usr`. It is named by what is in it, so another image makes another copy, and the old one
//! is removed once no process has it mounted.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid};
use sha2::{Digest, Sha256};

/// How deep a tree may be.
const DEEPEST: usize = 64;

/// A copy of the tree in `folder`, made now if it is not there yet. It is made under another name and renamed
/// when it is complete and on the disk. Everything here touches disks only, for seconds.
///
/// # Errors
/// When something cannot be read or written, or when the copy is not the same afterwards.
pub fn copy(tree: &Path, folder: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let name = digest(tree)?;
    let copy = folder.join(&name);
    if copy.is_dir() {
        // Checked each time: it is what clients run.
        if digest(&copy)? == name {
            return Ok(copy);
        }
        tracing::warn!(copy = %copy.display(), "the copy of the client's files was changed, and is made anew");
        std::fs::rename(&copy, folder.join(format!(".changed-{name}-{}", std::process::id())))?;
    }
    let new = folder.join(format!(".new-{name}"));
    if new.exists() {
        std::fs::remove_dir_all(&new)?;
    }
    copy_tree(tree, &new, 0)?;
    let made = digest(&new)?;
    if made != name {
        return Err(io::Error::other(format!("{} changed while it was copied", tree.display())));
    }
    rustix::fs::syncfs(std::fs::File::open(&new)?)?;
    std::fs::rename(&new, &copy)?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(copy)
}

/// Removes the copies in a folder but this one and those that a process has mounted, and what was left
/// half made. `proc` is where proc(5) is, and has to show all processes of the node.
///
/// # Errors
/// When it cannot be told which are in use; then none is removed.
pub fn remove_others(folder: &Path, keep: &Path, proc: &Path) -> io::Result<()> {
    let used = mounted_roots(proc)?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        // The path of a mount's root is told from the root of its file system, so only the end is known.
        let is_used = used.iter().any(|root| root.file_name() == Some(name) || root.ends_with(name));
        if path == keep || is_used {
            continue;
        }
        match std::fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(copy = %path.display(), "a copy of the client's files was removed"),
            Err(error) => {
                tracing::warn!(copy = %path.display(), %error, "a copy of the client's files stays")
            }
        }
    }
    Ok(())
}

/// The roots of everything that any process has mounted. A process that ends meanwhile has nothing.
fn mounted_roots(proc: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let (mut roots, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir(proc)? {
        let path = entry?.path();
        let is_process =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        if !is_process {
            continue;
        }
        // Processes of one mount namespace have the same mounts.
        if let Ok(namespace) = std::fs::read_link(path.join("ns/mnt"))
            && !seen.insert(namespace)
        {
            continue;
        }
        let table = match std::fs::read_to_string(path.join("mountinfo")) {
            Ok(table) => table,
            // It has ended, or is a zombie.
            Err(error) if matches!(error.raw_os_error(), Some(2 | 3 | 22)) => continue,
            Err(error) => return Err(error),
        };
        roots.extend(table.lines().filter_map(|line| line.split(' ').nth(3)).map(PathBuf::from));
    }
    Ok(roots)
}

/// What is in a tree, as a name: paths, kinds, rights, owners, sizes, times and where links lead. The contents
/// are not read, as packages set the times of their files.
fn digest(tree: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    describe(tree, Path::new(""), 0, &mut digest)?;
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn describe(tree: &Path, below: &Path, depth: usize, digest: &mut Sha256) -> io::Result<()> {
    for name in names(&tree.join(below), depth)? {
        let below = below.join(name);
        let path = tree.join(&below);
        let about = std::fs::symlink_metadata(&path)?;
        let is_folder = about.is_dir();
        // A folder's size is the file system's affair.
        let (size, time) =
            if is_folder { (0, (0, 0)) } else { (about.len(), (about.mtime(), about.mtime_nsec())) };
        digest.update(below.as_os_str().as_encoded_bytes());
        digest.update(format!("\0{:o} {} {} {size}", about.mode(), about.uid(), about.gid()));
        if about.is_symlink() {
            digest.update(std::fs::read_link(&path)?.as_os_str().as_encoded_bytes());
        } else {
            digest.update(format!(" {time:?}"));
        }
        digest.update(b"\n");
        if is_folder {
            describe(tree, &below, depth + 1, digest)?;
        }
    }
    Ok(())
}

/// What is in a folder, in order.
fn names(folder: &Path, depth: usize) -> io::Result<BTreeSet<std::ffi::OsString>> {
    if depth > DEEPEST {
        return Err(io::Error::other(format!(
            "{}: more than {DEEPEST} folders in each other",
            folder.display()
        )));
    }
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

fn copy_tree(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for name in names(from, depth)? {
        let (from, to) = (from.join(&name), to.join(&name));
        let about = std::fs::symlink_metadata(&from)?;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
        if about.is_dir() {
            copy_tree(&from, &to, depth + 1)?;
        } else if about.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&from)?, &to).map_err(named)?;
        } else if about.is_file() {
            std::fs::copy(&from, &to).map_err(named)?;
        } else {
            return Err(named(io::Error::other("neither a file nor a folder nor a link")));
        }
        keep_owner_and_times(&about, &to).map_err(named)?;
    }
    Ok(())
}

/// Gives a copy the owner, the rights and the times of what it was copied from.
fn keep_owner_and_times(about: &std::fs::Metadata, to: &Path) -> io::Result<()> {
    let owner = (Some(Uid::from_raw(about.uid())), Some(Gid::from_raw(about.gid())));
    let is_ours =
        std::fs::symlink_metadata(to).map(|made| (made.uid(), made.gid()) == (about.uid(), about.gid()))?;
    if !is_ours {
        rustix::fs::chownat(CWD, to, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if !about.is_symlink() {
        // After the owner: a change of that takes set-user-id bits away.
        std::fs::set_permissions(to, about.permissions())?;
    }
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(about.atime(), about.atime_nsec()),
        last_modification: time(about.mtime(), about.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn tree(at: &Path) -> PathBuf {
        let usr = at.join("usr");
        std::fs::create_dir_all(usr.join("lib/glusterfs")).unwrap();
        std::fs::create_dir_all(usr.join("sbin")).unwrap();
        std::fs::write(usr.join("lib/glusterfs/fuse.so"), "fuse").unwrap();
        std::fs::write(usr.join("sbin/glusterfs"), "program").unwrap();
        std::fs::set_permissions(usr.join("sbin/glusterfs"), PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("lib/nowhere", usr.join("lib64")).unwrap();
        usr
    }

    fn inside(folder: &Path) -> Vec<String> {
        names(folder, 0).unwrap().into_iter().map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_copy_is_the_same_and_made_once() {
        let at = tempfile::tempdir().unwrap();
        let (usr, folder) = (tree(at.path()), at.path().join("state/client"));
        let first = copy(&usr, &folder).unwrap();
        assert_eq!(digest(&usr).unwrap(), digest(&first).unwrap());
        assert_eq!(std::fs::read_to_string(first.join("lib/glusterfs/fuse.so")).unwrap(), "fuse");
        assert_eq!(std::fs::read_link(first.join("lib64")).unwrap(), Path::new("lib/nowhere"));
        assert_eq!(std::fs::metadata(first.join("sbin/glusterfs")).unwrap().mode() & 0o777, 0o755);
        let inode = std::fs::metadata(&first).unwrap().ino();
        assert_eq!(copy(&usr, &folder).unwrap(), first);
        assert_eq!(std::fs::metadata(&first).unwrap().ino(), inode, "it was not made twice");
        assert_eq!(inside(&folder).len(), 1);
    }

    #[test]
    fn another_image_and_a_changed_copy_are_made_anew() {
        let at = tempfile::tempdir().unwrap();
        let (usr, folder) = (tree(at.path()), at.path().join("client"));
        let first = copy(&usr, &folder).unwrap();
        std::fs::write(usr.join("sbin/glusterfs"), "another").unwrap();
        let second = copy(&usr, &folder).unwrap();
        assert_ne!(first, second);
        std::fs::remove_file(second.join("lib/glusterfs/fuse.so")).unwrap();
        // What a copy that was cut off has left is no hindrance.
        let name = second.file_name().unwrap().to_str().unwrap();
        std::fs::create_dir_all(folder.join(format!(".new-{name}")).join("lib")).unwrap();
        assert_eq!(copy(&usr, &folder).unwrap(), second);
        assert_eq!(std::fs::read_to_string(second.join("lib/glusterfs/fuse.so")).unwrap(), "fuse");
    }

    #[test]
    fn only_what_nobody_has_mounted_is_removed() {
        let at = tempfile::tempdir().unwrap();
        let (folder, proc) = (at.path().join("client"), at.path().join("proc"));
        for name in ["aa", "bb", "cc", ".new-dd"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        std::fs::create_dir_all(proc.join("12")).unwrap();
        std::fs::create_dir_all(proc.join("sys")).unwrap();
        std::fs::create_dir_all(proc.join("13")).unwrap(); // without a table: it has ended
        let table = "1 0 8:1 / / rw - overlay o rw\n2 1 8:1 /var/lib/x/client/bb /usr rw - ext4 /dev/a rw\n";
        std::fs::write(proc.join("12/mountinfo"), table).unwrap();
        remove_others(&folder, &folder.join("aa"), &proc).unwrap();
        assert_eq!(inside(&folder), ["aa", "bb"]);
        remove_others(&folder, &folder.join("aa"), &at.path().join("nowhere")).unwrap_err();
        assert_eq!(inside(&folder), ["aa", "bb"]);
    }
}
