//! The thread that writes, and group commit.
//!
//! It takes what is queued, runs it in one transaction and answers after the commit. While one group is being synced the
//! next one gathers, so that the busier the store, the fewer commits each write costs; a single write waits for nobody.
//!
//! A write that fails is undone by its savepoint and costs the others nothing. When SQLite gives the whole transaction up
//! (a full disk, an I/O error), everything in it is refused: nothing is acknowledged that is not there.
//!
//! Two kinds of writes are special. One on the path of a message has no savepoint, which costs as much as a statement: it fails
//! before it has changed anything, or takes the transaction with it. One that goes in steps is a row of writes, each queued
//! behind what was queued meanwhile, so that a long work delays nobody.

use crate::desk::Desk;
use crate::errors::{Refusal, sql};
use crate::folding::Folding;
use crate::fresh::{self, Unsettled};
use crate::lock::Lock;
use crate::queue::Queue;
use crate::reader::{Read, Readers};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use stonechat_store::{AccountId, Error, Pending, Result};
use tokio::sync::{oneshot, watch};
use tracing::{debug, error, info, warn};

/// Writes of one transaction at most.
const GROUP: usize = 512;
/// After this time a group is committed though more is there: it bounds what the first write of it waits.
const GROUP_TIME: Duration = Duration::from_millis(5);

/// What the writing thread is sent.
pub(crate) enum Message {
    Write(Box<dyn Write>),
    /// A read that has to see the writes before it: passed on to the readers when those are committed.
    Read(Box<dyn Read>),
    /// The same, when everything of the account is in its place too.
    SettledRead(AccountId, Box<dyn Read>),
}

/// One write, before and after its run.
pub(crate) trait Write: Send {
    /// Runs it within the open transaction and keeps the result.
    fn run(&mut self, desk: &Desk);
    /// What went wrong in the run.
    fn complaint(&self) -> Option<String>;
    /// Whether it left something half done, so that the transaction must not be committed.
    fn spoilt(&self) -> bool;
    /// Tells the caller: the kept result, or the refusal when the transaction is not there.
    fn settle(self: Box<Self>, refusal: Option<&Refusal>);
    /// Tells the caller that it will not go on.
    fn refuse(self: Box<Self>, error: Error);
}

/// How a write is undone when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// By itself.
    Savepoint,
    /// There is nothing to undo when it fails with `NotFound` or `Conflict`; any other failure takes the transaction with it.
    Transaction,
}

struct Job<T, W> {
    work: Option<W>,
    guard: Guard,
    result: Option<Result<T>>,
    caller: oneshot::Sender<Result<T>>,
}

impl<T: Send, W: FnOnce(&Desk) -> Result<T> + Send> Write for Job<T, W> {
    fn run(&mut self, desk: &Desk) {
        self.result = self.work.take().map(|work| match self.guard {
            Guard::Savepoint => within_savepoint(desk, work),
            Guard::Transaction => work(desk),
        });
    }

    fn complaint(&self) -> Option<String> {
        complaint(self.result.as_ref())
    }

    fn spoilt(&self) -> bool {
        let harmless = |error: &Error| matches!(error, Error::NotFound | Error::Conflict);
        self.guard == Guard::Transaction
            && self.result.as_ref().and_then(|result| result.as_ref().err()).is_some_and(|error| !harmless(error))
    }

    fn settle(self: Box<Self>, refusal: Option<&Refusal>) {
        // Nobody waits when the caller has gone; the write is done all the same.
        let _ = self.caller.send(outcome(self.result, refusal));
    }

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.caller.send(Err(error));
    }
}

/// Where a work in steps is after one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<T> {
    /// It is done.
    Done(T),
    /// There is more.
    More,
}

struct Steps<T, W> {
    work: W,
    result: Option<Result<Step<T>>>,
    caller: oneshot::Sender<Result<T>>,
    queue: Arc<Queue<Message>>,
    counts: Arc<Counts>,
}

impl<T: Send + 'static, W: FnMut(&Desk) -> Result<Step<T>> + Send + 'static> Write for Steps<T, W> {
    fn run(&mut self, desk: &Desk) {
        self.result = Some(within_savepoint(desk, &mut self.work));
    }

    fn complaint(&self) -> Option<String> {
        complaint(self.result.as_ref())
    }

    fn spoilt(&self) -> bool {
        false
    }

    fn settle(mut self: Box<Self>, refusal: Option<&Refusal>) {
        match outcome(self.result.take(), refusal) {
            Ok(Step::Done(result)) => drop(self.caller.send(Ok(result))),
            Err(error) => drop(self.caller.send(Err(error))),
            Ok(Step::More) => {
                let (queue, counts) = (Arc::clone(&self.queue), Arc::clone(&self.counts));
                counts.unsettled.fetch_add(1, Ordering::AcqRel);
                // Past the bound too: it had its place before.
                if let Err((Message::Write(steps), error)) = queue.push_anyway(Message::Write(self)) {
                    counts.unsettled.fetch_sub(1, Ordering::AcqRel);
                    steps.refuse(error);
                }
            }
        }
    }

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.caller.send(Err(error));
    }
}

