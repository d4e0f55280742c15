//! What is kept for somebody who is away: XEP-0160 §3, XEP-0334, and the payloads clients send.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use stonechat_im::classify::{Classification, Content, IqOrigin, Room};
use stonechat_im::plan::{Address, Archiving, Kept, Recipient, plan};
use stonechat_stanza::{IqType, MessageType, Stanza, StanzaCondition, ns};
use stonechat_xml::Element;

fn element(name: &'static str, namespace: &'static str) -> Element {
    Element::new(name, namespace)
}
fn body() -> Element {
    element("body", ns::CLIENT).with_text("Wherefore art thou?")
}
fn hint(name: &'static str) -> Element {
    element(name, ns::HINTS)
}
fn composing() -> Element {
    element("composing", ns::CHAT_STATES)
}

/// The plan for an account that is away.
fn away(message_type: MessageType, payload: impl IntoIterator<Item = Element>) -> (Kept, Option<StanzaCondition>) {
    let message = Stanza::message(message_type, payload);
    let recipient = Recipient::Account { sessions: &[], address: Address::Bare, archiving: Archiving::Off };
    let plan = plan(message_type, Classification::of(&message), recipient);
    (plan.kept, plan.bounce)
}
const KEPT: (Kept, Option<StanzaCondition>) = (Kept::Offline, None);
const DROPPED: (Kept, Option<StanzaCondition>) = (Kept::Nowhere, None);
const ANSWERED: (Kept, Option<StanzaCondition>) = (Kept::Nowhere, Some(StanzaCondition::ServiceUnavailable));
const CONVERSATION: [MessageType; 2] = [MessageType::Chat, MessageType::Normal];

#[test]
fn xep0160_3_chat_and_normal_with_a_body_are_kept() {
    for message_type in CONVERSATION {
        assert_eq!(away(message_type, [body()]), KEPT);
        assert_eq!(away(message_type, [composing(), body()]), KEPT);
    }
}

#[test]
fn xep0160_3_groupchat_headline_and_error_are_never_kept() {
    for message_type in [MessageType::Groupchat, MessageType::Headline, MessageType::Error] {
        for payload in [vec![body()], vec![body(), hint("store")]] {
            assert_eq!(away(message_type, payload).0, Kept::Nowhere, "{message_type:?}");
        }
    }
}

#[test]
fn xep0160_3_chat_states_alone_are_not_kept() {
    for message_type in CONVERSATION {
        assert_eq!(away(message_type, [composing()]), DROPPED);
        assert_eq!(away(message_type, [composing(), element("thread", ns::CLIENT)]), DROPPED);
        assert_eq!(away(message_type, [composing(), element("origin-id", ns::STANZA_ID)]), DROPPED);
        assert_eq!(away(message_type, [composing(), element("private", ns::CARBONS), hint("no-copy")]), DROPPED);
        // In a private message of a room.
        assert_eq!(away(message_type, [composing(), element("x", ns::MUC_USER)]), DROPPED);
        // XEP-0022, the predecessor.
        assert_eq!(away(message_type, [element("x", ns::MESSAGE_EVENT)]), DROPPED);
    }
}

#[test]
fn xep0334_4_no_store_beats_everything_and_is_answered_when_a_person_wrote_it() {
    for message_type in CONVERSATION {
        assert_eq!(away(message_type, [body(), hint("no-store")]), ANSWERED);
        assert_eq!(away(message_type, [hint("store"), body(), hint("no-store")]), ANSWERED);
        assert_eq!(away(message_type, [element("received", ns::RECEIPTS), hint("no-store")]), DROPPED);
        assert_eq!(away(message_type, [composing(), hint("no-store")]), DROPPED);
    }
}

#[test]
fn xep0334_4_no_permanent_store_may_be_kept_for_who_is_away() {
    for message_type in CONVERSATION {
        assert_eq!(away(message_type, [body(), hint("no-permanent-store")]), KEPT);
        assert_eq!(away(message_type, [composing(), hint("no-permanent-store")]), DROPPED);
    }
}

#[test]
fn xep0334_4_store_keeps_what_has_no_body() {
    for message_type in CONVERSATION {
        assert_eq!(away(message_type, [composing(), hint("store")]), KEPT);
        assert_eq!(away(message_type, [hint("store")]), KEPT);
    }
}

#[test]
fn what_is_part_of_a_conversation_is_kept_without_a_body() {
    let rows = [
        (element("encrypted", ns::OMEMO).with_child(element("payload", ns::OMEMO)), Content::Body),
        (element("encrypted", ns::OMEMO_AXOLOTL).with_child(element("payload", ns::OMEMO_AXOLOTL)), Content::Body),
        (element("openpgp", ns::OPENPGP), Content::Body),
        (element("x", ns::PGP_ENCRYPTED), Content::Body),
        (element("x", ns::OUT_OF_BAND), Content::Body),
        (element("subject", ns::CLIENT), Content::Other),
        (element("received", ns::RECEIPTS), Content::Companion),
        (element("displayed", ns::CHAT_MARKERS), Content::Companion),
        (element("reactions", ns::REACTIONS), Content::Companion),
        (element("retract", ns::MESSAGE_RETRACT), Content::Companion),
        (element("propose", ns::JINGLE_MESSAGE), Content::Call),
        (element("retract", ns::JINGLE_MESSAGE), Content::CallProgress),
        (element("invite", ns::CALL_INVITES), Content::Call),
        (element("left", ns::CALL_INVITES), Content::CallProgress),
        (element("x", ns::CONFERENCE), Content::Invitation),
        (element("x", ns::MUC_USER).with_child(element("invite", ns::MUC_USER)), Content::Invitation),
        (element("x", ns::MUC_USER).with_child(element("decline", ns::MUC_USER)), Content::Companion),
        (element("replace", ns::MESSAGE_CORRECT), Content::Companion),
        (element("x", "urn:example:unknown"), Content::Other),
    ];
    for (payload, content) in rows {
        let message = Stanza::message(MessageType::Chat, [payload.clone()]);
        assert_eq!(Classification::of(&message).content, content, "{}", payload.namespace());
        assert_eq!(away(MessageType::Chat, [payload.clone()]), KEPT, "{}", payload.namespace());
        assert_eq!(away(MessageType::Normal, [payload.clone()]), KEPT, "{}", payload.namespace());
    }
}

