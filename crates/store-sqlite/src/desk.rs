//! What the writing thread works with: its connection, and what it remembers of the file so as not to ask again.
//!
//! Only one thread writes, so what it remembers stays true until something it wrote is undone: then it forgets everything.

use crate::errors::sql;
use crate::fresh::{Fresh, ids};
use rusqlite::{Connection, OptionalExtension, params};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use stonechat_jid::BareJid;
use stonechat_store::{AccountId, Error, Result};

/// Accounts that are remembered at most; beyond it all are forgotten.
const ACCOUNTS: usize = 65_536;
/// Conversations that are remembered at most; beyond it all are forgotten.
const TALKS: usize = 32_768;
/// Numbers that are set aside at a time: at a new start the rest of them is lost, and none is ever given twice.
const NUMBERS: i64 = 1 << 20;

/// What an account's spool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// What is known of an account that is there, as far as somebody asked.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    held: Option<Held>,
    /// No id of its archive is higher.
    last_archived: Option<i64>,
}

#[derive(Default)]
struct Memory {
    accounts: HashMap<i64, Known>,
    /// Hours of talk that were asked for last, by account and partner.
    talks: HashMap<(i64, BareJid), (i64, i64)>,
    /// The number of the newest stanza of the archives.
    bodies: Option<i64>,
    /// The last number that was given, and the last that may be given without setting more aside.
    numbers: Option<(i64, i64)>,
}

/// See the module.
pub(crate) struct Desk {
    connection: Connection,
    memory: RefCell<Memory>,
    fresh: Fresh,
}

impl Deref for Desk {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Desk {
    pub(crate) fn new(connection: Connection) -> Desk {
        Desk { connection, memory: RefCell::default(), fresh: Fresh::default() }
    }

    pub(crate) fn close(self) -> std::result::Result<(), rusqlite::Error> {
        self.connection.close().map_err(|(_, source)| source)
    }

    /// What is not in its place yet.
    pub(crate) fn fresh(&self) -> &Fresh {
        &self.fresh
    }

    /// Something that was written since the last savepoint is undone.
    pub(crate) fn forget_some(&self) {
        *self.memory.borrow_mut() = Memory::default();
        self.fresh.undo();
    }

    /// Something that was written is undone.
    pub(crate) fn forget(&self) {
        *self.memory.borrow_mut() = Memory::default();
        self.fresh.forget();
    }

    /// An account is no more.
    pub(crate) fn forget_account(&self, account: AccountId) {
        self.memory.borrow_mut().accounts.remove(&account.0);
    }

