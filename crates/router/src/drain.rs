//! Messages that were kept while nobody could have them, delivered to a session that may (XEP-0160).
//!
//! They go in order and before anything newer: the session's way out keeps a place for them in its line. A message leaves the
//! store when the client has it: when it acknowledged it, if it counts (XEP-0198), or when the socket has taken it. So an
//! interrupted delivery is repeated and never lost; to a client that counts it is not even repeated, because the store knows
//! as which stanza of which session each message was sent before it is sent.
//!
//! What is kept for whoever comes first is drained by one session at a time. What a session inherits from the one that its
//! client lost (XEP-0198 §5) is its own alone, and waits for nobody else's drain.
//!
//! A message that comes meanwhile stands in the line behind the drain, and is in the store for this session under a number of
//! its own ([`Place::Behind`](stonechat_store::Place)), because nobody knows yet how many go before it. When the drain is
//! over its number is known, and written before anything behind the drain is sent.

use crate::account::{Cell, History, Inherits, KeptBefore, Session, State};
use crate::outflow::{Facts, Item, Shared, Spooled};
use crate::resumption::delayed;
use crate::{Pushed, Router, SessionId, Turn};
use std::sync::Arc;
use stonechat_stanza::Stanza;
use stonechat_store::{AccountId, OfflineMessage, Others, Pending, Share, SmId};
use tokio::sync::oneshot;
use tracing::error;

/// Kept messages delivered between two waits.
const BATCH: usize = 64;

/// How a drain ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Everything was given.
    Done,
    /// The session or its connection ended before that.
    Interrupted,
    Failed,
}

/// Whether the drain goes on.
enum Going {
    On,
    /// The same messages are to be given once more.
    Again,
    /// The session is gone, or its connection.
    Over,
}

/// One delivery of kept messages.
struct Drain<'a> {
    cell: &'a Arc<Cell>,
    id: SessionId,
    account: AccountId,
    share: Share,
}

impl Router {
    /// A session began to count what it is sent. What the session before it left is its own from now on, so that it is so for
    /// whoever takes its place.
    pub(crate) async fn begin_counting(&self, cell: &Cell, id: SessionId, sm: Option<SmId>) {
        let inherited = {
            let mut state = cell.lock();
            let account = state.loaded().map(|loaded| loaded.id);
            let Some(session) = state.session(id) else { return };
            session.out.begin_counting(sm);
            match (session.inherits, sm, account) {
                (Inherits::Of(gone), Some(sm), Some(account)) => {
                    session.inherits = Inherits::Own;
                    self.inner.store.inherit_spool(account, gone, sm)
                }
                _ => return,
            }
        };
        if let Err(source) = inherited.await {
            error!(event = "spool.write_failed", %source, "what is kept for a session could not be changed");
        }
    }

    /// A session may have what is kept: delivers to it what it inherited, and what is anybody's unless another one is being
    /// given that.
    pub(crate) fn start_drain(&self, cell: &Arc<Cell>, state: &mut State, id: SessionId, turn: &mut Turn) {
        let Some(account) = state.loaded().map(|loaded| loaded.id) else { return };
        let taken = state.draining.is_some();
        let Some(session) = state.session(id) else { return };
        if session.out.is_draining() {
            return;
        }
        let inherits = session.inherits;
        if let Inherits::Of(gone) = inherits {
            // It does not count, so nothing can be held for it.
            session.inherits = Inherits::Nothing;
            note(self.inner.store.release_spool(account, gone, Others::Served));
        }
        let share = match (inherits, session.out.resumable(), taken) {
            (Inherits::Own, Some(sm), true) => Share::InheritedBy(sm),
            (Inherits::Own, Some(sm), false) => Share::AnybodysAndOf(sm),
            (_, _, false) => Share::Anybodys,
            (_, _, true) => {
                state.kept_lately |= inherits != Inherits::Nothing;
                return;
            }
        };
        if share == Share::Anybodys
            && inherits == Inherits::Nothing
            && !state.kept_lately
            && state.kept_before == KeptBefore::Nothing
        {
            // Most log-ins: the store need not be asked.
            return;
        }
        let Some(session) = state.session(id) else { return };
        session.out.begin_drain(turn);
        if share.has_anybodys() {
            state.draining = Some(id);
            state.kept_lately = false;
        }
        // The first read is queued behind every write that was called before: none of them is missed.
        let first = self.inner.store.offline(account, share, None, BATCH);
        let (router, cell) = (self.clone(), Arc::clone(cell));
        tokio::spawn(async move {
            let drain = Drain { cell: &cell, id, account, share };
            let outcome = router.drain(&drain, first).await.unwrap_or_else(|source| {
                error!(event = "offline.read_failed", %source, "kept messages could not be delivered");
                Outcome::Failed
            });
            router.finish_drain(&drain, outcome).await;
        });
    }

