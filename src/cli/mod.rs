//! The client commands: `bricklayer volume create ...` and the like. They speak Heketi's REST over
//! HTTP, to our server or to Heketi itself.

mod cluster;
mod curl;
mod device;
mod error;
mod http;
mod node;
mod out;
mod probe;
mod server;
mod show;
#[cfg(test)]
mod tests;
mod topology;
#[cfg(test)]
mod verb_tests;
mod volume;
mod wire;

use std::{io::Write, process::ExitCode, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use error::CliError;
use http::Server;
pub use node::NodeCommand;
use out::Out;
use wire::{Cluster, Clusters, read};

/// The commands of the client. Mount them beside the server's with `#[command(flatten)]`.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Load a whole storage estate from a file, or show it
    Topology(Noun<TopologyCommand>),
    /// Create, show, change and delete clusters
    Cluster(Noun<cluster::ClusterCommand>),
    /// Add, show, change and remove nodes. `node` without a verb is another command, so the binary, which has both, makes this one of
    /// its words itself; the tests here have no other.
    #[cfg_attr(not(test), command(skip))]
    Node(Noun<NodeCommand>),
    /// Add, show, change and remove devices
    Device(Noun<device::DeviceCommand>),
    /// Create, show, expand and delete volumes
    Volume(Noun<VolumeCommand>),
    /// Show and change the server itself: what is under way, its mode, its log, what it knows
    Server(Noun<server::ServerCommand>),
    /// Ask until a server answers well
    Probe(probe::Probe),
}

/// A noun: its verbs, and where the server is.
#[derive(Debug, Args)]
pub struct Noun<C: Subcommand> {
    /// Where the server is, and how to print.
    #[command(flatten)]
    pub client: ClientArgs,
    /// The verb.
    #[command(subcommand)]
    pub command: C,
}

/// Where the server is, who asks, and how to print the answer.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server and output")]
pub struct ClientArgs {
    /// Address of the server; HEKETI_CLI_SERVER is read too [default: http://127.0.0.1:8080]
    #[arg(long, short, global = true, env = "BRICKLAYER_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// Heketi's own variable for the address, read when ours is not set.
    #[arg(long, hide = true, global = true, env = "HEKETI_CLI_SERVER", value_name = "URL")]
    pub heketi_cli_server: Option<String>,
    /// Who asks: admin or user [default: admin]
    #[arg(long, global = true, env = "HEKETI_CLI_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// The secret of the user, the server's jwt key; without one no token is sent
    #[arg(long, global = true, env = "HEKETI_CLI_KEY", hide_env_values = true, value_name = "SECRET")]
    pub secret: Option<Secret>,
    /// How to print: a table, or the server's JSON, also as YAML
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// Show it again and again until interrupted
    #[arg(long, global = true, conflicts_with_all = ["curl", "no_wait"])]
    pub watch: bool,
    /// How long --watch pauses
    #[arg(long, global = true, default_value = "2s", value_parser = duration, value_name = "TIME", requires = "watch")]
    pub every: Duration,
    /// Do not send the request: print it as a curl command. Its token is good for five minutes
    #[arg(long, global = true)]
    pub curl: bool,
    /// Do not wait for the end of what was begun: print where the server tells how far it is
    #[arg(long, global = true)]
    pub no_wait: bool,
    /// No colours on terminals either (no-color.org).
    #[arg(long, hide = true, global = true, env = "NO_COLOR", value_name = "ANY")]
    pub no_color: Option<String>,
    /// How long to wait for an operation to end, such as 90s or 15m
    #[arg(long, global = true, default_value = "15m", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
}

/// A secret. It never shows in debug output.
#[derive(Clone)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// The server's JSON
    Json,
    /// The server's JSON, as YAML
    Yaml,
}

/// What can be done with the whole estate.
#[derive(Debug, Subcommand)]
pub enum TopologyCommand {
    /// Create the clusters, nodes and devices of a file in Heketi's topology.json format
    ///
    /// What exists already is found, not made again and not changed: so the command can be
    /// repeated, after an error or after new nodes and devices were added to the file.
    #[command(after_help = LOAD_EXAMPLE)]
    Load {
        /// The file; see examples/topology.json
        #[arg(long, short, value_name = "FILE")]
        json: std::path::PathBuf,
    },
    /// Show all clusters with their nodes, devices and volumes
    Info,
}

const LOAD_EXAMPLE: &str = "\
Example:
  bricklayer topology load --json examples/topology.json

A file for one node with one disk (manage: the name we connect to; storage: its address for data):
  {\"clusters\": [{\"nodes\": [{
    \"node\": {\"hostnames\": {\"manage\": [\"node1\"], \"storage\": [\"10.0.0.1\"]}, \"zone\": 1},
    \"devices\": [\"/dev/sdb\"]
  }]}]}";

