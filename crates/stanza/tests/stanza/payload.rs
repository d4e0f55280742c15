//! Payloads: shared, indexed, cut, appended to (abuse case 73).

use super::{accept, index, written};
use stonechat_stanza::ContentNamespace::Client;
use stonechat_stanza::{Keep, MessageType, Stanza, ns};
use stonechat_xml::Element;

#[test]
fn the_payload_is_a_slice_of_what_arrived() {
    let frame = super::frame_on(Client, "<message to='a@example.org'><body>hi</body><x xmlns='urn:x'/></message>");
    let arrived = frame.bytes().clone();
    let stonechat_stanza::Accepted::Stanza(stanza) = stonechat_stanza::Accepted::from_frame(frame, Client).unwrap()
    else {
        panic!("no stanza")
    };
    let range = arrived.as_ptr_range();
    assert!(range.contains(&stanza.payload().as_ptr()));
    let copies = [
        stanza.to_recipient(stanza.to().unwrap().clone()),
        stanza.clone(),
        stanza.from_sender(stanza.to().unwrap().clone()),
    ];
    for copy in copies {
        assert_eq!(copy.payload().as_ptr(), stanza.payload().as_ptr());
    }
    // Nothing to cut: nothing is copied.
    let uncut = stanza.clone().without_children(|_, _| Keep::Kept);
    assert_eq!(uncut.payload().as_ptr(), stanza.payload().as_ptr());
}

