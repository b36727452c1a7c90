//! Putting everything together: the only room that sees all others.

pub mod audit;
pub mod config;
mod connection;
pub mod csi;
mod examine;
pub mod heketi;
mod lease;
pub mod metrics;
pub mod node;
pub mod operator;
mod probes;
pub mod rest;
pub mod simulate;
pub mod standalone;
pub mod telemetry;
mod tenure;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;

use crate::controllers::access::roster::Roster;
use crate::controllers::placing::Placing;
use crate::controllers::transports::{Simulated, Transports};
use crate::controllers::{self, Context};
use crate::executor::Permit;
use crate::executor::transport::sim::{Sim, SimOptions, SimSocket};
use crate::intent::Intent;
use crate::intent::mode::{self, Mode};
use crate::store::{Caches, Store, spawn_vital};
use crate::units::Bytes;
use metrics::Figures;

/// Where simulated nodes are kept, and what they are like.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulatedArgs {
    /// The size of each disk of simulated nodes
    #[arg(long, default_value_t = DISK, value_name = "SIZE", value_parser = parse_size)]
    pub simulated_device_size: Bytes,
    /// Write every command of simulated nodes to commands.log in their directory
    #[arg(long)]
    pub simulated_log: bool,
}

/// How large simulated disks are when nobody says: as those of Heketi's mock.
const DISK: Bytes = Bytes::from_gib(500);

impl Default for SimulatedArgs {
    fn default() -> Self {
        Self { simulated_device_size: DISK, simulated_log: false }
    }
}

/// Simulated nodes of another process.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ElsewhereArgs {
    /// Where `bricklayer simulate` serves simulated nodes: they are in that process then, not in this one
    #[arg(long, value_name = "SOCKET", group = "nodes")]
    pub simulated_socket: Option<PathBuf>,
}

impl ElsewhereArgs {
    /// The way to them, if there are any; `by` says who sends.
    fn nodes(&self, by: &str) -> Option<Simulated> {
        let socket = self.simulated_socket.as_ref()?;
        warn_of_simulated();
        Some(Simulated::There(SimSocket::new(socket, by)))
    }
}

fn parse_size(text: &str) -> Result<Bytes, String> {
    text.parse().map_err(|error: crate::units::ParseSizeError| error.to_string())
}

/// What works in a process: caches of all kinds, and the controllers over them.
pub struct Works {
    /// Reads and writes.
    pub store: Store,
    /// What was last seen.
    pub caches: Caches,
    /// Figures for whoever asks.
    pub figures: Figures,
    /// The controllers. They end only when the process does; whoever sees them end should end too.
    pub controllers: JoinHandle<()>,
}

impl Works {
    /// Starts everything over caches that have seen all that was written so far, as tasks of the runtime. Nodes are
    /// looked at every `look_every` when nothing changes. Simulated nodes are refused unless they are given. Nothing is
    /// sent to a node without the permit. The roster says who the nodes of the Kubernetes cluster are.
    pub fn over(
        store: Store,
        caches: Caches,
        sim: Option<impl Into<Simulated>>,
        permit: Permit,
        look_every: Duration,
        roster: Roster,
    ) -> Self {
        let (placing, work) = Placing::start(store.clone(), caches.clone());
        spawn_vital(work);
        let figures = Figures::new(caches.clone());
        let sim = sim.map(Into::into);
        let auditor = Transports::new(store.clone(), caches.clone(), sim.clone());
        let auditor = auditor.permitted(permit.clone());
        tokio::spawn(audit_now_and_then(store.clone(), auditor, figures.clone()));
        let transports = Transports::new(store.clone(), caches.clone(), sim).permitted(permit);
        let context = Context::new(store.clone(), caches.clone(), transports, placing, look_every);
        let context = context.among(roster);
        let controllers = tokio::spawn(controllers::run(Arc::new(context)));
        Self { store, caches, figures, controllers }
    }

    /// The way to ask for something.
    pub fn intent(&self) -> Intent {
        Intent::new(self.store.clone(), self.caches.clone())
    }
}

/// How often objects and nodes are compared.
const AUDIT_EVERY: Duration = Duration::from_secs(600);

/// Compares objects and nodes for as long as the process runs, and tells what does not agree. It
/// mends nothing: what nobody can explain is for a person to look at.
async fn audit_now_and_then(store: Store, transports: Transports, figures: Figures) {
    loop {
        tokio::time::sleep(AUDIT_EVERY).await;
        match controllers::audit::audit(&store, &transports).await {
            Ok(judged) => {
                figures.audited(judged.wrong.len());
                for wrong in judged.wrong.iter().take(100) {
                    tracing::warn!(wrong, "objects and nodes do not agree");
                }
            }
            Err(error) => tracing::warn!(%error, "the audit could not be done"),
        }
    }
}

/// Opens the simulated nodes of a data directory.
fn open_sim(data: &Path, args: &SimulatedArgs) -> anyhow::Result<Sim> {
    let options = SimOptions {
        device_size: args.simulated_device_size,
        log_commands: args.simulated_log,
        remembered: 0,
        ..SimOptions::new(data.join("simulated"))
    };
    let sim = Sim::open(options).context("the simulated nodes cannot be opened")?;
    warn_of_simulated();
    Ok(sim)
}

fn warn_of_simulated() {
    tracing::warn!("SIMULATED nodes: nothing is stored, for trials and tests only");
}

/// Leaves read-only mode at SIGUSR2, as Heketi does: the REST does not let anybody out of it.
fn obey_usr2(intent: Intent, namespace: String) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut usr2 = signal(SignalKind::user_defined2())?;
    tokio::spawn(async move {
        while usr2.recv().await.is_some() {
            match mode::write(&intent, &namespace, Mode::Normal).await {
                Ok(()) => tracing::info!("SIGUSR2: the server takes all requests again"),
                Err(error) => tracing::error!(%error, "SIGUSR2: the mode was not set"),
            }
        }
    });
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
async fn asked_to_end() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
