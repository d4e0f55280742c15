//! Domains whose certificates do not hold: each is proved by asking its own server (XEP-0220), or is not.

use crate::world::{Answering, Client, PATIENCE, Server, World, domain, id};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stonechat_router::Record;
use stonechat_s2s::{Access, Settings, SrvRecord};
use stonechat_stream::{CertificatePolicy, S2sPolicy, S2sTransport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const A: &str = "192.0.2.1:5269";
const B: &str = "192.0.2.2:5269";

/// Two servers that find one another and to which dialback is enough, where no certificate holds.
async fn untrusted() -> (Arc<World>, [Server; 2], [Client; 2]) {
    let world = World::new();
    world.nobody_is_trusted.store(true, Ordering::SeqCst);
    let policy = S2sPolicy { certificate: CertificatePolicy::Preferred, ..S2sPolicy::default() };
    let server = async |name: &str| Server::with(&world, name, Settings { policy, ..Settings::default() }).await;
    let (a, b) = (server("a.example").await, server("b.example").await);
    world.name("a.example", &["192.0.2.1"]);
    world.name("b.example", &["192.0.2.2"]);
    world.place(A, Answering::Server(a.clone()));
    world.place(B, Answering::Server(b.clone()));
    let clients = [a.log_in("x").await, b.log_in("x").await];
    (world, [a, b], clients)
}

fn explained(server: &Server, name: &str) -> String {
    server.federation.explain(&domain(name)).expect("something is known").join("\n")
}

#[tokio::test]
async fn xep0220_2_a_domain_is_proved_by_asking_its_own_server() {
    let (world, [a, b], [_, there]) = untrusted().await;
    a.send(a.message("b.example", 1), Record::Unkept);
    assert_eq!(id(&there.message().await), "1");
    assert_eq!(world.dialled(), [B, A], "the receiving server has asked");
    assert_eq!(b.federation.inbound().len(), 1, "that stream is closed again");
    assert_eq!(b.federation.inbound()[0].0, Some(domain("a.example")));
    for told in [
        "incoming: the stream of a.example was opened",
        "incoming: certificate: not trusted: it has expired",
        "incoming: a dialback key of a.example came for b.example",
        "incoming: dialback of a.example to b.example: valid",
        "incoming: proved to b.example (Dialback)",
    ] {
        assert!(explained(&b, "a.example").contains(told), "{told}: {}", explained(&b, "a.example"));
    }
    let asked = "incoming: b.example asked whether a key of a.example is genuine: valid";
    assert!(explained(&a, "b.example").contains(asked), "{}", explained(&a, "b.example"));
}

#[tokio::test]
async fn xep0220_2_who_cannot_be_asked_about_proves_nothing() {
    // Nobody stands where the domain's server should; then somebody who knows nothing of the key.
    for known in [false, true] {
        let (world, [a, b], [here, there]) = untrusted().await;
        let other = Server::start(&world, "c.example").await;
        world.name("a.example", &["192.0.2.9"]);
        if known {
            world.place("192.0.2.9:5269", Answering::Server(other));
        }
        a.send(a.message("b.example", 1), Record::Unkept);
        let error = here.message().await;
        assert_eq!(id(&error), "1");
        assert!(error.error().is_some(), "its sender hears of it");
        assert!(there.message_within(Duration::from_millis(50)).await.is_none(), "and nothing arrives");
        assert!(!explained(&b, "a.example").contains("proved"), "{}", explained(&b, "a.example"));
    }
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
     xmlns:stream='http://etherx.jabber.org/streams' from='good.example' to='here.example' version='1.0'>";

/// Says this, and reads until that stands in what came.
async fn exchange(peer: &mut DuplexStream, said: &str, wanted: &str) -> String {
    peer.write_all(said.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&heard).contains(wanted) {
            assert_ne!(peer.read_buf(&mut heard).await.unwrap(), 0, "{}", String::from_utf8_lossy(&heard));
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it is said in time");
    String::from_utf8(heard).unwrap()
}

#[tokio::test]
async fn abuse_137_a_denied_domain_proves_nothing_on_a_stream_of_others() {
    let world = World::new();
    world.nobody_is_trusted.store(true, Ordering::SeqCst);
    let policy = S2sPolicy { certificate: CertificatePolicy::Preferred, ..S2sPolicy::default() };
    let access = Access { deny: vec![domain("bad.example")], allow: Vec::new() };
    let settings = Settings { policy, access, ..Settings::default() };
    // Without a certificate, dialback is all there is.
    world.anonymous.store(true, Ordering::SeqCst);
    let here = Server::with(&world, "here.example", settings).await.over(S2sTransport::DirectTls);
    let good = Server::with(&world, "good.example", Settings { policy, ..Settings::default() }).await;
    world.name("good.example", &["192.0.2.2"]);
    world.place(B, Answering::Server(good));
    let mut peer = here.met_by(&world);
    exchange(&mut peer, HEADER, "</stream:features>").await;
    let key = |from: &str| format!("<db:result from='{from}' to='here.example'>key</db:result>");
    let refused = exchange(&mut peer, &key("bad.example"), "</db:result>").await;
    assert!(refused.contains("type='error'") && refused.contains("<policy-violation "), "{refused}");
    assert!(explained(&here, "bad.example").contains("incoming: refused by the configuration"));
    assert!(world.dialled().is_empty(), "nobody was asked: {:?}", world.dialled());
    let asked = exchange(&mut peer, &key("good.example"), "<db:result ").await;
    assert!(asked.contains("type='invalid'"), "the stream is for others still: {asked}");
}

#[tokio::test]
async fn p1_at_an_orderly_end_a_peer_is_told_what_is_safe_before_its_stream_is_closed() {
    let world = World::new();
    let here = Server::start(&world, "here.example").await.over(S2sTransport::DirectTls);
    let there = here.log_in("x").await;
    let mut peer = here.met_by(&world);
    exchange(&mut peer, HEADER, "</stream:features>").await;
    let external = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
    exchange(&mut peer, external, "<success ").await;
    exchange(&mut peer, HEADER, "</stream:features>").await;
    exchange(&mut peer, "<enable xmlns='urn:xmpp:sm:3'/>", "<enabled ").await;
    let message = "<message id='1' from='r@good.example' to='user@here.example/x'><body>x</body></message>";
    peer.write_all(message.as_bytes()).await.unwrap();
    assert_eq!(id(&there.message().await), "1");
    let (federation, router) = (here.federation.clone(), here.router.clone());
    let end = tokio::spawn(async move { federation.drain(&router, PATIENCE).await });
    let last = exchange(&mut peer, "", "</stream:stream>").await;
    assert!(last.starts_with("<a xmlns='urn:xmpp:sm:3' h='1'/><stream:error><system-shutdown "), "{last}");
    drop(peer);
    end.await.unwrap();
}

#[tokio::test]
async fn xep0368_a_server_is_reached_by_direct_tls() {
    let world = World::new();
    let a = Server::start(&world, "a.example").await;
    let b = Server::start(&world, "b.example").await.over(S2sTransport::DirectTls);
    let there = b.log_in("x").await;
    let record = SrvRecord { priority: 1, weight: 1, port: 5270, target: "x.b.example".into() };
    world.srv("_xmpps-server._tcp.b.example", vec![record]);
    world.name("x.b.example", &["192.0.2.2"]);
    world.place("192.0.2.2:5270", Answering::Server(b.clone()));
    a.send(a.message("b.example", 1), Record::Unkept);
    assert_eq!(id(&there.message().await), "1");
    assert_eq!(world.dialled(), ["192.0.2.2:5270"]);
    // It is one stream, and the next finds it open.
    a.send(a.message("b.example", 2), Record::Unkept);
    assert_eq!(id(&there.message().await), "2");
    assert_eq!(world.dialled().len(), 1);
}
