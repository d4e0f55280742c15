//! The whole of federation: the links, the records, and what administrators ask.

use crate::access::{self, Access, Refusal};
use crate::link::{self, Link, Pushed};
use crate::queue::{Patience, Waiting};
use crate::record::Records;
use crate::{Dialler, Pace, PrivateAddresses, Resolve, Target};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_router::{Outward, Record, Remote, Router, Shortage};
use stonechat_stanza::{IqType, Stanza, StanzaCondition, StanzaError, ns};
use stonechat_stream::s2s_out::{self, Question};
use stonechat_stream::{Dialback, DialbackSecret, Random, S2sPolicy};
use stonechat_xml::Element;
use tokio::sync::watch;

/// How often an end that is waited for is looked at.
const STEP: Duration = Duration::from_millis(10);

/// Whether there is federation at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// There is.
    #[default]
    On,
    /// No other server is reached, and none reaches us.
    Off,
}

/// Bounds, policies and fixed addresses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether anything is sent at all.
    pub switch: Switch,
    /// What streams must prove.
    pub policy: S2sPolicy,
    /// Which domains we speak with, at the beginning: see [`Federation::set_access`].
    pub access: Access,
    /// Fixed addresses that go before DNS.
    pub hosts: HashMap<Domain, Target>,
    /// Where DNS may send us.
    pub private: PrivateAddresses,
    /// Stanzas that may wait for one pair of domains.
    pub queue_stanzas: usize,
    /// Bytes of them.
    pub queue_bytes: usize,
    /// Links (pairs of domains) at a time.
    pub links: usize,
    /// A TCP connection to one address.
    pub connect: Duration,
    /// The whole of one attempt at one target, until the domain is proved.
    pub negotiate: Duration,
    /// The whole of all attempts at all targets: how long a stanza may wait for a stream.
    pub patience: Duration,
    /// Silence after which a stream of ours is closed.
    pub idle: Duration,
    /// How long what was accepted before a restart waits for its domain, over attempts that fail.
    pub recovery: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            switch: Switch::default(),
            policy: S2sPolicy::default(),
            access: Access::default(),
            hosts: HashMap::new(),
            private: PrivateAddresses::default(),
            queue_stanzas: 4_096,
            queue_bytes: 8 * 1024 * 1024,
            links: 20_000,
            connect: Duration::from_secs(10),
            negotiate: Duration::from_secs(30),
            patience: Duration::from_secs(60),
            idle: Duration::from_secs(600),
            recovery: Duration::from_secs(300),
        }
    }
}

/// What a link is doing.
#[derive(Clone, Debug)]
pub struct LinkState {
    /// Ours.
    pub local: Domain,
    /// Theirs.
    pub remote: Domain,
    /// In words.
    pub state: String,
    /// Kind of connection and address, while there is one.
    pub connection: Option<String>,
    /// Stanzas that wait, or were sent and are not acknowledged.
    pub queued: usize,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) dialler: Arc<dyn Dialler>,
    pub(crate) secret: DialbackSecret,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) pace: Arc<dyn Pace>,
    pub(crate) records: Records,
    links: Mutex<Links>,
    inbound: Mutex<HashMap<u64, (Option<Domain>, String)>>,
    /// Which domains we speak with now; the streams that others opened are told of changes.
    pub(crate) access: watch::Sender<Arc<Access>>,
    /// Told to the streams that others opened.
    pub(crate) stopping: watch::Sender<Stopping>,
}

/// The links, by our domain and theirs.
pub(crate) struct Links {
    pub(crate) table: HashMap<(Domain, Domain), Arc<Link>>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The server ends: what is kept waits for the next start.
    Leaving,
}

/// Whether the end has begun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    No,
    Begun,
}

impl Inner {
    pub(crate) fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn inbound(&self) -> MutexGuard<'_, HashMap<u64, (Option<Domain>, String)>> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Federation. Cloning shares it.
#[derive(Clone)]
pub struct Federation {
    pub(crate) inner: Arc<Inner>,
}

impl Federation {
    /// Puts it together.
    pub fn new(
        settings: Settings,
        resolver: Arc<dyn Resolve>,
        dialler: Arc<dyn Dialler>,
        secret: DialbackSecret,
        random: Arc<dyn Random>,
        pace: Arc<dyn Pace>,
    ) -> Federation {
        let access = watch::Sender::new(Arc::new(settings.access.clone()));
        Federation {
            inner: Arc::new(Inner {
                settings,
                access,
                resolver,
                dialler,
                secret,
                random,
                pace,
                records: Records::default(),
                links: Mutex::new(Links { table: HashMap::new(), phase: Phase::Running }),
                inbound: Mutex::new(HashMap::new()),
                stopping: watch::Sender::new(Stopping::No),
            }),
        }
    }

