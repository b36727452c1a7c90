//! Which size a claim that wants to grow is worked towards. Pure: what an earlier pass, or an earlier
//! process, has written to the claim decides, so that an interrupted expansion is neither forgotten
//! nor done twice.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{LONGEST_PAUSE, quantity};
use crate::units::Bytes;

/// The volume is being enlarged.
pub const IN_PROGRESS: &str = "ControllerResizeInProgress";
/// The volume cannot be enlarged that far: the user may ask for less.
pub const INFEASIBLE: &str = "ControllerResizeInfeasible";
/// The file system waits for a pod, says a claim of a driver with a node step.
const FILE_SYSTEM_PENDING: &str = "FileSystemResizePending";

/// What a claim says about its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// What is asked for.
    pub spec: Bytes,
    /// What the claim has.
    pub has: Bytes,
    /// What was last worked towards.
    pub allocated: Option<Bytes>,
    /// How far that is; nothing when nobody works on it.
    pub state: Option<String>,
    /// Whether it waits for a pod.
    pub waits_for_pod: bool,
}

impl Sizes {
    /// The sizes of a claim; nothing when it has none yet.
    pub fn of(claim: &PersistentVolumeClaim) -> Option<Self> {
        let storage =
            |map: &Option<BTreeMap<String, Quantity>>| quantity::read(&map.as_ref()?.get("storage")?.0);
        let status = claim.status.as_ref()?;
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let waits = |type_: &str, is: &str| type_ == FILE_SYSTEM_PENDING && is == "True";
        Some(Self {
            spec: storage(&claim.spec.as_ref()?.resources.as_ref()?.requests)?,
            has: storage(&status.capacity)?,
            allocated: storage(&status.allocated_resources),
            state: status.allocated_resource_statuses.as_ref().and_then(|all| all.get("storage").cloned()),
            waits_for_pod: conditions.iter().any(|one| waits(&one.type_, &one.status)),
        })
    }

    /// How long this target rests after it was found to be infeasible at that time. It is asked for again
    /// slowly, whatever wakes the claim meanwhile, its own writes among them; another size is another target.
    pub fn rests(&self, target: Bytes, refused: Timestamp, now: Timestamp) -> Option<Duration> {
        if self.state.as_deref() != Some(INFEASIBLE) || self.allocated != Some(target) {
            return None;
        }
        let age = Duration::try_from(now.duration_since(refused)).unwrap_or_default();
        LONGEST_PAUSE.checked_sub(age).filter(|rest| !rest.is_zero())
    }

    /// The size to work towards, if there is something to do. `volume` is what the PersistentVolume
    /// has; `failed` says that what is in progress has come to its end without success.
    pub fn target(&self, volume: Bytes, failed: bool) -> Option<Bytes> {
        if self.spec <= self.has {
            return None;
        }
        let state = self.state.as_deref();
        let on_node = state.is_some_and(|state| state.starts_with("NodeResize"));
        if volume < self.spec {
            return match state {
                _ if on_node => self.allocated.filter(|allocated| volume < *allocated),
                Some(IN_PROGRESS) if !failed => self.allocated.or(Some(self.spec)),
                _ => Some(self.spec),
            };
        }
        match state {
            _ if on_node => None,
            Some(_) => self.allocated.or(Some(self.spec)),
            None if self.allocated.is_some() => self.allocated,
            None => (!self.waits_for_pod).then_some(self.spec),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_expansion_goes_on_where_it_was() {
        let pending = "NodeResizePending";
        // What the PersistentVolume has, the state, what was worked towards, whether it failed → the target.
        // The claim has 1, and asks for 5.
        for (volume, state, allocated, failed, target) in [
            (1, None, None, false, Some(5)),
            (1, Some(INFEASIBLE), Some(9), false, Some(5)),
            (1, Some(IN_PROGRESS), Some(9), false, Some(9)),
            (1, Some(IN_PROGRESS), Some(3), false, Some(3)),
            (1, Some(IN_PROGRESS), Some(9), true, Some(5)),
            (1, Some(IN_PROGRESS), None, false, Some(5)),
            (1, Some(pending), Some(3), false, Some(3)),
            (3, Some(pending), Some(3), false, None),
            (5, Some(pending), Some(5), false, None),
            (9, Some("NodeResizeInProgress"), Some(9), false, None),
            (5, Some(IN_PROGRESS), Some(5), false, Some(5)),
            (9, Some(IN_PROGRESS), Some(9), false, Some(9)),
            (9, Some(INFEASIBLE), Some(9), false, Some(9)),
            (9, None, Some(9), false, Some(9)),
            (5, None, None, false, Some(5)),
        ] {
            let sizes = Sizes {
                spec: Bytes::from_gib(5),
                has: Bytes::from_gib(1),
                allocated: allocated.map(Bytes::from_gib),
                state: state.map(str::to_owned),
                waits_for_pod: false,
            };
            let found = sizes.target(Bytes::from_gib(volume), failed);
            assert_eq!(found, target.map(Bytes::from_gib), "{volume} {state:?} {allocated:?} {failed}");
        }
    }

    #[test]
    fn what_has_its_size_or_waits_for_a_pod_is_left_alone() {
        let sizes = |spec: u64, waits_for_pod: bool| Sizes {
            spec: Bytes::from_gib(spec),
            has: Bytes::from_gib(2),
            allocated: None,
            state: None,
            waits_for_pod,
        };
        assert_eq!(sizes(2, false).target(Bytes::from_gib(2), false), None);
        assert_eq!(sizes(1, false).target(Bytes::from_gib(2), false), None, "it was rounded up");
        assert_eq!(sizes(3, true).target(Bytes::from_gib(3), false), None);
    }

    #[test]
    fn what_was_refused_rests() {
        let at = |seconds: i64| Timestamp::from_second(1000 + seconds).unwrap();
        let gib = Bytes::from_gib;
        for (state, allocated, seconds, rest) in [
            (Some(INFEASIBLE), 5, 0, Some(300)),
            (Some(INFEASIBLE), 5, 299, Some(1)),
            (Some(INFEASIBLE), 5, 300, None),
            (Some(INFEASIBLE), 5, -7, Some(300)),
            (Some(INFEASIBLE), 9, 0, None),
            (Some(IN_PROGRESS), 5, 0, None),
            (None, 5, 0, None),
        ] {
            let state = state.map(str::to_owned);
            let allocated = Some(gib(allocated));
            let sizes = Sizes { spec: gib(5), has: gib(1), allocated, state, waits_for_pod: false };
            let found = sizes.rests(gib(5), at(0), at(seconds));
            assert_eq!(found, rest.map(Duration::from_secs), "{sizes:?} after {seconds} s");
        }
    }
}
