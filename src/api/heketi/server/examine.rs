//! `/internal/state/examine/gluster`: what is known beside what the nodes say, and whether both have the same
//! volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::super::Face;
use super::super::answer::{self, Answer, Refused};
use super::super::view::{self, sees_cluster, sees_node};
use super::dump::{self, Dump};
use super::node_data::NodeData;
use super::operations::{Work, of_volume, under_way};
use crate::intent::given_up;
use crate::resources::{GlusterCluster, GlusterNode, id_of};
use crate::units::seen::{NodeSeen, VolumeSeen};

/// The clusters to look at, each with its nodes.
pub type Wanted = Vec<(Arc<GlusterCluster>, Vec<Arc<GlusterNode>>)>;
/// What was seen: the nodes of each of them, in the same order.
pub type Seen = Vec<Vec<NodeSeen>>;

/// Looks at nodes for the face, which has no way to them. One examination goes on at a time: each asks every node
/// for everything. Cheap to clone; clones take turns.
#[derive(Clone)]
pub struct Examiner {
    look: Arc<dyn Fn(Wanted) -> BoxFuture<'static, Seen> + Send + Sync>,
    turn: Arc<Semaphore>,
}

impl Examiner {
    /// An examiner that looks in this way. It has to come to an end before a client has no answer any more,
    /// whatever the nodes do.
    pub fn new(look: impl Fn(Wanted) -> BoxFuture<'static, Seen> + Send + Sync + 'static) -> Self {
        Self { look: Arc::new(look), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Looks; nothing when somebody else does so already.
    async fn look(&self, wanted: Wanted) -> Option<Seen> {
        let _turn = self.turn.try_acquire().ok()?;
        Some((self.look)(wanted).await)
    }
}

impl fmt::Debug for Examiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Examiner")
    }
}

#[derive(Serialize)]
struct Examination {
    heketidb: Dump,
    report: Vec<String>,
    clusters: Option<Vec<ClusterData>>,
}

#[derive(Serialize)]
struct ClusterData {
    #[serde(rename = "ClusterHeketiID")]
    id: String,
    #[serde(rename = "NodesData")]
    nodes: Vec<NodeData>,
}

/// `GET /internal/state/examine/gluster`
pub async fn get(face: &Face) -> Result<Answer, Refused> {
    let in_flight = under_way(face).iter().filter(|operation| operation.in_flight).count();
    let before = volumes(face);
    let wanted = wanted(face);
    let seen = face.options.examiner.look(wanted.clone()).await.ok_or_else(Refused::busy)?;
    let report = report(in_flight, &wanted, &seen, &throughout(&before, &volumes(face)));
    let heketidb = dump::dump(face).await?;
    let clusters: Vec<ClusterData> = wanted
        .iter()
        .zip(seen)
        .map(|((cluster, _), nodes)| ClusterData {
            id: id_of(cluster.as_ref()).to_string(),
            nodes: nodes.into_iter().map(NodeData::from).collect(),
        })
        .collect();
    let clusters = (!clusters.is_empty()).then_some(clusters);
    Ok(answer::indented_json(&Examination { heketidb, report, clusters }))
}

/// What clients see, in ascending order of ids.
fn wanted(face: &Face) -> Wanted {
    let (mut clusters, mut nodes) = (face.intent.clusters.list(), face.intent.nodes.list());
    clusters.retain(|cluster| sees_cluster(cluster));
    clusters.sort_unstable_by_key(|cluster| id_of(cluster.as_ref()));
    nodes.retain(|node| sees_node(node));
    nodes.sort_unstable_by_key(|node| id_of(node.as_ref()));
    let of = |cluster: &GlusterCluster| {
        let name = cluster.name_any();
        nodes.iter().filter(|node| node.spec.cluster == name).cloned().collect()
    };
    clusters.into_iter().map(|cluster| (cluster.clone(), of(&cluster))).collect()
}

/// Volumes by the name of their cluster and their own: true for those that GlusterFS has to have. One that is being
/// made or deleted may be there or not.
type Volumes = BTreeMap<(String, String), bool>;

fn volumes(face: &Face) -> Volumes {
    let now = Timestamp::now();
    let mut volumes = Volumes::new();
    for volume in face.intent.volumes.each() {
        let Some(cluster) = view::cluster_of(&volume) else { continue };
        let work = of_volume(&volume, now).map(|operation| operation.work);
        let settled = !given_up(volume.conditions()) && work.is_none_or(|work| work == Work::Expand);
        volumes.insert((cluster.clone(), volume.volume_name()), settled);
    }
    volumes
}

/// What holds from one moment until another: a node was asked at some time between them.
fn throughout(before: &Volumes, after: &Volumes) -> Volumes {
    let settled = |key| before.get(key) == Some(&true) && after.get(key) == Some(&true);
    before.keys().chain(after.keys()).map(|key| (key.clone(), settled(key))).collect()
}

