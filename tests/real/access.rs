//! Who may mount a volume, on real GlusterFS: hosts in the network of the storage nodes that are nodes of the
//! Kubernetes cluster, and one that is not.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::claims::{CLAIM, topology};
use crate::fixture::{ControlPlane, Lab, Server, command, run, wait_for};

/// Another host in the lab's network.
struct Stranger {
    namespace: String,
    address: &'static str,
    point: PathBuf,
}

impl Stranger {
    fn new(lab: &Lab, address: &'static str) -> Self {
        let namespace = format!("{}-s", lab.namespace);
        let ip = |words: &[&str]| run(Command::new("ip").args(words));
        ip(&["netns", "add", &namespace]);
        let stranger = Self { namespace, address, point: lab.file("mnt-stranger") };
        let of = stranger.namespace.as_str();
        ip(&["-n", of, "link", "set", "lo", "up"]);
        ip(&[
            "-n",
            &lab.namespace,
            "link",
            "add",
            "stranger",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            of,
        ]);
        ip(&["-n", &lab.namespace, "link", "set", "stranger", "master", "br0", "up"]);
        ip(&["-n", of, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        ip(&["-n", of, "link", "set", "eth0", "up"]);
        std::fs::create_dir_all(&stranger.point).unwrap();
        stranger
    }

    /// Whether it can mount the volume and read what is on it.
    fn mounts(&self, lab: &Lab, volume: &str) -> bool {
        let log = format!("log-file={}", lab.file("fuse-stranger.log").display());
        let mut mount = command(Some(&self.namespace), "timeout");
        mount.args(["60", "mount", "-t", "glusterfs", "-o", &log, &format!("{}:/{volume}", lab.host(1))]);
        let mounted = mount.arg(&self.point).output().unwrap().status.success();
        // A client that is refused can have answered `mount` before it was.
        let reads = || {
            let mut stat = Command::new("timeout");
            stat.args(["20", "stat"]).arg(self.point.join("data")).output().unwrap().status.success()
        };
        mounted && reads()
    }

    fn unmount(&self) {
        // There may be nothing to unmount: a client that is refused ends by itself.
        let _ = Command::new("umount").arg("-l").arg(&self.point).output();
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.unmount();
        let deleted = Command::new("ip").args(["netns", "del", &self.namespace]).status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!("the namespace {} could not be removed", self.namespace);
        }
    }
}

/// A Node object as a kubelet makes it.
fn machine(cluster: &ControlPlane, name: &str, address: &str) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    cluster.apply(&node.to_string());
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}}).to_string();
    cluster.run(&["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status]);
}

/// A thread that appends a line ten times a second, through to the disks, until it is told to end. Gives back
/// how many it has written; an error ends the test.
fn writer(file: PathBuf, ends: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut file = std::fs::File::create(file).unwrap();
        let mut lines = 0;
        while !ends.load(Ordering::Relaxed) {
            writeln!(file, "{lines}").unwrap();
            file.sync_data().unwrap();
            lines += 1;
            // Its pace, not a wait for something.
            std::thread::sleep(Duration::from_millis(100));
        }
        lines
    })
}

/// A listed host mounts and goes on writing whatever happens to the list; another one cannot mount until it is
/// a node, and is cut off when it is none any more. Storage nodes need not be listed.
pub fn nodes_only(lab: &Lab) {
    let cluster = ControlPlane::start(Some((&lab.namespace, "10.77.0.1")));
    let kubeconfig = cluster.deploy();
    let key = format!("--from-file=ssh-privatekey={}", lab.file("id").display());
    cluster.run(&["-n", "bricklayer-system", "create", "secret", "generic", "gluster-ssh", &key]);
    machine(&cluster, "worker-1", "10.77.0.1");
    let mut operator = Server::start(
        Some(&lab.namespace),
        &["operator", "--listen", "127.0.0.1:0", "--node-leaves-after", "5"],
        &[("KUBECONFIG", kubeconfig.to_str().unwrap())],
        &lab.file("operator.log"),
    );
    operator.wait_for_output("operator works", 30);
    cluster.apply(&topology(lab));
    for kind in ["glusterdevice", "glusternode", "glustercluster"] {
        cluster.run(&["wait", "--for=condition=Ready", kind, "--all", "--timeout=120s"]);
    }
    let prepared = lab.state();
    cluster.apply(CLAIM);
    cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=120s"]);
    let name = cluster.value(&["pvc/data"], "{.spec.volumeName}");
    let volume = cluster.value(&["pv", &name], "{.spec.csi.volumeAttributes.volume}");
    let list = |wanted: &str| {
        let begun = std::time::Instant::now();
        wait_for(&format!("the list {wanted}"), 60, || {
            (cluster.value(&["gvol", &name], "{.status.allow}") == wanted).then_some(())
        });
        let info = lab.on(1, &format!("gluster volume info {volume}"));
        assert!(info.contains(&format!("auth.allow: {wanted}\n")), "{info}");
        println!("  the list {wanted} after {:.1} s", begun.elapsed().as_secs_f32());
    };
    list("10.77.0.1");
    let mounted = lab.mount(1, &volume);
    let written = mounted.write("data", 16);
    let ends = Arc::new(AtomicBool::new(false));
    let writes = writer(lab.file("mnt").join(&volume).join("lines"), ends.clone());

    let stranger = Stranger::new(lab, "10.77.0.50");
    assert!(!stranger.mounts(lab, &volume), "a host that is no node of the cluster has mounted the volume");
    stranger.unmount();
    machine(&cluster, "worker-2", stranger.address);
    list("10.77.0.1,10.77.0.50");
    assert!(stranger.mounts(lab, &volume), "a new node of the cluster cannot mount the volume");
    let on_storage = format!(
        "mkdir -p /run/m && mount -t glusterfs {}:/{volume} /run/m && ls /run/m && umount /run/m",
        lab.host(2)
    );
    assert!(lab.on(2, &on_storage).contains("data"), "storage nodes are trusted");
    let heal = lab.on(1, &format!("gluster volume heal {volume} info"));
    assert_eq!(heal.matches("Status: Connected").count(), 3, "{heal}");

    cluster.run(&["delete", "node", "worker-2"]);
    list("10.77.0.1");
    wait_for("the host that is no node any more to be cut off", 30, || {
        let mut stat = Command::new("timeout");
        let seen = stat.args(["10", "stat"]).arg(stranger.point.join("data")).output().unwrap();
        (!seen.status.success()).then_some(())
    });
    stranger.unmount();
    assert!(!stranger.mounts(lab, &volume));

    ends.store(true, Ordering::Relaxed);
    let lines = writes.join().expect("no error of the writer");
    assert!(lines > 20, "only {lines} lines were written");
    let file = std::fs::read_to_string(lab.file("mnt").join(&volume).join("lines")).unwrap();
    assert_eq!(file.lines().count(), lines, "every line is there");
    assert_eq!(mounted.checksum("data"), written);
    mounted.unmount();
    drop(stranger);

    cluster.run(&["delete", "pvc", "data", "--timeout=120s"]);
    wait_for("PersistentVolume and GlusterVolume to go", 120, || {
        cluster.run(&["get", "pv,gvol", "-o", "name"]).trim().is_empty().then_some(())
    });
    assert_eq!(lab.state(), prepared, "the nodes are not as before the claim");
    for kind in ["glusterdevice", "glusternode", "glustercluster"] {
        cluster.run(&["delete", kind, "--all", "--timeout=120s"]);
    }
    operator.stop();
}
