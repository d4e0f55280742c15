//! The ledger (promises P1 to P3): a crowd talks while the real binary is killed and started again, and in the end nothing
//! that was acknowledged is lost, nothing was shown twice, nothing came out of order, and the archives have neither gaps nor
//! duplicates. With the archive on and off; and orderly restarts that nobody notices.
//!
//! One seed drives every decision; it is printed, and `STONECHAT_LEDGER_SEED` plays it again. The long form:
//! `STONECHAT_LEDGER_KILLS=200 STONECHAT_LEDGER_ARCHIVE=on cargo test --release --test ledger -- --nocapture kill_9`;
//! `STONECHAT_LEDGER_ACCOUNTS` sets how many people there are.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Instant;
use support::chance::{Chance, seed, setting};
use support::crowd::{Cast, Crowd, EVERYBODY, Pace};
use support::journal::{Complete, Expected};
use support::server::{Archive, Server};

/// Stories of each fault that a failing run tells.
const STORIES: usize = 3;

/// What happens to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    Restarted,
}

async fn ledger(fate: Fate, archive: Archive, times: u64) {
    let name = format!("{fate:?}, archive {archive:?}").to_lowercase();
    if std::env::var("STONECHAT_LEDGER_ARCHIVE").is_ok_and(|wanted| wanted != format!("{archive:?}").to_lowercase()) {
        println!("{name}: not asked for");
        return;
    }
    let seed = seed("STONECHAT_LEDGER_SEED");
    println!("{name}: STONECHAT_LEDGER_SEED={seed}");
    let times = setting("STONECHAT_LEDGER_KILLS", times);
    let cast = Cast {
        accounts: setting("STONECHAT_LEDGER_ACCOUNTS", 16) as usize,
        households: EVERYBODY,
        archive,
        seed,
        pace: Pace::default(),
    };
    let mut chance = Chance::new(seed).fork(u64::MAX);
    let mut server = Server::start_with(&cast.options()).await;
    let began = Instant::now();
    let crowd = Crowd::gather(&server, &cast).await;
    crowd.journal.progress.there(crowd.devices()).await;
    for number in 0..times {
        match fate {
            Fate::Killed => crowd.kill(&mut server, &mut chance).await,
            Fate::Restarted => crowd.restart(&mut server, &mut chance).await,
        }
        if number % 20 == 19 {
            println!("{name}: {} times, {:.0} s", number + 1, began.elapsed().as_secs_f64());
        }
    }
    let journal = crowd.disperse().await;
    journal.kept(server.kept(&cast.options().accounts).await);
    let complete = match (archive, fate) {
        (Archive::On, _) => Complete::All,
        (Archive::Off, Fate::Restarted) => Complete::Staying,
        (Archive::Off, Fate::Killed) => Complete::Nobody,
    };
    let verdict = journal.check(Expected { archives: archive == Archive::On, complete });
    let summary = format!("{name}: {times} times in {:.0} s; {}", began.elapsed().as_secs_f64(), verdict.summary());
    println!("{summary}");
    assert!(verdict.acknowledged > 10 * times, "a crowd that says nothing proves nothing");
    if !verdict.waiting.is_empty() {
        println!("{}", journal.tell(&verdict, STORIES));
    }
    assert!(
        verdict.violations.is_empty(),
        "STONECHAT_LEDGER_SEED={seed}\n{summary}\n{}",
        journal.tell(&verdict, STORIES)
    );
    if fate == Fate::Restarted {
        assert_eq!(verdict.not_resumed, 0, "STONECHAT_LEDGER_SEED={seed}: every session is resumed\n{summary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliability_r1_kill_9_with_the_archive_on() {
    ledger(Fate::Killed, Archive::On, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliability_r1_kill_9_with_the_archive_off() {
    ledger(Fate::Killed, Archive::Off, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliability_p5_nobody_notices_an_orderly_restart_with_the_archive_on() {
    ledger(Fate::Restarted, Archive::On, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliability_p5_nobody_notices_an_orderly_restart_with_the_archive_off() {
    ledger(Fate::Restarted, Archive::Off, 2).await;
}
