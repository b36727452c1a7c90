//! FUSE clients on a node: they outlive the plugin, are replaced when they die, and are started although
//! servers are down. The plugin runs in cgroups of its own and is ended as kubelet ends a container: whatever is in
//! one of them is killed.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bricklayer::csi::node::mounts::Table;
use bricklayer::csi::proto::csi::volume_capability::access_mode::Mode;

use crate::caller::{Caller, Volume, capability};
use crate::cgroup::Cgroup;
use crate::fixture::{Lab, Server, run, wait_for};
use crate::rest::Served;

/// The uid of the pod that has the volume.
const POD: &str = "421e7843-fb53-4a18-9c2d-cf34729d4ae8";

/// A kubelet's directory, and the plugin that serves it.
pub struct Machine<'a> {
    lab: &'a Lab,
    /// How the plugin starts clients: a value of `--clients`.
    way: &'static str,
    /// The directory.
    pub kubelet: PathBuf,
    cgroup: Cgroup,
    plugin: Option<Server>,
    /// The plugin's socket.
    pub caller: Caller,
}

impl<'a> Machine<'a> {
    pub fn start(lab: &'a Lab) -> Self {
        Self::start_with(lab, "cgroup")
    }

    fn start_with(lab: &'a Lab, way: &'static str) -> Self {
        let kubelet = lab.file("mnt/kubelet");
        std::fs::create_dir_all(&kubelet).unwrap();
        // As in a container with Bidirectional propagation: others see what is mounted here.
        run(Command::new("mount").arg("--bind").args([&kubelet, &kubelet]));
        run(Command::new("mount").arg("--make-rshared").arg(&kubelet));
        let caller = Caller::new(&kubelet.join("plugins/gluster.bricklayer.dev/csi.sock"));
        let cgroup = Cgroup::new(&format!("bricklayer-test-{}", std::process::id()));
        let mut machine = Self { lab, way, kubelet, cgroup, plugin: None, caller };
        machine.start_plugin();
        machine
    }

    fn start_plugin(&mut self) {
        let kubelet = self.kubelet.to_str().unwrap();
        let words =
            ["node", "--node-id", "a", "--kubelet-dir", kubelet, "--clients", self.way, "--no-registration"];
        let mut plugin = Server::start(Some(&self.lab.namespace), &words, &[], &self.lab.file("node.log"));
        self.cgroup.take(plugin.pid());
        plugin.wait_for_output("serves CSI on", 30);
        self.plugin = Some(plugin);
    }

    /// Ends the plugin's container, and starts it anew.
    fn lose_plugin(&mut self) {
        self.cgroup.kill();
        let (_, output) = self.plugin.take().unwrap().ended(10);
        assert!(!output.contains("panicked"), "{output}");
        self.start_plugin();
    }

    pub fn volume(&self, name: &str, servers: &[String]) -> Volume {
        let context = [("volume", name.to_owned()), ("servers", servers.join(","))];
        Volume {
            handle: format!("pvc-{name}"),
            staging: self.kubelet.join("plugins/kubernetes.io/csi").join(name).join("globalmount"),
            context: HashMap::from(context.map(|(key, value)| (key.to_owned(), value))),
            capability: capability(Mode::MultiNodeMultiWriter, &[]),
        }
    }

    /// Where the pod has its volume.
    pub fn target(&self) -> PathBuf {
        let folder = self.kubelet.join("pods").join(POD).join("volumes/kubernetes.io~csi/pv");
        std::fs::create_dir_all(&folder).unwrap();
        folder.join("mount")
    }

    pub fn servers(&self) -> Vec<String> {
        (1..=self.lab.nodes).map(|node| self.lab.host(node)).collect()
    }

    /// Ends the plugin and checks that nothing is left.
    pub fn end(self, volume: &Volume) {
        let staging = volume.staging.clone();
        self.cleared();
        wait_for("the client's end", 10, || clients(&staging).is_empty().then_some(()));
    }

    /// Ends the plugin and checks that nothing is mounted.
    pub fn cleared(mut self) {
        self.plugin.take().unwrap().stop();
        let table = Table::read().unwrap();
        let left: Vec<_> = table.all().iter().filter(|one| one.at.starts_with(&self.kubelet)).collect();
        assert_eq!(left.len(), 1, "only the directory itself stays mounted: {left:?}");
        run(Command::new("umount").arg(&self.kubelet));
        self.cgroup.remove();
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // After a failure: whatever is mounted goes, dead or not, and clients end with their mounts.
        while mounts_below(&self.kubelet) > 0 {
            let table = Table::read().unwrap();
            let Some(last) = table.all().iter().rfind(|one| one.at.starts_with(&self.kubelet)) else {
                return;
            };
            if !Command::new("umount")
                .arg("--lazy")
                .arg(&last.at)
                .status()
                .is_ok_and(|status| status.success())
            {
                eprintln!("{} stays mounted", last.at.display());
                return;
            }
        }
    }
}

