//! A router with every extension on a store in memory and under a clock of the test's own, and clients whose outboxes the
//! test reads.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_router::{
    ClientSession, Clock, Commits, Delivery, Ending, Hosts, NoRemote, Outbox, Outward, Parts, Pushed, Random,
    Registrar, Registry, Remote, Router, SessionFacts, Settings, Turn,
};
use stonechat_sasl::{Credentials, prepare_password};
use stonechat_stanza::{Stanza, StreamError};
use stonechat_store::memory::MemoryStore;
use stonechat_store::{AccountId, Accounts};
use stonechat_xml::Element;
use tokio::sync::Notify;

pub(crate) const ALICE: &str = "alice@stone.example";
pub(crate) const CAROL: &str = "carol@stone.example";
pub(crate) const DOMAIN: &str = "stone.example";
/// Of the length of a name that exists, so that only its absence can make a difference.
pub(crate) const NOBODY: &str = "nobod@stone.example";
pub(crate) const PASSWORD: &str = "old secret";

const DEADLINE: Duration = Duration::from_secs(20);

/// The payload of the result as XML (nothing: an empty text), or the condition of the error.
pub(crate) type Answer = Result<String, &'static str>;
pub(crate) const UNAVAILABLE: Answer = Err("service-unavailable");
pub(crate) const DONE: Answer = Ok(String::new());

/// Not random at all, so that a run is like the one before.
struct Counting(AtomicU8);

impl Random for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Stands still until the test moves it.
pub(crate) struct Hands {
    start: Instant,
    seconds: AtomicU64,
}

impl Hands {
    pub(crate) fn forward(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn monotonic(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }
    fn unix(&self) -> Duration {
        Duration::from_secs(1_700_000_000 + self.seconds.load(Ordering::SeqCst))
    }
}

/// What left for a client or another domain, and when the stream was ended.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Stanza(Stanza),
    Closed(Option<&'static str>),
}

#[derive(Default)]
pub(crate) struct Inbox {
    events: Mutex<Vec<Event>>,
    arrived: Notify,
    /// How often the server asked what was handled.
    pub(crate) requests: AtomicUsize,
    /// Whether the connection takes nothing any more, and does not end either.
    pub(crate) is_stuck: AtomicBool,
}

impl Inbox {
    fn add(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.arrived.notify_waiters();
    }
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }
    pub(crate) fn stanzas(&self) -> Vec<Stanza> {
        let stanza = |event| if let Event::Stanza(stanza) = event { Some(stanza) } else { None };
        self.events().into_iter().filter_map(stanza).collect()
    }
    /// The first stanza that will do, as soon as it is there.
    pub(crate) async fn wait(&self, what: &str, wanted: impl Fn(&Stanza) -> bool) -> Stanza {
        let found = async {
            loop {
                let arrived = self.arrived.notified();
                tokio::pin!(arrived);
                arrived.as_mut().enable();
                if let Some(stanza) = self.stanzas().into_iter().find(|stanza| wanted(stanza)) {
                    return stanza;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("{what}: it never came"))
    }
    async fn answer(&self, id: &str) -> Stanza {
        self.wait("RFC 6120 §8.2.3: every request is answered", |stanza| stanza.id().is_some_and(|i| **i == *id)).await
    }
}

impl Outbox for Inbox {
    fn push(&self, delivery: Delivery<'_>) -> Pushed {
        let mut stanza = delivery.stanza.clone();
        stanza.head_mut().from = delivery.from.cloned();
        stanza.head_mut().to = delivery.to.cloned();
        self.add(Event::Stanza(stanza));
        Pushed::First
    }
    fn flush(&self) {}
    fn written(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        if self.is_stuck.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(true))
    }
    fn close(&self, error: Option<StreamError>) {
        self.add(Event::Closed(error.map(|error| error.condition.name())));
    }
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
        self.requests.fetch_add(1, Ordering::SeqCst);
        Pushed::Queued
    }
}

/// Another server, to which everything gets through.
struct Elsewhere(Arc<Inbox>);

impl Remote for Elsewhere {
    fn send(&self, _router: &Router, _local: Domain, _remote: Domain, outward: Outward) {
        let stanza = outward.stanza;
        self.0.add(Event::Stanza(stanza));
    }
}

pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<Hands>,
    elsewhere: Arc<Inbox>,
}

pub(crate) fn domain() -> Domain {
    Domain::parse(DOMAIN).unwrap()
}

pub(crate) fn account(name: &str) -> BareJid {
    BareJid::from_parts(name, &domain(), Level::Creating).unwrap()
}

impl Server {
    /// Serves `stone.example` with the accounts alice, bob and carol; bob sees alice's presence.
    pub(crate) async fn start(settings: Settings) -> Server {
        let clock = Arc::new(Hands { start: Instant::now(), seconds: AtomicU64::new(0) });
        let server = Server::on(settings, Arc::new(MemoryStore::new()), clock);
        server.fill().await;
        server
    }

    /// The same, and it does not federate.
    pub(crate) async fn start_alone() -> Server {
        let clock = Arc::new(Hands { start: Instant::now(), seconds: AtomicU64::new(0) });
        let store = Arc::new(MemoryStore::new());
        let elsewhere = Arc::new(Inbox::default());
        let server = Server::with(Settings::default(), store, clock, elsewhere, Arc::new(NoRemote));
        server.fill().await;
        server
    }

    fn on(settings: Settings, store: Arc<MemoryStore>, clock: Arc<Hands>) -> Server {
        let elsewhere = Arc::new(Inbox::default());
        let remote = Arc::new(Elsewhere(elsewhere.clone()));
        Server::with(settings, store, clock, elsewhere, remote)
    }

    fn with(
        settings: Settings,
        store: Arc<MemoryStore>,
        clock: Arc<Hands>,
        elsewhere: Arc<Inbox>,
        remote: Arc<dyn Remote>,
    ) -> Server {
        let mut registrar = Registrar::new();
        stonechat_ext::install_all(&mut registrar);
        let router = Router::new(Parts {
            hosts: Hosts::new([domain()]).unwrap(),
            settings,
            store: store.clone(),
            registry: Registry::build(registrar).unwrap(),
            remote,
            clock: clock.clone(),
            random: Arc::new(Counting(AtomicU8::new(0))),
            memory: Arc::default(),
        });
        Server { router, store, clock, elsewhere }
    }

    async fn fill(&self) {
        let server = self;
        for name in ["alice", "bob", "carol"] {
            // One round: nobody attacks these.
            let credentials = Credentials::derive(&prepare_password(PASSWORD).unwrap(), [[7; 16]; 3], 1);
            server.router.create_account(account(name), credentials).await.unwrap();
        }
        let (mut alice, mut bob) = (server.connect("alice").await, server.connect("bob").await);
        bob.send("<presence xmlns='jabber:client' type='subscribe' to='alice@stone.example'/>").await;
        alice.send("<presence xmlns='jabber:client' type='subscribed' to='bob@stone.example'/>").await;
        alice.session.end(Ending::Closed, &mut Turn::new());
        bob.session.end(Ending::Closed, &mut Turn::new());
    }

    pub(crate) async fn connect(&self, name: &str) -> Client {
        self.connect_as(name, "desk").await
    }

    pub(crate) async fn connect_as(&self, name: &str, resource: &str) -> Client {
        self.connect_with(name, resource, SessionFacts::default()).await
    }

    pub(crate) async fn connect_with(&self, name: &str, resource: &str, facts: SessionFacts) -> Client {
        let inbox = Arc::new(Inbox::default());
        let session = self.router.bind(&account(name), Some(resource), inbox.clone(), facts).await.unwrap();
        Client { session, inbox, asked: 0 }
    }

    /// What left for other servers.
    pub(crate) fn elsewhere(&self) -> &Arc<Inbox> {
        &self.elsewhere
    }

    /// Another server answers an IQ with an error.
    pub(crate) async fn answer_from_elsewhere(&self, request: &Stanza, error: &str) {
        let (from, to) = (request.to().unwrap(), request.from().unwrap());
        let xml = format!(
            "<iq xmlns='jabber:client' from='{from}' to='{to}' type='error' id='{}'>{error}</iq>",
            &**request.id().unwrap()
        );
        let stanza = Stanza::parse(xml.as_bytes()).unwrap();
        self.router.accept_remote(stanza, &mut Turn::new(), &mut Commits::new()).await;
    }

