//! One account in memory: its sessions and its roster behind one short critical section.
//!
//! An account is loaded when something is first addressed to it and stays while it has sessions or was used lately.
//! Stanzas that arrive while it loads wait in order, within a bound.
//!
//! A session belongs to the account, not to its connection: when the connection is lost and the session may be resumed
//! (XEP-0198), it stays here with its presence and its way out, [`crate::outflow`].
//!
//! Lock order: a shard's lock, then nothing; a cell's lock, then outboxes' locks. Two cells are never locked at once.

use crate::archive::{ArchivePreferences, Covered, covers};
use crate::messages::Arrival;
use crate::outflow::{Outflow, Ticket};
use crate::session::too_many_sessions;
use crate::{
    BindError, Commits, Killed, Outbox, Pushed, Router, SessionFacts, SessionId, SessionStanding, SessionView, Turn,
};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stonechat_im::plan::Carbons;
use stonechat_im::presence::DirectedPresence;
use stonechat_im::roster::RosterItem;
use stonechat_jid::{BareJid, FullJid, Jid};
use stonechat_stanza::{Stanza, StreamCondition, StreamError, ns};
use stonechat_store::{AccountId, ArchiveId, PushRegistration, Reference, Resident, SmId};
use stonechat_xml::Element;
use tokio::sync::{Notify, oneshot};

const SHARDS: usize = 64;
/// Stanzas that may wait for one account to load; a load is one read of the store.
const MAX_WAITING: usize = 512;
/// How long an account without sessions stays loaded after its last use.
const IDLE: Duration = Duration::from_secs(300);
/// How long it is remembered that a name is nobody's: whoever addresses many names must not fill the memory with them.
const IDLE_NOBODY: Duration = Duration::from_secs(5);

/// The accounts in memory, in shards so that connections on different cores seldom meet.
pub(crate) struct Shards {
    hasher: foldhash::quality::RandomState,
    shards: Vec<Mutex<HashMap<BareJid, Arc<Cell>, foldhash::quality::RandomState>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in one step must not take the account with it: each step leaves the state consistent before it can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shards {
    pub(crate) fn new() -> Self {
        let hasher = foldhash::quality::RandomState::default();
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::with_hasher(hasher.clone()))).collect();
        Shards { hasher, shards }
    }

    #[expect(clippy::indexing_slicing, reason = "the index is reduced modulo the length")]
    fn shard(&self, jid: &BareJid) -> MutexGuard<'_, HashMap<BareJid, Arc<Cell>, foldhash::quality::RandomState>> {
        let index = self.hasher.hash_one(jid) as usize % SHARDS;
        lock(&self.shards[index])
    }

    pub(crate) fn find(&self, jid: &BareJid) -> Option<Arc<Cell>> {
        self.shard(jid).get(jid).cloned()
    }

    /// The cell, and whether it was made just now (and must be loaded).
    pub(crate) fn find_or_insert(&self, jid: &BareJid) -> (Arc<Cell>, bool) {
        let mut shard = self.shard(jid);
        if let Some(cell) = shard.get(jid) {
            return (Arc::clone(cell), false);
        }
        let cell = Arc::new(Cell::new(jid.clone(), self.hasher.hash_one(jid) as usize));
        shard.insert(jid.clone(), Arc::clone(&cell));
        (cell, true)
    }

    /// Takes a cell out, whatever its state: the next use loads the account anew.
    pub(crate) fn forget(&self, jid: &BareJid) -> Option<Arc<Cell>> {
        self.shard(jid).remove(jid)
    }

    /// Takes a cell out unless it has sessions.
    pub(crate) fn forget_idle(&self, jid: &BareJid) {
        let mut shard = self.shard(jid);
        if shard.get(jid).is_some_and(|cell| cell.lock().sessions.is_empty()) {
            shard.remove(jid);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Cell>> {
        self.shards.iter().flat_map(|shard| lock(shard).values().cloned().collect::<Vec<_>>()).collect()
    }

    pub(crate) fn sweep(&self, now: Instant) {
        self.take_out(|state| state.is_idle(now));
    }

    /// Takes out the cells that have no sessions, however lately they were used.
    pub(crate) fn take_out_unused(&self) {
        self.take_out(|state| state.sessions.is_empty() && !matches!(state.load, Load::Loading(_)));
    }

    fn take_out(&self, is_out: impl Fn(&State) -> bool) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.retain(|_, cell| {
                // Somebody holds the cell and may be about to use it: keep it, or two cells of one account could live.
                Arc::strong_count(cell) > 1 || !is_out(&cell.lock())
            });
            // The table of many that are gone is given back too.
            if shard.capacity() > shard.len().saturating_mul(4) {
                shard.shrink_to_fit();
            }
        }
    }
}

