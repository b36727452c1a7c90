//! What should happen.

use std::path::Path;

use bricklayer::csi::proto::csi::volume_capability::access_mode::Mode;
use tonic::Code;

use crate::caller::capability;
use crate::{SERVERS, World, refused};

pub fn ten_times(world: &World) {
    let machine = world.machine();
    let (caller, volume, target) = (&machine.caller, machine.volume("a"), machine.target("pod"));
    for _ in 0..10 {
        volume.stage(caller).unwrap();
    }
    assert_eq!((machine.mounts().len(), machine.calls().len(), machine.records()), (1, 1, 1));
    for _ in 0..10 {
        volume.publish(caller, &target, false).unwrap();
    }
    assert_eq!(machine.mounts().len(), 2);
    std::fs::write(target.join("x"), "written by the pod").unwrap();
    assert_eq!(std::fs::read_to_string(volume.staging.join("x")).unwrap(), "written by the pod");
    for path in [&volume.staging, &target] {
        let usage = volume.stats(caller, path).unwrap().usage;
        let [bytes, inodes] = &usage[..] else { panic!("{usage:?}") };
        assert_eq!((bytes.unit, bytes.total, inodes.unit), (1, 64 << 20, 2));
        assert!(bytes.used > 0 && bytes.used + bytes.available == bytes.total, "{bytes:?}");
        assert!(inodes.used >= 2 && inodes.available > 0, "{inodes:?}");
    }
    assert_eq!(volume.health(caller), [""; 0]);
    for _ in 0..10 {
        volume.unpublish(caller, &target).unwrap();
    }
    assert!(!target.exists());
    assert_eq!(machine.mounts().len(), 1);
    assert_eq!(refused(volume.stats(caller, &target), "not mounted"), Code::NotFound);
    for _ in 0..10 {
        volume.unstage(caller).unwrap();
    }
    assert!(volume.staging.is_dir(), "the directory belongs to whoever made it");
    assert_eq!(refused(volume.stats(caller, &volume.staging), "not staged"), Code::NotFound);
    machine.clean();
}

pub fn two_pods(world: &World) {
    let machine = world.machine();
    let (caller, volume) = (&machine.caller, machine.volume("a"));
    let (writer, reader) = (machine.target("writer"), machine.target("reader"));
    volume.stage(caller).unwrap();
    volume.publish(caller, &writer, false).unwrap();
    for _ in 0..2 {
        volume.publish(caller, &reader, true).unwrap();
    }
    std::fs::write(writer.join("x"), "1").unwrap();
    assert_eq!(std::fs::read_to_string(reader.join("x")).unwrap(), "1");
    let error = std::fs::write(reader.join("x"), "2").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    std::fs::write(writer.join("x"), "3").unwrap();
    // An access mode of reading is reading, whatever else is asked for.
    let mut reads = machine.volume("a");
    reads.capability = capability(Mode::MultiNodeReaderOnly, &[]);
    let third = machine.target("third");
    reads.publish(caller, &third, false).unwrap();
    std::fs::write(third.join("x"), "4").unwrap_err();
    for target in [&writer, &reader, &third] {
        volume.unpublish(caller, target).unwrap();
    }
    volume.unstage(caller).unwrap();
    machine.clean();
}

pub fn sole_writer(world: &World) {
    let machine = world.machine();
    let (caller, mut volume) = (&machine.caller, machine.volume("a"));
    volume.capability = capability(Mode::SingleNodeSingleWriter, &[]);
    let (one, two) = (machine.target("one"), machine.target("two"));
    volume.stage(caller).unwrap();
    volume.publish(caller, &one, false).unwrap();
    volume.publish(caller, &one, false).unwrap();
    assert_eq!(refused(volume.publish(caller, &two, false), "only writer"), Code::FailedPrecondition);
    volume.unpublish(caller, &one).unwrap();
    volume.publish(caller, &two, false).unwrap();
    volume.unpublish(caller, &two).unwrap();
    volume.unstage(caller).unwrap();
    machine.clean();
}

pub fn restart(world: &World) {
    let machine = world.machine();
    let (volume, target) = (machine.volume("a"), machine.target("pod"));
    volume.stage(&machine.caller).unwrap();
    volume.publish(&machine.caller, &target, true).unwrap();
    let before = machine.mounts();
    let machine = machine.again();
    let caller = &machine.caller;
    assert_eq!(machine.mounts(), before);
    volume.stage(caller).unwrap();
    volume.publish(caller, &target, true).unwrap();
    assert_eq!(refused(volume.publish(caller, &target, false), "in another way"), Code::AlreadyExists);
    assert_eq!((machine.mounts(), machine.calls().len()), (before, 1));
    volume.unpublish(caller, &target).unwrap();
    volume.unstage(caller).unwrap();
    machine.clean();
}

pub fn servers_down(world: &World) {
    let machine = world.machine();
    let (caller, mut volume) = (&machine.caller, machine.volume("a"));
    // Nobody listens on the fourth; the fifth is not there at all.
    volume.context.insert("servers".into(), [SERVERS[3], SERVERS[0], "10.77.0.5", SERVERS[1]].join(","));
    volume.capability = capability(Mode::MultiNodeMultiWriter, &["acl", "log-level=INFO"]);
    let begun = std::time::Instant::now();
    volume.stage(caller).unwrap();
    assert!(begun.elapsed().as_secs() < 10);
    let call = &machine.calls()[0];
    let wanted = format!("{}:/vol_a {} -o log-file=", SERVERS[0], volume.staging.display());
    assert!(call.starts_with(&wanted), "{call}");
    let backups =
        format!("backup-volfile-servers={}:{}:10.77.0.5,acl,log-level=INFO", SERVERS[1], SERVERS[3]);
    assert!(call.ends_with(&backups), "{call}");
    assert!(Path::new(call.split("log-file=").nth(1).unwrap().split(',').next().unwrap()).is_file());
    let mut nobody = machine.volume("b");
    nobody.context.insert("servers".into(), [SERVERS[3], "10.77.0.5"].join(","));
    let answer = nobody.stage(caller);
    let text = answer.clone().unwrap_err().message().to_owned();
    assert!(text.contains("10.77.0.4:24007: ") && text.contains("10.77.0.5:24007: "), "{text}");
    assert_eq!(refused(answer, "no server"), Code::Unavailable);
    assert_eq!(machine.calls().len(), 1);
    nobody.unstage(caller).unwrap();
    volume.unstage(caller).unwrap();
    machine.clean();
}
