//! The message archive of an account (XEP-0313), and what one account keeps of one message.
//!
//! An id is a time and some randomness in one number, so that the order of ids is the order of messages, a span of time is
//! a span of ids, and one clustered key serves them all. Each account numbers its own archive; the id of one account says
//! nothing about another's.

use crate::{AccountId, OfflineStored, OutgoingId, OutgoingRow, Pending, SmId, SpoolRow};
use stonechat_jid::{BareJid, Jid};

/// Bits of an [`ArchiveId`] below its milliseconds.
const RANDOM_BITS: u32 = 21;

/// One archived message of an account: milliseconds since the Unix epoch and 21 bits below them. Positive as an `i64`
/// until the year 2109.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArchiveId(pub u64);

impl ArchiveId {
    /// The id for a message accepted at `millis`, behind `last`: unique and growing within an account, whatever the clock
    /// does. `random` is any random number.
    pub fn next(last: Option<ArchiveId>, millis: u64, random: u32) -> ArchiveId {
        let random = u64::from(random) & ((1 << RANDOM_BITS) - 1);
        let candidate = (millis << RANDOM_BITS) | random;
        match last {
            Some(last) if last.0 >= candidate => ArchiveId(last.0.saturating_add(1)),
            _ => ArchiveId(candidate),
        }
    }
    /// The lowest id of a millisecond.
    pub fn first_at(millis: u64) -> ArchiveId {
        ArchiveId(millis.min(i64::MAX as u64 >> RANDOM_BITS) << RANDOM_BITS)
    }
    /// When it was accepted: milliseconds since the Unix epoch.
    pub fn millis(self) -> u64 {
        self.0 >> RANDOM_BITS
    }
    /// Its text, as in `<stanza-id id='…'/>`: 16 hexadecimal digits.
    pub fn text(self) -> String {
        format!("{:016x}", self.0)
    }
    /// Reads the text; `None` for anything that [`ArchiveId::text`] does not write.
    pub fn parse(text: &str) -> Option<ArchiveId> {
        let canonical = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !canonical {
            return None;
        }
        u64::from_str_radix(text, 16).ok().filter(|id| i64::try_from(*id).is_ok()).map(ArchiveId)
    }
}

/// What a message is known by when it is sent again or referred to: a keyed hash over its sender's bare address and the
/// id it gave, made by the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reference(pub i64);

/// Whether a [`Reference`] recognises a message that is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repeatable {
    /// It was made of an origin-id (XEP-0359), which its sender keeps when it sends the message again.
    Recognised,
    /// It was made of the `id` attribute, which clients use anew: it serves retractions only.
    No,
}

/// A reference and what it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The hash.
    pub reference: Reference,
    /// Whether it recognises a repetition.
    pub repeatable: Repeatable,
    /// Made of the `id` attribute when the reference is made of an origin-id and the two are not the same: a retraction may
    /// name either (XEP-0424 §5.1). Kept with a message in the archive only.
    pub named: Option<Reference>,
}

/// A message for the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveRow {
    /// Its id, drawn by the router.
    pub id: ArchiveId,
    /// The other party of the conversation, as full as it is known.
    pub with: Jid,
    /// The stanza as XML that stands by itself (`Stanza::to_xml`), without our own stanza-id.
    pub stanza: Vec<u8>,
    /// What it is known by.
    pub mark: Option<Mark>,
}

/// What one account keeps of one message: written in one commit, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Half {
    /// When the message was accepted: milliseconds since the Unix epoch. Its mark and its count are as old.
    pub at: u64,
    /// Its archive's row.
    pub archive: Option<ArchiveRow>,
    /// Rows of its spool: one for whoever comes first, or one for each session that was given it and counts.
    pub spool: Vec<SpoolRow>,
    /// The mark of a message that is not archived here but must be recognised when it is sent again. One that is not
    /// [`Repeatable::Recognised`] serves nothing here and is not kept.
    pub mark: Option<Mark>,
    /// How many stanzas of the sending stream have been handled with this one (XEP-0198).
    pub counted: Option<(SmId, u32)>,
    /// The message on its way to another domain.
    pub outgoing: Option<OutgoingRow>,
}