/// What can be done with volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Create a volume and wait until it can be mounted
    #[command(after_help = CREATE_EXAMPLES)]
    Create(volume::Create),
    /// Say where a volume would go, or why it has no place, and make nothing
    Plan(volume::Create),
    /// List the volumes
    List,
    /// Show a volume, and how to mount it
    Info {
        /// The id or the name of the volume
        #[arg(value_name = "ID|NAME", value_parser = id_or_name)]
        volume: String,
    },
    /// Add space to a volume and wait until clients have it
    #[command(after_help = EXPAND_EXAMPLE)]
    Expand(volume::Expand),
    /// Delete a volume and all its data
    Delete {
        /// The id or the name of the volume
        #[arg(value_name = "ID|NAME", value_parser = id_or_name)]
        volume: String,
    },
    /// Let a volume that hosts block volumes take no more of them
    Lock {
        /// The id or the name of the volume
        #[arg(value_name = "ID|NAME", value_parser = id_or_name)]
        volume: String,
    },
    /// Let a locked volume take block volumes again
    Unlock {
        /// The id or the name of the volume
        #[arg(value_name = "ID|NAME", value_parser = id_or_name)]
        volume: String,
    },
}

const CREATE_EXAMPLES: &str = "\
Examples:
  Three copies on three nodes (the default):
    bricklayer volume create --size 10
  Two copies, with an option of GlusterFS:
    bricklayer volume create --size 10 --name mydata --replica 2 --options 'performance.cache-size 64MB'
  One copy, for scratch data:
    bricklayer volume create --size 10 --durability none
  Two copies and an arbiter, each in a zone of its own:
    bricklayer volume create --size 10 --arbiter --zones strict

`bricklayer volume plan` takes the same words, and says where the bricks would go.";

const EXPAND_EXAMPLE: &str = "\
Example:
  bricklayer volume expand --volume mydata --expand-size 5

The volume gets new bricks beside those that it has. Clients see the space when the command ends; the data
that is there moves to the new bricks afterwards.";

/// Runs a command, prints its answer, and says how it ended: 0 done, 1 refused or failed, 2 wrong
/// usage, 3 the server cannot be reached.
pub fn run(command: &ClientCommand) -> ExitCode {
    let (mut stdout, mut err) = (std::io::stdout().lock(), std::io::stderr());
    let colours =
        command.client().is_none_or(|client| client.no_color.as_deref().unwrap_or_default().is_empty());
    ExitCode::from(run_to(command, &mut Out::terminal(&mut stdout, colours), &mut err, true))
}

fn run_to(command: &ClientCommand, out: &mut Out<'_>, err: &mut dyn Write, progress: bool) -> u8 {
    let watched = command.client().is_some_and(|client| client.watch);
    let result = if watched {
        watch(command, out, err)
    } else {
        execute(command, out, err, progress).and_then(|()| Ok(out.flush()?))
    };
    let error = match result {
        Ok(()) => return 0,
        Err(CliError::Instead(text)) => match writeln!(out, "{text}") {
            Ok(()) => return 0,
            Err(error) => CliError::Output(error),
        },
        Err(error) => error,
    };
    if error.is_closed_output() {
        return 0;
    }
    // Nobody is left to tell when the error stream is gone too.
    let _ = writeln!(err, "error: {error}");
    if let Some(hint) = error.hint() {
        let _ = writeln!(err, "hint: {hint}");
    }
    error.exit_code()
}

/// Shows the same thing again and again. What cannot be shown once is shown again later: a server may be starting.
fn watch(command: &ClientCommand, out: &mut Out<'_>, err: &mut dyn Write) -> Result<(), CliError> {
    if !command.only_shows() {
        return Err(CliError::Usage("--watch is for commands that only show something".into()));
    }
    let pause = command.client().map_or(Duration::from_secs(2), |client| client.every);
    loop {
        let mut shown = vec![];
        let done = execute(command, &mut out.beside(&mut shown), err, false);
        match done {
            Ok(()) => {}
            Err(error @ (CliError::Unreachable { .. } | CliError::Slow { .. })) => {
                writeln!(shown, "error: {error}").map_err(CliError::Output)?;
            }
            Err(error) => return Err(error),
        }
        out.frame(&shown)?;
        std::thread::sleep(pause);
    }
}

