//! Devices of accounts: the clients that log in to them, by the ids of their user agents (XEP-0388 §2.2), and their tokens
//! (XEP-0484).
//!
//! A device is known from its first log-in with the password. A token is good for two weeks and is replaced once it is a day
//! old; the old one stays good until the new one was used. Tokens are revoked with their device, when the password changes
//! and when the account is locked. No token is kept: see `stonechat_sasl::TokenSecret`.
//!
//! What is revoked must not be escaped by a log-in that is under way in that moment. So a log-in notes when it began
//! ([`Router::login_start`]), and what was revoked since then is looked up once more after it took effect
//! ([`crate::revocations`]): whichever of the two comes second sees the other.
//!
//! Deliberately absent: early data of TLS (it is not offered, so a token's count is a second fence and not the only one);
//! what a client must have proved before it is given a token, which its stream knows.

use crate::account::Cell;
use crate::revocations::{LoginStart, Revoked};
use crate::{AccountError, Router};
use std::cmp::Reverse;
use stonechat_jid::{BareJid, FullJid};
use stonechat_sasl::{
    Candidate, Failure, Hash, SEED_LENGTH, ScramKeys, Token, TokenLookup, TokenMechanism, TokenOwner, TokenSecret,
    Validity, Verdict,
};
use stonechat_stanza::{StreamCondition, StreamError};
use stonechat_store::{AccountId, AccountState, Device, Proofs, StoredToken};
use tracing::{debug, error, info};

/// Devices an account may have; the one seen longest ago makes room.
const MOST_DEVICES: usize = 64;
/// How long a token is good, in seconds.
const TOKEN_LIFETIME: u64 = 14 * 86_400;
/// From this age on a token that is used is replaced, in seconds.
const TOKEN_DUE: u64 = 86_400;
/// Bytes of a user agent's id: XEP-0388 §2.2 wants a UUID, which has 36.
const LONGEST_ID: usize = 128;
/// Characters kept of a name.
const LONGEST_NAME: usize = 128;

/// What a client tells of itself (XEP-0388 §2.2), in a form that may be kept and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent {
    id: String,
    software: Option<String>,
    device: Option<String>,
}

impl UserAgent {
    /// `None` for an id that cannot be kept: empty, longer than 128 bytes, or with control characters. Such a client logs in
    /// as one that told none.
    pub fn new(id: &str, software: Option<&str>, device: Option<&str>) -> Option<UserAgent> {
        if id.is_empty() || id.len() > LONGEST_ID || id.chars().any(is_unprintable) {
            return None;
        }
        Some(UserAgent { id: id.to_owned(), software: software.and_then(name), device: device.and_then(name) })
    }
    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// A name as it is kept: no control characters, nothing that turns the direction of what is printed beside it.
fn name(text: &str) -> Option<String> {
    let kept: String = text.trim().chars().filter(|c| !is_unprintable(*c)).take(LONGEST_NAME).collect();
    (!kept.is_empty()).then_some(kept)
}

fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A token that was issued: told to its client, and to nobody else.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: Token,
    /// When its time is over, in seconds since the Unix epoch.
    pub expires: u64,
}

/// What became of the use of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// It is noted.
    Good,
    /// It is noted, and the token is to be replaced ([`Router::issue_token`]).
    Due,
    /// The token is gone, or was used with this count or a higher one before.
    Refused,
    /// The store could not answer.
    Unavailable,
}

impl TokenUse {
    /// What the exchange is told (`stonechat_sasl::TokenNegotiation::used`).
    pub fn verdict(self) -> Verdict {
        match self {
            TokenUse::Good | TokenUse::Due => Verdict::Accepted,
            TokenUse::Refused => Verdict::Refused,
            TokenUse::Unavailable => Verdict::Unavailable,
        }
    }
}

/// By what a device proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceProof<'a> {
    /// By the password, with this mechanism.
    Password(&'a str),
    /// By a token.
    Token {
        /// The mechanism.
        mechanism: TokenMechanism,
        /// What names the token.
        seed: [u8; SEED_LENGTH],
        /// The count it came with; 0 for none.
        count: u64,
        /// Whether it is given back.
        kept: TokenKept,
    },
}

/// Whether a device keeps the token that it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKept {
    /// It does.
    Kept,
    /// It gives it back (XEP-0484 §3.6).
    GivenBack,
}

/// A device, as its owner and administrators are shown it.
#[derive(Clone, Debug)]
pub struct DeviceView {
    /// What is stored; tokens whose time is over are left out.
    pub device: Device,
    /// Its sessions, those that wait for their connection included.
    pub sessions: Vec<FullJid>,
}

impl DeviceView {
    /// Whether it can be there again without anybody's help: it proved the password, has a token, or is there.
    pub fn has_access(&self) -> bool {
        self.device.mechanism.is_some() || !self.device.tokens.is_empty() || !self.sessions.is_empty()
    }
}

