//! A stream that another server opened to us: the receiving entity's side (RFC 6120 §4 to §6, XEP-0178, XEP-0220).
//!
//! Stanzas flow one way only, from the peer. They leave as [`Event::Stanza`] when the pair of their sender's domain and
//! their recipient's was proved on this very stream, by certificate or by dialback.
//!
//! Requests to verify a key that we gave out (`<db:verify/>`) never leave as events: the machine knows the secret.

mod dialback;
mod external;
mod machine;
mod management;
mod stanzas;

use crate::{Closed, Dialback, DialbackSecret, Hosts, Random, S2sPolicy, S2sTransport, Step, Token, Validity};
use std::sync::Arc;
use std::time::Duration;
use stonechat_jid::Domain;
use stonechat_stanza::{Stanza, StreamError};
use stonechat_xml::Limits as XmlLimits;

pub use machine::S2sIn;

/// Bounds and times.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// XML before a domain is proved.
    pub before: XmlLimits,
    /// XML after.
    pub after: XmlLimits,
    /// From the first byte until a domain is proved, or a key was verified.
    pub negotiation: Duration,
    /// From the first byte of a stanza to its last.
    pub stanza: Duration,
    /// Silence after which a stream is closed in order.
    pub idle: Duration,
    /// Pairs of domains on one stream, proved and asked for.
    pub pairs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            before: XmlLimits::BEFORE_AUTHENTICATION,
            after: XmlLimits::SERVER,
            negotiation: Duration::from_secs(60),
            stanza: Duration::from_secs(60),
            idle: Duration::from_secs(15 * 60),
            pairs: 64,
        }
    }
}

/// What streams of one kind share.
pub struct Config {
    /// The served domains.
    pub hosts: Arc<dyn Hosts>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// What our dialback keys are made from.
    pub secret: DialbackSecret,
    /// TLS.
    pub transport: S2sTransport,
    /// What must be proved.
    pub policy: S2sPolicy,
    /// Bounds and times.
    pub limits: Limits,
}

/// How a pair of domains was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// SASL EXTERNAL (XEP-0178).
    External,
    /// Dialback was asked for, and the certificate of the stream is good for the domain, so nobody was dialled.
    Certificate,
    /// Dialback.
    Dialback,
}

/// What the machine wants known or done.
#[derive(Debug)]
pub enum Event {
    /// Send what is to be sent, then run the handshake with the certificate of this domain, asking for the peer's, and
    /// call [`S2sIn::on_tls`].
    StartTls(Domain),
    /// Judge the certificate that the peer presented for this domain and answer with [`Command::CertificateChecked`].
    /// No input is wanted until then.
    CheckCertificate(Token, Domain),
    /// Ask the authoritative server of `from` whether the key is genuine, and answer with [`Command::DialbackVerdict`].
    /// The stream goes on meanwhile.
    DialbackResult {
        /// Names the question.
        token: Token,
        /// The domain to be proved.
        from: Domain,
        /// Our domain.
        to: Domain,
        /// The id of this stream.
        stream_id: String,
        /// What the authoritative server is to be asked about.
        key: String,
    },
    /// A pair was proved: stanzas of `from` to `to` are accepted from here on.
    Authorised {
        /// The peer's domain.
        from: Domain,
        /// Ours.
        to: Domain,
        /// How.
        by: Proof,
    },
    /// A stanza of a proved pair, with everything removed that only we may say.
    Stanza(Stanza),
    /// The error that answers a malformed stanza of a proved pair, to be routed back: nothing but negotiation is sent on
    /// this stream.
    Bounce(Stanza),
    /// The peer wants to know which of its stanzas are safe; so many were taken before (XEP-0198). To be answered with
    /// [`Command::Acknowledge`] when they are.
    AcknowledgementRequested(u32),
    /// For the record.
    Note(Step),
    /// The stream has ended; nothing follows. What is to be sent is sent first.
    Closed(Closed),
}

/// What the outside tells the machine.
#[derive(Debug)]
pub enum Command {
    /// Answers [`Event::CheckCertificate`].
    CertificateChecked(Token, Validity),
    /// Answers [`Event::DialbackResult`].
    DialbackVerdict(Token, Dialback),
    /// So many of the peer's stanzas are safe.
    Acknowledge(u32),
    /// Ends the stream.
    Close(Option<StreamError>),
}