impl ClientCommand {
    /// Where the server is, for those that speak to one.
    fn client(&self) -> Option<&ClientArgs> {
        match self {
            Self::Topology(noun) => Some(&noun.client),
            Self::Cluster(noun) => Some(&noun.client),
            Self::Node(noun) => Some(&noun.client),
            Self::Device(noun) => Some(&noun.client),
            Self::Volume(noun) => Some(&noun.client),
            Self::Server(noun) => Some(&noun.client),
            Self::Probe(_) => None,
        }
    }

    /// Whether it changes nothing.
    fn only_shows(&self) -> bool {
        match self {
            Self::Topology(noun) => matches!(noun.command, TopologyCommand::Info),
            Self::Cluster(noun) => noun.command.only_shows(),
            Self::Node(noun) => noun.command.only_shows(),
            Self::Device(noun) => noun.command.only_shows(),
            Self::Volume(noun) => {
                matches!(
                    noun.command,
                    VolumeCommand::List | VolumeCommand::Info { .. } | VolumeCommand::Plan(_)
                )
            }
            Self::Server(noun) => noun.command.only_shows(),
            Self::Probe(_) => false,
        }
    }
}

fn execute(
    command: &ClientCommand,
    out: &mut Out<'_>,
    err: &mut dyn Write,
    progress: bool,
) -> Result<(), CliError> {
    let connect = |args: &ClientArgs| Ok::<_, CliError>((Server::new(args, progress)?, args.output));
    match command {
        ClientCommand::Topology(noun) => {
            let (server, format) = connect(&noun.client)?;
            match &noun.command {
                // One thing needs the other: each is waited for.
                TopologyCommand::Load { json } => topology::load(&server.waiting(), json, format, out, err),
                TopologyCommand::Info => topology::info(&server, format, out),
            }
        }
        ClientCommand::Cluster(noun) => {
            let (server, format) = connect(&noun.client)?;
            cluster::run(&noun.command, &server, format, out)
        }
        ClientCommand::Node(noun) => {
            let (server, format) = connect(&noun.client)?;
            node::run(&noun.command, &server, format, out)
        }
        ClientCommand::Device(noun) => {
            let (server, format) = connect(&noun.client)?;
            device::run(&noun.command, &server, format, out)
        }
        ClientCommand::Volume(noun) => {
            let (server, format) = connect(&noun.client)?;
            match &noun.command {
                VolumeCommand::Create(ask) => volume::create(&server, ask, format, out),
                VolumeCommand::Plan(ask) => volume::plan(&server, ask, format, out),
                VolumeCommand::List => volume::list(&server, format, out),
                VolumeCommand::Info { volume } => volume::info(&server, volume, format, out),
                VolumeCommand::Expand(ask) => volume::expand(&server, ask, format, out),
                VolumeCommand::Delete { volume } => volume::delete(&server, volume, format, out),
                VolumeCommand::Lock { volume } => volume::restrict(&server, volume, true, format, out),
                VolumeCommand::Unlock { volume } => volume::restrict(&server, volume, false, format, out),
            }
        }
        ClientCommand::Server(noun) => {
            let (server, format) = connect(&noun.client)?;
            server::run(&noun.command, &server, format, out)
        }
        ClientCommand::Probe(probe) => probe::run(probe, out),
    }
}

fn clusters(server: &Server) -> Result<Vec<String>, CliError> {
    let what = "the list of clusters";
    let list: Clusters = read(what, &server.get(what, "/clusters")?)?;
    Ok(list.clusters)
}

fn cluster(server: &Server, id: &str) -> Result<Cluster, CliError> {
    let what = format!("cluster {id}");
    read(&what, &server.get(&what, &format!("/clusters/{id}"))?)
}

/// An id as it may stand in a path.
fn id(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.into());
    }
    Err("an id has only the digits 0-9 and a-f".into())
}

fn id_or_name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(text.into());
    }
    Err("a volume's name has only letters, digits, _ and -".into())
}

/// A tag: `key=value`.
fn tag(text: &str) -> Result<(String, String), String> {
    let bad = || format!("{text:?} is no tag: write key=value, with letters, digits, _ . and - in the key");
    let (key, value) = text.split_once('=').ok_or_else(bad)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if key.is_empty() || !key.bytes().all(allowed) {
        return Err(bad());
    }
    Ok((key.into(), value.into()))
}

/// A change of tags: `key=value` sets one, `key-` takes it away.
fn tag_change(text: &str) -> Result<(String, Option<String>), String> {
    match text.strip_suffix('-').filter(|_| !text.contains('=')) {
        Some(key) => tag(&format!("{key}=")).map(|(key, _)| (key, None)),
        None => tag(text).map(|(key, value)| (key, Some(value))),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time: write a number with s, m or h, such as 90s");
    let (number, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let number: u32 = number.parse().map_err(|_| bad())?;
    Ok(Duration::from_secs(u64::from(number) * factor))
}
