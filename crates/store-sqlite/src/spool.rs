//! The spool, seen by those who come first and by sessions; counts, saved sessions, and what is on its way out.
//!
//! One index finds it all: by account, holder and number. What is nobody's has no holder, and its own id for a number. What
//! a session inherited, or has behind that, has a number above all that are sent: see [`INHERITED`] and [`BEHIND`].

use crate::accounts::{alive, signed, unsigned};
use crate::desk::{Desk, Held};
use crate::errors::sql;
use crate::fresh;
use crate::open::SqliteStore;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use stonechat_jid::{BareJid, Domain};
use stonechat_store::{
    AccountId, ArchiveId, Archives, Claim, Half, Holder, Offline, OfflineId, OfflineMessage, OfflineStored, Others,
    Outgoing, OutgoingId, OutgoingMessage, OutgoingRow, Pending, Place, Result, SavedSession, Sessions, Share, SmId,
    SpoolRow,
};

/// A message that a session inherited has this and its id for a number.
const INHERITED: i64 = 1 << 61;
/// A message behind inherited ones has this and the router's number for it.
const BEHIND: i64 = 1 << 62;
/// In `others`: some got it too.
const SERVED: i64 = 1;
/// In `others`: the client of the session that holds it came and said what it has.
const CLAIMED: i64 = 2;

pub(crate) const OF_ANYBODY: &str = "SELECT id, at, stanza, archive, others FROM spool \
    WHERE account = ?1 AND session IS NULL AND number > ?2 ORDER BY number LIMIT ?3";
pub(crate) const COUNT_OF_ANYBODY: &str = "SELECT count(*) FROM spool WHERE account = ?1 AND session IS NULL";
pub(crate) const REMOVE_OF_ANYBODY: &str =
    "DELETE FROM spool WHERE account = ?1 AND session IS NULL AND number <= ?2 RETURNING size";
pub(crate) const OF_HEIR: &str = "SELECT id, at, stanza, archive, others FROM spool \
    WHERE account = ?1 AND session = ?2 AND number > ?3 AND number < ?4 ORDER BY number LIMIT ?5";
pub(crate) const REMOVE_OF_HEIR: &str =
    "DELETE FROM spool WHERE account = ?1 AND session = ?2 AND number >= ?3 AND number <= ?4 RETURNING size";
pub(crate) const UP_TO_OF_HEIR: &str = "SELECT id FROM spool \
    WHERE account = ?1 AND session = ?2 AND number >= ?3 AND number <= ?4 ORDER BY number";
pub(crate) const ACKNOWLEDGE: &str =
    "DELETE FROM spool WHERE account = ?1 AND session = ?2 AND number <= ?3 RETURNING size";
pub(crate) const UP_TO: &str =
    "SELECT id FROM spool WHERE account = ?1 AND session IS NULL AND number <= ?2 ORDER BY number";
pub(crate) const GIVE: &str = "UPDATE spool SET session = ?2, number = ?3, others = others & 1 WHERE id = ?1";
pub(crate) const DROP_SERVED: &str =
    "DELETE FROM spool WHERE account = ?1 AND session = ?2 AND others & 1 RETURNING size";
pub(crate) const FORGET: &str = "DELETE FROM spool WHERE account = ?1 AND session = ?2 RETURNING size";
pub(crate) const CLAIM: &str = "UPDATE spool SET others = others | 2 WHERE account = ?1 AND session = ?2";
pub(crate) const INHERIT: &str = "UPDATE spool SET session = ?3, number = ?4 + id, others = others & 1 \
    WHERE account = ?1 AND session = ?2";
pub(crate) const NUMBER: &str = "UPDATE spool SET number = ?4 WHERE account = ?1 AND session = ?2 AND number = ?3";
pub(crate) const RELEASE: &str =
    "UPDATE spool SET session = NULL, number = id, others = 0 WHERE account = ?1 AND session = ?2";
pub(crate) const HOLDERS: &str = "SELECT session, max(others & 2) FROM spool WHERE account = ?1 AND session IS NOT NULL \
    GROUP BY session ORDER BY min(id)";

pub(crate) const FORGET_COUNT: &str = "DELETE FROM counted WHERE account = ?1 AND session = ?2";
pub(crate) const COUNTED: &str = "SELECT count FROM counted WHERE account = ?1 AND session = ?2";
pub(crate) const SAVED: &str = "SELECT session, until, state FROM sessions WHERE account = ?1 ORDER BY number";
pub(crate) const OUTGOING: &str = "SELECT o.id, o.account, o.at, o.remote, o.stanza FROM outgoing o \
    CROSS JOIN accounts a ON a.id = o.account WHERE o.id > ?1 ORDER BY o.id LIMIT ?2";

