//! A bound session from its connection's point of view.

use crate::account::{Cell, History};
use crate::outflow::{Acknowledged, Attention};
use crate::revocations::Revoked;
use crate::{BindError, LoginStart, Outbox, Router, Turn};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use stonechat_im::plan::Carbons;
use stonechat_jid::{BareJid, FullJid, Level};
use stonechat_stanza::{Stanza, StanzaCondition, StanzaError};
use stonechat_store::SmId;
use tokio::sync::oneshot;

/// Numbers sessions since the start of the process; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What administrators are shown of a connection.
#[derive(Clone, Debug, Default)]
pub struct SessionFacts {
    /// For people: the peer's address, the kind of connection, the TLS version.
    pub connection: String,
    /// The id of the client's user agent, when it told one (XEP-0388 §2.2).
    pub device: Option<String>,
    /// The session that the client wanted back on this stream and that is gone (XEP-0198 §5): what the store still holds for
    /// it is this client's.
    pub instead_of: Option<String>,
    /// Whether it is counted what the session is sent from its first stanza on (XEP-0386 §3.2): the answer that says so stands
    /// before everything that the session is sent.
    pub counts: Option<Resumable>,
    /// When its log-in began ([`Router::login_start`]): what was revoked since then does not hold for it.
    pub login: Option<LoginStart>,
}

/// How many commits one stream may have outstanding before its reading stops.
const MAX_COMMITS: usize = 256;

/// The writes that a stream's accepted stanzas wait for, oldest first.
///
/// What acknowledges a stanza to its sender (the answer to a later IQ; with stream management `<a/>`) waits for these;
/// the stream's other stanzas do not.
#[derive(Default)]
pub struct Commits {
    pending: VecDeque<Outstanding>,
    /// The stanza whose writes are being added; none before the stream counts.
    current: Option<u32>,
    /// Writes that nothing waits for (`durability = "relaxed"`), but that may not become too many either.
    behind: VecDeque<oneshot::Receiver<()>>,
}

struct Outstanding {
    /// The stanza it belongs to.
    number: Option<u32>,
    done: oneshot::Receiver<()>,
    queued: Queued,
}

/// Whether a write is in the store's queue yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queued {
    Yes,
    /// It waits for an account to load.
    No,
}

impl Commits {
    /// None outstanding.
    pub fn new() -> Self {
        Commits::default()
    }
    /// What is added from now on belongs to this stanza.
    pub(crate) fn begin(&mut self, number: Option<u32>) {
        self.current = number;
    }
    /// Adds a write; its end is told by a message, or by the end of whoever would have sent it.
    pub(crate) fn add(&mut self, done: oneshot::Receiver<()>) {
        self.pending.push_back(Outstanding { number: self.current, done, queued: Queued::Yes });
    }
    /// Adds a write that nothing waits for.
    pub(crate) fn add_behind(&mut self, done: oneshot::Receiver<()>) {
        self.behind.push_back(done);
    }
    /// Whether so many writes that nothing waits for are outstanding that reading has to stop: the store would refuse more.
    pub(crate) fn is_behind(&mut self) -> bool {
        while let Some(front) = self.behind.front_mut() {
            if let Err(oneshot::error::TryRecvError::Empty) = front.try_recv() {
                break;
            }
            self.behind.pop_front();
        }
        self.behind.len() > MAX_COMMITS
    }
    /// Resolves when the oldest write that nothing waits for is made.
    pub(crate) async fn catch_up(&mut self) {
        if let Some(front) = self.behind.front_mut() {
            let _ = front.await;
            self.behind.pop_front();
        }
    }
    /// Adds a stanza whose writes are not even queued.
    pub(crate) fn add_unqueued(&mut self, done: oneshot::Receiver<()>) {
        self.pending.push_back(Outstanding { number: self.current, done, queued: Queued::No });
    }
    /// Whether something waits that is not in the store's queue: then a write that is queued now overtakes it.
    pub(crate) fn waits_unqueued(&self) -> bool {
        self.pending.iter().any(|outstanding| outstanding.queued == Queued::No)
    }
    /// The newest stanza before the oldest that waits; `None` when there is none.
    pub(crate) fn settled_before(&self) -> Option<u32> {
        let oldest = self.pending.front().map_or(self.current, |outstanding| outstanding.number);
        // XEP-0198 §4: counts go around at 2^32.
        oldest.map(|number| number.wrapping_sub(1))
    }
    /// Whether nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
    /// Takes what is settled off the front. The stanza that the oldest of the others belongs to.
    fn oldest(&mut self) -> Option<Option<u32>> {
        while let Some(front) = self.pending.front_mut() {
            match front.done.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return Some(front.number),
                // Done, or the task which wrote is gone: there is nothing left to wait for.
                Ok(()) | Err(oneshot::error::TryRecvError::Closed) => {}
            }
            self.pending.pop_front();
        }
        None
    }
    /// Resolves when the oldest is settled; at once when there is none.
    pub async fn step(&mut self) {
        poll_fn(|cx| self.poll_step(cx)).await;
    }
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(front) = self.pending.front_mut() {
            let _ = ready!(Pin::new(&mut front.done).poll(cx));
            self.pending.pop_front();
        }
        Poll::Ready(())
    }
    /// Resolves when every write accepted so far is committed or was answered with an error.
    pub async fn settle(&mut self) {
        while !self.pending.is_empty() {
            self.step().await;
        }
    }
    /// Resolves when so few are outstanding that reading may go on.
    pub async fn make_room(&mut self) {
        while self.pending.len() > MAX_COMMITS {
            self.step().await;
        }
    }
}

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closed it, which ends its session (XEP-0198 §5).
    Closed,
    /// Anything else: a session that may be resumed waits for that.
    Lost,
}

