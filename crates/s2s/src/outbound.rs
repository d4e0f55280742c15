//! Opening a stream to another server and driving its machine.

use crate::link::{self, Link, note};
use crate::queue::{Again, Taken, Waiting};
use crate::reach::{self, PrivateAddresses};
use crate::targets::{Plan, Srv};
use crate::{Channel, Federation, Security, Target, TlsRole};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_router::Router;
use stonechat_stanza::{StanzaCondition, StanzaError};
use stonechat_stream::s2s_out::{
    Command, Config, Delivered, Ended, Event, External, Purpose, Question, S2sOut, Unsent,
};
use stonechat_stream::{Dialback, S2sTransport};

/// RFC 8305 §5: how long one address has before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// What is written at once fits into one TLS record, with some room for addresses: the peer reads all of it or nothing,
/// so that what a broken connection leaves unwritten may go again. In the clear each stanza goes by itself.
const RECORD: usize = 12 * 1024;
/// How long is listened to a peer that takes nothing any more.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// What may be sent before the peer says what it has.
const WINDOW_STANZAS: usize = 1_000;
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Abuse case 132: SRV records of one domain that are tried, addresses of each, and addresses altogether.
const TARGETS: usize = 16;
const ADDRESSES_OF_A_TARGET: usize = 8;
const ENDPOINTS: usize = 16;

/// Why a domain was not reached.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the domain says that it has no such service")]
    NoService,
    #[error("it has no address")]
    NoAddress,
    #[error("it has private addresses only")]
    Private,
    #[error("its records name no port of XMPP")]
    Port,
    #[error("{0}")]
    Dns(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("it did not answer in time")]
    Late,
    #[error("it ends its streams before it takes anything")]
    Fruitless,
    #[error("{0}")]
    Refused(String),
}

#[derive(Clone, Copy, Debug)]
struct Endpoint {
    address: SocketAddr,
    security: Security,
}

/// What to try for a domain, in order.
async fn endpoints(federation: &Federation, router: &Router, remote: &Domain) -> Result<Vec<Endpoint>, Failure> {
    let (targets, trust) = match federation.inner.settings.hosts.get(remote) {
        Some(fixed) => {
            note(federation, router, remote, format!("fixed address {}:{}", fixed.host, fixed.port));
            (vec![fixed.clone()], PrivateAddresses::Allowed)
        }
        None => (targets(federation, router, remote).await?, federation.inner.settings.private),
    };
    let resolver = &federation.inner.resolver;
    let resolved = join_all(targets.into_iter().map(|target| async move {
        let addresses = resolver.addresses(&target.host).await;
        (target, addresses)
    }));
    let mut endpoints = Vec::new();
    let mut failure = Failure::NoAddress;
    for (Target { host, port, security }, addresses) in resolved.await {
        match addresses {
            Ok(addresses) => {
                let (tried, refused): (Vec<_>, Vec<_>) = addresses
                    .into_iter()
                    .partition(|address| trust == PrivateAddresses::Allowed || reach::is_public(*address));
                let kind = match security {
                    Security::StartTls => "STARTTLS",
                    Security::Direct => "direct TLS",
                };
                let mut told: Vec<String> = tried.iter().map(ToString::to_string).collect();
                told.extend(refused.iter().map(|address| format!("{address} is private and not tried")));
                let told = if told.is_empty() { "no address".to_owned() } else { told.join(", ") };
                note(federation, router, remote, format!("{host} port {port} ({kind}): {told}"));
                if !refused.is_empty() {
                    failure = Failure::Private;
                }
                let tried = tried.into_iter().take(ADDRESSES_OF_A_TARGET);
                endpoints.extend(tried.map(|ip| Endpoint { address: SocketAddr::new(ip, port), security }));
            }
            Err(error) => {
                note(federation, router, remote, format!("{host}: {error}"));
                failure = Failure::Dns(error.to_string());
            }
        }
    }
    endpoints.truncate(ENDPOINTS);
    if endpoints.is_empty() { Err(failure) } else { Ok(endpoints) }
}

