//! `lvcreate`: thin pools, volumes in them, both at once, and plain logical volumes.

use super::{
    command::{Done, Words},
    group::{Lv, Vg},
    lvm::{Answer, FAILED, MIB, extents, no_vg, operand, size, tags},
    state::{Data, State},
    text::Text,
};

/// What an `lvcreate` is to make.
struct Wanted {
    /// Bytes of a pool's data, or of a plain logical volume.
    size: Option<u64>,
    metadata: u64,
    virtual_size: Option<u64>,
    name: Option<String>,
    tags: Text,
}

/// Runs `lvcreate`.
pub(super) fn run(state: &mut State, node: &Text, words: &Words) -> Answer {
    let target = operand(words)?;
    let (vg_name, pool) = target.split_once('/').unwrap_or((&target, ""));
    let wanted = Wanted {
        size: size(words, &["--size", "-L"])?,
        metadata: size(words, &["--poolmetadatasize"])?.unwrap_or(4 * MIB),
        virtual_size: size(words, &["--virtualsize"])?,
        name: words.get(&["--name", "-n"]).map(str::to_owned),
        tags: tags(words, ""),
    };
    let vg = state.node_mut(node).vgs.get_mut(&Text::from(vg_name));
    let vg = vg.ok_or_else(|| (FAILED, no_vg(vg_name)))?;
    if words.has("--thinpool") || (words.has("--thin") && wanted.size.is_some()) {
        create_pool(vg, vg_name, pool, &wanted)?;
        if words.has("--thinpool") {
            return Ok(Done::changed());
        }
        // The pool stays if its volume cannot be made.
        let untagged = Wanted { tags: Text::default(), ..wanted };
        return match create_thin(vg, vg_name, pool, &untagged) {
            Ok(()) => Ok(Done::changed()),
            Err((exit, text)) => Ok(Done { changed: true, ..Done::failed(exit, text) }),
        };
    }
    if words.has("--thin") {
        create_thin(vg, vg_name, pool, &wanted)?;
    } else {
        create_plain(vg, vg_name, &wanted)?;
    }
    Ok(Done::changed())
}

fn create_pool(vg: &mut Vg, vg_name: &str, pool: &str, wanted: &Wanted) -> Result<(), (i32, String)> {
    if vg.lvs.contains_key(&Text::from(pool)) {
        let text = format!("  Logical volume {pool} already exists in Volume group {vg_name}.\n");
        return Err((FAILED, text));
    }
    let data = extents(vg, wanted.size.unwrap_or_default());
    let meta = extents(vg, wanted.metadata.max(2 * MIB));
    let spare = meta.max(vg.spare);
    let free = vg.free();
    if data > free {
        return Err((FAILED, no_space(vg_name, free, data)));
    }
    let rest = u64::from(meta) + u64::from(spare - vg.spare);
    if u64::from(data) + rest > u64::from(free) {
        let text =
            format!("  Insufficient free space: {rest} extents needed, but only {} available\n", free - data);
        return Err((FAILED, text));
    }
    vg.spare = spare;
    let lv = Lv { extents: data, meta, tags: wanted.tags.clone(), data: None };
    vg.add(pool.into(), lv);
    Ok(())
}

fn create_thin(vg: &mut Vg, vg_name: &str, pool: &str, wanted: &Wanted) -> Result<(), (i32, String)> {
    let pool_found = vg.lvs.get(&Text::from(pool)).is_some_and(|lv| lv.data.is_none());
    if !pool_found {
        let text = format!("  Thin pool {vg_name}/{pool} not found.\n");
        return Err((FAILED, text));
    }
    let (name, size) = (wanted.name.clone(), wanted.virtual_size);
    let (Some(name), Some(size)) = (name, size) else {
        return Err((3, "  A thin volume needs --virtualsize and --name.\n".into()));
    };
    let extents = extents(vg, size);
    insert_lv(vg, vg_name, &name, extents, pool, &wanted.tags)
}

fn create_plain(vg: &mut Vg, vg_name: &str, wanted: &Wanted) -> Result<(), (i32, String)> {
    let (name, size) = (wanted.name.clone(), wanted.size);
    let (Some(name), Some(size)) = (name, size) else {
        return Err((3, "  Please specify either size or extents.\n".into()));
    };
    let (needed, free) = (extents(vg, size), vg.free());
    if needed > free {
        return Err((FAILED, no_space(vg_name, free, needed)));
    }
    insert_lv(vg, vg_name, &name, needed, "", &wanted.tags)
}

fn insert_lv(
    vg: &mut Vg,
    vg_name: &str,
    name: &str,
    extents: u32,
    pool: &str,
    tags: &Text,
) -> Result<(), (i32, String)> {
    let key = Text::from(name);
    if vg.lvs.contains_key(&key) {
        let text = format!("  Logical Volume \"{name}\" already exists in volume group \"{vg_name}\"\n");
        return Err((FAILED, text));
    }
    let data = Data { pool: pool.into(), ..Data::default() };
    // Tags that its pool has too are held once.
    let tags = vg.lvs.get(&data.pool).map(|pool| &pool.tags).filter(|pool| *pool == tags).unwrap_or(tags);
    let lv = Lv { extents, meta: 0, tags: tags.clone(), data: Some(Box::new(data)) };
    vg.add(key, lv);
    Ok(())
}

fn no_space(vg: &str, free: u32, needed: u32) -> String {
    format!("  Volume group \"{vg}\" has insufficient free space ({free} extents): {needed} required.\n")
}
