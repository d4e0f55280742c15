//! A client's stream against scripted clients: RFC 6120 §4 to §7 and the abuse cases B, C and D, under a clock of the
//! test's own.

mod harness;
mod negotiation;
mod sasl;
mod stanzas;
mod time;
mod tls;
