//! What is to be healed: what a brick misses that has taken the place of another one. It is healed when somebody asks for
//! that while all bricks of its set are up; left alone, GlusterFS begins after ten minutes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::command::Done;
use super::print::{GOOD, HEAD, escaped};
use super::rebalance::volume_mut;
use super::state::{State, Volume, dashed};
use super::text::Text;

/// How many entries the other bricks of a set have for one that has no data yet.
const MISSED: &str = "1";

/// The positions of the set that a brick is in.
fn set_of(volume: &Volume, at: usize) -> std::ops::Range<usize> {
    let size = usize::from(volume.replica.max(volume.disperse).max(1));
    let first = at / size * size;
    first..(first + size).min(volume.bricks.len())
}

/// Whether a brick answers.
fn is_up(state: &State, volume: &Volume, at: usize, down: &BTreeSet<Text>) -> bool {
    let brick = &volume.bricks[at];
    let host = state.resolve(&brick.host.to_string());
    let dir = state.nodes.get(&host).and_then(|node| node.dir(&brick.path.to_string()));
    !down.contains(&host) && dir.is_some_and(|dir| dir.running)
}

/// `volume heal NAME`
pub(super) fn launched(state: &mut State, node: &Text, name: &str, down: &BTreeSet<Text>) -> Done {
    let title = format!("Launching heal operation to perform index self heal on volume {name} has been");
    let refused = |why: String| {
        let mut done = Done::wrote(String::new());
        done.output.exit = 1;
        done.output.stderr = format!("{title} unsuccessful:\n{why}\n");
        done
    };
    let volume = state.pool_of(node).and_then(|pool| pool.volumes.get(&Text::from(name)));
    let unfilled = match volume {
        None => return refused(format!("Volume {name} does not exist")),
        Some(volume) if volume.status != 1 => return refused(format!("Volume {name} is not started.")),
        Some(volume) if volume.replica < 2 && volume.disperse == 0 => {
            let why = format!("Self-heal-daemon is disabled. Heal will not be triggered on volume {name}");
            return refused(why);
        }
        Some(volume) => {
            let waits = |at: &&usize| !set_of(volume, **at).all(|at| is_up(state, volume, at, down));
            volume.unfilled.iter().filter(waits).copied().collect()
        }
    };
    if let Some(volume) = volume_mut(state, node, name) {
        volume.unfilled = unfilled;
    }
    Done::wrote(format!("{title} successful \nUse heal info commands to check status.\n"))
}

/// `volume heal NAME info summary --xml`: bricks of nodes that are down are not connected.
pub(super) fn info(state: &State, node: &Text, name: &str, down: &BTreeSet<Text>) -> Done {
    let volume = state.pool_of(node).and_then(|pool| pool.volumes.get(&Text::from(name)));
    let refused = |exit: i32, errno: i32, why: String| {
        let mut done = Done::wrote(format!(
            "{HEAD}  <healInfo>\n    <bricks/>\n  </healInfo>\n  <opRet>-1</opRet>\n  <opErrno>{errno}</opErrno>\n  <opErrstr>{}</opErrstr>\n</cliOutput>\n",
            escaped(&why)
        ));
        done.output.exit = exit;
        done
    };
    let Some(volume) = volume else {
        return refused(254, 2, format!("Volume {name} does not exist"));
    };
    if volume.status != 1 {
        return refused(251, 5, format!("{name}: Not able to fetch volfile from glusterd"));
    }
    if volume.replica < 2 && volume.disperse == 0 {
        return refused(255, 1, format!("Volume {name} is not of type replicate/disperse"));
    }
    let mut text = format!("{HEAD}  <healInfo>\n    <bricks>\n");
    for (at, brick) in volume.bricks.iter().enumerate() {
        let uuid = dashed(state.node_id(&state.resolve(&brick.host.to_string())));
        let name = escaped(&format!("{}:{}", brick.host, brick.path));
        let misses = |other: usize| other != at && volume.unfilled.contains(&other);
        if !is_up(state, volume, at, down) {
            // As the real one says it, glued together.
            let _ = writeln!(
                text,
                "      <brick hostUuid=\"-\">\n        <name>{name}</name>\n        <status>Failed to process entries \
                 completely. (Transport endpoint is not connected)totalNumberOfEntries0</status>\n      </brick>"
            );
            continue;
        }
        let count = if set_of(volume, at).any(misses) { MISSED } else { "0" };
        let _ = writeln!(
            text,
            "      <brick hostUuid=\"{uuid}\">\n        <name>{name}</name>\n        <status>Connected</status>\n        \
             <totalNumberOfEntries>{count}</totalNumberOfEntries>\n        \
             <numberOfEntriesInHealPending>{count}</numberOfEntriesInHealPending>\n        \
             <numberOfEntriesInSplitBrain>0</numberOfEntriesInSplitBrain>\n        \
             <numberOfEntriesPossiblyHealing>0</numberOfEntriesPossiblyHealing>\n      </brick>"
        );
    }
    Done::wrote(text + "    </bricks>\n  </healInfo>\n" + GOOD + "</cliOutput>\n")
}