/// What DNS says of a domain.
async fn targets(federation: &Federation, router: &Router, remote: &Domain) -> Result<Vec<Target>, Failure> {
    let resolver = &federation.inner.resolver;
    let ascii = remote.to_ascii().map_err(|_| Failure::NoAddress)?;
    let (starttls_name, direct_name) = (format!("_xmpp-server._tcp.{ascii}"), format!("_xmpps-server._tcp.{ascii}"));
    let (starttls, direct) = tokio::join!(resolver.srv(&starttls_name), resolver.srv(&direct_name));
    let srv = match (starttls, direct) {
        // A kind that could not be asked for may be the one there is.
        (Err(error), Err(_) | Ok(None)) | (Ok(None), Err(error)) => {
            note(federation, router, remote, error.to_string());
            return Err(Failure::Dns(error.to_string()));
        }
        (starttls, direct) => Srv { starttls: starttls.unwrap_or_default(), direct: direct.unwrap_or_default() },
    };
    let targets = match link::plan(federation, &ascii, srv) {
        Plan::NoService => {
            note(federation, router, remote, "its SRV records say that it has no such service");
            return Err(Failure::NoService);
        }
        Plan::Try(targets) => targets,
    };
    let (mut tried, refused): (Vec<_>, Vec<_>) =
        targets.into_iter().partition(|target| reach::is_port_of_xmpp(target.port));
    if let Some(target) = refused.first() {
        let text = format!("{} port {}: not a port of XMPP, and not tried", target.host, target.port);
        note(federation, router, remote, text);
    }
    if tried.len() > TARGETS {
        note(federation, router, remote, format!("{} SRV records, of which {TARGETS} are tried", tried.len()));
        tried.truncate(TARGETS);
    }
    if tried.is_empty() { Err(Failure::Port) } else { Ok(tried) }
}

/// Connects to the first endpoint that answers (RFC 8305), and takes it and those before it off the list.
async fn connect(
    federation: &Federation,
    router: &Router,
    remote: &Domain,
    left: &mut Vec<Endpoint>,
) -> Result<(Box<dyn Channel>, Endpoint), Failure> {
    let mut attempts = FuturesUnordered::new();
    let mut next = 0usize;
    let mut last = String::from("no address answered");
    loop {
        if let Some(endpoint) = left.get(next).copied() {
            next = next.saturating_add(1);
            let dial = federation.inner.dialler.dial(endpoint.address);
            let limit = federation.inner.settings.connect;
            attempts.push(async move {
                let dialled = tokio::time::timeout(limit, dial)
                    .await
                    .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
                (endpoint, dialled)
            });
        } else if attempts.is_empty() {
            left.clear();
            return Err(Failure::Unreachable(last));
        }
        let more = next < left.len();
        tokio::select! {
            Some((endpoint, dialled)) = attempts.next() => match dialled {
                Ok(channel) => {
                    left.retain(|other| other.address != endpoint.address);
                    return Ok((channel, endpoint));
                }
                Err(error) => {
                    last = format!("{}: {error}", endpoint.address);
                    note(federation, router, remote, format!("{}: {error}", endpoint.address));
                }
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}

/// Opens a stream for a link and sends what waits, until the stream is quiet for long or ends. `Err` when the domain was
/// not proved in time; what waits is still in the queue then.
pub(crate) async fn deliver(federation: &Federation, router: &Router, link: &Arc<Link>) -> Result<Progress, Failure> {
    let settings = &federation.inner.settings;
    // Abuse case 132: however many records and addresses there are, a sender hears of it in this time.
    let until = tokio::time::Instant::now().checked_add(settings.patience).ok_or(Failure::Late)?;
    let late = |_| Failure::Late;
    let resolved = tokio::time::timeout_at(until, endpoints(federation, router, &link.remote));
    let mut left = resolved.await.map_err(late)??;
    let mut external = External::WhenOffered;
    let mut last = None;
    while !left.is_empty() {
        if tokio::time::Instant::now() >= until {
            return Err(last.unwrap_or(Failure::Late));
        }
        let connected = tokio::time::timeout_at(until, connect(federation, router, &link.remote, &mut left)).await;
        let (channel, endpoint) = match connected.map_err(late).and_then(|connected| connected) {
            Ok(connected) => connected,
            // What an earlier endpoint said is more than that the rest did not answer.
            Err(failure) => return Err(last.unwrap_or(failure)),
        };
        let mut stream =
            Stream::new(federation, router, &link.local, &link.remote, channel, endpoint, external, Purpose::Stanzas);
        match stream.serve(link, until.into_std()).await {
            Served::Proved(progress) => return Ok(progress),
            Served::Failed(Ended::ExternalRefused { condition }) if external == External::WhenOffered => {
                note(federation, router, &link.remote, format!("again without certificate ({condition})"));
                external = External::Never;
                left.insert(0, endpoint);
            }
            Served::Failed(Ended::Timeout) => {
                note(federation, router, &link.remote, Ended::Timeout.to_string());
                last = last.or(Some(Failure::Late));
            }
            Served::Failed(ended) => {
                note(federation, router, &link.remote, ended.to_string());
                last = Some(Failure::Refused(ended.to_string()));
            }
        }
    }
    Err(last.unwrap_or(Failure::NoAddress))
}

/// Asks about a dialback key on a stream of its own.
pub(crate) async fn verify(federation: &Federation, router: &Router, question: Question) -> Dialback {
    let (local, remote) = (question.from.clone(), question.to.clone());
    let asked = async {
        let mut left = endpoints(federation, router, &remote).await.ok()?;
        while !left.is_empty() {
            let (channel, endpoint) = connect(federation, router, &remote, &mut left).await.ok()?;
            let mut stream = Stream::new(
                federation,
                router,
                &local,
                &remote,
                channel,
                endpoint,
                External::Never,
                Purpose::Verification,
            );
            if let Some(answer) = stream.ask(question.clone()).await {
                return Some(answer);
            }
        }
        None
    };
    match tokio::time::timeout(federation.inner.settings.patience, asked).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Dialback::Failed(StanzaCondition::RemoteServerNotFound),
        Err(_) => Dialback::Failed(StanzaCondition::RemoteServerTimeout),
    }
}

/// How serving a link on one stream ended.
enum Served {
    /// The domain was proved; what could be sent was.
    Proved(Progress),
    /// It was not.
    Failed(Ended),
}

struct Stream<'a> {
    federation: &'a Federation,
    router: &'a Router,
    local: Domain,
    remote: Domain,
    channel: Box<dyn Channel>,
    machine: S2sOut,
    security: Security,
    input: Vec<u8>,
    /// Bytes of stanzas that are written at once; the first always is.
    at_once: usize,
    /// Sent, and not acknowledged by a peer that does; oldest first.
    unacknowledged: VecDeque<Waiting>,
    unacknowledged_bytes: usize,
    /// So many of those taken from the link are delivered or given up, and it was not told yet.
    settled: usize,
    progress: Progress,
}

/// Whether anything was delivered on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Some,
    None,
}

