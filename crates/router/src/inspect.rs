//! What administrators may see of the router.

use crate::{Router, SessionId};
use std::sync::atomic::Ordering;
use std::time::Duration;
use stonechat_jid::{BareJid, FullJid};
use stonechat_stanza::StreamCondition;

/// One bound session.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its number since the start.
    pub id: SessionId,
    /// Its address.
    pub jid: FullJid,
    /// When it was bound, since the Unix epoch.
    pub since: Duration,
    /// The peer's network address and the kind of connection.
    pub connection: String,
    /// Priority of its presence; `None` while it is not available.
    pub priority: Option<i8>,
    /// Bytes queued for it, or sent and not acknowledged.
    pub queued_bytes: usize,
    /// Whether it has a connection.
    pub state: SessionStanding,
    /// The id of its user agent, when it told one.
    pub device: Option<String>,
}

/// Whether a session has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStanding {
    /// It has.
    Connected,
    /// It was lost, and may be resumed (XEP-0198).
    Waiting,
}

impl Router {
    /// Every bound session, in order of address.
    pub fn sessions(&self) -> Vec<SessionView> {
        let mut views: Vec<SessionView> = self.inner.shards.all().iter().flat_map(|cell| cell.views()).collect();
        views.sort_by(|a, b| a.jid.cmp(&b.jid));
        views
    }

    /// The bound sessions of an account, in order of address.
    pub fn sessions_of(&self, jid: &BareJid) -> Vec<SessionView> {
        let mut views = self.inner.shards.find(jid).map_or_else(Vec::new, |cell| cell.views());
        views.sort_by(|a, b| a.jid.cmp(&b.jid));
        views
    }

    /// Ends one session with a stream error. `false` when there is none of that address.
    pub fn kill_session(&self, jid: &FullJid, condition: StreamCondition) -> Killed {
        let Some(cell) = self.inner.shards.find(&jid.to_bare()) else { return Killed::NotFound };
        let killed = cell.close_session(jid, condition);
        self.end_abandoned(&cell);
        killed
    }

    /// Ends every session of an account with a stream error.
    pub fn end_sessions(&self, jid: &BareJid, condition: StreamCondition) {
        if let Some(cell) = self.inner.shards.find(jid) {
            cell.close_sessions(condition);
            self.end_abandoned(&cell);
        }
    }

    /// Ends every connection and lets nobody in any more: what shutdown does. Sessions that may be resumed wait for that.
    /// Called again until [`Router::session_count`] is zero: who was on the way in is met by the next call.
    pub fn end_all_connections(&self, condition: StreamCondition) {
        self.inner.closed.store(true, Ordering::SeqCst);
        for cell in self.inner.shards.all() {
            cell.close_connections(condition);
        }
    }
}

/// Whether a session was found to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// Its stream is being closed.
    Ended,
    /// There is none of that address.
    NotFound,
}
