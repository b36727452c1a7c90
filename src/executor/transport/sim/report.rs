//! The reports of LVM: `pvs`, `vgs` and `lvs`.

use super::{
    command::{Done, Words},
    disks,
    group::{Lv, Vg},
    lvm::{FAILED, no_lv, no_vg},
    state::{Disk, Node, State, lvm_id},
    text::Text,
};

/// One line of a report, with the value of each column.
type Row = Vec<String>;

/// The columns that can be asked for; one that a kind of report does not have is empty in it.
const COLUMNS: &str = "convert_lv,copy_percent,data_percent,lv_attr,lv_count,lv_name,lv_size,lv_tags,\
    metadata_percent,mirror_log,move_pv,origin,pool_lv,pv_attr,pv_count,pv_fmt,pv_free,pv_name,pv_size,\
    pv_uuid,snap_count,thin_count,vg_attr,vg_extent_count,vg_extent_size,vg_free,vg_free_count,vg_name,\
    vg_size,vg_tags,vg_uuid";

/// How a report is to look.
struct Look<'w> {
    kind: &'static str,
    columns: Vec<&'w str>,
    json: bool,
    headings: bool,
    /// The letter of the unit of sizes, and whether it is written after them.
    unit: &'w str,
    suffix: bool,
    hidden: bool,
}

/// Runs `pvs`, `vgs` or `lvs`.
pub(super) fn run(state: &State, node: &Text, command: &str, words: &Words) -> Done {
    let (kind, usual) = match command {
        "pvs" => ("pv", "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free"),
        "vgs" => ("vg", "vg_name,pv_count,lv_count,snap_count,vg_attr,vg_size,vg_free"),
        _ => (
            "lv",
            "lv_name,vg_name,lv_attr,lv_size,pool_lv,origin,data_percent,metadata_percent,move_pv,mirror_log,copy_percent,convert_lv",
        ),
    };
    let look = Look {
        kind,
        columns: words.get(&["-o", "--options"]).unwrap_or(usual).split(',').collect(),
        json: words.get(&["--reportformat"]) == Some("json"),
        headings: !words.has("--noheadings"),
        unit: words.get(&["--units"]).unwrap_or("k"),
        suffix: !words.has("--nosuffix"),
        hidden: words.has("-a"),
    };
    if let Some(field) = look.columns.iter().find(|name| !COLUMNS.split(',').any(|known| known == **name)) {
        return Done::failed(3, format!("  Unrecognised field: {field}\n"));
    }
    let nothing = Node::default();
    let target = words.operands.first().map(String::as_str);
    let at = state.nodes.get(node).unwrap_or(&nothing);
    let rows = match command {
        "pvs" => pvs(state, node, at, &look, target),
        "vgs" => vgs(at, &look, target),
        _ => lvs(at, &look, target, selected_tag(words)),
    };
    match rows {
        Ok(rows) => Done::wrote(look.print(&rows)),
        Err(text) => {
            let mut done = Done::failed(FAILED, text);
            if look.json {
                done.output.stdout = look.print(&[]);
            }
            done
        }
    }
}

/// The tag of `--select lv_tags="TAG"`, if there is one.
pub(super) fn selected_tag(words: &Words) -> Option<&str> {
    let tag = words.get(&["-S", "--select"])?.strip_prefix("lv_tags=")?;
    Some(tag.trim_matches(['"', '{', '}']))
}

impl Look<'_> {
    fn size(&self, bytes: u64) -> String {
        let divisor = match self.unit {
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            _ => 1,
        };
        let suffix = if self.suffix { self.unit } else { "" };
        if divisor == 1 {
            return format!("{bytes}{}", if self.suffix { "B" } else { "" });
        }
        let hundredths = u128::from(bytes) * 100 / divisor;
        format!("{}.{:02}{suffix}", hundredths / 100, hundredths % 100)
    }

    fn row(&self, value: impl Fn(&str) -> String) -> Row {
        self.columns.iter().map(|name| value(name)).collect()
    }

    fn print(&self, rows: &[Row]) -> String {
        if self.json {
            return self.print_json(rows);
        }
        let mut text = String::new();
        if self.headings {
            let names: Vec<String> = self.columns.iter().map(|name| name.to_uppercase()).collect();
            text += &format!("  {}\n", names.join(" "));
        }
        for row in rows {
            // Numbers are at the right edge of their column.
            let edge = |(name, value): (&&str, &String)| match *name {
                "thin_count" => format!("{value:>6}"),
                _ => value.clone(),
            };
            let row: Vec<String> = self.columns.iter().zip(row).map(edge).collect();
            text += &format!("  {}\n", row.join(" "));
        }
        text
    }

    fn print_json(&self, rows: &[Row]) -> String {
        let line = |row: &Row| {
            let pair = |(name, value): (&&str, &String)| format!("\"{name}\":\"{value}\"");
            let pairs: Vec<String> = self.columns.iter().zip(row).map(pair).collect();
            format!("                  {{{}}}", pairs.join(", "))
        };
        let mut lines = rows.iter().map(line).collect::<Vec<_>>().join(",\n");
        if !lines.is_empty() {
            lines.push('\n');
        }
        let kind = self.kind;
        format!(
            "  {{\n      \"report\": [\n          {{\n              \"{kind}\": [\n{lines}              ]\n          }}\n      ]\n  }}\n"
        )
    }
}

