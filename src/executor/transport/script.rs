//! A batch as a shell script, and the answer of each step read back from what the script printed.
//!
//! Both streams of the shell carry a line with the batch's random marker after each step; so each
//! step's output and errors can be told apart, and output cannot pass for a marker.

use uuid::Uuid;

use crate::executor::{Argv, Batch, Guard, Output, Reply, Step, quoted};

/// What every script starts with. The functions keep words of a command from being read as shell
/// keywords or assignments. The whole is one function, so that half a script runs nothing. A guard
/// that cannot be run answers nothing: its step fails. At the deadline the shell gets a signal: it
/// takes everything with it that the batch has started. The lock, if any, is open as 9 in the shell
/// only, so that no daemon that a command starts keeps it.
const HEAD: &str = r#"LC_ALL=C; PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export LC_ALL PATH
trap 'kill -KILL 0' TERM
bl_run() { "$@" 9>&-; }
bl_look() {
"$@" >/dev/null 2>&1 9>&-; bl_code=$?
case $bl_code in 126|127) echo "cannot run the check $1" >&2 ;; esac
return $bl_code
}
bl_done() {
printf '\n%s %s\n' "$bl_mark" "$1"; printf '\n%s %s\n' "$bl_mark" "$1" >&2
[ "$1" = 0 ]
}
bl_lock() {
bl_dir=/run; [ -w "$bl_dir" ] || bl_dir=/tmp
exec 9>>"$bl_dir/bricklayer-$1.lock" && flock 9
}
bl_all() {
"#;

/// Says on both streams that the steps begin.
const BEGIN: &str = r#"printf '\n%s begin\n' "$bl_mark"; printf '\n%s begin\n' "$bl_mark" >&2
"#;

/// A batch, ready to be sent.
pub(super) struct Script {
    /// The text for the shell.
    pub text: String,
    marker: String,
    steps: usize,
}

impl Script {
    /// Writes the script of a batch, or says why there can be none.
    pub fn new(batch: &Batch) -> Result<Self, String> {
        let marker = Uuid::new_v4().simple().to_string();
        let mut text = format!("bl_mark={marker}\n{HEAD}");
        if let Some(name) = &batch.lock {
            text.push_str(&lock_text(name)?);
        }
        text.push_str(BEGIN);
        for step in &batch.steps {
            text.push_str(&step_text(step)?);
        }
        // The shell reads this text from its input; the commands must not.
        text.push_str("}\nbl_all </dev/null\nexit 0\n");
        Ok(Self { text, marker, steps: batch.steps.len() })
    }

    /// Whether the script has begun, as seen in its output.
    pub fn has_begun(&self, stdout: &[u8]) -> bool {
        self.body(stdout).is_some()
    }

    /// The outputs of the steps, if the answer is complete: it ends with a failed step, or it has
    /// an output of every step.
    pub fn read(&self, stdout: &[u8], stderr: &[u8]) -> Option<Reply> {
        let answers = self.sections(stdout)?;
        let errors = self.sections(stderr)?;
        let outputs: Vec<Output> = answers
            .into_iter()
            .zip(errors)
            .take(self.steps)
            .map(|((exit, stdout), (_, stderr))| Output { exit, stdout, stderr })
            .collect();
        let failed = outputs.last().is_some_and(|output| !output.ok());
        (failed || outputs.len() == self.steps).then_some(Reply { outputs })
    }

    /// What a stream holds after the beginning of the script.
    fn body<'a>(&self, stream: &'a [u8]) -> Option<&'a [u8]> {
        let begin = format!("\n{} begin\n", self.marker);
        Some(&stream[find(stream, begin.as_bytes())? + begin.len()..])
    }

    /// What each step wrote on a stream, and its exit code.
    fn sections(&self, stream: &[u8]) -> Option<Vec<(i32, String)>> {
        let mark = format!("\n{} ", self.marker);
        let mut rest = self.body(stream)?;
        let mut sections = vec![];
        while let Some(at) = find(rest, mark.as_bytes()) {
            let (text, tail) = (&rest[..at], &rest[at + mark.len()..]);
            let Some(end) = find(tail, b"\n") else { break };
            let code = std::str::from_utf8(&tail[..end]).ok()?.parse().ok()?;
            sections.push((code, String::from_utf8_lossy(text).into_owned()));
            rest = &tail[end + 1..];
        }
        Some(sections)
    }
}

/// Takes the lock, or ends the shell with what `flock` says before any step has begun.
fn lock_text(name: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(format!("{name:?} is no name of a lock: letters, digits and - are allowed"));
    }
    Ok(format!("bl_lock {name} || exit\n"))
}

fn step_text(step: &Step) -> Result<String, String> {
    let run = command(&step.run)?;
    let (guard, cases) = match &step.guard {
        Guard::Always => return Ok(format!("bl_run {run}; bl_done $? || return\n")),
        Guard::Unless(guard) => (guard, ["bl_done 0", "bl_run"]),
        Guard::OnlyIf(guard) => (guard, ["bl_run", "bl_done 0"]),
    };
    let case = |what: &str| match what {
        "bl_run" => format!("bl_run {run}; bl_done $?"),
        other => other.to_owned(),
    };
    Ok(format!(
        "bl_look {}\ncase $? in 0) {} ;; 126|127) bl_done $? ;; *) {} ;; esac || return\n",
        command(guard)?,
        case(cases[0]),
        case(cases[1]),
    ))
}

fn command(argv: &Argv) -> Result<String, String> {
    let words = &argv.0;
    if words.first().is_none_or(String::is_empty) {
        return Err("a command without a program".into());
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(format!("an argument of {} has a NUL in it", words[0]));
    }
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    Ok(words.join(" "))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
