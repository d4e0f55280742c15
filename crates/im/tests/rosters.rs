//! What a client may set (RFC 6121 §2.3.3, abuse cases 78 and 79), how items look, and versions (§2.6, abuse case 85).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use proptest::prelude::*;
use stonechat_im::roster::{
    MAX_GROUPS, MAX_NAME, RosterChange, RosterItem, RosterSet, VersionAnswer, changes, parse_set, removed_element,
    version_answer, version_text,
};
use stonechat_im::subscription::Subscription;
use stonechat_jid::BareJid;
use stonechat_stanza::{StanzaCondition, ns};
use stonechat_xml::Element;

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}
fn query(items: impl IntoIterator<Item = Element>) -> Element {
    Element::new("query", ns::ROSTER).with_children(items)
}
fn item(jid: &str) -> Element {
    Element::new("item", ns::ROSTER).with_attribute("jid", jid)
}
fn group(name: &str) -> Element {
    Element::new("group", ns::ROSTER).with_text(name)
}
fn refused(query: &Element) -> StanzaCondition {
    parse_set(query).unwrap_err().condition
}

#[test]
fn rfc6121_2_3_1_an_item_with_name_and_groups() {
    let set = parse_set(&query([item("Juliet@example.org")
        .with_attribute("name", "Juliet")
        .with_child(group("Friends"))
        .with_child(group("Capulets"))]));
    let expected = RosterSet::Update {
        jid: jid("juliet@example.org"),
        name: Some("Juliet".into()),
        groups: vec!["Friends".into(), "Capulets".into()],
    };
    assert_eq!(set.unwrap(), expected);
}

#[test]
fn rfc6121_2_5_1_removal() {
    let set = parse_set(&query([item("juliet@example.org").with_attribute("subscription", "remove")]));
    assert_eq!(set.unwrap(), RosterSet::Remove { jid: jid("juliet@example.org") });
}

#[test]
fn abuse_78_exactly_one_item() {
    assert_eq!(refused(&query([])), StanzaCondition::BadRequest);
    assert_eq!(refused(&query([item("a@example.org"), item("b@example.org")])), StanzaCondition::BadRequest);
    assert_eq!(refused(&query([Element::new("item", "urn:example:other")])), StanzaCondition::BadRequest);
    assert_eq!(refused(&query([Element::new("item", ns::ROSTER)])), StanzaCondition::BadRequest);
    assert_eq!(refused(&query([item("@example.org")])), StanzaCondition::JidMalformed);
}

#[test]
fn rfc6121_2_3_3_what_is_no_item_is_a_bad_request() {
    for other in [Element::new("thing", ns::ROSTER), Element::new("item", "urn:example:other")] {
        assert_eq!(refused(&query([other.with_attribute("jid", "a@example.org")])), StanzaCondition::BadRequest);
    }
}

#[test]
fn abuse_78_names_up_to_1023_bytes() {
    let named = |length: usize| query([item("a@example.org").with_attribute("name", "x".repeat(length))]);
    assert!(parse_set(&named(MAX_NAME)).is_ok());
    assert_eq!(refused(&named(MAX_NAME + 1)), StanzaCondition::NotAcceptable);
    // Bytes, not characters.
    let wide = query([item("a@example.org").with_attribute("name", "ü".repeat(512))]);
    assert_eq!(refused(&wide), StanzaCondition::NotAcceptable);
}

#[test]
fn abuse_78_groups() {
    let grouped = |groups: Vec<Element>| query([item("a@example.org").with_children(groups)]);
    assert_eq!(refused(&grouped(vec![group("A"), group("B"), group("A")])), StanzaCondition::BadRequest);
    assert_eq!(refused(&grouped(vec![group("")])), StanzaCondition::NotAcceptable);
    assert_eq!(refused(&grouped(vec![group(&"x".repeat(MAX_NAME + 1))])), StanzaCondition::NotAcceptable);
    assert!(parse_set(&grouped(vec![group(&"x".repeat(MAX_NAME))])).is_ok());
    let many = |count: usize| grouped((0..count).map(|n| group(&n.to_string())).collect());
    assert!(parse_set(&many(MAX_GROUPS)).is_ok());
    assert_eq!(refused(&many(MAX_GROUPS + 1)), StanzaCondition::NotAcceptable);
}

#[test]
fn abuse_79_other_values_of_subscription_and_ask_are_ignored() {
    let expected = RosterSet::Update { jid: jid("a@example.org"), name: None, groups: vec![] };
    for value in ["both", "to", "from", "none", "", "REMOVE", "nonsense"] {
        let set =
            query([item("a@example.org").with_attribute("subscription", value).with_attribute("ask", "subscribe")]);
        assert_eq!(parse_set(&set).unwrap(), expected, "{value}");
    }
}