fn pvs(
    state: &State,
    key: &Text,
    node: &Node,
    look: &Look,
    target: Option<&str>,
) -> Result<Vec<Row>, String> {
    let wanted = target.map(|path| disks::disk_path(state, key, path));
    let mut found: Vec<(String, &Disk)> = node
        .disks
        .iter()
        .filter(|(path, disk)| {
            let asked = wanted.as_ref().is_none_or(|wanted| wanted.as_ref() == Some(path));
            asked && matches!(disk, Disk::Pv { .. })
        })
        .map(|(path, disk)| (path.to_string(), disk))
        .collect();
    if let (Some(path), true) = (target, found.is_empty()) {
        let text = format!("  Failed to find physical volume \"{path}\".\n");
        return Err(text);
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let row = |(path, disk): &(String, &Disk)| {
        let Disk::Pv { id, vg: name, .. } = disk else {
            return look.row(|_| String::new());
        };
        let vg = name.as_ref().and_then(|name| node.vgs.get(name));
        let extents = |count: u32| vg.map_or(0, |vg| vg.extent * u64::from(count));
        look.row(|column| match column {
            "pv_name" => path.clone(),
            "pv_uuid" => lvm_id(*id),
            "vg_name" => name.as_ref().map(Text::to_string).unwrap_or_default(),
            "vg_tags" => vg.map(|vg| vg.tags.to_string()).unwrap_or_default(),
            "pv_fmt" => "lvm2".into(),
            "pv_attr" => if vg.is_some() { "a--" } else { "---" }.into(),
            "pv_size" => look.size(vg.map_or(state.device_size.0, |vg| extents(vg.extents))),
            "pv_free" => look.size(vg.map_or(state.device_size.0, |vg| extents(vg.free()))),
            _ => String::new(),
        })
    };
    Ok(found.iter().map(row).collect())
}

fn vgs(node: &Node, look: &Look, target: Option<&str>) -> Result<Vec<Row>, String> {
    let row = |(name, vg): &(String, &Vg)| {
        let extents = |count: u32| look.size(vg.extent * u64::from(count));
        look.row(|column| match column {
            "vg_name" => name.clone(),
            "vg_uuid" => lvm_id(vg.id),
            "vg_size" => extents(vg.extents),
            "vg_free" => extents(vg.free()),
            "vg_extent_size" => look.size(vg.extent),
            "vg_extent_count" => vg.extents.to_string(),
            "vg_free_count" => vg.free().to_string(),
            "vg_tags" => vg.tags.to_string(),
            "pv_count" => "1".into(),
            "pv_name" => vg.disk.to_string(),
            "lv_count" => vg.lvs.len().to_string(),
            "snap_count" => "0".into(),
            "vg_attr" => "wz--n-".into(),
            _ => String::new(),
        })
    };
    Ok(groups(node, target)?.iter().map(row).collect())
}

/// The volume groups that are asked for, by name.
fn groups<'n>(node: &'n Node, target: Option<&str>) -> Result<Vec<(String, &'n Vg)>, String> {
    if let Some(name) = target {
        let vg = node.vgs.get(&Text::from(name));
        let vg = vg.ok_or_else(|| no_vg(name))?;
        return Ok(vec![(name.to_owned(), vg)]);
    }
    let mut groups: Vec<(String, &Vg)> = node.vgs.iter().map(|(name, vg)| (name.to_string(), vg)).collect();
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(groups)
}

