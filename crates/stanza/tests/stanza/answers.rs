//! Replies and errors (RFC 6120 §8.2.3, §8.3, §4.9).

use super::{accept, accept_on, written};
use stonechat_stanza::ContentNamespace::{Client, Server};
use stonechat_stanza::{
    BROUGHT_BACK, ErrorType, IqType, Stanza, StanzaCondition, StanzaError, StanzaType, StreamCondition, StreamError, ns,
};
use stonechat_xml::Element;

const CONDITIONS: &[&str] = &[
    "bad-request",
    "conflict",
    "feature-not-implemented",
    "forbidden",
    "gone",
    "internal-server-error",
    "item-not-found",
    "jid-malformed",
    "not-acceptable",
    "not-allowed",
    "not-authorized",
    "policy-violation",
    "recipient-unavailable",
    "redirect",
    "registration-required",
    "remote-server-not-found",
    "remote-server-timeout",
    "resource-constraint",
    "service-unavailable",
    "subscription-required",
    "undefined-condition",
    "unexpected-request",
];

#[test]
fn rfc6120_8_2_3_a_result_goes_back_with_the_same_id() {
    let iq =
        accept("<iq type='get' id='x1' from='a@example.org/r' to='b@example.org'><ping xmlns='urn:xmpp:ping'/></iq>");
    let result = iq.iq_result(None);
    assert_eq!(written(&result, Client), "<iq from='b@example.org' to='a@example.org/r' type='result' id='x1'/>");
    let result = iq.iq_result(Some(Element::new("time", ns::TIME)));
    assert_eq!(result.stanza_type(), StanzaType::Iq(IqType::Result));
    assert!(result.has_child("time", ns::TIME));
}

#[test]
fn rfc6120_8_3_1_an_error_brings_the_payload_back_but_for_a_presence() {
    let error = StanzaError::new(StanzaCondition::ServiceUnavailable);
    let expected = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    let iq = accept("<iq type='set' id='1' from='a@x.example' to='b@x.example'><q xmlns='urn:x'/></iq>");
    assert_eq!(
        written(&iq.error_reply(&error).unwrap(), Client),
        format!("<iq from='b@x.example' to='a@x.example' type='error' id='1'><q xmlns='urn:x'/>{expected}</iq>")
    );
    let message = accept("<message id='1' from='a@x.example' to='b@x.example'><body>hi</body></message>");
    assert_eq!(
        written(&message.error_reply(&error).unwrap(), Server),
        format!("<message from='b@x.example' to='a@x.example' type='error' id='1'><body>hi</body>{expected}</message>")
    );
    let presence = accept("<presence from='a@x.example' to='b@x.example'><show>away</show></presence>");
    assert_eq!(
        written(&presence.error_reply(&error).unwrap(), Server),
        format!("<presence from='b@x.example' to='a@x.example' type='error'>{expected}</presence>")
    );
}

#[test]
fn rfc6120_8_3_1_an_error_about_a_large_message_does_not_bring_it_back() {
    let error = StanzaError::new(StanzaCondition::ServiceUnavailable);
    for (letters, brought_back) in [(BROUGHT_BACK - 13, true), (BROUGHT_BACK - 12, false)] {
        let message = accept(&format!("<message id='1'><body>{}</body></message>", "a".repeat(letters)));
        assert_eq!(message.error_reply(&error).unwrap().has_child("body", ""), brought_back, "{letters}");
    }
}

#[test]
fn abuse_71_errors_and_results_are_never_answered() {
    let error = StanzaError::new(StanzaCondition::ServiceUnavailable);
    for xml in [
        "<message type='error'/>",
        "<presence type='error'/>",
        "<iq type='error' id='1'/>",
        "<iq type='result' id='1'/>",
    ] {
        assert!(accept(xml).error_reply(&error).is_none(), "{xml}");
    }
    // So two servers cannot keep one going.
    let reply = accept("<message id='1'/>").error_reply(&error).unwrap();
    assert!(reply.error_reply(&error).is_none());
}

