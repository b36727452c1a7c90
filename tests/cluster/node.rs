//! The node: pods on it that use claims, and what the plugin and its clients have there.

use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::fixture::{run, tree, wait_for};
use crate::world::World;

/// The namespace of the node plugin.
pub const PLUGIN: &str = "bricklayer-node";
/// The plugin's own folder on the node.
pub const STATE: &str = "/var/lib/kubelet/plugins/gluster.bricklayer.dev";
/// Where kubelet has volumes of ours staged.
pub const STAGING: &str = "/var/lib/kubelet/plugins/kubernetes.io/csi/gluster.bricklayer.dev";

/// The command line of a client that mounts for kubelet: GlusterFS in pods has others.
const CLIENT: &str = "^/usr/sbin/glusterfs .*/var/lib/kubelet";

/// A pod that runs a shell text with a claim at /data.
pub fn pod(name: &str, claim: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
            "containers": [{"name": "main", "image": "bricklayer.test/busybox:1", "imagePullPolicy": "Never",
                "command": ["sh", "-c", text], "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}})
}

/// A pod that does nothing by itself.
pub fn idle(name: &str, claim: &str) -> Value {
    pod(name, claim, "exec sleep 100000")
}

/// Packets of the node that get lost, until this is dropped.
pub struct Lost<'a> {
    world: &'a World,
    rule: String,
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        let done = self.world.try_on_node(&format!("iptables -D {}", self.rule));
        if !done.status.success() {
            eprintln!("packets still get lost: {}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

impl World {
    /// Loses what the node sends to glusterd: at one address, or everywhere.
    pub fn lose_glusterd(&self, at: Option<&str>) -> Lost<'_> {
        let at = at.map_or_else(String::new, |address| format!("-d {address} "));
        let rule = format!("OUTPUT -p tcp {at}--dport 24007 -j DROP");
        self.on_node(&format!("iptables -I {rule}"));
        Lost { world: self, rule }
    }

    /// Runs a shell text on the node, as root who is logged in there.
    pub fn try_on_node(&self, text: &str) -> Output {
        self.on_node_command("on-node").args(["bash", "-c", text]).stdin(Stdio::null()).output().unwrap()
    }

    /// The same, and insists that it goes well.
    pub fn on_node(&self, text: &str) -> String {
        run(self.on_node_command("on-node").args(["bash", "-euc", text]))
    }

    fn on_node_command(&self, script: &str) -> Command {
        let admin = self.cluster.admin();
        let mut command = Command::new(tree().join("tests/kube").join(script));
        command.arg(admin.parent().unwrap());
        command
    }

    /// Kills a daemon of the node; it starts again.
    pub fn restart_on_node(&self, daemon: &str) {
        run(self.on_node_command("node-again").arg(daemon));
    }

    /// Starts pods and waits until they run.
    pub fn start_pods(&self, pods: &[Value]) {
        let begun = Instant::now();
        self.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": pods}).to_string());
        for pod in pods {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let ready = ["wait", "--for=condition=Ready", "pod", name, "--timeout=120s"];
            let output = self.cluster.try_run(&ready);
            assert!(output.status.success(), "{name} does not run: {}", self.events_of(name));
        }
        println!("  {} pods run after {:.1} s", pods.len(), begun.elapsed().as_secs_f64());
    }

    /// What was told about a pod.
    pub fn events_of(&self, name: &str) -> String {
        // By its uid: there may have been another one of that name.
        let uid = self.cluster.value(&["pod", name], "{.metadata.uid}");
        let field = format!("--field-selector=involvedObject.uid={uid}");
        let columns = "-o=custom-columns=REASON:.reason,NOTE:.message";
        self.cluster.run(&["get", "events", &field, columns, "--no-headers"])
    }

    /// Waits until something was told about a pod that has all of these texts.
    pub fn told(&self, name: &str, seconds: u64, texts: &[&str]) -> String {
        let begun = Instant::now();
        let line = wait_for(&format!("an event on {name} with {texts:?}"), seconds, || {
            let events = self.events_of(name);
            let line = events.lines().find(|line| texts.iter().all(|text| line.contains(text)))?;
            Some(line.to_owned())
        });
        println!("  after {:.1} s: {}", begun.elapsed().as_secs_f64(), line.trim());
        line
    }

    /// Runs a shell text in a pod.
    pub fn try_in_pod(&self, name: &str, text: &str) -> Output {
        self.cluster.try_run(&["exec", name, "--request-timeout=60s", "--", "sh", "-c", text])
    }

    /// The same, and insists that it goes well.
    pub fn in_pod(&self, name: &str, text: &str) -> String {
        let output = self.try_in_pod(name, text);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {text}: {said}{complained}");
        said
    }

    /// Waits until a pod has ended, and gives back its phase and what it has written.
    pub fn ended(&self, name: &str, seconds: u64) -> (String, String) {
        let phase = wait_for(&format!("pod {name} to end"), seconds, || {
            let phase = self.cluster.value(&["pod", name], "{.status.phase}");
            ["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase)
        });
        (phase, self.cluster.run(&["logs", name]))
    }

    /// Deletes pods and waits until they have gone.
    pub fn delete_pods(&self, names: &[&str]) {
        self.cluster.run(&[&["delete", "pod", "--timeout=120s"], names].concat());
    }

    /// Kills the plugin's process, and nothing else.
    pub fn kill_plugin(&self) {
        self.on_node("kill -9 $(pgrep -f '^/bricklayer node')");
    }

    /// The plugin's pod on the node.
    pub fn plugin_pod(&self) -> String {
        let pods = ["-n", PLUGIN, "pods", "-l", "app.kubernetes.io/component=node"];
        let ready = "{.items[?(@.status.containerStatuses[0].ready==true)].metadata.name}";
        wait_for("a ready pod of the plugin", 120, || {
            let names = self.cluster.value(&pods, ready);
            names.split_whitespace().next().map(str::to_owned)
        })
    }

    /// Everything that volumes have on the node: mounts, clients, staged volumes, records. Programs that find
    /// nothing say so by failing, hence `true`; that they find what is there is shown where clients are counted.
    pub fn traces(&self) -> String {
        self.on_node(&format!(
            "grep -E ' - fuse.glusterfs | {STAGING}' /proc/1/mountinfo | cut -d' ' -f5 | sed 's/^/mount /' || true; \
             pgrep -a -f '{CLIENT}' | cut -d' ' -f2- | sed 's/^/client /' || true; \
             ls {STAGING} 2>/dev/null | sed 's/^/staging /' || true; ls {STATE}/staged | sed 's/^/record /'; \
             find /var/lib/kubelet/pods -path '*kubernetes.io~csi/*' -name mount 2>/dev/null | sed 's/^/target /' || true"
        ))
    }

    /// Waits until volumes have nothing on the node: kubelet takes a moment after the last pod.
    pub fn no_traces(&self) {
        let mut last = String::new();
        let begun = Instant::now();
        while begun.elapsed().as_secs() < 60 {
            last = self.traces();
            if last.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        panic!("left on the node: {last}");
    }

    /// How long the node's mount table is.
    pub fn mount_count(&self) -> usize {
        self.on_node("wc -l </proc/1/mountinfo").trim().parse().unwrap()
    }

    /// The clients' processes on the node, by their numbers there. pgrep fails when there are none.
    pub fn clients(&self) -> Vec<String> {
        let pids = self.on_node(&format!("pgrep -f '{CLIENT}' || true"));
        pids.split_whitespace().map(str::to_owned).collect()
    }
}
