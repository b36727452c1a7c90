//! What LVM, GlusterFS and the mounts of a node say of it, for a person to read: everything, in the tools' own
//! words. What the controllers decide by is asked for by `lvm`, `gluster` and `mount`. Nothing here changes
//! anything.

use std::collections::HashSet;
use std::sync::Arc;

use super::answer::{BrickRow, VolumeRow};
use super::{gluster, lvm, mount};
use crate::executor::{Argv, Output};
use crate::units::BRICK_MOUNTS;
use crate::units::seen::{BrickSeen, MountSeen, Said, VolumeSeen};

/// The command that lists the volumes of a node's pool.
pub fn volumes() -> Argv {
    gluster::list_volumes()
}

/// How many commands [`lists`] is.
pub const LISTS: usize = 5;

/// The commands that list what a node has itself: its physical volumes, its volume groups, its logical volumes,
/// its fstab, its mounts.
pub fn lists(fstab: &str) -> [Argv; LISTS] {
    [
        report("pvs", &PV_COLUMNS),
        report("vgs", &VG_COLUMNS),
        report("lvs", &LV_COLUMNS),
        mount::list_fstab(fstab),
        mount::list_mounts(),
    ]
}

/// What `lvm pvs` shows by itself.
const PV_COLUMNS: [&str; 6] = ["pv_name", "vg_name", "pv_fmt", "pv_attr", "pv_size", "pv_free"];
/// What `lvm vgs` shows by itself.
const VG_COLUMNS: [&str; 7] =
    ["vg_name", "pv_count", "lv_count", "snap_count", "vg_attr", "vg_size", "vg_free"];
/// What `lvm lvs` shows by itself.
const LV_COLUMNS: [&str; 12] = [
    "lv_name",
    "vg_name",
    "lv_attr",
    "lv_size",
    "pool_lv",
    "origin",
    "data_percent",
    "metadata_percent",
    "move_pv",
    "mirror_log",
    "copy_percent",
    "convert_lv",
];

/// A report with these columns: a node's lvm.conf may show others by itself. Sizes are in KiB, as those of
/// devices and bricks are over REST, and exact, which LVM's own choice of units would not be.
fn report(command: &str, columns: &[&str]) -> Argv {
    lvm::lvm([command, "-o", &columns.join(","), "--units", "k", "--reportformat", "json"])
}

/// Makes of the outputs of [`volumes`] and [`lists`], or of why there is none, what the node says.
pub fn read(volumes: Result<Output, String>, lists: [Result<Output, String>; LISTS]) -> Said {
    let [pvs, vgs, lvs, fstab, mounts] = lists;
    let report = |output: Result<Output, String>, kind| output.and_then(|output| lvm::rows(&output, kind));
    Said {
        volumes: volumes.and_then(|output| volumes_of(&output)).map(Arc::new),
        pvs: report(pvs, "pv"),
        vgs: report(vgs, "vg"),
        lvs: report(lvs, "lv"),
        mounts: fstab.and_then(|fstab| Ok(bricks_of(&fstab, &mounts?))),
    }
}

fn volumes_of(output: &Output) -> Result<Vec<VolumeSeen>, String> {
    Ok(gluster::volume_rows(output)?.into_iter().map(VolumeSeen::from).collect())
}

/// The bricks of an fstab, each with whether something is mounted there.
fn bricks_of(fstab: &Output, mounts: &Output) -> Vec<MountSeen> {
    let mounted: HashSet<String> = mount::parse_mounts(mounts).into_iter().map(|(_, point)| point).collect();
    let brick = |line: &str| {
        let mut fields = line.split_whitespace().map(str::to_owned);
        let (device, point) = (fields.next()?, fields.next()?);
        let (kind, options) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let is_brick = point.starts_with(BRICK_MOUNTS) && !device.starts_with('#');
        let mounted = mounted.contains(&point);
        is_brick.then_some(MountSeen { device, point, kind, options, mounted })
    };
    fstab.stdout.lines().filter_map(brick).collect()
}

impl From<VolumeRow> for VolumeSeen {
    fn from(row: VolumeRow) -> Self {
        let options = row.options.map(|rows| rows.option).unwrap_or_default();
        Self {
            name: row.name,
            id: row.id,
            status: row.status,
            status_text: row.status_str,
            brick_count: row.brick_count,
            dist_count: row.dist_count,
            stripe_count: row.stripe_count,
            replica_count: row.replica_count,
            arbiter_count: row.arbiter_count,
            disperse_count: row.disperse_count,
            redundancy_count: row.redundancy_count,
            kind: row.kind,
            kind_text: row.kind_str,
            transport: row.transport,
            bricks: row.bricks.brick.into_iter().map(BrickSeen::from).collect(),
            options: options.into_iter().map(|option| (option.name, option.value)).collect(),
        }
    }
}

