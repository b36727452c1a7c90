//! `/operations`: what is under way, as Heketi counts it.
//!
//! Heketi keeps a record of each operation in its database. Ours are read from the objects: a volume that
//! is being made, deleted or enlarged says so itself, so nothing can be forgotten or be stale. The id of an
//! operation is derived from the object and the kind of work, and stays the same as long as the work goes on.

use http::StatusCode;
use jiff::Timestamp;

use super::super::Face;
use super::super::answer::{self, Answer, Refused};
use super::super::check;
use super::super::json;
use super::super::ticket::Ticket;
use super::super::volume_index::is_busy;
use super::super::wire::{
    CleanUp, OperationChange, OperationCounts, OperationDetails, OperationInfo, OperationList,
};
use crate::intent::given_up;
use crate::resources::{
    ACCEPTED, DRAINED, EXPANDED, FAILED, GlusterDevice, GlusterVolume, PlacedBrick, State, condition,
    condition_is, id_of,
};
use crate::units::{Bytes, Id};

/// What kind of work an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A volume is made.
    Create,
    /// A volume is deleted.
    Delete,
    /// A volume is enlarged.
    Expand,
    /// A device is given up.
    Remove,
}

impl Work {
    /// The word for it on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create-volume",
            Self::Delete => "delete-volume",
            Self::Expand => "expand-volume",
            Self::Remove => "remove-device",
        }
    }

    /// The number for it in a dump of the database.
    pub fn number(self) -> u8 {
        match self {
            Self::Create => 1,
            Self::Delete => 2,
            Self::Expand => 3,
            Self::Remove => 6,
        }
    }
}

/// What an operation does to one brick or volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A brick is made.
    AddBrick,
    /// A volume is made.
    AddVolume,
    /// A brick goes.
    DeleteBrick,
    /// A volume goes.
    DeleteVolume,
    /// A volume becomes larger by so much.
    ExpandVolume(Bytes),
    /// A device goes.
    RemoveDevice,
}

impl Change {
    /// The words for it on the wire.
    pub fn words(self) -> &'static str {
        match self {
            Self::AddBrick => "Add brick",
            Self::AddVolume => "Add volume",
            Self::DeleteBrick => "Delete brick",
            Self::DeleteVolume => "Delete volume",
            Self::ExpandVolume(_) => "Expand volume",
            Self::RemoveDevice => "Remove device",
        }
    }

    /// The number for it in a dump of the database.
    pub fn number(self) -> u8 {
        match self {
            Self::AddBrick => 1,
            Self::AddVolume => 2,
            Self::DeleteBrick => 3,
            Self::DeleteVolume => 4,
            Self::ExpandVolume(_) => 5,
            Self::RemoveDevice => 8,
        }
    }

    /// By how many GiB a volume grows.
    pub fn delta(self) -> Option<u64> {
        match self {
            Self::ExpandVolume(by) => Some(by.gib_ceil()),
            _ => None,
        }
    }
}

/// Something that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its id; not that of the object.
    pub id: Id,
    /// What kind of work it is.
    pub work: Work,
    /// Whether it has failed, and what is left of it is being removed.
    pub failed: bool,
    /// Whether it takes up one of the slots for work.
    pub in_flight: bool,
    /// When it began, in seconds since 1970.
    pub since: i64,
    /// What it does to which brick or volume, by id.
    pub changes: Vec<(Id, Change)>,
}

impl Operation {
    /// `failed`, or nothing as long as all goes well. What Heketi calls stale does not exist here.
    pub fn status(&self) -> &'static str {
        if self.failed { "failed" } else { "" }
    }

    fn info(&self, sub_status: &'static str) -> OperationInfo {
        OperationInfo {
            id: self.id.to_string(),
            type_name: self.work.word(),
            status: self.status(),
            sub_status,
        }
    }
}

/// What is under way, in ascending order of ids.
pub fn under_way(face: &Face) -> Vec<Operation> {
    let now = Timestamp::now();
    let (working, devices) = (face.volumes.working(), face.intent.devices.list());
    let volumes = working.iter().filter_map(|name| face.intent.volumes.get(name));
    let of_volumes = volumes.filter_map(|volume| of_volume(&volume, now));
    let of_devices = devices.iter().filter_map(|device| of_device(face, device));
    let mut all: Vec<Operation> = of_volumes.chain(of_devices).collect();
    all.sort_unstable_by_key(|operation| operation.id);
    all
}

