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
use stonechat_jid::BareJid;
use stonechat_sasl::Credentials;
use stonechat_store::{Accounts, NewAccount, Offline, OfflineId, OfflineStored, Store};
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

/// Writes without end; each acknowledged message is a line `ack <id> <body>`, told at once.
async fn child(path: &Path, round: &str) {
    let store = Arc::new(SqliteStore::open(path, Options::default()).unwrap());
    let id = match store.account(&juliet()).await.unwrap() {
        Some(account) => account.id,
        None => {
            let new = NewAccount { jid: juliet(), credentials: Credentials::default(), now: 1 };
            store.create_account(new, 0).await.unwrap()
        }
    };
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (store, round) = (Arc::clone(&store), round.to_owned());
            tokio::spawn(async move {
                for number in 0_u64.. {
                    let body = format!("{round}-{sender}-{number}");
                    let stored = store.append_offline(id, 1, body.clone().into(), u64::MAX, u64::MAX).await;
                    let Ok(OfflineStored::Stored(OfflineId(stored))) = stored else { panic!("it is not stored") };
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
        let kept = store.offline(id, None, usize::MAX).await.unwrap();
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
        store.close().await.unwrap();
    });
}
