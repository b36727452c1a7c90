//! Commands about volumes.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use ureq::http::Method;

use super::out::Out;
use super::wire::{Plan, Volume, Volumes, read};
use super::{CliError, Format, Server, id, id_or_name, show};
use crate::units::TagRule;

/// What a new volume should be.
#[derive(Debug, Args)]
pub struct Create {
    /// Its size in GiB
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub size: u32,
    /// Its name [default: vol_ and its id]
    #[arg(long, value_parser = id_or_name)]
    pub name: Option<String>,
    /// How its data survives the loss of a node [default: replicate, with --disperse disperse]
    #[arg(long, value_enum)]
    pub durability: Option<Durability>,
    /// Of three copies, keep the third without content: it only tells which of the other two is right
    #[arg(long)]
    pub arbiter: bool,
    /// How large a file is on average, in KiB: it decides how large an arbiter's brick is [default: 64]
    #[arg(long, value_name = "KIB", requires = "arbiter", value_parser = clap::value_parser!(u32).range(1..))]
    pub average_file_size: Option<u32>,
    /// How a dispersed volume is cut: parts, and how many more may be lost [default: 4+2]
    #[arg(long, value_enum)]
    pub disperse: Option<Disperse>,
    /// How copies lie in failure zones [default: in as many zones as have room]
    #[arg(long, value_enum)]
    pub zones: Option<Zones>,
    /// Which devices may be used, by their tags or those of their nodes: key=value or key!=value
    #[arg(long, value_name = "RULE", value_parser = |rule: &str| rule.parse::<TagRule>())]
    pub device_tags: Option<TagRule>,
    /// How many copies a replicated volume has
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=3))]
    pub replica: u32,
    /// Clusters that may hold it, tried in this order [default: all]
    #[arg(long, value_delimiter = ',', value_name = "ID,...", value_parser = id)]
    pub clusters: Vec<String>,
    /// The group that may write to it
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..2_147_483_647))]
    pub gid: Option<i64>,
    /// Gluster volume options, such as 'performance.cache-size 64MB'
    #[arg(long, value_delimiter = ',', value_name = "KEY VALUE,...")]
    pub options: Vec<String>,
    /// Space for snapshots, as a multiple of the size: 1.5 keeps half of it again
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = snapshot_factor)]
    pub snapshot_factor: f64,
}

/// How a volume survives the loss of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// It does not: one copy
    None,
    /// Full copies on different nodes
    Replicate,
    /// Cut into parts, with more of them than are needed
    Disperse,
}

/// Parts of a dispersed volume, and how many of them may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Disperse {
    /// 3 bricks, 1 may be lost
    #[value(name = "2+1")]
    Two1,
    /// 6 bricks, 2 may be lost
    #[default]
    #[value(name = "4+2")]
    Four2,
    /// 11 bricks, 3 may be lost
    #[value(name = "8+3")]
    Eight3,
    /// 12 bricks, 4 may be lost
    #[value(name = "8+4")]
    Eight4,
}

impl Disperse {
    fn parts(self) -> (u32, u32) {
        match self {
            Self::Two1 => (2, 1),
            Self::Four2 => (4, 2),
            Self::Eight3 => (8, 3),
            Self::Eight4 => (8, 4),
        }
    }
}

/// How the bricks of a set lie in failure zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Zones {
    /// Zones do not count
    None,
    /// In as many zones as have room
    Soft,
    /// Each in a zone of its own, or not at all
    Strict,
}

/// By how much a volume grows.
#[derive(Debug, Args)]
pub struct Expand {
    /// The id or the name of the volume
    #[arg(long, value_name = "ID|NAME", value_parser = id_or_name)]
    pub volume: String,
    /// By how many GiB it grows
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub expand_size: u32,
}

/// Creates a volume, waits for it, and shows it.
pub(super) fn create(
    server: &Server,
    ask: &Create,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let what = match &ask.name {
        Some(name) => format!("create volume {name}"),
        None => format!("create a volume of {} GiB", ask.size),
    };
    let made = server.operate(&what, &Method::POST, "/volumes", Some(&body(ask)?))?;
    let answer = made
        .ok_or_else(|| CliError::Strange { what: what.clone(), cause: "it ended without a volume".into() })?;
    show::answer(&what, &answer, format, out, show::volume)
}

