//! `bricklayer node`: CSI's Node service and kubelet's plugin registration, in one process on each node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::watch;
use tonic::transport::server::Router;
use tonic::transport::{self, Server};

use super::connection::client;
use super::{asked_to_end, probes};
use crate::csi::DRIVER;
use crate::csi::identity::{Beside, Plugin};
use crate::csi::node::client::{Clients, Way};
use crate::csi::node::registration::Registrar;
use crate::csi::node::repair::Repair;
use crate::csi::node::{Identity, Node};
use crate::csi::proto::csi::identity_server::IdentityServer;
use crate::csi::proto::csi::node_server::NodeServer;
use crate::csi::proto::registration::registration_server::RegistrationServer;
use crate::csi::socket::Socket;
use crate::executor::Permit;
use crate::store::{Events, Store};

/// More calls of one connection at once wait: kubelet makes a few.
const AT_ONCE: usize = 64;
/// How long calls that are under way may go on when the process is asked to end.
const FAREWELL: Duration = Duration::from_secs(20);

/// How volumes are mounted on this machine. With kubelet, the name of the node is all that is needed:
/// everything else follows from kubelet's directory.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// The name of this node; in Kubernetes, of its Node
    #[arg(long, env = "NODE_NAME", value_name = "NAME", value_parser = parse_node_id, required = true)]
    pub node_id: Option<String>,
    /// Kubelet's directory (its --root-dir), under the same path here as on the host
    #[arg(long, default_value = "/var/lib/kubelet", value_name = "DIRECTORY")]
    pub kubelet_dir: PathBuf,
    /// The socket that CSI is served on [default: csi.sock in --state]
    #[arg(long, env = "CSI_ENDPOINT", value_name = "unix:///PATH.sock")]
    pub csi_endpoint: Option<String>,
    /// The path of that socket as kubelet sees it, when it is another one there
    #[arg(long, value_name = "PATH")]
    pub endpoint_on_host: Option<String>,
    /// The socket that kubelet finds the driver by [default: in plugins_registry of kubelet's directory]
    #[arg(long, value_name = "PATH")]
    pub registration_socket: Option<String>,
    /// Serve no registration: for orchestrators other than kubelet
    #[arg(long, conflicts_with_all = ["registration_socket", "endpoint_on_host"])]
    pub no_registration: bool,
    /// Where records of staged volumes and the logs of clients are kept [default:
    /// plugins/gluster.bricklayer.dev in kubelet's directory]
    #[arg(long, value_name = "DIRECTORY")]
    pub state: Option<PathBuf>,
    /// How GlusterFS clients are started
    #[arg(long, value_enum, default_value_t = Way::Auto)]
    pub clients: Way,
    /// How often it is looked whether the clients of staged volumes live; one that has died is replaced. 0
    /// leaves them as they are
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    pub look_every: u32,
    /// How many volumes may be staged here; 0 sets no limit
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub max_volumes: u32,
    /// The cluster whose GlusterVolumes tell where a volume is. Without it: the one that this runs in;
    /// outside of one, the PersistentVolume is believed
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where /healthz and /readyz are served; nowhere when it is left out
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub probes: Option<String>,
}

fn parse_node_id(name: &str) -> Result<String, String> {
    match name.len() {
        0 => Err("the name is empty".into()),
        1..=256 => Ok(name.to_owned()),
        _ => Err("the name is longer than the 256 bytes that CSI allows".into()),
    }
}

impl NodeArgs {
    fn state(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| self.kubelet_dir.join("plugins").join(DRIVER))
    }

    fn endpoint(&self) -> String {
        let usual = || format!("unix://{}", self.state().join("csi.sock").display());
        self.csi_endpoint.clone().unwrap_or_else(usual)
    }

    /// The registration socket, unless nobody registers.
    fn registration(&self) -> Option<String> {
        let usual = || self.kubelet_dir.join("plugins_registry").join(format!("{DRIVER}-reg.sock"));
        let path = || self.registration_socket.clone().unwrap_or_else(|| usual().display().to_string());
        (!self.no_registration).then(path)
    }
}

