//! Cuts the bytes of an XMPP stream into its header, its first-level children and its end, by counting depth alone.
//!
//! A load generator talks to servers it trusts to be well-formed, so it does not validate: it finds where a stanza
//! ends (RFC 6120 §4.1) for a tenth of a microsecond and leaves the cores to the server under test. The server's own
//! tokenizer is deliberately not used: a bug shared by both ends would go unnoticed. CDATA sections that hold a `>`
//! are not understood.

use memchr::{memchr, memchr3, memmem};

/// One piece of a stream, borrowed from the framer's buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// The opening tag of the stream.
    Header(&'a [u8]),
    /// A complete first-level child: a stanza, or another top-level element such as `<proceed/>`.
    Element(&'a [u8]),
    /// The closing tag of the stream.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    TagStart,
    Opening,
    Quoted(u8),
    Closing,
    Declaration,
}

/// An incremental framer; every byte is looked at once, wherever the reads cut the stream.
#[derive(Debug)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    /// Where the piece under construction begins.
    start: usize,
    /// Up to where the buffer has been scanned.
    scanned: usize,
    depth: u32,
    state: State,
}

impl Framer {
    /// A framer that waits for a stream header.
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, depth: 0, state: State::Text }
    }

    /// A framer for a byte stream that begins right inside a stream, as the relay's does.
    pub(crate) fn inside_stream() -> Self {
        Self { depth: 1, ..Self::new() }
    }

    /// Forgets the stream: a new header follows, after TLS or SASL (RFC 6120 §4.3.3).
    pub(crate) fn restart(&mut self) {
        *self = Self::new();
    }

    /// The buffer to append received bytes to; what was already taken out is dropped first.
    pub(crate) fn input(&mut self) -> &mut Vec<u8> {
        if self.start >= self.buffer.len() {
            self.buffer.clear();
        } else if self.start > 0 {
            self.buffer.drain(..self.start);
        }
        self.scanned = self.scanned.saturating_sub(self.start);
        self.start = 0;
        &mut self.buffer
    }

    /// The next complete piece, or `None` when more bytes are needed.
    pub(crate) fn next_frame(&mut self) -> Option<Frame<'_>> {
        loop {
            let rest = self.buffer.get(self.scanned..)?;
            match self.state {
                State::Text => {
                    let Some(offset) = memchr(b'<', rest) else {
                        self.scanned = self.buffer.len();
                        self.drop_text();
                        return None;
                    };
                    self.scanned += offset;
                    self.drop_text();
                    self.scanned += 1;
                    self.state = State::TagStart;
                }
                State::TagStart => {
                    self.state = match rest.first()? {
                        b'/' => State::Closing,
                        b'?' | b'!' => State::Declaration,
                        _ => State::Opening,
                    };
                }
                State::Opening => {
                    let Some(offset) = memchr3(b'>', b'"', b'\'', rest) else {
                        self.scanned = self.buffer.len();
                        return None;
                    };
                    let at = self.scanned + offset;
                    self.scanned = at + 1;
                    match self.buffer.get(at) {
                        Some(b'>') => {
                            self.state = State::Text;
                            let empty = at.checked_sub(1).and_then(|before| self.buffer.get(before)) == Some(&b'/');
                            match (empty, self.depth) {
                                (true, 1) => return self.take().map(Frame::Element),
                                (true, _) => {}
                                (false, 0) => {
                                    self.depth = 1;
                                    return self.take().map(Frame::Header);
                                }
                                (false, _) => self.depth += 1,
                            }
                        }
                        Some(&quote) => self.state = State::Quoted(quote),
                        None => return None,
                    }
                }
                State::Quoted(quote) => {
                    let Some(offset) = memchr(quote, rest) else {
                        self.scanned = self.buffer.len();
                        return None;
                    };
                    self.scanned += offset + 1;
                    self.state = State::Opening;
                }
                State::Closing => {
                    let Some(offset) = memchr(b'>', rest) else {
                        self.scanned = self.buffer.len();
                        return None;
                    };
                    self.scanned += offset + 1;
                    self.state = State::Text;
                    self.depth = self.depth.saturating_sub(1);
                    match self.depth {
                        0 => {
                            self.start = self.scanned;
                            return Some(Frame::End);
                        }
                        1 => return self.take().map(Frame::Element),
                        _ => {}
                    }
                }
                State::Declaration => {
                    let Some(offset) = memchr(b'>', rest) else {
                        self.scanned = self.buffer.len();
                        return None;
                    };
                    self.scanned += offset + 1;
                    self.state = State::Text;
                }
            }
        }
    }

    /// Whitespace and declarations between first-level children belong to none of them.
    fn drop_text(&mut self) {
        if self.depth <= 1 {
            self.start = self.scanned;
        }
    }

    fn take(&mut self) -> Option<&[u8]> {
        let begin = self.start;
        self.start = self.scanned;
        self.buffer.get(begin..self.scanned)
    }
}

