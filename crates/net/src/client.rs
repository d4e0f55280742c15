//! The driver of a client's stream: it moves bytes between the socket and the machine. What the machine has to say is
//! answered in [`events`].
//!
//! One task per connection. It owns the machine and the session; what the session is sent goes past it, straight to the
//! [`Link`].
//!
//! The task of an idle connection is no larger than what waiting needs (DESIGN.md, section 6): the driver has its own
//! place, and whatever waits for something else than the peer, a handshake or a stanza's way, is boxed for as long as it
//! lasts.

mod events;
#[cfg(test)]
mod rates;

use crate::accept::{Addresses, Place};
use crate::alarm::Alarm;
use crate::bucket::{Bucket, Rate};
use crate::certificates::Certificates;
use crate::link::{Closing, Link, LinkLimits, Received};
use crate::tls::{self, Choice, Facing};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain};
use stonechat_router::{Asked, ClientSession, Ending, Holding, LoginStart, Peer, Router, Turn, short_of_memory};
use stonechat_sasl::DecoySecret;
use stonechat_stanza::ContentNamespace;
use stonechat_stream::TlsFacts;
use stonechat_stream::c2s::{C2s, Command, Config, Event, Limits, Remembered, Transport};
use tokio::net::TcpStream;
use tracing::debug;

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
    fn revision(&self) -> Option<u64> {
        Some(self.0.revision())
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
                remembered: Remembered::default(),
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
pub fn serve_client(
    front: Arc<ClientFront>,
    socket: TcpStream,
    peer: SocketAddr,
    transport: ClientTransport,
) -> impl Future<Output = ()> + Send {
    let accepted = Box::pin(accept(front, socket, peer, transport));
    async move {
        if let Some(driver) = accepted.await {
            driver.run().await;
        }
    }
}

/// Gives a connection its driver, behind the TLS handshake when that comes first.
async fn accept(
    front: Arc<ClientFront>,
    socket: TcpStream,
    peer: SocketAddr,
    transport: ClientTransport,
) -> Option<Box<Driver>> {
    let place = match front.addresses.arrive(peer, Instant::now()) {
        Ok(place) => place,
        Err(refused) => {
            // No word is said: whoever floods would only be fed.
            debug!(event = "c2s.refused", %peer, reason = ?refused, "a connection was refused");
            return None;
        }
    };
    let link = Arc::new(Link::new(socket, ContentNamespace::Client, front.limits.link, front.router.memory()));
    let mut machine = C2s::new(Arc::clone(front.config(transport)), Instant::now());
    if transport == ClientTransport::DirectTls {
        let choice = Choice::ByServerName(&front.certificates);
        if let Err(source) = secure(&front, &link, &mut machine, choice).await {
            debug!(event = "c2s.tls_failed", %peer, %source, "a TLS handshake failed");
            return None;
        }
    }
    let now = Instant::now();
    Some(Box::new(Driver {
        bytes: front.limits.bytes.map(|rate| Bucket::full(rate, now)),
        stanzas: front.limits.stanzas.map(|rate| Bucket::full(rate, now)),
        login: front.router.login_start(),
        held: Holding::new(front.router.memory()),
        front,
        link,
        machine,
        place,
        peer,
        transport,
        session: None,
        alarm: Alarm::default(),
        failures: 0,
        paused_until: None,
        account: None,
        device: None,
        instead_of: None,
        owed: None,
        ending: Ending::Lost,
    }))
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
    machine: C2s,
    place: Place,
    peer: SocketAddr,
    transport: ClientTransport,
    session: Option<ClientSession>,
    /// Rings when the machine's time has come, or reading goes on.
    alarm: Alarm,
    bytes: Option<Bucket>,
    stanzas: Option<Bucket>,
    /// What the client has not sent whole yet.
    held: Holding,
    failures: u32,
    /// Reading stops until then: a rate was passed, a log-in failed, or memory is short.
    paused_until: Option<Instant>,
    account: Option<BareJid>,
    /// The id of the client's user agent, when it told one.
    device: Option<Box<str>>,
    /// The session that it wanted back in vain.
    instead_of: Option<Box<str>>,
    /// When the last log-in began.
    login: LoginStart,
    /// Stanzas that the client wants acknowledged (XEP-0198 §4).
    owed: Option<u32>,
    /// How the stream ends, if it ended now.
    ending: Ending,
}

fn poll_handles_more(session: &mut Option<ClientSession>, cx: &mut Context<'_>) -> Poll<()> {
    session.as_mut().map_or(Poll::Pending, |session| session.poll_handles_more(cx))
}

/// Whether the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    On,
    Ended,
}

