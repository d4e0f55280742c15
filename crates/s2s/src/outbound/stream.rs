//! One stream to another server: what its machine asks for is done, until the domain is proved or is not (RFC 6120 §5, §6;
//! XEP-0220).
//!
//! What the machine decides (features, EXTERNAL, dialback) is in `stonechat_stream`; here it gets its bytes, its time, TLS
//! and the verdict on the peer's certificate.
//!
//! Deliberately absent: what is sent once the domain is proved, which is [`super::carry`]'s.

use super::Progress;
use super::connect::Endpoint;
use crate::link::{Link, note};
use crate::queue::Waiting;
use crate::{Channel, Federation, Security, TlsRole};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_router::Router;
use stonechat_stream::s2s_out::{Command, Config, Ended, Event, External, Purpose, Question, S2sOut};
use stonechat_stream::{Dialback, S2sTransport};

/// What is written at once fits into one TLS record, with some room for addresses: the peer reads all of it or nothing,
/// so that what a broken connection leaves unwritten may go again. In the clear each stanza goes by itself.
const RECORD: usize = 12 * 1024;
/// How long is listened to a peer that takes nothing any more.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How serving a link on one stream ended.
pub(super) enum Served {
    /// The domain was proved; what could be sent was.
    Proved(Progress),
    /// It was not.
    Failed(Ended),
}

pub(super) struct Stream<'a> {
    pub(super) federation: &'a Federation,
    pub(super) router: &'a Router,
    local: Domain,
    pub(super) remote: Domain,
    channel: Box<dyn Channel>,
    pub(super) machine: S2sOut,
    security: Security,
    input: Vec<u8>,
    /// Bytes of stanzas that are written at once; the first always is.
    pub(super) at_once: usize,
    /// Sent, and not acknowledged by a peer that does; oldest first.
    pub(super) unacknowledged: VecDeque<Waiting>,
    pub(super) unacknowledged_bytes: usize,
    /// So many of those taken from the link are delivered or given up, and it was not told yet.
    pub(super) settled: usize,
    pub(super) progress: Progress,
}

/// What happened on the stream.
pub(super) enum Happened {
    Ready,
    Verified(Dialback),
    PairFailed(String),
    Ended(Ended),
}