/// What revoking a device did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRevoked {
    /// Sessions that were ended.
    pub sessions: usize,
    /// Whether it proved the password that the account has now: it can come back with it.
    pub password: PasswordProved,
}

/// Whether a device proved the password that the account has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordProved {
    /// It did.
    Yes,
    /// It did not, as far as is known.
    No,
}

impl Cell {
    /// Ends the sessions of a device for good.
    fn close_device(&self, device: &str, condition: StreamCondition) -> usize {
        let mut ended = 0;
        for session in &mut self.lock().sessions {
            if session.facts.device.as_deref() == Some(device) {
                session.out.forbid_resumption();
                session.out.close(Some(StreamError::new(condition)));
                ended += 1;
            }
        }
        ended
    }
}

impl Router {
    /// A log-in begins. What is revoked from now on does not hold for it.
    pub fn login_start(&self) -> LoginStart {
        self.inner.revocations.now()
    }

    /// Whether an account, or the device, was shut out since a log-in began.
    pub(crate) fn revoked_since(&self, start: LoginStart, account: &BareJid, device: Option<&str>) -> Revoked {
        self.inner.revocations.since(start, account, device)
    }

    /// What tokens are made from: for `stonechat_sasl::TokenNegotiation`.
    pub fn token_secret(&self) -> &TokenSecret {
        self.inner.tokens.get_or_init(|| {
            let mut secret = TokenSecret([0; 32]);
            self.inner.random.fill(&mut secret.0);
            secret
        })
    }

    /// Sets what tokens are made from, before the first of them is. Without it they are good until the process ends.
    pub fn set_token_secret(&self, secret: TokenSecret) {
        if self.inner.tokens.set(secret).is_err() {
            error!(event = "tokens.secret_late", "tokens were made already; they end with the process");
        }
    }

    /// A device proved itself, and is let in: it is noted, or the use of its token is; it is given the token that it asks for,
    /// or the one that is due. To be called before anything else of the log-in takes effect.
    ///
    /// # Errors
    /// Why it is not let in. A device that cannot be noted and a token that cannot be issued are no reason.
    pub async fn admit_device(
        &self,
        start: LoginStart,
        account: &BareJid,
        agent: &UserAgent,
        proof: DeviceProof<'_>,
        requested: Option<TokenMechanism>,
    ) -> Result<Option<IssuedToken>, Failure> {
        let (wanted, beside) = match proof {
            DeviceProof::Password(mechanism) => {
                if let Err(source) = self.note_device(account, agent, mechanism).await {
                    error!(event = "devices.write_failed", %source, "a device could not be noted");
                }
                (requested, None)
            }
            DeviceProof::Token { mechanism, seed, count, kept } => {
                let used = self.use_token(account, &agent.id, seed, count).await;
                match (used, kept) {
                    (TokenUse::Refused, _) => return Err(Failure::NotAuthorized),
                    (TokenUse::Unavailable, _) => return Err(Failure::TemporaryAuthFailure),
                    (TokenUse::Good, TokenKept::Kept) => (requested, Some(seed)),
                    (TokenUse::Due, TokenKept::Kept) => (requested.or(Some(mechanism)), Some(seed)),
                    (TokenUse::Good | TokenUse::Due, TokenKept::GivenBack) => {
                        // What is given back must not stay good because of a store that is out of order.
                        self.invalidate_tokens(account, &agent.id).await.map_err(|_| Failure::TemporaryAuthFailure)?;
                        (requested, None)
                    }
                }
            }
        };
        let Some(wanted) = wanted else { return Ok(None) };
        Ok(self.issue_token(start, account, &agent.id, wanted, beside).await.unwrap_or_else(|source| {
            error!(event = "tokens.write_failed", %source, "a token could not be issued");
            None
        }))
    }

    /// A device logged in with the password, by this mechanism.
    ///
    /// # Errors
    /// When the account is gone, or the store fails.
    pub async fn note_device(&self, account: &BareJid, agent: &UserAgent, mechanism: &str) -> Result<(), AccountError> {
        let id = self.account_id(account).await.ok_or(AccountError::NotFound)?;
        let now = self.inner.clock.unix().as_secs();
        let device = Device {
            id: agent.id.clone(),
            software: agent.software.clone(),
            name: agent.device.clone(),
            mechanism: Some(mechanism.to_owned()),
            first_seen: now,
            last_seen: now,
            tokens: Vec::new(),
        };
        Ok(self.inner.store.put_device(id, device, MOST_DEVICES).await?)
    }

