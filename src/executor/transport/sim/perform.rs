//! Running batches on simulated nodes: locks, guards, faults, logs, and the journal.

use std::{
    collections::BTreeSet,
    io::Write,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use tokio::{sync::OwnedMutexGuard, time::Instant};

use super::{
    Inner, Logged, Point, Sim, When, command,
    faults::{self, Fault},
    journal::Entry,
    state::State,
    text::Text,
};
use crate::executor::{Argv, Batch, Guard, Output, Reply, Step, Transport, TransportError};

#[async_trait]
impl Transport for Sim {
    async fn run(&self, host: &str, batch: &Batch) -> Result<Reply, TransportError> {
        self.run_for(None, host, batch).await
    }
}

impl Sim {
    /// Runs a batch for somebody, who is named in the log of commands.
    pub(super) async fn run_for(
        &self,
        by: Option<&str>,
        host: &str,
        batch: &Batch,
    ) -> Result<Reply, TransportError> {
        self.read_faults_file();
        if self.is_down(host) {
            return Err(TransportError::Unreached { host: host.to_owned(), cause: NO_ROUTE.into() });
        }
        let deadline = Instant::now() + batch.deadline.min(self.shared.deadline_limit);
        let _held = match &batch.lock {
            Some(name) => Some(self.hold(host, name, deadline).await?),
            None => None,
        };
        let mut at = Run { sim: self, by, host, deadline, begun: false, heard: true };
        let mut reply = Reply::default();
        for step in &batch.steps {
            let output = at.step(step).await?;
            let failed = !output.ok();
            reply.outputs.push(output);
            if failed {
                break;
            }
            // Batches for several nodes take turns, as they would on real ones.
            tokio::task::yield_now().await;
        }
        if at.heard { Ok(reply) } else { Err(at.lost(LOST)) }
    }
}

/// Locks that nobody holds are forgotten when there are so many.
const LOCKS: usize = 4096;
const NO_ROUTE: &str = "no route to host";
const LOST: &str = "the connection was lost";
const TOO_LATE: &str = "the deadline has passed";

/// A batch that is being run.
struct Run<'r> {
    sim: &'r Sim,
    by: Option<&'r str>,
    host: &'r str,
    deadline: Instant,
    /// Whether a command has been given to the node.
    begun: bool,
    /// Whether the reply will arrive.
    heard: bool,
}

impl Run<'_> {
    /// The guard of a step and its command, as far as they are to run.
    async fn step(&mut self, step: &Step) -> Result<Output, TransportError> {
        let needed = match &step.guard {
            Guard::Always => true,
            Guard::Unless(argv) => !self.command(argv).await?.ok(),
            Guard::OnlyIf(argv) => self.command(argv).await?.ok(),
        };
        if needed { self.command(&step.run).await } else { Ok(Output::default()) }
    }

    /// One command, or the fault that it meets.
    async fn command(&mut self, argv: &Argv) -> Result<Output, TransportError> {
        let (sim, host) = (self.sim, self.host);
        if sim.is_down(host) {
            return Err(self.lost(NO_ROUTE));
        }
        let n = sim.note(self.by, host, argv);
        let fault = sim.shared.faults.meet(host, || words(argv));
        sim.call_hook(n, host, argv, When::Before);
        let ended = match fault {
            Some(fault) => self.faulty(argv, fault).await,
            None => self.execute(argv),
        };
        sim.call_hook(n, host, argv, When::After);
        self.begun = true;
        ended
    }

    async fn faulty(&mut self, argv: &Argv, fault: Fault) -> Result<Output, TransportError> {
        match fault {
            Fault::FailBefore { exit, stderr } => Ok(failure(exit, stderr)),
            Fault::FailAfter { exit, stderr } => {
                self.execute(argv)?;
                Ok(failure(exit, stderr))
            }
            Fault::Edit { find, replace } => {
                let mut output = self.execute(argv)?;
                output.stdout = output.stdout.replace(&find, &replace);
                Ok(output)
            }
            Fault::Hang => {
                tokio::time::sleep_until(self.deadline).await;
                self.begun = true;
                Err(self.lost(TOO_LATE))
            }
            Fault::Slow(time) => {
                let done = Instant::now() + time;
                let in_time = tokio::select! {
                    () = tokio::time::sleep_until(done.min(self.deadline)) => done <= self.deadline,
                    () = self.sim.shared.faults.cleared() => true,
                };
                if !in_time {
                    self.begun = true;
                    return Err(self.lost(TOO_LATE));
                }
                self.execute(argv)
            }
            Fault::LoseAnswer => {
                self.execute(argv)?;
                self.begun = true;
                Err(self.lost(LOST))
            }
            Fault::LoseReply => {
                self.heard = false;
                self.execute(argv)
            }
            Fault::NodeDown => {
                self.sim.shared.faults.down(self.host);
                Err(self.lost(NO_ROUTE))
            }
        }
    }

    fn execute(&self, argv: &Argv) -> Result<Output, TransportError> {
        self.sim.execute(self.host, argv).map_err(|cause| self.lost(&cause))
    }

    /// No answer: it is known that nothing was done only if nothing was begun.
    fn lost(&self, cause: &str) -> TransportError {
        let (host, cause) = (self.host.to_owned(), cause.to_owned());
        if self.begun {
            TransportError::Unknown { host, cause }
        } else {
            TransportError::Unreached { host, cause }
        }
    }
}

