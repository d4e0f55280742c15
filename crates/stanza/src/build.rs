//! Builders for stanzas that originate here.

use crate::{IqType, MessageType, PresenceType, Stanza, StanzaType};
use stonechat_xml::Element;

impl Stanza {
    /// A stanza with these payload elements (content-namespace elements are given in `jabber:client`).
    pub fn build(_stanza_type: StanzaType, _payload: impl IntoIterator<Item = Element>) -> Stanza {
        todo!()
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
