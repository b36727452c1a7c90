//! The addresses of the nodes of the Kubernetes cluster: who comes is in it within a second or two, who
//! leaves stays in it for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeAddress};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::store::{Cache, Store, spawn_vital};

/// How the list follows the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a change is waited for to become several, when none was shown lately: nodes come in
    /// groups, and each list that is shown is a command for each volume.
    pub first: Duration,
    /// The same when one was shown within this time.
    pub more: Duration,
    /// How long the address of a node that has left stays. The mount of a client ends for good when its
    /// address is taken out, so a Node that is only made anew must not do that.
    pub leaves: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), more: Duration::from_secs(5), leaves: Duration::from_secs(300) }
    }
}

/// How long a start waits for the first list.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who the nodes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Their addresses, and those of nodes that have left a short while ago.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether nodes have been watched for long enough to know who has left.
    pub settled: bool,
}

/// The list as others see it. Cheap to clone.
#[derive(Clone)]
pub struct Roster {
    nodes: watch::Receiver<Option<Arc<Nodes>>>,
}

/// What is read of a Kubernetes node.
#[derive(Clone, Debug, kube::Resource, Serialize, Deserialize)]
#[resource(inherit = Node)]
struct Addressed {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Addresses,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Addresses {
    #[serde(default)]
    addresses: Vec<NodeAddress>,
}

impl Roster {
    /// What somebody else shows; nothing as long as that is not known.
    pub fn new(nodes: watch::Receiver<Option<Arc<Nodes>>>) -> Self {
        Self { nodes }
    }

    /// Where there is no Kubernetes cluster: nothing is ever known of its nodes.
    pub fn none() -> Self {
        Self::new(watch::channel(None).1)
    }

    /// Watches the nodes of the cluster, as tasks of the runtime. Comes back when they were listed once, or
    /// without them when that takes long, as when they may not be watched: the rest goes on meanwhile.
    pub async fn start(store: &Store, pace: Pace) -> Self {
        let (cache, fill) = Cache::<Addressed>::start(store);
        spawn_vital(fill);
        let (shown, nodes) = watch::channel(None);
        spawn_vital(keep(cache, pace, shown));
        let mut first = nodes.clone();
        if timeout(PATIENCE, first.wait_for(Option::is_some)).await.is_err() {
            tracing::warn!(
                "the nodes of the Kubernetes cluster cannot be listed: who may mount a volume stays as it is"
            );
        }
        Self::new(nodes)
    }

    /// Who the nodes are, if that is known.
    pub fn now(&self) -> Option<Arc<Nodes>> {
        self.nodes.borrow().clone()
    }