/// One account's cell.
pub(crate) struct Cell {
    pub(crate) jid: BareJid,
    state: Mutex<State>,
    /// Something that somebody waits for may have happened: the account is loaded, a session was left by its connection, or
    /// a drain's turn came.
    moved: Notify,
    lane: usize,
}

/// A stanza that waits for the account to load, and who wants to know when it is safe.
pub(crate) struct Waiting {
    pub(crate) arrival: Arrival,
    pub(crate) done: oneshot::Sender<()>,
}

pub(crate) enum Load {
    Loading(VecDeque<Waiting>),
    /// The store could not be read; the next use tries again.
    Failed,
    Absent,
    Present(Box<Loaded>),
}

/// What is kept in memory of an account that exists.
pub(crate) struct Loaded {
    pub(crate) id: AccountId,
    pub(crate) roster_version: u64,
    pub(crate) horizon: u64,
    pub(crate) roster: BTreeMap<BareJid, RosterItem>,
    pub(crate) removed: Vec<(BareJid, u64)>,
    /// The newest id of its archive.
    pub(crate) last_archived: Option<ArchiveId>,
    /// Marks of recent messages, oldest first.
    pub(crate) recent: VecDeque<Reference>,
    /// Recent messages that were eligible for copies, oldest first.
    pub(crate) eligible: VecDeque<Reference>,
    pub(crate) preferences: ArchivePreferences,
    pub(crate) blocked: Vec<Jid>,
    pub(crate) push: Vec<PushRegistration>,
    /// Messages that devices were to be woken for since somebody looked.
    pub(crate) unseen: u32,
}

/// What the cell's lock protects.
pub(crate) struct State {
    pub(crate) load: Load,
    /// Room for one: most accounts have one, and a second is worth an allocation of its own.
    pub(crate) sessions: SmallVec<[Session; 1]>,
    /// The session to which the kept messages are being delivered.
    pub(crate) draining: Option<SessionId>,
    /// Messages were kept for whoever comes first, and no drain has looked for them yet.
    pub(crate) kept_lately: bool,
    /// Whether a drain has seen to the end what was kept before.
    pub(crate) kept_before: KeptBefore,
    tickets: u64,
    /// The status of the unavailable presence that the last resource to be available sent (XEP-0012 §3).
    pub(crate) last_status: String,
    /// The account was deleted; its streams end when the request that did it is answered.
    pub(crate) doomed: bool,
    last_use: Option<Instant>,
}

/// One bound session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) jid: FullJid,
    /// Its way out.
    pub(crate) out: Outflow,
    pub(crate) facts: SessionFacts,
    pub(crate) since: Duration,
    pub(crate) carbons: Carbons,
    /// Whether its client reads kept messages in the archive.
    pub(crate) history: History,
    /// What the session before it left.
    pub(crate) inherits: Inherits,
    /// What its connection left behind, while it waits to be resumed (XEP-0198).
    pub(crate) left_behind: Option<LeftBehind>,
    /// The last presence it broadcast, while it is available.
    pub(crate) presence: Option<Stanza>,
    pub(crate) priority: i8,
    /// It has asked for the roster and so gets pushes (RFC 6121 §2.2).
    pub(crate) interested: bool,
    /// It has asked for the block list and so gets pushes (XEP-0191 §3.3).
    pub(crate) told_of_blocks: bool,
    pub(crate) directed: DirectedPresence,
}

/// Whether the store holds messages for a session that are not in its line: those of the session whose place it takes, until
/// they are drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inherits {
    Nothing,
    /// It holds them for the session that is gone.
    Of(SmId),
    /// It holds them for the session itself.
    Own,
}

/// What the store holds for whoever comes first, but for what `kept_lately` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeptBefore {
    /// Nobody has looked.
    Unknown,
    Nothing,
}

/// How a session gets what was kept while its account was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// It is sent all of it.
    Sent,
    /// It reads the archive, and is sent what is not there (XEP-0386 §3.2).
    Read,
}

/// The incoming half of a stream that was lost, for the one that resumes it.
pub(crate) struct LeftBehind {
    /// Stanzas that were received.
    pub(crate) received: u32,
    /// Writes that they wait for.
    pub(crate) commits: Commits,
    /// How often the session was left: tells one wait from the next.
    pub(crate) at: Duration,
}

