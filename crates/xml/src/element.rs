//! A small tree, for what the server itself reads or answers. What merely passes through never becomes one.

use crate::{escape_attribute, escape_text};
use std::borrow::Cow;

/// What was to be written is longer than it may be.
#[derive(Debug)]
pub(crate) struct TooLong;

/// A child of an [`Element`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Character data, unescaped.
    Text(String),
}

/// An element with resolved names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    namespace: Cow<'static, str>,
    name: Cow<'static, str>,
    /// (namespace or empty, local name, value)
    attributes: Vec<(Cow<'static, str>, Cow<'static, str>, String)>,
    nodes: Vec<Node>,
}

impl Element {
    /// An empty element. `name` must be a valid NCName; names from a peer only reach a tree through the parser.
    pub fn new(name: impl Into<Cow<'static, str>>, namespace: impl Into<Cow<'static, str>>) -> Self {
        Element { namespace: namespace.into(), name: name.into(), attributes: Vec::new(), nodes: Vec::new() }
    }
    /// Local name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Namespace name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
    /// Whether the element has this name and namespace.
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name == name && self.namespace == namespace
    }
    /// The value of an unprefixed attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(ns, n, _)| ns.is_empty() && n == name).map(|(_, _, v)| v.as_str())
    }
    /// Attributes as (namespace or empty, local name, value).
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.attributes.iter().map(|(ns, n, v)| (ns.as_ref(), n.as_ref(), v.as_str()))
    }
    /// With an unprefixed attribute set (replacing one of the same name).
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.set_attribute("", name, value);
        self
    }
    /// With an attribute set only when there is a value.
    #[must_use]
    pub fn with_attribute_if(self, name: impl Into<Cow<'static, str>>, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with_attribute(name, value),
            None => self,
        }
    }
    /// Sets an attribute; namespace empty for an unprefixed one.
    pub fn set_attribute(
        &mut self,
        namespace: impl Into<Cow<'static, str>>,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) {
        let (namespace, name) = (namespace.into(), name.into());
        match self.attributes.iter_mut().find(|(ns, n, _)| *ns == namespace && *n == name) {
            Some(found) => found.2 = value.into(),
            None => self.attributes.push((namespace, name, value.into())),
        }
    }
    /// With a child appended.
    #[must_use]
    pub fn with_child(mut self, child: Element) -> Self {
        self.nodes.push(Node::Element(child));
        self
    }
    /// With children appended.
    #[must_use]
    pub fn with_children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.nodes.extend(children.into_iter().map(Node::Element));
        self
    }
    /// With text appended.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.nodes.push(Node::Text(text.into()));
        self
    }
    /// Appends a node.
    pub fn push(&mut self, node: Node) {
        self.nodes.push(node);
    }
    /// Nodes in document order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    /// Child elements in document order.
    pub fn children(&self) -> impl Iterator<Item = &Element> {
        self.nodes.iter().filter_map(|n| match n {
            Node::Element(e) => Some(e),
            Node::Text(_) => None,
        })
    }
    /// The first child of that name and namespace.
    pub fn child(&self, name: &str, namespace: &str) -> Option<&Element> {
        self.children().find(|e| e.is(name, namespace))
    }
    /// The character data directly inside, concatenated.
    pub fn text(&self) -> String {
        self.nodes
            .iter()
            .filter_map(|n| match n {
                Node::Text(t) => Some(t.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }
    /// Appends text, joining it with text that is already last.
    pub fn push_text(&mut self, text: &str) {
        match self.nodes.last_mut() {
            Some(Node::Text(last)) => last.push_str(text),
            _ => self.nodes.push(Node::Text(text.to_owned())),
        }
    }
    /// Appends the element as XML, declaring `xmlns` only where the namespace differs from `default_namespace` (the one
    /// in scope around it). Prefixes are made for namespaced attributes only; `xml:` is known.
    pub fn write(&self, out: &mut Vec<u8>, default_namespace: &str) {
        // Without a bound it always fits.
        let _ = self.write_within(out, default_namespace, usize::MAX);
    }

    /// As [`Element::write`], but stops when `out` passes `most` bytes.
    pub(crate) fn write_within(&self, out: &mut Vec<u8>, default_namespace: &str, most: usize) -> Result<(), TooLong> {
        if out.len() > most {
            return Err(TooLong);
        }
        out.push(b'<');
        out.extend_from_slice(self.name.as_bytes());
        if self.namespace != default_namespace {
            out.extend_from_slice(b" xmlns='");
            escape_attribute(&self.namespace, out);
            out.push(b'\'');
        }
        let mut prefixes = 0usize;
        for (namespace, name, value) in &self.attributes {
            out.push(b' ');
            if namespace == "http://www.w3.org/XML/1998/namespace" {
                out.extend_from_slice(b"xml:");
            } else if !namespace.is_empty() {
                let prefix = format!("ns{prefixes}");
                prefixes = prefixes.saturating_add(1);
                out.extend_from_slice(format!("xmlns:{prefix}='").as_bytes());
                escape_attribute(namespace, out);
                out.extend_from_slice(b"' ");
                out.extend_from_slice(prefix.as_bytes());
                out.push(b':');
            }
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"='");
            escape_attribute(value, out);
            out.push(b'\'');
        }
        if self.nodes.is_empty() {
            out.extend_from_slice(b"/>");
            return Ok(());
        }
        out.push(b'>');
        for node in &self.nodes {
            match node {
                Node::Element(element) => element.write_within(out, &self.namespace, most)?,
                Node::Text(text) => escape_text(text, out),
            }
        }
        out.extend_from_slice(b"</");
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'>');
        Ok(())
    }
    /// The element as XML text by itself.
    pub fn to_xml(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out, "");
        String::from_utf8(out).unwrap_or_default()
    }
}
