//! The driver of a client's stream: it moves bytes between the socket and the machine, and answers the machine's
//! questions by asking the router.
//!
//! One task per connection. It owns the machine and the session; what the session is sent goes past it, straight to the
//! [`Link`].

use crate::accept::{Addresses, Place};
use crate::bucket::{Bucket, Rate, Spent};
use crate::certificates::Certificates;
use crate::device;
use crate::link::{Closing, Link, LinkLimits, Received};
use crate::tls::{self, Choice, Facing};
use futures_util::FutureExt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain, FullJid};
use stonechat_router::{
    Attention, BindError, ClientSession, Ending, LoginStart, NotResumed, Outbox, RESUMPTION, Resumable, Router,
    SessionFacts, Turn,
};
use stonechat_sasl::{DecoySecret, Lookup, Verdict};
use stonechat_stanza::{ContentNamespace, StanzaCondition, StreamCondition, StreamError};
use stonechat_store::AccountState;
use stonechat_stream::c2s::{
    Bind2Request, Bound2, C2s, Carbons, ClientState, Command, Config, Enabled, Event, Failed, Limits, ResumeRequest,
    Resumed, Resumption, Transport,
};
use stonechat_stream::{Closed, TlsFacts, Token};
use tokio::net::TcpStream;
use tracing::{debug, error, info, warn};

/// How a client's connection comes by its TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTransport {
    /// STARTTLS, required.
    StartTls,
    /// STARTTLS, not required (`allow_plaintext`).
    StartTlsOptional,
    /// TLS from the first byte.
    DirectTls,
}

/// Rates of one client's connection. `None` where there is none (measurements).
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Bytes read.
    pub bytes: Option<Rate>,
    /// Stanzas taken.
    pub stanzas: Option<Rate>,
    /// The outbox.
    pub link: LinkLimits,
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        ClientLimits {
            bytes: Some(Rate { per_second: 256 * 1024, burst: 2 * 1024 * 1024 }),
            stanzas: Some(Rate { per_second: 200, burst: 2_000 }),
            link: LinkLimits::default(),
            handshake: Duration::from_secs(30),
        }
    }
}

/// What every client's connection needs.
pub struct ClientFront {
    /// The router.
    pub router: Router,
    /// The certificates.
    pub certificates: Arc<Certificates>,
    /// What addresses may do.
    pub addresses: Arc<Addresses>,
    /// Rates.
    pub limits: ClientLimits,
    start_tls: Arc<Config>,
    start_tls_optional: Arc<Config>,
    direct_tls: Arc<Config>,
}

struct HostsOf(Router);

impl stonechat_stream::Hosts for HostsOf {
    fn status(&self, domain: &Domain) -> stonechat_stream::HostStatus {
        if self.0.serves(domain) { stonechat_stream::HostStatus::Served } else { stonechat_stream::HostStatus::Unknown }
    }
}

struct FeaturesOf(Router);

impl stonechat_stream::FeatureSource for FeaturesOf {
    fn features(&self, phase: stonechat_stream::Phase, domain: &Domain) -> Vec<stonechat_xml::Element> {
        match phase {
            stonechat_stream::Phase::BeforeAuthentication => self.0.features_before_authentication(domain),
            stonechat_stream::Phase::AfterAuthentication => self.0.features_after_authentication(domain),
        }
    }
    fn registration(&self) -> stonechat_stream::Registration {
        match self.0.offers_registration() {
            stonechat_router::RegistrationMode::Open => stonechat_stream::Registration::Offered,
            stonechat_router::RegistrationMode::Closed => stonechat_stream::Registration::Closed,
        }
    }
}

/// Randomness of the router, for streams.
pub struct RandomOf(pub Router);

impl stonechat_stream::Random for RandomOf {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.random().fill(buffer);
    }
}

/// The served domains of the router, for streams.
pub fn hosts_of(router: &Router) -> Arc<dyn stonechat_stream::Hosts> {
    Arc::new(HostsOf(router.clone()))
}

