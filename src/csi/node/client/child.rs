//! Starting `mount.glusterfs` and waiting for it, with a deadline. Its output goes to the client's log:
//! a pipe would be held open by the client that it leaves behind.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::Command;

use super::ClientError;

/// How much of a log an error quotes, in bytes.
const QUOTED: usize = 700;

/// Runs a program to its end, in a process group of its own.
pub async fn run(
    program: &OsStr,
    words: &[OsString],
    log: &Path,
    deadline: Duration,
) -> Result<(), ClientError> {
    let (file, before) = open(log).map_err(|error| ClientError::log(log, &error))?;
    let beside = file.try_clone().map_err(|error| ClientError::log(log, &error))?;
    let mut command = Command::new(program);
    command.args(words).current_dir("/").stdin(Stdio::null()).stdout(file).stderr(beside);
    let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(|error| {
        ClientError::NotStarted(format!("{}: {error}: is it installed and on PATH?", program.display()))
    })?;
    let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    match tokio::time::timeout(deadline, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ClientError::Failed(format!("{status}: {}", quoted(log, before)))),
        Ok(Err(error)) => Err(ClientError::NotStarted(format!("{}: {error}", program.display()))),
        Err(_) => {
            // What it has started goes with it, as far as it is still in the group.
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            Err(ClientError::Late(format!("not done within {deadline:?}: {}", quoted(log, before))))
        }
    }
}

/// The log, to be written at its end, and how long it is.
fn open(log: &Path) -> io::Result<(File, u64)> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(log)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// What a log says from a place on.
fn quoted(log: &Path, from: u64) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(1 << 16))))?;
        let mut text = Vec::new();
        file.take(1 << 16).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().map_or_else(|error: io::Error| format!("{}: {error}", log.display()), |text| told(&text))
}

/// The lines that say what went wrong: the script's own, and the client's errors, at most [`QUOTED`] bytes
/// from the end on.
fn told(text: &str) -> String {
    // GlusterFS writes `[time] E [MSGID: ..] [file] 0-xlator: text`, and I or W for what is no error.
    let is_error = |line: &&str| !line.starts_with('[') || line.contains("] E [") || line.contains("] C [");
    let wanted =
        |line: &&str| !line.trim().is_empty() && is_error(line) && !line.contains("WARNING: getfattr");
    let mut lines: Vec<&str> = text.lines().filter(wanted).collect();
    let mut length = 0;
    let kept = lines.iter().rev().take_while(|line| {
        length += line.len() + 3;
        length <= QUOTED
    });
    let kept = kept.count().max(1).min(lines.len());
    lines.drain(..lines.len() - kept);
    if lines.is_empty() {
        return "it did not say why".to_owned();
    }
    lines.join(" | ").chars().filter(|sign| !sign.is_control()).take(QUOTED).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    async fn shell(script: &str, deadline: Duration) -> Result<(), ClientError> {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("below/a.log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        std::fs::write(&log, "of the mount before\n").unwrap();
        run(OsStr::new("/bin/sh"), &["-c".into(), script.into()], &log, deadline).await
    }

    #[tokio::test]
    async fn an_error_says_what_the_log_says_of_this_time() {
        let long = Duration::from_secs(60);
        shell("echo fine", long).await.unwrap();
        let script = "echo '[2026-01-01] I [MSGID: 1] nothing'; echo '[2026-01-01] E [MSGID: 2] [x.c] 0-glusterfs: failed to fetch'; echo Mount failed. >&2; exit 1";
        let error = shell(script, long).await.unwrap_err();
        let ClientError::Failed(text) = &error else { panic!("{error}") };
        assert!(
            text.ends_with("[2026-01-01] E [MSGID: 2] [x.c] 0-glusterfs: failed to fetch | Mount failed."),
            "{text}"
        );
        let error = run(OsStr::new("/nowhere/x"), &[], Path::new("/dev/null"), long).await.unwrap_err();
        assert!(matches!(error, ClientError::NotStarted(_)), "{error}");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! >{}; wait", pids.display());
        let error = shell(&script, Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(error, ClientError::Late(_)), "{error}");
        let child = std::fs::read_to_string(&pids).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        let begun = std::time::Instant::now();
        // Gone, or waiting for whoever collects orphans here.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{stat} lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[test]
    fn long_logs_are_cut_and_stay_one_line() {
        let text = format!("{}\nthe last line\n\n", "a line that is rather long\n".repeat(500));
        let said = told(&text);
        assert!(said.len() <= QUOTED && said.ends_with("| the last line") && !said.contains('\n'), "{said}");
        assert_eq!(told("[x] I [y] z\n"), "it did not say why");
        assert_eq!(told(&"x".repeat(5000)).len(), QUOTED);
    }
}
