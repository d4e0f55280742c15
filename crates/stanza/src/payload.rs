//! Payload bytes and their index, made anew: for stanzas built here, cut, appended to, or brought into the form in which
//! a payload crosses from one content namespace to another.
//!
//! **Crossing.** A payload names its own content namespace nowhere: what is in it simply inherits the default namespace of
//! the stream it leaves by. A peer may have spelled it out (`<body xmlns='jabber:client'>`, or a prefix bound to it); by
//! another stream such a child would be read as foreign, so it is written again without the declaration. The names of all
//! three content namespaces are treated alike, else one peer's foreign element would be the next one's body. Elements
//! inside a foreign element (`<forwarded/>`) mean what they say and stay untouched.

use crate::stanza::Children;
use crate::{ChildRef, Stanza, ns};
use bytes::Bytes;
use smallvec::SmallVec;
use std::ops::Range;
use stonechat_xml::{Element, Frame, Node, Span, Text};

/// Where the parts of a name stand in the bytes of a [`PayloadBuilder`], or a text of its own.
enum Name {
    At(Range<usize>),
    Own(Text),
}

impl Name {
    fn resolve(self, payload: &Bytes) -> Text {
        match self {
            // The range lies inside the payload and holds bytes that were compared with a `str`.
            Name::At(range) => Text::from_utf8(payload.slice(range)).unwrap_or_default(),
            Name::Own(text) => text,
        }
    }
}

/// Collects payload bytes and the index of children.
#[derive(Default)]
pub(crate) struct PayloadBuilder {
    bytes: Vec<u8>,
    children: SmallVec<[(Name, Name, Span); 4]>,
}

