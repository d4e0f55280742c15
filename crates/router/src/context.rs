//! What an extension may reach.

use crate::{AccountError, Registry, Router, Settings};
use std::sync::Arc;
use std::time::Duration;
use stonechat_jid::{BareJid, Domain};
use stonechat_sasl::Credentials;
use stonechat_store::{Account, AccountId, Store};
use stonechat_xml::Element;

/// What the sender of an IQ is to the account it addressed. For a domain: `Owner` never, `Subscriber` for a local
/// account, `Stranger` otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The account itself.
    Owner,
    /// Somebody the account lets see its presence (subscription `from` or `both`).
    Subscriber,
    /// Anybody else.
    Stranger,
}

/// Whether somebody is there, for those who may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountPresence {
    /// At least one available resource.
    Available,
    /// None since then (time since the Unix epoch), with the last unavailable status.
    Away {
        /// When the last session ended; `None` when there never was one.
        since: Option<Duration>,
        /// Its status text.
        status: String,
    },
    /// There is no such account.
    Absent,
}

/// Capabilities of a handler.
#[derive(Clone)]
pub struct Context {
    pub(crate) router: Router,
}

impl Context {
    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.router.store()
    }
    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.router.settings()
    }
    /// The installed extensions' tables.
    pub fn registry(&self) -> &Registry {
        self.router.registry()
    }
    /// Whether the domain is served here.
    pub fn serves(&self, domain: &Domain) -> bool {
        self.router.serves(domain)
    }
    /// Time since the Unix epoch.
    pub fn unix(&self) -> Duration {
        self.router.clock().unix()
    }
    /// Time since the server started.
    pub fn uptime(&self) -> Duration {
        self.router.uptime()
    }
    /// The account of that address, when there is one.
    pub async fn account(&self, jid: &BareJid) -> Result<Option<Account>, stonechat_store::Error> {
        self.router.store().account(jid).await
    }
    /// The id of an account that is loaded or can be.
    pub async fn account_id(&self, jid: &BareJid) -> Option<AccountId> {
        self.router.account_id(jid).await
    }
    /// Whether somebody is there. The caller has checked that the asker may know.
    pub async fn presence(&self, jid: &BareJid) -> AccountPresence {
        self.router.account_presence(jid).await
    }
    /// Available resources of an account: full addresses. The caller has checked that the asker may know.
    pub fn resources(&self, jid: &BareJid) -> Vec<stonechat_jid::FullJid> {
        self.router.available_resources(jid)
    }
    /// Makes an account.
    pub async fn create_account(&self, jid: BareJid, credentials: Credentials) -> Result<AccountId, AccountError> {
        self.router.create_account(jid, credentials).await
    }
    /// Replaces the keys of an account.
    pub async fn set_credentials(&self, jid: &BareJid, credentials: Credentials) -> Result<(), AccountError> {
        self.router.set_credentials(jid, credentials).await
    }
    /// Deletes an account: contacts are told, sessions end, everything it kept goes.
    pub async fn delete_account(&self, jid: &BareJid) -> Result<(), AccountError> {
        self.router.doom_account(jid).await.map(|_| ())
    }
    /// Derives credentials from a prepared password on the bounded blocking pool; `None` when the pool is overloaded.
    pub async fn derive_credentials(&self, password: stonechat_sasl::Password) -> Option<Credentials> {
        self.router.derive_credentials(password).await
    }
    /// disco#info forms of a domain.
    pub fn disco_forms(&self, domain: &Domain) -> Vec<Element> {
        self.registry().forms.iter().filter_map(|form| form(self, domain)).collect()
    }
}
