//! The ways to the nodes, made from what the clusters say. One for each cluster, kept as long as
//! its transport does not change.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use parking_lot::Mutex;

use super::PassError;
use crate::executor::transport::pod_exec::{PodExec, PodExecOptions};
use crate::executor::transport::sim::{Sim, SimSocket};
use crate::executor::transport::ssh::{KeyPem, Ssh, SshOptions};
use crate::executor::{Permit, Permitted, Transport};
use crate::resources::{
    GlusterCluster, GlusterNode, HostKeyPolicy, PodExecTransport, SecretKey, SshTransport, TransportSpec,
};
use crate::store::{Caches, Store};

/// Makes and keeps transports.
pub struct Transports {
    store: Store,
    caches: Caches,
    sim: Option<Simulated>,
    permit: Permit,
    made: Mutex<HashMap<String, (TransportSpec, Way)>>,
}

#[derive(Clone)]
enum Way {
    Ssh(Arc<Ssh>),
    PodExec(Arc<PodExec>),
    Sim(Simulated),
}

/// Simulated nodes.
#[derive(Clone)]
pub enum Simulated {
    /// In this process.
    Here(Sim),
    /// In another one.
    There(SimSocket),
}

impl From<Sim> for Simulated {
    fn from(sim: Sim) -> Self {
        Self::Here(sim)
    }
}

impl Transports {
    /// Transports; simulated nodes are refused unless they are given here.
    pub fn new(store: Store, caches: Caches, sim: Option<impl Into<Simulated>>) -> Self {
        Self { store, caches, sim: sim.map(Into::into), permit: Permit::default(), made: Mutex::default() }
    }

    /// The same ones, which send nothing when the permit is over.
    #[must_use]
    pub fn permitted(self, permit: Permit) -> Self {
        Self { permit, ..self }
    }

    /// The way to the nodes of a cluster.
    pub async fn of(&self, cluster: &GlusterCluster) -> Result<Arc<dyn Transport>, PassError> {
        let way: Arc<dyn Transport> = match self.way(cluster).await? {
            Way::Ssh(ssh) => ssh,
            Way::PodExec(pod_exec) => pod_exec,
            Way::Sim(Simulated::Here(sim)) => Arc::new(sim),
            Way::Sim(Simulated::There(socket)) => Arc::new(socket),
        };
        Ok(Arc::new(Permitted { way, permit: self.permit.clone() }))
    }

    /// The way to a node, which also tells simulated nodes that the host names are one node's.
    pub async fn to(
        &self,
        cluster: &GlusterCluster,
        node: &GlusterNode,
    ) -> Result<Arc<dyn Transport>, PassError> {
        if let Way::Sim(sim) = self.way(cluster).await? {
            let names = node.hostnames();
            let all: Vec<&str> = names.manage.iter().chain(&names.storage).map(String::as_str).collect();
            let introduced = match sim {
                Simulated::Here(sim) => sim.introduce(&all).map_err(|error| error.to_string()),
                Simulated::There(socket) => socket.introduce(&all).await,
            };
            introduced.map_err(PassError::Transport)?;
        }
        self.of(cluster).await
    }

    /// The host key that was trusted at first contact with a host, to be remembered.
    pub fn pin(&self, cluster: &str, host: &str) -> Option<String> {
        match self.made.lock().get(cluster)? {
            (_, Way::Ssh(ssh)) => ssh.pins().get(host).cloned(),
            (_, Way::Sim(_) | Way::PodExec(_)) => None,
        }
    }

    async fn way(&self, cluster: &GlusterCluster) -> Result<Way, PassError> {
        let (name, spec) = (cluster.name_any(), &cluster.spec.transport);
        if let Some((made_for, way)) = self.made.lock().get(&name)
            && made_for == spec
        {
            return Ok(way.clone());
        }
        let way = match (&spec.ssh, &spec.pod_exec, &spec.simulated) {
            (Some(ssh), _, _) => Way::Ssh(Arc::new(self.ssh(&name, ssh).await?)),
            (None, Some(pod_exec), _) => Way::PodExec(Arc::new(self.pod_exec(&name, pod_exec))),
            (None, None, Some(_)) => {
                let refused = || {
                    PassError::Transport(format!(
                        "cluster {name} has simulated nodes, and this server does not allow them: start it with --allow-simulated"
                    ))
                };
                Way::Sim(self.sim.clone().ok_or_else(refused)?)
            }
            (None, None, None) => {
                return Err(PassError::Transport(format!("cluster {name} has no transport")));
            }
        };
        self.made.lock().insert(name, (spec.clone(), way.clone()));
        Ok(way)
    }

