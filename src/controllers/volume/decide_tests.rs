use super::*;
use crate::resources::{GlusterVolumeSpec, GlusterVolumeStatus, PlacedBrick, Placement, set_condition};
use crate::units::{Bytes, GIB, Id};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Everything was tried at the first second.
const TRIED: Tried = Tried { place: Some(Timestamp::UNIX_EPOCH), replace: Some(Timestamp::UNIX_EPOCH) };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn brick(retiring: bool) -> PlacedBrick {
    PlacedBrick {
        arbiter: false,
        id: Id::random(),
        device: Id::random(),
        node: Id::random(),
        host: "h".into(),
        path: "/p".into(),
        size: Bytes(GIB),
        pool_size: Bytes(GIB),
        pool_metadata: Bytes(GIB),
        set: 0,
        position: 0,
        adding: false,
        growing: false,
        replaces: None,
        replaced_by: None,
        retiring,
    }
}

/// A volume with bricks (whether each is retiring) and conditions set at second 0.
fn volume(on_refusal: OnRefusal, bricks: &[bool], conditions: &[(&str, &str)]) -> GlusterVolume {
    let spec: GlusterVolumeSpec = serde_json::from_value(serde_json::json!({"size": "1Gi"})).unwrap();
    let mut volume = GlusterVolume::new("v", GlusterVolumeSpec { on_refusal, ..spec });
    volume.metadata.labels = Some([(ID_LABEL.to_owned(), Id::random().to_string())].into());
    volume.metadata.finalizers = Some(vec![FINALIZER.into()]);
    let size = conditions.contains(&(READY, "True")).then_some(Bytes(GIB));
    let mut status = GlusterVolumeStatus { size, ..GlusterVolumeStatus::default() };
    if !bricks.is_empty() {
        let bricks = bricks.iter().map(|retiring| brick(*retiring)).collect();
        status.placement = Some(Placement { cluster: "c".into(), size: None, bricks });
    }
    for (type_, is) in conditions {
        set_condition(&mut status.conditions, at(0), 1, (type_, is, "Test"), "");
    }
    volume.status = Some(status);
    volume
}

#[test]
fn each_state_has_its_next_step() {
    use OnRefusal::{Forget, Retry};
    let placed: (&str, &str) = (PLACED, "True");
    let refused: (&str, &str) = (PLACED, "False");
    let wait = |seconds| Next::Wait(Some(Duration::from_secs(seconds) + Duration::from_millis(100)));
    let cases: Vec<(&str, GlusterVolume, i64, Next)> = vec![
        ("new", volume(Retry, &[], &[]), 1, Next::Place),
        ("placed", volume(Retry, &[false], &[placed]), 1, Next::Make),
        ("ready", volume(Retry, &[false], &[placed, (READY, "True")]), 1, Next::Wait(None)),
        ("ready, old bricks left", volume(Retry, &[false, true], &[placed, (READY, "True")]), 1, Next::Clear),
        ("to be placed anew", volume(Retry, &[true], &[(PLACED, "Unknown")]), 1, Next::Place),
        ("refused, tried just now", volume(Retry, &[], &[refused]), 1, Next::Wait(Some(REFUSED_PAUSE))),
        ("refused, tried long ago", volume(Retry, &[], &[refused]), 30, Next::Place),
        ("refused and forgotten", volume(Forget, &[], &[refused]), 20, wait(40)),
        ("refused and forgotten long ago", volume(Forget, &[], &[refused]), 61, Next::Delete),
        ("refused, with old bricks", volume(Retry, &[true], &[refused]), 1, Next::Clear),
        ("refused, with old bricks, long ago", volume(Retry, &[true], &[refused]), 30, Next::Place),
        ("refused and forgotten, with old bricks", volume(Forget, &[true], &[refused]), 61, Next::Clear),
        ("giving up", volume(Forget, &[false], &[(FAILED, "Unknown")]), 1, Next::Unmake),
        ("given up", volume(Forget, &[], &[(FAILED, "True")]), 3600, wait(23 * 3600)),
        ("given up long ago", volume(Forget, &[], &[(FAILED, "True")]), 86400, Next::Delete),
    ];
    for (name, volume, now, next) in cases {
        assert_eq!(decide(&volume, TRIED, Leaves::None, at(now)), next, "{name}");
    }
}

