//! Doing what was decided. Each part may be cut off anywhere, and the next look goes on from there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::containers::{self, Inside};
use super::decide::Step;
use super::{Repair, containers::pod_of};
use crate::csi::node::client::child;
use crate::csi::node::mounts::Table;
use crate::csi::node::publish;
use crate::csi::node::record::Record;
use crate::csi::node::touch::{Turn, within};

/// How the kernel ends the name of a mounted directory that it does not find any more.
const REMOVED: &str = "//deleted";
/// How long replacing a mount in one container may take.
const REBINDING: Duration = Duration::from_secs(10);

/// What could not be done, for people. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Nobody can use the volume.
    #[error("{0}")]
    Client(String),
    /// The volume is there again, but not in every running container.
    #[error("in the containers: {0}")]
    Containers(String),
}

impl Repair {
    /// Does one step, and says whether nothing of a dead client was found in any container.
    pub(super) async fn perform(&self, turn: &Turn, record: &Record, step: &Step) -> Result<bool, Fault> {
        match step {
            Step::Report(_) => return Ok(true),
            Step::Forget => {
                let (records, staging) = (self.node.records.clone(), record.staging.clone());
                tracing::info!(handle = record.handle, path = %staging.display(), "it is not staged any more");
                let removed = within(turn, move || records.remove(&staging)).await;
                return removed.map(|()| true).map_err(|error| Fault::Client(format!("its record: {error}")));
            }
            Step::Nothing => {}
            Step::Repair => {
                tracing::warn!(handle = record.handle, path = %record.staging.display(), "its client has ended: it is mounted anew");
                self.node
                    .mount_again(turn, record)
                    .await
                    .map_err(|status| Fault::Client(status.message().to_owned()))?;
                self.show_again(turn, record).await?;
            }
            Step::Rebind(_) => self.show_again(turn, record).await?,
        }
        self.replace_inside(turn, record, step).await
    }

    /// Binds the volume anew at the targets that show a dead client.
    async fn show_again(&self, turn: &Turn, record: &Record) -> Result<(), Fault> {
        let record = record.clone();
        let shown = within(turn, move || {
            for (target, how) in &record.targets {
                let table = Table::read()?;
                let is_shown = table.top(target).is_some_and(|top| top.is_of(&record.volume));
                let staged = table.top(&record.staging).filter(|_| is_shown);
                // Unpublished, or not published yet: that is not for us to do.
                let Some(staged) = staged else { continue };
                let plan = publish::plan(&table, staged, &record, target, *how);
                let plan = plan.map_err(|status| std::io::Error::other(status.message().to_owned()))?;
                publish::carry_out(&record.staging, target, &plan, how.readonly)?;
            }
            Ok(())
        });
        shown.await.map_err(|error| Fault::Client(format!("bind it anew for its pods: {error}")))
    }

    /// Replaces what running containers have of a dead client, and tells their pods how that went.
    async fn replace_inside(&self, turn: &Turn, record: &Record, step: &Step) -> Result<bool, Fault> {
        let about = record.clone();
        let found = within(turn, move || {
            let living = Table::read()?.top(&about.staging).map(|top| top.device.clone());
            living.map_or(Ok(Vec::new()), |living| containers::dead(&about, &living))
        });
        let found = found.await.map_err(|error| Fault::Containers(format!("look through them: {error}")))?;
        let mut lost = Vec::new();
        for inside in &found {
            let done = self.rebind(turn, record, inside).await;
            if let Err(kept) = done {
                tracing::warn!(handle = record.handle, pid = inside.pid, at = %inside.mounted.at.display(), why = %kept, "a container keeps a dead mount");
                lost.push((inside, kept));
            }
        }
        for target in record.targets.keys().filter(|target| pod_of(target).is_some()) {
            match lost.iter().find(|(inside, _)| inside.target == *target) {
                Some((_, kept)) => self.pods.keeps_dead(record, target, &kept.to_string()),
                None if *step != Step::Nothing || found.iter().any(|inside| inside.target == *target) => {
                    self.pods.has_it_again(record, target);
                }
                None => {}
            }
        }
        match lost.iter().find(|(_, kept)| matches!(kept, Kept::Failed(_))) {
            Some((inside, kept)) => {
                Err(Fault::Containers(format!("{}: {kept}", inside.mounted.at.display())))
            }
            None => Ok(found.len() == lost.len()),
        }
    }

    async fn rebind(&self, turn: &Turn, record: &Record, inside: &Inside) -> Result<(), Kept> {
        let below = shown(inside);
        let source = record.staging.join(&below);
        let looked_at = source.clone();
        let there = within(turn, move || match std::fs::symlink_metadata(&looked_at) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            looked => looked.map(|_| true),
        });
        if !there.await.map_err(|error| Kept::Failed(format!("{}: {error}", source.display())))? {
            return Err(Kept::Removed(below));
        }
        let words: [OsString; 18] = [
            "--mount".into(),
            "--propagation".into(),
            "private".into(),
            "--".into(),
            format!("/proc/{}/exe", std::process::id()).into(),
            "rebind".into(),
            "--pid".into(),
            inside.pid.to_string().into(),
            "--namespace".into(),
            inside.namespace.clone().into(),
            "--staging".into(),
            record.staging.clone().into(),
            "--below".into(),
            below.into(),
            "--path".into(),
            inside.mounted.at.clone().into(),
            "--options".into(),
            inside.mounted.options.join(",").into(),
        ];
        let log = self.node.state.join("helpers.log");
        let done = child::run("unshare".as_ref(), &words, &log, REBINDING).await;
        done.map_err(|error| Kept::Failed(error.text().to_owned()))
    }
}

/// Why a container keeps a dead mount, for people.
#[derive(Debug, thiserror::Error)]
enum Kept {
    /// Nothing can be shown instead.
    #[error("its directory /{} was removed from the volume", .0.strip_prefix(".").unwrap_or(.0).display())]
    Removed(PathBuf),
    /// It is tried again.
    #[error("{0}")]
    Failed(String),
}

/// What a mount shows of its volume. The kernel says that it was removed also when somebody looked for it while the
/// client was dead: only the living one knows.
fn shown(inside: &Inside) -> PathBuf {
    let root = inside.mounted.root.as_os_str().as_bytes();
    let root = root.strip_suffix(REMOVED.as_bytes()).unwrap_or(root);
    // Its path from the root on, which is at least a dot: an empty word is no path.
    Path::new(".").join(OsStr::from_bytes(root.strip_prefix(b"/").unwrap_or(root)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::node::mounts::Table;

    #[test]
    fn a_directory_is_not_believed_to_be_removed() {
        for (root, below) in
            [("/", "."), ("/sub/data", "./sub/data"), ("/sub//deleted", "./sub"), ("/a\\040b", "./a b")]
        {
            let table =
                Table::parse(format!("1 0 0:50 {root} /mnt ro - fuse.glusterfs a:/v rw\n").as_bytes());
            let mounted = table.all()[0].clone();
            let inside = Inside { pid: 1, namespace: String::new(), mounted, target: PathBuf::new() };
            assert_eq!(shown(&inside), Path::new(below), "{root}");
        }
        let text = Kept::Removed("./a/b".into()).to_string();
        assert_eq!(text, "its directory /a/b was removed from the volume");
    }
}
