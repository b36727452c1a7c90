//! Mounts and the fstab that brings them back after a restart.

use crate::executor::{Argv, Output};

/// The mount options of bricks.
pub const MOUNT_OPTIONS: &str = "rw,inode64,noatime,nouuid";

/// Adds a line to an fstab unless one has this mount point already. The new file is complete and on
/// disk before it takes the old one's place, and a lock keeps two writers apart. The shell itself looks
/// through the lines: each program that need not be started makes a brick sooner.
const FSTAB_ADD: &str = r#"set -e
exec 9>"$1.lock"; flock 9
[ -e "$1" ] || touch "$1"
while read -r device point rest || [ -n "$device" ]; do
if [ "$point" = "$3" ]; then exit 0; fi
done < "$1"
cp -p "$1" "$1.new"
printf '%s %s xfs %s 1 2\n' "$2" "$3" "$4" >> "$1.new"
sync "$1.new"
mv "$1.new" "$1"
sync "${1%/*}/""#;

/// Takes the lines with a mount point out of an fstab, in the same careful way.
const FSTAB_REMOVE: &str = r#"set -e
[ -e "$1" ] || exit 0
exec 9>"$1.lock"; flock 9
if ! awk -v m="$2" '$2 == m { found = 1 } END { exit !found }' "$1"; then exit 0; fi
cp -p "$1" "$1.new"
awk -v m="$2" '$2 != m' "$1" > "$1.new"
sync "$1.new"
mv "$1.new" "$1"
sync "$(dirname "$1")""#;

/// Makes the node mount `device` on `mount_point` at each start.
pub fn fstab_add(fstab: &str, device: &str, mount_point: &str) -> Argv {
    Argv::script("bricklayer-fstab-add", FSTAB_ADD, [fstab, device, mount_point, MOUNT_OPTIONS])
}

/// Takes a mount point out of the fstab.
pub fn fstab_remove(fstab: &str, mount_point: &str) -> Argv {
    Argv::script("bricklayer-fstab-remove", FSTAB_REMOVE, [fstab, mount_point])
}

/// Whether something is mounted there.
pub fn is_mounted(mount_point: &str) -> Argv {
    Argv::new(["mountpoint", "-q", mount_point])
}

/// Mounts a brick's file system.
pub fn mount(device: &str, mount_point: &str) -> Argv {
    Argv::new(["mount", "-t", "xfs", "-o", MOUNT_OPTIONS, device, mount_point])
}

/// Unmounts a brick's file system.
pub fn unmount(mount_point: &str) -> Argv {
    Argv::new(["umount", mount_point])
}

/// All mounts of a node.
pub fn list_mounts() -> Argv {
    Argv::new(["cat", "/proc/mounts"])
}

/// The lines of an fstab; it may be absent.
pub fn list_fstab(fstab: &str) -> Argv {
    Argv::script("bricklayer-fstab-list", r#"[ ! -e "$1" ] || cat "$1""#, [fstab])
}

/// Changes whenever the node's kernel starts.
pub fn boot_id() -> Argv {
    Argv::new(["cat", "/proc/sys/kernel/random/boot_id"])
}

/// Reads the answer of [`list_mounts`] or [`list_fstab`]: pairs of device and mount point.
pub fn parse_mounts(output: &Output) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let mut fields = line.split_whitespace();
        let pair = (fields.next()?, fields.next()?);
        (!pair.0.starts_with('#')).then(|| (pair.0.to_owned(), pair.1.to_owned()))
    };
    output.stdout.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::ops::captured::output;

    #[test]
    fn mounts_and_fstabs_are_read() {
        let (vg, brick) = ("vg_d0000000000000000000000000000001", "brick_a1000000000000000000000000000001");
        let expected = (format!("/dev/mapper/{vg}-{brick}"), format!("/var/lib/heketi/mounts/{vg}/{brick}"));
        let mounts = parse_mounts(&output("proc-mounts-with-bricks"));
        assert!(mounts.contains(&expected), "{mounts:?}");
        assert!(mounts.contains(&("proc".into(), "/proc".into())));
        assert_eq!(parse_mounts(&output("etc-fstab-with-bricks"))[0], expected);
    }
}
