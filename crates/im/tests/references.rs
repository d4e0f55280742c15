//! XEP-0359 origin-ids and XEP-0424 retractions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use proptest::prelude::*;
use stonechat_im::reference::{Retracted, origin_id, retraction};
use stonechat_stanza::{MessageType, Stanza, ns};
use stonechat_xml::Element;

/// A message as it comes from a client.
fn message(payload: &str) -> Stanza {
    Stanza::parse(format!("<message type='chat' id='m1'>{payload}</message>").as_bytes()).unwrap()
}

#[test]
fn xep0359_2_2_an_origin_id_is_read_however_it_is_written() {
    let rows = [
        ("<origin-id xmlns='urn:xmpp:sid:0' id='a'/>", Some("a")),
        ("<body>hi</body><origin-id id=\"a\" xmlns=\"urn:xmpp:sid:0\"></origin-id>", Some("a")),
        ("<origin-id\n xmlns = 'urn:xmpp:sid:0'\tid\r\n=\n'a b'\n/>", Some("a b")),
        ("<s:origin-id xmlns:s='urn:xmpp:sid:0' id='a'/>", Some("a")),
        ("<origin-id xmlns='urn:xmpp:sid:0' id='&lt;&#65;&apos;'/>", Some("<A'")),
        ("<origin-id xmlns='urn:xmpp:sid:0' id='a\tb'/>", Some("a b")),
        ("<origin-id xmlns='urn:xmpp:sid:0' by='/>' id='ü/>\"'/>", Some("ü/>\"")),
        ("<origin-id xmlns='urn:xmpp:sid:0' xml:id='b' id='a'/>", Some("a")),
        ("<origin-id xmlns='urn:xmpp:sid:0' xml:id='b'/>", None),
        ("<origin-id xmlns='urn:xmpp:sid:0' id=''/>", None),
        ("<origin-id xmlns='urn:xmpp:sid:0'/>", None),
        ("<origin-id xmlns='urn:xmpp:sid:0'>id='a'</origin-id>", None),
        ("<origin-id xmlns='urn:example:other' id='a'/>", None),
        ("<stanza-id xmlns='urn:xmpp:sid:0' id='a' by='b'/>", None),
        ("<body>hi</body>", None),
    ];
    for (payload, expected) in rows {
        assert_eq!(origin_id(&message(payload)).as_deref(), expected, "{payload}");
    }
}

#[test]
fn xep0424_3_a_retraction_names_its_message() {
    let id = |id: &str| Some(Retracted::Id(id.to_owned()));
    let rows = [
        ("<retract id='a' xmlns='urn:xmpp:message-retract:1'/>", id("a")),
        ("<retract id='a&amp;b' xmlns='urn:xmpp:message-retract:1'><reason/></retract><body>gone</body>", id("a&b")),
        ("<retract id='' xmlns='urn:xmpp:message-retract:1'/>", None),
        ("<retract xmlns='urn:xmpp:message-retract:1'/>", None),
        // What the archive puts in place of a message retracts nothing.
        ("<retracted id='a' xmlns='urn:xmpp:message-retract:1'/>", None),
        // XEP-0353 has one too.
        ("<retract id='a' xmlns='urn:xmpp:jingle-message:0'/>", None),
        ("<retract id='a' xmlns='urn:xmpp:message-retract:0'/>", None),
        ("<body>I retract that</body>", None),
    ];
    for (payload, expected) in rows {
        assert_eq!(retraction(&message(payload)), expected, "{payload}");
    }
}

#[test]
fn xep0424_before_0_4_a_retraction_was_fastened_to_an_origin_id() {
    let of_old = |id: &str, inner: &str| {
        retraction(&message(&format!("<apply-to xmlns='urn:xmpp:fasten:0'{id}>{inner}</apply-to><body>gone</body>")))
    };
    const RETRACT: &str = "<retract xmlns='urn:xmpp:message-retract:0'/>";
    assert_eq!(of_old(" id='a'", RETRACT), Some(Retracted::OriginId("a".to_owned())));
    assert_eq!(of_old(" id='a'", RETRACT).unwrap().id(), "a");
    assert_eq!(of_old(" id=''", RETRACT), None);
    assert_eq!(of_old("", RETRACT), None);
    assert_eq!(of_old(" id='a'", "<retract xmlns='urn:example:other'/>"), None);
    assert_eq!(of_old(" id='a'", ""), None);
}

#[test]
fn xep0424_5_neither_a_room_nor_an_error_retracts_from_an_accounts_archive() {
    let retract = Element::new("retract", ns::MESSAGE_RETRACT).with_attribute("id", "a");
    for message_type in [MessageType::Groupchat, MessageType::Error, MessageType::Headline] {
        assert_eq!(retraction(&Stanza::message(message_type, [retract.clone()])), None, "{message_type:?}");
    }
    for message_type in [MessageType::Chat, MessageType::Normal] {
        assert!(retraction(&Stanza::message(message_type, [retract.clone()])).is_some(), "{message_type:?}");
    }
}

proptest! {
    /// The short way of reading an id and the parser's agree.
    #[test]
    fn an_id_reads_as_it_was_written(id in "[^\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{fffe}\u{ffff}\u{d}]{1,20}", other in "[a-z<>&'\" =/]{0,8}") {
        let element = Element::new("origin-id", ns::STANZA_ID).with_attribute("x", other).with_attribute("id", id.clone());
        let built = Stanza::message(MessageType::Chat, [element]);
        prop_assert_eq!(origin_id(&built), Some(id.clone()));
        let read = Stanza::parse(&built.to_xml());
        prop_assert_eq!(origin_id(&read.unwrap()), Some(id));
    }
}