impl ClientFront {
    /// Puts it together.
    pub fn new(
        router: Router,
        certificates: Arc<Certificates>,
        addresses: Arc<Addresses>,
        limits: ClientLimits,
        decoy: DecoySecret,
        stream: Limits,
    ) -> Arc<ClientFront> {
        let config = |transport| {
            Arc::new(Config {
                hosts: hosts_of(&router),
                features: Arc::new(FeaturesOf(router.clone())),
                random: Arc::new(RandomOf(router.clone())),
                decoy: decoy.clone(),
                tokens: Some(router.token_secret().clone()),
                transport,
                limits: stream,
            })
        };
        Arc::new(ClientFront {
            start_tls: config(Transport::StartTls),
            start_tls_optional: config(Transport::StartTlsOptional),
            direct_tls: config(Transport::DirectTls),
            router,
            certificates,
            addresses,
            limits,
        })
    }

    fn config(&self, transport: ClientTransport) -> &Arc<Config> {
        match transport {
            ClientTransport::StartTls => &self.start_tls,
            ClientTransport::StartTlsOptional => &self.start_tls_optional,
            ClientTransport::DirectTls => &self.direct_tls,
        }
    }
}

/// Serves one client's connection until it ends.
pub async fn serve_client(front: Arc<ClientFront>, socket: TcpStream, peer: SocketAddr, transport: ClientTransport) {
    let place = match front.addresses.arrive(peer, Instant::now()) {
        Ok(place) => place,
        Err(refused) => {
            // No word is said: whoever floods would only be fed.
            debug!(event = "c2s.refused", %peer, reason = ?refused, "a connection was refused");
            return;
        }
    };
    let link = Arc::new(Link::new(socket, ContentNamespace::Client, front.limits.link));
    let mut machine = Box::new(C2s::new(Arc::clone(front.config(transport)), Instant::now()));
    if transport == ClientTransport::DirectTls {
        let choice = Choice::ByServerName(&front.certificates);
        if let Err(source) = Box::pin(secure(&front, &link, &mut machine, choice)).await {
            debug!(event = "c2s.tls_failed", %peer, %source, "a TLS handshake failed");
            return;
        }
    }
    let now = Instant::now();
    let driver = Driver {
        bytes: front.limits.bytes.map(|rate| Bucket::full(rate, now)),
        stanzas: front.limits.stanzas.map(|rate| Bucket::full(rate, now)),
        login: front.router.login_start(),
        front,
        link,
        machine,
        place,
        peer,
        transport,
        session: None,
        failures: 0,
        paused_until: None,
        account: None,
        device: None,
        instead_of: None,
        owed: None,
        ending: Ending::Lost,
    };
    driver.run().await;
}

async fn secure(front: &ClientFront, link: &Link, machine: &mut C2s, choice: Choice<'_>) -> std::io::Result<()> {
    let handshake = tls::accept(link, choice, Facing::Clients);
    let certificate = tokio::time::timeout(front.limits.handshake, handshake)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let bindings = tls::bindings(link, &certificate);
    machine.on_tls(Instant::now(), TlsFacts { bindings, ..TlsFacts::default() });
    Ok(())
}

struct Driver {
    front: Arc<ClientFront>,
    link: Arc<Link>,
    machine: Box<C2s>,
    place: Place,
    peer: SocketAddr,
    transport: ClientTransport,
    session: Option<ClientSession>,
    bytes: Option<Bucket>,
    stanzas: Option<Bucket>,
    failures: u32,
    /// Reading stops until then: a rate was passed, or a log-in failed.
    paused_until: Option<Instant>,
    account: Option<BareJid>,
    /// The id of the client's user agent, when it told one.
    device: Option<String>,
    /// The session that it wanted back in vain.
    instead_of: Option<String>,
    /// When the last log-in began.
    login: LoginStart,
    /// Stanzas that the client wants acknowledged (XEP-0198 §4).
    owed: Option<u32>,
    /// How the stream ends, if it ended now.
    ending: Ending,
}

