//! The mount table of this node, and the system calls that change it. Reading the table touches no
//! mount; everything else here may hang on one, and belongs into [`super::touch`].

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

/// One mount, as a line of /proc/self/mountinfo tells it: proc_pid_mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// The id of the mount.
    pub id: u64,
    /// The id of the mount that it stands on.
    pub parent: u64,
    /// The number of the file system's device, such as `0:52`. All binds of a file system have the same.
    pub device: String,
    /// The directory of the file system that is mounted: `/`, but for a bind of something below it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// The options of this mount alone, such as `rw` and `relatime`.
    pub options: Vec<String>,
    /// The type of the file system, such as `fuse.glusterfs`.
    pub kind: String,
    /// What is mounted; for a GlusterFS client `server:/volume`.
    pub source: String,
}

impl Mounted {
    /// Whether nothing can be written through this mount.
    pub fn is_readonly(&self) -> bool {
        self.options.iter().any(|option| option == "ro")
    }

    /// Whether it shows a volume that GlusterFS calls so.
    pub fn is_of(&self, volume: &str) -> bool {
        self.source.rsplit(':').next().is_some_and(|name| name.trim_start_matches('/') == volume)
    }
}

/// All mounts in this process's mount namespace.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<Mounted>);

impl Table {
    /// The mounts as they are now.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read("/proc/self/mountinfo")?))
    }

    /// The mounts that a text of this form tells. Lines that are not understood are left out.
    pub fn parse(text: &[u8]) -> Self {
        Self(text.split(|byte| *byte == b'\n').filter_map(line).collect())
    }

    /// All mounts.
    pub fn all(&self) -> &[Mounted] {
        &self.0
    }

    /// The mounts at exactly this path, however many there are, those below before those above.
    pub fn at(&self, path: &Path) -> Vec<&Mounted> {
        let mut here: Vec<&Mounted> = self.0.iter().filter(|mounted| mounted.at == path).collect();
        let height = |mounted: &Mounted| {
            let (mut parent, mut height) = (mounted.parent, 0);
            while let Some(below) = here.iter().find(|other| other.id == parent) {
                height += 1;
                if height > here.len() {
                    break;
                }
                parent = below.parent;
            }
            height
        };
        let heights: Vec<usize> = here.iter().map(|mounted| height(mounted)).collect();
        let mut order: Vec<usize> = (0..here.len()).collect();
        order.sort_by_key(|at| heights[*at]);
        here = order.into_iter().map(|at| here[at]).collect();
        here
    }

    /// The mount that one sees at this path.
    pub fn top(&self, path: &Path) -> Option<&Mounted> {
        self.at(path).pop()
    }
}

/// A line, such as `36 35 98:0 /root /at rw,noatime master:1 - ext3 /dev/root rw`.
fn line(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = text(fields.next()?).parse().ok()?;
    let parent = text(fields.next()?).parse().ok()?;
    let device = text(fields.next()?);
    let (root, at) = (path(fields.next()?), path(fields.next()?));
    let options = text(fields.next()?).split(',').map(str::to_owned).collect();
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = text(fields.next()?);
    let source = path(fields.next()?).to_string_lossy().into_owned();
    Some(Mounted { id, parent, device, root, at, options, kind, source })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

/// A path, in which the kernel writes blanks, tabs, line ends and backslashes as `\` and three octal digits.
fn path(field: &[u8]) -> PathBuf {
    let (mut plain, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some(&byte) = rest.first() {
        let octal = rest.get(1..4).filter(|_| byte == b'\\').and_then(|digits| {
            digits.iter().try_fold(0_u8, |sum, digit| {
                let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
                sum.checked_mul(8)?.checked_add(digit)
            })
        });
        plain.push(octal.unwrap_or(byte));
        rest = &rest[if octal.is_some() { 4 } else { 1 }..];
    }
    std::ffi::OsString::from_vec(plain).into()
}

/// Shows at a second path what is mounted at the first.
///
/// # Errors
/// What mount(2) says.
pub fn bind(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_bind(from, to)?)
}

/// Makes one mount read-only, and leaves everything else as it is: other mounts of the same file
/// system, and what the kernel would clear if it was not named again.
///
/// # Errors
/// What mount(2) says.
pub fn make_readonly(mounted: &Mounted) -> io::Result<()> {
    let kept = flags(&mounted.options);
    Ok(rustix::mount::mount_remount(&mounted.at, kept | MountFlags::BIND | MountFlags::RDONLY, "")?)
}

/// The options of a mount, as the table has them, in the words of mount(2).
pub fn flags(options: &[String]) -> MountFlags {
    let flag = |option: &String| match option.as_str() {
        "ro" => MountFlags::RDONLY,
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        _ => MountFlags::empty(),
    };
    options.iter().map(flag).fold(MountFlags::empty(), MountFlags::union)
}

/// How a mount is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// Only when nobody uses it.
    WhenIdle,
    /// At once out of the table; whoever uses it still has it until it lets go. For what is dead or hangs.
    AtOnce,
}

