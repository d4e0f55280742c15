//! What is kept, for how long and up to what bound: offline messages, archives, queues of sessions and their counts.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stonechat_jid::BareJid;
use stonechat_router::{Durability, Ending, Resumable, SessionFacts, Settings, Turn};
use stonechat_stanza::{Stanza, ns};
use stonechat_store::{Error, Sessions};
use support::{ALICE, Client, Inbox, Server, account};

const BOB: &str = "bob@stone.example";

fn body(stanza: &Stanza) -> Option<String> {
    stanza.child("body", "").map(|body| body.text())
}
fn has_body(text: &str) -> impl Fn(&Stanza) -> bool + '_ {
    move |stanza| body(stanza).as_deref() == Some(text)
}
fn chat(to: &str, text: &str) -> String {
    format!("<message xmlns='jabber:client' to='{to}' type='chat' id='m-{text}'><body>{text}</body></message>")
}
fn texts(client: &Client) -> Vec<String> {
    client.inbox.stanzas().iter().filter(|stanza| !stanza.stanza_type().is_error()).filter_map(body).collect()
}
fn errors(client: &Client) -> Vec<(String, &'static str, String)> {
    let of = |stanza: &Stanza| {
        let error = stanza.error()?;
        Some((
            stanza.id().map(|id| id.to_string()).unwrap_or_default(),
            error.condition.name(),
            error.text.unwrap_or_default().into_owned(),
        ))
    };
    client.inbox.stanzas().iter().filter_map(of).collect()
}

fn without_archive() -> Settings {
    let mut settings = Settings::default();
    settings.archive.enabled = false;
    settings
}

/// The ids and bodies of the asker's own archive.
async fn archived(client: &mut Client, query: &str) -> Result<Vec<(String, String)>, &'static str> {
    let before = client.inbox.stanzas().len();
    client.ask("set", "", &format!("<query xmlns='urn:xmpp:mam:2'>{query}</query>")).await?;
    let row = |stanza: &Stanza| {
        let result = stanza.child("result", ns::MAM)?;
        let message = result.child("forwarded", ns::FORWARD)?.child("message", ns::CLIENT)?;
        let text = message.child("body", ns::CLIENT).map(|body| body.text()).unwrap_or_default();
        Some((result.attribute("id")?.to_owned(), text))
    };
    Ok(client.inbox.stanzas().split_off(before).iter().filter_map(row).collect())
}

async fn present(server: &Server, name: &str) -> Client {
    let mut client = server.connect(name).await;
    client.send("<presence xmlns='jabber:client'/>").await;
    client
}

#[tokio::test]
async fn xep0160_2_past_either_bound_the_sender_is_told_and_nothing_that_was_kept_is_lost() {
    let mut number = without_archive();
    number.offline.messages = 2;
    let mut bytes = without_archive();
    bytes.offline.bytes = 400;
    for settings in [number, bytes] {
        let server = Server::start(settings).await;
        let mut alice = present(&server, "alice").await;
        for text in ["one", "two", "three", "four"] {
            alice.send(&chat(BOB, text)).await;
        }
        alice.inbox.wait("the last error", |stanza| stanza.id().is_some_and(|id| **id == *"m-four")).await;
        let told = errors(&alice);
        let expected =
            |id: &str| (id.to_owned(), "service-unavailable", "no more messages are kept for the recipient".to_owned());
        assert!(told.len() >= 2 && told.ends_with(&[expected("m-three"), expected("m-four")]), "{told:?}");
        let kept = 4 - told.len();
        let bob = present(&server, "bob").await;
        bob.inbox.wait("what was kept", has_body(["", "one", "two"][kept])).await;
        assert_eq!(texts(&bob), ["one", "two"][..kept]);
    }
}

