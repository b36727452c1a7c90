//! `lvextend`: larger thin pools, metadata of pools, and volumes; and the question whether that is needed.

use std::cmp::Ordering;

use super::{
    command::{Done, Words},
    group::Vg,
    lvm::{Answer, FAILED, extents, no_lv, no_vg, operand, size},
    state::State,
    text::Text,
};

/// Runs `lvextend`: one logical volume, to a size.
pub(super) fn run(state: &mut State, node: &Text, words: &Words) -> Answer {
    let target = operand(words)?;
    let (vg_name, name) = target.split_once('/').unwrap_or((&target, ""));
    let (data, metadata) = (size(words, &["--size", "-L"])?, size(words, &["--poolmetadatasize"])?);
    let vg = state.node_mut(node).vgs.get_mut(&Text::from(vg_name));
    let vg = vg.ok_or_else(|| (FAILED, no_vg(vg_name)))?;
    let key = Text::from(name);
    let absent = || format!("  Logical volume {name} not found in volume group {vg_name}.\n");
    let lv = vg.lvs.get(&key).ok_or_else(|| (FAILED, absent()))?;
    // A thin volume takes nothing from the group: its pool does.
    let (extends, is_thin) = (lv.extents, lv.data.as_ref().is_some_and(|data| data.pool != Text::default()));
    if let Some(bytes) = data {
        let wanted = extents(vg, bytes);
        larger(vg, extends, wanted, if is_thin { 0 } else { wanted.saturating_sub(extends) })?;
        vg.change(key, |lv| lv.extents = wanted);
    } else if let Some(bytes) = metadata {
        let (has, wanted) = (lv.meta, extents(vg, bytes));
        if wanted == has {
            return Ok(Done::wrote(""));
        }
        let spare = wanted.saturating_sub(vg.spare);
        larger(vg, has, wanted, wanted.saturating_sub(has) + spare)?;
        vg.spare += spare;
        vg.change(key, |lv| lv.meta = wanted);
    }
    Ok(Done::changed())
}

/// Whether so many extents may become so many, when that takes as many from the group.
fn larger(vg: &Vg, has: u32, wanted: u32, taken: u32) -> Result<(), (i32, String)> {
    let text = match wanted.cmp(&has) {
        Ordering::Equal => format!("  New size ({wanted} extents) matches existing size ({has} extents).\n"),
        Ordering::Less => {
            format!("  New size given ({wanted} extents) not larger than existing size ({has} extents)\n")
        }
        Ordering::Greater if taken > vg.free() => {
            format!("  Insufficient free space: {taken} extents needed, but only {} available\n", vg.free())
        }
        Ordering::Greater => return Ok(()),
    };
    Err((FAILED, text))
}

/// Our script: whether a field of a logical volume is at least so large.
pub(super) fn holds(state: &State, node: &Text, words: &[String]) -> Done {
    let [lv, field, wanted] = words else { return Done::failed(2, "") };
    let (vg_name, name) = lv.split_once('/').unwrap_or((lv, ""));
    let vg = state.nodes.get(node).and_then(|node| node.vgs.get(&Text::from(vg_name)));
    let Some((vg, lv)) = vg.and_then(|vg| Some((vg, vg.lvs.get(&Text::from(name))?))) else {
        return Done::failed(FAILED, no_lv(vg_name, name));
    };
    let has = u64::from(if field == "lv_metadata_size" { lv.meta } else { lv.extents }) * vg.extent;
    if wanted.parse().is_ok_and(|wanted: u64| has >= wanted) { Done::wrote("") } else { Done::failed(1, "") }
}