impl Sim {
    /// Waits for a lock of a node.
    async fn hold(
        &self,
        host: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<OwnedMutexGuard<()>, TransportError> {
        let node = self.shared.inner.lock().state.resolve(host);
        let lock = {
            let mut locks = self.shared.locks.lock();
            if locks.len() >= LOCKS {
                locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(locks.entry((node, name.to_owned())).or_default())
        };
        let held = tokio::time::timeout_at(deadline, lock.lock_owned()).await;
        held.map_err(|_| TransportError::Unknown { host: host.to_owned(), cause: TOO_LATE.into() })
    }

    /// Does one command; an error is that it could not be remembered.
    fn execute(&self, host: &str, argv: &Argv) -> Result<Output, String> {
        let patterns = self.shared.faults.down_patterns();
        let mut inner = self.shared.inner.lock();
        if let Some(broken) = &inner.broken {
            return Err(broken.clone());
        }
        let Inner { state, journal, .. } = &mut *inner;
        let node = state.resolve(host);
        let down = match argv.0.first() {
            Some(program) if program == "gluster" => down_nodes(state, &patterns),
            _ => BTreeSet::new(),
        };
        let fresh = state.fresh;
        let done = command::execute(state, &node, &argv.0, &down);
        if !done.changed {
            return Ok(done.output);
        }
        let entry = Entry::Ran { node, argv: without_script(argv), down, fresh };
        if let Err(error) = journal.append(&entry, state) {
            let broken = format!("the simulation cannot write its journal: {error}");
            inner.broken = Some(broken.clone());
            return Err(broken);
        }
        Ok(done.output)
    }

    fn is_down(&self, host: &str) -> bool {
        let patterns = self.shared.faults.down_patterns();
        if patterns.is_empty() {
            return false;
        }
        let inner = self.shared.inner.lock();
        let node = inner.state.resolve(host);
        patterns.iter().any(|pattern| faults::matches(pattern, host) || means(&inner.state, pattern, &node))
    }

    /// Writes a command into the logs and gives it a number.
    fn note(&self, by: Option<&str>, host: &str, argv: &Argv) -> u64 {
        let n = self.shared.commands.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(file) = &self.shared.log_file {
            let at = jiff::Timestamp::now();
            let line = serde_json::json!({"n": n, "at": at, "by": by, "host": host, "argv": argv.0});
            if let Err(error) = file.lock().write_all(format!("{line}\n").as_bytes()) {
                tracing::warn!(%error, "commands.log cannot be written");
            }
        }
        if self.shared.remembered == 0 {
            return n;
        }
        let mut log = self.shared.log.lock();
        if log.len() == self.shared.remembered {
            log.pop_front();
        }
        log.push_back(Logged { n, host: host.to_owned(), argv: Argv(without_script(argv)) });
        n
    }

    fn call_hook(&self, n: u64, host: &str, argv: &Argv, when: When) {
        let hook = self.shared.hook.read().clone();
        if let Some(hook) = hook {
            hook(&Point { n, host, argv, when });
        }
    }
}

fn failure(exit: i32, stderr: String) -> Output {
    Output { exit, stdout: String::new(), stderr }
}

/// Whether a name or pattern of a node that is down means this node.
fn means(state: &State, pattern: &str, node: &Text) -> bool {
    if pattern.contains('*') {
        return faults::matches(pattern, &node.to_string());
    }
    state.resolve(pattern) == *node
}

fn down_nodes(state: &State, patterns: &[String]) -> BTreeSet<Text> {
    let mut down = BTreeSet::new();
    for pattern in patterns {
        if pattern.contains('*') {
            let matching = state.nodes.keys().filter(|node| means(state, pattern, node));
            down.extend(matching.cloned());
        } else {
            down.insert(state.resolve(pattern));
        }
    }
    down
}

/// The words of a command for the patterns of rules; a script by its name.
fn words(argv: &Argv) -> String {
    match argv.0.as_slice() {
        [shell, flag, _, rest @ ..] if shell == "sh" && flag == "-c" => rest.join(" "),
        all => all.join(" "),
    }
}

/// The command without the text of its script, which the journal need not repeat.
fn without_script(argv: &Argv) -> Vec<String> {
    let mut words = argv.0.clone();
    if let [shell, flag, script, ..] = words.as_mut_slice()
        && shell == "sh"
        && flag == "-c"
    {
        script.clear();
    }
    words
}
