//! The transport against an SSH server in this process, which runs what it is told in a real shell.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::keys::PrivateKey;
use russh::keys::ssh_key::{LineEnding, private::Ed25519Keypair};
use russh::server::{self, Auth, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, ChannelOpenFailure, Disconnect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::executor::{Argv, LOOK_DEADLINE, Output, Step};

/// An SSH server on loopback, and what the tests see of it.
struct Server {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// How many sessions are to be refused.
    refuse: AtomicUsize,
    /// How many commands run, and how many did so at once at the most.
    running: AtomicUsize,
    peak: AtomicUsize,
    sessions: Mutex<Vec<server::Handle>>,
    /// What the commands see as PATH, if not ours.
    path: Mutex<Option<String>>,
    /// What the server does instead of running a command.
    instead: Mutex<Option<&'static str>>,
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

const HOST_KEY: u8 = 1;
const USER_KEY: u8 = 2;

impl Server {
    async fn start() -> Self {
        Self::with_key(HOST_KEY).await
    }

    async fn with_key(seed: u8) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let config = Arc::new(server::Config {
            keys: vec![key(seed)],
            auth_rejection_time: Duration::ZERO,
            ..Default::default()
        });
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let shell = Shell { seen: shared.clone(), channels: HashMap::new() };
                let session = server::run_stream(config.clone(), stream, shell);
                if let Ok(session) = session.await {
                    shared.sessions.lock().push(session.handle());
                    tokio::spawn(session);
                }
            }
        });
        Self { port, seen }
    }

    fn options(&self) -> SshOptions {
        SshOptions {
            user: "root".into(),
            port: self.port,
            sudo: false,
            key: KeyPem(key(USER_KEY).to_openssh(LineEnding::LF).unwrap().to_string()),
            known_hosts: vec![format!("[127.0.0.1]:{} {}", self.port, public(HOST_KEY))],
            pin_first_contact: false,
            pins: HashMap::new(),
        }
    }

    fn ssh(&self) -> Ssh {
        Ssh::new(self.options()).unwrap()
    }

    async fn cut(&self) {
        let sessions = std::mem::take(&mut *self.seen.sessions.lock());
        for session in sessions {
            let bye = session.disconnect(Disconnect::ByApplication, "".into(), "".into());
            bye.await.unwrap();
        }
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

fn public(seed: u8) -> String {
    key(seed).public_key().to_openssh().unwrap()
}

struct Shell {
    seen: Arc<Seen>,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl server::Handler for Shell {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        shown: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        if shown.public_key.key_data() == key(USER_KEY).public_key().key_data() {
            return Ok(Auth::Accept);
        }
        Ok(Auth::reject())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: server::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let one_less = |n: usize| n.checked_sub(1);
        let refuse = &self.seen.refuse;
        if refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let channel = self.channels.remove(&id).unwrap();
        let instead = *self.seen.instead.lock();
        match instead {
            Some("refuse") => return session.channel_failure(id),
            Some("close") => {
                session.channel_success(id)?;
                return session.close(id);
            }
            _ => session.channel_success(id)?,
        }
        let command = String::from_utf8(command.to_vec()).unwrap();
        tokio::spawn(serve(channel, command, self.seen.clone()));
        Ok(())
    }
}

/// Runs a command as sshd does: its three streams are the channel's.
async fn serve(channel: Channel<Msg>, command: String, seen: Arc<Seen>) {
    let now = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
    seen.peak.fetch_max(now, Ordering::SeqCst);
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell.args(["-c", &command]).stdin(Stdio::piped());
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(path) = &*seen.path.lock() {
        shell.env("PATH", path);
    }
    let mut child = shell.spawn().unwrap();
    let (mut stdin, mut stdout, mut stderr) =
        (child.stdin.take(), child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut asked, answer) = channel.split();
    let feeding = async {
        while let Some(message) = asked.wait().await {
            match (message, &mut stdin) {
                (ChannelMsg::Data { data }, Some(stdin)) => {
                    let _ = stdin.write_all(&data).await;
                }
                (ChannelMsg::Eof, _) => stdin = None,
                _ => {}
            }
        }
        std::future::pending::<()>().await
    };
    let answering = async {
        let (mut out, mut err) = ([0; 8192], [0; 8192]);
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            tokio::select! {
                n = stdout.read(&mut out), if out_open => match n.unwrap() {
                    0 => out_open = false,
                    n => { let _ = answer.data_bytes(out[..n].to_vec()).await; }
                },
                n = stderr.read(&mut err), if err_open => match n.unwrap() {
                    0 => err_open = false,
                    n => { let _ = answer.extended_data_bytes(1, err[..n].to_vec()).await; }
                },
            }
        }
        child.wait().await.unwrap()
    };
    let status = tokio::select! { status = answering => status, () = feeding => unreachable!() };
    // sshd reports a signal; the shell in between makes 128 and more of it.
    let code = status.code().unwrap_or(137);
    let _ = answer.exit_status(code as u32).await;
    let _ = answer.close().await;
    seen.running.fetch_sub(1, Ordering::SeqCst);
}