impl Cell {
    fn new(jid: BareJid, lane: usize) -> Self {
        Cell {
            jid,
            moved: Notify::new(),
            lane,
            state: Mutex::new(State {
                load: Load::Loading(VecDeque::new()),
                sessions: SmallVec::new(),
                draining: None,
                kept_lately: false,
                kept_before: KeptBefore::Unknown,
                tickets: 0,
                last_status: String::new(),
                doomed: false,
                last_use: None,
            }),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) async fn wait_loaded(&self) {
        loop {
            // Before the look, so that nothing that happens behind it is missed.
            let moved = self.moved();
            if !matches!(self.lock().load, Load::Loading(_)) {
                return;
            }
            moved.await;
        }
    }

    /// A number by which work for this account is given to always the same worker.
    pub(crate) fn lane(&self) -> usize {
        self.lane
    }

    /// Wakes those who wait for the account to be loaded, for a session to be left, or for their turn.
    pub(crate) fn announce_moved(&self) {
        self.moved.notify_waiters();
    }

    /// Resolves with the next [`Cell::announce_moved`] after this call.
    pub(crate) fn moved(&self) -> tokio::sync::futures::Notified<'_> {
        self.moved.notified()
    }

    pub(crate) fn account_id(&self) -> Option<AccountId> {
        self.lock().loaded().map(|loaded| loaded.id)
    }

    pub(crate) fn bind(
        &self,
        router: &Router,
        id: SessionId,
        jid: &FullJid,
        outbox: &Arc<dyn Outbox>,
        facts: SessionFacts,
        counts: Option<Option<SmId>>,
    ) -> Result<Option<Session>, BindError> {
        let max = router.settings().max_sessions;
        let inherits = facts.instead_of.as_deref().and_then(SmId::parse).map_or(Inherits::Nothing, Inherits::Of);
        let mut state = self.lock();
        if state.loaded().is_none() {
            return Err(BindError::NotAllowed);
        }
        let replaced = match state.sessions.iter().position(|session| session.jid == *jid) {
            Some(index) => {
                // RFC 6120 §7.7.2.2. It leaves the list at once, so that its unavailable presence precedes whatever the
                // newer one broadcasts.
                let older = state.sessions.remove(index);
                older.out.close(Some(StreamError::new(StreamCondition::Conflict)));
                Some(older)
            }
            None if state.sessions.len() >= max => return Err(too_many_sessions()),
            None => None,
        };
        let mut out = Outflow::new(Arc::clone(outbox), router.memory());
        if let Some(id) = counts {
            // Under the lock under which it becomes visible: nothing that it is sent is left uncounted.
            out.count(id);
        }
        state.sessions.push(Session {
            id,
            jid: jid.clone(),
            out,
            facts,
            carbons: Carbons::Disabled,
            history: History::Sent,
            inherits,
            left_behind: None,
            since: router.inner.clock.unix(),
            presence: None,
            priority: 0,
            interested: false,
            told_of_blocks: false,
            directed: DirectedPresence::default(),
        });
        Ok(replaced)
    }

    pub(crate) fn available(&self) -> Vec<FullJid> {
        let state = self.lock();
        state.sessions.iter().filter(|session| session.presence.is_some()).map(|session| session.jid.clone()).collect()
    }

    pub(crate) fn views(&self) -> Vec<SessionView> {
        let state = self.lock();
        state
            .sessions
            .iter()
            .map(|session| SessionView {
                id: session.id,
                jid: session.jid.clone(),
                since: session.since,
                connection: session.facts.connection.clone(),
                priority: session.presence.as_ref().map(|_| session.priority),
                queued_bytes: session.out.queued_bytes(),
                state: if session.left_behind.is_some() {
                    SessionStanding::Waiting
                } else {
                    SessionStanding::Connected
                },
                device: session.facts.device.clone(),
            })
            .collect()
    }

    pub(crate) fn close_session(&self, jid: &FullJid, condition: StreamCondition) -> Killed {
        let mut state = self.lock();
        match state.sessions.iter_mut().find(|session| session.jid == *jid) {
            Some(session) => {
                session.out.forbid_resumption();
                session.out.close(Some(StreamError::new(condition)));
                Killed::Ended
            }
            None => Killed::NotFound,
        }
    }

    /// Ends every session for good.
    pub(crate) fn close_sessions(&self, condition: StreamCondition) {
        for session in &mut self.lock().sessions {
            session.out.forbid_resumption();
            session.out.close(Some(StreamError::new(condition)));
        }
    }

    /// Ends every connection; sessions that may be resumed stay.
    pub(crate) fn close_connections(&self, condition: StreamCondition) {
        for session in &self.lock().sessions {
            session.out.close(Some(StreamError::new(condition)));
        }
    }

    /// The sessions that no connection will end any more, because there is none.
    pub(crate) fn abandoned(&self) -> Vec<SessionId> {
        let state = self.lock();
        let gone = |session: &&Session| session.left_behind.is_some() && session.out.resumable().is_none();
        state.sessions.iter().filter(gone).map(|session| session.id).collect()
    }
}

