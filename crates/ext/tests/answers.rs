//! What each handler answers, by who asks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;
use stonechat_jid::BareJid;
use stonechat_router::Clock;
use stonechat_router::{Settings, Turn};
use stonechat_store::Accounts;
use stonechat_xml::Element;
use support::{ALICE, CAROL, DOMAIN, NOBODY, Server, answer_of, domain, held, written};

const LAST: &str = "<query xmlns='jabber:iq:last'/>";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

/// Every request that some handler takes for an account.
const TO_ACCOUNTS: &[(&str, &str)] = &[
    ("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
    ("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>"),
    ("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>"),
    ("get", "<query xmlns='http://jabber.org/protocol/disco#items' node='x'/>"),
    ("get", LAST),
    ("get", "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>"),
    ("set", "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>"),
    ("set", "<query xmlns='jabber:iq:private'/>"),
    ("get", "<vCard xmlns='vcard-temp'/>"),
    ("set", "<vCard xmlns='vcard-temp'><FN>Mallory</FN></vCard>"),
    ("get", "<query xmlns='jabber:iq:register'/>"),
    ("set", "<query xmlns='jabber:iq:register'><remove/></query>"),
    ("set", "<query xmlns='jabber:iq:register'><username>x</username><password>a secret</password></query>"),
    ("get", PING),
    ("get", "<query xmlns='jabber:iq:roster'/>"),
    ("set", "<query xmlns='jabber:iq:roster'><item jid='x@y.example'/></query>"),
    ("get", "<query xmlns='jabber:iq:version'/>"),
    ("get", "<list xmlns='urn:xmpp:cam:0'/>"),
    ("set", "<revoke xmlns='urn:xmpp:cam:0' id='device-x'/>"),
    ("get", "<query xmlns='urn:nobody:answers'/>"),
    ("set", "<query xmlns='urn:nobody:answers'/>"),
];

#[tokio::test(flavor = "multi_thread")]
async fn gets_to_an_account_by_owner_subscriber_stranger_and_where_there_is_none() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut bob, mut carol) =
        (server.connect("alice").await, server.connect("bob").await, server.connect("carol").await);
    alice.send("<presence xmlns='jabber:client'/>").await;
    let (gone, forbidden) = (Err("service-unavailable"), Err("forbidden"));
    let missing = Err("item-not-found");
    let registered = Ok("type='registered'");
    let table: [(&str, [Result<&str, &str>; 3]); 10] = [
        ("<query xmlns='http://jabber.org/protocol/disco#info'/>", [registered, registered, gone]),
        ("<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>", [missing, missing, gone]),
        ("<query xmlns='http://jabber.org/protocol/disco#items'/>", [Ok("disco#items"), Ok("disco#items"), gone]),
        ("<query xmlns='http://jabber.org/protocol/disco#items' node='x'/>", [missing, missing, gone]),
        (LAST, [Ok("seconds='0'"), Ok("seconds='0'"), forbidden]),
        ("<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>", [Ok("urn:a"), forbidden, forbidden]),
        ("<vCard xmlns='vcard-temp'/>", [Ok("<vCard xmlns='vcard-temp'/>"), missing, missing]),
        ("<query xmlns='jabber:iq:register'/>", [Ok("<registered/>"), forbidden, forbidden]),
        (PING, [Ok(""), Ok(""), gone]),
        // Abuse case 67.
        ("<query xmlns='urn:nobody:answers'/>", [gone, gone, gone]),
    ];
    for (payload, [owner, subscriber, stranger]) in table {
        held(payload, &alice.ask("get", ALICE, payload).await, &owner);
        held(payload, &alice.ask("get", "", payload).await, &owner);
        held(payload, &bob.ask("get", ALICE, payload).await, &subscriber);
        held(payload, &carol.ask("get", ALICE, payload).await, &stranger);
        held(payload, &carol.ask("get", NOBODY, payload).await, &stranger);
        held(payload, &answer_of(&server.ask_from_elsewhere("get", ALICE, payload).await), &stranger);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0012_8_no_answer_tells_a_stranger_whether_an_account_exists() {
    let server = Server::start(Settings::default()).await;
    let mut carol = server.connect("carol").await;
    let without = |text: String, name: &str| text.replace(name, "somebody@stone.example");
    for (kind, payload) in TO_ACCOUNTS {
        for (there, absent) in [
            (carol.ask_whole(kind, ALICE, payload).await, carol.ask_whole(kind, NOBODY, payload).await),
            (
                server.ask_from_elsewhere(kind, ALICE, payload).await,
                server.ask_from_elsewhere(kind, NOBODY, payload).await,
            ),
        ] {
            let mut absent = absent;
            absent.head_mut().id = there.id().cloned();
            assert_eq!(without(written(&there), ALICE), without(written(&absent), NOBODY), "{kind} {payload}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gets_to_the_domain() {
    let contacts = vec![("abuse-addresses".to_owned(), vec!["xmpp:admin@stone.example".to_owned()])];
    let server = Server::start(Settings { contacts, ..Settings::default() }).await;
    server.clock.forward(Duration::from_secs(77));
    let mut carol = server.connect("carol").await;
    for (payload, expected) in [
        ("<query xmlns='http://jabber.org/protocol/disco#info'/>", Ok("category='server' type='im'")),
        ("<query xmlns='http://jabber.org/protocol/disco#info'/>", Ok("msgoffline")),
        (
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
            Ok("<field var='abuse-addresses' type='list-multi'><value>xmpp:admin@stone.example</value></field>"),
        ),
        ("<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>", Err("item-not-found")),
        ("<query xmlns='http://jabber.org/protocol/disco#items'/>", Ok("disco#items")),
        ("<query xmlns='http://jabber.org/protocol/disco#items' node='x'/>", Err("item-not-found")),
        (LAST, Ok("seconds='77'")),
        ("<query xmlns='jabber:iq:version'/>", Ok(env!("CARGO_PKG_VERSION"))),
        ("<time xmlns='urn:xmpp:time'/>", Ok("<tzo>+00:00</tzo><utc>2023-11-14T22:14:37.000Z</utc>")),
        (PING, Ok("")),
        ("<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>", Err("service-unavailable")),
        ("<vCard xmlns='vcard-temp'/>", Err("service-unavailable")),
        ("<query xmlns='urn:nobody:answers'/>", Err("service-unavailable")),
        // Of a known namespace, but no such element.
        ("<pong xmlns='urn:xmpp:ping'/>", Err("service-unavailable")),
    ] {
        held(payload, &carol.ask("get", DOMAIN, payload).await, &expected);
        held(payload, &answer_of(&server.ask_from_elsewhere("get", DOMAIN, payload).await), &expected);
    }
    let version = carol.ask("get", DOMAIN, "<query xmlns='jabber:iq:version'/>").await.unwrap();
    assert!(!version.contains("<os"), "the operating system is nobody's business: {version}");
    held("there is nothing to set", &carol.ask("set", DOMAIN, PING).await, &Err("service-unavailable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0030_3_1_what_the_domain_and_an_account_announce() {
    let server = Server::start(Settings::default()).await;
    let mut alice = server.connect("alice").await;
    let mut told = Vec::new();
    for to in [DOMAIN, ALICE] {
        let answer = alice.ask("get", to, "<query xmlns='http://jabber.org/protocol/disco#info'/>").await.unwrap();
        let info = Element::parse(answer.as_bytes(), "").unwrap();
        let of = |name: &str, attribute: &str| {
            let children = info.children().filter(|child| child.name() == name);
            let mut values: Vec<String> =
                children.filter_map(|child| child.attribute(attribute)).map(str::to_owned).collect();
            values.sort_unstable();
            values
        };
        assert!(!info.children().any(|child| child.is("x", "jabber:x:data")), "no contacts, no form (XEP-0157)");
        told.push((of("identity", "name"), of("feature", "var")));
    }
    let [(name, domain), (nameless, account)] = told.try_into().unwrap_or_else(|_| panic!("two answers"));
    assert_eq!((name, nameless), (vec!["Stonechat".to_owned()], Vec::new()));
    assert_eq!(
        domain,
        [
            "http://jabber.org/protocol/caps",
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/disco#items",
            "jabber:iq:last",
            "jabber:iq:private",
            "jabber:iq:register",
            "jabber:iq:version",
            "msgoffline",
            "urn:xmpp:blocking",
            "urn:xmpp:carbons:2",
            "urn:xmpp:carbons:rules:0",
            "urn:xmpp:ping",
            "urn:xmpp:reporting:1",
            "urn:xmpp:time",
            "vcard-temp",
        ]
    );
    assert_eq!(
        account,
        [
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/disco#items",
            "jabber:iq:last",
            "jabber:iq:private",
            "urn:xmpp:cam:0",
            "urn:xmpp:fulltext:0",
            "urn:xmpp:mam:2",
            "urn:xmpp:mam:2#extended",
            "urn:xmpp:ping",
            "urn:xmpp:push:0",
            "urn:xmpp:sid:0",
            "vcard-temp",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_66_results_and_errors_are_never_answered() {
    let server = Server::start(Settings::default()).await;
    let mut carol = server.connect("carol").await;
    for to in [DOMAIN, CAROL, NOBODY] {
        carol.send(&format!("<iq xmlns='jabber:client' type='result' id='a' to='{to}'>{PING}</iq>")).await;
        let error = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
        carol.send(&format!("<iq xmlns='jabber:client' type='error' id='b' to='{to}'>{PING}{error}</iq>")).await;
    }
    held("ping", &carol.ask("get", DOMAIN, PING).await, &Ok(""));
    assert_eq!(carol.inbox.stanzas().len(), 1, "only the ping was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0115_6_2_the_announced_node_answers_what_it_hashes() {
    let contacts = vec![("abuse-addresses".to_owned(), vec!["xmpp:admin@stone.example".to_owned()])];
    let mut seen = Vec::new();
    for settings in [Settings::default(), Settings { contacts, ..Settings::default() }] {
        let server = Server::start(settings).await;
        let mut carol = server.connect("carol").await;
        let features = server.router.features_after_authentication(&domain());
        for name in ["ver", "sub", "c"] {
            assert!(features.iter().any(|feature| feature.name() == name), "{name}");
        }
        let caps = features.iter().find(|feature| feature.name() == "c").unwrap();
        let node = format!("{}#{}", caps.attribute("node").unwrap(), caps.attribute("ver").unwrap());
        let payload = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>");
        let answer = carol.ask("get", DOMAIN, &payload).await.unwrap();
        let info = Element::parse(answer.as_bytes(), "").unwrap();
        assert_eq!(info.attribute("node"), Some(node.as_str()));
        assert_eq!(Some(stonechat_ext::xep_0115::verification_string(&info).as_str()), caps.attribute("ver"));
        seen.push(node);
    }
    assert_ne!(seen[0], seen[1], "a form is part of what is hashed");
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0012_3_a_subscriber_is_told_since_when_and_the_last_status() {
    let server = Server::start(Settings::default()).await;
    let mut bob = server.connect("bob").await;
    let leave = |words: &'static str| format!("<presence xmlns='jabber:client' type='unavailable'>{words}</presence>");
    for (words, expected) in [
        (
            Some(leave("<status>to the hills</status>")),
            "<query xmlns='jabber:iq:last' seconds='90'>to the hills</query>",
        ),
        // The connection broke: the status of the time before says nothing any more.
        (None, "<query xmlns='jabber:iq:last' seconds='90'/>"),
        (Some(leave("")), "<query xmlns='jabber:iq:last' seconds='90'/>"),
    ] {
        let mut alice = server.connect("alice").await;
        alice.send("<presence xmlns='jabber:client'/>").await;
        held("while she is there", &bob.ask("get", ALICE, LAST).await, &Ok("seconds='0'"));
        if let Some(words) = words {
            alice.send(&words).await;
        } else {
            alice.send(&leave("<status>back at once</status>")).await;
            alice.send("<presence xmlns='jabber:client'/>").await;
        }
        alice.session.end(stonechat_router::Ending::Closed, &mut Turn::new());
        server.clock.forward(Duration::from_secs(90));
        assert_eq!(bob.ask("get", ALICE, LAST).await.as_deref(), Ok(expected));
    }
    let presence = server.router.context().presence(&BareJid::parse(NOBODY).unwrap()).await;
    assert_eq!(presence, stonechat_router::AccountPresence::Absent);
}

#[tokio::test]
async fn xep0012_3_the_end_of_a_session_is_known_at_once_and_stored_before_an_orderly_end() {
    let server = Server::start(Settings::default()).await;
    let jid = BareJid::parse(ALICE).unwrap();
    let mut alice = server.connect("alice").await;
    alice.send("<presence xmlns='jabber:client'/>").await;
    alice.send("<presence xmlns='jabber:client' type='unavailable'><status>gone</status></presence>").await;
    alice.session.end(stonechat_router::Ending::Closed, &mut Turn::new());
    let stored = server.store.account(&jid).await.unwrap().unwrap();
    assert_eq!(stored.last_activity, None, "no commit is made for it alone");
    let (at, status) = server.router.last_activity(&stored).unwrap();
    assert_eq!(status, "gone");
    server.router.save_sessions().await.unwrap();
    let stored = server.store.account(&jid).await.unwrap().unwrap();
    assert_eq!(stored.last_activity, Some((at, "gone".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn xep0012_3_ends_of_sessions_are_stored_after_a_while() {
    let server = Server::start(Settings::default()).await;
    let jid = BareJid::parse(ALICE).unwrap();
    for _ in 0..2 {
        let mut alice = server.connect("alice").await;
        alice.send("<presence xmlns='jabber:client'/>").await;
        alice.session.end(stonechat_router::Ending::Closed, &mut Turn::new());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let expected = server.clock.unix().as_secs();
        let stored = server.store.account(&jid).await.unwrap().unwrap();
        assert_eq!(stored.last_activity.map(|(at, _)| at), Some(expected));
        server.clock.forward(Duration::from_secs(90));
    }
}