impl PayloadBuilder {
    /// A builder with room for as many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        PayloadBuilder { bytes: Vec::with_capacity(bytes), children: SmallVec::new() }
    }
    /// The whole payload of a stanza.
    pub(crate) fn push_payload(&mut self, stanza: &Stanza) {
        let base = position(self.bytes.len());
        self.bytes.extend_from_slice(&stanza.payload);
        for child in stanza.children() {
            let span = Span { start: base.saturating_add(child.span.start), end: base.saturating_add(child.span.end) };
            self.children.push((Name::Own(child.namespace.clone()), Name::Own(child.name.clone()), span));
        }
    }
    /// Bytes between children, as they were.
    pub(crate) fn push_between(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
    /// One child as it was.
    pub(crate) fn push_child(&mut self, namespace: Text, name: Text, bytes: &[u8]) {
        let start = position(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        let span = Span { start, end: position(self.bytes.len()) };
        self.children.push((Name::Own(namespace), Name::Own(name), span));
    }
    /// A child as a tree, content namespace given as `jabber:client`.
    pub(crate) fn push_element(&mut self, element: &Element) {
        let from = self.bytes.len();
        element.write(&mut self.bytes, ns::CLIENT);
        let span = Span { start: position(from), end: position(self.bytes.len()) };
        // The names are taken from where they were written, when the writer put them where one expects them.
        let written = self.bytes.get(from..).unwrap_or_default();
        let name = element.name();
        let after_name = written.strip_prefix(b"<").and_then(|rest| rest.strip_prefix(name.as_bytes()));
        let name_end = from.saturating_add(1).saturating_add(name.len());
        let name_at = match after_name {
            Some(_) => Name::At(from.saturating_add(1)..name_end),
            None => Name::Own(name.into()),
        };
        let namespace_at = match element.namespace() {
            ns::CLIENT => Name::Own(Text::default()),
            "" => Name::Own(Text::from_static(ns::NO_NAMESPACE)),
            namespace => {
                const DECLARATION: &[u8] = b" xmlns=";
                let value = after_name.and_then(|rest| rest.strip_prefix(DECLARATION)).and_then(|rest| rest.get(1..));
                match value {
                    Some(value) if value.starts_with(namespace.as_bytes()) => {
                        let start = name_end.saturating_add(DECLARATION.len()).saturating_add(1);
                        Name::At(start..start.saturating_add(namespace.len()))
                    }
                    _ => Name::Own(namespace.into()),
                }
            }
        };
        self.children.push((namespace_at, name_at, span));
    }
    /// The payload and its index.
    pub(crate) fn finish(self) -> (Bytes, Children) {
        let payload = Bytes::from(self.bytes);
        let children = self
            .children
            .into_iter()
            .map(|(namespace, name, span)| ChildRef {
                namespace: namespace.resolve(&payload),
                name: name.resolve(&payload),
                span,
            })
            .collect();
        (payload, Children::new(children))
    }
}

/// A position in a payload. Payloads are bounded by the parser's limits, far below 4 GiB.
fn position(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// The payload of a frame: a slice of its bytes and one index, or, when a child spells out a content namespace, a copy
/// without that. `content` is the content namespace of the stream that it came by.
pub(crate) fn from_frame(frame: &Frame, content: &str) -> (Bytes, Children) {
    let inner = frame.inner();
    let bytes = slice(frame.bytes(), inner);
    let content_bytes = content.as_bytes();
    let mut children: SmallVec<[ChildRef; 4]> = SmallVec::with_capacity(frame.children().len());
    let mut rewrite = false;
    for child in frame.children() {
        let span = Span {
            start: child.span.start.saturating_sub(inner.start),
            end: child.span.end.saturating_sub(inner.start),
        };
        let namespace = if child.namespace.as_bytes().as_ref() == content_bytes {
            rewrite |= spells_out_content(slice_of(&bytes, span));
            Text::default()
        } else if child.namespace.is_empty() {
            Text::from_static(ns::NO_NAMESPACE)
        } else if ns::is_content(&child.namespace) {
            rewrite = true;
            Text::default()
        } else {
            child.namespace.clone()
        };
        children.push(ChildRef { namespace, name: child.name.clone(), span });
    }
    if rewrite { rewritten(&bytes, &children, content) } else { (bytes, Children::new(children)) }
}

/// Writes every child in the content namespace again, without declarations of it.
fn rewritten(bytes: &Bytes, children: &[ChildRef], content: &str) -> (Bytes, Children) {
    let mut builder = PayloadBuilder::with_capacity(bytes.len());
    let mut done = 0u32;
    for child in children {
        builder.push_between(slice_of(bytes, Span { start: done, end: child.span.start }));
        done = child.span.end;
        let child_bytes = slice_of(bytes, child.span);
        match Element::parse(child_bytes, content) {
            Ok(element) if child.namespace.is_empty() => builder.push_element(&inheriting(&element)),
            // Foreign children stay as they are. A child that the frame's parser accepted is never refused here; were it,
            // it would leave as it came.
            _ => builder.push_child(child.namespace.clone(), child.name.clone(), child_bytes),
        }
    }
    builder.push_between(slice_of(bytes, Span { start: done, end: u32::MAX }));
    builder.finish()
}

/// The element with every content namespace down to the first foreign element put as `jabber:client`.
fn inheriting(element: &Element) -> Element {
    let mut copy = Element::new(element.name().to_owned(), ns::CLIENT);
    for (namespace, name, value) in element.attributes() {
        copy.set_attribute(namespace.to_owned(), name.to_owned(), value);
    }
    for node in element.nodes() {
        copy.push(match node {
            Node::Element(child) if ns::is_content(child.namespace()) => Node::Element(inheriting(child)),
            other => other.clone(),
        });
    }
    copy
}

/// Whether a child in the content namespace may declare a namespace where that matters for crossing. Errs on the side of
/// `true`, which only costs the slow path.
fn spells_out_content(child: &[u8]) -> bool {
    let Some(start_tag_len) = start_tag_len(child) else {
        return true;
    };
    let (start_tag, inside) = child.split_at_checked(start_tag_len).unwrap_or((child, b""));
    // A prefix is declared here too: nothing is inherited from the stanza's start tag (`Frame::inner`).
    if memchr::memmem::find(start_tag, b"xmlns").is_some() {
        return true;
    }
    match memchr::memchr(b'<', inside).and_then(|at| inside.get(at.saturating_add(1))) {
        // No element inside (the usual `<body>text</body>`).
        None | Some(b'/') => false,
        Some(_) => {
            let contains = |needle: &[u8]| memchr::memmem::find(inside, needle).is_some();
            contains(b"xmlns") && (contains(b"jabber:") || contains(b"&#"))
        }
    }
}

/// Length of the start tag that the bytes begin with.
fn start_tag_len(element: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in element.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at.saturating_add(1)),
            (None, b'\'' | b'"') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    None
}

/// A span of bytes, sharing them; empty where the span does not fit.
pub(crate) fn slice(bytes: &Bytes, span: Span) -> Bytes {
    let range = range(bytes, span);
    bytes.slice(range)
}

/// A span of bytes, borrowed.
pub(crate) fn slice_of(bytes: &Bytes, span: Span) -> &[u8] {
    bytes.get(range(bytes, span)).unwrap_or_default()
}

fn range(bytes: &Bytes, span: Span) -> Range<usize> {
    let end = usize::try_from(span.end).unwrap_or(usize::MAX).min(bytes.len());
    let start = usize::try_from(span.start).unwrap_or(usize::MAX).min(end);
    start..end
}
