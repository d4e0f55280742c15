//! One pair of domains: its queue, and the task that owns its stream.
//!
//! The task opens a stream when something waits, sends in order, closes when all has been quiet for long, and ends then. A
//! failed attempt bounces what waits, once; further stanzas bounce at once until the pause after the failure is over.

use crate::federation::{LinkState, Settings};
use crate::outbound::{self, Failure};
use crate::{Federation, targets};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_router::Router;
use stonechat_stanza::{Stanza, StanzaCondition, StanzaError};
use tokio::sync::Notify;
use tracing::{debug, info};

/// The first pause after a failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

pub(crate) struct Link {
    pub(crate) local: Domain,
    pub(crate) remote: Domain,
    queue: Mutex<Queue>,
    pub(crate) wake: Notify,
}

struct Queue {
    stanzas: VecDeque<Stanza>,
    bytes: usize,
    state: String,
    connection: Option<String>,
    reset: bool,
    /// The task has ended; a new link takes over.
    ended: bool,
}

impl Link {
    pub(crate) fn new(local: Domain, remote: Domain) -> Link {
        Link {
            local,
            remote,
            queue: Mutex::new(Queue {
                stanzas: VecDeque::new(),
                bytes: 0,
                state: "new".into(),
                connection: None,
                reset: false,
                ended: false,
            }),
            wake: Notify::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a stanza; it comes back when the queue is at its bound.
    #[expect(clippy::result_large_err, reason = "the stanza comes back to be bounced")]
    pub(crate) fn push(&self, stanza: Stanza, settings: &Settings) -> Result<(), Stanza> {
        let mut queue = self.lock();
        let bytes = queue.bytes.saturating_add(stanza.size());
        if queue.ended || queue.stanzas.len() >= settings.queue_stanzas || bytes > settings.queue_bytes {
            return Err(stanza);
        }
        queue.bytes = bytes;
        queue.stanzas.push_back(stanza);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<Stanza> {
        let mut queue = self.lock();
        let stanza = queue.stanzas.pop_front()?;
        queue.bytes = queue.bytes.saturating_sub(stanza.size());
        Some(stanza)
    }

    /// Puts back what could not be written, to be the first again.
    pub(crate) fn push_front(&self, stanza: Stanza) {
        let mut queue = self.lock();
        queue.bytes = queue.bytes.saturating_add(stanza.size());
        queue.stanzas.push_front(stanza);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().stanzas.is_empty()
    }

    pub(crate) fn set_state(&self, state: impl Into<String>, connection: Option<String>) {
        let mut queue = self.lock();
        queue.state = state.into();
        queue.connection = connection;
    }

    pub(crate) fn state(&self) -> LinkState {
        let queue = self.lock();
        LinkState {
            local: self.local.clone(),
            remote: self.remote.clone(),
            state: queue.state.clone(),
            connection: queue.connection.clone(),
            queued: queue.stanzas.len(),
        }
    }

    pub(crate) fn reset(&self) {
        self.lock().reset = true;
        self.wake.notify_one();
    }

    pub(crate) fn take_reset(&self) -> bool {
        std::mem::take(&mut self.lock().reset)
    }
}

/// The task of a link.
pub(crate) async fn run(federation: Federation, router: Router, link: Arc<Link>) {
    let mut failures = 0u32;
    let mut paused: Option<(Instant, StanzaError)> = None;
    loop {
        // Wait for something to send; end when nothing comes for long.
        while link.is_empty() {
            let quiet = tokio::time::timeout(federation.inner.settings.idle, link.wake.notified()).await;
            if quiet.is_err() && link.is_empty() && retire(&federation, &link) {
                return;
            }
        }
        if link.take_reset() {
            failures = 0;
            paused = None;
        }
        if let Some((until, error)) = &paused {
            if Instant::now() < *until {
                bounce_all(&router, &link, error);
                continue;
            }
            paused = None;
        }
        link.set_state("connecting", None);
        match outbound::deliver(&federation, &router, &link).await {
            Ok(()) => {
                failures = 0;
                link.set_state("idle", None);
            }
            Err(failure) => {
                failures = failures.saturating_add(1);
                let error = stanza_error(&link.remote, &failure);
                info!(event = "s2s.failed", remote = %link.remote, local = %link.local, reason = %failure, "another server was not reached");
                bounce_all(&router, &link, &error);
                let pause = pause(failures, &federation);
                note(&federation, &router, &link.remote, format!("not tried again for {} s", pause.as_secs()));
                link.set_state(format!("failed: {failure}"), None);
                paused = Instant::now().checked_add(pause).map(|until| (until, error));
            }
        }
    }
}

/// Takes the link out of the table; `false` when something came in between.
fn retire(federation: &Federation, link: &Arc<Link>) -> bool {
    let mut links = federation.inner.links.lock().unwrap_or_else(PoisonError::into_inner);
    let mut queue = link.lock();
    if !queue.stanzas.is_empty() {
        return false;
    }
    queue.ended = true;
    links.remove(&(link.local.clone(), link.remote.clone()));
    true
}

fn pause(failures: u32, federation: &Federation) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1u32.checked_shl(failures.saturating_sub(1).min(10)).unwrap_or(1));
    let base = doubled.min(LONGEST_PAUSE);
    // A quarter either way, so that servers that failed together do not come back together.
    let jitter = draw(federation, 512).saturating_add(768);
    base.saturating_mul(jitter) / 1024
}

pub(crate) fn draw(federation: &Federation, below: u32) -> u32 {
    let mut bytes = [0u8; 4];
    federation.inner.random.fill(&mut bytes);
    u32::from_le_bytes(bytes).checked_rem(below).unwrap_or(0)
}

fn bounce_all(router: &Router, link: &Link, error: &StanzaError) {
    while let Some(stanza) = link.pop() {
        debug!(event = "s2s.bounced", remote = %link.remote, "a stanza goes back to its sender");
        router.accept_bounce(&stanza, error);
    }
}

/// RFC 6120 §8.3.3.16, §8.3.3.17: the domain cannot be found, or it did not answer.
fn stanza_error(remote: &Domain, failure: &Failure) -> StanzaError {
    let condition = match failure {
        Failure::NoService | Failure::NoAddress | Failure::Refused(_) => StanzaCondition::RemoteServerNotFound,
        Failure::Unreachable(_) | Failure::Dns(_) => StanzaCondition::RemoteServerTimeout,
    };
    StanzaError::new(condition).with_text(format!("{remote}: {failure}"))
}

pub(crate) fn note(federation: &Federation, router: &Router, remote: &Domain, text: impl AsRef<str>) {
    let at = u64::try_from(router.clock().unix().as_millis()).unwrap_or(u64::MAX);
    federation.inner.records.note(remote, at, text);
}

pub(crate) fn plan(federation: &Federation, domain: &str, srv: targets::Srv) -> targets::Plan {
    targets::plan(domain, srv.starttls, srv.direct, |below| draw(federation, below))
}
