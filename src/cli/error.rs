//! What can go wrong for a client, and what to do about it.

use std::io;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The server does not answer.
    #[error("cannot reach the server at {server}: {cause}")]
    Unreachable { server: String, cause: String },
    /// The server refused, or the operation failed.
    #[error("{what}: {text}")]
    Refused {
        what: String,
        /// 0 when no status came with the text.
        status: u16,
        text: String,
    },
    /// The operation did not end in time.
    #[error("{what}: still not done after {seconds} s")]
    Slow { what: String, seconds: u64 },
    /// The answer makes no sense.
    #[error("{what}: the answer is not understood: {cause}")]
    Strange { what: String, cause: String },
    /// Some of the things in a topology file failed; each was reported on its own.
    #[error("{failed} of the things in the file failed, see above")]
    Partly { failed: usize },
    /// The command was called wrongly.
    #[error("{0}")]
    Usage(String),
    /// Nothing went wrong: this is to be printed instead of an answer.
    #[error("{0}")]
    Instead(String),
    /// The answer could not be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            _ => 1,
        }
    }

    /// Whether whoever read our answer has had enough of it, as `head` does.
    pub fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => {
                Some("is the server running? start it with `make run`, or give --server URL")
            }
            Self::Refused { status, text, .. } => refusal_hint(*status, text),
            Self::Slow { .. } => {
                Some("the server goes on with it; look again with a list command, or give a longer --timeout")
            }
            Self::Strange { .. } => Some("does --server name a Bricklayer or Heketi server?"),
            Self::Partly { .. } => {
                Some("mend the cause and load the file again: what exists is left as it is")
            }
            Self::Usage(_) | Self::Output(_) | Self::Instead(_) => None,
        }
    }
}

fn refusal_hint(status: u16, text: &str) -> Option<&'static str> {
    let says = |part: &str| text.contains(part);
    Some(match status {
        401 if says("client and server clocks") || says("expired") => {
            "set the clocks of this machine and of the server"
        }
        401 if says("Administrator") => "this needs --user admin and the admin's --secret",
        400 | 401 if says("token") || says("Token") || says("claim") => {
            "give --user and --secret (or HEKETI_CLI_USER and HEKETI_CLI_KEY) as the server's jwt keys"
        }
        404 if says("Id not found") => "the list commands and `topology info` show the ids",
        429 => "the server has as many operations under way as it may have: try again later",
        503 => "try again later; `GET /admin` on the server shows whether it is in maintenance",
        _ if says("No space") || says("No online storage") || says("No nodes in cluster") => {
            "`bricklayer topology info` shows the free space: add devices or nodes, or ask for a \
             smaller volume or fewer replicas"
        }
        _ if says("No clusters configured") => {
            "load a topology first: `bricklayer topology load --json examples/topology.json`"
        }
        _ if says("already in use") => "`bricklayer volume list` shows the names in use",
        _ => return None,
    })
}