/// Takes away the topmost mount at a path.
///
/// # Errors
/// What umount(2) says: EBUSY when it is in use, EINVAL when nothing is mounted there.
pub fn unmount(at: &Path, how: Away) -> io::Result<()> {
    let flags = match how {
        Away::WhenIdle => UnmountFlags::NOFOLLOW,
        Away::AtOnce => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    Ok(rustix::mount::unmount(at, flags)?)
}

/// The path with its folder's symbolic links followed, as the mount table has it. The last name is not
/// looked at: it may be a mount that is dead.
///
/// # Errors
/// When there is no such folder.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path.into()) };
    let name = OsStr::from_bytes(name.as_bytes());
    Ok(std::fs::canonicalize(folder)?.join(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const TABLE: &[u8] = b"\
22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 22 0:52 / /k/globalmount rw,nosuid,nodev,relatime shared:40 master:3 - fuse.glusterfs 10.0.0.1:/vol_1 rw,user_id=0
95 91 0:53 / /k/pods/a\\040b/mount ro,relatime - fuse.glusterfs fd00::1:vol_1 rw
91 22 0:52 / /k/pods/a\\040b/mount rw,relatime shared:40 - fuse.glusterfs 10.0.0.1:/vol_1 rw
not a line
97 22 0:54 /sub\\134dir\\012 /k/pods/c rw - tmpfs none rw
";

    #[test]
    fn a_table_is_read() {
        let table = Table::parse(TABLE);
        assert_eq!(table.all().len(), 5);
        let staged = table.top(Path::new("/k/globalmount")).unwrap();
        assert_eq!((staged.id, staged.parent, staged.device.as_str()), (90, 22, "0:52"));
        assert!(staged.is_of("vol_1") && !staged.is_of("vol") && !staged.is_readonly());
        assert_eq!(staged.kind, "fuse.glusterfs");
        let odd = table.top(Path::new("/k/pods/c")).unwrap();
        assert_eq!(odd.root, Path::new("/sub\\dir\n"));
        assert!(table.top(Path::new("/k")).is_none(), "only what is mounted exactly there");
    }

    #[test]
    fn the_mount_that_one_sees_stands_on_the_others() {
        let table = Table::parse(TABLE);
        let ids: Vec<u64> =
            table.at(Path::new("/k/pods/a b/mount")).iter().map(|mounted| mounted.id).collect();
        assert_eq!(ids, [91, 95]);
        let top = table.top(Path::new("/k/pods/a b/mount")).unwrap();
        assert!(top.is_readonly() && top.is_of("vol_1"));
    }

    #[test]
    fn a_table_of_nonsense_ends() {
        let circle = b"1 2 0:1 / /a rw - t s rw\n2 1 0:1 / /a rw - t s rw\n\\7 \\\n1 2 0:1 / /a\\9 rw";
        assert_eq!(Table::parse(circle).at(Path::new("/a")).len(), 2);
        assert_eq!(path(b"a\\04"), Path::new("a\\04"));
        assert_eq!(path(b"\\777"), Path::new("\\777"));
    }

    #[test]
    fn links_are_followed_up_to_the_last_name() {
        let folder = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(folder.path()).unwrap();
        std::fs::create_dir(real.join("data")).unwrap();
        std::os::unix::fs::symlink("data", real.join("kubelet")).unwrap();
        assert_eq!(resolved(&real.join("kubelet/mount")).unwrap(), real.join("data/mount"));
        resolved(&real.join("nowhere/mount")).unwrap_err();
    }
}
