//! `gluster volume rebalance`. Simulated volumes have no data: the first look at a rebalance finds it going
//! on, the next one finds it completed.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    command::Done,
    print::{self, GOOD, HEAD},
    state::{Rebalance, State, Volume, dashed},
    text::Text,
};

/// The numbers that glusterd has for how far a rebalance is, and its words for them.
const WORDS: [&str; 4] = ["not started", "in progress", "stopped", "completed"];
const RUNNING: u8 = 1;
const STOPPED: u8 = 2;
const COMPLETED: u8 = 3;

/// Runs `gluster volume rebalance NAME VERB`.
pub(super) fn run(
    state: &mut State,
    node: &Text,
    (name, verb): (&str, &str),
    xml: bool,
    down: &BTreeSet<Text>,
) -> Done {
    let refused = |why: &str| refusal(name, verb, xml, why);
    if let Some(why) = fault(state, node, name, verb) {
        return refused(&why);
    }
    let fresh = (verb == "start").then(|| state.fresh_id());
    let Some(volume) = volume_mut(state, node, name) else {
        return refused(&format!("Volume {name} does not exist"));
    };
    let before = volume.rebalance;
    let shown = match (fresh, before) {
        (Some(id), _) => Rebalance { id, status: RUNNING },
        (None, Some(seen)) if verb == "stop" => Rebalance { status: STOPPED, ..seen },
        (None, Some(seen)) => seen,
        (None, None) => return refused(&format!("Rebalance not started for volume {name}.")),
    };
    // What was seen to go on is over at the next look.
    let status = if verb == "status" && shown.status == RUNNING { COMPLETED } else { shown.status };
    volume.rebalance = Some(Rebalance { status, ..shown });
    let changed = volume.rebalance != before;
    let text = match (verb, xml) {
        ("start", true) => format!("{HEAD}{GOOD}{}", begun(shown)),
        ("start", false) => format!(
            "volume rebalance: {name}: success: Rebalance on {name} has been started successfully. Use rebalance status command to check status of the rebalance process.\nID: {}\n",
            dashed(shown.id)
        ),
        _ => progress(state, node, name, shown, (if verb == "stop" { 2 } else { 3 }, down)),
    };
    Done { changed, ..Done::wrote(text) }
}

pub(super) fn volume_mut<'s>(state: &'s mut State, node: &Text, name: &str) -> Option<&'s mut Volume> {
    let pool = state.nodes.get(node)?.pool?;
    state.pools.get_mut(&pool)?.volumes.get_mut(&Text::from(name))
}

/// Why glusterd does not do it.
fn fault(state: &State, node: &Text, name: &str, verb: &str) -> Option<String> {
    let Some(volume) = state.pool_of(node).and_then(|pool| pool.volumes.get(&Text::from(name))) else {
        return Some(format!("Volume {name} does not exist"));
    };
    if volume.status != 1 {
        return Some(format!("Volume {name} needs to be started to perform rebalance"));
    }
    if print::sets(volume) < 2 {
        return Some(format!(
            "Volume {name} is not a distribute volume or contains only 1 brick.\nNot performing rebalance"
        ));
    }
    let status = volume.rebalance.map_or(0, |rebalance| rebalance.status);
    if verb != "start" {
        let none = matches!(status, 0 | STOPPED);
        return none.then(|| format!("Rebalance not started for volume {name}."));
    }
    (status == RUNNING).then(|| format!("Rebalance on {name} is already started"))
}

/// A refusal, as the verb prints it.
fn refusal(name: &str, verb: &str, xml: bool, why: &str) -> Done {
    if !xml {
        return Done::failed(1, format!("volume rebalance: {name}: failed: {why}\n"));
    }
    let head = print::refused(30800, why);
    let head = head.trim_end_matches("</cliOutput>\n");
    if verb == "start" {
        return Done::wrote(format!(
            "{head}  <volRebalance>\n    <op>1</op>\n  </volRebalance>\n</cliOutput>\n"
        ));
    }
    let why = print::escaped(why);
    let mut done =
        Done::wrote(format!("{head}  <cliOp>volRebalance</cliOp>\n  <output>{why}</output>\n</cliOutput>\n"));
    done.output.exit = 1;
    done
}

fn begun(rebalance: Rebalance) -> String {
    let id = dashed(rebalance.id);
    format!(
        "  <volRebalance>\n    <task-id>{id}</task-id>\n    <op>1</op>\n  </volRebalance>\n</cliOutput>\n"
    )
}

/// The nodes that have bricks and can be reached, the one that was asked last, and all together.
fn progress(
    state: &State,
    node: &Text,
    name: &str,
    rebalance: Rebalance,
    (op, down): (u8, &BTreeSet<Text>),
) -> String {
    let pool = state.pool_of(node);
    let volume = pool.and_then(|pool| pool.volumes.get(&Text::from(name)));
    let bricks = volume.into_iter().flat_map(|volume| &volume.bricks);
    let hosts: BTreeSet<Text> = bricks.map(|brick| state.resolve(&brick.host.to_string())).collect();
    let peers = pool.into_iter().flat_map(|pool| &pool.peers).filter(|peer| peer.node != *node);
    let mut rows: Vec<(String, &Text)> = peers
        .filter(|peer| hosts.contains(&peer.node) && !down.contains(&peer.node))
        .map(|peer| (peer.name.to_string(), &peer.node))
        .collect();
    if hosts.contains(node) {
        rows.push(("localhost".into(), node));
    }
    let id = dashed(rebalance.id);
    let mut text = format!(
        "{HEAD}{GOOD}  <volRebalance>\n    <task-id>{id}</task-id>\n    <op>{op}</op>\n    <nodeCount>{}</nodeCount>\n",
        rows.len()
    );
    for (name, node) in rows {
        let _ = write!(
            text,
            "    <node>\n      <nodeName>{}</nodeName>\n      <id>{}</id>\n{}    </node>\n",
            print::escaped(&name),
            dashed(state.node_id(node)),
            figures(rebalance.status)
        );
    }
    text + "    <aggregate>\n"
        + &figures(rebalance.status)
        + "    </aggregate>\n  </volRebalance>\n</cliOutput>\n"
}

fn figures(status: u8) -> String {
    let word = WORDS.get(usize::from(status)).copied().unwrap_or_default();
    format!(
        "      <files>0</files>\n      <size>0</size>\n      <lookups>0</lookups>\n      <failures>0</failures>\n      <skipped>0</skipped>\n      <status>{status}</status>\n      <statusStr>{word}</statusStr>\n      <runtime>0.00</runtime>\n"
    )
}
