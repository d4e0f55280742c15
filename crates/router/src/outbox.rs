//! The way out to one bound session, and the turn that coalesces its writes.
//!
//! An outbox counts bytes and has a bound (DESIGN.md, P4). What one turn of the loop pushes leaves as one write: the
//! router pushes while it works and flushes at the end, and the flush may write to the socket from the calling task.

use smallvec::SmallVec;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use stonechat_jid::Jid;
use stonechat_stanza::{Stanza, StreamError};

/// One stanza for one recipient: the shared stanza, and the addresses to write on this copy.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// What is delivered.
    pub stanza: &'a Stanza,
    /// `from` on this copy.
    pub from: Option<&'a Jid>,
    /// `to` on this copy.
    pub to: Option<&'a Jid>,
}

impl<'a> Delivery<'a> {
    /// With the addresses of the stanza itself.
    pub fn of(stanza: &'a Stanza) -> Self {
        Delivery { stanza, from: stanza.from(), to: stanza.to() }
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Queued, and this outbox had nothing unflushed before: the turn must flush it.
    First,
    /// Queued behind something that some turn will flush.
    Queued,
    /// The bound would be passed; nothing was queued. The outbox has begun to close its connection.
    Overflow,
    /// The connection has ended; nothing was queued.
    Closed,
}

/// Where a session's stanzas go. Implemented by a connection's driver; also by the in-memory peers of tests.
pub trait Outbox: Send + Sync + 'static {
    /// Queues a stanza. Never blocks, never writes to the network.
    fn push(&self, delivery: Delivery<'_>) -> Pushed;
    /// Writes what is queued if the peer takes it now; otherwise wakes the driver, which goes on when it can.
    fn flush(&self);
    /// Resolves when everything pushed before the call was handed to the operating system (`true`), or the connection
    /// ended first (`false`).
    fn written(&self) -> Pin<Box<dyn Future<Output = bool> + Send>>;
    /// Ends the stream after what is queued: the error first, when there is one.
    fn close(&self, error: Option<StreamError>);
    /// Holds back what is pushed until the stream's own answer is on its way. The driver lets it out again.
    fn cork(&self);
    /// Ends the connection at once and gives up what is queued: its peer does not take it, and would not take an error.
    fn cut(&self);
    /// Bytes queued and not yet written.
    fn queued_bytes(&self) -> usize;
    /// Whether what is pushed now can still be sent.
    fn is_open(&self) -> bool;
    /// Queues a request for an acknowledgement (XEP-0198 §4), like a push.
    fn request_acknowledgement(&self) -> Pushed;
}

/// One turn of a connection's loop: the outboxes that were pushed to and await their flush.
#[derive(Default)]
pub struct Turn {
    dirty: SmallVec<[Arc<dyn Outbox>; 8]>,
}

impl Turn {
    /// An empty turn.
    pub fn new() -> Self {
        Turn::default()
    }
    /// Pushes and remembers to flush. `false` when the stanza was not queued.
    pub fn push(&mut self, outbox: &Arc<dyn Outbox>, delivery: Delivery<'_>) -> Pushed {
        let pushed = outbox.push(delivery);
        if pushed == Pushed::First {
            self.dirty.push(Arc::clone(outbox));
        }
        pushed
    }
    /// Asks for an acknowledgement of what was pushed, and remembers to flush.
    pub(crate) fn request_acknowledgement(&mut self, outbox: &Arc<dyn Outbox>) {
        if outbox.request_acknowledgement() == Pushed::First {
            self.dirty.push(Arc::clone(outbox));
        }
    }
    /// Flushes everything pushed so far.
    pub fn flush(&mut self) {
        for outbox in self.dirty.drain(..) {
            outbox.flush();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.flush();
    }
}
