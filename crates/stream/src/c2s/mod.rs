//! A client's stream, as the receiving entity (RFC 6120 §4 to §7).
//!
//! [`machine`] is the state machine; [`auth`] the SASL part; [`stanzas`] what is done with a bound client's stanzas.

mod auth;
mod machine;
mod stanzas;

pub use crate::Transmit;
pub use auth::Failed;
pub use machine::{C2s, Command, Config, Event, Limits, Transport};