#[test]
fn rfc6121_2_1_2_an_item_as_clients_see_it() {
    let mut item = RosterItem::new(jid("juliet@example.org"));
    item.name = Some("Juliet".into());
    item.groups = vec!["Friends".into()];
    item.subscription = Subscription { from: true, pending_out: true, ..Subscription::default() };
    let element = item.to_element();
    assert!(element.is("item", ns::ROSTER));
    assert_eq!(element.attribute("jid"), Some("juliet@example.org"));
    assert_eq!(element.attribute("name"), Some("Juliet"));
    assert_eq!(element.attribute("subscription"), Some("from"));
    assert_eq!(element.attribute("ask"), Some("subscribe"));
    assert_eq!(element.attribute("approved"), None);
    assert_eq!(element.child("group", ns::ROSTER).map(Element::text).as_deref(), Some("Friends"));

    item.subscription = Subscription { to: true, approved: true, pending_in: true, ..Subscription::default() };
    let element = item.to_element();
    assert_eq!(element.attribute("subscription"), Some("to"));
    assert_eq!(element.attribute("ask"), None);
    assert_eq!(element.attribute("approved"), Some("true"));
}

#[test]
fn rfc6121_2_6_versions() {
    let text = |version| version_text(version);
    let rows = [
        (None, VersionAnswer::Whole),
        (Some(String::new()), VersionAnswer::Whole),
        (Some(text(20)), VersionAnswer::Unchanged),
        (Some(text(19)), VersionAnswer::Changes { since: 19 }),
        (Some(text(10)), VersionAnswer::Changes { since: 10 }),
        (Some(text(9)), VersionAnswer::Whole),
        (Some(text(21)), VersionAnswer::Whole),
    ];
    for (client, answer) in rows {
        assert_eq!(version_answer(client.as_deref(), 20, 10), answer, "{client:?}");
    }
}

#[test]
fn abuse_85_a_forged_version_gets_the_whole_roster() {
    for forged in ["20", "r020", "r+20", "r-1", "r 20", "R20", "r20 ", "r18446744073709551616", "r", "' or 1=1"] {
        assert_eq!(version_answer(Some(forged), 20, 0), VersionAnswer::Whole, "{forged}");
    }
}

#[test]
fn rfc6121_2_6_3_changes_come_in_order_and_hidden_items_do_not() {
    let at = |name: &str, version, listed| RosterItem { listed, version, ..RosterItem::new(jid(name)) };
    let items = [
        at("d@example.org", 14, true),
        at("a@example.org", 11, true),
        at("old@example.org", 10, true),
        at("hidden@example.org", 13, false),
    ];
    let removed = [(jid("gone@example.org"), 12), (jid("long-gone@example.org"), 10)];
    let changes = changes(10, &items, &removed);
    let versions: Vec<u64> = changes.iter().map(RosterChange::version).collect();
    assert_eq!(versions, [11, 12, 14]);
    assert_eq!(changes[1].to_element(), removed_element(&removed[0].0));
    assert_eq!(changes[0].to_element(), items[1].to_element());
}

proptest! {
    /// A client that applies what it is sent, wherever it left off, ends with the roster of the server.
    #[test]
    fn rfc6121_2_6_a_client_catches_up_from_any_version(
        steps in proptest::collection::vec((0u8..6, any::<bool>()), 1..40),
        left_at in 0usize..40,
    ) {
        use std::collections::BTreeMap;
        let mut server: BTreeMap<BareJid, RosterItem> = BTreeMap::new();
        let mut removed: Vec<(BareJid, u64)> = Vec::new();
        let mut version = 0;
        let mut client: BTreeMap<String, String> = BTreeMap::new();
        let mut client_version = 0;
        for (index, (contact, present)) in steps.iter().enumerate() {
            let contact = jid(&format!("contact{contact}@example.org"));
            version += 1;
            removed.retain(|(gone, _)| *gone != contact);
            if *present {
                let name = Some(format!("at {version}"));
                server.insert(contact.clone(), RosterItem { name, listed: true, version, ..RosterItem::new(contact) });
            } else {
                server.remove(&contact);
                removed.push((contact, version));
            }
            if index == left_at {
                client = server.values().map(|i| (i.jid.to_string(), i.name.clone().unwrap())).collect();
                client_version = version;
            }
        }
        if let VersionAnswer::Changes { since } = version_answer(Some(&version_text(client_version)), version, 0) {
            for change in changes(since, server.values(), &removed) {
                let element = change.to_element();
                let contact = element.attribute("jid").unwrap().to_owned();
                match element.attribute("subscription") {
                    Some("remove") => client.remove(&contact),
                    _ => client.insert(contact, element.attribute("name").unwrap().to_owned()),
                };
            }
        }
        let expected: BTreeMap<String, String> =
            server.values().map(|i| (i.jid.to_string(), i.name.clone().unwrap())).collect();
        prop_assert_eq!(client, expected);
    }
}
