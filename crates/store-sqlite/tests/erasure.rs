//! What an erased account leaves in the file: its name's tombstone, nothing else.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use rusqlite::Connection;
use rusqlite::types::Value;
use std::path::Path;
use stonechat_jid::BareJid;
use stonechat_sasl::{Credentials, ScramKeys};
use stonechat_store::{
    AccountId, AccountXml, Accounts, NewAccount, Offline, RosterRecord, Rosters, Store, StoredSubscription, XmlKind,
};
use stonechat_store_sqlite::{Options, SqliteStore};

/// In everything the account has.
const MARK: &str = "quince-orchard";

async fn furnish(store: &SqliteStore) -> AccountId {
    let keys = || {
        Some(ScramKeys {
            salt: format!("{MARK} salt").into(),
            iterations: 10_000,
            stored_key: format!("{MARK} stored").into(),
            server_key: format!("{MARK} server").into(),
        })
    };
    let credentials = Credentials { sha1: keys(), sha256: keys(), sha512: keys() };
    let jid = BareJid::parse(&format!("{MARK}@example.org")).unwrap();
    let id = store.create_account(NewAccount { jid, credentials, now: 1 }, 0).await.unwrap();
    store.set_last_activity(id, 2, format!("{MARK} status")).await.unwrap();
    for number in 0..20 {
        let entry = RosterRecord {
            jid: BareJid::parse(&format!("{MARK}-{number}@example.net")).unwrap(),
            name: Some(format!("{MARK} name")),
            groups: vec![format!("{MARK} group")],
            subscription: StoredSubscription { pending_in: true, ..StoredSubscription::default() },
            request: Some(format!("<presence id='{MARK}'/>").into()),
            listed: true,
            version: number,
        };
        let contact = BareJid::parse(&format!("{MARK}-gone-{number}@example.net")).unwrap();
        store.put_roster_entry(id, entry).await.unwrap();
        store.remove_roster_entry(id, &contact, 100 + number).await.unwrap();
    }
    // Short ones, and ones that take pages of their own.
    for size in [1, 10, 100, 1_000] {
        let stanza = format!("<body>{}</body>", MARK.repeat(size));
        for _ in 0..20 {
            store.append_offline(id, 3, stanza.clone().into(), u64::MAX, u64::MAX).await.unwrap();
        }
        let key = format!("{{{MARK}}}{size}");
        store.put_xml(id, XmlKind::Private, &key, Some(stanza.into()), u64::MAX).await.unwrap();
    }
    // A part of the messages is delivered before: those must not stay in free pages either.
    let delivered = store.offline(id, None, 70).await.unwrap().last().unwrap().id;
    store.remove_offline(id, delivered).await.unwrap();
    store.put_xml(id, XmlKind::VCard, "", Some(format!("<FN>{MARK}</FN>").into()), u64::MAX).await.unwrap();
    id
}

fn tables(connection: &Connection) -> Vec<String> {
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The rows that mention the mark, by table.
fn mentions(connection: &Connection, table: &str) -> usize {
    let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut found = 0;
    while let Some(row) = rows.next().unwrap() {
        let mentioned = (0..columns).any(|column| match row.get::<_, Value>(column).unwrap() {
            Value::Text(text) => text.contains(MARK),
            Value::Blob(blob) => String::from_utf8_lossy(&blob).contains(MARK),
            _ => false,
        });
        found += usize::from(mentioned);
    }
    found
}

fn in_files(directory: &Path) -> usize {
    let files = std::fs::read_dir(directory).unwrap();
    files.map(|file| String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).matches(MARK).count()).sum()
}

#[tokio::test]
async fn abuse_157_an_erased_account_leaves_its_tombstone_and_no_other_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let id = furnish(&store).await;
    store.close().await.unwrap();
    // The scan finds what is there: it is no scan that cannot fail.
    let connection = Connection::open(&path).unwrap();
    for table in ["accounts", "credentials", "roster", "roster_removed", "spool", "documents"] {
        assert!(mentions(&connection, table) > 0, "{table}");
    }
    connection.close().unwrap();
    assert!(in_files(directory.path()) > 1_000);

    let store = SqliteStore::open(&path, Options::default()).unwrap();
    store.delete_account(id, 9).await.unwrap();
    store.close().await.unwrap();
    let connection = Connection::open(&path).unwrap();
    for table in tables(&connection) {
        let expected = usize::from(table == "tombstones");
        assert_eq!(mentions(&connection, &table), expected, "{table}");
        // Nor a row that names it by its number only.
        let owned = format!("SELECT count(*) FROM pragma_table_info('{table}') WHERE name = 'account'");
        if connection.query_row(&owned, [], |row| row.get::<_, i64>(0)).unwrap() > 0 {
            let rows = format!("SELECT count(*) FROM {table} WHERE account = {}", id.0);
            assert_eq!(connection.query_row(&rows, [], |row| row.get::<_, i64>(0)).unwrap(), 0, "{table}");
        }
    }
    connection.close().unwrap();
    // The name in the tombstone, once: nothing in free pages, nothing in a log.
    assert_eq!(in_files(directory.path()), 1);
}
