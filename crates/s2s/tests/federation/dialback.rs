//! Domains whose certificates do not hold: each is proved by asking its own server (XEP-0220), or is not.

use crate::world::{Answering, Client, Server, World, domain, id};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stonechat_router::Record;
use stonechat_s2s::{Settings, SrvRecord};
use stonechat_stream::{CertificatePolicy, S2sPolicy, S2sTransport};

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
