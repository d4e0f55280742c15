//! Accounts.

use crate::Pending;
use stonechat_jid::BareJid;
use stonechat_sasl::Credentials;

/// The immutable identity of an account. A deleted name leaves a tombstone; a new owner of the name gets another id and
/// inherits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub i64);

/// Whether an account may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// It may.
    Active,
    /// An administrator locked it; messages to it are still kept.
    Locked,
}

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Identity.
    pub id: AccountId,
    /// Address.
    pub jid: BareJid,
    /// State.
    pub state: AccountState,
    /// Keys.
    pub credentials: Credentials,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// When a session last ended (seconds since the Unix epoch), and its unavailable status text.
    pub last_activity: Option<(u64, String)>,
}

/// What is needed to make one.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Address, prepared at creating level.
    pub jid: BareJid,
    /// Keys.
    pub credentials: Credentials,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

/// Storage of accounts.
pub trait Accounts {
    /// Makes an account. `Conflict` when the name is taken, by a living account or by a tombstone younger than
    /// `tombstone_seconds`.
    fn create_account(&self, account: NewAccount, tombstone_seconds: u64) -> Pending<AccountId>;
    /// Finds one by address.
    fn account(&self, jid: &BareJid) -> Pending<Option<Account>>;
    /// Accounts of a domain in order of address, starting after `after`, `limit` at most.
    fn accounts(&self, domain: &str, after: Option<&str>, limit: usize) -> Pending<Vec<Account>>;
    /// How many accounts a domain has.
    fn count_accounts(&self, domain: &str) -> Pending<u64>;
    /// Replaces the keys.
    fn set_credentials(&self, id: AccountId, credentials: Credentials) -> Pending<()>;
    /// Locks or unlocks.
    fn set_account_state(&self, id: AccountId, state: AccountState) -> Pending<()>;
    /// Notes the end of a session.
    fn set_last_activity(&self, id: AccountId, at: u64, status: String) -> Pending<()>;
    /// Removes an account and everything that belongs to it in one commit, leaving a tombstone of the name.
    fn delete_account(&self, id: AccountId, now: u64) -> Pending<()>;
}