/// What happened on the stream.
enum Happened {
    Ready,
    Verified(Dialback),
    PairFailed(String),
    Ended(Ended),
}

impl<'a> Stream<'a> {
    #[expect(clippy::too_many_arguments, reason = "the parts of one stream, put together once")]
    fn new(
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
    async fn settle(&mut self) -> Result<Option<Happened>, Ended> {
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

    async fn flush(&mut self) -> Result<(), Ended> {
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
    async fn wait(&mut self, until: Option<Instant>) -> Result<(), Ended> {
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

    async fn ask(&mut self, question: Question) -> Option<Dialback> {
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

    async fn serve(&mut self, link: &Arc<Link>, until: Instant) -> Served {
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

    /// Sends what waits and what comes, until the stream ends or all is quiet for long. What the peer has not acknowledged
    /// by then goes first on the next stream.
    async fn pump(&mut self, link: &Arc<Link>) -> Progress {
        self.talk(link).await;
        let mut left = Vec::new();
        for mut waiting in std::mem::take(&mut self.unacknowledged) {
            match waiting.sent_in_vain() {
                Again::Yes => left.push(waiting),
                Again::No => {
                    let error = StanzaError::new(StanzaCondition::RemoteServerTimeout)
                        .with_text(format!("{} has not said that it has it", self.remote));
                    waiting.bounce(self.router, &error);
                    self.settled = self.settled.saturating_add(1);
                }
            }
        }
        link.put_back(left);
        link.done(std::mem::take(&mut self.settled));
        self.progress
    }

    async fn talk(&mut self, link: &Arc<Link>) {
        let mut quiet_since = Instant::now();
        let mut mood = Mood::Sending;
        loop {
            match self.settle().await {
                Ok(Some(Happened::Ended(ended))) => {
                    note(self.federation, self.router, &self.remote, format!("the stream ended: {ended}"));
                    return;
                }
                Ok(_) => {}
                Err(_) => return,
            }
            link.done(std::mem::take(&mut self.settled));
            let mut until = None;
            if mood == Mood::Sending {
                match self.transfer(link).await {
                    Ok(Moved::Something) => quiet_since = Instant::now(),
                    Ok(Moved::Nothing) => {}
                    Err(_) => return,
                }
                until = quiet_since.checked_add(self.federation.inner.settings.idle);
                let idle = until.is_some_and(|until| until <= Instant::now());
                if idle || link.take_reset() || (link.is_stopping() && link.is_empty()) {
                    mood = Mood::Leaving;
                } else if self.has_room() && !link.is_empty() {
                    continue;
                }
            }
            if mood == Mood::Leaving {
                // What the peer has is known before the stream is closed; the machine bounds the time.
                if self.unacknowledged.is_empty() {
                    break;
                }
                until = None;
            }
            let waited = tokio::select! {
                waited = self.wait(until) => waited,
                () = link.wake.notified() => self.overhear().await,
            };
            if waited.is_err() {
                return;
            }
        }
        note(self.federation, self.router, &self.remote, "the stream was closed: nothing to send");
        self.machine.command(Instant::now(), Command::Close(None));
        let _ = self.flush().await;
    }

    /// Whether more may be sent before the peer says what it has.
    fn has_room(&self) -> bool {
        self.unacknowledged.len() < WINDOW_STANZAS && self.unacknowledged_bytes < WINDOW_BYTES
    }

    /// The peer has so many more.
    fn on_acknowledged(&mut self, count: u32) {
        for _ in 0..count {
            let Some(waiting) = self.unacknowledged.pop_front() else { break };
            self.unacknowledged_bytes = self.unacknowledged_bytes.saturating_sub(waiting.stanza.size());
            self.on_delivered(waiting);
        }
        self.machine.request_acknowledgement(Instant::now());
    }

    fn on_delivered(&mut self, waiting: Waiting) {
        waiting.delivered(self.router);
        self.settled = self.settled.saturating_add(1);
        self.progress = Progress::Some;
    }

    /// Sends what waits, in order. What is being written to the store is waited for.
    async fn transfer(&mut self, link: &Arc<Link>) -> Result<Moved, Ended> {
        let mut moved = Moved::Nothing;
        while self.has_room() {
            match link.take(self.at_once) {
                Taken::Nothing => return Ok(moved),
                Taken::Pending(waiting) => match waiting.committed().await {
                    Some(waiting) => link.put_back(vec![waiting]),
                    None => link.done(1),
                },
                Taken::Ready(ready) => {
                    self.write(link, ready).await?;
                    moved = Moved::Something;
                }
            }
        }
        Ok(moved)
    }

    /// Writes these, as one write. They are delivered when the peer acknowledges them or, where it does not do that, when
    /// the system has taken all of it; what it did not take is the first on the next stream.
    async fn write(&mut self, link: &Arc<Link>, ready: Vec<Waiting>) -> Result<(), Ended> {
        let mut written = Vec::with_capacity(ready.len());
        let mut ready = ready.into_iter();
        let mut unready = None;
        for waiting in ready.by_ref() {
            match self.machine.send(Instant::now(), &waiting.stanza) {
                Ok(()) => written.push(waiting),
                Err(Unsent::NotReady) => {
                    unready = Some(waiting);
                    break;
                }
                Err(unsent) => {
                    let condition = match unsent {
                        // Abuse case 136: never more than the peer takes.
                        Unsent::TooLarge => StanzaCondition::PolicyViolation,
                        Unsent::Misaddressed | Unsent::NotReady => StanzaCondition::InternalServerError,
                    };
                    waiting.bounce(self.router, &StanzaError::new(condition).with_text(unsent.to_string()));
                    self.settled = self.settled.saturating_add(1);
                    self.progress = Progress::Some;
                }
            }
        }
        let delivered = self.machine.delivered();
        self.machine.request_acknowledgement(Instant::now());
        let flushed = self.flush().await;
        let mut left: Vec<Waiting> = unready.into_iter().chain(ready).collect();
        match flushed {
            Ok(()) => {
                for waiting in written {
                    match delivered {
                        Delivered::WhenWritten => self.on_delivered(waiting),
                        Delivered::WhenAcknowledged => {
                            let bytes = waiting.stanza.size();
                            self.unacknowledged_bytes = self.unacknowledged_bytes.saturating_add(bytes);
                            self.unacknowledged.push_back(waiting);
                        }
                    }
                }
                link.done(std::mem::take(&mut self.settled));
            }
            Err(_) => left.splice(0..0, written).for_each(drop),
        }
        let ended = match (flushed, left.is_empty()) {
            (Ok(()), true) => return Ok(()),
            (Ok(()), false) => Ended::Stream(stonechat_stream::Closed::Lost),
            (Err(ended), _) => ended,
        };
        link.put_back(left);
        Err(ended)
    }

    /// Takes in what the peer has said already: who closed while all was quiet is not written to.
    async fn overhear(&mut self) -> Result<(), Ended> {
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Sending,
    /// Nothing more is sent; the stream is closed when everything is acknowledged.
    Leaving,
}

/// Whether anything was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Something,
    Nothing,
}
