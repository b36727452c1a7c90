//! `bricklayer serve`: everything on one machine, on an embedded store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::config::{Flags, ServeConfig};
use super::csi::{Csi, CsiArgs};
use super::examine::Ways;
use super::rest::{self, Rest, TlsArgs};
use super::{ElsewhereArgs, Permit, Roster, SimulatedArgs, Works, asked_to_end, open_sim};
use crate::api::heketi::{self, Log};
use crate::controllers::transports::Transports;
use crate::intent::Intent;
use crate::intent::mode::{self, Mode};
use crate::resources::{HOME_NAMESPACE, definitions};
use crate::store::embedded::{Embedded, Options};
use crate::store::{Caches, Store};

/// How the server runs.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Where Heketi's REST is served [default: the port of the configuration, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Where everything is kept
    #[arg(long, default_value = "bricklayer-data", value_name = "DIRECTORY")]
    pub data: PathBuf,
    /// Heketi's configuration file (heketi.json); its HEKETI_* variables are read too
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics are served; nowhere when it is left out
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub probes: Option<String>,
    /// HTTPS
    #[command(flatten)]
    pub tls: TlsArgs,
    /// CSI
    #[command(flatten)]
    pub csi: CsiArgs,
    /// Let everybody do everything, whatever the configuration says about keys
    #[arg(long)]
    pub disable_auth: bool,
    /// Simulate the storage nodes: for trials and tests, nothing is stored
    #[arg(long)]
    pub simulated: bool,
    /// Simulated nodes in another process; without --simulated, too
    #[command(flatten)]
    pub elsewhere: ElsewhereArgs,
    /// What simulated nodes are like
    #[command(flatten)]
    pub simulated_args: SimulatedArgs,
    /// Speak as Heketi does
    #[arg(skip)]
    pub as_heketi: bool,
}

/// Runs until SIGTERM.
pub async fn run(args: ServeArgs, log: Log) -> anyhow::Result<()> {
    let flags = Flags {
        simulated: args.simulated || args.elsewhere.simulated_socket.is_some(),
        disable_auth: args.disable_auth,
        ..Flags::default()
    };
    let config = ServeConfig::load(args.config.as_deref(), flags)?;
    for key in &config.ignored {
        tracing::warn!(key, "this key of the configuration does nothing yet");
    }
    refuse_heketi_db(&args.data, config.heketi_db.as_deref())?;
    let address = listen_address(&args, &config)?;
    let simulated = config.transport.as_ref().is_some_and(|transport| transport.simulated.is_some());
    let mut like = args.simulated_args.clone();
    like.simulated_device_size = config.simulated_device_size.unwrap_or(like.simulated_device_size);
    let there = args.elsewhere.nodes(SENDER);
    // Both are read from disk, and have nothing to do with each other.
    let (embedded, here) = std::thread::scope(|scope| {
        let here = (simulated && there.is_none()).then(|| scope.spawn(|| open_sim(&args.data, &like)));
        let embedded = open_store(&args.data);
        (embedded, here.map(|here| here.join()))
    });
    let embedded = embedded?;
    let here = match here {
        Some(opened) => Some(opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?),
        None => None,
    };
    let nodes = there.or_else(|| here.clone().map(Into::into));
    let store = Store::new(embedded.client());
    let (caches, fill) = Caches::new(&store);
    let intent = Intent::new(store.clone(), caches.clone());
    if let Some(level) = config.log_level {
        log.set(level);
    }
    let ways = Ways::new(Transports::new(store.clone(), caches.clone(), nodes.clone()));
    // It is there before the caches are filled: it takes note of what comes.
    let router = heketi::router(intent.clone(), config.heketi_options(HOME_NAMESPACE, log, ways.examiner()));
    fill.await;
    let works = Works::over(store, caches, nodes, Permit::default(), LOOK_EVERY, Roster::none());
    begin_in(&intent, config.default_mode).await?;
    super::obey_usr2(intent.clone(), HOME_NAMESPACE.into())?;
    let tls = if args.tls.tls_cert.is_some() { &args.tls } else { &config.tls };
    let mut rest = Rest::start(&address, tls, router).await?;
    let mut csi = Csi::start(&args.csi, intent).await?;
    if let Some(probes) = &args.probes {
        let readiness = super::probes::serve(probes).await?;
        readiness.show(works.figures.clone());
        readiness.set_ready();
    }
    let kind = if simulated { " with SIMULATED nodes" } else { "" };
    if let Some(csi) = &csi {
        println!("bricklayer{kind} serves CSI on {}", csi.path);
    }
    if args.as_heketi {
        println!("{}", super::heketi::greeting(&rest.url));
    } else {
        println!("bricklayer{kind} listens on {}", rest.url);
    }
    tokio::select! {
        error = rest.ended() => return Err(error),
        error = Csi::ended(&mut csi) => return Err(error),
        ended = asked_to_end() => ended?,
        () = embedded.ended() => bail!("the store cannot be written any more, see the log: is the disk full or broken?"),
        ended = works.controllers => bail!("the controllers ended: {ended:?}"),
    }
    tokio::join!(rest.stop(), Csi::stop(csi));
    embedded.shutdown().await;
    if let Some(here) = here {
        here.settle().context("the state of the simulated nodes cannot be written")?;
    }
    Ok(())
}

/// A server that is started begins in the mode that it is told, whatever mode it had: so it is with Heketi, where
/// starting it again is a way out of read-only.
async fn begin_in(intent: &Intent, mode: Mode) -> anyhow::Result<()> {
    if mode::read(intent, HOME_NAMESPACE).await?.is_some_and(|had| had != mode) {
        mode::write(intent, HOME_NAMESPACE, mode).await?;
    }
    Ok(())
}

/// How the server calls itself to simulated nodes of another process.
const SENDER: &str = "serve";

/// How often nodes and devices are looked at when nothing changes.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Where to listen.
fn listen_address(args: &ServeArgs, config: &ServeConfig) -> anyhow::Result<String> {
    let of_config = config.port.map(|port| format!("0.0.0.0:{port}"));
    let address = args.listen.clone().or(of_config).unwrap_or_else(|| "127.0.0.1:8080".into());
    let give = "give jwt.admin.key and jwt.user.key in a --config file";
    rest::refuse_open(&address, config.auth.is_some(), args.disable_auth, give)?;
    Ok(address)
}

/// A database of Heketi in the place of our data, or where the configuration says it is, is never
/// touched and never ignored.
fn refuse_heketi_db(data: &Path, configured: Option<&Path>) -> anyhow::Result<()> {
    let ours = data.join("heketi.db");
    let found = [Some(data).filter(|data| data.is_file()), Some(ours.as_path()), configured];
    if let Some(found) = found.into_iter().flatten().find(|path| path.is_file()) {
        bail!(
            "{} is a Heketi database, and serving without what it knows would give its space away. It is not \
             imported yet: keep it, and go on with Heketi for those volumes; for a server of its own, use another \
             --data directory and take glusterfs.db out of the configuration",
            found.display()
        );
    }
    Ok(())
}

/// Opens the embedded store of a data directory.
pub fn open_store(data: &Path) -> anyhow::Result<Embedded> {
    refuse_heketi_db(data, None)?;
    std::fs::create_dir_all(data).with_context(|| format!("{} cannot be made", data.display()))?;
    let path = data.join("bricklayer.redb");
    Embedded::open(Options::new(&path), definitions())
        .with_context(|| format!("{} cannot be opened", path.display()))
}
