//! Accounts and secrets.

use crate::errors::sql;
use crate::open::SqliteStore;
use rusqlite::{Connection, OptionalExtension, Row, params};
use stonechat_jid::BareJid;
use stonechat_sasl::{Credentials, ScramKeys};
use stonechat_store::{Account, AccountId, AccountState, Accounts, Error, NewAccount, Pending, Result, Secrets};
use tracing::info;

/// One statement, with a row for each key: each statement that runs by itself locks the log once.
const BY_JID: &str = "SELECT id, jid, locked, created, last_at, last_status, \
                      hash, salt, iterations, stored_key, server_key \
                      FROM accounts LEFT JOIN credentials ON account = id WHERE jid = ?1";
const BY_DOMAIN: &str = "SELECT id, jid, locked, created, last_at, last_status FROM accounts \
                         WHERE domain = ?1 AND jid > ?2 ORDER BY jid LIMIT ?3";

struct Bare {
    id: i64,
    jid: String,
    locked: bool,
    created: i64,
    last: Option<(i64, String)>,
}

fn bare(row: &Row<'_>) -> rusqlite::Result<Bare> {
    let last_at: Option<i64> = row.get(4)?;
    let last_status: Option<String> = row.get(5)?;
    Ok(Bare {
        id: row.get(0)?,
        jid: row.get(1)?,
        locked: row.get(2)?,
        created: row.get(3)?,
        last: last_at.map(|at| (at, last_status.unwrap_or_default())),
    })
}

fn complete(found: Bare, credentials: Credentials) -> Result<Account> {
    let jid = BareJid::parse(&found.jid).map_err(|source| Error::Backend(Box::new(source)))?;
    Ok(Account {
        id: AccountId(found.id),
        jid,
        state: if found.locked { AccountState::Locked } else { AccountState::Active },
        credentials,
        created: unsigned(found.created),
        last_activity: found.last.map(|(at, status)| (unsigned(at), status)),
    })
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The keys of a row that has hash, salt, iterations, StoredKey and ServerKey from this column on.
fn put_keys(credentials: &mut Credentials, row: &Row<'_>, first: usize) -> rusqlite::Result<()> {
    let Some(hash) = row.get::<_, Option<i64>>(first)? else { return Ok(()) };
    let keys = ScramKeys {
        salt: row.get(first + 1)?,
        iterations: row.get(first + 2)?,
        stored_key: row.get(first + 3)?,
        server_key: row.get(first + 4)?,
    };
    match hash {
        1 => credentials.sha1 = Some(keys),
        256 => credentials.sha256 = Some(keys),
        512 => credentials.sha512 = Some(keys),
        _ => {}
    }
    Ok(())
}

fn by_jid(connection: &Connection, jid: &str) -> Result<Option<Account>> {
    let mut statement = connection.prepare_cached(BY_JID).map_err(sql)?;
    let mut rows = statement.query([jid]).map_err(sql)?;
    let (mut found, mut credentials) = (None, Credentials::default());
    while let Some(row) = rows.next().map_err(sql)? {
        if found.is_none() {
            found = Some(bare(row).map_err(sql)?);
        }
        put_keys(&mut credentials, row, 6).map_err(sql)?;
    }
    found.map(|found| complete(found, credentials)).transpose()
}

fn credentials(connection: &Connection, id: i64) -> Result<Credentials> {
    let mut statement = connection
        .prepare_cached("SELECT hash, salt, iterations, stored_key, server_key FROM credentials WHERE account = ?1")
        .map_err(sql)?;
    let mut rows = statement.query([id]).map_err(sql)?;
    let mut credentials = Credentials::default();
    while let Some(row) = rows.next().map_err(sql)? {
        put_keys(&mut credentials, row, 0).map_err(sql)?;
    }
    Ok(credentials)
}

fn put_credentials(connection: &Connection, id: i64, credentials: &Credentials) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM credentials WHERE account = ?1")
        .and_then(|mut statement| statement.execute([id]))
        .map_err(sql)?;
    let keys = [(1, &credentials.sha1), (256, &credentials.sha256), (512, &credentials.sha512)];
    for (hash, keys) in keys {
        if let Some(keys) = keys {
            connection
                .prepare_cached(
                    "INSERT INTO credentials (account, hash, salt, iterations, stored_key, server_key) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .and_then(|mut statement| {
                    statement.execute(params![id, hash, keys.salt, keys.iterations, keys.stored_key, keys.server_key])
                })
                .map_err(sql)?;
        }
    }
    Ok(())
}

/// Whether the account is there: one whose erasure is under way still has rows.
pub(crate) fn alive(connection: &Connection, account: AccountId) -> Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?1)")
        .and_then(|mut statement| statement.query_row([account.0], |row| row.get(0)))
        .map_err(sql)
}

/// One row must have changed, or the account is not there.
fn changed(rows: usize) -> Result<()> {
    if rows == 0 { Err(Error::NotFound) } else { Ok(()) }
}

