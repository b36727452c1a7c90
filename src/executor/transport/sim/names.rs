//! Which node is meant by a name that gluster is given.

use super::{
    state::{Brick, Node, State},
    text::Text,
};

impl State {
    /// Finds out which nodes the hosts of bricks are, where commands are sent to other names than
    /// those that gluster is given: the one node that has the brick's file system is meant.
    pub(super) fn learn_names(&mut self, bricks: &[Brick]) {
        for brick in bricks {
            let (host, path) = (brick.host.to_string(), brick.path.to_string());
            let named = self.resolve(&host);
            let has = |node: &Node| node.mounted_above(&path).is_some();
            if self.nodes.get(&named).is_some_and(has) {
                continue;
            }
            let mut having = self.nodes.iter().filter(|(_, node)| has(node));
            let (Some((found, _)), None) = (having.next(), having.next()) else {
                continue;
            };
            let found = found.clone();
            self.merge(&host, &named, &found);
        }
    }

    /// Makes `host`, so far the node `named`, another name of the node `found`.
    pub(super) fn merge(&mut self, host: &str, named: &Text, found: &Text) {
        self.call(host, found);
        if named == found {
            return;
        }
        let joined = self.nodes.get(named).and_then(|node| node.pool);
        if let Some(id) = joined
            && self.pool_of(found).is_none()
        {
            for peer in self.pools.get_mut(&id).into_iter().flat_map(|pool| &mut pool.peers) {
                if peer.node == *named {
                    peer.node = found.clone();
                }
            }
            self.node_mut(found).pool = Some(id);
            self.node_mut(named).pool = None;
        }
        if self.nodes.get(named).is_some_and(|node| node.is_empty()) {
            self.nodes.remove(named);
        }
    }
}
