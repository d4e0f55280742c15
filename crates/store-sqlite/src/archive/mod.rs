//! Archives: what is written on the path of a message, and the marks by which messages are known.
//!
//! What a write costs is the pages it touches. A message touches the ends of two tables that all accounts share: that of the
//! stanzas, and that of the keys that go to their places later ([`crate::fresh`]). With whom it was is found by *hours of talk*: one
//! row for each 70 minutes in which the account exchanged messages with the partner, so that a page of a conversation reads the
//! account's keys in those hours only, and no second key is written with each message.

mod page;
#[cfg(test)]
mod plans;
mod removal;
mod search;

pub(crate) use removal::unfinished;

use crate::accounts::{alive, signed, unsigned};
use crate::desk::Desk;
use crate::errors::sql;
use crate::fresh::{self, Count, Key};
use crate::open::SqliteStore;
use crate::spool;
use rusqlite::{Connection, OptionalExtension, params};
use std::cmp::Reverse;
use stonechat_jid::BareJid;
use stonechat_store::{
    AccountId, ArchiveFilter, ArchiveId, ArchivePage, ArchivePosition, ArchiveRow, Archives, Half, Mark, Pending,
    Recorded, Reference, Repeatable, Result, Words,
};

/// Bits of an id below the number of its hours: 2²² milliseconds are 70 minutes.
const HOURS_BITS: u32 = 43;

const TALK: &str = "SELECT number FROM talks WHERE account = ?1 AND partner = ?2 AND hours = ?3";
const BOUNDS: &str = "SELECT (SELECT min(id) FROM archive WHERE account = ?1), \
    (SELECT max(id) FROM archive WHERE account = ?1)";
const ARCHIVED_MARKS: &str = "SELECT id, reference FROM \
    (SELECT id, reference, repeatable FROM archive WHERE account = ?1 ORDER BY id DESC LIMIT ?2) WHERE repeatable != 0";
const OTHER_MARKS: &str = "SELECT at, reference FROM marks WHERE account = ?1 ORDER BY at DESC LIMIT ?2";
/// By the key of names. A reference is made of who sent a message to whom, so that those of one are with one partner; but should
/// somebody make many that are not, no more than these are looked at.
const BY_REFERENCE: &str = "SELECT a.id, a.body FROM \
    (SELECT id FROM names WHERE account = ?1 AND reference = ?3 ORDER BY id DESC LIMIT 16) n \
    CROSS JOIN archive a ON a.account = ?1 AND a.id = n.id \
    CROSS JOIN talks t ON t.number = a.talk AND t.partner = ?2 ORDER BY n.id DESC LIMIT 1";
const COPIES: &str = "UPDATE spool SET stanza = ?3, size = ?4 WHERE account = ?1 AND archive = ?2 RETURNING 1";

