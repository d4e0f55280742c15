//! The resumable parser.
//!
//! Bytes are read straight from the caller's slice. Only an element (or header) that is not complete yet is kept, in one
//! buffer that goes with the finished frame. Where a token ends is found by a scan that remembers its position, and each
//! token is looked at once when it is complete, so the work is linear whatever the pieces.

use crate::root::Root;
use crate::scan;
use crate::tables::{self, Tables};
use crate::{Attribute, Error, Frame, Header, Limit, Text};
use bytes::Bytes;

/// How first-level elements are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One long document: the root is the stream header, its children are frames (RFC 6120 §4).
    Stream,
    /// Every element is a document of its own (RFC 7395); `<open/>` and `<close/>` come as frames like any other.
    Elements,
}

/// What a peer may send. All are inclusive upper bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one first-level element, or of the header.
    pub bytes: usize,
    /// Depth of nesting below (and counting) a first-level element.
    pub depth: usize,
    /// Attributes of one element, namespace declarations included.
    pub attributes: usize,
    /// Namespace declarations in scope at one time.
    pub namespaces: usize,
    /// Bytes of one name (prefix included).
    pub name: usize,
    /// Direct children of a first-level element.
    pub children: usize,
}

impl Limits {
    /// Before authentication.
    pub const BEFORE_AUTHENTICATION: Limits =
        Limits { bytes: 10_000, depth: 8, attributes: 32, namespaces: 16, name: 128, children: 64 };
    /// An authenticated client.
    pub const CLIENT: Limits =
        Limits { bytes: 262_144, depth: 64, attributes: 128, namespaces: 64, name: 512, children: 10_000 };
    /// An authenticated server.
    pub const SERVER: Limits = Limits { bytes: 524_288, ..Limits::CLIENT };
}

/// One thing found in the byte stream.
#[derive(Debug)]
pub enum Item {
    /// The stream was opened.
    Header(Header),
    /// A complete first-level element.
    Frame(Frame),
    /// White space between first-level elements (keepalives); the number of bytes of one run as far as received.
    Whitespace(usize),
    /// The stream was closed (`</stream:stream>`). What follows it is ignored.
    Footer,
}

/// Where in the stream the parser is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before anything: a byte order mark and an XML declaration may come.
    Start,
    /// Before the root's start tag.
    Prolog,
    /// Below the root, or between elements.
    Between,
    /// The root was an empty element: the footer is due.
    EmptyRoot,
    /// After the footer, or after an error.
    Ended,
}

/// Which token the scan is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// At the beginning of one.
    None,
    Text,
    /// `<…>`; inside quotes when there is one.
    Tag(Option<u8>),
    Cdata,
    /// `<?…?>`
    Instruction,
}

/// Resumable at any byte; keeps nothing but an incomplete element between calls.
#[derive(Debug)]
pub struct Parser {
    framing: Framing,
    limits: Limits,
    place: Place,
    /// The incomplete element or header.
    pending: Vec<u8>,
    token: Token,
    /// Where the current token starts, and how far it was scanned; offsets into the element.
    token_start: usize,
    scanned: usize,
    /// White space since the last element.
    spaces: usize,
    /// Only while there is an element.
    tables: Option<Box<Tables>>,
    root: Root,
}

/// The outcome of scanning an element as far as there are bytes.
enum Scan {
    /// It is complete and ends here.
    Complete(usize),
    More,
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new(framing: Framing, limits: Limits) -> Self {
        Parser {
            framing,
            limits,
            place: Place::Start,
            pending: Vec::new(),
            token: Token::None,
            token_start: 0,
            scanned: 0,
            spaces: 0,
            tables: None,
            root: Root::default(),
        }
    }

    /// A parser of elements that stand inside these declarations.
    pub(crate) fn within(framing: Framing, limits: Limits, around: &[(Text, Text)]) -> Self {
        Parser { root: Root::around(around), place: Place::Prolog, ..Parser::new(framing, limits) }
    }

