use super::*;
use crate::resources::{GlusterCluster, READY};
use serde_json::json;

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: serde_json::Value) -> K {
    let metadata = json!({"name": name, "uid": name, "generation": 1});
    let object =
        json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn node(name: &str) -> GlusterNode {
    object("GlusterNode", name, json!({"cluster": "c", "hostnames": {"manage": [name], "storage": [name]}}))
}

#[test]
fn one_node_begins_the_pool_however_many_ask_at_once() {
    let cluster: GlusterCluster = object("GlusterCluster", "c", json!({"transport": {"simulated": {}}}));
    let nodes: Vec<Arc<GlusterNode>> = ["a", "b", "c"].map(node).into_iter().map(Arc::new).collect();
    let mut index = Index::default();
    index.set_topology(&[Arc::new(cluster)], &nodes, &[]);
    assert_eq!(index.accept_node(&nodes[1]), Verdict::Founder);
    assert_eq!(index.accept_node(&nodes[0]), Verdict::Accepted);
    assert_eq!(index.accept_node(&nodes[2]), Verdict::Accepted);
    assert_eq!(index.accept_node(&nodes[1]), Verdict::Founder, "asking again changes nothing");
    let same = GlusterNode { metadata: node("other").metadata, ..node("a") };
    let Verdict::Refused { reason, message } = index.accept_node(&same) else { panic!("taken twice") };
    assert_eq!((reason, message.as_str()), ("HostnameInUse", "Hostname a already used by GlusterNode a"));
}

#[test]
fn zones_keep_their_numbers() {
    let mut index = Index::default();
    let zoned = |name: &str, zone: Option<i32>, text: Option<&str>, number: Option<i32>| {
        let mut node = node(name);
        node.spec.zone = zone;
        let status = node.status.get_or_insert_default();
        (status.zone_name, status.zone) = (text.map(str::to_owned), number);
        node
    };
    let known = [zoned("a", None, Some("east"), Some(4)), zoned("b", Some(1), None, Some(1))];
    index.set_topology(&[], &known.map(Arc::new), &[]);
    let mut number = |name: &str, text: Option<&str>| index.zone_of(&zoned(name, None, text, None));
    assert_eq!(number("c", Some("east")), 4);
    assert_eq!(number("d", Some("west")), 2, "the smallest that is free");
    assert_eq!(number("e", Some("north")), 3);
    assert_eq!(number("f", Some("west")), 2, "decided once");
    assert_eq!(number("g", None), 1);
    assert_eq!(index.zone_of(&zoned("h", Some(9), Some("east"), None)), 9, "the spec wins");
}

#[test]
fn a_kubernetes_node_is_one_node_only() {
    let cluster: GlusterCluster = object("GlusterCluster", "c", json!({"transport": {"simulated": {}}}));
    let mut index = Index::default();
    let on = |name: &str| {
        let mut node = node(name);
        node.spec.kubernetes_node = Some(crate::resources::KubernetesNode::default());
        node.status.get_or_insert_default().kubernetes_node = Some("k1".into());
        Arc::new(node)
    };
    index.set_topology(&[Arc::new(cluster)], &[on("a"), on("b")], &[]);
    assert_eq!(index.accept_node(&on("a")), Verdict::Founder);
    let Verdict::Refused { reason, message } = index.accept_node(&on("b")) else { panic!("taken twice") };
    assert_eq!(reason, "SameMachine");
    assert!(message.contains("k1 is GlusterNode a already"), "{message}");
}

#[test]
fn a_gid_is_given_once_in_a_class() {
    let cluster: GlusterCluster = object("GlusterCluster", "c", json!({"transport": {"simulated": {}}}));
    let volume = |name: &str, class: &str, gid: i64| -> GlusterVolume {
        let claim = json!({"namespace": "n", "name": name, "uid": name, "storageClass": class});
        object("GlusterVolume", name, json!({"size": "1Gi", "gid": gid, "claimRef": claim}))
    };
    let mut index = Index::default();
    index.set_topology(&[Arc::new(cluster)], &[Arc::new(node("a"))], &[]);
    let mut first = volume("first", "class", 2000);
    let placement = Placement { cluster: "c".into(), ..Placement::default() };
    first.status.get_or_insert_default().placement = Some(placement);
    index.see_volume("first", Some(&first));
    let reason = |index: &Index, volume: &GlusterVolume| {
        let refusals = index.place(volume, Timestamp::UNIX_EPOCH).unwrap_err();
        refusals.first().map(|refusal| refusal.reason.clone()).unwrap()
    };
    assert_eq!(reason(&index, &volume("second", "class", 2000)), "GidInUse");
    for other in
        [volume("second", "class", 2001), volume("second", "other", 2000), volume("second", "class", 0)]
    {
        assert_ne!(reason(&index, &other), "GidInUse");
    }
    index.see_volume("first", None);
    assert_ne!(reason(&index, &volume("second", "class", 2000)), "GidInUse");
}

#[test]
fn a_volume_that_was_made_anew_under_its_name_is_another_one() {
    let volume = |uid: &str, attempt: u32| {
        let mut volume: GlusterVolume = object("GlusterVolume", "v", json!({"size": "1Gi"}));
        volume.metadata.uid = Some(uid.into());
        let status = volume.status.get_or_insert_default();
        (status.attempt, status.placement) = (attempt, Some(Placement::default()));
        volume
    };
    let mut index = Index::default();
    index.assume(&volume("first", 2));
    index.see_volume("v", Some(&volume("first", 1)));
    assert!(index.is_ahead_of(&volume("first", 1)), "the cache is behind the decision");
    index.see_volume("v", Some(&volume("second", 0)));
    assert!(!index.is_ahead_of(&volume("second", 0)), "nothing was decided about this one");
}

fn disk(name: &str, node: &str, gib: u64) -> Arc<GlusterDevice> {
    let mut device: GlusterDevice = object("GlusterDevice", name, json!({"node": node, "path": "/dev/sdb"}));
    let status = device.status.get_or_insert_default();
    let (total, extent) = (Bytes::from_gib(gib), Bytes(4 << 20));
    status.capacity = Some(crate::resources::DeviceCapacity { total, free: total, extent });
    ready(&mut status.conditions);
    Arc::new(device)
}

fn ready_node(name: &str) -> Arc<GlusterNode> {
    let mut node = node(name);
    ready(&mut node.status.get_or_insert_default().conditions);
    Arc::new(node)
}

#[test]
fn the_largest_volumes_are_what_placing_takes() {
    let index = |file: bool, disks: &[Arc<GlusterDevice>]| {
        let spec = json!({"transport": {"simulated": {}}, "file": file});
        let cluster: GlusterCluster = object("GlusterCluster", "c", spec);
        let mut index = Index::default();
        index.set_topology(&[Arc::new(cluster)], &["a", "b", "d"].map(ready_node), disks);
        index
    };
    let disks = [disk("1", "a", 100), disk("2", "b", 50), disk("3", "d", 10)];
    let found = index(true, &disks).largest("c");
    let gib = |size: Bytes| size.0 / crate::units::GIB;
    assert!((8..=10).contains(&gib(found.replicate3)), "{found:?}");
    assert!((45..=60).contains(&gib(found.replicate2)), "{found:?}");
    assert!((100..=160).contains(&gib(found.none)), "{found:?}");
    let nothing = crate::resources::LargestVolume::default();
    assert_eq!(index(true, &disks[..2]).largest("c").replicate3, Bytes(0), "two nodes are not three");
    assert_eq!(index(false, &disks).largest("c"), nothing, "it takes no file volumes");
    assert_eq!(index(true, &disks).largest("other"), nothing);
}

fn ready(conditions: &mut Vec<crate::resources::Condition>) {
    crate::resources::set_condition(conditions, Timestamp::UNIX_EPOCH, 1, (READY, "True", "Ready"), "");
}

/// What came step by step, in any order and with detours, is what was there from the beginning.
#[test]
fn a_topology_that_came_in_pieces_is_the_same() {
    let spec = json!({"transport": {"simulated": {}}});
    let cluster: GlusterCluster = object("GlusterCluster", "c", spec);
    let nodes = ["a", "b", "d"].map(ready_node);
    let disks = [disk("1", "a", 100), disk("2", "b", 50), disk("3", "d", 10)];
    let mut whole = Index::default();
    whole.set_topology(&[Arc::new(cluster.clone())], &nodes, &disks);
    let mut pieces = Index::default();
    for disk in &disks {
        pieces.see_device(&disk.name_any(), Some(disk.clone()));
    }
    for node in &nodes {
        pieces.see_node(&node.name_any(), Some(node.clone()));
    }
    pieces.see_cluster("c", Some(&cluster));
    pieces.see_node("a", None);
    pieces.see_device(&disks[1].name_any(), None);
    let id = id_of(&cluster);
    assert!(pieces.totals(id).0 < whole.totals(id).0);
    pieces.see_device(&disks[1].name_any(), Some(disks[1].clone()));
    pieces.see_node("a", Some(nodes[0].clone()));
    assert_eq!(pieces.totals(id), whole.totals(id));
    pieces.see_cluster("c", None);
    assert_eq!(pieces.totals(id), (Bytes(0), Bytes(0)));
    pieces.see_cluster("c", Some(&cluster));
    assert_eq!(pieces.totals(id), whole.totals(id));
}

/// A list is taken in its order, as Heketi does; without one the cluster with the most space comes first.
#[test]
fn clusters_are_tried_in_the_order_of_the_list_or_by_their_space() {
    let cluster = |name: &str| object("GlusterCluster", name, json!({"transport": {"simulated": {}}}));
    let clusters: Vec<Arc<GlusterCluster>> = ["c", "large", "empty"].map(cluster).map(Arc::new).into();
    let in_large = |name: &str| {
        let mut node = ready_node(name).as_ref().clone();
        node.spec.cluster = "large".into();
        Arc::new(node)
    };
    let mut index = Index::default();
    index.set_topology(
        &clusters,
        &[ready_node("a"), in_large("b")],
        &[disk("1", "a", 100), disk("2", "b", 500)],
    );
    let goes_to = |list: &[&str]| {
        let spec = json!({"size": "10Gi", "clusters": list, "durability": {"type": "none"}});
        let placed = index.place(&object("GlusterVolume", "v", spec), Timestamp::UNIX_EPOCH);
        placed.map(|placed| placed.placement.cluster)
    };
    assert_eq!(goes_to(&[]).unwrap(), "large");
    assert_eq!(goes_to(&["c", "large"]).unwrap(), "c");
    assert_eq!(goes_to(&["empty", "c", "large"]).unwrap(), "c", "the first that has a place");
    let refusals = goes_to(&["unknown", "empty"]).unwrap_err();
    let reasons: Vec<&str> = refusals.iter().map(|refusal| refusal.reason.as_str()).collect();
    assert_eq!(reasons, ["UnknownCluster", "NoNodes"]);
}
