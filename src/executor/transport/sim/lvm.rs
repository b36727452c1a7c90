//! LVM: makes and removes physical volumes, volume groups, thin pools and thin volumes.

use super::{
    command::{Done, Words},
    group::Vg,
    lvcreate, lvextend, report,
    state::{Disk, State},
    text::Text,
};

const NOT_BACKED_UP: &str = "  WARNING: This metadata update is NOT backed up.\n";
/// Where LVM puts the metadata of a physical volume.
const METADATA_AT: u64 = 4096;
pub(super) const MIB: u64 = 1 << 20;

/// Runs a subcommand of `lvm`.
pub(super) fn run(state: &mut State, node: &Text, words: &[String]) -> Done {
    let Some((command, words)) = words.split_first() else {
        return Done::failed(3, "  No command specified.\n");
    };
    let valued = [
        "--addtag",
        "--deltag",
        "--autobackup",
        "--chunksize",
        "--dataalignment",
        "--metadatasize",
        "--name",
        "-n",
        "--options",
        "-o",
        "--physicalextentsize",
        "--poolmetadatasize",
        "--reportformat",
        "--select",
        "-S",
        "--size",
        "-L",
        "--units",
        "--virtualsize",
    ];
    let flags = [
        "-a",
        "-ay",
        "-f",
        "-ff",
        "-q",
        "-qq",
        "-y",
        "-c",
        "--noheadings",
        "--nosuffix",
        "--refresh",
        "--thin",
        "--thinpool",
    ];
    let words = match Words::read(words, &valued, &flags) {
        Ok(words) => words,
        Err(word) => {
            let text =
                format!("lvm: unrecognized option '{word}'\n  Error during parsing of command line.\n");
            return Done::failed(3, text);
        }
    };
    let done = match command.as_str() {
        "pvcreate" => pvcreate(state, node, &words),
        "vgcreate" => vgcreate(state, node, &words),
        "lvcreate" => lvcreate::run(state, node, &words),
        "lvextend" => lvextend::run(state, node, &words),
        "lvchange" => lvchange(state, node, &words),
        "vgchange" => vgchange(state, node, &words),
        "lvremove" => lvremove(state, node, &words),
        "vgremove" => vgremove(state, node, &words),
        "pvremove" => pvremove(state, node, &words),
        "vgdisplay" => vgdisplay(state, node, &words),
        "pvs" | "vgs" | "lvs" => Ok(report::run(state, node, command, &words)),
        "version" => Ok(Done::wrote(
            "  LVM version:     2.03.16(2) (2022-05-18)\n  Library version: 1.02.185 (2022-05-18)\n",
        )),
        other => Err((2, format!("  No such command '{other}'.  Try 'help'.\n"))),
    };
    match done {
        Ok(done) if done.changed && words.get(&["--autobackup"]) == Some("n") => done.warned(NOT_BACKED_UP),
        Ok(done) => done,
        Err((exit, text)) => Done::failed(exit, text),
    }
}

pub(super) type Answer = Result<Done, (i32, String)>;

/// LVM's exit code for a command that failed.
pub(super) const FAILED: i32 = 5;

pub(super) fn no_vg(vg: &str) -> String {
    format!("  Volume group \"{vg}\" not found\n  Cannot process volume group {vg}\n")
}

pub(super) fn no_lv(vg: &str, lv: &str) -> String {
    format!("  Failed to find logical volume \"{vg}/{lv}\"\n")
}

fn pvcreate(state: &mut State, node: &Text, words: &Words) -> Answer {
    let path = operand(words)?;
    let Some(disk) = super::disks::disk_path(state, node, &path) else {
        return Err((FAILED, format!("  No device found for {path}.\n")));
    };
    match state.node_mut(node).disks.get(&disk) {
        Some(Disk::Pv { vg: Some(vg), .. }) => {
            let text = format!(
                "  Can't initialize physical volume \"{path}\" of volume group \"{vg}\" without -ff\n  {path}: physical volume not initialized.\n"
            );
            return Err((FAILED, text));
        }
        Some(Disk::Signature(kind)) => return Err((FAILED, signature_left(&path, kind))),
        Some(Disk::Pv { vg: None, .. }) | None => {}
    }
    let metadata = size(words, &["--metadatasize"])?.unwrap_or(MIB - METADATA_AT);
    let alignment = size(words, &["--dataalignment"])?.unwrap_or(MIB).max(1);
    let start = (METADATA_AT + metadata).next_multiple_of(alignment);
    let id = state.fresh_id();
    let pv = Disk::Pv { id, start, vg: None };
    state.node_mut(node).disks.insert(disk, pv);
    Ok(Done::changed())
}

fn signature_left(path: &str, kind: &Text) -> String {
    let offset = if kind.to_string() == "ext4" { 1080 } else { 0 };
    format!(
        "WARNING: {kind} signature detected on {path} at offset {offset}. Wipe it? [y/n]: [n]\n  Aborted wiping of {kind}.\n  1 existing signature left on the device.\n"
    )
}

