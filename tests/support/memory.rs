//! A router in memory, with sessions whose outboxes the test reads.

use super::{ACCOUNTS, PASSWORD, Peer, ping};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_router::{
    ClientSession, Clock, Delivery, Ending, Hosts, NoRemote, Outbox, Parts, Pushed, Random, Registrar, Registry,
    Router, SessionFacts, Settings, Turn,
};
use stonechat_sasl::{Credentials, prepare_password};
use stonechat_stanza::{ContentNamespace, Stanza, StreamError};
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
struct Counting(AtomicU8);

impl Random for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub struct Server {
    pub router: Router,
    pub store: Arc<MemoryStore>,
}

impl Server {
    pub async fn start() -> Server {
        let mut registrar = Registrar::new();
        stonechat_ext::install_all(&mut registrar);
        let store = Arc::new(MemoryStore::new());
        let router = Router::new(Parts {
            hosts: Hosts::new([Domain::parse("localhost").unwrap()]).unwrap(),
            settings: Settings::default(),
            store: store.clone(),
            registry: Registry::build(registrar).unwrap(),
            remote: Arc::new(NoRemote),
            clock: Arc::new(TestClock(tokio::time::Instant::now())),
            random: Arc::new(Counting(AtomicU8::new(0))),
        });
        let password = prepare_password(PASSWORD).unwrap();
        for (number, name) in ACCOUNTS.iter().enumerate() {
            let jid = BareJid::parse_at(&format!("{name}@localhost"), Level::Creating).unwrap();
            let credentials = Credentials::derive(&password, [[number as u8; 16]; 3], 4096);
            router.create_account(jid, credentials).await.unwrap();
        }
        Server { router, store }
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

pub struct Client {
    session: ClientSession,
    inbox: Arc<Inbox>,
    kept: VecDeque<Element>,
    fences: u32,
}

impl Peer for Client {
    type Server = Server;

    async fn connect(server: &Server, name: &str, resource: &str) -> Client {
        let inbox = Arc::new(Inbox::default());
        let account = BareJid::parse(&format!("{name}@localhost")).unwrap();
        let session =
            server.router.bind(&account, Some(resource), inbox.clone(), SessionFacts::default()).await.expect("bound");
        Client { session, inbox, kept: VecDeque::new(), fences: 0 }
    }

    async fn send(&mut self, element: &Element) {
        let mut bytes = Vec::new();
        element.write(&mut bytes, "");
        let stanza = Stanza::parse(&bytes).expect("a stanza");
        let stanza = stanza.from_sender(self.session.jid().clone());
        let mut turn = Turn::new();
        self.session.accept(stanza, &mut turn).await;
    }

    async fn fence(&mut self) {
        self.fences += 1;
        let id = format!("fence-{}", self.fences);
        self.send(&ping(&id)).await;
        loop {
            let next = self.take().await.expect("the server answers a ping");
            if next.attribute("id") == Some(&id) {
                return;
            }
            self.kept.push_back(next);
        }
    }

    async fn receive(&mut self) -> Option<Element> {
        match self.kept.pop_front() {
            Some(element) => Some(element),
            None => self.take().await,
        }
    }

    fn already(&mut self) -> Option<Element> {
        self.kept.pop_front().or_else(|| self.inbox.received.lock().unwrap().pop_front())
    }

    async fn leave(self) {
        self.session.end(Ending::Closed, &mut Turn::new());
    }
}

impl Client {
    async fn take(&mut self) -> Option<Element> {
        let taken = async {
            loop {
                let arrived = self.inbox.arrived.notified();
                if let Some(element) = self.inbox.received.lock().unwrap().pop_front() {
                    return element;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), taken).await.ok()
    }
}
