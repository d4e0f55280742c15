//! Sessions without a connection (XEP-0198 §5): they wait, are resumed by another connection, or end.
//!
//! A waiting session is an ordinary session of its account: it keeps its presence, its copies, its place in every list; only
//! its way out leads nowhere for now. Whoever resumes it takes over both directions: the way out with what was not
//! acknowledged, and the writes that what was received still waits for, so that the count it is told is the truth.
//!
//! At an orderly end of the server waiting sessions are saved, and resume as if nothing had happened. After a kill they are
//! gone; the client is told how many of its stanzas were committed, gets what was kept for it, and sends the rest again.
//!
//! Deliberately absent: when to resume (the client says so), and the wire (crates/stream).

use crate::account::{Cell, History, Inherits, LeftBehind, Session, State};
use crate::drain::note;
use crate::effects::Effects;
use crate::outflow::{Acknowledged, Attention, Facts, Item, Outflow, Shared, Spooled};
use crate::revocations::Revoked;
use crate::session::Inbound;
use crate::{ClientSession, Commits, Delivery, Memory, Outbox, Router, SessionFacts, SessionId, Turn};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stonechat_im::classify::{Classification, IqOrigin, message_type};
use stonechat_im::plan::{Archive, Carbons, LeftoverPlan, Others, plan_leftover, plan_leftover_iq};
use stonechat_im::presence::DirectedPresence;
use stonechat_jid::{BareJid, FullJid, Jid};
use stonechat_stanza::{Kind, Stanza, StanzaType, StreamCondition, StreamError};
use stonechat_store::{AccountId, ArchiveId, Claim, Half, Holder, Place, SavedSession, SmId, SpoolRow};
use tracing::{debug, error, warn};

/// How long a session waits to be resumed.
pub const RESUMPTION: Duration = Duration::from_secs(600);
/// How long the connection that has a session is given to let go of it.
const HANDOVER: Duration = Duration::from_secs(10);

/// Whether a session stays without its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    Yes,
    No,
}

/// Whether sessions of an account were saved.
pub(crate) enum Saves {
    Some,
    None,
}

/// Why a session was not resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotResumed {
    /// It is not known, not this account's, or gone; so many of its stanzas are known to have been handled (XEP-0198 §5).
    Unknown(Option<u32>),
    /// The client claims to have handled more than it was sent.
    TooMuch {
        /// So it says.
        handled: u32,
        /// So many were sent.
        sent: u32,
    },
}

/// What becomes of what the store holds for a session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Nobody needs it any more, or others hold it.
    Forgotten,
    /// It is for whoever comes first.
    Released,
}

/// A message that a session leaves behind, for the spool.
fn spool_row(item: &Item, holder: Holder) -> SpoolRow {
    SpoolRow { at: item.facts.at, stanza: item.stanza.to_xml(), archive: item.facts.archived, holder }
}

/// The sessions of an account that wait to be resumed.
fn waiting(cell: &Cell) -> Vec<SessionId> {
    let state = cell.lock();
    state.sessions.iter().filter(|session| session.left_behind.is_some()).map(|session| session.id).collect()
}

impl Router {
    /// A session's connection is lost. `Waits::No` when the session is not there any more or must not stay.
    pub(crate) fn hibernate(&self, cell: &Arc<Cell>, id: SessionId, received: u32, commits: Commits) -> Waits {
        let at = self.inner.clock.monotonic().saturating_duration_since(self.inner.started);
        {
            let mut state = cell.lock();
            if state.doomed {
                return Waits::No;
            }
            let Some(session) = state.session(id) else { return Waits::No };
            if session.out.resumable().is_none() {
                return Waits::No;
            }
            session.out.detach();
            session.left_behind = Some(LeftBehind { received, commits, at });
            if session.history == History::Sent
                && let Some(id) = session.out.holder()
            {
                let held = session.out.hold_archived();
                self.hold(&mut state, id, &held);
            }
        }
        self.expire_later(cell, id, at, RESUMPTION);
        Waits::Yes
    }

