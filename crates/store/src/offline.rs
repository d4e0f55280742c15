//! Messages for those who are away (XEP-0160): the spool, as far as it was sent to nobody yet.

use crate::{AccountId, ArchiveId, Others, Pending, SmId};

/// Grows with each stored message; the order of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OfflineId(pub i64);

/// One kept message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineMessage {
    /// Position.
    pub id: OfflineId,
    /// When it was accepted: milliseconds since the Unix epoch.
    pub at: u64,
    /// The stanza as XML that stands by itself (`Stanza::to_xml`).
    pub stanza: Vec<u8>,
    /// Its row in the account's archive, when it was archived.
    pub archive: Option<ArchiveId>,
    /// Whether other sessions got it when it came.
    pub others: Others,
}

/// Which kept messages are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Those of whoever comes first ([`crate::Holder::Anybody`]).
    Anybodys,
    /// Those that the session before it left to a session ([`crate::Place::Inherited`]).
    InheritedBy(SmId),
    /// Anybody's and those.
    AnybodysAndOf(SmId),
}

impl Share {
    /// Whether it has those of whoever comes first.
    pub fn has_anybodys(self) -> bool {
        matches!(self, Share::Anybodys | Share::AnybodysAndOf(_))
    }
    /// Whose inheritance is in it.
    pub fn heir(self) -> Option<SmId> {
        match self {
            Share::Anybodys => None,
            Share::InheritedBy(id) | Share::AnybodysAndOf(id) => Some(id),
        }
    }
}

/// What became of a message to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfflineStored {
    /// Committed; of several that were kept at once the first.
    Stored(OfflineId),
    /// The account is at its bound; nothing was written.
    Full,
}

/// Storage of messages for those who are away: the rows of the spool that are to be sent to the next who comes. Those that
/// a session was sent are seen by [`crate::Sessions`] only, but count for the bounds.
pub trait Offline {
    /// Keeps a message unless the account would pass `max_messages` or `max_bytes`: what [`crate::Archives::record`] does
    /// with a half of one spool row.
    fn append_offline(
        &self,
        id: AccountId,
        at: u64,
        stanza: Vec<u8>,
        max_messages: u64,
        max_bytes: u64,
    ) -> Pending<OfflineStored>;
    /// The oldest messages after `after`, at most `limit`. Sees every append that was called before it.
    fn offline(
        &self,
        id: AccountId,
        share: Share,
        after: Option<OfflineId>,
        limit: usize,
    ) -> Pending<Vec<OfflineMessage>>;
    /// Removes messages up to and including `up_to`: called when they were handed to the client.
    fn remove_offline(&self, id: AccountId, share: Share, up_to: OfflineId) -> Pending<()>;
    /// How many are kept for whoever comes first.
    fn count_offline(&self, id: AccountId) -> Pending<u64>;
}
