//! The client process of a volume: one a volume and node, mounted at the staging path. It is GlusterFS's
//! own, started by its program `mount.glusterfs`.

pub mod child;
pub mod words;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program, as PATH finds it.
const PROGRAM: &str = "mount.glusterfs";
/// How long it may take until the volume is mounted: less than kubelet waits for a call, two minutes.
const MOUNTING: Duration = Duration::from_secs(60);

/// A volume that is to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The servers to ask for it, in order of preference.
    pub servers: Vec<String>,
    /// The volume as GlusterFS names it.
    pub volume: String,
    /// An empty directory.
    pub at: PathBuf,
    /// Mount options besides those that every client gets: `key` or `key=value`.
    pub options: Vec<String>,
    /// The file that the client writes its log to; its folder is made when it is not there.
    pub log: PathBuf,
}

/// Why a volume was not mounted. The texts are for whoever runs the node.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request itself cannot be given to the client.
    #[error("{0}")]
    Refused(String),
    /// The client's program could not be started.
    #[error("{0}")]
    NotStarted(String),
    /// The client's program gave up.
    #[error("mount.glusterfs: {0}")]
    Failed(String),
    /// It was ended for taking too long. What it did by then is unknown.
    #[error("mount.glusterfs: {0}")]
    Late(String),
}

impl ClientError {
    /// The client's log cannot be written.
    pub fn log(log: &Path, error: &io::Error) -> Self {
        Self::NotStarted(format!("the client's log {}: {error}", log.display()))
    }
}

/// How client processes are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// As plain children: for orchestrators that do not put the plugin into a container.
    Plugin,
}

/// Starts client processes.
#[derive(Clone, Debug)]
pub struct Clients {
    way: Way,
}

impl Clients {
    /// Clients that are started in this way.
    pub fn new(way: Way) -> Self {
        Self { way }
    }

    /// Starts a client, and waits until the volume is mounted.
    ///
    /// # Errors
    /// When it is not. After [`ClientError::Late`] it may be all the same.
    pub async fn mount(&self, mount: &Mount) -> Result<(), ClientError> {
        let words = words::words(mount).map_err(ClientError::Refused)?;
        match self.way {
            Way::Plugin => child::run(OsStr::new(PROGRAM), &words, &mount.log, MOUNTING).await,
        }
    }
}