/// The hours of talk with a partner; written once for many messages.
fn talk(desk: &Desk, account: AccountId, partner: &BareJid, hours: i64) -> Result<i64> {
    if let Some(number) = desk.talk(account, partner, hours) {
        return Ok(number);
    }
    let found: Option<i64> = desk
        .prepare_cached(TALK)
        .and_then(|mut statement| {
            statement.query_row(params![account.0, partner.as_str(), hours], |row| row.get(0)).optional()
        })
        .map_err(sql)?;
    let number = match found {
        Some(number) => number,
        None => desk
            .prepare_cached("INSERT INTO talks (account, partner, hours) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.insert(params![account.0, partner.as_str(), hours]))
            .map_err(sql)?,
    };
    desk.remember_talk(account, partner.clone(), hours, number);
    Ok(number)
}

/// Appends a message, and the key by which it is found later.
fn archive(desk: &Desk, account: AccountId, row: &ArchiveRow, count: Option<Count>) -> Result<()> {
    let id = row.id.0.cast_signed();
    // First, because an id that is taken is refused before anything is changed.
    desk.expect_archived(account, id)?;
    let talk = talk(desk, account, &row.with.to_bare(), id >> HOURS_BITS)?;
    let body = desk.body()?;
    let key = Key {
        id,
        talk,
        reference: row.mark.map(|mark| mark.reference.0),
        named: row.mark.and_then(|mark| mark.named).map(|named| named.0),
        repeatable: row.mark.is_some_and(|mark| mark.repeatable == Repeatable::Recognised),
    };
    fresh::append(desk, account, body, Some(key), count)?;
    desk.prepare_cached("INSERT INTO bodies (number, resource, stanza) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute(params![body, row.with.resource(), row.stanza]))
        .map(|_| ())
        .map_err(sql)
}

fn mark(desk: &Desk, account: AccountId, mark: Mark, at: u64) -> Result<()> {
    if mark.repeatable == Repeatable::No {
        return Ok(());
    }
    desk.prepare_cached("INSERT INTO marks (account, at, reference) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")
        .and_then(|mut statement| statement.execute(params![account.0, signed(at), mark.reference.0]))
        .map(|_| ())
        .map_err(sql)
}

/// An error that undoes nothing comes before the first change.
fn record(desk: &Desk, account: AccountId, half: &Half, limits: (u64, u64)) -> Result<Recorded> {
    desk.knows(account)?;
    let count = half.counted.map(|(session, count)| Count { session: session.0, count, at: signed(half.at) });
    match (&half.archive, count) {
        (Some(row), count) => archive(desk, account, row, count)?,
        (None, Some(count)) => fresh::append(desk, account, desk.body()?, None, Some(count))?,
        (None, None) => {}
    }
    if let Some(unarchived) = half.mark {
        mark(desk, account, unarchived, half.at)?;
    }
    let spool = spool::append(desk, account, &half.spool, limits)?;
    let outgoing = half.outgoing.as_ref().map(|row| spool::send(desk, account, row)).transpose()?;
    Ok(Recorded { spool, outgoing })
}

/// The first and the last id.
pub(crate) fn bounds(connection: &Connection, account: AccountId) -> Result<Option<(ArchiveId, ArchiveId)>> {
    let bounds: (Option<i64>, Option<i64>) = connection
        .prepare_cached(BOUNDS)
        .and_then(|mut statement| statement.query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(sql)?;
    let id = |id: i64| ArchiveId(id.cast_unsigned());
    Ok(bounds.0.zip(bounds.1).map(|(first, last)| (id(first), id(last))))
}

pub(crate) fn recent_marks(connection: &Connection, account: AccountId, limit: usize) -> Result<Vec<Reference>> {
    let mut marks: Vec<(u64, Reference)> = Vec::new();
    for (statement, archived) in [(ARCHIVED_MARKS, true), (OTHER_MARKS, false)] {
        let mut statement = connection.prepare_cached(statement).map_err(sql)?;
        let mut rows = statement.query(params![account.0, signed(limit as u64)]).map_err(sql)?;
        while let Some(row) = rows.next().map_err(sql)? {
            let at = unsigned(row.get(0).map_err(sql)?);
            let at = if archived { ArchiveId(at).millis() } else { at };
            marks.push((at, Reference(row.get(1).map_err(sql)?)));
        }
    }
    marks.sort_by_key(|(at, _)| Reverse(*at));
    marks.truncate(limit);
    Ok(marks.into_iter().map(|(_, reference)| reference).collect())
}

fn replace(
    desk: &Desk,
    account: AccountId,
    with: &BareJid,
    reference: Reference,
    stanza: &[u8],
) -> Result<Option<ArchiveId>> {
    desk.knows(account)?;
    fresh::settle(desk, account)?;
    let found: Option<(i64, i64)> = desk
        .prepare_cached(BY_REFERENCE)
        .and_then(|mut statement| {
            statement
                .query_row(params![account.0, with.as_str(), reference.0], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .map_err(sql)?;
    let Some((id, body)) = found else { return Ok(None) };
    desk.prepare_cached("UPDATE bodies SET stanza = ?2 WHERE number = ?1")
        .and_then(|mut statement| statement.execute(params![body, stanza]))
        .map_err(sql)?;
    search::forget(desk, account, id)?;
    let copies = desk
        .prepare_cached(COPIES)
        .and_then(|mut statement| {
            let size = signed(stanza.len() as u64);
            let mut rows = statement.query(params![account.0, id, stanza, size])?;
            let mut copies = 0_usize;
            while rows.next()?.is_some() {
                copies = copies.saturating_add(1);
            }
            Ok(copies)
        })
        .map_err(sql)?;
    if copies > 0 {
        // They are of another size now.
        desk.forget_account(account);
    }
    Ok(Some(ArchiveId(id.cast_unsigned())))
}

impl Archives for SqliteStore {
    fn record(&self, account: AccountId, half: Half, limits: (u64, u64)) -> Pending<Recorded> {
        self.write_unguarded(move |desk| record(desk, account, &half, limits))
    }

    fn archive_page(
        &self,
        account: AccountId,
        filter: ArchiveFilter,
        position: ArchivePosition,
        limit: usize,
        words: Words,
    ) -> Pending<ArchivePage> {
        self.look_up(account, filter, words, move |connection, filter| {
            page::page(connection, account, filter, position, limit)
        })
    }

    fn count_archive(&self, account: AccountId, filter: ArchiveFilter, words: Words) -> Pending<u64> {
        self.look_up(account, filter, words, move |connection, filter| page::count(connection, account, filter))
    }

    fn archive_bounds(&self, account: AccountId) -> Pending<Option<(ArchiveId, ArchiveId)>> {
        self.read_settled(account, move |connection| {
            if !alive(connection, account)? {
                return Ok(None);
            }
            bounds(connection, account)
        })
    }

    fn recent_marks(&self, account: AccountId, limit: usize) -> Pending<Vec<Reference>> {
        self.read_settled(account, move |connection| {
            if alive(connection, account)? { recent_marks(connection, account, limit) } else { Ok(Vec::new()) }
        })
    }

    fn replace_archived(
        &self,
        account: AccountId,
        with: BareJid,
        reference: Reference,
        stanza: Vec<u8>,
    ) -> Pending<Option<ArchiveId>> {
        self.write(move |desk| replace(desk, account, &with, reference, &stanza))
    }

    fn expire_archive(&self, before: ArchiveId, limit: usize) -> Pending<u64> {
        self.expire_rows(before, limit)
    }

    fn expire_marks(&self, before: u64, limit: usize) -> Pending<u64> {
        self.write(move |desk| {
            // A step of what is fresh: the rest of it is not old.
            fresh::settle_some(desk)?;
            removal::expire_marks(desk, before, limit)
        })
    }
}