fn vgcreate(state: &mut State, node: &Text, words: &Words) -> Answer {
    let [name, path] = words.operands.as_slice() else {
        return Err((3, "  Command requires one device.\n".into()));
    };
    let vg = Text::from(name.as_str());
    if state.node_mut(node).vgs.contains_key(&vg) {
        let text = format!("  A volume group called {name} already exists.\n");
        return Err((FAILED, text));
    }
    let Some(disk) = super::disks::disk_path(state, node, path) else {
        return Err((FAILED, format!("  No device found for {path}.\n")));
    };
    let start = match state.node_mut(node).disks.get(&disk) {
        Some(Disk::Pv { vg: Some(other), .. }) => {
            let text = format!(
                "  Physical volume '{path}' is already in volume group '{other}'\n  Unable to add physical volume '{path}' to volume group '{other}'\n  {path}: physical volume not initialized.\n"
            );
            return Err((FAILED, text));
        }
        Some(Disk::Signature(kind)) => return Err((FAILED, signature_left(path, kind))),
        Some(Disk::Pv { start, .. }) => *start,
        None => MIB,
    };
    let extent = size(words, &["--physicalextentsize"])?.unwrap_or(4 * MIB).max(1);
    let extents = state.device_size.0.saturating_sub(start) / extent;
    let (pv, id) = (state.fresh_id(), state.fresh_id());
    let node = state.node_mut(node);
    let disk_entry = node.disks.entry(disk.clone()).or_insert(Disk::Pv { id: pv, start, vg: None });
    if let Disk::Pv { vg: of, .. } = disk_entry {
        *of = Some(vg.clone());
    }
    let extents = u32::try_from(extents).unwrap_or(u32::MAX);
    let made = Vg::new(id, disk, extent, extents, tags(words, ""));
    node.vgs.insert(vg, made);
    Ok(Done::changed())
}

fn lvchange(state: &mut State, node: &Text, words: &Words) -> Answer {
    let target = operand(words)?;
    let (vg_name, name) = target.split_once('/').unwrap_or((&target, ""));
    let vg = state.node_mut(node).vgs.get_mut(&Text::from(vg_name));
    let vg = vg.ok_or_else(|| (FAILED, no_vg(vg_name)))?;
    let key = Text::from(name);
    if !vg.lvs.contains_key(&key) {
        return Err((FAILED, no_lv(vg_name, name)));
    }
    if words.has("--refresh") {
        return Ok(Done::wrote(""));
    }
    vg.change(key, |lv| lv.tags = tags(words, &lv.tags.to_string()));
    Ok(Done::changed())
}

fn vgchange(state: &mut State, node: &Text, words: &Words) -> Answer {
    let name = operand(words)?;
    let vg = state.node_mut(node).vgs.get_mut(&Text::from(name.as_str()));
    let vg = vg.ok_or_else(|| (FAILED, no_vg(&name)))?;
    if words.has("-ay") {
        return Ok(Done::wrote(""));
    }
    vg.tags = tags(words, &vg.tags.to_string());
    Ok(Done::changed())
}

/// `vgdisplay -c`: numbers between colons.
fn vgdisplay(state: &mut State, node: &Text, words: &Words) -> Answer {
    let name = operand(words)?;
    let vg = state.node_mut(node).vgs.get(&Text::from(name.as_str()));
    let vg = vg.ok_or_else(|| (FAILED, no_vg(&name)))?;
    let (size, extent) = ((u64::from(vg.extents) * vg.extent) >> 10, vg.extent >> 10);
    let (count, mounted) =
        (vg.lvs.len(), vg.lvs.values().flat_map(|lv| &lv.data).filter(|d| d.mounted).count());
    Ok(Done::wrote(format!(
        "  {name}:r/w:772:-1:0:{count}:{mounted}:-1:0:1:1:{size}:{extent}:{}:{}:{}:{}\n",
        vg.extents,
        vg.extents - vg.free(),
        vg.free(),
        super::state::lvm_id(vg.id)
    )))
}

