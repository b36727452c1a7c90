//! What is refused, with which code, and that nothing is left of it.

use bricklayer::csi::proto::csi::volume_capability::access_mode::Mode;
use bricklayer::csi::proto::csi::volume_capability::{AccessType, BlockVolume};
use bricklayer::csi::proto::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodePublishVolumeResponse, NodeStageVolumeResponse,
};
use tonic::Code;

use crate::caller::{Volume, capability};
use crate::fixture::wait_for;
use crate::{World, refused};

pub fn bad_requests(world: &World) {
    let machine = world.machine();
    let caller = &machine.caller;
    let good = machine.volume("a");
    let with = |change: &dyn Fn(&mut Volume)| {
        let mut volume = good.clone();
        change(&mut volume);
        volume
    };
    let mut block = good.capability.clone();
    block.access_type = Some(AccessType::Block(BlockVolume {}));
    let bad = [
        (with(&|volume| volume.handle.clear()), "volume_id"),
        (with(&|volume| volume.handle = "x".repeat(129)), "volume_id"),
        (with(&|volume| volume.staging = "".into()), "staging_target_path"),
        (with(&|volume| volume.staging = "a/b".into()), "staging_target_path"),
        (with(&|volume| volume.staging = "/a/../b".into()), "staging_target_path"),
        (with(&|volume| volume.staging = volume.staging.join("a b")), "its path may have"),
        (with(&|volume| volume.capability = Default::default()), "access type"),
        (with(&|volume| volume.capability = block.clone()), "volumeMode: Block"),
        (with(&|volume| volume.capability = capability(Mode::Unknown, &[])), "access mode"),
        (with(&|volume| volume.capability = capability(Mode::SingleNodeWriter, &["a;id"])), "mount_flags"),
        (with(&|volume| volume.capability = capability(Mode::SingleNodeWriter, &["a,b"])), "mount_flags"),
        (
            with(&|volume| volume.capability = capability(Mode::SingleNodeWriter, &["log-file=/x"])),
            "mount_flags",
        ),
        (with(&|volume| volume.context.clear()), "no Kubernetes API"),
        (with(&|volume| drop(volume.context.insert("servers".into(), "$(id)".into()))), "no server"),
        (
            with(&|volume| drop(volume.context.insert("volume".into(), "a b".into()))),
            "no name of a GlusterFS",
        ),
        (with(&|volume| drop(volume.context.insert("x".into(), "x".repeat(4096)))), "volume_context"),
        (
            with(&|volume| drop(volume.context.insert("csi.storage.k8s.io/ephemeral".into(), "true".into()))),
            "ephemeral",
        ),
    ];
    for (volume, text) in &bad {
        assert_eq!(refused(volume.stage(caller), text), Code::InvalidArgument, "{text}");
    }
    let mut request = good.stage_request();
    request.volume_capability = None;
    let answer: Result<NodeStageVolumeResponse, _> = caller.call("/csi.v1.Node/NodeStageVolume", request);
    assert_eq!(refused(answer, "volume_capability"), Code::InvalidArgument);

    let target = machine.target("pod");
    let publish = |volume: &Volume| volume.publish(caller, &target, false);
    assert_eq!(refused(publish(&good), "not staged"), Code::FailedPrecondition);
    assert_eq!(refused(publish(&bad[2].0), "staging_target_path"), Code::FailedPrecondition);
    assert_eq!(refused(publish(&bad[0].0), "volume_id"), Code::InvalidArgument);
    assert_eq!(refused(publish(&bad[7].0), "Block"), Code::InvalidArgument);
    assert_eq!(refused(good.publish(caller, "".as_ref(), false), "target_path"), Code::InvalidArgument);
    assert_eq!(refused(good.unpublish(caller, "".as_ref()), "target_path"), Code::InvalidArgument);
    assert_eq!(refused(bad[0].0.unpublish(caller, &target), "volume_id"), Code::InvalidArgument);
    assert_eq!(refused(bad[0].0.unstage(caller), "volume_id"), Code::InvalidArgument);
    assert_eq!(refused(bad[2].0.unstage(caller), "staging_target_path"), Code::InvalidArgument);
    assert_eq!(refused(good.stats(caller, "".as_ref()), "volume_path"), Code::InvalidArgument);
    assert_eq!(refused(good.stats(caller, "some/path".as_ref()), "not staged"), Code::NotFound);
    let expanded: Result<NodeExpandVolumeResponse, _> =
        caller.call("/csi.v1.Node/NodeExpandVolume", NodeExpandVolumeRequest::default());
    assert_eq!(refused(expanded, "by itself"), Code::Unimplemented);
    // What nobody has is gone already.
    good.unpublish(caller, "/nowhere/at/all".as_ref()).unwrap();
    good.unpublish(caller, &target).unwrap();
    assert_eq!((machine.calls(), machine.mounts(), machine.records()), (vec![], vec![], 0));
}

