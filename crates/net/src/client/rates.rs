//! What a driver does about rates and about memory: who passes a bound is not read until there is room, and loses nothing.
//! Time is given here: the driver's pauses are looked at, not waited for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::*;
use crate::accept::AddressLimits;
use crate::session::tests::{certified, client};
use futures_util::FutureExt;
use rustls::version::TLS13;
use std::collections::HashMap;
use std::io::{Read, Write};
use stonechat_jid::Level;
use stonechat_router::{
    Delivery, Hosts, NoRemote, Outbox, Parts, Pushed, Random, Registrar, Registry, SessionFacts, Settings,
};
use stonechat_sasl::{Credentials, Failure, prepare_password};
use stonechat_stanza::Stanza;
use stonechat_store::memory::MemoryStore;
use stonechat_stream::c2s::Failed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A unit, and then one a second: whoever has spent a minute's worth is not read for as long as any test runs.
const SCARCE: Rate = Rate { per_second: 1, burst: 1 };

struct Zero;

impl Random for Zero {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

fn front(limits: ClientLimits, addresses: Option<AddressLimits>) -> Arc<ClientFront> {
    let here = Domain::parse("a.example").unwrap();
    let router = Router::new(Parts::new(
        Hosts::new([here.clone()]).unwrap(),
        Settings::default(),
        Arc::new(MemoryStore::new()),
        Registry::build(Registrar::new()).unwrap(),
        Arc::new(NoRemote),
        Arc::new(Zero),
    ));
    let table = HashMap::from([(here.clone(), Arc::new(certified("a.example")))]);
    let certificates = Arc::new(Certificates::new(here, table).unwrap());
    ClientFront::new(router, certificates, Addresses::new(addresses), limits, DecoySecret([0; 32]), Limits::default())
}

/// The server's one account.
async fn inhabited(front: &ClientFront) -> BareJid {
    let jid = BareJid::parse_at("romeo@a.example", Level::Creating).unwrap();
    let credentials = Credentials::derive(&prepare_password("secret").unwrap(), [[0; 16]; 3], 1);
    front.router.create_account(jid.clone(), credentials).await.unwrap();
    jid
}

/// A driver, and the client's end of its connection.
async fn driven(front: &Arc<ClientFront>) -> (Option<Box<Driver>>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    (accept(Arc::clone(front), socket, peer, ClientTransport::StartTlsOptional).await, client)
}

/// The driver's client says this, and it is there to be read, while nothing else is to be done.
async fn said(driver: &mut Driver, client: &mut TcpStream, text: &str) {
    while driver.wait().now_or_never().is_some() {}
    client.write_all(text.as_bytes()).await.unwrap();
    driver.link.readable().await.unwrap();
}

/// Whether the driver reads what is there.
fn reads(driver: &mut Driver) -> bool {
    driver.wait().now_or_never().is_some()
}

#[tokio::test]
async fn bytes_over_the_rate_are_left_in_the_socket_until_they_are_paid_for() {
    let front = front(ClientLimits { bytes: Some(SCARCE), stanzas: None, ..ClientLimits::default() }, None);
    let (driver, mut client) = driven(&front).await;
    let mut driver = driver.unwrap();
    said(&mut driver, &mut client, "<?xml version='1.0'?>").await;
    assert!(reads(&mut driver), "the burst is free");
    said(&mut driver, &mut client, "<stream:stream to='a.example' version='1.0' xmlns='jabber:client' ").await;
    assert!(!reads(&mut driver), "what is over it is not read");
    client.write_all(b"xmlns:stream='http://etherx.jabber.org/streams'>").await.unwrap();
    assert!(!reads(&mut driver));
    // As if the time had passed.
    driver.paused_until = Some(Instant::now());
    assert!(reads(&mut driver), "then it is");
    assert_eq!(driver.settle().await, Going::On);
    let mut answer = [0; 4096];
    let count = client.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(answer.get(..count).unwrap());
    assert!(answer.contains("stream:stream"), "nothing of it was lost: {answer}");
}

#[tokio::test]
async fn who_sends_stanzas_over_the_rate_is_not_read_though_each_is_taken() {
    let front = front(ClientLimits { bytes: None, stanzas: Some(SCARCE), ..ClientLimits::default() }, None);
    let jid = inhabited(&front).await;
    let (driver, mut client) = driven(&front).await;
    let mut driver = driver.unwrap();
    let facts = SessionFacts::default();
    driver.session = Some(front.router.bind(&jid, Some("balcony"), driver.link.clone(), facts).await.unwrap());
    let presence = Stanza::parse(b"<presence xmlns='jabber:client' from='romeo@a.example/balcony'/>").unwrap();
    let mut turn = Turn::new();
    assert_eq!(driver.on_stanza(presence.clone(), &mut turn).await, Going::On);
    said(&mut driver, &mut client, "<").await;
    assert!(reads(&mut driver), "the burst is free");
    for _ in 0..60 {
        assert_eq!(driver.on_stanza(presence.clone(), &mut turn).await, Going::On, "what was read is taken");
    }
    said(&mut driver, &mut client, "?xml version='1.0'?>").await;
    assert!(!reads(&mut driver), "and no more is read");
    driver.paused_until = Some(Instant::now());
    assert!(reads(&mut driver), "until it is paid for");
}

fn failed() -> Event {
    Event::AuthenticationFailed(Failed { failure: Failure::NotAuthorized, account: None, notice: None })
}

#[tokio::test]
async fn abuse_54_each_failure_stops_reading_for_longer_than_the_one_before() {
    let front = front(ClientLimits::default(), None);
    let (driver, mut client) = driven(&front).await;
    let mut driver = driver.unwrap();
    said(&mut driver, &mut client, "<?xml version='1.0'?>").await;
    for failures in 1..=60 {
        let before = Instant::now();
        assert!(driver.note(failed(), &mut Turn::new()).is_none());
        assert!(driver.paused_until.unwrap() >= before + Duration::from_millis(500) * failures);
    }
    assert!(!reads(&mut driver), "nothing is read meanwhile");
    let (other, mut client) = driven(&front).await;
    let mut other = other.unwrap();
    said(&mut other, &mut client, "<").await;
    assert!(reads(&mut other), "another connection from there is not slowed down");
}

/// What a client hears that logs in as `romeo`, with the right password and by the one mechanism that costs the server the
/// slow hash.
async fn log_in(front: &Arc<ClientFront>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = tokio::task::spawn_blocking(move || {
        let socket = std::net::TcpStream::connect(address).unwrap();
        let mut stream = rustls::StreamOwned::new(client(&[&TLS13], b"xmpp-client", "a.example"), socket);
        let read_until = |stream: &mut dyn Read, wanted: &str| {
            let mut heard = String::new();
            while !heard.contains(wanted) {
                let mut bytes = [0; 4096];
                let count = stream.read(&mut bytes).unwrap();
                assert_ne!(count, 0, "the connection ended: {heard}");
                heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
            heard
        };
        let header = "<stream:stream to='a.example' version='1.0' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams'>";
        stream.write_all(header.as_bytes()).unwrap();
        read_until(&mut stream, "</stream:features>");
        let auth = format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{}</auth>",
            stonechat_sasl::encode(b"\0romeo\0secret")
        );
        stream.write_all(auth.as_bytes()).unwrap();
        read_until(&mut stream, "urn:ietf:params:xml:ns:xmpp-sasl")
    });
    let (socket, peer) = listener.accept().await.unwrap();
    let served = tokio::spawn(serve_client(Arc::clone(front), socket, peer, ClientTransport::DirectTls));
    let heard = heard.await.unwrap();
    served.abort();
    heard
}

#[tokio::test]
async fn abuse_146_no_password_is_looked_at_beyond_the_budget_of_the_address() {
    let bounds = AddressLimits { authentications: Rate { per_second: 0, burst: 2 }, ..AddressLimits::default() };
    let front = front(ClientLimits::default(), Some(bounds));
    inhabited(&front).await;
    assert!(log_in(&front).await.contains("<success"), "a check costs one");
    let (driver, _client) = driven(&front).await;
    assert!(driver.unwrap().note(failed(), &mut Turn::new()).is_none(), "a failure costs one");
    let refused = log_in(&front).await;
    assert!(refused.contains("<temporary-auth-failure"), "even the right password is not looked at: {refused}");
}

#[tokio::test]
async fn abuse_143_an_address_with_too_many_connections_is_turned_away_at_the_door() {
    let bounds = AddressLimits { connections: 1, ..AddressLimits::default() };
    let front = front(ClientLimits::default(), Some(bounds));
    let (first, _client) = driven(&front).await;
    assert!(first.is_some());
    let (second, mut client) = driven(&front).await;
    assert!(second.is_none());
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "without a word");
    drop(first);
    let (third, _client) = driven(&front).await;
    assert!(third.is_some(), "a place is given back");
}

