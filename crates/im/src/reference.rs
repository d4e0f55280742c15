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
    let child = stanza.find_child(name, namespace)?;
    let id = match plain_attribute(&stanza.child_bytes(child), b"id") {
        Plain::Value(id) => id,
        Plain::Absent => return None,
        Plain::Unclear => stanza.child_element(child)?.attribute("id")?.to_owned(),
    };
    (!id.is_empty()).then_some(id)
}

/// What [`plain_attribute`] found.
enum Plain {
    Value(String),
    Absent,
    /// It takes a parser to tell.
    Unclear,
}

/// The value of an attribute in the start tag that the bytes of an element begin with, without a tree: nearly every message
/// has an origin-id. The bytes come from the parser, so they are well-formed; a value that is not written as it is read
/// (RFC 6120 §11.1, XML §3.3.3) is left to it.
fn plain_attribute(element: &[u8], name: &[u8]) -> Plain {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let Some(name_end) = element.iter().position(|byte| is_space(byte) || matches!(byte, b'>' | b'/')) else {
        return Plain::Unclear;
    };
    let mut rest = element.get(name_end..).unwrap_or_default().trim_ascii_start();
    while !matches!(rest.first(), Some(b'>' | b'/')) {
        let Some(equals) = rest.iter().position(|byte| *byte == b'=') else { return Plain::Unclear };
        let (attribute, value) = rest.split_at_checked(equals).unwrap_or_default();
        let Some((quote, value)) = value.get(1..).unwrap_or_default().trim_ascii_start().split_first() else {
            return Plain::Unclear;
        };
        let Some(end) = value.iter().position(|byte| byte == quote) else { return Plain::Unclear };
        let (value, behind) = value.split_at_checked(end).unwrap_or_default();
        if attribute.trim_ascii_end() == name {
            let verbatim = !value.iter().any(|byte| matches!(byte, b'&' | b'\t' | b'\r' | b'\n'));
            return match std::str::from_utf8(value) {
                Ok(value) if verbatim => Plain::Value(value.to_owned()),
                Ok(_) | Err(_) => Plain::Unclear,
            };
        }
        rest = behind.get(1..).unwrap_or_default().trim_ascii_start();
    }
    Plain::Absent
}