/// The removal of a device, by itself or with its node, as long as it lasts.
pub fn of_device(face: &Face, device: &GlusterDevice) -> Option<Operation> {
    let with_node =
        || face.intent.nodes.get(&device.spec.node).is_some_and(|node| node.spec.state == State::Failed);
    let leaves = (device.spec.state == State::Failed || with_node())
        && condition_is(device.conditions(), ACCEPTED)
        && !device.is_drained();
    let (id, word) = (id_of(device), Work::Remove.word());
    let since = condition(device.conditions(), DRAINED)
        .map_or(0, |drained| drained.last_transition_time.0.as_second());
    leaves.then(|| Operation {
        id: id.derive(&format!("{word} {}", device.metadata.uid.as_deref().unwrap_or_default())),
        work: Work::Remove,
        failed: false,
        in_flight: true,
        since,
        changes: vec![(id, Change::RemoveDevice)],
    })
}

/// What is under way for a volume.
pub fn of_volume(volume: &GlusterVolume, now: Timestamp) -> Option<Operation> {
    let work = work_of(volume)?;
    let placement = volume.status.as_ref()?.placement.as_ref()?;
    let id = id_of(volume);
    let (bricks, of_brick, of_volume): (Vec<&PlacedBrick>, _, _) = match work {
        Work::Create => (placement.active().collect(), Change::AddBrick, Change::AddVolume),
        Work::Delete => (placement.bricks.iter().collect(), Change::DeleteBrick, Change::DeleteVolume),
        Work::Expand => {
            let has = volume.size().unwrap_or_default();
            let by = Bytes(placement.size.unwrap_or(has).0.saturating_sub(has.0));
            (placement.adding().collect(), Change::AddBrick, Change::ExpandVolume(by))
        }
        Work::Remove => return None,
    };
    Some(Operation {
        id: id.derive(&format!("{} {}", work.word(), volume.metadata.uid.as_deref().unwrap_or_default())),
        work,
        failed: condition(volume.conditions(), FAILED).is_some(),
        in_flight: is_busy(volume, now),
        since: since(volume, work),
        changes: bricks.iter().map(|brick| (brick.id, of_brick)).chain([(id, of_volume)]).collect(),
    })
}

/// What kind of work is under way for a volume.
pub fn work_of(volume: &GlusterVolume) -> Option<Work> {
    let placement = volume.status.as_ref()?.placement.as_ref()?;
    if given_up(volume.conditions()) {
        None
    } else if volume.metadata.deletion_timestamp.is_some() {
        Some(Work::Delete)
    } else if volume.size().is_none() {
        Some(Work::Create)
    } else if placement.expands() {
        Some(Work::Expand)
    } else {
        None
    }
}

fn since(volume: &GlusterVolume, work: Work) -> i64 {
    let time = match work {
        Work::Create => volume.metadata.creation_timestamp.as_ref(),
        Work::Delete => volume.metadata.deletion_timestamp.as_ref(),
        Work::Expand => {
            condition(volume.conditions(), EXPANDED).map(|expanded| &expanded.last_transition_time)
        }
        Work::Remove => None,
    };
    time.map_or(0, |time| time.0.as_second())
}

/// `GET /operations`
pub fn counts(face: &Face) -> Answer {
    let all = under_way(face);
    let failed = all.iter().filter(|operation| operation.failed).count();
    let counts = OperationCounts {
        total: all.len(),
        in_flight: all.iter().filter(|operation| operation.in_flight).count(),
        stale: 0,
        failed,
        new: all.len() - failed,
    };
    answer::json(StatusCode::OK, &counts)
}

/// `GET /operations/pending`
pub fn list(face: &Face) -> Answer {
    let all = under_way(face);
    let shown = |operation: &Operation| operation.info(if operation.in_flight { "in-flight" } else { "" });
    answer::json(StatusCode::OK, &OperationList { pendingoperations: all.iter().map(shown).collect() })
}

/// `GET /operations/pending/{id}`; the refusal names the id, unlike elsewhere.
pub fn info(face: &Face, id: &str) -> Result<Answer, Refused> {
    let found = under_way(face).into_iter().find(|one| one.id.to_string() == id);
    let found = found.ok_or_else(|| Refused::missing(format!("Id not found: {id}")))?;
    let changes = found
        .changes
        .iter()
        .map(|(id, change)| OperationChange { id: id.to_string(), description: change.words() });
    let details = OperationDetails { info: found.info(""), changes: changes.collect() };
    Ok(answer::json(StatusCode::OK, &details))
}

/// `POST /operations/pending/cleanup`: 202, and done at once. What failed is cleaned up without being asked,
/// and tried until nothing of it is left.
pub fn clean_up(face: &Face, body: &[u8]) -> Result<Answer, Refused> {
    let request: CleanUp = json::read(body)?;
    check::clean_up(&request)?;
    Ok(face.accepted(&Ticket::Done))
}