/// Adds all rows or none.
pub(crate) fn append(
    desk: &Desk,
    account: AccountId,
    rows: &[SpoolRow],
    limits: (u64, u64),
) -> Result<Option<OfflineStored>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let mut held = desk.held(account)?;
    held.messages = held.messages.saturating_add(rows.len() as u64);
    held.bytes = rows.iter().fold(held.bytes, |sum, row| sum.saturating_add(row.stanza.len() as u64));
    if held.messages > limits.0 || held.bytes > limits.1 {
        return Ok(Some(OfflineStored::Full));
    }
    let mut first = None;
    for row in rows {
        let id = desk.number()?;
        let (session, number, others) = match &row.holder {
            Holder::Anybody => (None, id, 0),
            Holder::Session { id: session, place, others } => {
                let number = match place {
                    Place::Sent(number) => signed(*number),
                    Place::Inherited => INHERITED.saturating_add(id),
                    Place::Behind(number) => BEHIND.saturating_add(signed(*number)),
                };
                (Some(&session.0), number, if *others == Others::Served { SERVED } else { 0 })
            }
        };
        desk.prepare_cached(
            "INSERT INTO spool (id, account, session, number, others, at, archive, size, stanza) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                id,
                account.0,
                session,
                number,
                others,
                signed(row.at),
                row.archive.map(|archive| archive.0.cast_signed()),
                signed(row.stanza.len() as u64),
                row.stanza
            ])
        })
        .map_err(sql)?;
        first.get_or_insert(OfflineId(id));
    }
    desk.set_held(account, held);
    Ok(first.map(OfflineStored::Stored))
}

/// Queues a message for another domain.
pub(crate) fn send(desk: &Desk, account: AccountId, row: &OutgoingRow) -> Result<OutgoingId> {
    let id = desk.number()?;
    desk.prepare_cached("INSERT INTO outgoing (id, account, at, remote, stanza) VALUES (?1, ?2, ?3, ?4, ?5)")
        .and_then(|mut statement| {
            statement.execute(params![id, account.0, signed(row.at), row.remote.as_str(), row.stanza])
        })
        .map_err(sql)?;
    Ok(OutgoingId(id))
}

/// Runs a deletion that tells the size of each row that went.
fn remove(desk: &Desk, account: AccountId, statement: &str, values: impl rusqlite::Params) -> Result<()> {
    let mut statement = desk.prepare_cached(statement).map_err(sql)?;
    let mut rows = statement.query(values).map_err(sql)?;
    let mut gone = Held::default();
    while let Some(row) = rows.next().map_err(sql)? {
        gone.messages = gone.messages.saturating_add(1);
        gone.bytes = gone.bytes.saturating_add(unsigned(row.get(0).map_err(sql)?));
    }
    desk.gone(account, gone);
    Ok(())
}

fn message(row: &Row<'_>) -> rusqlite::Result<OfflineMessage> {
    let archive: Option<i64> = row.get(3)?;
    Ok(OfflineMessage {
        id: OfflineId(row.get(0)?),
        at: unsigned(row.get(1)?),
        stanza: row.get(2)?,
        archive: archive.map(|id| ArchiveId(id.cast_unsigned())),
        others: if row.get::<_, i64>(4)? & SERVED == 0 { Others::None } else { Others::Served },
    })
}

fn select(
    connection: &Connection,
    statement: &str,
    values: impl rusqlite::Params,
    messages: &mut Vec<OfflineMessage>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(statement).map_err(sql)?;
    for row in statement.query_map(values, message).map_err(sql)? {
        messages.push(row.map_err(sql)?);
    }
    Ok(())
}

/// The number of a message that is inherited.
fn inherited(id: OfflineId) -> i64 {
    INHERITED.saturating_add(id.0).min(BEHIND - 1)
}

/// Runs a statement for its effect.
fn execute(desk: &Desk, statement: &str, values: impl rusqlite::Params) -> Result<()> {
    desk.prepare_cached(statement).and_then(|mut statement| statement.execute(values)).map(|_| ()).map_err(sql)
}

impl Offline for SqliteStore {
    fn append_offline(
        &self,
        id: AccountId,
        at: u64,
        stanza: Vec<u8>,
        max_messages: u64,
        max_bytes: u64,
    ) -> Pending<OfflineStored> {
        let row = SpoolRow { at, stanza, archive: None, holder: Holder::Anybody };
        let recorded = self.record(id, Half { at, spool: vec![row], ..Half::default() }, (max_messages, max_bytes));
        Box::pin(async { Ok(recorded.await?.spool.unwrap_or(OfflineStored::Full)) })
    }

