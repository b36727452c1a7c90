//! Injected faults: they happen where they are told to, and both sides of a command can be watched.

use super::*;

fn failing() -> Fault {
    Fault::FailBefore { exit: 9, stderr: "injected".into() }
}

#[tokio::test]
async fn faults_happen_where_they_are_told_to() {
    let (_directory, sim) = fresh();
    let mkdir = |name: &str| {
        let made = Argv::new(["mkdir", "-p", &format!("/mnt/{name}")]);
        let then = Argv::new(["mkdir", "-p", &format!("/mnt/{name}/2")]);
        Batch::new([Step::always(made), Step::always(then)], Duration::from_millis(200))
    };
    let made = |name: &str| {
        let hosts = sim.snapshot().hosts;
        let all = hosts.get("n1").map(|host| host.directories.clone()).unwrap_or_default();
        all.iter().filter(|dir| dir.starts_with(&format!("/mnt/{name}"))).count()
    };
    let cases = [
        (failing(), 0, "ended with 9: injected"),
        (Fault::FailAfter { exit: 9, stderr: "injected".into() }, 1, "ended with 9: injected"),
        (Fault::Hang, 0, "the deadline has passed; what ran there is unknown"),
        (Fault::LoseAnswer, 1, "the connection was lost; what ran there is unknown"),
        (Fault::LoseReply, 2, "the connection was lost; what ran there is unknown"),
        (Fault::Slow(Duration::from_millis(300)), 0, "the deadline has passed"),
        (Fault::Slow(Duration::from_millis(10)), 2, ""),
        (Fault::NodeDown, 0, "cannot reach n1: no route to host"),
    ];
    for (number, (fault, expected, text)) in cases.into_iter().enumerate() {
        let name = format!("d{number}");
        sim.faults().add(Rule::once(&format!("mkdir*{name}"), fault.clone()).on("n1"));
        let result = run(&sim, "n1", &mkdir(&name)).await;
        let told = result.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains(text) && (text.is_empty() == told.is_empty()), "{fault:?}: {told}");
        assert_eq!(made(&name), expected, "{fault:?}");
    }
    assert!(matches!(
        run(&sim, "n1", &mkdir("x")).await,
        Err(RunError::Lost(TransportError::Unreached { .. }))
    ));
    sim.faults().clear();
    assert!(run(&sim, "n1", &mkdir("x")).await.is_ok());
}

#[tokio::test]
async fn a_node_that_goes_down_within_a_batch_leaves_it_unknown() {
    let (_directory, sim) = fresh();
    cluster(&sim).await;
    sim.faults().add(Rule::once("mkfs.xfs", Fault::NodeDown));
    let error = run(&sim, "n2", &brick::create(&brick_of(1, 2, 1), FSTAB)).await.unwrap_err();
    assert!(matches!(error, RunError::Lost(TransportError::Unknown { .. })), "{error}");
    let outputs = must(&sim, "n1", gluster::pool_list()).await;
    let peers = gluster::parse_pool(&outputs[0]).unwrap();
    assert!(peers.iter().any(|peer| peer.host == "n2" && !peer.connected), "{peers:?}");
    sim.faults().up("n2");
    must(&sim, "n2", brick::create(&brick_of(1, 2, 1), FSTAB)).await;
}

#[tokio::test]
async fn the_faults_file_takes_nodes_down_and_restarts_them() {
    let (directory, sim) = fresh();
    let boot = ask(&sim, "n1", mount::boot_id()).await;
    let write = |text: &str| {
        let path = directory.path().join("faults.json");
        std::fs::write(directory.path().join("new"), text).unwrap();
        std::fs::rename(directory.path().join("new"), path).unwrap();
    };
    let until = async |wanted: &dyn Fn(&Result<Reply, TransportError>) -> bool| {
        let look = Batch::one(mount::boot_id(), LOOK_DEADLINE);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let result = sim.run("n1", &look).await;
            if wanted(&result) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{result:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    write(r#"{"down": ["n*"]}"#);
    until(&|result| matches!(result, Err(TransportError::Unreached { .. }))).await;
    write(r#"{"restart": {"n1": 2}}"#);
    until(&|result| result.as_ref().is_ok_and(|reply| reply.outputs[0].stdout != boot.stdout)).await;
    assert_eq!(sim.snapshot().hosts["n1"].boots, 1);
    write(r#"{"rules": [{"command": "boot_id", "fault": {"fail_before": {"exit": 3, "stderr": "no"}}}]}"#);
    until(&|result| result.as_ref().is_ok_and(|reply| reply.outputs[0].exit == 3)).await;
    // The same number does not restart it again, not in the next process either.
    write(r#"{"restart": {"n1": 2}, "rules": [{"fault": {"slow": 1}}, {"fault": "hang", "skip": 99}]}"#);
    until(&|result| result.as_ref().is_ok_and(|reply| reply.outputs[0].ok())).await;
    drop(sim);
    assert_eq!(open(&directory).snapshot().hosts["n1"].boots, 1);
}

#[tokio::test]
async fn the_hook_sees_both_sides_of_every_command() {
    let (_directory, sim) = fresh();
    prepare(&sim, "n1", 1).await;
    let seen = Arc::new(Mutex::new(vec![]));
    let hook: Hook = {
        let seen = seen.clone();
        Arc::new(move |point: &Point<'_>| seen.lock().push((point.n, point.argv.0[0].clone(), point.when)))
    };
    sim.set_hook(Some(hook));
    let first = sim.commands();
    must(&sim, "n1", brick::create(&brick_of(1, 1, 1), FSTAB)).await;
    sim.set_hook(None);
    // Seven commands, and a guard before four of them.
    let seen = std::mem::take(&mut *seen.lock());
    assert_eq!((seen.len(), sim.commands() - first), (22, 11));
    assert!(seen.chunks(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].2 == When::Before), "{seen:?}");
    assert_eq!(sim.log().len() as u64, sim.commands());
    assert_eq!(sim.log().last().unwrap().argv.0[0], "mkdir");
}

#[test]
fn the_example_of_a_faults_file_is_one() {
    let comment: String =
        include_str!("../mod.rs").lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let example = comment.split("```").nth(1).unwrap().trim_start_matches("json");
    let file: FaultsFile = serde_json::from_str(example).unwrap();
    assert_eq!((file.down.len(), file.restart.len(), file.rules.len()), (2, 1, 3));
    assert_eq!(file.rules[2].fault, Fault::Slow(Duration::from_millis(1500)));
}
