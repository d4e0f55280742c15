//! XEP-0077: making an account, changing its password, removing it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;
use stonechat_router::{RegistrationMode, Settings, Turn};
use stonechat_store::{AccountXml, Offline, Rosters, XmlKind};
use support::{
    ALICE, CAROL, DOMAIN, DONE, Event, NOBODY, PASSWORD, Server, UNAVAILABLE, answer_of, domain, held, written,
};

fn fields(name: &str, password: &str) -> String {
    format!("<username>{name}</username><password>{password}</password>")
}

fn query(inner: &str) -> String {
    format!("<query xmlns='jabber:iq:register'>{inner}</query>")
}

fn open() -> Settings {
    Settings { registration: RegistrationMode::Open, ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0077_8_registration_is_offered_only_where_it_is_open() {
    let server = Server::start(Settings::default()).await;
    assert!(server.router.features_before_authentication(&domain()).is_empty());
    assert_eq!(answer_of(&server.register("get", "").await), UNAVAILABLE);
    assert_eq!(answer_of(&server.register("set", &fields("dave", "a secret")).await), UNAVAILABLE);
    assert_eq!(server.account_id("dave").await, None);

    // A reload opens it.
    server.router.set_settings(open());
    assert!(server.router.features_before_authentication(&domain()).iter().any(|f| f.name() == "register"));
    let form = answer_of(&server.register("get", "").await);
    for part in ["<instructions>", "<username/>", "<password/>"] {
        held("§3.1", &form, &Ok(part));
    }
    assert_eq!(answer_of(&server.register("set", &fields("dave", "a secret")).await), DONE);
    assert!(server.has_password("dave", "a secret").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0077_3_1_names_and_passwords_that_will_not_do() {
    let server = Server::start(open()).await;
    for (name, password, condition) in [
        ("alice", "a secret", "conflict"),
        // The same name to whoever reads or types it.
        ("ALICE", "a secret", "conflict"),
        ("\u{ff41}lice", "a secret", "conflict"),
        ("a b", "a secret", "not-acceptable"),
        ("a@b", "a secret", "not-acceptable"),
        ("\u{200b}dave", "a secret", "not-acceptable"),
        ("\u{1f435}", "a secret", "not-acceptable"),
        ("", "a secret", "not-acceptable"),
        ("dave", "", "not-acceptable"),
        ("dave", "a sec&#x7f;ret", "not-acceptable"),
        ("dave", "short", "not-acceptable"),
        ("davina", "davina", "not-acceptable"),
    ] {
        let reply = server.register("set", &fields(name, password)).await;
        assert_eq!(answer_of(&reply), Err(condition), "{name:?} {password:?}");
    }
    assert_eq!(server.account_id("dave").await, None);
    // §3.2: nobody is registered on such a stream, whatever else the request has in it.
    let remove = format!("<remove/>{}", fields("dave", "a secret"));
    assert_eq!(answer_of(&server.register("set", &remove).await), Err("unexpected-request"));
    assert_eq!(server.account_id("dave").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0077_3_3_no_error_gives_a_password_back() {
    let server = Server::start(open()).await;
    let mut carol = server.connect("carol").await;
    let secret = fields("alice", "a very secret one");
    for reply in [
        server.register("set", &secret).await,
        carol.ask_whole("set", DOMAIN, &query(&secret)).await,
        carol.ask_whole("set", ALICE, &query(&secret)).await,
        carol.ask_whole("set", NOBODY, &query(&secret)).await,
        server.ask_from_elsewhere("set", ALICE, &query(&secret)).await,
        {
            server.router.set_settings(Settings::default());
            server.register("set", &secret).await
        },
    ] {
        assert!(reply.error().is_some());
        assert!(!written(&reply).contains("a very secret one"), "{}", written(&reply));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0077_3_3_the_password_is_changed_by_its_owner_alone() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut carol) = (server.connect("alice").await, server.connect("carol").await);
    for to in ["", ALICE, DOMAIN] {
        let told = alice.ask("get", to, &query("")).await;
        held("example 4", &told, &Ok("<registered/>"));
        held("example 4", &told, &Ok("<username>alice</username><password/>"));
    }
    let change = query(&fields("alice", "new secret"));
    assert_eq!(carol.ask("set", DOMAIN, &change).await, Err("not-allowed"));
    assert_eq!(carol.ask("set", ALICE, &change).await, Err("forbidden"));
    assert_eq!(answer_of(&server.ask_from_elsewhere("set", DOMAIN, &change).await), Err("forbidden"));
    for (inner, condition) in [
        (fields("alice", "short"), "not-acceptable"),
        (fields("alice", "a sec&#x7f;ret"), "not-acceptable"),
        // An empty password is none: the one there is stays.
        (fields("alice", ""), "bad-request"),
        ("<password>new secret</password>".to_owned(), "bad-request"),
    ] {
        assert_eq!(alice.ask("set", DOMAIN, &query(&inner)).await, Err(condition), "{inner}");
    }
    assert!(server.has_password("alice", PASSWORD).await);
    assert_eq!(alice.ask("set", DOMAIN, &change).await, DONE);
    assert!(server.has_password("alice", "new secret").await);
    assert!(!server.has_password("alice", PASSWORD).await);
    assert!(server.has_password("carol", PASSWORD).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0077_3_2_only_the_owner_removes_an_account_and_remove_stands_alone() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut carol) = (server.connect("alice").await, server.connect("carol").await);
    let remove = query("<remove/>");
    assert_eq!(carol.ask("set", ALICE, &remove).await, Err("forbidden"));
    assert_eq!(answer_of(&server.ask_from_elsewhere("set", ALICE, &remove).await), Err("forbidden"));
    assert_eq!(answer_of(&server.ask_from_elsewhere("set", DOMAIN, &remove).await), Err("forbidden"));
    assert_eq!(alice.ask("set", "", &query("<remove/><username>alice</username>")).await, Err("bad-request"));
    assert!(server.account_id("alice").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_156_157_a_removed_account_leaves_nothing_and_its_name_to_nobody_for_a_while() {
    let server = Server::start(open()).await;
    let (mut alice, mut bob, mut carol) =
        (server.connect("alice").await, server.connect("bob").await, server.connect("carol").await);
    // RFC 6121 §3.2.3: who asked for the roster is told of subscriptions.
    held("roster", &bob.ask("get", "", "<query xmlns='jabber:iq:roster'/>").await, &Ok("subscription='to'"));
    for client in [&mut alice, &mut bob] {
        client.send("<presence xmlns='jabber:client'/>").await;
    }
    let come =
        bob.inbox.wait("alice's presence", |s| s.from().is_some_and(|f| f.as_str() == "alice@stone.example/desk"));
    come.await;
    let card = "<vCard xmlns='vcard-temp'><FN>Alice</FN></vCard>";
    let private = "<query xmlns='jabber:iq:private'><a xmlns='urn:a'>kept</a></query>";
    assert_eq!(alice.ask("set", "", card).await, DONE);
    assert_eq!(alice.ask("set", "", private).await, DONE);
    let id = server.account_id("alice").await.unwrap();
    server.store.append_offline(id, 0, b"<message xmlns='jabber:client'/>".to_vec(), 10, 10_000).await.unwrap();

    assert_eq!(alice.ask("set", "", &query("<remove/>")).await, DONE);
    // §3.2: the answer first, then the end of the stream; and the contacts are told.
    let events = alice.inbox.events();
    let answered = events.iter().rposition(|event| matches!(event, Event::Stanza(_)));
    let closed = events.iter().position(|event| matches!(event, Event::Closed(Some("not-authorized"))));
    assert!(answered < closed, "{events:?}");
    for wanted in ["unavailable", "unsubscribed"] {
        let mark = format!("type='{wanted}'");
        bob.inbox.wait(wanted, |s| written(s).contains(ALICE) && written(s).contains(&mark)).await;
    }
    bob.inbox.wait("roster push", |s| written(s).contains("subscription='none'")).await;
    alice.session.end(stonechat_router::Ending::Closed, &mut Turn::new());

    assert_eq!(server.account_id("alice").await, None);
    assert!(server.store.roster(id).await.unwrap().entries.is_empty());
    assert_eq!(server.store.count_offline(id).await.unwrap(), 0);
    assert_eq!(server.store.xml(id, XmlKind::VCard, "").await.unwrap(), None);
    assert_eq!(server.store.xml(id, XmlKind::Private, "{urn:a}a").await.unwrap(), None);
    assert_eq!(carol.ask("get", ALICE, "<vCard xmlns='vcard-temp'/>").await, Err("item-not-found"));

    let again = fields("alice", "a secret");
    assert_eq!(answer_of(&server.register("set", &again).await), Err("conflict"));
    server.clock.forward(Duration::from_secs(Settings::default().tombstone_seconds + 1));
    assert_eq!(answer_of(&server.register("set", &again).await), DONE);
    let mut newcomer = server.connect("alice").await;
    held("vCard", &newcomer.ask("get", "", "<vCard xmlns='vcard-temp'/>").await, &Ok("<vCard xmlns='vcard-temp'/>"));
    let empty = "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>";
    assert_eq!(newcomer.ask("get", "", empty).await.as_deref(), Ok(empty));
    let roster = newcomer.ask("get", "", "<query xmlns='jabber:iq:roster'/>").await.unwrap();
    assert!(!roster.contains("<item"), "{roster}");
    // Bob no longer sees alice's presence: what he saw was another's.
    assert_eq!(bob.ask("get", ALICE, "<query xmlns='jabber:iq:last'/>").await, Err("forbidden"));
    assert_ne!(server.account_id("alice").await, Some(id));
    assert_eq!(carol.ask("get", CAROL, "<ping xmlns='urn:xmpp:ping'/>").await, DONE);
}
