//! What DNS may do to us, and how long a sender waits to hear of it.

use crate::world::{Answering, PATIENCE, Server, World, domain, eventually, id};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use stonechat_router::Record;
use stonechat_s2s::{
    HickoryResolver, PrivateAddresses, Resolve, ResolveError, Security, Settings, SrvRecord, Switch, Target,
};
use stonechat_stanza::{Stanza, StanzaCondition};
use stonechat_stream::{CertificatePolicy, S2sPolicy};
use tokio::net::UdpSocket;

fn record(target: &str, port: u16) -> SrvRecord {
    SrvRecord { priority: 1, weight: 1, port, target: target.to_owned() }
}

/// A server, and what its account hears of a message to `far.example`.
async fn told(world: &Arc<World>, settings: Settings) -> (Server, Stanza) {
    let server = Server::with(world, "a.example", settings).await;
    let here = server.log_in("x").await;
    server.send(server.message("far.example", 1), Record::Unkept);
    let error = here.message().await;
    assert_eq!(id(&error), "1");
    assert!(here.message_within(Duration::from_millis(20)).await.is_none(), "it is told once");
    (server, error)
}

fn condition(stanza: &Stanza) -> StanzaCondition {
    stanza.error().expect("an error").condition
}

fn explained(server: &Server) -> String {
    server.federation.explain(&domain("far.example")).expect("a record").join("\n")
}

