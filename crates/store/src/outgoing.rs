//! Messages that were acknowledged to their senders and are on their way to another domain.

use crate::{AccountId, Pending};
use stonechat_jid::Domain;

/// Grows with each; the order of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutgoingId(pub i64);

/// A message for another domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingRow {
    /// When it was accepted: milliseconds since the Unix epoch.
    pub at: u64,
    /// The domain it goes to.
    pub remote: Domain,
    /// The stanza as XML that stands by itself.
    pub stanza: Vec<u8>,
}

/// One that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// Its number.
    pub id: OutgoingId,
    /// Whose it is.
    pub account: AccountId,
    /// The row.
    pub row: OutgoingRow,
}

/// Storage of messages on their way out. They are written by [`crate::Archives::record`], and go with their account.
pub trait Outgoing {
    /// The oldest behind `after`, at most `limit`: read once at the start.
    fn outgoing(&self, after: Option<OutgoingId>, limit: usize) -> Pending<Vec<OutgoingMessage>>;
    /// Removes what was delivered or answered. Numbers that are not there are no error.
    fn remove_outgoing(&self, ids: Vec<OutgoingId>) -> Pending<()>;
}
