//! The head of a stanza: kind, type, addresses, id, language.

use stonechat_jid::Jid;
use stonechat_xml::Text;

/// The three kinds of RFC 6120 §8.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `<message/>`
    Message,
    /// `<presence/>`
    Presence,
    /// `<iq/>`
    Iq,
}

/// RFC 6121 §5.2.2. An unknown value counts as `normal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the RFC's names")]
pub enum MessageType {
    Chat,
    Error,
    Groupchat,
    Headline,
    #[default]
    Normal,
}

/// RFC 6121 §4.7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the RFC's names")]
pub enum PresenceType {
    /// No `type` attribute.
    #[default]
    Available,
    Unavailable,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    Probe,
    Error,
}

/// RFC 6120 §8.2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the RFC's names")]
pub enum IqType {
    Get,
    Set,
    Result,
    Error,
}

/// Kind and type in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StanzaType {
    /// A message.
    Message(MessageType),
    /// A presence.
    Presence(PresenceType),
    /// An IQ.
    Iq(IqType),
}

impl StanzaType {
    /// The kind alone.
    pub fn kind(self) -> Kind {
        match self {
            StanzaType::Message(_) => Kind::Message,
            StanzaType::Presence(_) => Kind::Presence,
            StanzaType::Iq(_) => Kind::Iq,
        }
    }
    /// Whether it is of type `error`, which is never answered.
    pub fn is_error(self) -> bool {
        matches!(
            self,
            StanzaType::Message(MessageType::Error)
                | StanzaType::Presence(PresenceType::Error)
                | StanzaType::Iq(IqType::Error)
        )
    }
}

/// Everything of a stanza's start tag that the server reads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Head {
    /// Kind and type.
    pub stanza_type: StanzaType,
    /// Recipient. `None` means the sender's own account (RFC 6120 §8.1.1.1).
    pub to: Option<Jid>,
    /// Sender, stamped or verified at the edge.
    pub from: Option<Jid>,
    /// The `id` attribute.
    pub id: Option<Text>,
    /// `xml:lang`.
    pub lang: Option<Text>,
    /// Other attributes of the start tag (unknown or namespaced), kept as they were.
    pub other: Option<Box<[stonechat_xml::Attribute]>>,
}