/// A line of `lvs` before it is printed.
struct Seen {
    name: String,
    hidden: bool,
    extents: u32,
    pool: String,
    tags: String,
    attr: &'static str,
    thin_count: String,
    /// How full its data and its metadata are, in percent.
    filled: (&'static str, &'static str),
}

/// How full real pools and volumes were that held an empty XFS. What is written is not simulated.
const FILLED: (&str, &str) = ("12.74", "10.55");

fn lvs(node: &Node, look: &Look, target: Option<&str>, tag: Option<&str>) -> Result<Vec<Row>, String> {
    let (group, one) = match target.map(|target| target.split_once('/').unwrap_or((target, ""))) {
        Some((group, one)) => (Some(group), one),
        None => (None, ""),
    };
    let counting = look.columns.contains(&"thin_count");
    let mut rows = vec![];
    for (vg_name, vg) in groups(node, group)? {
        let mut seen = if one.is_empty() {
            all_lvs(vg, counting, tag)
        } else {
            let lv = vg.lvs.get(&Text::from(one));
            let lv = lv.ok_or_else(|| no_lv(&vg_name, one))?;
            vec![seen(vg, one.to_owned(), lv, counting)]
        };
        seen.retain(|lv| look.hidden || !lv.hidden);
        seen.retain(|lv| tag.is_none_or(|tag| lv.tags.split(',').any(|has| has == tag)));
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        for lv in seen {
            rows.push(look.row(|column| match column {
                "lv_name" if lv.hidden => format!("[{}]", lv.name),
                "lv_name" => lv.name.clone(),
                "vg_name" => vg_name.clone(),
                "lv_size" => look.size(vg.extent * u64::from(lv.extents)),
                "pool_lv" => lv.pool.clone(),
                "lv_tags" => lv.tags.clone(),
                "lv_attr" => lv.attr.into(),
                "thin_count" => lv.thin_count.clone(),
                "data_percent" => lv.filled.0.into(),
                "metadata_percent" => lv.filled.1.into(),
                "origin" | "move_pv" | "mirror_log" | "copy_percent" | "convert_lv" => String::new(),
                _ => String::new(),
            }));
        }
    }
    Ok(rows)
}

/// A logical volume; what is in a pool is counted only if the report has a use for it.
fn seen(vg: &Vg, name: String, lv: &Lv, counting: bool) -> Seen {
    let key = Text::from(name.as_str());
    let in_pool = |lv: &&Lv| lv.data.as_ref().is_some_and(|data| data.pool == key);
    let (pool, attr, thin_count, filled) = match &lv.data {
        None => {
            let volumes = vg.lvs.values().filter(in_pool);
            let count = if counting { volumes.count() } else { 0 };
            (String::new(), "twi-aotz--", count.to_string(), FILLED)
        }
        Some(data) if data.pool.is_empty() => {
            let attr = if data.mounted { "-wi-ao----" } else { "-wi-a-----" };
            (String::new(), attr, String::new(), ("", ""))
        }
        Some(data) => {
            let attr = if data.mounted { "Vwi-aotz--" } else { "Vwi-a-tz--" };
            let filled = if data.fs.is_some() { FILLED.0 } else { "0.00" };
            (data.pool.to_string(), attr, String::new(), (filled, ""))
        }
    };
    Seen {
        name,
        hidden: false,
        extents: lv.extents,
        pool,
        tags: lv.tags.to_string(),
        attr,
        thin_count,
        filled,
    }
}

/// All logical volumes of a group, with the hidden ones of its pools; or those that have a tag.
fn all_lvs(vg: &Vg, counting: bool, tag: Option<&str>) -> Vec<Seen> {
    if let Some(tag) = tag {
        return vg.tagged(tag).map(|(name, lv)| seen(vg, name.to_string(), lv, counting)).collect();
    }
    let hidden = |name: String, extents: u32, attr: &'static str| Seen {
        name,
        hidden: true,
        extents,
        pool: String::new(),
        tags: String::new(),
        attr,
        thin_count: String::new(),
        filled: ("", ""),
    };
    let mut all = vec![];
    if vg.spare > 0 {
        all.push(hidden("lvol0_pmspare".into(), vg.spare, "ewi-------"));
    }
    for (name, lv) in &vg.lvs {
        let name = name.to_string();
        if lv.data.is_none() {
            all.push(hidden(format!("{name}_tdata"), lv.extents, "Twi-ao----"));
            all.push(hidden(format!("{name}_tmeta"), lv.meta, "ewi-ao----"));
        }
        all.push(seen(vg, name, lv, counting));
    }
    all
}
