//! What an operator asks of federation: to forget what failed, to ask whether somebody is there, and to keep to bounds.

use crate::world::{Answering, PATIENCE, Server, World, domain, eventually, id};
use std::collections::BTreeSet;
use std::sync::Arc;
use stonechat_router::Record;
use stonechat_s2s::{Settings, SrvRecord};
use stonechat_stanza::StanzaCondition;

/// A server, and two others that it may reach.
async fn reachable(settings: Settings) -> (Arc<World>, Server, [Server; 2]) {
    let world = World::new();
    let here = Server::with(&world, "here.example", settings).await;
    let others = [Server::start(&world, "one.example").await, Server::start(&world, "two.example").await];
    for (number, name) in ["one.example", "two.example"].into_iter().enumerate() {
        let address = format!("192.0.2.{number}");
        world.name(name, &[&address]);
        world.place(&format!("{address}:5269"), Answering::Server(others[number].clone()));
    }
    (world, here, others)
}

#[tokio::test]
async fn a_reset_closes_the_streams_to_one_domain_and_to_no_other() {
    let (world, here, [one, two]) = reachable(Settings::default()).await;
    let (at_one, at_two) = (one.log_in("x").await, two.log_in("x").await);
    for (to, there) in [("one.example", &at_one), ("two.example", &at_two)] {
        here.send(here.message(to, 1), Record::Unkept);
        assert_eq!(id(&there.message().await), "1");
    }
    here.federation.reset(&domain("one.example")).expect("there is such a link");
    eventually("the stream to it has ended", || one.federation.inbound().is_empty()).await;
    for (to, there) in [("one.example", &at_one), ("two.example", &at_two)] {
        here.send(here.message(to, 2), Record::Unkept);
        assert_eq!(id(&there.message().await), "2");
    }
    assert_eq!(world.dialled(), ["192.0.2.0:5269", "192.0.2.1:5269", "192.0.2.0:5269"], "the other one stayed");
    assert_eq!(here.federation.reset(&domain("unknown.example")), None);
}

#[tokio::test]
async fn a_reset_ends_the_pause_after_a_failure() {
    let (world, here, [one, _]) = reachable(Settings::default()).await;
    let (at_home, at_one) = (here.log_in("x").await, one.log_in("x").await);
    world.name("one.example", &[]);
    here.send(here.message("one.example", 1), Record::Unkept);
    assert_eq!(id(&at_home.message().await), "1", "it failed, and nothing is tried for a while");
    world.name("one.example", &["192.0.2.0"]);
    world.place("192.0.2.0:5269", Answering::Server(one.clone()));
    here.federation.reset(&domain("one.example")).expect("something is known of it");
    here.send(here.message("one.example", 2), Record::Unkept);
    assert_eq!(id(&at_one.message().await), "2", "and not bounced unseen");
}

#[tokio::test]
async fn in_the_pause_after_a_failure_nothing_is_tried_and_that_is_told() {
    let (world, here, _others) = reachable(Settings::default()).await;
    let at_home = here.log_in("x").await;
    world.name("one.example", &[]);
    here.send(here.message("one.example", 1), Record::Unkept);
    assert_eq!(id(&at_home.message().await), "1");
    let told = || here.federation.explain(&domain("one.example")).expect("a record").join("\n");
    eventually("the record says what is next", || told().contains("not tried again for ")).await;
    // It could be reached now.
    world.name("one.example", &["192.0.2.0"]);
    here.send(here.message("one.example", 2), Record::Unkept);
    let error = at_home.message().await;
    assert_eq!(id(&error), "2");
    assert_eq!(error.error().expect("an error").condition, StanzaCondition::RemoteServerNotFound, "as before");
    assert!(world.dialled().is_empty());
}

#[tokio::test]
async fn how_a_stream_of_ours_ended_is_told() {
    let (_world, here, [one, _]) = reachable(Settings::default()).await;
    let at_one = one.log_in("x").await;
    here.send(here.message("one.example", 1), Record::Unkept);
    assert_eq!(id(&at_one.message().await), "1");
    one.federation.drain(&one.router, PATIENCE).await;
    let told = || here.federation.explain(&domain("one.example")).expect("a record").join("\n");
    eventually("it is told", || told().contains("the stream ended: the peer ended the stream: system-shutdown")).await;
}

#[tokio::test]
async fn rfc2782_targets_of_one_priority_are_drawn_by_lot() {
    let (world, here, _others) = reachable(Settings::default()).await;
    let at_home = here.log_in("x").await;
    let record = |target: &str, weight| SrvRecord { priority: 1, weight, port: 5269, target: target.to_owned() };
    world.srv("_xmpp-server._tcp.far.example", vec![record("x.far.example", 5), record("y.far.example", 4)]);
    world.name("x.far.example", &["192.0.2.100"]);
    world.name("y.far.example", &["192.0.2.101"]);
    for number in 0..16 {
        here.send(here.message("far.example", number), Record::Unkept);
        assert_eq!(id(&at_home.message().await), number.to_string(), "nobody is there");
        here.federation.reset(&domain("far.example")).expect("something is known of it");
    }
    let first: BTreeSet<String> = world.dialled().iter().step_by(2).cloned().collect();
    assert_eq!((world.dialled().len(), first.len()), (32, 2), "{:?}", world.dialled());
}

#[tokio::test]
async fn a_ping_tells_who_is_there_from_who_is_not() {
    let (world, here, _others) = reachable(Settings::default()).await;
    let ping = async |to: &str| here.federation.ping(&here.router, &domain("here.example"), &domain(to)).await;
    world.name("here.example", &["192.0.2.9"]);
    world.place("192.0.2.9:5269", Answering::Server(here.clone()));
    // It has no extension that answers pings: its own error shows that it is there.
    let (_, said) = ping("one.example").await.expect("it answers");
    assert_eq!(said, StanzaCondition::ServiceUnavailable.name());
    let why = ping("nowhere.example").await.expect_err("nobody answers");
    assert!(why.contains("nowhere.example") && why.contains("no address"), "{why}");
}

#[tokio::test]
async fn there_are_so_many_links_at_a_time_and_no_more() {
    let (world, here, [one, _]) = reachable(Settings { links: 1, ..Settings::default() }).await;
    let (at_home, at_one) = (here.log_in("x").await, one.log_in("x").await);
    here.send(here.message("one.example", 1), Record::Unkept);
    assert_eq!(id(&at_one.message().await), "1");
    here.send(here.message("two.example", 2), Record::Unkept);
    let error = at_home.message().await;
    assert_eq!(id(&error), "2");
    assert_eq!(error.error().expect("an error").condition, StanzaCondition::ResourceConstraint);
    here.send(here.message("one.example", 3), Record::Unkept);
    assert_eq!(id(&at_one.message().await), "3", "who has a link keeps it");
    assert_eq!(world.dialled(), ["192.0.2.0:5269"]);
}
