//! The next step of a node. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use kube::ResourceExt;

use super::located::Missing;
use crate::executor::RunError;
use crate::resources::{ACCEPTED, FAILED, GlusterNode, condition_is, id_of};

/// What was seen of a node and of its pool.
#[derive(Debug, Default)]
pub struct Seen {
    /// Why it could not be looked at.
    pub error: Option<RunError>,
    /// Why there is no way to it: what the cluster says about reaching nodes cannot be done.
    pub no_way: Option<String>,
    /// For a node that is a Kubernetes node: what of it is no longer as it was, if anything is.
    pub moved: Option<Option<Missing>>,
    /// The name of another object that stands for the same machine.
    pub twin: Option<String>,
    /// The uuid of its glusterd.
    pub peer_uuid: Option<String>,
    /// Changes when it restarts.
    pub boot_id: String,
    /// Where something is mounted.
    pub mounts: HashSet<String>,
    /// Whether a brick that belongs here is not mounted.
    pub missing: bool,
    /// Whether it knows of any other member.
    pub has_peers: bool,
    /// The host of another member, through which it can be taken in.
    pub through: Option<String>,
    /// Whether it is the one that starts the pool when there is none.
    pub is_first: bool,
}

/// What to do next about a node.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Take it into the pool, by a command on another member.
    Join {
        /// The host of that member.
        through: String,
    },
    /// Mount its bricks again, and start their processes.
    Restore,
    /// Only write down what was seen.
    Report,
}

/// Decides the next step. Joining may be done again at no harm, so it is done until the node was
/// once seen to be a member.
pub fn decide(node: &GlusterNode, seen: &Seen) -> Next {
    if seen.error.is_some() || seen.no_way.is_some() || seen.twin.is_some() {
        return Next::Report;
    }
    let known = node.status.as_ref().and_then(|status| status.peer_uuid.as_ref());
    let is_member =
        known.is_some() && known == seen.peer_uuid.as_ref() && (seen.has_peers || seen.through.is_none());
    let booted = node.status.as_ref().and_then(|status| status.boot_id.as_ref());
    let restarted = booted.is_some_and(|booted| *booted != seen.boot_id);
    match &seen.through {
        Some(through) if !is_member => Next::Join { through: through.clone() },
        // Mounted bricks may still have no process: glusterd can have started before they were.
        _ if seen.missing || restarted => Next::Restore,
        _ => Next::Report,
    }
}

/// The other object that stands for the machine whose glusterd has this uuid. Who had the uuid first
/// keeps it; if both have it, the older object does.
pub fn twin(node: &GlusterNode, uuid: &str, others: &[Arc<GlusterNode>]) -> Option<String> {
    let has = |node: &GlusterNode| {
        node.status.as_ref().and_then(|status| status.peer_uuid.as_deref()) == Some(uuid)
    };
    let age = |node: &GlusterNode| (node.metadata.creation_timestamp.clone(), id_of(node));
    let same = |other: &&Arc<GlusterNode>| {
        id_of(other.as_ref()) != id_of(node)
            && condition_is(other.conditions(), ACCEPTED)
            && !condition_is(other.conditions(), FAILED)
            && has(other)
            && (!has(node) || age(other) < age(node))
    };
    others.iter().find(same).map(|other| other.name_any())
}

impl Seen {
    /// Whether it waits for another node to start the pool.
    pub fn waits(&self) -> bool {
        self.error.is_none() && self.no_way.is_none() && self.through.is_none() && !self.is_first
    }

    /// What keeps it from being ready.
    pub fn problem(&self) -> Option<String> {
        if let Some(text) = &self.no_way {
            return Some(text.clone());
        }
        if let Some(twin) = &self.twin {
            return Some(format!(
                "GlusterNode {twin} is the same machine: its glusterd has the same uuid; delete one of the two, or, \
                 if this machine was cloned, empty /var/lib/glusterd on it and restart glusterd"
            ));
        }
        match &self.error {
            Some(RunError::Refused { host, stderr, .. }) => {
                Some(format!("glusterd on {host} does not answer: {stderr}; is it installed and running?"))
            }
            Some(error) => Some(error.to_string()),
            None if self.waits() => Some("waits for the first node of the cluster".into()),
            None => None,
        }
    }