#[tokio::test]
async fn abuse_149_strangers_are_sent_away_and_those_who_are_let_in_are_read_slowly_at_last() {
    let front = front(ClientLimits { bytes: None, stanzas: None, ..ClientLimits::default() }, None);
    let jid = inhabited(&front).await;
    let memory = Arc::clone(front.router.memory());
    memory.set_ceiling(Some(100 << 20));
    let (driver, mut client) = driven(&front).await;
    let mut driver = driver.unwrap();
    driver.session = Some(front.router.bind(&jid, None, driver.link.clone(), SessionFacts::default()).await.unwrap());
    for (used, goes_on) in [(92, true), (96, false)] {
        memory.measured(used << 20);
        said(&mut driver, &mut client, " ").await;
        assert!(reads(&mut driver));
        said(&mut driver, &mut client, " ").await;
        assert_eq!(reads(&mut driver), goes_on, "{used} %");
    }
    driver.paused_until = Some(Instant::now());
    assert!(reads(&mut driver), "a while later it is read again");
    memory.measured(92 << 20);
    let (stranger, mut client) = driven(&front).await;
    let mut stranger = stranger.unwrap();
    said(&mut stranger, &mut client, "<").await;
    assert!(reads(&mut stranger));
    assert_eq!(stranger.settle().await, Going::Ended);
    let mut answer = [0; 4096];
    let count = client.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(answer.get(..count).unwrap());
    assert!(answer.contains("<resource-constraint ") && answer.ends_with("</stream:stream>"), "{answer}");
}

#[tokio::test]
async fn p4_a_turn_that_has_much_to_say_is_no_fault_of_its_reader() {
    let limits = LinkLimits { outbox_bytes: 100_000 };
    let front = front(ClientLimits { link: limits, ..ClientLimits::default() }, None);
    let (driver, mut client) = driven(&front).await;
    let driver = driver.unwrap();
    let text = format!("<message xmlns='jabber:client'><body>{}</body></message>", "x".repeat(60_000));
    let stanza = Stanza::parse(text.as_bytes()).unwrap();
    // What the system takes by itself is more than the bound.
    for number in 0..4 {
        let pushed = driver.link.push(Delivery::of(&stanza));
        assert!(matches!(pushed, Pushed::First | Pushed::Queued), "{number}: {pushed:?}");
    }
    driver.link.flush();
    let mut heard = vec![0; 4 * 60_000];
    client.read_exact(&mut heard).await.unwrap();
    // Who takes nothing passes the bound all the same.
    let mut pushed = Pushed::Queued;
    for _ in 0..1_000 {
        pushed = driver.link.push(Delivery::of(&stanza));
        if pushed == Pushed::Overflow {
            break;
        }
    }
    assert_eq!(pushed, Pushed::Overflow);
}