/// Runs until SIGTERM, or until kubelet refuses the driver. Mounts stay as they are.
pub async fn run(args: NodeArgs) -> anyhow::Result<()> {
    let mut asked = std::pin::pin!(asked_to_end());
    let node_id = args.node_id.clone().context("the name of this node is missing: --node-id or NODE_NAME")?;
    let identity = Identity { node_id: node_id.clone(), max_volumes: args.max_volumes };
    let (api, state) = (api(&args, &node_id).await?, args.state());
    let clients = Clients::prepare(args.clients, &state, &args.kubelet_dir).await;
    let clients = clients.context("GlusterFS clients cannot be started (see --clients)")?;
    let node = Node::new(identity, api.clone().map(Store::new), clients, &state);
    let node = node.with_context(|| format!("the state directory {} cannot be used", state.display()))?;
    repair(&node, api, &node_id, &args);
    let probes = match &args.probes {
        Some(address) => Some(probes::serve(address).await?),
        None => None,
    };
    let csi = Socket::listen(&args.endpoint()).await?;
    let seen = args.endpoint_on_host.clone().unwrap_or_else(|| csi.path().display().to_string());
    let first_line = format!("bricklayer node {node_id} serves CSI on {}", csi.path().display());
    let (ending, ended) = watch::channel(false);
    let services = server().add_service(IdentityServer::new(Plugin(Beside::Node)));
    let mut serving = tokio::spawn(serve(services.add_service(NodeServer::new(node)), csi, ended.clone()));
    // Kubelet comes as soon as it finds the second socket: the first one answers by now.
    let (registrar, mut refused) = Registrar::new(seen);
    let registering = match args.registration() {
        Some(path) => {
            let socket = Socket::listen(&path).await?;
            Some(tokio::spawn(serve(server().add_service(RegistrationServer::new(registrar)), socket, ended)))
        }
        None => None,
    };
    println!("{first_line}");
    if let Some(probes) = &probes {
        println!("probes on http://{}", probes.address());
        probes.set_ready();
    }
    let why = tokio::select! {
        asked = &mut asked => asked,
        Some(why) = refused.recv() => Err(anyhow::anyhow!("kubelet refuses the driver: {why}")),
        served = &mut serving => return Err(anyhow::anyhow!("the CSI socket is not served any more: {served:?}")),
    };
    // Nobody waits: both may have gone already.
    let _ = ending.send(true);
    let farewell = async {
        if let Some(registering) = registering {
            let _ = registering.await;
        }
        let _ = serving.await;
    };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!("calls are still under way: whoever made them will make them again");
    }
    why
}

fn server() -> Server {
    Server::builder().concurrency_limit_per_connection(AT_ONCE)
}

/// Serves a socket until it is to end, then what was begun.
async fn serve(
    services: Router,
    socket: Socket,
    mut ended: watch::Receiver<bool>,
) -> Result<(), transport::Error> {
    let ended = async move {
        // An error means that the other end has gone, with the process.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    services.serve_with_incoming_shutdown(socket, ended).await
}

/// Looks after the clients of staged volumes from now on, and tells pods by events if there is an API.
fn repair(node: &Node, api: Option<kube::Client>, node_id: &str, args: &NodeArgs) {
    let events = match api {
        Some(client) => {
            let (events, write) = Events::start(client, node_id.chars().take(128).collect());
            tokio::spawn(write);
            events
        }
        None => Events::default(),
    };
    if args.look_every > 0 {
        let every = Duration::from_secs(args.look_every.into());
        let staged = args.kubelet_dir.join("plugins/kubernetes.io/csi").join(DRIVER);
        let repair = Repair::new(node.clone(), events);
        tokio::spawn(async move { repair.watch(every, &staged).await });
    }
}

/// The API that knows the volumes, if this runs in a cluster or was told of one.
async fn api(args: &NodeArgs, node_id: &str) -> anyhow::Result<Option<kube::Client>> {
    let config = match &args.kubeconfig {
        Some(path) => Some(configured(path).await.with_context(|| path.display().to_string())?),
        None => Config::incluster().ok(),
    };
    if config.is_none() {
        tracing::info!("no cluster: the servers of a volume are taken from each request");
    }
    let client = config.map(|config| client(&config, node_id, "node", Permit::default()));
    client.transpose()
}

async fn configured(path: &Path) -> anyhow::Result<Config> {
    Ok(Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &KubeConfigOptions::default()).await?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        node: NodeArgs,
    }

    fn parsed(words: &[&str]) -> Result<NodeArgs, clap::Error> {
        let line = Line::try_parse_from([&["node"], words].concat());
        line.map(|line| line.node)
    }

    #[test]
    fn all_paths_follow_from_kubelets_directory() {
        let usual = parsed(&["--node-id", "n"]).unwrap();
        assert_eq!(usual.state(), Path::new("/var/lib/kubelet/plugins/gluster.bricklayer.dev"));
        assert_eq!(usual.endpoint(), "unix:///var/lib/kubelet/plugins/gluster.bricklayer.dev/csi.sock");
        let other = parsed(&["--node-id", "n", "--kubelet-dir", "/k"]).unwrap();
        assert_eq!(other.registration().unwrap(), "/k/plugins_registry/gluster.bricklayer.dev-reg.sock");
        let alone =
            parsed(&["--node-id", "n", "--no-registration", "--csi-endpoint", "unix:///c.sock"]).unwrap();
        assert_eq!((alone.registration(), alone.endpoint().as_str()), (None, "unix:///c.sock"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["--node-id", ""][..],
            &["--node-id", &"x".repeat(257)],
            &["--node-id", "n", "--no-registration", "--registration-socket", "/x"],
            &["--node-id", "n", "--clients", "magic"],
            &["--node-id", "n", "--max-volumes", "-1"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }
}
