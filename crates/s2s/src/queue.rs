//! What waits for the stream of one pair of domains, in the order in which it was taken, with what is kept of each.
//!
//! Deliberately absent: the bounds, which are the link's, and what is done with what is taken out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use stonechat_router::{Holding, Memory, Outward, Record, Room, Router};
use stonechat_stanza::{Stanza, StanzaError};
use tokio::sync::oneshot::error::TryRecvError;

/// How long a stanza waits for its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Its sender hears of the first attempt that fails.
    OneAttempt,
    /// It was accepted before a restart: its sender may not be back yet, and the network neither. Attempts that fail before
    /// this time are passed over.
    Until(Instant),
}

/// Whether a stanza may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Yes,
    No,
}

/// A stanza that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) stanza: Stanza,
    record: Record,
    patience: Patience,
    /// How many streams it was sent on that ended before the peer acknowledged it.
    in_vain: u8,
}

/// A stanza that was sent on so many streams in vain is not sent again: it may be what ends them.
const IN_VAIN: u8 = 2;

/// What can be taken from the front of a queue.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Nothing waits.
    Nothing,
    /// The first waits for its commit.
    Pending(Waiting),
    /// These may leave now.
    Ready(Vec<Waiting>),
}

impl Waiting {
    pub(crate) fn new(outward: Outward, patience: Patience) -> Waiting {
        Waiting { stanza: outward.stanza, record: outward.record, patience, in_vain: 0 }
    }

    /// Whether it is in the store, or on its way there.
    pub(crate) fn is_kept(&self) -> bool {
        !matches!(self.record, Record::Unkept)
    }

    /// Whether it was accepted before a restart.
    pub(crate) fn is_patient(&self) -> bool {
        self.patience != Patience::OneAttempt
    }

    /// Whether its sender is told of an attempt that failed now.
    fn gives_up(&self, now: Instant) -> bool {
        match self.patience {
            Patience::OneAttempt => true,
            Patience::Until(until) => until <= now,
        }
    }

    /// Waits for its commit; `None` when that failed: its sender was told, and it must not leave.
    pub(crate) async fn committed(mut self) -> Option<Waiting> {
        if let Record::Pending(commit) = self.record {
            self.record = Record::Kept(commit.await.ok()?);
        }
        Some(self)
    }

    /// It was delivered: nothing is kept of it any more.
    pub(crate) fn delivered(self, router: &Router) {
        if let Record::Kept(id) = self.record {
            router.outgoing_settled(id);
        }
    }

    /// The stream it was sent on has ended, and the peer did not say that it has it: whether it may be sent again.
    pub(crate) fn sent_in_vain(&mut self) -> Again {
        self.in_vain = self.in_vain.saturating_add(1);
        if self.in_vain < IN_VAIN { Again::Yes } else { Again::No }
    }

    /// Its sender is told, once, and nothing is kept of it any more. What is still being written is told of behind its
    /// commit, and not at all when that fails.
    pub(crate) fn bounce(self, router: &Router, error: &StanzaError) {
        match self.record {
            Record::Unkept => router.accept_bounce(&self.stanza, error),
            Record::Kept(id) => {
                router.accept_bounce(&self.stanza, error);
                router.outgoing_settled(id);
            }
            Record::Pending(commit) => {
                let (router, stanza, error) = (router.clone(), self.stanza, error.clone());
                tokio::spawn(async move {
                    if let Ok(id) = commit.await {
                        router.accept_bounce(&stanza, &error);
                        router.outgoing_settled(id);
                    }
                });
            }
        }
    }

    /// At the end of the server: what is kept waits for the next start, of the rest its sender is told.
    pub(crate) fn leave(self, router: &Router, error: &StanzaError) {
        if matches!(self.record, Record::Unkept) {
            router.accept_bounce(&self.stanza, error);
        }
    }
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: VecDeque<Waiting>,
    held: Holding,
}

impl Queue {
    pub(crate) fn new(memory: &Arc<Memory>) -> Queue {
        Queue { waiting: VecDeque::new(), held: Holding::new(memory) }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether there is room for so many bytes more, of `most` in all.
    pub(crate) fn room(&self, more: usize, most: usize) -> Room {
        self.held.room(more, most)
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.held.grow(waiting.stanza.size());
        self.waiting.push_back(waiting);
    }

    /// Takes what may leave now: the first, and what is behind it as long as all of it together has at most `bytes`.
    pub(crate) fn take(&mut self, bytes: usize) -> Taken {
        let mut ready = Vec::new();
        let mut taken = 0usize;
        while let Some(mut waiting) = self.pop() {
            if let Record::Pending(commit) = &mut waiting.record {
                match commit.try_recv() {
                    Ok(id) => waiting.record = Record::Kept(id),
                    Err(TryRecvError::Closed) => continue,
                    Err(TryRecvError::Empty) if ready.is_empty() => {
                        return Taken::Pending(waiting);
                    }
                    Err(TryRecvError::Empty) => {
                        self.push_front(waiting);
                        break;
                    }
                }
            }
            taken = taken.saturating_add(waiting.stanza.size());
            if taken > bytes && !ready.is_empty() {
                self.push_front(waiting);
                break;
            }
            ready.push(waiting);
        }
        if ready.is_empty() { Taken::Nothing } else { Taken::Ready(ready) }
    }

    /// Puts back what was taken, to be the first again.
    pub(crate) fn put_back(&mut self, taken: Vec<Waiting>) {
        for waiting in taken.into_iter().rev() {
            self.push_front(waiting);
        }
    }

    /// Takes out everything whose sender is told of a failure now.
    pub(crate) fn give_up(&mut self, now: Instant) -> Vec<Waiting> {
        let all = self.take_all();
        let (given_up, patient): (Vec<_>, Vec<_>) = all.into_iter().partition(|waiting| waiting.gives_up(now));
        self.put_back(patient);
        given_up
    }

    /// Takes out everything.
    pub(crate) fn take_all(&mut self) -> Vec<Waiting> {
        self.held.holds(0);
        self.waiting.drain(..).collect()
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.held.shrink(waiting.stanza.size());
        Some(waiting)
    }

    fn push_front(&mut self, waiting: Waiting) {
        self.held.grow(waiting.stanza.size());
        self.waiting.push_front(waiting);
    }
}
