//! How long this replica may work: from each renewal of its Lease for a while, by clocks of its own.
//! Whatever is sent to the API server or to a node asks here right before it goes, so that a process
//! that was paused, or cut off, sends nothing once somebody else may hold the Lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::executor::Permit;

/// A holder that could not renew for this long stands still: 4 s before anybody else may take the Lease,
/// so that what it has sent has arrived by then.
pub const RENEW_WITHIN: Duration = Duration::from_secs(8);

/// A moment by both clocks. The monotonic one does not see the time for which a machine was
/// suspended; the other one may be set back.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    monotonic: Instant,
    wall: Timestamp,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: Timestamp::now() }
    }

    /// How long ago it was, by the clock that says more.
    fn elapsed(self, now: Self) -> Duration {
        let monotonic = now.monotonic.saturating_duration_since(self.monotonic);
        monotonic.max(Duration::try_from(now.wall.duration_since(self.wall)).unwrap_or_default())
    }
}

/// The right to work. Clones are the same one; it is not held until it is renewed.
#[derive(Clone, Default)]
pub struct Tenure(Arc<Mutex<Option<Moment>>>);

impl Tenure {
    /// It holds from the moment at which the renewal was asked for: it was written after that.
    pub fn renew(&self, asked: Moment) {
        *self.0.lock() = Some(asked);
    }

    /// It is over, whatever the clocks say.
    pub fn end(&self) {
        *self.0.lock() = None;
    }

    /// Whether it holds now.
    pub fn holds(&self) -> bool {
        self.holds_at(Moment::now())
    }

    fn holds_at(&self, now: Moment) -> bool {
        self.0.lock().is_some_and(|renewed| renewed.elapsed(now) < RENEW_WITHIN)
    }

    /// The question that others ask before they send something.
    pub fn permit(&self) -> Permit {
        let tenure = self.clone();
        Permit::new(move || tenure.holds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(moment: Moment, monotonic: u64, wall: i64) -> Moment {
        let (ahead, back) =
            (Duration::from_secs(wall.max(0) as u64), Duration::from_secs((-wall).max(0) as u64));
        Moment {
            monotonic: moment.monotonic + Duration::from_secs(monotonic),
            wall: moment.wall + ahead - back,
        }
    }

    #[test]
    fn either_clock_ends_it() {
        let tenure = Tenure::default();
        let start = Moment::now();
        assert!(!tenure.holds_at(start), "nobody has renewed it yet");
        tenure.renew(start);
        for (monotonic, wall, holds) in [
            (0, 0, true),
            (7, 7, true),
            (8, 8, false),
            (60, 60, false),
            (2, 60, false),
            (60, -5, false),
            (7, -60, true),
        ] {
            let now = later(start, monotonic, wall);
            assert_eq!(tenure.holds_at(now), holds, "{monotonic} s and {wall} s later");
        }
        tenure.end();
        assert!(!tenure.holds_at(start));
    }
}
