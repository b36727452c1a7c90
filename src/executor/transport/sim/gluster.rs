//! The `gluster` command and what glusterd does for it: peers and volumes.

use std::collections::BTreeSet;

use super::{
    command::Done,
    heal, print, rebalance,
    state::{Peer, Pool, State},
    text::Text,
    volumes,
};

/// glusterd's answer: what goes to standard output, or why it refuses.
pub(super) type Answer = Result<String, Refusal>;

/// A refusal of glusterd.
pub(super) struct Refusal {
    pub(super) exit: i32,
    /// The number of the error in XML.
    pub(super) errno: i32,
    pub(super) why: String,
    /// Whether something was changed before it came to that.
    pub(super) changed: bool,
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { exit: 1, errno: 30800, why, changed: false }
    }
}

/// Runs `gluster WORDS` on a node; `down` are the nodes that its glusterd cannot reach.
pub(super) fn run(state: &mut State, node: &Text, words: &[String], down: &BTreeSet<Text>) -> Done {
    let xml = words.iter().any(|word| word == "--xml");
    let plain = words.iter().map(String::as_str);
    let plain: Vec<&str> = plain.filter(|word| !word.starts_with("--")).collect();
    let mut at = Glusterd { state, node, down };
    match plain.as_slice() {
        ["pool", "list"] => Done::wrote(print::pool(at.state, node, down, true, xml)),
        ["peer", "status"] => Done::wrote(print::pool(at.state, node, down, false, xml)),
        ["peer", "probe", host] => {
            let answer = at.probe(host);
            shown(xml, "peer probe: ", "peer probe: failed: ", answer)
        }
        ["peer", "detach", host] => {
            let answer = at.detach(host);
            shown(xml, "peer detach: ", "peer detach: failed: ", answer)
        }
        ["volume", "info"] | ["volume", "info", "all"] => print::all_volumes(at.state, node, xml),
        ["volume", "info", name] => print::one_volume(at.state, node, name, xml),
        ["volume", "list"] => print::volume_list(at.state, node),
        ["volume", "heal", name, "info", "summary"] if xml => heal::info(at.state, node, name, down),
        ["volume", "heal", name] if !xml => heal::launched(at.state, node, name, false, down),
        ["volume", "heal", name, "full"] if !xml => heal::launched(at.state, node, name, true, down),
        ["volume", "rebalance", name, verb @ ("start" | "status" | "stop")] => {
            rebalance::run(at.state, node, (name, verb), xml, down)
        }
        ["volume", verb, name, rest @ ..] => {
            let answer = volumes::run(&mut at, verb, name, rest);
            let Some(answer) = answer else {
                return unknown(&plain);
            };
            match *verb {
                "create" | "start" | "stop" | "delete" => {
                    let good = format!("volume {verb}: {name}: success");
                    let bad = format!("volume {verb}: {name}: failed: ");
                    shown(xml, &good, &bad, answer)
                }
                _ => {
                    let good = format!("volume {verb}: success");
                    shown(xml, &good, &format!("volume {verb}: failed: "), answer)
                }
            }
        }
        _ => unknown(&plain),
    }
}

fn unknown(words: &[&str]) -> Done {
    let text = format!(
        "unrecognized command\n\n Usage: gluster [options] <help> <peer> <pool> <volume>\n Options:\n{}\n",
        words.join(" ")
    );
    Done::failed(1, text)
}

/// An answer as the command prints it.
fn shown(xml: bool, good: &str, bad: &str, answer: Answer) -> Done {
    match answer {
        Ok(text) => Done {
            // What changes nothing says so by other words than `success`.
            changed: !text.contains("not needed") && !text.contains("already in peer list"),
            ..Done::wrote(if xml { print::output(&text) } else { format!("{good}{text}\n") })
        },
        Err(refusal) => Done {
            changed: refusal.changed,
            ..if xml {
                Done::wrote(print::refused(refusal.errno, &refusal.why))
            } else {
                Done::failed(refusal.exit, format!("{bad}{}\n", refusal.why))
            }
        },
    }
}

