//! What was written last, and how it goes to its place.
//!
//! A key that is put among those of its account changes a page of the file for each message, and the page is most of what a
//! message costs. So on its path a half is appended, to the ends of tables that all accounts share. Its keys go to their places
//! later, many of an account at a time: before somebody reads the account's archive, when there are [`OF_ACCOUNT`] of them, or
//! in the order of the accounts when there are [`MOST`] of all accounts together. Readers never see any other state: who reads
//! an account that has such keys comes by the writing thread.
//!
//! They are remembered here too, and read anew from the file at the start and after something was undone. Putting one to its
//! place a second time does nothing, and what leaves an archive leaves them too: so it does not matter when they are struck off.

use crate::desk::Desk;
use crate::errors::sql;
use rusqlite::params;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stonechat_store::{AccountId, Result};

/// Keys of one account that wait at most: putting them to their places takes a millisecond.
const OF_ACCOUNT: usize = 256;
/// Keys of all accounts after which they go to their places: the more, the more of them share a page.
const MOST: usize = 65_536;
/// Keys that go to their places with one commit.
const STEP: usize = 256;
/// Numbers that are struck off with one commit.
const STRUCK: i64 = 4_096;

pub(crate) const ALL: &str = "SELECT number, account, id, talk, reference, named, repeatable, session, count, at \
    FROM fresh ORDER BY number";
pub(crate) const STRIKE: &str = "DELETE FROM fresh WHERE number <= ?1";
const APPEND: &str = "INSERT INTO fresh (number, account, id, talk, reference, named, repeatable, session, count, at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const PLACE: &str = "INSERT INTO archive (account, id, talk, reference, repeatable, body, named) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
const NAME: &str = "INSERT INTO names (account, reference, id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
/// An account that is no more has no counts.
const COUNT: &str = "INSERT INTO counted (account, session, count, at) \
    SELECT id, ?2, ?3, ?4 FROM accounts WHERE id = ?1 \
    ON CONFLICT (account, session) DO UPDATE SET count = excluded.count, at = excluded.at";

/// A key of the archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) id: i64,
    pub(crate) talk: i64,
    pub(crate) reference: Option<i64>,
    pub(crate) named: Option<i64>,
    pub(crate) repeatable: bool,
}

/// A count of a session's stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) session: [u8; 16],
    pub(crate) count: u32,
    pub(crate) at: i64,
}

/// Accounts of which something is not in its place, as far as others than the writing thread have to know. An account may be
/// named that has nothing any more, never the other way round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unsettled(Arc<Mutex<HashSet<i64>>>);

impl Unsettled {
    fn accounts(&self) -> MutexGuard<'_, HashSet<i64>> {
        // No code runs under this lock that could leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something of the account may not be in its place. When not, a read that begins after this sees it all.
    pub(crate) fn has(&self, account: AccountId) -> bool {
        self.accounts().contains(&account.0)
    }
}

/// What waits of an account. Of its counts the last of each session.
#[derive(Debug, Default)]
struct Waiting {
    keys: Vec<(i64, Key)>,
    counts: Vec<Count>,
}

/// The way of all that is fresh to its place.
#[derive(Debug)]
struct Pass {
    /// The accounts that are left, the last one first.
    accounts: Vec<i64>,
    /// Up to this number everything is in its place when none is left.
    up_to: i64,
}

#[derive(Debug, Default)]
struct Memory {
    waiting: HashMap<i64, Waiting>,
    keys: usize,
    /// The highest number, and up to which they are struck off.
    last: i64,
    struck: i64,
    pass: Option<Pass>,
    /// Accounts of which everything came to its place since the last commit.
    settled: Vec<i64>,
    /// Something changed since the last savepoint.
    changed: bool,
}

impl Memory {
    fn add(&mut self, account: i64, number: i64, key: Option<Key>, count: Option<Count>) {
        let waiting = self.waiting.entry(account).or_default();
        if let Some(key) = key {
            waiting.keys.push((number, key));
            self.keys = self.keys.saturating_add(1);
        }
        if let Some(count) = count {
            match waiting.counts.iter_mut().find(|other| other.session == count.session) {
                Some(other) => *other = count,
                None => waiting.counts.push(count),
            }
        }
        if self.last == 0 {
            self.struck = number.saturating_sub(1);
        }
        self.last = self.last.max(number);
        self.changed = true;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// `None` when it has to be read from the file.
    memory: RefCell<Option<Memory>>,
    unsettled: Unsettled,
}

impl Fresh {
    pub(crate) fn unsettled(&self) -> Unsettled {
        self.unsettled.clone()
    }

    /// The highest number that was given.
    pub(crate) fn last(&self) -> i64 {
        self.memory.borrow().as_ref().map_or(0, |memory| memory.last)
    }

