//! `bricklayer operator`: controllers and provisioner in a Kubernetes cluster, behind a Lease.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::lease::Candidate;
use super::{SimulatedArgs, Works, asked_to_end, open_sim, probes};
use crate::provisioner::Provisioner;
use crate::store::Store;

/// How the operator runs. The cluster is found as kubectl finds it: KUBECONFIG, or the pod's own
/// service account.
#[derive(Clone, Debug, Args)]
pub struct OperatorArgs {
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "ADDRESS:PORT")]
    pub listen: String,
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
    /// Serve clusters whose transport is simulated: for trials and tests, nothing is stored
    #[arg(long, requires = "data")]
    pub allow_simulated: bool,
    /// Where the state of simulated nodes is kept
    #[arg(long, value_name = "DIRECTORY")]
    pub data: Option<PathBuf>,
    /// What simulated nodes are like
    #[command(flatten)]
    pub simulated: SimulatedArgs,
}

/// Runs until SIGTERM, or until the lease is lost: then another replica goes on.
pub async fn run(args: OperatorArgs) -> anyhow::Result<()> {
    let client = kube::Client::try_default()
        .await
        .context("no cluster is configured: set KUBECONFIG, or run in a pod with a service account")?;
    let readiness = probes::serve(&args.listen).await?;
    let identity = args.identity.clone().unwrap_or_else(|| format!("bricklayer-{}", uuid::Uuid::new_v4()));
    let mut candidate =
        Candidate::new(client.clone(), &args.lease_namespace, &args.lease_name, identity.clone());
    // A replica that waits is ready too: it takes over when it is its turn.
    readiness.set_ready();
    tokio::select! {
        () = candidate.acquire() => {}
        ended = asked_to_end() => return ended,
    }
    tracing::info!(identity, "this replica holds the lease and works");
    let sim = match (&args.data, args.allow_simulated) {
        (Some(data), true) => Some(open_sim(data, &args.simulated)?),
        _ => None,
    };
    let store = Store::telling(client, identity.clone());
    let works = Works::start(store, sim, Duration::from_secs(args.look_every)).await;
    let provisioner = Provisioner::start(works.intent(), identity).await;
    let provisioner = tokio::spawn(provisioner.run());
    readiness.show(works.figures.clone());
    println!("bricklayer operator works: probes on http://{}", readiness.address());
    tokio::select! {
        () = candidate.hold() => anyhow::bail!("the lease was lost; another replica goes on"),
        ended = asked_to_end() => ended?,
        ended = works.controllers => anyhow::bail!("the controllers ended: {ended:?}"),
        ended = provisioner => anyhow::bail!("the provisioner ended: {ended:?}"),
    }
    candidate.release().await;
    Ok(())
}