/// How many mounts there are below a folder.
pub fn mounts_below(folder: &Path) -> usize {
    Table::read().unwrap().all().iter().filter(|one| one.at.starts_with(folder)).count()
}

/// The processes of GlusterFS that are mounted at a path.
pub fn clients(at: &Path) -> BTreeSet<u32> {
    let is_client = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"glusterfs"))
            && words.any(|word| word == at.as_os_str().as_encoded_bytes())
    };
    let names = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).filter(is_client).collect()
}

/// Writes a line to a file ten times a second, until it is told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, Vec<String>)>,
}

impl Writer {
    fn start(file: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            use std::io::Write;
            let (mut lines, mut errors) = (0, Vec::new());
            let mut open = std::fs::OpenOptions::new().create(true).append(true).open(&file).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                lines += 1;
                if let Err(error) = writeln!(open, "{lines}").and_then(|()| open.sync_data()) {
                    errors.push(format!("{lines}: {error}"));
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            (lines, errors)
        });
        Self { stop, thread }
    }

    /// How many lines it has written, and what went wrong.
    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A process with a copy of the mounts, in the pod's cgroup: what a running container is to a volume.
struct Container {
    process: Child,
    cgroup: Cgroup,
}

impl Container {
    fn start() -> Self {
        let mut start = Command::new("unshare");
        start.args(["--mount", "--propagation", "private", "--", "sleep", "600"]);
        let process = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let cgroup = Cgroup::new(&format!("bricklayer-test-pod{POD}"));
        cgroup.take(process.id());
        let own = PathBuf::from(format!("/proc/{}/ns/mnt", process.id()));
        let ours = std::fs::read_link("/proc/self/ns/mnt").unwrap();
        wait_for("the container's mounts", 10, || (std::fs::read_link(&own).ok()? != ours).then_some(()));
        Self { process, cgroup }
    }

    fn inside(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.process.id().to_string(), "--mount", "--"]).args(words);
        command
    }

    fn table(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/mountinfo", self.process.id())).unwrap()
    }

    fn mounts(&self) -> usize {
        self.table().lines().count()
    }

    fn end(self) {
        self.cgroup.kill();
        let Self { mut process, cgroup } = self;
        process.wait().unwrap();
        cgroup.remove();
    }
}

/// As kubelet does: a call that is refused since another one is under way, such as a look at what was there before the
/// plugin was lost, is made again.
pub fn patiently<T>(what: &str, call: impl Fn() -> Result<T, tonic::Status>) -> T {
    wait_for(what, 30, || match call() {
        Err(status) if status.code() == tonic::Code::Aborted => None,
        done => Some(done.unwrap()),
    })
}

/// The plugin is killed three times under a writer.
pub fn outlive_the_plugin(lab: &Lab) {
    outlive(lab, "cgroup", |_| {});
}

/// The same with clients that are started in one of the ways; `looked_at` is given the client's process.
pub fn outlive(lab: &Lab, way: &'static str, looked_at: impl Fn(u32)) {
    let served = Served::start(lab);
    let (id, name) = served.create(&["--replica", "3"]);
    let mut machine = Machine::start_with(lab, way);
    let (volume, target) = (machine.volume(&name, &machine.servers()), machine.target());
    volume.stage(&machine.caller).unwrap();
    volume.publish(&machine.caller, &target, false).unwrap();
    let mounts = mounts_below(&machine.kubelet);
    let before = clients(&volume.staging);
    assert_eq!(before.len(), 1);
    before.iter().for_each(|pid| looked_at(*pid));
    let writer = Writer::start(target.join("log"));
    for round in 1..=3 {
        machine.lose_plugin();
        patiently("the volume to be published again", || volume.publish(&machine.caller, &target, false));
        let here = std::fs::read_to_string(target.join("log")).unwrap().lines().count();
        wait_for(&format!("ten more lines after loss {round}"), 30, || {
            (std::fs::read_to_string(target.join("log")).ok()?.lines().count() >= here + 10).then_some(())
        });
    }
    let (lines, errors) = writer.end();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(std::fs::read_to_string(target.join("log")).unwrap().lines().count(), lines);
    assert_eq!((clients(&volume.staging), mounts_below(&machine.kubelet)), (before, mounts));
    patiently("the volume to be unpublished", || volume.unpublish(&machine.caller, &target));
    patiently("the volume to be unstaged", || volume.unstage(&machine.caller));
    machine.end(&volume);
    served.run(&["volume", "delete", &id]);
    served.audit();
}

