//! The parser against another one: whatever ours accepts, rxml must accept and read alike; and however the bytes are cut,
//! ours reads the same.

use rxml::Parse;
use stonechat_xml::{Element, Framing, Item, Limits, Node, Parser};

pub(crate) const CORPUS: &[&str] = &[
    "<a xmlns='urn:a' b='c'><d>text &amp; more</d><e xmlns:f='urn:f' f:g='h'/></a>",
    "<message xmlns='jabber:client'><body>é 𝄞</body><x xmlns='urn:x'><![CDATA[<raw>]]></x></message>",
    "<p:a xmlns:p='urn:p' p:b='1' b='2'>\r\n\t&#x41;&lt;</p:a>",
];

pub(crate) fn run(data: &[u8]) {
    let whole = ours(&[data]);
    let half = data.len() / 2;
    let halves = ours(&[&data[..half], &data[half..]]);
    assert_eq!(whole, halves, "the cut makes a difference");
    if let Some((element, used)) = whole {
        let theirs = theirs(&data[..used]).expect("rxml refuses what ours accepts");
        assert_eq!(flat(&element), theirs, "the two parsers read different trees");
    }
}

/// The first element and the bytes it took, when it is accepted.
fn ours(parts: &[&[u8]]) -> Option<(Element, usize)> {
    let mut parser = Parser::new(Framing::Elements, Limits::CLIENT);
    let mut used = 0;
    for part in parts {
        let mut rest = *part;
        loop {
            let before = rest.len();
            let item = parser.next(&mut rest);
            used += before - rest.len();
            match item {
                Ok(Some(Item::Frame(frame))) => return frame.to_element().ok().map(|element| (element, used)),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return None,
            }
        }
    }
    None
}

fn flat(element: &Element) -> Vec<String> {
    let mut out = Vec::new();
    walk(element, &mut out);
    out
}

fn walk(element: &Element, out: &mut Vec<String>) {
    let mut attributes: Vec<String> =
        element.attributes().map(|(namespace, name, value)| format!("{{{namespace}}}{name}={value}")).collect();
    attributes.sort();
    out.push(format!("<{{{}}}{} {attributes:?}", element.namespace(), element.name()));
    for node in element.nodes() {
        match node {
            Node::Element(child) => walk(child, out),
            Node::Text(text) => push_text(out, text),
        }
    }
    out.push(">".into());
}

fn push_text(out: &mut Vec<String>, text: &str) {
    match out.last_mut() {
        Some(last) if last.starts_with('"') => last.push_str(text),
        _ => out.push(format!("\"{text}")),
    }
}

fn theirs(bytes: &[u8]) -> Option<Vec<String>> {
    // White space before a document's declaration is passed over by ours, which reads streams.
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    let bytes = &bytes[start..];
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut parser = rxml::Parser::new();
    let mut rest = bytes;
    let mut out = Vec::new();
    let mut depth = 0usize;
    loop {
        match parser.parse(&mut rest, false) {
            Ok(Some(rxml::Event::XmlDeclaration(..))) => {}
            Ok(Some(rxml::Event::StartElement(_, (namespace, name), attributes))) => {
                let mut list: Vec<String> = attributes
                    .iter()
                    .map(|((namespace, name), value)| format!("{{{}}}{name}={value}", namespace.as_str()))
                    .collect();
                list.sort();
                out.push(format!("<{{{}}}{name} {list:?}", namespace.as_str()));
                depth += 1;
            }
            Ok(Some(rxml::Event::Text(_, text))) => push_text(&mut out, &text),
            Ok(Some(rxml::Event::EndElement(_))) => {
                out.push(">".into());
                depth -= 1;
                if depth == 0 {
                    return Some(out);
                }
            }
            Ok(None) => return Some(out),
            Err(_) => return None,
        }
    }
}
