//! The thread that writes, and group commit.

use crate::open::sql;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use stonechat_store::{Error, Pending, Result};
use tokio::sync::oneshot;
use tracing::error;

/// Writes of one transaction at most.
const GROUP: usize = 512;

/// What a write leaves to be done when its transaction has ended: `Err` when the commit failed.
type Finish = Box<dyn FnOnce(Option<&rusqlite::Error>) + Send>;

enum Message {
    Write(Box<dyn FnOnce(&Connection) -> Finish + Send>),
    Close(oneshot::Sender<()>),
}

pub(crate) struct Writer {
    queue: SyncSender<Message>,
    commits: Arc<AtomicU64>,
    closed: AtomicBool,
}

impl Writer {
    pub(crate) fn start(connection: Connection, queue: usize) -> Result<Writer> {
        let (sender, receiver) = sync_channel(queue);
        let commits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&commits);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(&connection, &receiver, &counted))
            .map_err(crate::open::io)?;
        Ok(Writer { queue: sender, commits, closed: AtomicBool::new(false) })
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Queues a write before it returns, so that writes are applied in the order of the calls.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        if self.closed.load(Ordering::Acquire) {
            return Box::pin(std::future::ready(Err(Error::Closed)));
        }
        let (sender, receiver) = oneshot::channel();
        let job = Message::Write(Box::new(move |connection| {
            let result = within_savepoint(connection, work);
            Box::new(move |failed| {
                let result = match failed {
                    // Nothing of the group is there: nothing of it may be acknowledged.
                    Some(failed) => Err(Error::Full(format!("the commit failed: {failed}"))),
                    None => result,
                };
                // Nobody waits when the caller has gone.
                let _ = sender.send(result);
            })
        }));
        match self.queue.try_send(job) {
            Ok(()) => Box::pin(async move { receiver.await.unwrap_or(Err(Error::Closed)) }),
            Err(TrySendError::Full(_)) => Box::pin(std::future::ready(Err(Error::Overloaded))),
            Err(TrySendError::Disconnected(_)) => Box::pin(std::future::ready(Err(Error::Closed))),
        }
    }

    /// Writes what is queued, then ends the thread.
    pub(crate) fn close(&self) -> Pending<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Box::pin(std::future::ready(Ok(())));
        }
        let (sender, receiver) = oneshot::channel();
        let queue = self.queue.clone();
        Box::pin(async move {
            // The queue may be full for a moment: waiting for a place must not hold up the runtime.
            let sent = tokio::task::spawn_blocking(move || queue.send(Message::Close(sender))).await;
            if matches!(sent, Ok(Ok(()))) {
                let _ = receiver.await;
            }
            Ok(())
        })
    }
}

fn within_savepoint<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let run = |statement: &str| connection.prepare_cached(statement).and_then(|mut s| s.execute([])).map_err(sql);
    run("SAVEPOINT op")?;
    let result = work(connection);
    if result.is_err() {
        run("ROLLBACK TO op")?;
    }
    run("RELEASE op")?;
    result
}

fn run(connection: &Connection, queue: &Receiver<Message>, commits: &AtomicU64) {
    let statement = |text: &str| connection.prepare_cached(text).and_then(|mut s| s.execute([])).map(|_| ());
    let mut finishes: Vec<Finish> = Vec::new();
    while let Ok(first) = queue.recv() {
        let mut closing = None;
        let begun = statement("BEGIN IMMEDIATE");
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Write(work) => finishes.push(work(connection)),
                Message::Close(done) => closing = Some(done),
            }
            if finishes.len() < GROUP && closing.is_none() {
                next = queue.try_recv().ok();
            }
        }
        let committed = begun.and_then(|()| statement("COMMIT"));
        if let Err(failed) = &committed {
            error!(event = "store.commit_failed", source = %failed, "a commit failed; what it held is refused");
            // SQLite may have rolled back by itself.
            if !connection.is_autocommit() && statement("ROLLBACK").is_err() {
                error!(event = "store.rollback_failed", "a failed transaction could not be rolled back");
            }
        } else {
            commits.fetch_add(1, Ordering::Relaxed);
        }
        for finish in finishes.drain(..) {
            finish(committed.as_ref().err());
        }
        if let Some(done) = closing {
            let _ = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE");
            let _ = done.send(());
            return;
        }
    }
}