#[tokio::test]
async fn abuse_132_two_hundred_records_are_not_two_hundred_attempts() {
    let world = World::new();
    let records: Vec<SrvRecord> = (0..200).map(|number| record(&format!("t{number}.far.example"), 5269)).collect();
    world.srv("_xmpp-server._tcp.far.example", records.clone());
    world.srv("_xmpps-server._tcp.far.example", records.clone());
    for (number, record) in records.iter().enumerate() {
        let addresses: Vec<String> = (0..200).map(|last| format!("198.51.{number}.{last}")).collect();
        world.name(&record.target, &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let (server, error) = told(&world, Settings::default()).await;
    assert_eq!(condition(&error), StanzaCondition::RemoteServerTimeout);
    assert!(world.dialled().len() <= 16, "{:?}", world.dialled());
    assert!(world.asked.lock().unwrap().len() <= 18, "{:?}", world.asked.lock().unwrap());
    assert!(explained(&server).contains("400 SRV records, of which 16 are tried"), "{}", explained(&server));
}

#[tokio::test]
async fn abuse_132_private_addresses_are_not_dialled_unless_allowed() {
    let world = World::new();
    let private = ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "fd00::1", "::ffff:192.168.0.1"];
    world.name("far.example", &private);
    let (server, error) = told(&world, Settings::default()).await;
    assert_eq!(condition(&error), StanzaCondition::RemoteServerNotFound);
    assert!(world.dialled().is_empty(), "{:?}", world.dialled());
    assert!(explained(&server).contains("169.254.169.254 is private and not tried"), "{}", explained(&server));
    // Those beside them are.
    world.name("far.example", &["10.0.0.1", "192.0.2.7"]);
    told(&world, Settings::default()).await;
    assert_eq!(world.dialled(), ["192.0.2.7:5269"]);
    world.dialled.lock().unwrap().clear();
    told(&world, Settings { private: PrivateAddresses::Allowed, ..Settings::default() }).await;
    assert_eq!(world.dialled().len(), 2);
    // A fixed address is the operator's word.
    world.dialled.lock().unwrap().clear();
    world.name("inside", &["10.0.0.9"]);
    let fixed = Target { host: "inside".into(), port: 25, security: Security::StartTls };
    told(&world, Settings { hosts: HashMap::from([(domain("far.example"), fixed)]), ..Settings::default() }).await;
    assert_eq!(world.dialled(), ["10.0.0.9:25"]);
}

#[tokio::test]
async fn abuse_132_a_record_does_not_lead_to_another_protocol() {
    let world = World::new();
    world.srv("_xmpp-server._tcp.far.example", vec![record("mail.example", 25)]);
    world.name("mail.example", &["192.0.2.25"]);
    let (server, error) = told(&world, Settings::default()).await;
    assert_eq!(condition(&error), StanzaCondition::RemoteServerNotFound);
    assert!(world.dialled().is_empty());
    assert!(explained(&server).contains("mail.example port 25: not a port of XMPP"), "{}", explained(&server));
    world.srv("_xmpps-server._tcp.far.example", vec![record("web.example", 443)]);
    world.name("web.example", &["192.0.2.43"]);
    told(&world, Settings::default()).await;
    assert_eq!(world.dialled(), ["192.0.2.43:443"]);
}

#[tokio::test]
async fn abuse_132_who_says_nothing_costs_a_sender_bounded_time() {
    let world = World::new();
    world.srv("_xmpp-server._tcp.far.example", (0..9).map(|n| record(&format!("t{n}.example"), 5269)).collect());
    for number in 0..9 {
        world.name(&format!("t{number}.example"), &[&format!("192.0.2.{number}")]);
        world.place(&format!("192.0.2.{number}:5269"), Answering::Nobody);
    }
    let patience = Duration::from_millis(100);
    let settings = Settings { patience, negotiate: Duration::from_millis(30), ..Settings::default() };
    let (_, error) = told(&world, settings).await;
    assert_eq!(condition(&error), StanzaCondition::RemoteServerTimeout);
    let tried = world.dialled().len();
    assert!((2..9).contains(&tried), "the time is up before the list is: {tried}");
}

#[tokio::test]
async fn xep0495_addresses_that_do_not_answer_are_not_waited_for() {
    let world = World::new();
    let far = Server::start(&world, "far.example").await;
    let there = far.log_in("there").await;
    let server = Server::start(&world, "a.example").await;
    world.srv("_xmpps-server._tcp.far.example", vec![record("six.far.example", 5270)]);
    world.srv("_xmpp-server._tcp.far.example", vec![SrvRecord { priority: 2, ..record("four.far.example", 5269) }]);
    world.name("six.far.example", &["2001:4860::6", "192.0.2.6"]);
    world.name("four.far.example", &["192.0.2.4"]);
    // Only the last of all addresses, of another record and another kind, answers; the others say nothing for ever. One
    // that is waited for takes as long as the test is patient.
    world.place("[2001:4860::6]:5270", Answering::Void);
    world.place("192.0.2.6:5270", Answering::Void);
    world.place("192.0.2.4:5269", Answering::Server(far.clone()));
    server.send(server.message("far.example", 1), Record::Unkept);
    assert_eq!(id(&there.message().await), "1");
    assert_eq!(world.dialled(), ["[2001:4860::6]:5270", "192.0.2.6:5270", "192.0.2.4:5269"]);
}

#[tokio::test]
async fn a_stream_of_ours_that_is_idle_is_closed_and_another_is_opened_when_it_is_wanted() {
    let world = World::new();
    let far = Server::start(&world, "far.example").await;
    let there = far.log_in("there").await;
    let settings = Settings { idle: Duration::from_millis(100), ..Settings::default() };
    let server = Server::with(&world, "a.example", settings).await;
    world.name("far.example", &["192.0.2.4"]);
    world.place("192.0.2.4:5269", Answering::Server(far.clone()));
    for number in 1..=2u32 {
        server.send(server.message("far.example", number), Record::Unkept);
        assert_eq!(id(&there.message().await), number.to_string());
        eventually("the link has nothing to do and is gone", || server.federation.links().is_empty()).await;
        eventually("the other end has heard of it", || far.federation.inbound().is_empty()).await;
        assert!(explained(&server).ends_with("the stream was closed: nothing to send"), "{}", explained(&server));
    }
    assert_eq!(world.dialled().len(), 2);
}

#[tokio::test]
async fn rfc6120_3_2_1_records_that_cannot_be_asked_for_are_not_none() {
    let world = World::new();
    world.name("far.example", &["192.0.2.7"]);
    world.broken.lock().unwrap().push("_xmpp-server._tcp.far.example".to_owned());
    let (_, error) = told(&world, Settings::default()).await;
    assert_eq!(condition(&error), StanzaCondition::RemoteServerTimeout);
    assert!(world.dialled().is_empty(), "the domain itself is no substitute");
    // The other kind is there, and is used.
    world.srv("_xmpps-server._tcp.far.example", vec![record("x.far.example", 5270)]);
    world.name("x.far.example", &["192.0.2.8"]);
    told(&world, Settings::default()).await;
    assert_eq!(world.dialled(), ["192.0.2.8:5270"]);
}

/// DNS whose names lead to one another for ever, over the wire.
async fn loops() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0u8; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let question = &buffer[12..length];
            let end = question.iter().position(|byte| *byte == 0).unwrap() + 5;
            let mut answer = buffer[..2].to_vec();
            // An authoritative answer without error: one question, one CNAME.
            answer.extend([0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            answer.extend(&question[..end]);
            let other: &[u8] = if question.get(1) == Some(&b'p') { b"\x04pong" } else { b"\x04ping" };
            let other = if question.windows(5).any(|w| w == b"\x04ping") { b"\x04pong".as_slice() } else { other };
            let target = [other, b"\x04loop\x04test\x00".as_slice()].concat();
            answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60]);
            answer.extend(u16::try_from(target.len()).unwrap().to_be_bytes());
            answer.extend(target);
            let _ = socket.send_to(&answer, peer).await;
        }
    });
    address
}

