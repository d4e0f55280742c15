//! One pair of domains: its queue, and the task that owns its stream.
//!
//! The task opens a stream when something waits, sends in order, closes when all has been quiet for long, and ends then. A
//! failed attempt bounces what waits, once; further stanzas bounce at once until the pause after the failure is over.
//! What was accepted before a restart is more patient: see [`Patience`].

use crate::access;
use crate::federation::{LinkState, Settings};
use crate::outbound::{self, Failure, Progress};
use crate::queue::{Queue, Taken, Waiting};
use crate::{Federation, targets};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_router::{Memory, Room, Router};
use stonechat_stanza::{StanzaCondition, StanzaError};
use tokio::sync::Notify;
use tracing::{debug, info};

/// The first pause after a failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

pub(crate) struct Link {
    pub(crate) local: Domain,
    pub(crate) remote: Domain,
    state: Mutex<State>,
    pub(crate) wake: Notify,
}

struct State {
    queue: Queue,
    /// Taken from the queue, and not known to be delivered.
    in_hand: usize,
    words: String,
    connection: Option<String>,
    reset: bool,
    life: Life,
}

/// How far the end of a link is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// The server stops: the stream is closed as soon as nothing waits.
    Stopping,
    /// The task has ended; a new link takes over.
    Ended,
}

/// What became of a push.
pub(crate) enum Pushed {
    Queued,
    /// The queue is at its bound.
    Full(Waiting),
    /// The link has ended: there is, or will be, another one.
    Ended(Waiting),
}

