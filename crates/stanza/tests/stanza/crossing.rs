//! From one content namespace to another (RFC 6120 §4.8.3): a payload means the same on every stream it leaves by.

use super::{accept_on, frame_on, index, written};
use stonechat_stanza::ContentNamespace::{self, Client, Component, Server};
use stonechat_stanza::{Stanza, ns};

const ALL: [ContentNamespace; 3] = [Client, Server, Component];

/// The payload of a message that came by one stream, as it leaves by another.
fn crossed(from: ContentNamespace, payload: &str) -> String {
    let stanza = accept_on(from, &format!("<message>{payload}</message>")).unwrap();
    let mut out = String::new();
    for to in ALL {
        out = written(&stanza, to);
        // What is written is read there as what came here.
        let arrived = accept_on(to, &out).unwrap();
        assert_eq!(index(&arrived), index(&stanza), "{payload} from {from:?} to {to:?}");
        assert_eq!(arrived.elements(), stanza.elements(), "{payload} from {from:?} to {to:?}");
    }
    out.strip_prefix("<message>").unwrap().strip_suffix("</message>").unwrap().to_owned()
}

#[test]
fn what_inherits_the_content_namespace_leaves_as_it_came() {
    for payload in [
        "<body>hi</body>",
        "<body>talk of xmlns='jabber:client' and &#106;abber</body><thread/>",
        "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
        "<x xmlns='urn:x'><y/></x>",
        "<p:x xmlns:p='urn:x'><body/></p:x>",
        "<body a='x>y'>hi</body>",
    ] {
        for from in ALL {
            assert_eq!(crossed(from, payload), payload, "{from:?}");
        }
    }
}

/// Text that looks like a declaration costs a rewriting, and stays the text that it was.
#[test]
fn abuse_19_cdata_is_text_everywhere() {
    for from in ALL {
        let payload = "<body><![CDATA[<body xmlns='jabber:client'/>]]></body>";
        assert_eq!(crossed(from, payload), "<body>&lt;body xmlns='jabber:client'/&gt;</body>");
    }
}

#[test]
fn a_child_that_spells_out_the_content_namespace_leaves_without_it() {
    for from in ALL {
        let namespace = from.as_str();
        for payload in [
            format!("<body xmlns='{namespace}'>hi</body>"),
            format!("<body  xmlns = \"{namespace}\" >hi</body>"),
            format!("<c:body xmlns:c='{namespace}'>hi</c:body>"),
            format!("<body xmlns='{}'>hi</body>", namespace.replace('j', "&#106;").replace(':', "&#x3a;")),
        ] {
            assert_eq!(crossed(from, &payload), "<body>hi</body>", "{payload} from {from:?}");
        }
        let attribute = format!("<body xmlns='{namespace}' xml:lang='en' a='&lt;'>hi</body>");
        assert_eq!(crossed(from, &attribute), "<body xml:lang='en' a='&lt;'>hi</body>");
    }
}

#[test]
fn the_content_namespace_of_another_stream_is_no_way_round() {
    for from in ALL {
        for namespace in ALL.map(ContentNamespace::as_str) {
            let payload = format!("<x xmlns='urn:x'/><body xmlns='{namespace}'>hi</body>");
            assert_eq!(crossed(from, &payload), "<x xmlns='urn:x'/><body>hi</body>", "{from:?}");
        }
    }
}

#[test]
fn deeper_children_follow_as_long_as_their_parents_do() {
    for from in ALL {
        let namespace = from.as_str();
        let payload = format!("<a><b xmlns='{namespace}'><c:d xmlns:c='{namespace}'/></b></a>");
        assert_eq!(crossed(from, &payload), "<a><b><d/></b></a>", "{from:?}");
        let payload = format!("<a><f xmlns='urn:f'><b xmlns='jabber:client'/></f><b xmlns='{namespace}'/></a>");
        assert_eq!(crossed(from, &payload), "<a><f xmlns='urn:f'><b xmlns='jabber:client'/></f><b/></a>", "{from:?}");
    }
}

#[test]
fn xep0297_a_forwarded_stanza_keeps_its_namespace() {
    let forwarded = "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' to='a@example.org'>\
                     <body>hi</body></message></forwarded>";
    for from in ALL {
        assert_eq!(crossed(from, forwarded), forwarded);
        // Also when a neighbour has to be written again.
        let payload = format!("<body xmlns='{}'/>{forwarded} <thread/>", from.as_str());
        assert_eq!(crossed(from, &payload), format!("<body/>{forwarded} <thread/>"));
    }
}

#[test]
fn a_prefix_of_the_stream_root_comes_along() {
    let stanza = accept_on(Client, "<message><stream:x/></message>").unwrap();
    assert!(stanza.has_child("x", ns::STREAM));
    let alone = Stanza::parse(&stanza.to_xml()).unwrap();
    assert_eq!(alone.elements(), stanza.elements());
    // As an element that declares it is read by a stream that has no such prefix.
    let frame = frame_on(Server, &format!("<w xmlns='urn:w'>{}</w>", written(&stanza, Client)));
    assert!(frame.to_element().is_ok());
}

#[test]
fn a_stanza_that_declares_its_own_namespace_is_the_same_stanza() {
    let plain = accept_on(Client, "<message id='1'><body>hi</body></message>").unwrap();
    for xml in [
        "<message xmlns='jabber:client' id='1'><body>hi</body></message>",
        "<message xmlns=\"jabber:client\" id='1' xmlns:unused='urn:u'><body>hi</body></message>",
    ] {
        let stanza = accept_on(Client, xml).unwrap();
        assert_eq!(written(&stanza, Server), written(&plain, Server));
        assert_eq!(index(&stanza), index(&plain));
    }
    let prefixed =
        accept_on(Client, "<c:message xmlns:c='jabber:client' id='1'><c:body>hi</c:body></c:message>").unwrap();
    assert_eq!(written(&prefixed, Server), written(&plain, Server));
}
