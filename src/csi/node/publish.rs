//! Publishing: a staged volume is shown at a pod's path by a bind mount.

use std::io;
use std::path::{Path, PathBuf};

use tonic::Status;

use super::mounts::{self, Away, Mounted, Table};
use super::record::{Pod, Record, Target};
use super::stage::unwell;
use super::touch::{Seen, Turn, within};
use super::{Node, at};
use crate::csi::proto::csi::volume_capability::access_mode::Mode;

/// What is to be published.
pub struct Ask {
    /// The id of the volume.
    pub handle: String,
    /// Where it is staged.
    pub staging: PathBuf,
    /// Where it is to be shown.
    pub target: PathBuf,
    /// How.
    pub how: Target,
    /// For whom, if that is told.
    pub pod: Option<Pod>,
}

/// Publishes a staged volume.
pub async fn publish(node: &Node, turn: &Turn, ask: Ask) -> Result<(), Status> {
    let not_staged = || {
        let text = format!("volume {} is not staged at {}", ask.handle, ask.staging.display());
        Status::failed_precondition(text)
    };
    let staging = node.there(turn, &ask.staging).await?.ok_or_else(not_staged)?;
    let (table, record) = node.known(turn, &staging).await?;
    let staged = table.top(&staging).ok_or_else(not_staged)?;
    let mut record = record.filter(|record| record.handle == ask.handle).ok_or_else(not_staged)?;
    match node.looks.at(&staging).await {
        Seen::Alive(_) => {}
        seen => return Err(unwell(&staging, &seen)),
    }
    let wanted = ask.target.clone();
    let made = within(turn, move || {
        std::fs::create_dir_all(wanted.parent().unwrap_or(&wanted))?;
        mounts::resolved(&wanted)
    });
    let target = made.await.map_err(|error| error.status(at(&ask.target)))?;
    let plan = plan(&table, staged, &record, &target, ask.how)?;
    // It is written down first: what is found mounted later was meant so.
    let before = ask.pod.map(|pod| (record.pods.insert(target.clone(), pod.clone()), pod));
    let is_known = before.is_none_or(|(before, pod)| before == Some(pod));
    if record.targets.insert(target.clone(), ask.how) != Some(ask.how) || !is_known {
        node.write(turn, record).await?;
    }
    let what = format!("publish volume {} at {}", ask.handle, target.display());
    let (readonly, name) = (ask.how.readonly, target.clone());
    let done = within(turn, move || carry_out(&staging, &name, &plan, readonly));
    done.await.map_err(|error| error.status(what))
}

/// What is to be done at a target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// How many mounts are taken away from there, from the topmost on.
    surplus: usize,
    /// Whether the volume is to be bound then.
    bind: bool,
}

/// Holds a request against what is mounted and recorded.
pub(super) fn plan(
    table: &Table,
    staged: &Mounted,
    record: &Record,
    target: &Path,
    how: Target,
) -> Result<Plan, Status> {
    let there = table.at(target);
    if let Some(other) = there.iter().find(|mounted| !mounted.is_of(&record.volume)) {
        let text = format!("{}: {} is mounted there", target.display(), other.source);
        return Err(Status::already_exists(text));
    }
    let shows = |mounted: &Mounted| mounted.device == staged.device && mounted.root == staged.root;
    let kept = there.first().filter(|lowest| shows(lowest));
    if let Some(kept) = kept {
        let before = record.targets.get(target);
        let same = before.map_or(kept.is_readonly() == how.readonly, |before| *before == how);
        if !same {
            let text = "it is published there in another way (read-only, or the access mode)";
            return Err(Status::already_exists(format!("{}: {text}", target.display())));
        }
    }
    let sole = |how: &Target| how.mode == i32::from(Mode::SingleNodeSingleWriter);
    let elsewhere = record.targets.iter().filter(|(path, _)| *path != target && !table.at(path).is_empty());
    for (path, other) in elsewhere {
        if sole(&how) || sole(other) {
            let text = "it is published at another path, and one of both is to be its only writer";
            return Err(Status::failed_precondition(format!("{}: {text}", path.display())));
        }
    }
    Ok(Plan { surplus: there.len() - usize::from(kept.is_some()), bind: kept.is_none() })
}

/// Makes the target what it is to be. It may be called again wherever it was cut off.
pub(super) fn carry_out(staging: &Path, target: &Path, plan: &Plan, readonly: bool) -> io::Result<()> {
    for _ in 0..plan.surplus {
        mounts::unmount(target, Away::AtOnce)?;
    }
    if plan.bind {
        match std::fs::create_dir(target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        mounts::bind(staging, target)?;
    }
    if readonly {
        let table = Table::read()?;
        let bound = table.top(target).ok_or_else(|| io::Error::other("it was unmounted meanwhile"))?;
        if !bound.is_readonly() {
            mounts::make_readonly(bound)?;
        }
    }
    Ok(())
}

/// Takes a volume away from a pod's path, and the path too. Nothing there is fine.
pub async fn unpublish(node: &Node, turn: &Turn, target: PathBuf) -> Result<(), Status> {
    if let Some(path) = node.there(turn, &target).await? {
        node.clear(turn, &path, Away::WhenIdle).await?;
        let folder = path.clone();
        // Never more than an empty directory: what is in there was written while nothing was mounted.
        let removed = within(turn, move || match std::fs::remove_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        });
        removed.await.map_err(|error| error.status(format!("remove {}", path.display())))?;
        node.forget(turn, path).await;
    }
    Ok(())
}

