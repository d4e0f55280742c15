//! Start tags: addresses, types, ids (RFC 6120 §8.1, §8.2.3; abuse cases 66, 69 and 81).

use super::{accept, accept_on, frame_on, written};
use stonechat_stanza::ContentNamespace::{Client, Component, Server};
use stonechat_stanza::{
    AcceptError, Accepted, IqType, Kind, MessageType, PresenceType, Stanza, StanzaCondition, StanzaType,
};

/// The refusal and the reply, if there is one.
fn refused(xml: &str) -> (StanzaCondition, Option<Stanza>) {
    match accept_on(Client, xml) {
        Err(AcceptError::Refused { error, reply }) => (error.condition, reply.map(|reply| *reply)),
        other => panic!("{xml}: {other:?}"),
    }
}

#[test]
fn rfc6120_8_1_a_head_is_read() {
    let stanza = accept(
        "<message to='Juliet@Example.org/balcony' from='romeo@example.net/orchard' type='chat' id='a1' xml:lang='en' \
         extra='1' z:q='2' xmlns:z='urn:example:z'><body>hi</body></message>",
    );
    let head = stanza.head();
    assert_eq!(stanza.kind(), Kind::Message);
    assert_eq!(head.stanza_type, StanzaType::Message(MessageType::Chat));
    assert_eq!(head.to.as_ref().map(|to| to.as_str()), Some("juliet@example.org/balcony"));
    assert_eq!(head.from.as_ref().map(|from| from.as_str()), Some("romeo@example.net/orchard"));
    assert_eq!(head.id.as_deref(), Some("a1"));
    assert_eq!(head.lang.as_deref(), Some("en"));
    let other: Vec<(&str, &str, &str)> =
        head.other.iter().flatten().map(|a| (&*a.namespace, &*a.name, &*a.value)).collect();
    assert_eq!(other, [("", "extra", "1"), ("urn:example:z", "q", "2")]);
}

#[test]
fn rfc6121_5_2_2_message_types_and_an_unknown_one_is_normal() {
    for (value, message_type) in [
        (" type='chat'", MessageType::Chat),
        (" type='error'", MessageType::Error),
        (" type='groupchat'", MessageType::Groupchat),
        (" type='headline'", MessageType::Headline),
        (" type='normal'", MessageType::Normal),
        ("", MessageType::Normal),
        (" type=''", MessageType::Normal),
        (" type='CHAT'", MessageType::Normal),
        (" type='subscribe'", MessageType::Normal),
    ] {
        assert_eq!(accept(&format!("<message{value}/>")).stanza_type(), StanzaType::Message(message_type), "{value}");
    }
}

#[test]
fn abuse_81_an_unknown_presence_type_is_a_bad_request() {
    for (value, presence_type) in [
        ("", PresenceType::Available),
        (" type='unavailable'", PresenceType::Unavailable),
        (" type='subscribe'", PresenceType::Subscribe),
        (" type='subscribed'", PresenceType::Subscribed),
        (" type='unsubscribe'", PresenceType::Unsubscribe),
        (" type='unsubscribed'", PresenceType::Unsubscribed),
        (" type='probe'", PresenceType::Probe),
        (" type='error'", PresenceType::Error),
    ] {
        assert_eq!(accept(&format!("<presence{value}/>")).stanza_type(), StanzaType::Presence(presence_type));
    }
    for value in ["available", "invisible", "", "Unavailable"] {
        let (condition, reply) = refused(&format!("<presence type='{value}' id='p'/>"));
        assert_eq!(condition, StanzaCondition::BadRequest, "{value}");
        let reply = reply.unwrap();
        assert_eq!(reply.stanza_type(), StanzaType::Presence(PresenceType::Error));
        assert_eq!(reply.id().map(|id| &**id), Some("p"));
    }
}

#[test]
fn abuse_66_iq_semantics() {
    let bad = [
        "<iq type='get'><q xmlns='urn:x'/></iq>",
        "<iq type='get' id=''><q xmlns='urn:x'/></iq>",
        "<iq id='1'><q xmlns='urn:x'/></iq>",
        "<iq id='1' type='ask'><q xmlns='urn:x'/></iq>",
        "<iq id='1' type=''><q xmlns='urn:x'/></iq>",
        "<iq id='1' type='get'/>",
        "<iq id='1' type='set'>text</iq>",
        "<iq id='1' type='set'><q xmlns='urn:x'/><q xmlns='urn:x'/></iq>",
        "<iq id='1' type='get'><q xmlns='urn:x'/><r xmlns='urn:y'/><s xmlns='urn:z'/></iq>",
    ];
    for xml in bad {
        let (condition, reply) = refused(xml);
        assert_eq!(condition, StanzaCondition::BadRequest, "{xml}");
        let reply = reply.expect("a request is answered");
        assert_eq!(reply.stanza_type(), StanzaType::Iq(IqType::Error), "{xml}");
        assert_eq!(reply.error().map(|error| error.condition), Some(StanzaCondition::BadRequest), "{xml}");
    }
}

