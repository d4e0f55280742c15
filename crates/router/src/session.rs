//! A bound session from its connection's point of view.

use crate::account::Cell;
use crate::{BindError, Outbox, Router, Turn};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use stonechat_jid::{BareJid, FullJid, Level};
use stonechat_stanza::{Stanza, StanzaCondition, StanzaError};
use tokio::sync::oneshot;

/// Numbers sessions since the start of the process; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What administrators are shown of a connection.
#[derive(Clone, Debug, Default)]
pub struct SessionFacts {
    /// For people: the peer's address, the kind of connection, the TLS version.
    pub connection: String,
}

/// How many commits one stream may have outstanding before its reading stops.
const MAX_COMMITS: usize = 256;

/// The writes that a stream's accepted stanzas wait for, oldest first.
///
/// What acknowledges a stanza to its sender (the answer to a later IQ; with stream management `<a/>`) waits for these;
/// the stream's other stanzas do not.
#[derive(Default)]
pub struct Commits {
    pending: VecDeque<oneshot::Receiver<()>>,
}

impl Commits {
    /// None outstanding.
    pub fn new() -> Self {
        Commits::default()
    }
    /// Adds a write; its end is told by a message, or by the end of whoever would have sent it.
    pub(crate) fn add(&mut self, commit: oneshot::Receiver<()>) {
        self.pending.push_back(commit);
    }
    /// Whether nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
    /// Resolves when every write accepted so far is committed or was answered with an error.
    pub async fn settle(&mut self) {
        while let Some(commit) = self.pending.front_mut() {
            // An error means that the task which wrote is gone; there is nothing left to wait for.
            let _ = commit.await;
            self.pending.pop_front();
        }
    }
    /// Resolves when so few are outstanding that reading may go on.
    pub async fn make_room(&mut self) {
        while self.pending.len() > MAX_COMMITS {
            if let Some(commit) = self.pending.front_mut() {
                let _ = commit.await;
                self.pending.pop_front();
            }
        }
    }
}

/// A bound session, owned by its connection. Dropping it without [`ClientSession::end`] ends it all the same.
pub struct ClientSession {
    pub(crate) router: Router,
    pub(crate) cell: Arc<Cell>,
    pub(crate) id: SessionId,
    pub(crate) jid: FullJid,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) ended: bool,
}

/// How many resources to try when the client leaves the choice to us.
const RESOURCE_BYTES: usize = 9;

impl Router {
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
        let cell = self.loaded(account).await.ok_or(BindError::NotAllowed)?;
        let id = SessionId(self.inner.next_session.fetch_add(1, Ordering::Relaxed));
        if let Some(replaced) = cell.bind(self, id, &jid, &outbox, facts)? {
            self.left(&cell, replaced, &mut Turn::new());
        }
        self.inner.sessions.fetch_add(1, Ordering::Relaxed);
        Ok(ClientSession { router: self.clone(), cell, id, jid, outbox, ended: false })
    }
}

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
    /// keeps it or answers it. Writes it asked for are added to `commits`; what was pushed is flushed by the turn.
    pub async fn accept(&mut self, stanza: Stanza, turn: &mut Turn, commits: &mut Commits) {
        self.router.accept_from_client(&self.cell, self.id, &self.jid, &self.outbox, stanza, turn, commits).await;
        if !commits.is_empty() {
            turn.flush();
            commits.make_room().await;
        }
    }

    /// The stream has ended: the contacts see the resource leave (RFC 6121 §4.5.3).
    pub fn end(mut self, turn: &mut Turn) {
        self.finish(turn);
    }

    fn finish(&mut self, turn: &mut Turn) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.router.inner.sessions.fetch_sub(1, Ordering::Relaxed);
        self.router.unbind(&self.cell, self.id, turn);
    }
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        self.finish(&mut Turn::new());
    }
}

pub(crate) fn too_many_sessions() -> BindError {
    // RFC 6120 §7.7.2.1
    BindError::Refused(
        StanzaError::new(StanzaCondition::ResourceConstraint).with_text("too many sessions of this account"),
    )
}
