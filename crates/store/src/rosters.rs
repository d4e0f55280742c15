//! Rosters, with the versions that roster versioning needs (RFC 6121 §2.6).

use crate::{AccountId, Pending};
use stonechat_jid::BareJid;

/// The subscription as stored; its meaning is `im`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct StoredSubscription {
    /// We see their presence.
    pub to: bool,
    /// They see ours.
    pub from: bool,
    /// Our request awaits their answer (`ask='subscribe'`).
    pub pending_out: bool,
    /// Their request awaits our answer.
    pub pending_in: bool,
    /// Pre-approved (RFC 6121 §3.4).
    pub approved: bool,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterRecord {
    /// Contact.
    pub jid: BareJid,
    /// Handle.
    pub name: Option<String>,
    /// Groups, in the order the client gave.
    pub groups: Vec<String>,
    /// Subscription.
    pub subscription: StoredSubscription,
    /// The stored `subscribe` presence stanza as XML while `pending_in` is set, delivered again at each login.
    pub request: Option<Vec<u8>>,
    /// Whether the entry is shown to the client. An entry that exists only to hold a pending request or a pre-approval is not.
    pub listed: bool,
    /// The roster version at which this entry last changed.
    pub version: u64,
}

/// A whole roster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRoster {
    /// The version of the newest change; 0 for a roster that never changed.
    pub version: u64,
    /// The oldest version from which `removed` is complete: a client with an older version gets the whole roster.
    pub horizon: u64,
    /// Entries.
    pub entries: Vec<RosterRecord>,
    /// Entries removed since `horizon`: (contact, version of the removal).
    pub removed: Vec<(BareJid, u64)>,
}

/// Removals that are kept for one account: when there are more, the oldest is forgotten and the horizon raised to its version.
pub const ROSTER_REMOVALS_KEPT: u32 = 1_000;

/// Storage of rosters.
pub trait Rosters {
    /// The whole roster; empty for an account that has none.
    fn roster(&self, id: AccountId) -> Pending<StoredRoster>;
    /// Inserts or replaces one entry; the roster's version becomes the entry's. A remembered removal of the contact is
    /// forgotten when the entry is listed, and stays when it is not: clients still have to hear of it.
    fn put_roster_entry(&self, id: AccountId, entry: RosterRecord) -> Pending<()>;
    /// Removes one entry and remembers the removal at `version`. No error when it is not there.
    fn remove_roster_entry(&self, id: AccountId, contact: &BareJid, version: u64) -> Pending<()>;
}
