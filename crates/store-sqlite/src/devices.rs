//! Devices and their tokens.

use crate::accounts::{signed, unsigned};
use crate::errors::sql;
use crate::open::SqliteStore;
use rusqlite::{Connection, OptionalExtension, Row, params};
use stonechat_store::{AccountId, Device, Devices, Error, Pending, Proofs, Result, StoredToken};

fn device(row: &Row<'_>) -> rusqlite::Result<Device> {
    Ok(Device {
        id: row.get(0)?,
        software: row.get(1)?,
        name: row.get(2)?,
        mechanism: row.get(3)?,
        first_seen: unsigned(row.get(4)?),
        last_seen: unsigned(row.get(5)?),
        tokens: Vec::new(),
    })
}

fn token(row: &Row<'_>) -> rusqlite::Result<StoredToken> {
    Ok(StoredToken {
        seed: row.get(0)?,
        mechanism: row.get(1)?,
        issued: unsigned(row.get(2)?),
        expires: unsigned(row.get(3)?),
        count: row.get::<_, i64>(4)?.cast_unsigned(),
    })
}

fn with_tokens(connection: &Connection, account: AccountId, mut device: Device) -> Result<Device> {
    let mut statement = connection
        .prepare_cached(
            "SELECT seed, mechanism, issued, expires, count FROM tokens WHERE account = ?1 AND device = ?2 \
             ORDER BY issued, seed",
        )
        .map_err(sql)?;
    let rows = statement.query_map(params![account.0, device.id], token).map_err(sql)?;
    device.tokens = rows.collect::<rusqlite::Result<_>>().map_err(sql)?;
    Ok(device)
}

fn put(connection: &Connection, account: AccountId, device: &Device) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO devices (account, id, software, name, mechanism, first_seen, last_seen) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (account, id) DO UPDATE SET software = excluded.software, \
             name = excluded.name, mechanism = excluded.mechanism, last_seen = excluded.last_seen",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                account.0,
                device.id,
                device.software,
                device.name,
                device.mechanism,
                signed(device.first_seen),
                signed(device.last_seen)
            ])
        })
        .map(|_| ())
        .map_err(sql)
}

fn put_token(
    connection: &Connection,
    account: AccountId,
    device: &str,
    token: &StoredToken,
    beside: Option<[u8; 16]>,
) -> Result<()> {
    let known = connection
        .prepare_cached("SELECT 1 FROM devices WHERE account = ?1 AND id = ?2")
        .and_then(|mut statement| statement.exists(params![account.0, device]))
        .map_err(sql)?;
    if !known {
        return Err(Error::NotFound);
    }
    connection
        .prepare_cached("DELETE FROM tokens WHERE account = ?1 AND device = ?2 AND seed IS NOT ?3")
        .and_then(|mut statement| statement.execute(params![account.0, device, beside]))
        .map_err(sql)?;
    connection
        .prepare_cached(
            "INSERT INTO tokens (account, device, seed, mechanism, issued, expires, count) \
             VALUES (?1, ?2, ?3, ?4, max(?5, coalesce((SELECT max(issued) + 1 FROM tokens WHERE account = ?1 AND device = ?2), 0)), \
             ?6, ?7)",
        )
        .and_then(|mut statement| {
            // Later than the one beside it, even within one second: their order says which is the newer one.
            statement.execute(params![
                account.0,
                device,
                token.seed,
                token.mechanism,
                signed(token.issued),
                signed(token.expires),
                token.count.cast_signed()
            ])
        })
        .map(|_| ())
        .map_err(sql)
}

