//! What an erased account leaves in the file: its name's tombstone, nothing else.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use rusqlite::Connection;
use rusqlite::types::Value;
use std::path::Path;
use stonechat_jid::{BareJid, Domain, Jid};
use stonechat_sasl::{Credentials, ScramKeys};
use stonechat_store::{
    AccountId, AccountXml, Accounts, ArchiveFilter, ArchiveId, ArchiveRow, Archives, BlockLists, Device, Devices, Half,
    Holder, Mark, NewAccount, Offline, Others, OutgoingRow, PushRegistration, PushRegistrations, Reference, Repeatable,
    RosterRecord, Rosters, SavedSession, Sessions, Share, SmId, SpoolRow, Store, StoredSubscription, StoredToken,
    XmlKind,
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
    let delivered = store.offline(id, Share::Anybodys, None, 70).await.unwrap().last().unwrap().id;
    store.remove_offline(id, Share::Anybodys, delivered).await.unwrap();
    store.put_xml(id, XmlKind::VCard, "", Some(format!("<FN>{MARK}</FN>").into()), u64::MAX).await.unwrap();
    for number in 0..MESSAGES {
        store.record(id, half(number), (u64::MAX, u64::MAX)).await.unwrap();
    }
    let filter = ArchiveFilter { words: Some(MARK.into()), ..ArchiveFilter::default() };
    assert_eq!(store.count_archive(id, filter, words).await.unwrap(), MESSAGES);
    let sessions = vec![SavedSession { id: SmId([1; 16]), until: 1, state: MARK.into() }];
    store.save_sessions(id, sessions).await.unwrap();
    store.change_blocked(id, vec![partner(1)], Vec::new(), 10).await.unwrap();
    let registration = PushRegistration {
        service: partner(2),
        node: format!("{MARK} node"),
        options: Some(format!("{MARK} secret").into()),
        resource: format!("{MARK} resource"),
    };
    store.put_push(id, registration, 10).await.unwrap();
    let token = StoredToken { seed: [7; 16], mechanism: MARK.into(), issued: 1, expires: 2, count: 0 };
    let device = Device {
        id: format!("{MARK} device"),
        software: Some(MARK.into()),
        name: Some(MARK.into()),
        mechanism: Some(MARK.into()),
        first_seen: 1,
        last_seen: 1,
        tokens: Vec::new(),
    };
    let name = device.id.clone();
    store.put_device(id, device, 10).await.unwrap();
    store.put_token(id, &name, token, None).await.unwrap();
    id
}

/// More than one step of an erasure removes.
const MESSAGES: u64 = 700;

fn partner(number: u64) -> Jid {
    Jid::parse(&format!("{MARK}-{number}@example.net/{MARK}")).unwrap()
}

/// A message of the archive, held for a session, and on its way.
fn half(number: u64) -> Half {
    let id = ArchiveId::next(None, 1_700_000_000_000 + number * 1_000_000, 1);
    // Among them a word that no other message has.
    let stanza = format!("<body>{MARK} the {number}th, {MARK}{number}</body>").into_bytes();
    let mark = Mark { reference: Reference(5), repeatable: Repeatable::Recognised, named: None };
    let holder =
        Holder::Session { id: SmId([1; 16]), place: stonechat_store::Place::Sent(number), others: Others::None };
    Half {
        at: 1,
        archive: Some(ArchiveRow { id, with: partner(number % 10), stanza: stanza.clone(), mark: Some(mark) }),
        spool: vec![SpoolRow { at: 1, stanza: stanza.clone(), archive: Some(id), holder }],
        mark: Some(Mark { reference: Reference(number.cast_signed()), ..mark }),
        counted: Some((SmId([1; 16]), 1)),
        outgoing: Some(OutgoingRow { at: 1, remote: Domain::parse(&format!("{MARK}.net")).unwrap(), stanza }),
    }
}

fn words(stanza: &[u8]) -> Option<String> {
    String::from_utf8(stanza.to_vec()).ok()
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

/// How often the files have a text.
fn in_files(directory: &Path, text: &str) -> usize {
    let files = std::fs::read_dir(directory).unwrap();
    files.map(|file| String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).matches(text).count()).sum()
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
    for table in [
        "accounts",
        "credentials",
        "roster",
        "roster_removed",
        "spool",
        "documents",
        "bodies",
        "talks",
        "searched",
        "outgoing",
        "sessions",
        "blocked",
        "push",
        "devices",
        "tokens",
    ] {
        assert!(mentions(&connection, table) > 0, "{table}");
    }
    // Of the marks and counts, and of the words that are searched for, the scan sees numbers only.
    for table in ["archive", "marks", "counted", "searches", "search_words_data"] {
        let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert!(rows > 0, "{table}");
    }
    connection.close().unwrap();
    assert!(in_files(directory.path(), MARK) > 1_000);

    let store = SqliteStore::open(&path, Options::default()).unwrap();
    store.delete_account(id, 9).await.unwrap();
    store.close().await.unwrap();
    let connection = Connection::open(&path).unwrap();
    for table in tables(&connection) {
        if table == "search_words" {
            // A view of its own tables, which are scanned.
            continue;
        }
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
    for text in [MARK, "quince", "orchard"] {
        assert_eq!(in_files(directory.path(), text), 1, "{text}");
    }
}
