//! What is measured: how it is started, and what its figures are called.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::fixture::{BINARY, Server, command};

/// Volumes beyond which the original is filled by copies, and its creates are measured with one client only: a round of
/// 64 takes minutes there.
const SLOW: usize = 1000;

/// Where the original keeps everything.
pub const DATABASE: &str = "heketi.db";

/// A server under the measurements.
pub enum Subject {
    /// Ours, with simulated nodes in its process: as the original has its own.
    Bricklayer,
    /// Ours, with simulated nodes in another process: what it needs without their state.
    Alone,
    /// The original, from this binary.
    Heketi(PathBuf),
}

impl Subject {
    /// What its figure of something is called.
    pub fn figure(&self, what: &str, of: &str) -> String {
        match self {
            Self::Bricklayer => format!("{what}_{of}"),
            Self::Alone => format!("{what}_alone_{of}"),
            Self::Heketi(_) => format!("heketi_{what}_{of}"),
        }
    }

    /// Clients, and creates in a round, at a number of volumes.
    pub fn creates(&self, volumes: usize) -> &'static [(usize, usize)] {
        match self {
            Self::Bricklayer => &[(1, 300), (8, 1000), (64, 2000)],
            Self::Heketi(_) if volumes <= SLOW => &[(1, 60), (8, 120), (64, 192)],
            Self::Heketi(_) => &[(1, 60)],
            Self::Alone => &[],
        }
    }

    /// Whether reads are measured.
    pub fn is_read(&self) -> bool {
        !matches!(self, Self::Alone)
    }

    /// With how many clients it is filled fastest: those of the original hold each other up.
    pub fn fillers(&self) -> usize {
        match self {
            Self::Bricklayer | Self::Alone => 32,
            Self::Heketi(_) => 1,
        }
    }

    /// Whose commands fill it to that many volumes with copies, while it does not run.
    pub fn copied_by(&self, volumes: usize) -> Option<PathBuf> {
        match self {
            Self::Heketi(binary) if volumes > SLOW => Some(binary.clone()),
            _ => None,
        }
    }

    /// Starts the nodes that it needs beside it.
    pub fn nodes(&self, folder: &Path) -> Option<Server> {
        let Self::Alone = self else { return None };
        let mut simulate = Command::new(BINARY);
        simulate.args(["simulate", "--data"]).arg(folder.join("nodes"));
        simulate.arg("--socket").arg(socket(folder));
        let mut nodes = Server::spawn(simulate, &folder.join("nodes.log"));
        nodes.wait_for_output("simulates nodes", 30);
        Some(nodes)
    }

    /// Starts the server. Everything of it is kept in the folder, and found there when it starts again.
    pub fn serve(&self, folder: &Path, address: &str) -> Server {
        let config = folder.join("heketi.json");
        // A file for both: the original says on each start what it thinks, and that is not to be measured.
        let text = json!({
            "port": address.rsplit(':').next(),
            "use_auth": false,
            "glusterfs": {
                "executor": "mock",
                "db": folder.join(DATABASE),
                "loglevel": "warning",
                "max_volumes_per_cluster": -1,
                "max_inflight_operations": 64,
            },
        });
        std::fs::write(&config, text.to_string()).unwrap();
        let mut serve = match self {
            Self::Heketi(binary) => command(None, binary),
            Self::Bricklayer | Self::Alone => {
                let mut serve = command(None, BINARY);
                serve.args(["serve", "--listen", address, "--data"]).arg(folder.join("data"));
                serve
            }
        };
        serve.arg("--disable-auth").arg("--config").arg(config);
        if let Self::Alone = self {
            serve.arg("--simulated-socket").arg(socket(folder));
        }
        Server::spawn(serve, &folder.join("serve.log"))
    }
}

/// Where nodes of another process are reached.
fn socket(folder: &Path) -> PathBuf {
    folder.join("nodes.sock")
}
