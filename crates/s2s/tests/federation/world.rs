//! Servers in memory that reach one another by a net and a DNS that the test makes up.

use async_trait::async_trait;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_router::{
    ClientSession, Delivery, Hosts, Outbox, Outward, Parts, Pushed, Random, Record, Registrar, Registry, Router,
    SessionFacts, Turn,
};
use stonechat_s2s::{
    Channel, Dialler, Federation, Judgement, Pace, Resolve, ResolveError, Settings, SrvRecord, TlsRole, Unpaced,
    serve_inbound,
};
use stonechat_sasl::{Credentials, prepare_password};
use stonechat_stanza::{ContentNamespace, Stanza, StreamError};
use stonechat_store::OutgoingId;
use stonechat_store::memory::MemoryStore;
use stonechat_stream::{DialbackSecret, HostStatus, PeerCertificate, S2sTransport, TlsFacts, Validity, s2s_in};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, mpsc, oneshot};

/// Nothing here takes that long; what does has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// Not random at all, so that a run is like the one before.
struct Counting(AtomicU8);

impl Random for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl stonechat_stream::Random for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        Random::fill(self, buffer);
    }
}

/// What answers at an address.
#[derive(Clone)]
pub(crate) enum Answering {
    /// A server.
    Server(Server),
    /// Somebody who takes the connection and says nothing.
    Nobody,
    /// Nobody: no connection comes about, and nothing says so.
    Void,
    /// The test itself.
    Test(mpsc::UnboundedSender<DuplexStream>),
}

/// DNS and the net.
#[derive(Default)]
pub(crate) struct World {
    srv: Mutex<HashMap<String, Vec<SrvRecord>>>,
    names: Mutex<HashMap<String, Vec<IpAddr>>>,
    places: Mutex<HashMap<SocketAddr, Answering>>,
    /// Names that cannot be asked for.
    pub(crate) broken: Mutex<Vec<String>>,
    /// Whether no certificate holds.
    pub(crate) nobody_is_trusted: AtomicBool,
    /// Whether nobody presents one.
    pub(crate) anonymous: AtomicBool,
    /// Every address that was dialled, in order.
    pub(crate) dialled: Mutex<Vec<SocketAddr>>,
    /// Every name that was asked for.
    pub(crate) asked: Mutex<Vec<String>>,
    /// Bytes that still cross towards those who were dialled before connections break. 0: they do not break.
    pub(crate) until_cut: AtomicUsize,
}

impl World {
    pub(crate) fn new() -> Arc<World> {
        Arc::new(World::default())
    }

    pub(crate) fn name(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.names.lock().unwrap().insert(name.to_owned(), addresses);
    }

    pub(crate) fn srv(&self, name: &str, records: Vec<SrvRecord>) {
        self.srv.lock().unwrap().insert(name.to_owned(), records);
    }

    pub(crate) fn place(&self, address: &str, answering: Answering) {
        self.places.lock().unwrap().insert(address.parse().unwrap(), answering);
    }

    pub(crate) fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

struct Dns(Arc<World>);

#[async_trait]
impl Resolve for Dns {
    async fn srv(&self, name: &str) -> Result<Option<Vec<SrvRecord>>, ResolveError> {
        self.0.asked.lock().unwrap().push(name.to_owned());
        if self.0.broken.lock().unwrap().iter().any(|broken| broken == name) {
            return Err(ResolveError::Failed("no answer".to_owned()));
        }
        Ok(self.0.srv.lock().unwrap().get(name).cloned())
    }
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        self.0.asked.lock().unwrap().push(name.to_owned());
        Ok(self.0.names.lock().unwrap().get(name).cloned().unwrap_or_default())
    }
}

struct Net(Arc<World>);

#[async_trait]
impl Dialler for Net {
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Channel>> {
        self.0.dialled.lock().unwrap().push(address);
        let answering = self.0.places.lock().unwrap().get(&address).cloned();
        let Some(answering) = answering else { return Err(io::ErrorKind::ConnectionRefused.into()) };
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        match answering {
            Answering::Server(server) => {
                let channel = Box::new(Wire::new(theirs, &self.0, End::Accepting));
                let config = Arc::clone(&server.incoming);
                tokio::spawn(serve_inbound(server.federation, server.router, config, channel));
            }
            Answering::Void => std::future::pending().await,
            Answering::Test(test) => test.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?,
            Answering::Nobody => {
                tokio::spawn(async move {
                    let (mut theirs, mut sink) = (theirs, Vec::new());
                    let _ = theirs.read_to_end(&mut sink).await;
                });
            }
        }
        Ok(Box::new(Wire::new(ours, &self.0, End::Dialling)))
    }
}

