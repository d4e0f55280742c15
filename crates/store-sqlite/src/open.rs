//! Opening the file, and what every connection is told.

use crate::migrate;
use crate::reader::Readers;
use crate::writer::Writer;
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stonechat_store::{Error, Pending, Result, Store};

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process and the loss of power.
    Full,
    /// The death of the process.
    Relaxed,
}

/// How the store is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What a commit survives.
    pub durability: Durability,
    /// Writes that may wait; beyond it they fail with [`Error::Overloaded`].
    pub queue: usize,
    /// Threads that read.
    pub readers: usize,
    /// Pages the file may have at most; for tests of a full disk.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options { durability: Durability::Full, queue: 65_536, readers: 2, max_pages: None }
    }
}

/// The store.
pub struct SqliteStore {
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens the file, making it (mode 0600, its directory 0700) or migrating it where needed. Blocks.
    ///
    /// # Errors
    /// [`Error::NewerSchema`] for a file of a newer program; [`Error::Full`] and [`Error::Backend`] for what SQLite says.
    pub fn open(path: &Path, options: Options) -> Result<SqliteStore> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty() && !directory.exists())
        {
            std::fs::create_dir_all(directory).map_err(io)?;
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).map_err(io)?;
        }
        let fresh = !path.exists();
        let mut connection = Connection::open(path).map_err(sql)?;
        if fresh {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
        }
        prepare(&connection, options)?;
        migrate::migrate(&mut connection, path)?;
        if let Some(pages) = options.max_pages {
            connection.pragma_update(None, "max_page_count", pages).map_err(sql)?;
        }
        let readers = Readers::start(options.readers.max(1), || {
            let reader = Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI,
            )
            .map_err(sql)?;
            reader.busy_timeout(std::time::Duration::from_secs(10)).map_err(sql)?;
            Ok(reader)
        })?;
        let writer = Writer::start(connection, options.queue)?;
        Ok(SqliteStore { writer, readers, path: path.to_owned() })
    }

    /// Commits so far: fewer than writes when group commit works.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }
}

fn prepare(connection: &Connection, options: Options) -> Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(sql)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(sql)?;
    let synchronous = match options.durability {
        Durability::Full => "FULL",
        Durability::Relaxed => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous).map_err(sql)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(sql)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(sql)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

impl Store for SqliteStore {
    fn close(&self) -> Pending<()> {
        let closed = self.writer.close();
        self.readers.close();
        closed
    }

    fn describe(&self) -> String {
        let size = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        format!(
            "SQLite {} at {}, {} KiB, {} commits",
            rusqlite::version(),
            self.path.display(),
            size / 1024,
            self.commits()
        )
    }
}

/// A write in a transaction of many: it runs under a savepoint, so that its failure is its own.
impl SqliteStore {
    pub(crate) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        self.writer.write(work)
    }
    pub(crate) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        self.readers.read(work)
    }
}

pub(crate) fn io(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::ReadOnlyFilesystem => Error::Full(error.to_string()),
        _ => Error::Backend(Box::new(error)),
    }
}

pub(crate) fn sql(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen,
        ) => Error::Full(error.to_string()),
        _ => Error::Backend(Box::new(error)),
    }
}

/// Kept where a store is shared.
pub(crate) type Job = Box<dyn FnOnce(&Connection) + Send>;

pub(crate) fn shared<T>(value: T) -> Arc<T> {
    Arc::new(value)
}
