//! Private XML and vCards.

use crate::accounts::unsigned;
use crate::errors::sql;
use crate::open::SqliteStore;
use rusqlite::{Connection, OptionalExtension, params};
use stonechat_store::{AccountId, AccountXml, Error, Pending, Result, XmlKind};

fn number(kind: XmlKind) -> i64 {
    match kind {
        XmlKind::Private => 1,
        XmlKind::VCard => 2,
        XmlKind::ArchivePreferences => 3,
    }
}

pub(crate) fn document(connection: &Connection, id: AccountId, kind: XmlKind, key: &str) -> Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT document FROM documents WHERE account = ?1 AND kind = ?2 AND key = ?3")
        .and_then(|mut statement| statement.query_row(params![id.0, number(kind), key], |row| row.get(0)).optional())
        .map_err(sql)
}

impl AccountXml for SqliteStore {
    fn xml(&self, id: AccountId, kind: XmlKind, key: &str) -> Pending<Option<Vec<u8>>> {
        let key = key.to_owned();
        self.read(move |connection| document(connection, id, kind, &key))
    }

    fn put_xml(
        &self,
        id: AccountId,
        kind: XmlKind,
        key: &str,
        document: Option<Vec<u8>>,
        max_bytes: u64,
    ) -> Pending<()> {
        let key = key.to_owned();
        self.write(move |connection| {
            let Some(document) = document else {
                return connection
                    .prepare_cached("DELETE FROM documents WHERE account = ?1 AND kind = ?2 AND key = ?3")
                    .and_then(|mut statement| statement.execute(params![id.0, number(kind), key]))
                    .map(|_| ())
                    .map_err(sql);
            };
            let others: i64 = connection
                .prepare_cached(
                    "SELECT coalesce(sum(length(document)), 0) FROM documents \
                     WHERE account = ?1 AND kind = ?2 AND key != ?3",
                )
                .and_then(|mut statement| statement.query_row(params![id.0, number(kind), key], |row| row.get(0)))
                .map_err(sql)?;
            if unsigned(others).saturating_add(document.len() as u64) > max_bytes {
                return Err(Error::Full("the account's documents are at their bound".into()));
            }
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO documents (account, kind, key, document) VALUES (?1, ?2, ?3, ?4)",
                )
                .and_then(|mut statement| statement.execute(params![id.0, number(kind), key, document]))
                .map(|_| ())
                .map_err(sql)
        })
    }
}