/// Counts a connection that has a session or is about to get one. Whoever ends the server waits until there is none, and
/// nobody gets in afterwards: what is saved of the sessions then is all of it.
pub(crate) struct Entrance {
    router: Router,
}

impl Router {
    /// Lets a connection in. Once the connections were ended it never resolves: the client comes back to the next server.
    pub(crate) async fn enter(&self) -> Entrance {
        self.inner.sessions.fetch_add(1, Ordering::SeqCst);
        let entrance = Entrance { router: self.clone() };
        if self.inner.closed.load(Ordering::SeqCst) {
            drop(entrance);
            return std::future::pending().await;
        }
        entrance
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.router.inner.sessions.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A bound session, owned by its connection. Dropping it without [`ClientSession::end`] means that the connection was lost.
pub struct ClientSession {
    pub(crate) router: Router,
    pub(crate) cell: Arc<Cell>,
    pub(crate) id: SessionId,
    pub(crate) jid: FullJid,
    pub(crate) commits: Commits,
    pub(crate) counting: Inbound,
    /// The last write by which the store forgets what the client acknowledged.
    pub(crate) acknowledgement: Option<oneshot::Receiver<()>>,
    /// `None` once it has ended.
    pub(crate) entrance: Option<Entrance>,
}

/// XEP-0198, in the direction from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    NotCounting,
    /// So many stanzas were received; under this id they may be counted on after a loss.
    Counting {
        received: u32,
        id: Option<SmId>,
    },
}

/// How many resources to try when the client leaves the choice to us.
const RESOURCE_BYTES: usize = 9;

impl Router {
    /// The id of a session that begins to count; `None` for one that may not be resumed.
    fn counting_id(&self, resumable: Resumable) -> Option<SmId> {
        match resumable {
            Resumable::Yes => {
                let mut bytes = [0u8; 16];
                self.inner.random.fill(&mut bytes);
                Some(SmId(bytes))
            }
            Resumable::No => None,
        }
    }

