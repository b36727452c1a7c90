//! One exchange with a shell in a pod: its script in, its output and its exit code out.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachedProcess;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::executor::transport::shell::{DRAIN, Ending, Exit, MAX_OUTPUT};

/// Words in a message by which a container runtime says that it did not start the command.
const NOT_STARTED: [&str; 6] = [
    "not found",
    "no such file",
    "failed to start exec",
    "failed to create exec",
    "not running",
    "does not exist",
];

/// Gives a shell its script and collects what comes back within the time. `is_all` tells whether both
/// streams have everything that is needed, `has_begun` whether anything of the script ran.
pub(super) async fn talk(
    mut process: AttachedProcess,
    script: &str,
    patience: Duration,
    is_all: impl Fn(&[u8], &[u8]) -> bool,
    has_begun: impl Fn(&[u8]) -> bool,
) -> Ending {
    let (Some(mut ask), Some(mut output), Some(mut errors), Some(status)) =
        (process.stdin(), process.stdout(), process.stderr(), process.take_status())
    else {
        return Ending::Refused("the stream has no channels".into());
    };
    // When this fails the stream has ended, and the status says how. The input stays open: an older
    // API server would end the whole stream with it.
    let feed = async { ask.write_all(script.as_bytes()).await.is_ok() };
    let mut feed = std::pin::pin!(feed);
    let status = async { status.await.map(Box::new) };
    let mut status = std::pin::pin!(status);
    let (mut stdout, mut stderr) = (vec![], vec![]);
    let until = Instant::now() + patience;
    let mut is_fed = false;
    let status = loop {
        let step = async {
            tokio::select! {
                biased;
                read = output.read_buf(&mut stdout) => Step::Read(read.is_ok_and(|count| count > 0)),
                read = errors.read_buf(&mut stderr) => Step::Read(read.is_ok_and(|count| count > 0)),
                status = &mut status => Step::Status(status),
                _ = &mut feed, if !is_fed => Step::Fed,
            }
        };
        match timeout_at(until, step).await {
            Err(_) => return Ending::Silent,
            Ok(Step::Fed) => is_fed = true,
            Ok(Step::Status(status)) => break status,
            // A stream that has ended would be read for ever; only the status is missing then.
            Ok(Step::Read(false)) => match timeout_at(until, &mut status).await {
                Ok(status) => break status,
                Err(_) => return Ending::Silent,
            },
            Ok(Step::Read(true)) if stdout.len() + stderr.len() > MAX_OUTPUT => return Ending::TooMuch,
            Ok(Step::Read(true)) => {}
        }
    };
    let Some(status) = status else { return Ending::Lost };
    let rest = Instant::now() + DRAIN;
    let whole = drain(&mut output, &mut stdout, rest).await & drain(&mut errors, &mut stderr, rest).await;
    if stdout.len() + stderr.len() > MAX_OUTPUT {
        return Ending::TooMuch;
    }
    match exit_code(&status) {
        Some(code) => {
            let whole = whole || is_all(&stdout, &stderr);
            Ending::Exit(Exit { code, stdout, stderr, whole })
        }
        None => {
            let message = status.message.unwrap_or_default();
            let not_started = NOT_STARTED.iter().any(|words| message.contains(words));
            if not_started && !has_begun(&stdout) { Ending::Refused(message) } else { Ending::Lost }
        }
    }
}

enum Step {
    /// Something was read; false at the end of a stream.
    Read(bool),
    /// The shell ended, or the stream broke.
    Status(Option<Box<Status>>),
    /// The script was given.
    Fed,
}

/// Reads what is left on a stream; true if it came to its end.
async fn drain(from: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>, until: Instant) -> bool {
    while into.len() <= MAX_OUTPUT {
        match timeout_at(until, from.read_buf(into)).await {
            Ok(Ok(0)) => return true,
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return false,
        }
    }
    false
}

/// The exit code that a status tells. None when it tells of something else than the end of the command.
fn exit_code(status: &Status) -> Option<u32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let exit = causes.into_iter().flatten().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    exit.message.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn exit_codes_are_told_apart_from_failures_of_the_way() {
        let status = |value| exit_code(&serde_json::from_value(value).unwrap());
        assert_eq!(status(json!({"metadata": {}, "status": "Success"})), Some(0));
        let ended = json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": "command terminated with non-zero exit code",
            "details": {"causes": [{"reason": "ExitCode", "message": "124"}]}});
        assert_eq!(status(ended), Some(124));
        let failed = json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": "x",
            "details": {"causes": [{"message": "x"}]}});
        assert_eq!(status(failed), None);
    }
}