    /// The tokens that a device may prove: the answer to `stonechat_sasl::TokenStep::NeedCandidates`. The same reads whether
    /// the account is there or not.
    pub async fn token_candidates(&self, account: &BareJid, device: &str, mechanism: TokenMechanism) -> TokenLookup {
        let found = self.inner.store.account(account).await;
        let id = found.as_ref().ok().and_then(Option::as_ref).map_or(AccountId(0), |account| account.id);
        let known = self.inner.store.device(id, device).await;
        let (found, known) = match (found, known) {
            (Ok(found), Ok(known)) => (found, known),
            (Err(source), _) | (_, Err(source)) => {
                error!(event = "tokens.read_failed", %source, "the tokens of a device could not be read");
                return TokenLookup::Unavailable;
            }
        };
        let Some(found) = found else { return TokenLookup::Unknown };
        let now = self.inner.clock.unix().as_secs();
        let candidates = known
            .into_iter()
            .flat_map(|device| device.tokens)
            .filter(|token| token.mechanism == mechanism.name())
            .map(|token| Candidate {
                seed: token.seed,
                validity: if token.expires > now { Validity::Good } else { Validity::Expired },
            })
            .collect();
        match found.state {
            AccountState::Active => TokenLookup::Found { account: id.0, candidates },
            AccountState::Locked => TokenLookup::Locked { account: id.0, candidates },
        }
    }

    /// Notes the use of a token, with the count it came with (0 for none): the answer to
    /// `stonechat_sasl::TokenStep::UseToken`. Committed when this returns.
    pub async fn use_token(&self, account: &BareJid, device: &str, seed: [u8; SEED_LENGTH], count: u64) -> TokenUse {
        let Some(id) = self.account_id(account).await else { return TokenUse::Refused };
        let now = self.inner.clock.unix().as_secs();
        match self.inner.store.use_token(id, device, seed, count, now).await {
            Ok(Some(issued)) if now.saturating_sub(issued) >= TOKEN_DUE => TokenUse::Due,
            Ok(Some(_)) => TokenUse::Good,
            Ok(None) => {
                info!(event = "tokens.replayed", %account, "a token came with a count that was used before");
                TokenUse::Refused
            }
            Err(stonechat_store::Error::NotFound) => TokenUse::Refused,
            Err(source) => {
                error!(event = "tokens.write_failed", %source, "the use of a token could not be noted");
                TokenUse::Unavailable
            }
        }
    }

    /// Issues a token to a device that is logging in; its other tokens go, all but the one in use (`beside`), which stays
    /// good until the new one is used (XEP-0484 §3.5). `None` when there is no such device, no token for that mechanism, or
    /// something was revoked since the log-in began.
    ///
    /// # Errors
    /// When the account is gone, or the store fails.
    pub async fn issue_token(
        &self,
        start: LoginStart,
        account: &BareJid,
        device: &str,
        mechanism: TokenMechanism,
        beside: Option<[u8; SEED_LENGTH]>,
    ) -> Result<Option<IssuedToken>, AccountError> {
        if mechanism == TokenMechanism::Unique {
            return Ok(None);
        }
        let id = self.account_id(account).await.ok_or(AccountError::NotFound)?;
        let mut seed = [0; SEED_LENGTH];
        self.inner.random.fill(&mut seed);
        let issued = self.inner.clock.unix().as_secs();
        let expires = issued.saturating_add(TOKEN_LIFETIME);
        let stored = StoredToken { seed, mechanism: mechanism.name().to_owned(), issued, expires, count: 0 };
        match self.inner.store.put_token(id, device, stored, beside).await {
            Ok(()) => {}
            Err(stonechat_store::Error::NotFound) => return Ok(None),
            Err(source) => return Err(source.into()),
        }
        if self.revoked_since(start, account, Some(device)) == Revoked::Yes {
            self.inner.store.remove_tokens(id, Proofs::Device(device)).await?;
            return Ok(None);
        }
        debug!(event = "tokens.issued", %account, mechanism = mechanism.name(), "a device was given a token");
        let token = self.token_secret().token(TokenOwner { account: id.0, device }, mechanism, &seed);
        Ok(Some(IssuedToken { token, expires }))
    }

    /// A device gives its tokens back (XEP-0484 §3.6).
    ///
    /// # Errors
    /// When the account is gone, or the store fails.
    pub async fn invalidate_tokens(&self, account: &BareJid, device: &str) -> Result<(), AccountError> {
        let id = self.account_id(account).await.ok_or(AccountError::NotFound)?;
        Ok(self.inner.store.remove_tokens(id, Proofs::Device(device)).await?)
    }