/// A connection whose TLS is a nod, and whose certificates all hold. What is written at once is a record: it is read as a
/// whole or, when the connection breaks in it, not at all.
struct Wire {
    stream: DuplexStream,
    security: Security,
    world: Arc<World>,
    /// Whoever dialled may be cut.
    end: End,
}

#[derive(PartialEq, Eq)]
enum End {
    Dialling,
    Accepting,
}

impl Wire {
    fn new(stream: DuplexStream, world: &Arc<World>, end: End) -> Wire {
        Wire { stream, security: Security::Clear, world: Arc::clone(world), end }
    }
}

#[async_trait]
impl Channel for Wire {
    async fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.stream.read_buf(buffer).await
    }
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes;
        let mut cut = false;
        if self.end == End::Dialling {
            let world = &self.world;
            let left = world.until_cut.load(Ordering::SeqCst);
            if left > 0 {
                cut = left <= bytes.len();
                world.until_cut.store(if cut { 0 } else { left - bytes.len() }, Ordering::SeqCst);
                if cut {
                    let whole = if self.security == Security::Tls { 0 } else { left };
                    bytes = bytes.get(..whole).unwrap_or(bytes);
                }
            }
        }
        self.stream.write_all(bytes).await?;
        if cut {
            self.stream.shutdown().await?;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
    async fn secure(&mut self, _role: TlsRole) -> io::Result<TlsFacts> {
        self.security = Security::Tls;
        let peer = match self.world.anonymous.load(Ordering::SeqCst) {
            true => PeerCertificate::Absent,
            false => PeerCertificate::Presented,
        };
        Ok(TlsFacts { peer, ..TlsFacts::default() })
    }
    fn judge(&self, domain: &Domain) -> Judgement {
        match self.world.nobody_is_trusted.load(Ordering::SeqCst) {
            true => Judgement { validity: Validity::Invalid, reason: "not trusted: it has expired".to_owned() },
            false => Judgement { validity: Validity::Valid, reason: format!("good for {domain}") },
        }
    }
    fn describe(&self) -> String {
        "a wire".to_owned()
    }
    async fn close(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}

#[derive(PartialEq, Eq)]
enum Security {
    Clear,
    Tls,
}

struct HostsOf(Router);

impl stonechat_stream::Hosts for HostsOf {
    fn status(&self, domain: &Domain) -> HostStatus {
        if self.0.serves(domain) { HostStatus::Served } else { HostStatus::Unknown }
    }
}

/// A server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) federation: Federation,
    pub(crate) incoming: Arc<s2s_in::Config>,
    local: Domain,
}

impl Server {
    pub(crate) async fn start(world: &Arc<World>, name: &str) -> Server {
        Server::with(world, name, Settings::default()).await
    }

    pub(crate) async fn with(world: &Arc<World>, name: &str, settings: Settings) -> Server {
        Server::paced(world, name, settings, Arc::new(Unpaced)).await
    }

    pub(crate) async fn paced(world: &Arc<World>, name: &str, settings: Settings, pace: Arc<dyn Pace>) -> Server {
        let secret = DialbackSecret::new(&[name.len() as u8; 32]);
        let policy = settings.policy;
        let federation = Federation::new(
            settings,
            Arc::new(Dns(Arc::clone(world))),
            Arc::new(Net(Arc::clone(world))),
            secret.clone(),
            Arc::new(Counting(AtomicU8::new(0))),
            pace,
        );
        let router = Router::new(Parts::new(
            Hosts::new([domain(name)]).unwrap(),
            stonechat_router::Settings::default(),
            Arc::new(MemoryStore::new()),
            Registry::build(Registrar::new()).unwrap(),
            Arc::new(federation.clone()),
            Arc::new(Counting(AtomicU8::new(0))),
        ));
        let jid = BareJid::parse_at(&format!("user@{name}"), Level::Creating).unwrap();
        let credentials = Credentials::derive(&prepare_password("secret").unwrap(), [[0; 16]; 3], 1);
        router.create_account(jid, credentials).await.unwrap();
        let incoming = Arc::new(s2s_in::Config {
            hosts: Arc::new(HostsOf(router.clone())),
            random: Arc::new(Counting(AtomicU8::new(0))),
            secret,
            transport: S2sTransport::StartTls,
            policy,
            limits: s2s_in::Limits::default(),
        });
        Server { router, federation, incoming, local: domain(name) }
    }

