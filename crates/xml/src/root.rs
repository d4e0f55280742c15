//! What a stream's root leaves behind for the elements in it: its name, which the footer repeats, and its declarations.
//!
//! It lives as long as the stream, so it shares nothing with the header's bytes, and what nearly every stream declares takes
//! no memory at all.

use crate::{Header, Text};
use std::borrow::Cow;

/// Prefix and namespace name; the default namespace has no prefix.
pub(crate) type Declaration = (Text, Text);

const STREAM: Declaration = (Text::from_static("stream"), Text::from_static("http://etherx.jabber.org/streams"));
const NAME: &str = "stream:stream";

/// The root as clients write it, and as servers without dialback do.
static USUAL: [[Declaration; 2]; 2] = [
    [STREAM, (Text::from_static(""), Text::from_static("jabber:client"))],
    [STREAM, (Text::from_static(""), Text::from_static("jabber:server"))],
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Root {
    /// With its prefix.
    name: Cow<'static, str>,
    declarations: Cow<'static, [Declaration]>,
}

impl Default for Root {
    fn default() -> Self {
        Root { name: Cow::Borrowed(""), declarations: Cow::Borrowed(&[]) }
    }
}

impl Root {
    /// What the header declared.
    pub(crate) fn of(header: &Header, name: &str) -> Self {
        let default = (Text::default(), header.default_namespace.clone());
        let declared = || header.prefixes.iter().chain((!default.1.is_empty()).then_some(&default));
        let declarations = match USUAL.iter().find(|usual| usual.iter().eq(declared())) {
            Some(usual) => Cow::Borrowed(usual.as_slice()),
            None => declared().map(|(prefix, namespace)| (Text::from(&**prefix), Text::from(&**namespace))).collect(),
        };
        let name = if name == NAME { Cow::Borrowed(NAME) } else { Cow::Owned(name.to_owned()) };
        Root { name, declarations }
    }

    /// Declarations without a root, around elements.
    pub(crate) fn around(declarations: &[Declaration]) -> Self {
        Root { declarations: Cow::Owned(declarations.to_vec()), ..Root::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn declarations(&self) -> &[Declaration] {
        &self.declarations
    }

    /// Whether an element of this expanded name is another of its kind.
    pub(crate) fn is_like(&self, namespace: &[u8], local: &[u8]) -> bool {
        let (prefix, name) = self.name.split_once(':').unwrap_or(("", &self.name));
        name.as_bytes() == local
            && self.declarations.iter().any(|(known, meant)| &**known == prefix && &meant.as_bytes()[..] == namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(prefixes: &[(&str, &str)], default: &str) -> Header {
        let text = |text: &str| Text::from(text);
        let prefixes = prefixes.iter().map(|(prefix, namespace)| (text(prefix), text(namespace))).collect();
        Header {
            namespace: Text::default(),
            name: text("stream"),
            default_namespace: text(default),
            prefixes,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn the_usual_roots_take_no_memory() {
        let streams = ("stream", "http://etherx.jabber.org/streams");
        for (prefixes, default, usual) in [
            (&[streams][..], "jabber:client", true),
            (&[streams], "jabber:server", true),
            (&[streams], "", false),
            (&[streams, ("db", "jabber:server:dialback")], "jabber:server", false),
            (&[("s", streams.1)], "jabber:client", false),
        ] {
            let root = Root::of(&header(prefixes, default), NAME);
            assert_eq!(matches!(root.declarations, Cow::Borrowed(_)), usual, "{prefixes:?} {default}");
            assert_eq!(root.declarations().len(), prefixes.len() + usize::from(!default.is_empty()));
        }
    }

    #[test]
    fn an_element_is_like_the_root_by_expanded_name() {
        let root = Root::of(&header(&[("s", "urn:s")], "urn:d"), "s:stream");
        assert!(root.is_like(b"urn:s", b"stream"));
        assert!(!root.is_like(b"urn:d", b"stream"));
        assert!(!root.is_like(b"urn:s", b"features"));
        assert!(!Root::default().is_like(b"", b"stream"));
    }
}
