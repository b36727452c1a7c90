//! Running commands on storage nodes: what to run (`ops`), and the way there (`transport`).
//!
//! A [`Batch`] is a list of commands for one node that travels in one call. Each step may carry a
//! guard that looks first: that is what makes a batch safe to repeat. Commands are lists of
//! arguments; a transport quotes them once, so nothing that a user typed is ever shell syntax.

pub mod ops;
pub mod transport;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A command as a list of arguments; the first one names the program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Argv(pub Vec<String>);

impl Argv {
    /// A command from its words.
    pub fn new<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self(words.into_iter().map(Into::into).collect())
    }

    /// A fixed shell script of ours, called by its `name`, with `arguments` that it sees as `$1`,
    /// `$2`, ... and never as syntax: `sh -c SCRIPT NAME ARGUMENTS`.
    pub fn script<S: Into<String>>(
        name: &'static str,
        script: &'static str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let head = ["sh", "-c", script, name].map(String::from);
        Self(head.into_iter().chain(arguments.into_iter().map(Into::into)).collect())
    }

    /// The command for people: words that need it are quoted, a script is shown by its name.
    pub fn shown(&self) -> String {
        let words = match self.0.as_slice() {
            [shell, flag, _, rest @ ..] if shell == "sh" && flag == "-c" => rest,
            all => all,
        };
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }
}

/// A word as a POSIX shell reads it back: plain words stay, others go into single quotes.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:=,+@%".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// When a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// Always.
    Always,
    /// Only if this command fails: it tells whether the work is done already.
    Unless(Argv),
    /// Only if this command succeeds: it tells whether there is anything to do.
    OnlyIf(Argv),
}

/// One command of a batch, and when it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When the command runs.
    pub guard: Guard,
    /// The command.
    pub run: Argv,
}

impl Step {
    /// A command that always runs.
    pub fn always(run: Argv) -> Self {
        Self { guard: Guard::Always, run }
    }

    /// A command that runs unless `guard` says that its work is done.
    pub fn unless(guard: Argv, run: Argv) -> Self {
        Self { guard: Guard::Unless(guard), run }
    }

    /// A command that runs only if `guard` says that there is something to do.
    pub fn only_if(guard: Argv, run: Argv) -> Self {
        Self { guard: Guard::OnlyIf(guard), run }
    }
}

/// Commands for one node, run in order in one call. The batch ends at the first one that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The commands.
    pub steps: Vec<Step>,
    /// How long the whole batch may take. The node enforces it too: when it has passed, nothing of
    /// the batch runs any more.
    pub deadline: Duration,
    /// The name of a lock on the node: batches of one name run one after the other there, also when
    /// the process that sent the first one is no more. Letters, digits and `-`.
    pub lock: Option<String>,
}

/// How long a batch of LVM and file system commands may take.
pub const LVM_DEADLINE: Duration = Duration::from_secs(600);
/// How long a batch of gluster commands may take: gluster's own limit and a minute.
pub const GLUSTER_DEADLINE: Duration = Duration::from_secs(660);
/// How long looking may take.
pub const LOOK_DEADLINE: Duration = Duration::from_secs(60);

impl Batch {
    /// A batch of steps.
    pub fn new(steps: impl IntoIterator<Item = Step>, deadline: Duration) -> Self {
        Self { steps: steps.into_iter().collect(), deadline, lock: None }
    }

    /// The same batch under a lock of the node.
    #[must_use]
    pub fn locked(self, name: impl Into<String>) -> Self {
        Self { lock: Some(name.into()), ..self }
    }

    /// A batch of one command that always runs.
    pub fn one(run: Argv, deadline: Duration) -> Self {
        Self::new([Step::always(run)], deadline)
    }
}

/// What a command wrote, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The exit code; 0 when the guard said that the command need not run.
    pub exit: i32,
    /// Its output.
    pub stdout: String,
    /// Its error stream.
    pub stderr: String,
}

impl Output {
    /// Whether the command ended with exit code 0.
    pub fn ok(&self) -> bool {
        self.exit == 0
    }
}

/// What came back from a node: one output for each step that was reached. The last one is the
/// failure, if there was one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The outputs, in the order of the steps.
    pub outputs: Vec<Output>,
}

/// Why no reply came from a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TransportError {
    /// Nothing was run: the node could not be reached.
    #[error("cannot reach {host}: {cause}")]
    Unreached {
        /// The host.
        host: String,
        /// Why.
        cause: String,
    },
    /// It may have run, wholly or in part: the answer was lost or the deadline has passed.
    #[error("no answer from {host}: {cause}; what ran there is unknown")]
    Unknown {
        /// The host.
        host: String,
        /// Why.
        cause: String,
    },
}

/// A way to nodes. One method: a new operation is a builder and a parser in `ops`, nothing here.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Runs a batch on a node and waits for the reply, or for the deadline.
    async fn run(&self, host: &str, batch: &Batch) -> Result<Reply, TransportError>;
}

/// Whether this process may still send something: asked right before it goes. Clones ask the same.
#[derive(Clone)]
pub struct Permit(Arc<dyn Fn() -> bool + Send + Sync>);

