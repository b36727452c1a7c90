//! What a node says, in the shape in which Heketi shows it: GlusterFS's XML as Go reads it, LVM's reports, the
//! mounts of bricks. What could not be had is null.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::units::seen::{BrickSeen, Line, MountSeen, NodeSeen, VolumeSeen};

#[derive(serde::Serialize)]
pub(super) struct NodeData {
    #[serde(rename = "NodeHeketiID")]
    id: String,
    #[serde(rename = "VolumeInfo")]
    volumes: Option<VolumeInfo>,
    #[serde(rename = "LVMPVInfo")]
    pvs: Option<LvmInfo>,
    #[serde(rename = "LVMVGInfo")]
    vgs: Option<LvmInfo>,
    #[serde(rename = "LVMLVInfo")]
    lvs: Option<LvmInfo>,
    #[serde(rename = "BricksMountStatus")]
    mounts: Option<BricksMountStatus>,
    /// Always null: there are no block volumes.
    #[serde(rename = "BlockVolumeNames")]
    block_volumes: Option<Vec<String>>,
}

impl From<NodeSeen> for NodeData {
    fn from(seen: NodeSeen) -> Self {
        let nothing = Self {
            id: seen.node.to_string(),
            volumes: None,
            pvs: None,
            vgs: None,
            lvs: None,
            mounts: None,
            block_volumes: None,
        };
        let Ok(said) = seen.said else { return nothing };
        Self {
            volumes: said.volumes.ok().map(VolumeInfo),
            pvs: said.pvs.ok().map(|lines| LvmInfo { kind: "pv", columns: &PV, lines }),
            vgs: said.vgs.ok().map(|lines| LvmInfo { kind: "vg", columns: &VG, lines }),
            lvs: said.lvs.ok().map(|lines| LvmInfo { kind: "lv", columns: &LV, lines }),
            mounts: said.mounts.ok().map(BricksMountStatus::from),
            ..nothing
        }
    }
}

/// The columns of LVM's reports: LVM's name and Heketi's.
type Columns = [(&'static str, &'static str)];

const PV: [(&str, &str); 6] = [
    ("pv_name", "pv_name"),
    ("vg_name", "vg_name"),
    ("pv_fmt", "pv_fmt"),
    ("pv_attr", "pv_attr"),
    ("pv_size", "pv_size"),
    ("pv_free", "pv_free"),
];
const VG: [(&str, &str); 7] = [
    ("vg_name", "vg_name"),
    // Heketi has the colon.
    ("pv_count", "pv_count:"),
    ("lv_count", "lv_count"),
    ("snap_count", "snap_count"),
    ("vg_attr", "vg_attr"),
    ("vg_size", "vg_size"),
    ("vg_free", "vg_free"),
];
const LV: [(&str, &str); 12] = [
    ("lv_name", "lv_name"),
    ("vg_name", "vg_name"),
    ("lv_attr", "lv_attr"),
    ("lv_size", "lv_size"),
    ("pool_lv", "pool_lv"),
    ("origin", "origin"),
    ("data_percent", "data_percent"),
    ("metadata_percent", "metadata_percent"),
    ("move_pv", "move_pv"),
    ("mirror_log", "mirror_log"),
    ("copy_percent", "copy_percent"),
    ("convert_lv", "convert_lv"),
];

/// One of LVM's reports, as its JSON has it: `{"report":[{KIND:[LINE]}]}`.
struct LvmInfo {
    kind: &'static str,
    columns: &'static Columns,
    lines: Vec<Line>,
}

impl Serialize for LvmInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lines: Vec<Row<'_>> = self.lines.iter().map(|line| Row { columns: self.columns, line }).collect();
        one_entry(serializer, "report", &[Single(self.kind, lines)])
    }
}

/// An object with one entry.
struct Single<T>(&'static str, T);

impl<T: Serialize> Serialize for Single<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        one_entry(serializer, self.0, &self.1)
    }
}

fn one_entry<S: Serializer>(serializer: S, key: &str, value: &impl Serialize) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(key, value)?;
    map.end()
}

/// A line of a report, its columns in Heketi's order and all of them texts.
struct Row<'a> {
    columns: &'static Columns,
    line: &'a Line,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = |name: &str| self.line.get(name).map_or("", String::as_str);
        serializer.collect_map(self.columns.iter().map(|(name, shown)| (shown, value(name))))
    }
}