impl From<BrickRow> for BrickSeen {
    fn from(row: BrickRow) -> Self {
        Self { uuid: row.uuid, name: row.name, host_uuid: row.host_uuid, is_arbiter: row.is_arbiter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::ops::captured;

    fn captured_lists() -> [Result<Output, String>; LISTS] {
        [
            "lvm-pvs-all-columns",
            "lvm-vgs-with-bricks",
            "lvm-lvs-all-columns",
            "etc-fstab-with-bricks",
            "proc-mounts-with-bricks",
        ]
        .map(|name| Ok(captured::output(name)))
    }

    #[test]
    fn what_a_node_says_is_read() {
        let said = read(Ok(captured::output("gluster-volume-info-several")), captured_lists());
        let volumes = said.volumes.unwrap();
        let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["1", "2", "3", "4"].map(|n| format!("vol_a{n}{}", "0".repeat(30))));
        let arbiter = &volumes[1];
        assert_eq!((arbiter.status, arbiter.status_text.as_str()), (1, "Started"));
        assert_eq!((arbiter.kind, arbiter.kind_text.as_str(), arbiter.transport), (2, "Replicate", 0));
        assert_eq!((arbiter.brick_count, arbiter.dist_count, arbiter.stripe_count), (3, 1, 0));
        assert_eq!((arbiter.replica_count, arbiter.arbiter_count), (3, 1));
        let marks: Vec<i64> = arbiter.bricks.iter().map(|brick| brick.is_arbiter).collect();
        assert_eq!(marks, [0, 0, 1]);
        let brick = &arbiter.bricks[0];
        assert_eq!((brick.uuid.len(), &brick.uuid), (36, &brick.host_uuid));
        assert!(brick.name.starts_with("10.77.0.11:/var/lib/heketi/mounts/"), "{}", brick.name);
        assert_eq!((volumes[2].disperse_count, volumes[2].redundancy_count), (3, 1));
        let option = ("nfs.disable".to_owned(), "on".to_owned());
        assert!(volumes.iter().all(|volume| volume.id.len() == 36 && volume.options.contains(&option)));

        let pvs = said.pvs.unwrap();
        assert_eq!(pvs.len(), 1);
        let columns: Vec<&str> = pvs[0].keys().map(String::as_str).collect();
        let mut asked = PV_COLUMNS;
        asked.sort_unstable();
        assert_eq!(columns, asked, "what is asked for is what LVM shows by itself");
        assert_eq!((pvs[0]["pv_fmt"].as_str(), pvs[0]["pv_size"].as_str()), ("lvm2", "8253440.00k"));
        assert_eq!(said.vgs.unwrap()[0]["vg_size"], "8253440.00");
        let lvs = said.lvs.unwrap();
        assert_eq!((lvs.len(), lvs[0].len()), (8, LV_COLUMNS.len()));
        assert_eq!((lvs[0]["lv_attr"].as_str(), lvs[0]["data_percent"].as_str()), ("Vwi-aotz--", "12.74"));
        assert!(lvs.iter().all(|line| LV_COLUMNS.iter().all(|column| line.contains_key(*column))));

        let mounts = said.mounts.unwrap();
        assert_eq!(mounts.len(), 4);
        let brick = &mounts[0];
        assert!(brick.mounted && brick.device.starts_with("/dev/mapper/vg_"), "{brick:?}");
        assert_eq!((brick.kind.as_str(), brick.options.as_str()), ("xfs", mount::MOUNT_OPTIONS));
    }

    #[test]
    fn each_part_is_missing_by_itself() {
        let mut lists = captured_lists();
        lists[1] = Err("it burns".into());
        lists[4] = Ok(captured::output("proc-mounts-one-brick"));
        let said = read(Ok(captured::output("gluster-without-glusterd")), lists);
        assert!(said.volumes.is_err());
        assert_eq!((said.vgs, said.pvs.is_ok(), said.lvs.is_ok()), (Err("it burns".into()), true, true));
        assert!(said.mounts.unwrap().iter().all(|mount| !mount.mounted), "another brick is mounted there");
    }

    #[test]
    fn other_lines_of_an_fstab_are_left_out() {
        let line = |text: &str| Output { stdout: text.into(), ..Output::default() };
        let fstab = "/dev/sda1 / ext4 defaults 0 1\n#/dev/x /var/lib/heketi/mounts/vg_1/brick_1 xfs rw 1 2\n\n\
            /dev/mapper/vg_1-brick_2 /var/lib/heketi/mounts/vg_1/brick_2\n";
        let seen = bricks_of(&line(fstab), &line(""));
        let points: Vec<&str> = seen.iter().map(|mount| mount.point.as_str()).collect();
        assert_eq!(points, ["/var/lib/heketi/mounts/vg_1/brick_2"]);
        assert_eq!((seen[0].kind.as_str(), seen[0].mounted), ("", false));
    }
}
