//! What the router and the extensions are told by the configuration; one immutable value, swapped whole at reload.

use stonechat_jid::BareJid;

/// `[registration] mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RegistrationMode {
    /// Accounts are made by administrators only.
    #[default]
    Closed,
    /// Anybody may make one in band.
    Open,
}

/// Bounds of what is kept for one account while it is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfflineLimits {
    /// Messages.
    pub messages: u64,
    /// Bytes of all of them together.
    pub bytes: u64,
}

impl Default for OfflineLimits {
    fn default() -> Self {
        OfflineLimits { messages: 10_000, bytes: 32 * 1024 * 1024 }
    }
}

/// Settings that can change live.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may use administrators' commands over XMPP.
    pub admins: Vec<BareJid>,
    /// Who may register.
    pub registration: RegistrationMode,
    /// Offline bounds.
    pub offline: OfflineLimits,
    /// Sessions one account may have bound at a time.
    pub max_sessions: usize,
    /// Entries one roster may have.
    pub max_roster: usize,
    /// Bytes of private XML, and of a vCard, that one account may keep.
    pub max_documents: u64,
    /// Contact addresses (XEP-0157): field name to URIs.
    pub contacts: Vec<(String, Vec<String>)>,
    /// Seconds for which a deleted name cannot be taken again.
    pub tombstone_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            admins: Vec::new(),
            registration: RegistrationMode::Closed,
            offline: OfflineLimits::default(),
            max_sessions: 32,
            max_roster: 5_000,
            max_documents: 1024 * 1024,
            contacts: Vec::new(),
            tombstone_seconds: 30 * 24 * 3600,
        }
    }
}