#[test]
fn deleting_goes_before_everything_else() {
    for bricks in [&[][..], &[false], &[true]] {
        let mut volume = volume(OnRefusal::Retry, bricks, &[(PLACED, "True"), (READY, "True")]);
        volume.metadata.deletion_timestamp = Some(Time(at(0)));
        let next = if bricks.is_empty() { Next::Release } else { Next::Unmake };
        assert_eq!(decide(&volume, Tried::default(), Leaves::None, at(1)), next);
        volume.metadata.finalizers.as_mut().unwrap().push("somebody/else".into());
        assert_eq!(decide(&volume, Tried::default(), Leaves::None, at(1)), Next::Wait(None));
    }
}

#[test]
fn a_volume_without_our_finalizer_gets_it_first() {
    let mut volume = volume(OnRefusal::Retry, &[], &[]);
    volume.metadata.finalizers = None;
    assert_eq!(decide(&volume, Tried::default(), Leaves::None, at(1)), Next::Adopt);
}

/// A volume that clients can mount, with 1 GiB of 3 that are wanted, and whether its bricks are to be added.
fn growing(on_refusal: OnRefusal, adding: &[bool], expanded: Option<(&str, &str, i64)>) -> GlusterVolume {
    let mut volume = volume(on_refusal, &vec![false; adding.len()], &[(PLACED, "True"), (READY, "True")]);
    volume.metadata.generation = Some(2);
    volume.spec.size = Bytes(3 * GIB);
    let status = volume.status.as_mut().unwrap();
    let placement = status.placement.as_mut().unwrap();
    let placed = if adding.contains(&true) { 3 } else { 1 };
    placement.size = Some(Bytes(placed * GIB));
    for (brick, adding) in placement.bricks.iter_mut().zip(adding) {
        brick.adding = *adding;
    }
    if let Some((is, reason, generation)) = expanded {
        set_condition(&mut status.conditions, at(0), generation, (EXPANDED, is, reason), "");
    }
    volume
}

#[test]
fn a_volume_that_is_wanted_larger_grows() {
    use OnRefusal::{Forget, Retry};
    let refused = Some(("False", "Refused", 2));
    let older = Some(("False", "Refused", 1));
    let failed = Some(("False", "Failed", 2));
    let (now, long) = (Next::Wait(Some(REFUSED_PAUSE)), 30);
    let cases: Vec<(&str, GlusterVolume, i64, Next)> = vec![
        ("wanted larger", growing(Retry, &[false], None), 1, Next::Place),
        ("placed", growing(Retry, &[false, true], Some(("False", "Adding", 2))), 1, Next::Grow),
        ("placed anew", growing(Retry, &[false], Some(("False", "Adding", 2))), 1, Next::Place),
        ("refused just now", growing(Retry, &[false], refused), 1, now),
        ("refused long ago", growing(Retry, &[false], refused), long, Next::Place),
        ("failed long ago", growing(Retry, &[false], failed), long, Next::Place),
        ("refused and forgotten", growing(Forget, &[false], refused), 1, Next::Lower),
        ("failed and forgotten", growing(Forget, &[false], failed), 1, Next::Lower),
        ("another wish after a refusal", growing(Forget, &[false], older), 1, Next::Place),
    ];
    for (name, volume, now, next) in cases {
        assert_eq!(decide(&volume, TRIED, Leaves::None, at(now)), next, "{name}");
    }
}

/// What was begun cannot be taken back, so it goes on whatever else is wanted; nothing else is done meanwhile.
#[test]
fn bricks_that_grow_are_made_larger_first() {
    for (reason, wanted) in [("Growing", 3), ("Failed", 3), ("Growing", 5), ("Growing", 1)] {
        let mut volume = growing(OnRefusal::Retry, &[false], Some(("False", reason, 2)));
        volume.spec.size = Bytes(wanted * GIB);
        let placement = volume.status.as_mut().unwrap().placement.as_mut().unwrap();
        placement.bricks[0].growing = true;
        placement.size = Some(Bytes(3 * GIB));
        placement.bricks.push(brick(true));
        assert_eq!(decide(&volume, TRIED, Leaves::None, at(1)), Next::Grow, "{reason} {wanted}");
    }
}