    /// The secret of dialback keys.
    pub fn secret(&self) -> &DialbackSecret {
        &self.inner.secret
    }

    /// What streams must prove.
    pub fn policy(&self) -> S2sPolicy {
        self.inner.settings.policy
    }

    pub(crate) fn outgoing(&self) -> s2s_out::Config {
        s2s_out::Config {
            secret: self.inner.secret.clone(),
            transport: stonechat_stream::S2sTransport::StartTls,
            policy: self.inner.settings.policy,
            external: s2s_out::External::WhenOffered,
            limits: s2s_out::Limits::default(),
        }
    }

    /// Asks the authoritative server whether a key is genuine (XEP-0220 §2.2).
    pub(crate) async fn verify(&self, router: &Router, question: Question) -> Dialback {
        crate::outbound::verify(self, router, question).await
    }

    /// Links with their states.
    pub fn links(&self) -> Vec<LinkState> {
        let mut states: Vec<LinkState> = self.all_links().iter().map(|link| link.state()).collect();
        states.sort_by(|a, b| (&a.remote, &a.local).cmp(&(&b.remote, &b.local)));
        states
    }

    /// Streams that others opened: the domain proved on each, and the connection.
    pub fn inbound(&self) -> Vec<(Option<Domain>, String)> {
        self.inner.inbound().values().cloned().collect()
    }

    /// What was tried with a domain, oldest first; and that it is refused, if it is.
    pub fn explain(&self, domain: &Domain) -> Option<Vec<String>> {
        let tried = self.inner.records.of(domain);
        match self.refusal(domain) {
            None => tried,
            Some(refusal) => {
                let mut lines = tried.unwrap_or_default();
                lines.push(refusal.text().to_owned());
                Some(lines)
            }
        }
    }

    pub(crate) fn refusal(&self, domain: &Domain) -> Option<Refusal> {
        self.inner.access.borrow().refusal(domain)
    }

    /// Changes which domains we speak with (abuse case 137). Streams with those that are refused now end at once, and the
    /// senders of what waits for them are told.
    pub fn set_access(&self, router: &Router, access: Access) {
        if **self.inner.access.borrow() == access {
            return;
        }
        self.inner.access.send_replace(Arc::new(access));
        for link in self.all_links() {
            if self.refusal(&link.remote).is_some() {
                link.give_up_all(router, &access::stanza_error(&link.remote));
                link.reset();
            }
        }
    }

    /// Closes our streams to a domain and forgets what failed.
    pub fn reset(&self, domain: &Domain) -> Option<()> {
        let mut links = self.all_links();
        links.retain(|link| link.remote == *domain);
        for link in &links {
            link.reset();
        }
        let known = self.inner.records.forget(domain);
        if links.is_empty() { known } else { Some(()) }
    }