fn say(word: &str) -> Argv {
    Argv::new(["printf", "%s", word])
}

fn sh(script: &'static str) -> Argv {
    Argv::script("test", script, Vec::<String>::new())
}

async fn run(ssh: &Ssh, steps: Vec<Step>) -> Result<Vec<Output>, TransportError> {
    let batch = Batch::new(steps, LOOK_DEADLINE);
    Ok(ssh.run("127.0.0.1", &batch).await?.outputs)
}

fn unreached(result: Result<Vec<Output>, TransportError>) -> String {
    match result {
        Err(TransportError::Unreached { cause, .. }) => cause,
        other => panic!("expected Unreached, got {other:?}"),
    }
}

fn unknown(result: Result<Vec<Output>, TransportError>) -> String {
    match result {
        Err(TransportError::Unknown { cause, .. }) => cause,
        other => panic!("expected Unknown, got {other:?}"),
    }
}

#[tokio::test]
async fn arguments_arrive_byte_for_byte() {
    let server = Server::start().await;
    let every: String = (1u8..128).map(char::from).collect();
    let words = [
        every.as_str(),
        "",
        " ",
        "a b",
        "it's",
        "''",
        "\\",
        "$(touch /tmp/never)`id`${HOME}$HOME",
        "\"; exit 3; \"",
        "a\nb\n",
        "*",
        "~",
        "-n",
        "!x",
        "#x",
        "ünï©ode",
        "A=b",
        "%s%n",
    ];
    let steps = words.map(|word| Step::always(Argv::new(["printf", "%s", word])));
    let outputs = run(&server.ssh(), steps.to_vec()).await.unwrap();
    assert_eq!(outputs.len(), words.len());
    for (output, word) in outputs.iter().zip(words) {
        assert_eq!((output.exit, output.stdout.as_str()), (0, word));
        assert_eq!(output.stderr, "");
    }
}

#[tokio::test]
async fn streams_and_exit_codes_are_told_apart_and_the_first_failure_ends_it() {
    let server = Server::start().await;
    let steps = vec![
        Step::always(sh("printf out; printf err >&2")),
        Step::always(sh("printf '\\377\\n\\n'")),
        Step::always(sh("echo two; echo why >&2; exit 7")),
        Step::always(say("never")),
    ];
    let outputs = run(&server.ssh(), steps).await.unwrap();
    let output =
        |exit, stdout: &str, stderr: &str| Output { exit, stdout: stdout.into(), stderr: stderr.into() };
    assert_eq!(
        outputs,
        [output(0, "out", "err"), output(0, "\u{fffd}\n\n", ""), output(7, "two\n", "why\n"),]
    );
}

#[tokio::test]
async fn guards_look_first_and_what_they_print_is_dropped() {
    let server = Server::start().await;
    let (yes, no) = (sh("echo yes; exit 0"), sh("echo no >&2; exit 5"));
    let steps = vec![
        Step::unless(yes.clone(), say("a")),
        Step::unless(no.clone(), say("b")),
        Step::only_if(yes, say("c")),
        Step::only_if(no, say("d")),
        Step::only_if(Argv::new(["no-such-program"]), say("e")),
        Step::always(say("f")),
    ];
    let outputs = run(&server.ssh(), steps).await.unwrap();
    let seen: Vec<_> = outputs.iter().map(|o| (o.exit, o.stdout.as_str(), o.stderr.as_str())).collect();
    let missing = "cannot run the check no-such-program\n";
    assert_eq!(seen, [(0, "", ""), (0, "b", ""), (0, "c", ""), (0, "", ""), (127, "", missing)]);
}

