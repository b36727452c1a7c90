//! The rules of `ours`, one line a rule.

use serde_json::{Value, json};

use super::*;
use crate::units::GIB;

fn claim(change: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {"name": "data", "namespace": "default", "uid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "annotations": {"volume.kubernetes.io/storage-provisioner": PROVISIONER}},
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "gluster",
            "resources": {"requests": {"storage": "10Gi"}}}
    });
    json_patch::merge(&mut claim, &change);
    serde_json::from_value(claim).unwrap()
}

fn class(change: Value) -> Option<Arc<StorageClass>> {
    let mut class = json!({"metadata": {"name": "gluster", "uid": "c"}, "provisioner": PROVISIONER});
    json_patch::merge(&mut class, &change);
    Some(Arc::new(serde_json::from_value(class).unwrap()))
}

fn verdict(of_claim: Value, of_class: Value) -> Verdict {
    judge(&claim(of_claim), |name| class(of_class).filter(|_| name == "gluster"))
}

fn annotated(annotations: Value) -> Value {
    json!({"metadata": {"annotations": annotations}})
}

fn modes(modes: Value) -> Value {
    json!({"spec": {"accessModes": modes}})
}

#[test]
fn claims_that_are_not_ours_are_left_alone() {
    let no_name = json!({"spec": {"storageClassName": null}});
    let other = json!({"provisioner": "example.com/other"});
    let unasked = annotated(json!({"volume.kubernetes.io/storage-provisioner": null}));
    let asked_other = annotated(json!({"volume.kubernetes.io/storage-provisioner": "example.com/other"}));
    let migrated = annotated(json!({"pv.kubernetes.io/migrated-to": "example.com/other"}));
    for (of_claim, of_class) in [
        (json!({"spec": {"volumeName": "some"}}), json!({})),
        (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), json!({})),
        (unasked, json!({})),
        (asked_other, json!({})),
        (migrated, json!({})),
        (no_name, json!({})),
        (json!({}), other),
    ] {
        assert_eq!(verdict(of_claim.clone(), of_class), Verdict::NotOurs, "{of_claim}");
    }
}

#[test]
fn claims_that_are_ours_are_served() {
    let beta = annotated(json!({"volume.kubernetes.io/storage-provisioner": null,
        "volume.beta.kubernetes.io/storage-provisioner": PROVISIONER}));
    let named_by_annotation = json!({"metadata": {"annotations": {CLASS_ANNOTATION: "gluster"}},
        "spec": {"storageClassName": "nothing"}});
    let late = json!({"volumeBindingMode": "WaitForFirstConsumer"});
    let selected = annotated(json!({"volume.kubernetes.io/selected-node": "n1"}));
    let selected_long_ago = annotated(json!({"volume.alpha.kubernetes.io/selected-node": "n1"}));
    let migrated = annotated(json!({"volume.kubernetes.io/storage-provisioner": "kubernetes.io/glusterfs",
        "pv.kubernetes.io/migrated-to": PROVISIONER}));
    for (of_claim, of_class) in [
        (json!({}), json!({})),
        (json!({}), json!({"volumeBindingMode": "Immediate"})),
        (beta, json!({})),
        (named_by_annotation, json!({})),
        (selected, late.clone()),
        (selected_long_ago, late),
        (migrated, json!({})),
        (modes(json!(["ReadWriteOnce"])), json!({})),
        (modes(json!(["ReadOnlyMany"])), json!({})),
        (modes(json!(["ReadWriteOncePod"])), json!({})),
        (modes(json!(["ReadWriteMany", "ReadOnlyMany", "ReadWriteOnce"])), json!({})),
    ] {
        let verdict = verdict(of_claim.clone(), of_class);
        assert!(matches!(verdict, Verdict::Serve(_)), "{of_claim}: {verdict:?}");
    }
}

#[test]
fn claims_that_cannot_be_served_say_why() {
    let clone = json!({"kind": "PersistentVolumeClaim", "name": "old"});
    let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    let topologies = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}]);
    for (of_claim, of_class, text) in [
        (json!({"spec": {"storageClassName": "gone"}}), json!({}), "no StorageClass \"gone\""),
        (json!({"spec": {"volumeMode": "Block"}}), json!({}), "Block is not offered"),
        (json!({"spec": {"selector": {}}}), json!({}), "claim Selector is not supported"),
        (json!({"spec": {"dataSource": clone}}), json!({}), "PersistentVolumeClaim \"old\""),
        (json!({"spec": {"dataSourceRef": snapshot}}), json!({}), "VolumeSnapshot \"s\""),
        (modes(json!(["ReadOnlyMany", "ReadWriteOnce"])), json!({}), "do not go together"),
        (modes(json!(["ReadWriteOncePod", "ReadWriteMany"])), json!({}), "goes with no other"),
        (modes(json!(["Sometimes"])), json!({}), "not known"),
        (json!({}), json!({"allowedTopologies": topologies}), "\"gluster\": its allowedTopologies"),
        (json!({}), json!({"parameters": {"volumetype": "x"}}), "volumetype"),
        (json!({"spec": {"resources": {"requests": {"storage": "0"}}}}), json!({}), "requests.storage"),
        (json!({"spec": {"resources": {"requests": {"storage": "20E"}}}}), json!({}), "requests.storage"),
    ] {
        match verdict(of_claim.clone(), of_class) {
            Verdict::Refused(why) => assert!(why.contains(text), "{of_claim}: {why}"),
            other => panic!("{of_claim}: {other:?}"),
        }
    }
}

#[test]
fn what_waits_for_others_waits() {
    let late = json!({"volumeBindingMode": "WaitForFirstConsumer"});
    assert_eq!(verdict(json!({}), late.clone()), Verdict::Waits);
    let unselected = annotated(json!({"volume.kubernetes.io/selected-node": ""}));
    assert_eq!(verdict(unselected, late), Verdict::Waits);
    let populated = json!({"spec": {"dataSourceRef":
        {"apiGroup": "example.com", "kind": "Hello", "name": "h", "namespace": "x"}}});
    assert_eq!(verdict(populated, json!({})), Verdict::Populated);
}

fn wish_of(of_claim: Value, of_class: Value) -> Wish {
    match verdict(of_claim, of_class) {
        Verdict::Serve(wish) => *wish,
        other => panic!("{other:?}"),
    }
}

#[test]
fn small_claims_get_the_smallest_volume() {
    let sized = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    for (asked, size) in [("1", SMALLEST.0), ("100Mi", SMALLEST.0), ("1Gi", GIB), ("1e10", 10_000_000_000)] {
        let wish = wish_of(sized(asked), json!({}));
        assert_eq!((wish.size.0, wish.asked), (size, quantity::read(asked).unwrap()), "{asked}");
    }
}

#[test]
fn a_prefix_names_volumes_as_the_old_provisioner_did() {
    let named = |name: &str| {
        let wish = wish_of(json!({}), json!({"parameters": {"volumenameprefix": "team"}}));
        let spec = volume_spec(&claim(json!({"metadata": {"name": name}})), &wish, vec![], 0);
        spec.name.unwrap()
    };
    assert_eq!(named("data"), "team_default_data_6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    assert_eq!(named("a.b"), "team_default_a-b_6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    let long = named(&"x".repeat(253));
    assert!(long.len() == 200 && long.ends_with("_6ba7b810-9dad-11d1-80b4-00c04fd430c8"), "{long}");
    assert_eq!(crate::units::check_volume_name(&long), Ok(()));
}