    /// Pings another server and waits for its answer: the time it took and what it said.
    pub async fn ping(&self, router: &Router, from: &Domain, to: &Domain) -> Result<(Duration, String), String> {
        if let Some(refusal) = self.refusal(to) {
            return Err(format!("{to}: {}", refusal.text()));
        }
        let started = Instant::now();
        let mut ping = Stanza::iq(IqType::Get, "", Element::new("ping", ns::PING));
        ping.head_mut().from = Some(from.into());
        ping.head_mut().to = Some(to.into());
        let answer = tokio::time::timeout(self.inner.settings.patience, router.request(ping))
            .await
            .map_err(|_| format!("{to} did not answer in time"))?
            .ok_or_else(|| "the request was dropped".to_owned())?;
        match answer.error() {
            None => Ok((started.elapsed(), "pong".to_owned())),
            Some(error)
                if matches!(
                    error.condition,
                    StanzaCondition::RemoteServerNotFound | StanzaCondition::RemoteServerTimeout
                ) =>
            {
                Err(format!("{to}: {}", error.text.as_deref().unwrap_or(error.condition.name())))
            }
            // An error that the other server itself made proves that it is there.
            Some(error) => Ok((started.elapsed(), error.condition.name().to_owned())),
        }
    }
}

impl Remote for Federation {
    fn send(&self, router: &Router, local: Domain, remote: Domain, outward: Outward) {
        let patience = match outward.record {
            // Only what was accepted before a restart comes with its number.
            Record::Kept(_) => {
                Instant::now().checked_add(self.inner.settings.recovery).map_or(Patience::OneAttempt, Patience::Until)
            }
            Record::Unkept | Record::Pending(_) => Patience::OneAttempt,
        };
        let mut waiting = Waiting::new(outward, patience);
        if self.inner.settings.switch == Switch::Off {
            let error = StanzaError::new(StanzaCondition::RemoteServerNotFound)
                .with_text("this server does not talk to other servers");
            return waiting.bounce(router, &error);
        }
        if self.refusal(&remote).is_some() {
            return waiting.bounce(router, &access::stanza_error(&remote));
        }
        let key = (local, remote);
        loop {
            let Some(link) = self.link(router, &key, &waiting) else { return self.refuse(router, waiting) };
            match link.push(waiting, &self.inner.settings) {
                Pushed::Queued => return,
                Pushed::Full(waiting) => {
                    let error = StanzaError::new(StanzaCondition::ResourceConstraint)
                        .with_text(format!("too much waits for {} already", key.1));
                    return waiting.bounce(router, &error);
                }
                // It is out of the table already: the next one is another.
                Pushed::Ended(again) => waiting = again,
            }
        }
    }
}

impl Federation {
    /// The link of a pair, made if need be; `None` where the stanza must not wait.
    fn link(&self, router: &Router, key: &(Domain, Domain), waiting: &Waiting) -> Option<Arc<Link>> {
        let mut links = self.inner.links();
        let link = links.table.get(key).cloned();
        match (links.phase, link) {
            (Phase::Running, Some(link)) => Some(link),
            (Phase::Running, None) if links.table.len() >= self.inner.settings.links => None,
            // Abuse case 149: what was accepted before a restart was promised.
            (Phase::Running, None) if router.memory().shortage() >= Shortage::Newcomers && !waiting.is_patient() => {
                None
            }
            (Phase::Running, None) => {
                let link = Arc::new(Link::new(key.0.clone(), key.1.clone(), router.memory()));
                links.table.insert(key.clone(), Arc::clone(&link));
                tokio::spawn(link::run(self.clone(), router.clone(), Arc::clone(&link)));
                Some(link)
            }
            // What is kept leaves behind what is kept already: at the next start.
            (Phase::Leaving, link) => link.filter(|link| !waiting.is_kept() && link.is_established()),
        }
    }

    /// What cannot wait.
    fn refuse(&self, router: &Router, waiting: Waiting) {
        let phase = self.inner.links().phase;
        match phase {
            Phase::Running => waiting.bounce(
                router,
                &StanzaError::new(StanzaCondition::ResourceConstraint)
                    .with_text("this server cannot open more streams to others now"),
            ),
            Phase::Leaving => waiting.leave(router, &stopping()),
        }
    }

    /// The first step of an orderly end: no stanza is taken from other servers any more, and what waits for them has so long
    /// to leave. Then what is kept waits for the next start, and of the rest the senders are told, who are still there.
    pub async fn drain(&self, router: &Router, grace: Duration) {
        let busy = |federation: &Federation| federation.all_links().iter().any(|link| link.is_busy());
        self.inner.stopping.send_replace(Stopping::Begun);
        let emptied = async {
            while busy(self) || !self.inner.inbound().is_empty() {
                tokio::time::sleep(STEP).await;
            }
        };
        let _ = tokio::time::timeout(grace, emptied).await;
        self.inner.links().phase = Phase::Leaving;
        for link in self.all_links() {
            link.leave_all(router, &stopping());
        }
    }

    /// The last step: the streams are closed behind what was sent meanwhile, and get so long to be.
    pub async fn close(&self, grace: Duration) {
        for link in self.all_links() {
            link.stop();
        }
        let closed = async {
            while !self.inner.links().table.is_empty() {
                tokio::time::sleep(STEP).await;
            }
        };
        let _ = tokio::time::timeout(grace, closed).await;
    }

    fn all_links(&self) -> Vec<Arc<Link>> {
        self.inner.links().table.values().cloned().collect()
    }
}

fn stopping() -> StanzaError {
    StanzaError::new(StanzaCondition::ResourceConstraint).with_text("this server is stopping")
}