    fn offline(
        &self,
        id: AccountId,
        share: Share,
        after: Option<OfflineId>,
        limit: usize,
    ) -> Pending<Vec<OfflineMessage>> {
        self.read(move |connection| {
            let mut messages = Vec::new();
            if !alive(connection, id)? {
                return Ok(messages);
            }
            let limit = signed(limit as u64);
            if share.has_anybodys() {
                let after = after.map_or(i64::MIN, |after| after.0);
                select(connection, OF_ANYBODY, params![id.0, after, limit], &mut messages)?;
            }
            if let Some(heir) = share.heir() {
                let after = after.map_or(INHERITED - 1, |after| INHERITED.saturating_add(after.0));
                select(connection, OF_HEIR, params![id.0, heir.0, after, BEHIND, limit], &mut messages)?;
                messages.sort_by_key(|message| message.id);
                messages.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            }
            Ok(messages)
        })
    }

    fn remove_offline(&self, id: AccountId, share: Share, up_to: OfflineId) -> Pending<()> {
        self.write(move |desk| {
            if share.has_anybodys() {
                remove(desk, id, REMOVE_OF_ANYBODY, params![id.0, up_to.0])?;
            }
            if let Some(heir) = share.heir() {
                remove(desk, id, REMOVE_OF_HEIR, params![id.0, heir.0, INHERITED, inherited(up_to)])?;
            }
            Ok(())
        })
    }

    fn count_offline(&self, id: AccountId) -> Pending<u64> {
        self.read(move |connection| {
            if !alive(connection, id)? {
                return Ok(0);
            }
            connection
                .prepare_cached(COUNT_OF_ANYBODY)
                .and_then(|mut statement| statement.query_row([id.0], |row| row.get(0)))
                .map(unsigned)
                .map_err(sql)
        })
    }
}

pub(crate) fn holders(connection: &Connection, account: AccountId) -> Result<Vec<(SmId, Claim)>> {
    let mut statement = connection.prepare_cached(HOLDERS).map_err(sql)?;
    let holder = |row: &Row<'_>| {
        let claim = if row.get::<_, i64>(1)? == CLAIMED { Claim::Made } else { Claim::Open };
        Ok((SmId(row.get(0)?), claim))
    };
    let rows = statement.query_map([account.0], holder).map_err(sql)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sql)
}

fn saved(connection: &Connection, account: AccountId) -> Result<Vec<SavedSession>> {
    let mut statement = connection.prepare_cached(SAVED).map_err(sql)?;
    let rows = statement
        .query_map([account.0], |row| {
            Ok(SavedSession { id: SmId(row.get(0)?), until: unsigned(row.get(1)?), state: row.get(2)? })
        })
        .map_err(sql)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sql)
}

fn forget_sessions(desk: &Desk, account: AccountId) -> Result<()> {
    desk.prepare_cached("DELETE FROM sessions WHERE account = ?1")
        .and_then(|mut statement| statement.execute([account.0]))
        .map(|_| ())
        .map_err(sql)
}

/// Forgets a count. One that was struck off in no step yet comes back after a kill, and is forgotten when it is old.
fn forget_count(desk: &Desk, account: AccountId, id: SmId) -> Result<()> {
    fresh::settle(desk, account)?;
    execute(desk, FORGET_COUNT, params![account.0, id.0])
}

impl Sessions for SqliteStore {
    fn save_sessions(&self, account: AccountId, sessions: Vec<SavedSession>) -> Pending<()> {
        self.write(move |desk| {
            desk.knows(account)?;
            forget_sessions(desk, account)?;
            for session in sessions {
                desk.prepare_cached("INSERT INTO sessions (account, session, until, state) VALUES (?1, ?2, ?3, ?4)")
                    .and_then(|mut statement| {
                        statement.execute(params![account.0, session.id.0, signed(session.until), session.state])
                    })
                    .map_err(sql)?;
            }
            Ok(())
        })
    }

    fn take_sessions(&self, account: AccountId) -> Pending<Vec<SavedSession>> {
        self.write(move |desk| {
            let sessions = saved(desk, account)?;
            forget_sessions(desk, account)?;
            Ok(sessions)
        })
    }

