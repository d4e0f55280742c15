//! The whole of federation: the links, the records, and what administrators ask.

use crate::link::{self, Link};
use crate::record::Records;
use crate::{Dialler, Resolve, Target};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_router::{Outward, Remote, Router};
use stonechat_stanza::{IqType, Stanza, StanzaCondition, ns};
use stonechat_stream::s2s_out::{self, Question};
use stonechat_stream::{Dialback, DialbackSecret, Random, S2sPolicy};
use stonechat_xml::Element;

/// Bounds, policies and fixed addresses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What streams must prove.
    pub policy: S2sPolicy,
    /// Fixed addresses that go before DNS.
    pub hosts: HashMap<Domain, Target>,
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
    /// How long a stanza may wait for a stream.
    pub patience: Duration,
    /// Silence after which a stream of ours is closed.
    pub idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            policy: S2sPolicy::default(),
            hosts: HashMap::new(),
            queue_stanzas: 4_096,
            queue_bytes: 8 * 1024 * 1024,
            links: 20_000,
            connect: Duration::from_secs(10),
            negotiate: Duration::from_secs(30),
            patience: Duration::from_secs(60),
            idle: Duration::from_secs(600),
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
    /// Stanzas waiting.
    pub queued: usize,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) dialler: Arc<dyn Dialler>,
    pub(crate) secret: DialbackSecret,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) records: Records,
    pub(crate) links: Mutex<HashMap<(Domain, Domain), Arc<Link>>>,
    pub(crate) inbound: Mutex<HashMap<u64, (Option<Domain>, String)>>,
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
    ) -> Federation {
        Federation {
            inner: Arc::new(Inner {
                settings,
                resolver,
                dialler,
                secret,
                random,
                records: Records::default(),
                links: Mutex::new(HashMap::new()),
                inbound: Mutex::new(HashMap::new()),
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
        let links: Vec<Arc<Link>> =
            self.inner.links.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut states: Vec<LinkState> = links.iter().map(|link| link.state()).collect();
        states.sort_by(|a, b| (&a.remote, &a.local).cmp(&(&b.remote, &b.local)));
        states
    }

    /// Streams that others opened: the domain proved on each, and the connection.
    pub fn inbound(&self) -> Vec<(Option<Domain>, String)> {
        let inbound = self.inner.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        inbound.values().cloned().collect()
    }

    /// What was tried with a domain, oldest first.
    pub fn explain(&self, domain: &Domain) -> Option<Vec<String>> {
        self.inner.records.of(domain)
    }

    /// Closes our streams to a domain and forgets what failed.
    pub fn reset(&self, domain: &Domain) -> Option<()> {
        let links: Vec<Arc<Link>> = {
            let links = self.inner.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.values().filter(|link| link.remote == *domain).cloned().collect()
        };
        for link in &links {
            link.reset();
        }
        let known = self.inner.records.forget(domain);
        if links.is_empty() { known } else { Some(()) }
    }

    /// Pings another server and waits for its answer: the time it took and what it said.
    pub async fn ping(&self, router: &Router, from: &Domain, to: &Domain) -> Result<(Duration, String), String> {
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
        let stanza = outward.stanza;
        let link = {
            let mut links = self.inner.links.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (local, remote);
            match links.get(&key) {
                Some(link) => Arc::clone(link),
                None if links.len() >= self.inner.settings.links => {
                    drop(links);
                    router.accept_bounce(&stanza, &StanzaCondition::ResourceConstraint.into());
                    return;
                }
                None => {
                    let link = Arc::new(Link::new(key.0.clone(), key.1.clone()));
                    links.insert(key, Arc::clone(&link));
                    tokio::spawn(link::run(self.clone(), router.clone(), Arc::clone(&link)));
                    link
                }
            }
        };
        if let Err(stanza) = link.push(stanza, &self.inner.settings) {
            router.accept_bounce(&stanza, &StanzaCondition::ResourceConstraint.into());
        }
    }
}
