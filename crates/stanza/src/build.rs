//! Builders for stanzas that originate here.

use crate::payload::PayloadBuilder;
use crate::{Head, IqType, MessageType, PresenceType, Stanza, StanzaType, ns};
use stonechat_xml::{Element, Text};

impl Stanza {
    /// A stanza with these payload elements (content-namespace elements are given in `jabber:client`).
    pub fn build(stanza_type: StanzaType, payload: impl IntoIterator<Item = Element>) -> Stanza {
        let mut builder = PayloadBuilder::default();
        for element in payload {
            builder.push_element(&element);
        }
        let (payload, children) = builder.finish();
        Stanza { head: Head::new(stanza_type), payload, children }
    }
    /// An IQ of type get or set with an id.
    pub fn iq(iq_type: IqType, id: &str, payload: Element) -> Stanza {
        let mut stanza = Stanza::build(StanzaType::Iq(iq_type), [payload]);
        stanza.head.id = Some(id.into());
        stanza
    }
    /// A stanza with one child that wraps another stanza (XEP-0297): `<name xmlns='namespace' …><forwarded>` with the delay,
    /// when there is one, and the inner stanza, given as XML that stands by itself ([`Stanza::to_xml`]).
    pub fn wrapping(
        stanza_type: StanzaType,
        name: &'static str,
        namespace: &'static str,
        attributes: &[(&str, &str)],
        delay: Option<&Element>,
        inner: &[u8],
    ) -> Stanza {
        let mut bytes = Vec::with_capacity(inner.len().saturating_add(256));
        bytes.push(b'<');
        bytes.extend_from_slice(name.as_bytes());
        for (attribute, value) in [("xmlns", namespace)].iter().chain(attributes) {
            bytes.push(b' ');
            bytes.extend_from_slice(attribute.as_bytes());
            bytes.extend_from_slice(b"='");
            stonechat_xml::escape_attribute(value, &mut bytes);
            bytes.push(b'\'');
        }
        bytes.extend_from_slice(b"><forwarded xmlns='urn:xmpp:forward:0'>");
        if let Some(delay) = delay {
            delay.write(&mut bytes, ns::FORWARD);
        }
        bytes.extend_from_slice(inner);
        bytes.extend_from_slice(b"</forwarded></");
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'>');
        let mut builder = PayloadBuilder::default();
        builder.push_child(Text::from_static(namespace), Text::from_static(name), &bytes);
        let (payload, children) = builder.finish();
        Stanza { head: Head::new(stanza_type), payload, children }
    }
    /// A presence.
    pub fn presence(presence_type: PresenceType, payload: impl IntoIterator<Item = Element>) -> Stanza {
        Stanza::build(StanzaType::Presence(presence_type), payload)
    }
    /// A message.
    pub fn message(message_type: MessageType, payload: impl IntoIterator<Item = Element>) -> Stanza {
        Stanza::build(StanzaType::Message(message_type), payload)
    }
}
