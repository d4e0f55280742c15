//! What an extension may reach.

use crate::{
    AccountError, ArchivePreferences, BlockChange, Commits, DeviceRevoked, DeviceView, Registry, Router, SessionId,
    SessionView, Settings, Turn,
};
use std::sync::Arc;
use std::time::Duration;
use stonechat_im::plan::Carbons;
use stonechat_jid::{BareJid, Domain, Jid};
use stonechat_sasl::Credentials;
use stonechat_stanza::{Stanza, StanzaError, ns};
use stonechat_store::{Account, AccountId, PushRegistration, Store, XmlKind};
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
    /// The devices of an account. The caller has checked that the asker is its owner.
    pub async fn devices(&self, jid: &BareJid) -> Result<Vec<DeviceView>, AccountError> {
        self.router.devices(jid).await
    }
    /// Revokes a device: its tokens go, its sessions end. `None` when there is no such device.
    pub async fn revoke_device(&self, jid: &BareJid, device: &str) -> Result<Option<DeviceRevoked>, AccountError> {
        self.router.revoke_device(jid, device).await
    }
    /// The bound sessions of an account. The caller has checked that the asker is its owner.
    pub fn sessions(&self, jid: &BareJid) -> Vec<SessionView> {
        self.router.sessions_of(jid)
    }
    /// Deletes an account: contacts are told, sessions end, everything it kept goes.
    pub async fn delete_account(&self, jid: &BareJid) -> Result<(), AccountError> {
        self.router.doom_account(jid).await.map(|_| ())
    }
    /// Derives credentials from a prepared password on the bounded blocking pool; `None` when the pool is overloaded.
    pub async fn derive_credentials(&self, password: stonechat_sasl::Password) -> Option<Credentials> {
        self.router.derive_credentials(password).await
    }
    /// Sends stanzas to a session of an account, before the answer to the request that it made: the results of a query
    /// (XEP-0313 §4.2). Nothing happens when the session is gone.
    pub fn send_to_session(&self, account: &BareJid, session: SessionId, stanzas: &[Stanza]) {
        if let Some(cell) = self.router.inner.shards.find(account) {
            let mut turn = Turn::new();
            let mut state = cell.lock();
            if let Some(session) = state.session(session) {
                for stanza in stanzas {
                    session.push(stanza, stanza.from(), stanza.to(), &mut turn);
                }
            }
        }
    }
    /// Turns copies of what an account sends and receives elsewhere on or off for one of its sessions (XEP-0280).
    pub fn set_carbons(&self, account: &BareJid, session: SessionId, carbons: Carbons) {
        if let Some(cell) = self.router.inner.shards.find(account)
            && let Some(session) = cell.lock().session(session)
        {
            session.carbons = carbons;
        }
    }
    /// The archive preferences of an account.
    pub async fn archive_preferences(&self, account: &BareJid) -> Option<ArchivePreferences> {
        let cell = self.router.loaded(account).await?;
        let state = cell.lock();
        state.loaded().map(|loaded| loaded.preferences.clone())
    }
    /// Replaces the archive preferences of an account: committed, then in force.
    pub async fn set_archive_preferences(
        &self,
        account: &BareJid,
        preferences: ArchivePreferences,
    ) -> Result<(), AccountError> {
        let cell = self.router.loaded(account).await.ok_or(AccountError::NotFound)?;
        let id = cell.account_id().ok_or(AccountError::NotFound)?;
        let mut xml = Vec::new();
        preferences.to_element().write(&mut xml, ns::CLIENT);
        let most = self.settings().max_documents;
        self.store().put_xml(id, XmlKind::ArchivePreferences, "", Some(xml), most).await?;
        if let Some(loaded) = cell.lock().loaded_mut() {
            loaded.preferences = preferences;
        }
        Ok(())
    }
    /// The block list of an account; the session that asks is told of changes from now on (XEP-0191).
    pub async fn block_list(&self, account: &BareJid, session: Option<SessionId>) -> Vec<Jid> {
        self.router.block_list(account, session).await
    }
    /// Changes the block list of an account.
    pub async fn change_blocks(&self, account: &BareJid, change: BlockChange) -> Result<(), StanzaError> {
        self.router.change_blocks(account, change).await
    }
    /// Registers a device for notifications (XEP-0357): committed, then in force.
    pub async fn register_push(&self, account: &BareJid, registration: PushRegistration) -> Result<(), AccountError> {
        let cell = self.router.loaded(account).await.ok_or(AccountError::NotFound)?;
        let id = cell.account_id().ok_or(AccountError::NotFound)?;
        self.store().put_push(id, registration.clone(), self.settings().max_push).await?;
        if let Some(loaded) = cell.lock().loaded_mut() {
            loaded.push.retain(|other| other.service != registration.service || other.node != registration.node);
            loaded.push.push(registration);
        }
        Ok(())
    }
    /// Ends the registration of a node, or of all nodes of a service.
    pub async fn remove_push(&self, account: &BareJid, service: Jid, node: Option<String>) -> Result<(), AccountError> {
        let cell = self.router.loaded(account).await.ok_or(AccountError::NotFound)?;
        let id = cell.account_id().ok_or(AccountError::NotFound)?;
        self.store().remove_push(id, service.clone(), node.clone()).await?;
        if let Some(loaded) = cell.lock().loaded_mut() {
            let named = |other: &PushRegistration| node.as_ref().is_none_or(|node| other.node == *node);
            loaded.push.retain(|other| other.service != service || !named(other));
        }
        Ok(())
    }
    /// Sends a stanza of the server's own: its `from` is a served domain or the account that a request was made for.
    pub fn route(&self, stanza: Stanza) {
        self.router.route(stanza, &mut Turn::new(), &mut Commits::new());
    }
    /// disco#info forms of a domain.
    pub fn disco_forms(&self, domain: &Domain) -> Vec<Element> {
        self.registry().forms.iter().filter_map(|form| form(self, domain)).collect()
    }
}
