//! The archive, copies, repetitions and resumption, by what clients see of them, with the store in memory.

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
use stonechat_jid::BareJid;
use stonechat_router::{Attention, Ending, NotResumed, Resumable, SessionFacts, Settings, Turn};
use stonechat_stanza::{Stanza, ns};
use support::{ALICE, Client, Inbox, Server, account, written};

const BOB: &str = "bob@stone.example";

fn body(stanza: &Stanza) -> Option<String> {
    stanza.child("body", "").map(|body| body.text())
}

fn has_body(text: &str) -> impl Fn(&Stanza) -> bool + '_ {
    move |stanza| body(stanza).as_deref() == Some(text)
}

fn stanza_id(stanza: &Stanza, by: &str) -> Option<String> {
    let ids: Vec<String> = stanza
        .elements()
        .iter()
        .filter(|element| element.is("stanza-id", ns::STANZA_ID) && element.attribute("by") == Some(by))
        .filter_map(|element| element.attribute("id").map(str::to_owned))
        .collect();
    assert!(ids.len() <= 1, "XEP-0359 §3: one id by one entity");
    ids.into_iter().next()
}

fn chat(to: &str, text: &str) -> String {
    format!(
        "<message xmlns='jabber:client' to='{to}' type='chat' id='m-{text}'><body>{text}</body>\
         <origin-id xmlns='urn:xmpp:sid:0' id='o-{text}'/></message>"
    )
}

/// Pages of the asker's own archive: the ids and the bodies, in the order in which they came.
async fn page(client: &mut Client, query: &str) -> (Vec<(String, String)>, String) {
    let before = client.inbox.stanzas().len();
    let fin = client.ask_whole("set", "", &format!("<query xmlns='urn:xmpp:mam:2' queryid='q'>{query}</query>")).await;
    let found = client.inbox.stanzas().split_off(before);
    let results = found
        .iter()
        .filter_map(|stanza| {
            let result = stanza.child("result", ns::MAM)?;
            assert_eq!(result.attribute("queryid"), Some("q"));
            let forwarded = result.child("forwarded", ns::FORWARD)?;
            assert!(forwarded.child("delay", ns::DELAY).is_some(), "XEP-0313 §4.2: it says when");
            let message = forwarded.child("message", ns::CLIENT)?;
            let text = message.child("body", ns::CLIENT).map(|body| body.text()).unwrap_or_default();
            Some((result.attribute("id")?.to_owned(), text))
        })
        .collect();
    (results, written(&fin))
}

async fn two(settings: Settings) -> (Server, Client, Client) {
    let server = Server::start(settings).await;
    let mut alice = server.connect("alice").await;
    let mut bob = server.connect("bob").await;
    alice.send("<presence xmlns='jabber:client'/>").await;
    bob.send("<presence xmlns='jabber:client'/>").await;
    bob.inbox
        .wait("alice's presence", |stanza| {
            stanza.from().is_some_and(|from| from.as_str() == "alice@stone.example/desk")
        })
        .await;
    (server, alice, bob)
}

fn without_archive() -> Settings {
    let mut settings = Settings::default();
    settings.archive.enabled = false;
    settings
}

#[tokio::test]
async fn rule_1_one_message_has_one_id_in_the_live_copy_the_carbon_and_the_pages_of_each_side() {
    let (server, mut alice, mut bob) = two(Settings::default()).await;
    let mut phone = server.connect_as("bob", "phone").await;
    phone.ask("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>").await.unwrap();
    let mut tablet = server.connect_as("alice", "tablet").await;
    tablet.ask("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>").await.unwrap();
    alice.send(&chat("bob@stone.example/desk", "one")).await;
    let live = bob.inbox.wait("the live copy", has_body("one")).await;
    let id = stanza_id(&live, BOB).expect("XEP-0313 §3: it carries the id of the archive");
    let received = phone.inbox.wait("the copy", |stanza| stanza.has_child("received", ns::CARBONS)).await;
    assert_eq!(received.from().unwrap().as_str(), BOB, "XEP-0280 §7: from the bare address");
    assert!(written(&received).contains(&format!("id='{id}'")), "the copy carries the same id");
    assert_eq!(page(&mut bob, "").await.0, [(id, "one".to_owned())]);
    let sent = tablet.inbox.wait("the copy", |stanza| stanza.has_child("sent", ns::CARBONS)).await;
    let (own, _) = page(&mut alice, "").await;
    assert_eq!(own.len(), 1);
    assert!(written(&sent).contains(&format!("id='{}'", own[0].0)), "the sender's copy carries the sender's id");
    assert_eq!(stanza_id(&live, ALICE), None, "the recipient learns nothing of the sender's archive");
}

