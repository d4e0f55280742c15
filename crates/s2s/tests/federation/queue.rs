//! What waits for a stream: order, commits, failures, the end of the server.

use crate::world::{Answering, PATIENCE, Server, World, eventually, id, numbers};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stonechat_router::Record;
use stonechat_s2s::Settings;
use stonechat_stanza::{Stanza, StanzaCondition};
use stonechat_store::OutgoingId;

/// Two servers; the second may be placed later.
async fn two(settings: Settings) -> (Arc<World>, Server, Server) {
    let world = World::new();
    let a = Server::with(&world, "a.example", settings).await;
    let b = Server::start(&world, "b.example").await;
    world.name("b.example", &["192.0.2.2"]);
    world.name("a.example", &["192.0.2.1"]);
    world.place("192.0.2.1:5269", Answering::Server(a.clone()));
    (world, a, b)
}

fn open(world: &World, b: &Server) {
    world.place("192.0.2.2:5269", Answering::Server(b.clone()));
}

fn condition(stanza: &Stanza) -> StanzaCondition {
    stanza.error().expect("an error").condition
}

#[tokio::test]
async fn p3_stanzas_of_a_pair_leave_in_order_behind_their_commits() {
    let (world, a, b) = two(Settings::default()).await;
    open(&world, &b);
    let there = b.log_in("there").await;
    let first = a.send_pending(a.message("b.example", 0));
    let second = a.send_pending(a.message("b.example", 1));
    a.send(a.message("b.example", 2), Record::Unkept);
    let lost = a.send_pending(a.message("b.example", 3));
    a.send(a.message("b.example", 4), Record::Kept(OutgoingId(5)));
    eventually("the stream is there", || a.federation.links()[0].connection.is_some()).await;
    // The second is written before the first: nothing overtakes.
    second.send(OutgoingId(2)).unwrap();
    assert!(there.message_within(Duration::from_millis(50)).await.is_none(), "it waits for its commit");
    first.send(OutgoingId(1)).unwrap();
    assert_eq!(there.ids(3).await, numbers(0..3));
    // A write that failed: its sender was told, and nothing leaves.
    drop(lost);
    assert_eq!(id(&there.message().await), "4");
}

#[tokio::test]
async fn a_domain_that_is_not_reached_is_told_of_once_each_and_behind_the_commit() {
    let (_world, a, _b) = two(Settings::default()).await;
    let here = a.log_in("x").await;
    a.send(a.message("b.example", 0), Record::Unkept);
    let pending = a.send_pending(a.message("b.example", 1));
    let lost = a.send_pending(a.message("b.example", 2));
    let error = here.message().await;
    assert_eq!((id(&error).as_str(), condition(&error)), ("0", StanzaCondition::RemoteServerTimeout));
    pending.send(OutgoingId(1)).unwrap();
    assert_eq!(id(&here.message().await), "1");
    drop(lost);
    // In the pause after the failure nothing is tried.
    a.send(a.message("b.example", 3), Record::Unkept);
    assert_eq!(id(&here.message().await), "3");
    assert!(here.message_within(Duration::from_millis(50)).await.is_none(), "each is told of once");
}

#[tokio::test]
async fn p2_what_was_accepted_before_a_restart_waits_for_its_domain() {
    let (world, a, b) = two(Settings::default()).await;
    let (here, there) = (a.log_in("x").await, b.log_in("there").await);
    a.send(a.message("b.example", 0), Record::Kept(OutgoingId(1)));
    a.send(a.message("b.example", 1), Record::Kept(OutgoingId(2)));
    eventually("an attempt has failed", || a.federation.links()[0].state.starts_with("failed")).await;
    assert!(here.message_within(Duration::from_millis(50)).await.is_none(), "nobody is told yet");
    // What is new in the pause is told of at once, and does not take the others with it.
    a.send(a.message("b.example", 2), Record::Unkept);
    assert_eq!(id(&here.message().await), "2");
    open(&world, &b);
    a.federation.reset(&stonechat_jid::Domain::parse("b.example").unwrap()).unwrap();
    assert_eq!(there.ids(2).await, numbers(0..2));
}

