//! The podExec transport against an API server in this process, which knows pods and runs what it is
//! told in a real shell, over the websocket protocol that kubelet speaks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api_server::{ApiServer, Instead};
use bricklayer::executor::transport::pod_exec::{PodExec, PodExecOptions};
use bricklayer::executor::{Argv, Batch, LOOK_DEADLINE, Output, Permit, Step, Transport, TransportError};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, Config};

const HOST: &str = "10.0.0.1";

fn way(server: &ApiServer) -> PodExec {
    let config = Config::new(server.url().parse().unwrap());
    let pods: Api<Pod> = Api::namespaced(Client::try_from(config).unwrap(), "gluster");
    let node_of = |host: &str| (host == HOST).then(|| "worker-1".to_owned());
    PodExec::new(PodExecOptions {
        pods,
        labels: vec![("app".into(), "gluster".into())],
        container: None,
        node_of: Arc::new(node_of),
        permit: Permit::default(),
    })
}

fn sh(text: &'static str) -> Step {
    Step::always(Argv::script("test", text, [""; 0]))
}

async fn run(way: &PodExec, steps: impl IntoIterator<Item = Step>) -> Result<Vec<Output>, TransportError> {
    Ok(way.run(HOST, &Batch::new(steps, LOOK_DEADLINE)).await?.outputs)
}

fn unreached(result: Result<Vec<Output>, TransportError>) -> String {
    match result {
        Err(TransportError::Unreached { host, cause }) if host == HOST => cause,
        other => panic!("it was reached: {other:?}"),
    }
}

fn unknown(result: Result<Vec<Output>, TransportError>) -> String {
    match result {
        Err(TransportError::Unknown { host, cause }) if host == HOST => cause,
        other => panic!("it is known: {other:?}"),
    }
}

#[tokio::test]
async fn a_batch_runs_and_its_streams_and_codes_are_told_apart() {
    let server = ApiServer::start(&["gluster-a"]).await;
    let way = way(&server);
    let outputs = run(&way, [sh("echo out; echo err >&2"), sh("exit 3"), sh("echo never")]).await.unwrap();
    assert_eq!(outputs.len(), 2, "the batch ends at the first failure: {outputs:?}");
    assert_eq!(
        (outputs[0].stdout.as_str(), outputs[0].stderr.as_str(), outputs[0].exit),
        ("out\n", "err\n", 0)
    );
    assert_eq!(outputs[1].exit, 3);
    let request = server.last_exec();
    for part in ["/api/v1/namespaces/gluster/pods/gluster-a/exec?", "container=glusterd", "command=timeout"] {
        assert!(request.contains(part), "{request}");
    }
    let listed = server.last_list();
    assert!(listed.contains("labelSelector=app%3Dgluster"), "{listed}");
    assert!(listed.contains("fieldSelector=spec.nodeName%3Dworker-1"), "{listed}");
    run(&way, [sh("true")]).await.unwrap();
    assert_eq!(server.lists(), 1, "the pod is kept for a moment");
}

#[tokio::test]
async fn words_stay_words_and_large_answers_come_whole() {
    let server = ApiServer::start(&["gluster-a"]).await;
    let way = way(&server);
    let nasty = "a b'c\"d$(id)`id`\\ \n;&|<>*?[x]#~";
    let outputs = run(&way, [Step::always(Argv::new(["printf", "%s", nasty]))]).await.unwrap();
    assert_eq!(outputs[0].stdout, nasty);
    let outputs = run(&way, [sh("head -c 3000000 /dev/zero | tr '\\0' x")]).await.unwrap();
    assert_eq!(outputs[0].stdout.len(), 3_000_000);
    let cause = unknown(run(&way, [sh("head -c 20000000 /dev/zero | tr '\\0' x")]).await);
    assert!(cause.contains("more than 16 MiB"), "{cause}");
}

