//! The Kubernetes API in this process: an embedded server for one machine.
//!
//! [`Embedded::client`] gives a `kube::Client` that talks to a service in this process instead of an API server.
//! It serves the custom resources it is given and the few built-in kinds that controllers lean on (leases,
//! events, secrets, config maps; namespaces to look at), with resource versions and 409, the status
//! subresource, finalizers, watches with bookmarks and 410, selectors and pages. What is not served is refused
//! with the `Status` that a client understands.
//!
//! ```text
//! request -> route -> admission (pure: current object + request -> decision)
//!                        |                         ^
//!                        v                         | raced: again
//!                     write queue -> writer thread: one durable transaction per batch
//!                                        |
//!                                        v publish
//!        get, list, watch <- image (all objects as bytes, packed when they rest; log of recent changes)
//! ```
//!
//! Guarantees: an answered write is on disk. Nothing is visible before it is. A failed commit leaves no
//! trace. A watch shows every change after its version, once and in order, or says 410.
//!
//! Caveats: one process (the file is locked); no server-side apply, no strategic merge patch, no protobuf;
//! nobody collects garbage for `ownerReferences`; no access control: who holds the client may do all.

mod admission;
mod builtin;
mod company;
mod database;
mod discovery;
mod image;
mod kind;
mod list;
mod metadata;
mod object;
pub(crate) mod packed;
mod patch;
mod projection;
mod route;
mod schema;
mod selector;
mod service;
mod show;
mod status;
mod structure;
#[cfg(test)]
mod tests;
mod watch;
mod write;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use parking_lot::RwLock;

use self::database::{Database, DatabaseError};
use self::image::{Change, Image, Path, Shelf, Window};
use self::kind::{Kind, Kinds};
use self::object::{Draft, Object, Stored};
use self::service::Shared;
use self::write::{Counters, Writer};

pub use self::schema::SchemaError;
pub use self::service::{ApiService, Body};
pub use self::write::{Hook, Moment, Verb, Verdict, WritePoint};

/// How the store is opened. `Options::new(path)` gives the defaults.
#[derive(Clone)]
pub struct Options {
    /// The database file; made if it is not there. Its directory must exist.
    pub path: PathBuf,
    /// Changes remembered for watches and pages. A watch that falls behind further gets 410.
    pub event_window: usize,
    /// Bytes of superseded objects remembered for the same purpose.
    pub event_window_bytes: usize,
    /// A quiet watch gets a bookmark this often.
    pub bookmark_every: Duration,
    /// The namespaces that exist.
    pub namespaces: Vec<String>,
    /// Events kept at most; the oldest go first.
    pub events: usize,
    /// How often expired events are looked for.
    pub sweep_every: Duration,
    /// Called around every durable write; slows writing down, see [`Hook`].
    pub hook: Option<Hook>,
}

impl Options {
    /// The defaults for the database at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Options {
        Options {
            path: path.into(),
            event_window: 16 * 1024,
            event_window_bytes: 8 * 1024 * 1024,
            bookmark_every: Duration::from_secs(30),
            namespaces: vec!["default".to_owned(), env!("CARGO_PKG_NAME").to_owned()],
            events: 10_000,
            sweep_every: Duration::from_secs(15),
            hook: None,
        }
    }
}

/// Why the store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the database open.
    #[error("the database is open in another process")]
    Locked,
    /// The file, or what is in it, cannot be used.
    #[error("the database cannot be opened")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An object in the database is not readable.
    #[error("the stored object {0} is not readable")]
    Object(String, #[source] serde_json::Error),
    /// A custom resource definition cannot be served.
    #[error("a resource definition cannot be served")]
    Definition(#[from] SchemaError),
    /// The writer's thread did not start.
    #[error("the writer could not be started")]
    Thread(#[source] std::io::Error),
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> OpenError {
        match error {
            DatabaseError::Locked => OpenError::Locked,
            other => OpenError::Database(Box::new(other)),
        }
    }
}

/// The open store. Clones share it.
#[derive(Clone, Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
}

/// What the store is doing, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Durable writes since the start.
    pub writes: u64,
    /// Transactions since the start.
    pub commits: u64,
    /// Time spent in commits since the start.
    pub commit_time: Duration,
    /// Changes that watches can still be shown.
    pub log: usize,
    /// Running watches.
    pub watches: usize,
    /// A storage error has made the store read-only: the process should end.
    pub read_only: bool,
}

impl Embedded {
    /// Opens the database (made with mode 0600, locked against other processes), loads it, and brings objects
    /// written under an older schema up to the defaults of `kinds`.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. An object that the present schema refuses is no error: it is logged and served, and
    /// its next write has to satisfy the schema.
    pub fn open(options: Options, kinds: Vec<CustomResourceDefinition>) -> Result<Embedded, OpenError> {
        let database = Database::open(&options.path)?;
        Embedded::on(database, options, &kinds)
    }