    /// Writes an element anew so that it needs no prefix from around it.
    fn rewrite(&self, bytes: &Bytes) -> Result<Frame, Error> {
        let default: Vec<(Text, Text)> =
            self.root.declarations().iter().filter(|(prefix, _)| prefix.is_empty()).cloned().collect();
        let around = default.first().map(|(_, namespace)| namespace.clone()).unwrap_or_default();
        let most = self.limits.bytes.saturating_mul(2);
        let mut written = Vec::with_capacity(bytes.len());
        crate::tree::build(bytes, self.root.declarations())
            .write_within(&mut written, &around, most)
            .map_err(|crate::element::TooLong| Error::LimitExceeded(Limit::Bytes))?;
        // What was within the limits may be somewhat larger now; it has been accepted.
        let limits = Limits { bytes: most, namespaces: usize::MAX, attributes: usize::MAX, ..self.limits };
        let mut parser = Parser::within(Framing::Elements, limits, &default);
        match parser.next(&mut written.as_slice())? {
            Some(Item::Frame(frame)) => Ok(Frame { wire_len: bytes.len(), ..frame }),
            _ => Err(Error::NotWellFormed("an element that cannot be rewritten")),
        }
    }

    /// Changes the limits, from the next token on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Forgets everything: the next bytes start a new stream (after STARTTLS or SASL).
    pub fn reset(&mut self) {
        *self = Parser::new(self.framing, self.limits);
    }

