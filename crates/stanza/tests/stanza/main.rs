//! Stanzas from the wire and back: heads, payloads, namespace crossing, what is cut and what is answered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod accept;
mod answers;
mod crossing;
mod payload;
mod properties;

use stonechat_stanza::{AcceptError, Accepted, ContentNamespace, Stanza};
use stonechat_xml::{Frame, Framing, Item, Limits, Parser};

/// What a stream with this content namespace makes of these bytes.
fn frame_on(namespace: ContentNamespace, xml: &str) -> Frame {
    let mut parser = Parser::new(Framing::Stream, Limits::SERVER);
    let header =
        format!("<stream:stream xmlns='{}' xmlns:stream='http://etherx.jabber.org/streams'>", namespace.as_str());
    let mut header = header.as_bytes();
    assert!(matches!(parser.next(&mut header), Ok(Some(Item::Header(_)))));
    let mut input = xml.as_bytes();
    match parser.next(&mut input) {
        Ok(Some(Item::Frame(frame))) => frame,
        other => panic!("{xml}: {other:?}"),
    }
}

fn accept_on(namespace: ContentNamespace, xml: &str) -> Result<Stanza, AcceptError> {
    match Accepted::from_frame(frame_on(namespace, xml), namespace)? {
        Accepted::Stanza(stanza) => Ok(stanza),
        Accepted::Other(frame) => panic!("no stanza: {}", &**frame.name()),
    }
}

/// A stanza that a client sent.
fn accept(xml: &str) -> Stanza {
    accept_on(ContentNamespace::Client, xml).unwrap()
}

/// As it leaves by a stream.
fn written(stanza: &Stanza, namespace: ContentNamespace) -> String {
    let mut out = Vec::new();
    stanza.write(namespace, &mut out);
    String::from_utf8(out).unwrap()
}

/// (namespace, name, bytes) of each child.
fn index(stanza: &Stanza) -> Vec<(String, String, String)> {
    stanza
        .children()
        .iter()
        .map(|child| {
            let bytes = String::from_utf8(stanza.child_bytes(child).to_vec()).unwrap();
            (child.namespace.to_string(), child.name.to_string(), bytes)
        })
        .collect()
}
