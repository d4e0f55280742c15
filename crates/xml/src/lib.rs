//! Strict, resumable XML for XMPP streams (RFC 6120 §11, XML 1.0, Namespaces in XML 1.0).
//!
//! Three things live here: [`Parser`], which frames a byte stream into complete elements while it validates every byte;
//! [`Element`], a small tree for what the server itself reads or answers; and the escaping writer both share.
//!
//! A [`Frame`] is only ever made from bytes that the parser accepted in full, and the parser accepts only what every
//! conforming parser reads the same way: that is what makes it safe to forward the bytes untouched.
//!
//! Deliberately absent: DTDs, processing instructions, comments and entities other than the five predefined ones
//! (RFC 6120 §11.1 forbids them), encodings other than UTF-8, any I/O.

mod element;
mod error;
mod frame;
mod index;
mod parser;
mod root;
mod scan;
mod tables;
mod text;
mod tree;
mod write;

pub use element::{Element, Node};
pub use error::{Error, Limit};
pub use frame::{Attribute, Child, Frame, Header, Span};
pub use parser::{Framing, Item, Limits, Parser};
pub use text::Text;
pub use write::{escape_attribute, escape_text};
