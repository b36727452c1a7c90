//! Bricks: a thin pool with one logical volume, XFS on it, mounted, with a directory inside.

use crate::executor::{Argv, Batch, LVM_DEADLINE, Output, RunError, Step, ops::lvm, ops::mount};
use crate::units::{Bytes, Id, device_node, lv_name, mount_point, pool_name, vg_name};

/// A brick and the sizes of what is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brick {
    /// The id of the brick.
    pub id: Id,
    /// The device it is on.
    pub device: Id,
    /// The volume it belongs to.
    pub volume: Id,
    /// Whether it holds the names of files alone.
    pub arbiter: bool,
    /// The size of the logical volume.
    pub size: Bytes,
    /// The size of the thin pool.
    pub pool_size: Bytes,
    /// The size of the thin pool's metadata.
    pub pool_metadata: Bytes,
    /// The group that owns the brick directory; 0 leaves it to root.
    pub gid: i64,
}

/// Whether mkfs.xfs came to its end: it marks the superblock as in progress until then. The superblock
/// begins with `XFSB`; its byte 126 is that mark.
const XFS_COMPLETE: &str = r#"set -- $(od -An -v -tx1 -N127 "$1" 2>/dev/null)
[ $# = 127 ] && [ "$1$2$3$4" = 58465342 ] && [ "${127}" = 00 ]"#;

/// Makes a brick, from nothing or from whatever an interrupted try has left.
pub fn create(brick: &Brick, fstab: &str) -> Batch {
    let vg = vg_name(brick.device);
    let node = device_node(brick.device, brick.id);
    let dir = mount_point(brick.device, brick.id);
    let brick_dir = format!("{dir}/brick");
    let complete = Argv::script("bricklayer-xfs-complete", XFS_COMPLETE, [&node]);
    // An arbiter holds inodes and nothing else.
    let inodes = if brick.arbiter { "size=512,maxpct=100" } else { "size=512" };
    let mkfs = Argv::new(["mkfs.xfs", "-q", "-f", "-i", inodes, "-n", "size=8192", &node]);
    let mut steps = vec![
        Step::always(Argv::new(["mkdir", "-p", &dir])),
        Step::unless(lvm::lv_exists(&vg, &pool_name(brick.id)), create_pool(brick)),
        // The shell itself can tell whether the device is there. An inactive volume has none, and is
        // refused either way.
        Step::unless(Argv::new(["test", "-e", &node]), create_lv(brick)),
        Step::unless(complete, mkfs),
        Step::always(mount::fstab_add(fstab, &node, &dir)),
        Step::unless(mount::is_mounted(&dir), mount::mount(&node, &dir)),
        Step::always(Argv::new(["mkdir", "-p", &brick_dir])),
    ];
    steps.extend(owned_by(brick.gid, &brick_dir));
    Batch::new(steps, LVM_DEADLINE).locked(lock(brick.id))
}

/// Removes a brick: unmounts it, forgets its mount, removes the logical volume and the thin pool.
/// Only what carries the brick's own names is touched. What is gone already stays gone.
pub fn remove(device: Id, brick: Id, fstab: &str) -> Batch {
    let (vg, lv, pool) = (vg_name(device), lv_name(brick), pool_name(brick));
    let dir = mount_point(device, brick);
    let remove_lv =
        |name: &str| lvm::lvm(["lvremove", "-qq", "--autobackup=n", "-f", &format!("{vg}/{name}")]);
    Batch::new(
        [
            Step::only_if(mount::is_mounted(&dir), mount::unmount(&dir)),
            Step::always(mount::fstab_remove(fstab, &dir)),
            Step::only_if(lvm::lv_exists(&vg, &lv), remove_lv(&lv)),
            Step::only_if(lvm::lv_exists(&vg, &pool), remove_lv(&pool)),
            Step::unless(Argv::new(["test", "!", "-d", &dir]), Argv::new(["rmdir", &dir])),
            Step::always(lvm::lvs_of_brick(brick)),
        ],
        LVM_DEADLINE,
    )
    .locked(lock(brick))
}

/// Whether a [`remove`] has left nothing. A step that was left out because its guard failed is no
/// proof: the guard fails too when LVM cannot look. The last step is: it lists what is left.
pub fn seen_gone(host: &str, batch: &Batch, outputs: &[Output]) -> Result<(), RunError> {
    let left = outputs.last().map_or("", |output| output.stdout.trim());
    if left.is_empty() {
        return Ok(());
    }
    let command = batch.steps.last().map(|step| step.run.shown()).unwrap_or_default();
    let stderr = format!("still there after it was removed: {left}");
    Err(RunError::Refused { host: host.into(), command, exit: 0, stderr })
}

/// Makes the brick directory anew, so that a volume can be made of it. glusterd marks the directories
/// of a volume on each node before it asks the next one, and leaves the marks when one of them refuses:
/// it would not take such a directory again. Only directories without content are removed, so a
/// brick that has ever been used is refused.
pub fn renew(brick: &Brick) -> Batch {
    let dir = mount_point(brick.device, brick.id);
    let brick_dir = format!("{dir}/brick");
    let hidden = format!("{brick_dir}/.glusterfs");
    let rmdir_if_there = |dir: &str| Step::only_if(Argv::new(["test", "-d", dir]), Argv::new(["rmdir", dir]));
    let mut steps = vec![
        Step::always(mount::is_mounted(&dir)),
        rmdir_if_there(&hidden),
        rmdir_if_there(&brick_dir),
        Step::always(Argv::new(["mkdir", &brick_dir])),
    ];
    steps.extend(owned_by(brick.gid, &brick_dir));
    Batch::new(steps, LVM_DEADLINE).locked(lock(brick.id))
}

/// Has the node write down what GlusterFS has made of a brick. glusterd marks the brick directory with the id of
/// its volume, and never starts a brick whose mark is gone; XFS keeps such a mark in memory for up to
/// half a minute, and a power cut takes it.
pub fn write_down(device: Id, brick: Id) -> Batch {
    let brick_dir = format!("{}/brick", mount_point(device, brick));
    Batch::one(Argv::new(["sync", "-f", &brick_dir]), LVM_DEADLINE).locked(lock(brick))
}

/// Mounts again the bricks of a node that has restarted: activates their volume group, then mounts.
/// A line that the fstab has lost is written again.
pub fn restore(device: Id, brick: Id, fstab: &str) -> Batch {
    let dir = mount_point(device, brick);
    let node = device_node(device, brick);
    Batch::new(
        [
            // A brick that was removed meanwhile gets no line: the node would not boot with it.
            Step::always(lvm::lv_exists(&vg_name(device), &lv_name(brick))),
            Step::always(lvm::lvm(["vgchange", "-qq", "-ay", &vg_name(device)])),
            Step::always(mount::fstab_add(fstab, &node, &dir)),
            Step::unless(mount::is_mounted(&dir), mount::mount(&node, &dir)),
        ],
        LVM_DEADLINE,
    )
    .locked(lock(brick))
}

/// The largest metadata that LVM makes of what is asked for: 15.8125 GiB (lvmthin(7), metadata size).
const LARGEST_METADATA: Bytes = Bytes(16_580_608 << 10);

/// Makes a brick as large as it is placed, with its thin pool, while it is in use. What is that large already is left
/// alone; nothing becomes smaller.
///
/// LVM writes a new size down before the kernel has it: what was cut off in between is found as large as it is
/// to be, and the kernel is told again.
pub fn grow(brick: &Brick) -> Batch {
    let metadata = brick.pool_metadata.min(LARGEST_METADATA);
    let (vg, dir) = (vg_name(brick.device), mount_point(brick.device, brick.id));
    let pool = format!("{vg}/{}", pool_name(brick.id));
    let lv = format!("{vg}/{}", lv_name(brick.id));
    let extended = |option: &str, size: Bytes, name: &str| {
        let size = format!("{}K", size.kib());
        lvm::lvm(["lvextend", "-qq", "--autobackup=n", option, &size, name])
    };
    Batch::new(
        [
            // Without a mount, the file system below would be taken for the brick's.
            Step::always(mount::is_mounted(&dir)),
            Step::unless(
                lvm::lv_holds(&pool, "lv_metadata_size", metadata),
                extended("--poolmetadatasize", metadata, &pool),
            ),
            Step::unless(
                lvm::lv_holds(&pool, "lv_size", brick.pool_size),
                extended("--size", brick.pool_size, &pool),
            ),
            Step::unless(lvm::lv_holds(&lv, "lv_size", brick.size), extended("--size", brick.size, &lv)),
            Step::always(lvm::lvm(["lvchange", "-qq", "--refresh", &pool])),
            Step::always(lvm::lvm(["lvchange", "-qq", "--refresh", &lv])),
            // It asks the kernel, which does nothing when the file system fills its volume.
            Step::always(Argv::new(["xfs_growfs", &dir])),
        ],
        LVM_DEADLINE,
    )
    .locked(lock(brick.id))
}

/// Gives a brick directory to a group, unless it is root's.
fn owned_by(gid: i64, brick_dir: &str) -> Vec<Step> {
    if gid == 0 {
        return vec![];
    }
    let chown = Argv::new(["chown", &format!(":{gid}"), brick_dir]);
    let chmod = Argv::new(["chmod", "2775", brick_dir]);
    vec![Step::always(chown), Step::always(chmod)]
}

/// One brick is worked on by one batch at a time. There are 256 locks for all bricks: a node keeps a
/// file for each lock it ever had.
fn lock(brick: Id) -> String {
    format!("brick-{}", &brick.to_string()[..2])
}

/// The thin pool and the volume in it are made by two commands: one alone would tag only the pool,
/// and a crash in the middle of it would leave a pool that it refuses to use the next time.
fn create_pool(brick: &Brick) -> Argv {
    let sizes = [
        "--poolmetadatasize".into(),
        format!("{}K", brick.pool_metadata.kib()),
        "--chunksize".into(),
        "256K".into(),
        "--size".into(),
        format!("{}K", brick.pool_size.kib()),
        "--thinpool".into(),
        format!("{}/{}", vg_name(brick.device), pool_name(brick.id)),
    ];
    lvm::lvm(lvcreate(brick).into_iter().chain(sizes))
}

fn create_lv(brick: &Brick) -> Argv {
    let sizes = [
        "--thin".into(),
        "--virtualsize".into(),
        format!("{}K", brick.size.kib()),
        "--name".into(),
        lv_name(brick.id),
        format!("{}/{}", vg_name(brick.device), pool_name(brick.id)),
    ];
    lvm::lvm(lvcreate(brick).into_iter().chain(sizes))
}

fn lvcreate(brick: &Brick) -> [String; 7] {
    [
        "lvcreate".into(),
        "-qq".into(),
        "--autobackup=n".into(),
        "--addtag".into(),
        format!("{}{}", lvm::BRICK_TAG, brick.id),
        "--addtag".into(),
        format!("{}{}", lvm::VOLUME_TAG, brick.volume),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::ops::captured;

    /// The command is the one that a real node has taken, but for a second tag.
    fn is_captured(argv: &Argv, name: &str) {
        let real = captured::read(name);
        assert_eq!(real.output.exit, 0);
        let mut words = argv.0.clone();
        assert_eq!(words.remove(0), "/usr/sbin/lvm");
        let tag = words.iter().position(|word| word.starts_with(lvm::VOLUME_TAG)).unwrap();
        words.drain(tag - 1..=tag);
        assert_eq!(words, real.argv.0[1..]);
    }

    /// A brick of a captured run, on the device that it names.
    fn brick(id: &str, device: &str, size: Bytes, pool_metadata: Bytes) -> Brick {
        let [id, device] = [id, device].map(|text| text.parse().unwrap());
        let volume = Id::from_uid("v");
        Brick { id, device, volume, arbiter: false, size, pool_size: size, pool_metadata, gid: 0 }
    }

    #[test]
    fn the_pool_and_its_volume_are_made_as_captured() {
        let (id, device) = ("b0000000000000000000000000000004", "d0000000000000000000000000000001");
        let brick = brick(id, device, Bytes(512 << 20), Bytes(8 << 20));
        is_captured(&create_pool(&brick), "lvcreate-pool-only");
        is_captured(&create_lv(&brick), "lvcreate-thin-in-pool");
    }

    #[test]
    fn a_brick_grows_as_captured() {
        let (id, device) = ("c0000000000000000000000000000001", "d0000000000000000000000000000005");
        let brick = brick(id, device, Bytes(1 << 30), Bytes(16 << 20));
        let batch = grow(&brick);
        for name in ["lvextend-metadata", "lvextend-pool", "lvextend-thin", "xfs-growfs"] {
            let real = captured::read(name);
            assert_eq!(real.output.exit, 0);
            let words = &real.argv.0[1..];
            assert!(batch.steps.iter().any(|step| step.run.0.ends_with(words)), "{name}: {words:?}");
        }
    }

    #[test]
    fn what_lvm_still_lists_is_not_gone() {
        let batch = remove(Id::from_uid("d"), Id::from_uid("b"), "/etc/fstab");
        let mut outputs = vec![Output::default(); batch.steps.len()];
        assert_eq!(seen_gone("n1", &batch, &outputs), Ok(()));
        outputs.last_mut().unwrap().stdout = "  vg_d brick_b\n".into();
        let error = seen_gone("n1", &batch, &outputs).unwrap_err().to_string();
        assert!(error.contains("n1") && error.ends_with("vg_d brick_b"), "{error}");
    }
}