    /// Whether an incomplete header or element is held.
    pub fn is_mid_element(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Bytes held for an incomplete element: what memory limits count.
    pub fn held(&self) -> usize {
        self.pending.len()
    }

    /// Reads from the front of `input`, advancing it, until one item is complete or the input is used up (`None`).
    /// After an error the parser refuses everything until [`Parser::reset`].
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Error> {
        match self.advance(input) {
            Ok(item) => Ok(item),
            Err(error) => {
                self.place = Place::Ended;
                self.pending = Vec::new();
                self.give_tables();
                Err(error)
            }
        }
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Error> {
        loop {
            match self.place {
                Place::Ended => {
                    *input = &[];
                    return Ok(None);
                }
                Place::EmptyRoot => {
                    self.place = Place::Ended;
                    return Ok(Some(Item::Footer));
                }
                Place::Start | Place::Prolog | Place::Between => {}
            }
            // Also before the declaration: what a client wrote behind its last element before a restart arrives here.
            if self.pending.is_empty() {
                let spaces = input.iter().take_while(|byte| scan::is_space(**byte)).count();
                if spaces > 0 {
                    // P4: so much white space is no keepalive.
                    self.spaces = self.spaces.saturating_add(spaces);
                    if self.spaces > self.limits.bytes {
                        return Err(Error::LimitExceeded(Limit::Bytes));
                    }
                    *input = input.get(spaces..).unwrap_or_default();
                    return Ok(Some(Item::Whitespace(spaces)));
                }
            }
            if input.is_empty() {
                return Ok(None);
            }
            if self.pending.is_empty() {
                // Straight from the caller's slice: nothing is kept when the element is complete in it.
                let bytes = *input;
                match self.scan(bytes)? {
                    Scan::Complete(end) => {
                        let (element, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
                        *input = rest;
                        let taken = Bytes::copy_from_slice(element);
                        if let Some(item) = self.finish(taken)? {
                            return Ok(Some(item));
                        }
                    }
                    Scan::More => {
                        self.pending.extend_from_slice(bytes);
                        *input = &[];
                        return Ok(None);
                    }
                }
            } else {
                // No more than the limit is ever kept, however much is handed in at once.
                let before = self.pending.len();
                let room = self.limits.bytes.saturating_add(1).saturating_sub(before).max(1);
                let part = input.get(..input.len().min(room)).unwrap_or_default();
                let mut pending = std::mem::take(&mut self.pending);
                pending.extend_from_slice(part);
                match self.scan(&pending)? {
                    Scan::Complete(end) => {
                        let used = end.saturating_sub(before);
                        *input = input.get(used..).unwrap_or_default();
                        pending.truncate(end);
                        if let Some(item) = self.finish(Bytes::from(pending))? {
                            return Ok(Some(item));
                        }
                    }
                    Scan::More => {
                        *input = input.get(part.len()..).unwrap_or_default();
                        self.pending = pending;
                    }
                }
            }
        }
    }

    /// Scans the current element, whose bytes so far are `bytes`, from where the last scan stopped.
    fn scan(&mut self, bytes: &[u8]) -> Result<Scan, Error> {
        let outcome = self.scan_tokens(bytes)?;
        let length = match outcome {
            Scan::Complete(end) => end,
            Scan::More => bytes.len(),
        };
        if length > self.limits.bytes {
            return Err(Error::LimitExceeded(Limit::Bytes));
        }
        Ok(outcome)
    }

    fn scan_tokens(&mut self, bytes: &[u8]) -> Result<Scan, Error> {
        loop {
            // A token that is longer than everything may be is not waited for.
            if self.scanned > self.limits.bytes {
                return Err(Error::LimitExceeded(Limit::Bytes));
            }
            match self.token {
                Token::None => match self.begin_token(bytes)? {
                    Begun::Token(token, skip) => {
                        self.token = token;
                        self.scanned = self.token_start.saturating_add(skip);
                    }
                    Begun::Skip(end) => return Ok(Scan::Complete(end)),
                    Begun::More => return Ok(Scan::More),
                },
                Token::Text => {
                    let rest = bytes.get(self.scanned..).unwrap_or_default();
                    match memchr::memchr(b'<', rest) {
                        Some(found) => {
                            let end = self.scanned.saturating_add(found);
                            scan::check_text(scan::slice(bytes, self.token_start..end))?;
                            self.next_token(end);
                        }
                        None => {
                            self.scanned = bytes.len();
                            return Ok(Scan::More);
                        }
                    }
                }
                Token::Tag(quote) => {
                    let rest = bytes.get(self.scanned..).unwrap_or_default();
                    let found = match quote {
                        Some(quote) => memchr::memchr(quote, rest),
                        None => memchr::memchr3(b'>', b'"', b'\'', rest),
                    };
                    let Some(found) = found else {
                        self.scanned = bytes.len();
                        return Ok(Scan::More);
                    };
                    let at = self.scanned.saturating_add(found);
                    self.scanned = at.saturating_add(1);
                    match (quote, bytes.get(at).copied()) {
                        (Some(_), _) => self.token = Token::Tag(None),
                        (None, Some(quote @ (b'"' | b'\''))) => self.token = Token::Tag(Some(quote)),
                        (None, _) => {
                            if let Some(end) = self.tag(bytes, self.scanned)? {
                                return Ok(Scan::Complete(end));
                            }
                        }
                    }
                }
                Token::Cdata => {
                    // Two bytes back: the end may have been cut.
                    let from = self.scanned.saturating_sub(2).max(self.token_start.saturating_add(CDATA.len()));
                    let rest = bytes.get(from..).unwrap_or_default();
                    match memchr::memmem::find(rest, b"]]>") {
                        Some(found) => {
                            let start = self.token_start.saturating_add(CDATA.len());
                            let end = from.saturating_add(found);
                            scan::check_cdata(scan::slice(bytes, start..end))?;
                            self.next_token(end.saturating_add(3));
                        }
                        None => {
                            self.scanned = bytes.len();
                            return Ok(Scan::More);
                        }
                    }
                }
                Token::Instruction => {
                    let from = self.scanned.saturating_sub(1).max(self.token_start.saturating_add(2));
                    let rest = bytes.get(from..).unwrap_or_default();
                    match memchr::memmem::find(rest, b"?>") {
                        Some(found) => {
                            let end = from.saturating_add(found).saturating_add(2);
                            scan::declaration(scan::slice(bytes, self.token_start..end))?;
                            self.place = Place::Prolog;
                            return Ok(Scan::Complete(end));
                        }
                        None => {
                            self.scanned = bytes.len();
                            return Ok(Scan::More);
                        }
                    }
                }
            }
        }
    }

    fn next_token(&mut self, start: usize) {
        self.token = Token::None;
        self.token_start = start;
        self.scanned = start;
    }

    /// Tells which token begins where the last one ended.
    fn begin_token(&mut self, bytes: &[u8]) -> Result<Begun, Error> {
        let rest = bytes.get(self.token_start..).unwrap_or_default();
        let outside = self.depth() == 0;
        if self.place == Place::Start && outside {
            match rest {
                [] | [0xef] | [0xef, 0xbb] => return Ok(Begun::More),
                [0xef, 0xbb, 0xbf, ..] => {
                    self.place = Place::Prolog;
                    // The declaration may still come, directly behind the mark.
                    return if rest.len() == 3 || b"<?xml".starts_with(scan::slice(rest, 3..rest.len().min(8))) {
                        self.place = Place::Start;
                        self.after_mark(rest)
                    } else {
                        Ok(Begun::Skip(self.token_start.saturating_add(3)))
                    };
                }
                // UTF-16, with a byte order mark or without.
                [0xfe | 0xff, ..] | [0, ..] => return Err(Error::UnsupportedEncoding),
                [b'<', 0, ..] => return Err(Error::UnsupportedEncoding),
                _ => {}
            }
        }
        match rest {
            [] | [b'<'] => Ok(Begun::More),
            [b'<', b'?', ..] => {
                if self.place != Place::Start || !outside {
                    // RFC 6120 §11.1; a second declaration is not even well-formed.
                    let second = rest.starts_with(b"<?xml");
                    if !second && b"<?xml".starts_with(rest) {
                        return Ok(Begun::More);
                    }
                    return Err(match (second, rest.get(5).copied()) {
                        (true, None) => return Ok(Begun::More),
                        (true, Some(byte)) if scan::is_space(byte) || byte == b'?' => {
                            Error::NotWellFormed("a second XML declaration")
                        }
                        _ => Error::Restricted("a processing instruction"),
                    });
                }
                let known = scan::slice(rest, 0..rest.len().min(5));
                if !b"<?xml".starts_with(known) {
                    return Err(Error::Restricted("a processing instruction"));
                }
                if rest.get(5).is_some_and(|byte| !scan::is_space(*byte)) {
                    return Err(Error::Restricted("a processing instruction"));
                }
                Ok(Begun::Token(Token::Instruction, 2))
            }
            [b'<', b'!', ..] => {
                if outside || !b"<![CDATA[".starts_with(scan::slice(rest, 0..rest.len().min(CDATA.len()))) {
                    return match rest {
                        [_, _] => Ok(Begun::More),
                        [_, _, b'-', ..] => Err(Error::Restricted("a comment")),
                        [_, _, b'[', ..] if outside => Err(Error::StreamLevelText),
                        [_, _, b'[', ..] => Err(Error::NotWellFormed("a broken CDATA section")),
                        _ => Err(Error::Restricted("a document type declaration")),
                    };
                }
                if rest.len() < CDATA.len() {
                    return Ok(Begun::More);
                }
                Ok(Begun::Token(Token::Cdata, CDATA.len()))
            }
            [b'<', ..] => Ok(Begun::Token(Token::Tag(None), 1)),
            [_, ..] if outside => {
                if self.place == Place::Between {
                    Err(Error::StreamLevelText)
                } else {
                    Err(Error::NotWellFormed("text before the root element"))
                }
            }
            _ => Ok(Begun::Token(Token::Text, 0)),
        }
    }

    /// Skips the byte order mark; the declaration may follow it.
    fn after_mark(&mut self, rest: &[u8]) -> Result<Begun, Error> {
        if rest.len() == 3 {
            return Ok(Begun::More);
        }
        self.token_start = self.token_start.saturating_add(3);
        Ok(Begun::Token(Token::None, 0))
    }

    /// Takes a complete tag that ends at `end`. `Some` when it completes the first-level element or the header.
    fn tag(&mut self, bytes: &[u8], end: usize) -> Result<Option<usize>, Error> {
        let start = self.token_start;
        let token = scan::slice(bytes, start..end);
        let header = self.framing == Framing::Stream && self.place != Place::Between;
        if token.get(1) == Some(&b'/') {
            let name = scan::end_tag(token, &self.limits)?;
            if self.depth() == 0 {
                let root = self.framing == Framing::Stream && self.place == Place::Between;
                if !root || scan::text(token, name.full()) != self.root.name() {
                    return Err(Error::NotWellFormed("an end tag without its start tag"));
                }
                return Ok(Some(end));
            }
            let done = self.tables().index.close(bytes, start, scan::slice(token, name.full()), end)?;
            self.next_token(end);
            return Ok(done.then_some(end));
        }
        let first_level = self.place == Place::Between && self.depth() == 0;
        let Tables { index, attributes } = &mut **self.tables.get_or_insert_with(tables::take);
        attributes.clear();
        let tag = scan::start_tag(token, &self.limits, attributes)?;
        let done = index.open(bytes, start..end, tag, attributes, self.root.declarations(), &self.limits)?;
        // RFC 6120 §4.2: a stream is opened once. As an element it would not end before the stream does.
        if first_level && self.framing == Framing::Stream && index.is_like(bytes, &self.root) {
            return Err(Error::NotWellFormed("a stream within a stream"));
        }
        self.next_token(end);
        Ok((done || header).then_some(end))
    }

    /// Makes an item of a complete element, header, footer or declaration. `None` for a declaration.
    fn finish(&mut self, bytes: Bytes) -> Result<Option<Item>, Error> {
        let place = self.place;
        self.next_token(0);
        self.spaces = 0;
        let Some(tables) = self.tables.take().filter(|tables| tables.index.has_root()) else {
            if bytes.starts_with(b"</") {
                self.place = Place::Ended;
                return Ok(Some(Item::Footer));
            }
            // The XML declaration, or a byte order mark.
            return Ok(None);
        };
        let index = &tables.index;
        if self.framing == Framing::Stream && place != Place::Between {
            let header = index.take_header(&bytes);
            self.root = Root::of(&header, index.root_name(&bytes));
            self.place = if bytes.ends_with(b"/>") { Place::EmptyRoot } else { Place::Between };
            tables::give(tables);
            return Ok(Some(Item::Header(header)));
        }
        self.place = if self.framing == Framing::Stream { Place::Between } else { Place::Prolog };
        let frame = if index.leans() { self.rewrite(&bytes)? } else { index.take_frame(bytes) };
        tables::give(tables);
        Ok(Some(Item::Frame(frame)))
    }

    fn depth(&self) -> usize {
        self.tables.as_ref().map_or(0, |tables| tables.index.depth())
    }

    fn tables(&mut self) -> &mut Tables {
        self.tables.get_or_insert_with(tables::take)
    }

    fn give_tables(&mut self) {
        if let Some(tables) = self.tables.take() {
            tables::give(tables);
        }
    }
}

const CDATA: &[u8] = b"<![CDATA[";

/// What begins at a token's start.
enum Begun {
    /// This token; so many bytes of it are known.
    Token(Token, usize),
    /// Something to skip that ends here.
    Skip(usize),
    /// Not enough bytes to tell.
    More,
}

impl Header {
    pub(crate) fn from_parts(
        namespace: Text,
        name: Text,
        declarations: Vec<(Text, Text)>,
        attributes: Vec<Attribute>,
    ) -> Header {
        let (default, prefixes): (Vec<_>, Vec<_>) = declarations.into_iter().partition(|(prefix, _)| prefix.is_empty());
        let default_namespace = default.into_iter().next().map(|(_, namespace)| namespace).unwrap_or_default();
        Header { namespace, name, default_namespace, prefixes, attributes }
    }
}
