//! States that a crash, a dead client or a person can leave, and what is made of them.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

use bricklayer::csi::node::mounts;
use rustix::mount::MountFlags;
use tonic::Code;

use crate::{World, refused};

/// Mounts a FUSE file system whose client is this process, which answers nothing. Once the file is
/// dropped, its client is dead.
pub fn fuse(source: &str, at: &Path) -> File {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let client = opened.expect("/dev/fuse is needed: a dead client is shown by a real one");
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", client.as_raw_fd());
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount(source, at, "fuse.glusterfs", MountFlags::empty(), options.as_c_str()).unwrap();
    client
}

pub fn away(at: &Path) {
    mounts::unmount(at, mounts::Away::WhenIdle).unwrap();
}

pub fn half_done(world: &World) {
    let machine = world.machine();
    let (caller, volume, target) = (&machine.caller, machine.volume("a"), machine.target("pod"));
    let records = machine.folder.join("kubelet/plugins/gluster.bricklayer.dev/staged");
    let lose_records =
        || std::fs::remove_dir_all(&records).and_then(|()| std::fs::create_dir(&records)).unwrap();
    // The directory is made, nothing is mounted.
    std::fs::create_dir_all(&volume.staging).unwrap();
    volume.stage(caller).unwrap();
    // Mounted, and not recorded.
    lose_records();
    volume.stage(caller).unwrap();
    assert_eq!((machine.mounts().len(), machine.records(), machine.calls().len()), (1, 1, 1));
    // Recorded, and not mounted: the node was started anew.
    away(&volume.staging);
    assert_eq!(volume.health(caller), ["NotMounted"]);
    assert_eq!(refused(volume.publish(caller, &target, false), "not staged"), Code::FailedPrecondition);
    volume.stage(caller).unwrap();
    assert_eq!((machine.mounts().len(), machine.calls().len()), (1, 2));
    // The target is made, nothing is bound.
    std::fs::create_dir(&target).unwrap();
    volume.publish(caller, &target, true).unwrap();
    // Bound, and not yet read-only.
    away(&target);
    mounts::bind(&volume.staging, &target).unwrap();
    std::fs::write(target.join("x"), "").unwrap();
    volume.publish(caller, &target, true).unwrap();
    std::fs::write(target.join("x"), "").unwrap_err();
    // Bound twice.
    mounts::bind(&volume.staging, &target).unwrap();
    assert_eq!(machine.mounts().len(), 3);
    volume.publish(caller, &target, true).unwrap();
    assert_eq!(machine.mounts().len(), 2);
    mounts::bind(&volume.staging, &target).unwrap();
    volume.unpublish(caller, &target).unwrap();
    assert!(!target.exists());
    // Staged twice, and no record of it.
    mounts::bind(&volume.staging, &volume.staging).unwrap();
    lose_records();
    volume.unstage(caller).unwrap();
    // Something else is mounted where the volume belongs.
    run_mount("elsewhere:/other", &volume.staging);
    assert_eq!(refused(volume.stage(caller), "elsewhere:/other is mounted there"), Code::AlreadyExists);
    away(&volume.staging);
    // A link leads there: the mount table has the real path.
    let link = machine.folder.join("link");
    std::os::unix::fs::symlink(machine.folder.join("kubelet"), &link).unwrap();
    let mut linked = volume.clone();
    linked.staging = link.join(volume.staging.strip_prefix(machine.folder.join("kubelet")).unwrap());
    linked.stage(caller).unwrap();
    volume.stage(caller).unwrap();
    assert_eq!(machine.mounts().len(), 1);
    linked.unstage(caller).unwrap();
    machine.clean();
}

