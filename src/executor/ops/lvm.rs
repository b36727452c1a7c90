//! Devices as LVM physical volumes and volume groups.

use serde::Deserialize;

use crate::executor::{Argv, Batch, LOOK_DEADLINE, LVM_DEADLINE, Output, Step};
use crate::units::{Bytes, Id, vg_name};

/// The physical extent size of the volume groups we make.
pub const EXTENT: Bytes = Bytes(4 << 20);
/// The tag that marks a volume group as ours: `bricklayer.device=<device id>`.
pub const DEVICE_TAG: &str = "bricklayer.device=";
/// The tag that marks a logical volume as a brick: `bricklayer.brick=<brick id>`.
pub const BRICK_TAG: &str = "bricklayer.brick=";
/// The tag that says which volume a logical volume belongs to: `bricklayer.volume=<volume id>`.
pub const VOLUME_TAG: &str = "bricklayer.volume=";

pub(super) fn lvm<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Argv {
    Argv::new(["/usr/sbin/lvm".into()].into_iter().chain(words.into_iter().map(Into::into)))
}

/// A physical volume as `pvs` reports it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PhysicalVolume {
    /// The path under which LVM has opened it.
    pub pv_name: String,
    /// Its UUID.
    pub pv_uuid: String,
    /// The volume group it belongs to; empty if none.
    pub vg_name: String,
}

/// A volume group as `vgs` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// All its space.
    pub size: Bytes,
    /// Space that no logical volume has.
    pub free: Bytes,
    /// The size of one extent.
    pub extent: Bytes,
    /// Its tags.
    pub tags: Vec<String>,
}

/// A logical volume as `lvs` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalVolume {
    /// Its name; hidden ones are in square brackets.
    pub name: String,
    /// The volume group it is in.
    pub vg: String,
    /// Its size.
    pub size: Bytes,
    /// The thin pool it is in; empty if none.
    pub pool: String,
    /// Its tags.
    pub tags: Vec<String>,
}

/// All physical volumes of a node: to find one by UUID, whatever its path has become.
pub fn list_pvs() -> Argv {
    lvm(["pvs", "-o", "pv_name,pv_uuid,vg_name", "--reportformat", "json"])
}

/// The physical volume on a disk, by whatever name the disk is given; exit 5 if there is none.
pub fn pv_of(path: &str) -> Argv {
    lvm(["pvs", "-o", "pv_name,pv_uuid,vg_name", "--reportformat", "json", path])
}

/// All volume groups of a node.
pub fn list_vgs() -> Argv {
    lvm([
        "vgs",
        "-o",
        "vg_name,vg_size,vg_free,vg_extent_size,vg_tags",
        "--units",
        "b",
        "--nosuffix",
        "--reportformat",
        "json",
    ])
}

/// All logical volumes of a node, hidden ones too.
pub fn list_lvs() -> Argv {
    lvm([
        "lvs",
        "-a",
        "-o",
        "lv_name,vg_name,lv_size,pool_lv,lv_tags",
        "--units",
        "b",
        "--nosuffix",
        "--reportformat",
        "json",
    ])
}

/// Whether a logical volume exists (exit 0) or not (exit 5).
pub fn lv_exists(vg: &str, lv: &str) -> Argv {
    lvm(["lvs", "--noheadings", "-o", "lv_name", &format!("{vg}/{lv}")])
}

/// Whether a logical volume is at least so large; `$2` is the field of `lvs` that says so.
const HOLDS: &str =
    r#"has=$(/usr/sbin/lvm lvs --noheadings --nosuffix --units b -o "$2" "$1") && [ $has -ge "$3" ]"#;

/// Whether a size of a logical volume, by its field of `lvs`, is at least so large (exit 0) or not.
pub fn lv_holds(lv: &str, field: &str, size: Bytes) -> Argv {
    Argv::script("bricklayer-lv-holds", HOLDS, [lv, field, &(size.kib() << 10).to_string()])
}

/// The logical volumes that carry the mark of a brick; none is an empty list and no error.
pub fn lvs_of_brick(brick: Id) -> Argv {
    let select = format!("lv_tags=\"{BRICK_TAG}{brick}\"");
    lvm(["lvs", "--noheadings", "-o", "vg_name,lv_name", "-S", &select])
}

/// What is on a disk: a list of `KEY=value` lines, or exit 2 when nothing is.
pub fn probe_disk(path: &str) -> Argv {
    Argv::new(["blkid", "-p", "-o", "export", path])
}