#[tokio::test]
async fn abuse_132_names_that_lead_in_a_circle_end() {
    let resolver = HickoryResolver::new(Some(loops().await)).unwrap();
    let asked = Instant::now();
    let (srv, addresses) = tokio::join!(resolver.srv("_xmpp-server._tcp.loop.test"), resolver.addresses("loop.test"));
    assert!(matches!(srv, Ok(None) | Err(ResolveError::Failed(_))), "{srv:?}");
    assert!(addresses.is_err() || addresses.as_ref().is_ok_and(Vec::is_empty), "{addresses:?}");
    assert!(asked.elapsed() < PATIENCE, "it ends by itself");
}

#[tokio::test]
async fn abuse_133_what_a_certificate_is_worth_is_told_at_both_ends() {
    let world = World::new();
    world.nobody_is_trusted.store(true, Ordering::SeqCst);
    world.name("far.example", &["192.0.2.7"]);
    let far = Server::start(&world, "far.example").await;
    world.place("192.0.2.7:5269", Answering::Server(far.clone()));
    let (server, error) = told(&world, Settings::default()).await;
    assert_eq!(condition(&error), StanzaCondition::RemoteServerNotFound);
    assert!(explained(&server).contains("certificate: not trusted: it has expired"), "{}", explained(&server));
    // Who does not mind finds that the other end does.
    let policy = S2sPolicy { certificate: CertificatePolicy::Preferred, ..S2sPolicy::default() };
    let (server, error) = told(&world, Settings { policy, ..Settings::default() }).await;
    assert_eq!(condition(&error), StanzaCondition::RemoteServerNotFound);
    assert!(explained(&server).contains("its certificate is not good for far.example"), "{}", explained(&server));
    let there = far.federation.explain(&domain("a.example")).expect("a record").join("\n");
    assert!(there.contains("incoming: certificate: not trusted: it has expired"), "{there}");
    assert!(there.contains("incoming: the stream ended: "), "{there}");
}

#[tokio::test]
async fn a_server_without_federation_says_so_at_once() {
    let world = World::new();
    world.name("far.example", &["192.0.2.7"]);
    let settings = Settings { switch: Switch::Off, ..Settings::default() };
    let server = Server::with(&world, "a.example", settings).await;
    let here = server.log_in("x").await;
    server.send(server.message("far.example", 1), Record::Unkept);
    let error = here.message().await;
    assert_eq!(condition(&error), StanzaCondition::RemoteServerNotFound);
    assert_eq!(error.error().unwrap().text.as_deref(), Some("this server does not talk to other servers"));
    let ping = server.federation.ping(&server.router, &domain("a.example"), &domain("far.example")).await;
    assert_eq!(ping.unwrap_err(), "far.example: this server does not talk to other servers");
    assert!(world.dialled().is_empty() && server.federation.links().is_empty());
}
