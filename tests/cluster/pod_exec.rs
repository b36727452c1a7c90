//! The podExec transport against a pod of the real kubelet: it runs, fails, times out and loses its
//! stream.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bricklayer::executor::transport::pod_exec::{PodExec, PodExecOptions};
use bricklayer::executor::{Argv, Batch, LOOK_DEADLINE, Output, Permit, Step, Transport, TransportError};
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::fixture::{ControlPlane, wait_for};
use crate::world::World;

const HOST: &str = "10.77.0.1";
const LABEL: &str = "exec-test";
/// The namespace of the chart's GlusterFS pods.
const GLUSTER: &str = "bricklayer-gluster";

/// The scenario.
pub fn real_pod(world: &World) {
    against(&world.cluster, &world.lab.namespace);
}

/// A storage node that is a node of the cluster itself: the operator's pods reach GlusterFS in the pod
/// of the chart, say when it is away, and find the next one.
pub fn node_in_a_pod(world: &World) {
    world.installed();
    let chart = "helm upgrade bricklayer charts/bricklayer --namespace bricklayer-system --reuse-values";
    world.shell(&format!("{chart} --set glusterfs.enabled=true"));
    world.shell("kubectl label node --all bricklayer.dev/storage=true");
    let labels = json!({"app.kubernetes.io/name": "glusterfs", "app.kubernetes.io/instance": "bricklayer"});
    let way = json!({"podExec": {"namespace": GLUSTER, "selector": {"matchLabels": labels}}});
    let wanted = json!({"matchLabels": {"bricklayer.dev/storage": "true"}});
    let object = |kind: &str, name: &str, spec: serde_json::Value| json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let cluster = &world.cluster;
    let node = json!({"cluster": "pods", "kubernetesNode": wanted});
    cluster.apply(&object("GlusterNode", "in-a-pod", node).to_string());
    cluster.apply(&object("GlusterCluster", "pods", json!({"transport": way})).to_string());
    cluster.run(&["wait", "--for=condition=Ready", "gnode/in-a-pod", "gcl/pods", "--timeout=180s"]);
    let seen = "{.status.transport} {.status.hostnames.storage[0]} {.status.peerUuid}";
    let before = cluster.value(&["gnode/in-a-pod"], seen);
    assert!(before.starts_with(&format!("podExec {HOST} ")), "{before}");
    // Its glusterd keeps its state on the node, so the next pod is the same member.
    world.shell("kubectl label node --all bricklayer.dev/storage-");
    wait_for("the loss of the pod to be told", 120, || {
        cluster.run(&["describe", "gnode", "in-a-pod"]).contains("cannot reach 10.77.0.1").then_some(())
    });
    world.shell("kubectl label node --all bricklayer.dev/storage=true");
    cluster.run(&["wait", "--for=condition=Ready", "gnode/in-a-pod", "--timeout=180s"]);
    assert_eq!(cluster.value(&["gnode/in-a-pod"], seen), before);
    cluster.run(&["delete", "gnode/in-a-pod", "gcl/pods", "--timeout=60s"]);
    world.shell(&format!("{chart} --set glusterfs.enabled=false"));
    cluster.run(&["delete", "namespace", GLUSTER, "--timeout=120s"]);
    world.shell("kubectl label node --all bricklayer.dev/storage-");
}

/// Everything on a cluster with a node, in a network namespace.
pub fn against(cluster: &ControlPlane, namespace: &str) {
    let node = cluster.value(&["node"], "{.items[0].metadata.name}");
    pod(cluster, "gluster-1", &node);
    std::thread::scope(|scope| {
        let shown = scope.spawn(|| {
            let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(show(cluster, &node));
        });
        shown.join().unwrap();
    });
    cluster.run(&["delete", "pod", "-l", &format!("app={LABEL}"), "--timeout=60s"]);
}

/// A pod with what a GlusterFS pod has, and waits until it is ready.
fn pod(cluster: &ControlPlane, name: &str, node: &str) {
    let image = concat!("gluster-server:", env!("CARGO_PKG_VERSION"));
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": LABEL}},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "glusterd", "image": image, "imagePullPolicy": "Never",
                "command": ["sleep", "infinity"]}]}});
    cluster.apply(&pod.to_string());
    cluster.run(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=120s"]);
}

async fn show(cluster: &ControlPlane, node: &str) {
    let way = &Way::new(&cluster.admin(), node).await;
    runs_and_fails(way).await;
    times_out(way).await;
    loses_its_stream(way).await;
    loses_its_pod(way, cluster, node).await;
}

async fn runs_and_fails(way: &Way) {
    let nasty = "a b'c\"d$(id)`id`\\ \n;&|<>*?[x]#~";
    let steps = [
        Step::always(Argv::new(["printf", "%s", nasty])),
        sh("head -c 3000000 /dev/zero | tr '\\0' x; echo no >&2; exit 5", ""),
        sh("echo never", ""),
    ];
    let outputs = way.run(Batch::new(steps, LOOK_DEADLINE).locked("test")).await.unwrap();
    assert_eq!(outputs.len(), 2, "the batch ends at the first failure");
    assert_eq!((outputs[0].exit, outputs[0].stdout.as_str()), (0, nasty));
    assert_eq!(
        (outputs[1].exit, outputs[1].stdout.len(), outputs[1].stderr.as_str()),
        (5, 3_000_000, "no\n")
    );
}

