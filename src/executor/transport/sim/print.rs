//! What the `gluster` command prints about peers and volumes.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    command::Done,
    state::{Peer, State, Volume, dashed},
    text::Text,
};

pub(super) const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<cliOutput>\n";
pub(super) const GOOD: &str = "  <opRet>0</opRet>\n  <opErrno>0</opErrno>\n  <opErrstr/>\n";

/// A refusal in XML.
pub(super) fn refused(errno: i32, why: &str) -> String {
    let why = escaped(why);
    format!(
        "{HEAD}  <opRet>-1</opRet>\n  <opErrno>{errno}</opErrno>\n  <opErrstr>{why}</opErrstr>\n</cliOutput>\n"
    )
}

/// A success in XML.
pub(super) fn output(text: &str) -> String {
    if text.is_empty() {
        return format!("{HEAD}{GOOD}</cliOutput>\n");
    }
    let known = text.ends_with("already in peer list");
    let good = if known { GOOD.replace("Errno>0", "Errno>2") } else { GOOD.to_owned() };
    format!("{HEAD}{good}  <output>{}</output>\n</cliOutput>\n", escaped(text))
}

/// The members of the pool; the node itself comes last, if it is wanted.
pub(super) fn pool(state: &State, node: &Text, down: &BTreeSet<Text>, with_self: bool, xml: bool) -> String {
    let peers = state.pool_of(node).into_iter().flat_map(|pool| &pool.peers);
    let peers: Vec<&Peer> = peers.filter(|peer| peer.node != *node).collect();
    let own = dashed(state.node_id(node));
    let connected = |peer: &Peer| u8::from(!down.contains(&peer.node));
    if !xml {
        let mut text = "UUID\t\t\t\t\tHostname \tState\n".to_owned();
        for peer in &peers {
            let state_text = ["Disconnected", "Connected"][usize::from(connected(peer))];
            let _ = writeln!(text, "{}\t{} \t{state_text} ", dashed(state.node_id(&peer.node)), peer.name);
        }
        if with_self {
            let _ = writeln!(text, "{own}\tlocalhost \tConnected ");
        }
        return text;
    }
    if peers.is_empty() && !with_self {
        return format!("{HEAD}{GOOD}  <peerStatus/>\n</cliOutput>\n");
    }
    let mut text = format!("{HEAD}{GOOD}  <peerStatus>\n");
    for peer in peers {
        let (uuid, name) = (dashed(state.node_id(&peer.node)), escaped(&peer.name.to_string()));
        let _ = write!(
            text,
            "    <peer>\n      <uuid>{uuid}</uuid>\n      <hostname>{name}</hostname>\n      <hostnames>\n        <hostname>{name}</hostname>\n      </hostnames>\n      <connected>{}</connected>\n      <state>3</state>\n      <stateStr>Peer in Cluster</stateStr>\n    </peer>\n",
            connected(peer)
        );
    }
    if with_self {
        let _ = write!(
            text,
            "    <peer>\n      <uuid>{own}</uuid>\n      <hostname>localhost</hostname>\n      <connected>1</connected>\n    </peer>\n"
        );
    }
    text + "  </peerStatus>\n</cliOutput>\n"
}

/// The volumes of the node's pool, in the order of their names.
fn sorted<'s>(state: &'s State, node: &Text) -> Vec<(String, &'s Volume)> {
    let volumes = state.pool_of(node).into_iter().flat_map(|pool| &pool.volumes);
    let mut volumes: Vec<_> = volumes.map(|(name, volume)| (name.to_string(), volume)).collect();
    volumes.sort_by(|a, b| a.0.cmp(&b.0));
    volumes
}

/// `volume info all`
pub(super) fn all_volumes(state: &State, node: &Text, xml: bool) -> Done {
    let volumes = sorted(state, node);
    if !xml && volumes.is_empty() {
        return Done::failed(0, "No volumes present\n");
    }
    if !xml {
        return Done::wrote(volumes.iter().map(|(name, volume)| plain(name, volume)).collect::<String>());
    }
    let mut text = format!("{HEAD}{GOOD}  <volInfo>\n    <volumes>\n");
    for (name, volume) in &volumes {
        print_volume(&mut text, state, name, volume);
    }
    let count = volumes.len();
    let _ = write!(text, "      <count>{count}</count>\n    </volumes>\n  </volInfo>\n</cliOutput>\n");
    Done::wrote(text)
}

