//! All bricks of a mounted volume are gone: its client answers "not connected", as one that has died does, and yet
//! it is left alone.

use std::io::{Read, Seek};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clients::{Machine, clients, mounts_below};
use crate::fixture::{Lab, wait_for};
use crate::rest::Served;

/// Linux's number for "transport endpoint is not connected".
const NOT_CONNECTED: i32 = 107;
/// How long nobody may replace the client: the plugin looks at it every few seconds.
const LEFT_ALONE: Duration = Duration::from_secs(20);

/// The bricks are killed: the client stays, is said to be without them, and reads again once they are back.
pub fn all_lost(lab: &Lab) {
    let served = Served::start(lab);
    let (id, name) = served.create(&["--replica", "3"]);
    let machine = Machine::start(lab);
    let (volume, target) = (machine.volume(&name, &machine.servers()), machine.target());
    volume.stage(&machine.caller).unwrap();
    volume.publish(&machine.caller, &target, false).unwrap();
    std::fs::write(target.join("data"), "kept").unwrap();
    let mut open = std::fs::File::open(target.join("data")).unwrap();
    let kept = || (clients(&volume.staging), mounts_below(&machine.kubelet));
    let before = kept();
    assert_eq!(before.0.len(), 1);
    for node in 1..=lab.nodes {
        lab.on(node, &format!("kill -9 $(cat /var/run/gluster/vols/{name}/*.pid)"));
    }
    wait_for("the client to miss its bricks", 60, || (looked(&target) == Err(NOT_CONNECTED)).then_some(()));
    let begun = Instant::now();
    while begun.elapsed() < LEFT_ALONE {
        assert_eq!(kept(), before, "it was replaced");
        // Nothing is to happen for that long: there is no condition to wait for.
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(looked(&target), Err(NOT_CONNECTED));
    assert_ne!(volume.health(&machine.caller), [""; 0], "nobody is told");
    // Kubelet asks again for what it has; that the volume is away is no reason to touch its client.
    let unwell = volume.stage(&machine.caller).unwrap_err();
    assert_eq!(unwell.code(), tonic::Code::Unavailable, "{unwell}");
    assert!(unwell.message().contains("none of the volume's bricks can be reached"), "{unwell}");

    lab.on(1, &format!("gluster --mode=script volume start {name} force"));
    let begun = Instant::now();
    wait_for("the file at the published path", 60, || {
        (std::fs::read_to_string(target.join("data")).ok()? == "kept").then_some(())
    });
    println!("  the bricks are back: readable after {:?}", begun.elapsed());
    wait_for("the file that was open all the time", 60, || {
        let mut text = String::new();
        open.rewind().ok()?;
        open.read_to_string(&mut text).ok()?;
        (text == "kept").then_some(())
    });
    drop(open);
    volume.stage(&machine.caller).unwrap();
    assert_eq!(volume.health(&machine.caller), [""; 0]);
    assert_eq!(kept(), before);
    volume.unpublish(&machine.caller, &target).unwrap();
    volume.unstage(&machine.caller).unwrap();
    machine.end(&volume);
    served.run(&["volume", "delete", &id]);
    served.audit();
}

/// Whether the volume can be asked for its size, which no cache of the client knows; else the system's error.
fn looked(path: &Path) -> Result<(), i32> {
    rustix::fs::statvfs(path).map(|_| ()).map_err(rustix::io::Errno::raw_os_error)
}
