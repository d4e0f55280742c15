//! What is known of the element being read: open tags, namespaces in scope, and the head that becomes a [`Frame`].

use crate::scan::{self, RawAttribute, StartTag, slice, text};
use crate::{Attribute, Child, Error, Frame, Header, Limit, Limits, Span, Text};
use bytes::Bytes;
use std::ops::Range;

/// Bytes of one namespace name. The longest in use is not half of it.
const MAX_NAMESPACE: usize = 256;

const XML_NAMESPACE: Text = Text::from_static("http://www.w3.org/XML/1998/namespace");

/// A namespace name: in the element's bytes, or from elsewhere (the stream root, or unescaped).
#[derive(Clone, Debug)]
enum Name {
    In(Range<usize>),
    Of(Text),
}

impl Name {
    fn as_bytes<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        match self {
            Name::In(range) => slice(bytes, range.clone()),
            Name::Of(text) => text.as_bytes(),
        }
    }
    fn to_text(&self, bytes: &Bytes) -> Text {
        match self {
            Name::In(range) => Text::part(bytes, range.clone()),
            Name::Of(text) => text.clone(),
        }
    }
}

#[derive(Debug)]
struct Binding {
    /// Empty for the default namespace.
    prefix: Range<usize>,
    namespace: Name,
    /// Declared on the first-level element itself.
    first_level: bool,
}

#[derive(Debug)]
struct Open {
    name: Range<usize>,
    bindings: usize,
}

#[derive(Debug)]
struct HeadAttribute {
    namespace: Option<Name>,
    local: Range<usize>,
    value: Range<usize>,
    verbatim: bool,
}

#[derive(Debug)]
struct HeadChild {
    namespace: Name,
    local: Range<usize>,
    start: usize,
    end: usize,
}