#[tokio::test]
async fn many_batches_run_at_once() {
    let server = ApiServer::start(&["gluster-a"]).await;
    let way = way(&server);
    let many = (0..20).map(|_| run(&way, [sh("sleep 0.1; echo done")]));
    for outputs in futures::future::join_all(many).await {
        assert_eq!(outputs.unwrap()[0].stdout, "done\n");
    }
    assert!(server.peak() > 1 && server.peak() <= 8, "{} at once", server.peak());
}

#[tokio::test]
async fn the_deadline_is_kept_at_the_far_end() {
    let server = ApiServer::start(&["gluster-a"]).await;
    let way = way(&server);
    let started = Instant::now();
    let batch = Batch::new([sh("trap '' TERM; sleep 300")], Duration::from_secs(1));
    let result = way.run(HOST, &batch).await.map(|reply| reply.outputs);
    let cause = unknown(result);
    assert!(cause.contains("its deadline has passed"), "{cause}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn a_broken_stream_is_unknown_and_not_failed() {
    let server = ApiServer::start(&["gluster-a"]).await;
    let way = way(&server);
    let mark = tempfile::NamedTempFile::new().unwrap();
    let path = mark.path().to_str().unwrap().to_owned();
    for instead in [Instead::CutAfterScript, Instead::CloseAfterScript] {
        std::fs::write(&path, "").unwrap();
        server.next(instead);
        let write = Argv::script("test", "sleep 1; echo ran >\"$1\"", [path.as_str()]);
        let cause = unknown(run(&way, [Step::always(write)]).await);
        assert!(cause.contains("the connection was closed"), "{cause}");
        // What is unknown may well have run.
        let until = Instant::now() + Duration::from_secs(60);
        while std::fs::read_to_string(&path).unwrap() != "ran\n" {
            assert!(Instant::now() < until, "the shell goes on without us");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    server.next(Instead::Status("error reading from the container: EOF"));
    unknown(run(&way, [sh("true")]).await);
}

#[tokio::test]
async fn what_was_not_started_was_not_reached() {
    let server = ApiServer::start(&["gluster-a"]).await;
    let way = way(&server);
    server.next(Instead::Status("OCI runtime exec failed: executable file not found in $PATH"));
    let cause = unreached(run(&way, [sh("true")]).await);
    assert!(cause.contains("executable file not found"), "{cause}");
    server.next(Instead::Exit(127));
    let cause = unreached(run(&way, [sh("true")]).await);
    assert!(cause.contains("needs a shell, coreutils (timeout) and util-linux (flock)"), "{cause}");
    server.next(Instead::NotFound);
    server.next(Instead::NotFound);
    let cause = unreached(run(&way, [sh("true")]).await);
    assert!(cause.contains("pod gluster-a takes no command"), "{cause}");
    let cause = match way.run("10.0.0.9", &Batch::one(Argv::new(["true"]), LOOK_DEADLINE)).await {
        Err(TransportError::Unreached { cause, .. }) => cause,
        other => panic!("{other:?}"),
    };
    assert!(cause.contains("names its Kubernetes node"), "{cause}");
}

#[tokio::test]
async fn a_pod_that_was_replaced_is_looked_up_again() {
    let server = ApiServer::start(&["gluster-a"]).await;
    let way = way(&server);
    run(&way, [sh("true")]).await.unwrap();
    server.pods(&["gluster-b"]);
    let outputs = run(&way, [sh("echo here")]).await.unwrap();
    assert_eq!(outputs[0].stdout, "here\n");
    assert!(server.last_exec().contains("/pods/gluster-b/exec"), "{}", server.last_exec());
    server.pods(&[]);
    let cause = unreached(run(&way, [sh("true")]).await);
    assert!(cause.contains("no pod with the labels app=gluster runs on node worker-1"), "{cause}");
    server.pods(&["gluster-c"]);
    run(&way, [sh("true")]).await.unwrap();
}
