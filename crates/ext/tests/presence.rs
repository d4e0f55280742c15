//! Who is told of a presence and of its end (RFC 6121 §4), of requests (§3), and who gets what was kept.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use stonechat_router::{Ending, Settings, Turn};
use stonechat_stanza::Stanza;
use support::{ALICE, CAROL, Client, Event, Server, written};

const DESK: &str = "alice@stone.example/desk";
const PRESENCE: &str = "<presence xmlns='jabber:client'/>";
const UNAVAILABLE: &str = "<presence xmlns='jabber:client' type='unavailable'/>";

fn directed(to: &str, rest: &str) -> String {
    format!("<presence xmlns='jabber:client' to='{to}' {rest}/>")
}

/// How often somebody was told that alice's desk has gone.
fn gone(client: &Client) -> usize {
    let is_end = |stanza: &&Stanza| {
        written(stanza).starts_with("<presence ")
            && written(stanza).contains("type='unavailable'")
            && stanza.from().is_some_and(|from| from.as_str() == DESK)
    };
    client.inbox.stanzas().iter().filter(is_end).count()
}

/// Everything that was routed to a client has arrived.
async fn settled(client: &mut Client) {
    client.ask("get", "stone.example", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
}

#[tokio::test]
async fn rfc6121_4_6_3_who_was_sent_presence_directly_is_told_of_its_end_once() {
    for available in [true, false] {
        for by_word in [true, false] {
            let server = Server::start(Settings::default()).await;
            let (mut alice, mut carol) = (server.connect("alice").await, server.connect("carol").await);
            if available {
                alice.send(PRESENCE).await;
            }
            alice.send(&directed("carol@stone.example/desk", "")).await;
            if by_word {
                alice.send(UNAVAILABLE).await;
            } else {
                alice.session.end(Ending::Lost, &mut Turn::new());
            }
            settled(&mut carol).await;
            assert_eq!(gone(&carol), 1, "available: {available}, by its own word: {by_word}");
        }
    }
    // Who was told already is not told again.
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut carol) = (server.connect("alice").await, server.connect("carol").await);
    alice.send(PRESENCE).await;
    alice.send(&directed("carol@stone.example/desk", "")).await;
    alice.send(&directed("carol@stone.example/desk", "type='unavailable'")).await;
    alice.session.end(Ending::Closed, &mut Turn::new());
    settled(&mut carol).await;
    assert_eq!(gone(&carol), 1);
}

#[tokio::test]
async fn rfc6121_4_5_2_contacts_and_ones_other_devices_are_told_of_the_end_once() {
    for by_word in [true, false] {
        let server = Server::start(Settings::default()).await;
        let (mut alice, mut phone) = (server.connect("alice").await, server.connect_as("alice", "phone").await);
        let mut bob = server.connect("bob").await;
        for client in [&mut alice, &mut phone, &mut bob] {
            client.send(PRESENCE).await;
        }
        // It changes nothing for a contact that is told anyway.
        alice.send(&directed("bob@stone.example", "")).await;
        if by_word {
            alice.send(UNAVAILABLE).await;
        } else {
            alice.session.end(Ending::Closed, &mut Turn::new());
        }
        for client in [&mut phone, &mut bob] {
            settled(client).await;
            assert_eq!(gone(client), 1, "by its own word: {by_word}");
        }
    }
}

#[tokio::test]
async fn rfc6120_7_7_2_2_who_takes_a_resource_over_ends_the_session_that_had_it() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut bob) = (server.connect("alice").await, server.connect("bob").await);
    alice.send(PRESENCE).await;
    bob.send(PRESENCE).await;
    let mut again = server.connect("alice").await;
    settled(&mut bob).await;
    assert_eq!(gone(&bob), 1, "its presence has ended with it");
    let closed = alice.inbox.events().into_iter().any(|event| matches!(event, Event::Closed(Some("conflict"))));
    assert!(closed, "and it is told why");
    again.send(PRESENCE).await;
    bob.inbox.wait("the new one's presence", |stanza| written(stanza).contains(DESK)).await;
}

#[tokio::test]
async fn rfc6121_3_1_3_a_request_is_shown_at_each_log_in_until_it_is_answered() {
    let server = Server::start(Settings::default()).await;
    let mut carol = server.connect("carol").await;
    carol.send(&directed(ALICE, "type='subscribe'")).await;
    let asks = |client: &Client| {
        let stanzas = client.inbox.stanzas();
        let asks = |stanza: &&Stanza| written(stanza).contains("type='subscribe'");
        stanzas.iter().filter(asks).map(|stanza| stanza.from().unwrap().to_string()).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let mut alice = server.connect("alice").await;
        alice.send(PRESENCE).await;
        alice.send("<presence xmlns='jabber:client'><show>away</show></presence>").await;
        settled(&mut alice).await;
        assert_eq!(asks(&alice), [CAROL], "once, from the bare address");
        alice.session.end(Ending::Closed, &mut Turn::new());
    }
    let mut alice = server.connect("alice").await;
    alice.send(&directed(CAROL, "type='unsubscribed'")).await;
    alice.send(PRESENCE).await;
    settled(&mut alice).await;
    assert_eq!(asks(&alice), Vec::<String>::new());
}

