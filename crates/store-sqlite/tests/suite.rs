//! The cases every backend passes.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use stonechat_store::suite;
use stonechat_store_sqlite::{Durability, Options, SqliteStore};

async fn run(options: Options) {
    let directory = tempfile::tempdir().unwrap();
    let mut number = 0;
    suite::run(async || {
        number += 1;
        SqliteStore::open(&directory.path().join(format!("{number}.sqlite")), options).unwrap()
    })
    .await;
    assert!(number > 0);
}

#[tokio::test]
async fn sqlite_passes_the_suite() {
    run(Options::default()).await;
}

/// With one thread to read, and commits that are not synced: other timings, the same promises.
#[tokio::test]
async fn sqlite_passes_the_suite_relaxed() {
    run(Options { durability: Durability::Relaxed, readers: 1, ..Options::default() }).await;
}
