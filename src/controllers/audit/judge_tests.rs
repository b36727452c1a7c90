use serde_json::json;

use super::*;
use crate::resources::{GlusterVolumeStatus, Placement, set_condition};
use crate::units::{GIB, brick_path};

/// One node with one device and one ready volume of one brick, all as it should be.
struct World {
    node: GlusterNode,
    device: GlusterDevice,
    volume: GlusterVolume,
    view: NodeView,
}

fn world() -> World {
    let (node_id, device_id, volume_id) = (Id::from_uid("n"), Id::from_uid("d"), Id::from_uid("v"));
    let brick_id = volume_id.derive("1/0/0");
    let meta = |name: &str, id: Id| json!({"apiVersion": "bricklayer.dev/v1alpha1", "metadata": {"name": name, "labels": {"bricklayer.dev/id": id.to_string()}}});
    let object = |name: &str, id: Id, kind: &str, spec: serde_json::Value| {
        let mut object = meta(name, id);
        object["kind"] = json!(kind);
        object["spec"] = spec;
        object
    };
    let node = object(
        "n",
        node_id,
        "GlusterNode",
        json!({"cluster": "c", "hostnames": {"manage": ["m"], "storage": ["s"]}}),
    );
    let device = object("d", device_id, "GlusterDevice", json!({"node": "n", "path": "/dev/sdb"}));
    let volume =
        object("v", volume_id, "GlusterVolume", json!({"size": "1Gi", "durability": {"type": "none"}}));
    let mut device: GlusterDevice = serde_json::from_value(device).unwrap();
    let mut volume: GlusterVolume = serde_json::from_value(volume).unwrap();
    let now = jiff::Timestamp::UNIX_EPOCH;
    let brick = PlacedBrick {
        arbiter: false,
        id: brick_id,
        device: device_id,
        node: node_id,
        host: "s".into(),
        path: brick_path(device_id, brick_id),
        size: Bytes(GIB),
        pool_size: Bytes(GIB),
        pool_metadata: Bytes(8 << 20),
        set: 0,
        position: 0,
        adding: false,
        growing: false,
        replaces: None,
        replaced_by: None,
        retiring: false,
    };
    let address = brick.address();
    let placement = Some(Placement { cluster: "c".into(), size: None, bricks: vec![brick] });
    let mut status = GlusterVolumeStatus { placement, ..GlusterVolumeStatus::default() };
    set_condition(&mut status.conditions, now, 1, (READY, "True", "Started"), "");
    volume.status = Some(status);
    let status = device.status.get_or_insert_default();
    set_condition(&mut status.conditions, now, 1, (READY, "True", "Prepared"), "");
    let (vg, point) = (vg_name(device_id), mount_point(device_id, brick_id));
    let lv = |name: String, size: Bytes| LogicalVolume {
        name,
        vg: vg.clone(),
        size,
        pool: String::new(),
        tags: vec![format!("{BRICK_TAG}{brick_id}"), format!("{VOLUME_TAG}{volume_id}")],
    };
    let spare = LogicalVolume { tags: vec![], ..lv("[lvol0_pmspare]".into(), Bytes(8 << 20)) };
    let view = NodeView {
        node: node_id,
        host: "m".into(),
        error: None,
        groups: vec![VolumeGroup {
            name: vg.clone(),
            size: Bytes(10 * GIB),
            free: Bytes(9 * GIB - (16 << 20)),
            extent: Bytes(4 << 20),
            tags: vec![format!("{DEVICE_TAG}{device_id}")],
        }],
        logical: vec![lv(lv_name(brick_id), Bytes(GIB)), spare],
        mounts: HashSet::from([point.clone(), "/".into()]),
        fstab: HashSet::from([point]),
        volumes: Arc::new(vec![gluster::Volume {
            name: volume.volume_name(),
            started: true,
            bricks: vec![address],
            options: vec![(OWNER_OPTION.into(), volume_id.to_string())],
        }]),
    };
    World { node: serde_json::from_value(node).unwrap(), device, volume, view }
}

fn judged(world: &World) -> Judged {
    let volumes = std::slice::from_ref(&world.volume);
    let (nodes, devices) = (std::slice::from_ref(&world.node), std::slice::from_ref(&world.device));
    judge(&Objects { nodes, devices, volumes }, std::slice::from_ref(&world.view))
}

#[test]
fn a_world_in_order_has_no_faults() {
    let judged = judged(&world());
    assert_eq!(judged.wrong, Vec::<String>::new());
    assert_eq!((judged.bricks, judged.unsettled.len()), (1, 0));
}

