//! A server that is short of memory gives way between servers too.

use crate::world::{Answering, Server, World, domain, id, numbers};
use std::time::Duration;
use stonechat_router::Record;
use stonechat_stanza::StanzaCondition;
use stonechat_store::OutgoingId;
use stonechat_xml::Element;

/// A server of so many per cent of the memory that it may hold.
fn holds(server: &Server, percent: u64) {
    server.router.memory().set_ceiling(Some(100 << 20));
    server.router.memory().measured(percent << 20);
}

#[tokio::test]
async fn abuse_149_without_memory_no_stream_is_opened_and_those_that_are_go_on() {
    let world = World::new();
    let a = Server::start(&world, "a.example").await;
    let (b, c) = (Server::start(&world, "b.example").await, Server::start(&world, "c.example").await);
    for (server, name, address) in [(&a, "a.example", 1), (&b, "b.example", 2), (&c, "c.example", 3)] {
        let address = format!("192.0.2.{address}");
        world.name(name, &[&address]);
        world.place(&format!("{address}:5269"), Answering::Server(server.clone()));
    }
    let (here, there, third) = (a.log_in("x").await, b.log_in("there").await, c.log_in("there").await);
    a.send(a.message("b.example", 0), Record::Unkept);
    assert_eq!(id(&there.message().await), "0");
    holds(&a, 92);
    a.send(a.message("c.example", 1), Record::Unkept);
    let error = here.message().await;
    assert_eq!(id(&error), "1");
    assert_eq!(error.error().expect("an error").condition, StanzaCondition::ResourceConstraint);
    a.send(a.message("b.example", 2), Record::Unkept);
    assert_eq!(id(&there.message().await), "2");
    holds(&a, 50);
    a.send(a.message("c.example", 3), Record::Unkept);
    assert_eq!(id(&third.message().await), "3");
}

#[tokio::test]
async fn abuse_149_strangers_are_sent_away_and_those_who_were_let_in_are_read_slowly_at_last() {
    let world = World::new();
    let (a, b) = (Server::start(&world, "a.example").await, Server::start(&world, "b.example").await);
    for (server, name, address) in [(&a, "a.example", "192.0.2.1"), (&b, "b.example", "192.0.2.2")] {
        world.name(name, &[address]);
        world.place(&format!("{address}:5269"), Answering::Server(server.clone()));
    }
    let (here, there) = (a.log_in("x").await, b.log_in("there").await);
    holds(&b, 92);
    a.send(a.message("b.example", 0), Record::Unkept);
    let error = here.message().await;
    assert_eq!(id(&error), "0");
    assert!(error.error().is_some());
    let told = a.federation.explain(&domain("b.example")).expect("a record").join("\n");
    assert!(told.contains("resource-constraint"), "{told}");
    holds(&b, 50);
    a.federation.reset(&domain("b.example"));
    a.send(a.message("b.example", 1), Record::Unkept);
    assert_eq!(id(&there.message().await), "1");
    holds(&b, 92);
    a.send(a.message("b.example", 2), Record::Unkept);
    assert_eq!(id(&there.message().await), "2");
    // What is read once is not read again soon.
    holds(&b, 96);
    a.send(a.message("b.example", 3), Record::Unkept);
    assert_eq!(id(&there.message().await), "3");
    a.send(a.message("b.example", 4), Record::Unkept);
    assert!(there.message_within(Duration::from_millis(50)).await.is_none(), "it stands still");
    assert_eq!(id(&there.message().await), "4");
}

#[tokio::test]
async fn abuse_149_what_waits_for_others_has_a_bound_that_all_share() {
    let world = World::new();
    let (a, b) = (Server::start(&world, "a.example").await, Server::start(&world, "b.example").await);
    world.name("a.example", &["192.0.2.1"]);
    world.place("192.0.2.1:5269", Answering::Server(a.clone()));
    world.name("b.example", &["192.0.2.2"]);
    world.place("192.0.2.2:5269", Answering::Server(b.clone()));
    let (here, there) = (a.log_in("x").await, b.log_in("there").await);
    // Nothing leaves before it.
    let first = a.send_pending(a.message("b.example", 0));
    // One queue may have 8 MiB, and there is one for all.
    holds(&a, 89);
    let body = "x".repeat(100_000);
    for number in 1..=20 {
        let padding = Element::new("x", "urn:example:padding").with_text(&body);
        a.send(a.message("b.example", number).with_appended(padding), Record::Unkept);
    }
    let refused = here.ids(15).await;
    first.send(OutgoingId(1)).unwrap();
    let came = there.ids(6).await;
    assert_eq!((came, refused), (numbers(0..6), numbers(6..21)));
}
