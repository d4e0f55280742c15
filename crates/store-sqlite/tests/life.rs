//! Opening, sharing, filling up and closing the file.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use rusqlite::Connection;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use stonechat_jid::BareJid;
use stonechat_sasl::Credentials;
use stonechat_store::{AccountId, Accounts, Error, NewAccount, Offline, OfflineStored, Result, Secrets, Store};
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
    store.remove_offline(id, first).await.unwrap();
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
    assert!(matches!(error, Error::NewerSchema { found: 99, known: 2 }));
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
    let options = Options { durability: Durability::Relaxed, max_pages: Some(60), ..Options::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    let id = account(&store, "juliet@example.org").await;
    let mut acknowledged = Vec::new();
    let mut full = 0;
    // In groups, so that the write that finds no room has others before and behind it.
    for _ in 0..20 {
        let pending: Vec<_> =
            (0..10).map(|_| store.append_offline(id, 1, vec![b'x'; 3_000], u64::MAX, u64::MAX)).collect();
        for outcome in pending {
            match outcome.await {
                Ok(OfflineStored::Stored(stored)) => acknowledged.push(stored),
                Ok(OfflineStored::Full) => panic!("the account has no bound here"),
                Err(Error::Full(_)) => full += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(full > 0 && !acknowledged.is_empty());
    // Exactly what was acknowledged is there, and reads go on.
    let kept: Vec<_> = store.offline(id, None, 1_000).await.unwrap().iter().map(|message| message.id).collect();
    assert_eq!(kept, acknowledged);
    assert_eq!(store.count_offline(id).await.unwrap(), acknowledged.len() as u64);
    assert!(matches!(keep(&store, id, 100_000).await, Err(Error::Full(_))));
    // Room comes back.
    store.remove_offline(id, *acknowledged.last().unwrap()).await.unwrap();
    keep(&store, id, 3_000).await.unwrap();
    assert_eq!(store.count_offline(id).await.unwrap(), 1);
    store.close().await.unwrap();
    let check: String =
        Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
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
