//! Folding the log of writes into the file, beside the writing.
//!
//! Commits go to the end of a log; from time to time its pages are copied to their places in the file and the log begins anew.
//! That takes a sync of the file, tens of milliseconds on a slow disk, for which no commit should wait: a thread with its own
//! connection does it. The log can begin anew only when every page of it is folded in, which never happens by itself while
//! commits come without a pause: then the writing thread does the little that is left, once in a long while.

use crate::errors::{Refusal, io};
use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use stonechat_store::Result;
use tracing::{debug, error};

/// Pages that are folded in at a time: 16 MiB, so that a page that is written often is folded in once for many commits.
const FOLD: u32 = 4_000;
/// Pages after which the writing thread sees to it that the log begins anew: 64 MiB.
const MOST: u32 = 16_000;

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
    failed: bool,
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

    fn fold(&self, connection: &Connection) {
        if self.state().failed {
            return;
        }
        match connection.wal_checkpoint_v2(Some("main"), CheckpointMode::PASSIVE) {
            Ok((_, folded)) => self.folded.store(u32::try_from(folded).unwrap_or(0), Ordering::Relaxed),
            Err(source) if Refusal::new(&source).is_final() => {
                error!(event = "store.sync_failed", %source, "the file did not sync: the log of writes is kept as it is");
                self.state().failed = true;
            }
            // Somebody else is at it, or reads what is to be folded in.
            Err(source) => debug!(event = "store.fold_later", %source, "the log of writes was not folded in"),
        }
    }
}

/// See the module.
pub(crate) struct Folding {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Folding {
    /// Starts the thread, and has the writing connection tell how long its log is.
    pub(crate) fn start(writer: &mut Connection, own: Connection) -> Result<Folding> {
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
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
                    folding.fold(&own);
                }
            })
            .map_err(io)?;
        Ok(Folding { shared, thread: Some(thread) })
    }

    /// Called by the writing thread after each commit.
    pub(crate) fn committed(&self, writer: &Connection) {
        let log = self.shared.log.load(Ordering::Relaxed);
        let mut folded = self.shared.folded.load(Ordering::Relaxed);
        if folded > log {
            // The log began anew.
            folded = 0;
            self.shared.folded.store(0, Ordering::Relaxed);
        }
        if log.saturating_sub(folded) >= FOLD {
            self.shared.state().wanted = true;
            self.shared.wake.notify_one();
        }
        if log >= MOST {
            self.shared.fold(writer);
        }
    }

    /// Ends the thread. Whether the log may be folded in as a whole.
    pub(crate) fn end(&mut self) -> bool {
        self.shared.state().ended = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // One that panicked has told so itself.
            let _ = thread.join();
        }
        !self.shared.state().failed
    }
}
