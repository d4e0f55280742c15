//! A client's stream against scripted clients: RFC 6120 §4 to §7 and the abuse cases B, C and D, under a clock of the
//! test's own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod client_state;
mod harness;
mod management;
mod negotiation;
mod sasl;
mod stanzas;
mod time;
mod tls;
