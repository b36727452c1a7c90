//! How many calls are under way, which volume each is about, and how long each may wait.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::{Request, Status};

/// How many calls may be under way. Those of a sidecar are a hundred at the most.
const MOST: usize = 256;
/// How long a call may wait for what it asks for, whatever its caller would allow.
const PATIENCE: Duration = Duration::from_secs(120);
/// The part of a caller's time that is kept for the answer: it is to arrive before he hangs up.
const KEPT: u32 = 10;

/// The calls that are under way. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Calls {
    free: Arc<Semaphore>,
    busy: Arc<Mutex<HashSet<String>>>,
}

/// A call that is under way; it is over when this is dropped.
#[derive(Debug)]
pub struct Call {
    busy: Arc<Mutex<HashSet<String>>>,
    about: Option<String>,
    _permit: OwnedSemaphorePermit,
}

impl Default for Calls {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(MOST)), busy: Arc::default() }
    }
}

impl Calls {
    /// Begins a call that changes nothing.
    ///
    /// # Errors
    /// UNAVAILABLE when too many are under way.
    pub fn begin(&self) -> Result<Call, Status> {
        let permit = self.free.clone().try_acquire_owned();
        let permit = permit.map_err(|_| {
            Status::unavailable(format!("{MOST} calls are under way already: ask again in a moment"))
        })?;
        Ok(Call { busy: self.busy.clone(), about: None, _permit: permit })
    }

    /// Begins a call that changes a volume.
    ///
    /// # Errors
    /// ABORTED when another one about the same volume is under way; UNAVAILABLE when too many are.
    pub fn begin_about(&self, volume: &str) -> Result<Call, Status> {
        let mut call = self.begin()?;
        if !self.busy.lock().insert(volume.to_owned()) {
            let text = format!("another call about volume {volume} is under way: ask again in a moment");
            return Err(Status::aborted(text));
        }
        call.about = Some(volume.to_owned());
        Ok(call)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(about) = &self.about {
            self.busy.lock().remove(about);
        }
    }
}

/// Until when a call may wait: a moment before its caller's own deadline, and never for long.
pub fn until<T>(request: &Request<T>) -> Instant {
    let given = request.metadata().get("grpc-timeout").and_then(|text| timeout(text.to_str().ok()?));
    let patience = given.map_or(PATIENCE, |given| (given - given / KEPT).min(PATIENCE));
    Instant::now() + patience
}

/// A `grpc-timeout`: up to 8 digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn one_call_about_a_volume_at_a_time_and_not_too_many() {
        let calls = Calls::default();
        let first = calls.begin_about("a").unwrap();
        assert_eq!(calls.begin_about("a").unwrap_err().code(), tonic::Code::Aborted);
        let _other = calls.begin_about("b").unwrap();
        drop(first);
        let mut many: Vec<Call> = vec![calls.begin_about("a").unwrap()];
        many.extend((2..MOST).map(|_| calls.begin().unwrap()));
        assert_eq!(calls.begin().unwrap_err().code(), tonic::Code::Unavailable);
        many.clear();
        calls.begin_about("a").unwrap();
    }

    #[test]
    fn timeouts_are_read() {
        for (text, millis) in [("1H", 3_600_000), ("2M", 120_000), ("3S", 3000), ("45m", 45), ("6000u", 6)] {
            assert_eq!(timeout(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1é"] {
            assert_eq!(timeout(text), None, "{text}");
        }
    }
}
