//! Ids by which messages refer to each other: XEP-0359 origin-ids, XEP-0424 retractions.
//!
//! Deliberately absent: whether a reference is believed. It is the sender's word, and means something only together with
//! the sender's address.

use stonechat_stanza::{MessageType, Stanza, StanzaType, ns};

/// What a retraction names its message by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retracted {
    /// By its `id` attribute.
    Id(String),
    /// By its origin-id (before XEP-0424 0.4).
    OriginId(String),
}

impl Retracted {
    /// The id alone.
    pub fn id(&self) -> &str {
        match self {
            Retracted::Id(id) | Retracted::OriginId(id) => id,
        }
    }
}

/// The message that this one retracts (XEP-0424 §3). In a group chat that is the room's business, and an error may merely
/// bring a retraction back.
pub fn retraction(message: &Stanza) -> Option<Retracted> {
    match message.stanza_type() {
        StanzaType::Message(MessageType::Chat | MessageType::Normal) => {}
        StanzaType::Message(_) | StanzaType::Presence(_) | StanzaType::Iq(_) => return None,
    }
    if message.has_child("retract", ns::MESSAGE_RETRACT) {
        return attribute_id(message, "retract", ns::MESSAGE_RETRACT).map(Retracted::Id);
    }
    let fastened = message.child("apply-to", ns::FASTEN)?;
    fastened.child("retract", ns::MESSAGE_RETRACT_0)?;
    let id = fastened.attribute("id").filter(|id| !id.is_empty())?;
    Some(Retracted::OriginId(id.to_owned()))
}

/// The id that its sender gave a message for good (XEP-0359 §2.2).
pub fn origin_id(stanza: &Stanza) -> Option<String> {
    attribute_id(stanza, "origin-id", ns::STANZA_ID)
}

fn attribute_id(stanza: &Stanza, name: &str, namespace: &str) -> Option<String> {
    let child = stanza.child(name, namespace)?;
    child.attribute("id").filter(|id| !id.is_empty()).map(str::to_owned)
}