impl<'a> Stream<'a> {
    #[expect(clippy::too_many_arguments, reason = "the parts of one stream, put together once")]
    pub(super) fn new(
        federation: &'a Federation,
        router: &'a Router,
        local: &Domain,
        remote: &Domain,
        channel: Box<dyn Channel>,
        endpoint: Endpoint,
        external: External,
        purpose: Purpose,
    ) -> Stream<'a> {
        let transport = match endpoint.security {
            Security::StartTls => S2sTransport::StartTls,
            Security::Direct => S2sTransport::DirectTls,
        };
        note(federation, router, remote, format!("connected to {}", endpoint.address));
        let config = Arc::new(Config { transport, external, ..federation.outgoing() });
        let machine = S2sOut::new(config, local.clone(), remote.clone(), purpose, Instant::now());
        Stream {
            federation,
            router,
            local: local.clone(),
            remote: remote.clone(),
            channel,
            machine,
            security: endpoint.security,
            input: Vec::new(),
            at_once: 0,
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
            settled: 0,
            progress: Progress::None,
        }
    }

    fn lost(&mut self, error: &std::io::Error) -> Ended {
        note(self.federation, self.router, &self.remote, format!("the connection broke: {error}"));
        Ended::Stream(stonechat_stream::Closed::Lost)
    }

    /// Everything that the machine wants done now.
    pub(super) async fn settle(&mut self) -> Result<Option<Happened>, Ended> {
        loop {
            let Some(event) = self.machine.poll_event() else {
                self.flush().await?;
                return Ok(None);
            };
            match event {
                Event::StartTls(_) => {
                    self.flush().await?;
                    self.secure().await?;
                }
                Event::CheckCertificate(token, domain) => {
                    let judged = self.channel.judge(&domain);
                    note(self.federation, self.router, &self.remote, format!("certificate: {}", judged.reason));
                    self.machine.command(Instant::now(), Command::CertificateChecked(token, judged.validity));
                }
                Event::Open => {}
                Event::Ready(_) => return Ok(Some(Happened::Ready)),
                Event::PairFailed { reason, .. } => return Ok(Some(Happened::PairFailed(reason.to_string()))),
                Event::Verified { answer, .. } => return Ok(Some(Happened::Verified(answer))),
                Event::Acknowledged(count) => self.on_acknowledged(count),
                Event::Note(step) => note(self.federation, self.router, &self.remote, step.to_string()),
                Event::Closed(ended) => {
                    // What the peer said last counts, whether or not it still hears us.
                    let mut out = Vec::new();
                    self.machine.poll_transmit(&mut out);
                    let _ = self.channel.send(&out).await;
                    return Ok(Some(Happened::Ended(ended)));
                }
            }
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        let mut out = Vec::new();
        self.machine.poll_transmit(&mut out);
        if out.is_empty() {
            return Ok(());
        }
        match self.channel.send(&out).await {
            Ok(()) => Ok(()),
            Err(error) => match self.last_words().await {
                Some(ended) => Err(ended),
                None => Err(self.lost(&error)),
            },
        }
    }

    /// Who ends a stream says why, and then takes nothing any more: what it said is read all the same.
    async fn last_words(&mut self) -> Option<Ended> {
        let until = tokio::time::Instant::now().checked_add(LAST_WORDS)?;
        loop {
            self.input.clear();
            let said = tokio::time::timeout_at(until, self.channel.receive(&mut self.input)).await;
            if !matches!(said, Ok(Ok(count)) if count > 0) {
                return None;
            }
            self.machine.on_bytes(Instant::now(), &self.input);
            while let Some(event) = self.machine.poll_event() {
                match event {
                    Event::Note(step) => note(self.federation, self.router, &self.remote, step.to_string()),
                    Event::Acknowledged(count) => self.on_acknowledged(count),
                    Event::Closed(ended) => return Some(ended),
                    _ => {}
                }
            }
        }
    }

    async fn secure(&mut self) -> Result<(), Ended> {
        let role = TlsRole::Initiate { local: self.local.clone(), remote: self.remote.clone() };
        match self.channel.secure(role).await {
            Ok(facts) => {
                self.machine.on_tls(Instant::now(), facts);
                self.at_once = RECORD;
                Ok(())
            }
            Err(error) => {
                note(self.federation, self.router, &self.remote, format!("the TLS handshake failed: {error}"));
                Err(Ended::Stream(stonechat_stream::Closed::Lost))
            }
        }
    }

    /// Waits for the peer or the clock.
    pub(super) async fn wait(&mut self, until: Option<Instant>) -> Result<(), Ended> {
        let deadline = [self.machine.poll_timeout(), until].into_iter().flatten().min();
        let sleep = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        self.input.clear();
        tokio::select! {
            received = self.channel.receive(&mut self.input) => self.heard(received),
            () = sleep => {
                self.machine.on_timeout(Instant::now());
                Ok(())
            }
        }
    }

    /// Until something of note happens, or the time is up.
    async fn until_happened(&mut self, until: Instant) -> Happened {
        if self.security == Security::Direct
            && let Err(ended) = self.secure().await
        {
            return Happened::Ended(ended);
        }
        self.security = Security::StartTls;
        loop {
            match self.settle().await {
                Ok(Some(happened)) => return happened,
                Ok(None) => {}
                Err(ended) => return Happened::Ended(ended),
            }
            if Instant::now() >= until {
                return Happened::Ended(Ended::Timeout);
            }
            if let Err(ended) = self.wait(Some(until)).await {
                return Happened::Ended(ended);
            }
        }
    }

    pub(super) async fn ask(&mut self, question: Question) -> Option<Dialback> {
        self.machine.command(Instant::now(), Command::Verify(question));
        let until = Instant::now().checked_add(self.federation.inner.settings.negotiate)?;
        let happened = self.until_happened(until).await;
        self.machine.command(Instant::now(), Command::Close(None));
        let _ = self.flush().await;
        self.channel.close().await;
        match happened {
            Happened::Verified(answer) => Some(answer),
            _ => None,
        }
    }

    pub(super) async fn serve(&mut self, link: &Arc<Link>, until: Instant) -> Served {
        let negotiated = Instant::now().checked_add(self.federation.inner.settings.negotiate);
        let until = negotiated.map_or(until, |negotiated| negotiated.min(until));
        match self.until_happened(until).await {
            Happened::Ready => {}
            Happened::Ended(ended) => {
                self.channel.close().await;
                return Served::Failed(ended);
            }
            Happened::PairFailed(reason) => {
                note(self.federation, self.router, &self.remote, &reason);
                self.channel.close().await;
                return Served::Failed(Ended::NoMechanism);
            }
            Happened::Verified(_) => {}
        }
        note(self.federation, self.router, &self.remote, format!("{} may send to {}", self.local, self.remote));
        link.set_state("established", Some(self.channel.describe()));
        let progress = self.pump(link).await;
        // Nobody waits behind the peer's last words.
        link.set_state("idle", None);
        self.channel.close().await;
        Served::Proved(progress)
    }

    /// Takes in what the peer has said already: who closed while all was quiet is not written to.
    pub(super) async fn overhear(&mut self) -> Result<(), Ended> {
        self.input.clear();
        tokio::select! {
            biased;
            received = self.channel.receive(&mut self.input) => self.heard(received),
            () = std::future::ready(()) => Ok(()),
        }
    }

    fn heard(&mut self, received: std::io::Result<usize>) -> Result<(), Ended> {
        match received {
            Ok(0) => self.machine.on_eof(),
            Ok(_) => self.machine.on_bytes(Instant::now(), &self.input),
            Err(error) => return Err(self.lost(&error)),
        }
        Ok(())
    }
}
