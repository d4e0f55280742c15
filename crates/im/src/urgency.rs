//! What can wait while nobody looks (XEP-0352): read off the head and the child index.
//!
//! A client that said it is inactive is not to be woken by what a person would not look at. What waits is let out, in order,
//! before the next thing that cannot, and when the client is active again.

use stonechat_jid::Jid;
use stonechat_stanza::{Kind, Stanza};

/// Whether a stanza can wait for an inactive client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency<'a> {
    /// It cannot.
    Now,
    /// It can, and stands for the earlier ones of the same kind from this address: only the newest is kept.
    Latest(&'a Jid),
    /// It can, behind what waits already.
    Later,
    /// It is worth nothing once it is late: it is not sent at all.
    Never,
}

/// Reads it off a stanza.
pub fn urgency(stanza: &Stanza) -> Urgency<'_> {
    match stanza.kind() {
        Kind::Presence | Kind::Message | Kind::Iq => Urgency::Now,
    }
}
