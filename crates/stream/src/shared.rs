//! What the machines have in common: their questions and answers, and the parts of a stream that both ends write alike.

use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_sasl::ChannelBindings;
use stonechat_stanza::{StreamCondition, StreamError, ns};
use stonechat_xml::{Element, Frame};

/// Ties an answer to its question. Never reused on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub(crate) u64);

/// Gives every question of a stream its token.
#[derive(Debug, Default)]
pub(crate) struct Tokens(u64);

impl Tokens {
    pub(crate) fn next(&mut self) -> Token {
        self.0 = self.0.saturating_add(1);
        Token(self.0)
    }
}

/// Whether a domain is served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostStatus {
    /// It is.
    Served,
    /// It was, and is no more: `host-gone`.
    Gone,
    /// It never was: `host-unknown`.
    Unknown,
}

/// Knows the served domains.
pub trait Hosts: Send + Sync {
    /// What a domain is to this server.
    fn status(&self, domain: &Domain) -> HostStatus;
    /// A name this server answers to, for the header in which a peer is told that it asked for another.
    fn authoritative(&self) -> Option<Domain> {
        None
    }
}

/// When a stream feature shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// After TLS, before authentication.
    BeforeAuthentication,
    /// After authentication.
    AfterAuthentication,
}

/// Whether accounts may be made in band before authentication (XEP-0077).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// They may: such IQs leave as events.
    Offered,
    /// They may not.
    Closed,
}

/// Knows what extensions add to the stream features.
pub trait FeatureSource: Send + Sync {
    /// The features of a phase.
    fn features(&self, phase: Phase, domain: &Domain) -> Vec<Element>;
    /// Whether registration is offered.
    fn registration(&self) -> Registration;
}

/// A source of random bytes.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// What a finished handshake means for the stream.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    /// For SCRAM-…-PLUS.
    pub bindings: ChannelBindings,
    /// Whether the peer presented a certificate (whose worth is asked for by event).
    pub peer: PeerCertificate,
}

/// Whether the peer presented a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerCertificate {
    /// It did.
    Presented,
    /// It did not.
    #[default]
    Absent,
}

/// Whether a certificate holds for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Chain and name hold.
    Valid,
    /// They do not.
    Invalid,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Both sides closed it, or the peer did and was answered.
    Cleanly,
    /// We ended it with an error.
    ByUs(StreamError),
    /// The peer ended it with an error.
    ByPeer(StreamError),
    /// The connection went away.
    Lost,
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |f: &mut std::fmt::Formatter<'_>, who: &str, error: &StreamError| {
            write!(f, "{who} ended the stream: {error}")?;
            match &error.text {
                Some(text) => write!(f, " ({text})"),
                None => Ok(()),
            }
        };
        match self {
            Closed::Cleanly => f.write_str("the stream was closed"),
            Closed::ByUs(error) => told(f, "we", error),
            Closed::ByPeer(error) => told(f, "the peer", error),
            Closed::Lost => f.write_str("the connection was lost"),
        }
    }
}

/// Whether there was something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// There was.
    Bytes,
    /// There was not.
    Nothing,
}

/// What a peer says when it ends a stream: `<stream:error/>` (RFC 6120 §4.9).
pub(crate) fn peer_error(frame: &Frame) -> Option<StreamError> {
    if !frame.is("error", ns::STREAM) {
        return None;
    }
    let element = frame.to_element().ok()?;
    let of_streams = |element: &&Element| element.namespace() == ns::STREAM_ERRORS;
    let condition = element
        .children()
        .filter(of_streams)
        .find_map(|child| StreamCondition::from_name(child.name()))
        .unwrap_or(StreamCondition::UndefinedCondition);
    let error = StreamError::new(condition);
    Some(match element.child("text", ns::STREAM_ERRORS) {
        Some(text) => error.with_text(text.text()),
        None => error,
    })
}

/// How long the peer may take to close its direction after we closed ours (RFC 6120 §4.4).
pub(crate) const CLOSING: Duration = Duration::from_secs(5);

pub(crate) fn earliest(times: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    times.into_iter().flatten().min()
}

/// 128 random bits in hexadecimal: a stream id (RFC 6120 §4.7.3 wants it unpredictable, since dialback keys hang on it).
pub(crate) fn stream_id(random: &dyn Random) -> String {
    let mut bytes = [0u8; 16];
    random.fill(&mut bytes);
    hex(&bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS.get(usize::from(value)).copied().unwrap_or(b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// XEP-0478: what we accept, told in the features.
pub(crate) fn limits_feature(max_bytes: usize, idle: Option<Duration>) -> Element {
    let mut limits = Element::new("limits", ns::LIMITS)
        .with_child(Element::new("max-bytes", ns::LIMITS).with_text(max_bytes.to_string()));
    if let Some(idle) = idle {
        limits = limits.with_child(Element::new("idle-seconds", ns::LIMITS).with_text(idle.as_secs().to_string()));
    }
    limits
}

/// `<stream:features>` on a stream that has the prefix bound.
pub(crate) fn write_features(features: &[Element], content_namespace: &str, out: &mut Vec<u8>) {
    if features.is_empty() {
        out.extend_from_slice(b"<stream:features/>");
        return;
    }
    out.extend_from_slice(b"<stream:features>");
    for feature in features {
        feature.write(out, content_namespace);
    }
    out.extend_from_slice(b"</stream:features>");
}