impl Node {
    /// Takes a target out of the records. A full disk does not hold up a pod's end: what is recorded and
    /// not mounted is of no account.
    async fn forget(&self, turn: &Turn, target: PathBuf) {
        let records = self.records.clone();
        let forgotten = within(turn, move || {
            for mut record in records.all()? {
                record.pods.remove(&target);
                if record.targets.remove(&target).is_some() {
                    records.write(&record)?;
                }
            }
            Ok(())
        });
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "a target that is gone stays in the records");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use super::*;

    const READS: Target = Target { readonly: true, mode: 3 };
    const WRITES: Target = Target { readonly: false, mode: 5 };
    const SOLE: Target = Target { readonly: false, mode: 6 };

    fn planned(lines: &str, recorded: &[(&str, Target)], how: Target) -> Result<Plan, tonic::Code> {
        let table = Table::parse(format!("9 1 0:5 / /s rw - fuse.glusterfs a:/v rw\n{lines}").as_bytes());
        let staged = table.top(Path::new("/s")).unwrap();
        let record = Record {
            handle: "h".into(),
            staging: "/s".into(),
            volume: "v".into(),
            servers: vec!["a".into()],
            options: Vec::new(),
            targets: recorded.iter().map(|(path, how)| ((*path).into(), *how)).collect::<BTreeMap<_, _>>(),
            pods: BTreeMap::new(),
        };
        plan(&table, staged, &record, Path::new("/t"), how).map_err(|status| status.code())
    }

    #[test]
    fn every_half_done_state_is_completed() {
        let (rw, ro) = ("10 1 0:5 / /t rw - f a:/v rw\n", "10 1 0:5 / /t ro - f a:/v rw\n");
        let twice = "10 1 0:5 / /t rw - f a:/v rw\n11 10 0:5 / /t rw - f a:/v rw\n";
        let stale = "10 1 0:4 / /t rw - f b:/v rw\n";
        let over_stale = "10 1 0:4 / /t rw - f b:/v rw\n11 10 0:5 / /t rw - f a:/v rw\n";
        let below = "10 1 0:5 /sub /t rw - f a:/v rw\n";
        let done = Plan { surplus: 0, bind: false };
        for (lines, recorded, how, wanted) in [
            ("", &[][..], WRITES, Plan { surplus: 0, bind: true }),
            ("", &[("/t", READS)], WRITES, Plan { surplus: 0, bind: true }), // recorded, and cut off
            (rw, &[("/t", WRITES)], WRITES, done),
            (rw, &[], WRITES, Plan { surplus: 0, bind: false }), // mounted, the record is lost
            (ro, &[], READS, Plan { surplus: 0, bind: false }),
            (rw, &[("/t", READS)], READS, Plan { surplus: 0, bind: false }), // bound, not yet read-only
            (twice, &[("/t", WRITES)], WRITES, Plan { surplus: 1, bind: false }),
            (stale, &[("/t", WRITES)], WRITES, Plan { surplus: 1, bind: true }), // of a client that has died
            (over_stale, &[("/t", WRITES)], WRITES, Plan { surplus: 2, bind: true }),
            (below, &[], WRITES, Plan { surplus: 1, bind: true }),
        ] {
            assert_eq!(planned(lines, recorded, how), Ok(wanted), "{lines}");
        }
    }

    #[test]
    fn other_requests_are_refused() {
        let rw = "10 1 0:5 / /t rw - f a:/v rw\n";
        let code = |lines: &str, recorded: &[(&str, Target)], how| planned(lines, recorded, how).unwrap_err();
        assert_eq!(code(rw, &[("/t", WRITES)], READS), tonic::Code::AlreadyExists);
        assert_eq!(code(rw, &[("/t", WRITES)], SOLE), tonic::Code::AlreadyExists);
        assert_eq!(code(rw, &[], READS), tonic::Code::AlreadyExists);
        let other = "10 1 0:7 / /t rw - tmpfs tmpfs rw\n";
        assert_eq!(code(other, &[], WRITES), tonic::Code::AlreadyExists);
        // A sole writer is alone; what is recorded and not mounted does not count.
        let elsewhere = "10 1 0:5 / /u rw - f a:/v rw\n";
        assert_eq!(code(elsewhere, &[("/u", WRITES)], SOLE), tonic::Code::FailedPrecondition);
        assert_eq!(code(elsewhere, &[("/u", SOLE)], WRITES), tonic::Code::FailedPrecondition);
        planned(elsewhere, &[("/u", WRITES)], READS).unwrap();
        planned("", &[("/u", WRITES)], SOLE).unwrap();
    }
}
