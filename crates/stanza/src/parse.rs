//! From a frame to a stanza: the one place where a peer's start tag becomes typed.

use crate::{ContentNamespace, Stanza, StanzaError};
use stonechat_xml::Frame;

/// What a first-level element of an established stream turned out to be.
#[derive(Debug)]
pub enum Accepted {
    /// A stanza.
    Stanza(Stanza),
    /// Not a stanza: a negotiation element (SASL, SM, dialback …) or something unknown.
    Other(Frame),
}

/// A stanza that could not be accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AcceptError {
    /// The sender gets this stanza error (already addressed), the stream goes on. `None` inside when the stanza may not be
    /// answered (it was an error or a result itself).
    #[error("refused: {error}")]
    Refused {
        /// Why.
        error: StanzaError,
        /// The reply to send back, its `to` the sender's own address when known.
        reply: Option<Box<Stanza>>,
    },
    /// The stored or literal bytes are not a stanza.
    #[error("not a stanza")]
    NotAStanza,
}

impl Accepted {
    /// Types a frame that came by a stream with this content namespace.
    ///
    /// Malformed `to`/`from` give `jid-malformed`; an IQ without id, with an unknown type, or a get/set without exactly one
    /// child gives `bad-request` (RFC 6120 §8.2.3); an unknown presence type gives `bad-request`; an unknown message type
    /// counts as normal. A payload that re-declares another stream's content namespace on a direct child is rewritten.
    pub fn from_frame(_frame: Frame, _namespace: ContentNamespace) -> Result<Accepted, AcceptError> {
        todo!()
    }
}