#[test]
fn what_only_accompanies_is_not_kept_by_itself() {
    let rows = [
        element("thread", ns::CLIENT),
        element("request", ns::RECEIPTS),
        element("markable", ns::CHAT_MARKERS),
        element("origin-id", ns::STANZA_ID),
        element("delay", ns::DELAY),
        element("occupant-id", ns::OCCUPANT_ID),
        element("encryption", ns::EXPLICIT_ENCRYPTION),
        element("nick", ns::NICK),
        element("fallback", ns::FALLBACK),
        element("x", ns::MUC_USER),
        element("event", ns::PUBSUB_EVENT),
    ];
    for payload in rows {
        assert_eq!(away(MessageType::Chat, [payload.clone()]), DROPPED, "{} {}", payload.name(), payload.namespace());
    }
    assert_eq!(away(MessageType::Chat, []), DROPPED);
}

#[test]
fn a_body_is_a_fallback_only_for_what_stands_beside_it() {
    let fallback = element("fallback", ns::FALLBACK).with_attribute("for", ns::REACTIONS);
    let content =
        |payload: &[Element]| Classification::of(&Stanza::message(MessageType::Chat, payload.iter().cloned())).content;
    assert_eq!(content(&[body(), fallback.clone(), element("reactions", ns::REACTIONS)]), Content::Companion);
    assert_eq!(content(&[body(), fallback]), Content::Body, "nothing else says what it says");
}

#[test]
fn xep0045_7_8_2_an_invitation_is_no_private_message_of_a_room() {
    let invite = element("x", ns::MUC_USER).with_child(element("invite", ns::MUC_USER));
    let room = |payload: Vec<Element>| Classification::of(&Stanza::message(MessageType::Normal, payload)).room;
    assert_eq!(room(vec![element("x", ns::MUC_USER), body()]), Room::PrivateMessage);
    assert_eq!(room(vec![invite, body()]), Room::No);
    let decline = element("x", ns::MUC_USER).with_child(element("decline", ns::MUC_USER));
    assert_eq!(room(vec![decline]), Room::PrivateMessage);
}

#[test]
fn a_forwarded_message_has_a_body_only_in_its_own_namespace() {
    let forwarded = |namespace| element("message", ns::CLIENT).with_child(Element::new("body", namespace));
    assert_eq!(Classification::of_element(&forwarded(ns::CLIENT)).content, Content::Body);
    assert_eq!(Classification::of_element(&forwarded("")).content, Content::Other);
}

#[test]
fn the_weightiest_child_decides_wherever_it_stands() {
    let all = [composing(), element("received", ns::RECEIPTS), element("x", ns::CONFERENCE), body()];
    let forwards = Stanza::message(MessageType::Chat, all.clone());
    let backwards = Stanza::message(MessageType::Chat, all.into_iter().rev());
    assert_eq!(Classification::of(&forwards), Classification::of(&backwards));
    assert_eq!(Classification::of(&forwards).content, Content::Body);
}

#[test]
fn a_body_in_another_namespace_is_no_body() {
    for namespace in ["urn:example:other", ""] {
        let message = Stanza::message(MessageType::Chat, [composing(), Element::new("body", namespace)]);
        assert_ne!(Classification::of(&message).content, Content::Body, "{namespace:?}");
    }
    let message = Stanza::message(MessageType::Chat, [Element::new("no-store", "urn:example:other"), body()]);
    assert!(!Classification::of(&message).hints.no_store);
}

#[test]
fn xep0334_no_copy_and_xep0280_private_forbid_copies() {
    for payload in [hint("no-copy"), element("private", ns::CARBONS)] {
        let message = Stanza::message(MessageType::Chat, [body(), payload]);
        assert!(Classification::of(&message).hints.no_copy);
    }
    assert!(!Classification::of(&Stanza::message(MessageType::Chat, [body()])).hints.no_copy);
}

#[test]
fn rfc6121_2_1_6_pushes_and_bindings_are_the_servers() {
    let origin = |payload| IqOrigin::of(&Stanza::iq(IqType::Set, "1", payload));
    assert_eq!(origin(element("query", ns::ROSTER)), IqOrigin::Server);
    assert_eq!(origin(element("bind", ns::BIND)), IqOrigin::Server);
    assert_eq!(origin(element("ping", ns::PING)), IqOrigin::Anybody);
}
