//! Opening the file, and what every connection is told.

use crate::archive::unfinished;
use crate::desk::Desk;
use crate::errors::{io, sql};
use crate::folding::Folding;
use crate::lock::Lock;
use crate::migrate::{MIGRATIONS, migrate};
use crate::reader::{Readers, read};
use crate::writer::{Guard, Step, Writer};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
#[cfg(doc)]
use stonechat_store::Error;
use stonechat_store::{AccountId, Pending, Result, Store};

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
    /// Threads that read; at least one is started.
    pub readers: usize,
    /// Pages of 4 KiB the file may have at most; for tests of a full disk.
    pub max_pages: Option<u32>,
    /// Pages of 4 KiB of the log of writes that are folded into the file at a time: many, so that one that is written often is
    /// folded in once. The log grows to some ten times of it when the disk is slow.
    pub log_pages: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { durability: Durability::Full, queue: 65_536, readers: 2, max_pages: None, log_pages: 4_000 }
    }
}

/// How much the store has written since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Writes that were settled, whether they succeeded or not.
    pub writes: u64,
    /// Commits: fewer than writes when many wait at a time.
    pub commits: u64,
    /// Writes and reads that wait for the writing thread now.
    pub queued: usize,
}

/// The store. Dropping it lets the threads finish what is queued without waiting for them; [`Store::close`] waits.
pub struct SqliteStore {
    writer: Arc<Writer>,
    readers: Readers,
    path: PathBuf,
    /// The account at which the next expiry of archives begins to look.
    expiry: Arc<AtomicI64>,
}

impl SqliteStore {
    /// Opens the file, making it (mode 0600, its directory 0700) or migrating it where needed. Blocks.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process, or another store of this one, has it open; [`Error::NewerSchema`] for a file
    /// of a newer program; [`Error::Full`] and [`Error::Backend`] for what SQLite and the system say.
    pub fn open(path: &Path, options: Options) -> Result<SqliteStore> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            // One that exists keeps its mode: it is the operator's.
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        }
        let lock = Lock::take(path)?;
        // SQLite gives its other files the mode of this one.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(mode & 0o700)).map_err(io)?;
        }
        // Closing any descriptor of the file would drop SQLite's locks on it: close this one before SQLite opens it.
        drop(file);

        let mut connection = Connection::open(path).map_err(sql)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
        overwrite_what_goes(&connection)?;
        migrate(&mut connection, path, MIGRATIONS)?;
        prepare(&connection, options)?;
        let readers = Readers::start(options.readers, || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let reader = Connection::open_with_flags(path, flags).map_err(sql)?;
            reader.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
            keep_plans(&reader)?;
            Ok(reader)
        })?;
        let unfinished = unfinished(&connection)?;
        let folding = Folding::start(&mut connection, Connection::open(path).map_err(sql)?, options.log_pages)?;
        let writer = Arc::new(Writer::start(connection, folding, lock, readers.clone(), options.queue)?);
        let store = SqliteStore { writer, readers, path: path.to_owned(), expiry: Arc::default() };
        for account in unfinished {
            drop(store.erase(account));
        }
        Ok(store)
    }

    pub(crate) fn writer(&self) -> &Arc<Writer> {
        &self.writer
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }

    pub(crate) fn expiry(&self) -> &Arc<AtomicI64> {
        &self.expiry
    }

    /// How much it has written.
    pub fn statistics(&self) -> Statistics {
        let counts = self.writer.counts();
        Statistics {
            writes: counts.writes.load(Ordering::Relaxed),
            commits: counts.commits.load(Ordering::Relaxed),
            queued: self.writer.queued(),
        }
    }

    /// Commits so far: fewer than writes when group commit works.
    pub fn commits(&self) -> u64 {
        self.statistics().commits
    }

    /// A write in a transaction of many, queued before this returns. Its failure is its own.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Desk) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        self.writer.write(Guard::Savepoint, work)
    }

    /// A write on the path of a message: it fails with `NotFound` or `Conflict` before it has changed anything, or its whole
    /// transaction is refused.
    pub(crate) fn write_unguarded<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Desk) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        self.writer.write(Guard::Transaction, work)
    }

    /// A row of writes, one after another, each in a transaction of many. Goes on when nobody waits for it; what is left at
    /// the close is refused.
    pub(crate) fn write_in_steps<T: Send + 'static>(
        &self,
        work: impl FnMut(&Desk) -> Result<Step<T>> + Send + 'static,
    ) -> Pending<T> {
        self.writer.steps(work)
    }

    /// A read that sees every write that was called before it, and none that is not committed.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (job, answer) = read(work);
        if !self.writer.is_busy() {
            self.readers.push(job);
        } else if let Err(refused) = self.writer.pass_read(job) {
            return Box::pin(std::future::ready(Err(refused)));
        }
        answer
    }

    /// The same, of what goes to its place only later: archives and counts.
    pub(crate) fn read_settled<T: Send + 'static>(
        &self,
        account: AccountId,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (job, answer) = read(work);
        if !self.writer.is_busy() && !self.writer.unsettled().has(account) {
            self.readers.push(job);
        } else if let Err(refused) = self.writer.pass_settled_read(account, job) {
            return Box::pin(std::future::ready(Err(refused)));
        }
        answer
    }
}

