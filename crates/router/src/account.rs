//! One account in memory: its sessions and its roster behind one short critical section.
//!
//! An account is loaded when something is first addressed to it and stays while it has sessions or was used lately.
//! Stanzas that arrive while it loads wait in order, within a bound.
//!
//! Lock order: a shard's lock, then nothing; a cell's lock, then outboxes' locks. Two cells are never locked at once.

use crate::session::too_many_sessions;
use crate::{BindError, Delivery, Killed, Outbox, Pushed, Router, SessionFacts, SessionId, SessionView, Turn};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stonechat_im::presence::DirectedPresence;
use stonechat_im::roster::RosterItem;
use stonechat_jid::{BareJid, FullJid, Jid};
use stonechat_stanza::{Stanza, StreamCondition, StreamError};
use stonechat_store::{AccountId, StoredRoster};
use tokio::sync::{oneshot, watch};

const SHARDS: usize = 64;
/// Stanzas that may wait for one account to load; a load is one read of the store.
const MAX_WAITING: usize = 512;
/// Stanzas held back for one session while its kept messages are being delivered.
pub(crate) const MAX_HELD: usize = 2_048;
/// How long an account without sessions stays loaded after its last use.
const IDLE: Duration = Duration::from_secs(300);

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
        let cell = Arc::new(Cell::new(jid.clone()));
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
        for shard in &self.shards {
            lock(shard).retain(|_, cell| {
                // Somebody holds the cell and may be about to use it: keep it, or two cells of one account could live.
                Arc::strong_count(cell) > 1 || !cell.lock().is_idle(now)
            });
        }
    }
}

/// One account's cell.
pub(crate) struct Cell {
    pub(crate) jid: BareJid,
    state: Mutex<State>,
    loaded: watch::Sender<bool>,
}

/// A stanza that waits for the account to load, and who wants to know when it is safe.
pub(crate) struct Waiting {
    pub(crate) stanza: Stanza,
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
}

/// What the cell's lock protects.
pub(crate) struct State {
    pub(crate) load: Load,
    pub(crate) sessions: SmallVec<[Session; 2]>,
    /// The session to which the kept messages are being delivered.
    pub(crate) draining: Option<SessionId>,
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
    pub(crate) outbox: Arc<dyn Outbox>,
    facts: SessionFacts,
    since: Duration,
    /// The last presence it broadcast, while it is available.
    pub(crate) presence: Option<Stanza>,
    pub(crate) priority: i8,
    /// It has asked for the roster and so gets pushes (RFC 6121 §2.2).
    pub(crate) interested: bool,
    pub(crate) directed: DirectedPresence,
    /// Messages that arrive while the kept ones are being delivered to it wait here, so that order is kept.
    pub(crate) held: Option<Vec<Stanza>>,
}

impl Cell {
    fn new(jid: BareJid) -> Self {
        Cell {
            jid,
            state: Mutex::new(State {
                load: Load::Loading(VecDeque::new()),
                sessions: SmallVec::new(),
                draining: None,
                last_status: String::new(),
                doomed: false,
                last_use: None,
            }),
            loaded: watch::Sender::new(false),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) async fn wait_loaded(&self) {
        let mut loaded = self.loaded.subscribe();
        // The sender lives as long as the cell.
        let _ = loaded.wait_for(|loaded| *loaded).await;
    }

    pub(crate) fn account_id(&self) -> Option<AccountId> {
        self.lock().loaded().map(|loaded| loaded.id)
    }

    /// Wakes those who wait for the account to be loaded.
    pub(crate) fn announce_loaded(&self) {
        self.loaded.send_replace(true);
    }

    pub(crate) fn bind(
        &self,
        router: &Router,
        id: SessionId,
        jid: &FullJid,
        outbox: &Arc<dyn Outbox>,
        facts: SessionFacts,
    ) -> Result<Option<Session>, BindError> {
        let max = router.settings().max_sessions;
        let mut state = self.lock();
        if state.loaded().is_none() {
            return Err(BindError::NotAllowed);
        }
        let replaced = match state.sessions.iter().position(|session| session.jid == *jid) {
            Some(index) => {
                // RFC 6120 §7.7.2.2. It leaves the list at once, so that its unavailable presence precedes whatever the
                // newer one broadcasts.
                let older = state.sessions.remove(index);
                older.outbox.close(Some(StreamError::new(StreamCondition::Conflict)));
                Some(older)
            }
            None if state.sessions.len() >= max => return Err(too_many_sessions()),
            None => None,
        };
        state.sessions.push(Session {
            id,
            jid: jid.clone(),
            outbox: Arc::clone(outbox),
            facts,
            since: router.inner.clock.unix(),
            presence: None,
            priority: 0,
            interested: false,
            directed: DirectedPresence::default(),
            held: None,
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
                queued_bytes: session.outbox.queued_bytes(),
            })
            .collect()
    }

    pub(crate) fn close_session(&self, jid: &FullJid, condition: StreamCondition) -> Killed {
        let state = self.lock();
        match state.sessions.iter().find(|session| session.jid == *jid) {
            Some(session) => {
                session.outbox.close(Some(StreamError::new(condition)));
                Killed::Ended
            }
            None => Killed::NotFound,
        }
    }

    pub(crate) fn close_sessions(&self, condition: StreamCondition) {
        for session in &self.lock().sessions {
            session.outbox.close(Some(StreamError::new(condition)));
        }
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
        self.sessions.is_empty()
            && !matches!(self.load, Load::Loading(_))
            && self.last_use.is_none_or(|at| now.saturating_duration_since(at) > IDLE)
    }
    pub(crate) fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }
    /// Lets a stanza wait while the account loads. It comes back when it need not or may not wait.
    pub(crate) fn wait(&mut self, stanza: Stanza) -> Result<oneshot::Receiver<()>, Box<(Stanza, Overfull)>> {
        match &mut self.load {
            Load::Loading(waiting) if waiting.len() < MAX_WAITING => {
                let (done, receiver) = oneshot::channel();
                waiting.push_back(Waiting { stanza, done });
                Ok(receiver)
            }
            Load::Loading(_) => Err(Box::new((stanza, Overfull::Yes))),
            _ => Err(Box::new((stanza, Overfull::No))),
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
    /// Queues a stanza for the session, behind its kept messages while those are being delivered.
    pub(crate) fn push(&mut self, stanza: &Stanza, from: Option<&Jid>, to: Option<&Jid>, turn: &mut Turn) -> Pushed {
        if let Some(held) = &mut self.held {
            if held.len() >= MAX_HELD {
                return Pushed::Overflow;
            }
            let mut copy = stanza.clone();
            copy.head_mut().from = from.cloned();
            copy.head_mut().to = to.cloned();
            held.push(copy);
            return Pushed::Queued;
        }
        turn.push(&self.outbox, Delivery { stanza, from, to })
    }
}

impl Loaded {
    pub(crate) fn new(id: AccountId, stored: StoredRoster) -> Loaded {
        let roster = stored
            .entries
            .into_iter()
            .map(|record| (record.jid.clone(), crate::roster::item_from_record(record)))
            .collect();
        Loaded { id, roster_version: stored.version, horizon: stored.horizon, roster, removed: stored.removed }
    }
}
