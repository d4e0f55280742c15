//! The resumable parser.

use crate::{Error, Frame, Header};

/// How first-level elements are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One long document: the root is the stream header, its children are frames (RFC 6120 §4).
    Stream,
    /// Every element is a document of its own (RFC 7395).
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
    /// The stream was closed (`</stream:stream>`).
    Footer,
}

/// Resumable at any byte; keeps nothing but an incomplete element between calls.
#[derive(Debug)]
pub struct Parser {
    _limits: Limits,
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new(_framing: Framing, _limits: Limits) -> Self {
        todo!()
    }
    /// Changes the limits, from the next first-level element on.
    pub fn set_limits(&mut self, _limits: Limits) {
        todo!()
    }
    /// Forgets everything: the next bytes start a new stream (after STARTTLS or SASL).
    pub fn reset(&mut self) {
        todo!()
    }
    /// Reads from the front of `input`, advancing it, until one item is complete or the input is used up (`None`).
    /// After an error the parser must not be used again before [`Parser::reset`].
    pub fn next(&mut self, _input: &mut &[u8]) -> Result<Option<Item>, Error> {
        todo!()
    }
    /// Whether an incomplete header or element is held.
    pub fn is_mid_element(&self) -> bool {
        todo!()
    }
    /// Bytes held for an incomplete element: what memory limits count.
    pub fn held(&self) -> usize {
        todo!()
    }
}
