//! What a pass over a volume has found, as a status. Pure.

mod exchange;

use std::time::Duration;

use jiff::Timestamp;

use super::decide::look_pause;
use super::exchange::Exchanged;
use super::perform::{Cleared, Grown, Made, Moved};
use crate::controllers::PassError;
use crate::executor::RunError;
use crate::executor::ops::gluster::RebalanceState;
use crate::resources::{
    EXPANDED, FAILED, GlusterVolume, GlusterVolumeStatus, LastError, MountInfo, Observed, OnRefusal, PLACED,
    PlacedBrick, READY, REPLACED, Rebalance, RebalancePhase, condition, id_of, set_condition,
};
use crate::units::{Bytes, Id};

/// What a pass has found.
#[derive(Debug)]
pub enum Report {
    /// It tried to make the volume.
    Made(Made),
    /// It tried to add the bricks of an expansion.
    Grown(Grown),
    /// The bricks give the size that is wanted, or what of it was placed.
    Settled,
    /// It tried to exchange a brick; and the ask of whoever gives its device up, if it still is given up.
    Exchanged(Exchanged, Option<Option<Id>>),
    /// No brick is on a device that was given up.
    Replaced,
    /// It began a rebalance or looked how far it is.
    Moved(Moved),
    /// It removed bricks on their way out.
    Cleared(Cleared),
    /// It removed the volume, and it is not wholly gone or the object stays for a while.
    Unmade(Cleared),
}

impl Report {
    /// When to look again.
    pub fn again(&self, volume: &GlusterVolume, now: Timestamp) -> Again {
        let forget = volume.spec.on_refusal == OnRefusal::Forget;
        match self {
            Self::Made(Made::Refused(error)) if !forget => Again::Paused(error.clone().into()),
            Self::Made(Made::NameTaken(text)) if !forget => Again::Paused(PassError::Refused(text.clone())),
            Self::Grown(Grown::Stuck(error)) => Again::Paused(error.clone().into()),
            // The written status wakes the volume again.
            Self::Made(_) | Self::Grown(_) | Self::Settled | Self::Replaced => Again::AtAChange,
            Self::Exchanged(Exchanged::Held(..) | Exchanged::Moving, _) => {
                Again::After(heal_pause(volume, now))
            }
            Self::Exchanged(..) => Again::AtAChange,
            Self::Moved(Moved::Seen(_)) => {
                let seen = volume.status.as_ref().and_then(|status| status.rebalance.as_ref());
                let pause = seen.and_then(|seen| Duration::try_from(look_pause(seen, now)).ok());
                Again::After(pause.unwrap_or(super::UNREACHED_PAUSE))
            }
            Self::Moved(_) => Again::After(super::UNREACHED_PAUSE),
            Self::Cleared(cleared) | Self::Unmade(cleared) if cleared.complete() => Again::AtAChange,
            Self::Cleared(cleared) if !cleared.kept.is_empty() => Again::After(heal_pause(volume, now)),
            Self::Cleared(_) | Self::Unmade(_) => Again::After(super::UNREACHED_PAUSE),
        }
    }
}

