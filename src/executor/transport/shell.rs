//! What the ways have in common that give a script to a shell at the far end: how an exchange may end,
//! and what a lost answer means. One rule: before the script was sent nothing can have run, and after
//! it only a complete answer tells what has run.

use std::time::Duration;

use super::script::Script;
use crate::executor::{Reply, TransportError};

/// How many batches run on one host at once; sshd allows ten sessions on a connection by default.
pub(super) const LANES: usize = 8;
/// How long after the deadline the node kills what did not heed the first signal.
pub(crate) const KILL_AFTER: Duration = Duration::from_secs(5);
/// How much longer than the node we wait for an answer.
const GRACE: Duration = Duration::from_secs(5);
/// How much a batch may answer, in bytes.
pub(super) const MAX_OUTPUT: usize = 16 << 20;
/// The exit code of a shell that was killed.
pub(super) const KILLED: u32 = 137;
/// What `timeout` ends with when it has ended the shell.
const TIMED_OUT: u32 = 124;
/// How long the rest of the output may take once the shell has ended. Something that it left
/// running may keep the streams open for ever.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// How an exchange ended.
pub(super) enum Ending {
    /// The shell ended.
    Exit(Exit),
    /// No shell was started, and why.
    Refused(String),
    /// The connection or the channel broke before the shell's exit code came.
    Lost,
    /// More than [`MAX_OUTPUT`] came.
    TooMuch,
    /// Nothing more came within the time.
    Silent,
}

/// What came from a shell that ended.
pub(super) struct Exit {
    /// Its exit code.
    pub code: u32,
    /// All its output.
    pub stdout: Vec<u8>,
    /// All its errors.
    pub stderr: Vec<u8>,
    /// Whether the streams came to their ends.
    pub whole: bool,
}

/// A deadline in the whole seconds that the node is given.
pub(super) fn seconds(deadline: Duration) -> u64 {
    deadline.as_secs_f64().ceil().max(1.0) as u64
}

/// How long an answer is waited for.
pub(super) fn patience(seconds: u64) -> Duration {
    Duration::from_secs(seconds) + KILL_AFTER + GRACE
}

/// The command that takes a script from its input and ends it after some seconds.
pub(super) fn command(seconds: u64) -> Vec<String> {
    let (kill, seconds) = (KILL_AFTER.as_secs().to_string(), seconds.to_string());
    ["timeout", "-k", kill.as_str(), seconds.as_str(), "/bin/sh", "-s"].map(str::to_owned).to_vec()
}

/// What an ending means. `not_begun` says what to do when the script did not even begin, given the
/// exit code and what was said.
pub(super) fn judge(
    host: &str,
    script: &Script,
    ending: Ending,
    not_begun: impl Fn(u32, &str) -> String,
) -> Result<Reply, TransportError> {
    let unknown = |cause: String| Err(unknown(host, cause));
    match ending {
        Ending::Exit(exit) => {
            if let Some(reply) = script.read(&exit.stdout, &exit.stderr) {
                return Ok(reply);
            }
            match exit.code {
                // After its first signal or its second.
                TIMED_OUT | KILLED => {
                    unknown("it was ended there, since its deadline has passed or somebody killed it".into())
                }
                code if exit.whole && !script.has_begun(&exit.stdout) => {
                    let said = String::from_utf8_lossy(&exit.stderr);
                    Err(unreached(host, not_begun(code, said.trim())))
                }
                code => unknown(format!("the answer broke off, and the shell there ended with {code}")),
            }
        }
        Ending::Refused(cause) => Err(unreached(host, cause)),
        Ending::Lost => unknown("the connection was closed before the answer was complete".into()),
        Ending::TooMuch => unknown(format!("it answered with more than {} MiB", MAX_OUTPUT >> 20)),
        Ending::Silent => unknown("the deadline has passed".into()),
    }
}

/// Nothing was run on a host.
pub(super) fn unreached(host: &str, cause: String) -> TransportError {
    TransportError::Unreached { host: host.into(), cause }
}

/// What was run on a host is unknown.
pub(super) fn unknown(host: &str, cause: String) -> TransportError {
    TransportError::Unknown { host: host.into(), cause }
}
