//! The threads that read, each with a connection of its own.

use crate::queue::Queue;
use rusqlite::Connection;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use stonechat_store::{Error, Pending, Result};
use tokio::sync::oneshot;

/// Reads that may wait; beyond it they fail with [`Error::Overloaded`].
const QUEUE: usize = 16_384;

/// One read.
pub(crate) trait Read: Send {
    fn run(self: Box<Self>, connection: &Connection);
    /// Tells the caller that it will not run.
    fn refuse(self: Box<Self>, error: Error);
}

struct Job<T, W> {
    work: W,
    caller: oneshot::Sender<Result<T>>,
}

impl<T: Send, W: FnOnce(&Connection) -> Result<T> + Send> Read for Job<T, W> {
    fn run(self: Box<Self>, connection: &Connection) {
        // Not worth its time when nobody waits any more.
        if !self.caller.is_closed() {
            let _ = self.caller.send((self.work)(connection));
        }
    }
    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.caller.send(Err(error));
    }
}

/// A read, and the future of its answer.
pub(crate) fn read<T: Send + 'static>(
    work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
) -> (Box<dyn Read>, Pending<T>) {
    let (caller, answer) = oneshot::channel();
    (Box::new(Job { work, caller }), Box::pin(async move { answer.await.unwrap_or(Err(Error::Closed)) }))
}

#[derive(Clone)]
pub(crate) struct Readers {
    queue: Arc<Queue<Box<dyn Read>>>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Readers {
    pub(crate) fn start(count: usize, open: impl Fn() -> Result<Connection>) -> Result<Readers> {
        let readers = Readers { queue: Arc::new(Queue::new(QUEUE)), threads: Arc::default() };
        for number in 0..count.max(1) {
            let connection = open().inspect_err(|_| readers.queue.close())?;
            let queue = Arc::clone(&readers.queue);
            let thread = std::thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || {
                    let mut taken = VecDeque::new();
                    while queue.take(&mut taken, 1) {
                        taken.drain(..).for_each(|read| read.run(&connection));
                    }
                })
                .map_err(crate::errors::io)
                .inspect_err(|_| readers.queue.close())?;
            readers.threads().push(thread);
        }
        Ok(readers)
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (job, answer) = read(work);
        self.push(job);
        answer
    }

    /// Queues a read, or tells its caller why not.
    pub(crate) fn push(&self, read: Box<dyn Read>) {
        if let Err((read, error)) = self.queue.offer(read) {
            read.refuse(error);
        }
    }

    /// Takes no more, and waits until what was queued is read and the connections are closed.
    pub(crate) fn close(&self) {
        self.queue.close();
        let threads = std::mem::take(&mut *self.threads());
        for thread in threads {
            // A reader that panicked has told so itself.
            let _ = thread.join();
        }
    }
}