/// How far an event has come.
enum Step<'a> {
    Done(Going),
    Waiting(Pin<Box<dyn Future<Output = Going> + Send + 'a>>),
}

impl Driver {
    async fn run(mut self: Box<Self>) {
        while self.settle().await == Going::On && self.wait().await == Going::On {}
        self.link.shut();
        match (self.session.take(), self.instead_of.take(), &self.account) {
            (Some(session), ..) => session.end(self.ending, &mut Turn::new()),
            // It bound nothing in the place of the session that is gone: what that one had not is anybody's.
            (None, Some(gone), Some(account)) => Box::pin(self.front.router.give_up(account, &gone)).await,
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
            while let Some(step) = self.step(&mut turn) {
                let going = match step {
                    Step::Done(going) => going,
                    Step::Waiting(answer) => answer.await,
                };
                if going == Going::Ended {
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

    /// Takes the machine's next event, when there is one.
    fn step<'a>(&'a mut self, turn: &'a mut Turn) -> Option<Step<'a>> {
        let event = self.machine.poll_event()?;
        Some(match self.note(event, turn) {
            None => Step::Done(self.transmit()),
            Some(Event::Stanza(stanza)) => Step::Waiting(Box::pin(self.on_stanza(stanza, turn))),
            Some(event) => Step::Waiting(Box::pin(self.on_event(event))),
        })
    }

    /// The machine's last words, which leave with the end of the session.
    fn take_leave(&mut self) {
        let mut out = crate::pool::take();
        self.machine.poll_transmit(&mut out);
        if !out.is_empty() {
            self.link.append(&out);
        }
        crate::pool::give(out);
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
        tokio::select! {
            biased;
            ready = poll_fn(|cx| self.link.poll_readable(cx)), if reading => match ready {
                Ok(()) => self.receive(),
                Err(_) => Going::Ended,
            },
            ready = poll_fn(|cx| self.link.poll_writable(cx)), if writing => {
                if ready.and_then(|()| self.link.write_out()).is_ok() { Going::On } else { Going::Ended }
            }
            () = self.link.woken() => Going::On,
            // What an acknowledgement waits for has been written.
            () = poll_fn(|cx| poll_handles_more(&mut self.session, cx)), if self.owed.is_some() => Going::On,
            () = poll_fn(|cx| self.alarm.poll_ring(deadline, cx)) => {
                self.machine.on_timeout(Instant::now());
                Going::On
            }
        }
    }

    /// What a shortage of memory asks of a connection that has just been read from (abuse case 149).
    fn give_way(&mut self, now: Instant) {
        self.held.holds(self.machine.held());
        let peer = if self.session.is_some() { Peer::Known } else { Peer::Stranger };
        match self.held.asked_of(peer) {
            Asked::Nothing => {}
            Asked::Pause(pause) => self.paused_until = self.paused_until.max(now.checked_add(pause)),
            Asked::End => self.machine.command(now, Command::Close(Some(short_of_memory()))),
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
                self.give_way(now);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_outcome<A, B, C, D, F>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_a_silent_connection_holds_is_small() {
        // Task and driver; a path that is not boxed where it should be shows here first.
        assert!(size_of_outcome(serve_client) <= 384, "{} bytes", size_of_outcome(serve_client));
        assert!(size_of::<Driver>() <= 1024, "{} bytes", size_of::<Driver>());
    }
}
