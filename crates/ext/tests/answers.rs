//! What each handler answers, by who asks: a real router on the embedded store, and sessions whose outboxes the test reads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_router::{
    ClientSession, Commits, Delivery, Hosts, NoRemote, Outbox, Parts, Pushed, Random, Registrar, RegistrationMode,
    Registry, Router, SessionFacts, Settings, Turn,
};
use stonechat_sasl::{Credentials, prepare_password};
use stonechat_stanza::{Stanza, StreamError};
use stonechat_store_sqlite::{Options, SqliteStore};
use stonechat_xml::Element;

const DEADLINE: Duration = Duration::from_secs(20);

/// Not random at all, so that a run is like the one before.
struct Counting(AtomicU8);

impl Random for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Server {
    router: Router,
    _directory: tempfile::TempDir,
}

impl Server {
    /// Serves `stone.example` with the accounts alice, bob and carol; bob sees alice's presence.
    async fn start(settings: Settings) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store.sqlite"), Options::default()).unwrap();
        let mut registrar = Registrar::new();
        stonechat_ext::install_all(&mut registrar);
        let router = Router::new(Parts::new(
            Hosts::new([domain()]).unwrap(),
            settings,
            Arc::new(store),
            Registry::build(registrar).unwrap(),
            Arc::new(NoRemote),
            Arc::new(Counting(AtomicU8::new(0))),
        ));
        let server = Server { router, _directory: directory };
        for name in ["alice", "bob", "carol"] {
            let password = prepare_password("old secret").unwrap();
            let credentials = Credentials::derive(&password, [[7; 16]; 3], 4096);
            let jid = BareJid::from_parts(name, &domain(), Level::Creating).unwrap();
            server.router.create_account(jid, credentials).await.unwrap();
        }
        let (mut alice, mut bob) = (server.connect("alice").await, server.connect("bob").await);
        bob.send("<presence xmlns='jabber:client' type='subscribe' to='alice@stone.example'/>").await;
        alice.send("<presence xmlns='jabber:client' type='subscribed' to='bob@stone.example'/>").await;
        alice.session.end(&mut Turn::new());
        bob.session.end(&mut Turn::new());
        server
    }

    async fn connect(&self, name: &str) -> Client {
        let inbox = Arc::new(Inbox::default());
        let account = BareJid::from_parts(name, &domain(), Level::Routing).unwrap();
        let session = self.router.bind(&account, Some("desk"), inbox.clone(), SessionFacts::default()).await.unwrap();
        Client { session, inbox, commits: Commits::new(), asked: 0 }
    }

    /// What a stream that has not logged in is answered.
    async fn register(&self, kind: &str, children: &str) -> Answer {
        let xml = format!(
            "<iq xmlns='jabber:client' type='{kind}' id='r'><query xmlns='jabber:iq:register'>{children}</query></iq>"
        );
        answer_of(&self.router.answer_registration(&domain(), &Stanza::parse(xml.as_bytes()).unwrap()).await.unwrap())
    }

    async fn has_password(&self, name: &str, password: &str) -> bool {
        let jid = BareJid::from_parts(name, &domain(), Level::Routing).unwrap();
        let account = self.router.store().account(&jid).await.unwrap().unwrap();
        account.credentials.verify(&prepare_password(password).unwrap())
    }
}

fn domain() -> Domain {
    Domain::parse("stone.example").unwrap()
}

#[derive(Default)]
struct Inbox {
    received: Mutex<Vec<Stanza>>,
    arrived: tokio::sync::Notify,
}