/// The other names of a disk.
pub fn disk_links(path: &str) -> Argv {
    Argv::new(["/usr/bin/udevadm", "info", "--query=symlink", &format!("--name={path}")])
}

/// Removes every signature from a disk, so that it can be prepared.
pub fn wipe_disk(path: &str) -> Argv {
    Argv::new(["wipefs", "--all", path])
}

/// Makes the disk a physical volume.
pub fn create_pv(path: &str) -> Argv {
    lvm(["pvcreate", "-qq", "--metadatasize=128M", "--dataalignment=256K", path])
}

/// Makes the volume group of a device on a disk that is a physical volume.
pub fn create_vg(device: Id, path: &str) -> Argv {
    lvm([
        "vgcreate",
        "-qq",
        "--physicalextentsize=4M",
        "--autobackup=n",
        "--addtag",
        &format!("{DEVICE_TAG}{device}"),
        &vg_name(device),
        path,
    ])
}

/// Removes the volume group of a device and the mark on its disk. LVM refuses while the group has
/// logical volumes.
pub fn remove_device(device: Id, path: &str) -> Batch {
    let vg = vg_name(device);
    let exists = lvm(["vgs", "--noheadings", "-o", "vg_name", &vg]);
    let is_pv = lvm(["pvs", "--noheadings", "-o", "pv_name", path]);
    let mounts = format!("/var/lib/heketi/mounts/{vg}");
    Batch::new(
        [
            Step::only_if(exists, lvm(["vgremove", "-qq", &vg])),
            Step::only_if(is_pv, lvm(["pvremove", "-qq", path])),
            Step::only_if(Argv::new(["test", "-d", &mounts]), Argv::new(["rmdir", &mounts])),
        ],
        LVM_DEADLINE,
    )
}

/// Looks at everything LVM knows on a node: physical volumes, volume groups, logical volumes.
pub fn look() -> Batch {
    Batch::new([list_pvs(), list_vgs(), list_lvs()].map(Step::always), LOOK_DEADLINE)
}

/// Looks at the physical volumes and volume groups of a node only: thousands of bricks do not matter.
pub fn look_at_groups() -> Batch {
    Batch::new([list_pvs(), list_vgs()].map(Step::always), LOOK_DEADLINE)
}

/// Reads the answer of [`list_pvs`].
pub fn parse_pvs(output: &Output) -> Result<Vec<PhysicalVolume>, String> {
    rows(output, "pv")
}

/// Reads the answer of [`list_vgs`].
pub fn parse_vgs(output: &Output) -> Result<Vec<VolumeGroup>, String> {
    #[derive(Deserialize)]
    struct Row {
        vg_name: String,
        vg_size: String,
        vg_free: String,
        vg_extent_size: String,
        vg_tags: String,
    }
    let read = |row: Row| {
        Ok(VolumeGroup {
            name: row.vg_name,
            size: bytes(&row.vg_size)?,
            free: bytes(&row.vg_free)?,
            extent: bytes(&row.vg_extent_size)?,
            tags: tags(&row.vg_tags),
        })
    };
    rows(output, "vg")?.into_iter().map(read).collect()
}

/// Reads the answer of [`list_lvs`].
pub fn parse_lvs(output: &Output) -> Result<Vec<LogicalVolume>, String> {
    #[derive(Deserialize)]
    struct Row {
        lv_name: String,
        vg_name: String,
        lv_size: String,
        pool_lv: String,
        lv_tags: String,
    }
    let read = |row: Row| {
        Ok(LogicalVolume {
            name: row.lv_name,
            vg: row.vg_name,
            size: bytes(&row.lv_size)?,
            pool: row.pool_lv,
            tags: tags(&row.lv_tags),
        })
    };
    rows(output, "lv")?.into_iter().map(read).collect()
}

/// Reads the answer of [`probe_disk`]: what was found, for people, or nothing.
pub fn parse_probe(output: &Output) -> Option<String> {
    let value = |key: &str| {
        let line = output.stdout.lines().find_map(|line| line.strip_prefix(key));
        line.map(str::to_owned)
    };
    let kind = value("TYPE=").or_else(|| value("PTTYPE=").map(|table| format!("{table} partition table")))?;
    Some(match value("LABEL=") {
        Some(label) => format!("{kind} labelled {label:?}"),
        None => kind,
    })
}

/// Reads the answer of [`disk_links`].
pub fn parse_links(output: &Output) -> Vec<String> {
    output.stdout.split_whitespace().map(|name| format!("/dev/{name}")).collect()
}

