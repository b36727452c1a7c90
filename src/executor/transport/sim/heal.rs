//! What is to be healed: what a brick misses that has taken the place of another one. It is healed when somebody asks for
//! that while all bricks of its set are up; left alone, GlusterFS begins after ten minutes. In a dispersed set nobody
//! notes what it misses before its root directory was healed, which a full heal does: heal info says until then that
//! nothing is to be healed. (Real daemons begin with the root by themselves, some seconds after the exchange.)

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::command::Done;
use super::print::{GOOD, HEAD, escaped};
use super::rebalance::volume_mut;
use super::state::{Brick, Dir, State, Volume, dashed};
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

/// `volume heal NAME` and, of `all` that there is, `volume heal NAME full`
pub(super) fn launched(state: &mut State, node: &Text, name: &str, all: bool, down: &BTreeSet<Text>) -> Done {
    let kind = if all { "full" } else { "index" };
    let title = format!("Launching heal operation to perform {kind} self heal on volume {name} has been");
    let refused = |why: String| {
        let mut done = Done::wrote(String::new());
        done.output.exit = 1;
        done.output.stderr = format!("{title} unsuccessful:\n{why}\n");
        done
    };
    let volume = state.pool_of(node).and_then(|pool| pool.volumes.get(&Text::from(name)));
    let (unfilled, unrooted) = match volume {
        None => return refused(format!("Volume {name} does not exist")),
        Some(volume) if volume.status != 1 => return refused(format!("Volume {name} is not started.")),
        Some(volume) if volume.replica < 2 && volume.disperse == 0 => {
            let why = format!("Self-heal-daemon is disabled. Heal will not be triggered on volume {name}");
            return refused(why);
        }
        Some(volume) => {
            let waits = |at: &&usize| !set_of(volume, **at).all(|at| is_up(state, volume, at, down));
            // Whatever has its root healed is to get the rest with the next heal.
            let stays = |at: &&usize| waits(at) || volume.unrooted.contains(at);
            let unrooted = |at: &&usize| waits(at) || !all;
            (
                volume.unfilled.iter().filter(stays).copied().collect(),
                volume.unrooted.iter().filter(unrooted).copied().collect(),
            )
        }
    };
    if let Some(volume) = volume_mut(state, node, name) {
        (volume.unfilled, volume.unrooted) = (unfilled, unrooted);
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
        let noted = |other: &usize| volume.unfilled.contains(other) && !volume.unrooted.contains(other);
        let misses = |other: usize| other != at && noted(&other);
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

/// `getfattr --absolute-names -d -m PATTERN -e hex PATH` of the root directory of a brick, as if a client had written to
/// each volume.
pub(super) fn getfattr(state: &State, node: &Text, words: &[String]) -> Done {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["--absolute-names", "-d", "-m", _, "-e", "hex", path] = words.as_slice() else {
        return Done::failed(2, "Usage: getfattr [-hRLP] [-n name|-d] [-e en] [-m pattern] path...\n");
    };
    let Some(dir) = state.nodes.get(node).and_then(|node| node.dir(path)) else {
        return Done::failed(1, format!("getfattr: {path}: No such file or directory\n"));
    };
    if !dir.used {
        return Done::wrote("");
    }
    let written = is_written(state, node, path, dir);
    let version = if written { "trusted.ec.version=0x00000000000000020000000000000002\n" } else { "" };
    let gfid = "trusted.gfid=0x00000000000000000000000000000001\n";
    Done::wrote(format!("# file: {path}\n{version}{gfid}\n"))
}

/// `find PATH -mindepth 1 -maxdepth 1 ! -name .glusterfs* -print -quit`
pub(super) fn find(state: &State, node: &Text, words: &[String]) -> Done {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [path, "-mindepth", "1", "-maxdepth", "1", "!", "-name", ".glusterfs*", "-print", "-quit"] =
        words.as_slice()
    else {
        return Done::failed(1, "find: unknown predicate\n");
    };
    let Some(dir) = state.nodes.get(node).and_then(|node| node.dir(path)) else {
        return Done::failed(1, format!("find: ‘{path}’: No such file or directory\n"));
    };
    Done::wrote(if is_written(state, node, path, dir) { format!("{path}/d\n") } else { String::new() })
}

/// Whether the root directory of a brick of a dispersed set has what clients have written.
fn is_written(state: &State, node: &Text, path: &str, dir: &Dir) -> bool {
    let volumes = state.pool_of(node).into_iter().flat_map(|pool| pool.volumes.values());
    let is_it =
        |brick: &Brick| brick.path.to_string() == path && state.resolve(&brick.host.to_string()) == *node;
    let found = volumes
        .filter_map(|volume| Some((volume, volume.bricks.iter().position(is_it)?)))
        .find(|(volume, _)| dir.volume == Some(volume.id));
    found.is_some_and(|(volume, at)| volume.disperse > 0 && !volume.unrooted.contains(&at))
}
