//! Private XML and vCards: whose they are, what comes back, and how much.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use stonechat_router::{Settings, Turn};
use stonechat_store::{AccountXml, Error, XmlKind};
use stonechat_xml::Element;
use support::{ALICE, DONE, NOBODY, Server, held};

fn card(text: &str) -> String {
    format!("<vCard xmlns='vcard-temp'><FN>{text}</FN></vCard>")
}

fn private(inner: &str) -> String {
    format!("<query xmlns='jabber:iq:private'>{inner}</query>")
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_their_owners_to_write_and_bounded() {
    let server = Server::start(Settings { max_documents: 2_000, ..Settings::default() }).await;
    let (mut alice, mut bob, mut carol) =
        (server.connect("alice").await, server.connect("bob").await, server.connect("carol").await);
    let long = "x".repeat(3_000);
    for stranger in [&mut bob, &mut carol] {
        for to in [ALICE, NOBODY] {
            assert_eq!(stranger.ask("set", to, &card("Mallory")).await, Err("forbidden"));
            assert_eq!(stranger.ask("set", to, &private("<a xmlns='urn:a'>m</a>")).await, Err("forbidden"));
        }
    }
    assert_eq!(alice.ask("set", "", &card("Alice")).await, DONE);
    assert_eq!(alice.ask("set", "", &private("<a xmlns='urn:a'>kept</a>")).await, DONE);
    assert_eq!(alice.ask("set", "", &card(&long)).await, Err("resource-constraint"));
    let too_much = private(&format!("<b xmlns='urn:b'>{long}</b>"));
    assert_eq!(alice.ask("set", "", &too_much).await, Err("resource-constraint"));
    held("kept", &alice.ask("get", "", &private("<a xmlns='urn:a'/>")).await, &Ok("kept"));
    alice.session.end(stonechat_router::Ending::Closed, &mut Turn::new());
    // XEP-0054 §3.3: also while she is away.
    held("away", &carol.ask("get", ALICE, "<vCard xmlns='vcard-temp'/>").await, &Ok("Alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0049_2_3_one_element_in_a_namespace_of_its_own() {
    let server = Server::start(Settings::default()).await;
    let mut alice = server.connect("alice").await;
    for kind in ["get", "set"] {
        for (inner, condition) in [
            ("", "bad-request"),
            ("text alone", "bad-request"),
            ("<a xmlns='urn:a'/><b xmlns='urn:b'/>", "bad-request"),
            ("<a/>", "not-acceptable"),
            ("<a xmlns=''/>", "not-acceptable"),
        ] {
            assert_eq!(alice.ask(kind, "", &private(inner)).await, Err(condition), "{kind} {inner}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn xep0049_what_was_stored_comes_back_in_meaning_and_white_space() {
    let server = Server::start(Settings::default()).await;
    let mut alice = server.connect("alice").await;
    for document in [
        "<s xmlns='urn:s'/>",
        "<s xmlns='urn:s'> two  spaces &lt;kept&gt; \n\t and lines&#xD;\n</s>",
        "<s xmlns='urn:s' mark='a&amp;b &quot;&apos; &#xA;&#x9;&#xD;'><x/> <x> </x>\n<y>tail</y>end</s>",
        "<p:s xmlns:p='urn:s' p:a='1' a='2' xml:lang='de'><p:x/><x xmlns=''><y xmlns='urn:y'/></x></p:s>",
        "<s xmlns='urn:s'><![CDATA[<not> & an element]]>\u{1f435} \u{d55c}</s>",
        "<s xmlns='urn:s'><conference xmlns='storage:bookmarks' jid='a@b.example'/></s>",
    ] {
        let key = private("<s xmlns='urn:s'/>");
        assert_eq!(alice.ask("set", "", &private(document)).await, DONE, "{document}");
        let answer = alice.ask("get", "", &key).await.unwrap();
        let query = Element::parse(answer.as_bytes(), "").unwrap();
        let expected = Element::parse(document.as_bytes(), "jabber:iq:private").unwrap();
        assert_eq!(query.children().collect::<Vec<_>>(), [&expected], "{document}");
    }
    // By namespace and name: each is for itself.
    assert_eq!(alice.ask("set", "", &private("<t xmlns='urn:s'>other</t>")).await, DONE);
    held("the first", &alice.ask("get", "", &private("<s xmlns='urn:s'/>")).await, &Ok("conference"));
    held("another name", &alice.ask("get", "", &private("<t xmlns='urn:s'/>")).await, &Ok("other"));
    let elsewhere = alice.ask("get", "", &private("<s xmlns='urn:other'><asked/></s>")).await;
    held("another namespace", &elsewhere, &Ok("<s xmlns='urn:other'><asked/></s>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_again_is_refused_at_once() {
    let server = Server::start(Settings::default()).await;
    let mut alice = server.connect("alice").await;
    assert_eq!(alice.ask("set", "", &private("<s xmlns='urn:s'>kept</s>")).await, DONE);
    // Within the limits of a stanza, but not when each attribute declares its prefix, or each character is escaped.
    let attributes: String = (0..120).map(|number| format!(" p:a{number}='1'")).collect();
    let escaped = ">".repeat(250_000);
    for document in
        [format!("<s xmlns='urn:s' xmlns:p='urn:p'{attributes}/>"), format!("<s xmlns='urn:s'>{escaped}</s>")]
    {
        assert_eq!(alice.ask("set", "", &private(&document)).await, Err("not-acceptable"));
        held("as before", &alice.ask("get", "", &private("<s xmlns='urn:s'/>")).await, &Ok("kept"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_document_is_never_taken_for_an_empty_one() {
    let server = Server::start(Settings::default()).await;
    let (mut alice, mut carol) = (server.connect("alice").await, server.connect("carol").await);
    let id = server.account_id("alice").await.unwrap();
    let damaged = || Some(b"<s xmlns='urn:s'>".to_vec());
    server.store.put_xml(id, XmlKind::Private, "{urn:s}s", damaged(), 1_000).await.unwrap();
    server.store.put_xml(id, XmlKind::VCard, "", damaged(), 1_000).await.unwrap();
    let failed = Err("internal-server-error");
    assert_eq!(alice.ask("get", "", &private("<s xmlns='urn:s'/>")).await, failed);
    assert_eq!(alice.ask("get", "", "<vCard xmlns='vcard-temp'/>").await, failed);
    assert_eq!(carol.ask("get", ALICE, "<vCard xmlns='vcard-temp'/>").await, failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_says_is_not_told_to_clients() {
    let server = Server::start(Settings::default()).await;
    let mut alice = server.connect("alice").await;
    type Failure = fn() -> Error;
    let failures: [(Failure, &str); 3] = [
        (|| Error::Full("/var/lib/secret-path is full".into()), "resource-constraint"),
        (|| Error::Overloaded, "resource-constraint"),
        (|| Error::Backend("secret-path".into()), "internal-server-error"),
    ];
    for (failure, condition) in failures {
        server.store.fail_writes_with(Some(failure));
        for payload in [private("<a xmlns='urn:a'/>"), card("Alice")] {
            let reply = alice.ask_whole("set", "", &payload).await;
            assert_eq!(support::answer_of(&reply), Err(condition));
            assert!(!support::written(&reply).contains("secret-path"));
        }
    }
}
