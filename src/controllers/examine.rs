//! Looks at nodes for somebody who wants to see everything that they say: not to judge them, as the audit does,
//! and not to change anything.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout, timeout_at};

use super::PassError;
use super::transports::{Transports, fstab};
use crate::executor::ops::examine;
use crate::executor::{Argv, Batch, Output, Step, Transport};
use crate::resources::{GlusterCluster, GlusterNode, id_of};
use crate::units::seen::{NodeSeen, Said};

/// How many nodes are looked at at a time.
const LOOKS: usize = 16;
/// How long a node may take. One that hangs takes that long; of one that is dead, the transports know sooner.
const NODE_WITHIN: Duration = Duration::from_secs(30);
/// How long it takes at the most, with however many nodes: somebody waits for the answer.
const ALL_WITHIN: Duration = Duration::from_secs(45);
/// How much of a complaint is kept, in characters.
const LONGEST: usize = 1024;

/// Looks at the nodes of clusters, each with those of its nodes that are wanted. What was seen is in the same
/// order, each node in it.
pub async fn examine(
    clusters: &[(Arc<GlusterCluster>, Vec<Arc<GlusterNode>>)],
    transports: &Transports,
) -> Vec<Vec<NodeSeen>> {
    let until = Instant::now() + ALL_WITHIN;
    let mut looks = vec![];
    for (cluster, nodes) in clusters {
        let way = way(cluster, transports, until).await;
        looks.extend(nodes.iter().map(|node| look(way.clone(), fstab(cluster), node.clone(), until)));
    }
    let mut looks = stream::iter(looks).buffered(LOOKS);
    let mut seen = vec![];
    for (_, nodes) in clusters {
        let mut of_cluster: Vec<NodeSeen> = Vec::with_capacity(nodes.len());
        for _ in nodes {
            let Some(mut node) = looks.next().await else { break };
            // Nodes of a pool know the same volumes: with thousands of them, each list is large.
            if let Some(last) = of_cluster.last() {
                share(last, &mut node);
            }
            of_cluster.push(node);
        }
        seen.push(of_cluster);
    }
    seen
}

/// The way to the nodes of a cluster, or why there is none.
async fn way(
    cluster: &GlusterCluster,
    transports: &Transports,
    until: Instant,
) -> Result<Arc<dyn Transport>, String> {
    let way = timeout_at(until, transports.of(cluster)).await;
    way.map_err(|_| late())?.map_err(|error: PassError| error.to_string())
}

async fn look(
    way: Result<Arc<dyn Transport>, String>,
    fstab: String,
    node: Arc<GlusterNode>,
    until: Instant,
) -> NodeSeen {
    let host = node.manage_host().to_owned();
    let said = match way {
        Ok(way) => timeout_at(until, said(way.as_ref(), &host, &fstab, NODE_WITHIN))
            .await
            .unwrap_or_else(|_| Err(late())),
        Err(why) => Err(why),
    };
    NodeSeen { node: id_of(node.as_ref()), host, said }
}

fn late() -> String {
    "the time for the whole examination was over".into()
}

/// What a node says. LVM and the mounts do not wait for a glusterd that hangs, and the other way round.
async fn said(way: &dyn Transport, host: &str, fstab: &str, within: Duration) -> Result<Said, String> {
    let [volumes, lists] = [vec![examine::volumes()], examine::lists(fstab).to_vec()];
    match tokio::join!(outputs(way, host, volumes, within), outputs(way, host, lists, within)) {
        ((volumes, Some(why)), (lists, Some(_))) if volumes.is_empty() && lists.is_empty() => Err(why),
        (volumes, lists) => {
            let [volumes] = each(volumes);
            Ok(examine::read(volumes, each(lists)))
        }
    }
}

/// What came of commands, as far as something came, and why nothing came any more.
type Came = (Vec<Result<Output, String>>, Option<String>);

/// What came of each command.
fn each<const N: usize>((outputs, lost): Came) -> [Result<Output, String>; N] {
    let mut outputs = outputs.into_iter();
    let missing = || Err(lost.clone().unwrap_or_default());
    std::array::from_fn(|_| outputs.next().unwrap_or_else(missing))
}