    /// The store is to hold messages for a session that it has in the account's archive only (see `Kept::WhileWaiting`).
    fn hold(&self, state: &mut State, id: SmId, held: &[(u64, Item)]) {
        let Some(account) = state.loaded().map(|loaded| loaded.id) else { return };
        if held.is_empty() {
            return;
        }
        let row = |(number, item): &(u64, Item)| {
            let others = match item.facts.shared {
                Shared::WithOthers | Shared::Copied => stonechat_store::Others::Served,
                Shared::Alone => stonechat_store::Others::None,
            };
            spool_row(item, Holder::Session { id, place: Place::Sent(*number), others })
        };
        let offline = self.inner.settings.load().offline;
        let half = Half { spool: held.iter().map(row).collect(), ..Half::default() };
        let written = self.inner.store.record(account, half, (offline.messages, offline.bytes));
        tokio::spawn(async move {
            if let Err(source) = written.await {
                error!(event = "spool.write_failed", %source, "what a lost connection may not have taken is in the archive only");
            }
        });
    }

    fn expire_later(&self, cell: &Arc<Cell>, id: SessionId, at: Duration, after: Duration) {
        let (router, cell) = (self.clone(), Arc::clone(cell));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let same = {
                let mut state = cell.lock();
                state.session(id).and_then(|session| session.left_behind.as_ref()).is_some_and(|left| left.at == at)
            };
            if same {
                debug!(event = "session.expired", account = %cell.jid, "a session was not resumed in time");
                router.expire(&cell, id);
            }
        });
    }

    /// A session that waits ends. One that has a connection is left to that.
    pub(crate) fn expire(&self, cell: &Arc<Cell>, id: SessionId) {
        let session = {
            let mut state = cell.lock();
            let waits = |session: &Session| session.id == id && session.left_behind.is_some();
            let Some(index) = state.sessions.iter().position(waits) else { return };
            state.sessions.remove(index)
        };
        self.left(cell, session, &mut Turn::new());
    }

    /// Ends the sessions that were ended while they had no connection.
    pub(crate) fn end_abandoned(&self, cell: &Arc<Cell>) {
        for id in cell.abandoned() {
            self.expire(cell, id);
        }
    }

    /// Another connection resumes a session. What was not acknowledged is pushed to `outbox` before this returns: the caller
    /// sees to it that the answer goes first.
    ///
    /// # Errors
    /// See [`NotResumed`].
    pub async fn resume(
        &self,
        account: &BareJid,
        previous: &str,
        handled: u32,
        outbox: Arc<dyn Outbox>,
        facts: SessionFacts,
    ) -> Result<(ClientSession, u32), NotResumed> {
        let Some(previous) = SmId::parse(previous) else { return Err(NotResumed::Unknown(None)) };
        let entrance = self.enter().await;
        let Some(cell) = self.loaded(account).await else { return Err(NotResumed::Unknown(None)) };
        let deadline = tokio::time::Instant::now() + HANDOVER;
        let (id, mut left) = loop {
            // Before the look, so that nothing is missed between the look and the wait.
            let moved = cell.moved();
            tokio::pin!(moved);
            moved.as_mut().enable();
            match take_left(&cell, previous) {
                Found::Left(id, left) => break (id, left),
                Found::Nothing => return Err(self.not_there(&cell, previous, handled).await),
                // It has a connection: that one is told (§5), and lets go.
                Found::Held => {
                    if tokio::time::timeout_at(deadline, moved).await.is_err() {
                        warn!(event = "session.not_let_go", account = %cell.jid, "a connection did not let go of its session");
                        return Err(NotResumed::Unknown(None));
                    }
                }
            }
        };
        // The count is the truth only when everything that was received is safe or was answered.
        left.commits.settle().await;
        let LeftBehind { received, commits, .. } = left;
        let mut turn = Turn::new();
        let resumed = {
            let mut state = cell.lock();
            let account = state.loaded_mut().map(|loaded| {
                loaded.unseen = 0;
                loaded.id
            });
            let Some(session) = state.session(id) else { return Err(NotResumed::Unknown(Some(received))) };
            let revoked = |start| self.revoked_since(start, &cell.jid, facts.device.as_deref()) == Revoked::Yes;
            // Whoever revokes or kills notes it first and looks at the session then: either we see it here, or our
            // connection is ended with the session.
            if session.out.resumable() != Some(previous) || facts.login.is_some_and(revoked) {
                Err(NotResumed::Unknown(None))
            } else {
                match (session.out.acknowledge(handled, &mut turn), account) {
                    (Acknowledged::TooMuch(sent), _) => Err(NotResumed::TooMuch { handled, sent }),
                    (acknowledged, account) => {
                        if let (Acknowledged::Spooled(id, number), Some(account)) = (acknowledged, account) {
                            note(self.inner.store.acknowledge_spool(account, id, number));
                        }
                        session.left_behind = None;
                        session.facts = facts;
                        let jid = session.jid.clone();
                        session.out.attach(outbox, &mut turn);
                        Ok(jid)
                    }
                }
            }
        };
        match resumed {
            Ok(jid) => {
                let session = ClientSession {
                    router: self.clone(),
                    cell,
                    id,
                    jid,
                    commits,
                    counting: Inbound::Counting { received, id: Some(previous) },
                    acknowledgement: None,
                    entrance: Some(entrance),
                };
                Ok((session, received))
            }
            Err(refusal) => {
                // It stays, for a client that counts right or may log in.
                let at = self.inner.clock.monotonic().saturating_duration_since(self.inner.started);
                if let Some(session) = cell.lock().session(id) {
                    session.left_behind = Some(LeftBehind { received, commits, at });
                }
                self.expire_later(&cell, id, at, RESUMPTION);
                self.end_abandoned(&cell);
                Err(refusal)
            }
        }
    }

    /// The session is gone: what the client handled of it is forgotten, the rest waits for the next presence, and the client
    /// is told what is known of its own stanzas.
    async fn not_there(&self, cell: &Arc<Cell>, id: SmId, handled: u32) -> NotResumed {
        let Some(account) = cell.account_id() else { return NotResumed::Unknown(None) };
        let store = &self.inner.store;
        // A session that outlived 2^32 stanzas and a kill is shown some of them again. The rest stays for the session that
        // this client is about to bind in its place: it is no other device's.
        let acknowledged = store.claim_spool(account, id, u64::from(handled));
        let count = store.committed_count(account, id);
        let (acknowledged, count) = (acknowledged.await, count.await);
        if let Err(source) = acknowledged {
            error!(event = "spool.write_failed", %source, "what a lost session had could not be forgotten");
        }
        NotResumed::Unknown(count.unwrap_or_else(|source| {
            error!(event = "spool.read_failed", %source, "the count of a lost session could not be read");
            None
        }))
    }

    /// A client wanted a session back that is gone, and then bound none in its place: what the store holds for it is for
    /// whoever comes first.
    pub async fn give_up(&self, account: &BareJid, gone: &str) {
        if let (Some(gone), Some(cell)) = (SmId::parse(gone), self.loaded(account).await) {
            self.let_go(&cell, gone, stonechat_store::Others::Served);
        }
    }

    /// What an ended session was sent and did not acknowledge, and what it was not even sent: the plan says what becomes of
    /// each (XEP-0198 §4).
    pub(crate) fn deal_out(&self, cell: &Arc<Cell>, session: Session, turn: &mut Turn, effects: &mut Effects) {
        let Session { out, inherits, .. } = session;
        let holder = out.holder();
        // In the middle of a drain the store knows better than the line what is still to come, and in which order.
        let by_drain = out.is_draining() || inherits == Inherits::Own;
        let leftovers = out.into_leftovers();
        let mut guard = cell.lock();
        let state = &mut *guard;
        let account = state.loaded().map(|loaded| loaded.id);
        let limits = {
            let offline = self.inner.settings.load().offline;
            (offline.messages, offline.bytes)
        };
        let mut held = if by_drain { Held::Released } else { Held::Forgotten };
        let mut moved = Vec::new();
        let gate = state.next_ticket();
        for item in leftovers {
            match item.stanza.kind() {
                Kind::Presence => {}
                Kind::Iq => {
                    let StanzaType::Iq(iq_type) = item.stanza.stanza_type() else { continue };
                    let plan = plan_leftover_iq(iq_type, IqOrigin::of(&item.stanza));
                    if let LeftoverPlan::Bounce(condition) = plan {
                        effects.bounce(&item.stanza, &condition.into());
                    }
                }
                Kind::Message => {
                    let archive = if item.facts.archived.is_some() { Archive::Stored } else { Archive::Skipped };
                    let others = if item.facts.shared == Shared::Alone { Others::None } else { Others::Served };
                    let states = crate::route::session_states(&state.sessions);
                    let stanza = &item.stanza;
                    let is_held = item.facts.spooled != Spooled::No;
                    match plan_leftover(message_type(stanza), Classification::of(stanza), archive, others, &states) {
                        LeftoverPlan::Nothing => {}
                        LeftoverPlan::Bounce(condition) => effects.bounce(stanza, &condition.into()),
                        LeftoverPlan::Deliver(_) if is_held && by_drain => held = Held::Released,
                        LeftoverPlan::Deliver(indices) => {
                            let late = delayed(stanza.clone(), cell, item.facts.at);
                            let others = match indices.len() {
                                0 | 1 => stonechat_store::Others::None,
                                _ => stonechat_store::Others::Served,
                            };
                            for index in indices {
                                let Some(session) = state.sessions.get_mut(index) else { continue };
                                // What the store held for the one it holds for the other before it is forgotten.
                                let place = if is_held { session.out.next_place() } else { None };
                                if let Some((id, place)) = place {
                                    let holder = Holder::Session { id, place, others };
                                    moved.push(spool_row(&item, holder));
                                }
                                let spooled = place.map_or(Spooled::No, |(_, place)| Spooled::from(place));
                                let gate = place.map(|_| gate);
                                session.out.place(gate, Facts { spooled, ..item.facts }, Delivery::of(&late), turn);
                            }
                        }
                        // The store has it for the session, and gives it to anybody when the session is released.
                        LeftoverPlan::Offline if is_held => held = Held::Released,
                        LeftoverPlan::Offline => {
                            if let Some(account) = account {
                                let half = Half { spool: vec![spool_row(&item, Holder::Anybody)], ..Half::default() };
                                let written = self.inner.store.record(account, half, limits);
                                state.kept_lately = true;
                                tokio::spawn(async move {
                                    if let Err(source) = written.await {
                                        error!(event = "message.write_failed", %source, "what a session left behind was not kept");
                                    }
                                });
                            }
                        }
                    }
                }
            }
        }
        let Some(account) = account else { return };
        if !moved.is_empty() {
            // They had room before.
            let half = Half { spool: moved, ..Half::default() };
            let written = self.inner.store.record(account, half, (u64::MAX, u64::MAX));
            let to = Arc::clone(cell);
            tokio::spawn(async move {
                if let Err(source) = written.await {
                    error!(event = "message.write_failed", %source, "what a session left behind is not kept for another");
                }
                to.lock().release(gate, &mut Turn::new());
                to.announce_moved();
            });
        }
        drop(guard);
        match (holder, held) {
            (Some(id), Held::Forgotten) => drop(note(self.inner.store.forget_spool(account, id))),
            (Some(id), Held::Released) => self.let_go(cell, id, stonechat_store::Others::None),
            (None, _) => {}
        }
    }

    /// Saves the sessions that wait, at an orderly end: no connection is left, no commit outstanding.
    ///
    /// # Errors
    /// The store's, for the first account whose sessions could not be saved; the others are tried all the same.
    pub async fn save_sessions(&self) -> Result<(), stonechat_store::Error> {
        // All are settled before any is saved: what one of them sent may still be on its way to another.
        let cells = self.inner.shards.all();
        for cell in &cells {
            for id in waiting(cell) {
                let left = cell.lock().session(id).and_then(|session| session.left_behind.take());
                let Some(mut left) = left else { continue };
                left.commits.settle().await;
                if let Some(session) = cell.lock().session(id) {
                    session.left_behind = Some(left);
                }
            }
        }
        for cell in &cells {
            if tokio::time::timeout(HANDOVER, drained(cell)).await.is_err() {
                warn!(event = "session.not_drained", account = %cell.jid, "a session is saved without what is kept for it");
            }
        }
        self.write_departures().await;
        let mut result = Ok(());
        for cell in cells {
            let Some(account) = cell.account_id() else { continue };
            let saved: Vec<_> = {
                let state = cell.lock();
                state.sessions.iter().filter_map(|session| self.saved(session)).collect()
            };
            if !saved.is_empty()
                && let Err(source) = self.inner.store.save_sessions(account, saved).await
            {
                result = result.and(Err(source));
            }
        }
        result
    }

    fn saved(&self, session: &Session) -> Option<SavedSession> {
        let id = session.out.resumable()?;
        let left = session.left_behind.as_ref()?;
        let waited = self.inner.clock.monotonic().saturating_duration_since(self.inner.started).saturating_sub(left.at);
        let until = self.inner.clock.unix().saturating_add(RESUMPTION.saturating_sub(waited));
        let (unacknowledged, line) = session.out.snapshot();
        let state = Saved {
            resource: session.jid.as_jid().resource().unwrap_or_default().to_owned(),
            received: left.received,
            sent: session.out.sent(),
            unacknowledged: unacknowledged.into_iter().map(SavedItem::of).collect(),
            line: line.into_iter().map(SavedItem::of).collect(),
            presence: session.presence.as_ref().map(xml),
            priority: session.priority,
            carbons: session.carbons == Carbons::Enabled,
            interested: session.interested,
            told_of_blocks: session.told_of_blocks,
            heir: session.inherits != Inherits::Nothing,
            inactive: session.out.attention() == Attention::Inactive,
            directed: session.directed.iter().map(|jid| jid.as_str().to_owned()).collect(),
            since: session.since,
            connection: session.facts.connection.clone(),
            device: session.facts.device.clone(),
        };
        let state = serde_json::to_vec(&state).ok()?;
        Some(SavedSession { id, until: u64::try_from(until.as_millis()).unwrap_or(u64::MAX), state })
    }

    /// Puts saved sessions back into an account that has just been loaded.
    pub(crate) fn restore(&self, cell: &Arc<Cell>, saved: Vec<SavedSession>) {
        let now = self.millis();
        let at = self.inner.clock.monotonic().saturating_duration_since(self.inner.started);
        for session in saved {
            let remaining = Duration::from_millis(session.until.saturating_sub(now)).min(RESUMPTION);
            let id = SessionId(self.inner.next_session.fetch_add(1, Ordering::Relaxed));
            match restored(cell, &session, id, at, self.memory()) {
                Some(restored) => {
                    let id = restored.id;
                    cell.lock().sessions.push(restored);
                    self.expire_later(cell, id, at, remaining);
                }
                None => warn!(event = "session.unreadable", account = %cell.jid, "a saved session could not be read"),
            }
        }
    }

    /// Loads the accounts whose sessions were saved, so that those that nobody resumes end in time. Called once, at the
    /// start.
    ///
    /// # Errors
    /// The store's.
    pub async fn restore_sessions(&self) -> Result<(), stonechat_store::Error> {
        let accounts = self.inner.store.accounts_with_sessions().await?;
        self.lock_saved().extend(accounts.iter().cloned());
        for jid in accounts {
            self.loaded(&jid).await;
        }
        Ok(())
    }

    /// After a kill the store holds messages for sessions that nobody knows any more. Their clients have the time that a
    /// session waits to come and say what they have of them; then the messages are anybody's.
    pub(crate) fn release_later(
        &self,
        jid: &BareJid,
        account: AccountId,
        holders: Vec<(SmId, Claim)>,
        restored: &[SavedSession],
    ) {
        let mut open = Vec::new();
        for (id, claim) in holders {
            match claim {
                _ if restored.iter().any(|session| session.id == id) => {}
                // Its client was told that it is gone, and the server died before that bound another.
                Claim::Made => {
                    note(self.inner.store.release_spool(account, id, stonechat_store::Others::None));
                }
                Claim::Open => open.push(id),
            }
        }
        if open.is_empty() {
            return;
        }
        let (router, jid) = (self.clone(), jid.clone());
        tokio::spawn(async move {
            tokio::time::sleep(RESUMPTION).await;
            let Some(cell) = router.loaded(&jid).await else { return };
            for id in open {
                router.let_go(&cell, id, stonechat_store::Others::None);
            }
        });
    }

    fn lock_saved(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<BareJid>> {
        self.inner.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether an account that is loaded now had sessions saved: asked once.
    pub(crate) fn has_saved_sessions(&self, jid: &BareJid) -> Saves {
        if self.lock_saved().remove(jid) { Saves::Some } else { Saves::None }
    }
}

/// Resolves when no session that waits is being given what was kept.
async fn drained(cell: &Cell) {
    loop {
        let moved = cell.moved();
        tokio::pin!(moved);
        moved.as_mut().enable();
        let drains = |session: &Session| session.left_behind.is_some() && session.out.is_draining();
        if !cell.lock().sessions.iter().any(drains) {
            return;
        }
        moved.await;
    }
}

enum Found {
    Left(SessionId, LeftBehind),
    Held,
    Nothing,
}

/// Takes what a waiting session's connection left behind; asks a connection that has it to let go.
fn take_left(cell: &Cell, previous: SmId) -> Found {
    let mut state = cell.lock();
    let Some(session) = state.sessions.iter_mut().find(|session| session.out.resumable() == Some(previous)) else {
        return Found::Nothing;
    };
    match session.left_behind.take() {
        Some(left) => Found::Left(session.id, left),
        None => {
            session.out.close(Some(
                StreamError::new(StreamCondition::Conflict).with_text("the session was resumed by another connection"),
            ));
            Found::Held
        }
    }
}

/// A stanza as it is delivered late (XEP-0203), by the account's domain.
pub(crate) fn delayed(stanza: Stanza, cell: &Cell, at: u64) -> Stanza {
    let delay = stonechat_xml::Element::new("delay", stonechat_stanza::ns::DELAY)
        .with_attribute("from", cell.jid.domain())
        .with_attribute("stamp", crate::time::utc(at));
    stanza.with_appended(delay)
}

/// A session as it is saved. Stanzas are XML that stands by itself.
#[derive(Serialize, Deserialize)]
struct Saved {
    resource: String,
    received: u32,
    sent: u64,
    unacknowledged: Vec<SavedItem>,
    line: Vec<SavedItem>,
    presence: Option<String>,
    priority: i8,
    carbons: bool,
    interested: bool,
    told_of_blocks: bool,
    /// It inherited what it has not asked for yet.
    #[serde(default)]
    heir: bool,
    inactive: bool,
    directed: Vec<String>,
    since: Duration,
    connection: String,
    device: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SavedItem {
    stanza: String,
    at: u64,
    archived: Option<u64>,
    spooled: bool,
    shared: Shared,
}

impl SavedItem {
    fn of(item: &Item) -> SavedItem {
        SavedItem {
            stanza: xml(&item.stanza),
            at: item.facts.at,
            archived: item.facts.archived.map(|id| id.0),
            spooled: item.facts.spooled != Spooled::No,
            shared: item.facts.shared,
        }
    }

    fn item(&self) -> Option<Item> {
        let facts = Facts {
            at: self.at,
            archived: self.archived.map(ArchiveId),
            spooled: if self.spooled { Spooled::Yes } else { Spooled::No },
            shared: self.shared,
        };
        Some(Item { stanza: Stanza::parse(self.stanza.as_bytes()).ok()?, facts })
    }
}

fn xml(stanza: &Stanza) -> String {
    String::from_utf8(stanza.to_xml()).unwrap_or_default()
}

fn restored(cell: &Cell, saved: &SavedSession, id: SessionId, at: Duration, memory: &Arc<Memory>) -> Option<Session> {
    let state: Saved = serde_json::from_slice(&saved.state).ok()?;
    let jid: FullJid = cell.jid.with_resource(&state.resource, stonechat_jid::Level::Routing).ok()?;
    let attention = if state.inactive { Attention::Inactive } else { Attention::Active };
    let items = |items: &[SavedItem]| items.iter().filter_map(SavedItem::item).collect::<Vec<_>>();
    let mut out = Outflow::restored(saved.id, state.sent, items(&state.unacknowledged), attention, memory);
    for item in items(&state.line) {
        out.place(None, item.facts, Delivery::of(&item.stanza), &mut Turn::new());
    }
    let mut directed = DirectedPresence::default();
    for to in state.directed.iter().filter_map(|to| Jid::parse(to).ok()) {
        // It was within the bound when it was saved.
        let _ = directed.available(&to);
    }
    Some(Session {
        id,
        jid,
        out,
        facts: SessionFacts {
            connection: state.connection,
            device: state.device,
            instead_of: None,
            counts: None,
            login: None,
        },
        since: state.since,
        carbons: if state.carbons { Carbons::Enabled } else { Carbons::Disabled },
        history: History::Sent,
        inherits: if state.heir { Inherits::Own } else { Inherits::Nothing },
        left_behind: Some(LeftBehind { received: state.received, commits: Commits::new(), at }),
        presence: state.presence.and_then(|xml| Stanza::parse(xml.as_bytes()).ok()),
        priority: state.priority,
        interested: state.interested,
        told_of_blocks: state.told_of_blocks,
        directed,
    })
}