    /// Binds a resource (RFC 6120 §7). A resource in use goes to the newcomer: the older stream ends with `conflict`
    /// (§7.7.2.2 lets the server choose; a client that comes back must not be locked out by its own ghost).
    pub async fn bind(
        &self,
        account: &BareJid,
        resource: Option<&str>,
        outbox: Arc<dyn Outbox>,
        facts: SessionFacts,
    ) -> Result<ClientSession, BindError> {
        let resource = match resource.filter(|r| !r.is_empty()) {
            Some(resource) => resource.to_owned(),
            None => {
                let mut token = self.random_token();
                token.truncate(2 * RESOURCE_BYTES);
                token
            }
        };
        // RFC 6120 §7.7.2.1: a resource that cannot be prepared is a bad request.
        let jid = account
            .with_resource(&resource, Level::Creating)
            .map_err(|_| BindError::Refused(StanzaCondition::BadRequest.into()))?;
        let entrance = self.enter().await;
        let cell = self.loaded(account).await.ok_or(BindError::NotAllowed)?;
        let id = SessionId(self.inner.next_session.fetch_add(1, Ordering::Relaxed));
        let (login, device) = (facts.login, facts.device.clone());
        let counts = facts.counts.map(|resumable| self.counting_id(resumable));
        if let Some(replaced) = cell.bind(self, id, &jid, &outbox, facts, counts)? {
            self.left(&cell, replaced, &mut Turn::new());
        }
        let mut commits = Commits::new();
        let counting = match counts {
            Some(id) => {
                commits.begin(None);
                Inbound::Counting { received: 0, id }
            }
            None => Inbound::NotCounting,
        };
        let session = ClientSession {
            router: self.clone(),
            cell,
            id,
            jid,
            commits,
            counting,
            acknowledgement: None,
            entrance: Some(entrance),
        };
        // Whoever revokes notes it first and ends the sessions that are there then: after this look, ours is one of them.
        match login.map(|start| self.revoked_since(start, account, device.as_deref())) {
            Some(Revoked::Yes) => Err(BindError::NotAllowed),
            Some(Revoked::No) | None => Ok(session),
        }
    }
}

impl Router {
    /// The resource of a client that leaves it to us (XEP-0386 §3.2.1): what it says of itself, and something that is the same
    /// for the same device each time and tells nobody which device it is.
    pub fn resource_of(&self, account: &BareJid, tag: Option<&str>, device: Option<&str>) -> String {
        let own = match device {
            Some(device) => {
                let reference = crate::archive::reference(account, account, device);
                format!("{:016x}", reference.0)
            }
            None => {
                let mut token = self.random_token();
                token.truncate(2 * RESOURCE_BYTES);
                token
            }
        };
        match tag.map(str::trim).filter(|tag| !tag.is_empty()) {
            Some(tag) => format!("{tag}/{own}"),
            None => own,
        }
    }

    /// The id and the time of the first and of the last message of an account's archive; none when there are no archives.
    pub async fn archive_bounds(&self, account: &BareJid) -> Option<ArchiveBounds> {
        if !self.settings().archive.enabled {
            return None;
        }
        let id = self.account_id(account).await?;
        let (first, last) = self.inner.store.archive_bounds(id).await.ok()??;
        let told = |id: stonechat_store::ArchiveId| (id.text(), crate::time::utc(id.millis()));
        Some((told(first), told(last)))
    }
}

/// The id and the time (XEP-0082) of the first message of an archive and of the last.
pub type ArchiveBounds = ((String, String), (String, String));

impl ClientSession {
    /// The bound address.
    pub fn jid(&self) -> &FullJid {
        &self.jid
    }
    /// Its number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Takes one stanza from the client: `from` is stamped, what only the server may say is cut already. Delivers it,
    /// keeps it or answers it. What was pushed is flushed by the turn.
    pub async fn accept(&mut self, stanza: Stanza, turn: &mut Turn) {
        let number = self.count();
        let from = crate::route::From { cell: &self.cell, session: self.id, jid: &self.jid, number };
        self.router.accept_from_client(from, stanza, turn, &mut self.commits).await;
        if !self.commits.is_empty() {
            turn.flush();
            self.commits.make_room().await;
        }
        while self.commits.is_behind() {
            turn.flush();
            self.commits.catch_up().await;
        }
    }

    /// A stanza of the client was answered by its stream, or refused without a word: the answer goes the way of all stanzas.
    pub fn answered(&mut self, reply: Option<&Stanza>, turn: &mut Turn) {
        self.count();
        if let Some(reply) = reply
            && let Some(session) = self.cell.lock().session(self.id)
        {
            session.push(reply, reply.from(), reply.to(), turn);
        }
    }

    /// Counts a stanza that was received.
    fn count(&mut self) -> Option<(SmId, u32)> {
        let Inbound::Counting { received, id } = &mut self.counting else { return None };
        *received = received.wrapping_add(1);
        self.commits.begin(Some(*received));
        id.map(|id| (id, *received))
    }

    /// Begins to count, in both directions (XEP-0198 §3): with the next stanza, unless it was bound as one that counts.
    /// `resumable` asks for a session that may be resumed; whoever learns its id finds what the session before it left under
    /// it. The outbox is corked from here on, because what is counted stands behind the answer.
    pub async fn enable_counting(&mut self, resumable: Resumable) -> Option<SmId> {
        let id = match self.counting {
            Inbound::Counting { id, .. } => id,
            Inbound::NotCounting => {
                let id = self.router.counting_id(resumable);
                self.commits.begin(None);
                self.counting = Inbound::Counting { received: 0, id };
                id
            }
        };
        self.router.begin_counting(&self.cell, self.id, id).await;
        id
    }

    /// How many stanzas were handled: received, and everything that they asked to be kept is.
    pub fn handled(&mut self) -> u32 {
        let Inbound::Counting { received, .. } = self.counting else { return 0 };
        match self.commits.oldest() {
            Some(Some(number)) => number.wrapping_sub(1),
            // What was received before counting began counts for nothing.
            Some(None) => 0,
            None => received,
        }
    }

