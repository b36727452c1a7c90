//! `bricklayer simulate`: simulated nodes as a process of their own, for several replicas or a server that has to do
//! without their state.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{SimulatedArgs, asked_to_end, open_sim};
use crate::executor::transport::sim;

/// Where they are, and what they are like.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// Where their state is kept
    #[arg(long, value_name = "DIRECTORY")]
    pub data: PathBuf,
    /// Where others reach them: `--simulated-socket` of serve and of each replica of the operator
    #[arg(long, value_name = "SOCKET")]
    pub socket: PathBuf,
    /// What they are like
    #[command(flatten)]
    pub simulated: SimulatedArgs,
}

/// Runs until SIGTERM.
pub async fn run(args: SimulateArgs) -> anyhow::Result<()> {
    let nodes = open_sim(&args.data, &args.simulated)?;
    println!("bricklayer simulates nodes at {}", args.socket.display());
    tokio::select! {
        served = sim::serve(nodes.clone(), &args.socket) => {
            served.with_context(|| format!("{} cannot be served", args.socket.display()))?;
        }
        ended = asked_to_end() => ended?,
    }
    nodes.settle().context("the state of the simulated nodes cannot be written")
}
