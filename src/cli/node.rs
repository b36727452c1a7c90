//! Commands about nodes.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use ureq::http::Method;

use super::out::Out;
use super::wire::{Node, read};
use super::{CliError, Format, Server, cluster, clusters, id, show, tag, tag_change};

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
    /// Add a node to a cluster and wait until it is part of it
    #[command(after_help = ADD_EXAMPLE)]
    Add(Add),
    /// Let a node take bricks again
    Enable(Which),
    /// Let a node take no new bricks; those that it has stay in use
    Disable(Which),
    /// Move all bricks of a node elsewhere and give it up; disable it first
    Remove(Leaves),
    /// Set or take away tags: `key=value` sets one, `key-` takes it away
    Tag(Tags),
    /// Delete a node that has no devices
    Delete(Which),
}

const ADD_EXAMPLE: &str = "\
Example:
  bricklayer node add --cluster 4c0f... --zone 1 --manage node1.example.com --storage 10.0.0.1";

/// A new node.
#[derive(Debug, Args)]
pub struct Add {
    /// The id of its cluster
    #[arg(long, value_name = "ID", value_parser = id)]
    pub cluster: String,
    /// Its failure zone
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(1..))]
    pub zone: i32,
    /// Where commands are sent
    #[arg(long, value_name = "HOST")]
    pub manage: String,
    /// What peers and clients use
    #[arg(long, value_name = "HOST")]
    pub storage: String,
    /// Marks for choosing devices
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE,...", value_parser = tag)]
    pub tags: Vec<(String, String)>,
}

/// One node or device.
#[derive(Debug, Args)]
pub struct Which {
    /// Its id
    #[arg(value_parser = id)]
    pub id: String,
}

/// A node or device that is given up.
#[derive(Debug, Args)]
pub struct Leaves {
    /// Its id
    #[arg(value_parser = id)]
    pub id: String,
    /// Exchange bricks whatever is still to be healed: DATA CAN BE LOST
    #[arg(long)]
    pub no_heal_check: bool,
}

/// Changes of tags.
#[derive(Debug, Args)]
pub struct Tags {
    /// Its id
    #[arg(value_parser = id)]
    pub id: String,
    /// `key=value` or `key-`
    #[arg(required = true, value_name = "KEY=VALUE|KEY-", value_parser = tag_change)]
    pub changes: Vec<(String, Option<String>)>,
}

impl NodeCommand {
    /// Whether it changes nothing.
    pub(super) fn only_shows(&self) -> bool {
        matches!(self, Self::List | Self::Info { .. })
    }
}

pub(super) fn run(
    command: &NodeCommand,
    server: &Server,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    match command {
        NodeCommand::List => list(server, format, out),
        NodeCommand::Info { id } => info(server, id, format, out),
        NodeCommand::Add(add) => {
            let what = format!("add node {}", add.manage);
            let body = json!({
                "cluster": add.cluster,
                "zone": add.zone,
                "hostnames": {"manage": [add.manage], "storage": [add.storage]},
                "tags": tag_map(&add.tags),
            });
            let made = server.operate(&what, &Method::POST, "/nodes", Some(&body))?;
            let made = made.ok_or_else(|| CliError::Strange {
                what: what.clone(),
                cause: "no node came of it".into(),
            })?;
            show::answer(&what, &made, format, out, show::node)
        }
        NodeCommand::Enable(which) => state(server, "node", &which.id, "online", false, format, out),
        NodeCommand::Disable(which) => state(server, "node", &which.id, "offline", false, format, out),
        NodeCommand::Remove(leaves) => {
            state(server, "node", &leaves.id, "failed", leaves.no_heal_check, format, out)
        }
        NodeCommand::Tag(tags) => retag(server, "node", tags, format, out),
        NodeCommand::Delete(Which { id }) => {
            server.operate(&format!("delete node {id}"), &Method::DELETE, &format!("/nodes/{id}"), None)?;
            show::changed("deleted", &format!("Deleted node {id}"), id, format, out)
        }
    }
}

fn list(server: &Server, format: Format, out: &mut Out<'_>) -> Result<(), CliError> {
    let mut nodes: Vec<Value> = vec![];
    for id in clusters(server)? {
        for node in cluster(server, &id)?.nodes {
            nodes.push(server.get(&format!("node {node}"), &format!("/nodes/{node}"))?);
        }
    }
    if format != Format::Table {
        return show::value(&json!({ "nodes": nodes }), format, out);
    }
    let nodes = nodes.iter().map(|node| read("a node", node));
    show::nodes(&nodes.collect::<Result<Vec<Node>, _>>()?, out)
}

fn info(server: &Server, id: &str, format: Format, out: &mut Out<'_>) -> Result<(), CliError> {
    let what = format!("node {id}");
    let answer = server.get(&what, &format!("/nodes/{id}"))?;
    show::answer(&what, &answer, format, out, show::node)
}

/// Tags as a request has them.
pub(super) fn tag_map(tags: &[(String, String)]) -> BTreeMap<&str, &str> {
    tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// Sets the state of a node or device and waits for what comes of it.
pub(super) fn state(
    server: &Server,
    noun: &str,
    id: &str,
    state: &str,
    no_heal_check: bool,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let (doing, done) = match state {
        "online" => ("enable", "takes bricks"),
        "offline" => ("disable", "takes no new bricks"),
        _ => ("remove", "has no bricks any more, and can be deleted"),
    };
    let body = match no_heal_check {
        true => json!({"state": state, "healcheck": "disable"}),
        false => json!({"state": state}),
    };
    let path = format!("/{noun}s/{id}/state");
    server.operate(&format!("{doing} {noun} {id}"), &Method::POST, &path, Some(&body))?;
    let noun = noun[..1].to_uppercase() + &noun[1..];
    show::changed("id", &format!("{noun} {id} {done}"), id, format, out)
}

/// Changes the tags of a node or device, and shows those that it has then.
pub(super) fn retag(
    server: &Server,
    noun: &str,
    tags: &Tags,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let (id, what) = (&tags.id, format!("tag {noun} {}", tags.id));
    let path = format!("/{noun}s/{id}/tags");
    let (mut set, mut gone) = (serde_json::Map::new(), serde_json::Map::new());
    for (key, value) in &tags.changes {
        match value {
            Some(value) => drop(set.insert(key.clone(), json!(value))),
            None => drop(gone.insert(key.clone(), json!(""))),
        }
    }
    let mut left = Value::Null;
    let mut printed = vec![];
    for (kind, tags) in [("delete", gone), ("update", set)].into_iter().filter(|(_, tags)| !tags.is_empty()) {
        match server.post(&what, &path, &json!({"change_type": kind, "tags": tags})) {
            Err(CliError::Instead(request)) => printed.push(request),
            answer => left = answer?,
        }
    }
    if !printed.is_empty() {
        return Err(CliError::Instead(printed.join("\n")));
    }
    show::answer(&what, &left, format, out, show::tags_of)
}