pub fn contradictions(world: &World) {
    let machine = world.machine();
    let (caller, volume, target) = (&machine.caller, machine.volume("a"), machine.target("pod"));
    volume.stage(caller).unwrap();
    volume.publish(caller, &target, false).unwrap();
    let before = machine.mounts();
    let other = Volume { handle: "pvc-other".into(), ..volume.clone() };
    assert_eq!(refused(other.stage(caller), "volume pvc-a is staged there"), Code::AlreadyExists);
    assert_eq!(refused(other.publish(caller, &target, false), "not staged"), Code::FailedPrecondition);
    let with = |mode, flags| Volume { capability: capability(mode, flags), ..volume.clone() };
    let flags = with(Mode::MultiNodeMultiWriter, &["acl"]);
    assert_eq!(refused(flags.stage(caller), "mount options"), Code::AlreadyExists);
    assert_eq!(refused(volume.publish(caller, &target, true), "in another way"), Code::AlreadyExists);
    let mode = with(Mode::SingleNodeWriter, &[]);
    assert_eq!(refused(mode.publish(caller, &target, false), "in another way"), Code::AlreadyExists);
    let second = machine.volume("b");
    second.stage(caller).unwrap();
    assert_eq!(refused(second.publish(caller, &target, false), "is mounted there"), Code::AlreadyExists);
    second.unstage(caller).unwrap();
    // Somebody else's unstage is none of this volume.
    other.unstage(caller).unwrap();
    assert_eq!(machine.mounts(), before);
    assert_eq!(refused(volume.stats(caller, "/".as_ref()), "not mounted"), Code::NotFound);
    volume.unpublish(caller, &target).unwrap();
    volume.unstage(caller).unwrap();
    machine.clean();
}

pub fn under_way(world: &World) {
    let machine = world.machine();
    let (caller, volume, target) = (&machine.caller, machine.volume("a"), machine.target("pod"));
    machine.client("hangs", true);
    let first =
        caller.begin::<_, NodeStageVolumeResponse>("/csi.v1.Node/NodeStageVolume", volume.stage_request());
    let hanging = machine.folder.join("fake/hanging");
    wait_for("the client to hang", 10, || hanging.exists().then_some(()));
    assert_eq!(refused(volume.stage(caller), "under way"), Code::Aborted);
    assert_eq!(refused(volume.unstage(caller), "under way"), Code::Aborted);
    assert_eq!(refused(volume.unpublish(caller, &target), "under way"), Code::Aborted);
    let publish = caller.begin::<_, NodePublishVolumeResponse>(
        "/csi.v1.Node/NodePublishVolume",
        volume.publish_request(&target, false),
    );
    assert_eq!(refused(publish.answer(), "under way"), Code::Aborted);
    machine.client("hangs", false);
    // Other volumes, and who has no turn to take, are not held up; the first one is done in its time.
    first.answer().unwrap();
    let other = machine.volume("b");
    other.stage(caller).unwrap();
    other.unstage(caller).unwrap();
    volume.unstage(caller).unwrap();
    machine.clean();
}

pub fn client_fails(world: &World) {
    let machine = world.machine();
    let (caller, volume) = (&machine.caller, machine.volume("a"));
    machine.client("fails", true);
    assert_eq!(refused(volume.stage(caller), "failed to fetch volume file"), Code::Unavailable);
    machine.client("fails", false);
    machine.client("mounts-nothing", true);
    assert_eq!(refused(volume.stage(caller), "and it is not"), Code::Internal);
    machine.client("mounts-nothing", false);
    assert_eq!((machine.mounts(), machine.records()), (vec![], 0));
    volume.stage(caller).unwrap();
    volume.unstage(caller).unwrap();
    machine.clean();
}
