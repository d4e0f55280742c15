//! What the parser hands out: a stream header, or one complete first-level element with its head already indexed.

use crate::Text;
use bytes::Bytes;

/// A half-open byte range inside a [`Frame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// One attribute with its value unescaped and normalised (XML 1.0 §3.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Namespace name; empty for an unprefixed attribute.
    pub namespace: Text,
    /// Local name.
    pub name: Text,
    /// Value.
    pub value: Text,
}

/// A stream header (`<stream:stream …>`), or a WebSocket `<open/>` (RFC 7395 §3.4).
#[derive(Clone, Debug)]
pub struct Header {
    /// Namespace name of the root element.
    pub namespace: Text,
    /// Local name of the root element.
    pub name: Text,
    /// The default namespace declared on it (the content namespace), empty when none.
    pub default_namespace: Text,
    /// Other prefixes declared on it: (prefix, namespace name).
    pub prefixes: Vec<(Text, Text)>,
    /// Attributes, namespace declarations excluded.
    pub attributes: Vec<Attribute>,
}

impl Header {
    /// The value of an unprefixed attribute.
    pub fn attribute(&self, name: &str) -> Option<&Text> {
        self.attributes.iter().find(|a| a.namespace.is_empty() && &*a.name == name).map(|a| &a.value)
    }
    /// The value of `xml:lang`.
    pub fn lang(&self) -> Option<&Text> {
        self.attributes
            .iter()
            .find(|a| &*a.namespace == "http://www.w3.org/XML/1998/namespace" && &*a.name == "lang")
            .map(|a| &a.value)
    }
}

/// One direct child of a first-level element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Resolved namespace name.
    pub namespace: Text,
    /// Local name.
    pub name: Text,
    /// The whole child, start tag to end tag, inside [`Frame::bytes`].
    pub span: Span,
}

/// One complete, validated first-level element.
///
/// The bytes stand by themselves: an element that used a prefix bound on the stream root has been rewritten, so that
/// `content_namespace` as default namespace is all that is needed to read it. A start tag may still carry `xmlns`.
#[derive(Clone, Debug)]
pub struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) namespace: Text,
    pub(crate) name: Text,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) children: Vec<Child>,
    pub(crate) inner: Span,
    pub(crate) wire_len: usize,
}

impl Frame {
    /// Resolved namespace name of the element.
    pub fn namespace(&self) -> &Text {
        &self.namespace
    }
    /// Local name of the element.
    pub fn name(&self) -> &Text {
        &self.name
    }
    /// Whether the element has this name and namespace.
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        &*self.name == name && &*self.namespace == namespace
    }
    /// Attributes, namespace declarations excluded.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }
    /// The value of an unprefixed attribute.
    pub fn attribute(&self, name: &str) -> Option<&Text> {
        self.attributes.iter().find(|a| a.namespace.is_empty() && &*a.name == name).map(|a| &a.value)
    }
    /// The value of `xml:lang`.
    pub fn lang(&self) -> Option<&Text> {
        self.attributes
            .iter()
            .find(|a| &*a.namespace == "http://www.w3.org/XML/1998/namespace" && &*a.name == "lang")
            .map(|a| &a.value)
    }
    /// Direct children in document order.
    pub fn children(&self) -> &[Child] {
        &self.children
    }
    /// The element's bytes, complete.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// Everything between the element's start tag and end tag, within [`Frame::bytes`]. Every namespace prefix used in
    /// it is declared in it, and its default namespace is the element's own namespace.
    pub fn inner(&self) -> Span {
        self.inner
    }
    /// Bytes that the element took on the wire (before any rewriting): what rate limits count.
    pub fn wire_len(&self) -> usize {
        self.wire_len
    }
}
