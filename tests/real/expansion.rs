//! A volume grows: under a client that has it mounted, and with the server killed in the middle.

use serde_json::Value;

use crate::fixture::{Lab, wait_for};
use crate::rest::{Served, in_the_middle, killed};

/// The part of its size that a client of a volume of 1 GiB sees at least: XFS takes the rest.
const MOST_OF_A_GIB: u64 = 900 << 20;

/// How large a volume is, and how many bricks it has, as REST tells.
fn shape(served: &Served<'_>, id: &str) -> (u64, usize) {
    let volume: Value = serde_json::from_str(&served.run(&["volume", "info", id, "-o", "json"])).unwrap();
    (volume["size"].as_u64().unwrap(), volume["bricks"].as_array().unwrap().len())
}

/// Waits until GlusterFS says that the data of a volume has moved.
fn moved(lab: &Lab, name: &str) {
    // It fails as long as no rebalance has begun. What it says is judged, not its code: a volume whose data
    // never moves is found by the wait.
    let status = format!("gluster --mode=script --xml volume rebalance {name} status || true");
    wait_for("the end of the rebalance", 300, || {
        let text = lab.on(1, &status);
        let all = text.split_once("<aggregate>")?.1;
        all.contains("<statusStr>completed</statusStr>").then_some(())
    });
}

/// Replica 3: clients see the space at once, keep their data while it moves, and nothing is left afterwards.
pub fn grows_under_a_client(lab: &Lab) {
    let served = Served::start(lab);
    let before = lab.state();
    let (id, name) = served.create(&["--replica", "3"]);
    let mounted = lab.mount(1, &name);
    let written = mounted.write("data", 64);
    let small: Vec<(String, String)> =
        (0..12).map(|n| format!("small{n}")).map(|file| (file.clone(), mounted.write(&file, 1))).collect();
    let space = mounted.available();
    served.run(&["volume", "expand", "--volume", &name, "--expand-size", "1"]);
    assert_eq!(shape(&served, &id), (2, 6));
    wait_for("the new space in the mounted client", 30, || {
        (mounted.available() >= space + MOST_OF_A_GIB).then_some(())
    });
    moved(lab, &name);
    let intact = || {
        assert_eq!(mounted.checksum("data"), written);
        for (file, sum) in &small {
            assert_eq!(&mounted.checksum(file), sum, "{file}");
        }
    };
    intact();
    let more = mounted.write("more", 64);
    served.run(&["volume", "expand", "--volume", &id, "--expand-size", "1"]);
    assert_eq!(shape(&served, &id), (3, 9));
    intact();
    assert_eq!(mounted.checksum("more"), more);
    // It is deleted while its data moves.
    mounted.unmount();
    served.run(&["volume", "delete", &id]);
    assert_eq!(lab.state(), before, "the nodes are not as before the volume");
    served.audit();
}

/// kill -9 once a first new brick exists, once it is mounted, once GlusterFS has it. Each time the restarted
/// server goes on, and the volume has grown.
pub fn killed_while_expanding(lab: &Lab) {
    let points: [(&str, &str); 3] = [
        ("a second brick", "[ $(lvm lvs --noheadings -o lv_name | grep -c brick_) = 2 ]"),
        ("a second mounted brick", "[ $(grep -c /var/lib/heketi /proc/mounts) = 2 ]"),
        ("six bricks in the volume", "[ $(gluster volume info 2>/dev/null | grep -c '^Brick[0-9]') = 6 ]"),
    ];
    for (what, test) in points {
        in_the_middle(what, || {
            let served = Served::start(lab);
            let before = lab.state();
            let (id, name) = served.create(&[]);
            let mounted = lab.mount(1, &name);
            let written = mounted.write("data", 16);
            let reached = || lab.on(1, &format!("{test} && echo yes || echo no")).contains("yes");
            let words = ["volume", "expand", "--volume", &id, "--expand-size", "1"];
            let in_flight = killed(served, &words, &reached);
            let served = Served::start_again(lab);
            wait_for("the larger volume after the restart", 180, || {
                (shape(&served, &id) == (2, 6)).then_some(())
            });
            moved(lab, &name);
            assert_eq!(mounted.checksum("data"), written, "killed at {what}");
            mounted.unmount();
            served.audit();
            let served = Served::start_again(lab);
            served.run(&["volume", "delete", &id]);
            assert_eq!(lab.state(), before, "killed at {what}: something is left");
            served.audit();
            in_flight
        });
    }
}