async fn times_out(way: &Way) {
    let started = Instant::now();
    let text = "echo $$ >/tmp/pid; trap '' TERM; sleep 300";
    let cause = unknown(way.run(Batch::new([sh(text, "")], Duration::from_secs(2))).await);
    assert!(cause.contains("its deadline has passed"), "{cause}");
    assert!(started.elapsed() < Duration::from_secs(60));
    // The pod's first process reaps nobody: what is killed stays as a zombie.
    let state = "state=$(sed 's/.*) //; s/ .*//' /proc/$(cat /tmp/pid)/stat); [ -z \"$state\" ] || [ \"$state\" = Z ]";
    let gone = sh(state, "");
    let outputs = way.run(Batch::new([gone], LOOK_DEADLINE)).await.unwrap();
    assert_eq!(outputs[0].exit, 0, "nothing of the batch runs any more: {outputs:?}");
}

async fn loses_its_stream(way: &Way) {
    let batch = Batch::new([sh("touch /tmp/cut; sleep 30; echo end", "")], LOOK_DEADLINE);
    let cut = async {
        way.until_there("/tmp/cut").await;
        way.cut();
    };
    let (result, ()) = tokio::join!(way.run(batch), cut);
    let cause = unknown(result);
    assert!(cause.contains("the connection was closed"), "{cause}");
    way.run(Batch::new([sh("true", "")], LOOK_DEADLINE)).await.expect("the next one finds its way");
}

async fn loses_its_pod(way: &Way, cluster: &ControlPlane, node: &str) {
    let batch = Batch::new([sh("touch /tmp/kill; sleep 300", "")], Duration::from_secs(400));
    let kill = async {
        way.until_there("/tmp/kill").await;
        cluster.run(&["delete", "pod", "gluster-1", "--wait=false"]);
    };
    let started = Instant::now();
    let (result, ()) = tokio::join!(way.run(batch), kill);
    unknown(result);
    assert!(started.elapsed() < Duration::from_secs(200), "the end of the pod ends the wait");
    wait_for("the pod to go", 60, || {
        (!cluster.try_run(&["get", "pod", "gluster-1"]).status.success()).then_some(())
    });
    let cause = match way.run(Batch::new([sh("true", "")], LOOK_DEADLINE)).await {
        Err(TransportError::Unreached { cause, .. }) => cause,
        other => panic!("there is no pod: {other:?}"),
    };
    assert!(cause.contains("no pod with the labels app=exec-test runs on node"), "{cause}");
    pod(cluster, "gluster-2", node);
    let outputs = way.run(Batch::new([sh("hostname", "")], LOOK_DEADLINE)).await.unwrap();
    assert_eq!(outputs[0].stdout, "gluster-2\n");
}

fn sh(text: &'static str, argument: &str) -> Step {
    Step::always(Argv::script("test", text, [argument]))
}

fn unknown(result: Result<Vec<Output>, TransportError>) -> String {
    match result {
        Err(TransportError::Unknown { cause, .. }) => cause,
        other => panic!("it is known: {other:?}"),
    }
}

/// The transport, over connections that a test can cut.
struct Way {
    transport: PodExec,
    cut: watch::Sender<u32>,
}

impl Way {
    async fn new(admin: &Path, node: &str) -> Self {
        let kubeconfig = Kubeconfig::read_from(admin).unwrap();
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let server = config.cluster_url.authority().unwrap().to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        config.cluster_url =
            format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let cut = watch::Sender::new(0);
        tokio::spawn(forward(listener, server, cut.subscribe()));
        let pods: Api<Pod> = Api::namespaced(Client::try_from(config).unwrap(), "default");
        let node = node.to_owned();
        let transport = PodExec::new(PodExecOptions {
            pods,
            labels: vec![("app".into(), LABEL.into())],
            container: None,
            node_of: Arc::new(move |_| Some(node.clone())),
            permit: Permit::default(),
        });
        Self { transport, cut }
    }

    async fn run(&self, batch: Batch) -> Result<Vec<Output>, TransportError> {
        Ok(self.transport.run(HOST, &batch).await?.outputs)
    }

    /// Waits until a file is there in the pod.
    async fn until_there(&self, path: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let look = Batch::new([sh("test -e \"$1\"", path)], LOOK_DEADLINE);
            if self.run(look).await.is_ok_and(|outputs| outputs[0].ok()) {
                return;
            }
            assert!(Instant::now() < until, "{path} does not come");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Cuts all connections.
    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

/// Carries connections to the API server until they are cut.
async fn forward(listener: TcpListener, server: String, cut: watch::Receiver<u32>) {
    while let Ok((mut here, _)) = listener.accept().await {
        let (server, mut cut) = (server.clone(), cut.clone());
        cut.mark_unchanged();
        tokio::spawn(async move {
            let mut there = TcpStream::connect(server).await.unwrap();
            tokio::select! {
                // However it ends: the client sees it.
                _ = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                _ = cut.changed() => {}
            }
        });
    }
}