    /// The devices of an account, the one seen last first. A session whose device was revoked or forgotten, and which is
    /// there all the same, is a device of its own.
    ///
    /// # Errors
    /// When there is no such account, or the store fails.
    pub async fn devices(&self, account: &BareJid) -> Result<Vec<DeviceView>, AccountError> {
        let id = self.stored_id(account).await?;
        let now = self.inner.clock.unix().as_secs();
        let mut views: Vec<DeviceView> = self
            .inner
            .store
            .devices(id)
            .await?
            .into_iter()
            .map(|mut device| {
                device.tokens.retain(|token| token.expires > now);
                DeviceView { device, sessions: Vec::new() }
            })
            .collect();
        for session in self.sessions_of(account) {
            let Some(device) = session.device else { continue };
            match views.iter_mut().find(|view| view.device.id == device) {
                Some(view) => {
                    view.device.last_seen = now;
                    view.sessions.push(session.jid);
                }
                None => views.push(DeviceView {
                    device: Device {
                        id: device,
                        software: None,
                        name: None,
                        mechanism: None,
                        first_seen: session.since.as_secs(),
                        last_seen: now,
                        tokens: Vec::new(),
                    },
                    sessions: vec![session.jid],
                }),
            }
        }
        views.sort_by_key(|view| Reverse(view.device.last_seen));
        Ok(views)
    }

    /// Revokes a device: its tokens go, its sessions end. `None` when there is no such device.
    ///
    /// # Errors
    /// When there is no such account, or the store fails.
    pub async fn revoke_device(&self, account: &BareJid, device: &str) -> Result<Option<DeviceRevoked>, AccountError> {
        let id = self.stored_id(account).await?;
        let known = self.inner.store.device(id, device).await?;
        self.inner.revocations.add(account, Some(device));
        match self.inner.store.remove_device(id, device).await {
            Ok(()) | Err(stonechat_store::Error::NotFound) => {}
            Err(source) => return Err(source.into()),
        }
        let sessions = match self.inner.shards.find(account) {
            Some(cell) => {
                let ended = cell.close_device(device, StreamCondition::NotAuthorized);
                self.end_abandoned(&cell);
                ended
            }
            None => 0,
        };
        if known.is_none() && sessions == 0 {
            return Ok(None);
        }
        info!(event = "device.revoked", %account, sessions, "a device was revoked");
        let password = match known.and_then(|device| device.mechanism) {
            Some(_) => PasswordProved::Yes,
            None => PasswordProved::No,
        };
        Ok(Some(DeviceRevoked { sessions, password }))
    }

    /// Revokes all devices of an account, and ends all of its sessions, those of clients that told no device included. How
    /// many devices there were.
    ///
    /// # Errors
    /// When there is no such account, or the store fails.
    pub async fn revoke_devices(&self, account: &BareJid) -> Result<usize, AccountError> {
        let id = self.stored_id(account).await?;
        self.inner.revocations.add(account, None);
        let devices = self.inner.store.devices(id).await?;
        for device in &devices {
            match self.inner.store.remove_device(id, &device.id).await {
                Ok(()) | Err(stonechat_store::Error::NotFound) => {}
                Err(source) => return Err(source.into()),
            }
        }
        self.end_sessions(account, StreamCondition::NotAuthorized);
        info!(event = "device.all_revoked", %account, devices = devices.len(), "all devices were revoked");
        Ok(devices.len())
    }

    /// The password is another one, or the account is locked: log-ins under way are refused, tokens are good no more. Called
    /// when that is committed.
    pub(crate) async fn revoke_tokens(
        &self,
        account: &BareJid,
        id: AccountId,
        of: Proofs<'_>,
    ) -> Result<(), AccountError> {
        self.inner.revocations.add(account, None);
        Ok(self.inner.store.remove_tokens(id, of).await?)
    }

    /// Adds keys for a hash that a client brought with its log-in (XEP-0480). `Ok(false)` when the password was changed
    /// since the log-in began: the keys would be those of the old one.
    ///
    /// # Errors
    /// When there is no such account, or the store fails.
    pub async fn add_keys(
        &self,
        start: LoginStart,
        account: &BareJid,
        hash: Hash,
        keys: ScramKeys,
    ) -> Result<KeysAdded, AccountError> {
        let _alone = self.inner.passwords.lock().await;
        if self.revoked_since(start, account, None) == Revoked::Yes {
            return Ok(KeysAdded::No);
        }
        let mut stored = self.inner.store.account(account).await?.ok_or(AccountError::NotFound)?;
        stored.credentials.set_keys(hash, keys);
        self.inner.store.set_credentials(stored.id, stored.credentials).await?;
        Ok(KeysAdded::Yes)
    }

    async fn stored_id(&self, account: &BareJid) -> Result<AccountId, AccountError> {
        Ok(self.inner.store.account(account).await?.ok_or(AccountError::NotFound)?.id)
    }
}

/// Whether keys were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysAdded {
    /// They were.
    Yes,
    /// The password was changed, or the account shut out, since the log-in began.
    No,
}