    fn pod_exec(&self, cluster: &str, spec: &PodExecTransport) -> PodExec {
        let (nodes, cluster) = (self.caches.nodes.clone(), cluster.to_owned());
        // By whatever name a member of the pool is called.
        let node_of = move |host: &str| {
            let node = nodes.find(|node| {
                let names = node.hostnames();
                node.spec.cluster == cluster
                    && names.manage.iter().chain(&names.storage).any(|name| name == host)
            });
            node?.status.as_ref()?.kubernetes_node.clone()
        };
        PodExec::new(PodExecOptions {
            pods: self.store.within::<Pod>(&spec.namespace),
            labels: spec.selector.match_labels.clone().into_iter().collect(),
            container: spec.container.clone(),
            node_of: Arc::new(node_of),
            permit: self.permit.clone(),
        })
    }

    async fn ssh(&self, cluster: &str, spec: &SshTransport) -> Result<Ssh, PassError> {
        let bad = |what: String| PassError::Transport(format!("cluster {cluster}: {what}"));
        let key_pem = match (&spec.key.secret, &spec.key.file) {
            (Some(secret), _) => self.secret(secret).await.map_err(&bad)?,
            (None, Some(path)) => read(path).await.map_err(&bad)?,
            (None, None) => return Err(bad("the transport names no key".into())),
        };
        let mut known_hosts = spec.known_hosts.clone().unwrap_or_default();
        if let Some(path) = &spec.known_hosts_file {
            known_hosts.push('\n');
            known_hosts.push_str(&read(path).await.map_err(&bad)?);
        }
        let pins = self.caches.nodes.list().into_iter().filter(|node| node.spec.cluster == cluster);
        let pins = pins.filter_map(|node| {
            Some((node.manage_host().to_owned(), node.status.as_ref()?.host_key.clone()?))
        });
        Ssh::new(SshOptions {
            user: spec.user.clone(),
            port: spec.port,
            sudo: spec.sudo,
            key: KeyPem(key_pem),
            known_hosts: known_hosts.lines().map(str::to_owned).collect(),
            pin_first_contact: spec.host_keys == HostKeyPolicy::PinFirstContact,
            pins: pins.collect(),
        })
        .map(|ssh| ssh.permitted(self.permit.clone()))
        .map_err(|error| bad(error.to_string()))
    }

    async fn secret(&self, wanted: &SecretKey) -> Result<String, String> {
        let SecretKey { namespace, name, key } = wanted;
        let found = self.store.within::<Secret>(namespace).get_opt(name).await;
        let found = found.map_err(|error| format!("Secret {namespace}/{name} cannot be read: {error}"))?;
        let secret = found.ok_or_else(|| format!("there is no Secret {namespace}/{name}: make it"))?;
        let data = secret.data.unwrap_or_default();
        let value = data.get(key).ok_or_else(|| format!("Secret {namespace}/{name} has no key {key:?}"))?;
        String::from_utf8(value.0.clone())
            .map_err(|_| format!("{key:?} of Secret {namespace}/{name} is no text"))
    }
}

async fn read(path: &str) -> Result<String, String> {
    tokio::fs::read_to_string(path).await.map_err(|error| format!("{path} cannot be read: {error}"))
}

/// The fstab that brick mounts of a cluster are written to.
pub fn fstab(cluster: &GlusterCluster) -> String {
    let ssh = cluster.spec.transport.ssh.as_ref();
    let pod_exec = cluster.spec.transport.pod_exec.as_ref();
    let given = ssh.map(|ssh| &ssh.fstab).or(pod_exec.map(|pod_exec| &pod_exec.fstab));
    given.map_or_else(|| "/etc/fstab".to_owned(), String::clone)
}
