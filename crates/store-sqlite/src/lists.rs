//! Block lists and registrations for push.

use crate::accounts::signed;
use crate::errors::sql;
use crate::open::SqliteStore;
use crate::spool::parsed;
use rusqlite::{Connection, Row, params};
use stonechat_jid::Jid;
use stonechat_store::{AccountId, BlockLists, Error, Pending, PushRegistration, PushRegistrations, Result};

fn count(connection: &Connection, statement: &str, account: AccountId) -> Result<i64> {
    connection
        .prepare_cached(statement)
        .and_then(|mut statement| statement.query_row([account.0], |row| row.get(0)))
        .map_err(sql)
}

pub(crate) fn blocked(connection: &Connection, account: AccountId) -> Result<Vec<Jid>> {
    let mut statement =
        connection.prepare_cached("SELECT jid FROM blocked WHERE account = ?1 ORDER BY jid").map_err(sql)?;
    let rows = statement.query_map([account.0], |row| parsed(row, 0, Jid::parse)).map_err(sql)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sql)
}

impl BlockLists for SqliteStore {
    fn blocked(&self, account: AccountId) -> Pending<Vec<Jid>> {
        self.read(move |connection| blocked(connection, account))
    }

    fn change_blocked(&self, account: AccountId, add: Vec<Jid>, remove: Vec<Jid>, most: usize) -> Pending<()> {
        self.write(move |connection| {
            const COUNT: &str = "SELECT count(*) FROM blocked WHERE account = ?1";
            connection.knows(account)?;
            let before = count(connection, COUNT, account)?;
            for jid in remove {
                connection
                    .prepare_cached("DELETE FROM blocked WHERE account = ?1 AND jid = ?2")
                    .and_then(|mut statement| statement.execute(params![account.0, jid.as_str()]))
                    .map_err(sql)?;
            }
            for jid in add {
                connection
                    .prepare_cached("INSERT INTO blocked (account, jid) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
                    .and_then(|mut statement| statement.execute(params![account.0, jid.as_str()]))
                    .map_err(sql)?;
            }
            let after = count(connection, COUNT, account)?;
            if after > before && after > signed(most as u64) {
                return Err(Error::Full("the account's block list is at its bound".into()));
            }
            Ok(())
        })
    }
}

fn registration(row: &Row<'_>) -> rusqlite::Result<PushRegistration> {
    Ok(PushRegistration {
        service: parsed(row, 0, Jid::parse)?,
        node: row.get(1)?,
        options: row.get(2)?,
        resource: row.get(3)?,
    })
}

pub(crate) fn push_registrations(connection: &Connection, account: AccountId) -> Result<Vec<PushRegistration>> {
    let mut statement = connection
        .prepare_cached("SELECT service, node, options, resource FROM push WHERE account = ?1 ORDER BY service, node")
        .map_err(sql)?;
    let rows = statement.query_map([account.0], registration).map_err(sql)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sql)
}

impl PushRegistrations for SqliteStore {
    fn push_registrations(&self, account: AccountId) -> Pending<Vec<PushRegistration>> {
        self.read(move |connection| push_registrations(connection, account))
    }

    fn put_push(&self, account: AccountId, registration: PushRegistration, most: usize) -> Pending<()> {
        self.write(move |connection| {
            const COUNT: &str = "SELECT count(*) FROM push WHERE account = ?1";
            let before = count(connection, COUNT, account)?;
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO push (account, service, node, options, resource) VALUES (?1, ?2, ?3, ?4, ?5)",
                )
                .and_then(|mut statement| {
                    statement.execute(params![
                        account.0,
                        registration.service.as_str(),
                        registration.node,
                        registration.options,
                        registration.resource
                    ])
                })
                .map_err(sql)?;
            let after = count(connection, COUNT, account)?;
            if after > before && after > signed(most as u64) {
                return Err(Error::Full("the account's registrations for push are at their bound".into()));
            }
            Ok(())
        })
    }

    fn remove_push(&self, account: AccountId, service: Jid, node: Option<String>) -> Pending<()> {
        self.write(move |connection| {
            let removed = match node {
                Some(node) => connection
                    .prepare_cached("DELETE FROM push WHERE account = ?1 AND service = ?2 AND node = ?3")
                    .and_then(|mut statement| statement.execute(params![account.0, service.as_str(), node])),
                None => connection
                    .prepare_cached("DELETE FROM push WHERE account = ?1 AND service = ?2")
                    .and_then(|mut statement| statement.execute(params![account.0, service.as_str()])),
            };
            removed.map(|_| ()).map_err(sql)
        })
    }
}