    /// Something that was written is undone.
    pub(crate) fn forget(&self) {
        *self.memory.borrow_mut() = None;
    }

    /// A savepoint begins.
    pub(crate) fn begin(&self) {
        if let Some(memory) = &mut *self.memory.borrow_mut() {
            memory.changed = false;
        }
    }

    /// What was written since the savepoint is undone.
    pub(crate) fn undo(&self) {
        if self.memory.borrow().as_ref().is_some_and(|memory| memory.changed) {
            self.forget();
        }
    }

    /// What was written is committed: readers find in its place what was put there.
    pub(crate) fn committed(&self) {
        if let Some(memory) = &mut *self.memory.borrow_mut()
            && !memory.settled.is_empty()
        {
            let mut accounts = self.unsettled.accounts();
            for account in memory.settled.drain(..) {
                if !memory.waiting.contains_key(&account) {
                    accounts.remove(&account);
                }
            }
        }
    }
}

/// Reads what is fresh when it is not known.
pub(crate) fn recall(desk: &Desk) -> Result<()> {
    let fresh = desk.fresh();
    if fresh.memory.borrow().is_some() {
        return Ok(());
    }
    let mut memory = Memory::default();
    let mut statement = desk.prepare_cached(ALL).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let (number, account): (i64, i64) = (row.get(0).map_err(sql)?, row.get(1).map_err(sql)?);
        let mut read = || {
            let id: Option<i64> = row.get(2)?;
            let key = match id {
                Some(id) => Some(Key {
                    id,
                    talk: row.get(3)?,
                    reference: row.get(4)?,
                    named: row.get(5)?,
                    repeatable: row.get(6)?,
                }),
                None => None,
            };
            let session: Option<[u8; 16]> = row.get(7)?;
            let count = match session {
                Some(session) => Some(Count { session, count: row.get(8)?, at: row.get(9)? }),
                None => None,
            };
            memory.add(account, number, key, count);
            Ok(())
        };
        read().map_err(sql)?;
    }
    fresh.unsettled.accounts().extend(memory.waiting.keys());
    *fresh.memory.borrow_mut() = Some(memory);
    Ok(())
}

/// Appends a key, a count, or both.
pub(crate) fn append(
    desk: &Desk,
    account: AccountId,
    number: i64,
    key: Option<Key>,
    count: Option<Count>,
) -> Result<()> {
    recall(desk)?;
    desk.prepare_cached(APPEND)
        .and_then(|mut statement| {
            statement.execute(params![
                number,
                account.0,
                key.map(|key| key.id),
                key.map(|key| key.talk),
                key.and_then(|key| key.reference),
                key.and_then(|key| key.named),
                key.is_some_and(|key| key.repeatable),
                count.map(|count| count.session),
                count.map(|count| count.count),
                count.map_or(0, |count| count.at),
            ])
        })
        .map_err(sql)?;
    let mut full = false;
    if let Some(memory) = &mut *desk.fresh().memory.borrow_mut() {
        if !memory.waiting.contains_key(&account.0) {
            // Before the commit: whoever reads after it must know.
            desk.fresh().unsettled.accounts().insert(account.0);
        }
        memory.add(account.0, number, key, count);
        full = memory.waiting.get(&account.0).is_some_and(|waiting| waiting.keys.len() >= OF_ACCOUNT);
    }
    if full {
        settle(desk, account)?;
    }
    Ok(())
}

/// Whether something of the account is not in its place; when not, readers hear of it. Outside of transactions only.
pub(crate) fn is_fresh(desk: &Desk, account: AccountId) -> Result<bool> {
    recall(desk)?;
    let fresh = desk.fresh().memory.borrow().as_ref().is_some_and(|memory| memory.waiting.contains_key(&account.0));
    if !fresh {
        desk.fresh().unsettled.accounts().remove(&account.0);
    }
    Ok(fresh)
}

/// The ids of the account's messages that are not in their places: the highest, and whether this is one of them.
pub(crate) fn ids(desk: &Desk, account: AccountId, id: i64) -> Result<(Option<i64>, bool)> {
    recall(desk)?;
    let memory = desk.fresh().memory.borrow();
    let keys = memory.as_ref().and_then(|memory| memory.waiting.get(&account.0)).map(|waiting| &waiting.keys);
    let ids = || keys.into_iter().flatten().map(|(_, key)| key.id);
    Ok((ids().max(), ids().any(|other| other == id)))
}

