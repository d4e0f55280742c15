//! Driving a stream that another server opened.

use crate::access::{self, Access};
use crate::federation::Stopping;
use crate::link::note;
use crate::{Arrived, Channel, Federation, TlsRole};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stonechat_jid::{Domain, Jid};
use stonechat_router::{Asked, Commits, Holding, Peer, Router, Turn, short_of_memory};
use stonechat_stanza::{StanzaCondition, StreamCondition, StreamError};
use stonechat_stream::s2s_in::{Command, Config, Event, S2sIn};
use stonechat_stream::s2s_out::Question;
use stonechat_stream::{Dialback, S2sTransport, Step, Token};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

/// Questions of one peer that may wait for commits before it is not read any more.
const UNSAFE: usize = 64;
/// How long commits are waited for at the end of the server.
const LAST_WORD: Duration = Duration::from_secs(1);

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Serves a stream until it ends.
pub async fn serve_inbound(federation: Federation, router: Router, config: Arc<Config>, mut channel: Box<dyn Channel>) {
    let mut machine = S2sIn::new(Arc::clone(&config), Instant::now());
    if config.transport == S2sTransport::DirectTls {
        match channel.secure(TlsRole::AcceptByServerName).await {
            Ok(facts) => machine.on_tls(Instant::now(), facts),
            Err(source) => {
                debug!(event = "s2s.tls_failed", peer = %channel.describe(), %source, "a TLS handshake failed");
                return;
            }
        }
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (verdicts, answers) = mpsc::channel(64);
    let stopping = Some(federation.inner.stopping.subscribe());
    let access = federation.inner.access.subscribe();
    let mut stream = Inbound {
        held: Holding::new(router.memory()),
        federation,
        router,
        channel,
        machine: Box::new(machine),
        commits: Commits::new(),
        unsafe_yet: VecDeque::new(),
        input: Vec::new(),
        verdicts,
        answers,
        number,
        peer: None,
        claimed: None,
        charged: None,
        paused_until: None,
        proved: BTreeSet::new(),
        access,
        stopping,
    };
    stream.list(None);
    stream.run().await;
    stream.channel.close().await;
    stream.federation.inner.inbound().remove(&number);
}

struct Inbound {
    federation: Federation,
    router: Router,
    channel: Box<dyn Channel>,
    machine: Box<S2sIn>,
    commits: Commits,
    /// What the peer asked after: how many it had sent, and the commits that its question waits for.
    unsafe_yet: VecDeque<(u32, Commits)>,
    input: Vec<u8>,
    verdicts: mpsc::Sender<(Token, Dialback)>,
    answers: mpsc::Receiver<(Token, Dialback)>,
    number: u64,
    /// The domain that was proved last.
    peer: Option<Domain>,
    /// The domain that the peer says it is: enough to tell of what became of that.
    claimed: Option<Domain>,
    /// The domain that was proved first: who is charged for the bytes.
    charged: Option<Domain>,
    /// What the peer has not sent whole yet.
    held: Holding,
    /// Reading stops until then: a domain has passed its rate, or memory is short.
    paused_until: Option<Instant>,
    /// The domains that were proved.
    proved: BTreeSet<Domain>,
    /// Which domains we speak with.
    access: watch::Receiver<Arc<Access>>,
    /// Until it was told that the server stops.
    stopping: Option<watch::Receiver<Stopping>>,
}

/// Whether the peer is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refuses {
    Yes,
    No,
}

/// Whether the stream goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Going {
    On,
    Ended,
}

impl Inbound {
    fn list(&self, domain: Option<Domain>) {
        self.federation.inner.inbound().insert(self.number, (domain, self.channel.describe()));
    }

    async fn run(&mut self) {
        while self.settle().await == Going::On && self.wait().await == Going::On {}
    }

    async fn flush(&mut self) -> Going {
        let mut out = Vec::new();
        self.machine.poll_transmit(&mut out);
        if out.is_empty() || self.channel.send(&out).await.is_ok() { Going::On } else { Going::Ended }
    }