/// Runs commands, all of them: one that fails is noted, and those after it run all the same.
async fn outputs(way: &dyn Transport, host: &str, steps: Vec<Argv>, within: Duration) -> Came {
    let mut came = vec![];
    let asked = timeout(within, async {
        while came.len() < steps.len() {
            // A batch ends at the first command that fails: the rest is another one.
            let rest = steps[came.len()..].iter().cloned().map(Step::always);
            let reply = way.run(host, &Batch::new(rest, within)).await;
            let outputs = reply.map_err(|error| error.to_string())?.outputs;
            if outputs.is_empty() {
                return Err(format!("{host} gave no answer to `{}`", steps[came.len()].shown()));
            }
            came.extend(outputs.into_iter().map(done));
        }
        Ok(())
    });
    let late = || Err(format!("no answer from {host} within {within:?}"));
    let lost = asked.await.unwrap_or_else(|_| late()).err();
    (came, lost)
}

/// The output of a command that went well, or what it complained about.
fn done(output: Output) -> Result<Output, String> {
    if output.ok() {
        return Ok(output);
    }
    let text = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let text: String = text.trim().chars().take(LONGEST).collect();
    Err(if text.is_empty() { format!("exit code {}", output.exit) } else { text })
}

/// Lets two nodes hold the same list of volumes once, if it is the same.
fn share(one: &NodeSeen, other: &mut NodeSeen) {
    if let (Ok(Said { volumes: Ok(one), .. }), Ok(Said { volumes: Ok(other), .. })) =
        (&one.said, &mut other.said)
        && one == other
    {
        *other = one.clone();
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::executor::{Reply, TransportError};

    const WITHIN: Duration = Duration::from_millis(300);

    /// A node where some commands fail or hang.
    struct Node {
        fails: &'static str,
        hangs: &'static str,
        asked: Mutex<Vec<usize>>,
    }

    #[async_trait]
    impl Transport for Node {
        async fn run(&self, _: &str, batch: &Batch) -> Result<Reply, TransportError> {
            self.asked.lock().push(batch.steps.len());
            let mut outputs = vec![];
            for step in &batch.steps {
                let words = step.run.shown();
                if !self.hangs.is_empty() && words.contains(self.hangs) {
                    std::future::pending::<()>().await;
                }
                let exit = i32::from(!self.fails.is_empty() && words.contains(self.fails));
                let kind = ["pv", "vg", "lv"].into_iter().find(|kind| words.contains(&format!("{kind}s ")));
                let stdout =
                    kind.map_or_else(String::new, |kind| format!(r#"{{"report":[{{"{kind}":[]}}]}}"#));
                outputs.push(Output { exit, stdout, stderr: " it burns\n".into() });
                if exit != 0 {
                    break;
                }
            }
            Ok(Reply { outputs })
        }
    }

    async fn seen(fails: &'static str, hangs: &'static str) -> (Result<Said, String>, Vec<usize>) {
        let node = Node { fails, hangs, asked: Mutex::default() };
        let said = said(&node, "n1", "/etc/fstab", WITHIN).await;
        let mut asked = node.asked.into_inner();
        asked.sort_unstable();
        (said, asked)
    }

    #[tokio::test]
    async fn a_command_that_fails_keeps_nothing_else_from_being_seen() {
        let (said, asked) = seen("vgs", "").await;
        let said = said.unwrap();
        assert_eq!((said.pvs, said.vgs, said.lvs), (Ok(vec![]), Err("it burns".into()), Ok(vec![])));
        assert_eq!((said.mounts, asked), (Ok(vec![]), vec![1, 3, 5]));
    }

    #[tokio::test]
    async fn what_hangs_keeps_only_its_own_from_being_seen() {
        let (said, _) = seen("", "gluster").await;
        let said = said.unwrap();
        assert_eq!(said.volumes, Err("no answer from n1 within 300ms".into()));
        assert_eq!((said.lvs, said.mounts), (Ok(vec![]), Ok(vec![])));
    }

    #[tokio::test]
    async fn a_node_that_says_nothing_says_why() {
        let (said, _) = seen("", " ").await;
        assert_eq!(said, Err("no answer from n1 within 300ms".into()));
    }
}
