//! Opening, sharing, filling up and closing the file.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use rusqlite::Connection;
use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stonechat_jid::BareJid;
use stonechat_sasl::Credentials;
use stonechat_store::{
    AccountId, Accounts, ArchiveFilter, ArchiveId, ArchivePosition, ArchiveRow, Archives, Error, Half, Holder,
    NewAccount, Offline, OfflineStored, Reference, Result, Secrets, Share, SpoolRow, Store,
};
use stonechat_store_sqlite::{Durability, Options, SqliteStore};

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Options::default()).unwrap()
}

async fn account(store: &SqliteStore, name: &str) -> AccountId {
    let jid = BareJid::parse(name).unwrap();
    store.create_account(NewAccount { jid, credentials: Credentials::default(), now: 1 }, 0).await.unwrap()
}

async fn keep(store: &SqliteStore, id: AccountId, size: usize) -> Result<OfflineStored> {
    store.append_offline(id, 1, vec![b'x'; size], u64::MAX, u64::MAX).await
}

#[tokio::test]
async fn what_was_written_is_there_after_a_new_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let store = open(&path);
    let id = account(&store, "juliet@example.org").await;
    let OfflineStored::Stored(first) = keep(&store, id, 10).await.unwrap() else { panic!("there is room") };
    store.remove_offline(id, Share::Anybodys, first).await.unwrap();
    store.secret("decoy", [1; 32]).await.unwrap();
    store.close().await.unwrap();

    let store = open(&path);
    assert_eq!(store.account(&BareJid::parse("juliet@example.org").unwrap()).await.unwrap().unwrap().id, id);
    assert_eq!(store.secret("decoy", [2; 32]).await.unwrap(), [1; 32]);
    // No message was left, and its id is not given again.
    let OfflineStored::Stored(second) = keep(&store, id, 10).await.unwrap() else { panic!("there is room") };
    assert!(second > first);
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_files_are_the_servers_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("var/data");
    let path = data.join("a.sqlite");
    let store = open(&path);
    account(&store, "juliet@example.org").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let mut files = 0;
    for file in std::fs::read_dir(&data).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        files += 1;
    }
    assert!(files >= 4, "the file, its log, its index and its lock");
    store.close().await.unwrap();
    // One that came with a wider mode, as from a backup, is narrowed.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(&path);
    assert_eq!(mode(&path), 0o600);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_second_one_is_refused_until_the_first_has_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let store = open(&path);
    let Err(Error::InUse(what)) = SqliteStore::open(&path, Options::default()) else { panic!("it is open already") };
    assert!(what.contains("a.sqlite") && what.contains(&std::process::id().to_string()), "{what}");
    // The first is none the worse for it.
    account(&store, "juliet@example.org").await;
    store.close().await.unwrap();
    let second = open(&path);
    second.close().await.unwrap();
    // A lock file that a dead process left means nothing.
    std::fs::write(directory.path().join("a.sqlite.lock"), "1\n").unwrap();
    open(&path).close().await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    open(&path).close().await.unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&path).unwrap();
    let Err(error) = SqliteStore::open(&path, Options::default()) else { panic!("it is newer") };
    assert!(matches!(error, Error::NewerSchema { found: 99, known: 3 }));
    assert!(!error.to_string().contains('\n'));
    assert!(std::fs::read(&path).unwrap() == before, "it was not touched");
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    std::fs::write(&path, "This is a letter, not a database. ".repeat(100)).unwrap();
    assert!(matches!(SqliteStore::open(&path, Options::default()), Err(Error::Backend(_))));
    assert!(SqliteStore::open(&path.join("below-a-file"), Options::default()).is_err());
}

