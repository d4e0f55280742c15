//! Builders for stanzas that originate here.

use crate::payload::PayloadBuilder;
use crate::{Head, IqType, MessageType, PresenceType, Stanza, StanzaType};
use stonechat_xml::Element;

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
    /// A presence.
    pub fn presence(presence_type: PresenceType, payload: impl IntoIterator<Item = Element>) -> Stanza {
        Stanza::build(StanzaType::Presence(presence_type), payload)
    }
    /// A message.
    pub fn message(message_type: MessageType, payload: impl IntoIterator<Item = Element>) -> Stanza {
        Stanza::build(StanzaType::Message(message_type), payload)
    }
}
