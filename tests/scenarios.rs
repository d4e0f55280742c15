//! Scenarios: scripts that read like a chat, played twice: in memory on the router under a clock that the test holds, and
//! over sockets against the real binary. What a line may say is at the top of `support/script.rs`.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use support::script::{play, scripts};
use support::{memory, socket};

#[tokio::test(start_paused = true)]
async fn scenarios_in_memory() {
    for script in scripts().iter().filter(|script| !script.needs_stream()) {
        play::<memory::Client>(script).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scenarios_against_the_binary() {
    for script in scripts().iter().filter(|script| !script.needs_held_clock()) {
        play::<socket::Client>(script).await;
    }
}