/// Says what would become of a volume, without making it. What would not fit is a failure.
pub(super) fn plan(server: &Server, ask: &Create, format: Format, out: &mut Out<'_>) -> Result<(), CliError> {
    let what = format!("plan a volume of {} GiB", ask.size);
    let answer = server.post(&what, "/volumes/plan", &body(ask)?)?;
    let plan: Plan = read(&what, &answer)?;
    match format {
        Format::Table if plan.fits => show::plan(&plan, out)?,
        Format::Table => {}
        Format::Json | Format::Yaml => show::value(&answer, format, out)?,
    }
    if plan.fits {
        return Ok(());
    }
    let text = format!("it has no place\n{}", plan.reasons.join("\n"));
    Err(CliError::Refused { what, status: 0, text })
}

/// Lists all volumes.
pub(super) fn list(server: &Server, format: Format, out: &mut Out<'_>) -> Result<(), CliError> {
    if format != Format::Table {
        return show::value(&server.get("the list of volumes", "/volumes")?, format, out);
    }
    let volumes = all(server)?.into_iter().map(|(volume, _)| volume);
    show::volumes(&volumes.collect::<Vec<_>>(), out)
}

/// Shows a volume.
pub(super) fn info(server: &Server, volume: &str, format: Format, out: &mut Out<'_>) -> Result<(), CliError> {
    let what = format!("volume {volume}");
    show::answer(&what, &find(server, volume)?, format, out, show::volume)
}

/// Adds space to a volume, waits for it, and shows the volume.
pub(super) fn expand(
    server: &Server,
    ask: &Expand,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let found: Volume = read(&format!("volume {}", ask.volume), &find(&server.looking(), &ask.volume)?)?;
    let what = format!("expand volume {} by {} GiB", found.name, ask.expand_size);
    let (path, body) = (format!("/volumes/{}/expand", found.id), json!({ "expand_size": ask.expand_size }));
    let grown = server.operate(&what, &Method::POST, &path, Some(&body))?;
    let answer = grown
        .ok_or_else(|| CliError::Strange { what: what.clone(), cause: "it ended without a volume".into() })?;
    show::answer(&what, &answer, format, out, show::volume)
}

/// Deletes a volume.
pub(super) fn delete(
    server: &Server,
    volume: &str,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let found: Volume = read(&format!("volume {volume}"), &find(&server.looking(), volume)?)?;
    let what = format!("delete volume {}", found.name);
    let path = format!("/volumes/{}", found.id);
    server.operate(&what, &Method::DELETE, &path, None)?;
    show::changed("deleted", &format!("Deleted volume {} ({})", found.name, found.id), &found.id, format, out)
}

/// Lets a volume that hosts block volumes take more of them, or no more.
pub(super) fn restrict(
    server: &Server,
    volume: &str,
    locked: bool,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let found: Volume = read(&format!("volume {volume}"), &find(&server.looking(), volume)?)?;
    let what = format!("{} volume {}", if locked { "lock" } else { "unlock" }, found.name);
    let body = json!({ "restriction": if locked { "locked" } else { "" } });
    let path = format!("/volumes/{}/block-restriction", found.id);
    server.operate(&what, &Method::POST, &path, Some(&body))?;
    let done = if locked { "takes no more block volumes" } else { "takes block volumes" };
    show::changed("id", &format!("Volume {} {done}", found.name), &found.id, format, out)
}

