//! Whether the writer waits for company of a write: a commit costs nearly the same for one write and for twenty, and
//! whoever is about to send the next one needs the processor that the commit would take.

use std::time::{Duration, Instant};

/// How far the commits of writes with company are apart. One that takes longer finds the next writes waiting anyway.
const APART: Duration = Duration::from_micros(800);
/// Batches of one write in a row after which it waits no more.
const ALONE: u32 = 8;

/// What has come lately. Whoever is alone and writes one thing after the other does not have to wait: nothing more can
/// come from there before its answer. Only if something has come while a commit ran, others are about.
#[derive(Debug)]
pub(super) struct Company {
    /// How many batches may still be alone before it is not waited any more.
    hope: u32,
    /// When the last batch was taken.
    taken: Instant,
}

impl Company {
    pub(super) fn new() -> Self {
        Self { hope: 0, taken: Instant::now() }
    }

    /// Waits a moment, if company is to be expected and the last batch was taken just now.
    pub(super) fn wait(&self) {
        let pause = self.pause(Instant::now());
        if !pause.is_zero() {
            // Nobody wakes the writer meanwhile: that would cost each of them more than the wait.
            std::thread::sleep(pause);
        }
    }

    fn pause(&self, now: Instant) -> Duration {
        if self.hope == 0 { Duration::ZERO } else { APART.saturating_sub(now.duration_since(self.taken)) }
    }

    /// A batch was taken with so many writes.
    pub(super) fn came(&mut self, writes: usize) {
        self.taken = Instant::now();
        self.hope = if writes > 1 { ALONE } else { self.hope.saturating_sub(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_waited_for_as_long_as_it_comes() {
        let mut company = Company::new();
        let pause = |company: &mut Company, writes: &[usize]| {
            writes.iter().for_each(|writes| company.came(*writes));
            company.pause(company.taken)
        };
        assert_eq!(pause(&mut company, &[1; 20]), Duration::ZERO, "one after the other");
        assert_eq!(pause(&mut company, &[2]), APART);
        assert_eq!(pause(&mut company, &[1; ALONE as usize - 1]), APART, "it may stay away for a while");
        assert_eq!(pause(&mut company, &[3, 1, 1]), APART);
        assert_eq!(company.pause(company.taken + APART / 4), APART * 3 / 4);
        assert_eq!(company.pause(company.taken + 2 * APART), Duration::ZERO, "others are long here");
        assert_eq!(pause(&mut company, &[1; ALONE as usize]), Duration::ZERO, "and is given up then");
    }
}
