//! Disks and what is on them: `blkid`, `wipefs`, `udevadm`, `mkfs.xfs`.

use super::{
    command::{Done, Words},
    state::{Disk, State, lvm_id},
    text::Text,
};

/// mkfs.xfs refuses anything smaller.
const SMALLEST_XFS: u64 = 300 << 20;
/// What udev calls the disks of simulated nodes below `/dev/disk/by-id/`.
const BY_ID: &str = "/dev/disk/by-id/sim-";
const BY_PV: &str = "/dev/disk/by-id/lvm-pv-uuid-";

const MKFS_USAGE: &str = "Usage: mkfs.xfs
/* blocksize */\t\t[-b size=num]
/* config file */\t[-c options=xxx]
/* metadata */\t\t[-m crc=0|1,finobt=0|1,uuid=xxx,rmapbt=0|1,reflink=0|1,
\t\t\t    inobtcount=0|1,bigtime=0|1]
/* data subvol */\t[-d agcount=n,agsize=n,file,name=xxx,size=num,
\t\t\t    (sunit=value,swidth=value|su=num,sw=num|noalign),
\t\t\t    sectsize=num
/* force overwrite */\t[-f]
/* inode size */\t[-i perblock=n|size=num,maxpct=n,attr=0|1|2,
\t\t\t    projid32bit=0|1,sparse=0|1,nrext64=0|1]
/* quiet */\t\t[-q]
/* version */\t\t[-V]
\t\t\tdevicename
<devicename> is required unless -d name=xxx is given.
";

/// The disk that a path means, by its plain name. Every path below `/dev/` is a disk, but for what
/// device-mapper and udev would have to have made.
pub(super) fn disk_path(state: &State, node: &Text, path: &str) -> Option<Text> {
    if let Some(uuid) = path.strip_prefix(BY_PV) {
        let disks = &state.nodes.get(node)?.disks;
        let mut pvs = disks.iter();
        let found = pvs.find(|(_, disk)| matches!(disk, Disk::Pv { id, .. } if lvm_id(*id) == uuid));
        return found.map(|(path, _)| path.clone());
    }
    if let Some(name) = path.strip_prefix(BY_ID) {
        return Some(Text::from(format!("/dev/{}", name.replace('!', "/")).as_str()));
    }
    let name = path.strip_prefix("/dev/")?;
    let made = name.is_empty() || name.starts_with("mapper/") || name.starts_with("disk/");
    (!made).then(|| Text::from(path))
}

/// `blkid -p -o export DEVICE`
pub(super) fn blkid(state: &State, node: &Text, words: &[String]) -> Done {
    let Some(path) = words.last() else {
        return Done::failed(4, "");
    };
    let nothing = Done::failed(2, "");
    let filesystem = |kind: &str| {
        let name = format!("{node}/{path}");
        let uuid = super::state::dashed(state.node_id(&name.as_str().into()));
        Done::wrote(format!("DEVNAME={path}\nUUID={uuid}\nBLOCK_SIZE=512\nTYPE={kind}\nUSAGE=filesystem\n"))
    };
    let at = state.nodes.get(node);
    if let Some(data) = at.and_then(|at| at.data(path)) {
        return if data.fs.is_some() { filesystem("xfs") } else { nothing };
    }
    let disk = disk_path(state, node, path);
    match disk.and_then(|disk| at?.disks.get(&disk)) {
        Some(Disk::Signature(kind)) => filesystem(&kind.to_string()),
        Some(Disk::Pv { id, .. }) => Done::wrote(format!(
            "DEVNAME={path}\nUUID={}\nVERSION=LVM2\\ 001\nTYPE=LVM2_member\nUSAGE=raid\n",
            lvm_id(*id)
        )),
        None => nothing,
    }
}

/// `wipefs --all DEVICE`
pub(super) fn wipefs(state: &mut State, node: &Text, words: &[String]) -> Done {
    let words = match Words::read(words, &[], &["--all", "-a", "--force", "-f"]) {
        Ok(words) => words,
        Err(word) => return Done::failed(1, format!("wipefs: unrecognized option '{word}'\n")),
    };
    let path = words.operands.first().cloned().unwrap_or_default();
    let Some(disk) = disk_path(state, node, &path) else {
        let text =
            format!("wipefs: error: {path}: probing initialization failed: No such file or directory\n");
        return Done::failed(1, text);
    };
    let node = state.node_mut(node);
    let told = match node.disks.get(&disk) {
        Some(Disk::Signature(kind)) => {
            let magic = match kind.to_string().as_str() {
                "xfs" => "4 bytes were erased at offset 0x00000000 (xfs): 58 46 53 42".to_owned(),
                kind => format!("2 bytes were erased at offset 0x00000438 ({kind}): 53 ef"),
            };
            format!("{path}: {magic}\n")
        }
        Some(Disk::Pv { vg, .. }) => {
            // An active logical volume holds the disk open; without one, the group is lost.
            if let Some(name) = vg.clone() {
                if node.vgs.get(&name).is_some_and(|vg| !vg.lvs.is_empty()) {
                    let text = format!(
                        "wipefs: error: {path}: probing initialization failed: Device or resource busy\n"
                    );
                    return Done::failed(1, text);
                }
                node.vgs.remove(&name);
            }
            format!(
                "{path}: 8 bytes were erased at offset 0x00000218 (LVM2_member): 4c 56 4d 32 20 30 30 31\n"
            )
        }
        None => return Done::wrote(""),
    };
    node.disks.remove(&disk);
    Done { changed: true, ..Done::wrote(told) }
}

/// `udevadm info --query=symlink --name=DEVICE`
pub(super) fn udevadm(state: &State, node: &Text, words: &[String]) -> Done {
    let path = words.iter().find_map(|word| word.strip_prefix("--name="));
    let path = path.unwrap_or_default();
    let Some(disk) = disk_path(state, node, path) else {
        return Done::failed(1, format!("Unknown device \"{path}\": No such device\n"));
    };
    let name = disk.to_string().trim_start_matches("/dev/").replace('/', "!");
    let mut links = format!("{}{name}", BY_ID.trim_start_matches("/dev/"));
    if let Some(Disk::Pv { id, .. }) = state.nodes.get(node).and_then(|node| node.disks.get(&disk)) {
        links = format!("{}{} {links}", BY_PV.trim_start_matches("/dev/"), lvm_id(*id));
    }
    Done::wrote(format!("{links}\n"))
}

/// `mkfs.xfs OPTIONS DEVICE`, and `mkfs.ext4` on a disk.
pub(super) fn mkfs(state: &mut State, node: &Text, program: &str, words: &[String]) -> Done {
    let words = match Words::read(words, &["-i", "-n", "-d", "-s"], &["-q", "-f", "-F", "-K"]) {
        Ok(words) => words,
        Err(word) => {
            let text =
                format!("{program}: invalid option -- '{}'\n{MKFS_USAGE}", word.trim_start_matches('-'));
            return Done::failed(1, text);
        }
    };
    let path = words.operands.first().cloned().unwrap_or_default();
    let refused = |text: String| Done::failed(1, text);
    let force = words.has("-f") || words.has("-F");
    let exists = |kind: &str| {
        refused(format!(
            "{program}: {path} appears to contain an existing filesystem ({kind}).\n{program}: Use the -f option to force overwrite.\n"
        ))
    };
    let size = {
        let at = state.node_mut(node);
        let found = at.find_lv(&path);
        found.and_then(|(vg, lv)| {
            let vg = at.vgs.get(&vg)?;
            Some(vg.extent * u64::from(vg.lvs.get(&lv)?.extents))
        })
    };
    if let Some(data) = state.node_mut(node).data_mut(&path) {
        if data.mounted {
            return refused(format!("{program}: {path} contains a mounted filesystem\n{MKFS_USAGE}"));
        }
        if data.fs.is_some() && !force {
            return exists("xfs");
        }
        if size.is_some_and(|size| size < SMALLEST_XFS) {
            return refused(format!("Filesystem must be larger than 300MB.\n{MKFS_USAGE}"));
        }
        data.fs = Some(vec![]);
        return Done::changed();
    }
    let Some(disk) = disk_path(state, node, &path) else {
        return refused(format!(
            "Error accessing specified device {path}: No such file or directory\n{MKFS_USAGE}"
        ));
    };
    let kind = program.trim_start_matches("mkfs.");
    let disks = &mut state.node_mut(node).disks;
    match disks.get(&disk) {
        Some(Disk::Pv { .. }) if !force => exists("LVM2_member"),
        Some(Disk::Signature(kind)) if !force => exists(&kind.to_string()),
        Some(Disk::Pv { vg: Some(_), .. }) => {
            refused(format!("{program}: cannot open {path}: Device or resource busy\n"))
        }
        _ => {
            disks.insert(disk, Disk::Signature(kind.into()));
            Done::changed()
        }
    }
}

/// Whether mkfs.xfs came to its end on a device.
pub(super) fn xfs_complete(state: &State, node: &Text, words: &[String]) -> Done {
    let path = words.first().map(String::as_str).unwrap_or_default();
    let data = state.nodes.get(node).and_then(|node| node.data(path));
    match data {
        Some(data) if data.fs.is_some() => Done::wrote(""),
        _ => Done::failed(1, ""),
    }
}
