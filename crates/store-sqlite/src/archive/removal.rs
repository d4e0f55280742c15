//! What leaves an archive: by its age, or with its account. In steps, and by keys only.

use super::search;
use crate::accounts::signed;
use crate::desk::Desk;
use crate::errors::sql;
use crate::fresh;
use crate::open::SqliteStore;
use crate::writer::Step;
use rusqlite::{Connection, Row, params};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use stonechat_store::{AccountId, ArchiveId, Pending, Result};

/// What one step may do: a row costs one, its words cost as much as [`WORDS`] rows.
const STEP: usize = 256;
const WORDS: usize = 7;

/// Of accounts from one on, and of those before it.
pub(super) const EXPIRED: [&str; 2] = [
    "SELECT a.account, a.id FROM accounts o CROSS JOIN archive a ON a.account = o.id AND a.id < ?1 \
     WHERE o.id >= ?2 LIMIT ?3",
    "SELECT a.account, a.id FROM accounts o CROSS JOIN archive a ON a.account = o.id AND a.id < ?1 \
     WHERE o.id < ?2 LIMIT ?3",
];
pub(super) const SILENT: &str = "DELETE FROM talks WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM archive a \
    WHERE a.account = talks.account AND a.id BETWEEN talks.hours << 43 AND (talks.hours << 43) | 8796093022207 \
    AND a.talk = talks.number)";
pub(super) const REMOVE: &str =
    "DELETE FROM archive WHERE account = ?1 AND id = ?2 RETURNING talk, body, reference, named";
pub(super) const NEXT: &str = "SELECT id FROM archive WHERE account = ?1 ORDER BY id LIMIT ?2";
/// What goes with an account beside its archive: which rows, and how each goes. The rest goes by foreign keys.
pub(super) const REST: [(&str, &str); 3] = [
    ("SELECT id FROM spool WHERE account = ?1 LIMIT ?2", "DELETE FROM spool WHERE id = ?1"),
    ("SELECT id FROM outgoing WHERE account = ?1 LIMIT ?2", "DELETE FROM outgoing WHERE id = ?1"),
    ("SELECT number FROM talks WHERE account = ?1 LIMIT ?2", "DELETE FROM talks WHERE number = ?1"),
];
pub(super) const MARKS: &str = "SELECT account, at, reference FROM marks WHERE account = ?1 ORDER BY at LIMIT ?2";
pub(super) const OLD_MARKS: &str = "SELECT account, at, reference FROM marks WHERE at < ?1 ORDER BY at LIMIT ?2";
/// Counts are as many as there are sessions that send: looked through.
const OLD_COUNTS: &str = "SELECT account, session FROM counted WHERE at < ?1 LIMIT ?2";

/// The rows of a query with a condition and a limit.
fn rows<T>(
    desk: &Desk,
    statement: &str,
    condition: i64,
    limit: usize,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = desk.prepare_cached(statement).map_err(sql)?;
    let rows = statement.query_map(params![condition, signed(limit as u64)], row).map_err(sql)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sql)
}

