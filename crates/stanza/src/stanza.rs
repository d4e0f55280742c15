//! The stanza itself.

use crate::{Head, Kind, StanzaError, StanzaType};
use bytes::Bytes;
use smallvec::SmallVec;
use stonechat_jid::Jid;
use stonechat_xml::{Element, Span, Text};

/// The content namespace of the stream a stanza leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentNamespace {
    /// `jabber:client`
    Client,
    /// `jabber:server`
    Server,
    /// `jabber:component:accept`
    Component,
}

impl ContentNamespace {
    /// The namespace name.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentNamespace::Client => crate::ns::CLIENT,
            ContentNamespace::Server => crate::ns::SERVER,
            ContentNamespace::Component => crate::ns::COMPONENT,
        }
    }
}

/// One direct child: its resolved name and where it stands in the payload. A child in the content namespace has an
/// empty `namespace`, whatever stream it came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildRef {
    /// Namespace name; empty for the content namespace (`<body/>`, `<show/>`, `<error/>` …).
    pub namespace: Text,
    /// Local name.
    pub name: Text,
    /// Range inside the payload.
    pub span: Span,
}

/// A stanza. Cloning shares the payload and the index.
#[derive(Clone)]
pub struct Stanza {
    pub(crate) head: Head,
    pub(crate) payload: Bytes,
    pub(crate) children: std::sync::Arc<SmallVec<[ChildRef; 4]>>,
}

impl Stanza {
    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }
    /// The head, to stamp or to re-address. The payload stays shared.
    pub fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }
    /// Kind.
    pub fn kind(&self) -> Kind {
        self.head.stanza_type.kind()
    }
    /// Kind and type.
    pub fn stanza_type(&self) -> StanzaType {
        self.head.stanza_type
    }
    /// Recipient.
    pub fn to(&self) -> Option<&Jid> {
        self.head.to.as_ref()
    }
    /// Sender.
    pub fn from(&self) -> Option<&Jid> {
        self.head.from.as_ref()
    }
    /// The `id` attribute.
    pub fn id(&self) -> Option<&Text> {
        self.head.id.as_ref()
    }
    /// A copy for another recipient.
    #[must_use]
    pub fn to_recipient(&self, to: impl Into<Jid>) -> Stanza {
        let mut copy = self.clone();
        copy.head.to = Some(to.into());
        copy
    }
    /// A copy stamped with a sender.
    #[must_use]
    pub fn from_sender(&self, from: impl Into<Jid>) -> Stanza {
        let mut copy = self.clone();
        copy.head.from = Some(from.into());
        copy
    }
    /// Direct children in document order.
    pub fn children(&self) -> &[ChildRef] {
        &self.children
    }
    /// Whether there is a child of that name and namespace (empty namespace: the content namespace).
    pub fn has_child(&self, name: &str, namespace: &str) -> bool {
        self.children.iter().any(|c| &*c.name == name && &*c.namespace == namespace)
    }
    /// The first such child as a tree. A child in the content namespace comes in `jabber:client`.
    pub fn child(&self, _name: &str, _namespace: &str) -> Option<Element> {
        todo!()
    }
    /// The bytes of one child, as they stand in the payload.
    pub fn child_bytes(&self, _child: &ChildRef) -> Bytes {
        todo!()
    }
    /// All children as trees (content namespace: `jabber:client`).
    pub fn elements(&self) -> Vec<Element> {
        todo!()
    }
    /// The payload bytes.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }
    /// Size in bytes when written, roughly: what queues count.
    pub fn size(&self) -> usize {
        self.payload.len() + 128
    }
    /// Cuts the children for which the predicate says `Removed` (by span; shares the payload when none goes).
    #[must_use]
    pub fn without_children(self, _remove: impl FnMut(&Stanza, &ChildRef) -> Keep) -> Stanza {
        todo!()
    }
    /// Appends a child.
    #[must_use]
    pub fn with_appended(self, _child: Element) -> Stanza {
        todo!()
    }
    /// The error code's name of an `error` stanza's `<error/>`, when there is one.
    pub fn error(&self) -> Option<StanzaError> {
        todo!()
    }
    /// Appends the stanza as XML for a stream whose default namespace is `namespace` (nothing is declared on the start tag).
    pub fn write(&self, _namespace: ContentNamespace, _out: &mut Vec<u8>) {
        todo!()
    }
    /// As [`Stanza::write`], with `to` and `from` replaced: what a fan-out uses, so that no head is cloned per copy.
    pub fn write_addressed(&self, _from: Option<&Jid>, _to: Option<&Jid>, _namespace: ContentNamespace, _out: &mut Vec<u8>) {
        todo!()
    }
    /// The reply skeleton to an IQ: `result`, addresses swapped, same id.
    pub fn iq_result(&self, _payload: Option<Element>) -> Stanza {
        todo!()
    }
    /// The error reply: type `error`, addresses swapped, same id; the original payload is included for an IQ, left out
    /// for messages and presences. `None` when the stanza is itself an error or an IQ result (never answered).
    pub fn error_reply(&self, _error: &StanzaError) -> Option<Stanza> {
        todo!()
    }
    /// Parses a stored or literal stanza that stands by itself (default namespace `jabber:client` assumed when absent).
    pub fn parse(_xml: &[u8]) -> Result<Stanza, crate::AcceptError> {
        todo!()
    }
    /// The stanza as XML by itself, `xmlns="jabber:client"` declared: what the store keeps.
    pub fn to_xml(&self) -> Vec<u8> {
        todo!()
    }
}

/// What becomes of a child in [`Stanza::without_children`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It stays.
    Kept,
    /// It goes.
    Removed,
}

impl std::fmt::Debug for Stanza {
    /// The head only: bodies never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stanza").field("head", &self.head).field("payload_bytes", &self.payload.len()).finish()
    }
}