    /// The problem in one word.
    pub fn reason(&self) -> &'static str {
        match &self.error {
            _ if self.no_way.is_some() => "NoTransport",
            _ if self.twin.is_some() => "SameMachine",
            Some(error) if error.is_lost() => "Unreachable",
            Some(_) => "NoGlusterd",
            None if self.waits() => "Creating",
            None => "NotInPool",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::GlusterNodeStatus;

    fn node(uuid: Option<&str>) -> GlusterNode {
        let spec = serde_json::from_value(serde_json::json!({
            "cluster": "c", "hostnames": {"manage": ["m"], "storage": ["s"]}
        }));
        let mut node = GlusterNode::new("n", spec.unwrap());
        let peer_uuid = uuid.map(str::to_owned);
        node.status = Some(GlusterNodeStatus { peer_uuid, ..GlusterNodeStatus::default() });
        node
    }

    #[test]
    fn a_stranger_joins_and_a_member_does_not() {
        let seen = |through: Option<&str>, missing| Seen {
            peer_uuid: Some("u".into()),
            through: through.map(str::to_owned),
            is_first: through.is_none(),
            has_peers: through.is_some(),
            missing,
            ..Seen::default()
        };
        let join = Next::Join { through: "m1".into() };
        assert_eq!(decide(&node(None), &seen(Some("m1"), false)), join);
        assert_eq!(decide(&node(Some("other")), &seen(Some("m1"), false)), join);
        assert_eq!(decide(&node(Some("u")), &seen(Some("m1"), false)), Next::Report);
        assert_eq!(decide(&node(Some("u")), &seen(Some("m1"), true)), Next::Restore);
        assert_eq!(decide(&node(None), &seen(None, false)), Next::Report);
        let alone = Seen { has_peers: false, ..seen(Some("m1"), false) };
        assert_eq!(decide(&node(Some("u")), &alone), join);
    }

    #[test]
    fn the_same_machine_is_taken_once() {
        let known = |name: &str, uuid: Option<&str>| {
            let mut known = node(uuid);
            known.metadata.name = Some(name.into());
            known.metadata.uid = Some(name.into());
            let status = known.status.get_or_insert_default();
            let now = jiff::Timestamp::UNIX_EPOCH;
            crate::resources::set_condition(&mut status.conditions, now, 1, (ACCEPTED, "True", "Unique"), "");
            Arc::new(known)
        };
        let old = known("old", Some("u"));
        assert_eq!(twin(&known("new", None), "u", std::slice::from_ref(&old)).as_deref(), Some("old"));
        assert_eq!(twin(&old, "u", &[known("new", None)]), None, "who is first keeps it");
        assert_eq!(twin(&known("new", None), "v", std::slice::from_ref(&old)), None);
        let both = [known("a", Some("u")), known("b", Some("u"))];
        let twins: Vec<_> = both.iter().filter_map(|node| twin(node, "u", &both)).collect();
        assert_eq!(twins.len(), 1, "one of the two stays: {twins:?}");
        let seen = Seen { twin: Some("old".into()), peer_uuid: Some("u".into()), ..Seen::default() };
        assert_eq!((decide(&node(None), &seen), seen.reason()), (Next::Report, "SameMachine"));
        assert!(seen.problem().unwrap().contains("GlusterNode old is the same machine"));
    }

    #[test]
    fn a_restart_is_told_by_the_boot_id() {
        let seen =
            Seen { peer_uuid: Some("u".into()), is_first: true, boot_id: "b".into(), ..Seen::default() };
        let mut node = node(Some("u"));
        assert_eq!(decide(&node, &seen), Next::Report);
        for (known, next) in [("b", Next::Report), ("a", Next::Restore)] {
            node.status.as_mut().unwrap().boot_id = Some(known.into());
            assert_eq!(decide(&node, &seen), next);
        }
    }

    #[test]
    fn only_one_node_starts_a_pool() {
        let second = Seen { peer_uuid: Some("u".into()), ..Seen::default() };
        assert!(second.waits());
        assert!(second.problem().is_some());
        let first = Seen { is_first: true, ..second };
        assert_eq!(first.problem(), None);
    }
}