#[test]
fn every_single_fault_is_found() {
    type Damage = fn(&mut World);
    let damages: &[(&str, Damage)] = &[
        ("logical volume is missing", |w| w.view.logical.retain(|lv| lv.tags.is_empty())),
        ("not mounted", |w| w.view.mounts.clear()),
        ("not in the fstab", |w| w.view.fstab.clear()),
        ("is not known", |w| Arc::make_mut(&mut w.view.volumes).clear()),
        ("not started", |w| Arc::make_mut(&mut w.view.volumes)[0].started = false),
        ("other bricks", |w| Arc::make_mut(&mut w.view.volumes)[0].bricks.push("s:/x".into())),
        ("lacks the tag", |w| w.view.logical[0].tags.truncate(1)),
        ("instead of", |w| w.view.logical[0].size = Bytes(1)),
        ("are used and", |w| w.view.groups[0].free = Bytes(GIB)),
        ("volume group is missing", |w| w.view.groups.clear()),
        ("cannot be looked at", |w| w.view.error = Some("down".into())),
        ("not complete and in order", |w| {
            w.volume.status.as_mut().unwrap().placement.as_mut().unwrap().bricks[0].set = 1;
        }),
        ("is placed twice", |w| {
            let placement = w.volume.status.as_mut().unwrap().placement.as_mut().unwrap();
            placement.bricks.push(placement.bricks[0].clone());
        }),
    ];
    for (text, damage) in damages {
        let mut world = world();
        damage(&mut world);
        let judged = judged(&world);
        assert!(judged.wrong.iter().any(|wrong| wrong.contains(text)), "{text}: {judged}");
    }
}

#[test]
fn the_bricks_of_an_expansion_are_in_the_volume_or_not_yet() {
    let mut world = world();
    let status = world.volume.status.as_mut().unwrap();
    let placement = status.placement.as_mut().unwrap();
    let added = PlacedBrick { id: Id::from_uid("new"), set: 1, adding: true, ..placement.bricks[0].clone() };
    let added = PlacedBrick { path: brick_path(added.device, added.id), ..added };
    placement.bricks.push(added.clone());
    let before = judged(&world);
    assert_eq!((before.wrong.clone(), before.unsettled.len()), (vec![], 1), "{before}");
    Arc::make_mut(&mut world.view.volumes)[0].bricks.push(added.address());
    let after = judged(&world);
    assert_eq!((after.wrong.clone(), after.unsettled.len()), (vec![], 1), "{after}");
    Arc::make_mut(&mut world.view.volumes)[0].bricks.remove(0);
    let without = judged(&world);
    assert!(without.wrong.iter().any(|wrong| wrong.contains("other bricks")), "{without}");
}

#[test]
fn a_brick_that_grows_may_be_smaller_yet() {
    let mut world = world();
    let placement = world.volume.status.as_mut().unwrap().placement.as_mut().unwrap();
    (placement.bricks[0].size, placement.bricks[0].pool_size) = (Bytes(2 * GIB), Bytes(2 * GIB));
    placement.bricks[0].growing = true;
    let on_its_way = judged(&world);
    assert_eq!((on_its_way.wrong.clone(), on_its_way.unsettled.len()), (vec![], 1), "{on_its_way}");
    world.volume.status.as_mut().unwrap().placement.as_mut().unwrap().bricks[0].growing = false;
    let small = judged(&world);
    assert!(small.wrong.iter().any(|wrong| wrong.contains("1Gi instead of 2Gi")), "{small}");
}

#[test]
fn what_no_object_owns_is_found() {
    let mut world = world();
    world.volume.status = None;
    world.device.metadata.labels = None;
    world.device.metadata.uid = Some("other".into());
    let judged = judged(&world);
    for text in [
        "belongs to no volume",
        "is mounted on",
        "is in the fstab",
        "belongs to no device",
        "belongs to no object",
    ] {
        let found = judged.wrong.iter().any(|wrong| wrong.contains(text));
        // The gluster volume is still named by the object's id; everything else has no owner.
        assert_eq!(found, text != "belongs to no object", "{text}: {judged}");
    }
}

#[test]
fn a_gluster_volume_without_our_mark_is_known_by_its_bricks() {
    let mut world = world();
    std::sync::Arc::make_mut(&mut world.view.volumes)[0].options.clear();
    world.volume.status = None;
    world.volume.metadata.labels = None;
    let judged = judged(&world);
    assert!(judged.wrong.iter().any(|wrong| wrong.contains("belongs to no object")), "{judged}");
}

/// The arbiter of a set is smaller than its data bricks, and the last one.
#[test]
fn an_arbiter_is_the_small_last_one() {
    let brick = |position: u32, gib: u64, arbiter: bool| -> PlacedBrick {
        let id = Id::from_uid(&position.to_string());
        serde_json::from_value(json!({"id": id, "device": id, "node": id, "host": "h", "path": "/b",
            "size": Bytes::from_gib(gib), "poolSize": "1Gi", "poolMetadata": "8Mi", "set": 0,
            "position": position, "arbiter": arbiter}))
        .unwrap()
    };
    let faults = |bricks: Vec<PlacedBrick>| {
        let spec = json!({"size": "4Gi", "durability": {"type": "replicate", "replicas": 3, "arbiter": {}}});
        let volume = GlusterVolume::new("v", serde_json::from_value(spec).unwrap());
        set_faults(&volume, &Placement { cluster: "c".into(), size: None, bricks })
    };
    assert_eq!(faults(vec![brick(0, 4, false), brick(1, 4, false), brick(2, 1, true)]), Vec::<String>::new());
    assert_eq!(faults(vec![brick(0, 4, false), brick(1, 4, false), brick(2, 1, false)]).len(), 2);
    assert_eq!(faults(vec![brick(0, 4, false), brick(1, 3, false), brick(2, 1, true)]).len(), 1);
    assert_eq!(faults(vec![brick(0, 1, true), brick(1, 4, false), brick(2, 4, false)]).len(), 2);
}
