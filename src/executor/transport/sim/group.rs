//! Volume groups and what is in them. What every command asks for is counted as logical volumes come and go: a group
//! has hundreds of them.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::state::Data;
use super::text::Text;
use crate::units::Id;

/// A volume group on one disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Vg {
    pub(super) id: Id,
    pub(super) disk: Text,
    /// The size of an extent in bytes.
    pub(super) extent: u64,
    pub(super) extents: u32,
    /// Extents of the hidden spare for the metadata of pools.
    pub(super) spare: u32,
    /// Separated by commas.
    pub(super) tags: Text,
    pub(super) lvs: BTreeMap<Text, Lv>,
    /// Extents that they take.
    #[serde(skip)]
    taken: u32,
    /// How many of them have a tag.
    #[serde(skip)]
    tagged: HashMap<Text, u32>,
    /// How many of them are thin pools.
    #[serde(skip)]
    pools: u32,
    /// How many of them are in a thin pool, by its name.
    #[serde(skip)]
    inside: HashMap<Text, u32>,
}

/// A thin pool, a thin logical volume or a plain one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Lv {
    pub(super) extents: u32,
    /// Extents of a thin pool's metadata; 0 if it is no pool.
    pub(super) meta: u32,
    /// Separated by commas.
    pub(super) tags: Text,
    /// Absent for thin pools.
    pub(super) data: Option<Box<Data>>,
}

impl Vg {
    /// An empty group.
    pub(super) fn new(id: Id, disk: Text, extent: u64, extents: u32, tags: Text) -> Self {
        let (lvs, tagged, inside) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { id, disk, extent, extents, spare: 0, tags, lvs, taken: 0, tagged, pools: 0, inside }
    }

    /// Extents that no logical volume has.
    pub(super) fn free(&self) -> u32 {
        self.extents.saturating_sub(self.taken + self.spare)
    }

    /// The logical volumes that have a tag.
    pub(super) fn tagged(&self, tag: &str) -> impl Iterator<Item = (&Text, &Lv)> {
        let packed = Text::from(tag);
        let lvs = if self.tagged.contains_key(&packed) { Some(self.lvs.iter()) } else { None };
        lvs.into_iter().flatten().filter(move |(_, lv)| {
            lv.tags.may_contain(&packed)
                && lv.tags.to_string().split(',').any(|has| packed == Text::from(has))
        })
    }

    /// Whether there is any thin pool.
    pub(super) fn has_pools(&self) -> bool {
        self.pools > 0
    }

    /// The names of the logical volumes in a thin pool.
    pub(super) fn inside(&self, pool: &Text) -> impl Iterator<Item = &Text> {
        let lvs = if self.inside.contains_key(pool) { Some(self.lvs.iter()) } else { None };
        lvs.into_iter().flatten().filter(|(_, lv)| lv.pool() == Some(pool)).map(|(name, _)| name)
    }

    /// Adds a logical volume under a name that nothing has.
    pub(super) fn add(&mut self, name: Text, lv: Lv) {
        self.count(&lv);
        self.lvs.insert(name, lv);
    }

    /// Changes a logical volume.
    pub(super) fn change(&mut self, name: Text, change: impl FnOnce(&mut Lv)) {
        if let Some(mut lv) = self.take_away(&name) {
            change(&mut lv);
            self.add(name, lv);
        }
    }

    /// Takes a logical volume away.
    pub(super) fn take_away(&mut self, name: &Text) -> Option<Lv> {
        let lv = self.lvs.remove(name)?;
        self.taken -= lv.allocated();
        self.pools -= u32::from(lv.data.is_none());
        if let Some(pool) = lv.pool() {
            one_less(&mut self.inside, pool);
        }
        for tag in lv.tags.to_string().split(',').map(Text::from) {
            one_less(&mut self.tagged, &tag);
        }
        Some(lv)
    }

    fn count(&mut self, lv: &Lv) {
        self.taken += lv.allocated();
        self.pools += u32::from(lv.data.is_none());
        if let Some(pool) = lv.pool() {
            *self.inside.entry(pool.clone()).or_default() += 1;
        }
        for tag in lv.tags.to_string().split(',').map(Text::from) {
            *self.tagged.entry(tag).or_default() += 1;
        }
    }

    /// Counts all, and holds texts once that it has several times: after it was read from a file.
    pub(super) fn complete(&mut self) {
        let tags: BTreeMap<Text, Text> =
            self.lvs.iter().map(|(name, lv)| (name.clone(), lv.tags.clone())).collect();
        let lvs = std::mem::take(&mut self.lvs);
        (self.taken, self.pools) = (0, 0);
        (self.tagged, self.inside) = Default::default();
        for (name, mut lv) in lvs {
            let pool = lv.data.as_ref().and_then(|data| tags.get(&data.pool));
            if let Some(tags) = pool.filter(|tags| **tags == lv.tags) {
                lv.tags = tags.clone();
            }
            self.add(name, lv);
        }
    }
}

/// Counts one less of something, and forgets it when there is none.
fn one_less(counts: &mut HashMap<Text, u32>, of: &Text) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

impl Lv {
    /// The thin pool that it is in.
    fn pool(&self) -> Option<&Text> {
        self.data.as_ref().map(|data| &data.pool).filter(|pool| !pool.is_empty())
    }

    /// The extents it takes from its volume group.
    fn allocated(&self) -> u32 {
        if self.pool().is_some() { 0 } else { self.extents + self.meta }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lv(extents: u32, tags: &str) -> Lv {
        Lv { extents, meta: 1, tags: tags.into(), data: None }
    }

    fn names(vg: &Vg, tag: &str) -> Vec<String> {
        vg.tagged(tag).map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn what_is_counted_follows_what_is_there() {
        let mut vg = Vg::new(Id::from_uid("vg"), "/dev/sdb".into(), 4 << 20, 100, "".into());
        vg.spare = 1;
        vg.add("a".into(), lv(10, "one,both"));
        vg.add("b".into(), lv(20, "two,both"));
        assert_eq!(
            (vg.free(), names(&vg, "both"), names(&vg, "two")),
            (67, vec!["a".into(), "b".into()], vec!["b".into()])
        );
        assert!(names(&vg, "bot").is_empty() && names(&vg, "one,both").is_empty());

        vg.change("a".into(), |lv| lv.extents = 15);
        vg.change("b".into(), |lv| lv.tags = "three".into());
        assert_eq!(
            (vg.free(), names(&vg, "both"), names(&vg, "three")),
            (62, vec!["a".into()], vec!["b".into()])
        );

        let data = Data { pool: "a".into(), ..Data::default() };
        vg.add("in a".into(), Lv { data: Some(Box::new(data)), ..lv(5, "") });
        let text = serde_json::to_string(&vg).unwrap();
        let mut read: Vg = serde_json::from_str(&text).unwrap();
        read.complete();
        for vg in [&mut vg, &mut read] {
            assert_eq!((vg.free(), names(vg, "both")), (62, vec!["a".into()]));
            assert_eq!((vg.pools, vg.inside(&"a".into()).collect::<Vec<_>>()), (2, vec![&"in a".into()]));
            assert_eq!(vg.inside(&"b".into()).count(), 0);
            for name in ["in a", "a", "b"] {
                assert!(vg.take_away(&name.into()).is_some());
            }
            assert!(vg.take_away(&"a".into()).is_none());
            assert_eq!((vg.free(), vg.tagged.len(), vg.inside.len(), vg.has_pools()), (99, 0, 0, false));
        }
    }
}
