//! Starting clients so that they outlive the plugin's container: `docs/decisions/0003-clients-outlive-the-plugin.md`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::launch::{self, Launch, Scope};
use super::{ClientError, Mount, Way, cgroup, child, home};
use crate::csi::node::mounts::Table;
use crate::csi::node::record;

/// How long systemd may take to make a scope, when it is asked whether it does.
const PROBE: Duration = Duration::from_secs(10);
/// The root directory of the node's first process: the node's.
const NODES_ROOT: &str = "/proc/1/root";

/// How clients are started outside.
#[derive(Debug)]
pub struct Outside {
    in_scope: bool,
    /// Where the node's root directory is seen.
    root: PathBuf,
    usr: Option<PathBuf>,
    pods: Option<PathBuf>,
}

impl Outside {
    /// Finds out how, and copies the client's files if they would go with the container.
    ///
    /// # Errors
    /// When this process cannot see the node's processes, when systemd is wanted and does not answer,
    /// or when the files cannot be copied.
    pub async fn prepare(way: Way, state: &Path, kubelet: &Path) -> Result<Self, ClientError> {
        if std::process::id() == 1 {
            let why =
                "a client cannot outlive this container, which has pids of its own: hostPID: true is needed";
            return Err(ClientError::NotStarted(why.to_owned()));
        }
        let in_scope = match way {
            Way::Cgroup => false,
            Way::Systemd => probe(state).await.map(|()| true)?,
            Way::Auto | Way::Plugin => {
                let answer = probe(state).await;
                if let Err(error) = &answer {
                    tracing::info!(%error, "no scopes of systemd here: clients get a cgroup of their own");
                }
                answer.is_ok()
            }
        };
        let (state, pods) = (state.to_owned(), kubelet.join("pods"));
        let prepared = tokio::task::spawn_blocking(move || {
            let root = nodes_root()?;
            let usr = own_files(&root, &state)?;
            let pods = Table::read()?.top(&pods).is_some().then_some(pods);
            Ok::<_, io::Error>(Self { in_scope, root, usr, pods })
        });
        let failed = |error: io::Error| ClientError::NotStarted(format!("the client's files: {error}"));
        prepared.await.map_err(io::Error::other).flatten().map_err(failed)
    }

    /// How the client of a volume is started. Makes the cgroups that it goes to; touches no mount of a volume.
    ///
    /// # Errors
    /// When nobody but the client would see its mount, or when a cgroup cannot be made.
    pub fn launch(&self, mount: &Mount) -> Result<Launch, ClientError> {
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|error| ClientError::NotStarted(format!("{path}: {error}")))
        };
        if !launch::is_shared(&read("/proc/self/mountinfo")?, &mount.at) {
            return Err(ClientError::Refused(format!(
                "{} is on a mount that is not shared, so that pods would not see the client's: \
                 kubelet's directory has to be mounted with mountPropagation: Bidirectional",
                mount.at.display()
            )));
        }
        let table = if self.root == Path::new("/") { "/proc/self/mountinfo" } else { "/proc/1/mountinfo" };
        let all = cgroup::hierarchies(&read("/proc/self/cgroup")?, &read(table)?, &self.root);
        let mut procs = Vec::new();
        // Systemd moves a process only in the hierarchies that it keeps itself: with the first version of
        // cgroups that is not all of them, and kubelet looks into each.
        for hierarchy in all.iter().filter(|one| !(self.in_scope && one.is_of_systemd)) {
            let made = make(hierarchy);
            procs.push(
                made.map_err(|error| ClientError::NotStarted(format!("a cgroup for clients: {error}")))?,
            );
        }
        let scope = self.in_scope.then(|| scope(mount));
        Ok(Launch { procs, scope, usr: self.usr.clone(), pods: self.pods.clone() })
    }
}

/// The scope of a client: one name is never used twice, as the one before may not be gone yet.
fn scope(mount: &Mount) -> Scope {
    let (key, unique) = (record::key(&mount.at), uuid::Uuid::new_v4().simple().to_string());
    Scope {
        unit: format!("bricklayer-client-{}-{}", &key[..12], &unique[..12]),
        description: format!("GlusterFS volume {} at {}", mount.volume, mount.at.display()),
    }
}

/// Asks systemd for a scope.
async fn probe(state: &Path) -> Result<(), ClientError> {
    let words = ["--scope", "--quiet", "--collect", "--", "true"].map(Into::into);
    child::run(OsStr::new("systemd-run"), &words, &state.join("helpers.log"), PROBE).await
}

/// Where the node's root directory is seen: in a container, through the node's first process. Some
/// first processes let nobody look; whoever is in a privileged container may all the same, so then it is ours.
fn nodes_root() -> io::Result<PathBuf> {
    let ours = std::fs::metadata("/")?;
    match std::fs::metadata(Path::new(NODES_ROOT).join("")) {
        Ok(nodes) if (ours.dev(), ours.ino()) == (nodes.dev(), nodes.ino()) => Ok("/".into()),
        Ok(_) => Ok(NODES_ROOT.into()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!("the node's first process cannot be looked at: this is taken for no container");
            Ok("/".into())
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("{NODES_ROOT}: {error}"))),
    }
}

/// A copy of /usr if ours is a container's; the node's own files stay where they are.
fn own_files(root: &Path, state: &Path) -> io::Result<Option<PathBuf>> {
    if root == Path::new("/") {
        return Ok(None);
    }
    let folder = state.join("client");
    let copy = home::copy(Path::new("/usr"), &folder)?;
    if let Err(error) = home::remove_others(&folder, &copy, Path::new("/proc")) {
        tracing::warn!(%error, "old copies of the client's files stay: it cannot be told which are in use");
    }
    Ok(Some(copy))
}

/// Makes the clients' cgroup in a hierarchy, and says which file takes a process.
fn make(hierarchy: &cgroup::Hierarchy) -> io::Result<PathBuf> {
    let folder = hierarchy.clients();
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(named)?;
    let files: &[&str] = if hierarchy.needs_cpus { &["cpuset.cpus", "cpuset.mems"] } else { &[] };
    for file in files {
        if std::fs::read_to_string(folder.join(file)).map_err(named)?.trim().is_empty() {
            let all = std::fs::read_to_string(hierarchy.root.join(file)).map_err(named)?;
            std::fs::write(folder.join(file), all).map_err(named)?;
        }
    }
    Ok(folder.join("cgroup.procs"))
}
