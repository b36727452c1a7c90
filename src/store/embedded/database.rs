//! The file: one redb database, opened exclusively, read once, written by the writer thread only.
//!
//! Table `objects` maps `group/plural/namespace/name` to the object's JSON, version included. Table `meta`
//! holds the number of the newest write, raised in the same transaction, the format of the file, and the
//! schema (its fingerprint) that all objects of a kind were last checked against.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::Path;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::image::Change;
use super::kind::Kinds;

const OBJECTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
/// Key of `META`: version of the newest write.
const HEAD: &str = "head";
/// Key of `META`: format of the file.
const FORMAT: &str = "format";
/// Keys of `META` that name a schema begin so; a shelf follows.
const SCHEMA: &str = "schema ";
/// The format written and read.
const FORMAT_NOW: u64 = 1;
/// redb's own cache. Reads come from the image, so it only serves the inner pages of writes.
const CACHE_BYTES: usize = 2 * 1024 * 1024;
/// Files smaller than this are not compacted, nor are those that hold at least a quarter of live bytes.
const COMPACT_FROM: u64 = 64 * 1024 * 1024;

/// Why a database cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("the database is open in another process")]
    Locked,
    #[error("the database has format {0}, this program reads format {FORMAT_NOW}")]
    Format(u64),
    #[error("the database file")]
    File(#[source] std::io::Error),
    #[error("the database")]
    Redb(#[source] Box<redb::Error>),
}

/// The open database.
#[derive(Debug)]
pub(super) struct Database {
    redb: redb::Database,
    /// Of the file when it was opened, in bytes.
    size: u64,
}

/// What the file says about itself.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// Version of the newest write.
    pub(super) head: u64,
    /// By shelf, the schema that all its objects were last checked against.
    pub(super) schemas: BTreeMap<String, u64>,
}