fn run_mount(source: &str, at: &Path) {
    rustix::mount::mount(source, at, "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
}

pub fn dead(world: &World) {
    let machine = world.machine();
    let (caller, volume, target) = (&machine.caller, machine.volume("a"), machine.target("pod"));
    volume.stage(caller).unwrap();
    away(&volume.staging);
    let client = fuse("10.77.0.1:/vol_a", &volume.staging);
    std::fs::create_dir(&target).unwrap();
    mounts::bind(&volume.staging, &target).unwrap();
    drop(client);
    let error = std::fs::read_dir(&volume.staging).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTCONN.raw_os_error()));

    // That it is dead is an answer, no failed call.
    assert_eq!(volume.stats(caller, &volume.staging).unwrap().usage, []);
    assert_eq!(volume.health(caller), ["ClientEnded"]);
    assert_eq!(refused(volume.publish(caller, &target, false), "has ended"), Code::Unavailable);
    // Without its servers the dead mount is left as it is.
    let mut nobody = volume.clone();
    nobody.context.insert("servers".into(), "10.77.0.4".into());
    assert_eq!(refused(nobody.stage(caller), "no server"), Code::Unavailable);
    assert_eq!(machine.mounts().len(), 2);

    volume.stage(caller).unwrap();
    std::fs::write(volume.staging.join("x"), "anew").unwrap();
    volume.publish(caller, &target, false).unwrap();
    assert_eq!(std::fs::read_to_string(target.join("x")).unwrap(), "anew");
    assert_eq!(machine.mounts().len(), 2, "{:?}", machine.mounts());
    assert_eq!(volume.health(caller), [""; 0]);

    // And away with one that is dead.
    volume.unpublish(caller, &target).unwrap();
    away(&volume.staging);
    drop(fuse("10.77.0.1:/vol_a", &volume.staging));
    volume.unstage(caller).unwrap();
    machine.clean();
}

pub fn hangs(world: &World) {
    let machine = world.machine();
    let (caller, volume, target) = (&machine.caller, machine.volume("a"), machine.target("pod"));
    volume.stage(caller).unwrap();
    away(&volume.staging);
    let client = fuse("10.77.0.1:/vol_a", &volume.staging);
    let other = machine.volume("b");
    let begun = Instant::now();
    assert_eq!(volume.stats(caller, &volume.staging).unwrap().usage, []);
    assert_eq!(volume.health(caller), ["ClientHangs"]);
    assert_eq!(refused(volume.stage(caller), "did not answer"), Code::DeadlineExceeded);
    assert_eq!(refused(volume.publish(caller, &target, false), "did not answer"), Code::DeadlineExceeded);
    assert!(begun.elapsed().as_secs() < 40, "{:?}", begun.elapsed());
    let threads = std::fs::read_dir(format!("/proc/{}/task", machine.server.pid())).unwrap().count();
    for _ in 0..2 {
        assert_eq!(volume.health(caller), ["ClientHangs"]);
    }
    let now = std::fs::read_dir(format!("/proc/{}/task", machine.server.pid())).unwrap().count();
    assert!(now <= threads + 2, "{threads} threads became {now}");
    // Nobody else is held up.
    let begun = Instant::now();
    other.stage(caller).unwrap();
    other.unstage(caller).unwrap();
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    volume.unstage(caller).unwrap();
    assert_eq!(machine.mounts(), []);
    drop(client);
    machine.clean();
}

pub fn not_empty(world: &World) {
    let machine = world.machine();
    let (caller, volume, target) = (&machine.caller, machine.volume("a"), machine.target("pod"));
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("x"), "kept").unwrap();
    volume.stage(caller).unwrap();
    volume.publish(caller, &target, false).unwrap();
    assert!(!target.join("x").exists());
    assert_eq!(refused(volume.unpublish(caller, &target), "not empty"), Code::Internal);
    assert_eq!(std::fs::read_to_string(target.join("x")).unwrap(), "kept");
    std::fs::remove_file(target.join("x")).unwrap();
    volume.unpublish(caller, &target).unwrap();
    // Somebody works in the volume: it is not torn away.
    let open = File::create(volume.staging.join("open")).unwrap();
    assert_eq!(refused(volume.unstage(caller), "still uses it"), Code::FailedPrecondition);
    drop(open);
    volume.unstage(caller).unwrap();
    machine.clean();
}