#[tokio::test]
async fn durability_decides_whether_a_message_is_shown_before_it_is_written() {
    for (durability, shown) in [(Durability::Full, false), (Durability::Relaxed, true)] {
        let server = Server::start(Settings { durability, ..Settings::default() }).await;
        let (mut alice, mut bob) = (present(&server, "alice").await, present(&server, "bob").await);
        bob.ask("get", "stone.example", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
        alice.send(&chat(BOB, "before")).await;
        bob.inbox.wait("it", has_body("before")).await;
        server.store.fail_writes_with(Some(|| Error::Full("no space".into())));
        alice.send(&chat(BOB, "lost")).await;
        server.store.fail_writes_with(None);
        alice.send(&chat(BOB, "after")).await;
        bob.inbox.wait("the next", has_body("after")).await;
        assert_eq!(texts(&bob).contains(&"lost".to_owned()), shown, "{durability:?}");
        let told = errors(&alice);
        match durability {
            Durability::Full => assert_eq!((told.len(), told[0].1), (1, "resource-constraint"), "{told:?}"),
            Durability::Relaxed => assert_eq!(told, [], "its recipient has it"),
        }
    }
}

#[tokio::test]
async fn p1_a_sender_does_not_wait_for_the_commits_of_another() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut carol) = (present(&server, "alice").await, present(&server, "carol").await);
    let bob = present(&server, "bob").await;
    alice.session.enable_counting(Resumable::Yes).await;
    carol.session.enable_counting(Resumable::Yes).await;
    // Alice's message is accepted, and its commit is awaited by nobody yet.
    let stanza = Stanza::parse(chat(BOB, "slow").as_bytes()).unwrap().from_sender(alice.session.jid().clone());
    alice.session.accept(stanza, &mut Turn::new()).await;
    carol.send(&chat(BOB, "quick")).await;
    assert_eq!(carol.session.handled(), 1, "hers is safe and told to be");
    alice.session.settle().await;
    assert_eq!(alice.session.handled(), 1);
    bob.inbox.wait("the second", has_body("quick")).await;
    assert_eq!(texts(&bob), ["slow", "quick"], "P3: in the order in which they were accepted");
}

#[tokio::test]
async fn abuse_110_the_id_of_a_message_says_nothing_in_another_archive_and_erased_is_erased_at_once() {
    let settings = Settings::default();
    let keep = settings.archive.keep.unwrap();
    let server = Server::start(settings).await;
    let (mut alice, mut bob) = (present(&server, "alice").await, present(&server, "bob").await);
    for text in ["one", "two"] {
        alice.send(&chat(BOB, text)).await;
    }
    bob.inbox.wait("the last", has_body("two")).await;
    let (of_alice, of_bob) = (archived(&mut alice, "").await.unwrap(), archived(&mut bob, "").await.unwrap());
    assert_eq!((of_alice.len(), of_bob.len()), (2, 2));
    // The clock stands still: what is left to tell them apart was drawn.
    assert!(of_alice.iter().all(|(id, _)| of_bob.iter().all(|(other, _)| other != id)), "{of_alice:?} {of_bob:?}");
    let after = |id: &str| format!("<set xmlns='http://jabber.org/protocol/rsm'><after>{id}</after></set>");
    assert_eq!(archived(&mut bob, &after(&of_alice[0].0)).await, Err("item-not-found"));
    assert_eq!(archived(&mut bob, &after(&of_bob[0].0)).await.unwrap(), of_bob[1..]);

    // Retracted: at once, on both sides, though the id stays.
    let retract = format!(
        "<message xmlns='jabber:client' to='{BOB}' type='chat' id='r'><retract xmlns='urn:xmpp:message-retract:1' id='m-one'/>\
         <store xmlns='urn:xmpp:hints'/></message>"
    );
    alice.send(&retract).await;
    bob.inbox.wait("the retraction", |stanza| stanza.id().is_some_and(|id| **id == *"r")).await;
    let left = archived(&mut bob, "").await.unwrap();
    assert_eq!(left[0], (of_bob[0].0.clone(), String::new()));

    // Expired: gone, and so is its id.
    server.clock.forward(keep + Duration::from_secs(1));
    alice.send(&chat(BOB, "late")).await;
    bob.inbox.wait("it", has_body("late")).await;
    server.router.expire_archives().await.unwrap();
    let left = archived(&mut bob, "").await.unwrap();
    assert_eq!(left.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["late"]);
    assert_eq!(archived(&mut bob, &after(&of_bob[1].0)).await, Err("item-not-found"));

    // Erased with its account: nobody reads it any more, whoever asks; the other half is the other's own.
    let query = "<query xmlns='urn:xmpp:mam:2'/>";
    alice.ask("set", "", "<query xmlns='jabber:iq:register'><remove/></query>").await.unwrap();
    assert_eq!(bob.ask("set", ALICE, query).await, support::UNAVAILABLE.map(|_| String::new()).or(Err("forbidden")));
    assert!(server.account_id("alice").await.is_none());
    assert_eq!(archived(&mut bob, "").await.unwrap().len(), 1);
}

