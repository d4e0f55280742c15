//! Rosters.

use crate::accounts::{signed, unsigned};
use crate::errors::sql;
use crate::open::SqliteStore;
use rusqlite::{Connection, OptionalExtension, params};
use stonechat_jid::BareJid;
use stonechat_store::{
    AccountId, Error, Pending, ROSTER_REMOVALS_KEPT, Result, RosterRecord, Rosters, StoredRoster, StoredSubscription,
};

/// Separates groups; no XML text can have it.
const SEPARATOR: char = '\u{1f}';

const TO: i64 = 1;
const FROM: i64 = 2;
const PENDING_OUT: i64 = 4;
const PENDING_IN: i64 = 8;
const APPROVED: i64 = 16;
const LISTED: i64 = 32;

fn flags(entry: &RosterRecord) -> i64 {
    let subscription = entry.subscription;
    [
        (subscription.to, TO),
        (subscription.from, FROM),
        (subscription.pending_out, PENDING_OUT),
        (subscription.pending_in, PENDING_IN),
        (subscription.approved, APPROVED),
        (entry.listed, LISTED),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .fold(0, |flags, (_, bit)| flags | bit)
}

fn set_version(connection: &Connection, id: AccountId, version: u64) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO roster_versions (account, version, horizon) VALUES (?1, ?2, 0) \
             ON CONFLICT (account) DO UPDATE SET version = max(version, excluded.version)",
        )
        .and_then(|mut statement| statement.execute(params![id.0, signed(version)]))
        .map(|_| ())
        .map_err(sql)
}

pub(crate) fn roster(connection: &Connection, id: AccountId) -> Result<StoredRoster> {
    let mut roster = StoredRoster::default();
    let versions: Option<(i64, i64)> = connection
        .prepare_cached("SELECT version, horizon FROM roster_versions WHERE account = ?1")
        .and_then(|mut statement| statement.query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(sql)?;
    if let Some((version, horizon)) = versions {
        roster.version = unsigned(version);
        roster.horizon = unsigned(horizon);
    }
    let mut statement = connection
        .prepare_cached("SELECT contact, name, groups, flags, request, version FROM roster WHERE account = ?1")
        .map_err(sql)?;
    let mut rows = statement.query([id.0]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let contact: String = row.get(0).map_err(sql)?;
        let groups: String = row.get(2).map_err(sql)?;
        let flags: i64 = row.get(3).map_err(sql)?;
        roster.entries.push(RosterRecord {
            jid: BareJid::parse(&contact).map_err(|source| Error::Backend(Box::new(source)))?,
            name: row.get(1).map_err(sql)?,
            groups: groups.split(SEPARATOR).filter(|group| !group.is_empty()).map(str::to_owned).collect(),
            subscription: StoredSubscription {
                to: flags & TO != 0,
                from: flags & FROM != 0,
                pending_out: flags & PENDING_OUT != 0,
                pending_in: flags & PENDING_IN != 0,
                approved: flags & APPROVED != 0,
            },
            request: row.get(4).map_err(sql)?,
            listed: flags & LISTED != 0,
            version: unsigned(row.get(5).map_err(sql)?),
        });
    }
    let mut statement = connection
        .prepare_cached("SELECT contact, version FROM roster_removed WHERE account = ?1 ORDER BY version")
        .map_err(sql)?;
    let mut rows = statement.query([id.0]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let contact: String = row.get(0).map_err(sql)?;
        let contact = BareJid::parse(&contact).map_err(|source| Error::Backend(Box::new(source)))?;
        roster.removed.push((contact, unsigned(row.get(1).map_err(sql)?)));
    }
    Ok(roster)
}

impl Rosters for SqliteStore {
    fn roster(&self, id: AccountId) -> Pending<StoredRoster> {
        self.read(move |connection| roster(connection, id))
    }

    fn put_roster_entry(&self, id: AccountId, entry: RosterRecord) -> Pending<()> {
        self.write(move |connection| {
            let groups = entry.groups.join(&SEPARATOR.to_string());
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO roster (account, contact, name, groups, flags, request, version) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )
                .and_then(|mut statement| {
                    statement.execute(params![
                        id.0,
                        entry.jid.as_str(),
                        entry.name,
                        groups,
                        flags(&entry),
                        entry.request,
                        signed(entry.version)
                    ])
                })
                .map_err(sql)?;
            if entry.listed {
                connection
                    .prepare_cached("DELETE FROM roster_removed WHERE account = ?1 AND contact = ?2")
                    .and_then(|mut statement| statement.execute(params![id.0, entry.jid.as_str()]))
                    .map_err(sql)?;
            }
            set_version(connection, id, entry.version)
        })
    }

    fn remove_roster_entry(&self, id: AccountId, contact: &BareJid, version: u64) -> Pending<()> {
        let contact = contact.to_string();
        self.write(move |connection| {
            for statement in [
                "DELETE FROM roster WHERE account = ?1 AND contact = ?2",
                "DELETE FROM roster_removed WHERE account = ?1 AND contact = ?2",
            ] {
                connection
                    .prepare_cached(statement)
                    .and_then(|mut statement| statement.execute(params![id.0, contact]))
                    .map_err(sql)?;
            }
            set_version(connection, id, version)?;
            connection
                .prepare_cached("INSERT INTO roster_removed (account, version, contact) VALUES (?1, ?2, ?3)")
                .and_then(|mut statement| statement.execute(params![id.0, signed(version), contact]))
                .map_err(sql)?;
            let oldest: Option<i64> = connection
                .prepare_cached(
                    "SELECT version FROM roster_removed WHERE account = ?1 ORDER BY version DESC LIMIT 1 OFFSET ?2",
                )
                .and_then(|mut statement| {
                    statement.query_row(params![id.0, ROSTER_REMOVALS_KEPT], |row| row.get(0)).optional()
                })
                .map_err(sql)?;
            if let Some(oldest) = oldest {
                connection
                    .prepare_cached("DELETE FROM roster_removed WHERE account = ?1 AND version <= ?2")
                    .and_then(|mut statement| statement.execute(params![id.0, oldest]))
                    .map_err(sql)?;
                connection
                    .prepare_cached("UPDATE roster_versions SET horizon = ?2 WHERE account = ?1")
                    .and_then(|mut statement| statement.execute(params![id.0, oldest]))
                    .map_err(sql)?;
            }
            Ok(())
        })
    }
}
