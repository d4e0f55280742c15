//! Stanzas, their errors, stream errors, and the one table of namespaces (RFC 6120 §8, §4.9).
//!
//! A [`Stanza`] is what was accepted from a peer or made here: a typed head and a payload of validated bytes that is
//! shared, never copied or re-serialised while it only passes through. Writing one means a fresh start tag plus the
//! payload, so the same stanza leaves by `jabber:client` and by `jabber:server` alike.
//!
//! Deliberately absent: typed payloads of extensions, routing rules.

mod build;
mod error;
mod head;
pub mod ns;
mod parse;
mod payload;
mod stanza;
mod stream_error;
mod write;

pub use error::{ErrorType, StanzaCondition, StanzaError};
pub use head::{Head, IqType, Kind, MessageType, PresenceType, StanzaType};
pub use parse::{AcceptError, Accepted};
pub use stanza::{BROUGHT_BACK, ChildRef, ContentNamespace, Keep, Stanza};
pub use stream_error::{StreamCondition, StreamError};