#[tokio::test]
async fn rule_1_a_message_kept_while_away_carries_the_id_of_the_archive() {
    let server = Server::start(Settings::default()).await;
    let mut alice = server.connect("alice").await;
    alice.send(&chat(BOB, "late")).await;
    let mut bob = server.connect("bob").await;
    bob.send("<presence xmlns='jabber:client'/>").await;
    let kept = bob.inbox.wait("the kept message", has_body("late")).await;
    assert!(kept.has_child("delay", ns::DELAY));
    let id = stanza_id(&kept, BOB).unwrap();
    assert_eq!(page(&mut bob, "").await.0, [(id, "late".to_owned())]);
}

#[tokio::test]
async fn xep0359_a_message_sent_again_is_acknowledged_and_shown_once() {
    for settings in [Settings::default(), without_archive()] {
        let archived = settings.archive.enabled;
        let (_server, mut alice, mut bob) = two(settings).await;
        alice.session.enable_counting(Resumable::Yes).await;
        for _ in 0..3 {
            alice.send(&chat(BOB, "again")).await;
        }
        alice.send(&chat(BOB, "end")).await;
        bob.inbox.wait("the last", has_body("end")).await;
        let shown = bob.inbox.stanzas().iter().filter(|stanza| has_body("again")(stanza)).count();
        assert_eq!(shown, 1);
        assert_eq!(alice.session.handled(), 4, "each was handled");
        if archived {
            assert_eq!(page(&mut bob, "").await.0.len(), 2);
            assert_eq!(page(&mut alice, "").await.0.len(), 2);
        }
    }
}