#[test]
fn rfc6120_8_3_2_errors_survive_the_wire() {
    for name in CONDITIONS {
        let condition = StanzaCondition::from_name(name).unwrap();
        assert_eq!(condition.name(), *name);
        for error_type in [ErrorType::Auth, ErrorType::Cancel, ErrorType::Continue, ErrorType::Modify, ErrorType::Wait]
        {
            let error = StanzaError::new(condition)
                .with_type(error_type)
                .with_text("Not <now> & \"never\"")
                .with_application(Element::new("too-many", "urn:example:errors"));
            let reply = accept("<message id='1'/>").error_reply(&error).unwrap();
            for namespace in [Client, Server] {
                let arrived = accept_on(namespace, &written(&reply, namespace)).unwrap();
                assert_eq!(arrived.error().as_ref(), Some(&error));
            }
        }
    }
    assert_eq!(StanzaCondition::from_name("payment-required"), None);
}

#[test]
fn an_error_of_an_old_peer_is_read_as_well_as_it_can_be() {
    let read = |xml: &str| accept(&format!("<message type='error'>{xml}</message>")).error();
    let undefined = StanzaError::new(StanzaCondition::UndefinedCondition);
    assert_eq!(read("<error code='503'>Service Unavailable</error>"), Some(undefined));
    let gone = "<error type='strange'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:x@y</gone></error>";
    assert_eq!(read(gone), Some(StanzaError::new(StanzaCondition::Gone)));
    assert_eq!(read(""), None);
    assert_eq!(read("<error xmlns='urn:example:other'/>"), None);
    assert_eq!(accept("<message><error type='cancel'/></message>").error(), None, "no error stanza");
}

/// The class of CVE-2026-113867 and CVE-2019-1000007: an echo that becomes markup.
#[test]
fn what_is_echoed_is_escaped() {
    let hostile = "'/><message to=\"x\"/>&<a b='\t\n\r";
    let mut escaped = Vec::new();
    stonechat_xml::escape_attribute(hostile, &mut escaped);
    let escaped = String::from_utf8(escaped).unwrap();
    let iq = accept(&format!(
        "<iq type='get' id='{escaped}' xml:lang='{escaped}' other='{escaped}' p:o='{escaped}' \
         xmlns:p='urn:&lt;&amp;&apos;&quot;&gt;' from='a@x.example/&apos;/&gt;&lt;&amp;&quot;'><q xmlns='urn:x'/></iq>"
    ));
    assert_eq!(iq.id().map(|id| &**id), Some(hostile));
    let passed = accept_on(Server, &written(&iq, Server)).unwrap();
    assert_eq!(passed.head().id, iq.head().id);
    assert_eq!(passed.head().lang, iq.head().lang);
    assert_eq!(passed.head().other, iq.head().other);
    assert_eq!(passed.head().from, iq.head().from);
    let reply = iq.error_reply(&StanzaError::new(StanzaCondition::BadRequest)).unwrap();
    let arrived = accept(&written(&reply, Client));
    assert_eq!(arrived.id().map(|id| &**id), Some(hostile));
    assert_eq!(arrived.to().map(|to| to.as_str()), Some("a@x.example/'/><&\""));
}

#[test]
fn a_fan_out_writes_other_addresses_around_the_same_payload() {
    let stanza = accept("<message to='a@x.example' type='groupchat' id='1'><body>hi</body></message>");
    let (from, to) = (stanza.to().unwrap().clone(), "b@y.example/r".parse().unwrap());
    let mut out = Vec::new();
    stanza.write_addressed(Some(&from), Some(&to), Client, &mut out);
    stanza.write_addressed(None, None, Client, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "<message from='a@x.example' to='b@y.example/r' type='groupchat' id='1'><body>hi</body></message>\
         <message type='groupchat' id='1'><body>hi</body></message>"
    );
}

#[test]
fn rfc6120_4_9_stream_errors() {
    let mut out = Vec::new();
    StreamError::from(StreamCondition::HostUnknown).write(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    );
    let mut out = Vec::new();
    StreamError::new(StreamCondition::NotWellFormed).with_text("<&>").write(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "<stream:error><not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>&lt;&amp;&gt;</text></stream:error>"
    );
}

#[test]
fn a_built_iq_has_the_id_it_was_given() {
    let iq = Stanza::iq(IqType::Set, "p1", Element::new("query", ns::ROSTER));
    assert_eq!(written(&iq, Client), "<iq type='set' id='p1'><query xmlns='jabber:iq:roster'/></iq>");
}
