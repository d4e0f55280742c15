//! What those learn of an account whom it does not want to know: the blocked (XEP-0191), and everybody while it is not there.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use stonechat_router::{Ending, Settings, Turn};
use stonechat_stanza::{Stanza, StanzaType};
use support::{ALICE, Client, Server, UNAVAILABLE, written};

const BOB: &str = "bob@stone.example";
const DESK: &str = "alice@stone.example/desk";
/// What tells others which client somebody has, and that a picture changed.
const TRACES: &str = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x' ver='aGFzaA=='/>\
                      <x xmlns='vcard-temp:x:update'><photo>sha1-hash-of-image</photo></x>";

fn presences(client: &Client, from: &str) -> Vec<String> {
    let of = |stanza: &Stanza| {
        matches!(stanza.stanza_type(), StanzaType::Presence(_))
            && stanza.from().is_some_and(|sender| sender.to_bare().as_str() == from)
    };
    client.inbox.stanzas().iter().filter(|stanza| of(stanza)).map(written).collect()
}

/// What a stranger could ask, and what it is told.
async fn learns_nothing(who: &mut Client) {
    for to in [ALICE, DESK] {
        for payload in [
            "<vCard xmlns='vcard-temp'/>",
            "<query xmlns='jabber:iq:last'/>",
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
            "<query xmlns='http://jabber.org/protocol/disco#info' node='urn:x#aGFzaA=='/>",
            "<query xmlns='jabber:iq:version'/>",
            "<ping xmlns='urn:xmpp:ping'/>",
        ] {
            assert_eq!(who.ask("get", to, payload).await, UNAVAILABLE, "{to} {payload}");
        }
    }
}

#[tokio::test]
async fn abuse_86_the_blocked_see_no_presence_no_capabilities_and_no_hash_of_a_picture() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut bob) = (server.connect("alice").await, server.connect("bob").await);
    bob.send("<presence xmlns='jabber:client'/>").await;
    alice.send(&format!("<presence xmlns='jabber:client'>{TRACES}</presence>")).await;
    bob.inbox.wait("alice's presence", |stanza| written(stanza).contains("sha1-hash-of-image")).await;
    alice.ask("set", "", &format!("<block xmlns='urn:xmpp:blocking'><item jid='{BOB}'/></block>")).await.unwrap();
    bob.ask("get", "stone.example", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
    let seen = presences(&bob, ALICE);
    let last = seen.last().unwrap();
    assert!(last.contains("type='unavailable'") && !last.contains("photo"), "XEP-0191 §3.2: {last}");

    // Whatever alice does, bob sees none of it.
    alice.send(&format!("<presence xmlns='jabber:client'><show>away</show>{TRACES}</presence>")).await;
    bob.send(&format!("<presence xmlns='jabber:client' type='probe' to='{ALICE}'/>")).await;
    bob.send(&format!("<presence xmlns='jabber:client' type='probe' to='{DESK}'/>")).await;
    bob.send(&format!("<presence xmlns='jabber:client' to='{ALICE}'/>")).await;
    learns_nothing(&mut bob).await;
    assert_eq!(presences(&bob, ALICE), seen);
    alice.send(&format!("<presence xmlns='jabber:client' to='{BOB}/desk'>{TRACES}</presence>")).await;
    alice.inbox.wait("XEP-0191 §3.4: who blocks is told", |stanza| stanza.error().is_some()).await;
    assert_eq!(presences(&bob, ALICE), seen, "directed presence goes nowhere either");

    // Nor when either comes or goes.
    bob.session.end(Ending::Closed, &mut Turn::new());
    let mut bob = server.connect("bob").await;
    bob.send("<presence xmlns='jabber:client'/>").await;
    alice.session.end(Ending::Closed, &mut Turn::new());
    let mut alice = server.connect("alice").await;
    alice.send(&format!("<presence xmlns='jabber:client'>{TRACES}</presence>")).await;
    learns_nothing(&mut bob).await;
    assert_eq!(presences(&bob, ALICE), Vec::<String>::new());

    // Until it is over.
    alice.ask("set", "", "<unblock xmlns='urn:xmpp:blocking'/>").await.unwrap();
    bob.inbox.wait("alice's presence", |stanza| written(stanza).contains("sha1-hash-of-image")).await;
}

