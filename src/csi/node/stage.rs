//! Staging: one client a volume, mounted where the orchestrator says. A call may meet whatever an
//! earlier one, which was cut off anywhere, has left: it looks, and does what is missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tonic::{Code, Status};

use super::client::{ClientError, Mount};
use super::mounts::{self, Away, Table};
use super::record::{Record, key};
use super::source::{self, Source};
use super::touch::{Seen, Turn, within};
use super::{Node, at};

/// What is to be staged.
pub struct Ask {
    /// The id of the volume.
    pub handle: String,
    /// Where.
    pub staging: PathBuf,
    /// The mount options of the request.
    pub options: Vec<String>,
    /// What the PersistentVolume says of it.
    pub context: HashMap<String, String>,
}

/// What stands at a staging path.
#[derive(Debug, PartialEq, Eq)]
enum Stands {
    /// Nothing.
    Nothing,
    /// What was asked for: recorded, and mounted.
    Asked,
    /// Something that no record tells of: mounted from this source.
    Unrecorded(String),
    /// Something else, which is in the way.
    Other(String),
}

/// Holds a request against the mount table and what is recorded for its staging path.
fn stands(ask: &Ask, path: &Path, table: &Table, record: Option<&Record>) -> Stands {
    let Some(top) = table.top(path) else { return Stands::Nothing };
    match record {
        None => Stands::Unrecorded(top.source.clone()),
        Some(record) if record.handle != ask.handle => {
            Stands::Other(format!("volume {} is staged there", record.handle))
        }
        Some(record) if !top.is_of(&record.volume) => {
            Stands::Other(format!("{} is mounted there", top.source))
        }
        Some(record) if record.options != ask.options => Stands::Other(format!(
            "it is staged there with the mount options {:?}, and {:?} are asked for",
            record.options, ask.options
        )),
        Some(_) => Stands::Asked,
    }
}

/// Stages a volume.
pub async fn stage(node: &Node, turn: &Turn, ask: Ask) -> Result<(), Status> {
    let wanted = ask.staging.clone();
    let made = within(turn, move || {
        std::fs::create_dir_all(wanted.parent().unwrap_or(&wanted))?;
        mounts::resolved(&wanted)
    });
    let path = made.await.map_err(|error| error.status(at(&ask.staging)))?;
    let (table, record) = node.known(turn, &path).await?;
    let wrong = |why: &str| Status::already_exists(format!("{}: {why}", path.display()));
    match stands(&ask, &path, &table, record.as_ref()) {
        Stands::Other(why) => return Err(wrong(&why)),
        Stands::Nothing => {
            let found = node.find(&ask).await?;
            return mount(node, turn, &ask, &path, found).await;
        }
        Stands::Asked => match node.looks.at(&path).await {
            Seen::Alive(_) => return Ok(()),
            Seen::Dead => {}
            seen => return Err(unwell(&path, &seen)),
        },
        Stands::Unrecorded(source) => {
            let found = node.find(&ask).await?;
            if !table.top(&path).is_some_and(|top| top.is_of(&found.volume)) {
                return Err(wrong(&format!("{source} is mounted there")));
            }
            match node.looks.at(&path).await {
                Seen::Alive(_) => return keep(node, turn, &ask, &path, &found).await,
                Seen::Dead => {}
                seen => return Err(unwell(&path, &seen)),
            }
        }
    }
    // Its client is gone. Its servers are found first: without them nothing would be better than before.
    let found = node.find(&ask).await?;
    tracing::warn!(handle = ask.handle, path = %path.display(), "its client has ended: it is mounted anew");
    node.clear(turn, &path, Away::AtOnce).await?;
    mount(node, turn, &ask, &path, found).await
}

/// Why nothing can be done with a mount now.
pub fn unwell(path: &Path, seen: &Seen) -> Status {
    let text = format!("{}: {}", path.display(), seen.wrong().unwrap_or_default());
    match seen {
        Seen::Hangs => Status::deadline_exceeded(text),
        _ => Status::unavailable(text),
    }
}

/// Records what is to be mounted, and starts the client. The record comes first: a client that nobody knows of
/// would never be repaired. It goes again when there is no client after all.
async fn mount(node: &Node, turn: &Turn, ask: &Ask, path: &Path, found: Source) -> Result<(), Status> {
    let folder = path.to_owned();
    let made = within(turn, move || std::fs::create_dir_all(folder));
    made.await.map_err(|error| error.status(at(path)))?;
    let is_new = node.known(turn, path).await?.1.is_none();
    keep(node, turn, ask, path, &found).await?;
    let started = start(node, turn, ask, path, &found).await;
    // Whether a late one has mounted is unknown: then the record stays, for whoever looks next.
    let is_certain = started.as_ref().is_err_and(|status| status.code() != Code::DeadlineExceeded);
    if is_certain && is_new {
        let (records, at) = (node.records.clone(), path.to_owned());
        if let Err(error) = within(turn, move || records.remove(&at)).await {
            tracing::warn!(path = %path.display(), %error, "the record of a volume that was not mounted stays");
        }
    }
    started
}

