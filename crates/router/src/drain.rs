//! Messages that were kept while the account was away, delivered to the first session that may have them (XEP-0160).
//!
//! They go in order and before anything newer: the session's way out keeps a place for them in its line. A message leaves the
//! store when the client has it: when it acknowledged it, if it counts (XEP-0198), or when the socket has taken it. So an
//! interrupted delivery is repeated and never lost; to a client that counts it is not even repeated, because the store knows
//! as which stanza of which session each message was sent before it is sent.

use crate::account::{Cell, History, State};
use crate::outflow::{Archived, Facts, Item, Shared, Spooled};
use crate::resumption::delayed;
use crate::{Pushed, Router, SessionId, Turn};
use std::sync::Arc;
use stonechat_stanza::Stanza;
use stonechat_store::{AccountId, OfflineMessage, Others, Pending, SmId};
use tracing::error;

/// Kept messages delivered between two waits.
const BATCH: usize = 64;

/// Whether the drain goes on.
enum Going {
    On,
    /// The session is gone, or its connection.
    Over,
}

impl Router {
    /// Begins to deliver the kept messages to one session.
    pub(crate) fn start_drain(&self, cell: &Arc<Cell>, state: &mut State, id: SessionId, turn: &mut Turn) {
        let Some(account) = state.loaded().map(|loaded| loaded.id) else { return };
        let Some(session) = state.session(id) else { return };
        session.out.begin_drain(turn);
        let inherited = session.inherits.take();
        state.draining = Some(id);
        state.kept_lately = false;
        let (router, cell) = (self.clone(), Arc::clone(cell));
        // What the store held for the session that this one takes the place of is read with the rest, and by nobody else:
        // there is one drain at a time.
        let released = inherited.map(|gone| self.inner.store.release_spool(account, gone, Others::Served));
        // The first read is queued behind every write that was called before: none of them is missed.
        let first = self.inner.store.offline(account, None, BATCH);
        tokio::spawn(async move {
            if let Some(Err(source)) = futures_util::future::OptionFuture::from(released).await {
                error!(event = "spool.write_failed", %source, "what a lost session was given could not be dealt out");
            }
            if let Err(source) = router.drain(&cell, id, account, first).await {
                error!(event = "offline.read_failed", %source, "kept messages could not be delivered");
                router.finish_drain(&cell, id);
            }
            router.drain_next(&cell);
        });
    }

    /// Delivers to another session that became available meanwhile what is kept for it alone.
    fn drain_next(&self, cell: &Arc<Cell>) {
        let mut turn = Turn::new();
        let mut state = cell.lock();
        if state.draining.is_some() {
            return;
        }
        let waits = |session: &&crate::account::Session| {
            session.inherits.is_some() && session.presence.is_some() && session.priority >= 0
        };
        if let Some(next) = state.sessions.iter().find(waits).map(|session| session.id) {
            self.start_drain(cell, &mut state, next, &mut turn);
        }
    }

    async fn drain(
        &self,
        cell: &Arc<Cell>,
        id: SessionId,
        account: AccountId,
        first: Pending<Vec<OfflineMessage>>,
    ) -> Result<(), stonechat_store::Error> {
        let mut batch = first.await?;
        loop {
            if let Going::Over = self.turn_of(cell, id).await {
                break;
            }
            if batch.is_empty() {
                if self.is_drained(cell, id) {
                    return Ok(());
                }
                batch = self.inner.store.offline(account, None, BATCH).await?;
                continue;
            }
            let history = cell.lock().session(id).map_or(History::Sent, |session| session.history);
            let mut given = Going::On;
            for run in batch.chunk_by(|one, next| one.archive.is_some() == next.archive.is_some()) {
                let archived = run.first().is_some_and(|message| message.archive.is_some());
                match (history, archived, run.last()) {
                    (History::Read, true, Some(last)) => self.inner.store.remove_offline(account, last.id).await?,
                    _ => given = self.give(cell, id, account, run).await?,
                }
                if let Going::Over = given {
                    break;
                }
            }
            let Going::On = given else { break };
            let last = batch.last().map(|message| message.id);
            batch = self.inner.store.offline(account, last, BATCH).await?;
        }
        self.finish_drain(cell, id);
        Ok(())
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

    async fn give(
        &self,
        cell: &Arc<Cell>,
        id: SessionId,
        account: AccountId,
        batch: &[OfflineMessage],
    ) -> Result<Going, stonechat_store::Error> {
        let Some(last) = batch.last().map(|message| message.id) else { return Ok(Going::On) };
        // To a session that counts: first the store notes as which stanzas they are sent. Nothing else is sent meanwhile.
        let counts: Option<(SmId, u64)> = {
            let mut state = cell.lock();
            let Some(session) = state.session(id) else { return Ok(Going::Over) };
            session.out.resumable().map(|sm| (sm, session.out.sent().saturating_add(1)))
        };
        if let Some((sm, number)) = counts {
            self.inner.store.give_spool(account, last, sm, number).await?;
        }
        let spooled = if counts.is_some() { Spooled::Yes } else { Spooled::No };
        let mut turn = Turn::new();
        let link = {
            let mut state = cell.lock();
            let Some(session) = state.session(id) else { return Ok(Going::Over) };
            if session.out.resumable() != counts.map(|(sm, _)| sm) {
                // It began to count in between: it is not given them under numbers that are not its own.
                return Ok(Going::Over);
            }
            for message in batch {
                let stanza = match Stanza::parse(&message.stanza) {
                    Ok(stanza) => stanza,
                    // What cannot be read any more still has its number.
                    Err(_) => Stanza::message(stonechat_stanza::MessageType::Normal, []),
                };
                let archived = if message.archive.is_some() { Archived::Yes } else { Archived::No };
                let facts = Facts { at: message.at, archived, spooled, shared: Shared::Alone };
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
        self.inner.store.remove_offline(account, last).await?;
        Ok(Going::On)
    }

    /// Ends the drain unless something was kept while it looked.
    fn is_drained(&self, cell: &Cell, id: SessionId) -> bool {
        let mut state = cell.lock();
        if std::mem::take(&mut state.kept_lately) {
            return false;
        }
        end(&mut state, id, &mut Turn::new());
        true
    }

    fn finish_drain(&self, cell: &Cell, id: SessionId) {
        end(&mut cell.lock(), id, &mut Turn::new());
    }
}

fn end(state: &mut State, id: SessionId, turn: &mut Turn) {
    if state.draining == Some(id) {
        state.draining = None;
    }
    if let Some(session) = state.session(id) {
        session.out.end_drain(turn);
    }
}