#[tokio::test]
async fn words_of_a_command_are_never_syntax() {
    let server = Server::start().await;
    for word in ["if", "A=b", "{", "!"] {
        let outputs = run(&server.ssh(), vec![Step::always(Argv::new([word]))]).await;
        assert_eq!(outputs.unwrap()[0].exit, 127, "{word}");
    }
    for words in [vec![], vec![""], vec!["printf", "a\0b"]] {
        let result = run(&server.ssh(), vec![Step::always(Argv::new(words))]).await;
        assert_ne!(unreached(result), "");
    }
}

#[tokio::test]
async fn batches_under_one_lock_run_one_after_the_other() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let name = format!("test-{}", uuid::Uuid::new_v4().simple());
    // Fails when another one is inside; a daemon that stays behind must not keep the lock.
    let inside = Argv::script(
        "inside",
        r#"mkdir "$1" && sleep 0.05 && rmdir "$1"; code=$?; sleep 8 >/dev/null 2>&1 & exit $code"#,
        [dir.path().join("inside").to_str().unwrap()],
    );
    let batch = Batch::one(inside, LOOK_DEADLINE).locked(&name);
    // Two processes of ours, each with its own connection.
    let (one, two) = (server.ssh(), server.ssh());
    let started = Instant::now();
    let batches = [&one, &two, &one, &two].map(|ssh| ssh.run("127.0.0.1", &batch));
    for result in futures::future::join_all(batches).await {
        assert!(result.unwrap().outputs[0].ok());
    }
    assert!(started.elapsed() < Duration::from_secs(6));
    for dir in ["/run", "/tmp"] {
        let _ = std::fs::remove_file(format!("{dir}/bricklayer-{name}.lock"));
    }

    let wrong = Batch::one(say("x"), LOOK_DEADLINE).locked("../x");
    let cause = unreached(one.run("127.0.0.1", &wrong).await.map(|reply| reply.outputs));
    assert!(cause.contains("no name of a lock"), "{cause}");
}

#[tokio::test]
async fn commands_cannot_read_what_is_meant_for_the_shell() {
    let server = Server::start().await;
    let mut steps: Vec<Step> = (0..2000).map(|_| Step::always(Argv::new(["cat"]))).collect();
    steps.push(Step::unless(Argv::new(["grep", "bl_all"]), say("end")));
    let outputs = run(&server.ssh(), steps).await.unwrap();
    assert!(outputs.iter().take(2000).all(|output| output.stdout.is_empty()));
    assert_eq!(outputs[2000].stdout, "end");
}

#[tokio::test]
async fn a_batch_may_be_larger_than_an_argument_list() {
    let server = Server::start().await;
    // 4096 bricks, 100 bytes each: more than one argument of the kernel holds.
    let bricks: Vec<String> = (0..4096).map(|n| format!("host:/{n:0>92}")).collect();
    let count = Argv::script("count", "echo $#", bricks);
    let outputs = run(&server.ssh(), vec![Step::always(count)]).await.unwrap();
    assert_eq!(outputs[0].stdout, "4096\n");
}

#[tokio::test]
async fn at_the_deadline_the_node_ends_everything() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (pid, late) = (dir.path().join("pid"), dir.path().join("late"));
    // A guard must not count as a "no" when it is ended, nor may what ignores signals survive.
    let guard = Argv::script(
        "hang",
        r#"(trap '' TERM; exec sleep 60) & echo $! > "$1.new"; mv "$1.new" "$1"; sleep 60"#,
        [pid.to_str().unwrap()],
    );
    let step = Step::unless(guard, Argv::new(["touch", late.to_str().unwrap()]));
    let batch = Batch::new([step], Duration::from_secs(1));
    let started = Instant::now();
    let result = server.ssh().run("127.0.0.1", &batch).await;
    let cause = unknown(result.map(|reply| reply.outputs));
    assert!(cause.contains("deadline"), "{cause}");
    assert!(started.elapsed() < shell::KILL_AFTER);
    let pid = std::fs::read_to_string(pid).unwrap();
    while !gone(pid.trim()) {
        assert!(started.elapsed() < shell::KILL_AFTER, "{pid} still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!late.exists());
}

/// Whether a process has ended; a zombie has.
fn gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit(')').next().unwrap().starts_with(" Z")
}

