//! Abuse case 137: domains that the operator refuses.

use crate::world::{Answering, Client, Server, World, domain, eventually, id};
use std::sync::Arc;
use std::time::Duration;
use stonechat_router::Record;
use stonechat_s2s::{Access, Settings};
use stonechat_stanza::{Stanza, StanzaCondition};
use stonechat_store::OutgoingId;
use stonechat_stream::{CertificatePolicy, S2sPolicy};

fn deny(name: &str) -> Access {
    Access { deny: vec![domain(name)], allow: Vec::new() }
}

fn condition(stanza: &Stanza) -> StanzaCondition {
    stanza.error().expect("an error").condition
}

fn explained(server: &Server, name: &str) -> String {
    server.federation.explain(&domain(name)).expect("something is known").join("\n")
}

/// Three servers that can reach one another; two of them know certificates.
async fn three(access: Access) -> (Arc<World>, [Server; 3], [Client; 3]) {
    let world = World::new();
    let policy = S2sPolicy { certificate: CertificatePolicy::Preferred, ..S2sPolicy::default() };
    let with =
        async |name: &str, access| Server::with(&world, name, Settings { access, policy, ..Settings::default() }).await;
    let here = with("here.example", access).await;
    let bad = with("bad.example", Access::default()).await;
    let good = with("good.example", Access::default()).await;
    let servers = [here, bad, good];
    let names = ["here.example", "bad.example", "good.example"];
    let mut clients = Vec::new();
    for (number, (server, name)) in servers.iter().zip(names).enumerate() {
        let address = format!("192.0.2.{}", number + 1);
        world.name(name, &[&address]);
        world.place(&format!("{address}:5269"), Answering::Server(server.clone()));
        clients.push(server.log_in("x").await);
    }
    let clients = clients.try_into().unwrap_or_else(|_| panic!("three"));
    (world, servers, clients)
}

#[tokio::test]
async fn abuse_137_a_denied_domain_is_not_dialled_and_the_sender_is_told_why() {
    let (world, [here, ..], [client, ..]) = three(deny("bad.example")).await;
    for (number, to) in ["bad.example", "rooms.bad.example"].into_iter().enumerate() {
        here.send(here.message(to, number as u32), Record::Unkept);
        let error = client.message().await;
        assert_eq!((id(&error), condition(&error)), (number.to_string(), StanzaCondition::NotAllowed));
        assert!(explained(&here, to).contains("[s2s] deny"), "{}", explained(&here, to));
    }
    let ping = here.federation.ping(&here.router, &domain("here.example"), &domain("bad.example")).await;
    assert!(ping.unwrap_err().contains("[s2s] deny"));
    assert!(world.dialled().is_empty() && here.federation.links().is_empty());
    assert_eq!(here.federation.explain(&domain("good.example")), None);
}

#[tokio::test]
async fn abuse_137_a_denied_domain_is_not_let_in_and_others_are() {
    for certificates in [true, false] {
        let (world, [here, bad, good], [client, rejected, _]) = three(deny("bad.example")).await;
        // Without, dialback would have to prove it.
        world.nobody_is_trusted.store(!certificates, std::sync::atomic::Ordering::SeqCst);
        bad.send(bad.message("here.example", 1), Record::Unkept);
        let error = rejected.message().await;
        assert_eq!(id(&error), "1");
        assert!(error.error().is_some(), "its sender hears of it");
        assert!(explained(&here, "bad.example").contains("incoming: refused by the configuration"));
        assert!(
            explained(&bad, "here.example").contains("does not speak with bad.example"),
            "{}",
            explained(&bad, "here.example")
        );
        assert!(here.federation.inbound().iter().all(|(peer, _)| peer.is_none()), "it has proved nothing");
        good.send(good.message("here.example", 2), Record::Unkept);
        assert_eq!(client.message().await.from().unwrap().domain(), "good.example");
    }
}