#[tokio::test]
async fn xep0191_3_2_who_was_sent_presence_directly_is_told_once_that_it_has_ended() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut carol) = (server.connect("alice").await, server.connect("carol").await);
    alice.send("<presence xmlns='jabber:client'/>").await;
    let mut bob = server.connect("bob").await;
    bob.send("<presence xmlns='jabber:client'/>").await;
    bob.inbox.wait("alice's presence", |stanza| written(stanza).contains(DESK)).await;
    // A stranger, and a contact that has seen the presence already.
    for to in ["carol@stone.example/desk", "bob@stone.example/desk"] {
        alice.send(&format!("<presence xmlns='jabber:client' to='{to}'/>")).await;
    }
    let gone = |client: &Client| {
        let seen = presences(client, ALICE);
        seen.iter().filter(|presence| presence.contains("type='unavailable'")).count()
    };
    let block = |jid: &str| format!("<block xmlns='urn:xmpp:blocking'><item jid='{jid}'/></block>");
    assert_eq!((gone(&carol), gone(&bob)), (0, 0));
    alice.ask("set", "", &block("carol@stone.example")).await.unwrap();
    assert_eq!((gone(&carol), gone(&bob)), (1, 0), "who is not blocked is not told");
    alice.ask("set", "", &block(BOB)).await.unwrap();
    let told = gone(&bob);
    assert!(told >= 1, "{:?}", presences(&bob, ALICE));
    // Neither is told again when she goes.
    alice.session.end(Ending::Closed, &mut Turn::new());
    for client in [&mut carol, &mut bob] {
        client.ask("get", "stone.example", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
    }
    assert_eq!((gone(&carol), gone(&bob)), (1, told));
}

#[tokio::test]
async fn abuse_86_a_request_of_the_blocked_is_not_shown_at_log_in() {
    let server = Server::start(Settings::default()).await;
    let mut carol = server.connect("carol").await;
    carol.send(&format!("<presence xmlns='jabber:client' type='subscribe' to='{ALICE}'/>")).await;
    let mut alice = server.connect("alice").await;
    alice.send("<presence xmlns='jabber:client'/>").await;
    let asks = |stanza: &Stanza| written(stanza).contains("type='subscribe'");
    alice.inbox.wait("the request", asks).await;
    let block = "<block xmlns='urn:xmpp:blocking'><item jid='carol@stone.example'/></block>";
    alice.ask("set", "", block).await.unwrap();
    alice.session.end(Ending::Closed, &mut Turn::new());
    let mut alice = server.connect("alice").await;
    alice.send("<presence xmlns='jabber:client'/>").await;
    alice.ask("get", "", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
    assert!(!alice.inbox.stanzas().iter().any(asks));
}

#[tokio::test]
async fn abuse_86_who_is_connected_and_does_not_say_so_is_not_seen() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut bob) = (server.connect("alice").await, server.connect("bob").await);
    bob.send("<presence xmlns='jabber:client'/>").await;
    let traces = |client: &Client| presences(client, ALICE).iter().any(|text| text.contains("photo"));
    bob.send(&format!("<presence xmlns='jabber:client' type='probe' to='{ALICE}'/>")).await;
    bob.ask("get", "stone.example", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
    assert!(presences(&bob, ALICE).iter().all(|text| text.contains("type='unavailable'")));
    // It goes, and stays connected.
    alice.send(&format!("<presence xmlns='jabber:client'>{TRACES}</presence>")).await;
    alice.send("<presence xmlns='jabber:client' type='unavailable'/>").await;
    let mut phone = server.connect_as("bob", "phone").await;
    phone.send("<presence xmlns='jabber:client'/>").await;
    phone.send(&format!("<presence xmlns='jabber:client' type='probe' to='{DESK}'/>")).await;
    phone.ask("get", "stone.example", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
    assert!(!traces(&phone), "{:?}", presences(&phone, ALICE));
    assert!(traces(&bob), "who was there had seen it");
}
