//! A router in memory, with sessions whose outboxes the test reads.

use super::server::Archive;
use super::tray::Tray;
use super::{ACCOUNTS, Comeback, Counting, Fall, Host, Looking, PASSWORD, Peer, Trace};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_router::{
    Attention, ClientSession, Clock, Delivery, Ending, Hosts, NoRemote, Outbox, Parts, Pushed, Random, Registrar,
    Registry, Resumable, Router, SessionFacts, Settings, Turn,
};
use stonechat_sasl::{Credentials, prepare_password};
use stonechat_stanza::{ContentNamespace, Stanza, StreamError};
use stonechat_store::SmId;
use stonechat_store::memory::MemoryStore;
use stonechat_xml::Element;

struct TestClock(tokio::time::Instant);

impl Clock for TestClock {
    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
    fn unix(&self) -> Duration {
        Duration::from_secs(1_800_000_000) + self.0.elapsed()
    }
}

/// Not random at all, so that a run is like the one before.
struct Sequence(AtomicU8);

impl Random for Sequence {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub struct Server {
    pub router: Router,
    pub store: Arc<MemoryStore>,
    settings: Settings,
    clock: Arc<TestClock>,
    random: Arc<Sequence>,
}

impl Server {
    pub async fn with(settings: Settings) -> Server {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(TestClock(tokio::time::Instant::now()));
        let random = Arc::new(Sequence(AtomicU8::new(0)));
        let router = Server::router(settings.clone(), store.clone(), clock.clone(), random.clone());
        let password = prepare_password(PASSWORD).unwrap();
        for (number, name) in ACCOUNTS.iter().enumerate() {
            let jid = BareJid::parse_at(&format!("{name}@localhost"), Level::Creating).unwrap();
            let credentials = Credentials::derive(&password, [[number as u8; 16]; 3], 4096);
            router.create_account(jid, credentials).await.unwrap();
        }
        Server { router, store, settings, clock, random }
    }

    fn router(settings: Settings, store: Arc<MemoryStore>, clock: Arc<TestClock>, random: Arc<Sequence>) -> Router {
        let mut registrar = Registrar::new();
        stonechat_ext::install_all(&mut registrar);
        Router::new(Parts {
            hosts: Hosts::new([Domain::parse("localhost").unwrap()]).unwrap(),
            settings,
            store,
            registry: Registry::build(registrar).unwrap(),
            remote: Arc::new(NoRemote),
            clock,
            random,
            memory: Arc::default(),
        })
    }
}

#[derive(Default)]
struct Inbox {
    received: Mutex<VecDeque<Element>>,
    arrived: tokio::sync::Notify,
}

impl Outbox for Inbox {
    fn push(&self, delivery: Delivery<'_>) -> Pushed {
        let mut bytes = Vec::new();
        delivery.stanza.write_addressed(delivery.from, delivery.to, ContentNamespace::Client, &mut bytes);
        let element = Element::parse(&bytes, "jabber:client").expect("what the server writes is well-formed");
        self.received.lock().unwrap().push_back(element);
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

impl Host for Server {
    async fn begin(archive: Archive) -> Server {
        let mut settings = Settings::default();
        settings.archive.enabled = archive == Archive::On;
        Server::with(settings).await
    }

    /// A new router on the same store: what was not written is gone, as with the process.
    async fn fall(&mut self, fall: Fall) {
        if fall == Fall::Stopped {
            self.router.save_sessions().await.expect("saved");
        }
        self.router =
            Server::router(self.settings.clone(), self.store.clone(), self.clock.clone(), self.random.clone());
        self.router.restore_sessions().await.expect("restored");
    }

    async fn finish(self) {}
}

pub struct Client {
    session: ClientSession,
    inbox: Arc<Inbox>,
    name: String,
    resource: String,
    id: Option<SmId>,
    tray: Tray,
}

impl Client {
    async fn bind(server: &Server, name: &str, resource: &str, counting: Counting, facts: SessionFacts) -> Client {
        let inbox = Arc::new(Inbox::default());
        let account = BareJid::parse(&format!("{name}@localhost")).unwrap();
        let mut session = server.router.bind(&account, Some(resource), inbox.clone(), facts).await.expect("bound");
        let id = match counting {
            Counting::Yes => Some(session.enable_counting(Resumable::Yes).await.expect("it may be resumed")),
            Counting::No => None,
        };
        let (name, resource) = (name.to_owned(), resource.to_owned());
        Client { session, inbox, name, resource, id, tray: Tray::default() }
    }
}

impl Peer for Client {
    type Server = Server;

    async fn connect(server: &Server, name: &str, resource: &str, counting: Counting) -> Client {
        Client::bind(server, name, resource, counting, SessionFacts::default()).await
    }

    async fn resume(server: &Server, trace: Trace) -> (Comeback, Client) {
        let inbox = Arc::new(Inbox::default());
        let account = BareJid::parse(&format!("{}@localhost", trace.name)).unwrap();
        let Trace { name, resource, session: id, tray } = trace;
        match server.router.resume(&account, &id, tray.handled(), inbox.clone(), SessionFacts::default()).await {
            Ok((session, _)) => {
                (Comeback::Resumed, Client { session, inbox, name, resource, id: SmId::parse(&id), tray })
            }
            Err(_) => {
                let facts = SessionFacts { instead_of: Some(id), ..SessionFacts::default() };
                (Comeback::Anew, Client::bind(server, &name, &resource, Counting::Yes, facts).await)
            }
        }
    }

    async fn send(&mut self, element: &Element) {
        let mut bytes = Vec::new();
        element.write(&mut bytes, "");
        let stanza = Stanza::parse(&bytes).expect("a stanza");
        let stanza = stanza.from_sender(self.session.jid().clone());
        let mut turn = Turn::new();
        self.session.accept(stanza, &mut turn).await;
    }

    fn tray(&mut self) -> &mut Tray {
        &mut self.tray
    }

    async fn pump(&mut self) -> Option<()> {
        let taken = async {
            loop {
                let arrived = self.inbox.arrived.notified();
                if let Some(element) = self.inbox.received.lock().unwrap().pop_front() {
                    return element;
                }
                arrived.await;
            }
        };
        let element = tokio::time::timeout(Duration::from_secs(10), taken).await.ok()?;
        self.tray.put(element);
        Some(())
    }

    async fn look(&mut self, looking: Looking) {
        let attention = match looking {
            Looking::Active => Attention::Active,
            Looking::Inactive => Attention::Inactive,
        };
        self.session.set_attention(attention, &mut Turn::new());
    }

    async fn acknowledge(&mut self) {
        self.session.acknowledged(self.tray.handled(), &mut Turn::new()).expect("not more than was sent");
    }

    async fn leave(self) {
        self.session.end(Ending::Closed, &mut Turn::new());
    }

    async fn lose(self) -> Trace {
        self.session.end(Ending::Lost, &mut Turn::new());
        let session = self.id.map(SmId::text).unwrap_or_default();
        Trace { name: self.name, resource: self.resource, session, tray: self.tray.lose() }
    }
}