impl State {
    pub(crate) fn loaded(&self) -> Option<&Loaded> {
        match &self.load {
            Load::Present(loaded) => Some(loaded),
            _ => None,
        }
    }
    pub(crate) fn loaded_mut(&mut self) -> Option<&mut Loaded> {
        match &mut self.load {
            Load::Present(loaded) => Some(loaded),
            _ => None,
        }
    }
    pub(crate) fn touch(&mut self, now: Instant) {
        self.last_use = Some(now);
    }
    fn is_idle(&self, now: Instant) -> bool {
        let stay = match self.load {
            Load::Loading(_) => return false,
            Load::Present(_) => IDLE,
            Load::Absent | Load::Failed => IDLE_NOBODY,
        };
        self.sessions.is_empty() && self.last_use.is_none_or(|at| now.saturating_duration_since(at) > stay)
    }
    pub(crate) fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }
    /// A ticket for one commit.
    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.tickets = self.tickets.wrapping_add(1);
        Ticket(self.tickets)
    }
    /// A commit was made.
    pub(crate) fn release(&mut self, ticket: Ticket, turn: &mut Turn) {
        for session in &mut self.sessions {
            session.out.release(ticket, turn);
        }
    }
    /// A commit failed.
    pub(crate) fn discard(&mut self, ticket: Ticket, turn: &mut Turn) {
        for session in &mut self.sessions {
            session.out.discard(ticket, turn);
        }
    }
    /// Lets a stanza wait while the account loads. It comes back when it need not or may not wait.
    pub(crate) fn wait(&mut self, arrival: Arrival) -> Result<oneshot::Receiver<()>, Box<(Arrival, Overfull)>> {
        match &mut self.load {
            Load::Loading(waiting) if waiting.len() < MAX_WAITING => {
                let (done, receiver) = oneshot::channel();
                waiting.push_back(Waiting { arrival, done });
                Ok(receiver)
            }
            Load::Loading(_) => Err(Box::new((arrival, Overfull::Yes))),
            _ => Err(Box::new((arrival, Overfull::No))),
        }
    }
    /// Ends the loading, and hands out what waited for it.
    pub(crate) fn finish_loading(&mut self, load: Load, now: Instant) -> VecDeque<Waiting> {
        self.last_use = Some(now);
        match std::mem::replace(&mut self.load, load) {
            Load::Loading(waiting) => waiting,
            _ => VecDeque::new(),
        }
    }
}

/// Whether a queue was at its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overfull {
    Yes,
    No,
}

impl Session {
    /// Under which id the store holds messages for it that it is given with its presence: copies of newer ones wait behind them.
    /// What is addressed to it does not wait: there are clients that never say that they are present.
    pub(crate) fn awaits_inheritance(&self) -> Option<SmId> {
        match (self.inherits, &self.presence) {
            (Inherits::Own, None) => self.out.resumable(),
            _ => None,
        }
    }

    /// Queues a stanza for the session.
    pub(crate) fn push(&mut self, stanza: &Stanza, from: Option<&Jid>, to: Option<&Jid>, turn: &mut Turn) -> Pushed {
        self.out.push(stanza, from, to, turn)
    }
}

impl Loaded {
    pub(crate) fn new(resident: Resident) -> Loaded {
        let preferences = resident.archive_preferences.and_then(|xml| Element::parse(&xml, ns::MAM).ok());
        let roster = resident
            .roster
            .entries
            .into_iter()
            .map(|record| (record.jid.clone(), crate::roster::item_from_record(record)))
            .collect();
        let recent: VecDeque<Reference> = resident.marks.into_iter().rev().collect();
        Loaded {
            id: resident.id,
            roster_version: resident.roster.version,
            horizon: resident.roster.horizon,
            roster,
            removed: resident.roster.removed,
            last_archived: resident.last_archived,
            eligible: recent.clone(),
            recent,
            preferences: preferences
                .and_then(|element| ArchivePreferences::from_element(&element).ok())
                .unwrap_or_default(),
            blocked: resident.blocked,
            push: resident.push,
            unseen: 0,
        }
    }

    /// Contacts that are told of presence: those with a subscription, but for blocked ones (XEP-0191 §3.2).
    pub(crate) fn subscribers(&self) -> impl Iterator<Item = &RosterItem> {
        let visible = |item: &&RosterItem| {
            item.subscription.from && (self.blocked.is_empty() || !self.blocks(&Jid::from(item.jid.clone())))
        };
        self.roster.values().filter(visible)
    }

    /// Whether the account blocks this address (XEP-0191 §5). Nobody blocks its own resources or server by mistake: the
    /// account itself is never blocked.
    pub(crate) fn blocks(&self, address: &Jid) -> bool {
        self.blocked.iter().any(|entry| covers(entry, address) == Covered::Yes)
    }
}