impl Devices for SqliteStore {
    fn devices(&self, account: AccountId) -> Pending<Vec<Device>> {
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT id, software, name, mechanism, first_seen, last_seen FROM devices WHERE account = ?1 \
                     ORDER BY last_seen DESC, id",
                )
                .map_err(sql)?;
            let rows = statement.query_map([account.0], device).map_err(sql)?;
            rows.map(|row| with_tokens(connection, account, row.map_err(sql)?)).collect()
        })
    }

    fn device(&self, account: AccountId, id: &str) -> Pending<Option<Device>> {
        let id = id.to_owned();
        self.read(move |connection| {
            let found = connection
                .prepare_cached(
                    "SELECT id, software, name, mechanism, first_seen, last_seen FROM devices \
                     WHERE account = ?1 AND id = ?2",
                )
                .and_then(|mut statement| statement.query_row(params![account.0, id], device).optional())
                .map_err(sql)?;
            found.map(|found| with_tokens(connection, account, found)).transpose()
        })
    }

    fn put_device(&self, account: AccountId, device: Device, most: usize) -> Pending<()> {
        self.write(move |connection| {
            put(connection, account, &device)?;
            // The one that was put does not go, and takes one place.
            connection
                .prepare_cached(
                    "DELETE FROM devices WHERE account = ?1 AND id IN (SELECT id FROM devices \
                     WHERE account = ?1 AND id != ?2 ORDER BY last_seen DESC, id DESC LIMIT -1 OFFSET ?3)",
                )
                .and_then(|mut statement| {
                    statement.execute(params![account.0, device.id, signed(most.saturating_sub(1) as u64)])
                })
                .map(|_| ())
                .map_err(sql)
        })
    }

    fn put_token(&self, account: AccountId, device: &str, token: StoredToken, beside: Option<[u8; 16]>) -> Pending<()> {
        let device = device.to_owned();
        self.write(move |connection| put_token(connection, account, &device, &token, beside))
    }

    fn use_token(&self, account: AccountId, device: &str, seed: [u8; 16], count: u64, at: u64) -> Pending<Option<u64>> {
        let device = device.to_owned();
        self.write(move |connection| {
            let found = connection
                .prepare_cached(
                    "SELECT seed, mechanism, issued, expires, count FROM tokens \
                     WHERE account = ?1 AND device = ?2 AND seed = ?3",
                )
                .and_then(|mut statement| statement.query_row(params![account.0, device, seed], token).optional())
                .map_err(sql)?
                .ok_or(Error::NotFound)?;
            if count <= found.count && (count, found.count) != (0, 0) {
                return Ok(None);
            }
            connection
                .prepare_cached("UPDATE tokens SET count = ?4 WHERE account = ?1 AND device = ?2 AND seed = ?3")
                .and_then(|mut statement| statement.execute(params![account.0, device, seed, count.cast_signed()]))
                .map_err(sql)?;
            connection
                .prepare_cached("DELETE FROM tokens WHERE account = ?1 AND device = ?2 AND seed != ?3 AND issued < ?4")
                .and_then(|mut statement| statement.execute(params![account.0, device, seed, signed(found.issued)]))
                .map_err(sql)?;
            connection
                .prepare_cached("UPDATE devices SET last_seen = ?3 WHERE account = ?1 AND id = ?2")
                .and_then(|mut statement| statement.execute(params![account.0, device, signed(at)]))
                .map_err(sql)?;
            Ok(Some(found.issued))
        })
    }

    fn remove_device(&self, account: AccountId, id: &str) -> Pending<()> {
        let id = id.to_owned();
        self.write(move |connection| {
            // Its tokens go by the foreign key.
            let removed = connection
                .prepare_cached("DELETE FROM devices WHERE account = ?1 AND id = ?2")
                .and_then(|mut statement| statement.execute(params![account.0, id]))
                .map_err(sql)?;
            if removed == 0 { Err(Error::NotFound) } else { Ok(()) }
        })
    }

    fn remove_tokens(&self, account: AccountId, of: Proofs<'_>) -> Pending<()> {
        let device = match of {
            Proofs::Device(device) => Some(device.to_owned()),
            Proofs::Tokens | Proofs::Password => None,
        };
        let password_changed = of == Proofs::Password;
        self.write(move |connection| {
            connection
                .prepare_cached("DELETE FROM tokens WHERE account = ?1 AND (?2 IS NULL OR device = ?2)")
                .and_then(|mut statement| statement.execute(params![account.0, device]))
                .map_err(sql)?;
            if password_changed {
                connection
                    .prepare_cached("UPDATE devices SET mechanism = NULL WHERE account = ?1")
                    .and_then(|mut statement| statement.execute([account.0]))
                    .map_err(sql)?;
            }
            Ok(())
        })
    }
}