/// The name of an element, as Go notes it.
#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct XmlName {
    space: &'static str,
    local: &'static str,
}

impl XmlName {
    fn of(local: &'static str) -> Self {
        Self { space: "", local }
    }
}

/// `volInfo` of `gluster volume info all --xml`. With thousands of volumes it is large, and nodes share it: it takes
/// Go's shape while it is written.
struct VolumeInfo(Arc<Vec<VolumeSeen>>);

impl Serialize for VolumeInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let volumes = Volumes {
            xml_name: XmlName::of("volumes"),
            count: self.0.len(),
            volume_list: self.0.iter().map(Volume::from).collect(),
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("XMLName", &XmlName::of("volInfo"))?;
        map.serialize_entry("Volumes", &volumes)?;
        map.end()
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes<'a> {
    #[serde(rename = "XMLName")]
    xml_name: XmlName,
    count: usize,
    volume_list: Vec<Volume<'a>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Volume<'a> {
    #[serde(rename = "XMLName")]
    xml_name: XmlName,
    volume_name: &'a str,
    #[serde(rename = "ID")]
    id: &'a str,
    status: i64,
    status_str: &'a str,
    brick_count: i64,
    dist_count: i64,
    stripe_count: i64,
    replica_count: i64,
    arbiter_count: i64,
    disperse_count: i64,
    redundancy_count: i64,
    #[serde(rename = "Type")]
    kind: i64,
    #[serde(rename = "TypeStr")]
    kind_str: &'a str,
    transport: i64,
    bricks: Bricks<'a>,
    opt_count: usize,
    options: Options<'a>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Bricks<'a> {
    #[serde(rename = "XMLName")]
    xml_name: XmlName,
    brick_list: Vec<Brick<'a>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Brick<'a> {
    #[serde(rename = "UUID")]
    uuid: &'a str,
    name: &'a str,
    #[serde(rename = "HostUUID")]
    host_uuid: &'a str,
    is_arbiter: i64,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Options<'a> {
    #[serde(rename = "XMLName")]
    xml_name: XmlName,
    option_list: Vec<VolumeOption<'a>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct VolumeOption<'a> {
    name: &'a str,
    value: &'a str,
}

impl<'a> From<&'a VolumeSeen> for Volume<'a> {
    fn from(seen: &'a VolumeSeen) -> Self {
        let options = seen.options.iter().map(|(name, value)| VolumeOption { name, value });
        Self {
            xml_name: XmlName::of("volume"),
            volume_name: &seen.name,
            id: &seen.id,
            status: seen.status,
            status_str: &seen.status_text,
            brick_count: seen.brick_count,
            dist_count: seen.dist_count,
            stripe_count: seen.stripe_count,
            replica_count: seen.replica_count,
            arbiter_count: seen.arbiter_count,
            disperse_count: seen.disperse_count,
            redundancy_count: seen.redundancy_count,
            kind: seen.kind,
            kind_str: &seen.kind_text,
            transport: seen.transport,
            bricks: Bricks {
                xml_name: XmlName::of("bricks"),
                brick_list: seen.bricks.iter().map(Brick::from).collect(),
            },
            opt_count: seen.options.len(),
            options: Options { xml_name: XmlName::of("options"), option_list: options.collect() },
        }
    }
}

impl<'a> From<&'a BrickSeen> for Brick<'a> {
    fn from(seen: &'a BrickSeen) -> Self {
        Self { uuid: &seen.uuid, name: &seen.name, host_uuid: &seen.host_uuid, is_arbiter: seen.is_arbiter }
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct BricksMountStatus {
    statuses: Vec<BrickMountStatus>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct BrickMountStatus {
    device: String,
    mount_point: String,
    #[serde(rename = "Type")]
    kind: String,
    mount_options: String,
    mounted: bool,
}

impl From<Vec<MountSeen>> for BricksMountStatus {
    fn from(seen: Vec<MountSeen>) -> Self {
        let status = |mount: MountSeen| BrickMountStatus {
            device: mount.device,
            mount_point: mount.point,
            kind: mount.kind,
            mount_options: mount.options,
            mounted: mount.mounted,
        };
        Self { statuses: seen.into_iter().map(status).collect() }
    }
}
