//! `bricklayer operator`: in a Kubernetes cluster. Every replica serves the REST face and CSI; the one that
//! holds the Lease runs the controllers, and the provisioner unless CSI is served.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use kube::Config;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use super::config::{Flags, ServeConfig};
use super::connection::client;
use super::csi::{Csi, CsiArgs};
use super::examine::Ways;
use super::lease::Candidate;
use super::probes::Readiness;
use super::rest::{self, Rest, TlsArgs};
use super::tenure::Tenure;
use super::{ElsewhereArgs, SimulatedArgs, Works, asked_to_end, open_sim, probes};
use crate::api::heketi::{self, Log};
use crate::controllers::access::roster::{Pace, Roster};
use crate::controllers::transports::{Simulated, Transports};
use crate::executor::Permit;
use crate::intent::Intent;
use crate::provisioner::{ClaimFigures, Provisioner};
use crate::store::{Caches, Store};

/// How the operator runs. The cluster is found as kubectl finds it: KUBECONFIG, or the pod's own
/// service account.
#[derive(Clone, Debug, Args)]
pub struct OperatorArgs {
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "ADDRESS:PORT")]
    pub listen: String,
    /// Where Heketi's REST is served, by every replica; nowhere when it is left out
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub rest_listen: Option<String>,
    /// CSI, by every replica. The built-in provisioner does not run then
    #[command(flatten)]
    pub csi: CsiArgs,
    /// HTTPS for the REST
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Let everybody do everything, although there are no keys (HEKETI_ADMIN_KEY and HEKETI_USER_KEY)
    #[arg(long)]
    pub disable_auth: bool,
    /// Heketi's configuration file (heketi.json) for the REST; its HEKETI_* variables are read too
    #[arg(long, value_name = "FILE", requires = "rest_listen")]
    pub config: Option<PathBuf>,
    /// The namespace of the Lease
    #[arg(long, env = "POD_NAMESPACE", default_value = "bricklayer-system", value_name = "NAME")]
    pub lease_namespace: String,
    /// The name of the Lease
    #[arg(long, default_value = "gluster-bricklayer-dev", value_name = "NAME")]
    pub lease_name: String,
    /// The name of this replica
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,
    /// How often nodes and devices are looked at when nothing changes, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub look_every: u64,
    /// How long volumes with `nodes` in spec.allow still let a Kubernetes node in that has left, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub node_leaves_after: u64,
    /// Serve clusters whose transport is simulated: for trials and tests, nothing is stored
    #[arg(long, requires = "nodes")]
    pub allow_simulated: bool,
    /// Where the state of simulated nodes is kept, by this replica alone
    #[arg(long, value_name = "DIRECTORY", group = "nodes")]
    pub data: Option<PathBuf>,
    /// Simulated nodes of several replicas
    #[command(flatten)]
    pub elsewhere: ElsewhereArgs,
    /// What simulated nodes are like
    #[command(flatten)]
    pub simulated: SimulatedArgs,
}

/// Runs until SIGTERM, or until another replica has the lease: then that one goes on.
pub async fn run(args: OperatorArgs, log: Log) -> anyhow::Result<()> {
    let cluster = Config::infer()
        .await
        .context("no cluster is configured: set KUBECONFIG, or run in a pod with a service account")?;
    let face = args.rest_listen.as_ref().map(|address| face_config(&args, address)).transpose()?;
    let mut asked = std::pin::pin!(asked_to_end());
    let readiness = probes::serve(&args.listen).await?;
    let identity = args.identity.clone().unwrap_or_else(|| format!("bricklayer-{}", uuid::Uuid::new_v4()));
    let store = Store::new(client(&cluster, &identity, "serves", Permit::default())?);
    let (caches, fill) = Caches::new(&store);
    // Simulated nodes in a process of their own are there for every replica; those in this one are opened later.
    let there = args.allow_simulated.then(|| args.elsewhere.nodes(&identity)).flatten();
    let ways = Ways::new(Transports::new(store.clone(), caches.clone(), there));
    let intent = Intent::new(store, caches.clone());
    // The face is there before the caches are filled: it takes note of what comes.
    let face = face.map(|face| {
        if let Some(level) = face.log_level {
            log.set(level);
        }
        let options = face.heketi_options(&args.lease_namespace, log, ways.examiner());
        (heketi::router(intent.clone(), options), face)
    });
    tokio::select! {
        () = fill => {}
        ended = &mut asked => return ended,
    }
    let mut rest = None;
    if let (Some(address), Some((router, face))) = (&args.rest_listen, face) {
        super::obey_usr2(intent.clone(), args.lease_namespace.clone())?;
        let tls = if args.tls.tls_cert.is_some() { &args.tls } else { &face.tls };
        let serving = Rest::start(address, tls, router).await?;
        println!("bricklayer operator serves Heketi's REST on {}", serving.url);
        rest = Some(serving);
    }
    let mut csi = Csi::start(&args.csi, intent).await?;
    if let Some(csi) = &csi {
        println!("bricklayer operator serves CSI on {}", csi.path);
    }
    // A replica that waits is ready too: it answers, and it takes over when it is its turn.
    readiness.set_ready();
    let tenure = Tenure::default();
    let lease = client(&cluster, &identity, "lease", Permit::default())?;
    let (namespace, name) = (&args.lease_namespace, &args.lease_name);
    let mut candidate = Candidate::new(lease, namespace, name, identity.clone(), tenure.clone());
    let working =
        Leader { args: &args, cluster: &cluster, identity: &identity, tenure, caches, readiness, ways };
    let ended = tokio::select! {
        ended = lead(&mut candidate, working) => ended,
        error = served(&mut rest) => Err(error),
        error = Csi::ended(&mut csi) => Err(error),
        ended = &mut asked => ended,
    };
    // First nothing is sent any more, then the next one may begin; it decides what is still asked here.
    let farewell = async {
        if let Some(rest) = rest {
            rest.stop().await;
        }
    };
    tokio::join!(candidate.release(), farewell, Csi::stop(csi));
    ended
}