async fn resume(server: &Server, id: &str, handled: u32) -> (Client, u32) {
    let inbox = Arc::new(Inbox::default());
    let bare = BareJid::parse(BOB).unwrap();
    let resumed = server.router.resume(&bare, id, handled, inbox.clone(), SessionFacts::default()).await;
    let (session, h) = resumed.unwrap_or_else(|error| panic!("it is there: {error:?}"));
    (Client::resumed(session, inbox), h)
}

#[tokio::test]
async fn xep0198_4_counts_go_around_in_both_directions() {
    let server = Server::start(Settings::default()).await;
    let mut bob = present(&server, "bob").await;
    let id = bob.session.enable_counting(Resumable::Yes).await.unwrap().text();
    bob.send("<presence xmlns='jabber:client'/>").await;
    bob.inbox.wait("the own presence", |stanza| stanza.from().is_some()).await;
    bob.session.end(Ending::Lost, &mut Turn::new());
    server.router.save_sessions().await.unwrap();
    // A session that has been there for long: the counts that it was saved with.
    let owner = server.account_id("bob").await.unwrap();
    let mut saved = server.store.take_sessions(owner).await.unwrap();
    let state = String::from_utf8(saved[0].state.clone()).unwrap();
    let field = |name: &str| {
        let rest = state.split_once(&format!("\"{name}\":")).unwrap().1;
        format!("\"{name}\":{}", rest.split(',').next().unwrap())
    };
    let state = state
        .replace(&field("sent"), &format!("\"sent\":{}", u64::from(u32::MAX) - 1))
        .replace(&field("received"), &format!("\"received\":{}", u32::MAX - 1));
    saved[0].state = state.into_bytes();
    server.store.save_sessions(owner, saved).await.unwrap();

    let server = server.restarted();
    server.router.restore_sessions().await.unwrap();
    let mut alice = present(&server, "alice").await;
    let (mut bob, handled) = resume(&server, &id, u32::MAX - 1).await;
    assert_eq!(handled, u32::MAX - 1);
    for text in ["a", "b", "c"] {
        alice.send(&chat(BOB, text)).await;
        bob.send(&chat(ALICE, text)).await;
    }
    bob.inbox.wait("the last", has_body("c")).await;
    assert_eq!(bob.session.handled(), 1, "three behind the last but one");
    // What was there before is told behind the resumption; all of it is acknowledged beyond the turn of the count.
    let came = u32::try_from(bob.inbox.stanzas().len()).unwrap();
    assert!(came >= 3);
    let all = (u32::MAX - 1).wrapping_add(came);
    assert_eq!(bob.session.acknowledged(all.wrapping_add(1), &mut Turn::new()), Err(all), "more than was sent");
    bob.session.acknowledged(all, &mut Turn::new()).unwrap();
    bob.session.end(Ending::Lost, &mut Turn::new());
    let (bob, handled) = resume(&server, &id, all).await;
    assert_eq!((handled, texts(&bob)), (1, Vec::new()), "nothing comes again");
}

