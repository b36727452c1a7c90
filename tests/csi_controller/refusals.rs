//! What is refused, with the code that tells a program what to do and a text that tells a person.

use bricklayer::csi::proto::csi as rpc;
use bricklayer::csi::proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use bricklayer::intent::volume::HOLDER;
use bricklayer::resources::{GlusterVolume, OnRefusal};
use serde_json::json;
use tonic::{Code, Status};

use crate::client::{ask, block, code, mount, sizes, with};
use crate::rig::{in_runtime, wish};
use crate::world::World;

#[test]
fn bad_fields_are_named() {
    in_runtime(async {
        let world = World::start().await;
        let capable = |capability: rpc::VolumeCapability| rpc::CreateVolumeRequest {
            volume_capabilities: vec![mount(), capability],
            ..ask("v", 1)
        };
        let mounted = |mounted: MountVolume| {
            capable(rpc::VolumeCapability { access_type: Some(AccessType::Mount(mounted)), ..mount() })
        };
        let source = rpc::VolumeContentSource::default();
        let huge = "x".repeat(4096);
        let flags = MountVolume { mount_flags: vec![huge.clone(), "ro".into()], ..MountVolume::default() };
        let secrets = [("key".to_owned(), huge.clone())].into();
        for (request, text) in [
            (ask("", 1), "name is missing"),
            (ask(&"x".repeat(129), 1), "name has 129 bytes"),
            (ask("a\u{0}b", 1), "control characters"),
            (rpc::CreateVolumeRequest { volume_capabilities: vec![], ..ask("v", 1) }, "volume_capabilities"),
            (capable(block()), "block is not offered"),
            (capable(rpc::VolumeCapability { access_type: None, ..mount() }), "access_type"),
            (capable(rpc::VolumeCapability { access_mode: None, ..mount() }), "access_mode is missing"),
            (
                capable(rpc::VolumeCapability { access_mode: Some(AccessMode { mode: 99 }), ..mount() }),
                "access_mode 99",
            ),
            (mounted(MountVolume { fs_type: "ext4".into(), ..MountVolume::default() }), "\"glusterfs\""),
            (mounted(flags), "mount_flags"),
            (rpc::CreateVolumeRequest { capacity_range: sizes(-1, 0), ..ask("v", 1) }, "required_bytes"),
            (rpc::CreateVolumeRequest { capacity_range: sizes(0, -1), ..ask("v", 1) }, "limit_bytes"),
            (rpc::CreateVolumeRequest { capacity_range: sizes(0, 0), ..ask("v", 1) }, "neither"),
            (rpc::CreateVolumeRequest { volume_content_source: Some(source), ..ask("v", 1) }, "clones"),
            (
                rpc::CreateVolumeRequest {
                    mutable_parameters: [("a".to_owned(), "b".to_owned())].into(),
                    ..ask("v", 1)
                },
                "mutable_parameters",
            ),
            (rpc::CreateVolumeRequest { secrets, ..ask("v", 1) }, "secrets has 4099 bytes"),
            (with(ask("v", 1), "resturl", &huge), "parameters has"),
            (with(ask("v", 1), "volumtype", "none"), "unknown StorageClass parameter \"volumtype\""),
            (with(ask("v", 1), "volumetype", "replicate:9"), "accepted is none, replicate:2"),
            (with(ask("v", 1), "pvSource", "glusterfs"), "pvSource"),
            (with(ask("v", 1), "gidMin", "2000"), "the same number for both"),
            (with(ask("v", 1), "volumeoptions", "a.b --log-file=/x"), "does not begin with `--`"),
        ] {
            let refused = world.client.create(request.clone()).await.expect_err("a refusal");
            assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}: {refused:?}");
            assert!(refused.message().contains(text), "{text}: {refused:?}");
            assert!(!refused.message().contains(&huge), "what is refused is not sent back whole");
        }
        world.nothing_left().await;
    });
}

#[test]
fn no_room_is_said_device_by_device_and_leaves_nothing() {
    in_runtime(async {
        let world = World::start().await;
        for _ in 0..2 {
            let refused = world.client.create(ask("large", 5000)).await.unwrap_err();
            assert_eq!(refused.code(), Code::ResourceExhausted);
            assert!(refused.message().contains("/dev/sdb"), "{refused:?}");
        }
        let elsewhere = world.client.create(with(ask("v", 1), "clusters", "other")).await.unwrap_err();
        assert_eq!(elsewhere.code(), Code::ResourceExhausted);
        assert!(elsewhere.message().contains("there is no GlusterCluster \"other\""), "{elsewhere:?}");
        world.nothing_left().await;
        let by_id = crate::rig::id(crate::rig::CLUSTER).to_string();
        world.client.create(with(ask("v", 1), "clusterid", &by_id)).await.expect("a cluster by its id");
        assert_eq!(world.rig.agrees().await, 3);
    });
}