    async fn settle(&mut self) -> Going {
        let mut turn = Turn::new();
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Stanza(stanza) => {
                    let from = stanza.from().map(Jid::to_domain);
                    if let Some(from) = from {
                        if self.refuses(&from) == Refuses::Yes {
                            continue;
                        }
                        self.spend(&from, Arrived::Stanza);
                    }
                    self.router.accept_remote(stanza, &mut turn, &mut self.commits).await;
                }
                Event::Bounce(stanza) => self.router.route(stanza, &mut turn, &mut self.commits),
                Event::StartTls(domain) => {
                    if self.flush().await == Going::Ended {
                        return Going::Ended;
                    }
                    match self.channel.secure(TlsRole::Accept(domain)).await {
                        Ok(facts) => self.machine.on_tls(Instant::now(), facts),
                        Err(source) => {
                            debug!(event = "s2s.tls_failed", peer = %self.channel.describe(), %source, "a TLS handshake failed");
                            return Going::Ended;
                        }
                    }
                }
                Event::CheckCertificate(_, domain) if self.refuses(&domain) == Refuses::Yes => {}
                Event::CheckCertificate(token, domain) => {
                    let judged = self.channel.judge(&domain);
                    self.note(Some(&domain), &format!("incoming: certificate: {}", judged.reason));
                    self.machine.command(Instant::now(), Command::CertificateChecked(token, judged.validity));
                }
                // The stream may be others' too, who are welcome.
                Event::DialbackResult { token, from, .. } if self.federation.refusal(&from).is_some() => {
                    self.note_refused(&from);
                    let verdict = Dialback::Failed(StanzaCondition::PolicyViolation);
                    self.machine.command(Instant::now(), Command::DialbackVerdict(token, verdict));
                }
                Event::DialbackResult { token, from, to, stream_id, key } => {
                    // XEP-0220 §2.2: the authoritative server is asked, while this stream goes on.
                    let question = Question { from: to, to: from, stream_id, key };
                    let (federation, router, verdicts) =
                        (self.federation.clone(), self.router.clone(), self.verdicts.clone());
                    tokio::spawn(async move {
                        let verdict = federation.verify(&router, question).await;
                        // The stream may have ended meanwhile.
                        let _ = verdicts.send((token, verdict)).await;
                    });
                }
                Event::Authorised { from, .. } if self.refuses(&from) == Refuses::Yes => {}
                Event::Authorised { from, to, by } => {
                    info!(event = "s2s.authorised", %from, %to, ?by, "another server has proved its domain");
                    self.note(Some(&from), &format!("incoming: proved to {to} ({by:?})"));
                    self.list(Some(from.clone()));
                    self.charged.get_or_insert_with(|| from.clone());
                    self.proved.insert(from.clone());
                    self.peer = Some(from);
                }
                Event::AcknowledgementRequested(taken) => {
                    // P1: what was taken before is told to be safe when it is; the stream goes on meanwhile.
                    self.unsafe_yet.push_back((taken, std::mem::take(&mut self.commits)));
                }
                Event::Note(step) => {
                    if let Step::Header { from: Some(from), .. } | Step::DialbackReceived { from, .. } = &step {
                        self.claimed = Some(from.clone());
                    }
                    self.note(self.known(), &format!("incoming: {step}"));
                    if let Step::Header { from: Some(from), .. } = &step {
                        self.refuses(from);
                    }
                }
                Event::Closed(closed) => {
                    self.note(self.known(), &format!("incoming: the stream ended: {closed}"));
                    self.flush().await;
                    return Going::Ended;
                }
            }
            if self.flush().await == Going::Ended {
                return Going::Ended;
            }
        }
        turn.flush();
        self.flush().await
    }

    /// The last word on what is safe here, before the stream is closed.
    async fn acknowledge_all(&mut self) {
        let Some(taken) = self.machine.taken() else { return };
        let safe = async {
            for (_, commits) in &mut self.unsafe_yet {
                commits.settle().await;
            }
            self.commits.settle().await;
        };
        if tokio::time::timeout(LAST_WORD, safe).await.is_ok() {
            self.machine.command(Instant::now(), Command::Acknowledge(taken));
        }
    }

    /// Ends the stream when its peer is refused (abuse case 137).
    fn refuses(&mut self, domain: &Domain) -> Refuses {
        if self.federation.refusal(domain).is_none() {
            return Refuses::No;
        }
        self.note_refused(domain);
        self.machine.command(Instant::now(), Command::Close(Some(access::stream_error(domain))));
        Refuses::Yes
    }

    fn note_refused(&self, domain: &Domain) {
        info!(event = "s2s.refused", %domain, "another server is refused by the configuration");
        self.note(Some(domain), "incoming: refused by the configuration");
    }

    fn known(&self) -> Option<&Domain> {
        self.peer.as_ref().or(self.claimed.as_ref())
    }

    fn note(&self, domain: Option<&Domain>, text: &str) {
        if let Some(domain) = domain {
            note(&self.federation, &self.router, domain, text);
        }
    }

    /// Counts what a domain sent. Past its rate the stream is not read for a while; nothing is dropped.
    fn spend(&mut self, domain: &Domain, arrived: Arrived) {
        let now = Instant::now();
        let pause = self.federation.inner.pace.spend(domain, arrived, now);
        if !pause.is_zero() {
            self.paused_until = self.paused_until.max(now.checked_add(pause));
        }
    }

    /// What a shortage of memory asks of a stream that has just been read from (abuse case 149).
    fn give_way(&mut self) {
        self.held.holds(self.machine.held());
        let peer = if self.proved.is_empty() { Peer::Stranger } else { Peer::Known };
        let now = Instant::now();
        match self.held.asked_of(peer) {
            Asked::Nothing => {}
            Asked::Pause(pause) => self.paused_until = self.paused_until.max(now.checked_add(pause)),
            Asked::End => self.machine.command(now, Command::Close(Some(short_of_memory()))),
        }
    }

    async fn wait(&mut self) -> Going {
        self.paused_until = self.paused_until.filter(|until| *until > Instant::now());
        let deadline = [self.machine.poll_timeout(), self.paused_until].into_iter().flatten().min();
        let sleep = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        self.input.clear();
        let reading = self.machine.wants_input() && self.paused_until.is_none() && self.unsafe_yet.len() < UNSAFE;
        tokio::select! {
            received = self.channel.receive(&mut self.input), if reading => match received {
                Ok(0) | Err(_) => self.machine.on_eof(),
                Ok(count) => {
                    self.machine.on_bytes(Instant::now(), &self.input);
                    self.give_way();
                    if let Some(domain) = self.charged.clone() {
                        self.spend(&domain, Arrived::Bytes(count));
                    }
                }
            },
            Some((token, verdict)) = self.answers.recv() => {
                self.machine.command(Instant::now(), Command::DialbackVerdict(token, verdict));
            }
            () = front_is_safe(&mut self.unsafe_yet) => {
                if let Some((taken, _)) = self.unsafe_yet.pop_front() {
                    self.machine.command(Instant::now(), Command::Acknowledge(taken));
                }
            }
            Ok(()) = self.access.changed() => {
                let refused = self.proved.iter().find(|domain| self.federation.refusal(domain).is_some()).cloned();
                if let Some(domain) = refused {
                    self.refuses(&domain);
                }
            }
            () = told(&mut self.stopping) => {
                self.stopping = None;
                self.acknowledge_all().await;
                let error = StreamError::new(StreamCondition::SystemShutdown);
                self.machine.command(Instant::now(), Command::Close(Some(error)));
            }
            () = sleep => self.machine.on_timeout(Instant::now()),
        }
        Going::On
    }
}

/// Resolves when what the oldest question waits for is committed.
async fn front_is_safe(unsafe_yet: &mut VecDeque<(u32, Commits)>) {
    match unsafe_yet.front_mut() {
        Some((_, commits)) => commits.settle().await,
        None => std::future::pending().await,
    }
}

/// Resolves when the server stops; never again after that.
async fn told(stopping: &mut Option<watch::Receiver<Stopping>>) {
    match stopping {
        Some(stopping) => {
            // The sender lives as long as federation does.
            let _ = stopping.wait_for(|stopping| *stopping == Stopping::Begun).await;
        }
        None => std::future::pending().await,
    }
}
