//! Commands in the GlusterFS pod of a node, as `kubectl exec` runs them.
//!
//! A batch is one `exec` of a shell in the pod, which gets a script over its input once the stream is
//! open: so whatever happened before, nothing of the batch has run. Which pod that is, is looked up
//! among the pods of the node, kept for a moment, and looked up again when the pod does not take the
//! command.

mod pod;
mod stream;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, ListParams};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::script::Script;
use super::shell::{self, LANES};
use crate::executor::{Batch, Permit, Reply, Transport, TransportError, not_permitted};
use pod::{Chosen, choose};

/// How long a pod that was found ready is taken for ready.
const FRESH: Duration = Duration::from_secs(5);
/// How long looking for a pod, and opening a stream to it, may take.
const OPEN: Duration = Duration::from_secs(15);
/// How much output waits in memory to be read, in bytes for each stream.
const BUFFER: usize = 64 << 10;

/// Tells the name of the Kubernetes node of a host, if it is known.
pub type NodeOf = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What [`PodExec`] needs to reach nodes.
pub struct PodExecOptions {
    /// The pods of the namespace that GlusterFS runs in.
    pub pods: Api<Pod>,
    /// Labels that the pods have.
    pub labels: Vec<(String, String)>,
    /// The container to run in; the pod's first when it is not given.
    pub container: Option<String>,
    /// Which Kubernetes node a host is.
    pub node_of: NodeOf,
    /// Nothing is sent when it is over.
    pub permit: Permit,
}

/// The way to nodes through their pods.
pub struct PodExec {
    options: Arc<PodExecOptions>,
    nodes: Mutex<HashMap<String, Arc<Node>>>,
}

/// A host, its lanes and its pod.
struct Node {
    host: String,
    options: Arc<PodExecOptions>,
    lanes: Arc<Semaphore>,
    pod: tokio::sync::Mutex<Option<(Instant, Chosen)>>,
}

impl PodExec {
    /// Looks for nothing yet.
    pub fn new(options: PodExecOptions) -> Self {
        Self { options: Arc::new(options), nodes: Mutex::default() }
    }

    fn node(&self, host: &str) -> Arc<Node> {
        let new = || {
            Arc::new(Node {
                host: host.into(),
                options: self.options.clone(),
                lanes: Arc::new(Semaphore::new(LANES)),
                pod: tokio::sync::Mutex::default(),
            })
        };
        self.nodes.lock().entry(host.into()).or_insert_with(new).clone()
    }
}

#[async_trait]
impl Transport for PodExec {
    async fn run(&self, host: &str, batch: &Batch) -> Result<Reply, TransportError> {
        let node = self.node(host);
        let script = Script::new(batch).map_err(|cause| shell::unreached(host, cause))?;
        let lane = timeout(batch.deadline, node.lanes.clone().acquire_owned()).await;
        let Ok(Ok(lane)) = lane else {
            let cause = format!("all {LANES} lanes to it were busy for {:?}", batch.deadline);
            return Err(shell::unreached(host, cause));
        };
        // A task of its own: who gives up waiting must not free the lane while the node is at work.
        let deadline = batch.deadline;
        let work = tokio::spawn(async move {
            let result = node.exchange(&script, deadline).await;
            drop(lane);
            result
        });
        work.await.unwrap_or_else(|error| Err(shell::unknown(host, error.to_string())))
    }
}

impl Node {
    async fn exchange(&self, script: &Script, deadline: Duration) -> Result<Reply, TransportError> {
        let seconds = shell::seconds(deadline);
        let (pod, process) = self.open(seconds).await.map_err(|cause| shell::unreached(&self.host, cause))?;
        if !self.options.permit.holds() {
            return Err(not_permitted(&self.host));
        }
        let is_all = |stdout: &[u8], stderr: &[u8]| script.read(stdout, stderr).is_some();
        let has_begun = |stdout: &[u8]| script.has_begun(stdout);
        let talk = stream::talk(process, &script.text, shell::patience(seconds), is_all, has_begun);
        let ending = talk.await;
        shell::judge(&self.host, script, ending, |code, said| {
            let said: String = said.chars().take(1024).collect();
            format!(
                "no command could be started in pod {} ({code}: {said}): its image needs a shell, coreutils \
                 (timeout) and util-linux (flock)",
                pod.name
            )
        })
    }

    /// A shell in the pod of the node. A pod that does not take it may have been replaced: the pod is
    /// looked up again, once.
    async fn open(&self, seconds: u64) -> Result<(Chosen, kube::api::AttachedProcess), String> {
        let mut refused: Option<(Chosen, String)> = None;
        loop {
            let pod = self.pod(refused.is_some()).await?;
            if let Some((before, cause)) = &refused
                && before.uid == pod.uid
            {
                return Err(format!("pod {} takes no command: {cause}", pod.name));
            }
            let params = AttachParams {
                container: Some(pod.container.clone()),
                stdin: true,
                stdout: true,
                stderr: true,
                tty: false,
                max_stdin_buf_size: Some(BUFFER),
                max_stdout_buf_size: Some(BUFFER),
                max_stderr_buf_size: Some(BUFFER),
            };
            let exec = self.options.pods.exec(&pod.name, shell::command(seconds), &params);
            let cause = match timeout(OPEN, exec).await {
                Ok(Ok(process)) => return Ok((pod, process)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no stream was opened within {OPEN:?}"),
            };
            if refused.is_some() {
                return Err(format!("pod {} takes no command: {cause}", pod.name));
            }
            refused = Some((pod, cause));
        }
    }

    /// The pod of the node: the one that was found a moment ago, or the one there is now.
    async fn pod(&self, anew: bool) -> Result<Chosen, String> {
        let mut kept = self.pod.lock().await;
        if let Some((seen, pod)) = kept.as_ref()
            && !anew
            && seen.elapsed() < FRESH
        {
            return Ok(pod.clone());
        }
        *kept = None;
        let options = &self.options;
        let node = (options.node_of)(&self.host).ok_or_else(|| {
            format!(
                "no GlusterNode with the host {} names its Kubernetes node: give it kubernetesNode",
                self.host
            )
        })?;
        let labels: Vec<String> =
            options.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let labels = labels.join(",");
        let params = ListParams::default().labels(&labels).fields(&format!("spec.nodeName={node}"));
        let pods = match timeout(OPEN, options.pods.list(&params)).await {
            Ok(Ok(pods)) => pods.items,
            Ok(Err(error)) => return Err(format!("the pods of node {node} cannot be listed: {error}")),
            Err(_) => return Err(format!("the pods of node {node} were not listed within {OPEN:?}")),
        };
        let pod = choose(&pods, options.container.as_deref(), &node, &labels)?;
        *kept = Some((Instant::now(), pod.clone()));
        Ok(pod)
    }
}
