//! Messages for those who are away. A row of counters for each account spares counting, and outlives the messages, so that
//! no id is given twice.

use crate::accounts::{signed, unsigned};
use crate::errors::sql;
use crate::open::SqliteStore;
use rusqlite::{Connection, OptionalExtension, params};
use stonechat_store::{AccountId, Offline, OfflineId, OfflineMessage, OfflineStored, Pending, Result};

struct Counters {
    last_id: i64,
    messages: i64,
    bytes: i64,
}

fn counters(connection: &Connection, id: AccountId) -> Result<Counters> {
    let found = connection
        .prepare_cached("SELECT last_id, messages, bytes FROM offline_counters WHERE account = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([id.0], |row| {
                    Ok(Counters { last_id: row.get(0)?, messages: row.get(1)?, bytes: row.get(2)? })
                })
                .optional()
        })
        .map_err(sql)?;
    Ok(found.unwrap_or(Counters { last_id: 0, messages: 0, bytes: 0 }))
}

fn put_counters(connection: &Connection, id: AccountId, counters: &Counters) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO offline_counters (account, last_id, messages, bytes) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (account) DO UPDATE SET last_id = excluded.last_id, messages = excluded.messages, \
             bytes = excluded.bytes",
        )
        .and_then(|mut statement| statement.execute(params![id.0, counters.last_id, counters.messages, counters.bytes]))
        .map(|_| ())
        .map_err(sql)
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
        self.write(move |connection| {
            let mut counters = counters(connection, id)?;
            let size = i64::try_from(stanza.len()).unwrap_or(i64::MAX);
            counters.messages = counters.messages.saturating_add(1);
            counters.bytes = counters.bytes.saturating_add(size);
            if unsigned(counters.messages) > max_messages || unsigned(counters.bytes) > max_bytes {
                return Ok(OfflineStored::Full);
            }
            // The last id is kept when the message goes: none is given twice.
            counters.last_id = counters.last_id.saturating_add(1);
            put_counters(connection, id, &counters)?;
            connection
                .prepare_cached("INSERT INTO offline (account, id, at, stanza) VALUES (?1, ?2, ?3, ?4)")
                .and_then(|mut statement| statement.execute(params![id.0, counters.last_id, signed(at), stanza]))
                .map_err(sql)?;
            Ok(OfflineStored::Stored(OfflineId(counters.last_id)))
        })
    }

    fn offline(&self, id: AccountId, after: Option<OfflineId>, limit: usize) -> Pending<Vec<OfflineMessage>> {
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT id, at, stanza FROM offline WHERE account = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
                )
                .map_err(sql)?;
            let after = after.map_or(i64::MIN, |after| after.0);
            let rows = statement
                .query_map(params![id.0, after, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                    Ok(OfflineMessage {
                        id: OfflineId(row.get(0)?),
                        at: unsigned(row.get(1)?),
                        stanza: row.get(2)?,
                        archive: None,
                    })
                })
                .map_err(sql)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sql)
        })
    }

    fn remove_offline(&self, id: AccountId, up_to: OfflineId) -> Pending<()> {
        self.write(move |connection| {
            let (messages, bytes): (i64, i64) = connection
                .prepare_cached(
                    "SELECT count(*), coalesce(sum(length(stanza)), 0) FROM offline WHERE account = ?1 AND id <= ?2",
                )
                .and_then(|mut statement| {
                    statement.query_row(params![id.0, up_to.0], |row| Ok((row.get(0)?, row.get(1)?)))
                })
                .map_err(sql)?;
            if messages == 0 {
                return Ok(());
            }
            connection
                .prepare_cached("DELETE FROM offline WHERE account = ?1 AND id <= ?2")
                .and_then(|mut statement| statement.execute(params![id.0, up_to.0]))
                .map_err(sql)?;
            let mut counters = counters(connection, id)?;
            counters.messages = counters.messages.saturating_sub(messages);
            counters.bytes = counters.bytes.saturating_sub(bytes);
            put_counters(connection, id, &counters)
        })
    }

    fn count_offline(&self, id: AccountId) -> Pending<u64> {
        self.read(move |connection| Ok(unsigned(counters(connection, id)?.messages)))
    }
}