    /// Messages are kept for whoever comes first, and somebody may be there already.
    pub(crate) fn drain_what_is_kept(&self, cell: &Arc<Cell>, state: &mut State, turn: &mut Turn) {
        if !state.kept_lately || state.draining.is_some() {
            return;
        }
        let may = |session: &&Session| {
            session.presence.is_some() && session.priority >= 0 && session.out.is_alive() && !session.out.is_draining()
        };
        let able = state.sessions.iter().filter(may);
        // Rather one that has a connection.
        if let Some(next) = able.max_by_key(|session| session.out.link().is_some()).map(|session| session.id) {
            self.start_drain(cell, state, next, turn);
        }
    }

    /// What the store holds for a session that is gone is anybody's: `others` tells what becomes of messages that other
    /// sessions got too.
    pub(crate) fn let_go(&self, cell: &Arc<Cell>, gone: SmId, others: Others) {
        let mut state = cell.lock();
        let Some(account) = state.loaded().map(|loaded| loaded.id) else { return };
        note(self.inner.store.release_spool(account, gone, others));
        state.kept_lately = true;
        self.drain_what_is_kept(cell, &mut state, &mut Turn::new());
    }

    async fn drain(
        &self,
        drain: &Drain<'_>,
        first: Pending<Vec<OfflineMessage>>,
    ) -> Result<Outcome, stonechat_store::Error> {
        let Drain { cell, id, account, share } = *drain;
        let mut batch = first.await?;
        loop {
            if let Going::Over = self.turn_of(cell, id).await {
                return Ok(Outcome::Interrupted);
            }
            if batch.is_empty() {
                if !share.has_anybodys() || !std::mem::take(&mut cell.lock().kept_lately) {
                    return Ok(Outcome::Done);
                }
                batch = self.inner.store.offline(account, share, None, BATCH).await?;
                continue;
            }
            let history = cell.lock().session(id).map_or(History::Sent, |session| session.history);
            for run in batch.chunk_by(|one, next| one.archive.is_some() == next.archive.is_some()) {
                let archived = run.first().is_some_and(|message| message.archive.is_some());
                if let (History::Read, true, Some(last)) = (history, archived, run.last()) {
                    self.inner.store.remove_offline(account, share, last.id).await?;
                    continue;
                }
                loop {
                    match self.give(drain, run).await? {
                        Going::On => break,
                        Going::Again => {}
                        Going::Over => return Ok(Outcome::Interrupted),
                    }
                }
            }
            let last = batch.last().map(|message| message.id);
            batch = self.inner.store.offline(account, share, last, BATCH).await?;
        }
    }

    /// Waits until everything that stood in the session's line before the drain has left.
    async fn turn_of(&self, cell: &Cell, id: SessionId) -> Going {
        loop {
            let moved = cell.moved();
            tokio::pin!(moved);
            moved.as_mut().enable();
            match cell.lock().session(id) {
                None => return Going::Over,
                Some(session) if !session.out.is_draining() => return Going::Over,
                Some(session) if session.out.may_drain() => return Going::On,
                Some(_) => {}
            }
            moved.await;
        }
    }