async fn enable(session: &mut ClientSession, resumption: Resumption) -> Enabled {
    let resumable = match resumption {
        Resumption::Wanted { .. } => Resumable::Yes,
        Resumption::NotWanted => Resumable::No,
    };
    let id = session.enable_counting(resumable).await.map(|id| id.text());
    let max = id.as_ref().map(|_| u32::try_from(RESUMPTION.as_secs()).unwrap_or(u32::MAX));
    Enabled { id, max }
}

async fn handles_more(session: &mut Option<ClientSession>) {
    match session {
        Some(session) => session.handles_more().await,
        None => std::future::pending().await,
    }
}

/// Whether the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    On,
    Ended,
}

impl Driver {
    async fn run(mut self) {
        while self.settle().await == Going::On && self.wait().await == Going::On {}
        self.link.shut();
        match (self.session.take(), self.instead_of.take(), &self.account) {
            (Some(session), ..) => session.end(self.ending, &mut Turn::new()),
            // It bound nothing in the place of the session that is gone: what that one had not is anybody's.
            (None, Some(gone), Some(account)) => self.front.router.give_up(account, &gone).await,
            _ => {}
        }
        Box::pin(self.link.linger()).await;
    }

    /// Works off everything that needs no waiting for the peer.
    async fn settle(&mut self) -> Going {
        loop {
            let mut turn = Turn::new();
            // What the machine wrote before an event goes before what comes of it.
            let mut ended = self.transmit();
            while let Some(event) = self.machine.poll_event() {
                if self.on_event(event, &mut turn).await == Going::Ended {
                    ended = Going::Ended;
                    break;
                }
            }
            self.acknowledge();
            // What the machine answers itself stands behind what was routed to this client in the same turn.
            let mut sent = self.transmit();
            if self.link.uncork().is_err() {
                sent = Going::Ended;
            }
            turn.flush();
            if ended == Going::Ended || sent == Going::Ended {
                return Going::Ended;
            }
            match self.link.closing() {
                Closing::Asked(error) => {
                    self.link.begin_closing();
                    self.machine.command(Instant::now(), Command::Close(error));
                }
                Closing::Dead => return Going::Ended,
                Closing::Open | Closing::Begun => return Going::On,
            }
        }
    }

    fn transmit(&mut self) -> Going {
        let mut out = crate::pool::take();
        self.machine.poll_transmit(&mut out);
        let sent = if out.is_empty() { Ok(()) } else { self.link.transmit(&out) };
        crate::pool::give(out);
        match sent {
            Ok(()) => Going::On,
            Err(_) => Going::Ended,
        }
    }

