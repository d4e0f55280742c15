//! From accepted bytes to a tree.

use crate::scan::{self, RawAttribute, slice, text};
use crate::{Element, Error, Framing, Item, Limits, Node, Parser, Text};

impl Element {
    /// Parses one complete element. `default_namespace` is in scope where it begins; the limits of
    /// [`Limits::SERVER`] hold. Anything before or after the element is refused.
    pub fn parse(bytes: &[u8], default_namespace: &str) -> Result<Element, Error> {
        let root = [(Text::default(), Text::from(default_namespace))];
        let mut parser = Parser::within(Framing::Elements, Limits::SERVER, &root);
        let mut rest = bytes;
        let frame = match parser.next(&mut rest)? {
            Some(Item::Frame(frame)) if rest.is_empty() => frame,
            Some(_) => return Err(Error::NotWellFormed("something beside the one element")),
            None => return Err(Error::NotWellFormed("the element does not end")),
        };
        Ok(build(frame.bytes(), &root))
    }
}

impl crate::Frame {
    /// Builds the tree.
    pub fn to_element(&self) -> Result<Element, Error> {
        // The frame's bytes stand by themselves but for the default namespace around them, which is the element's own
        // unless it says otherwise.
        Ok(build(&self.bytes, &[(Text::default(), self.namespace.clone())]))
    }
}

struct Scope {
    bindings: Vec<(String, String)>,
}

impl Scope {
    fn resolve(&self, prefix: &str) -> String {
        if prefix == "xml" {
            return "http://www.w3.org/XML/1998/namespace".to_owned();
        }
        let found = self.bindings.iter().rev().find(|(known, _)| known == prefix);
        found.map(|(_, namespace)| namespace.clone()).unwrap_or_default()
    }
}

/// Builds the tree of one element that a parser has accepted with these declarations around it.
pub(crate) fn build(bytes: &[u8], around: &[(Text, Text)]) -> Element {
    let limits = Limits {
        bytes: usize::MAX,
        depth: usize::MAX,
        attributes: usize::MAX,
        namespaces: usize::MAX,
        name: usize::MAX,
        children: usize::MAX,
    };
    let mut scope =
        Scope { bindings: around.iter().map(|(prefix, name)| (prefix.to_string(), name.to_string())).collect() };
    let mut open: Vec<(Element, usize)> = Vec::new();
    let mut attributes = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'<' {
            let length = memchr::memchr(b'<', bytes.get(at..).unwrap_or_default()).unwrap_or(bytes.len());
            let end = at.saturating_add(length);
            push_text(&mut open, &scan::unescape_text(slice(bytes, at..end)));
            at = end;
            continue;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.starts_with(b"<![CDATA[") {
            let inside = rest.get(9..).unwrap_or_default();
            let length = memchr::memmem::find(inside, b"]]>").unwrap_or(inside.len());
            push_text(&mut open, &scan::normalise_cdata(slice(inside, 0..length)));
            at = at.saturating_add(length).saturating_add(12);
            continue;
        }
        let end = at.saturating_add(tag_length(rest));
        let token = slice(bytes, at..end);
        at = end;
        let finished = if token.get(1) == Some(&b'/') {
            open.pop()
        } else {
            attributes.clear();
            let Ok(tag) = scan::start_tag(token, &limits, &mut attributes) else { break };
            let bindings = scope.bindings.len();
            let element = start(token, tag.name, &attributes, &mut scope);
            if tag.empty {
                Some((element, bindings))
            } else {
                open.push((element, bindings));
                None
            }
        };
        if let Some((element, bindings)) = finished {
            scope.bindings.truncate(bindings);
            match open.last_mut() {
                Some((parent, _)) => parent.push(Node::Element(element)),
                None => return element,
            }
        }
    }
    // Not reached with accepted bytes.
    open.into_iter().next().map_or_else(|| Element::new("", ""), |(element, _)| element)
}

fn push_text(open: &mut [(Element, usize)], text: &str) {
    if let Some((element, _)) = open.last_mut()
        && !text.is_empty()
    {
        element.push_text(text);
    }
}

fn tag_length(rest: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let Some(found) = memchr::memchr3(b'>', b'"', b'\'', rest.get(at..).unwrap_or_default()) else {
            return rest.len();
        };
        at = at.saturating_add(found).saturating_add(1);
        match rest.get(at.saturating_sub(1)) {
            Some(quote @ (b'"' | b'\'')) => {
                let Some(closing) = memchr::memchr(*quote, rest.get(at..).unwrap_or_default()) else {
                    return rest.len();
                };
                at = at.saturating_add(closing).saturating_add(1);
            }
            _ => return at,
        }
    }
}

fn start(token: &[u8], name: scan::Name, attributes: &[RawAttribute], scope: &mut Scope) -> Element {
    let value = |attribute: &RawAttribute| scan::unescape_value(slice(token, attribute.value.clone()));
    for attribute in attributes {
        match text(token, attribute.name.full()) {
            "xmlns" => scope.bindings.push((String::new(), value(attribute))),
            full if full.starts_with("xmlns:") => {
                scope.bindings.push((text(token, attribute.name.local()).to_owned(), value(attribute)));
            }
            _ => {}
        }
    }
    let prefix = name.prefix().map_or("", |prefix| text(token, prefix));
    let mut element = Element::new(text(token, name.local()).to_owned(), scope.resolve(prefix));
    for attribute in attributes {
        let full = text(token, attribute.name.full());
        if full == "xmlns" || full.starts_with("xmlns:") {
            continue;
        }
        let namespace = attribute.name.prefix().map(|prefix| scope.resolve(text(token, prefix))).unwrap_or_default();
        element.set_attribute(namespace, text(token, attribute.name.local()).to_owned(), value(attribute));
    }
    element
}
