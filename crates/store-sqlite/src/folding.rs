//! Folding the log of writes into the file, beside the writing.
//!
//! Commits go to the end of a log; from time to time its pages are copied to their places in the file and the log begins anew.
//! That takes a sync of the file, tens of milliseconds on a slow disk, for which no commit should wait: a thread with its own
//! connection does it. The log can begin anew only when every page of it is folded in, which never happens by itself while
//! commits come without a pause: then the writing thread does the little that is left, once in a long while. Those who read hold
//! the log too. When they do so one after another, so that there is always one, the writing thread waits for them, a short time and
//! seldom: what bounds the log is that every read is bounded.

use crate::errors::{Refusal, io};
use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use stonechat_store::Result;
use tracing::{debug, error};

/// After so many times the pages that are folded in at a time, the writing thread sees to it that the log begins anew.
const HELP: u32 = 4;
/// After so many times of it, it waits for those who read; and again after each further time.
const WAIT: u32 = 8;
/// How long it waits.
const WAIT_TIME: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Shared {
    /// Pages in the log, as of the last commit.
    log: AtomicU32,
    /// Of these, folded in.
    folded: AtomicU32,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    wanted: bool,
    ended: bool,
    /// The file did not sync: the log is all there is, and nothing may take its place.
    failed: Option<Refusal>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code runs under this lock that could leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to fold in; `false` at the end.
    fn wait(&self) -> bool {
        let mut state = self.state();
        while !state.wanted && !state.ended {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.wanted = false;
        !state.ended
    }

    fn fold(&self, connection: &Connection, mode: CheckpointMode) {
        if self.state().failed.is_some() {
            return;
        }
        match connection.wal_checkpoint_v2(Some("main"), mode) {
            Ok((_, folded)) => self.folded.store(u32::try_from(folded).unwrap_or(0), Ordering::Relaxed),
            Err(source) => {
                let refusal = Refusal::new(&source);
                if refusal.is_final() {
                    error!(event = "store.sync_failed", %source, "the file did not sync: nothing more is written");
                    self.state().failed = Some(refusal);
                } else {
                    // Somebody else is at it, or reads what is to be folded in.
                    debug!(event = "store.fold_later", %source, "the log of writes was not folded in");
                }
            }
        }
    }
}

/// See the module.
pub(crate) struct Folding {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Pages that are folded in at a time.
    pages: u32,
    /// Pages after which the writing thread waits for those who read.
    wait_at: u32,
}

impl Folding {
    /// Starts the thread, and has the writing connection tell how long its log is.
    pub(crate) fn start(writer: &mut Connection, own: Connection, pages: u32) -> Result<Folding> {
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        // In the place of SQLite's own, which would fold in on the writing thread.
        writer
            .wal_hook(Some(move |_: &mut _, pages| {
                told.log.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(crate::errors::sql)?;
        let folding = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-log".into())
            .spawn(move || {
                while folding.wait() {
                    folding.fold(&own, CheckpointMode::PASSIVE);
                }
            })
            .map_err(io)?;
        let pages = pages.max(1);
        Ok(Folding { shared, thread: Some(thread), pages, wait_at: pages.saturating_mul(WAIT) })
    }

    /// Called by the writing thread after each commit. Tells why nothing may be written any more: a file that did not sync
    /// once is not synced by a second try, and a log that is never folded in has no bound.
    pub(crate) fn committed(&mut self, writer: &Connection) -> Option<Refusal> {
        let log = self.shared.log.load(Ordering::Relaxed);
        let mut folded = self.shared.folded.load(Ordering::Relaxed);
        if folded > log {
            // The log began anew.
            folded = 0;
            self.shared.folded.store(0, Ordering::Relaxed);
        }
        if log.saturating_sub(folded) >= self.pages {
            self.shared.state().wanted = true;
            self.shared.wake.notify_one();
        }
        if log >= self.wait_at {
            self.wait_at = log.saturating_add(self.pages.saturating_mul(WAIT));
            if writer.busy_timeout(WAIT_TIME).is_ok() {
                self.shared.fold(writer, CheckpointMode::RESTART);
                let _ = writer.busy_timeout(crate::open::BUSY_TIMEOUT);
            }
        } else if log >= self.pages.saturating_mul(HELP) {
            self.shared.fold(writer, CheckpointMode::PASSIVE);
        } else {
            self.wait_at = self.pages.saturating_mul(WAIT);
        }
        self.shared.state().failed.clone()
    }

    /// Ends the thread. Whether the log may be folded in as a whole.
    pub(crate) fn end(&mut self) -> bool {
        self.shared.state().ended = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // One that panicked has told so itself.
            let _ = thread.join();
        }
        self.shared.state().failed.is_none()
    }
}

impl Drop for Folding {
    /// No thread outlives the writing.
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn after_the_file_did_not_sync_nothing_is_folded_in_and_nothing_more_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let mut connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").unwrap();
        let mut folding = Folding::start(&mut connection, Connection::open(&path).unwrap(), 1).unwrap();
        connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert!(folding.committed(&connection).is_none());
        let failure = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None);
        folding.shared.state().failed = Some(Refusal::new(&failure));
        for number in 0..100 {
            connection.execute("INSERT INTO t VALUES (?1)", [number]).unwrap();
            assert!(folding.committed(&connection).is_some_and(|refusal| refusal.is_final()));
        }
        assert!(folding.shared.log.load(Ordering::Relaxed) >= 100, "the log did not begin anew");
        assert!(!folding.end());
    }
}
