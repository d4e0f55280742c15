//! Kill -9: what was acknowledged is there.
//!
//! The test starts itself again as a child that writes and tells what was acknowledged, and kills it. That shows what the
//! death of the process does; that of the machine is a matter of `synchronous`, which no test inside one machine shows.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stonechat_jid::{BareJid, Domain};
use stonechat_sasl::Credentials;
use stonechat_store::{
    Accounts, ArchiveFilter, ArchiveId, ArchivePosition, ArchiveRow, Archives, Half, Holder, NewAccount, Offline,
    OfflineId, OfflineStored, Outgoing, OutgoingRow, Recorded, Sessions, Share, SmId, SpoolRow, Store,
};
use stonechat_store_sqlite::{Options, SqliteStore};

const CHILD: &str = "STONECHAT_STORE_KILL_CHILD";
const ROUNDS: u32 = 20;
/// Senders of the child, each with one message under way at a time.
const SENDERS: usize = 8;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn juliet() -> BareJid {
    BareJid::parse("juliet@example.org").unwrap()
}

/// The stream of a sender in a round, as `<round>-<sender>`.
fn session(stream: &str) -> SmId {
    let (round, sender) = stream.split_once('-').unwrap();
    let mut id = [0; 16];
    id[0] = round.parse().unwrap();
    id[1] = sender.parse().unwrap();
    SmId(id)
}

/// A message in all its places: archived, kept, counted, and on its way to another domain.
fn half(id: ArchiveId, stream: &str, number: u64, body: &str) -> Half {
    let with = BareJid::parse("romeo@example.net").unwrap().into();
    Half {
        at: 1,
        archive: Some(ArchiveRow { id, with, stanza: body.into(), mark: None }),
        spool: vec![SpoolRow { at: 1, stanza: body.into(), archive: Some(id), holder: Holder::Anybody }],
        mark: None,
        counted: Some((session(stream), u32::try_from(number).unwrap() + 1)),
        outgoing: Some(OutgoingRow { at: 1, remote: Domain::parse("example.net").unwrap(), stanza: body.into() }),
    }
}

/// Writes without end; each acknowledged message is a line `ack <id> <body>`, told at once.
async fn child(path: &Path, round: &str) {
    // The log is folded in all the time, so that some of the kills fall into it.
    let options = Options { log_pages: 16, ..Options::default() };
    let store = Arc::new(SqliteStore::open(path, options).unwrap());
    let id = match store.account(&juliet()).await.unwrap() {
        Some(account) => account.id,
        None => {
            let new = NewAccount { jid: juliet(), credentials: Credentials::default(), now: 1 };
            store.create_account(new, 0).await.unwrap()
        }
    };
    let last = store.archive_bounds(id).await.unwrap().map_or(0, |(_, last)| last.0);
    let last = Arc::new(AtomicU64::new(last));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (store, last, stream) = (Arc::clone(&store), Arc::clone(&last), format!("{round}-{sender}"));
            tokio::spawn(async move {
                for number in 0_u64.. {
                    let body = format!("{stream}-{number}");
                    // Hours apart now and then, so that some halves begin a row that others use.
                    let archived = ArchiveId(last.fetch_add(1 << 40, Ordering::Relaxed) + (1 << 40));
                    let stored = store.record(id, half(archived, &stream, number, &body), (u64::MAX, u64::MAX)).await;
                    let Ok(Recorded { spool: Some(OfflineStored::Stored(OfflineId(stored))), .. }) = stored else {
                        panic!("it is not stored: {stored:?}")
                    };
                    let mut out = std::io::stdout().lock();
                    out.write_all(format!("ack {stored} {body}\n").as_bytes()).unwrap();
                    out.flush().unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
}

#[test]
fn p1_what_was_acknowledged_survives_kill_9() {
    if let Some(told) = std::env::var_os(CHILD) {
        let told = told.into_string().unwrap();
        let (round, path) = told.split_once(':').unwrap();
        return runtime().block_on(child(Path::new(path), round));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let mut acknowledged: HashMap<String, i64> = HashMap::new();
    for round in 0..ROUNDS {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "p1_what_was_acknowledged_survives_kill_9", "--nocapture"])
            .env(CHILD, format!("{round}:{}", path.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        // From its first acknowledgement to its thousandth, anywhere.
        let lines = 1 + RandomState::new().hash_one(round) % 1_000;
        let mut told = 0;
        let out = BufReader::new(process.stdout.take().unwrap());
        let mut killed = false;
        // After the kill, what it had told before is read to the end.
        for line in out.split(b'\n') {
            let line = String::from_utf8(line.unwrap()).unwrap();
            let mut words = line.split(' ');
            let (Some("ack"), Some(id), Some(body), None) = (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            told += 1;
            // A line is written whole, or the pipe was cut within the last one: then its body may be cut, its id is not.
            acknowledged.insert(body.to_owned(), id.parse().unwrap());
            if told == lines {
                process.kill().unwrap();
                killed = true;
            }
        }
        let status = process.wait().unwrap();
        assert!(killed && status.code().is_none(), "round {round}: it ended by itself: {status}");
    }

    runtime().block_on(async {
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        let id = store.account(&juliet()).await.unwrap().unwrap().id;
        let kept = store.offline(id, Share::Anybodys, None, usize::MAX).await.unwrap();
        assert!(acknowledged.len() >= ROUNDS as usize);
        assert!(kept.len() >= acknowledged.len());
        assert_eq!(store.count_offline(id).await.unwrap(), kept.len() as u64);
        let mut next = HashMap::new();
        let mut found: HashMap<String, i64> = HashMap::new();
        for message in &kept {
            let body = String::from_utf8(message.stanza.clone()).unwrap();
            let (sender, number) = body.rsplit_once('-').unwrap();
            // Each sender's messages are there once, in their order and without a gap.
            let expected = next.entry(sender.to_owned()).or_insert(0_u64);
            assert_eq!(number.parse::<u64>().unwrap(), *expected, "{body}");
            *expected += 1;
            found.insert(body, message.id.0);
        }
        for (body, id) in &acknowledged {
            assert_eq!(found.get(body), Some(id), "{body} was acknowledged");
        }
        // A half is there whole or not at all, acknowledged or not.
        let (filter, all) = (ArchiveFilter::default(), ArchivePosition::First);
        let archive = store.archive_page(id, filter, all, usize::MAX - 1, |_| None).await.unwrap();
        assert!(archive.messages.iter().map(|message| Some(message.id)).eq(kept.iter().map(|message| message.archive)));
        assert!(archive.messages.iter().map(|message| &message.stanza).eq(kept.iter().map(|message| &message.stanza)));
        let out = store.outgoing(None, usize::MAX).await.unwrap();
        assert!(out.iter().map(|message| &message.row.stanza).eq(kept.iter().map(|message| &message.stanza)));
        for (stream, count) in next {
            let committed = store.committed_count(id, session(&stream)).await.unwrap();
            assert_eq!(committed.map(u64::from), Some(count), "{stream}");
        }
        store.close().await.unwrap();
    });
}