#[tokio::test]
async fn a_lost_connection_is_unknown_and_made_anew() {
    let server = Server::start().await;
    let ssh = Arc::new(server.ssh());
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    let script = Argv::script("slow", r#": > "$1"; sleep 2"#, [flag.to_str().unwrap()]);
    let busy = ssh.clone();
    let pending = tokio::spawn(async move { run(&busy, vec![Step::always(script)]).await });
    while !flag.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.cut().await;
    let cause = unknown(pending.await.unwrap());
    assert!(cause.contains("closed"), "{cause}");
    let again = run(&ssh, vec![Step::always(say("back"))]).await.unwrap();
    assert_eq!(again[0].stdout, "back");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_the_server_does_instead_is_told_apart() {
    let server = Server::start().await;
    let step = || vec![Step::always(say("x"))];
    *server.seen.instead.lock() = Some("refuse");
    let cause = unreached(run(&server.ssh(), step()).await);
    assert!(cause.contains("refused to run"), "{cause}");
    *server.seen.instead.lock() = Some("close");
    let cause = unknown(run(&server.ssh(), step()).await);
    assert!(cause.contains("closed"), "{cause}");
}

#[tokio::test]
async fn too_much_output_is_unknown() {
    let server = Server::start().await;
    let flood = sh("head -c 17000000 /dev/zero");
    let cause = unknown(run(&server.ssh(), vec![Step::always(flood)]).await);
    assert!(cause.contains("16 MiB"), "{cause}");
}

#[tokio::test]
async fn a_node_without_timeout_or_sudo_ran_nothing() {
    let server = Server::start().await;
    let empty = tempfile::tempdir().unwrap();
    *server.seen.path.lock() = Some(empty.path().to_str().unwrap().into());
    let cause = unreached(run(&server.ssh(), vec![Step::always(say("x"))]).await);
    assert!(cause.contains("install coreutils"), "{cause}");
}

#[tokio::test]
async fn sudo_runs_the_whole_batch() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    *server.seen.path.lock() = Some(path);
    let sudo = dir.path().join("sudo");
    let install = |text: &str| {
        std::fs::write(&sudo, text).unwrap();
        std::fs::set_permissions(&sudo, PermissionsExt::from_mode(0o755)).unwrap();
    };
    let ssh = Ssh::new(SshOptions { sudo: true, ..server.options() }).unwrap();
    let who = || vec![Step::unless(sh("[ -z \"$ROOT\" ]"), sh("echo $ROOT"))];

    install("#!/bin/sh\n[ \"$1\" = -n ] || exit 9\nshift\nROOT=yes exec \"$@\"\n");
    let outputs = run(&ssh, who()).await.unwrap();
    assert_eq!(outputs[0].stdout, "yes\n");

    install("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n");
    let cause = unreached(run(&ssh, who()).await);
    assert!(cause.contains("a password is required") && cause.contains("NOPASSWD"), "{cause}");
}

#[tokio::test]
async fn host_keys_are_checked() {
    let server = Server::start().await;
    let step = || vec![Step::always(say("x"))];
    let with = |known_hosts: Vec<String>, pins: HashMap<String, String>, pin_first_contact| {
        Ssh::new(SshOptions { known_hosts, pins, pin_first_contact, ..server.options() }).unwrap()
    };
    let pin = |seed| HashMap::from([("127.0.0.1".to_owned(), public(seed))]);
    let (right, wrong) = (public(HOST_KEY), public(9));

    let cause = unreached(run(&with(vec![], HashMap::new(), false), step()).await);
    assert!(cause.contains("not among the known hosts") && cause.contains("PinFirstContact"), "{cause}");

    let known = vec![format!("127.0.0.1 {wrong}")];
    let cause = unreached(run(&with(known.clone(), HashMap::new(), true), step()).await);
    assert!(cause.contains("not the known one"), "{cause}");
    let known = vec![known[0].clone(), format!("127.* {right}")];
    assert!(run(&with(known, HashMap::new(), false), step()).await.is_ok());

    let cause = unreached(run(&with(vec![], pin(9), true), step()).await);
    assert!(cause.contains("has changed"), "{cause}");
    assert!(run(&with(vec![], pin(HOST_KEY), false), step()).await.is_ok());

    let ssh = with(vec![], HashMap::new(), true);
    assert_eq!(ssh.pins(), HashMap::new());
    assert!(run(&ssh, step()).await.is_ok());
    assert_eq!(ssh.pins(), pin(HOST_KEY));
}

#[tokio::test]
async fn who_is_refused_or_finds_nobody_is_told_what_to_do() {
    let server = Server::start().await;
    let step = || vec![Step::always(say("x"))];
    let stranger = KeyPem(key(5).to_openssh(LineEnding::LF).unwrap().to_string());
    let ssh = Ssh::new(SshOptions { key: stranger, ..server.options() }).unwrap();
    let cause = unreached(run(&ssh, step()).await);
    assert!(cause.contains("authorized_keys of root") && cause.contains(&public(5)), "{cause}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let ssh = Ssh::new(SshOptions { port, ..server.options() }).unwrap();
    let cause = unreached(run(&ssh, step()).await);
    assert!(cause.contains("is sshd running"), "{cause}");
}

#[tokio::test]
async fn many_batches_share_one_connection_and_eight_lanes() {
    let server = Server::start().await;
    let ssh = Arc::new(server.ssh());
    let batches = (0..24).map(|n| {
        let ssh = ssh.clone();
        async move {
            let steps = vec![Step::always(sh("sleep 0.1")), Step::always(say(&n.to_string()))];
            run(&ssh, steps).await.unwrap()[1].stdout == n.to_string()
        }
    });
    let right = futures::future::join_all(batches).await;
    assert_eq!(right, [true; 24]);
    assert_eq!(server.connections(), 1);
    assert_eq!(server.seen.peak.load(Ordering::SeqCst), LANES);
}

#[tokio::test]
async fn a_refused_session_is_tried_once_more_on_a_new_connection() {
    let server = Server::start().await;
    let ssh = server.ssh();
    let step = || vec![Step::always(say("x"))];
    server.seen.refuse.store(1, Ordering::SeqCst);
    assert!(run(&ssh, step()).await.is_ok());
    assert_eq!(server.connections(), 2);
    server.seen.refuse.store(2, Ordering::SeqCst);
    let cause = unreached(run(&ssh, step()).await);
    assert!(cause.contains("MaxSessions"), "{cause}");
    assert!(run(&ssh, step()).await.is_ok());
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_no_channel_behind() {
    let server = Server::start().await;
    let ssh = server.ssh();
    let slow = run(&ssh, vec![Step::always(sh("sleep 0.3"))]);
    let given_up = timeout(Duration::from_millis(100), slow).await;
    assert!(given_up.is_err());
    let node = ssh.node("127.0.0.1");
    assert_eq!(node.lanes.available_permits(), LANES - 1);
    let all = timeout(LOOK_DEADLINE, node.lanes.acquire_many(LANES as u32)).await;
    assert!(all.unwrap().is_ok());
    assert_eq!(server.seen.running.load(Ordering::SeqCst), 0);
}

#[test]
fn bad_options_are_refused_and_the_key_stays_secret() {
    let options = |key: &str, pins: &[(&str, &str)]| SshOptions {
        user: "root".into(),
        port: 22,
        sudo: false,
        key: KeyPem(key.into()),
        known_hosts: vec![],
        pin_first_contact: false,
        pins: pins.iter().map(|(host, line)| (host.to_string(), line.to_string())).collect(),
    };
    let pem = key(USER_KEY).to_openssh(LineEnding::LF).unwrap();
    assert!(Ssh::new(options(&pem, &[])).is_ok());
    assert!(matches!(Ssh::new(options("nonsense", &[])).map(|_| ()), Err(SshError::Key(_))));
    assert!(matches!(Ssh::new(options(&pem, &[("n", "nonsense")])).map(|_| ()), Err(SshError::Pin { .. })));
    let shown = format!("{:?}", options(&pem, &[]));
    assert!(shown.contains("KeyPem(..)") && !shown.contains("PRIVATE"));
}
