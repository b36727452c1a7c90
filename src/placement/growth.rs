//! Room for a volume that is to grow: its bricks become larger, or sets of bricks are added. Pure.

use super::wish::request;
use super::{Cluster, Index};
use crate::allocation::grow::{Standing, grow};
use crate::allocation::{self, Need};
use crate::resources::{GlusterVolume, Growth, PlacedBrick, Placement, Refusal};

/// A refusal, and the other way to grow if that has room.
fn with_advice(why: String, other: Option<&str>) -> String {
    other.map_or(why.clone(), |other| format!("{why}; it would fit if {other} (growth: Auto)"))
}

impl Index {
    /// Finds room for what a volume is to grow by, in the cluster that it is in, or says why there is none. What it
    /// has stays where it is. Either bricks of it are larger, and marked as growing; or bricks come after
    /// it, as ones that are to be added; or neither, when its bricks give the size already.
    pub fn grow(&self, volume: &GlusterVolume) -> Result<Placement, Refusal> {
        let status = volume.status.as_ref();
        let old = status.and_then(|status| status.placement.clone()).unwrap_or_default();
        let Some(cluster) = self.clusters.values().find(|cluster| cluster.name == old.cluster) else {
            let message = format!("there is no GlusterCluster {:?} any more", old.cluster);
            return Err(Refusal { reason: "UnknownCluster".into(), message, ..Refusal::default() });
        };
        let held = old.wanted().count() / volume.spec.durability.set_size();
        let smallest =
            old.wanted().filter(|brick| !brick.arbiter).map(|brick| brick.size).min().unwrap_or_default();
        let wish = allocation::Request { held, ..request(cluster, volume) };
        if wish.is_met_by(held, smallest) {
            return Ok(Placement { size: Some(wish.size), ..old });
        }
        let refused = |(reason, message): (&str, String)| Refusal {
            cluster: Some(cluster.id),
            reason: reason.into(),
            message: format!("cluster {}: {message}", cluster.name),
            ..Refusal::default()
        };
        match volume.spec.growth {
            Growth::Sets => {
                self.with_sets(cluster, volume, wish.clone(), old.clone()).map_err(|(reason, why)| {
                    let other = self.larger(&wish, &old).map(|_| "its bricks grew where they are");
                    refused((reason, with_advice(why, other.ok())))
                })
            }
            Growth::InPlace => self.larger(&wish, &old).map_err(|why| {
                let other =
                    self.with_sets(cluster, volume, wish, old).map(|_| "bricks were added beside them");
                refused(("NoSpace", with_advice(why, other.ok())))
            }),
            Growth::Auto => self.larger(&wish, &old).or_else(|why| {
                let with_sets = self.with_sets(cluster, volume, wish, old);
                with_sets.map_err(|(reason, message)| refused((reason, format!("{message}; {why}"))))
            }),
        }
    }

    /// The placement with larger bricks, or why they cannot be that large.
    fn larger(&self, wish: &allocation::Request, old: &Placement) -> Result<Placement, String> {
        let need = |brick: &PlacedBrick| Need {
            size: brick.size,
            pool: brick.pool_size,
            metadata: brick.pool_metadata,
        };
        let standing = |brick: &PlacedBrick| Standing {
            device: brick.device,
            need: need(brick),
            arbiter: brick.arbiter,
        };
        let bricks: Vec<Standing> = old.active().map(standing).collect();
        let whole = allocation::Request { held: 0, ..wish.clone() };
        let needs = grow(&self.inventory, &whole, &bricks).map_err(|refused| refused.to_string())?;
        let mut needs = needs.into_iter();
        let mut larger = Placement { size: Some(wish.size), ..old.clone() };
        for brick in larger.bricks.iter_mut().filter(|brick| brick.serves()) {
            let Some(grown) = needs.next() else { break };
            brick.growing = grown != need(brick);
            (brick.size, brick.pool_size, brick.pool_metadata) = (grown.size, grown.pool, grown.metadata);
        }
        Ok(larger)
    }

    /// The placement with more sets of bricks.
    fn with_sets(
        &self,
        cluster: &Cluster,
        volume: &GlusterVolume,
        wish: allocation::Request,
        old: Placement,
    ) -> Result<Placement, (&'static str, String)> {
        let size = Some(wish.size);
        let has = old.size.or_else(|| volume.size()).unwrap_or(volume.spec.size);
        let wish = allocation::Request { size: wish.size.minus(has), ..wish };
        let (placed, _) = self.placed_bricks(cluster, volume, &wish)?;
        let added = placed.into_iter().map(|brick| PlacedBrick { adding: true, ..brick });
        let bricks = old.wanted().cloned().chain(added).chain(old.retiring().cloned()).collect();
        Ok(Placement { cluster: old.cluster.clone(), size, bricks })
    }
}