/// The client is killed: everybody reads again, also a running container.
pub fn are_replaced(lab: &Lab) {
    let served = Served::start(lab);
    let (id, name) = served.create(&["--replica", "3"]);
    let machine = Machine::start(lab);
    let (volume, target) = (machine.volume(&name, &machine.servers()), machine.target());
    volume.stage(&machine.caller).unwrap();
    volume.publish(&machine.caller, &target, false).unwrap();
    std::fs::create_dir(target.join("sub")).unwrap();
    std::fs::write(target.join("sub/data"), "kept").unwrap();
    let container = Container::start();
    // As a subPath that is only read.
    run(&mut container.inside(&["mount", "--bind", target.join("sub").to_str().unwrap(), "/mnt"]));
    run(&mut container.inside(&["mount", "-o", "remount,bind,ro", "/mnt"]));
    // Only what is below kubelet's directory: other tests mount things beside it.
    let mounts = || mounts_below(&machine.kubelet);
    let (first, count, inside) = (clients(&volume.staging), mounts(), container.mounts());
    let mut was_thought_removed = false;
    // Three times, and until the kernel has taken the directory for removed: on a busy machine it may not at once.
    for round in 1..=10 {
        let killed = clients(&volume.staging);
        assert_eq!(killed.len(), 1);
        // The kernel believes what it was told for a second: so it asks the dead client for the directory, not for the
        // root, and takes it for removed.
        std::fs::metadata(target.join("sub")).unwrap();
        std::thread::sleep(Duration::from_millis(1050));
        std::fs::metadata(&target).unwrap();
        for pid in &killed {
            run(Command::new("kill").args(["-9", &pid.to_string()]));
        }
        let begun = Instant::now();
        let file = target.join("sub/data");
        let _ = std::fs::metadata(&file);
        was_thought_removed |= container.table().contains("//deleted");
        wait_for("the file at the published path", 10, || {
            (std::fs::read_to_string(&file).ok()? == "kept").then_some(())
        });
        let published = begun.elapsed();
        for path in [file.to_str().unwrap(), "/mnt/data"] {
            wait_for(&format!("{path} in the container"), 10, || {
                let read = container.inside(&["cat", path]).output().unwrap();
                (read.stdout == b"kept").then_some(())
            });
        }
        println!(
            "  client killed: readable after {published:?}, in the container after {:?}",
            begun.elapsed()
        );
        wait_for("the mount tables as long as before", 10, || {
            ((mounts(), container.mounts()) == (count, inside)).then_some(())
        });
        assert!(
            !container.inside(&["touch", "/mnt/new"]).output().unwrap().status.success(),
            "it was read-only"
        );
        std::fs::write(target.join("round"), round.to_string()).unwrap();
        run(&mut container.inside(&["touch", target.join("new").to_str().unwrap()]));
        assert_eq!(volume.health(&machine.caller), [""; 0]);
        if round >= 3 && was_thought_removed {
            break;
        }
    }
    assert!(was_thought_removed, "the kernel never took the directory for removed");
    let second = clients(&volume.staging);
    assert!(second.is_disjoint(&first));
    assert_eq!(mounts(), count);
    container.end();
    patiently("the volume to be unpublished", || volume.unpublish(&machine.caller, &target));
    patiently("the volume to be unstaged", || volume.unstage(&machine.caller));
    machine.end(&volume);
    served.run(&["volume", "delete", &id]);
    served.audit();
}

/// Writes a node's address on the network down, so that nobody asks for it and gets no answer; or forgets it.
fn neighbour(lab: &Lab, node: usize, known: bool) {
    let hardware = format!("52:54:00:77:00:1{node}");
    let how: &[&str] = if known { &["lladdr", &hardware, "nud", "permanent"] } else { &[] };
    let mut write = Command::new("ip");
    write.args(["-n", &lab.namespace, "neighbour", if known { "replace" } else { "del" }, &lab.host(node)]);
    run(write.args(how).args(["dev", "br0"]));
}

/// The first server of the list says nothing at all, then none of those that are named.
pub fn start_with_servers_down(lab: &Lab) {
    let served = Served::start(lab);
    let (id, name) = served.create(&["--replica", "3"]);
    let machine = Machine::start(lab);
    let volume = machine.volume(&name, &machine.servers());
    lab.kill_node(1);
    // Behind a router, or powered off a moment ago: nobody says that the address leads nowhere.
    neighbour(lab, 1, true);
    let begun = Instant::now();
    volume.stage(&machine.caller).unwrap();
    println!("  the first server is silent: staged after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    std::fs::read_dir(&volume.staging).unwrap();
    volume.unstage(&machine.caller).unwrap();
    let nobody = machine.volume(&name, &[lab.host(1), "10.77.0.99".into()]);
    let begun = Instant::now();
    let refused = nobody.stage(&machine.caller).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    for server in [lab.host(1), "10.77.0.99".into()] {
        assert!(refused.message().contains(&format!("{server}:24007: ")), "{refused}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    machine.end(&volume);
    neighbour(lab, 1, false);
    lab.start_node(1);
    served.run(&["volume", "delete", &id]);
    served.audit();
}
