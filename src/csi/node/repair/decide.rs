//! What is to be done about a staged volume, by what is recorded, mounted and seen. Pure.

use std::path::PathBuf;
use std::time::Duration;

use crate::csi::node::mounts::{Mounted, Table};
use crate::csi::node::record::Record;
use crate::csi::node::touch::Seen;

/// How long after a repair that failed the next is tried, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(60));

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it works, or it is the orchestrator's turn.
    Nothing,
    /// Its record goes: kubelet's directory is gone, and nothing of it is mounted.
    Forget,
    /// Nothing can be done but say so: a client that hangs may go on, and its files with it.
    Report(String),
    /// A client is started anew, and what was bound of the dead one is bound anew.
    Repair,
    /// The client lives, but these targets show one that has died.
    Rebind(Vec<PathBuf>),
}

/// Decides. `seen` is what a look at the staging path has seen if the volume is mounted there, and
/// `is_there` whether there is such a directory.
pub fn decide(record: &Record, table: &Table, seen: Option<&Seen>, is_there: bool) -> Step {
    let Some(top) = table.top(&record.staging) else {
        // A repair that was cut off has unmounted it; otherwise whoever staged it will do so again.
        let is_shown = !shown(record, table).is_empty();
        return if is_shown {
            Step::Repair
        } else if is_there {
            Step::Nothing
        } else {
            Step::Forget
        };
    };
    if !top.is_of(&record.volume) {
        return Step::Nothing;
    }
    match seen {
        Some(Seen::Dead) => Step::Repair,
        Some(Seen::Alive(_)) => {
            let stale = shown(record, table).into_iter().filter(|mounted| mounted.device != top.device);
            let stale: Vec<PathBuf> = stale.map(|mounted| mounted.at.clone()).collect();
            if stale.is_empty() { Step::Nothing } else { Step::Rebind(stale) }
        }
        Some(seen) => seen.wrong().map_or(Step::Nothing, Step::Report),
        None => Step::Nothing,
    }
}

/// The targets at which the volume is mounted, by whichever client.
fn shown<'a>(record: &Record, table: &'a Table) -> Vec<&'a Mounted> {
    let tops = record.targets.keys().filter_map(|target| table.top(target));
    tops.filter(|mounted| mounted.is_of(&record.volume)).collect()
}

/// How long to wait after so many failures in a row.
pub fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    PAUSES.0.saturating_mul(doubled).min(PAUSES.1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::csi::node::record::Target;
    use crate::csi::node::touch::{Room, Sizes};

    const STAGED: &str = "9 1 0:5 / /s rw - fuse.glusterfs a:/v rw\n";
    const SHOWN: &str = "10 1 0:5 / /t rw - fuse.glusterfs a:/v rw\n";
    const STALE: &str = "10 1 0:4 / /t rw - fuse.glusterfs b:/v rw\n";

    fn step(lines: &[&str], seen: Option<&Seen>, is_there: bool) -> Step {
        let how = Target { readonly: false, mode: 5 };
        let record = Record {
            handle: "h".into(),
            staging: "/s".into(),
            volume: "v".into(),
            servers: vec!["a".into()],
            options: Vec::new(),
            targets: BTreeMap::from([("/t".into(), how), ("/u".into(), how)]),
            pods: BTreeMap::new(),
        };
        decide(&record, &Table::parse(lines.concat().as_bytes()), seen, is_there)
    }

    fn alive() -> Seen {
        let none = Room { total: 0, used: 0, available: 0 };
        Seen::Alive(Sizes { bytes: none, inodes: none })
    }

    #[test]
    fn a_client_that_lives_is_left_alone() {
        assert_eq!(step(&[STAGED, SHOWN], Some(&alive()), true), Step::Nothing);
        assert_eq!(step(&[STAGED], Some(&alive()), true), Step::Nothing, "recorded, not mounted yet");
        let hangs = step(&[STAGED, SHOWN], Some(&Seen::Hangs), true);
        assert!(matches!(&hangs, Step::Report(why) if why.contains("did not answer")), "{hangs:?}");
        let refuses = step(&[STAGED, STALE], Some(&Seen::Refuses("no".into())), true);
        assert!(matches!(refuses, Step::Report(_)));
        assert_eq!(step(&[STAGED, SHOWN], None, true), Step::Nothing, "nobody has looked");
    }

    #[test]
    fn a_dead_client_is_replaced_wherever_a_repair_was_cut_off() {
        assert_eq!(step(&[STAGED, SHOWN], Some(&Seen::Dead), true), Step::Repair);
        assert_eq!(step(&[STAGED], Some(&Seen::Dead), true), Step::Repair);
        assert_eq!(step(&[STALE], None, true), Step::Repair, "unmounted, not yet mounted anew");
        assert_eq!(step(&[STALE], None, false), Step::Repair);
        assert_eq!(step(&[STAGED, STALE], Some(&alive()), true), Step::Rebind(vec!["/t".into()]));
    }

    #[test]
    fn what_is_not_mounted_is_the_orchestrators_or_forgotten() {
        assert_eq!(step(&[], None, true), Step::Nothing);
        assert_eq!(step(&[], None, false), Step::Forget);
        let other = "9 1 0:9 / /s rw - tmpfs tmpfs rw\n";
        assert_eq!(step(&[other, STALE], Some(&Seen::Dead), true), Step::Nothing, "something else is there");
        let other = "10 1 0:9 / /t rw - tmpfs tmpfs rw\n";
        assert_eq!(step(&[other], None, false), Step::Forget, "what is at the target is not of this volume");
    }

    #[test]
    fn failures_are_tried_again_later_and_later() {
        let seconds: Vec<u64> = (1..8).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [3, 6, 12, 24, 48, 60, 60]);
        assert_eq!(pause(u32::MAX), PAUSES.1);
    }
}