#[test]
fn abuse_66_results_and_errors_are_never_answered() {
    for iq_type in ["result", "error"] {
        for xml in [
            format!("<iq type='{iq_type}'/>"),
            format!("<iq type='{iq_type}' id=''/>"),
            format!("<iq type='{iq_type}' id='1' to='@x'/>"),
        ] {
            assert!(refused(&xml).1.is_none(), "{xml}");
        }
    }
    for xml in ["<message type='error' to='@x'/>", "<presence type='error' to='@x'/>"] {
        assert!(refused(xml).1.is_none(), "{xml}");
    }
    // And a good one passes, with any number of children.
    for payload in ["", "<a xmlns='urn:x'/>", "<a xmlns='urn:x'/><b xmlns='urn:x'/>"] {
        let stanza = accept(&format!("<iq type='result' id='1'>{payload}</iq>"));
        assert_eq!(stanza.stanza_type(), StanzaType::Iq(IqType::Result));
    }
}

#[test]
fn abuse_69_malformed_addresses() {
    let long = "x".repeat(1024);
    let malformed = [
        "",
        "@x",
        "@",
        "/r",
        "a@",
        "a@/r",
        "a@b/",
        "a b@example.org",
        "a\"b@example.org",
        "a@b@c",
        "a@exa mple.org",
        "a@example..org",
        "a@[::g]",
        &format!("{long}@example.org"),
        &format!("a@{long}"),
        &format!("a@b/{long}"),
    ];
    for address in malformed {
        let address = address.replace('"', "&quot;");
        for (kind, rest) in [("message", ""), ("presence", ""), ("iq", "<q xmlns='urn:x'/>")] {
            let xml = format!("<{kind} from='me@example.org/r' to='{address}' id='7' type='get'>{rest}</{kind}>");
            let xml = if kind == "presence" { xml.replace(" type='get'", "") } else { xml };
            let (condition, reply) = refused(&xml);
            assert_eq!(condition, StanzaCondition::JidMalformed, "{xml}");
            let reply = reply.expect("the sender is told");
            assert_eq!(reply.to().map(|to| to.as_str()), Some("me@example.org/r"), "{xml}");
            assert!(reply.from().is_none(), "nobody has that address: {xml}");
            assert_eq!(reply.id().map(|id| &**id), Some("7"), "{xml}");
        }
    }
    let (condition, reply) = refused("<message from='@x' to='a@example.org'/>");
    assert_eq!(condition, StanzaCondition::JidMalformed);
    assert!(reply.unwrap().to().is_none());
}

#[test]
fn abuse_69_unusual_addresses_that_are_none_the_less_addresses() {
    for (address, normalised) in [
        ("a@example.org.", "a@example.org"),
        ("a@[::1]/r", "a@[::1]/r"),
        ("192.0.2.1", "192.0.2.1"),
        ("A@EXAMPLE.org/Res", "a@example.org/Res"),
        ("a@example.org/x/y@z", "a@example.org/x/y@z"),
    ] {
        let stanza = accept(&format!("<message to='{address}'/>"));
        assert_eq!(stanza.to().map(|to| to.as_str()), Some(normalised));
    }
}

#[test]
fn rfc6120_4_8_what_is_no_stanza_of_the_stream_is_something_else() {
    for (namespace, xml) in [
        (Client, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>"),
        (Client, "<r xmlns='urn:xmpp:sm:3'/>"),
        (Client, "<message xmlns='jabber:server'/>"),
        (Client, "<message xmlns='urn:example:other'/>"),
        (Client, "<query/>"),
        (Server, "<message xmlns='jabber:client'/>"),
        (Component, "<iq xmlns='jabber:client' type='get' id='1'><q xmlns='urn:x'/></iq>"),
    ] {
        let accepted = Accepted::from_frame(frame_on(namespace, xml), namespace);
        assert!(matches!(accepted, Ok(Accepted::Other(_))), "{xml}");
    }
}

#[test]
fn every_stream_has_the_same_stanzas() {
    for namespace in [Client, Server, Component] {
        let stanza = accept_on(namespace, "<message to='a@example.org'><body>hi</body></message>").unwrap();
        assert!(stanza.has_child("body", ""), "{namespace:?}");
        assert_eq!(written(&stanza, namespace), "<message to='a@example.org'><body>hi</body></message>");
    }
}

#[test]
fn a_stored_stanza_stands_by_itself() {
    let with = Stanza::parse(b"<message xmlns='jabber:client' id='1'><body>hi</body></message>").unwrap();
    let without = Stanza::parse(b"\n<message id='1'><body>hi</body></message>\n").unwrap();
    let server = Stanza::parse(b"<message xmlns='jabber:server' id='1'><body>hi</body></message>").unwrap();
    for stanza in [with, without, server] {
        assert!(stanza.has_child("body", ""));
        assert_eq!(stanza.to_xml(), b"<message xmlns='jabber:client' id='1'><body>hi</body></message>");
    }
    for bad in [
        "",
        " ",
        "<message",
        "<message>",
        "<message/><message/>",
        "<message/>text",
        "<other/>",
        "</stream:stream>",
        "<message xmlns='urn:example:other'/>",
        "<!DOCTYPE x><message/>",
    ] {
        assert!(matches!(Stanza::parse(bad.as_bytes()), Err(AcceptError::NotAStanza)), "{bad}");
    }
    assert!(matches!(Stanza::parse(b"<iq/>"), Err(AcceptError::Refused { .. })));
}

#[test]
fn abuse_158_no_body_in_a_debug_output() {
    let stanza = accept("<message to='a@example.org'><body>a secret</body></message>");
    let debug = format!("{stanza:?} {:?}", Accepted::Stanza(stanza.clone()));
    assert!(!debug.contains("a secret"), "{debug}");
    let refused = accept_on(Client, "<iq to='@x' type='set' id='1'><q xmlns='urn:x'>a secret</q></iq>");
    assert!(!format!("{refused:?}").contains("a secret"));
}
