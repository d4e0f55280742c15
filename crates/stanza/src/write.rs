//! Writing: a fresh start tag, then the payload as it is.

use crate::{ContentNamespace, Stanza, ns};
use stonechat_jid::Jid;
use stonechat_xml::Text;

impl Stanza {
    /// Appends the stanza as XML for a stream whose default namespace is `namespace` (nothing is declared on the start tag).
    pub fn write(&self, namespace: ContentNamespace, out: &mut Vec<u8>) {
        self.write_addressed(self.from(), self.to(), namespace, out);
    }
    /// As [`Stanza::write`], with `to` and `from` replaced: what a fan-out uses, so that no head is cloned per copy.
    ///
    /// The bytes are the same for every content namespace, because a payload inherits it from the stream; the argument
    /// says which stream they are meant for.
    pub fn write_addressed(
        &self,
        from: Option<&Jid>,
        to: Option<&Jid>,
        _namespace: ContentNamespace,
        out: &mut Vec<u8>,
    ) {
        self.write_declaring(None, from, to, out);
    }
    /// The stanza as XML by itself, `xmlns='jabber:client'` declared: what the store keeps.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size().saturating_add(64));
        self.write_declaring(Some(ns::CLIENT), self.from(), self.to(), &mut out);
        out
    }

    fn write_declaring(&self, namespace: Option<&str>, from: Option<&Jid>, to: Option<&Jid>, out: &mut Vec<u8>) {
        let name = self.kind().name().as_bytes();
        out.reserve(self.size());
        out.push(b'<');
        out.extend_from_slice(name);
        if let Some(namespace) = namespace {
            attribute(b"xmlns", namespace, out);
        }
        if let Some(from) = from {
            attribute(b"from", from.as_str(), out);
        }
        if let Some(to) = to {
            attribute(b"to", to.as_str(), out);
        }
        let type_name = self.head.stanza_type.type_name();
        if !type_name.is_empty() {
            attribute(b"type", type_name, out);
        }
        if let Some(id) = &self.head.id {
            attribute(b"id", id, out);
        }
        if let Some(lang) = &self.head.lang {
            attribute(b"xml:lang", lang, out);
        }
        if let Some(other) = &self.head.other {
            for (index, other) in other.iter().enumerate() {
                qualified_attribute(index, &other.namespace, &other.name, &other.value, out);
            }
        }
        if self.payload.is_empty() {
            out.extend_from_slice(b"/>");
        } else {
            out.push(b'>');
            out.extend_from_slice(&self.payload);
            out.extend_from_slice(b"</");
            out.extend_from_slice(name);
            out.push(b'>');
        }
    }
}

fn attribute(name: &[u8], value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name);
    out.extend_from_slice(b"='");
    // Addresses, ids and languages hardly ever need escaping.
    if needs_escaping(value.as_bytes()) {
        stonechat_xml::escape_attribute(value, out);
    } else {
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'\'');
}

/// Whether an attribute's value has a character that must be escaped. Without an early exit, so that it compiles to vector
/// instructions.
fn needs_escaping(value: &[u8]) -> bool {
    value.iter().fold(false, |found, byte| {
        found
            | (*byte < b' ')
            | (*byte == b'&')
            | (*byte == b'<')
            | (*byte == b'>')
            | (*byte == b'\'')
            | (*byte == b'"')
    })
}

/// An attribute that the server does not know. A namespaced one gets a prefix of its own, declared beside it.
fn qualified_attribute(index: usize, namespace: &Text, name: &Text, value: &Text, out: &mut Vec<u8>) {
    if namespace.as_bytes().is_empty() {
        attribute(name.as_bytes(), value, out);
    } else if &**namespace == ns::XML {
        attribute(&[b"xml:", name.as_bytes().as_ref()].concat(), value, out);
    } else {
        let prefix = format!("a{index}");
        attribute(format!("xmlns:{prefix}").as_bytes(), namespace, out);
        attribute(format!("{prefix}:{name}").as_bytes(), value, out);
    }
}
