//! Commands about the server itself.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::out::Out;
use super::wire::{LogLevels, Operations, ServerMode};
use super::{CliError, Format, Server, id, show};

/// What can be done with the server.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Show what is under way, or one operation in full
    Operations {
        /// The id of an operation
        #[arg(value_parser = id)]
        id: Option<String>,
    },
    /// Show the mode of the server, or set it: read-only cannot be left this way, but with SIGUSR2 or a restart
    Mode {
        /// The mode
        #[arg(value_enum)]
        mode: Option<Mode>,
    },
    /// Show how much the server logs, or set it
    Log {
        /// The level
        #[arg(value_enum)]
        level: Option<Level>,
    },
    /// Print all that the server knows, as Heketi dumps its database
    Dump,
    /// Check that everything refers to something that is there
    Check,
}

/// Who may change things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Everybody who may at all
    Normal,
    /// Nobody
    ReadOnly,
    /// Clients on the server's machine
    LocalClient,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Nothing
    None,
    /// What nobody can work with
    Critical,
    /// What went wrong
    Error,
    /// What looks wrong
    Warning,
    /// What was done
    Info,
    /// How it was done
    Debug,
}

impl ServerCommand {
    /// Whether it changes nothing.
    pub(super) fn only_shows(&self) -> bool {
        match self {
            Self::Operations { .. } | Self::Dump | Self::Check => true,
            Self::Mode { mode } => mode.is_none(),
            Self::Log { level } => level.is_none(),
        }
    }
}

pub(super) fn run(
    command: &ServerCommand,
    server: &Server,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    match command {
        ServerCommand::Operations { id: None } => {
            let what = "what is under way";
            let answer = server.get(what, "/operations/pending")?;
            show::answer(what, &answer, format, out, |pending: &Operations, out| {
                show::operations(&pending.pendingoperations, out)
            })
        }
        ServerCommand::Operations { id: Some(id) } => {
            let what = format!("operation {id}");
            let answer = server.get(&what, &format!("/operations/pending/{id}"))?;
            show::answer(&what, &answer, format, out, show::operation)
        }
        ServerCommand::Mode { mode } => {
            let what = "the mode of the server";
            if let Some(word) = mode.as_ref().and_then(ValueEnum::to_possible_value) {
                server.change(what, "/admin", &json!({"state": word.get_name()}))?;
            }
            let answer = server.get(what, "/admin")?;
            show::answer(what, &answer, format, out, |mode: &ServerMode, out| show::done(&mode.state, out))
        }
        ServerCommand::Log { level } => {
            let what = "the log of the server";
            let answer = match level.as_ref().and_then(ValueEnum::to_possible_value) {
                Some(word) => {
                    let body = json!({"loglevel": {"glusterfs": word.get_name()}});
                    server.post(what, "/internal/logging", &body)?
                }
                None => server.get(what, "/internal/logging")?,
            };
            show::answer(what, &answer, format, out, |levels: &LogLevels, out| {
                show::done(levels.loglevel.get("glusterfs").map_or("", String::as_str), out)
            })
        }
        // There are no tables of these two.
        ServerCommand::Dump => show::value(&server.get("the dump", "/db/dump")?, format, out),
        ServerCommand::Check => {
            let what = "the check";
            let answer = server.get(what, "/db/check")?;
            show::value(&answer, format, out)?;
            match answer["totalinconsistencies"].as_u64() {
                Some(0) => Ok(()),
                found => {
                    let text = format!("{} things refer to what is not there", found.unwrap_or_default());
                    Err(CliError::Refused { what: what.into(), status: 0, text })
                }
            }
        }
    }
}