/// `volume info NAME`
pub(super) fn one_volume(state: &State, node: &Text, name: &str, xml: bool) -> Done {
    let volume = state.pool_of(node).and_then(|pool| pool.volumes.get(&Text::from(name)));
    let mut text = match (volume, xml) {
        (Some(volume), false) => return Done::wrote(plain(name, volume)),
        (None, false) => return Done::failed(1, format!("Volume {name} does not exist\n")),
        (Some(_), true) => format!("{HEAD}{GOOD}"),
        (None, true) => format!(
            "{HEAD}  <opRet>-1</opRet>\n  <opErrno>30806</opErrno>\n  <opErrstr>Volume does not exist</opErrstr>\n"
        ),
    };
    text += "  <volInfo>\n    <volumes>\n";
    if let Some(volume) = volume {
        print_volume(&mut text, state, name, volume);
    }
    let count = u8::from(volume.is_some());
    let _ = write!(text, "      <count>{count}</count>\n    </volumes>\n  </volInfo>\n</cliOutput>\n");
    Done::wrote(text)
}

/// `volume list`
pub(super) fn volume_list(state: &State, node: &Text) -> Done {
    let names: String = sorted(state, node).iter().map(|(name, _)| format!("{name}\n")).collect();
    if names.is_empty() {
        return Done::failed(0, "No volumes present in cluster\n");
    }
    Done::wrote(names)
}

/// The number and the name of a volume's type.
fn kind(volume: &Volume) -> (u8, &'static str) {
    let distributed = sets(volume) > 1;
    match (volume.replica > 1, volume.disperse > 0, distributed) {
        (true, _, false) => (2, "Replicate"),
        (true, _, true) => (7, "Distributed-Replicate"),
        (false, true, false) => (4, "Disperse"),
        (false, true, true) => (9, "Distributed-Disperse"),
        (false, false, _) => (0, "Distribute"),
    }
}

pub(super) fn sets(volume: &Volume) -> usize {
    volume.bricks.len() / usize::from(volume.replica.max(volume.disperse).max(1))
}

fn status(volume: &Volume) -> &'static str {
    ["Created", "Started", "Stopped"][usize::from(volume.status.min(2))]
}

fn plain(name: &str, volume: &Volume) -> String {
    let mut text = format!(
        " \nVolume Name: {name}\nType: {}\nVolume ID: {}\nStatus: {}\nBricks:\n",
        kind(volume).1,
        dashed(volume.id),
        status(volume)
    );
    for (at, brick) in volume.bricks.iter().enumerate() {
        let _ = writeln!(text, "Brick{}: {}:{}", at + 1, brick.host, brick.path);
    }
    text += "Options Reconfigured:\n";
    for (key, value) in volume.all_options() {
        let _ = writeln!(text, "{key}: {value}");
    }
    text
}

fn print_volume(text: &mut String, state: &State, name: &str, volume: &Volume) {
    let (number, type_text) = kind(volume);
    let _ = write!(
        text,
        "      <volume>\n        <name>{}</name>\n        <id>{}</id>\n        <status>{}</status>\n        <statusStr>{}</statusStr>\n        <snapshotCount>0</snapshotCount>\n        <brickCount>{}</brickCount>\n        <distCount>{}</distCount>\n        <replicaCount>{}</replicaCount>\n        <arbiterCount>{}</arbiterCount>\n        <disperseCount>{}</disperseCount>\n        <redundancyCount>{}</redundancyCount>\n        <type>{number}</type>\n        <typeStr>{type_text}</typeStr>\n        <transport>0</transport>\n        <bricks>\n",
        escaped(name),
        dashed(volume.id),
        volume.status,
        status(volume),
        volume.bricks.len(),
        sets(volume),
        volume.replica,
        volume.arbiter,
        volume.disperse,
        volume.redundancy,
    );
    let set = usize::from(volume.replica.max(1));
    for (at, brick) in volume.bricks.iter().enumerate() {
        let uuid = dashed(state.node_id(&state.resolve(&brick.host.to_string())));
        let name = escaped(&format!("{}:{}", brick.host, brick.path));
        let arbiter = u8::from(volume.arbiter > 0 && at % set == set - 1);
        let _ = writeln!(
            text,
            "          <brick uuid=\"{uuid}\">{name}<name>{name}</name><hostUuid>{uuid}</hostUuid><isArbiter>{arbiter}</isArbiter></brick>"
        );
    }
    let options = volume.all_options();
    let _ = write!(
        text,
        "        </bricks>\n        <optCount>{}</optCount>\n        <options>\n",
        options.len()
    );
    for (key, value) in options {
        let (key, value) = (escaped(&key), escaped(&value));
        let _ = write!(
            text,
            "          <option>\n            <name>{key}</name>\n            <value>{value}</value>\n          </option>\n"
        );
    }
    text.push_str("        </options>\n      </volume>\n");
}

pub(super) fn escaped(text: &str) -> String {
    quick_xml::escape::partial_escape(text).into_owned()
}
