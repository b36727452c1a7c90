//! Bricks leave a device under a writer, and a node that is dead.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::fixture::{Lab, Mounted, wait_for};
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

/// A client that writes a record after the other.
struct Writer<'m> {
    mounted: &'m Mounted,
    process: Child,
}

impl<'m> Writer<'m> {
    fn start(mounted: &'m Mounted) -> Self {
        let script =
            "n=0; while [ ! -e \"$1.end\" ]; do n=$((n + 1)); echo $n >>\"$1\" || exit 1; sleep 0.05; done";
        let log = mounted.point().join("log");
        let mut process = Command::new("bash");
        process.args(["-c", script, "writer", log.to_str().unwrap()]).stdin(Stdio::null());
        Self { mounted, process: process.spawn().unwrap() }
    }

    /// It met no error, and every record is there.
    fn end(mut self) {
        assert!(self.process.try_wait().unwrap().is_none(), "the writer met an error");
        std::fs::write(self.mounted.point().join("log.end"), "").unwrap();
        assert!(self.process.wait().unwrap().success(), "the writer met an error");
        let records = std::fs::read_to_string(self.mounted.point().join("log")).unwrap();
        let count = records.lines().count();
        assert!(count > 50 && records.lines().zip(1..).all(|(line, n)| line == n.to_string()), "{records}");
        println!("  {count} records while the brick moved");
    }
}

/// Removes the first disk of a node from service while the second one is there. Gives back the ids of both.
fn remove_device(served: &Served<'_>, node: &str) -> (String, String) {
    let old = device_id(served, node, "/dev/vdb");
    served.run(&["device", "add", "--node", node, "--path", "/dev/vdc"]);
    served.run(&["device", "disable", &old]);
    served.run(&["device", "remove", &old]);
    (old, device_id(served, node, "/dev/vdc"))
}

/// GlusterFS has the new brick, and has nothing to heal.
fn moved(lab: &Lab, volume: &str, (old, new): (&str, &str)) {
    let info = lab.on(2, &format!("gluster volume info {volume}"));
    assert!(info.contains(&format!("vg_{new}")) && !info.contains(&format!("vg_{old}")), "{info}");
    let heal = lab.on(2, &format!("gluster volume heal {volume} info"));
    assert_eq!(heal.matches("Number of entries: 0").count(), 3, "{heal}");
}

/// The volume and both disks go, and nothing is left.
fn clean(lab: &Lab, served: &Served<'_>, volume: &str, (old, new): (&str, &str)) {
    served.run(&["device", "delete", old]);
    served.run(&["volume", "delete", volume]);
    for verb in ["disable", "remove", "delete"] {
        served.run(&["device", verb, new]);
    }
    (1..=lab.nodes).for_each(|node| nothing_on(lab, node));
    let groups = lab.on(1, "lvm vgs --noheadings -o vg_name");
    assert!(!groups.contains("vg_"), "{groups}");
}

/// A client writes all the time while a brick moves to another disk: no error, every record there, the rest unchanged.
pub fn device_removed_under_a_writer(lab: &Lab) {
    let served = Served::start(lab);
    let node = node_id(&served, &lab.host(1));
    let (id, name) = served.create(&["--replica", "3"]);
    let mounted = lab.mount(2, &name);
    let written = mounted.write("data", 64);
    let writer = Writer::start(&mounted);
    let (old, new) = remove_device(&served, &node);
    writer.end();
    assert_eq!(mounted.checksum("data"), written);
    moved(lab, &name, (&old, &new));
    mounted.unmount();
    let on_brick = lab.on(1, &format!("sha256sum /var/lib/heketi/mounts/vg_{new}/brick_*/brick/data"));
    assert!(on_brick.starts_with(&written), "the new brick has other data: {on_brick}");
    clean(lab, &served, &id, (&old, &new));
    served.audit();
}

/// The same of a dispersed volume: what was written is there also without another brick, so that it has to be made out
/// of what the new one has.
pub fn dispersed_device_removed_under_a_writer(lab: &Lab) {
    let served = Served::start(lab);
    let node = node_id(&served, &lab.host(1));
    // Half of the size is the smallest brick.
    let made =
        told(&served, &["volume", "create", "--size", "2", "--durability", "disperse", "--disperse", "2+1"]);
    let (id, name) = (made["id"].as_str().unwrap(), made["name"].as_str().unwrap());
    let mounted = lab.mount(2, name);
    std::fs::create_dir_all(mounted.point().join("a/b")).unwrap();
    let files = ["data", "a/data", "a/b/data"];
    let written = files.map(|file| mounted.write(file, 4));
    let writer = Writer::start(&mounted);
    let (old, new) = remove_device(&served, &node);
    // Before anybody else looks at it: a look by a client would have a name made that is missing.
    let count = |group: &str| {
        lab.on(
            1,
            &format!(
                "cd /var/lib/heketi/mounts/{group}/brick_*/brick && find . -name data -size +2000k | wc -l"
            ),
        )
    };
    assert_eq!(count(&format!("vg_{new}")).trim(), "3", "the old brick went before the new one had all data");
    writer.end();
    moved(lab, name, (&old, &new));
    mounted.unmount();
    lab.on(3, &format!("kill -9 $(cat /var/run/gluster/vols/{name}/*.pid)"));
    let mounted = lab.mount(2, name);
    assert_eq!(files.map(|file| mounted.checksum(file)), written);
    let records = std::fs::read_to_string(mounted.point().join("log")).unwrap();
    assert!(records.lines().zip(1..).all(|(line, n)| line == n.to_string()), "{records}");
    mounted.unmount();
    lab.on(2, &format!("gluster --mode=script volume start {name} force"));
    clean(lab, &served, id, (&old, &new));
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
