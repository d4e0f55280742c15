//! The stanza itself.

use crate::payload::{PayloadBuilder, slice, slice_of};
use crate::{Head, IqType, Kind, StanzaError, StanzaType, ns};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;
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
            ContentNamespace::Client => ns::CLIENT,
            ContentNamespace::Server => ns::SERVER,
            ContentNamespace::Component => ns::COMPONENT,
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

/// The index of direct children, shared. Who is present says it without children, and is kept for as long: that costs
/// nothing.
#[derive(Clone, Default)]
pub(crate) struct Children(Option<Arc<SmallVec<[ChildRef; 4]>>>);

impl Children {
    pub(crate) fn new(children: SmallVec<[ChildRef; 4]>) -> Children {
        Children((!children.is_empty()).then(|| Arc::new(children)))
    }
    fn as_slice(&self) -> &[ChildRef] {
        self.0.as_deref().map_or(&[], SmallVec::as_slice)
    }
}

/// A stanza. Cloning shares the payload and the index.
#[derive(Clone)]
pub struct Stanza {
    pub(crate) head: Head,
    pub(crate) payload: Bytes,
    pub(crate) children: Children,
}

impl ChildRef {
    /// Whether the child has this name and namespace (empty namespace: the content namespace).
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name.as_bytes().as_ref() == name.as_bytes() && self.namespace.as_bytes().as_ref() == namespace.as_bytes()
    }
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
        self.children.as_slice()
    }
    /// Whether there is a child of that name and namespace (empty namespace: the content namespace).
    pub fn has_child(&self, name: &str, namespace: &str) -> bool {
        self.find_child(name, namespace).is_some()
    }
    /// The first child of that name and namespace, in the index (empty namespace: the content namespace).
    pub fn find_child(&self, name: &str, namespace: &str) -> Option<&ChildRef> {
        self.children().iter().find(|child| child.is(name, namespace))
    }
    /// The first such child as a tree. A child in the content namespace comes in `jabber:client`.
    pub fn child(&self, name: &str, namespace: &str) -> Option<Element> {
        self.find_child(name, namespace).and_then(|child| self.child_element(child))
    }
    /// One child of the index as a tree (content namespace: `jabber:client`).
    pub fn child_element(&self, child: &ChildRef) -> Option<Element> {
        Element::parse(slice_of(&self.payload, child.span), ns::CLIENT).ok()
    }
    /// The bytes of one child, as they stand in the payload.
    pub fn child_bytes(&self, child: &ChildRef) -> Bytes {
        slice(&self.payload, child.span)
    }
    /// All children as trees (content namespace: `jabber:client`).
    pub fn elements(&self) -> Vec<Element> {
        self.children().iter().filter_map(|child| self.child_element(child)).collect()
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
    pub fn without_children(self, mut remove: impl FnMut(&Stanza, &ChildRef) -> Keep) -> Stanza {
        let verdicts: SmallVec<[Keep; 16]> = self.children().iter().map(|child| remove(&self, child)).collect();
        if !verdicts.contains(&Keep::Removed) {
            return self;
        }
        let mut builder = PayloadBuilder::with_capacity(self.payload.len());
        let mut done = 0;
        for (child, verdict) in self.children().iter().zip(&verdicts) {
            builder.push_between(slice_of(&self.payload, Span { start: done, end: child.span.start }));
            done = child.span.end;
            if *verdict == Keep::Kept {
                builder.push_child(child.namespace.clone(), child.name.clone(), slice_of(&self.payload, child.span));
            }
        }
        builder.push_between(slice_of(&self.payload, Span { start: done, end: u32::MAX }));
        let (payload, children) = builder.finish();
        Stanza { head: self.head, payload, children }
    }
    /// Appends a child.
    #[must_use]
    pub fn with_appended(self, child: Element) -> Stanza {
        let mut builder = PayloadBuilder::with_capacity(self.payload.len().saturating_add(APPENDED));
        builder.push_payload(&self);
        builder.push_element(&child);
        let (payload, children) = builder.finish();
        Stanza { head: self.head, payload, children }
    }
    /// What the `<error/>` of an `error` stanza says; `None` when it is no error stanza or has no such child.
    pub fn error(&self) -> Option<StanzaError> {
        if !self.head.stanza_type.is_error() {
            return None;
        }
        StanzaError::from_element(&self.child("error", "")?)
    }
    /// The reply skeleton to an IQ: `result`, addresses swapped, same id.
    pub fn iq_result(&self, payload: Option<Element>) -> Stanza {
        self.reply(StanzaType::Iq(IqType::Result), Stanza::build(self.head.stanza_type, payload))
    }
    /// The error reply: type `error`, addresses swapped, same id. It brings the original payload back for an IQ, and for a
    /// message of no more than [`BROUGHT_BACK`] bytes; not for a presence. `None` when the stanza is itself an error or an
    /// IQ result (never answered).
    pub fn error_reply(&self, error: &StanzaError) -> Option<Stanza> {
        // RFC 6120 §8.3.1: an error is never answered with an error.
        self.head.stanza_type.is_answerable().then(|| self.error_reply_unchecked(error))
    }

    /// The error reply to whatever this is; the caller has decided that it may be answered.
    pub(crate) fn error_reply_unchecked(&self, error: &StanzaError) -> Stanza {
        let mut builder = PayloadBuilder::default();
        // RFC 6120 §8.3.1: the original may be included. A person reads again what was not delivered, and another server
        // sees what kind of message it was (XEP-0280 §6.1).
        match self.kind() {
            Kind::Iq => builder.push_payload(self),
            Kind::Message if self.payload.len() <= BROUGHT_BACK => builder.push_payload(self),
            Kind::Message | Kind::Presence => {}
        }
        builder.push_element(&error.to_element());
        let (payload, children) = builder.finish();
        self.reply(
            self.head.stanza_type.to_error(),
            Stanza { head: Head::new(self.head.stanza_type), payload, children },
        )
    }

    fn reply(&self, stanza_type: StanzaType, mut reply: Stanza) -> Stanza {
        reply.head.stanza_type = stanza_type;
        reply.head.to = self.head.from.clone();
        reply.head.from = self.head.to.clone();
        reply.head.id = self.head.id.clone();
        reply
    }
}

/// Bytes of a message's payload that an error brings back. What is larger is known by its id.
pub const BROUGHT_BACK: usize = 16 * 1024;

/// Room for what is usually appended: an id, a delay, an error.
const APPENDED: usize = 192;

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
