//! Replacing a dead mount inside a running container. It needs a process of its own, since only one that has no
//! other threads may enter another mount namespace: `bricklayer rebind`, started in a mount namespace of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::csi::node::mounts::{self, Away};

/// Replace a dead mount in a running container: what `bricklayer node` starts
#[derive(Debug, clap::Args)]
pub struct RebindArgs {
    /// A process in the container, by its pid here
    #[arg(long)]
    pub pid: u32,
    /// Its mount namespace, as /proc/PID/ns/mnt shows it: the pid may be another process's by now
    #[arg(long)]
    pub namespace: String,
    /// Where the volume is staged
    #[arg(long)]
    pub staging: PathBuf,
    /// The directory or file of the volume that is to be seen; a dot for all of it
    #[arg(long)]
    pub below: PathBuf,
    /// Where the dead mount is, as processes of the container see it
    #[arg(long)]
    pub path: PathBuf,
    /// The options of the dead mount, which the new one gets
    #[arg(long, value_delimiter = ',')]
    pub options: Vec<String>,
}

/// Replaces the mount. This process has to be in a mount namespace of its own, whose mounts nobody else
/// sees, and ends in the container's.
///
/// # Errors
/// Names the step that failed. The dead mount is still there then, except when the last step fails.
pub fn run(args: &RebindArgs) -> io::Result<()> {
    let step = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let namespace = open_namespace(args).map_err(|error| step("the container's mounts", error))?;
    let tree =
        tree(args).map_err(|error| step(&args.staging.join(&args.below).display().to_string(), error))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
        .map_err(|error| step("enter the container's mounts", error.into()))?;
    let there = args.path.display();
    // Below the dead mount first, where the kernel can (from 6.5 on): so there is never a moment at which
    // a pod writes into the empty directory below.
    match moved(&tree, &args.path, MoveMountFlags::MOVE_MOUNT_BENEATH) {
        Ok(()) => mounts::unmount(&args.path, Away::AtOnce)
            .map_err(|error| step(&format!("unmount {there}"), error)),
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
            mounts::unmount(&args.path, Away::AtOnce)
                .map_err(|error| step(&format!("unmount {there}"), error))?;
            moved(&tree, &args.path, MoveMountFlags::empty())
                .map_err(|error| step(&format!("mount at {there}"), error.into()))
        }
        Err(error) => Err(step(&format!("mount at {there}"), error.into())),
    }
}

fn open_namespace(args: &RebindArgs) -> io::Result<File> {
    let path = Path::new("/proc").join(args.pid.to_string()).join("ns/mnt");
    let file = File::open(&path)?;
    // Once it is open it is held, so it is looked at after that.
    let is = std::fs::read_link(&path)?;
    if is.as_os_str() != args.namespace.as_str() {
        return Err(io::Error::other(format!("process {} is not in {} any more", args.pid, args.namespace)));
    }
    Ok(file)
}

/// A mount of what is to be seen that is nowhere yet, with the options of the dead one.
fn tree(args: &RebindArgs) -> io::Result<OwnedFd> {
    let wanted = beneath(&args.staging, &args.below)?;
    let source = args.staging.join(&args.below);
    let flags = mounts::flags(&args.options);
    mounts::bind(&source, &source)?;
    rustix::mount::mount_remount(&source, flags | MountFlags::BIND, "")?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, &source, clone)?;
    // Mounting follows links, and who writes to the volume can make one at any time: then this is something else.
    let (wanted, is) = (rustix::fs::fstat(&wanted)?, rustix::fs::fstat(&tree)?);
    if (wanted.st_dev, wanted.st_ino) != (is.st_dev, is.st_ino) {
        return Err(io::Error::other("it was replaced meanwhile, or is reached by a symbolic link"));
    }
    Ok(tree)
}

/// What is at a path below a directory, without following a link: it would lead out of the volume, and a container
/// would be shown the node's own files.
fn beneath(top: &Path, below: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(top, flags, Mode::empty())?;
    for part in below.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => return Err(io::Error::other(format!("{} is no path below", below.display()))),
        };
        at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&at)?.st_mode) == FileType::Symlink {
            return Err(io::Error::other(format!("{} is a symbolic link", name.display())));
        }
    }
    Ok(at)
}

fn moved(tree: &impl AsFd, to: &Path, more: MoveMountFlags) -> rustix::io::Result<()> {
    rustix::mount::move_mount(tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | more)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn links_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("out")).unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("a/in")).unwrap();
        for below in [".", "./a", "./a/b", "a/b/file"] {
            assert!(beneath(folder.path(), Path::new(below)).is_ok(), "{below}");
        }
        for (below, why) in [
            ("out", "is a symbolic link"),
            ("out/passwd", "is a symbolic link"),
            ("a/in", "is a symbolic link"),
            ("..", "is no path below"),
            ("/etc", "is no path below"),
            ("a/../a", "is no path below"),
            ("missing", "No such file"),
            ("a/b/file/x", "Not a directory"),
        ] {
            let error = beneath(folder.path(), Path::new(below)).unwrap_err();
            assert!(error.to_string().contains(why), "{below}: {error}");
        }
    }
}