/// Removes one logical volume, or those of a group that carry the selected tag.
fn lvremove(state: &mut State, node: &Text, words: &Words) -> Answer {
    let target = operand(words)?;
    let (vg_name, name) = target.split_once('/').unwrap_or((&target, ""));
    let vg = state.node_mut(node).vgs.get_mut(&Text::from(vg_name));
    let vg = vg.ok_or_else(|| (FAILED, no_vg(vg_name)))?;
    if !name.is_empty() && !vg.lvs.contains_key(&Text::from(name)) {
        return Err((FAILED, no_lv(vg_name, name)));
    }
    let mut names: Vec<String> = match report::selected_tag(words) {
        Some(tag) => vg.tagged(tag).map(|(name, _)| name.to_string()).collect(),
        None if name.is_empty() => vg.lvs.keys().map(Text::to_string).collect(),
        None => vec![name.to_owned()],
    };
    names.retain(|selected| name.is_empty() || selected == name);
    names.sort();
    let mut done = Done::wrote("");
    for name in names {
        let key = Text::from(name.as_str());
        // It may have gone with its pool.
        if !vg.lvs.contains_key(&key) {
            continue;
        }
        match remove_one(vg, vg_name, &key) {
            Ok(gone) => {
                done.changed = true;
                if !words.has("-qq") {
                    let told =
                        gone.iter().map(|n| format!("  Logical volume \"{n}\" successfully removed.\n"));
                    done.output.stdout.extend(told);
                }
            }
            Err(text) => {
                done.output.exit = FAILED;
                done.output.stderr += &text;
            }
        }
    }
    Ok(done)
}

/// Removes a logical volume; a thin pool with all that is in it. The spare goes with the last pool.
fn remove_one(vg: &mut Vg, vg_name: &str, key: &Text) -> Result<Vec<Text>, String> {
    let is_pool = vg.lvs.get(key).is_some_and(|lv| lv.data.is_none());
    let mut going: Vec<Text> = vg.inside(key).cloned().collect();
    going.push(key.clone());
    let mounted = |name: &&Text| {
        let data = vg.lvs.get(*name).and_then(|lv| lv.data.as_ref());
        data.is_some_and(|data| data.mounted)
    };
    if let Some(busy) = going.iter().find(mounted) {
        return Err(format!("  Logical volume {vg_name}/{busy} contains a filesystem in use.\n"));
    }
    for name in &going {
        vg.take_away(name);
    }
    if is_pool && !vg.has_pools() {
        vg.spare = 0;
    }
    Ok(going)
}

fn vgremove(state: &mut State, node: &Text, words: &Words) -> Answer {
    let name = operand(words)?;
    let key = Text::from(name.as_str());
    let node = state.node_mut(node);
    let vg = node.vgs.get(&key);
    let vg = vg.ok_or_else(|| (FAILED, no_vg(&name)))?;
    if !vg.lvs.is_empty() {
        let text = format!(
            "Do you really want to remove volume group \"{name}\" containing {} logical volumes? [y/n]: [n]\n  Volume group \"{name}\" not removed\n",
            vg.lvs.len()
        );
        return Err((FAILED, text));
    }
    if let Some(Disk::Pv { vg, .. }) = node.disks.get_mut(&vg.disk) {
        *vg = None;
    }
    node.vgs.remove(&key);
    Ok(Done::changed())
}

fn pvremove(state: &mut State, node: &Text, words: &Words) -> Answer {
    let path = operand(words)?;
    let disk = super::disks::disk_path(state, node, &path);
    let node = state.node_mut(node);
    let found = disk.and_then(|disk| node.disks.get(&disk).map(|found| (disk.clone(), found)));
    match found {
        Some((_, Disk::Pv { vg: Some(vg), .. })) => {
            let text = format!(
                "  PV {path} is used by VG {vg} so please use vgreduce first.\n  (If you are certain you need pvremove, then confirm by using --force twice.)\n  {path}: physical volume label not removed.\n"
            );
            Err((FAILED, text))
        }
        Some((disk, Disk::Pv { vg: None, .. })) => {
            node.disks.remove(&disk);
            Ok(Done::changed())
        }
        _ => Err((FAILED, format!("  No PV found on device {path}.\n"))),
    }
}

pub(super) fn operand(words: &Words) -> Result<String, (i32, String)> {
    let first = words.operands.first().cloned();
    first.ok_or_else(|| (3, "  Please enter a name or a path.\n".into()))
}

/// Whole extents for so many bytes, rounded up.
pub(super) fn extents(vg: &Vg, bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(vg.extent)).unwrap_or(u32::MAX)
}

/// The tags there were, with those that are added and without those that are taken away.
pub(super) fn tags(words: &Words, before: &str) -> Text {
    let mut tags: Vec<&str> = before.split(',').filter(|tag| !tag.is_empty()).collect();
    tags.retain(|tag| words.all("--deltag").all(|gone| gone != *tag));
    for tag in words.all("--addtag") {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Text::from(tags.join(",").as_str())
}

/// A size as LVM reads it: a number and a letter, MiB without one.
pub(super) fn size(words: &Words, names: &[&str]) -> Result<Option<u64>, (i32, String)> {
    let Some(text) = words.get(names) else {
        return Ok(None);
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "b" => 1,
        "k" => 1 << 10,
        "" | "m" => MIB,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => 0,
    };
    let number: Option<u64> = digits.parse().ok().filter(|_| unit != 0);
    match number.and_then(|number| number.checked_mul(unit)) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err((
            3,
            format!("  Invalid argument for {}: {text}\n  Error during parsing of command line.\n", names[0]),
        )),
    }
}