impl Database {
    /// Opens the file, or makes it, readable by its owner only.
    pub(super) fn open(path: &Path) -> Result<Database, DatabaseError> {
        let (file, fresh) = private_file(path).map_err(DatabaseError::File)?;
        let size = file.metadata().map_err(DatabaseError::File)?.len();
        let backend = redb::backends::FileBackend::new(file)?;
        let redb = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(
            |e| match e {
                redb::DatabaseError::DatabaseAlreadyOpen => DatabaseError::Locked,
                other => other.into(),
            },
        )?;
        let database = Database { size, ..Database::prepare(redb)? };
        if fresh && let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            // Without this a power cut can forget the file's name, and with it every durable write.
            File::open(directory).and_then(|d| d.sync_all()).map_err(DatabaseError::File)?;
        }
        Ok(database)
    }

    /// Opens a database on other storage, for tests with faults.
    #[cfg(test)]
    pub(super) fn on(backend: impl redb::StorageBackend) -> Result<Database, DatabaseError> {
        let redb = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
        Database::prepare(redb)
    }

    fn prepare(redb: redb::Database) -> Result<Database, DatabaseError> {
        let transaction = redb.begin_write()?;
        {
            transaction.open_table(OBJECTS)?;
            let mut meta = transaction.open_table(META)?;
            let format = meta.get(FORMAT)?.map(|f| f.value());
            match format {
                Some(FORMAT_NOW) => {}
                Some(other) => return Err(DatabaseError::Format(other)),
                None => drop(meta.insert(FORMAT, FORMAT_NOW)?),
            }
        }
        transaction.commit()?;
        Ok(Database { redb, size: 0 })
    }

    /// Reads what the file says about itself.
    pub(super) fn header(&self) -> Result<Header, DatabaseError> {
        let meta = self.redb.begin_read()?.open_table(META)?;
        let mut header = Header::default();
        for entry in meta.iter()? {
            let (key, value) = entry?;
            match (key.value(), key.value().strip_prefix(SCHEMA)) {
                (HEAD, _) => header.head = value.value(),
                (_, Some(shelf)) => drop(header.schemas.insert(shelf.to_owned(), value.value())),
                _ => {}
            }
        }
        Ok(header)
    }

    /// Hands over every object in order, as (`group/plural`, `namespace/name`, JSON).
    pub(super) fn each<E: From<DatabaseError>>(
        &self,
        mut take: impl FnMut(&str, &str, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let table = self.redb.begin_read().map_err(DatabaseError::from)?;
        let table = table.open_table(OBJECTS).map_err(DatabaseError::from)?;
        for entry in table.iter().map_err(DatabaseError::from)? {
            let (key, value) = entry.map_err(DatabaseError::from)?;
            let (shelf, path) = split_key(key.value());
            take(shelf, path, value.value())?;
        }
        Ok(())
    }

    /// Gives back the space of what was deleted, if it is much. `live` is the size of all objects, in bytes.
    pub(super) fn compact(&mut self, live: u64) {
        if self.size >= COMPACT_FROM && self.size / 4 > live {
            let shrunk = self.redb.compact(); // not worth failing for: the file is as good as before
            tracing::info!(?shrunk, size = self.size, live, "compacted the database");
        }
    }

    /// Writes what opening under the schemas of `kinds` has changed, and that it was done.
    pub(super) fn bring_up_to_date(&self, kinds: &Kinds, changes: &[Change]) -> Result<(), DatabaseError> {
        let transaction = self.redb.begin_write()?;
        put(&transaction, kinds.shelves(), changes)?;
        {
            let mut meta = transaction.open_table(META)?;
            for (shelf, name) in kinds.shelves().iter().enumerate() {
                if let Some(kind) = kinds.keeper(shelf) {
                    meta.insert(format!("{SCHEMA}{name}").as_str(), kind.fingerprint)?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Writes a batch in one durable transaction. `shelves` names the shelves of the changes.
    pub(super) fn write(&self, shelves: &[String], changes: &[Change]) -> Result<(), DatabaseError> {
        let transaction = self.redb.begin_write()?;
        put(&transaction, shelves, changes)?;
        transaction.commit()?;
        Ok(())
    }
}

fn put(
    transaction: &redb::WriteTransaction,
    shelves: &[String],
    changes: &[Change],
) -> Result<(), DatabaseError> {
    let mut objects = transaction.open_table(OBJECTS)?;
    let mut meta = transaction.open_table(META)?;
    for change in changes {
        let shelf = shelves.get(change.shelf).map_or("", String::as_str);
        let key = format!("{shelf}/{}", change.path);
        match &change.after {
            Some(object) => drop(objects.insert(key.as_str(), &object.bytes()[..])?),
            None => drop(objects.remove(key.as_str())?),
        }
    }
    if let Some(newest) = changes.last() {
        meta.insert(HEAD, newest.version)?;
    }
    Ok(())
}

/// `group/plural/namespace/name` as (`group/plural`, `namespace/name`); the group may be empty.
fn split_key(key: &str) -> (&str, &str) {
    let slash = key.match_indices('/').nth(1).map_or(key.len(), |(at, _)| at);
    (&key[..slash], key.get(slash + 1..).unwrap_or_default())
}

/// Opens for reading and writing with mode 0600; the flag tells that the file is new.
fn private_file(path: &Path) -> std::io::Result<(File, bool)> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let fresh = !path.exists();
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok((file, fresh))
}

macro_rules! from_redb {
    ($($error:ty),*) => { $(
        impl From<$error> for DatabaseError {
            fn from(error: $error) -> DatabaseError {
                DatabaseError::Redb(Box::new(error.into()))
            }
        }
    )* };
}
from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::kind::Kinds;
    use super::super::object::{Draft, Object};
    use super::*;

    #[test]
    fn keys_split_into_shelf_and_path() {
        assert_eq!(
            split_key("coordination.k8s.io/leases/default/a"),
            ("coordination.k8s.io/leases", "default/a")
        );
        assert_eq!(split_key("/secrets/default/a"), ("/secrets", "default/a"));
        assert_eq!(split_key("test.example/things//a"), ("test.example/things", "/a"));
    }

    #[test]
    fn a_file_that_is_mostly_air_is_compacted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("objects.redb");
        let kinds = Kinds::new(&[]).unwrap();
        let kind = kinds.find("", "v1", "configmaps").unwrap();
        let mut rest = serde_json::Map::new();
        rest.insert("data".to_owned(), serde_json::json!({ "k": "x".repeat(20_000) }));
        let object = Object { rest, ..Object::default() };
        let change = |n: u64, keep: bool| Change {
            version: n,
            shelf: kind.shelf,
            path: format!("default/{}", n % 200).into(),
            before: None,
            after: keep.then(|| Arc::new(Draft::new(kind, object.clone(), None).seal(n))),
        };
        let mut database = Database::open(&path).unwrap();
        let all: Vec<Change> = (0..200).map(|n| change(n, true)).collect();
        database.write(kinds.shelves(), &all).unwrap();
        let gone: Vec<Change> = (201..400).map(|n| change(n, false)).collect();
        database.write(kinds.shelves(), &gone).unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        database.compact(0);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), before, "a small file is left alone");
        database.size = COMPACT_FROM;
        database.compact(COMPACT_FROM / 4);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), before, "a full file is left alone");
        database.compact(0);
        assert!(std::fs::metadata(&path).unwrap().len() < before / 2);
        let mut left = Vec::new();
        let note = |_: &str, path: &str, _: &[u8]| -> Result<(), DatabaseError> {
            left.push(path.to_owned());
            Ok(())
        };
        database.each(note).unwrap();
        assert_eq!(left, ["default/0"]);
        assert_eq!(database.header().unwrap().head, 399);
    }
}
