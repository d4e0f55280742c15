//! What a message costs in the router: from the sender's session to the recipient's outbox, in memory.
//!
//! No socket, no TLS, no parser and no disk: the store answers from memory, and there is no archive.

#![allow(missing_docs, reason = "the macro makes a public function")]
#![allow(clippy::expect_used, reason = "a measurement that cannot be set up has nothing to go on with")]

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use std::future::{Future, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_router::{
    ClientSession, Clock, Delivery, Hosts, Outbox, Outward, Parts, Pushed, Random, Registrar, Registry, Remote, Router,
    SessionFacts, Settings, Turn,
};
use stonechat_sasl::{Credentials, prepare_password};
use stonechat_stanza::{ContentNamespace, Stanza, StreamError};
use stonechat_store::memory::MemoryStore;

const DOMAIN: &str = "stone.example";

struct Now;

impl Clock for Now {
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
    fn unix(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
}

impl Random for Now {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

impl Remote for Now {
    fn send(&self, _: &Router, _: Domain, _: Domain, _: Outward) {}
}

/// Serialises, as a connection does, and forgets.
#[derive(Default)]
struct Paper(Mutex<Vec<u8>>);

impl Outbox for Paper {
    fn push(&self, delivery: Delivery<'_>) -> Pushed {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = bytes.is_empty();
        delivery.stanza.write_addressed(delivery.from, delivery.to, ContentNamespace::Client, &mut bytes);
        if first { Pushed::First } else { Pushed::Queued }
    }
    fn flush(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
    fn written(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(ready(true))
    }
    fn close(&self, _: Option<StreamError>) {}
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

fn account(name: &str) -> BareJid {
    let domain = Domain::parse(DOMAIN).expect("a domain");
    BareJid::from_parts(name, &domain, Level::Creating).expect("an address")
}

fn router() -> Router {
    let mut settings = Settings::default();
    settings.archive.enabled = false;
    Router::new(Parts {
        hosts: Hosts::new([Domain::parse(DOMAIN).expect("a domain")]).expect("hosts"),
        settings,
        store: Arc::new(MemoryStore::new()),
        registry: Registry::build(Registrar::new()).expect("a registry"),
        remote: Arc::new(Now),
        clock: Arc::new(Now),
        random: Arc::new(Now),
        memory: Arc::default(),
    })
}

/// Present, with carbons.
async fn connect(router: &Router, name: &str, resource: &str) -> ClientSession {
    let outbox = Arc::new(Paper::default());
    let bound = router.bind(&account(name), Some(resource), outbox, SessionFacts::default()).await;
    let mut session = bound.expect("a session");
    session.enable_carbons();
    let presence = Stanza::parse(b"<presence xmlns='jabber:client'/>").expect("a stanza");
    session.accept(stamped(&presence, &session), &mut Turn::new()).await;
    session.settle().await;
    session
}

fn stamped(stanza: &Stanza, session: &ClientSession) -> Stanza {
    let mut stanza = stanza.clone();
    stanza.head_mut().from = Some(session.jid().as_jid().clone());
    stanza
}

fn chat(to: &str) -> Stanza {
    let body = "x".repeat(100);
    let xml = format!("<message xmlns='jabber:client' to='{to}' type='chat' id='t1'><body>{body}</body></message>");
    Stanza::parse(xml.as_bytes()).expect("a stanza")
}

fn hops(criterion: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    // Before the sessions, which need it for as long as they live.
    let _context = runtime.enter();
    let router = router();
    let (mut alice, bob) = runtime.block_on(async {
        let credentials = Credentials::derive(&prepare_password("secret").expect("a password"), [[7; 16]; 3], 1);
        for name in ["alice", "bob"] {
            router.create_account(account(name), credentials.clone()).await.expect("an account");
        }
        (connect(&router, "alice", "desk").await, connect(&router, "bob", "desk").await)
    });
    let mut measure = |criterion: &mut Criterion, name: &str, to: &str| {
        let message = stamped(&chat(to), &alice);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut turn = Turn::new();
                let accepted = alice.accept(black_box(&message).clone(), &mut turn).now_or_never();
                accepted.expect("nothing to wait for");
            });
        });
    };
    measure(criterion, "a message to one session", "bob@stone.example/desk");
    measure(criterion, "a message to a bare address", "bob@stone.example");
    let _others = runtime
        .block_on(async { (connect(&router, "alice", "phone").await, connect(&router, "bob", "phone").await, bob) });
    measure(criterion, "a message and two carbons", "bob@stone.example/desk");
}

criterion_group!(benches, hops);
criterion_main!(benches);