/// Whether a node knows the volumes that its cluster has, and no others.
fn agree(known: &BTreeMap<&str, bool>, seen: &[VolumeSeen]) -> bool {
    let seen: BTreeSet<&str> = seen.iter().map(|volume| volume.name.as_str()).collect();
    let all_there = known.iter().all(|(name, settled)| !settled || seen.contains(name));
    all_there && seen.iter().all(|name| known.contains_key(name))
}

/// What is to be said about it, in Heketi's words.
fn report(in_flight: usize, wanted: &Wanted, seen: &Seen, volumes: &Volumes) -> Vec<String> {
    let (mut report, mut compared, mut agreed) = (vec![], vec![], 0);
    if in_flight > 0 {
        report.push(format!("OnDemand Examiner invoked while {in_flight} ops are in flight"));
    }
    for ((cluster, _), nodes) in wanted.iter().zip(seen) {
        let name = cluster.name_any();
        let of_cluster = volumes.iter().filter(|((cluster, _), _)| *cluster == name);
        let known: BTreeMap<&str, bool> =
            of_cluster.map(|((_, volume), settled)| (volume.as_str(), *settled)).collect();
        for node in nodes {
            report.extend(missing(node));
            let list = "heketi volume list";
            let id = node.node;
            match node.said.as_ref().map(|said| &said.volumes) {
                Ok(Ok(volumes)) if agree(&known, volumes) => agreed += 1,
                Ok(Ok(_)) => compared.push(format!("{list} does not match with volume list of node {id}")),
                Ok(Err(_)) | Err(_) => compared.push(format!(
                    "{list} could not be compared with volume list of node {id} due to missing info"
                )),
            }
        }
        if !nodes.is_empty() && nodes.iter().all(|node| node.said.is_err()) {
            report.push(format!("not able to fetch any data from cluster {}", id_of(cluster.as_ref())));
        }
    }
    // Where nobody was asked, nothing matches.
    if compared.is_empty() && agreed > 0 {
        compared.push("heketi volume list matches with volume list of all nodes".into());
    }
    report.append(&mut compared);
    report
}

/// What could not be had of a node. Heketi's words about the node itself leave out why: the log has it.
fn missing(node: &NodeSeen) -> Vec<String> {
    let host = &node.host;
    let nothing = |why: &str| {
        tracing::warn!(host, why, "a node could not be examined");
        format!("could not fetch data from node {host}")
    };
    let said = match &node.said {
        Ok(said) => said,
        Err(why) => return vec![nothing(why)],
    };
    let of_volumes = said.volumes.as_ref().err().map(|why| nothing(why));
    let reports = [("pvs", &said.pvs), ("vgs", &said.vgs), ("lvs", &said.lvs)].into_iter();
    let of_reports = reports.filter_map(|(command, report)| {
        let why = report.as_ref().err()?;
        Some(format!("could not fetch LVM {command} data from node {host} : {why}"))
    });
    let of_mounts = said.mounts.as_ref().err();
    let of_mounts =
        of_mounts.map(|why| format!("could not fetch brick mount status from node {host} : {why}"));
    of_volumes.into_iter().chain(of_reports).chain(of_mounts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(volumes: &[(&str, bool)]) -> Volumes {
        volumes.iter().map(|(name, settled)| (("c".to_owned(), (*name).to_owned()), *settled)).collect()
    }

    #[test]
    fn what_was_not_settled_all_the_time_is_not() {
        let before = known(&[("stays", true), ("made", false), ("goes", true), ("gone", true)]);
        let after = known(&[("stays", true), ("made", true), ("goes", false), ("new", true)]);
        let wanted =
            known(&[("stays", true), ("made", false), ("goes", false), ("gone", false), ("new", false)]);
        assert_eq!(throughout(&before, &after), wanted);
    }

    #[test]
    fn lists_agree_when_only_what_is_under_way_differs() {
        let known = BTreeMap::from([("a", true), ("b", false)]);
        let seen = |names: &[&str]| -> Vec<VolumeSeen> {
            let volume = |name: &&str| VolumeSeen { name: (*name).into(), ..VolumeSeen::default() };
            names.iter().map(volume).collect()
        };
        for (names, agrees) in
            [(&["a"][..], true), (&["b", "a"], true), (&["b"], false), (&["a", "x"], false), (&[], false)]
        {
            assert_eq!(agree(&known, &seen(names)), agrees, "{names:?}");
        }
    }

    #[tokio::test]
    async fn one_looks_at_a_time() {
        let (begun, mut begins) = tokio::sync::mpsc::channel(1);
        let end = Arc::new(tokio::sync::Notify::new());
        let ends = end.clone();
        let examiner = Examiner::new(move |_| {
            let (begun, ends) = (begun.clone(), ends.clone());
            Box::pin(async move {
                begun.send(()).await.unwrap();
                ends.notified().await;
                vec![]
            })
        });
        let other = examiner.clone();
        let first = tokio::spawn(async move { other.look(vec![]).await });
        begins.recv().await.unwrap();
        assert_eq!(examiner.look(vec![]).await, None);
        end.notify_one();
        assert_eq!(first.await.unwrap(), Some(vec![]));
        end.notify_one();
        assert_eq!(examiner.look(vec![]).await, Some(vec![]));
    }
}