impl Permit {
    /// A permit that holds as long as the answer is yes.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    /// Whether it holds now.
    pub fn holds(&self) -> bool {
        (self.0)()
    }
}

impl Default for Permit {
    /// A permit that holds for ever: for a process that works alone.
    fn default() -> Self {
        Self::new(|| true)
    }
}

/// A transport that sends nothing when its permit is over.
pub struct Permitted {
    /// The way.
    pub way: Arc<dyn Transport>,
    /// The permit.
    pub permit: Permit,
}

#[async_trait]
impl Transport for Permitted {
    async fn run(&self, host: &str, batch: &Batch) -> Result<Reply, TransportError> {
        if !self.permit.holds() {
            return Err(not_permitted(host));
        }
        self.way.run(host, batch).await
    }
}

/// What becomes of a batch when the permit is over: nothing of it was sent.
pub(crate) fn not_permitted(host: &str) -> TransportError {
    TransportError::Unreached {
        host: host.into(),
        cause: "this replica does not hold the lease any more, and sends nothing".into(),
    }
}

/// A batch that did not do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// A command refused; those before it are done, those after it did not run.
    #[error("`{command}` on {host} ended with {exit}: {stderr}")]
    Refused {
        /// The host.
        host: String,
        /// The command, for people.
        command: String,
        /// Its exit code.
        exit: i32,
        /// Its error stream, or its output if that was empty; trimmed and cut to 4 KiB.
        stderr: String,
    },
    /// No reply came.
    #[error(transparent)]
    Lost(#[from] TransportError),
    /// A reply came that makes no sense.
    #[error("the output of `{command}` on {host} is not understood: {cause}")]
    Garbled {
        /// The host.
        host: String,
        /// The command, for people.
        command: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl RunError {
    /// The host that the error is about.
    pub fn host(&self) -> &str {
        match self {
            Self::Refused { host, .. } | Self::Garbled { host, .. } => host,
            Self::Lost(TransportError::Unreached { host, .. } | TransportError::Unknown { host, .. }) => host,
        }
    }

    /// Whether the node could not be reached or did not answer.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

/// Runs a batch and insists that every step was done: gives back the outputs, one for each step.
pub async fn run(transport: &dyn Transport, host: &str, batch: &Batch) -> Result<Vec<Output>, RunError> {
    let reply = transport.run(host, batch).await?;
    finished(host, batch, reply)
}

fn finished(host: &str, batch: &Batch, reply: Reply) -> Result<Vec<Output>, RunError> {
    let failed = reply.outputs.iter().zip(&batch.steps).find(|(output, _)| !output.ok());
    if let Some((output, step)) = failed {
        let text = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
        return Err(RunError::Refused {
            host: host.into(),
            command: step.run.shown(),
            exit: output.exit,
            stderr: text.trim().chars().take(4096).collect(),
        });
    }
    if reply.outputs.len() != batch.steps.len() {
        return Err(RunError::Garbled {
            host: host.into(),
            command: batch.steps.first().map(|step| step.run.shown()).unwrap_or_default(),
            cause: format!("{} of {} steps were answered", reply.outputs.len(), batch.steps.len()),
        });
    }
    Ok(reply.outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_once() {
        assert_eq!(quoted("/dev/sdb"), "/dev/sdb");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a;id"), "'a;id'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }

    #[tokio::test]
    async fn nothing_is_sent_without_a_permit() {
        struct Node(std::sync::atomic::AtomicUsize);
        #[async_trait]
        impl Transport for Node {
            async fn run(&self, _: &str, _: &Batch) -> Result<Reply, TransportError> {
                self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                Ok(Reply::default())
            }
        }
        let node = Arc::new(Node(0.into()));
        let may = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let asked = may.clone();
        let permit = Permit::new(move || asked.load(std::sync::atomic::Ordering::SeqCst));
        let way = Permitted { way: node.clone(), permit };
        let batch = Batch::one(Argv::new(["true"]), LOOK_DEADLINE);
        assert!(way.run("n", &batch).await.is_ok());
        may.store(false, std::sync::atomic::Ordering::SeqCst);
        assert!(matches!(way.run("n", &batch).await, Err(TransportError::Unreached { .. })));
        assert_eq!(node.0.load(std::sync::atomic::Ordering::SeqCst), 1);
    }

    #[test]
    fn scripts_are_shown_by_name() {
        let argv = Argv::script("bricklayer-fstab-add", "exit 0", ["/etc/fstab", "a b"]);
        assert_eq!(argv.shown(), "bricklayer-fstab-add /etc/fstab 'a b'");
    }

    #[test]
    fn the_first_failure_is_the_error() {
        let batch = Batch::new(
            [Step::always(Argv::new(["true"])), Step::always(Argv::new(["false", "x"]))],
            LOOK_DEADLINE,
        );
        let bad = Output { exit: 5, stderr: " no \n".into(), ..Output::default() };
        let reply = Reply { outputs: vec![Output::default(), bad] };
        let error = finished("n", &batch, reply).unwrap_err();
        assert_eq!(error.to_string(), "`false x` on n ended with 5: no");
    }
}