impl Link {
    pub(crate) fn new(local: Domain, remote: Domain, memory: &Arc<Memory>) -> Link {
        Link {
            local,
            remote,
            state: Mutex::new(State {
                queue: Queue::new(memory),
                in_hand: 0,
                words: "new".into(),
                connection: None,
                reset: false,
                life: Life::Running,
            }),
            wake: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a stanza. What was accepted before a restart stood within the bounds then.
    pub(crate) fn push(&self, waiting: Waiting, settings: &Settings) -> Pushed {
        let mut state = self.lock();
        if state.life == Life::Ended {
            return Pushed::Ended(waiting);
        }
        let room = state.queue.room(waiting.stanza.size(), settings.queue_bytes);
        if !waiting.is_patient() && (state.queue.len() >= settings.queue_stanzas || room == Room::None) {
            return Pushed::Full(waiting);
        }
        state.queue.push(waiting);
        drop(state);
        self.wake.notify_one();
        Pushed::Queued
    }

    /// Takes what may leave now, of `bytes` together.
    pub(crate) fn take(&self, bytes: usize) -> Taken {
        let mut state = self.lock();
        let taken = state.queue.take(bytes);
        let count = match &taken {
            Taken::Nothing => 0,
            Taken::Pending(_) => 1,
            Taken::Ready(ready) => ready.len(),
        };
        state.in_hand = state.in_hand.saturating_add(count);
        taken
    }

    /// Puts back what was taken, to be the first again.
    pub(crate) fn put_back(&self, taken: Vec<Waiting>) {
        let mut state = self.lock();
        state.in_hand = state.in_hand.saturating_sub(taken.len());
        state.queue.put_back(taken);
    }

    /// So many of those taken were delivered, or given up.
    pub(crate) fn done(&self, count: usize) {
        let mut state = self.lock();
        state.in_hand = state.in_hand.saturating_sub(count);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Whether anything waits or is in hand.
    pub(crate) fn is_busy(&self) -> bool {
        let state = self.lock();
        !state.queue.is_empty() || state.in_hand > 0
    }

    /// Whether stanzas go out at once.
    pub(crate) fn is_established(&self) -> bool {
        self.lock().connection.is_some()
    }

    pub(crate) fn set_state(&self, words: impl Into<String>, connection: Option<String>) {
        let mut state = self.lock();
        state.words = words.into();
        state.connection = connection;
    }

    pub(crate) fn state(&self) -> LinkState {
        let state = self.lock();
        LinkState {
            local: self.local.clone(),
            remote: self.remote.clone(),
            state: state.words.clone(),
            connection: state.connection.clone(),
            queued: state.queue.len().saturating_add(state.in_hand),
        }
    }

    pub(crate) fn reset(&self) {
        self.lock().reset = true;
        self.wake.notify_one();
    }

    pub(crate) fn take_reset(&self) -> bool {
        std::mem::take(&mut self.lock().reset)
    }

    /// The server stops: the link ends as soon as nothing waits.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        if state.life == Life::Running {
            state.life = Life::Stopping;
        }
        drop(state);
        self.wake.notify_one();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().life == Life::Stopping
    }

    /// At the end of the server: what is kept waits for the next start, of the rest the senders are told.
    pub(crate) fn leave_all(&self, router: &Router, error: &StanzaError) {
        let all = self.lock().queue.take_all();
        for waiting in all {
            waiting.leave(router, error);
        }
    }

    /// Tells the senders of everything that waits.
    pub(crate) fn give_up_all(&self, router: &Router, error: &StanzaError) {
        let all = self.lock().queue.take_all();
        for waiting in all {
            waiting.bounce(router, error);
        }
    }

    /// Tells the senders of what waits, but of what may wait on.
    fn give_up(&self, router: &Router, error: &StanzaError) {
        let given_up = self.lock().queue.give_up(Instant::now());
        for waiting in given_up {
            debug!(event = "s2s.bounced", remote = %self.remote, "a stanza goes back to its sender");
            waiting.bounce(router, error);
        }
    }
}

/// The task of a link.
pub(crate) async fn run(federation: Federation, router: Router, link: Arc<Link>) {
    let mut failures = 0u32;
    let mut paused: Option<(Instant, StanzaError)> = None;
    let mut last = Progress::Some;
    loop {
        // Wait for something to send; end when nothing comes for long.
        while link.is_empty() {
            let quiet = match link.is_stopping() {
                true => Quiet::ForLong,
                false => wait(federation.inner.settings.idle, &link).await,
            };
            if quiet == Quiet::ForLong && link.is_empty() && retire(&federation, &link) {
                return;
            }
        }
        // It came in just before the domain was refused.
        if federation.refusal(&link.remote).is_some() {
            link.give_up_all(&router, &access::stanza_error(&link.remote));
            continue;
        }
        if link.take_reset() {
            failures = 0;
            paused = None;
        }
        if let Some((until, error)) = &paused {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                link.give_up(&router, error);
                if !link.is_empty() {
                    wait(left, &link).await;
                }
                continue;
            }
            paused = None;
        }
        link.set_state("connecting", None);
        let delivered = match outbound::deliver(&federation, &router, &link).await {
            // A stream that was open for long may end just when something is to be sent: that is tried once more.
            Ok(Progress::None)
                if !link.is_empty() && std::mem::replace(&mut last, Progress::None) == Progress::None =>
            {
                Err(Failure::Fruitless)
            }
            Ok(progress) => {
                last = progress;
                Ok(())
            }
            Err(failure) => Err(failure),
        };
        match delivered {
            Ok(()) => {
                failures = 0;
                link.set_state("idle", None);
            }
            Err(failure) => {
                last = Progress::Some;
                failures = failures.saturating_add(1);
                let error = stanza_error(&link.remote, &failure);
                info!(event = "s2s.failed", remote = %link.remote, local = %link.local, reason = %failure, "another server was not reached");
                link.give_up(&router, &error);
                let pause = pause(failures, draw(&federation, JITTER));
                note(&federation, &router, &link.remote, format!("not tried again for {} s", pause.as_secs()));
                link.set_state(format!("failed: {failure}"), None);
                paused = Instant::now().checked_add(pause).map(|until| (until, error));
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quiet {
    ForLong,
    No,
}

/// Waits until something happens to the link, and not longer than this.
async fn wait(longest: Duration, link: &Link) -> Quiet {
    match tokio::time::timeout(longest, link.wake.notified()).await {
        Ok(()) => Quiet::No,
        Err(_) => Quiet::ForLong,
    }
}

/// Takes the link out of the table; `false` when something came in between.
fn retire(federation: &Federation, link: &Arc<Link>) -> bool {
    let mut links = federation.inner.links();
    let mut state = link.lock();
    if !state.queue.is_empty() {
        return false;
    }
    state.life = Life::Ended;
    links.table.remove(&(link.local.clone(), link.remote.clone()));
    true
}

/// How long after so many failures in a row nothing is tried; `drawn` is below [`JITTER`].
fn pause(failures: u32, drawn: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1u32.checked_shl(failures.saturating_sub(1).min(10)).unwrap_or(1));
    let base = doubled.min(LONGEST_PAUSE);
    // A quarter either way, so that servers that failed together do not come back together.
    base.saturating_mul(drawn.saturating_add(768)) / 1024
}

const JITTER: u32 = 512;

pub(crate) fn draw(federation: &Federation, below: u32) -> u32 {
    let mut bytes = [0u8; 4];
    federation.inner.random.fill(&mut bytes);
    u32::from_le_bytes(bytes).checked_rem(below).unwrap_or(0)
}

/// RFC 6120 §8.3.3.16, §8.3.3.17: the domain cannot be found, or it did not answer.
fn stanza_error(remote: &Domain, failure: &Failure) -> StanzaError {
    let condition = match failure {
        Failure::NoService | Failure::NoAddress | Failure::Private | Failure::Port | Failure::Refused(_) => {
            StanzaCondition::RemoteServerNotFound
        }
        Failure::Unreachable(_) | Failure::Late | Failure::Fruitless | Failure::Dns(_) => {
            StanzaCondition::RemoteServerTimeout
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ_by_chance() {
        let middle = |failures| pause(failures, 256);
        assert_eq!(middle(1), FIRST_PAUSE);
        assert_eq!((middle(2), middle(3), middle(6)), (FIRST_PAUSE * 2, FIRST_PAUSE * 4, FIRST_PAUSE * 32));
        for failures in [8, 100, u32::MAX] {
            assert_eq!(middle(failures), LONGEST_PAUSE);
        }
        assert_eq!(pause(1, 0), FIRST_PAUSE * 3 / 4);
        assert!(pause(1, JITTER - 1) > FIRST_PAUSE * 6 / 5 && pause(1, JITTER - 1) < FIRST_PAUSE * 5 / 4);
    }
}