    /// Waits for a new list; for ever when there will be none.
    pub async fn changed(&mut self) {
        if self.nodes.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Shows a new list whenever it has changed.
async fn keep(cache: Cache<Addressed>, pace: Pace, shown: watch::Sender<Option<Arc<Nodes>>>) {
    cache.synced().await;
    let changes = cache.changes();
    let mut register = Register::new(Instant::now() + pace.leaves);
    register.see(addresses(&cache), Instant::now(), pace.leaves);
    shown.send_replace(Some(Arc::new(register.nodes(Instant::now()))));
    let mut last: Option<Instant> = None;
    loop {
        let due = async {
            match register.due() {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = changes.next() => {}
            () = due => {}
        }
        // Nodes write into their objects all the time; what they have written is mostly no news.
        if register.would_change(&addresses(&cache)) {
            let lately = last.is_some_and(|last| last.elapsed() < pace.more);
            sleep(if lately { pace.more } else { pace.first }).await;
            changes.drain();
        }
        let now = Instant::now();
        register.see(addresses(&cache), now, pace.leaves);
        let nodes = register.nodes(now);
        let news = shown.send_if_modified(|old| {
            let is_news = old.as_deref() != Some(&nodes);
            if is_news {
                tracing::info!(addresses = nodes.addresses.len(), "the list of Kubernetes nodes has changed");
                *old = Some(Arc::new(nodes));
            }
            is_news
        });
        if news {
            last = Some(now);
        }
    }
}

/// The addresses of all nodes by which they can be the source of a connection.
fn addresses(cache: &Cache<Addressed>) -> BTreeSet<IpAddr> {
    let nodes = cache.list();
    let all = nodes.iter().flat_map(|node| &node.status.addresses);
    let own = all.filter(|address| ["InternalIP", "ExternalIP"].contains(&address.type_.as_str()));
    own.filter_map(|address| address.address.parse::<IpAddr>().ok())
        .map(|address| address.to_canonical())
        .collect()
}

/// Who is here, and who has left and until when that is not counted. Pure: the time is given.
#[derive(Debug)]
struct Register {
    here: BTreeSet<IpAddr>,
    leaving: BTreeMap<IpAddr, Instant>,
    /// From when on it is known who has left; nothing once that has passed.
    settles: Option<Instant>,
}

impl Register {
    fn new(settles: Instant) -> Self {
        Self { here: BTreeSet::new(), leaving: BTreeMap::new(), settles: Some(settles) }
    }

    /// Whether what is seen now differs from what was seen before.
    fn would_change(&self, seen: &BTreeSet<IpAddr>) -> bool {
        !seen.is_empty() && *seen != self.here
    }

    /// Takes in who is seen. A cluster without any node is a cluster of which nothing is known.
    fn see(&mut self, seen: BTreeSet<IpAddr>, now: Instant, leaves: Duration) {
        if !seen.is_empty() {
            for gone in self.here.difference(&seen) {
                self.leaving.insert(*gone, now + leaves);
            }
            self.here = seen;
        }
        self.leaving.retain(|address, until| *until > now && !self.here.contains(address));
        self.settles = self.settles.filter(|settles| *settles > now);
    }

    fn nodes(&self, now: Instant) -> Nodes {
        let leaving = self.leaving.iter().filter(|(_, until)| **until > now).map(|(address, _)| *address);
        let settled = self.settles.is_none_or(|settles| settles <= now);
        Nodes { addresses: self.here.iter().copied().chain(leaving).collect(), settled }
    }

    /// When the list changes although nobody comes or leaves.
    fn due(&self) -> Option<Instant> {
        self.leaving.values().copied().chain(self.settles).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAVES: Duration = Duration::from_secs(300);

    fn set(last: &[u8]) -> BTreeSet<IpAddr> {
        last.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect()
    }

    #[test]
    fn who_comes_is_in_it_at_once_and_who_leaves_stays_for_a_while() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut register = Register::new(after(300));
        register.see(set(&[1, 2]), begin, LEAVES);
        assert_eq!(register.nodes(begin), Nodes { addresses: set(&[1, 2]), settled: false });
        register.see(set(&[1, 3]), after(10), LEAVES);
        assert_eq!(register.nodes(after(10)).addresses, set(&[1, 2, 3]));
        assert_eq!(register.due(), Some(after(300)));
        assert_eq!(register.nodes(after(300)), Nodes { addresses: set(&[1, 2, 3]), settled: true });
        register.see(set(&[1, 3]), after(300), LEAVES);
        assert_eq!(register.due(), Some(after(310)));
        register.see(set(&[1, 3]), after(310), LEAVES);
        assert_eq!((register.nodes(after(310)).addresses, register.due()), (set(&[1, 3]), None));
    }

    #[test]
    fn who_comes_back_in_time_has_never_left() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut register = Register::new(begin);
        register.see(set(&[1, 2]), begin, LEAVES);
        register.see(set(&[1]), after(1), LEAVES);
        register.see(set(&[1, 2]), after(2), LEAVES);
        assert_eq!(register.due(), None);
        register.see(set(&[1, 2]), after(400), LEAVES);
        assert_eq!(register.nodes(after(400)).addresses, set(&[1, 2]));
    }

    #[test]
    fn a_cluster_without_nodes_takes_nobody_out() {
        let begin = Instant::now();
        let mut register = Register::new(begin);
        register.see(set(&[1]), begin, LEAVES);
        register.see(set(&[]), begin, LEAVES);
        register.see(set(&[]), begin + LEAVES * 2, LEAVES);
        assert_eq!(register.nodes(begin + LEAVES * 2).addresses, set(&[1]));
    }
}