#[test]
fn ids_that_are_none_are_gone_already() {
    in_runtime(async {
        let world = World::start().await;
        assert_eq!(code(world.client.delete("").await), Code::InvalidArgument);
        let long = "x".repeat(1000);
        for id in ["none", "../glusterclusters/pool", "A", "a b", "%2e", "-", long.as_str()] {
            world.client.delete(id).await.unwrap();
        }
        let clusters = world.rig.store.list::<bricklayer::resources::GlusterCluster>().await.unwrap();
        assert_eq!(clusters.len(), 1);
    });
}

#[test]
fn a_volume_that_was_made_for_something_else_is_not_given_away() {
    in_runtime(async {
        let world = World::start().await;
        let made = world.client.create(ask("v", 1)).await.unwrap();
        let patch = json!({"metadata": {"annotations": {"csi.bricklayer.dev/name": "other"}}});
        world.rig.store.merge::<GlusterVolume>(&made.volume_id, &patch).await.unwrap();
        let refused = world.client.create(ask("v", 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert!(refused.message().contains("made for another name"), "{refused:?}");
    });
}

/// What the built-in provisioner has made is deleted by the sidecars that came after it. Without
/// PersistentVolumes there is none that is bound.
#[test]
fn a_volume_of_the_provisioner_is_let_go_when_it_is_not_in_use() {
    in_runtime(async {
        let world = World::start().await;
        let mut spec = wish(1);
        spec.on_refusal = OnRefusal::Retry;
        world.rig.want("claimed", spec).await;
        let name = crate::rig::id("claimed").to_string();
        world.rig.ready(&world.rig.caches.volumes, &name).await;
        let finalizers = json!({"metadata": {"finalizers": [bricklayer::resources::FINALIZER, HOLDER]}});
        world.rig.store.merge::<GlusterVolume>(&name, &finalizers).await.unwrap();
        world.client.delete(&name).await.unwrap();
        world.nothing_left().await;
    });
}

#[test]
fn what_is_not_offered_says_so() {
    in_runtime(async {
        let world = World::start().await;
        let client = &world.client;
        async fn refused<Q: prost::Message + Default + 'static>(
            client: &crate::client::Client,
            method: &str,
            request: Q,
        ) -> Status {
            let refused: Result<rpc::CreateSnapshotResponse, Status> = client.call(method, request).await;
            refused.expect_err("a refusal")
        }
        for (method, refused) in [
            (
                "ControllerPublishVolume",
                refused(client, "ControllerPublishVolume", rpc::ControllerPublishVolumeRequest::default())
                    .await,
            ),
            (
                "ControllerUnpublishVolume",
                refused(
                    client,
                    "ControllerUnpublishVolume",
                    rpc::ControllerUnpublishVolumeRequest::default(),
                )
                .await,
            ),
            (
                "CreateSnapshot",
                refused(client, "CreateSnapshot", rpc::CreateSnapshotRequest::default()).await,
            ),
            (
                "DeleteSnapshot",
                refused(client, "DeleteSnapshot", rpc::DeleteSnapshotRequest::default()).await,
            ),
            ("ListSnapshots", refused(client, "ListSnapshots", rpc::ListSnapshotsRequest::default()).await),
            ("GetSnapshot", refused(client, "GetSnapshot", rpc::GetSnapshotRequest::default()).await),
            (
                "ControllerGetVolume",
                refused(client, "ControllerGetVolume", rpc::ControllerGetVolumeRequest::default()).await,
            ),
            (
                "ControllerModifyVolume",
                refused(client, "ControllerModifyVolume", rpc::ControllerModifyVolumeRequest::default())
                    .await,
            ),
            (
                "ControllerListVolumeHealth",
                refused(
                    client,
                    "ControllerListVolumeHealth",
                    rpc::ControllerListVolumeHealthRequest::default(),
                )
                .await,
            ),
            (
                "ControllerGetVolumeHealth",
                refused(
                    client,
                    "ControllerGetVolumeHealth",
                    rpc::ControllerGetVolumeHealthRequest::default(),
                )
                .await,
            ),
        ] {
            assert_eq!(refused.code(), Code::Unimplemented, "{method}");
            assert!(refused.message().contains(method), "{refused:?}");
        }
    });
}