/// Puts everything of an account to its place; how many keys.
pub(crate) fn settle(desk: &Desk, account: AccountId) -> Result<usize> {
    recall(desk)?;
    let taken = match &mut *desk.fresh().memory.borrow_mut() {
        Some(memory) => {
            let taken = memory.waiting.remove(&account.0);
            memory.changed = true;
            memory.settled.push(account.0);
            memory.keys = memory.keys.saturating_sub(taken.as_ref().map_or(0, |taken| taken.keys.len()));
            taken
        }
        None => None,
    };
    let Some(taken) = taken else { return Ok(0) };
    for (number, key) in &taken.keys {
        desk.prepare_cached(PLACE)
            .and_then(|mut statement| {
                statement.execute(params![
                    account.0,
                    key.id,
                    key.talk,
                    key.reference,
                    key.repeatable,
                    number,
                    key.named
                ])
            })
            .map_err(sql)?;
    }
    // In the order of their own key, which has nothing to do with that of the messages.
    let named = |(_, key): &(i64, Key)| [key.reference, key.named].map(|name| name.map(|name| (name, key.id)));
    let mut names: Vec<(i64, i64)> = taken.keys.iter().flat_map(named).flatten().collect();
    names.sort_unstable();
    for (name, id) in names {
        desk.prepare_cached(NAME)
            .and_then(|mut statement| statement.execute(params![account.0, name, id]))
            .map_err(sql)?;
    }
    for count in &taken.counts {
        desk.prepare_cached(COUNT)
            .and_then(|mut statement| statement.execute(params![account.0, count.session, count.count, count.at]))
            .map_err(sql)?;
    }
    Ok(taken.keys.len())
}

/// Whether a step of the way of everything that is fresh is due.
pub(crate) fn is_due(desk: &Desk) -> bool {
    // When it is not known, nothing was appended since something was undone.
    let due = |memory: &Memory| memory.pass.is_some() || memory.keys >= MOST;
    desk.fresh().memory.borrow().as_ref().is_some_and(due)
}

/// A step of the way of everything that is fresh.
pub(crate) fn settle_some(desk: &Desk) -> Result<()> {
    recall(desk)?;
    if let Some(memory) = &mut *desk.fresh().memory.borrow_mut()
        && memory.pass.is_none()
        && memory.last > memory.struck
    {
        let mut accounts: Vec<i64> = memory.waiting.keys().copied().collect();
        accounts.sort_unstable_by(|one, other| other.cmp(one));
        memory.pass = Some(Pass { accounts, up_to: memory.last });
    }
    let next = || desk.fresh().memory.borrow_mut().as_mut()?.pass.as_mut()?.accounts.pop();
    let mut done = 0_usize;
    while done < STEP
        && let Some(account) = next()
    {
        done = done.saturating_add(settle(desk, AccountId(account))?.max(1));
    }
    if done < STEP {
        strike(desk)?;
    }
    Ok(())
}

/// Strikes off what is in its place.
fn strike(desk: &Desk) -> Result<()> {
    let up_to = match &mut *desk.fresh().memory.borrow_mut() {
        Some(Memory { pass: pass @ Some(_), struck, last, .. }) => {
            let end = pass.as_ref().map_or(*last, |pass| pass.up_to);
            *struck = struck.saturating_add(STRUCK).min(end);
            if *struck == end {
                *pass = None;
            }
            *struck
        }
        _ => return Ok(()),
    };
    desk.prepare_cached(STRIKE).and_then(|mut statement| statement.execute([up_to])).map(|_| ()).map_err(sql)
}

/// Strikes off a message that leaves its archive.
pub(crate) fn drop_message(desk: &Desk, number: i64) -> Result<()> {
    desk.prepare_cached("DELETE FROM fresh WHERE number = ?1")
        .and_then(|mut statement| statement.execute([number]))
        .map(|_| ())
        .map_err(sql)
}