#[tokio::test]
async fn xep0313_pages_go_both_ways_and_say_when_they_are_complete() {
    let (_server, mut alice, mut bob) = two(Settings::default()).await;
    for number in 0..7 {
        alice.send(&chat(BOB, &number.to_string())).await;
    }
    bob.inbox.wait("the last", has_body("6")).await;
    let rsm = |inner: &str| format!("<set xmlns='http://jabber.org/protocol/rsm'>{inner}</set>");
    let (first, fin) = page(&mut bob, &rsm("<max>3</max>")).await;
    assert_eq!(first.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert!(!fin.contains("complete="));
    let after = &first[2].0;
    let (rest, fin) = page(&mut bob, &rsm(&format!("<max>10</max><after>{after}</after>"))).await;
    assert_eq!(rest.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["3", "4", "5", "6"]);
    assert!(fin.contains("complete='true'"));
    let (last, fin) = page(&mut bob, &rsm("<max>2</max><before/>")).await;
    assert_eq!(last.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["5", "6"]);
    assert!(!fin.contains("complete="));
    let (flipped, _) = page(&mut bob, &format!("{}<flip-page/>", rsm("<max>2</max><before/>"))).await;
    assert_eq!(flipped.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["6", "5"]);
    let (none, fin) = page(&mut bob, &rsm("<max>0</max>")).await;
    assert!(none.is_empty() && fin.contains("<count>7</count>"), "{fin}");
    let unknown = rsm("<after>0000000000000000</after>");
    let (_, fin) = page(&mut bob, &unknown).await;
    assert!(fin.contains("item-not-found"), "{fin}");
}

#[tokio::test]
async fn abuse_107_108_109_an_archive_is_its_owners_and_queries_are_bounded() {
    let (server, mut alice, mut bob) = two(Settings::default()).await;
    alice.send(&chat(BOB, "secret")).await;
    bob.inbox.wait("it", has_body("secret")).await;
    let query = "<query xmlns='urn:xmpp:mam:2'/>";
    let mut carol = server.connect("carol").await;
    assert_eq!(carol.ask("set", BOB, query).await, Err("forbidden"));
    assert_eq!(alice.ask("set", BOB, query).await, Err("forbidden"), "nor a contact's");
    let form = |field: &str| {
        format!(
            "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>{field}</x></query>"
        )
    };
    let field = |name: &str, value: &str| form(&format!("<field var='{name}'><value>{value}</value></field>"));
    assert_eq!(bob.ask("set", "", &field("colour", "red")).await, Err("feature-not-implemented"));
    assert_eq!(bob.ask("set", "", &field("start", "yesterday")).await, Err("bad-request"));
    assert_eq!(bob.ask("set", "", &field("with", "@@")).await, Err("jid-malformed"));
    assert_eq!(bob.ask("set", "", &field("after-id", "'; DROP TABLE")).await, Err("item-not-found"));
    let wrong = "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'/></query>";
    assert_eq!(bob.ask("set", "", wrong).await, Err("bad-request"));
    let huge =
        "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>1000000000</max></set></query>";
    assert!(bob.ask("set", "", huge).await.is_ok());
}

#[tokio::test]
async fn xep0431_words_are_found_whatever_their_case() {
    let (_server, mut alice, mut bob) = two(Settings::default()).await;
    alice.send(&chat(BOB, "Wherefore")).await;
    alice.send(&chat(BOB, "elsewhere")).await;
    bob.inbox.wait("the last", has_body("elsewhere")).await;
    let search = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>\
                  <field var='{urn:xmpp:fulltext:0}fulltext'><value>wherefore</value></field></x>";
    let (found, _) = page(&mut bob, search).await;
    assert_eq!(found.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["Wherefore"]);
}

#[tokio::test]
async fn xep0424_a_retraction_leaves_a_tombstone_on_both_sides_and_only_the_sender_may() {
    let (_server, mut alice, mut bob) = two(Settings::default()).await;
    let retract = |to: &str, id: &str| {
        format!(
            "<message xmlns='jabber:client' to='{to}' type='chat' id='r-{id}'>\
             <retract xmlns='urn:xmpp:message-retract:1' id='{id}'/><store xmlns='urn:xmpp:hints'/></message>"
        )
    };
    alice.send(&chat(BOB, "oops")).await;
    let live = bob.inbox.wait("it", has_body("oops")).await;
    bob.send(&retract(ALICE, "o-oops")).await;
    assert!(page(&mut bob, "").await.0.iter().any(|(_, text)| text == "oops"), "somebody else's stays");
    alice.send(&retract(BOB, "o-oops")).await;
    bob.inbox.wait("the retraction", |stanza| stanza.id().is_some_and(|id| **id == *"r-o-oops")).await;
    for client in [&mut alice, &mut bob] {
        let found = page(client, "").await.0;
        assert!(found.iter().all(|(_, text)| text != "oops"), "{found:?}");
    }
    let id = stanza_id(&live, BOB).unwrap();
    assert_eq!(page(&mut bob, "").await.0[0].0, id, "the tombstone has the same id");
}

#[tokio::test]
async fn xep0334_what_must_not_be_stored_is_not_and_hints_reach_the_recipient() {
    let (_server, mut alice, mut bob) = two(Settings::default()).await;
    alice
        .send(&format!(
            "<message xmlns='jabber:client' to='{BOB}' type='chat'><body>off the record</body>\
             <no-store xmlns='urn:xmpp:hints'/></message>"
        ))
        .await;
    let live = bob.inbox.wait("it", has_body("off the record")).await;
    assert!(live.has_child("no-store", ns::HINTS));
    assert_eq!(stanza_id(&live, BOB), None);
    assert!(page(&mut bob, "").await.0.is_empty());
    assert!(page(&mut alice, "").await.0.is_empty());
}

#[tokio::test]
async fn xep0441_preferences_decide_whose_messages_are_archived() {
    let (_server, mut alice, mut bob) = two(Settings::default()).await;
    let never =
        format!("<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never><jid>{ALICE}</jid></never></prefs>");
    let answer = bob.ask("set", "", &never).await.unwrap();
    assert!(answer.contains(ALICE), "XEP-0441 §2: the preferences in force come back");
    alice.send(&chat(BOB, "private")).await;
    let live = bob.inbox.wait("it", has_body("private")).await;
    assert_eq!(stanza_id(&live, BOB), None);
    assert!(page(&mut bob, "").await.0.is_empty());
    assert_eq!(page(&mut alice, "").await.0.len(), 1, "each side has preferences of its own");
}

async fn resume(server: &Server, id: &str, handled: u32) -> Result<(Client, u32), NotResumed> {
    let inbox = Arc::new(Inbox::default());
    let bare = BareJid::parse(BOB).unwrap();
    let (session, h) = server.router.resume(&bare, id, handled, inbox.clone(), SessionFacts::default()).await?;
    Ok((Client::resumed(session, inbox), h))
}

#[tokio::test]
async fn xep0198_5_what_was_not_acknowledged_comes_again_and_in_order() {
    for settings in [Settings::default(), without_archive()] {
        let (server, mut alice, mut bob) = two(settings).await;
        let id = bob.session.enable_counting(Resumable::Yes).await.unwrap().text();
        for number in 0..3 {
            alice.send(&chat(BOB, &number.to_string())).await;
        }
        bob.inbox.wait("the last", has_body("2")).await;
        bob.send(&chat(ALICE, "hello")).await;
        // Two of the three were handled; then the connection goes, and two more come.
        bob.session.acknowledged(2, &mut Turn::new()).unwrap();
        bob.session.end(Ending::Lost, &mut Turn::new());
        for number in 3..5 {
            alice.send(&chat(BOB, &number.to_string())).await;
        }
        assert!(
            alice.inbox.stanzas().iter().all(|stanza| !written(stanza).contains("unavailable")),
            "it is still there"
        );
        let (bob, h) = resume(&server, &id, 2).await.unwrap();
        assert_eq!(h, 1, "the client's own message was handled");
        bob.inbox.wait("the last", has_body("4")).await;
        let texts: Vec<_> = bob.inbox.stanzas().iter().filter_map(body).collect();
        assert_eq!(texts, ["2", "3", "4"]);
    }
}

#[tokio::test]
async fn abuse_38_a_session_is_resumed_by_its_account_alone_once_and_with_a_count_that_can_be() {
    let (server, mut alice, mut bob) = two(Settings::default()).await;
    let id = bob.session.enable_counting(Resumable::Yes).await.unwrap().text();
    alice.send(&chat(BOB, "one")).await;
    bob.inbox.wait("it", has_body("one")).await;
    let stranger = BareJid::parse(ALICE).unwrap();
    let outbox = Arc::new(Inbox::default());
    let refused = server.router.resume(&stranger, &id, 0, outbox, SessionFacts::default()).await;
    assert_eq!(refused.err(), Some(NotResumed::Unknown(None)));
    bob.session.end(Ending::Lost, &mut Turn::new());
    assert_eq!(resume(&server, &id, 2).await.err(), Some(NotResumed::TooMuch { handled: 2, sent: 1 }));
    assert_eq!(resume(&server, "no such session", 0).await.err(), Some(NotResumed::Unknown(None)));
    let (again, _) = resume(&server, &id, 1).await.unwrap();
    again.session.end(Ending::Closed, &mut Turn::new());
    assert!(resume(&server, &id, 1).await.is_err(), "a session that was closed is gone");
}

#[tokio::test(start_paused = true)]
async fn xep0198_5_a_session_that_nobody_resumes_leaves_and_what_it_had_is_kept() {
    for settings in [Settings::default(), without_archive()] {
        let (server, mut alice, mut bob) = two(settings).await;
        bob.session.enable_counting(Resumable::Yes).await;
        bob.session.end(Ending::Lost, &mut Turn::new());
        alice.send(&chat(BOB, "while away")).await;
        tokio::time::sleep(stonechat_router::RESUMPTION + std::time::Duration::from_secs(1)).await;
        assert!(server.router.available_resources(&account("bob")).is_empty());
        assert!(alice.inbox.stanzas().iter().all(|stanza| stanza.error().is_none()), "nothing comes back");
        let mut bob = server.connect("bob").await;
        bob.send("<presence xmlns='jabber:client'/>").await;
        bob.inbox.wait("it", has_body("while away")).await;
    }
}

#[tokio::test]
async fn xep0198_a_session_saved_at_an_orderly_end_is_resumed_as_if_nothing_had_happened() {
    let (server, mut alice, mut bob) = two(Settings::default()).await;
    let id = bob.session.enable_counting(Resumable::Yes).await.unwrap().text();
    bob.ask("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>").await.unwrap();
    alice.send(&chat(BOB, "one")).await;
    bob.inbox.wait("it", has_body("one")).await;
    bob.session.end(Ending::Lost, &mut Turn::new());
    alice.session.end(Ending::Closed, &mut Turn::new());
    server.router.save_sessions().await.unwrap();
    let server = server.restarted();
    server.router.restore_sessions().await.unwrap();
    assert_eq!(server.router.available_resources(&account("bob")).len(), 1, "its presence is still there");
    let mut alice = server.connect("alice").await;
    alice.send(&chat(BOB, "two")).await;
    // The answer to the request for copies was handled, the message was not.
    let (bob, h) = resume(&server, &id, 1).await.unwrap();
    assert_eq!(h, 1);
    bob.inbox.wait("the last", has_body("two")).await;
    let texts: Vec<_> = bob.inbox.stanzas().iter().filter_map(body).collect();
    assert_eq!(texts, ["one", "two"]);
}

#[tokio::test]
async fn xep0198_after_a_kill_the_count_is_known_and_nothing_acknowledged_is_lost() {
    let (server, mut alice, mut bob) = two(without_archive()).await;
    let id = bob.session.enable_counting(Resumable::Yes).await.unwrap().text();
    bob.send(&chat(ALICE, "from bob")).await;
    for number in 0..3 {
        alice.send(&chat(BOB, &number.to_string())).await;
    }
    bob.inbox.wait("the last", has_body("2")).await;
    let server = server.killed();
    // The client had two of the three.
    assert_eq!(resume(&server, &id, 2).await.err(), Some(NotResumed::Unknown(Some(1))));
    let mut bob = server.connect_with("bob", "desk", instead_of(&id)).await;
    bob.send("<presence xmlns='jabber:client'/>").await;
    bob.inbox.wait("what it had not", has_body("2")).await;
    let texts: Vec<_> = bob.inbox.stanzas().iter().filter_map(body).collect();
    assert_eq!(texts, ["2"], "and nothing twice");
}

fn instead_of(id: &str) -> SessionFacts {
    SessionFacts { instead_of: Some(id.to_owned()), ..SessionFacts::default() }
}

#[tokio::test]
async fn xep0198_after_a_kill_each_device_gets_what_it_had_not_and_no_other_ones() {
    let (server, mut alice, mut desk) = two(without_archive()).await;
    let mut phone = server.connect_as("bob", "phone").await;
    phone.send("<presence xmlns='jabber:client'/>").await;
    let of_desk = desk.session.enable_counting(Resumable::Yes).await.unwrap().text();
    let of_phone = phone.session.enable_counting(Resumable::Yes).await.unwrap().text();
    for text in ["one", "two"] {
        alice.send(&chat(BOB, text)).await;
    }
    desk.inbox.wait("the last", has_body("two")).await;
    phone.inbox.wait("the last", has_body("two")).await;
    let server = server.killed();
    // The desk had the first, the phone nothing.
    assert!(resume(&server, &of_desk, 1).await.is_err());
    assert!(resume(&server, &of_phone, 0).await.is_err());
    let mut desk = server.connect_with("bob", "desk", instead_of(&of_desk)).await;
    let mut phone = server.connect_with("bob", "phone", instead_of(&of_phone)).await;
    desk.send("<presence xmlns='jabber:client'/>").await;
    phone.send("<presence xmlns='jabber:client'/>").await;
    for (device, expected) in [(&desk, &["two"][..]), (&phone, &["one", "two"])] {
        device.inbox.wait("the last", has_body("two")).await;
        let texts: Vec<_> = device.inbox.stanzas().iter().filter_map(body).collect();
        assert_eq!(texts, expected);
    }
}

#[tokio::test]
async fn xep0352_what_can_wait_is_let_out_in_order_before_what_cannot() {
    let (_server, mut alice, mut bob) = two(Settings::default()).await;
    bob.send(&format!("<presence xmlns='jabber:client' type='subscribed' to='{ALICE}'/>")).await;
    bob.session.set_attention(Attention::Inactive, &mut Turn::new());
    let before = bob.inbox.stanzas().len();
    for status in ["a", "b", "c"] {
        alice
            .send(&format!("<presence xmlns='jabber:client' to='{BOB}/desk'><status>{status}</status></presence>"))
            .await;
    }
    assert_eq!(bob.inbox.stanzas().len(), before, "presence waits");
    alice.send(&chat(BOB, "look")).await;
    bob.inbox.wait("it", has_body("look")).await;
    let came: Vec<String> = bob.inbox.stanzas().split_off(before).iter().map(written).collect();
    assert_eq!(came.len(), 2, "{came:?}");
    assert!(came[0].contains("<status>c</status>"), "only the newest, and first: {came:?}");
}

#[tokio::test]
async fn abuse_76_a_blocked_sender_reaches_no_device_and_no_archive() {
    let (_server, mut alice, mut bob) = two(Settings::default()).await;
    assert_eq!(
        bob.ask("get", "", "<blocklist xmlns='urn:xmpp:blocking'/>").await.unwrap(),
        "<blocklist xmlns='urn:xmpp:blocking'/>"
    );
    let block = |jid: &str| format!("<block xmlns='urn:xmpp:blocking'><item jid='{jid}'/></block>");
    bob.ask("set", "", &block(ALICE)).await.unwrap();
    bob.inbox.wait("the push", |stanza| written(stanza).contains("<block xmlns='urn:xmpp:blocking'>")).await;
    alice.send(&chat(BOB, "hello?")).await;
    let error = alice.inbox.wait("the error", |stanza| stanza.error().is_some()).await;
    assert_eq!(error.error().unwrap().condition.name(), "service-unavailable", "XEP-0191 §3.2");
    assert!(bob.inbox.stanzas().iter().all(|stanza| !has_body("hello?")(stanza)));
    assert!(page(&mut bob, "").await.0.is_empty());
    bob.send(&chat(ALICE, "hm")).await;
    let error = bob.inbox.wait("the error", |stanza| stanza.error().is_some()).await;
    assert!(written(&error).contains("not-acceptable") && written(&error).contains("urn:xmpp:blocking:errors"));
    assert_eq!(bob.ask("set", "", &block(BOB)).await, Err("not-allowed"));
    assert_eq!(bob.ask("set", "", "<block xmlns='urn:xmpp:blocking'/>").await, Err("bad-request"));
    bob.ask("set", "", "<unblock xmlns='urn:xmpp:blocking'/>").await.unwrap();
    alice.send(&chat(BOB, "again")).await;
    bob.inbox.wait("it", has_body("again")).await;
}

#[tokio::test]
async fn xep0357_devices_are_woken_when_nobody_looks_and_forgotten_on_permanent_errors_only() {
    let (server, mut alice, mut bob) = two(Settings::default()).await;
    let enable = "<enable xmlns='urn:xmpp:push:0' jid='push.elsewhere.example' node='n1'>\
                  <x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
                  <value>http://jabber.org/protocol/pubsub#publish-options</value></field>\
                  <field var='secret'><value>s</value></field></x></enable>";
    bob.ask("set", "", enable).await.unwrap();
    alice.send(&chat(BOB, "awake")).await;
    bob.inbox.wait("it", has_body("awake")).await;
    assert!(server.elsewhere().stanzas().is_empty(), "whoever looks is not woken");
    bob.session.set_attention(Attention::Inactive, &mut Turn::new());
    alice.send(&chat(BOB, "asleep")).await;
    let notification =
        server.elsewhere().wait("the notification", |stanza| written(stanza).contains("urn:xmpp:push:0")).await;
    let text = written(&notification);
    assert!(
        text.contains("node='n1'") && text.contains("publish-options") && text.contains("<value>s</value>"),
        "{text}"
    );
    assert!(!text.contains("asleep") && !text.contains(ALICE), "nothing of the message: {text}");
    assert_eq!(notification.from().unwrap().as_str(), BOB);
    // A passing failure changes nothing; a permanent one ends the registration.
    server
        .answer_from_elsewhere(
            &notification,
            "<error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
        )
        .await;
    alice.send(&chat(BOB, "still asleep")).await;
    let second = server
        .elsewhere()
        .wait("the second", |stanza| written(stanza).contains("urn:xmpp:push:0") && stanza.id() != notification.id())
        .await;
    server
        .answer_from_elsewhere(
            &second,
            "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
        )
        .await;
    server.wait_for_no_registrations("bob").await;
    let composing = format!(
        "<message xmlns='jabber:client' to='{BOB}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
    );
    alice.send(&composing).await;
    alice.send(&chat(BOB, "gone")).await;
    assert_eq!(server.elsewhere().stanzas().len(), 2);
}

#[tokio::test]
async fn xep0386_3_2_what_comes_between_a_bind_and_its_answer_is_counted() {
    let server = Server::start(Settings::default()).await;
    let mut alice = server.connect("alice").await;
    let facts = SessionFacts { counts: Some(Resumable::Yes), ..SessionFacts::default() };
    let mut bob = server.connect_with("bob", "desk", facts).await;
    alice.send(&chat("bob@stone.example/desk", "early")).await;
    bob.inbox.wait("it", has_body("early")).await;
    let id = bob.session.enable_counting(Resumable::Yes).await.unwrap().text();
    assert_eq!(bob.session.acknowledged(2, &mut Turn::new()), Err(1), "one was sent");
    bob.session.end(Ending::Lost, &mut Turn::new());
    let (bob, _) = resume(&server, &id, 0).await.unwrap();
    bob.inbox.wait("what was not acknowledged", has_body("early")).await;
}