/// Nobody else writes; what is waited for is another program looking into the file.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements kept prepared by each connection: more than there are.
const STATEMENTS: usize = 128;
/// To this the log is cut after it was longer.
const LOG_BYTES: i64 = 96 << 20;
/// Pages the writing connection keeps in memory, in KiB (negative: SQLite's way to say so).
const CACHE: i64 = -16_384;

/// An erased account leaves nothing in the file's free pages (abuse case 157), nor does a table that a migration replaces.
fn overwrite_what_goes(connection: &Connection) -> Result<()> {
    connection.pragma_update(None, "secure_delete", true).map_err(sql)
}

fn prepare(connection: &Connection, options: Options) -> Result<()> {
    let set = |name: &str, value: &dyn rusqlite::ToSql| connection.pragma_update(None, name, value).map_err(sql);
    set("journal_mode", &"WAL")?;
    let synchronous = match options.durability {
        Durability::Full => "FULL",
        Durability::Relaxed => "NORMAL",
    };
    set("synchronous", &synchronous)?;
    set("foreign_keys", &true)?;
    set("temp_store", &"MEMORY")?;
    set("cache_size", &CACHE)?;
    set("journal_size_limit", &LOG_BYTES)?;
    if let Some(pages) = options.max_pages {
        set("max_page_count", &pages)?;
    }
    keep_plans(connection)
}

/// A statement is planned once, by its text alone. Else SQLite plans it anew with every value of a limit or a bound, which
/// costs several times what running it does, and may choose a plan that no test has seen.
fn keep_plans(connection: &Connection) -> Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(|_| ()).map_err(sql)
}

impl Store for SqliteStore {
    fn close(&self) -> Pending<()> {
        self.writer.close()
    }

    fn give_back(&self) {
        const SHRINK: &str = "PRAGMA shrink_memory";
        // Nobody waits: pages come back by themselves when they are needed.
        drop(self.writer.steps(|desk| desk.execute_batch(SHRINK).map(Step::Done).map_err(sql)));
        let (job, answer) = read(|connection| connection.execute_batch(SHRINK).map_err(sql));
        self.readers.push(job);
        drop(answer);
    }

    fn describe(&self) -> String {
        let size = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        let statistics = self.statistics();
        format!(
            "SQLite {} at {}, {size} bytes, {} queued, {} writes in {} commits",
            rusqlite::version(),
            self.path.display(),
            statistics.queued,
            statistics.writes,
            statistics.commits
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stonechat_store::Error;

    #[tokio::test]
    async fn what_a_failed_write_had_begun_is_undone_and_the_rest_of_its_group_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        let insert = |connection: &Connection, name: &str| {
            connection.execute("INSERT INTO secrets VALUES (?1, x'00')", [name]).map(|_| ()).map_err(sql)
        };
        // Held back by another connection, so that the three are one group.
        let holder = Connection::open(&path).unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let before = store.write(move |connection| insert(connection, "before"));
        let failing = store.write(move |connection| insert(connection, "failing").and(Err::<(), _>(Error::Conflict)));
        let after = store.write(move |connection| insert(connection, "after"));
        holder.execute_batch("ROLLBACK").unwrap();
        assert!(matches!(failing.await, Err(Error::Conflict)));
        before.await.unwrap();
        after.await.unwrap();
        let names = store.read(|connection| {
            let mut statement = connection.prepare("SELECT name FROM secrets ORDER BY name").map_err(sql)?;
            let names = statement.query_map([], |row| row.get(0)).map_err(sql)?;
            names.collect::<rusqlite::Result<Vec<String>>>().map_err(sql)
        });
        assert_eq!(names.await.unwrap(), ["after", "before"]);
        store.close().await.unwrap();
    }
}
