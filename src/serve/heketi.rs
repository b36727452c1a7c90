//! Started under the name `heketi`: the flags, the configuration and the words of the original.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{ArgAction, Parser, Subcommand};

use super::config::{Flags, ServeConfig};
use super::rest::TlsArgs;
use super::standalone::ServeArgs;

/// The name that makes a Heketi of the binary: a link or a copy of it is enough.
const NAME: &str = "heketi";

/// Heketi's REST, served by Bricklayer
#[derive(Parser)]
#[command(name = NAME, disable_version_flag = true)]
struct Arguments {
    /// Configuration file (heketi.json)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let everybody do everything, whatever the configuration says about keys
    #[arg(long)]
    disable_auth: bool,
    /// Show the version
    #[arg(short = 'v', long, action = ArgAction::SetTrue)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Work on a database of Heketi: not offered, there is none
    #[command(hide = true)]
    Db(Rest),
    /// Work without a server: not offered, see `bricklayer audit`
    #[command(hide = true)]
    Offline(Rest),
}

#[derive(clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

/// Whether the process was started as Heketi.
pub fn is_meant() -> bool {
    is_name(std::env::args_os().next().as_deref())
}

fn is_name(program: Option<&OsStr>) -> bool {
    program.map(Path::new).and_then(Path::file_name) == Some(OsStr::new(NAME))
}

/// What to serve, by the command line. Nothing when that only asks for something to be shown, which was done.
pub fn arguments() -> anyhow::Result<Option<ServeArgs>> {
    let given = Arguments::parse();
    if given.version {
        println!("Heketi {} (Bricklayer)", env!("CARGO_PKG_VERSION"));
        return Ok(None);
    }
    match given.command {
        Some(Command::Db(_)) => bail!("there is no database of Heketi here: `heketi db` is not offered yet"),
        Some(Command::Offline(_)) => {
            bail!("`heketi offline` is not offered yet: what failed is cleaned up by the running server")
        }
        None => {}
    }
    let Some(config) = given.config else { bail!("Please provide configuration file") };
    serve_args(config, given.disable_auth).map(Some)
}

/// Everything is kept beside where Heketi's database would be.
fn serve_args(config: PathBuf, disable_auth: bool) -> anyhow::Result<ServeArgs> {
    let flags = Flags { disable_auth, ..Flags::default() };
    let read = ServeConfig::load(Some(&config), flags)?;
    let Some(port) = read.port else {
        bail!("port: the number of a port as a text is missing in the configuration")
    };
    let database = read.heketi_db.unwrap_or_else(|| PathBuf::from("heketi.db"));
    let directory = database.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(ServeArgs {
        listen: Some(format!("0.0.0.0:{port}")),
        data: directory.map_or_else(|| PathBuf::from("."), Path::to_owned),
        config: Some(config),
        disable_auth,
        tls: TlsArgs::default(),
        as_heketi: true,
        ..ServeArgs::default()
    })
}

/// What the original says when it is ready.
pub fn greeting(url: &str) -> String {
    let port = url.rsplit(':').next().unwrap_or_default();
    let tls = if url.starts_with("https:") { " with TLS enabled" } else { "" };
    format!("Listening on port {port}{tls}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_counts_and_not_where_it_is() {
        for (program, meant) in [
            ("heketi", true),
            ("/usr/bin/heketi", true),
            ("bricklayer", false),
            ("/heketi/bricklayer", false),
        ] {
            assert_eq!(is_name(Some(OsStr::new(program))), meant, "{program}");
        }
        assert!(!is_name(None));
    }

    #[test]
    fn data_lies_beside_the_database() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("heketi.json");
        let text = r#"{"port": "8080", "jwt": {"admin": {"key": "a"}, "user": {"key": "u"}},
            "glusterfs": {"executor": "mock", "db": "/var/lib/heketi/heketi.db"}}"#;
        std::fs::write(&file, text).unwrap();
        let args = serve_args(file.clone(), false).unwrap();
        assert_eq!((args.data, args.listen.as_deref()), ("/var/lib/heketi".into(), Some("0.0.0.0:8080")));
        std::fs::write(&file, text.replace("8080", "")).unwrap();
        assert!(serve_args(file, false).unwrap_err().to_string().contains("port"));
    }

    #[test]
    fn the_port_is_told() {
        assert_eq!(greeting("http://0.0.0.0:8080"), "Listening on port 8080");
        assert_eq!(greeting("https://0.0.0.0:8443"), "Listening on port 8443 with TLS enabled");
    }
}