    /// How many stanzas were received since counting began.
    pub fn received(&self) -> u32 {
        match self.counting {
            Inbound::Counting { received, .. } => received,
            Inbound::NotCounting => 0,
        }
    }

    /// Resolves when [`ClientSession::handled`] may have grown; never when nothing is outstanding.
    pub fn poll_handles_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.commits.is_empty() { Poll::Pending } else { self.commits.poll_step(cx) }
    }

    /// Resolves when everything that the client's stanzas asked to be kept is kept, or was answered with an error, and
    /// nothing is kept any more of what it acknowledged.
    pub async fn settle(&mut self) {
        self.commits.settle().await;
        if let Some(noted) = self.acknowledgement.take() {
            // The store's writes are made in order: the last is made when all are.
            let _ = noted.await;
        }
    }

    /// The client says how many stanzas it has handled.
    ///
    /// # Errors
    /// So many were sent, when that is less.
    pub fn acknowledged(&mut self, handled: u32, turn: &mut Turn) -> Result<(), u32> {
        let mut state = self.cell.lock();
        let account = state.loaded().map(|loaded| loaded.id);
        let Some(session) = state.session(self.id) else { return Ok(()) };
        match (session.out.acknowledge(handled, turn), account) {
            (Acknowledged::TooMuch(sent), _) => Err(sent),
            (Acknowledged::Spooled(id, number), Some(account)) => {
                let written = self.router.inner.store.acknowledge_spool(account, id, number);
                self.acknowledgement = Some(crate::drain::note(written));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The client says whether somebody looks (XEP-0352).
    pub fn set_attention(&mut self, attention: Attention, turn: &mut Turn) {
        let mut state = self.cell.lock();
        if let (Attention::Active, Some(loaded)) = (attention, state.loaded_mut()) {
            loaded.unseen = 0;
        }
        if let Some(session) = state.session(self.id) {
            session.out.set_attention(attention, turn);
        }
    }

    /// The client asks for copies of what its account sends and receives elsewhere (XEP-0280).
    pub fn enable_carbons(&mut self) {
        if let Some(session) = self.cell.lock().session(self.id) {
            session.carbons = Carbons::Enabled;
        }
    }

    /// The client reads in the archive what was kept while its account was away (XEP-0386 §3.2).
    pub fn reads_history(&mut self) {
        if let Some(session) = self.cell.lock().session(self.id) {
            session.history = History::Read;
        }
    }

    /// The stream has ended: the session waits to be resumed, or its contacts see it leave (RFC 6121 §4.5.3).
    pub fn end(mut self, ending: Ending, turn: &mut Turn) {
        self.finish(ending, turn);
    }

    fn finish(&mut self, ending: Ending, turn: &mut Turn) {
        let Some(entrance) = self.entrance.take() else { return };
        let commits = std::mem::take(&mut self.commits);
        let waits = match (ending, self.counting) {
            (Ending::Lost, Inbound::Counting { received, id: Some(_) }) => {
                self.router.hibernate(&self.cell, self.id, received, commits)
            }
            _ => crate::resumption::Waits::No,
        };
        if waits == crate::resumption::Waits::No {
            self.router.unbind(&self.cell, self.id, turn);
        }
        drop(entrance);
        self.cell.announce_moved();
    }
}

/// Whether a client asks for a session that may be resumed (XEP-0198 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumable {
    /// It does.
    Yes,
    /// It only counts.
    No,
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        self.finish(Ending::Lost, &mut Turn::new());
    }
}

pub(crate) fn too_many_sessions() -> BindError {
    // RFC 6120 §7.7.2.1
    BindError::Refused(
        StanzaError::new(StanzaCondition::ResourceConstraint).with_text("too many sessions of this account"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_nothing_waits_for_are_bounded_too() {
        let mut commits = Commits::new();
        let mut writes = VecDeque::new();
        for _ in 0..=MAX_COMMITS {
            let (done, end) = oneshot::channel();
            commits.add_behind(end);
            writes.push_back(done);
        }
        assert!(commits.is_behind());
        assert!(commits.is_empty(), "no answer waits for them");
        // One is made, and another one's task is gone.
        let _ = writes.pop_front().map(|done| done.send(()));
        assert!(!commits.is_behind());
        assert_eq!(commits.behind.len(), MAX_COMMITS);
        drop(writes);
        assert!(!commits.is_behind());
        assert_eq!(commits.behind.len(), 0);
    }
}
