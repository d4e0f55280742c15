//! RFC 6121 as pure functions: subscriptions, rosters, presence, and the one delivery plan.
//!
//! Nothing here reads a clock, a store or a socket. The router holds an account's state, asks these functions what follows,
//! and does it. Where a message goes is decided once, by [`plan`]; archive, carbons, offline store and push read its answer.
//! What can wait for a client that is not looking is decided once too, by [`urgency`].
//!
//! Deliberately absent: privacy lists (RFC 3921), anything about rooms.

pub mod classify;
pub mod plan;
pub mod presence;
pub mod reference;
pub mod roster;
pub mod subscription;
pub mod urgency;