#[tokio::test]
async fn what_was_accepted_before_a_restart_does_not_wait_for_ever() {
    let settings = Settings { recovery: Duration::ZERO, ..Settings::default() };
    let (_world, a, _b) = two(settings).await;
    let here = a.log_in("x").await;
    a.send(a.message("b.example", 0), Record::Kept(OutgoingId(1)));
    assert_eq!(condition(&here.message().await), StanzaCondition::RemoteServerTimeout);
}

#[tokio::test]
async fn abuse_139_a_peer_that_dies_in_the_middle_gets_the_rest_in_order() {
    let (world, a, b) = two(Settings::default()).await;
    open(&world, &b);
    let there = b.log_in("there").await;
    a.send(a.message("b.example", 0), Record::Unkept);
    assert_eq!(there.ids(1).await, numbers(0..1));
    for (round, cut) in (1..).zip([1usize, 7, 200, 1000, 1999, 3000]) {
        world.until_cut.store(cut, Ordering::SeqCst);
        let numbers: Vec<u32> = (round * 20..round * 20 + 20).collect();
        for number in &numbers {
            a.send(a.message("b.example", *number), Record::Unkept);
        }
        let wanted: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        assert_eq!(there.ids(20).await, wanted, "cut after {cut} bytes");
        world.until_cut.store(0, Ordering::SeqCst);
    }
    assert!(there.message_within(Duration::from_millis(50)).await.is_none(), "none twice");
}

#[tokio::test]
async fn abuse_136_a_stanza_beyond_the_peers_limit_goes_back_alone() {
    let (world, a, b) = two(Settings::default()).await;
    open(&world, &b);
    let (here, there) = (a.log_in("x").await, b.log_in("there").await);
    let body = "x".repeat(600 * 1024);
    let large = format!(
        "<message xmlns='jabber:client' id='large' from='user@a.example/x' to='user@b.example'><body>{body}</body></message>"
    );
    a.send(a.message("b.example", 0), Record::Unkept);
    a.send(Stanza::parse(large.as_bytes()).unwrap(), Record::Unkept);
    a.send(a.message("b.example", 1), Record::Unkept);
    let error = here.message().await;
    assert_eq!((id(&error).as_str(), condition(&error)), ("large", StanzaCondition::PolicyViolation));
    assert_eq!(there.ids(2).await, numbers(0..2));
}

#[tokio::test]
async fn p6_a_full_queue_is_told_of_and_drops_nothing() {
    let settings = Settings { queue_stanzas: 2, ..Settings::default() };
    let (world, a, _b) = two(settings).await;
    world.place("192.0.2.2:5269", Answering::Nobody);
    let here = a.log_in("x").await;
    for number in 0..3 {
        a.send(a.message("b.example", number), Record::Unkept);
    }
    let error = here.message().await;
    assert_eq!((id(&error).as_str(), condition(&error)), ("2", StanzaCondition::ResourceConstraint));
    assert_eq!(a.federation.links()[0].queued, 2);
    eventually("its state is told", || a.federation.links()[0].state == "connecting").await;
    // What was kept before a restart stood within the bound then.
    a.send(a.message("b.example", 3), Record::Kept(OutgoingId(1)));
    assert_eq!(a.federation.links()[0].queued, 3);
}

#[tokio::test]
async fn p6_a_queue_is_bounded_in_bytes_too() {
    let (world, a, _b) = two(Settings { queue_bytes: 1_000, ..Settings::default() }).await;
    world.place("192.0.2.2:5269", Answering::Nobody);
    let here = a.log_in("x").await;
    let size = a.message("b.example", 0).size();
    let fit = u32::try_from(1_000 / size).unwrap();
    for number in 0..=fit {
        a.send(a.message("b.example", number), Record::Unkept);
    }
    let error = here.message().await;
    assert_eq!((id(&error), condition(&error)), (fit.to_string(), StanzaCondition::ResourceConstraint));
    assert_eq!(a.federation.links()[0].queued, fit as usize);
}