#[tokio::test]
async fn many_writes_share_a_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("a.sqlite"));
    let id = account(&store, "juliet@example.org").await;
    let before = store.statistics();
    let pending: Vec<_> =
        (0..2_000).map(|_| store.append_offline(id, 1, b"<message/>".to_vec(), u64::MAX, u64::MAX)).collect();
    for stored in pending {
        stored.await.unwrap();
    }
    let after = store.statistics();
    assert_eq!(after.writes - before.writes, 2_000);
    let commits = after.commits - before.commits;
    assert!(commits < 1_000, "{commits} commits for 2000 writes");
    // And a group has a bound.
    assert!(commits >= 2_000 / 512, "{commits}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn past_the_bound_of_the_queue_writes_are_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let store = SqliteStore::open(&path, Options { queue: 8, ..Options::default() }).unwrap();
    let id = account(&store, "juliet@example.org").await;
    // Somebody else holds the file: what the thread has taken waits, and the queue fills up behind it.
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let append = || store.append_offline(id, 1, b"a".to_vec(), u64::MAX, u64::MAX);
    let pending: Vec<_> = (0..1_000).map(|_| append()).collect();
    holder.execute_batch("ROLLBACK").unwrap();
    let (mut stored, mut refused) = (0, 0);
    for outcome in pending {
        match outcome.await {
            Ok(_) => stored += 1,
            Err(Error::Overloaded) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(stored >= 8 && refused > 0, "{stored} stored, {refused} refused");
    // What was refused is not there, and there is room again.
    assert_eq!(store.count_offline(id).await.unwrap(), stored);
    append().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn reliability_r3_a_full_disk_refuses_writes_and_is_survived() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let options = Options { durability: Durability::Relaxed, max_pages: Some(160), ..Options::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    let id = account(&store, "juliet@example.org").await;
    let mut acknowledged = Vec::new();
    let mut full = 0;
    // In groups, so that the write that finds no room has others before and behind it. A half may find room for its row in the
    // archive and none for that in the spool.
    for round in 0..20 {
        let pending: Vec<_> = (0..10)
            .map(|number| {
                let id_of = ArchiveId::next(None, round * 100 + number, 0);
                let with = BareJid::parse("romeo@example.net").unwrap().into();
                let archive = Some(ArchiveRow { id: id_of, with, stanza: vec![b'x'; 2_000], mark: None });
                let stanza = vec![b'x'; 3_000];
                let spool = vec![SpoolRow { at: 1, stanza, archive: Some(id_of), holder: Holder::Anybody }];
                store.record(id, Half { archive, spool, ..Half::default() }, (u64::MAX, u64::MAX))
            })
            .collect();
        for outcome in pending {
            match outcome.await.map(|recorded| recorded.spool) {
                Ok(Some(OfflineStored::Stored(stored))) => acknowledged.push(stored),
                Ok(_) => panic!("the account has no bound here"),
                Err(Error::Full(_)) => full += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(full > 0 && !acknowledged.is_empty());
    // Exactly what was acknowledged is there, and reads go on.
    let kept = store.offline(id, Share::Anybodys, None, 1_000).await.unwrap();
    assert!(kept.iter().map(|message| message.id).eq(acknowledged.iter().copied()));
    assert_eq!(store.count_offline(id).await.unwrap(), acknowledged.len() as u64);
    let page = store.archive_page(id, ArchiveFilter::default(), ArchivePosition::First, 1_000, |_| None).await.unwrap();
    assert!(page.messages.iter().map(|message| Some(message.id)).eq(kept.iter().map(|message| message.archive)));
    assert!(matches!(keep(&store, id, 100_000).await, Err(Error::Full(_))));
    // Room comes back.
    store.remove_offline(id, Share::Anybodys, *acknowledged.last().unwrap()).await.unwrap();
    keep(&store, id, 3_000).await.unwrap();
    assert_eq!(store.count_offline(id).await.unwrap(), 1);
    store.close().await.unwrap();
    let check: String =
        Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

/// A file as the first schema left it, with one message for each of these, by account.
fn first_schema(path: &Path, messages: &[(i64, i64, &str)]) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(include_str!("../migrations/0001.sql")).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    for (account, name) in [(1, "juliet@example.org"), (2, "nurse@example.org")] {
        let values = (account, name);
        connection
            .execute("INSERT INTO accounts (id, jid, domain, created) VALUES (?1, ?2, 'example.org', 1)", values)
            .unwrap();
    }
    for (account, id, body) in messages {
        connection.execute("INSERT INTO offline VALUES (?1, ?2, ?2 * 10, ?3)", (account, id, body.as_bytes())).unwrap();
        connection.execute("INSERT OR REPLACE INTO offline_counters VALUES (?1, ?2 + 4, 1, 1)", (account, id)).unwrap();
    }
}

#[tokio::test]
async fn messages_of_the_first_schema_are_kept_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    first_schema(&path, &[(2, 1, "n1"), (1, 3, "j3"), (1, 5, "j5"), (2, 90, "secret-n90"), (1, 70, "j70")]);
    let store = open(&path);
    let bodies = async |id| {
        let kept = store.offline(AccountId(id), Share::Anybodys, None, 10).await.unwrap();
        assert!(kept.iter().all(|message| message.archive.is_none()));
        assert!(kept.is_sorted_by_key(|message| message.id));
        kept.into_iter().map(|message| (message.at, String::from_utf8(message.stanza).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(bodies(1).await, [(30, "j3".into()), (50, "j5".into()), (700, "j70".into())]);
    assert_eq!(bodies(2).await, [(10, "n1".into()), (900, "secret-n90".into())]);
    // They count for the bounds, and no id that was given is given again: 94 was the last.
    let append = |size| store.append_offline(AccountId(2), 1, vec![b'x'; size], 10, 20);
    assert_eq!(append(9).await.unwrap(), OfflineStored::Full);
    let OfflineStored::Stored(next) = append(8).await.unwrap() else { panic!("there is room") };
    assert!(next.0 > 94, "{next:?}");
    store.remove_offline(AccountId(2), Share::Anybodys, next).await.unwrap();
    assert_eq!(bodies(1).await.len(), 3);
    store.close().await.unwrap();
    // Nothing of it is left where the old tables were; the copy that was made before has it.
    let holds = |name: &str| {
        let file = std::fs::read(directory.path().join(name)).unwrap();
        String::from_utf8_lossy(&file).contains("secret-n90")
    };
    assert!(!holds("a.sqlite"));
    assert!(holds("a.sqlite.schema-1"));
}

#[tokio::test]
async fn messages_of_the_second_schema_can_be_retracted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    first_schema(&path, &[]);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(include_str!("../migrations/0002.sql")).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    connection
        .execute_batch(
            "INSERT INTO talks VALUES (1, 1, 'romeo@example.net', 0);
             INSERT INTO archive (account, id, talk, reference, repeatable, body) VALUES (1, 10, 1, 77, 1, 5), (1, 11, 1, NULL, 0, 6);
             INSERT INTO bodies VALUES (5, 'orchard', CAST('first' AS BLOB)), (6, NULL, CAST('second' AS BLOB));",
        )
        .unwrap();
    drop(connection);
    let store = open(&path);
    let id = AccountId(1);
    let romeo = || BareJid::parse("romeo@example.net").unwrap();
    let stanzas = async || {
        let page =
            store.archive_page(id, ArchiveFilter::default(), ArchivePosition::First, 10, |_| None).await.unwrap();
        page.messages.into_iter().map(|message| String::from_utf8(message.stanza).unwrap()).collect::<Vec<_>>()
    };
    // What is new is numbered behind what was there.
    let archive = ArchiveRow { id: ArchiveId(12), with: romeo().into(), stanza: b"third".to_vec(), mark: None };
    store.record(id, Half { archive: Some(archive), ..Half::default() }, (0, 0)).await.unwrap();
    assert_eq!(stanzas().await, ["first", "second", "third"]);
    assert_eq!(store.recent_marks(id, 10).await.unwrap(), [Reference(77)]);
    let replaced = store.replace_archived(id, romeo(), Reference(77), b"gone".to_vec()).await.unwrap();
    assert_eq!(replaced, Some(ArchiveId(10)));
    assert_eq!(stanzas().await, ["gone", "second", "third"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_erasure_that_was_interrupted_goes_on_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let store = open(&path);
    let id = account(&store, "juliet@example.org").await;
    let pending: Vec<_> = (0..2_000)
        .map(|number| {
            let with = BareJid::parse("romeo@example.net").unwrap().into();
            let archive = Some(ArchiveRow { id: ArchiveId(number << 40), with, stanza: vec![b'x'; 10], mark: None });
            store.record(id, Half { archive, ..Half::default() }, (0, 0))
        })
        .collect();
    for recorded in pending {
        recorded.await.unwrap();
    }
    // The close comes when the first step is queued and no other.
    let deleted = store.delete_account(id, 1);
    store.close().await.unwrap();
    deleted.await.unwrap();
    let rows = |table: &str| -> i64 {
        let connection = Connection::open(&path).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert!(rows("archive") > 1_000 && rows("erasures") == 1);
    let store = open(&path);
    assert_eq!(store.archive_bounds(id).await.unwrap(), None, "nobody sees what is left");
    // Each of these waits for what is queued before it.
    let mut turns = 0;
    while rows("erasures") > 0 {
        store.secret("turn", [0; 32]).await.unwrap();
        turns += 1;
        assert!(turns < 1_000, "it does not go on");
    }
    assert_eq!((rows("archive"), rows("bodies"), rows("talks")), (0, 0, 0));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_dropped_still_writes_what_was_queued() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let store = open(&path);
    let id = account(&store, "juliet@example.org").await;
    let pending: Vec<_> = (0..100).map(|_| store.append_offline(id, 1, b"a".to_vec(), 1_000, 1_000)).collect();
    drop(store);
    for stored in pending {
        assert!(matches!(stored.await, Ok(OfflineStored::Stored(_))));
    }
}

#[tokio::test]
async fn the_log_of_writes_begins_anew_while_writes_come_without_a_pause() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let options = Options { durability: Durability::Relaxed, ..Options::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    let id = account(&store, "juliet@example.org").await;
    let mut waiting = VecDeque::new();
    // Some 160 MB, with never fewer than a hundred writes under way.
    for _ in 0..2_500 {
        waiting.push_back(store.append_offline(id, 1, vec![b'x'; 64_000], u64::MAX, u64::MAX));
        if waiting.len() > 100 {
            waiting.pop_front().unwrap().await.unwrap();
        }
    }
    let log = std::fs::metadata(directory.path().join("a.sqlite-wal")).unwrap().len();
    assert!(log < 100 << 20, "{log} bytes");
    drop(waiting);
    assert_eq!(store.count_offline(id).await.unwrap(), 2_500);
    store.close().await.unwrap();
    assert!(!directory.path().join("a.sqlite-wal").exists(), "at the end all is in the file");
}

#[tokio::test]
async fn the_log_of_writes_begins_anew_though_there_is_always_somebody_who_reads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let options = Options { durability: Durability::Relaxed, log_pages: 50, ..Options::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    let id = account(&store, "juliet@example.org").await;
    // Three that read in turn, each begun before the one before it ends.
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|number| {
            let (reader, stop) = (Connection::open(&path).unwrap(), Arc::clone(&stop));
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(7 * number));
                while !stop.load(Ordering::Relaxed) {
                    reader.execute_batch("BEGIN; SELECT count(*) FROM accounts;").unwrap();
                    std::thread::sleep(Duration::from_millis(20));
                    reader.execute_batch("COMMIT").unwrap();
                }
            })
        })
        .collect();
    for _ in 0..2_000 {
        keep(&store, id, 8_000).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().unwrap();
    }
    // 16 MB were written at the least; 50 pages are 200 KB.
    let log = std::fs::metadata(directory.path().join("a.sqlite-wal")).unwrap().len();
    assert!(log < 10 << 20, "{log} bytes");
    store.close().await.unwrap();
}