/// The settings of the REST face; refuses one that would let everybody in by mistake.
fn face_config(args: &OperatorArgs, address: &str) -> anyhow::Result<ServeConfig> {
    let flags = Flags { disable_auth: args.disable_auth, transport_optional: true, ..Flags::default() };
    let config = ServeConfig::load(args.config.as_deref(), flags)?;
    for key in &config.ignored {
        tracing::warn!(key, "this key of the configuration does nothing yet");
    }
    let give = "set HEKETI_ADMIN_KEY and HEKETI_USER_KEY";
    rest::refuse_open(address, config.auth.is_some(), args.disable_auth, give)?;
    Ok(config)
}

/// Waits for an end of the REST face; for ever when there is none.
async fn served(rest: &mut Option<Rest>) -> anyhow::Error {
    match rest {
        Some(rest) => rest.ended().await,
        None => std::future::pending().await,
    }
}

/// Waits for the lease and works as long as it is ours. Always ends with an error.
async fn lead(candidate: &mut Candidate, working: Leader<'_>) -> anyhow::Result<()> {
    candidate.acquire().await;
    tracing::info!(working.identity, "this replica holds the lease and works");
    tokio::select! {
        by = candidate.hold() => anyhow::bail!("the lease is lost: {by:?} has it now and goes on"),
        ended = working.work() => ended,
    }
}

/// What the holder of the lease works with.
struct Leader<'a> {
    args: &'a OperatorArgs,
    cluster: &'a Config,
    identity: &'a str,
    tenure: Tenure,
    caches: Caches,
    readiness: Readiness,
    ways: Ways,
}

impl Leader<'_> {
    /// Works until something without which that is of no use has ended.
    async fn work(self) -> anyhow::Result<()> {
        let permit = self.tenure.permit();
        let client = client(self.cluster, self.identity, "works", permit.clone())?;
        let store = Store::telling(client, self.identity.to_owned());
        // A watch may be behind. What decides what is unique has to know what the last one has decided.
        self.caches.refresh().await;
        let sim = self.simulated().await?;
        if let Some(Simulated::Here(_)) = &sim {
            self.ways.replace(Transports::new(store.clone(), self.caches.clone(), sim.clone()));
        }
        let every = Duration::from_secs(self.args.look_every);
        let leaves = Duration::from_secs(self.args.node_leaves_after);
        let roster = Roster::start(&store, Pace { leaves, ..Pace::default() }).await;
        let works = Works::over(store, self.caches.clone(), sim, permit, every, roster);
        let mut provisioner = self.provisioner(&works).await;
        self.readiness.show(works.figures);
        println!("bricklayer operator works: probes on http://{}", self.readiness.address());
        tokio::select! {
            ended = works.controllers => anyhow::bail!("the controllers ended: {ended:?}"),
            ended = ended(&mut provisioner) => anyhow::bail!("the provisioner ended: {ended}"),
        }
    }

    /// The provisioner. It does not run where sidecars ask for volumes: both would serve the same claims.
    async fn provisioner(&self, works: &Works) -> Option<JoinHandle<()>> {
        if self.args.csi.csi_endpoint.is_some() {
            tracing::info!(
                "the built-in provisioner does not run: CSI sidecars serve claims (--csi-endpoint)"
            );
            return None;
        }
        let claims = ClaimFigures::default();
        let mut registry = Registry::default();
        claims.register(&mut registry);
        works.figures.add(registry);
        let provisioner = Provisioner::start(works.intent(), self.identity.to_owned(), claims).await;
        Some(tokio::spawn(provisioner.run()))
    }

    /// The simulated nodes, if they are allowed. A replica that gives the lease back may still have
    /// them for a moment.
    async fn simulated(&self) -> anyhow::Result<Option<Simulated>> {
        if !self.args.allow_simulated {
            return Ok(None);
        }
        if let Some(there) = self.args.elsewhere.nodes(self.identity) {
            return Ok(Some(there));
        }
        let Some(data) = &self.args.data else { return Ok(None) };
        let begun = Instant::now();
        loop {
            match open_sim(data, &self.args.simulated) {
                Err(error) if begun.elapsed() < SIM_PATIENCE => {
                    tracing::warn!(error = format!("{error:#}"), "tries again");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                opened => return opened.map(|sim| Some(sim.into())),
            }
        }
    }
}

/// Waits for an end of the provisioner; for ever when there is none.
async fn ended(provisioner: &mut Option<JoinHandle<()>>) -> String {
    match provisioner {
        Some(provisioner) => format!("{:?}", provisioner.await),
        None => std::future::pending().await,
    }
}

/// How long the last holder may take to let go of the simulated nodes.
const SIM_PATIENCE: Duration = Duration::from_secs(10);