/// The pause between two looks at what is to be healed: the longer it takes, the less often it is looked at.
fn heal_pause(volume: &GlusterVolume, now: Timestamp) -> Duration {
    let since =
        condition(volume.conditions(), REPLACED).map_or(now, |replaced| replaced.last_transition_time.0);
    let seconds = now.duration_since(since).as_secs() / 8;
    Duration::from_secs(seconds.clamp(1, 60).unsigned_abs())
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
        Report::Made(Made::Ready { allow }) => {
            note.ready();
            note.status.allow = allow;
            note.has_size(volume.spec.size);
        }
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
        Report::Grown(grown) => note.grown(grown, volume.spec.size, forget, attempts),
        Report::Settled => note.settled(volume.spec.size),
        Report::Exchanged(exchanged, ask) => {
            note.asked(ask);
            note.exchanged(exchanged, attempts);
        }
        Report::Replaced => note.replaced(),
        Report::Moved(moved) => note.moved(moved),
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
        self.serves();
    }

    /// What clients use and what was seen, when all active bricks serve the volume.
    fn serves(&mut self) {
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

    /// The volume has the size that its bricks give, but no more than is wanted: a wish may have become
    /// smaller while it was done.
    fn has_size(&mut self, wanted: Bytes) {
        let placed = self.status.placement.as_ref().and_then(|placement| placement.size);
        self.status.size = Some(placed.or(self.status.size).unwrap_or(wanted).min(wanted));
    }

    fn settled(&mut self, wanted: Bytes) {
        self.has_size(wanted);
        let has = self.status.size.unwrap_or_default();
        let growing = condition(&self.status.conditions, EXPANDED).is_some();
        if growing && has >= wanted {
            self.status.expansion_attempts = 0;
            self.set((EXPANDED, "True", "Grown"), &format!("it has {has}"));
        }
    }

    fn grown(&mut self, grown: Grown, wanted: Bytes, forget: bool, attempts: u32) {
        match grown {
            Grown::Done => {
                for brick in self.status.placement.iter_mut().flat_map(|placement| &mut placement.bricks) {
                    brick.adding = false;
                }
                self.serves();
                self.grew(wanted, true);
            }
            Grown::Larger => {
                let placement = self.status.placement.iter_mut();
                let sets = placement.flat_map(|placement| &mut placement.bricks).map(|brick| {
                    brick.growing = false;
                    brick.set
                });
                // Directories give each set a share of their files by its size, which may have changed.
                let several = sets.max() > Some(0);
                self.grew(wanted, several);
            }
            Grown::Stuck(error) => {
                self.error(&error);
                self.set((EXPANDED, "False", "Failed"), &format!("its bricks are not larger yet: {error}"));
            }
            Grown::Unfit { devices, error } => {
                self.taken_back();
                self.error(&error);
                self.avoids(devices);
                if forget && self.status.expansion_attempts >= attempts {
                    self.set((EXPANDED, "False", "Failed"), &error.to_string());
                } else {
                    let text = format!("the bricks are placed anew, since {error}");
                    self.set((EXPANDED, "False", "Adding"), &text);
                }
            }
            Grown::Refused(error) => {
                self.taken_back();
                self.error(&error);
                self.set((EXPANDED, "False", "Failed"), &error.to_string());
            }
            // From now on it is looked at, and the bricks are added when it has ended.
            Grown::Moving => self.moved(Moved::Begun),
            Grown::Withdrawn => {
                self.taken_back();
                self.set((EXPANDED, "False", "Adding"), "another size is wanted now");
            }
        }
    }

    /// An expansion is done, and perhaps another one is wanted already. `moves` says whether data has to move.
    fn grew(&mut self, wanted: Bytes, moves: bool) {
        self.status.last_error = None;
        self.status.avoid.clear();
        if moves {
            let now = self.now.to_string();
            self.status.rebalance = Some(Rebalance { since: now.clone(), seen: now, ..Rebalance::default() });
        }
        self.has_size(wanted);
        let has = self.status.size.unwrap_or_default();
        if has >= wanted {
            self.set((EXPANDED, "True", "Grown"), &format!("it has {has}"));
        } else {
            self.set((EXPANDED, "False", "Adding"), &format!("it has {has} so far"));
        }
        self.status.expansion_attempts = 0;
    }

    /// The bricks of an expansion are on their way out; the volume is as it was before.
    fn taken_back(&mut self) {
        let size = self.status.size;
        let Some(placement) = self.status.placement.as_mut() else { return };
        placement.size = size;
        for brick in placement.bricks.iter_mut().filter(|brick| brick.adding) {
            (brick.adding, brick.retiring) = (false, true);
        }
    }

    fn moved(&mut self, moved: Moved) {
        let now = self.now.to_string();
        let mut next = self.status.rebalance.clone().unwrap_or_default();
        match moved {
            Moved::Begun => {
                next.attempts += 1;
                next.phase = RebalancePhase::Running;
                next.message.clear();
            }
            Moved::Refused(text) => {
                next.attempts += 1;
                next.phase = RebalancePhase::Failed;
                next.message = text.chars().take(2048).collect();
            }
            Moved::Waits(text) => next.message = text,
            Moved::Seen(seen) => {
                next.message.clear();
                next.phase = match seen.state {
                    RebalanceState::Running => RebalancePhase::Running,
                    // One that was stopped by hand is not known any more.
                    RebalanceState::NotStarted | RebalanceState::Stopped => RebalancePhase::Stopped,
                    RebalanceState::Completed => RebalancePhase::Completed,
                    RebalanceState::Failed => RebalancePhase::Failed,
                };
                if next.phase == RebalancePhase::Failed {
                    next.message = "GlusterFS reports that it failed; it is started again".into();
                }
                (next.files, next.moved) = (seen.files, seen.size);
                (next.failures, next.skipped) = (seen.failures, seen.skipped);
            }
        }
        // No news is not written down: it would wake the volume to look again.
        if self.status.rebalance.as_ref() == Some(&next) {
            return;
        }
        if self.status.rebalance.as_ref().is_none_or(|old| old.phase != next.phase) {
            next.since = now.clone();
        }
        next.seen = now;
        self.status.rebalance = Some(next);
    }

    /// All bricks of this try are on their way out; the devices that did not do it are left out of
    /// the next one.
    fn unfit(&mut self, devices: Vec<crate::units::Id>, error: &RunError) {
        self.error(error);
        if let Some(placement) = self.status.placement.as_mut() {
            placement.bricks.iter_mut().for_each(|brick| brick.retiring = true);
        }
        self.avoids(devices);
        let text = format!("is placed anew, since {error}");
        self.set((PLACED, "Unknown", "PlacedAnew"), &text);
        self.not_ready("Creating", &text);
    }

    /// The devices are left out of the next placement.
    fn avoids(&mut self, devices: Vec<crate::units::Id>) {
        self.status.avoid.extend(devices);
        self.status.avoid.sort_unstable();
        self.status.avoid.dedup();
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
            // Nobody needs it any more, even if its node cannot be asked to remove it.
            let spared = |brick: &&mut PlacedBrick| brick.retiring && !cleared.kept.contains(&brick.id);
            if cleared.looked {
                placement.bricks.iter_mut().filter(spared).for_each(|brick| brick.replaced_by = None);
            }
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
