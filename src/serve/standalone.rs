//! `bricklayer serve`: everything on one machine, on an embedded store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::{SimulatedArgs, Works, asked_to_end, default_limits, open_sim};
use crate::api::heketi::{self, HeketiOptions};
use crate::resources::{SimulatedTransport, TransportSpec, definitions};
use crate::store::embedded::{Embedded, Options};

/// How the server runs.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Where Heketi's REST is served
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: String,
    /// Where everything is kept
    #[arg(long, default_value = "bricklayer-data", value_name = "DIRECTORY")]
    pub data: PathBuf,
    /// Simulate the storage nodes: for trials and tests, nothing is stored
    #[arg(long)]
    pub simulated: bool,
    /// What simulated nodes are like
    #[command(flatten)]
    pub simulated_args: SimulatedArgs,
}

/// Runs until SIGTERM.
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let embedded = open_store(&args.data)?;
    let sim = args.simulated.then(|| open_sim(&args.data, &args.simulated_args)).transpose()?;
    let works = Works::start(embedded.client(), sim, Duration::from_secs(30)).await;
    let options = HeketiOptions {
        auth: None,
        transport: TransportSpec { ssh: None, simulated: Some(SimulatedTransport {}) },
        limits: default_limits(),
        max_inflight: 8,
        pre_request_volume_options: String::new(),
        post_request_volume_options: String::new(),
    };
    let router = heketi::router(works.intent(), options);
    let listener = tokio::net::TcpListener::bind(&args.listen).await;
    let listener = listener
        .with_context(|| format!("cannot listen on {}: is the port taken? Try --listen", args.listen))?;
    let address = listener.local_addr()?;
    let kind = if args.simulated { " with SIMULATED nodes" } else { "" };
    println!("bricklayer{kind} listens on http://{address}");
    tokio::select! {
        ended = axum::serve(listener, router).into_future() => ended?,
        ended = asked_to_end() => ended?,
        ended = works.controllers => bail!("the controllers ended: {ended:?}"),
    }
    embedded.shutdown().await;
    Ok(())
}

/// Opens the embedded store of a data directory. A Heketi database there is never touched.
pub fn open_store(data: &Path) -> anyhow::Result<Embedded> {
    if data.join("heketi.db").exists() || data.is_file() {
        bail!(
            "{} holds a Heketi database, which is not read here: export it with `heketi db export` and keep it, \
             then start with another --data directory",
            data.display()
        );
    }
    std::fs::create_dir_all(data).with_context(|| format!("{} cannot be made", data.display()))?;
    let path = data.join("bricklayer.redb");
    Embedded::open(Options::new(&path), definitions())
        .with_context(|| format!("{} cannot be opened", path.display()))
}
