//! What a client asked the API server for, from its audit log.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;

/// Requests of one client while claims were made, and while they were deleted.
#[derive(Default)]
pub struct Requests {
    pub creating: Phase,
    pub deleting: Phase,
}

/// Requests of one phase.
#[derive(Default)]
pub struct Phase {
    pub all: usize,
    pub writes: usize,
    /// Writes of what clusters, nodes and devices say of themselves now and then, whatever claims there are: not
    /// among the others.
    pub looks: usize,
    /// Requests by verb and resource.
    pub by_kind: BTreeMap<String, usize>,
}

impl Requests {
    /// Where the log ends now. It is written in batches, a second apart at most.
    pub fn mark(audit: &Path) -> u64 {
        std::thread::sleep(std::time::Duration::from_secs(3));
        std::fs::metadata(audit).unwrap().len()
    }

    /// The requests of a client since then. Whoever deletes the first claim ends the first phase. Watches, and the
    /// Lease that is renewed whatever there is to do, are not counted.
    pub fn since(audit: &Path, mark: u64, client: &str) -> Self {
        Self::mark(audit);
        let mut file = std::fs::File::open(audit).unwrap();
        file.seek(SeekFrom::Start(mark)).unwrap();
        let mut requests = Self::default();
        let lines =
            BufReader::new(file).lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let mut events: Vec<Value> = lines.collect();
        events.sort_by(|a, b| text(a, "/requestReceivedTimestamp").cmp(text(b, "/requestReceivedTimestamp")));
        let mut deleting = false;
        for event in events {
            let (verb, resource) = (text(&event, "/verb"), text(&event, "/objectRef/resource"));
            deleting |= verb == "delete" && resource == "persistentvolumeclaims";
            let theirs =
                text(&event, "/user/username") == client || text(&event, "/userAgent").starts_with(client);
            if !theirs || verb == "watch" || resource == "leases" {
                continue;
            }
            let phase = if deleting { &mut requests.deleting } else { &mut requests.creating };
            phase.all += 1;
            let is_write = !matches!(verb, "get" | "list");
            let is_look = matches!(resource, "glusterclusters" | "glusternodes" | "glusterdevices");
            phase.looks += usize::from(is_write && is_look);
            phase.writes += usize::from(is_write && !is_look);
            let subresource = text(&event, "/objectRef/subresource");
            let slash = if subresource.is_empty() { "" } else { "/" };
            *phase.by_kind.entry(format!("{verb} {resource}{slash}{subresource}")).or_default() += 1;
        }
        requests
    }
}

fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