impl Accounts for SqliteStore {
    fn create_account(&self, account: NewAccount, tombstone_seconds: u64) -> Pending<AccountId> {
        self.write(move |connection| {
            let deleted: Option<i64> = connection
                .prepare_cached("SELECT deleted FROM tombstones WHERE jid = ?1")
                .and_then(|mut statement| statement.query_row([account.jid.as_str()], |row| row.get(0)).optional())
                .map_err(sql)?;
            if deleted.is_some_and(|at| unsigned(at).saturating_add(tombstone_seconds) > account.now) {
                return Err(Error::Conflict);
            }
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO accounts (jid, domain, created) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                )
                .and_then(|mut statement| {
                    statement.execute(params![account.jid.as_str(), account.jid.domain(), signed(account.now)])
                })
                .map_err(sql)?;
            if inserted == 0 {
                return Err(Error::Conflict);
            }
            let id = connection.last_insert_rowid();
            put_credentials(connection, id, &account.credentials)?;
            connection
                .prepare_cached("DELETE FROM tombstones WHERE jid = ?1")
                .and_then(|mut statement| statement.execute([account.jid.as_str()]))
                .map_err(sql)?;
            Ok(AccountId(id))
        })
    }

    fn account(&self, jid: &BareJid) -> Pending<Option<Account>> {
        let jid = jid.to_string();
        self.read(move |connection| by_jid(connection, &jid))
    }

    fn accounts(&self, domain: &str, after: Option<&str>, limit: usize) -> Pending<Vec<Account>> {
        let (domain, after) = (domain.to_owned(), after.unwrap_or_default().to_owned());
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(BY_DOMAIN).map_err(sql)?;
            let rows = statement
                .query_map(params![domain, after, i64::try_from(limit).unwrap_or(i64::MAX)], bare)
                .map_err(sql)?;
            rows.map(|row| {
                let found = row.map_err(sql)?;
                let credentials = credentials(connection, found.id)?;
                complete(found, credentials)
            })
            .collect()
        })
    }

    fn count_accounts(&self, domain: &str) -> Pending<u64> {
        let domain = domain.to_owned();
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT count(*) FROM accounts WHERE domain = ?1")
                .and_then(|mut statement| statement.query_row([domain], |row| row.get::<_, i64>(0)))
                .map(unsigned)
                .map_err(sql)
        })
    }

    fn set_credentials(&self, id: AccountId, credentials: Credentials) -> Pending<()> {
        self.write(move |connection| {
            let known: bool = connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?1)")
                .and_then(|mut statement| statement.query_row([id.0], |row| row.get(0)))
                .map_err(sql)?;
            if !known {
                return Err(Error::NotFound);
            }
            put_credentials(connection, id.0, &credentials)
        })
    }

    fn set_account_state(&self, id: AccountId, state: AccountState) -> Pending<()> {
        self.write(move |connection| {
            connection
                .prepare_cached("UPDATE accounts SET locked = ?2 WHERE id = ?1")
                .and_then(|mut statement| statement.execute(params![id.0, state == AccountState::Locked]))
                .map_err(sql)
                .and_then(changed)
        })
    }

    fn set_last_activity(&self, id: AccountId, at: u64, status: String) -> Pending<()> {
        self.write(move |connection| {
            connection
                .prepare_cached("UPDATE accounts SET last_at = ?2, last_status = ?3 WHERE id = ?1")
                .and_then(|mut statement| statement.execute(params![id.0, signed(at), status]))
                .map_err(sql)
                .and_then(changed)
        })
    }

    fn delete_account(&self, id: AccountId, now: u64) -> Pending<()> {
        let deleted = self.write(move |desk| {
            for (statement, values) in [
                (
                    "INSERT INTO tombstones (jid, deleted) SELECT jid, ?2 FROM accounts WHERE id = ?1 \
                     ON CONFLICT (jid) DO UPDATE SET deleted = excluded.deleted",
                    params![id.0, signed(now)],
                ),
                ("INSERT INTO erasures (account) SELECT id FROM accounts WHERE id = ?1", params![id.0]),
            ] {
                desk.prepare_cached(statement).and_then(|mut statement| statement.execute(values)).map_err(sql)?;
            }
            // With this the account is gone. What is small goes by the foreign keys, what may be large step by step: nobody
            // can read it any more.
            desk.prepare_cached("DELETE FROM accounts WHERE id = ?1")
                .and_then(|mut statement| statement.execute([id.0]))
                .map_err(sql)
                .and_then(changed)?;
            desk.forget_account(id);
            Ok(())
        });
        let erased = self.erase(id);
        Box::pin(async move {
            deleted.await?;
            if let Err(source) = erased.await {
                info!(event = "store.erasure_interrupted", %source, "what is left of an account goes at the next start");
            }
            Ok(())
        })
    }
}

impl Secrets for SqliteStore {
    fn secret(&self, name: &str, fresh: [u8; 32]) -> Pending<[u8; 32]> {
        let name = name.to_owned();
        self.write(move |connection| {
            connection
                .prepare_cached("INSERT INTO secrets (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
                .and_then(|mut statement| statement.execute(params![name, fresh]))
                .map_err(sql)?;
            let value: Vec<u8> = connection
                .prepare_cached("SELECT value FROM secrets WHERE name = ?1")
                .and_then(|mut statement| statement.query_row([name], |row| row.get(0)))
                .map_err(sql)?;
            <[u8; 32]>::try_from(value).map_err(|_| Error::Backend("a secret of a wrong length".into()))
        })
    }
}
