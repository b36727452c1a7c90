//! The file: one redb database, opened exclusively, read once, written by the writer thread only.
//!
//! Table `objects` maps `group/plural/namespace/name` to the object's JSON, version included. Table `meta`
//! holds the number of the newest write, raised in the same transaction, and the format of the file.

use std::fs::{File, OpenOptions};
use std::path::Path;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::image::Change;

const OBJECTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
/// Key of `META`: version of the newest write.
const HEAD: &str = "head";
/// Key of `META`: format of the file.
const FORMAT: &str = "format";
/// The format written and read.
const FORMAT_NOW: u64 = 1;
/// redb's own cache. Reads come from the image, so it only serves the inner pages of writes.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Files smaller than this are not compacted.
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
}

/// Everything that the file holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Version of the newest write.
    pub(super) head: u64,
    /// (`group/plural`, `namespace/name`, JSON), in order.
    pub(super) objects: Vec<(String, String, Vec<u8>)>,
}

impl Database {
    /// Opens the file, or makes it, readable by its owner only.
    pub(super) fn open(path: &Path) -> Result<Database, DatabaseError> {
        let (file, fresh) = private_file(path).map_err(DatabaseError::File)?;
        let big = file.metadata().map_err(DatabaseError::File)?.len() >= COMPACT_FROM;
        let backend = redb::backends::FileBackend::new(file)?;
        let redb = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(
            |e| match e {
                redb::DatabaseError::DatabaseAlreadyOpen => DatabaseError::Locked,
                other => other.into(),
            },
        )?;
        let mut database = Database::prepare(redb)?;
        if fresh && let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            // Without this a power cut can forget the file's name, and with it every durable write.
            File::open(directory).and_then(|d| d.sync_all()).map_err(DatabaseError::File)?;
        }
        if big {
            let shrunk = database.redb.compact();
            tracing::info!(?shrunk, "compacted the database");
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
        Ok(Database { redb })
    }

    /// Reads everything.
    pub(super) fn load(&self) -> Result<Contents, DatabaseError> {
        let transaction = self.redb.begin_read()?;
        let head = transaction.open_table(META)?.get(HEAD)?.map_or(0, |h| h.value());
        let mut objects = Vec::new();
        for entry in transaction.open_table(OBJECTS)?.iter()? {
            let (key, value) = entry?;
            let (shelf, path) = split_key(key.value());
            objects.push((shelf.to_owned(), path.to_owned(), value.value().to_vec()));
        }
        Ok(Contents { head, objects })
    }

    /// Writes a batch in one durable transaction. `shelves` names the shelves of the changes.
    pub(super) fn write(&self, shelves: &[String], changes: &[Change]) -> Result<(), DatabaseError> {
        let transaction = self.redb.begin_write()?;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut meta = transaction.open_table(META)?;
            for change in changes {
                let shelf = shelves.get(change.shelf).map_or("", String::as_str);
                let key = format!("{shelf}/{}", change.path);
                match &change.after {
                    Some(object) => drop(objects.insert(key.as_str(), &object.bytes[..])?),
                    None => drop(objects.remove(key.as_str())?),
                }
                meta.insert(HEAD, change.version)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
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
