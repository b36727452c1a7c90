//! Where the bricks of a volume are: what was decided, before any command ran.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Id};

/// Where the bricks of a volume are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// The name of the GlusterCluster.
    pub cluster: String,
    /// The size of the volume once all these bricks serve it, in the unit of spec.size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// The bricks, in the order in which GlusterFS is given them: set after set. Those of an expansion come
    /// after the ones that were there before.
    #[schemars(length(max = 1024))]
    pub bricks: Vec<PlacedBrick>,
}

/// One brick and its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacedBrick {
    /// The id of the brick.
    pub id: Id,
    /// The id of the GlusterDevice.
    pub device: Id,
    /// The id of the GlusterNode.
    pub node: Id,
    /// The storage host name that GlusterFS is given.
    pub host: String,
    /// The brick directory on the node.
    pub path: String,
    /// The size of the logical volume.
    pub size: Bytes,
    /// The size of the thin pool.
    pub pool_size: Bytes,
    /// The size of the thin pool's metadata.
    pub pool_metadata: Bytes,
    /// The set it belongs to, from 0.
    pub set: u32,
    /// Its position in the set, from 0.
    pub position: u32,
    /// Whether it is the arbiter of its set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub arbiter: bool,
    /// Whether the brick belongs to an expansion that is not done: it may exist or not, and GlusterFS may
    /// have added it to the volume or not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adding: bool,
    /// Whether the brick is being made larger: it has not all of these sizes yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub growing: bool,
    /// The brick that this one is to take the place of. As long as this is set, it may exist or not, and
    /// GlusterFS may have exchanged them or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Id>,
    /// Whether the brick is on its way out: it keeps its space until it was seen to be gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retiring: bool,
    /// The brick that has taken its place. This one is kept until that one has all data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<Id>,
}

impl Placement {
    /// The bricks that serve the volume, in GlusterFS order.
    pub fn active(&self) -> impl Iterator<Item = &PlacedBrick> {
        self.bricks.iter().filter(|brick| brick.serves())
    }

    /// The bricks of an expansion that is not done, in GlusterFS order. They come after the active ones.
    pub fn adding(&self) -> impl Iterator<Item = &PlacedBrick> {
        self.bricks.iter().filter(|brick| !brick.retiring && brick.adding && brick.replaces.is_none())
    }

    /// The bricks that are being made larger. They are active, and serve the volume meanwhile.
    pub fn growing(&self) -> impl Iterator<Item = &PlacedBrick> {
        self.active().filter(|brick| brick.growing)
    }

    /// Whether an expansion is on its way to the nodes.
    pub fn expands(&self) -> bool {
        self.adding().chain(self.growing()).next().is_some()
    }

    /// A brick that is to be exchanged, and the one that is to take its place.
    pub fn exchange(&self) -> Option<(&PlacedBrick, &PlacedBrick)> {
        self.bricks.iter().find_map(|new| {
            let old = self.bricks.iter().find(|old| Some(old.id) == new.replaces)?;
            (!new.retiring).then_some((old, new))
        })
    }

    /// The bricks as GlusterFS has them once the exchange is done.
    pub fn exchanged(&self) -> impl Iterator<Item = &PlacedBrick> {
        let pair = self.exchange();
        self.active().map(move |brick| match pair {
            Some((old, new)) if old.id == brick.id => new,
            _ => brick,
        })
    }

    /// The bricks as GlusterFS has them once an expansion is done.
    pub fn wanted(&self) -> impl Iterator<Item = &PlacedBrick> {
        self.active().chain(self.adding())
    }

    /// The bricks on their way out.
    pub fn retiring(&self) -> impl Iterator<Item = &PlacedBrick> {
        self.bricks.iter().filter(|brick| brick.retiring)
    }
}

impl PlacedBrick {
    /// The brick as GlusterFS names it: `host:path`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.path)
    }

    /// Whether it serves the volume: it is neither on its way in nor on its way out.
    pub fn serves(&self) -> bool {
        !self.retiring && !self.adding && self.replaces.is_none()
    }

    /// Whether somebody needs what is on it: one on its way out is kept until the one in its place has all data.
    pub fn is_needed(&self) -> bool {
        !self.retiring || self.replaced_by.is_some()
    }

    /// The space it takes on its device.
    pub fn need(&self) -> Bytes {
        self.pool_size.plus(self.pool_metadata)
    }
}
