//! Mobile life (R18): every device's way to the server is cut, stalls or tears every few seconds and comes out at another
//! address; screens go dark. In the end all devices of an account have the same ledger, and no session was lost.
//!
//! `STONECHAT_MOBILE_SEED` plays a run again; `STONECHAT_MOBILE_CUTS` is how many connections end before it is over.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::{Duration, Instant};
use support::chance::{seed, setting};
use support::crowd::{Cast, Crowd, Habit, Pace};
use support::journal::{Complete, Expected};
use support::server::{Archive, Server};

/// Stories of each fault that a failing run tells.
const STORIES: usize = 3;

const FAMILIES: &[&[Habit]] =
    &[&[Habit::Mobile, Habit::Mobile, Habit::Steady], &[Habit::Mobile], &[Habit::Mobile, Habit::Pocket]];

async fn mobile(archive: Archive) {
    let name = format!("mobile life, archive {archive:?}").to_lowercase();
    let seed = seed("STONECHAT_MOBILE_SEED");
    println!("{name}: STONECHAT_MOBILE_SEED={seed}");
    let cuts = setting("STONECHAT_MOBILE_CUTS", 30);
    let cast = Cast { accounts: 4, households: FAMILIES, archive, seed, pace: Pace::default() };
    let server = Server::start_with(&cast.options()).await;
    let began = Instant::now();
    let crowd = Crowd::gather(&server, &cast).await;
    while crowd.weather.ends() < cuts {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ends = crowd.weather.ends();
    let traffic = crowd.weather.traffic();
    let journal = crowd.disperse().await;
    journal.kept(server.kept(&cast.options().accounts).await);
    let complete = match archive {
        Archive::On => Complete::All,
        Archive::Off => Complete::Staying,
    };
    let verdict = journal.check(Expected { archives: archive == Archive::On, complete });
    let seconds = began.elapsed().as_secs_f64();
    let summary = format!("{name}: {ends} cuts in {seconds:.0} s; {}; {traffic}", verdict.summary());
    println!("{summary}");
    assert!(verdict.acknowledged > 2 * cuts, "devices that say nothing prove nothing");
    assert!(
        verdict.violations.is_empty(),
        "STONECHAT_MOBILE_SEED={seed}\n{summary}\n{}",
        journal.tell(&verdict, STORIES)
    );
    assert_eq!(verdict.not_resumed, 0, "STONECHAT_MOBILE_SEED={seed}: no session is lost\n{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliability_r18_mobile_life_with_the_archive_on() {
    mobile(Archive::On).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliability_r18_mobile_life_with_the_archive_off() {
    mobile(Archive::Off).await;
}
