//! Doing what was decided. Each part may be cut off anywhere, and the next look goes on from there.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::containers::{self, Inside};
use super::decide::Step;
use super::{Repair, containers::pod_of};
use crate::csi::node::client::child;
use crate::csi::node::mounts::Table;
use crate::csi::node::publish;
use crate::csi::node::record::Record;
use crate::csi::node::touch::{Turn, within};

/// How the kernel ends the name of a directory that was removed after it had been mounted.
const REMOVED: &str = "//deleted";
/// How long replacing a mount in one container may take.
const REBINDING: Duration = Duration::from_secs(10);

impl Repair {
    /// Does one step. The error says for people what could not be done.
    pub(super) async fn perform(&self, turn: &Turn, record: &Record, step: &Step) -> Result<(), String> {
        match step {
            Step::Report(_) => return Ok(()),
            Step::Forget => {
                let (records, staging) = (self.node.records.clone(), record.staging.clone());
                tracing::info!(handle = record.handle, path = %staging.display(), "it is not staged any more");
                let removed = within(turn, move || records.remove(&staging)).await;
                return removed.map_err(|error| format!("its record: {error}"));
            }
            Step::Nothing => {}
            Step::Repair => {
                tracing::warn!(handle = record.handle, path = %record.staging.display(), "its client has ended: it is mounted anew");
                self.node.mount_again(turn, record).await.map_err(|status| status.message().to_owned())?;
                self.show_again(turn, record).await?;
            }
            Step::Rebind(_) => self.show_again(turn, record).await?,
        }
        self.replace_inside(turn, record, step).await
    }

    /// Binds the volume anew at the targets that show a dead client.
    async fn show_again(&self, turn: &Turn, record: &Record) -> Result<(), String> {
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
        shown.await.map_err(|error| format!("bind it anew for its pods: {error}"))
    }

    /// Replaces what running containers have of a dead client, and tells their pods how that went.
    async fn replace_inside(&self, turn: &Turn, record: &Record, step: &Step) -> Result<(), String> {
        let about = record.clone();
        let found = within(turn, move || {
            let living = Table::read()?.top(&about.staging).map(|top| top.device.clone());
            living.map_or(Ok(Vec::new()), |living| containers::dead(&about, &living))
        });
        let found = found.await.map_err(|error| format!("look through the containers: {error}"))?;
        let mut lost = Vec::new();
        for inside in &found {
            let done = self.rebind(record, inside).await;
            if let Err(why) = &done {
                tracing::warn!(handle = record.handle, pid = inside.pid, at = %inside.mounted.at.display(), why, "a container keeps a dead mount");
                lost.push((inside.target.as_path(), why.clone()));
            }
        }
        for target in record.targets.keys().filter(|target| pod_of(target).is_some()) {
            match lost.iter().find(|(of, _)| of == target) {
                Some((_, why)) => self.pods.keeps_dead(record, target, why),
                None if *step != Step::Nothing || found.iter().any(|inside| inside.target == *target) => {
                    self.pods.has_it_again(record, target);
                }
                None => {}
            }
        }
        Ok(())
    }

    async fn rebind(&self, record: &Record, inside: &Inside) -> Result<(), String> {
        if let Some(directory) = inside.mounted.root.to_string_lossy().strip_suffix(REMOVED) {
            return Err(format!("its directory {directory} was removed from the volume"));
        }
        let below = inside.mounted.root.strip_prefix("/").unwrap_or(Path::new(""));
        let words: [OsString; 16] = [
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
            "--source".into(),
            record.staging.join(below).into(),
            "--path".into(),
            inside.mounted.at.clone().into(),
            "--options".into(),
            inside.mounted.options.join(",").into(),
        ];
        let log = self.node.state.join("helpers.log");
        let done = child::run("unshare".as_ref(), &words, &log, REBINDING).await;
        done.map_err(|error| error.text().to_owned())
    }
}
