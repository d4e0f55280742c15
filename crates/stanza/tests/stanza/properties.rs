//! Properties: whatever is in a stanza, what is written is what is read.

use super::{accept_on, index, written};
use proptest::prelude::*;
use stonechat_jid::Jid;
use stonechat_stanza::ContentNamespace::{Client, Component, Server};
use stonechat_stanza::{IqType, Keep, MessageType, PresenceType, Stanza, StanzaType, ns};
use stonechat_xml::Element;

/// Text of everything XML 1.0 allows, markup characters often.
fn any_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            5 => proptest::sample::select(vec!['<', '>', '&', '\'', '"', '\r', '\n', '\t', ']', ';', ' ']),
            3 => proptest::char::range('a', 'z'),
            1 => proptest::sample::select(vec!['é', '\u{2028}', '\u{fffd}', '🎉', '\u{85}', 'ﷺ']),
        ],
        0..20,
    )
    .prop_map(|characters| characters.into_iter().collect())
}

fn any_namespace() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(ns::CLIENT.to_owned()),
        1 => Just(ns::SERVER.to_owned()),
        1 => Just(String::new()),
        1 => Just(ns::STANZA_ID.to_owned()),
        1 => "urn:[a-z&'<]{1,8}".prop_map(|text| text),
    ]
}

fn any_element() -> impl Strategy<Value = Element> {
    let leaf =
        ("[a-z]{1,6}", any_namespace(), any_text(), any_text()).prop_map(|(name, namespace, attribute, text)| {
            let element = Element::new(name, namespace).with_attribute("a", attribute);
            if text.is_empty() { element } else { element.with_text(text) }
        });
    leaf.prop_recursive(3, 12, 3, |inner| {
        ("[a-z]{1,6}", any_namespace(), proptest::collection::vec(inner, 0..3))
            .prop_map(|(name, namespace, children)| Element::new(name, namespace).with_children(children))
    })
}

fn any_type() -> impl Strategy<Value = StanzaType> {
    proptest::sample::select(vec![
        StanzaType::Message(MessageType::Chat),
        StanzaType::Message(MessageType::Normal),
        StanzaType::Message(MessageType::Error),
        StanzaType::Presence(PresenceType::Available),
        StanzaType::Presence(PresenceType::Subscribe),
        StanzaType::Iq(IqType::Result),
        StanzaType::Iq(IqType::Error),
    ])
}

fn any_stanza() -> impl Strategy<Value = Stanza> {
    let elements = proptest::collection::vec(any_element(), 0..5);
    (any_type(), elements, any_text(), "[a-z]{1,5}/[a-z<>&'\"]{1,8}").prop_map(|(stanza_type, elements, id, to)| {
        let mut stanza = Stanza::build(stanza_type, elements);
        stanza.head_mut().id = Some(format!("i{id}").into());
        stanza.head_mut().to = Some(Jid::parse(&to).unwrap());
        stanza
    })
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(stanza in any_stanza()) {
        for namespace in [Client, Server, Component] {
            let arrived = accept_on(namespace, &written(&stanza, namespace)).unwrap();
            prop_assert_eq!(arrived.stanza_type(), stanza.stanza_type());
            prop_assert_eq!(arrived.id(), stanza.id());
            prop_assert_eq!(arrived.to(), stanza.to());
            prop_assert_eq!(arrived.children().len(), stanza.children().len());
            for (child, original) in arrived.children().iter().zip(stanza.children()) {
                prop_assert_eq!(&child.name, &original.name);
            }
        }
        let stored = Stanza::parse(&stanza.to_xml()).unwrap();
        prop_assert_eq!(written(&stored, Client), written(&accept_on(Client, &written(&stanza, Client)).unwrap(), Client));
    }

    /// Once a stanza has been through the edge, every stream shows it alike: hop after hop nothing changes any more.
    #[test]
    fn the_second_hop_changes_nothing(stanza in any_stanza()) {
        let first = accept_on(Client, &written(&stanza, Client)).unwrap();
        for namespace in [Server, Component, Client] {
            let second = accept_on(namespace, &written(&first, namespace)).unwrap();
            prop_assert_eq!(index(&second), index(&first));
            prop_assert_eq!(second.payload(), first.payload());
            prop_assert_eq!(second.elements(), first.elements());
        }
    }

    #[test]
    fn cutting_and_appending_keep_the_index_true(stanza in any_stanza(), verdicts in any::<[bool; 8]>(), extra in any_element()) {
        let stanza = accept_on(Client, &written(&stanza, Client)).unwrap();
        let mut next = verdicts.into_iter().cycle();
        let mut kept = Vec::new();
        let cut = stanza.clone().without_children(|stanza, child| {
            if next.next() == Some(true) { return Keep::Removed }
            kept.push(stanza.child_bytes(child));
            Keep::Kept
        });
        let left: Vec<_> = cut.children().iter().map(|child| cut.child_bytes(child)).collect();
        prop_assert_eq!(left, kept);
        let appended = cut.clone().with_appended(extra);
        prop_assert_eq!(appended.children().len(), cut.children().len() + 1);
        prop_assert_eq!(&index(&appended)[..cut.children().len()], &index(&cut)[..]);
        let again = accept_on(Client, &written(&appended, Client)).unwrap();
        prop_assert_eq!(again.children().len(), appended.children().len());
    }
}
