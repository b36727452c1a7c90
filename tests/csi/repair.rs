//! Dead clients are replaced by the node itself. Inside of running containers that is shown by `tests/real`.

use std::path::{Path, PathBuf};

use bricklayer::csi::node::mounts;

use crate::broken::{away, fuse};
use crate::caller::Volume;
use crate::fixture::wait_for;
use crate::{Machine, World};

/// A machine on which the client of a published volume died while no node ran; a target that can be written to, and one
/// that only reads.
fn died(world: &World) -> (Machine, Volume, PathBuf, PathBuf) {
    let machine = world.machine();
    let (caller, volume) = (&machine.caller, machine.volume("a"));
    let (writes, reads) = (machine.target("writes"), machine.target("reads"));
    volume.stage(caller).unwrap();
    volume.publish(caller, &writes, false).unwrap();
    volume.publish(caller, &reads, true).unwrap();
    for path in [&reads, &writes, &volume.staging] {
        away(path);
    }
    let client = fuse("10.77.0.1:/vol_a", &volume.staging);
    mounts::bind(&volume.staging, &writes).unwrap();
    mounts::bind(&volume.staging, &reads).unwrap();
    drop(client);
    let error = std::fs::read_dir(&writes).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTCONN.raw_os_error()));
    (machine, volume, writes, reads)
}

/// Waits until what is written at one path is read at the other.
fn shows(from: &Path, to: &Path) {
    wait_for(&format!("{} at {}", from.display(), to.display()), 10, || {
        std::fs::write(from.join("x"), "anew").ok()?;
        (std::fs::read_to_string(to.join("x")).ok()? == "anew").then_some(())
    });
}

fn end(machine: Machine, volume: &Volume, targets: &[&Path]) {
    for target in targets {
        volume.unpublish(&machine.caller, target).unwrap();
    }
    volume.unstage(&machine.caller).unwrap();
    machine.clean();
}

pub fn replaced(world: &World) {
    let (machine, volume, writes, reads) = died(world);
    let machine = machine.looking();
    shows(&writes, &reads);
    shows(&volume.staging, &writes);
    std::fs::write(reads.join("y"), "").unwrap_err();
    assert_eq!((machine.mounts().len(), machine.calls().len()), (3, 2), "{:?}", machine.mounts());
    // It was cut off between the targets: the client lives, and one of them shows the dead one.
    away(&writes);
    drop(fuse("10.77.0.1:/vol_a", &writes));
    shows(&volume.staging, &writes);
    assert_eq!((machine.mounts().len(), machine.calls().len()), (3, 2), "{:?}", machine.mounts());
    end(machine, &volume, &[&writes, &reads]);
}

pub fn later(world: &World) {
    let (machine, volume, writes, reads) = died(world);
    machine.client("fails", true);
    let machine = machine.looking();
    wait_for("a second try", 20, || (machine.calls().len() >= 3).then_some(()));
    // What is dead stays until there is something better, and nothing is stacked.
    assert!(machine.mounts().len() <= 2, "{:?}", machine.mounts());
    std::fs::read_dir(&writes).unwrap_err();
    let machine = {
        machine.client("fails", false);
        machine.looking()
    };
    shows(&writes, &reads);
    assert_eq!(machine.mounts().len(), 3, "{:?}", machine.mounts());
    end(machine, &volume, &[&writes, &reads]);
}

pub fn forgotten(world: &World) {
    let machine = world.machine();
    let volume = machine.volume("a");
    volume.stage(&machine.caller).unwrap();
    let machine = machine.looking();
    volume.health(&machine.caller);
    away(&volume.staging);
    std::fs::remove_dir_all(volume.staging.parent().unwrap()).unwrap();
    wait_for("the record's end", 10, || (machine.records() == 0).then_some(()));
    volume.stage(&machine.caller).unwrap();
    end(machine, &volume, &[]);
}