impl Outbox for Inbox {
    fn push(&self, delivery: Delivery<'_>) -> Pushed {
        self.received.lock().unwrap().push(delivery.stanza.clone());
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
}

/// The payload of the result as XML (nothing: an empty text), or the condition of the error.
type Answer = Result<String, &'static str>;

fn answer_of(stanza: &Stanza) -> Answer {
    match stanza.error() {
        Some(error) => Err(error.condition.name()),
        None => Ok(stanza.elements().first().map(Element::to_xml).unwrap_or_default()),
    }
}

struct Client {
    session: ClientSession,
    inbox: Arc<Inbox>,
    commits: Commits,
    asked: u32,
}

impl Client {
    async fn send(&mut self, xml: &str) {
        let stanza = Stanza::parse(xml.as_bytes()).unwrap().from_sender(self.session.jid().clone());
        self.session.accept(stanza, &mut Turn::new(), &mut self.commits).await;
        self.commits.settle().await;
    }

    async fn ask(&mut self, kind: &str, to: &str, payload: &str) -> Answer {
        self.asked += 1;
        let id = format!("q{}", self.asked);
        let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
        self.send(&format!("<iq xmlns='jabber:client' type='{kind}' id='{id}'{to}>{payload}</iq>")).await;
        let inbox = Arc::clone(&self.inbox);
        let answer = tokio::time::timeout(DEADLINE, async {
            loop {
                let found = inbox.received.lock().unwrap().iter().find(|s| s.id().is_some_and(|i| **i == *id)).cloned();
                match found {
                    Some(stanza) => return stanza,
                    None => inbox.arrived.notified().await,
                }
            }
        });
        answer_of(&answer.await.expect("every request is answered (RFC 6120 §8.2.3)"))
    }
}

const ALICE: &str = "alice@stone.example";
const DOMAIN: &str = "stone.example";
const NOBODY: &str = "nobody@stone.example";
const UNAVAILABLE: Answer = Err("service-unavailable");

/// Whether an answer is the expected one: the same error, or a result that contains the text.
#[track_caller]
fn held(rule: &str, answer: &Answer, expected: &Result<&str, &str>) {
    match (answer, expected) {
        (Ok(xml), Ok(part)) => assert!(xml.contains(part), "{rule}: {xml} has no {part}"),
        (Err(condition), Err(expected)) => assert_eq!(condition, expected, "{rule}"),
        _ => panic!("{rule}: {answer:?}, not {expected:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gets_to_an_account_by_owner_subscriber_and_stranger() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut bob, mut carol) =
        (server.connect("alice").await, server.connect("bob").await, server.connect("carol").await);
    alice.send("<presence xmlns='jabber:client'/>").await;
    let (gone, forbidden) = (Err("service-unavailable"), Err("forbidden"));
    let missing = Err("item-not-found");
    let registered = Ok("type='registered'");
    let table: [(&str, [Result<&str, &str>; 3]); 8] = [
        ("<query xmlns='http://jabber.org/protocol/disco#info'/>", [registered, registered, gone]),
        ("<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>", [missing, missing, gone]),
        ("<query xmlns='http://jabber.org/protocol/disco#items'/>", [Ok("disco#items"), Ok("disco#items"), gone]),
        ("<query xmlns='jabber:iq:last'/>", [Ok("seconds='0'"), Ok("seconds='0'"), forbidden]),
        ("<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>", [Ok("urn:a"), forbidden, forbidden]),
        ("<vCard xmlns='vcard-temp'/>", [Ok("vcard-temp"), gone, gone]),
        ("<query xmlns='jabber:iq:register'/>", [Ok("registered"), forbidden, forbidden]),
        ("<ping xmlns='urn:xmpp:ping'/>", [Ok(""), Ok(""), Ok("")]),
    ];
    for (payload, [owner, subscriber, stranger]) in table {
        held(payload, &alice.ask("get", ALICE, payload).await, &owner);
        held(payload, &bob.ask("get", ALICE, payload).await, &subscriber);
        held(payload, &carol.ask("get", ALICE, payload).await, &stranger);
        assert_eq!(carol.ask("get", NOBODY, payload).await, UNAVAILABLE, "{payload}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gets_to_the_domain() {
    let contacts = vec![("abuse-addresses".to_owned(), vec!["xmpp:admin@stone.example".to_owned()])];
    let server = Server::start(Settings { contacts, ..Settings::default() }).await;
    let mut carol = server.connect("carol").await;
    for (payload, expected) in [
        ("<query xmlns='http://jabber.org/protocol/disco#info'/>", Ok("msgoffline")),
        ("<query xmlns='http://jabber.org/protocol/disco#info'/>", Ok("xmpp:admin@stone.example")),
        ("<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>", Err("item-not-found")),
        ("<query xmlns='http://jabber.org/protocol/disco#items'/>", Ok("disco#items")),
        ("<query xmlns='http://jabber.org/protocol/disco#items' node='x'/>", Err("item-not-found")),
        ("<query xmlns='jabber:iq:last'/>", Ok("seconds=")),
        ("<query xmlns='jabber:iq:version'/>", Ok(env!("CARGO_PKG_VERSION"))),
        ("<time xmlns='urn:xmpp:time'/>", Ok("+00:00")),
        ("<ping xmlns='urn:xmpp:ping'/>", Ok("")),
        ("<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>", Err("service-unavailable")),
        ("<query xmlns='urn:nobody:answers'/>", Err("service-unavailable")),
    ] {
        held(payload, &carol.ask("get", DOMAIN, payload).await, &expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0115_6_2_the_announced_node_answers_what_it_hashes() {
    let server = Server::start(Settings::default()).await;
    let mut carol = server.connect("carol").await;
    let features = server.router.features_after_authentication(&domain());
    for name in ["ver", "sub", "c"] {
        assert!(features.iter().any(|feature| feature.name() == name), "{name}");
    }
    let caps = features.iter().find(|feature| feature.name() == "c").unwrap();
    let node = format!("{}#{}", caps.attribute("node").unwrap(), caps.attribute("ver").unwrap());
    let payload = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>");
    let answer = carol.ask("get", DOMAIN, &payload).await.unwrap();
    let info = Element::parse(answer.as_bytes(), "").unwrap();
    assert_eq!(info.attribute("node"), Some(node.as_str()));
    assert_eq!(Some(stonechat_ext::xep_0115::verification_string(&info).as_str()), caps.attribute("ver"));
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_their_owners_to_write_and_bounded() {
    let server = Server::start(Settings { max_documents: 2_000, ..Settings::default() }).await;
    let (mut alice, mut carol) = (server.connect("alice").await, server.connect("carol").await);
    let card = |text: &str| format!("<vCard xmlns='vcard-temp'><FN>{text}</FN></vCard>");
    let private = |inner: &str| format!("<query xmlns='jabber:iq:private'>{inner}</query>");
    let long = "x".repeat(3_000);
    assert_eq!(carol.ask("set", ALICE, &card("Mallory")).await, Err("forbidden"));
    assert_eq!(carol.ask("set", ALICE, &private("<a xmlns='urn:a'>m</a>")).await, Err("forbidden"));
    assert_eq!(carol.ask("set", NOBODY, &card("Mallory")).await, UNAVAILABLE);
    assert_eq!(alice.ask("set", "", &card("Alice")).await, Ok(String::new()));
    assert_eq!(alice.ask("set", "", &private("<a xmlns='urn:a'>kept</a>")).await, Ok(String::new()));
    assert_eq!(alice.ask("set", "", &card(&long)).await, Err("resource-constraint"));
    let too_much = private(&format!("<b xmlns='urn:b'>{long}</b>"));
    assert_eq!(alice.ask("set", "", &too_much).await, Err("resource-constraint"));
    // XEP-0049: one element, in a namespace of its own.
    assert_eq!(alice.ask("set", "", &private("")).await, Err("bad-request"));
    assert_eq!(alice.ask("set", "", &private("<a xmlns='urn:a'/><b xmlns='urn:b'/>")).await, Err("bad-request"));
    assert_eq!(alice.ask("set", "", &private("<a/>")).await, Err("not-acceptable"));
    held("kept", &alice.ask("get", "", &private("<a xmlns='urn:a'/>")).await, &Ok("kept"));
    alice.session.end(&mut Turn::new());
    held("away", &carol.ask("get", ALICE, "<vCard xmlns='vcard-temp'/>").await, &Ok("Alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0012_a_subscriber_is_told_since_when_and_the_kept_status() {
    let server = Server::start(Settings::default()).await;
    let (mut bob, mut carol) = (server.connect("bob").await, server.connect("carol").await);
    let context = server.router.context();
    let id = context.account_id(&BareJid::parse(ALICE).unwrap()).await.unwrap();
    let hour_ago = context.unix().as_secs() - 3_600;
    server.router.store().set_last_activity(id, hour_ago, "to the hills".to_owned()).await.unwrap();
    let payload = "<query xmlns='jabber:iq:last'/>";
    let told = bob.ask("get", ALICE, payload).await.unwrap();
    let query = Element::parse(told.as_bytes(), "").unwrap();
    assert_eq!(query.text(), "to the hills");
    let seconds: u64 = query.attribute("seconds").unwrap().parse().unwrap();
    assert!((3_600..7_200).contains(&seconds), "{seconds}");
    assert_eq!(carol.ask("get", ALICE, payload).await, Err("forbidden"));
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0077_registration_is_offered_only_where_it_is_open() {
    let fields = |name: &str, password: &str| format!("<username>{name}</username><password>{password}</password>");
    let closed = Server::start(Settings::default()).await;
    assert!(closed.router.features_before_authentication(&domain()).is_empty());
    assert_eq!(closed.register("get", "").await, UNAVAILABLE);
    assert_eq!(closed.register("set", &fields("dave", "a secret")).await, UNAVAILABLE);

    let open = Server::start(Settings { registration: RegistrationMode::Open, ..Settings::default() }).await;
    assert!(open.router.features_before_authentication(&domain()).iter().any(|f| f.name() == "register"));
    let form = open.register("get", "").await;
    held("form", &form, &Ok("<username/>"));
    held("form", &form, &Ok("<password/>"));
    assert_eq!(open.register("set", &fields("alice", "a secret")).await, Err("conflict"));
    for (name, password) in
        [("a b", "a secret"), ("a@b", "a secret"), ("", "a secret"), ("dave", ""), ("dave", "&#x7f;")]
    {
        assert_eq!(open.register("set", &fields(name, password)).await, Err("not-acceptable"), "{name:?} {password:?}");
    }
    assert_eq!(open.register("set", &fields("dave", "a secret")).await, Ok(String::new()));
    assert!(open.has_password("dave", "a secret").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0077_the_password_is_changed_and_the_account_removed_by_its_owner_alone() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut carol) = (server.connect("alice").await, server.connect("carol").await);
    let query = |inner: &str| format!("<query xmlns='jabber:iq:register'>{inner}</query>");
    let change = query("<username>alice</username><password>new secret</password>");
    held("registered", &alice.ask("get", DOMAIN, &query("")).await, &Ok("<username>alice</username>"));
    assert_eq!(carol.ask("set", DOMAIN, &change).await, Err("not-allowed"));
    assert_eq!(carol.ask("set", ALICE, &change).await, Err("forbidden"));
    assert_eq!(carol.ask("set", ALICE, &query("<remove/>")).await, Err("forbidden"));
    assert!(server.has_password("alice", "old secret").await);
    assert_eq!(alice.ask("set", DOMAIN, &change).await, Ok(String::new()));
    assert!(server.has_password("alice", "new secret").await);
    assert!(!server.has_password("alice", "old secret").await);

    assert_eq!(alice.ask("set", DOMAIN, &query("<remove/><username>alice</username>")).await, Err("bad-request"));
    assert_eq!(alice.ask("set", DOMAIN, &query("<remove/>")).await, Ok(String::new()));
    let jid = BareJid::parse(ALICE).unwrap();
    let removed = async {
        while server.router.store().account(&jid).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, removed).await.expect("the account is gone");
    assert_eq!(carol.ask("get", ALICE, "<ping xmlns='urn:xmpp:ping'/>").await, UNAVAILABLE);
}