    /// Waits for the peer, the clock, or somebody who wants something of this connection.
    async fn wait(&mut self) -> Going {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let reading = self.machine.wants_input() && self.paused_until.is_none();
        let writing = self.link.wants_write();
        let deadline = [self.machine.poll_timeout(), self.paused_until].into_iter().flatten().min();
        let sleep = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ready = self.link.readable(), if reading => match ready {
                Ok(()) => self.receive(),
                Err(_) => Going::Ended,
            },
            ready = self.link.writable(), if writing => {
                if ready.and_then(|()| self.link.write_out()).is_ok() { Going::On } else { Going::Ended }
            }
            () = self.link.woken() => Going::On,
            // What an acknowledgement waits for has been written.
            () = handles_more(&mut self.session), if self.owed.is_some() => Going::On,
            () = sleep => {
                self.machine.on_timeout(Instant::now());
                Going::On
            }
        }
    }

    fn receive(&mut self) -> Going {
        let now = Instant::now();
        let machine = &mut self.machine;
        match self.link.receive(&mut |bytes| machine.on_bytes(now, bytes)) {
            Ok(Received::Bytes(count)) => {
                if let Some(bucket) = &mut self.bytes {
                    let wait = bucket.spend(count, now);
                    if !wait.is_zero() {
                        self.paused_until = self.paused_until.max(now.checked_add(wait));
                    }
                }
                Going::On
            }
            Ok(Received::Nothing) => Going::On,
            Ok(Received::End) => {
                self.machine.on_eof();
                Going::On
            }
            Err(source) => {
                debug!(event = "c2s.read_failed", peer = %self.peer, %source, "a connection broke");
                self.machine.on_eof();
                Going::On
            }
        }
    }

    async fn on_event(&mut self, event: Event, turn: &mut Turn) -> Going {
        let now = Instant::now();
        match event {
            Event::Stanza(stanza) => return self.on_stanza(stanza, turn).await,
            Event::Reply(reply) => {
                if let Some(session) = &mut self.session {
                    session.answered(reply.as_ref(), turn);
                }
            }
            Event::Enable(token, resumption) => Box::pin(self.on_enable(token, resumption)).await,
            Event::Resume(token, request) => Box::pin(self.on_resume(token, request)).await,
            Event::Acknowledged(handled) => {
                if let Some(Err(sent)) = self.session.as_mut().map(|session| session.acknowledged(handled, turn)) {
                    self.machine.command(now, Command::AcknowledgedTooMuch { h: handled, sent });
                }
            }
            Event::AcknowledgementRequested => {
                self.owed = self.session.as_ref().map(ClientSession::received);
            }
            Event::ClientState(state) => {
                let attention = match state {
                    ClientState::Active => Attention::Active,
                    ClientState::Inactive => Attention::Inactive,
                };
                if let Some(session) = &mut self.session {
                    session.set_attention(attention, turn);
                }
            }
            Event::StartTls(domain) => return Box::pin(self.on_start_tls(&domain)).await,
            Event::Lookup(token, account) => {
                self.login = self.front.router.login_start();
                let lookup = Box::pin(self.look_up(&account)).await;
                self.machine.command(Instant::now(), Command::Credentials(token, lookup));
            }
            Event::CheckPassword(token, password, credentials) => {
                let verdict = match self.place.spend_authentication(now) {
                    Spent::Refused => Verdict::Unavailable,
                    Spent::Granted => match Box::pin(self.front.router.verify_password(*credentials, password)).await {
                        Some(true) => Verdict::Accepted,
                        Some(false) => Verdict::Refused,
                        None => Verdict::Unavailable,
                    },
                };
                self.machine.command(Instant::now(), Command::PasswordChecked(token, verdict));
            }
            Event::AuthenticationFailed(failed) => self.on_failed(&failed, now),
            Event::Authenticated(account) => self.account = Some(account),
            Event::Authorized(token, authorized) => {
                let admitted = Box::pin(device::admit(&self.front.router, self.login, &authorized)).await;
                self.account = Some(authorized.account);
                self.device = authorized.device.map(|device| device.id);
                let command = match admitted {
                    Ok(granted) => Command::Granted(token, granted),
                    Err(failure) => Command::Denied(token, failure),
                };
                self.machine.command(Instant::now(), command);
            }
            Event::LookupTokens(token, of) => {
                self.login = self.front.router.login_start();
                let lookup = Box::pin(device::candidates(&self.front.router, &of)).await;
                self.machine.command(Instant::now(), Command::Tokens(token, lookup));
            }
            Event::Upgraded(token, account, hash, keys) => {
                Box::pin(device::add_keys(&self.front.router, self.login, &account, hash, keys)).await;
                self.machine.command(Instant::now(), Command::Upgraded(token));
            }
            Event::Bind(token, account, resource) => {
                let bound = Box::pin(self.bind(&account, resource.as_deref())).await;
                let command = match bound {
                    Ok(jid) => Command::Bound(token, jid),
                    Err(BindError::Refused(error)) => Command::BindRefused(token, error),
                    Err(BindError::NotAllowed) => Command::Close(Some(StreamCondition::NotAuthorized.into())),
                };
                self.machine.command(Instant::now(), command);
            }
            Event::Bind2(token, request) => {
                let command = match Box::pin(self.on_bind2(&request)).await {
                    Ok(bound) => Command::Bound2(token, bound),
                    Err(BindError::Refused(error)) => Command::BindRefused(token, error),
                    Err(BindError::NotAllowed) => Command::Close(Some(StreamCondition::NotAuthorized.into())),
                };
                self.machine.command(Instant::now(), command);
            }
            Event::Register(domain, stanza) => {
                if self.place.spend_authentication(now) == Spent::Refused {
                    let error = StreamError::new(StreamCondition::PolicyViolation)
                        .with_text("too many registrations from your address");
                    self.machine.command(now, Command::Close(Some(error)));
                } else if let Some(reply) = Box::pin(self.front.router.answer_registration(&domain, &stanza)).await {
                    self.machine.command(Instant::now(), Command::Send(reply));
                }
            }
            Event::Closed(closed) => {
                if matches!(closed, Closed::Cleanly) {
                    self.ending = Ending::Closed;
                }
                match &closed {
                    Closed::ByUs(reason) => {
                        info!(event = "c2s.closed", peer = %self.peer, reason = reason.condition.name(), "a stream was ended");
                    }
                    _ => debug!(event = "c2s.closed", peer = %self.peer, ?closed, "a stream ended"),
                }
                self.transmit();
                return Going::Ended;
            }
        }
        self.transmit()
    }

    async fn bind(&mut self, account: &BareJid, resource: Option<&str>) -> Result<FullJid, BindError> {
        let facts = self.facts();
        let outbox: Arc<dyn Outbox> = self.link.clone();
        // Nothing overtakes the answer.
        self.link.cork();
        let session = self.front.router.bind(account, resource, outbox, facts).await?;
        info!(event = "c2s.bound", jid = %session.jid(), peer = %self.peer, "a client is there");
        let jid = session.jid().clone();
        self.session = Some(session);
        Ok(jid)
    }

    async fn on_stanza(&mut self, stanza: stonechat_stanza::Stanza, turn: &mut Turn) -> Going {
        let Some(session) = &mut self.session else { return Going::Ended };
        if let Some(bucket) = &mut self.stanzas {
            let wait = bucket.spend(1, Instant::now());
            if !wait.is_zero() {
                self.paused_until = self.paused_until.max(Instant::now().checked_add(wait));
            }
        }
        // P6: a panic costs this stream, nobody else's.
        let accepted = AssertUnwindSafe(session.accept(stanza, turn)).catch_unwind().await;
        if accepted.is_err() {
            error!(event = "c2s.panicked", peer = %self.peer, "handling a stanza panicked");
            self.machine.command(Instant::now(), Command::Close(Some(StreamCondition::InternalServerError.into())));
        }
        Going::On
    }

    fn facts(&self) -> SessionFacts {
        SessionFacts {
            connection: self.describe(),
            device: self.device.clone(),
            instead_of: self.instead_of.clone(),
            login: Some(self.login),
        }
    }

    /// XEP-0198 §3: from here on both directions are counted. Nothing that is counted overtakes the answer: the link is
    /// corked until that is on its way.
    async fn on_enable(&mut self, token: Token, resumption: Resumption) {
        self.link.cork();
        let command = match &mut self.session {
            Some(session) => Command::Enabled(token, enable(session, resumption).await),
            None => Command::EnableRefused(token, StanzaCondition::UnexpectedRequest),
        };
        self.machine.command(Instant::now(), command);
    }

    /// XEP-0386: a resource, and everything else that a session begins with, in one exchange.
    async fn on_bind2(&mut self, request: &Bind2Request) -> Result<Bound2, BindError> {
        let router = self.front.router.clone();
        let resource = router.resource_of(&request.account, request.tag.as_deref(), request.device.as_deref());
        let jid = self.bind(&request.account, Some(&resource)).await?;
        let archive = router.archive_bounds(&request.account).await;
        let mut enabled = None;
        if let Some(session) = &mut self.session {
            session.reads_history();
            if request.carbons == Carbons::On {
                session.enable_carbons();
            }
            if let Some(resumption) = request.enable {
                enabled = Some(enable(session, resumption).await);
            }
            if request.state == ClientState::Inactive {
                session.set_attention(Attention::Inactive, &mut Turn::new());
            }
        }
        Ok(Bound2 { jid, archive, enabled })
    }

    /// XEP-0198 §5: the session comes back, with what was not acknowledged behind the answer.
    async fn on_resume(&mut self, token: Token, request: ResumeRequest) {
        self.link.cork();
        let facts = self.facts();
        let outbox: Arc<dyn Outbox> = self.link.clone();
        let ResumeRequest { account, previd, h } = request;
        let command = match self.front.router.resume(&account, &previd, h, outbox, facts).await {
            Ok((session, h)) => {
                info!(event = "c2s.resumed", jid = %session.jid(), peer = %self.peer, "a client is back");
                let jid = session.jid().clone();
                self.session = Some(session);
                Command::Resumed(token, Resumed { jid, h })
            }
            Err(NotResumed::Unknown(h)) => {
                self.instead_of = Some(previd);
                Command::ResumeRefused(token, h)
            }
            Err(NotResumed::TooMuch { handled, sent }) => Command::AcknowledgedTooMuch { h: handled, sent },
        };
        self.machine.command(Instant::now(), command);
    }

    /// Tells the client what was handled once everything that it had sent before it asked is safe. What it sends meanwhile
    /// goes on being read.
    fn acknowledge(&mut self) {
        let (Some(owed), Some(session)) = (self.owed, &mut self.session) else { return };
        let handled = session.handled();
        // Counts go around at 2^32.
        if handled.wrapping_sub(owed) <= u32::MAX / 2 {
            self.owed = None;
            self.machine.command(Instant::now(), Command::Acknowledge(handled));
        }
    }

    async fn on_start_tls(&mut self, domain: &Domain) -> Going {
        if self.transmit() == Going::Ended {
            return Going::Ended;
        }
        let choice = match self.front.certificates.of(domain) {
            Some(certificate) => Choice::Fixed(certificate),
            None => Choice::ByServerName(&self.front.certificates),
        };
        match secure(&self.front, &self.link, &mut self.machine, choice).await {
            Ok(()) => Going::On,
            Err(source) => {
                debug!(event = "c2s.tls_failed", peer = %self.peer, %source, "a TLS handshake failed");
                Going::Ended
            }
        }
    }

    async fn look_up(&self, account: &BareJid) -> Lookup {
        match self.front.router.store().account(account).await {
            Ok(Some(account)) => match account.state {
                AccountState::Active => Lookup::Found(account.credentials),
                AccountState::Locked => Lookup::Locked(account.credentials),
            },
            Ok(None) => Lookup::Unknown,
            Err(source) => {
                error!(event = "c2s.lookup_failed", %source, "the store could not be asked for an account");
                Lookup::Unavailable
            }
        }
    }

    fn on_failed(&mut self, failed: &Failed, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.place.spend_authentication(now);
        // Abuse case 54: slower with each failure, for this connection alone, so that nobody can lock another out.
        self.paused_until = now.checked_add(Duration::from_millis(500).saturating_mul(self.failures));
        match failed.notice {
            Some(notice) => warn!(
                event = "c2s.login_suspicious", peer = %self.peer, account = ?failed.account, ?notice,
                "a log-in looks like an attack"
            ),
            None => info!(
                event = "c2s.login_failed", peer = %self.peer, account = ?failed.account,
                reason = failed.failure.condition(), "a log-in failed"
            ),
        }
    }

    fn describe(&self) -> String {
        let kind = match self.transport {
            ClientTransport::DirectTls => "direct",
            ClientTransport::StartTls | ClientTransport::StartTlsOptional => "STARTTLS",
        };
        match tls::version_name(&self.link) {
            "clear" => format!("{} in the clear", self.peer),
            version => format!("{} by {version} ({kind})", self.peer),
        }
    }
}
