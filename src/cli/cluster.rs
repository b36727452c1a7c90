//! Commands about clusters.

use clap::{ArgAction, Subcommand};
use serde_json::json;

use super::out::Out;
use super::wire::{Cluster, Clusters, read};
use super::{CliError, Format, Server, cluster, id, show};

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
    /// Create a cluster without nodes
    Create(Kinds),
    /// Change which kinds of volumes a cluster takes
    Set {
        /// The id of the cluster
        #[arg(value_parser = id)]
        id: String,
        /// The kinds
        #[command(flatten)]
        kinds: Kinds,
    },
    /// Delete a cluster that has neither nodes nor volumes
    Delete {
        /// The id of the cluster
        #[arg(value_parser = id)]
        id: String,
    },
}

/// Which kinds of volumes a cluster takes.
#[derive(Debug, clap::Args)]
pub struct Kinds {
    /// Whether it takes file volumes
    #[arg(long, action = ArgAction::Set, default_value_t = true, value_name = "true|false")]
    pub file: bool,
    /// Whether it takes volumes that host block volumes
    #[arg(long, action = ArgAction::Set, default_value_t = true, value_name = "true|false")]
    pub block: bool,
}

impl ClusterCommand {
    /// Whether it changes nothing.
    pub(super) fn only_shows(&self) -> bool {
        matches!(self, Self::List | Self::Info { .. })
    }
}

pub(super) fn run(
    command: &ClusterCommand,
    server: &Server,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    match command {
        ClusterCommand::List => list(server, format, out),
        ClusterCommand::Info { id } => {
            let what = format!("cluster {id}");
            let answer = server.get(&what, &format!("/clusters/{id}"))?;
            show::answer(&what, &answer, format, out, show::cluster)
        }
        ClusterCommand::Create(kinds) => {
            let what = "create a cluster";
            let made = server.post(what, "/clusters", &json!({"file": kinds.file, "block": kinds.block}))?;
            show::answer(what, &made, format, out, |made: &Cluster, out| {
                show::done(&format!("Created cluster {}", made.id), out)
            })
        }
        ClusterCommand::Set { id, kinds } => {
            let body = json!({"file": kinds.file, "block": kinds.block});
            server.change(&format!("change cluster {id}"), &format!("/clusters/{id}/flags"), &body)?;
            run(&ClusterCommand::Info { id: id.clone() }, server, format, out)
        }
        ClusterCommand::Delete { id } => {
            server.delete(&format!("delete cluster {id}"), &format!("/clusters/{id}"))?;
            show::changed("deleted", &format!("Deleted cluster {id}"), id, format, out)
        }
    }
}

fn list(server: &Server, format: Format, out: &mut Out<'_>) -> Result<(), CliError> {
    let answer = server.get("the list of clusters", "/clusters")?;
    if format != Format::Table {
        return show::value(&answer, format, out);
    }
    let list: Clusters = read("the list of clusters", &answer)?;
    let clusters = list.clusters.iter().map(|id| cluster(server, id));
    show::clusters(&clusters.collect::<Result<Vec<_>, _>>()?, out)
}
