//! What a proved stream carries: stanzas in their order, and what becomes of each (RFC 6120 §10.1; XEP-0198 §4).
//!
//! A stanza is delivered when the peer acknowledges it or, where it does not acknowledge, when the system has taken it. What
//! is not delivered when the stream ends goes first on the next one, and back to its sender after that.
//!
//! Deliberately absent: counting and `<r/>`, which are the machine's; how the domain was proved.

use super::Progress;
use super::stream::{Happened, Stream};
use crate::link::{Link, note};
use crate::queue::{Again, Taken, Waiting};
use std::sync::Arc;
use std::time::Instant;
use stonechat_stanza::{StanzaCondition, StanzaError};
use stonechat_stream::s2s_out::{Command, Delivered, Ended, Unsent};

/// What may be sent before the peer says what it has.
const WINDOW_STANZAS: usize = 1_000;
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

impl Stream<'_> {
    /// Sends what waits and what comes, until the stream ends or all is quiet for long. What the peer has not acknowledged
    /// by then goes first on the next stream.
    pub(super) async fn pump(&mut self, link: &Arc<Link>) -> Progress {
        self.talk(link).await;
        let mut left = Vec::new();
        for mut waiting in std::mem::take(&mut self.unacknowledged) {
            match waiting.sent_in_vain() {
                Again::Yes => left.push(waiting),
                Again::No => {
                    let error = StanzaError::new(StanzaCondition::RemoteServerTimeout)
                        .with_text(format!("{} has not said that it has it", self.remote));
                    waiting.bounce(self.router, &error);
                    self.settled = self.settled.saturating_add(1);
                }
            }
        }
        link.put_back(left);
        link.done(std::mem::take(&mut self.settled));
        self.progress
    }

    async fn talk(&mut self, link: &Arc<Link>) {
        let mut quiet_since = Instant::now();
        let mut mood = Mood::Sending;
        loop {
            match self.settle().await {
                Ok(Some(Happened::Ended(ended))) => {
                    note(self.federation, self.router, &self.remote, format!("the stream ended: {ended}"));
                    return;
                }
                Ok(_) => {}
                Err(_) => return,
            }
            link.done(std::mem::take(&mut self.settled));
            let mut until = None;
            if mood == Mood::Sending {
                match self.transfer(link).await {
                    Ok(Moved::Something) => quiet_since = Instant::now(),
                    Ok(Moved::Nothing) => {}
                    Err(_) => return,
                }
                until = quiet_since.checked_add(self.federation.inner.settings.idle);
                let idle = until.is_some_and(|until| until <= Instant::now());
                if idle || link.take_reset() || (link.is_stopping() && link.is_empty()) {
                    mood = Mood::Leaving;
                } else if self.has_room() && !link.is_empty() {
                    continue;
                }
            }
            if mood == Mood::Leaving {
                // What the peer has is known before the stream is closed; the machine bounds the time.
                if self.unacknowledged.is_empty() {
                    break;
                }
                until = None;
            }
            let waited = tokio::select! {
                waited = self.wait(until) => waited,
                () = link.wake.notified() => self.overhear().await,
            };
            if waited.is_err() {
                return;
            }
        }
        note(self.federation, self.router, &self.remote, "the stream was closed: nothing to send");
        self.machine.command(Instant::now(), Command::Close(None));
        let _ = self.flush().await;
    }

    /// Whether more may be sent before the peer says what it has.
    fn has_room(&self) -> bool {
        self.unacknowledged.len() < WINDOW_STANZAS && self.unacknowledged_bytes < WINDOW_BYTES
    }

    /// The peer has so many more.
    pub(super) fn on_acknowledged(&mut self, count: u32) {
        for _ in 0..count {
            let Some(waiting) = self.unacknowledged.pop_front() else { break };
            self.unacknowledged_bytes = self.unacknowledged_bytes.saturating_sub(waiting.stanza.size());
            self.on_delivered(waiting);
        }
        self.machine.request_acknowledgement(Instant::now());
    }

    fn on_delivered(&mut self, waiting: Waiting) {
        waiting.delivered(self.router);
        self.settled = self.settled.saturating_add(1);
        self.progress = Progress::Some;
    }

    /// Sends what waits, in order. What is being written to the store is waited for.
    async fn transfer(&mut self, link: &Arc<Link>) -> Result<Moved, Ended> {
        let mut moved = Moved::Nothing;
        while self.has_room() {
            match link.take(self.at_once) {
                Taken::Nothing => return Ok(moved),
                Taken::Pending(waiting) => match waiting.committed().await {
                    Some(waiting) => link.put_back(vec![waiting]),
                    None => link.done(1),
                },
                Taken::Ready(ready) => {
                    self.write(link, ready).await?;
                    moved = Moved::Something;
                }
            }
        }
        Ok(moved)
    }

    /// Writes these, as one write. They are delivered when the peer acknowledges them or, where it does not do that, when
    /// the system has taken all of it; what it did not take is the first on the next stream.
    async fn write(&mut self, link: &Arc<Link>, ready: Vec<Waiting>) -> Result<(), Ended> {
        let mut written = Vec::with_capacity(ready.len());
        let mut ready = ready.into_iter();
        let mut unready = None;
        for waiting in ready.by_ref() {
            match self.machine.send(Instant::now(), &waiting.stanza) {
                Ok(()) => written.push(waiting),
                Err(Unsent::NotReady) => {
                    unready = Some(waiting);
                    break;
                }
                Err(unsent) => {
                    let condition = match unsent {
                        // Abuse case 136: never more than the peer takes.
                        Unsent::TooLarge => StanzaCondition::PolicyViolation,
                        Unsent::Misaddressed | Unsent::NotReady => StanzaCondition::InternalServerError,
                    };
                    waiting.bounce(self.router, &StanzaError::new(condition).with_text(unsent.to_string()));
                    self.settled = self.settled.saturating_add(1);
                    self.progress = Progress::Some;
                }
            }
        }
        let delivered = self.machine.delivered();
        self.machine.request_acknowledgement(Instant::now());
        let flushed = self.flush().await;
        let mut left: Vec<Waiting> = unready.into_iter().chain(ready).collect();
        match flushed {
            Ok(()) => {
                for waiting in written {
                    match delivered {
                        Delivered::WhenWritten => self.on_delivered(waiting),
                        Delivered::WhenAcknowledged => {
                            let bytes = waiting.stanza.size();
                            self.unacknowledged_bytes = self.unacknowledged_bytes.saturating_add(bytes);
                            self.unacknowledged.push_back(waiting);
                        }
                    }
                }
                link.done(std::mem::take(&mut self.settled));
            }
            Err(_) => left.splice(0..0, written).for_each(drop),
        }
        let ended = match (flushed, left.is_empty()) {
            (Ok(()), true) => return Ok(()),
            (Ok(()), false) => Ended::Stream(stonechat_stream::Closed::Lost),
            (Err(ended), _) => ended,
        };
        link.put_back(left);
        Err(ended)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Sending,
    /// Nothing more is sent; the stream is closed when everything is acknowledged.
    Leaving,
}

/// Whether anything was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Something,
    Nothing,
}