/// Removes marks that a query finds; how many.
fn forget_marks(desk: &Desk, statement: &str, condition: i64, limit: usize) -> Result<usize> {
    let marks = rows(desk, statement, condition, limit, |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
    for mark in &marks {
        let mark: &[i64; 3] = mark;
        desk.prepare_cached("DELETE FROM marks WHERE account = ?1 AND at = ?2 AND reference = ?3")
            .and_then(|mut statement| statement.execute(*mark))
            .map_err(sql)?;
    }
    Ok(marks.len())
}

/// Removes one message. What it cost; 0 when it was not there.
fn remove(desk: &Desk, account: AccountId, id: i64, talks: &mut BTreeSet<i64>) -> Result<usize> {
    let found: Option<(i64, i64, [Option<i64>; 2])> = desk
        .prepare_cached(REMOVE)
        .and_then(|mut statement| {
            let mut rows = statement.query(params![account.0, id])?;
            let found = rows.next()?.map(|row| Ok((row.get(0)?, row.get(1)?, [row.get(2)?, row.get(3)?]))).transpose();
            // To its end, or it is not done.
            while rows.next()?.is_some() {}
            found
        })
        .map_err(sql)?;
    let Some((talk, body, names)) = found else { return Ok(0) };
    talks.insert(talk);
    fresh::drop_message(desk, body)?;
    for name in names.into_iter().flatten() {
        desk.prepare_cached("DELETE FROM names WHERE account = ?1 AND reference = ?2 AND id = ?3")
            .and_then(|mut statement| statement.execute(params![account.0, name, id]))
            .map_err(sql)?;
    }
    desk.prepare_cached("DELETE FROM bodies WHERE number = ?1")
        .and_then(|mut statement| statement.execute([body]))
        .map_err(sql)?;
    Ok(if search::forget(desk, account, id)? { WORDS.saturating_add(1) } else { 1 })
}

/// Forgets hours in which nothing is left.
fn forget_silent(desk: &Desk, talks: &BTreeSet<i64>) -> Result<()> {
    for talk in talks {
        desk.prepare_cached(SILENT).and_then(|mut statement| statement.execute([talk])).map_err(sql)?;
    }
    desk.forget_talks();
    Ok(())
}

impl SqliteStore {
    pub(super) fn expire_rows(&self, before: ArchiveId, limit: usize) -> Pending<u64> {
        let (writer, place) = (Arc::clone(self.writer()), Arc::clone(self.expiry()));
        // Looked for by a reader: it is a look at each account. Begun where the last one ended.
        // What is fresh is not old, but for a little that waited long: a step of it, of which nobody waits for more.
        drop(self.write(fresh::settle_some));
        let begun = self.read(move |connection| {
            let from = place.load(Ordering::Relaxed);
            let mut rows = Vec::new();
            for statement in EXPIRED {
                expired(connection, statement, before, from, limit, &mut rows)?;
            }
            place.store(rows.last().map_or(0, |(account, _)| account.0), Ordering::Relaxed);
            // The writing begins here, whether somebody waits or not.
            let mut rows = rows.into_iter().peekable();
            let mut gone = 0_u64;
            Ok(writer.steps(move |desk| {
                let mut cost = 0_usize;
                let mut talks = BTreeSet::new();
                while cost < STEP
                    && let Some((account, id)) = rows.next()
                {
                    let removed = remove(desk, account, id, &mut talks)?;
                    gone = gone.saturating_add(u64::from(removed > 0));
                    cost = cost.saturating_add(removed.max(1));
                }
                forget_silent(desk, &talks)?;
                Ok(if rows.peek().is_none() { Step::Done(gone) } else { Step::More })
            }))
        });
        Box::pin(async { begun.await?.await })
    }

    /// Empties the larger tables of an account that is no more.
    pub(crate) fn erase(&self, account: AccountId) -> Pending<()> {
        self.write_in_steps(move |desk| erase(desk, account))
    }
}

fn expired(
    connection: &Connection,
    statement: &str,
    before: ArchiveId,
    from: i64,
    limit: usize,
    rows: &mut Vec<(AccountId, i64)>,
) -> Result<()> {
    let left = limit.saturating_sub(rows.len());
    let mut statement = connection.prepare_cached(statement).map_err(sql)?;
    let found = statement
        .query_map(params![before.0.cast_signed(), from, signed(left as u64)], |row| {
            Ok((AccountId(row.get(0)?), row.get(1)?))
        })
        .map_err(sql)?;
    for row in found {
        rows.push(row.map_err(sql)?);
    }
    Ok(())
}

fn erase(desk: &Desk, account: AccountId) -> Result<Step<()>> {
    let wanted: bool = desk
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM erasures WHERE account = ?1)")
        .and_then(|mut statement| statement.query_row([account.0], |row| row.get(0)))
        .map_err(sql)?;
    if !wanted {
        // The deletion of the account failed.
        return Ok(Step::Done(()));
    }
    fresh::settle(desk, account)?;
    let ids: Vec<i64> = rows(desk, NEXT, account.0, STEP, |row| row.get(0))?;
    let mut cost = 0_usize;
    for id in ids {
        if cost >= STEP {
            return Ok(Step::More);
        }
        // Its hours go as a whole, later.
        cost = cost.saturating_add(remove(desk, account, id, &mut BTreeSet::new())?);
    }
    for (found, delete) in REST {
        let keys: Vec<i64> = rows(desk, found, account.0, STEP.saturating_sub(cost), |row| row.get(0))?;
        cost = cost.saturating_add(keys.len());
        for key in keys {
            desk.prepare_cached(delete).and_then(|mut statement| statement.execute([key])).map_err(sql)?;
        }
    }
    cost = cost.saturating_add(forget_marks(desk, MARKS, account.0, STEP.saturating_sub(cost))?);
    if cost >= STEP {
        return Ok(Step::More);
    }
    fresh::drop_account(desk, account)?;
    for statement in ["DELETE FROM searches WHERE account = ?1", "DELETE FROM erasures WHERE account = ?1"] {
        desk.prepare_cached(statement).and_then(|mut statement| statement.execute([account.0])).map_err(sql)?;
    }
    desk.forget_talks();
    Ok(Step::Done(()))
}

pub(super) fn expire_marks(desk: &Desk, before: u64, limit: usize) -> Result<u64> {
    let marks = forget_marks(desk, OLD_MARKS, signed(before), limit)?;
    let left = limit.saturating_sub(marks);
    let counts = rows(desk, OLD_COUNTS, signed(before), left, |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (account, session) in &counts {
        let (account, session): (&i64, &[u8; 16]) = (account, session);
        desk.prepare_cached("DELETE FROM counted WHERE account = ?1 AND session = ?2")
            .and_then(|mut statement| statement.execute(params![account, session]))
            .map_err(sql)?;
    }
    Ok(marks.saturating_add(counts.len()) as u64)
}

/// Accounts whose erasure was interrupted.
pub(crate) fn unfinished(connection: &Connection) -> Result<Vec<AccountId>> {
    let mut statement = connection.prepare("SELECT account FROM erasures").map_err(sql)?;
    let rows = statement.query_map([], |row| row.get(0).map(AccountId)).map_err(sql)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sql)
}
