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

impl MessageType {
    /// The value of the `type` attribute; empty when the attribute is left out (`normal` is the default).
    pub fn name(self) -> &'static str {
        match self {
            MessageType::Chat => "chat",
            MessageType::Error => "error",
            MessageType::Groupchat => "groupchat",
            MessageType::Headline => "headline",
            MessageType::Normal => "",
        }
    }
    /// By the value of the `type` attribute.
    pub fn from_name(name: &str) -> Self {
        match name {
            "chat" => MessageType::Chat,
            "error" => MessageType::Error,
            "groupchat" => MessageType::Groupchat,
            "headline" => MessageType::Headline,
            // RFC 6121 §5.2.2: an unknown value is treated as "normal".
            _ => MessageType::Normal,
        }
    }
}

impl PresenceType {
    /// The value of the `type` attribute; empty for available presence, which has none.
    pub fn name(self) -> &'static str {
        match self {
            PresenceType::Available => "",
            PresenceType::Unavailable => "unavailable",
            PresenceType::Subscribe => "subscribe",
            PresenceType::Subscribed => "subscribed",
            PresenceType::Unsubscribe => "unsubscribe",
            PresenceType::Unsubscribed => "unsubscribed",
            PresenceType::Probe => "probe",
            PresenceType::Error => "error",
        }
    }
    /// By the value of the `type` attribute. There is no value for available presence.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "unavailable" => Some(PresenceType::Unavailable),
            "subscribe" => Some(PresenceType::Subscribe),
            "subscribed" => Some(PresenceType::Subscribed),
            "unsubscribe" => Some(PresenceType::Unsubscribe),
            "unsubscribed" => Some(PresenceType::Unsubscribed),
            "probe" => Some(PresenceType::Probe),
            "error" => Some(PresenceType::Error),
            _ => None,
        }
    }
}

impl IqType {
    /// The value of the `type` attribute.
    pub fn name(self) -> &'static str {
        match self {
            IqType::Get => "get",
            IqType::Set => "set",
            IqType::Result => "result",
            IqType::Error => "error",
        }
    }
    /// By the value of the `type` attribute.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "get" => Some(IqType::Get),
            "set" => Some(IqType::Set),
            "result" => Some(IqType::Result),
            "error" => Some(IqType::Error),
            _ => None,
        }
    }
}

impl Kind {
    /// The element name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Message => "message",
            Kind::Presence => "presence",
            Kind::Iq => "iq",
        }
    }
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
    /// The value of the `type` attribute; empty when it is left out.
    pub fn type_name(self) -> &'static str {
        match self {
            StanzaType::Message(message_type) => message_type.name(),
            StanzaType::Presence(presence_type) => presence_type.name(),
            StanzaType::Iq(iq_type) => iq_type.name(),
        }
    }
    /// The same kind with type `error`.
    #[must_use]
    pub fn to_error(self) -> StanzaType {
        match self.kind() {
            Kind::Message => StanzaType::Message(MessageType::Error),
            Kind::Presence => StanzaType::Presence(PresenceType::Error),
            Kind::Iq => StanzaType::Iq(IqType::Error),
        }
    }
    /// Whether an error may be sent back: never for an error or an IQ result (RFC 6120 §8.2.3, §8.3.1).
    pub fn is_answerable(self) -> bool {
        !self.is_error() && self != StanzaType::Iq(IqType::Result)
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

impl Head {
    /// A head with nothing but its type.
    pub fn new(stanza_type: StanzaType) -> Head {
        Head { stanza_type, to: None, from: None, id: None, lang: None, other: None }
    }
}