/// What became of a [`Half`]. Rows that may be refused are refused alone: the others are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What became of the spool's rows; `None` when there were none.
    pub spool: Option<OfflineStored>,
    /// The number of the outgoing row.
    pub outgoing: Option<OutgoingId>,
}

/// One archived message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedMessage {
    /// Its id.
    pub id: ArchiveId,
    /// The stanza as XML that stands by itself.
    pub stanza: Vec<u8>,
}

/// Which messages a query is about. Everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveFilter {
    /// The other party: a bare address means all of its resources.
    pub with: Option<Jid>,
    /// Not before (milliseconds, inclusive).
    pub start: Option<u64>,
    /// Not after (milliseconds, inclusive).
    pub end: Option<u64>,
    /// Only behind this one (XEP-0313 `after-id`, exclusive).
    pub after_id: Option<ArchiveId>,
    /// Only before this one (`before-id`, exclusive).
    pub before_id: Option<ArchiveId>,
    /// Only these, when there are any (`ids`).
    pub ids: Vec<ArchiveId>,
    /// Only with all of these words (XEP-0431), in whatever order. A text without a word in it leaves nothing. See
    /// [`crate::words`].
    pub words: Option<String>,
}

/// Where a page lies in what the filter leaves (XEP-0059).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchivePosition {
    /// The first messages.
    First,
    /// The first messages behind this one.
    After(ArchiveId),
    /// The last messages.
    Last,
    /// The last messages before this one.
    Before(ArchiveId),
}

/// A page, always in the order of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivePage {
    /// Its messages.
    pub messages: Vec<ArchivedMessage>,
    /// Whether it reaches the end of what the filter leaves, in the direction of paging.
    pub complete: bool,
}

/// Reads the words to be searched for out of a stored stanza; `None` when there are none. Given by whoever knows stanzas.
pub type Words = fn(&[u8]) -> Option<String>;

/// Storage of archives.
pub trait Archives {
    /// Writes a half: the one write on the path of a message. `limits` are the messages and the bytes the account's whole
    /// spool may have: spool rows that would pass them are refused, all of them or none, and everything else is committed.
    /// `NotFound` for an account that is not there, `Conflict` for an archive id that is taken: then nothing is.
    fn record(&self, account: AccountId, half: Half, limits: (u64, u64)) -> Pending<Recorded>;
    /// A page of at most `limit` messages. `NotFound` when an id in the position, in `after_id`, `before_id` or `ids` is not
    /// in the archive.
    fn archive_page(
        &self,
        account: AccountId,
        filter: ArchiveFilter,
        position: ArchivePosition,
        limit: usize,
        words: Words,
    ) -> Pending<ArchivePage>;
    /// How many messages the filter leaves. `NotFound` as for a page.
    fn count_archive(&self, account: AccountId, filter: ArchiveFilter, words: Words) -> Pending<u64>;
    /// The first and the last id.
    fn archive_bounds(&self, account: AccountId) -> Pending<Option<(ArchiveId, ArchiveId)>>;
    /// Marks that are recognised when sent again, newest first, `limit` at most: those among the newest `limit` messages of
    /// the archive, and the newest of those that have no message there.
    fn recent_marks(&self, account: AccountId, limit: usize) -> Pending<Vec<Reference>>;
    /// Replaces the stanza of the newest archived message that this refers to in the conversation with `with` (XEP-0424); its
    /// id stays, its words are forgotten, and copies of it in the spool are replaced too. `None` when there is none.
    fn replace_archived(
        &self,
        account: AccountId,
        with: BareJid,
        reference: Reference,
        stanza: Vec<u8>,
    ) -> Pending<Option<ArchiveId>>;
    /// Removes what was archived before `before`, at most `limit` messages of all accounts together; how many went. Called
    /// again while it returns `limit`. The spool keeps its copies.
    fn expire_archive(&self, before: ArchiveId, limit: usize) -> Pending<u64>;
    /// Removes marks without a message in the archive, and counts of sessions, that were last written before `before`
    /// (milliseconds since the Unix epoch), at most `limit` of all accounts together; how many went. Called again while it
    /// returns `limit`. How long they serve has nothing to do with how long archives are kept.
    fn expire_marks(&self, before: u64, limit: usize) -> Pending<u64>;
}
