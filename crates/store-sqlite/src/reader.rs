//! The threads that read.

use crate::open::Job;
use rusqlite::Connection;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use stonechat_store::{Error, Pending, Result};
use tokio::sync::oneshot;

/// Reads that may wait.
const QUEUE: usize = 16_384;

pub(crate) struct Readers {
    queue: Mutex<Option<SyncSender<Job>>>,
}

impl Readers {
    pub(crate) fn start(count: usize, open: impl Fn() -> Result<Connection>) -> Result<Readers> {
        let (sender, receiver) = sync_channel(QUEUE);
        let receiver = crate::open::shared(Mutex::new(receiver));
        for number in 0..count {
            let connection = open()?;
            let receiver = Arc::clone(&receiver);
            std::thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || run(&connection, &receiver))
                .map_err(crate::open::io)?;
        }
        Ok(Readers { queue: Mutex::new(Some(sender)) })
    }

    pub(crate) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = sender.send(work(connection));
        });
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match queue.as_ref().map(|queue| queue.try_send(job)) {
            Some(Ok(())) => return Box::pin(async move { receiver.await.unwrap_or(Err(Error::Closed)) }),
            Some(Err(TrySendError::Full(_))) => Error::Overloaded,
            Some(Err(TrySendError::Disconnected(_))) | None => Error::Closed,
        };
        Box::pin(std::future::ready(Err(refused)))
    }

    pub(crate) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn run(connection: &Connection, queue: &Mutex<Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(job) => job(connection),
            Err(_) => return,
        }
    }
}
