//! What outlives a stream: counts of stream management, sessions saved at an orderly end, and the spool of what was given
//! to a session that counts and is not acknowledged yet (XEP-0198).

use crate::{AccountId, ArchiveId, OfflineId, Pending, Share};

/// A resumable session, unguessable: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SmId(pub [u8; 16]);

impl SmId {
    /// Its text, as in `<enabled id='…'/>`: 32 hexadecimal digits.
    pub fn text(self) -> String {
        self.0.iter().fold(String::with_capacity(32), |mut text, byte| {
            use std::fmt::Write;
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
    /// Reads the text.
    pub fn parse(text: &str) -> Option<SmId> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut id = [0u8; 16];
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(SmId(id))
    }
}

impl std::fmt::Debug for SmId {
    /// Whoever knows it may take the session over: it reaches no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SmId(..)")
    }
}

/// Whose a spooled message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Whoever comes first.
    Anybody,
    /// A session, which has not acknowledged it.
    Session {
        /// The session.
        id: SmId,
        /// Where it stands in the session's stream.
        place: Place,
        /// Whether other sessions got it too: then it is worth nothing to anybody else.
        others: Others,
    },
}

/// Where a message stands in the stream of the session that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It was sent, or may have been, as the stanza of that number: counted from 1, never wrapping, less than 2^61.
    Sent(u64),
    /// The session before this one held it: it is to be sent with the messages that were kept, in its order among them.
    Inherited,
    /// It waits behind kept messages, and has no number before those are sent; until then the router tells it by this one,
    /// less than 2^61.
    Behind(u64),
}

/// Whether the client of a session that held messages at a kill may still come to say what it has of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It may.
    Open,
    /// It came and said it.
    Made,
}

/// Whether others were given a message too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They were.
    Served,
    /// Nobody else was.
    None,
}

/// A message for the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolRow {
    /// When it was accepted: milliseconds since the Unix epoch.
    pub at: u64,
    /// The stanza as XML that stands by itself, as it is to be delivered.
    pub stanza: Vec<u8>,
    /// Its row in the account's archive, when it is there.
    pub archive: Option<ArchiveId>,
    /// Whose it is.
    pub holder: Holder,
}

/// A session that waits to be resumed after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSession {
    /// Its id.
    pub id: SmId,
    /// Until when it may be resumed: milliseconds since the Unix epoch.
    pub until: u64,
    /// Everything else, in the router's own form.
    pub state: Vec<u8>,
}

/// Storage of sessions and of their spool.
pub trait Sessions {
    /// Saves the sessions of an account at an orderly end, replacing what was saved before.
    fn save_sessions(&self, account: AccountId, sessions: Vec<SavedSession>) -> Pending<()>;
    /// Takes the saved sessions of an account out, in the order in which they were given.
    fn take_sessions(&self, account: AccountId) -> Pending<Vec<SavedSession>>;
    /// The addresses of the accounts that have saved sessions.
    fn accounts_with_sessions(&self) -> Pending<Vec<stonechat_jid::BareJid>>;
    /// How many stanzas of a session's stream were handled, as committed with the last message of it.
    fn committed_count(&self, account: AccountId, id: SmId) -> Pending<Option<u32>>;
    /// Sessions that hold spooled messages, in the order of the oldest message of each: after a kill nobody else knows them.
    fn spool_holders(&self, account: AccountId) -> Pending<Vec<(SmId, Claim)>>;
    /// Removes what a session acknowledged: its messages that were sent with numbers up to `number`.
    fn acknowledge_spool(&self, account: AccountId, id: SmId, number: u64) -> Pending<()>;
    /// Removes everything that a session holds, and its count.
    fn forget_spool(&self, account: AccountId, id: SmId) -> Pending<()>;
    /// Gives kept messages, oldest first and up to `up_to`, to a session, which alone has them: the first becomes
    /// its stanza `number`, the next the one after that. Messages of other sessions in between are left alone.
    fn give_spool(&self, account: AccountId, share: Share, up_to: OfflineId, id: SmId, number: u64) -> Pending<()>;
    /// Messages that stood [`Place::Behind`] others are sent now: each pair is the router's number for it, and its number in
    /// the stream.
    fn number_spool(&self, account: AccountId, id: SmId, numbers: Vec<(u64, u64)>) -> Pending<()>;
    /// The client of a session that is gone came and said how many stanzas it has of it: those are removed. What is left
    /// belongs to whatever session that client binds in its place ([`Sessions::inherit_spool`]); if the server dies before
    /// it does, [`Sessions::spool_holders`] says that nobody else will come for it.
    fn claim_spool(&self, account: AccountId, id: SmId, number: u64) -> Pending<()>;
    /// What a session that is gone held becomes another's, which takes its place ([`Place::Inherited`]). Its count is
    /// forgotten.
    fn inherit_spool(&self, account: AccountId, from: SmId, to: SmId) -> Pending<()>;
    /// The session is gone for good: what it held and did not acknowledge is anybody's again, at its old place, but for what
    /// others got too when `keep` is [`Others::None`]. Its count is forgotten.
    fn release_spool(&self, account: AccountId, id: SmId, keep: Others) -> Pending<()>;
}