#[test]
fn a_volume_that_has_what_is_wanted_says_so() {
    let mut lowered = growing(OnRefusal::Retry, &[false], Some(("False", "Refused", 2)));
    lowered.spec.size = Bytes(GIB);
    assert_eq!(decide(&lowered, Tried::default(), Leaves::None, at(1)), Next::Settle);
    lowered.spec.on_refusal = OnRefusal::Forget;
    assert_eq!(
        decide(&lowered, Tried::default(), Leaves::None, at(1)),
        Next::Wait(None),
        "why it was taken back can be read"
    );
    let mut old = growing(OnRefusal::Retry, &[false], None);
    old.status.as_mut().unwrap().size = None;
    assert_eq!(
        decide(&old, Tried::default(), Leaves::None, at(1)),
        Next::Settle,
        "one that was made before sizes were written down"
    );
    let mut grown = growing(OnRefusal::Retry, &[false], None);
    grown.status.as_mut().unwrap().placement.as_mut().unwrap().size = Some(Bytes(3 * GIB));
    assert_eq!(
        decide(&grown, Tried::default(), Leaves::None, at(1)),
        Next::Settle,
        "its bricks give more than it was granted"
    );
}

#[test]
fn a_rebalance_is_begun_looked_at_and_begun_again() {
    let with = |phase, since: i64, seen: i64, attempts| {
        let mut volume = volume(OnRefusal::Retry, &[false], &[(PLACED, "True"), (READY, "True")]);
        volume.spec.size = Bytes(GIB);
        let (since, seen) = (at(since).to_string(), at(seen).to_string());
        let rebalance = Rebalance { phase, since, seen, attempts, ..Rebalance::default() };
        volume.status.as_mut().unwrap().rebalance = Some(rebalance);
        volume
    };
    let wait = |millis| Next::Wait(Some(Duration::from_millis(millis)));
    for (name, volume, next) in [
        ("to be begun", with(RebalancePhase::Pending, 100, 100, 0), Next::Rebalance),
        ("looked at just now", with(RebalancePhase::Running, 100, 100, 1), wait(1100)),
        ("looked at a while ago", with(RebalancePhase::Running, 98, 98, 1), Next::Rebalance),
        ("runs for long, looked at a second ago", with(RebalancePhase::Running, 20, 99, 1), wait(9100)),
        ("done", with(RebalancePhase::Completed, 0, 0, 1), Next::Wait(None)),
        ("stopped by hand", with(RebalancePhase::Stopped, 0, 0, 1), Next::Wait(None)),
        ("failed just now", with(RebalancePhase::Failed, 100, 100, 1), wait(30_100)),
        ("failed a while ago", with(RebalancePhase::Failed, 70, 70, 1), Next::Rebalance),
        ("failed often", with(RebalancePhase::Failed, 70, 70, 3), wait(90_100)),
    ] {
        assert_eq!(decide(&volume, Tried::default(), Leaves::None, at(100)), next, "{name}");
    }
}

#[test]
fn bricks_wait_for_a_rebalance_that_runs() {
    let mut volume = growing(OnRefusal::Retry, &[false, true], Some(("False", "Adding", 2)));
    let mut with = |phase| {
        let rebalance =
            Rebalance { phase, since: at(0).to_string(), seen: at(0).to_string(), ..Rebalance::default() };
        volume.status.as_mut().unwrap().rebalance = Some(rebalance);
        decide(&volume, Tried::default(), Leaves::None, at(10))
    };
    assert_eq!(with(RebalancePhase::Running), Next::Rebalance);
    for phase in [RebalancePhase::Pending, RebalancePhase::Failed, RebalancePhase::Completed] {
        assert_eq!(with(phase), Next::Grow, "{phase:?}");
    }
}

/// A rebalance was begun, and somebody else wrote the volume before that was written down.
#[test]
fn bricks_wait_for_a_rebalance_that_nobody_knew_of() {
    use super::super::perform::Grown;
    use super::super::report::{self, Report};
    let mut volume = growing(OnRefusal::Forget, &[false, true], None);
    let since = at(0).to_string();
    let pending =
        Rebalance { phase: RebalancePhase::Pending, seen: since.clone(), since, ..Rebalance::default() };
    volume.status.as_mut().unwrap().rebalance = Some(pending);
    assert_eq!(decide(&volume, Tried::default(), Leaves::None, at(1)), Next::Grow);
    let told = report::status(&volume, Report::Grown(Grown::Moving), at(1), 5);
    let status = told.status.as_ref().unwrap();
    assert_eq!(status.rebalance.as_ref().map(|seen| seen.phase), Some(RebalancePhase::Running));
    assert_eq!(status.placement, volume.status.as_ref().unwrap().placement, "nothing is taken back");
    assert!(matches!(decide(&told, Tried::default(), Leaves::None, at(1)), Next::Wait(Some(_))));
    assert_eq!(decide(&told, Tried::default(), Leaves::None, at(60)), Next::Rebalance);
}

