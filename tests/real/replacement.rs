//! Bricks leave a device under a writer, and a node that is dead.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::{Lab, wait_for};
use crate::rest::Served;

fn told(served: &Served<'_>, words: &[&str]) -> Value {
    serde_json::from_str(&served.run(&[words, &["-o", "json"]].concat())).unwrap()
}

/// The id of a node by the address that it is managed at.
fn node_id(served: &Served<'_>, host: &str) -> String {
    let nodes = told(served, &["node", "list"]);
    let node = nodes["nodes"].as_array().unwrap().iter().find(|node| node["hostnames"]["manage"][0] == host);
    node.unwrap()["id"].as_str().unwrap().to_owned()
}

/// The id of a device by its node and its path.
fn device_id(served: &Served<'_>, node: &str, path: &str) -> String {
    let node = told(served, &["node", "info", node]);
    let device = node["devices"].as_array().unwrap().iter().find(|device| device["name"] == path);
    device.unwrap()["id"].as_str().unwrap().to_owned()
}

/// The nodes of the bricks of a volume.
fn nodes_of(served: &Served<'_>, volume: &str) -> Vec<String> {
    let volume = told(served, &["volume", "info", volume]);
    volume["bricks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|brick| brick["node"].as_str().unwrap().to_owned())
        .collect()
}

/// No brick is left on a node: no logical volume, no mount, no line in fstab.
fn nothing_on(lab: &Lab, node: usize) {
    let look =
        "lvm lvs --noheadings -o lv_name && cat /proc/mounts && { test ! -e /etc/fstab || cat /etc/fstab; }";
    let left = lab.on(node, look);
    assert!(!left.contains("brick_"), "node{node}: {left}");
}

/// A client writes all the time while a brick moves to another disk: no error, every record there, the rest unchanged.
pub fn device_removed_under_a_writer(lab: &Lab) {
    let served = Served::start(lab);
    let node = node_id(&served, &lab.host(1));
    let old = device_id(&served, &node, "/dev/vdb");
    let (id, name) = served.create(&["--replica", "3"]);
    let mounted = lab.mount(2, &name);
    let written = mounted.write("data", 64);
    let log = mounted.point().join("log");
    let script =
        "n=0; while [ ! -e \"$1.end\" ]; do n=$((n + 1)); echo $n >>\"$1\" || exit 1; sleep 0.05; done";
    let mut writer = Command::new("bash")
        .args(["-c", script, "writer", log.to_str().unwrap()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    served.run(&["device", "add", "--node", &node, "--path", "/dev/vdc"]);
    served.run(&["device", "disable", &old]);
    served.run(&["device", "remove", &old]);
    assert!(writer.try_wait().unwrap().is_none(), "the writer met an error");
    std::fs::write(mounted.point().join("log.end"), "").unwrap();
    assert!(writer.wait().unwrap().success(), "the writer met an error");
    let records = std::fs::read_to_string(&log).unwrap();
    let count = records.lines().count();
    assert!(count > 50 && records.lines().zip(1..).all(|(line, n)| line == n.to_string()), "{records}");
    println!("  {count} records while the brick moved");
    assert_eq!(mounted.checksum("data"), written);
    let info = lab.on(2, &format!("gluster volume info {name}"));
    let new = device_id(&served, &node, "/dev/vdc");
    assert!(info.contains(&format!("vg_{new}")) && !info.contains(&format!("vg_{old}")), "{info}");
    let heal = lab.on(2, &format!("gluster volume heal {name} info"));
    assert_eq!(heal.matches("Number of entries: 0").count(), 3, "{heal}");
    mounted.unmount();
    let on_brick = lab.on(1, &format!("sha256sum /var/lib/heketi/mounts/vg_{new}/brick_*/brick/data"));
    assert!(on_brick.starts_with(&written), "the new brick has other data: {on_brick}");
    served.run(&["device", "delete", &old]);
    served.run(&["volume", "delete", &id]);
    for verb in ["disable", "remove", "delete"] {
        served.run(&["device", verb, &new]);
    }
    (1..=lab.nodes).for_each(|node| nothing_on(lab, node));
    let groups = lab.on(1, "lvm vgs --noheadings -o vg_name");
    assert!(!groups.contains("vg_"), "{groups}");
    served.audit();
}

/// A node is lost for good: its bricks are made elsewhere without it, and it is cleaned when it comes back after all.
pub fn dead_node_given_up(lab: &Lab) {
    let served = Served::start(lab);
    let (id, name) = served.create(&["--replica", "2"]);
    let dead_id = nodes_of(&served, &id)[0].clone();
    let dead = (1..=lab.nodes).find(|n| node_id(&served, &lab.host(*n)) == dead_id).unwrap();
    let alive = (1..=lab.nodes).find(|n| *n != dead).unwrap();
    let mounted = lab.mount(alive, &name);
    let written = mounted.write("data", 32);
    lab.on(dead, "sync");
    lab.kill_node(dead);
    let peer = lab.host(dead);
    wait_for("the others to notice", 180, || {
        // Only one is gone. Its name there may be another one than the one that it was given.
        lab.on(alive, "gluster pool list").contains("Disconnected").then_some(())
    });
    served.run(&["node", "disable", &dead_id]);
    served.run(&["node", "remove", &dead_id]);
    assert!(!nodes_of(&served, &id).contains(&dead_id));
    assert_eq!(mounted.checksum("data"), written);
    let info = lab.on(alive, &format!("gluster volume info {name}"));
    assert!(!info.contains(&format!("{peer}:")), "{info}");
    mounted.unmount();
    lab.start_node(dead);
    wait_for("the old brick to be removed", 180, || {
        let left = lab.try_on(dead, "lvm lvs --noheadings -o lv_name")?;
        (!left.contains("brick_")).then_some(())
    });
    served.run(&["volume", "delete", &id]);
    let device = device_id(&served, &dead_id, "/dev/vdb");
    served.run(&["device", "delete", &device]);
    served.run(&["node", "delete", &dead_id]);
    (1..=lab.nodes).for_each(|node| nothing_on(lab, node));
    served.audit();
}