/// The name of an element's own start tag, with its prefix if it has one.
pub(crate) fn name(element: &[u8]) -> &[u8] {
    let inside = element.strip_prefix(b"<").unwrap_or(element);
    let end = inside.iter().position(|byte| b" \t\r\n/>".contains(byte)).unwrap_or(inside.len());
    inside.get(..end).unwrap_or_default()
}

/// The raw value (entities unresolved) of an attribute in an element's own start tag.
pub(crate) fn attribute<'a>(element: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let mut rest = element.get(1 + name(element).len()..)?;
    loop {
        let start = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        rest = rest.get(start..)?;
        if matches!(rest.first(), Some(b'>' | b'/') | None) {
            return None;
        }
        let equals = memchr(b'=', rest)?;
        let found = rest.get(..equals)?.trim_ascii_end();
        let value = rest.get(equals + 1..)?.trim_ascii_start();
        let quote = *value.first()?;
        let value = value.get(1..)?;
        let end = memchr(quote, value)?;
        if found == wanted.as_bytes() {
            return value.get(..end);
        }
        rest = value.get(end + 1..)?;
    }
}

/// The descendants of that name, each as the bytes from its start tag on. Prefixed names are not found.
pub(crate) fn descendants<'a>(element: &'a [u8], wanted: &str) -> impl Iterator<Item = &'a [u8]> {
    let pattern = format!("<{wanted}");
    let positions: Vec<usize> = memmem::find_iter(element, pattern.as_bytes()).collect();
    let wanted = wanted.to_owned();
    positions.into_iter().filter_map(move |at| element.get(at..).filter(|found| name(found) == wanted.as_bytes()))
}

/// The character data right inside the first descendant of that name.
pub(crate) fn text_of<'a>(element: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let found = descendants(element, wanted).next()?;
    let content = found.get(memchr(b'>', found)? + 1..)?;
    content.get(..memchr(b'<', content)?)
}

/// Whether the bytes contain the text.
pub(crate) fn contains(element: &[u8], text: &str) -> bool {
    memmem::find(element, text.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' id=\"a>b\" to='x'>\n\
        <stream:features><bind xmlns='b'/><m><n>x</n></m></stream:features> <success/>\
        <message id='1' to='a&gt;b'><body>one &lt; two</body></message><message><a><b/></a></message></stream:stream>";

    fn frames(stream: &[u8], cut: usize) -> Vec<String> {
        let mut framer = Framer::new();
        let mut out = Vec::new();
        for piece in [&stream[..cut], &stream[cut..]] {
            framer.input().extend_from_slice(piece);
            while let Some(frame) = framer.next_frame() {
                out.push(match frame {
                    Frame::Header(bytes) => format!("header {}", String::from_utf8_lossy(bytes)),
                    Frame::Element(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Frame::End => "end".to_owned(),
                });
            }
        }
        out
    }

    #[test]
    fn a_stream_is_cut_alike_wherever_the_reads_end() {
        let whole = frames(STREAM, STREAM.len());
        assert_eq!(
            whole,
            [
                "header <stream:stream xmlns='jabber:client' id=\"a>b\" to='x'>",
                "<stream:features><bind xmlns='b'/><m><n>x</n></m></stream:features>",
                "<success/>",
                "<message id='1' to='a&gt;b'><body>one &lt; two</body></message>",
                "<message><a><b/></a></message>",
                "end",
            ]
        );
        for cut in 0..STREAM.len() {
            assert_eq!(frames(STREAM, cut), whole, "cut at byte {cut}");
        }
    }

    #[test]
    fn a_framer_inside_a_stream_needs_no_header() {
        let mut framer = Framer::inside_stream();
        framer.input().extend_from_slice(b"<message/><presence");
        assert_eq!(framer.next_frame(), Some(Frame::Element(b"<message/>")));
        assert_eq!(framer.next_frame(), None);
        framer.input().extend_from_slice(b"/>");
        assert_eq!(framer.next_frame(), Some(Frame::Element(b"<presence/>")));
        assert_eq!(framer.next_frame(), None);
    }

    #[test]
    fn attributes_are_read_from_the_start_tag_only() {
        let element = b"<message from=\"a@b\"  id = 'x=1' type='chat'><item id='2' jid='c'/></message>";
        assert_eq!(name(element), b"message");
        assert_eq!(attribute(element, "id"), Some(&b"x=1"[..]));
        assert_eq!(attribute(element, "type"), Some(&b"chat"[..]));
        assert_eq!(attribute(element, "jid"), None);
        assert_eq!(attribute(b"<a/>", "id"), None);
        assert_eq!(attribute(b"<a id", "id"), None);
    }

    #[test]
    fn descendants_are_found_by_whole_name() {
        let element = b"<iq><query><item jid='a'/><items/><item jid='b'/></query><jid>me@x/r</jid></iq>";
        let jids: Vec<_> = descendants(element, "item").filter_map(|item| attribute(item, "jid")).collect();
        assert_eq!(jids, [b"a", b"b"]);
        assert_eq!(text_of(element, "jid"), Some(&b"me@x/r"[..]));
        assert_eq!(text_of(element, "none"), None);
        assert!(contains(element, "<items/>"));
    }
}
