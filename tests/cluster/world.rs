//! The cluster under test, and how a user works in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::fixture::{BINARY, ControlPlane, Lab, command, kube_binaries, run, tree, wait_for};

/// The namespace of the README.
pub const NAMESPACE: &str = "bricklayer-system";
/// Where the control plane and the node are, on the lab's bridge.
const ADDRESS: &str = "10.77.0.1";

/// Everything, in the order in which it has to end.
pub struct World {
    /// Kubernetes.
    pub cluster: ControlPlane,
    /// The storage nodes, in whose network it is.
    pub lab: Lab,
    home: tempfile::TempDir,
    binaries: PathBuf,
}

impl World {
    /// Starts it with our images on the node and nothing installed.
    pub fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let images = home.path().join("images");
        run(Command::new(tree().join("tests/cluster/images")).arg(&images).arg(BINARY));
        // The README's claim asks for 10Gi; thirty bricks are thirty processes.
        let lab = Lab::start_with(3, &[("DISK", "16G"), ("LAB_MEM", "1536M")]);
        let cluster = ControlPlane::start(Some((lab.namespace.as_str(), ADDRESS)));
        let tars = ["tools.tar", "bricklayer.tar", "bricklayer-node.tar", "gluster-server.tar"]
            .map(|name| images.join(name));
        cluster.add_node(ADDRESS, &tars);
        std::fs::remove_dir_all(images).unwrap();
        let world = Self { cluster, lab, home, binaries: kube_binaries() };
        world.prepare_home();
        world
    }

    /// A user's home: the SSH key of the storage nodes, and a tree whose example names them.
    fn prepare_home(&self) {
        let key = self.home.path().join(".ssh/id_ed25519");
        std::fs::create_dir_all(key.parent().unwrap()).unwrap();
        std::fs::copy(self.lab.file("id"), key).unwrap();
        let examples = self.checkout().join("examples");
        std::fs::create_dir_all(&examples).unwrap();
        std::os::unix::fs::symlink(tree().join("charts"), self.checkout().join("charts")).unwrap();
        let topology = std::fs::read_to_string(tree().join("examples/topology.yaml")).unwrap();
        let topology = topology.replace("10.0.0.", "10.77.0.").replace("/dev/sdb", "/dev/vdb");
        std::fs::write(examples.join("topology.yaml"), topology).unwrap();
        std::fs::copy(tree().join("examples/claim.yaml"), examples.join("claim.yaml")).unwrap();
        // There is no registry; the node has a busybox of its own.
        let pod = std::fs::read_to_string(tree().join("examples/pod.yaml")).unwrap();
        let pod = pod.replace("image: busybox:1.36", "image: bricklayer.test/busybox:1");
        std::fs::write(examples.join("pod.yaml"), pod).unwrap();
    }

    /// The user's copy of this tree, as far as the README needs it.
    pub fn checkout(&self) -> PathBuf {
        self.home.path().join("bricklayer")
    }

    /// A file of the test's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs a text in a shell as the user would, in the network of the cluster.
    pub fn try_shell(&self, text: &str) -> Output {
        let path = std::env::var("PATH").unwrap();
        command(Some(&self.lab.namespace), "bash")
            .args(["-euo", "pipefail", "-c", text])
            .current_dir(self.checkout())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.cluster.admin())
            .env("PATH", format!("{}:{path}", self.binaries.display()))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The same, and insists that it goes well.
    pub fn shell(&self, text: &str) -> String {
        let output = self.try_shell(text);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\nended with {}: {said}{complained}", output.status);
        said
    }

    /// Makes sure that the README's path has been gone, and that no claim is left of it or of a
    /// scenario that failed.
    pub fn installed(&self) {
        let found = self.cluster.try_run(&["-n", NAMESPACE, "get", "deployment/bricklayer-operator"]);
        if !found.status.success() {
            crate::install::follow_readme(self, "kubectl apply -f examples/claim.yaml");
        }
        // The cluster takes bricks as soon as one device does.
        self.cluster.run(&["wait", "--for=condition=Ready", "gdev", "--all", "--timeout=300s"]);
        self.cluster.run(&["delete", "pod", "--all", "--timeout=120s"]);
        self.cluster.run(&["delete", "pvc", "--all", "--wait=false"]);
        self.nothing_left();
    }

    /// The pods of the Deployment that run, by name.
    pub fn operators(&self) -> Vec<String> {
        let pods = self.cluster.run(&[
            "-n",
            NAMESPACE,
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/component=operator",
            "--field-selector=status.phase=Running",
            "-o",
            "jsonpath={.items[*].metadata.name}",
        ]);
        pods.split_whitespace().map(str::to_owned).collect()
    }

    /// Who holds the Lease; empty when nobody does.
    pub fn holder(&self) -> String {
        self.cluster.value(&["-n", NAMESPACE, "lease/gluster-bricklayer-dev"], "{.spec.holderIdentity}")
    }

    /// Makes claims of one size and class.
    pub fn claims(&self, names: &[String], class: &str, size: &str) {
        let claim = |name: &String| {
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": class,
                    "resources": {"requests": {"storage": size}}}})
        };
        let items: Vec<Value> = names.iter().map(claim).collect();
        self.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    }

    /// Makes a claim of 1Gi, waits until it is bound, and gives back the names of its PersistentVolume
    /// and of its volume on the storage nodes.
    pub fn bound_claim(&self, name: &str) -> (String, String) {
        self.claims(&[name.into()], "gluster", "1Gi");
        let claim = format!("pvc/{name}");
        self.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", &claim, "--timeout=300s"]);
        let persistent = self.cluster.value(&[&claim], "{.spec.volumeName}");
        let volume = self.cluster.value(&["pv", &persistent], "{.spec.csi.volumeAttributes.volume}");
        (persistent, volume)
    }

    /// How many claims are bound.
    pub fn bound(&self) -> usize {
        self.cluster.value(&["pvc"], "{.items[*].status.phase}").matches("Bound").count()
    }

    /// Waits until no claim and no volume is left.
    pub fn nothing_left(&self) {
        wait_for("claims, PersistentVolumes and GlusterVolumes to go", 600, || {
            let left = self.cluster.run(&["get", "pvc,pv,gvol", "-A", "-o", "name"]);
            left.trim().is_empty().then_some(())
        });
    }

    /// The verdict of `bricklayer audit` about the objects and the real nodes, once everything has settled:
    /// a brick that was tried elsewhere first is still being cleared when its claim is bound already.
    pub fn audit(&self) -> String {
        let mut last = String::new();
        wait_for("an audit that finds everything settled", 180, || {
            let audit = command(Some(&self.lab.namespace), BINARY)
                .args(["audit", "--kubernetes"])
                .env("KUBECONFIG", self.cluster.admin())
                .output()
                .unwrap();
            let verdict = String::from_utf8_lossy(&audit.stdout).into_owned();
            if verdict != last {
                println!("  {}", verdict.trim());
                last.clone_from(&verdict);
            }
            audit.status.success().then_some(verdict)
        })
    }
}

/// A path as a word of a command.
pub fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}