#[tokio::test]
async fn xep0198_4_one_question_at_a_time_and_none_when_there_is_nothing_to_ask() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut bob) = (present(&server, "alice").await, present(&server, "bob").await);
    bob.ask("get", "stone.example", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
    bob.session.enable_counting(Resumable::Yes).await;
    let asked = |client: &Client| client.inbox.requests.load(Ordering::SeqCst);
    assert_eq!(asked(&bob), 0);
    for number in 0..50 {
        alice.send(&chat(BOB, &number.to_string())).await;
    }
    bob.inbox.wait("the last", has_body("49")).await;
    assert_eq!(asked(&bob), 1, "with the first, and not again before it is answered");
    bob.session.acknowledged(20, &mut Turn::new()).unwrap();
    assert_eq!(asked(&bob), 2, "there is more to know");
    bob.session.acknowledged(50, &mut Turn::new()).unwrap();
    assert_eq!(asked(&bob), 2, "all is known");
    alice.send(&chat(BOB, "50")).await;
    bob.inbox.wait("it", has_body("50")).await;
    assert_eq!(asked(&bob), 3);
}

#[tokio::test]
async fn p4_a_queue_past_its_bound_ends_its_session_and_loses_nothing() {
    for settings in [Settings::default(), without_archive()] {
        let archive = settings.archive.enabled;
        let server = Server::start(settings).await;
        let (mut alice, mut bob) = (present(&server, "alice").await, present(&server, "bob").await);
        bob.ask("get", "stone.example", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
        let id = bob.session.enable_counting(Resumable::Yes).await.unwrap().text();
        bob.session.end(Ending::Lost, &mut Turn::new());
        // 48 of 200 kB pass the 8 MiB that a session may owe.
        let large = "x".repeat(200_000);
        for number in 0..48 {
            alice.send(&chat(BOB, &format!("{number}-{large}"))).await;
        }
        assert!(server.router.available_resources(&account("bob")).is_empty(), "the session is over");
        let bare = BareJid::parse(BOB).unwrap();
        let again = server.router.resume(&bare, &id, 0, Arc::new(Inbox::default()), SessionFacts::default()).await;
        assert!(again.is_err());
        let bob = present(&server, "bob").await;
        bob.inbox.wait("the last", |stanza| body(stanza).is_some_and(|text| text.starts_with("47-"))).await;
        let number = |text: &str| -> u32 { text.split('-').next().unwrap().parse().unwrap() };
        let numbers: Vec<u32> = texts(&bob).iter().map(|text| number(text)).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order, and none twice: {numbers:?}");
        assert_eq!(numbers, (0..48).collect::<Vec<u32>>(), "archive: {archive}");
        assert!(errors(&alice).is_empty(), "{:?}", errors(&alice));
    }
}

#[tokio::test]
async fn xep0160_2_what_is_kept_after_a_log_in_that_found_nothing_is_given_to_the_next() {
    let server = Server::start(without_archive()).await;
    let mut bob = present(&server, "bob").await;
    for text in ["one", "two"] {
        // The second of these need not ask the store, and does not.
        for _ in 0..2 {
            let alice = present(&server, "alice").await;
            alice.session.end(Ending::Closed, &mut Turn::new());
        }
        bob.send(&chat(ALICE, text)).await;
        let alice = present(&server, "alice").await;
        alice.inbox.wait("what was kept", has_body(text)).await;
        assert_eq!(texts(&alice), [text]);
        alice.session.end(Ending::Closed, &mut Turn::new());
    }
}

#[tokio::test]
async fn xep0160_2_what_a_session_could_not_be_given_goes_to_the_next_one_that_is_there() {
    let server = Server::start(without_archive()).await;
    let mut bob = present(&server, "bob").await;
    for text in ["one", "two"] {
        bob.send(&chat(ALICE, text)).await;
    }
    let mut stuck = server.connect_as("alice", "desk").await;
    stuck.inbox.is_stuck.store(true, Ordering::SeqCst);
    stuck.send("<presence xmlns='jabber:client'/>").await;
    stuck.inbox.wait("the last", has_body("two")).await;
    // They are being given to the other one, which takes nothing.
    let mut second = server.connect_as("alice", "garden").await;
    second.send("<presence xmlns='jabber:client'/>").await;
    assert!(texts(&second).is_empty());
    stuck.session.end(Ending::Lost, &mut Turn::new());
    second.inbox.wait("the last", has_body("two")).await;
    assert_eq!(texts(&second), ["one", "two"]);
}