    async fn give(&self, drain: &Drain<'_>, batch: &[OfflineMessage]) -> Result<Going, stonechat_store::Error> {
        let Drain { cell, id, account, share } = *drain;
        let Some(last) = batch.last().map(|message| message.id) else { return Ok(Going::On) };
        // To a session that counts: first the store notes as which stanzas they are sent. Nothing else is sent meanwhile.
        let counts: Option<(SmId, u64)> = {
            let mut state = cell.lock();
            let Some(session) = state.session(id) else { return Ok(Going::Over) };
            session.out.resumable().map(|sm| (sm, session.out.sent().saturating_add(1)))
        };
        if let Some((sm, number)) = counts {
            self.inner.store.give_spool(account, share, last, sm, number).await?;
        }
        let spooled = if counts.is_some() { Spooled::Yes } else { Spooled::No };
        let mut turn = Turn::new();
        let link = {
            let mut state = cell.lock();
            let Some(session) = state.session(id) else { return Ok(Going::Over) };
            match (counts, session.out.resumable()) {
                // It began to count in between: the store is told first.
                (None, Some(_)) => return Ok(Going::Again),
                // It may not be resumed any more: it is about to end, and what it was given is let go with it.
                (Some(_), None) => return Ok(Going::Over),
                _ => {}
            }
            for message in batch {
                let stanza = match Stanza::parse(&message.stanza) {
                    Ok(stanza) => stanza,
                    // What cannot be read any more still has its number.
                    Err(_) => Stanza::message(stonechat_stanza::MessageType::Normal, []),
                };
                let shared = if message.others == Others::Served { Shared::WithOthers } else { Shared::Alone };
                let facts = Facts { at: message.at, archived: message.archive, spooled, shared };
                let item = Item { stanza: delayed(stanza, cell, message.at), facts };
                match session.out.push_drained(item, &mut turn) {
                    Pushed::First | Pushed::Queued => {}
                    Pushed::Overflow | Pushed::Closed => return Ok(Going::Over),
                }
            }
            session.out.link().cloned()
        };
        turn.flush();
        if counts.is_some() {
            return Ok(Going::On);
        }
        let Some(link) = link else { return Ok(Going::Over) };
        if !link.written().await {
            return Ok(Going::Over);
        }
        self.inner.store.remove_offline(account, share, last).await?;
        Ok(Going::On)
    }

    /// Lets out what stands behind a drain that is over, and sees to it that what is kept is not forgotten.
    async fn finish_drain(&self, drain: &Drain<'_>, outcome: Outcome) {
        let Drain { cell, id, account, share } = *drain;
        let numbered = {
            let mut state = cell.lock();
            if state.draining == Some(id) && share.has_anybodys() {
                state.draining = None;
                state.kept_before = if outcome == Outcome::Done { KeptBefore::Nothing } else { KeptBefore::Unknown };
                // When the store fails, the next presence tries again.
                state.kept_lately |= outcome == Outcome::Interrupted;
            }
            let ticket = state.next_ticket();
            let mut turn = Turn::new();
            state.session(id).and_then(|session| {
                // What it was to be given is let go with it, when that is more than it has in its line.
                session.inherits = if outcome == Outcome::Done { Inherits::Nothing } else { Inherits::Own };
                let numbers = session.out.end_drain(ticket, &mut turn);
                let sm = session.out.holder().filter(|_| !numbers.is_empty())?;
                Some((ticket, self.inner.store.number_spool(account, sm, numbers)))
            })
        };
        if let Some((ticket, written)) = numbered {
            if let Err(source) = written.await {
                error!(event = "spool.write_failed", %source, "the numbers of what was sent were not noted");
            }
            cell.lock().release(ticket, &mut Turn::new());
        }
        cell.announce_moved();
        self.drain_what_is_kept(cell, &mut cell.lock(), &mut Turn::new());
    }
}

/// Sees to it that a write of the spool which nothing has to wait for does not fail unseen. Who wants to wait all the same is
/// told of its end.
pub(crate) fn note(written: Pending<()>) -> oneshot::Receiver<()> {
    let (done, end) = oneshot::channel();
    tokio::spawn(async move {
        if let Err(source) = written.await {
            error!(event = "spool.write_failed", %source, "what is kept for a session could not be changed");
        }
        // Mostly nobody waits.
        let _ = done.send(());
    });
    end
}
