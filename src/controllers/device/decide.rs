//! The next step of a device. Pure.

use crate::executor::ops::lvm::{DEVICE_TAG, PhysicalVolume, VolumeGroup};
use crate::units::Id;

/// What was seen on a disk.
#[derive(Debug, Default)]
pub struct Seen {
    /// The volume group that has the device's name.
    pub group: Option<VolumeGroup>,
    /// The UUID of that group's physical volume.
    pub pv_uuid: Option<String>,
    /// The names of its disk.
    pub paths: Vec<String>,
    /// A physical volume on the disk that is not in that group.
    pub foreign_pv: Option<PhysicalVolume>,
    /// The object of another device that has this physical volume.
    pub owner: Option<String>,
    /// What else is on the disk.
    pub content: Option<String>,
}

/// What to do next about a device.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The group is there and ours: write down its size.
    Measure,
    /// Make the group.
    Make {
        /// Whether the disk is wiped first.
        wipe: bool,
        /// Whether it has to become a physical volume first.
        pv: bool,
    },
    /// It is not ours to touch.
    Refuse(String),
}

/// Decides the next step. What is found on a disk is only destroyed when the spec says so, and a
/// disk that another device has is never touched.
pub fn decide(device: Id, wipe: bool, seen: &Seen) -> Next {
    if let Some(group) = &seen.group {
        let ours = group.tags.iter().any(|tag| *tag == format!("{DEVICE_TAG}{device}"));
        return match ours {
            true => Next::Measure,
            false => Next::Refuse(format!("volume group {} exists and does not carry our tag", group.name)),
        };
    }
    if let Some(owner) = &seen.owner {
        return Next::Refuse(format!("the disk is device {owner} already"));
    }
    match (&seen.foreign_pv, &seen.content) {
        // A physical volume in no group holds nothing: a try that was cut off has left it.
        (Some(pv), _) if pv.vg_name.is_empty() => Next::Make { wipe: false, pv: false },
        (Some(pv), _) => Next::Refuse(format!(
            "the disk is in volume group {}: remove that group, or take another disk",
            pv.vg_name
        )),
        (None, Some(content)) if content.contains("LVM2_member") => Next::Refuse(
            "the disk belongs to LVM, and LVM does not say to which volume group: look with `lvm pvs -a` on the node"
                .into(),
        ),
        (None, Some(content)) if !wipe => Next::Refuse(format!(
            "the disk already contains {content}: clear it with wipefs, or set spec.wipe to have it destroyed"
        )),
        (None, content) => Next::Make { wipe: content.is_some(), pv: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn pv(vg: &str) -> Option<PhysicalVolume> {
        Some(PhysicalVolume { pv_name: "/dev/sdb".into(), pv_uuid: "u".into(), vg_name: vg.into() })
    }

    fn group(tag: &str) -> Option<VolumeGroup> {
        let (size, free, extent) = (Bytes(9), Bytes(9), Bytes(1));
        Some(VolumeGroup { name: "vg_x".into(), size, free, extent, tags: vec![tag.into()] })
    }

    #[test]
    fn what_is_found_decides() {
        let id = Id::from_uid("x");
        let ours = format!("{DEVICE_TAG}{id}");
        let content = Some("ext4".to_owned());
        let refused = |next: Next| matches!(next, Next::Refuse(_));
        let on = |wipe, seen: Seen| decide(id, wipe, &seen);
        assert_eq!(on(false, Seen::default()), Next::Make { wipe: false, pv: true });
        assert_eq!(on(false, Seen { group: group(&ours), ..Seen::default() }), Next::Measure);
        assert!(refused(on(true, Seen { group: group("other"), ..Seen::default() })));
        assert!(refused(on(false, Seen { content: content.clone(), ..Seen::default() })));
        assert_eq!(on(true, Seen { content, ..Seen::default() }), Next::Make { wipe: true, pv: true });
        assert_eq!(
            on(false, Seen { foreign_pv: pv(""), ..Seen::default() }),
            Next::Make { wipe: false, pv: false }
        );
        assert!(refused(on(true, Seen { foreign_pv: pv("data"), ..Seen::default() })));
        let content = Some("LVM2_member".to_owned());
        assert!(refused(on(true, Seen { content, ..Seen::default() })));
        let owner = Some("d2".to_owned());
        assert!(refused(on(true, Seen { foreign_pv: pv(""), owner, ..Seen::default() })));
    }
}
