//! Commands about devices.

use clap::{Args, Subcommand};
use serde_json::json;
use ureq::http::Method;

use super::node::{Leaves, Tags, Which, retag, state, tag_map};
use super::out::Out;
use super::{CliError, Format, Server, id, show, tag};

/// What can be done with devices.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Show a device and its bricks
    Info {
        /// The id of the device; `bricklayer node info` and `topology info` show it
        #[arg(value_parser = id)]
        id: String,
    },
    /// Add a disk of a node, and wait until it takes bricks
    #[command(after_help = ADD_EXAMPLE)]
    Add(Add),
    /// Let a device take bricks again
    Enable(Which),
    /// Let a device take no new bricks; those that it has stay in use
    Disable(Which),
    /// Move all bricks of a device elsewhere and give it up; disable it first
    Remove(Leaves),
    /// Ask the node how large a device is
    Resync(Which),
    /// Set or take away tags: `key=value` sets one, `key-` takes it away
    Tag(Tags),
    /// Delete a device that was removed
    Delete(Gone),
}

const ADD_EXAMPLE: &str = "\
Example:
  bricklayer device add --node 7d91... --path /dev/sdb

A disk with something on it is refused. --destroy-data destroys that, unless another device uses it.";

/// A new device.
#[derive(Debug, Args)]
pub struct Add {
    /// The id of its node
    #[arg(long, value_name = "ID", value_parser = id)]
    pub node: String,
    /// Its path on the node, such as /dev/sdb
    #[arg(long)]
    pub path: String,
    /// Marks for choosing devices
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE,...", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// Destroy what is found on the disk
    #[arg(long)]
    pub destroy_data: bool,
}

/// A device that goes.
#[derive(Debug, Args)]
pub struct Gone {
    /// Its id
    #[arg(value_parser = id)]
    pub id: String,
    /// Forget it although its node cannot clean it, and what is left of replaced bricks on it
    #[arg(long)]
    pub force_forget: bool,
}

impl DeviceCommand {
    /// Whether it changes nothing.
    pub(super) fn only_shows(&self) -> bool {
        matches!(self, Self::Info { .. })
    }
}

pub(super) fn run(
    command: &DeviceCommand,
    server: &Server,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    match command {
        DeviceCommand::Info { id } => {
            let what = format!("device {id}");
            let answer = server.get(&what, &format!("/devices/{id}"))?;
            show::answer(&what, &answer, format, out, show::device)
        }
        DeviceCommand::Add(add) => {
            let what = format!("add device {} of node {}", add.path, add.node);
            let body = json!({
                "node": add.node,
                "name": add.path,
                "tags": tag_map(&add.tags),
                "destroydata": add.destroy_data,
            });
            server.operate(&what, &Method::POST, "/devices", Some(&body))?;
            show::changed(
                "added",
                &format!("Added device {} to node {}", add.path, add.node),
                &add.path,
                format,
                out,
            )
        }
        DeviceCommand::Enable(which) => state(server, "device", &which.id, "online", false, format, out),
        DeviceCommand::Disable(which) => state(server, "device", &which.id, "offline", false, format, out),
        DeviceCommand::Remove(leaves) => {
            state(server, "device", &leaves.id, "failed", leaves.no_heal_check, format, out)
        }
        DeviceCommand::Resync(Which { id }) => {
            let path = format!("/devices/{id}/resync");
            server.operate(&format!("resync device {id}"), &Method::GET, &path, None)?;
            run(&DeviceCommand::Info { id: id.clone() }, server, format, out)
        }
        DeviceCommand::Tag(tags) => retag(server, "device", tags, format, out),
        DeviceCommand::Delete(Gone { id, force_forget }) => {
            let body = force_forget.then(|| json!({"forceforget": true}));
            let path = format!("/devices/{id}");
            server.operate(&format!("delete device {id}"), &Method::DELETE, &path, body.as_ref())?;
            show::changed("deleted", &format!("Deleted device {id}"), id, format, out)
        }
    }
}
