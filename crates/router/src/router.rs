//! The router's state and its short operations; the pipeline itself is in [`crate::route`].

use crate::account::{Cell, Shards};
use crate::committer::Committer;
use crate::departures::Departures;
use crate::push::Notifications;
use crate::revocations::Revocations;
use crate::{
    AccountError, AccountPresence, Clock, Commits, Context, Hosts, Memory, Random, Registry, Remote, Settings,
    SystemClock, Turn,
};
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain, FullJid, Jid};
use stonechat_sasl::{Credentials, Password, TokenSecret};
use stonechat_stanza::Stanza;
use stonechat_store::{AccountId, AccountState, NewAccount, Proofs, Store};
use tokio::sync::{Semaphore, oneshot};

/// How many password derivations may wait for the blocking pool before new ones are refused.
const HASHING_QUEUE: usize = 256;

/// What a router is made of.
pub struct Parts {
    /// The served domains.
    pub hosts: Hosts,
    /// The settings.
    pub settings: Settings,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The extensions' tables.
    pub registry: Registry,
    /// The way to other domains.
    pub remote: Arc<dyn Remote>,
    /// Clocks.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// What is known of the process's memory, and shared with whoever queues.
    pub memory: Arc<Memory>,
}

pub(crate) struct Inner {
    pub(crate) hosts: ArcSwap<Hosts>,
    pub(crate) settings: ArcSwap<Settings>,
    revision: AtomicU64,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Registry,
    pub(crate) remote: Arc<dyn Remote>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) shards: Shards,
    pub(crate) sessions: AtomicU64,
    /// Whether all connections were ended: nobody comes in any more.
    pub(crate) closed: AtomicBool,
    pub(crate) next_session: AtomicU64,
    /// Requests of the server's own that await their answers: by id, and whom they were sent to.
    pub(crate) requests: Mutex<HashMap<String, (Jid, oneshot::Sender<Stanza>)>>,
    pub(crate) committer: Committer,
    pub(crate) departures: Departures,
    pub(crate) notifications: Notifications,
    /// Accounts whose sessions were saved and not taken out yet.
    pub(crate) saved: Mutex<HashSet<BareJid>>,
    pub(crate) revocations: Revocations,
    pub(crate) tokens: OnceLock<TokenSecret>,
    /// Held while an account's keys are read, changed and written.
    pub(crate) passwords: tokio::sync::Mutex<()>,
    hashing_waiting: Semaphore,
    hashing: Semaphore,
    pub(crate) started: Instant,
}

/// The router. Cloning shares it.
#[derive(Clone)]
pub struct Router {
    pub(crate) inner: Arc<Inner>,
}

impl Parts {
    /// Parts for production, with the operating system's clocks and a memory without a ceiling.
    pub fn new(
        hosts: Hosts,
        settings: Settings,
        store: Arc<dyn Store>,
        registry: Registry,
        remote: Arc<dyn Remote>,
        random: Arc<dyn Random>,
    ) -> Parts {
        Parts { hosts, settings, store, registry, remote, clock: Arc::new(SystemClock), random, memory: Arc::default() }
    }
}

impl Router {
    /// Puts the parts together. Needs a tokio runtime around it when it is used.
    pub fn new(parts: Parts) -> Router {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let started = parts.clock.monotonic();
        Router {
            inner: Arc::new(Inner {
                hosts: ArcSwap::from_pointee(parts.hosts),
                settings: ArcSwap::from_pointee(parts.settings),
                revision: AtomicU64::new(0),
                store: parts.store,
                registry: parts.registry,
                remote: parts.remote,
                clock: parts.clock,
                random: parts.random,
                memory: parts.memory,
                shards: Shards::new(),
                sessions: AtomicU64::new(0),
                closed: AtomicBool::new(false),
                next_session: AtomicU64::new(1),
                requests: Mutex::new(HashMap::new()),
                committer: Committer::default(),
                departures: Departures::default(),
                notifications: Notifications::default(),
                saved: Mutex::new(HashSet::new()),
                revocations: Revocations::default(),
                tokens: OnceLock::new(),
                passwords: tokio::sync::Mutex::new(()),
                hashing_waiting: Semaphore::new(HASHING_QUEUE),
                hashing: Semaphore::new(cores),
                started,
            }),
        }
    }

