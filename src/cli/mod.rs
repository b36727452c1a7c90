//! The client commands: `bricklayer volume create ...` and the like. They speak Heketi's REST over
//! HTTP, to our server or to Heketi itself.

mod error;
mod http;
mod probe;
mod show;
#[cfg(test)]
mod tests;
mod topology;
mod volume;
mod wire;

use std::{io::Write, process::ExitCode, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use error::CliError;
use http::Server;
use wire::{Cluster, Clusters, Device, Node, read};

/// The commands of the client. Mount them beside the server's with `#[command(flatten)]`.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Load a whole storage estate from a file, or show it
    Topology(Noun<TopologyCommand>),
    /// Show clusters
    Cluster(Noun<ClusterCommand>),
    /// Show nodes. `node` without a verb is another command, so the binary, which has both, makes this one of
    /// its words itself; the tests here have no other.
    #[cfg_attr(not(test), command(skip))]
    Node(Noun<NodeCommand>),
    /// Show devices
    Device(Noun<DeviceCommand>),
    /// Create, show, expand and delete volumes
    Volume(Noun<VolumeCommand>),
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
    /// How to print: a table, or the server's JSON
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub output: Format,
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

/// What can be done with clusters.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// List the clusters
    List,
    /// Show a cluster
    Info {
        /// The id of the cluster; `bricklayer cluster list` shows it
        #[arg(value_parser = id)]
        id: String,
    },
}

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes of all clusters
    List,
    /// Show a node and its devices
    Info {
        /// The id of the node; `bricklayer node list` shows it
        #[arg(value_parser = id)]
        id: String,
    },
}

/// What can be done with devices.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Show a device and its bricks
    Info {
        /// The id of the device; `bricklayer node info` and `topology info` show it
        #[arg(value_parser = id)]
        id: String,
    },
}

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
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr());
    ExitCode::from(run_to(command, &mut out, &mut err, true))
}

fn run_to(command: &ClientCommand, out: &mut dyn Write, err: &mut dyn Write, progress: bool) -> u8 {
    let result = execute(command, out, err, progress).and_then(|()| Ok(out.flush()?));
    let Err(error) = result else { return 0 };
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

fn execute(
    command: &ClientCommand,
    out: &mut dyn Write,
    err: &mut dyn Write,
    progress: bool,
) -> Result<(), CliError> {
    let connect = |args: &ClientArgs| Ok::<_, CliError>((Server::new(args, progress)?, args.output));
    match command {
        ClientCommand::Topology(noun) => {
            let (server, format) = connect(&noun.client)?;
            match &noun.command {
                TopologyCommand::Load { json } => topology::load(&server, json, format, out, err),
                TopologyCommand::Info => topology::info(&server, format, out),
            }
        }
        ClientCommand::Cluster(noun) => {
            let (server, format) = connect(&noun.client)?;
            match &noun.command {
                ClusterCommand::List => cluster_list(&server, format, out),
                ClusterCommand::Info { id } => cluster_info(&server, id, format, out),
            }
        }
        ClientCommand::Node(noun) => {
            let (server, format) = connect(&noun.client)?;
            match &noun.command {
                NodeCommand::List => node_list(&server, format, out),
                NodeCommand::Info { id } => node_info(&server, id, format, out),
            }
        }
        ClientCommand::Device(noun) => {
            let (server, format) = connect(&noun.client)?;
            let DeviceCommand::Info { id } = &noun.command;
            device_info(&server, id, format, out)
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
            }
        }
        ClientCommand::Probe(probe) => probe::run(probe, out),
    }
}

fn cluster_list(server: &Server, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let answer = server.get("the list of clusters", "/clusters")?;
    if format == Format::Json {
        return show::json(&answer, out);
    }
    let list: Clusters = read("the list of clusters", &answer)?;
    let clusters = list.clusters.iter().map(|id| cluster(server, id));
    show::clusters(&clusters.collect::<Result<Vec<_>, _>>()?, out)
}

fn cluster_info(server: &Server, id: &str, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let what = format!("cluster {id}");
    let answer = server.get(&what, &format!("/clusters/{id}"))?;
    match format {
        Format::Json => show::json(&answer, out),
        Format::Table => show::cluster(&read(&what, &answer)?, out),
    }
}

fn node_list(server: &Server, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let mut nodes: Vec<Value> = vec![];
    for id in clusters(server)? {
        for node in cluster(server, &id)?.nodes {
            nodes.push(server.get(&format!("node {node}"), &format!("/nodes/{node}"))?);
        }
    }
    if format == Format::Json {
        return show::json(&json!({ "nodes": nodes }), out);
    }
    let nodes = nodes.iter().map(|node| read("a node", node));
    show::nodes(&nodes.collect::<Result<Vec<Node>, _>>()?, out)
}

fn node_info(server: &Server, id: &str, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let what = format!("node {id}");
    let answer = server.get(&what, &format!("/nodes/{id}"))?;
    match format {
        Format::Json => show::json(&answer, out),
        Format::Table => show::node(&read(&what, &answer)?, out),
    }
}

fn device_info(server: &Server, id: &str, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let what = format!("device {id}");
    let answer = server.get(&what, &format!("/devices/{id}"))?;
    match format {
        Format::Json => show::json(&answer, out),
        Format::Table => show::device(&read::<Device>(&what, &answer)?, out),
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
