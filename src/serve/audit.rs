//! `bricklayer audit`: whether objects and nodes agree, on one machine while no server runs, or in
//! a cluster.

use std::path::PathBuf;

use clap::Args;

use super::standalone::open_store;
use super::{SimulatedArgs, open_sim};
use crate::controllers::audit::audit;
use crate::controllers::transports::Transports;
use crate::store::{Caches, Store};

/// What is audited.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// The data directory of a server or operator that does not run
    #[arg(long, value_name = "DIRECTORY", required_unless_present = "kubernetes")]
    pub data: Option<PathBuf>,
    /// The objects are those of the cluster of KUBECONFIG, not those of the data directory
    #[arg(long)]
    pub kubernetes: bool,
    /// The nodes are the simulated ones of the data directory
    #[arg(long, requires = "data")]
    pub simulated: bool,
    /// What simulated nodes are like
    #[command(flatten)]
    pub simulated_args: SimulatedArgs,
}

/// Audits and prints the verdict; true when nothing is wrong and nothing unsettled.
pub async fn run(args: AuditArgs) -> anyhow::Result<bool> {
    let embedded = args.data.as_deref().filter(|_| !args.kubernetes).map(open_store).transpose()?;
    let client = match &embedded {
        Some(embedded) => embedded.client(),
        None => kube::Client::try_default().await?,
    };
    let store = Store::new(client);
    let sim = match (&args.data, args.simulated) {
        (Some(data), true) => Some(open_sim(data, &args.simulated_args)?),
        _ => None,
    };
    let caches = Caches::start(&store).await;
    let judged = audit(&store, &Transports::new(store.clone(), caches, sim)).await?;
    println!("{judged}");
    Ok(judged.wrong.is_empty() && judged.unsettled.is_empty())
}
