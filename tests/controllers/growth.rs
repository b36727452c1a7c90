//! Every fault at every node command of an expansion: it is done or taken back, and the volume stays what
//! it was.

use std::time::Duration;

use bricklayer::executor::transport::sim::{Fault, Rule};
use bricklayer::intent::volume::{Expansion, expand_by, expansion};
use bricklayer::resources::{GlusterVolume, GlusterVolumeSpec, Growth, OnRefusal, RebalancePhase};
use bricklayer::units::{Bytes, Id};

use crate::boundaries::{commands, faults, nothing_remains, with_fault};
use crate::rig::{Rig, RigOptions, id, in_runtime, on_copies, prepared, wish};

fn ask() -> Id {
    id("ask")
}

async fn grows(rig: &Rig) {
    let asked = expand_by(&rig.intent, &id("v").to_string(), None, Bytes::from_gib(2), ask()).await;
    asked.expect("an answer");
}

/// Commands of an expansion that adds bricks.
const ADDING: [&str; 3] = ["mkfs", "add-brick", "rebalance"];

/// How an expansion ended, once what belongs to it has moved.
fn ended(seen: Option<&GlusterVolume>) -> Option<Expansion> {
    let moves = seen?.status.as_ref()?.rebalance.as_ref().map(|seen| seen.phase);
    match expansion(seen?, ask())? {
        Expansion::Running => None,
        Expansion::Done if moves.is_some_and(|phase| phase != RebalancePhase::Completed) => None,
        ended => Some(ended),
    }
}

/// Waits until the expansion is over.
async fn over(rig: &Rig) -> Expansion {
    rig.until(&rig.caches.volumes, &id("v").to_string(), "has grown or not", ended).await
}

/// Rigs that work at the same time in one test; three tests do.
const AT_ONCE: usize = 6;

/// An expansion that is struck at.
struct Strike {
    /// The volume.
    spec: GlusterVolumeSpec,
    /// Whether it may be given up.
    may_fail: bool,
    /// Commands that it takes.
    meets: [&'static str; 3],
    /// How many bricks the volume has afterwards; three before.
    bricks: usize,
}

/// Strikes at every command of an expansion, and insists that it ends as it is said.
fn strike(strike: &Strike) {
    let prepared = prepared(RigOptions::default(), async |rig| {
        rig.make_topology(5, 1).await;
        rig.want("v", strike.spec.clone()).await;
        rig.ready(&rig.caches.volumes, &id("v").to_string()).await;
    });
    let commands = commands(prepared.path(), async |rig| {
        grows(rig).await;
        assert_eq!(over(rig).await, Expansion::Done);
    });
    let meets = |what: &&str| commands.iter().any(|rule| rule.command.contains(*what));
    assert!(strike.meets.iter().all(meets), "{commands:?}");
    // What looks at nodes all the time is struck at elsewhere.
    let ours = |rule: &Rule| ["brick", "volume"].iter().any(|word| rule.command.contains(word));
    let faults = faults(commands.into_iter().filter(ours).collect());
    on_copies(prepared.path(), faults, AT_ONCE, |directory, rule| {
        in_runtime(async {
            let down = rule.fault == Fault::NodeDown;
            let rig = with_fault(directory, rule).await;
            grows(&rig).await;
            if down {
                // The node may have to come back before anything can end.
                let _ = rig.caches.volumes.wait(&id("v").to_string(), Duration::from_secs(3), ended).await;
                rig.sim.faults().clear();
            }
            let verdict = over(&rig).await;
            rig.sim.faults().clear();
            let bricks = rig.agrees().await;
            let volume = rig.volume("v").await.expect("a volume");
            match verdict {
                Expansion::Done => {
                    assert_eq!((bricks, volume.spec.size), (strike.bricks, Bytes::from_gib(5)));
                }
                failed => {
                    assert!(strike.may_fail, "{failed:?}: {volume:#?}");
                    assert_eq!((bricks, volume.spec.size), (3, Bytes::from_gib(3)), "{failed:?}");
                }
            }
            assert_eq!(volume.size(), Some(volume.spec.size));
            nothing_remains(&rig).await;
            rig.close().await;
        });
    });
}

#[test]
fn an_expansion_that_is_forgotten_is_done_or_taken_back() {
    strike(&Strike { spec: wish(3), may_fail: true, meets: ADDING, bricks: 6 });
}

#[test]
fn an_expansion_that_is_tried_again_succeeds() {
    let spec = GlusterVolumeSpec { on_refusal: OnRefusal::Retry, ..wish(3) };
    strike(&Strike { spec, may_fail: false, meets: ADDING, bricks: 6 });
}

/// Bricks that were made larger are never made smaller again, so it goes on until all are.
#[test]
fn bricks_that_grow_where_they_are_end_up_as_large_as_wanted() {
    let spec = GlusterVolumeSpec { growth: Growth::InPlace, ..wish(3) };
    let meets = ["lvextend", "--poolmetadatasize", "xfs_growfs"];
    strike(&Strike { spec, may_fail: false, meets, bricks: 3 });
}
