//! The client process of a volume: one a volume and node, mounted at the staging path. It is GlusterFS's
//! own, started by its program `mount.glusterfs`.

pub mod cgroup;
pub mod child;
pub mod home;
pub mod launch;
pub mod outside;
pub mod running;
pub mod silence;
pub mod words;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter};

use outside::Outside;

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
    /// What went wrong, without the name of a program before it.
    pub fn text(&self) -> &str {
        let (Self::Refused(text) | Self::NotStarted(text) | Self::Failed(text) | Self::Late(text)) = self;
        text
    }

    /// The client's log cannot be written.
    pub fn log(log: &Path, error: &io::Error) -> Self {
        Self::NotStarted(format!("the client's log {}: {error}", log.display()))
    }
}

/// How client processes are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// Outside of the plugin's container: in a systemd scope where the node's systemd makes one, else in a cgroup of their own.
    Auto,
    /// In a transient scope of the node's systemd.
    Systemd,
    /// In a cgroup of their own.
    Cgroup,
    /// As plain children: for orchestrators that do not put the plugin into a container.
    Plugin,
}

/// Starts client processes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    outside: Option<Arc<Outside>>,
}

impl Clients {
    /// Clients that are started in this way. The state directory keeps what they need besides; the
    /// kubelet's directory is where pods have their mounts.
    ///
    /// # Errors
    /// When clients cannot be started in this way here.
    pub async fn prepare(way: Way, state: &Path, kubelet: &Path) -> Result<Self, ClientError> {
        let outside = match way {
            Way::Plugin => None,
            way => Some(Arc::new(Outside::prepare(way, state, kubelet).await?)),
        };
        Ok(Self { outside })
    }

    /// Starts a client, and waits until the volume is mounted.
    ///
    /// # Errors
    /// When it is not. After [`ClientError::Late`] it may be all the same.
    pub async fn mount(&self, mount: &Mount) -> Result<(), ClientError> {
        let words = words::words(mount).map_err(ClientError::Refused)?;
        let Some(outside) = &self.outside else {
            return started(mount, OsStr::new(PROGRAM), &words).await;
        };
        let (outside, about) = (outside.clone(), mount.clone());
        let launch = tokio::task::spawn_blocking(move || outside.launch(&about));
        let launch = launch.await.map_err(|error| ClientError::NotStarted(error.to_string()))??;
        let all: Vec<OsString> = iter::once(PROGRAM.into()).chain(words).collect();
        let (program, words) = launch::words(&launch, &all);
        started(mount, &program, &words).await
    }
}

/// Runs the client's program to its end; servers that say nothing are given up meanwhile.
async fn started(mount: &Mount, program: &OsStr, words: &[OsString]) -> Result<(), ClientError> {
    tokio::select! {
        done = child::run(program, words, &mount.log, MOUNTING) => done,
        never = silence::given_up(&mount.at) => match never {},
    }
}
