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

/// `[storage] durability`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// What is kept is shown and acknowledged behind its commit.
    #[default]
    Full,
    /// It is shown and acknowledged at once, and written soon after: the last moments before a crash may be lost.
    Relaxed,
}

/// `[archive]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// Whether there are archives.
    pub enabled: bool,
    /// How long messages stay in them; `None` for ever.
    pub keep: Option<std::time::Duration>,
}

impl Default for ArchiveSettings {
    fn default() -> Self {
        ArchiveSettings { enabled: true, keep: Some(std::time::Duration::from_secs(90 * 24 * 3600)) }
    }
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
    /// Archives.
    pub archive: ArchiveSettings,
    /// When what is kept counts as kept.
    pub durability: Durability,
    /// Entries one block list may have.
    pub max_blocked: usize,
    /// Push registrations one account may have.
    pub max_push: usize,
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
            archive: ArchiveSettings::default(),
            durability: Durability::Full,
            max_blocked: 1_000,
            max_push: 16,
            max_sessions: 32,
            max_roster: 5_000,
            max_documents: 1024 * 1024,
            contacts: Vec::new(),
            tombstone_seconds: 30 * 24 * 3600,
        }
    }
}