    fn accounts_with_sessions(&self) -> Pending<Vec<BareJid>> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT jid FROM accounts WHERE id IN (SELECT account FROM sessions)")
                .map_err(sql)?;
            let rows = statement.query_map([], |row| parsed(row, 0, BareJid::parse)).map_err(sql)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sql)
        })
    }

    fn committed_count(&self, account: AccountId, id: SmId) -> Pending<Option<u32>> {
        self.read_settled(account, move |connection| {
            connection
                .prepare_cached(COUNTED)
                .and_then(|mut statement| statement.query_row(params![account.0, id.0], |row| row.get(0)).optional())
                .map_err(sql)
        })
    }

    fn spool_holders(&self, account: AccountId) -> Pending<Vec<(SmId, Claim)>> {
        self.read(
            move |connection| {
                if alive(connection, account)? { holders(connection, account) } else { Ok(Vec::new()) }
            },
        )
    }

    fn acknowledge_spool(&self, account: AccountId, id: SmId, number: u64) -> Pending<()> {
        self.write(move |desk| acknowledge(desk, account, id, number))
    }

    fn forget_spool(&self, account: AccountId, id: SmId) -> Pending<()> {
        self.write(move |desk| {
            remove(desk, account, FORGET, params![account.0, id.0])?;
            forget_count(desk, account, id)
        })
    }

    fn give_spool(&self, account: AccountId, share: Share, up_to: OfflineId, id: SmId, number: u64) -> Pending<()> {
        self.write(move |desk| {
            desk.knows(account)?;
            let mut rows: Vec<i64> = Vec::new();
            let mut find = |statement: &str, values: &[&dyn rusqlite::ToSql]| {
                let mut statement = desk.prepare_cached(statement).map_err(sql)?;
                for row in statement.query_map(values, |row| row.get(0)).map_err(sql)? {
                    rows.push(row.map_err(sql)?);
                }
                Ok(())
            };
            if share.has_anybodys() {
                find(UP_TO, params![account.0, up_to.0])?;
            }
            if let Some(heir) = share.heir() {
                find(UP_TO_OF_HEIR, params![account.0, heir.0, INHERITED, inherited(up_to)])?;
            }
            rows.sort_unstable();
            for (number, row) in (number..).zip(rows) {
                execute(desk, GIVE, params![row, id.0, signed(number)])?;
            }
            Ok(())
        })
    }

    fn number_spool(&self, account: AccountId, id: SmId, numbers: Vec<(u64, u64)>) -> Pending<()> {
        self.write(move |desk| {
            desk.knows(account)?;
            for (own, number) in numbers {
                let own = BEHIND.saturating_add(signed(own));
                execute(desk, NUMBER, params![account.0, id.0, own, signed(number)])?;
            }
            Ok(())
        })
    }

    fn claim_spool(&self, account: AccountId, id: SmId, number: u64) -> Pending<()> {
        self.write(move |desk| {
            acknowledge(desk, account, id, number)?;
            execute(desk, CLAIM, params![account.0, id.0])
        })
    }

    fn inherit_spool(&self, account: AccountId, from: SmId, to: SmId) -> Pending<()> {
        self.write(move |desk| {
            execute(desk, INHERIT, params![account.0, from.0, to.0, INHERITED])?;
            forget_count(desk, account, from)
        })
    }

    fn release_spool(&self, account: AccountId, id: SmId, keep: Others) -> Pending<()> {
        self.write(move |desk| {
            if keep == Others::None {
                remove(desk, account, DROP_SERVED, params![account.0, id.0])?;
            }
            execute(desk, RELEASE, params![account.0, id.0])?;
            forget_count(desk, account, id)
        })
    }
}

/// Removes what was sent with numbers up to this one.
fn acknowledge(desk: &Desk, account: AccountId, id: SmId, number: u64) -> Result<()> {
    remove(desk, account, ACKNOWLEDGE, params![account.0, id.0, signed(number).min(INHERITED - 1)])
}

/// A text of ours, as the address it was.
pub(crate) fn parsed<T>(
    row: &Row<'_>,
    column: usize,
    parse: fn(&str) -> std::result::Result<T, stonechat_jid::Error>,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).map_err(|source| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(source)))
}

impl Outgoing for SqliteStore {
    fn outgoing(&self, after: Option<OutgoingId>, limit: usize) -> Pending<Vec<OutgoingMessage>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(OUTGOING).map_err(sql)?;
            let after = after.map_or(i64::MIN, |after| after.0);
            let rows = statement
                .query_map(params![after, signed(limit as u64)], |row| {
                    let (at, stanza) = (unsigned(row.get(2)?), row.get(4)?);
                    Ok(OutgoingMessage {
                        id: OutgoingId(row.get(0)?),
                        account: AccountId(row.get(1)?),
                        row: OutgoingRow { at, remote: parsed(row, 3, Domain::parse)?, stanza },
                    })
                })
                .map_err(sql)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sql)
        })
    }

    fn remove_outgoing(&self, ids: Vec<OutgoingId>) -> Pending<()> {
        self.write(move |desk| {
            for id in ids {
                desk.prepare_cached("DELETE FROM outgoing WHERE id = ?1")
                    .and_then(|mut statement| statement.execute([id.0]))
                    .map_err(sql)?;
            }
            Ok(())
        })
    }
}