#[tokio::test]
async fn abuse_137_a_list_is_in_force_on_live_streams_at_once_and_until_it_is_lifted() {
    let (world, [here, bad, good], [client, theirs, others]) = three(Access::default()).await;
    for (from, to, listener) in
        [(&here, "bad.example", &theirs), (&bad, "here.example", &client), (&here, "good.example", &others)]
    {
        from.send(from.message(to, 1), Record::Unkept);
        assert_eq!(id(&listener.message().await), "1");
    }
    good.send(good.message("here.example", 2), Record::Unkept);
    assert_eq!(id(&client.message().await), "2");
    assert_eq!((here.federation.links().len(), here.federation.inbound().len()), (2, 2));

    here.federation.set_access(&here.router, deny("bad.example"));
    let theirs_of = |server: &Server| {
        let inbound = server.federation.inbound();
        inbound.iter().filter(|(peer, _)| peer.as_ref() == Some(&domain("bad.example"))).count()
    };
    eventually("the stream that it opened has ended", || theirs_of(&here) == 0).await;
    eventually("the stream that we opened has ended", || {
        here.federation.links().iter().all(|link| link.remote != domain("bad.example") || link.connection.is_none())
    })
    .await;
    here.send(here.message("bad.example", 3), Record::Kept(OutgoingId(1)));
    assert_eq!(condition(&client.message().await), StanzaCondition::NotAllowed);
    bad.send(bad.message("here.example", 4), Record::Unkept);
    assert!(theirs.message().await.error().is_some());
    assert!(client.message_within(Duration::from_millis(50)).await.is_none(), "nothing of it arrives");
    // The others noticed nothing.
    good.send(good.message("here.example", 5), Record::Unkept);
    assert_eq!(id(&client.message().await), "5");
    assert_eq!(here.federation.inbound().len(), 1, "on the stream that was there");
    here.send(here.message("good.example", 5), Record::Unkept);
    assert_eq!(id(&others.message().await), "5");
    assert_eq!(world.dialled().iter().filter(|address| *address == "192.0.2.3:5269").count(), 1);

    here.federation.set_access(&here.router, Access::default());
    here.send(here.message("bad.example", 6), Record::Unkept);
    assert_eq!(id(&theirs.message().await), "6");
}

#[tokio::test]
async fn abuse_137_who_waits_for_a_domain_when_it_is_denied_is_told() {
    let (world, [here, ..], [client, ..]) = three(Access::default()).await;
    // Somebody who says nothing: what is sent waits for the stream.
    world.place("192.0.2.2:5269", Answering::Nobody);
    here.send(here.message("bad.example", 1), Record::Unkept);
    let pending = here.send_pending(here.message("bad.example", 2));
    eventually("it is dialled", || !world.dialled().is_empty()).await;
    here.federation.set_access(&here.router, deny("bad.example"));
    let error = client.message().await;
    assert_eq!((id(&error).as_str(), condition(&error)), ("1", StanzaCondition::NotAllowed));
    pending.send(OutgoingId(2)).unwrap();
    assert_eq!(id(&client.message().await), "2", "behind its commit");
}

#[tokio::test]
async fn abuse_137_with_a_list_of_the_allowed_nobody_else_is_spoken_with() {
    let access = Access { deny: Vec::new(), allow: vec![domain("good.example")] };
    let (_world, [here, bad, good], [client, theirs, others]) = three(access).await;
    here.send(here.message("bad.example", 1), Record::Unkept);
    assert_eq!(condition(&client.message().await), StanzaCondition::NotAllowed);
    assert!(explained(&here, "bad.example").contains("[s2s] allow"));
    bad.send(bad.message("here.example", 2), Record::Unkept);
    assert!(theirs.message().await.error().is_some());
    here.send(here.message("good.example", 3), Record::Unkept);
    assert_eq!(id(&others.message().await), "3");
    good.send(good.message("here.example", 4), Record::Unkept);
    assert_eq!(id(&client.message().await), "4");
}