/// The body of a create or plan.
fn body(ask: &Create) -> Result<Value, CliError> {
    let durability = match (ask.durability, ask.disperse) {
        (None | Some(Durability::Disperse), Some(_)) | (Some(Durability::Disperse), None) => {
            let (data, redundancy) = ask.disperse.unwrap_or_default().parts();
            json!({ "type": "disperse", "disperse": { "data": data, "redundancy": redundancy } })
        }
        (Some(_), Some(_)) => {
            return Err(CliError::Usage(
                "--disperse says how a dispersed volume is cut: leave it out, or the other --durability"
                    .into(),
            ));
        }
        (Some(Durability::None), None) => json!({ "type": "none" }),
        (None | Some(Durability::Replicate), None) => {
            json!({ "type": "replicate", "replicate": { "replica": ask.replica } })
        }
    };
    let mut body = json!({ "size": ask.size, "durability": durability });
    if let Some(name) = &ask.name {
        body["name"] = json!(name);
    }
    if let Some(gid) = ask.gid {
        body["gid"] = json!(gid);
    }
    if !ask.clusters.is_empty() {
        body["clusters"] = json!(ask.clusters);
    }
    let options: Vec<String> = ask.options.iter().cloned().chain(wishes(ask)).collect();
    if !options.is_empty() {
        body["glustervolumeoptions"] = json!(options);
    }
    if ask.snapshot_factor > 1.0 {
        body["snapshot"] = json!({ "enable": true, "factor": ask.snapshot_factor });
    }
    Ok(body)
}

/// Wishes about places, in the options in which Heketi's protocol has them.
fn wishes(ask: &Create) -> Vec<String> {
    let mut options = vec![];
    if ask.arbiter {
        options.push("user.heketi.arbiter true".to_owned());
    }
    if let Some(kib) = ask.average_file_size {
        options.push(format!("user.heketi.average-file-size {kib}"));
    }
    if let Some(zones) = ask.zones.as_ref().and_then(ValueEnum::to_possible_value) {
        options.push(format!("user.heketi.zone-checking {}", zones.get_name()));
    }
    if let Some(rule) = &ask.device_tags {
        options.push(format!("user.heketi.device-tag-match {rule}"));
    }
    options
}

/// A volume by its id, or else by its name.
fn find(server: &Server, wanted: &str) -> Result<Value, CliError> {
    let what = format!("volume {wanted}");
    if wanted.len() == 32 && id(wanted).is_ok() {
        return server.get(&what, &format!("/volumes/{wanted}"));
    }
    let named = |volume: &Volume| volume.name == wanted;
    let mut found = all(server)?.into_iter().filter(|(volume, _)| named(volume));
    match (found.next(), found.next()) {
        (Some((_, answer)), None) => Ok(answer),
        (Some(_), Some(_)) => {
            Err(CliError::Usage(format!("{what}: several clusters have a volume of this name, give its id")))
        }
        (None, _) => Err(CliError::Refused {
            what,
            status: 404,
            text: "there is no volume of this name; `bricklayer volume list` shows all".into(),
        }),
    }
}

/// All volumes. One that goes away while they are read is left out.
fn all(server: &Server) -> Result<Vec<(Volume, Value)>, CliError> {
    let what = "the list of volumes";
    let list: Volumes = read(what, &server.get(what, "/volumes")?)?;
    let mut volumes = vec![];
    for id in list.volumes {
        let what = format!("volume {id}");
        match server.get(&what, &format!("/volumes/{id}")) {
            Ok(answer) => volumes.push((read(&what, &answer)?, answer)),
            Err(CliError::Refused { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(volumes)
}

fn snapshot_factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (1.0..=100.0).contains(&factor) => Ok(factor),
        _ => Err("expected a number from 1 to 100".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        ask: Create,
    }

    #[test]
    fn how_a_volume_is_dispersed_says_that_it_is() {
        let durability = |words: &[&str]| {
            let words = [&["x", "--size=1"], words].concat();
            body(&Words::parse_from(words).ask).map(|body| body["durability"].clone())
        };
        let dispersed = |data: u32, redundancy: u32| json!({ "type": "disperse", "disperse": { "data": data, "redundancy": redundancy } });
        assert_eq!(durability(&["--disperse=8+3"]).unwrap(), dispersed(8, 3));
        assert_eq!(durability(&["--durability=disperse"]).unwrap(), dispersed(4, 2));
        assert_eq!(durability(&[]).unwrap()["replicate"]["replica"], 3);
        let error = durability(&["--disperse=4+2", "--durability=none"]).unwrap_err();
        assert!(matches!(error, CliError::Usage(_)), "{error}");
    }
}