/// Strikes off all of an account that is no more. Looks through what is fresh, of which there is never much.
pub(crate) fn drop_account(desk: &Desk, account: AccountId) -> Result<()> {
    desk.prepare_cached("DELETE FROM fresh WHERE account = ?1")
        .and_then(|mut statement| statement.execute([account.0]))
        .map(|_| ())
        .map_err(sql)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::{MIGRATIONS, migrate};
    use rusqlite::Connection;
    use std::path::Path;

    fn desk(path: &Path) -> Desk {
        let mut connection = Connection::open(path).unwrap();
        migrate(&mut connection, path, MIGRATIONS).unwrap();
        // One transaction for it all: nothing is synced.
        connection.execute_batch("BEGIN").unwrap();
        for id in 0..500 {
            let values = (id, format!("person{id}@example.org"));
            connection
                .execute("INSERT INTO accounts (id, jid, domain, created) VALUES (?1, ?2, 'example.org', 1)", values)
                .unwrap();
        }
        Desk::new(connection)
    }

    fn rows(desk: &Desk, table: &str) -> i64 {
        desk.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    /// A message of an account: each has a name of its own.
    fn append(desk: &Desk, number: i64, account: i64) {
        let key = Key { id: number << 20, talk: 1, reference: Some(number), named: None, repeatable: false };
        let count = Count { session: [7; 16], count: number as u32, at: 1 };
        super::append(desk, AccountId(account), number, Some(key), Some(count)).unwrap();
    }

    #[test]
    fn what_is_fresh_goes_to_its_place_in_steps_and_is_struck_off() {
        let directory = tempfile::tempdir().unwrap();
        let desk = desk(&directory.path().join("a.sqlite"));
        let unsettled = desk.fresh().unsettled();
        for number in 1..=5_000 {
            append(&desk, number, number % 500);
        }
        assert_eq!((rows(&desk, "fresh"), rows(&desk, "archive")), (5_000, 0));
        assert!(!is_due(&desk) && unsettled.has(AccountId(3)));
        let mut steps = 0;
        while rows(&desk, "fresh") > 0 {
            let before = rows(&desk, "archive");
            settle_some(&desk).unwrap();
            let settled = rows(&desk, "archive") - before;
            assert!(settled <= (STEP + OF_ACCOUNT) as i64, "{settled} in one step");
            // What comes meanwhile, for one whose turn is over, stays.
            if steps == 3 {
                append(&desk, 5_001, 1);
            }
            steps += 1;
            assert!(steps < 100, "it does not end");
            assert!(unsettled.has(AccountId(3)), "nothing is committed yet");
            if rows(&desk, "fresh") == 1 {
                break;
            }
        }
        desk.fresh().committed();
        assert!(!unsettled.has(AccountId(3)) && unsettled.has(AccountId(1)));
        assert_eq!((rows(&desk, "fresh"), rows(&desk, "archive"), rows(&desk, "names")), (1, 5_000, 5_000));
        let count: i64 = desk.query_row("SELECT count FROM counted WHERE account = 3", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 4_503, "the last of them");
    }

    #[test]
    fn an_account_has_few_keys_that_are_not_in_their_places() {
        let directory = tempfile::tempdir().unwrap();
        let desk = desk(&directory.path().join("a.sqlite"));
        for number in 1..=1_000 {
            append(&desk, number, 1);
        }
        assert_eq!(rows(&desk, "archive"), 1_000 - 1_000 % OF_ACCOUNT as i64);
        assert_eq!(settle(&desk, AccountId(1)).unwrap(), 1_000 % OF_ACCOUNT);
        assert_eq!(rows(&desk, "archive"), 1_000);
    }

    #[test]
    fn what_was_put_to_its_place_and_removed_does_not_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let desk = desk(&directory.path().join("a.sqlite"));
        for number in 1..=10 {
            append(&desk, number, 1);
        }
        settle(&desk, AccountId(1)).unwrap();
        desk.execute("DELETE FROM archive WHERE body = 4", []).unwrap();
        drop_message(&desk, 4).unwrap();
        desk.execute("DELETE FROM accounts WHERE id = 1", []).unwrap();
        // As after a kill: it is not known what was done.
        desk.forget();
        assert_eq!(settle(&desk, AccountId(1)).unwrap(), 9);
        assert_eq!(rows(&desk, "archive"), 9);
        // Of an account that is gone meanwhile there are no counts.
        desk.execute("DELETE FROM counted", []).unwrap();
        desk.forget();
        settle(&desk, AccountId(1)).unwrap();
        assert_eq!(rows(&desk, "counted"), 0);
        drop_account(&desk, AccountId(1)).unwrap();
        assert_eq!(rows(&desk, "fresh"), 0);
    }

    #[test]
    fn a_number_that_is_struck_off_is_not_given_again_while_others_are() {
        let directory = tempfile::tempdir().unwrap();
        let desk = desk(&directory.path().join("a.sqlite"));
        let count = Some(Count { session: [7; 16], count: 1, at: 1 });
        for account in 0..300 {
            super::append(&desk, AccountId(account), desk.body().unwrap(), None, count).unwrap();
        }
        while rows(&desk, "fresh") > 0 {
            settle_some(&desk).unwrap();
        }
        // Something else is undone.
        desk.fresh().begin();
        desk.forget_some();
        assert_eq!(desk.body().unwrap(), 301);
    }

    #[test]
    fn what_is_undone_is_not_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let desk = desk(&directory.path().join("a.sqlite"));
        append(&desk, 1, 1);
        desk.execute_batch("SAVEPOINT one").unwrap();
        desk.fresh().begin();
        append(&desk, 2, 1);
        assert_eq!(settle(&desk, AccountId(1)).unwrap(), 2);
        desk.execute_batch("ROLLBACK TO one; RELEASE one").unwrap();
        desk.forget_some();
        assert_eq!((rows(&desk, "fresh"), rows(&desk, "archive")), (1, 0));
        assert_eq!(ids(&desk, AccountId(1), 2 << 20).unwrap(), (Some(1 << 20), false));
        assert_eq!(settle(&desk, AccountId(1)).unwrap(), 1);
    }
}
