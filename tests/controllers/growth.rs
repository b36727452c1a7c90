//! Every fault at every node command of an expansion: it is done or taken back, and the volume stays what
//! it was.

use std::time::Duration;

use bricklayer::executor::transport::sim::{Fault, Rule};
use bricklayer::intent::volume::{Expansion, expand_by, expansion};
use bricklayer::resources::{GlusterVolume, GlusterVolumeSpec, OnRefusal, RebalancePhase};
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

/// How an expansion ended, once what belongs to it has moved.
fn ended(seen: Option<&GlusterVolume>) -> Option<Expansion> {
    let moves = seen?.status.as_ref()?.rebalance.as_ref().map(|seen| seen.phase);
    match expansion(seen?, ask())? {
        Expansion::Running => None,
        Expansion::Done if moves != Some(RebalancePhase::Completed) => None,
        ended => Some(ended),
    }
}

/// Waits until the expansion is over.
async fn over(rig: &Rig) -> Expansion {
    rig.until(&rig.caches.volumes, &id("v").to_string(), "has grown or not", ended).await
}

/// Rigs that work at the same time in one test; two tests do.
const AT_ONCE: usize = 6;

fn spec(on_refusal: OnRefusal) -> GlusterVolumeSpec {
    GlusterVolumeSpec { on_refusal, ..wish(3) }
}

/// Strikes at every command of an expansion, and insists that it ends well or as `may_fail` says.
fn strike(on_refusal: OnRefusal, may_fail: bool) {
    let prepared = prepared(RigOptions::default(), async |rig| {
        rig.make_topology(5, 1).await;
        rig.want("v", spec(on_refusal)).await;
        rig.ready(&rig.caches.volumes, &id("v").to_string()).await;
    });
    let commands = commands(prepared.path(), async |rig| {
        grows(rig).await;
        assert_eq!(over(rig).await, Expansion::Done);
    });
    let meets = |what: &str| commands.iter().any(|rule| rule.command.contains(what));
    assert!(meets("mkfs") && meets("add-brick") && meets("rebalance"), "{commands:?}");
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
                Expansion::Done => assert_eq!((bricks, volume.spec.size), (6, Bytes::from_gib(5))),
                failed => {
                    assert!(may_fail, "{failed:?}: {volume:#?}");
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
    strike(OnRefusal::Forget, true);
}

#[test]
fn an_expansion_that_is_tried_again_succeeds() {
    strike(OnRefusal::Retry, false);
}
