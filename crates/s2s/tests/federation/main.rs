//! Federation between servers in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod access;
mod acknowledge;
mod dialback;
mod memory;
mod operator;
mod pace;
mod queue;
mod reach;
mod world;