fn complaint<T>(result: Option<&Result<T>>) -> Option<String> {
    result.and_then(|result| result.as_ref().err()).map(Error::to_string)
}

fn outcome<T>(result: Option<Result<T>>, refusal: Option<&Refusal>) -> Result<T> {
    match (refusal, result) {
        (Some(refusal), _) => Err(refusal.error()),
        (None, Some(result)) => result,
        (None, None) => Err(Error::Closed),
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) writes: AtomicU64,
    pub(crate) commits: AtomicU64,
    /// Writes that were queued and are not settled.
    unsettled: AtomicUsize,
}

/// The callers' end.
pub(crate) struct Writer {
    queue: Arc<Queue<Message>>,
    counts: Arc<Counts>,
    unsettled: Unsettled,
    ended: watch::Receiver<bool>,
}

impl Writer {
    pub(crate) fn start(
        connection: Connection,
        folding: Folding,
        lock: Lock,
        readers: Readers,
        queue: usize,
    ) -> Result<Writer> {
        let queue = Arc::new(Queue::new(queue.max(1)));
        let counts = Arc::new(Counts::default());
        let (end, ended) = watch::channel(false);
        let desk = Desk::new(connection);
        // What a kill left to be done.
        fresh::recall(&desk)?;
        let unsettled = desk.fresh().unsettled();
        let thread =
            Thread { desk, folding, counts: Arc::clone(&counts), readers, failures: 0, broken: None, settle_in: 0 };
        let messages = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                thread.run(&messages);
                drop(lock);
                let _ = end.send(true);
            })
            .map_err(crate::errors::io)?;
        Ok(Writer { queue, counts, unsettled, ended })
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether a write is queued or running: a read that starts now may miss it.
    pub(crate) fn is_busy(&self) -> bool {
        self.counts.unsettled.load(Ordering::Acquire) > 0
    }

    /// Queues a write before it returns, so that writes are applied in the order of the calls.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        guard: Guard,
        work: impl FnOnce(&Desk) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (caller, answer) = oneshot::channel();
        self.push(Box::new(Job { work: Some(work), guard, result: None, caller }), answer)
    }

    /// Queues a work in steps: its first one before it returns, each other one when the one before is committed.
    pub(crate) fn steps<T: Send + 'static>(
        &self,
        work: impl FnMut(&Desk) -> Result<Step<T>> + Send + 'static,
    ) -> Pending<T> {
        let (caller, answer) = oneshot::channel();
        let (queue, counts) = (Arc::clone(&self.queue), Arc::clone(&self.counts));
        self.push(Box::new(Steps { work, result: None, caller, queue, counts }), answer)
    }

    fn push<T: Send + 'static>(&self, write: Box<dyn Write>, answer: oneshot::Receiver<Result<T>>) -> Pending<T> {
        self.counts.unsettled.fetch_add(1, Ordering::AcqRel);
        match self.queue.push(Message::Write(write)) {
            Ok(()) => Box::pin(async move { answer.await.unwrap_or(Err(Error::Closed)) }),
            Err(refused) => {
                self.counts.unsettled.fetch_sub(1, Ordering::AcqRel);
                Box::pin(std::future::ready(Err(refused)))
            }
        }
    }

    /// Queues a read behind the writes that were called before it.
    pub(crate) fn pass_read(&self, read: Box<dyn Read>) -> Result<()> {
        self.queue.push(Message::Read(read))
    }

    /// The same, for a read of what goes to its place only later.
    pub(crate) fn pass_settled_read(&self, account: AccountId, read: Box<dyn Read>) -> Result<()> {
        self.queue.push(Message::SettledRead(account, read))
    }

    /// Accounts of which something is not in its place.
    pub(crate) fn unsettled(&self) -> &Unsettled {
        &self.unsettled
    }

    /// Takes no more; resolves when what was queued is written and the file is closed.
    pub(crate) fn close(&self) -> Pending<()> {
        self.queue.close();
        let mut ended = self.ended.clone();
        Box::pin(async move {
            // An error means that the thread has gone without saying so: nothing is left to wait for either.
            let _ = ended.wait_for(|ended| *ended).await;
            Ok(())
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn within_savepoint<T>(desk: &Desk, work: impl FnOnce(&Desk) -> Result<T>) -> Result<T> {
    execute(desk, "SAVEPOINT one")?;
    desk.fresh().begin();
    let result = work(desk);
    // SQLite takes back the whole transaction, savepoints and all, when the disk is full: `Thread::group` sees to that.
    if desk.is_autocommit() {
        return result;
    }
    if result.is_err() {
        desk.forget_some();
        execute(desk, "ROLLBACK TO one")?;
    }
    execute(desk, "RELEASE one")?;
    result
}

fn execute(connection: &Connection, statement: &str) -> Result<()> {
    execute_raw(connection, statement).map_err(sql)
}

fn execute_raw(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement).and_then(|mut prepared| prepared.execute([])).map(|_| ())
}

struct Thread {
    desk: Desk,
    folding: Folding,
    counts: Arc<Counts>,
    readers: Readers,
    /// Groups refused since the last commit.
    failures: u64,
    /// Why nothing is written any more.
    broken: Option<Refusal>,
    /// Groups until what is fresh may go to its place, after it failed to.
    settle_in: u32,
}

impl Thread {
    fn run(mut self, queue: &Queue<Message>) {
        let mut waiting = VecDeque::new();
        while queue.take(&mut waiting, GROUP) {
            while !waiting.is_empty() {
                self.group(&mut waiting);
            }
        }
        self.readers.close();
        // What these cannot do is done at the next start.
        let closed = if self.folding.end() {
            self.desk.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);")
        } else {
            self.desk.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(|_| ())
        };
        if let Err(source) = closed {
            debug!(event = "store.close_checkpoint", %source, "the log of writes was not folded in");
        }
        if let Err(source) = self.desk.close() {
            warn!(event = "store.close_failed", %source, "the database did not close cleanly");
        }
    }

    /// One transaction from the front of `waiting`.
    fn group(&mut self, waiting: &mut VecDeque<Message>) {
        let mut group = Vec::with_capacity(waiting.len());
        let refusal = self.transact(waiting, &mut group).err();
        let writes = group.iter().filter(|message| matches!(message, Message::Write(_))).count();
        if writes > 0 {
            self.tell(refusal.as_ref());
        }
        self.counts.writes.fetch_add(writes as u64, Ordering::Relaxed);
        // Before the answers: a caller that has its answer reads without a detour.
        self.counts.unsettled.fetch_sub(writes, Ordering::AcqRel);
        let mut settled_reads = Vec::new();
        for message in group {
            match message {
                Message::Write(write) => write.settle(refusal.as_ref()),
                Message::Read(read) => self.readers.push(read),
                Message::SettledRead(account, read) => settled_reads.push((account, read)),
            }
        }
        if !settled_reads.is_empty() {
            self.read_settled(settled_reads);
        }
        self.settle_due();
        // Behind the answers: nobody waits for it.
        if let Some(refusal) = self.folding.committed(&self.desk) {
            self.broken.get_or_insert(refusal);
        }
    }

    /// Lets reads go to the readers when everything of their accounts is in its place.
    fn read_settled(&mut self, reads: Vec<(AccountId, Box<dyn Read>)>) {
        let fresh = |desk: &Desk, account| fresh::is_fresh(desk, account).unwrap_or(true);
        let mut accounts: Vec<AccountId> = reads.iter().map(|(account, _)| *account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        accounts.retain(|account| fresh(&self.desk, *account));
        if !accounts.is_empty() {
            // A failure is no write's: none is in this transaction.
            let _ =
                self.alone(|desk| accounts.iter().try_for_each(|account| fresh::settle(desk, *account).map(|_| ())));
        }
        for (account, read) in reads {
            if fresh(&self.desk, account) { self.read_undone(account, read) } else { self.readers.push(read) }
        }
    }

    /// There is no room, or nothing is written any more, but reads go on (R3): what is fresh is put to its place, read, and
    /// taken back.
    fn read_undone(&self, account: AccountId, read: Box<dyn Read>) {
        let most: rusqlite::Result<i64> = self.desk.pragma_query_value(None, "max_page_count", |row| row.get(0));
        let put = execute(&self.desk, "BEGIN").and_then(|()| {
            self.desk.pragma_update(None, "max_page_count", i64::from(u32::MAX - 1)).map_err(sql)?;
            fresh::settle(&self.desk, account)
        });
        match put {
            Ok(_) => read.run(&self.desk),
            Err(error) => read.refuse(error),
        }
        self.roll_back();
        if let Ok(most) = most {
            let _ = self.desk.pragma_update(None, "max_page_count", most);
        }
    }

    /// A step of what is fresh to its place. By itself, so that its failure is nobody else's.
    fn settle_due(&mut self) {
        /// Groups after a failure: enough that whatever makes room is not held up.
        const REST: u32 = 64;
        if self.settle_in > 0 {
            self.settle_in = self.settle_in.saturating_sub(1);
        } else if self.broken.is_none()
            && fresh::is_due(&self.desk)
            && let Err(source) = self.alone(fresh::settle_some)
        {
            debug!(event = "store.settle_later", %source, "what is fresh did not go to its place");
            self.settle_in = REST;
        }
    }

    /// A transaction of the thread's own.
    fn alone(&mut self, work: impl FnOnce(&Desk) -> Result<()>) -> Result<()> {
        if let Some(broken) = &self.broken {
            return Err(broken.error());
        }
        execute(&self.desk, "BEGIN IMMEDIATE")?;
        if let Err(error) = work(&self.desk) {
            self.roll_back();
            return Err(error);
        }
        self.commit().map_err(|refusal| refusal.error())
    }

    /// Logs the first of a row of failures and the end of the row: a full disk is not helped by a line for each.
    fn tell(&mut self, refusal: Option<&Refusal>) {
        match refusal {
            Some(refusal) => {
                if self.failures == 0 {
                    error!(event = "store.commit_failed", source = %refusal, "a commit failed; what it held is refused");
                }
                self.failures = self.failures.saturating_add(1);
            }
            None if self.failures > 0 => {
                info!(event = "store.commit_again", failures = self.failures, "commits succeed again");
                self.failures = 0;
            }
            None => {}
        }
    }

    /// Moves messages from `waiting` to `group` and writes them. Every message that was moved shares the outcome.
    fn transact(
        &mut self,
        waiting: &mut VecDeque<Message>,
        group: &mut Vec<Message>,
    ) -> std::result::Result<(), Refusal> {
        let writes = |messages: &VecDeque<Message>| messages.iter().any(|message| matches!(message, Message::Write(_)));
        if !writes(waiting) {
            group.extend(waiting.drain(..));
            return Ok(());
        }
        if let Some(broken) = &self.broken {
            group.extend(waiting.drain(..));
            return Err(broken.clone());
        }
        if let Err(failed) = execute_raw(&self.desk, "BEGIN IMMEDIATE") {
            group.extend(waiting.drain(..));
            return Err(Refusal::new(&failed));
        }
        let begun = Instant::now();
        while let Some(mut message) = waiting.pop_front() {
            let mut complaint = None;
            if let Message::Write(write) = &mut message {
                write.run(&self.desk);
                // The transaction has gone (SQLite rolls it back by itself when there is no room), or has to go.
                complaint = (self.desk.is_autocommit() || write.spoilt()).then(|| write.complaint());
            }
            group.push(message);
            if let Some(complaint) = complaint {
                self.roll_back();
                return Err(Refusal::given_up(complaint));
            }
            if begun.elapsed() > GROUP_TIME {
                break;
            }
        }
        self.commit()
    }

    fn commit(&mut self) -> std::result::Result<(), Refusal> {
        match execute_raw(&self.desk, "COMMIT") {
            Ok(()) => {
                self.counts.commits.fetch_add(1, Ordering::Relaxed);
                self.desk.fresh().committed();
                Ok(())
            }
            Err(failed) => {
                self.roll_back();
                let refusal = Refusal::new(&failed);
                if refusal.is_final() {
                    error!(event = "store.sync_failed", source = %failed, "the disk did not sync: nothing more is written");
                    self.broken = Some(refusal.clone());
                }
                Err(refusal)
            }
        }
    }

    fn roll_back(&self) {
        self.desk.forget();
        if !self.desk.is_autocommit()
            && let Err(source) = execute_raw(&self.desk, "ROLLBACK")
        {
            error!(event = "store.rollback_failed", %source, "a failed transaction was not rolled back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    /// A statement that SQLite ends with the wanted error is not to be had; what follows from one is.
    #[tokio::test]
    async fn after_a_failed_sync_nothing_is_written_and_reads_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let mut connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").unwrap();
        let folding = Folding::start(&mut connection, Connection::open(&path).unwrap(), 4_000).unwrap();
        let readers = Readers::start(1, || Connection::open(&path).map_err(sql)).unwrap();
        let failure = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None);
        let refusal = Refusal::new(&failure);
        assert!(refusal.is_final());
        let desk = Desk::new(connection);
        let mut thread = Thread {
            desk,
            folding,
            counts: Arc::new(Counts::default()),
            readers,
            failures: 0,
            broken: Some(refusal),
            settle_in: 0,
        };
        let (caller, answer) = oneshot::channel();
        let work = |desk: &Desk| desk.execute("INSERT INTO t VALUES (1)", []).map_err(sql);
        thread.counts.unsettled.fetch_add(1, Ordering::AcqRel);
        let mut waiting = VecDeque::from([Message::Write(Box::new(Job {
            work: Some(work),
            guard: Guard::Savepoint,
            result: None,
            caller,
        }))]);
        thread.group(&mut waiting);
        assert!(matches!(answer.await, Ok(Err(Error::Full(_)))));
        let count = thread.readers.read(|connection| {
            connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).map_err(sql)
        });
        assert_eq!(count.await.unwrap(), 0);
    }
}