#[derive(Debug)]
struct Root {
    name: scan::Name,
    namespace: Name,
    declarations: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Index {
    open: Vec<Open>,
    bindings: Vec<Binding>,
    root: Option<Root>,
    attributes: Vec<HeadAttribute>,
    children: Vec<HeadChild>,
    inner: Range<usize>,
    /// The bytes do not stand by themselves: see [`Frame`].
    leans: bool,
}

impl Index {
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }
    pub(crate) fn has_root(&self) -> bool {
        self.root.is_some()
    }
    /// Whether the element is of the same expanded name as the stream's root.
    pub(crate) fn is_like(&self, bytes: &[u8], stream: &crate::root::Root) -> bool {
        self.root
            .as_ref()
            .is_some_and(|root| stream.is_like(root.namespace.as_bytes(bytes), slice(bytes, root.name.local())))
    }
    pub(crate) fn leans(&self) -> bool {
        self.leans
    }
    /// Ready for the next element; what it holds of memory is kept only where it is small.
    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 16;
        self.open.clear();
        self.bindings.clear();
        self.attributes.clear();
        self.children.clear();
        if self.children.capacity() > KEPT || self.open.capacity() > KEPT || self.bindings.capacity() > KEPT {
            *self = Index::default();
        }
        self.root = None;
        self.inner = 0..0;
        self.leans = false;
    }

    /// Takes a start tag. `true` when it is an empty element at the first level.
    pub(crate) fn open(
        &mut self,
        bytes: &[u8],
        at: Range<usize>,
        tag: StartTag,
        attributes: &[RawAttribute],
        stream: &[(Text, Text)],
        limits: &Limits,
    ) -> Result<bool, Error> {
        let depth = self.open.len();
        if depth >= limits.depth {
            return Err(Error::LimitExceeded(Limit::Depth));
        }
        let absolute = |range: Range<usize>| at.start.saturating_add(range.start)..at.start.saturating_add(range.end);
        let bindings = self.bindings.len();
        for attribute in attributes {
            let full = slice(bytes, absolute(attribute.name.full()));
            let prefix = match full {
                b"xmlns" => attribute.name.end..attribute.name.end,
                _ if full.starts_with(b"xmlns:") => attribute.name.local(),
                _ => continue,
            };
            if self.bindings.len().saturating_add(stream.len()) >= limits.namespaces {
                return Err(Error::LimitExceeded(Limit::Namespaces));
            }
            let value = absolute(attribute.value.clone());
            // P4: each element in the namespace may have to carry its name when it is rewritten or made a tree.
            if value.len() > MAX_NAMESPACE {
                return Err(Error::LimitExceeded(Limit::Name));
            }
            let namespace = if attribute.verbatim {
                scan::check_declaration(text(bytes, absolute(prefix.clone())), text(bytes, value.clone()))?;
                Name::In(value)
            } else {
                let meant = scan::unescape_value(slice(bytes, value));
                scan::check_declaration(text(bytes, absolute(prefix.clone())), &meant)?;
                Name::Of(Text::from(meant))
            };
            self.bindings.push(Binding { prefix: absolute(prefix), namespace, first_level: depth == 0 });
        }
        let name = scan::Name {
            start: at.start.saturating_add(tag.name.start),
            local: at.start.saturating_add(tag.name.local),
            end: at.start.saturating_add(tag.name.end),
        };
        let namespace = self.resolve(bytes, name.prefix(), stream, depth)?;
        if name.prefix().is_some() && depth == 0 {
            self.leans = true;
        }
        self.take_attributes(bytes, at.start, attributes, stream, depth)?;
        match depth {
            0 => {
                let declarations = self.bindings.len();
                self.root = Some(Root { name, namespace, declarations });
                self.inner = at.end..at.end;
            }
            1 => {
                if self.children.len() >= limits.children {
                    return Err(Error::LimitExceeded(Limit::Children));
                }
                self.children.push(HeadChild { namespace, local: name.local(), start: at.start, end: at.end });
            }
            _ => {}
        }
        if tag.empty {
            if depth > 0 {
                self.bindings.truncate(bindings);
            }
            return Ok(depth == 0);
        }
        self.open.push(Open { name: name.full(), bindings });
        Ok(false)
    }

    /// Takes an end tag. `true` when it ends the first-level element.
    pub(crate) fn close(&mut self, bytes: &[u8], start: usize, name: &[u8], end: usize) -> Result<bool, Error> {
        let Some(open) = self.open.pop() else {
            return Err(Error::NotWellFormed("an end tag without its start tag"));
        };
        if slice(bytes, open.name.clone()) != name {
            return Err(Error::NotWellFormed("an end tag of another name than its start tag"));
        }
        match self.open.len() {
            0 => {
                self.inner.end = start;
                Ok(true)
            }
            depth => {
                if depth == 1
                    && let Some(child) = self.children.last_mut()
                {
                    child.end = end;
                }
                self.bindings.truncate(open.bindings);
                Ok(false)
            }
        }
    }

    /// The namespace of a prefix (`None`: the default one).
    fn resolve(
        &mut self,
        bytes: &[u8],
        prefix: Option<Range<usize>>,
        stream: &[(Text, Text)],
        depth: usize,
    ) -> Result<Name, Error> {
        let wanted = prefix.clone().map_or(&[][..], |prefix| slice(bytes, prefix));
        if wanted == b"xml" {
            return Ok(Name::Of(XML_NAMESPACE));
        }
        if let Some(found) = self.bindings.iter().rev().find(|binding| slice(bytes, binding.prefix.clone()) == wanted) {
            if found.first_level && depth > 0 && prefix.is_some() {
                self.leans = true;
            }
            return Ok(found.namespace.clone());
        }
        if let Some((_, namespace)) = stream.iter().find(|(known, _)| &known.as_bytes()[..] == wanted) {
            if prefix.is_some() {
                self.leans = true;
            }
            return Ok(Name::Of(namespace.clone()));
        }
        match prefix {
            None => Ok(Name::Of(Text::default())),
            Some(_) => Err(Error::NotWellFormed("a prefix that is not declared")),
        }
    }

    /// Checks the attributes' prefixes and that they are unique by expanded name; keeps those of the first level.
    fn take_attributes(
        &mut self,
        bytes: &[u8],
        offset: usize,
        attributes: &[RawAttribute],
        stream: &[(Text, Text)],
        depth: usize,
    ) -> Result<(), Error> {
        let absolute = |range: Range<usize>| offset.saturating_add(range.start)..offset.saturating_add(range.end);
        let mut prefixed: Vec<(Name, Range<usize>)> = Vec::new();
        for attribute in attributes {
            let full = slice(bytes, absolute(attribute.name.full()));
            if full == b"xmlns" || full.starts_with(b"xmlns:") {
                continue;
            }
            let local = absolute(attribute.name.local());
            let namespace = match attribute.name.prefix() {
                None => None,
                Some(prefix) => {
                    let namespace = self.resolve(bytes, Some(absolute(prefix)), stream, depth)?;
                    // Namespaces in XML §6.3.
                    if prefixed.iter().any(|(other, name)| {
                        other.as_bytes(bytes) == namespace.as_bytes(bytes)
                            && slice(bytes, name.clone()) == slice(bytes, local.clone())
                    }) {
                        return Err(Error::NotWellFormed("an attribute stands twice by two prefixes"));
                    }
                    prefixed.push((namespace.clone(), local.clone()));
                    Some(namespace)
                }
            };
            if depth == 0 {
                let value = absolute(attribute.value.clone());
                self.attributes.push(HeadAttribute { namespace, local, value, verbatim: attribute.verbatim });
            }
        }
        Ok(())
    }

    fn head_attributes(&self, bytes: &Bytes) -> Vec<Attribute> {
        self.attributes
            .iter()
            .map(|attribute| Attribute {
                namespace: attribute.namespace.as_ref().map(|name| name.to_text(bytes)).unwrap_or_default(),
                name: Text::part(bytes, attribute.local.clone()),
                value: if attribute.verbatim {
                    Text::part(bytes, attribute.value.clone())
                } else {
                    Text::from(scan::unescape_value(slice(bytes, attribute.value.clone())))
                },
            })
            .collect()
    }

    pub(crate) fn root_name<'a>(&self, bytes: &'a Bytes) -> &'a str {
        self.root.as_ref().map_or("", |root| text(bytes, root.name.full()))
    }

    /// The stream header. It outlives its bytes only by what it shares of them.
    pub(crate) fn take_header(&self, bytes: &Bytes) -> Header {
        let Some(root) = &self.root else {
            return Header::from_parts(Text::default(), Text::default(), Vec::new(), Vec::new());
        };
        let declarations = self
            .bindings
            .iter()
            .take(root.declarations)
            .map(|binding| (Text::part(bytes, binding.prefix.clone()), binding.namespace.to_text(bytes)))
            .collect();
        Header::from_parts(
            root.namespace.to_text(bytes),
            Text::part(bytes, root.name.local()),
            declarations,
            self.head_attributes(bytes),
        )
    }

    /// The finished frame, from bytes that stand by themselves.
    pub(crate) fn take_frame(&self, bytes: Bytes) -> Frame {
        let (namespace, name) = match &self.root {
            Some(root) => (root.namespace.to_text(&bytes), Text::part(&bytes, root.name.local())),
            None => (Text::default(), Text::default()),
        };
        let children = self
            .children
            .iter()
            .map(|child| Child {
                namespace: child.namespace.to_text(&bytes),
                name: Text::part(&bytes, child.local.clone()),
                span: span(child.start..child.end),
            })
            .collect();
        Frame {
            namespace,
            name,
            attributes: self.head_attributes(&bytes),
            children,
            inner: span(self.inner.clone()),
            wire_len: bytes.len(),
            bytes,
        }
    }
}

fn span(range: Range<usize>) -> Span {
    let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    Span { start: narrow(range.start), end: narrow(range.end) }
}