    /// As it is met by those who come to it this way.
    pub(crate) fn over(self, transport: S2sTransport) -> Server {
        let s2s_in::Config { hosts, random, secret, policy, limits, .. } = &*self.incoming;
        let (hosts, random, secret) = (Arc::clone(hosts), Arc::clone(random), secret.clone());
        let incoming = s2s_in::Config { hosts, random, secret, transport, policy: *policy, limits: *limits };
        Server { incoming: Arc::new(incoming), ..self }
    }

    /// A connection of the test's own to the server, whose TLS begins without a word where it begins at once.
    pub(crate) fn met_by(&self, world: &Arc<World>) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let channel = Box::new(Wire::new(theirs, world, End::Accepting));
        let (federation, router, config) = (self.federation.clone(), self.router.clone(), Arc::clone(&self.incoming));
        tokio::spawn(serve_inbound(federation, router, config, channel));
        ours
    }

    /// A message of the account here to the one there.
    pub(crate) fn message(&self, remote: &str, number: u32) -> Stanza {
        let xml = format!(
            "<message xmlns='jabber:client' type='chat' id='{number}' from='user@{}/x' to='user@{remote}'>\
             <body>{number}</body></message>",
            self.local
        );
        Stanza::parse(xml.as_bytes()).unwrap()
    }

    /// Gives a stanza to federation as the router does.
    pub(crate) fn send(&self, stanza: Stanza, record: Record) {
        use stonechat_router::Remote;
        let remote = stanza.to().unwrap().to_domain();
        self.federation.send(&self.router, self.local.clone(), remote, Outward { stanza, record });
    }

    /// A stanza that is being written to the store, and what tells that it is.
    pub(crate) fn send_pending(&self, stanza: Stanza) -> oneshot::Sender<OutgoingId> {
        let (commit, pending) = oneshot::channel();
        self.send(stanza, Record::Pending(pending));
        commit
    }

    /// Logs the account in, with presence.
    pub(crate) async fn log_in(&self, resource: &str) -> Client {
        let inbox = Arc::new(Inbox::default());
        let account = BareJid::parse(&format!("user@{}", self.local)).unwrap();
        let session =
            self.router.bind(&account, Some(resource), inbox.clone(), SessionFacts::default()).await.expect("bound");
        let mut client = Client { session, inbox };
        client.send("<presence xmlns='jabber:client'/>").await;
        client
    }
}

#[derive(Default)]
struct Inbox {
    received: Mutex<VecDeque<Stanza>>,
    arrived: Notify,
}

impl Outbox for Inbox {
    fn push(&self, delivery: Delivery<'_>) -> Pushed {
        let mut bytes = Vec::new();
        delivery.stanza.write_addressed(delivery.from, delivery.to, ContentNamespace::Client, &mut bytes);
        let with_namespace = String::from_utf8(bytes).unwrap().replacen(' ', " xmlns='jabber:client' ", 1);
        self.received.lock().unwrap().push_back(Stanza::parse(with_namespace.as_bytes()).unwrap());
        self.arrived.notify_one();
        Pushed::First
    }
    fn flush(&self) {}
    fn written(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(std::future::ready(true))
    }
    fn close(&self, _error: Option<StreamError>) {}
    fn cork(&self) {}
    fn cut(&self) {
        self.close(None);
    }
    fn queued_bytes(&self) -> usize {
        0
    }
    fn is_open(&self) -> bool {
        true
    }
    fn request_acknowledgement(&self) -> Pushed {
        Pushed::Queued
    }
}

pub(crate) struct Client {
    session: ClientSession,
    inbox: Arc<Inbox>,
}

impl Client {
    pub(crate) async fn send(&mut self, xml: &str) {
        let stanza = Stanza::parse(xml.as_bytes()).unwrap().from_sender(self.session.jid().clone());
        let mut turn = Turn::new();
        self.session.accept(stanza, &mut turn).await;
    }

    /// The next message that comes.
    pub(crate) async fn message(&self) -> Stanza {
        self.message_within(PATIENCE).await.expect("a message comes")
    }

    pub(crate) async fn message_within(&self, time: Duration) -> Option<Stanza> {
        let taken = async {
            loop {
                let arrived = self.inbox.arrived.notified();
                while let Some(stanza) = { self.inbox.received.lock().unwrap().pop_front() } {
                    if stanza.kind() == stonechat_stanza::Kind::Message {
                        return stanza;
                    }
                }
                arrived.await;
            }
        };
        tokio::time::timeout(time, taken).await.ok()
    }

    /// The ids of the next messages.
    pub(crate) async fn ids(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(id(&self.message().await));
        }
        ids
    }
}

pub(crate) fn id(stanza: &Stanza) -> String {
    stanza.id().map(|id| id.to_string()).unwrap_or_default()
}

pub(crate) fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let so = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, so).await.is_ok(), "{what}");
}