/// The lines of a report of that kind.
pub(super) fn rows<T: for<'de> Deserialize<'de>>(output: &Output, kind: &str) -> Result<Vec<T>, String> {
    let mut report: serde_json::Value = serde_json::from_str(&output.stdout).map_err(|e| e.to_string())?;
    let rows = report.pointer_mut(&format!("/report/0/{kind}")).map(serde_json::Value::take);
    let rows = rows.ok_or_else(|| format!("a report without {kind:?}"))?;
    serde_json::from_value(rows).map_err(|e| e.to_string())
}

fn bytes(text: &str) -> Result<Bytes, String> {
    text.trim().parse().map(Bytes).map_err(|_| format!("{text:?} is no number of bytes"))
}

fn tags(text: &str) -> Vec<String> {
    text.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::ops::captured::output;

    const VG: &str = "vg_d0000000000000000000000000000001";
    const KIB: u64 = 1 << 10;

    /// A captured report in KiB, as it is in bytes.
    fn in_bytes(name: &str) -> Output {
        let mut output = output(name);
        let bytes = |word: &str| {
            let kib: Option<u64> = word.strip_suffix(".00").and_then(|kib| kib.parse().ok());
            kib.map_or_else(|| word.to_owned(), |kib| (kib * KIB).to_string())
        };
        let words: Vec<String> = output.stdout.split('"').map(bytes).collect();
        output.stdout = words.join("\"");
        output
    }

    #[test]
    fn physical_volumes_are_read() {
        assert_eq!(parse_pvs(&output("lvm-pvs-none")), Ok(vec![]));
        let free = parse_pvs(&output("lvm-pvs-without-vg")).unwrap();
        assert_eq!((free[0].pv_name.as_str(), free[0].vg_name.as_str()), ("/dev/vdb", ""));
        let used = parse_pvs(&output("lvm-pvs-used-disk")).unwrap();
        assert_eq!((used.len(), used[0].vg_name.as_str()), (1, VG));
        assert_eq!(used[0].pv_uuid.len(), 38);
        // Without columns of ours, it is garbled.
        assert!(parse_pvs(&output("lvm-vgs-none")).is_err());
    }

    #[test]
    fn volume_groups_are_read() {
        assert_eq!(parse_vgs(&output("lvm-vgs-none")), Ok(vec![]));
        let vgs = parse_vgs(&in_bytes("lvm-vgs-with-bricks")).unwrap();
        let expected = VolumeGroup {
            name: VG.into(),
            size: Bytes::from_kib(8_253_440),
            free: Bytes::from_kib(6_115_328),
            extent: EXTENT,
            tags: vec![format!("{DEVICE_TAG}d0000000000000000000000000000001")],
        };
        assert_eq!(vgs, [expected]);
        assert!(parse_vgs(&output("lvm-vgs-with-bricks")).is_err());
    }

    #[test]
    fn logical_volumes_are_read() {
        let id = "a1000000000000000000000000000001";
        let lvs = parse_lvs(&in_bytes("lvm-lvs-with-bricks")).unwrap();
        assert_eq!(lvs.len(), 17);
        let tags =
            [format!("{BRICK_TAG}{id}"), format!("{VOLUME_TAG}a1000000000000000000000000000000")].to_vec();
        let (size, vg) = (Bytes::from_kib(524_288), VG.to_owned());
        let (name, pool) = (format!("brick_{id}"), format!("tp_{id}"));
        assert_eq!(lvs[0], LogicalVolume { name, vg: vg.clone(), size, pool, tags: tags.clone() });
        let pool = lvs.iter().find(|lv| lv.name == format!("tp_{id}")).unwrap();
        assert_eq!((&pool.tags, pool.pool.as_str()), (&tags, ""));
        let spare = lvs.iter().find(|lv| lv.name == "[lvol0_pmspare]").unwrap();
        assert_eq!((spare.size, spare.tags.len()), (Bytes::from_kib(8192), 0));
    }

    #[test]
    fn disks_are_read() {
        assert_eq!(parse_probe(&output("blkid-disk-with-xfs")).as_deref(), Some("xfs"));
        assert_eq!(parse_probe(&output("blkid-pv")).as_deref(), Some("LVM2_member"));
        assert_eq!(parse_probe(&output("blkid-empty-disk")), None);
        let links = parse_links(&output("udevadm-symlink-pv"));
        assert!(links.iter().any(|link| link.starts_with("/dev/disk/by-id/lvm-pv-uuid-")), "{links:?}");
        assert!(parse_links(&output("udevadm-no-such-device")).is_empty());
    }
}
