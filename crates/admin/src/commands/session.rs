//! `session …`

use super::{Admin, account, session_address};
use crate::{AdminError, ErrorCode};
use serde::Serialize;
use stonechat_router::{Killed, SessionStanding, SessionView};
use stonechat_stanza::StreamCondition;

/// One bound session.
#[derive(Clone, Debug, Serialize)]
pub struct SessionRow {
    /// Address.
    pub jid: String,
    /// Number since the start of the server.
    pub id: u64,
    /// When it was bound, seconds since the Unix epoch.
    pub since: u64,
    /// The peer and the kind of connection.
    pub connection: String,
    /// Priority of its presence; absent while it is not available.
    pub priority: Option<i8>,
    /// Bytes queued for it, or sent and not acknowledged.
    pub queued_bytes: usize,
    /// `connected`, or `waiting` to be resumed.
    pub state: &'static str,
    /// The id of its device, when it told one.
    pub device: Option<String>,
}

/// The session that was ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ended {
    jid: String,
}

fn row(view: SessionView) -> SessionRow {
    SessionRow {
        jid: view.jid.to_string(),
        id: view.id.0,
        since: view.since.as_secs(),
        connection: view.connection,
        priority: view.priority,
        queued_bytes: view.queued_bytes,
        state: match view.state {
            SessionStanding::Connected => "connected",
            SessionStanding::Waiting => "waiting",
        },
        device: view.device,
    }
}

fn not_found(jid: &str) -> AdminError {
    AdminError::new(ErrorCode::NoSuchSession, format!("no session is bound to {jid}"))
}

pub(super) fn list(admin: &Admin, of: Option<&str>) -> Result<Vec<SessionRow>, AdminError> {
    let of = of.map(account).transpose()?;
    Ok(admin
        .router
        .sessions()
        .into_iter()
        .filter(|view| of.as_ref().is_none_or(|account| view.jid.to_bare() == *account))
        .map(row)
        .collect())
}

pub(super) fn show(admin: &Admin, jid: &str) -> Result<SessionRow, AdminError> {
    let address = session_address(jid)?;
    admin.router.sessions().into_iter().find(|view| view.jid == address).map(row).ok_or_else(|| not_found(jid))
}

pub(super) fn kill(admin: &Admin, jid: &str) -> Result<Ended, AdminError> {
    let address = session_address(jid)?;
    match admin.router.kill_session(&address, StreamCondition::PolicyViolation) {
        Killed::Ended => Ok(Ended { jid: address.to_string() }),
        Killed::NotFound => Err(not_found(jid)),
    }
}
