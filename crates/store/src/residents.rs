//! What is kept in memory of an account that is in use, read in one trip: whoever logs in waits for it.
//!
//! Every part of it can be read by itself by a method of its own; here they are read together, so that a log-in is one wake-up
//! of one thread of the store, not eight.

use crate::{AccountId, ArchiveId, Claim, Pending, PushRegistration, Reference, SmId, StoredRoster};
use stonechat_jid::{BareJid, Jid};

/// What is known of an account when it begins to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Its identity.
    pub id: AccountId,
    /// As [`crate::Rosters::roster`] has it.
    pub roster: StoredRoster,
    /// The last id of its archive.
    pub last_archived: Option<ArchiveId>,
    /// As [`crate::Archives::recent_marks`] has them.
    pub marks: Vec<Reference>,
    /// Its document of the kind [`crate::XmlKind::ArchivePreferences`] without a key.
    pub archive_preferences: Option<Vec<u8>>,
    /// As [`crate::BlockLists::blocked`] has them.
    pub blocked: Vec<Jid>,
    /// As [`crate::PushRegistrations::push_registrations`] has them.
    pub push: Vec<PushRegistration>,
    /// As [`crate::Sessions::spool_holders`] has them.
    pub holders: Vec<(SmId, Claim)>,
}

/// Reading of accounts that begin to be used.
pub trait Residents {
    /// Finds an account by its address, and reads what is known of it, with `marks` marks at most. All of it is of one moment.
    fn resident(&self, jid: &BareJid, marks: usize) -> Pending<Option<Resident>>;
}