#[test]
fn children_are_indexed_in_document_order() {
    let stanza = accept(
        "<message> <body>a&lt;b</body>\n<x:y xmlns:x='urn:x' a='>'><z/></x:y><body xml:lang='de'><![CDATA[</body>]]></body></message>",
    );
    let found: Vec<(String, String)> = index(&stanza).into_iter().map(|(ns, name, _)| (ns, name)).collect();
    let expected = [("", "body"), ("urn:x", "y"), ("", "body")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(found, expected);
    assert!(stanza.has_child("body", "") && stanza.has_child("y", "urn:x"));
    assert!(!stanza.has_child("y", "") && !stanza.has_child("body", ns::CLIENT));
    let body = stanza.child("body", "").unwrap();
    assert!(body.is("body", ns::CLIENT));
    assert_eq!(body.text(), "a<b");
    assert_eq!(stanza.elements().last().unwrap().text(), "</body>");
    assert_eq!(stanza.elements().len(), 3);
}

#[test]
fn abuse_72_fifty_bodies_of_one_language() {
    let stanza = accept(&format!("<message>{}</message>", "<body xml:lang='en'>x</body>".repeat(50)));
    assert_eq!(stanza.elements().len(), 50);
}

#[test]
fn a_child_in_no_namespace_is_not_a_child_in_the_content_namespace() {
    let stanza = accept("<message><body xmlns=''>x</body></message>");
    assert!(!stanza.has_child("body", ""));
    assert!(stanza.has_child("body", ns::NO_NAMESPACE));
    let built = Stanza::message(MessageType::Chat, [Element::new("body", "")]);
    assert!(!built.has_child("body", "") && built.has_child("body", ns::NO_NAMESPACE));
    let appended = stanza.with_appended(Element::new("body", ns::CLIENT));
    assert!(appended.has_child("body", "") && appended.has_child("body", ns::NO_NAMESPACE));
}

/// What the server alone may say, forged in every manner that a parser reads alike.
const FORGED: &[&str] = &[
    "<stanza-id xmlns='urn:xmpp:sid:0' by='example.org' id='1'/>",
    "<stanza-id xmlns=\"urn:xmpp:sid:0\" by='example.org' id='2'></stanza-id>",
    "<s:stanza-id xmlns:s='urn:xmpp:sid:0' by='example.org' id='3'/>",
    "<stanza-id\n\tby='example.org' id='&gt;4' xmlns='urn:xmpp:sid:0' ><a>></a></stanza-id\n>",
    "<stanza-id xmlns='urn:xmpp:sid&#58;0' by='example.org' id='5'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' by='x>y' id='<![CDATA['/>",
    "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-01T00:00:00Z'/>",
    "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></forwarded></sent>",
    "<result xmlns='urn:xmpp:mam:2' id='1'/>",
    "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='1'/>",
];

fn is_forged(stanza: &Stanza, child: &stonechat_stanza::ChildRef) -> Keep {
    let by_us = || {
        stanza
            .child_element(child)
            .is_some_and(|element| element.attribute("by").is_none_or(|by| by != "other.example"))
    };
    let forged = child.is("stanza-id", ns::STANZA_ID) && by_us()
        || child.is("delay", ns::DELAY)
        || child.namespace.as_str() == ns::CARBONS
        || child.namespace.as_str() == ns::MAM
        || child.is("occupant-id", ns::OCCUPANT_ID);
    if forged { Keep::Removed } else { Keep::Kept }
}

#[test]
fn abuse_73_all_copies_of_a_forged_child_go_wherever_they_stand() {
    let honest = "<body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' by='other.example' id='9'/>";
    let forged: String = FORGED.iter().filter(|xml| !xml.contains("'<![CDATA['")).copied().collect();
    for payload in [
        format!("{forged}{honest}"),
        format!("{honest}{forged}"),
        format!("{forged}{honest}{forged}{forged}"),
        honest.replace("/body>", &format!("/body>{forged}")),
    ] {
        let stanza = accept(&format!("<message id='1'>{payload}</message>")).without_children(is_forged);
        assert_eq!(written(&stanza, Client), format!("<message id='1'>{honest}</message>"));
        let names: Vec<String> = index(&stanza).into_iter().map(|(_, name, _)| name).collect();
        assert_eq!(names, ["body", "stanza-id"]);
        assert_eq!(index(&stanza), index(&Stanza::parse(&stanza.to_xml()).unwrap()));
    }
}

#[test]
fn abuse_73_text_that_looks_like_a_forged_child_stays() {
    let body = "<body>&lt;delay xmlns='urn:xmpp:delay'/&gt;<![CDATA[<delay xmlns='urn:xmpp:delay'/>]]></body>";
    let stanza =
        accept(&format!("<message>{body}<delay xmlns='urn:xmpp:delay'/></message>")).without_children(is_forged);
    assert_eq!(written(&stanza, Client), format!("<message>{body}</message>"));
}

#[test]
fn everything_cut_leaves_an_empty_stanza() {
    let stanza =
        accept("<message><a xmlns='urn:x'/><b xmlns='urn:x'/></message>").without_children(|_, _| Keep::Removed);
    assert_eq!(written(&stanza, Client), "<message/>");
    assert!(stanza.children().is_empty());
}

#[test]
fn what_is_appended_is_indexed() {
    let id =
        Element::new("stanza-id", ns::STANZA_ID).with_attribute("by", "example.org").with_attribute("id", "x'<>&\"");
    let stanza = accept("<message><body>hi</body></message>").with_appended(id.clone());
    assert_eq!(stanza.child("stanza-id", ns::STANZA_ID), Some(id.clone()));
    let again = stanza.clone().with_appended(Element::new("error", ns::CLIENT)).with_appended(id);
    assert_eq!(again.children().len(), 4);
    assert_eq!(index(&again), index(&Stanza::parse(&again.to_xml()).unwrap()));
    assert_eq!(stanza.children().len(), 2, "the original is what it was");
}

#[test]
fn built_stanzas_are_indexed_like_parsed_ones() {
    let stanza = Stanza::message(
        MessageType::Chat,
        [
            Element::new("body", ns::CLIENT).with_text("a & b"),
            Element::new("x", "urn:x:it's&\"so\"").with_child(Element::new("body", ns::CLIENT)),
            Element::new("b", "").with_attribute("c", "\n"),
        ],
    );
    assert_eq!(index(&stanza), index(&Stanza::parse(&stanza.to_xml()).unwrap()));
    assert_eq!(stanza.children()[1].namespace.as_str(), "urn:x:it's&\"so\"");
}