#[tokio::test]
async fn abuse_80_82_who_may_not_subscribe_is_told() {
    let server = Server::start(Settings { max_roster: 1, ..Settings::default() }).await;
    let mut carol = server.connect("carol").await;
    carol.send(&directed("x@far.example", "type='subscribe' id='1'")).await;
    carol.send(&directed("y@far.example", "type='subscribe' id='2'")).await;
    carol.send(&directed("x@far.example", "type='subscribe' id='3'")).await;
    let refused = carol.inbox.wait("an error", |stanza| stanza.error().is_some()).await;
    assert_eq!(refused.id().map(|id| id.to_string()).as_deref(), Some("2"));
    assert!(written(&refused).contains("<resource-constraint "), "{}", written(&refused));
    // Abuse case 82: nor does anybody to the own address.
    carol.send(&directed(CAROL, "type='subscribe' id='4'")).await;
    let refused = carol.inbox.wait("an error", |stanza| stanza.id().is_some_and(|id| &**id == "4")).await;
    assert!(written(&refused).contains("<not-allowed "), "{}", written(&refused));
    let sent = server.elsewhere().stanzas();
    let sent: Vec<String> = sent.iter().map(|stanza| stanza.to().unwrap().to_string()).collect();
    assert_eq!(sent, ["x@far.example", "x@far.example"]);
}

#[tokio::test]
async fn xep0160_2_what_was_kept_comes_when_a_priority_stops_being_negative_and_once() {
    let server = Server::start(Settings::default()).await;
    let mut carol = server.connect("carol").await;
    carol
        .send(&format!("<message xmlns='jabber:client' type='chat' id='m' to='{ALICE}'><body>x</body></message>"))
        .await;
    let mut alice = server.connect("alice").await;
    let got =
        |client: &Client| client.inbox.stanzas().iter().filter(|stanza| written(stanza).contains("<body>x")).count();
    let at = |priority: i8| format!("<presence xmlns='jabber:client'><priority>{priority}</priority></presence>");
    alice.send(&at(-1)).await;
    settled(&mut alice).await;
    assert_eq!(got(&alice), 0);
    alice.send(&at(0)).await;
    alice.inbox.wait("what was kept", |stanza| written(stanza).contains("<body>x")).await;
    alice.send(&at(5)).await;
    settled(&mut alice).await;
    assert_eq!(got(&alice), 1);
}

/// The presences that came to a client, but for those from itself: type, sender, recipient.
fn came(client: &Client) -> Vec<(String, String, String)> {
    let of = |stanza: &Stanza| {
        let xml = written(stanza);
        let kind = xml.split_once("type='").and_then(|(_, rest)| rest.split_once('\'')).map_or("", |(kind, _)| kind);
        let address = |jid: Option<&stonechat_jid::Jid>| jid.map(ToString::to_string).unwrap_or_default();
        xml.starts_with("<presence ").then(|| (kind.to_owned(), address(stanza.from()), address(stanza.to())))
    };
    client.inbox.stanzas().iter().filter_map(of).collect()
}

#[tokio::test]
async fn rfc6121_3_1_2_a_request_is_between_bare_addresses_and_keeps_its_words() {
    let server = Server::start(Settings::default()).await;
    let mut carol = server.connect("carol").await;
    carol.send(&directed("x@far.example/res", "type='subscribe'")).await;
    let sent = server.elsewhere().stanzas();
    let addresses: Vec<_> = sent.iter().map(|one| (one.from().unwrap().as_str(), one.to().unwrap().as_str())).collect();
    assert_eq!(addresses, [(CAROL, "x@far.example")]);
    let request = format!(
        "<presence xmlns='jabber:client' type='subscribe' to='{ALICE}/desk'><status>from the ball</status></presence>"
    );
    carol.send(&request).await;
    let mut alice = server.connect("alice").await;
    alice.send(PRESENCE).await;
    let shown = alice.inbox.wait("the request", |stanza| written(stanza).contains("from the ball")).await;
    assert_eq!((shown.from().unwrap().as_str(), shown.to().unwrap().as_str()), (CAROL, ALICE));
}

#[tokio::test]
async fn rfc6121_3_2_1_who_is_not_subscribed_any_more_is_told_of_the_end_first() {
    let server = Server::start(Settings::default()).await;
    let mut alice = server.connect("alice").await;
    alice.send(PRESENCE).await;
    let mut bob = server.connect("bob").await;
    bob.send(PRESENCE).await;
    bob.inbox.wait("alice's presence", |stanza| written(stanza).contains(DESK)).await;
    // Who asked for the roster is told of subscriptions.
    bob.ask("get", "", "<query xmlns='jabber:iq:roster'/>").await.unwrap();
    let before = came(&bob).len();
    alice.send(&directed("bob@stone.example", "type='unsubscribed'")).await;
    settled(&mut bob).await;
    let kinds: Vec<_> = came(&bob)[before..].iter().map(|(kind, from, _)| (kind.clone(), from.clone())).collect();
    assert_eq!(kinds, [("unavailable".to_owned(), DESK.to_owned()), ("unsubscribed".to_owned(), ALICE.to_owned())]);
}

#[tokio::test]
async fn rfc6121_4_3_2_a_probe_is_answered_to_who_may_know_and_to_nobody_else() {
    let server = Server::start(Settings::default()).await;
    let (mut bob, mut carol) = (server.connect("bob").await, server.connect("carol").await);
    for client in [&mut bob, &mut carol] {
        client.send(&directed(ALICE, "type='probe'")).await;
        settled(client).await;
    }
    bob.inbox.wait("an answer", |stanza| written(stanza).contains("type='unavailable'")).await;
    let [(answer, from, to)] = came(&bob).try_into().expect("one answer");
    assert_eq!((answer.as_str(), from.as_str()), ("unavailable", ALICE));
    assert!(to.starts_with("bob@stone.example"), "{to}");
    assert_eq!(came(&carol), [], "a stranger learns nothing");
}