    fn on(
        mut database: Database,
        options: Options,
        definitions: &[CustomResourceDefinition],
    ) -> Result<Embedded, OpenError> {
        let kinds = Kinds::new(definitions)?;
        let loaded = load(&kinds, &options.namespaces, &database)?;
        database.compact(loaded.live);
        database.bring_up_to_date(&kinds, &loaded.changes)?;
        let window = Window { changes: options.event_window, bytes: options.event_window_bytes };
        let image = Arc::new(RwLock::new(Image::new(loaded.shelves, loaded.head, window)));
        let (sender, head) = tokio::sync::watch::channel(loaded.head);
        let counters = Arc::new(Counters::default());
        let events = kinds.find("events.k8s.io", "v1", "events").map(|k| k.shelf);
        let writer = Writer {
            database,
            image: image.clone(),
            head: sender,
            shelves: kinds.shelves().to_vec(),
            hook: options.hook,
            counters: counters.clone(),
            expiring: HashSet::from_iter(events),
            expiring_most: options.events,
            sweep_every: options.sweep_every,
        };
        let shared = Shared {
            kinds,
            namespaces: options.namespaces,
            image,
            head,
            queue: writer.start().map_err(OpenError::Thread)?,
            bookmark_every: options.bookmark_every,
            watches: Arc::default(),
        };
        Ok(Embedded { shared: Arc::new(shared), counters })
    }

    /// A client that talks to this store. Needs a running Tokio runtime.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// The service itself, to be mounted elsewhere. It knows no authentication.
    pub fn service(&self) -> ApiService {
        ApiService { shared: self.shared.clone() }
    }

    /// What the store is doing.
    pub fn figures(&self) -> Figures {
        Figures {
            writes: self.counters.writes.load(Ordering::Relaxed),
            commits: self.counters.commits.load(Ordering::Relaxed),
            commit_time: Duration::from_micros(self.counters.commit_micros.load(Ordering::Relaxed)),
            log: self.shared.image.read().log_len(),
            watches: self.shared.watches.load(Ordering::Relaxed),
            read_only: self.shared.queue.is_read_only(),
        }
    }

    /// Waits until no write can succeed any more: after a storage error, or when the store is shut down. The
    /// process should end then, and be started anew; reads go on meanwhile.
    pub async fn ended(&self) {
        self.shared.queue.ended().await;
    }

    /// Finishes the queued writes, ends all watches and closes the database. Later requests answer 503,
    /// reads excepted.
    pub async fn shutdown(self) {
        self.shared.queue.stop().await;
    }
}

/// What was loaded, and the changes that bring it up to date.
struct Loaded {
    shelves: Vec<Shelf>,
    head: u64,
    /// Size of all objects, in bytes.
    live: u64,
    changes: Vec<Change>,
}

fn load(kinds: &Kinds, namespaces: &[String], database: &Database) -> Result<Loaded, OpenError> {
    let header = database.header()?;
    let shelves = vec![Shelf::default(); kinds.shelves().len()];
    let mut loaded = Loaded { shelves, head: header.head, live: 0, changes: vec![] };
    let now = Timestamp::now();
    let mut unknown = 0;
    database.each(|shelf_name, path, bytes| {
        loaded.live += bytes.len() as u64;
        let shelf = kinds.shelves().iter().position(|s| s == shelf_name);
        let Some((shelf, kind)) = shelf.and_then(|s| Some((s, kinds.keeper(s)?))) else {
            unknown += 1;
            return Ok(());
        };
        let name = || format!("{shelf_name}/{path}");
        let mut object = Object::parse(bytes).map_err(|e| OpenError::Object(name(), e))?;
        let version = object.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
        // What was written under this very schema has passed it.
        let seen = header.schemas.get(shelf_name) == Some(&kind.fingerprint);
        let (changed, faults) = if seen { (false, vec![]) } else { admission::migrate(kind, &mut object) };
        for fault in faults {
            let (object, field) = (name(), fault.field);
            tracing::warn!(object, field, fault.message, "a stored object does not fit its schema");
        }
        let path = Path::from(path);
        let stored = Arc::new(draft(kind, object, now).seal(version));
        if changed {
            loaded.put(shelf, path.clone(), stored);
        } else {
            loaded.shelves[shelf].put(path.clone(), stored);
        }
        loaded.shelves[shelf].pack(&path);
        Ok::<(), OpenError>(())
    })?;
    if unknown > 0 {
        tracing::warn!(objects = unknown, "objects of kinds that are no longer served stay in the database");
    }
    loaded.make_namespaces(kinds, namespaces, now);
    Ok(loaded)
}

fn draft(kind: &Kind, object: Object, now: Timestamp) -> Draft {
    let expires = admission::expiry(kind, &object, now);
    Draft::new(kind, object, expires)
}

impl Loaded {
    /// Gives `stored` a new version.
    fn put(&mut self, shelf: usize, path: Path, stored: Arc<Stored>) {
        self.head += 1;
        let after = Arc::new(stored.with_version(self.head));
        self.shelves[shelf].put(path.clone(), after.clone());
        self.changes.push(Change { version: self.head, shelf, path, before: None, after: Some(after) });
    }

    fn make_namespaces(&mut self, kinds: &Kinds, namespaces: &[String], now: Timestamp) {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
        let Some(kind) = kinds.find("", "v1", "namespaces") else {
            return;
        };
        for name in namespaces {
            let path = Path::from(format!("/{name}"));
            if self.shelves[kind.shelf].contains(&path) {
                continue;
            }
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                uid: Some(uuid::Uuid::new_v4().to_string()),
                creation_timestamp: Some(Time(now)),
                labels: Some([("kubernetes.io/metadata.name".to_owned(), name.clone())].into()),
                ..ObjectMeta::default()
            };
            let rest = serde_json::json!({ "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" } });
            let rest = rest.as_object().cloned().unwrap_or_default();
            let object = Object { metadata, rest, ..Object::default() };
            self.put(kind.shelf, path, Arc::new(draft(kind, object, now).seal(0)));
        }
    }
}
