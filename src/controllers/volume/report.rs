//! What a pass over a volume has found, as a status. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::perform::{Cleared, Made};
use crate::controllers::PassError;
use crate::executor::RunError;
use crate::resources::{
    FAILED, GlusterVolume, GlusterVolumeStatus, LastError, MountInfo, Observed, OnRefusal, PLACED, READY,
    condition, id_of, set_condition,
};

/// What a pass has found.
#[derive(Debug)]
pub enum Report {
    /// It tried to make the volume.
    Made(Made),
    /// It removed bricks on their way out.
    Cleared(Cleared),
    /// It removed the volume, and it is not wholly gone or the object stays for a while.
    Unmade(Cleared),
}

impl Report {
    /// When to look again.
    pub fn again(&self, volume: &GlusterVolume) -> Again {
        let forget = volume.spec.on_refusal == OnRefusal::Forget;
        match self {
            Self::Made(Made::Refused(error)) if !forget => Again::Paused(error.clone().into()),
            Self::Made(Made::NameTaken(text)) if !forget => Again::Paused(PassError::Refused(text.clone())),
            // The written status wakes the volume again.
            Self::Made(_) => Again::AtAChange,
            Self::Cleared(cleared) | Self::Unmade(cleared) if cleared.complete() => Again::AtAChange,
            Self::Cleared(_) | Self::Unmade(_) => Again::After(super::UNREACHED_PAUSE),
        }
    }
}

/// When to look at a volume again.
#[derive(Debug)]
pub enum Again {
    /// When it changes.
    AtAChange,
    /// After a while.
    After(Duration),
    /// After a pause that grows with each try.
    Paused(PassError),
}

/// The volume with its new status.
pub fn status(volume: &GlusterVolume, news: Report, now: Timestamp, attempts: u32) -> GlusterVolume {
    let mut reported = volume.clone();
    let generation = volume.metadata.generation.unwrap_or_default();
    let forget = volume.spec.on_refusal == OnRefusal::Forget;
    let id = id_of(volume);
    let status = reported.status.get_or_insert_default();
    status.id = Some(id);
    status.observed_generation = generation;
    let mut note = Note { status, now, generation };
    match news {
        Report::Made(Made::Ready) => note.ready(),
        Report::Made(Made::Unfit { devices, error }) => {
            note.unfit(devices, &error);
            if forget && note.status.attempt >= attempts {
                note.gives_up(&error.to_string());
            }
        }
        Report::Made(Made::Refused(error)) => {
            note.error(&error);
            note.not_ready("Refused", &error.to_string());
            if forget {
                note.gives_up(&error.to_string());
            }
        }
        Report::Made(Made::NameTaken(text)) => {
            note.not_ready("NameTaken", &text);
            if forget {
                note.gives_up(&text);
            }
        }
        Report::Cleared(cleared) => {
            note.cleared(&cleared);
            note.made_room(&cleared, forget);
        }
        Report::Unmade(cleared) => {
            note.cleared(&cleared);
            let going = volume.metadata.deletion_timestamp.is_some();
            note.unmade(&cleared, going);
        }
    }
    reported
}

struct Note<'a> {
    status: &'a mut GlusterVolumeStatus,
    now: Timestamp,
    generation: i64,
}

impl Note<'_> {
    fn set(&mut self, condition: (&str, &str, &str), message: &str) {
        set_condition(&mut self.status.conditions, self.now, self.generation, condition, message);
    }

    fn ready(&mut self) {
        self.set((READY, "True", "Started"), "clients can mount it");
        self.status.phase = Some("Ready".into());
        self.status.last_error = None;
        self.status.avoid.clear();
        let placement = self.status.placement.as_ref();
        let bricks = placement.map_or(0, |placement| placement.active().count());
        let servers = placement.map(|placement| {
            let mut servers: Vec<String> = placement.active().map(|brick| brick.host.clone()).collect();
            servers.sort_unstable();
            servers.dedup();
            servers
        });
        self.status.mount = Some(MountInfo { servers: servers.unwrap_or_default() });
        self.status.observed = Some(Observed {
            time: self.now.to_string(),
            bricks_ready: u32::try_from(bricks).unwrap_or(u32::MAX),
            started: true,
        });
    }

    /// All bricks of this try are on their way out; the devices that did not do it are left out of
    /// the next one.
    fn unfit(&mut self, devices: Vec<crate::units::Id>, error: &RunError) {
        self.error(error);
        if let Some(placement) = self.status.placement.as_mut() {
            placement.bricks.iter_mut().for_each(|brick| brick.retiring = true);
        }
        self.status.avoid.extend(devices);
        self.status.avoid.sort_unstable();
        self.status.avoid.dedup();
        let text = format!("is placed anew, since {error}");
        self.set((PLACED, "Unknown", "PlacedAnew"), &text);
        self.not_ready("Creating", &text);
    }

    fn not_ready(&mut self, reason: &str, text: &str) {
        self.set((READY, "False", reason), text);
        self.status.phase = Some("Creating".into());
    }

    /// The ask is forgotten: everything is removed, then the failure can be read for a while.
    fn gives_up(&mut self, text: &str) {
        self.set((FAILED, "Unknown", "CleaningUp"), text);
        self.status.phase = Some("Failed".into());
    }

    fn cleared(&mut self, cleared: &Cleared) {
        if let Some(placement) = self.status.placement.as_mut() {
            placement.bricks.retain(|brick| !cleared.gone.contains(&brick.id));
        }
        match &cleared.error {
            Some(error) => self.error(error),
            None => self.status.last_error = None,
        }
    }

    /// What is removed of earlier tries, before there is a place again, was in the way: the volume is
    /// placed anew.
    fn made_room(&mut self, cleared: &Cleared, forget: bool) {
        let active = self.status.placement.as_ref().map_or(0, |placement| placement.active().count());
        let refused = condition(&self.status.conditions, PLACED);
        let Some(refused) = refused.filter(|placed| active == 0 && placed.status == "False").cloned() else {
            return;
        };
        match &cleared.error {
            Some(error) if forget => self.gives_up(&format!("{}\n{error}", refused.message)),
            _ if cleared.gone.is_empty() => {}
            _ => self.set((PLACED, "Unknown", "PlacedAnew"), &refused.message),
        }
    }

    fn unmade(&mut self, cleared: &Cleared, going: bool) {
        if going {
            self.status.phase = Some("Deleting".into());
            let waits = cleared.error.as_ref().map(|error| format!("its removal waits: {error}"));
            self.set((READY, "False", "Deleting"), waits.as_deref().unwrap_or("is being removed"));
            return;
        }
        if cleared.complete() {
            let failed = condition(&self.status.conditions, FAILED);
            let text = failed.map(|failed| failed.message.clone()).unwrap_or_default();
            self.status.placement = None;
            self.set((PLACED, "False", "Failed"), "nothing of it is left");
            self.set((FAILED, "True", "GivenUp"), &text);
        }
    }

    fn error(&mut self, error: &RunError) {
        let (node, command, exit_code, stderr) = match error {
            RunError::Refused { host, command, exit, stderr } => {
                (host.clone(), command.clone(), Some(*exit), stderr.clone())
            }
            other => (other.host().to_owned(), String::new(), None, other.to_string()),
        };
        let time = self.now.to_string();
        let seen = LastError { time, node, command, exit_code, stderr };
        // The same error again is no news: writing it down would wake the volume to fail once more.
        let same = |old: &LastError| LastError { time: seen.time.clone(), ..old.clone() } == seen;
        if !self.status.last_error.as_ref().is_some_and(same) {
            self.status.last_error = Some(seen);
        }
    }
}
