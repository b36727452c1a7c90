use super::*;
use crate::resources::{GlusterVolumeSpec, GlusterVolumeStatus, PlacedBrick, Placement, set_condition};
use crate::units::{Bytes, GIB, Id};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn brick(retiring: bool) -> PlacedBrick {
    PlacedBrick {
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
        retiring,
    }
}

/// A volume with bricks (whether each is retiring) and conditions set at second 0.
fn volume(on_refusal: OnRefusal, bricks: &[bool], conditions: &[(&str, &str)]) -> GlusterVolume {
    let spec: GlusterVolumeSpec = serde_json::from_value(serde_json::json!({"size": "1Gi"})).unwrap();
    let mut volume = GlusterVolume::new("v", GlusterVolumeSpec { on_refusal, ..spec });
    volume.metadata.labels = Some([(ID_LABEL.to_owned(), Id::random().to_string())].into());
    volume.metadata.finalizers = Some(vec![FINALIZER.into()]);
    let mut status = GlusterVolumeStatus::default();
    if !bricks.is_empty() {
        let bricks = bricks.iter().map(|retiring| brick(*retiring)).collect();
        status.placement = Some(Placement { cluster: "c".into(), bricks });
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
        assert_eq!(decide(&volume, Some(at(0)), at(now)), next, "{name}");
    }
}

#[test]
fn deleting_goes_before_everything_else() {
    for bricks in [&[][..], &[false], &[true]] {
        let mut volume = volume(OnRefusal::Retry, bricks, &[(PLACED, "True"), (READY, "True")]);
        volume.metadata.deletion_timestamp = Some(Time(at(0)));
        let next = if bricks.is_empty() { Next::Release } else { Next::Unmake };
        assert_eq!(decide(&volume, None, at(1)), next);
        volume.metadata.finalizers.as_mut().unwrap().push("somebody/else".into());
        assert_eq!(decide(&volume, None, at(1)), Next::Wait(None));
    }
}

#[test]
fn a_volume_without_our_finalizer_gets_it_first() {
    let mut volume = volume(OnRefusal::Retry, &[], &[]);
    volume.metadata.finalizers = None;
    assert_eq!(decide(&volume, None, at(1)), Next::Adopt);
}