/// Starts the client, and makes sure that it is mounted.
async fn start(node: &Node, turn: &Turn, ask: &Ask, path: &Path, found: &Source) -> Result<(), Status> {
    let mount = Mount {
        servers: found.servers.clone(),
        volume: found.volume.clone(),
        at: path.to_owned(),
        options: ask.options.clone(),
        log: node.log(path),
    };
    tracing::info!(handle = ask.handle, volume = mount.volume, path = %path.display(), "mounts");
    node.clients.mount(&mount).await.map_err(|error| {
        let text = format!("volume {}: {error}", ask.handle);
        match error {
            ClientError::Refused(_) => Status::invalid_argument(text),
            ClientError::NotStarted(_) => Status::internal(text),
            ClientError::Failed(_) => Status::unavailable(text),
            ClientError::Late(_) => Status::deadline_exceeded(text),
        }
    })?;
    let table = node.table(turn).await?;
    if !table.top(path).is_some_and(|top| top.is_of(&found.volume)) {
        let text = "mount.glusterfs said that it is mounted, and it is not";
        return Err(Status::internal(format!("{}: {text}", path.display())));
    }
    Ok(())
}

/// Records what is staged.
async fn keep(node: &Node, turn: &Turn, ask: &Ask, path: &Path, found: &Source) -> Result<(), Status> {
    let before = node.known(turn, path).await?.1;
    let (targets, pods) = before.map_or_else(Default::default, |before| (before.targets, before.pods));
    let record = Record {
        handle: ask.handle.clone(),
        staging: path.to_owned(),
        volume: found.volume.clone(),
        servers: found.servers.clone(),
        options: ask.options.clone(),
        targets,
        pods,
    };
    node.write(turn, record).await
}

/// Takes away what is staged, and what belongs to it. Nothing staged is fine.
pub async fn unstage(node: &Node, turn: &Turn, handle: &str, staging: PathBuf) -> Result<(), Status> {
    let Some(path) = node.there(turn, &staging).await? else { return Ok(()) };
    let (_, record) = node.known(turn, &path).await?;
    if record.is_some_and(|record| record.handle != handle) {
        // Another volume's: this one is not staged there.
        return Ok(());
    }
    node.clear(turn, &path, Away::WhenIdle).await?;
    let (records, log) = (node.records.clone(), node.log(&path));
    let removed = within(turn, move || {
        let _ = std::fs::remove_file(log);
        records.remove(&path)
    });
    removed.await.map_err(|error| error.status("the record of a staged volume"))
}

impl Node {
    /// Mounts what is recorded anew, in place of what its dead client has left.
    ///
    /// # Errors
    /// When no server can be reached: then what is there stays; or when its client does not start.
    pub(super) async fn mount_again(&self, turn: &Turn, record: &Record) -> Result<(), Status> {
        let context = [("volume", record.volume.clone()), ("servers", record.servers.join(","))];
        let ask = Ask {
            handle: record.handle.clone(),
            staging: record.staging.clone(),
            options: record.options.clone(),
            context: context.map(|(key, value)| (key.to_owned(), value)).into(),
        };
        let found = self.find(&ask).await?;
        self.clear(turn, &record.staging, Away::AtOnce).await?;
        mount(self, turn, &ask, &record.staging, found).await
    }

    /// Where the volume of a request is, with the servers first that answer.
    async fn find(&self, ask: &Ask) -> Result<Source, Status> {
        let found = source::find(self.store.as_ref(), &ask.handle, &ask.context).await?;
        let servers = source::by_reach(&found.servers).await?;
        Ok(Source { servers, ..found })
    }

    /// The log of the client that is mounted at a path.
    fn log(&self, path: &Path) -> PathBuf {
        self.state.join("log").join(format!("{}.log", key(path)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn ask(handle: &str, options: &[&str]) -> Ask {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Ask { handle: handle.into(), staging: "/s".into(), options, context: HashMap::new() }
    }

    fn record(volume: &str) -> Record {
        Record {
            handle: "h".into(),
            staging: "/s".into(),
            volume: volume.into(),
            servers: vec!["a".into()],
            options: vec!["acl".into()],
            targets: BTreeMap::new(),
            pods: BTreeMap::new(),
        }
    }

    #[test]
    fn what_stands_at_a_staging_path() {
        let table = Table::parse(b"1 0 0:5 / /s rw - fuse.glusterfs a:/v rw\n");
        let judged = |ask: &Ask, record: Option<&Record>| stands(ask, Path::new("/s"), &table, record);
        assert_eq!(judged(&ask("h", &["acl"]), Some(&record("v"))), Stands::Asked);
        assert_eq!(judged(&ask("h", &[]), None), Stands::Unrecorded("a:/v".into()));
        for (ask, record, why) in [
            (ask("other", &["acl"]), record("v"), "volume h is staged there"),
            (ask("h", &[]), record("v"), "it is staged there with the mount options [\"acl\"]"),
            (ask("h", &["acl"]), record("w"), "a:/v is mounted there"),
        ] {
            let stands = judged(&ask, Some(&record));
            assert!(matches!(&stands, Stands::Other(text) if text.starts_with(why)), "{stands:?}");
        }
        // A record of before the node was started anew is of no account.
        let empty = Table::default();
        assert_eq!(stands(&ask("other", &[]), Path::new("/s"), &empty, Some(&record("v"))), Stands::Nothing);
    }
}
