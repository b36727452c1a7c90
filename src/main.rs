//! The binary: reads the command line and calls the library.

use std::process::ExitCode;

use bricklayer::cli::{self, ClientCommand, Noun};
use bricklayer::csi::node::repair::rebind;
use bricklayer::resources;
use bricklayer::serve::{audit, heketi, node, operator, simulate, standalone, telemetry};
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// A third of the time went into the C library's: threads free what others have allocated here all the time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// GlusterFS volumes for Kubernetes, and a drop-in Heketi server
#[derive(Parser)]
#[command(version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve on one machine, with an embedded store: Heketi's REST and all controllers
    Serve(standalone::ServeArgs),
    /// Serve a Kubernetes cluster: controllers, provisioner, Heketi's REST
    Operator(operator::OperatorArgs),
    /// Simulate storage nodes in a process of their own, for serve or several replicas of the operator:
    /// for trials and tests
    Simulate(simulate::SimulateArgs),
    /// Mount volumes on the machine it runs on, for kubelet or another orchestrator that speaks CSI; with
    /// a verb, show nodes
    Node(NodeWords),
    #[command(hide = true)]
    Rebind(rebind::RebindArgs),
    /// Print the custom resource definitions as YAML
    Crds,
    /// Print what makes a shell complete our commands
    #[command(after_help = COMPLETION)]
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Check that objects and nodes agree
    Audit(audit::AuditArgs),
    #[command(flatten)]
    Client(ClientCommand),
}

const COMPLETION: &str = "\
Examples:
  source <(bricklayer completion bash)
  bricklayer completion zsh >~/.zfunc/_bricklayer
  bricklayer completion fish >~/.config/fish/completions/bricklayer.fish";

/// `bricklayer node` is the node plugin; `bricklayer node list` and `info` ask a server.
#[derive(Args)]
#[command(subcommand_negates_reqs = true)]
struct NodeWords {
    #[command(flatten)]
    plugin: node::NodeArgs,
    #[command(flatten)]
    client: cli::ClientArgs,
    #[command(subcommand)]
    show: Option<cli::NodeCommand>,
}

fn main() -> ExitCode {
    match begun() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begun() -> anyhow::Result<ExitCode> {
    if !heketi::is_meant() {
        return run(Arguments::parse().command);
    }
    match heketi::arguments()? {
        Some(args) => run(Command::Serve(args)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Client(command) => return Ok(cli::run(&command)),
        Command::Node(NodeWords { show: Some(command), client, .. }) => {
            return Ok(cli::run(&ClientCommand::Node(Noun { client, command })));
        }
        // It may have no other threads, so it ends before there are any.
        Command::Rebind(args) => {
            rebind::run(&args)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Crds => {
            for definition in resources::definitions() {
                print!("---\n{}", serde_yaml::to_string(&definition)?);
            }
            return Ok(ExitCode::SUCCESS);
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "bricklayer", &mut std::io::stdout());
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let log = telemetry::start();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().map_err(|_| anyhow::anyhow!("TLS was set up twice"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        match command {
            Command::Serve(args) => standalone::run(args, log).await?,
            Command::Operator(args) => operator::run(args, log).await?,
            Command::Simulate(args) => simulate::run(args).await?,
            Command::Node(args) => node::run(args.plugin).await?,
            Command::Audit(args) => {
                let agree = audit::run(args).await?;
                return Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Command::Client(_) | Command::Rebind(_) | Command::Crds | Command::Completion { .. } => {}
        }
        Ok(ExitCode::SUCCESS)
    });
    // A thread that looks at a mount which hangs is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended
}
