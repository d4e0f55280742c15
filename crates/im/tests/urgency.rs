//! XEP-0352: presence and IQs for a client that is not looking. Messages are in `payloads.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use stonechat_im::urgency::{Urgency, urgency};
use stonechat_jid::Jid;
use stonechat_stanza::{IqType, PresenceType, Stanza, ns};
use stonechat_xml::Element;

const FROM: &str = "coven@muc.example/third";

fn presence(presence_type: PresenceType, payload: impl IntoIterator<Item = Element>) -> Stanza {
    let mut stanza = Stanza::presence(presence_type, payload);
    stanza.head_mut().from = Some(Jid::parse(FROM).unwrap());
    stanza
}

/// A room's `<x/>` with a status.
fn in_room(codes: &[&'static str]) -> Element {
    let x =
        Element::new("x", ns::MUC_USER).with_child(Element::new("item", ns::MUC_USER).with_attribute("role", "none"));
    x.with_children(codes.iter().map(|code| Element::new("status", ns::MUC_USER).with_attribute("code", *code)))
}

#[test]
fn xep0352_3_2_of_presence_only_the_latest_of_each_address_later() {
    let from = Jid::parse(FROM).unwrap();
    for presence_type in [PresenceType::Available, PresenceType::Unavailable] {
        for payload in [vec![], vec![Element::new("c", ns::CAPS)], vec![in_room(&[])], vec![in_room(&["303"])]] {
            assert_eq!(urgency(&presence(presence_type, payload)), Urgency::Latest(&from), "{presence_type:?}");
        }
        // Whatever has no sender is told from nothing else.
        assert_eq!(urgency(&Stanza::presence(presence_type, [])), Urgency::Later);
    }
}

#[test]
fn xep0045_7_2_2_the_own_presence_in_a_room_does_not_wait() {
    for (presence_type, codes) in
        [(PresenceType::Available, &["100", "110"][..]), (PresenceType::Unavailable, &["307", "110"][..])]
    {
        assert_eq!(urgency(&presence(presence_type, [in_room(codes)])), Urgency::Now, "{codes:?}");
    }
    assert_eq!(urgency(&presence(PresenceType::Available, [in_room(&["110"])])), Urgency::Now);
    // The number means that nowhere else.
    let named = Element::new("item", ns::MUC_USER).with_attribute("jid", "third@example.org/110");
    assert_ne!(urgency(&presence(PresenceType::Available, [in_room(&["100"]).with_child(named)])), Urgency::Now);
    let item = Element::new("item", ns::MUC_USER).with_attribute("code", "110");
    let other = Element::new("x", ns::MUC_USER).with_child(item);
    assert_ne!(urgency(&presence(PresenceType::Available, [other])), Urgency::Now);
    let elsewhere = Element::new("x", "urn:example:other").with_children(in_room(&["110"]).children().cloned());
    assert_ne!(urgency(&presence(PresenceType::Available, [elsewhere])), Urgency::Now);
}

#[test]
fn xep0352_3_2_subscriptions_and_errors_do_not_wait() {
    for presence_type in [
        PresenceType::Subscribe,
        PresenceType::Subscribed,
        PresenceType::Unsubscribe,
        PresenceType::Unsubscribed,
        PresenceType::Error,
    ] {
        assert_eq!(urgency(&presence(presence_type, [])), Urgency::Now, "{presence_type:?}");
    }
}

#[test]
fn xep0352_3_2_iqs_do_not_wait_but_for_roster_pushes() {
    for iq_type in [IqType::Get, IqType::Set, IqType::Result, IqType::Error] {
        assert_eq!(urgency(&Stanza::iq(iq_type, "1", Element::new("ping", ns::PING))), Urgency::Now, "{iq_type:?}");
        let roster = Stanza::iq(iq_type, "1", Element::new("query", ns::ROSTER));
        let expected = if iq_type == IqType::Set { Urgency::Later } else { Urgency::Now };
        assert_eq!(urgency(&roster), expected, "{iq_type:?}");
    }
}
