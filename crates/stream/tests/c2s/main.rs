//! A client's stream against scripted clients: RFC 6120 §4 to §7 and the abuse cases B, C and D, under a clock of the
//! test's own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod bind2;
mod client_state;
mod fast;
mod harness;
mod management;
mod negotiation;
mod pipelining;
mod sasl;
mod sasl2;
mod stanzas;
mod time;
mod tls;
mod upgrade;