#[tokio::test]
async fn a_stanza_that_meets_a_link_at_its_end_is_queued_anew() {
    let settings = Settings { idle: Duration::from_millis(1), ..Settings::default() };
    let (world, a, b) = two(settings).await;
    open(&world, &b);
    let (here, there) = (a.log_in("x").await, b.log_in("there").await);
    for number in 0..300 {
        a.send(a.message("b.example", number), Record::Unkept);
        tokio::time::sleep(Duration::from_micros(u64::from(number % 7) * 500)).await;
    }
    assert_eq!(there.ids(300).await, numbers(0..300));
    assert!(here.message_within(Duration::from_millis(20)).await.is_none(), "nothing came back");
}

#[tokio::test]
async fn p5_an_orderly_end_sends_what_can_be_sent_and_closes_the_streams() {
    let (world, a, b) = two(Settings::default()).await;
    open(&world, &b);
    let there = b.log_in("there").await;
    let commit = a.send_pending(a.message("b.example", 0));
    a.send(a.message("b.example", 1), Record::Unkept);
    let (federation, router) = (a.federation.clone(), a.router.clone());
    let drained = tokio::spawn(async move { federation.drain(&router, PATIENCE).await });
    commit.send(OutgoingId(1)).unwrap();
    drained.await.unwrap();
    assert_eq!(there.ids(2).await, numbers(0..2));
    // The streams that were there still take what says that sessions end; what is kept waits for the next start.
    a.send(a.message("b.example", 2), Record::Unkept);
    drop(a.send_pending(a.message("b.example", 3)));
    a.send(a.message("b.example", 4), Record::Kept(OutgoingId(2)));
    a.federation.close(PATIENCE).await;
    assert!(a.federation.links().is_empty(), "the streams are closed");
    assert_eq!(there.ids(1).await, ["2"]);
    eventually("the other side has seen the end", || b.federation.inbound().is_empty()).await;
    assert!(there.message_within(Duration::from_millis(20)).await.is_none());
}

#[tokio::test]
async fn p5_an_orderly_end_leaves_what_is_kept_and_tells_of_the_rest() {
    let (world, a, _b) = two(Settings::default()).await;
    world.place("192.0.2.2:5269", Answering::Nobody);
    let here = a.log_in("x").await;
    let commit = a.send_pending(a.message("b.example", 0));
    a.send(a.message("b.example", 1), Record::Unkept);
    a.send(a.message("b.example", 2), Record::Kept(OutgoingId(2)));
    a.federation.drain(&a.router, Duration::from_millis(20)).await;
    let error = here.message().await;
    assert_eq!((id(&error).as_str(), condition(&error)), ("1", StanzaCondition::ResourceConstraint));
    // Where there is no stream none is opened any more.
    a.send(a.message("c.example", 3), Record::Unkept);
    assert_eq!(id(&here.message().await), "3");
    drop(commit);
    assert!(here.message_within(Duration::from_millis(20)).await.is_none(), "what is kept is told of by nobody");
}

#[tokio::test]
async fn p5_an_orderly_end_closes_the_streams_of_others() {
    let (world, a, b) = two(Settings::default()).await;
    open(&world, &b);
    let there = b.log_in("there").await;
    a.send(a.message("b.example", 0), Record::Unkept);
    assert_eq!(there.ids(1).await, numbers(0..1));
    b.federation.drain(&b.router, PATIENCE).await;
    assert!(b.federation.inbound().is_empty());
    eventually("the other side is told why", || {
        let lines = a.federation.explain(&stonechat_jid::Domain::parse("b.example").unwrap()).unwrap_or_default();
        lines.iter().any(|line| line.contains("system-shutdown"))
    })
    .await;
}