    pub(crate) async fn wait_for_no_registrations(&self, name: &str) {
        use stonechat_store::PushRegistrations;
        let id = self.account_id(name).await.unwrap();
        while !self.store.push_registrations(id).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// The same data under another router: what a process finds that is started after one that ended in order.
    pub(crate) fn restarted(self) -> Server {
        let Server { store, clock, router, .. } = self;
        drop(router);
        Server::on(Settings::default(), store, clock)
    }

    /// The same data under another router, while the old one is gone without a word.
    pub(crate) fn killed(self) -> Server {
        let Server { store, clock, router, .. } = self;
        let settings = Settings::clone(&router.settings());
        Server::on(settings, store, clock)
    }

    pub(crate) async fn account_id(&self, name: &str) -> Option<AccountId> {
        self.store.account(&account(name)).await.unwrap().map(|account| account.id)
    }

    /// What a stream that has not logged in is answered.
    pub(crate) async fn register(&self, kind: &str, children: &str) -> Stanza {
        let xml = format!(
            "<iq xmlns='jabber:client' type='{kind}' id='r'><query xmlns='jabber:iq:register'>{children}</query></iq>"
        );
        self.router.answer_registration(&domain(), &Stanza::parse(xml.as_bytes()).unwrap()).await.unwrap()
    }

    /// What somebody at another server is answered.
    pub(crate) async fn ask_from_elsewhere(&self, kind: &str, to: &str, payload: &str) -> Stanza {
        let id = format!("e{}", self.elsewhere.events().len());
        let xml = format!(
            "<iq xmlns='jabber:client' from='dave@elsewhere.example/desk' to='{to}' type='{kind}' id='{id}'>{payload}</iq>"
        );
        let stanza = Stanza::parse(xml.as_bytes()).unwrap();
        self.router.accept_remote(stanza, &mut Turn::new(), &mut Commits::new()).await;
        self.elsewhere.answer(&id).await
    }

    pub(crate) async fn has_password(&self, name: &str, password: &str) -> bool {
        let account = self.store.account(&account(name)).await.unwrap().unwrap();
        account.credentials.verify(&prepare_password(password).unwrap())
    }
}

pub(crate) fn answer_of(stanza: &Stanza) -> Answer {
    match stanza.error() {
        Some(error) => Err(error.condition.name()),
        None => Ok(stanza.elements().first().map(Element::to_xml).unwrap_or_default()),
    }
}

pub(crate) fn written(stanza: &Stanza) -> String {
    String::from_utf8(stanza.to_xml()).unwrap()
}

pub(crate) struct Client {
    pub(crate) session: ClientSession,
    pub(crate) inbox: Arc<Inbox>,
    asked: u32,
}

impl Client {
    pub(crate) fn resumed(session: ClientSession, inbox: Arc<Inbox>) -> Client {
        Client { session, inbox, asked: 0 }
    }

    pub(crate) async fn send(&mut self, xml: &str) {
        let stanza = Stanza::parse(xml.as_bytes()).unwrap().from_sender(self.session.jid().clone());
        self.session.accept(stanza, &mut Turn::new()).await;
        self.session.settle().await;
    }

    pub(crate) async fn ask_whole(&mut self, kind: &str, to: &str, payload: &str) -> Stanza {
        self.asked += 1;
        let id = format!("q{}", self.asked);
        let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
        self.send(&format!("<iq xmlns='jabber:client' type='{kind}' id='{id}'{to}>{payload}</iq>")).await;
        self.inbox.answer(&id).await
    }

    pub(crate) async fn ask(&mut self, kind: &str, to: &str, payload: &str) -> Answer {
        answer_of(&self.ask_whole(kind, to, payload).await)
    }
}

/// Whether an answer is the expected one: the same error, or a result that contains the text.
#[track_caller]
pub(crate) fn held(rule: &str, answer: &Answer, expected: &Result<&str, &str>) {
    match (answer, expected) {
        (Ok(xml), Ok(part)) => assert!(xml.contains(part), "{rule}: {xml} has no {part}"),
        (Err(condition), Err(expected)) => assert_eq!(condition, expected, "{rule}"),
        _ => panic!("{rule}: {answer:?}, not {expected:?}"),
    }
}