    /// The domains in force.
    pub fn hosts(&self) -> Arc<Hosts> {
        self.inner.hosts.load_full()
    }
    /// Swaps the domains. Sessions at a domain that is gone stay until they end.
    pub fn set_hosts(&self, hosts: Hosts) {
        self.inner.hosts.store(Arc::new(hosts));
        self.inner.revision.fetch_add(1, Ordering::Release);
    }
    /// Whether the domain is ours.
    pub fn serves(&self, domain: &Domain) -> bool {
        self.inner.hosts.load().serves(domain)
    }
    pub(crate) fn serves_address(&self, jid: &Jid) -> bool {
        // One domain is the common case: compare before building a key.
        let hosts = self.inner.hosts.load();
        hosts.default_domain().as_str() == jid.domain() || hosts.serves(&jid.to_domain())
    }
    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.settings.load_full()
    }
    /// Swaps the settings.
    pub fn set_settings(&self, settings: Settings) {
        self.inner.settings.store(Arc::new(settings));
        self.inner.revision.fetch_add(1, Ordering::Release);
    }
    /// How often domains and settings were swapped: all that the features of streams depend on and that can change. Whoever
    /// remembers what follows from them asks for this first.
    pub fn revision(&self) -> u64 {
        self.inner.revision.load(Ordering::Acquire)
    }
    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }
    /// The extensions' tables.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }
    /// The clocks.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }
    /// Randomness.
    pub fn random(&self) -> &Arc<dyn Random> {
        &self.inner.random
    }
    /// What is known of the process's memory.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.inner.memory
    }
    /// Time since the router was made.
    pub fn uptime(&self) -> Duration {
        self.inner.clock.monotonic().saturating_duration_since(self.inner.started)
    }
    /// What extensions are given.
    pub fn context(&self) -> Context {
        Context { router: self.clone() }
    }
    /// How many sessions are bound.
    pub fn session_count(&self) -> u64 {
        self.inner.sessions.load(Ordering::SeqCst)
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.inner.clock.unix().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn random_u32(&self) -> u32 {
        let mut bytes = [0u8; 4];
        self.inner.random.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn random_token(&self) -> String {
        let mut bytes = [0u8; 12];
        self.inner.random.fill(&mut bytes);
        bytes.iter().fold(String::with_capacity(24), |mut text, byte| {
            use std::fmt::Write;
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Sends an IQ request of the server itself (its `from` is a served domain) and resolves with its answer; the caller
    /// bounds the time. The id is drawn here, and only an answer from whom it was sent to is taken (abuse case 68).
    pub async fn request(&self, mut stanza: Stanza) -> Option<Stanza> {
        let to = stanza.to()?.clone();
        let id = self.random_token();
        stanza.head_mut().id = Some(id.as_str().into());
        let (sender, receiver) = oneshot::channel();
        let waiting = Waiting { router: self, id: &id };
        self.requests().insert(id.clone(), (to, sender));
        self.route(stanza, &mut Turn::new(), &mut Commits::new());
        let answer = receiver.await.ok();
        drop(waiting);
        answer
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Jid, oneshot::Sender<Stanza>)>> {
        self.inner.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a result or error that may answer a request of ours.
    pub(crate) fn take_answer(&self, stanza: &Stanza) {
        let (Some(id), Some(from)) = (stanza.id(), stanza.from()) else { return };
        let mut requests = self.requests();
        if requests.get(&**id).is_some_and(|(to, _)| to == from)
            && let Some((_, sender)) = requests.remove(&**id)
        {
            // Nobody waits any more when the time was up.
            let _ = sender.send(stanza.clone());
        }
    }

    /// Makes an account. The address was prepared at creating level.
    pub async fn create_account(&self, jid: BareJid, credentials: Credentials) -> Result<AccountId, AccountError> {
        if !self.serves(&jid.to_domain()) {
            return Err(AccountError::NotServed);
        }
        let now = self.inner.clock.unix().as_secs();
        let tombstone = self.settings().tombstone_seconds;
        let account = NewAccount { jid: jid.clone(), credentials, now };
        let id = self.inner.store.create_account(account, tombstone).await.map_err(|error| match error {
            stonechat_store::Error::Conflict => AccountError::Conflict,
            other => AccountError::Store(other),
        })?;
        // A lookup that found nothing may be remembered: forget it.
        self.inner.shards.forget(&jid);
        Ok(id)
    }

    /// Replaces the keys of an account: its password is another one. Sessions go on; tokens of devices are good no more.
    pub async fn set_credentials(&self, jid: &BareJid, credentials: Credentials) -> Result<(), AccountError> {
        let _alone = self.inner.passwords.lock().await;
        let account = self.inner.store.account(jid).await?.ok_or(AccountError::NotFound)?;
        self.inner.store.set_credentials(account.id, credentials).await?;
        self.revoke_tokens(jid, account.id, Proofs::Password).await
    }

    /// Locks or unlocks an account; locking ends its sessions.
    pub async fn set_account_state(&self, jid: &BareJid, state: AccountState) -> Result<(), AccountError> {
        let account = self.inner.store.account(jid).await?.ok_or(AccountError::NotFound)?;
        self.inner.store.set_account_state(account.id, state).await?;
        if state == AccountState::Locked {
            self.revoke_tokens(jid, account.id, Proofs::Tokens).await?;
            self.end_sessions(jid, stonechat_stanza::StreamCondition::NotAuthorized);
        }
        self.inner.shards.forget_idle(jid);
        Ok(())
    }

    /// The id of an account, when there is one.
    pub async fn account_id(&self, jid: &BareJid) -> Option<AccountId> {
        self.loaded(jid).await.and_then(|cell| cell.account_id())
    }

    /// Whether somebody is there.
    pub async fn account_presence(&self, jid: &BareJid) -> AccountPresence {
        let Some(id) = self.account_id(jid).await else { return AccountPresence::Absent };
        if !self.available_resources(jid).is_empty() {
            return AccountPresence::Available;
        }
        match self.inner.store.account(jid).await {
            Ok(Some(account)) if account.id == id => match self.last_activity(&account) {
                Some((at, status)) => AccountPresence::Away { since: Some(Duration::from_secs(at)), status },
                None => AccountPresence::Away { since: None, status: String::new() },
            },
            _ => AccountPresence::Absent,
        }
    }

    /// Available resources of an account.
    pub fn available_resources(&self, jid: &BareJid) -> Vec<FullJid> {
        self.inner.shards.find(jid).map_or_else(Vec::new, |cell| cell.available())
    }

    /// Derives credentials on the blocking pool, at most one per core at a time and a bounded number waiting; `None` when
    /// that bound is reached.
    pub async fn derive_credentials(&self, password: Password) -> Option<Credentials> {
        let mut salts = [[0u8; 16]; 3];
        for salt in &mut salts {
            self.inner.random.fill(salt);
        }
        self.hash(move || Credentials::derive(&password, salts, stonechat_sasl::DEFAULT_ITERATIONS)).await
    }

    /// Checks a password on the same bounded pool; `None` when the bound is reached.
    pub async fn verify_password(&self, credentials: Credentials, password: Password) -> Option<bool> {
        self.hash(move || credentials.verify(&password)).await
    }

    async fn hash<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _waiting = self.inner.hashing_waiting.try_acquire().ok()?;
        let _running = self.inner.hashing.acquire().await.ok()?;
        tokio::task::spawn_blocking(work).await.ok()
    }

    pub(crate) fn cell(&self, jid: &BareJid) -> Arc<Cell> {
        let (cell, fresh) = self.inner.shards.find_or_insert(jid);
        if fresh {
            self.load(&cell);
        }
        cell
    }

    /// Ends idle accounts' stay in memory. Called now and then by the life cycle.
    pub fn sweep(&self) {
        self.inner.shards.sweep(self.inner.clock.monotonic());
    }
}

/// Takes a request off the list when nobody waits for its answer any more.
struct Waiting<'a> {
    router: &'a Router,
    id: &'a str,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.router.requests().remove(self.id);
    }
}