/// The glusterd of one node.
pub(super) struct Glusterd<'s> {
    pub(super) state: &'s mut State,
    pub(super) node: &'s Text,
    pub(super) down: &'s BTreeSet<Text>,
}

impl Glusterd<'_> {
    /// The node's pool; a new one with it alone if it has none.
    pub(super) fn pool(&mut self) -> &mut Pool {
        let known = self.state.nodes.get(self.node).and_then(|node| node.pool);
        let id = known.unwrap_or_else(|| {
            let last = self.state.pools.last_key_value();
            last.map_or(1, |(id, _)| id + 1)
        });
        self.state.node_mut(self.node).pool = Some(id);
        let node = self.node.clone();
        self.state.pools.entry(id).or_insert_with(|| Pool::of(Peer { name: node.clone(), node }))
    }

    /// The node's pool, if it has one.
    pub(super) fn known_pool(&self) -> Option<&Pool> {
        self.state.pool_of(self.node)
    }

    pub(super) fn is_member(&self, node: &Text) -> bool {
        let members = self.known_pool().map(|pool| pool.peers.iter());
        node == self.node || members.is_some_and(|mut peers| peers.any(|peer| peer.node == *node))
    }

    fn probe(&mut self, host: &str) -> Answer {
        let node = self.state.resolve(host);
        if node == *self.node {
            return Ok("Probe on localhost not needed".into());
        }
        if self.is_member(&node) {
            return Ok(format!("Host {host} port 24007 already in peer list"));
        }
        if self.down.contains(&node) {
            let why = "Probe returned with Transport endpoint is not connected";
            return Err(Refusal { errno: 107, ..why.to_owned().into() });
        }
        if let Some(other) = self.state.pool_of(&node) {
            if other.peers.len() > 1 || !other.volumes.is_empty() {
                let why = "is either already part of another cluster or having volumes configured";
                return Err(format!("{host} {why}").into());
            }
            if let Some(id) = self.state.node_mut(&node).pool.take() {
                self.state.pools.remove(&id);
            }
        }
        let peer = Peer { node: node.clone(), name: host.into() };
        self.pool().peers.push(peer);
        let id = self.state.node_mut(self.node).pool;
        self.state.node_mut(&node).pool = id;
        Ok("success".into())
    }

    fn detach(&mut self, host: &str) -> Answer {
        let node = self.state.resolve(host);
        if node == *self.node {
            return Err(format!("{host} is localhost").into());
        }
        if !self.is_member(&node) {
            return Err(format!("{host} is not part of cluster").into());
        }
        let volumes = self.known_pool().into_iter().flat_map(|pool| pool.volumes.values());
        let mut bricks = volumes.flat_map(|volume| &volume.bricks);
        if bricks.any(|brick| self.state.resolve(&brick.host.to_string()) == node) {
            return Err(Refusal {
                exit: 255,
                errno: 30800,
                why: format!(
                    "Peer {host} hosts one or more bricks. If the peer is in not recoverable state then use either replace-brick or remove-brick command with force to remove all bricks from the peer and attempt the peer detach again."
                ),
                changed: false,
            });
        }
        if self.any_peer_down() {
            let why = "One of the peers is probably down. Check with 'peer status'";
            return Err(why.to_owned().into());
        }
        self.pool().peers.retain(|peer| peer.node != node);
        self.state.node_mut(&node).pool = None;
        Ok("success".into())
    }

    pub(super) fn any_peer_down(&self) -> bool {
        let mut peers = self.known_pool().into_iter().flat_map(|pool| &pool.peers);
        peers.any(|peer| self.down.contains(&peer.node))
    }
}

impl State {
    /// The pool that a node is in.
    pub(super) fn pool_of(&self, node: &Text) -> Option<&Pool> {
        self.pools.get(&self.nodes.get(node)?.pool?)
    }
}
