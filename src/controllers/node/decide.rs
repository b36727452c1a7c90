//! The next step of a node. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use kube::ResourceExt;

use super::located::Missing;
use crate::executor::RunError;
use crate::executor::ops::gluster::Peer;
use crate::resources::{ACCEPTED, FAILED, GlusterNode, READY, condition_is, id_of};

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

/// The host of a member of the pool that can be told to let a node go; none when nobody is to be told. `pool` is what
/// the node says of its pool, if it could be asked; otherwise the objects tell. A pool knows its members by uuid: the
/// names it has for them are those that peers told each other, and may mean nothing outside of their machines.
pub fn member(
    node: &GlusterNode,
    mut others: Vec<Arc<GlusterNode>>,
    pool: Option<&[Peer]>,
) -> Option<String> {
    let id = id_of(node);
    others.retain(|other| other.spec.cluster == node.spec.cluster && id_of(other.as_ref()) != id);
    others.sort_by_cached_key(|other| {
        let going = other.metadata.deletion_timestamp.is_some();
        (going, !condition_is(other.conditions(), READY), id_of(other.as_ref()))
    });
    let uuid = |other: &GlusterNode| other.status.as_ref().and_then(|status| status.peer_uuid.clone());
    let host = |other: &Arc<GlusterNode>| other.manage_host().to_owned();
    let Some(pool) = pool else {
        return others.iter().find(|other| uuid(other).is_some()).map(host);
    };
    let (own, peers): (Vec<&Peer>, Vec<&Peer>) = pool.iter().partition(|peer| peer.host == "localhost");
    // Another object stands for the same machine, which stays in the pool for that one's sake.
    let is_one_of = |other: &GlusterNode, peers: &[&Peer]| {
        uuid(other).is_some_and(|uuid| peers.iter().any(|peer| peer.uuid == uuid))
    };
    if others.iter().any(|other| is_one_of(other, &own)) {
        return None;
    }
    let has_name =
        |other: &GlusterNode| peers.iter().any(|peer| other.hostnames().storage.contains(&peer.host));
    let known = others.iter().find(|other| is_one_of(other, &peers) || has_name(other)).map(host);
    known.or_else(|| peers.first().map(|peer| peer.host.clone()))
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
    fn who_is_told_to_let_a_node_go_is_a_member_that_can_be_reached() {
        let known = |name: &str, uuid: Option<&str>| {
            let mut known = node(uuid);
            (known.metadata.name, known.metadata.uid) = (Some(name.into()), Some(name.into()));
            known.spec.hostnames.manage = vec![format!("{name}.manage")];
            known.spec.hostnames.storage = vec![format!("{name}.storage")];
            known
        };
        let peer = |uuid: &str, host: &str| Peer { uuid: uuid.into(), host: host.into(), connected: true };
        let others = || ["a", "b"].map(|name| Arc::new(known(name, Some(name)))).to_vec();
        let going = known("going", Some("g"));
        let asked = |others, pool: &[Peer]| member(&going, others, Some(pool));
        let own = || peer("g", "localhost");
        // The lab's nodes learn each other's own names, which nobody else can look up.
        assert_eq!(asked(others(), &[peer("b", "inside"), own()]).as_deref(), Some("b.manage"));
        let never_seen = vec![Arc::new(known("a", None))];
        assert_eq!(asked(never_seen, &[own(), peer("x", "a.storage")]).as_deref(), Some("a.manage"));
        assert_eq!(asked(others(), &[own(), peer("x", "stranger")]).as_deref(), Some("stranger"));
        assert_eq!(asked(others(), &[own()]), None, "it is alone");
        let twin = vec![Arc::new(known("twin", Some("g"))), Arc::new(known("a", Some("a")))];
        assert_eq!(
            asked(twin, &[own(), peer("a", "a.storage")]),
            None,
            "its machine stays for another object"
        );
        let mut leaving = known("a", Some("a"));
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::jiff::Timestamp::UNIX_EPOCH.into());
        let all = vec![Arc::new(leaving), Arc::new(known("b", Some("b")))];
        let pool = [own(), peer("a", "a.storage"), peer("b", "b.storage")];
        assert_eq!(asked(all, &pool).as_deref(), Some("b.manage"), "who stays is asked first");
        let all = vec![Arc::new(known("a", None)), Arc::new(known("b", Some("b")))];
        assert_eq!(member(&going, all, None).as_deref(), Some("b.manage"), "as far as the objects know one");
        assert_eq!(member(&going, vec![Arc::new(known("a", None))], None), None, "none is a member");
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