    /// `NotFound` when the account is not there.
    pub(crate) fn knows(&self, account: AccountId) -> Result<()> {
        if self.memory.borrow().accounts.contains_key(&account.0) {
            return Ok(());
        }
        let found: Option<i64> = self
            .prepare_cached("SELECT id FROM accounts WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([account.0], |row| row.get(0)).optional())
            .map_err(sql)?;
        found.ok_or(Error::NotFound)?;
        self.remember(account, |_| {});
        Ok(())
    }

    fn remember(&self, account: AccountId, what: impl FnOnce(&mut Known)) {
        let accounts = &mut self.memory.borrow_mut().accounts;
        if accounts.len() >= ACCOUNTS && !accounts.contains_key(&account.0) {
            accounts.clear();
        }
        what(accounts.entry(account.0).or_default());
    }

    /// `Conflict` when the account's archive has a message of this id; else it is expected to have one.
    pub(crate) fn expect_archived(&self, account: AccountId, id: i64) -> Result<()> {
        let known = self.memory.borrow().accounts.get(&account.0).and_then(|known| known.last_archived);
        // Ids grow, so that the file is asked only once for each account.
        if known.is_none_or(|last| last >= id) {
            let (fresh, taken) = ids(self, account, id)?;
            let (last, archived): (Option<i64>, bool) = self
                .prepare_cached(LAST_ARCHIVED)
                .and_then(|mut statement| {
                    statement.query_row(params![account.0, id], |row| Ok((row.get(0)?, row.get(1)?)))
                })
                .map_err(sql)?;
            if taken || archived {
                return Err(Error::Conflict);
            }
            let last = last.max(fresh).max(Some(id));
            self.remember(account, |known| known.last_archived = last);
        } else {
            self.remember(account, |known| known.last_archived = Some(id));
        }
        Ok(())
    }

    /// What the account's spool holds.
    pub(crate) fn held(&self, account: AccountId) -> Result<Held> {
        if let Some(Known { held: Some(held), .. }) = self.memory.borrow().accounts.get(&account.0) {
            return Ok(*held);
        }
        let held = self
            .prepare_cached(SPOOL_HELD)
            .and_then(|mut statement| {
                statement.query_row([account.0], |row| {
                    Ok(Held {
                        messages: row.get::<_, i64>(0)?.cast_unsigned(),
                        bytes: row.get::<_, i64>(1)?.cast_unsigned(),
                    })
                })
            })
            .map_err(sql)?;
        self.remember(account, |known| known.held = Some(held));
        Ok(held)
    }

    /// The account's spool holds this much now.
    pub(crate) fn set_held(&self, account: AccountId, held: Held) {
        if let Some(remembered) = self.memory.borrow_mut().accounts.get_mut(&account.0) {
            remembered.held = Some(held);
        }
    }

    /// This much has gone from the account's spool.
    pub(crate) fn gone(&self, account: AccountId, gone: Held) {
        if let Some(Known { held: Some(held), .. }) = self.memory.borrow_mut().accounts.get_mut(&account.0) {
            held.messages = held.messages.saturating_sub(gone.messages);
            held.bytes = held.bytes.saturating_sub(gone.bytes);
        }
    }

    /// The number of these hours of talk, when they were the last that was asked for.
    pub(crate) fn talk(&self, account: AccountId, partner: &BareJid, hours: i64) -> Option<i64> {
        // Cloning an address costs nothing.
        let found = self.memory.borrow().talks.get(&(account.0, partner.clone())).copied();
        found.filter(|(of, _)| *of == hours).map(|(_, number)| number)
    }

    pub(crate) fn remember_talk(&self, account: AccountId, partner: BareJid, hours: i64, number: i64) {
        let talks = &mut self.memory.borrow_mut().talks;
        if talks.len() >= TALKS {
            talks.clear();
        }
        talks.insert((account.0, partner), (hours, number));
    }

    /// Some hours are no more.
    pub(crate) fn forget_talks(&self) {
        self.memory.borrow_mut().talks.clear();
    }

    /// The number of the next stanza of the archives, or of a count: at the end of their tables. It may have been one that is
    /// gone.
    pub(crate) fn body(&self) -> Result<i64> {
        let last = self.memory.borrow().bodies;
        let last = match last {
            Some(last) => last,
            None => self
                .prepare_cached(LAST_BODY)
                .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
                .map_err(sql)?,
        };
        // Never one that is being struck off, or was: the numbers of counts alone leave nothing in the file.
        let next = last.max(self.fresh.last()).saturating_add(1);
        self.memory.borrow_mut().bodies = Some(next);
        Ok(next)
    }

    /// A number that was never given before, and is higher than all that were.
    pub(crate) fn number(&self) -> Result<i64> {
        let set_aside = self.memory.borrow().numbers;
        let (last, end) = match set_aside {
            Some((last, end)) if last < end => (last, end),
            _ => {
                let end: i64 = self
                    .prepare_cached("UPDATE numbers SET last = last + ?1 RETURNING last")
                    .and_then(|mut statement| statement.query_row(params![NUMBERS], |row| row.get(0)))
                    .map_err(sql)?;
                (end.saturating_sub(NUMBERS), end)
            }
        };
        let number = last.saturating_add(1);
        self.memory.borrow_mut().numbers = Some((number, end));
        Ok(number)
    }
}

pub(crate) const LAST_BODY: &str = "SELECT max((SELECT coalesce(max(number), 0) FROM bodies), \
    (SELECT coalesce(max(number), 0) FROM fresh))";
pub(crate) const LAST_ARCHIVED: &str = "SELECT (SELECT max(id) FROM archive WHERE account = ?1), \
    EXISTS (SELECT 1 FROM archive WHERE account = ?1 AND id = ?2)";
pub(crate) const SPOOL_HELD: &str = "SELECT count(*), coalesce(sum(size), 0) FROM spool WHERE account = ?1";
