//! Replacing a dead mount inside a running container. It needs a process of its own, since only one that has no
//! other threads may enter another mount namespace: `bricklayer rebind`, started in a mount namespace of its own.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
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
    /// The directory that is to be seen
    #[arg(long)]
    pub source: PathBuf,
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
    let tree = tree(args).map_err(|error| step(&args.source.display().to_string(), error))?;
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

/// A mount of the source that is nowhere yet, with the options of the dead one.
fn tree(args: &RebindArgs) -> io::Result<std::os::fd::OwnedFd> {
    let flags = mounts::flags(&args.options);
    mounts::bind(&args.source, &args.source)?;
    rustix::mount::mount_remount(&args.source, flags | MountFlags::BIND, "")?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(rustix::mount::open_tree(CWD, &args.source, clone)?)
}

fn moved(tree: &impl AsFd, to: &Path, more: MoveMountFlags) -> rustix::io::Result<()> {
    rustix::mount::move_mount(tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | more)
}