/// A volume with three bricks; what is said of them stands in pairs of brick and word.
fn exchanging(words: &[(usize, &str)], replaced: Option<(&str, &str)>) -> GlusterVolume {
    let count = 3 + usize::from(words.iter().any(|(brick, _)| *brick == 3));
    let mut volume = volume(OnRefusal::Retry, &vec![false; count], &[(PLACED, "True"), (READY, "True")]);
    let status = volume.status.as_mut().unwrap();
    status.size = Some(volume.spec.size);
    let bricks = &mut status.placement.as_mut().unwrap().bricks;
    for (at, brick) in bricks.iter_mut().enumerate() {
        brick.id = Id::from_uid(&at.to_string());
    }
    for (at, word) in words {
        match *word {
            "new" => bricks[*at].replaces = Some(Id::from_uid("0")),
            "old" => (bricks[*at].retiring, bricks[*at].replaced_by) = (true, Some(Id::from_uid("0"))),
            "adding" => bricks[*at].adding = true,
            "growing" => bricks[*at].growing = true,
            other => panic!("{other}"),
        }
    }
    if let Some((is, reason)) = replaced {
        set_condition(&mut status.conditions, at(0), 1, (REPLACED, is, reason), "");
    }
    volume
}

#[test]
fn a_brick_leaves_a_device_that_was_given_up() {
    let refused = Some(("False", "NoReplacement"));
    let heals = Some(("False", "Healing"));
    let again = Next::Wait(Some(REFUSED_PAUSE));
    for (name, volume, leaves, now, next) in [
        ("nothing to do", exchanging(&[], None), Leaves::None, 1, Next::Wait(None)),
        ("given up", exchanging(&[], None), Leaves::Alive, 1, Next::Replace),
        ("placed", exchanging(&[(3, "new")], Some(("False", "Moving"))), Leaves::Alive, 1, Next::Exchange),
        ("placed, and kept after all", exchanging(&[(3, "new")], None), Leaves::None, 1, Next::Exchange),
        ("no place just now", exchanging(&[], refused), Leaves::Alive, 1, again),
        ("no place long ago", exchanging(&[], refused), Leaves::Alive, 30, Next::Replace),
        ("kept after all", exchanging(&[], refused), Leaves::None, 1, Next::Replaced),
        ("exchanged", exchanging(&[(3, "old")], heals), Leaves::None, 1, Next::Clear),
        ("the next one waits for that", exchanging(&[(3, "old")], heals), Leaves::Alive, 1, Next::Clear),
        ("a dead one does not wait", exchanging(&[(3, "old")], heals), Leaves::Dead, 1, Next::Replace),
        ("all done", exchanging(&[], heals), Leaves::None, 1, Next::Replaced),
        ("an expansion comes first", exchanging(&[(2, "adding")], None), Leaves::Alive, 1, Next::Grow),
        ("what grows in place waits", exchanging(&[(2, "growing")], None), Leaves::Alive, 1, Next::Replace),
        ("done long ago", exchanging(&[], Some(("True", "Replaced"))), Leaves::None, 1, Next::Wait(None)),
    ] {
        assert_eq!(decide(&volume, TRIED, leaves, at(now)), next, "{name}");
    }
    let mut larger = exchanging(&[], refused);
    larger.spec.size = larger.spec.size.plus(Bytes(GIB));
    let tried = Tried { place: None, replace: Some(at(0)) };
    assert_eq!(
        decide(&larger, tried, Leaves::Alive, at(1)),
        Next::Place,
        "what has no place keeps nothing else waiting"
    );
    let mut moves = exchanging(&[(3, "new")], None);
    let running = Rebalance { phase: RebalancePhase::Running, ..Rebalance::default() };
    moves.status.as_mut().unwrap().rebalance = Some(running);
    assert_eq!(
        decide(&moves, Tried::default(), Leaves::Alive, at(1)),
        Next::Rebalance,
        "GlusterFS exchanges nothing meanwhile"
    );
    moves.status.as_mut().unwrap().rebalance.as_mut().unwrap().message = "it waits for a node".into();
    assert_eq!(
        decide(&moves, Tried::default(), Leaves::Alive, at(1)),
        Next::Exchange,
        "it may wait for the one that leaves"
    );
}
