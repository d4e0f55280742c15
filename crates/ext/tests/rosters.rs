//! Rosters as clients change them and catch up with them (RFC 6121 §2).

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use stonechat_router::Settings;
use stonechat_stanza::Stanza;
use stonechat_xml::Element;
use support::{CAROL, Client, Server, written};

const ROSTER: &str = "jabber:iq:roster";

/// What a roster or a push of one says: its version, and of each item the address and the subscription.
fn told(query: &Element) -> (String, Vec<(String, String)>) {
    let items = query.children().map(|item| {
        let of = |name| item.attribute(name).unwrap_or_default().to_owned();
        (of("jid"), of("subscription"))
    });
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    (query.attribute("ver").unwrap_or_default().to_owned(), items)
}

fn roster_of(stanza: &Stanza) -> Option<Element> {
    Element::parse(written(stanza).as_bytes(), "jabber:client").unwrap().child("query", ROSTER).cloned()
}

/// The whole roster.
async fn whole(client: &mut Client) -> (String, Vec<(String, String)>) {
    told(&roster_of(&client.ask_whole("get", "", "<query xmlns='jabber:iq:roster'/>").await).expect("a roster"))
}

/// The pushes that were sent so far.
fn pushes(client: &Client) -> Vec<(String, Vec<(String, String)>)> {
    let pushed = client.inbox.stanzas();
    let pushed = pushed.iter().filter(|stanza| written(stanza).contains("type='set'"));
    pushed.filter_map(roster_of).map(|query| told(&query)).collect()
}

async fn set(client: &mut Client, item: &str) -> Result<String, String> {
    client.ask("set", "", &format!("<query xmlns='jabber:iq:roster'>{item}</query>")).await.map_err(str::to_owned)
}

fn none(jid: &str) -> (String, String) {
    (jid.to_owned(), "none".to_owned())
}

fn removed(jid: &str) -> (String, String) {
    (jid.to_owned(), "remove".to_owned())
}

#[tokio::test]
async fn rfc6121_2_5_what_is_removed_is_gone_and_who_was_away_is_told() {
    let server = Server::start(Settings::default()).await;
    let mut carol = server.connect("carol").await;
    assert_eq!(whole(&mut carol).await.1, []);
    for jid in ["x@far.example", "y@far.example"] {
        set(&mut carol, &format!("<item jid='{jid}'/>")).await.unwrap();
    }
    let (before, items) = whole(&mut carol).await;
    assert_eq!(items, [none("x@far.example"), none("y@far.example")]);
    set(&mut carol, "<item jid='x@far.example' subscription='remove'/>").await.unwrap();
    let (after, items) = whole(&mut carol).await;
    assert_eq!(items, [none("y@far.example")]);
    assert_eq!(pushes(&carol).last(), Some(&(after.clone(), vec![removed("x@far.example")])));
    let last = carol.inbox.stanzas().into_iter().rfind(|stanza| written(stanza).contains("'remove'")).unwrap();
    assert_eq!(last.from().map(ToString::to_string).as_deref(), Some(CAROL), "§2.1.6: from the account");
    assert_eq!(last.to().map(ToString::to_string), Some(carol.session.jid().to_string()));
    assert_eq!(
        set(&mut carol, "<item jid='x@far.example' subscription='remove'/>").await.unwrap_err(),
        "item-not-found"
    );

    // §2.6.3: a device that has the roster of before.
    let since = format!("<query xmlns='jabber:iq:roster' ver='{before}'/>");
    let mut phone = server.connect_as("carol", "phone").await;
    assert!(roster_of(&phone.ask_whole("get", "", &since).await).is_none());
    phone.ask("get", "stone.example", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
    assert_eq!(pushes(&phone), [(after, vec![removed("x@far.example")])]);
    // What came back is there, and was not removed.
    set(&mut carol, "<item jid='x@far.example'/>").await.unwrap();
    let (again, items) = whole(&mut carol).await;
    assert_eq!(items, [none("x@far.example"), none("y@far.example")]);
    let mut tablet = server.connect_as("carol", "tablet").await;
    assert!(roster_of(&tablet.ask_whole("get", "", &since).await).is_none());
    tablet.ask("get", "stone.example", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
    assert_eq!(pushes(&tablet), [(again, vec![none("x@far.example")])]);
}

#[tokio::test]
async fn abuse_80_a_roster_has_a_bound_and_its_owner_is_not_in_it() {
    let server = Server::start(Settings { max_roster: 2, ..Settings::default() }).await;
    let mut carol = server.connect("carol").await;
    for jid in ["x@far.example", "y@far.example"] {
        set(&mut carol, &format!("<item jid='{jid}'/>")).await.unwrap();
    }
    assert_eq!(set(&mut carol, "<item jid='z@far.example'/>").await.unwrap_err(), "resource-constraint");
    set(&mut carol, "<item jid='y@far.example' name='Y'/>").await.expect("what is there can be changed");
    assert_eq!(set(&mut carol, &format!("<item jid='{CAROL}'/>")).await.unwrap_err(), "not-allowed");
    assert_eq!(whole(&mut carol).await.1, [none("x@far.example"), none("y@far.example")]);
}

#[tokio::test]
async fn rfc6121_2_6_who_was_away_for_too_many_removals_gets_the_whole_roster() {
    let server = Server::start(Settings::default()).await;
    let mut carol = server.connect("carol").await;
    let (before, _) = whole(&mut carol).await;
    // One more than are remembered.
    for number in 0..1_001 {
        for rest in ["", "subscription='remove'"] {
            let item = format!("<item jid='x{number}@far.example' {rest}/>");
            let query = format!("<query xmlns='jabber:iq:roster'>{item}</query>");
            carol.send(&format!("<iq xmlns='jabber:client' type='set' id='s{number}'>{query}</iq>")).await;
        }
    }
    let mut phone = server.connect_as("carol", "phone").await;
    let since = format!("<query xmlns='jabber:iq:roster' ver='{before}'/>");
    let answer = roster_of(&phone.ask_whole("get", "", &since).await).expect("the whole roster");
    assert_eq!(told(&answer).1, []);
}
