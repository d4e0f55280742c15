//! A stream that we open to another server: the initiating entity's side (RFC 6120 §4 to §6, XEP-0178, XEP-0220).
//!
//! Stanzas flow one way only, to the peer; one that comes back on it is not accepted. The first local domain is proved
//! with SASL EXTERNAL where the peer offers it and with dialback otherwise; further local domains with dialback on the
//! same stream. The same stream may carry the questions of a receiving server about keys of its own peers
//! ([`Command::Verify`]): they need no proof, only the stream.
//!
//! The machine keeps no stanzas: [`S2sOut::send`] writes at once or says why not.

mod dialback;
mod features;
mod machine;
mod management;

use crate::{Closed, Dialback, DialbackSecret, S2sPolicy, S2sTransport, Step, Token, Validity};
use std::time::Duration;
use stonechat_jid::Domain;
use stonechat_stanza::{StanzaCondition, StreamError};
use stonechat_xml::Limits as XmlLimits;

pub use machine::S2sOut;
pub use management::Delivered;

/// Bounds and times.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// XML from the peer: a peer says little on such a stream.
    pub xml: XmlLimits,
    /// From the first byte until the first local domain is proved or, on a stream for questions, until it is open.
    pub negotiation: Duration,
    /// From a dialback key or question to its answer, and from asking for acknowledgements to the peer's word on it.
    pub dialback: Duration,
    /// From a request for acknowledgement to its answer; a peer that may be busy storing, or slowing us down.
    pub acknowledgement: Duration,
    /// Silence of ours after which a space is sent, so that a dead connection shows.
    pub keepalive: Duration,
    /// Local domains and open questions on one stream, each.
    pub pairs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            xml: XmlLimits::BEFORE_AUTHENTICATION,
            negotiation: Duration::from_secs(60),
            dialback: Duration::from_secs(30),
            acknowledgement: Duration::from_secs(120),
            keepalive: Duration::from_secs(300),
            pairs: 64,
        }
    }
}

/// Whether SASL EXTERNAL is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum External {
    /// When the peer offers it.
    WhenOffered,
    /// Not on this stream: we have no certificate, or a stream before this one ended with
    /// [`Ended::ExternalRefused`].
    Never,
}

/// What the stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Stanzas of the local domain, which is proved as soon as it can be; questions too.
    Stanzas,
    /// Questions only ([`Command::Verify`]): a local domain is proved, by dialback, when [`Command::AddLocal`] asks.
    Verification,
}

/// What streams of one kind share.
#[derive(Clone, Debug)]
pub struct Config {
    /// What our dialback keys are made from.
    pub secret: DialbackSecret,
    /// TLS.
    pub transport: S2sTransport,
    /// What must be proved. [`crate::CertificatePolicy::Required`] ends a stream over TLS whose certificate does not hold.
    pub policy: S2sPolicy,
    /// SASL EXTERNAL.
    pub external: External,
    /// Bounds and times.
    pub limits: Limits,
}

/// What the machine wants known or done.
#[derive(Debug)]
pub enum Event {
    /// Send what is to be sent, then run the handshake for this domain (SNI) and call [`S2sOut::on_tls`].
    StartTls(Domain),
    /// Judge the certificate that the peer presented for this domain and answer with [`Command::CertificateChecked`].
    /// No input is wanted until then.
    CheckCertificate(Token, Domain),
    /// The stream is negotiated, whether or not any domain is proved.
    Open,
    /// A local domain was proved: its stanzas may be sent.
    Ready(Domain),
    /// A local domain was not proved. The stream goes on for the others.
    PairFailed {
        /// The local domain.
        local: Domain,
        /// The peer's.
        remote: Domain,
        /// Why.
        reason: PairFailure,
    },
    /// The answer to [`Command::Verify`].
    Verified {
        /// As asked.
        question: Question,
        /// What the peer says; [`Dialback::Failed`] also when it says nothing in time.
        answer: Dialback,
    },
    /// So many more of the stanzas sent are with the peer, oldest first (XEP-0198).
    Acknowledged(u32),
    /// For the record.
    Note(Step),
    /// The stream has ended; nothing follows but answers to what is asked of the machine after it. What is to be sent is
    /// sent first. Questions that are open are answered before it; local domains that are not ready are not told of.
    Closed(Ended),
}

/// What the receiving server asks the authoritative one (XEP-0220 §2.2).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Our domain, which somebody wants to send to.
    pub from: Domain,
    /// The domain that somebody wants to be: the peer's.
    pub to: Domain,
    /// The id that we gave the stream on which the key came.
    pub stream_id: String,
    /// The key.
    pub key: String,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("stream_id", &self.stream_id)
            .finish_non_exhaustive()
    }
}

/// Why a local domain was not proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairFailure {
    /// The peer asked back, and the key was not found genuine.
    #[error("the peer asked back and was told that the dialback key is not ours")]
    Invalid,
    /// The peer answered with an error (XEP-0220 §2.4).
    #[error("the peer could not finish dialback: {}", .0.name())]
    Refused(StanzaCondition),
    /// The peer did not answer in time.
    #[error("the peer did not answer the dialback key in time")]
    Timeout,
    /// Dialback is not allowed by our policy, or the bound of pairs is reached.
    #[error("dialback may not be used")]
    NotAllowed,
}

/// Why a stanza was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The stream has ended, or the sender's domain is not proved on it: it may go by another stream.
    #[error("the stream does not carry this domain")]
    NotReady,
    /// The peer would end the stream over it (XEP-0478).
    #[error("the other server does not take stanzas that large")]
    TooLarge,
    /// It is not for the peer's domain.
    #[error("it is for another domain")]
    Misaddressed,
}

/// How the stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As streams end.
    Stream(Closed),
    /// The peer offers no TLS, or refused to begin it, and policy wants it.
    TlsUnavailable,
    /// The peer's certificate does not hold, and policy wants it to.
    CertificateRefused,
    /// The peer presented none, and policy wants one.
    CertificateAbsent,
    /// The peer offered EXTERNAL and then refused it, and left no way on this stream: try again with
    /// [`External::Never`].
    ExternalRefused {
        /// The condition of the failure, or that the stream was closed instead of one.
        condition: String,
    },
    /// The peer offers no mechanism that we can use, and dialback is not allowed.
    NoMechanism,
    /// The peer said nothing in time.
    Timeout,
    /// The peer did not acknowledge what it was sent.
    Unacknowledged,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Stream(closed) => closed.fmt(f),
            Ended::TlsUnavailable => f.write_str("it does not do TLS, which is required"),
            Ended::CertificateRefused => f.write_str("its certificate does not hold"),
            Ended::CertificateAbsent => f.write_str("it presented no certificate"),
            Ended::ExternalRefused { condition } => {
                write!(f, "it refused our certificate ({condition}) and left no other way")
            }
            Ended::NoMechanism => f.write_str("it offers no way to log in that is allowed"),
            Ended::Timeout => f.write_str("it did not answer in time"),
            Ended::Unacknowledged => f.write_str("it did not acknowledge stanzas in time"),
        }
    }
}

/// What the outside tells the machine.
#[derive(Debug)]
pub enum Command {
    /// Answers [`Event::CheckCertificate`].
    CertificateChecked(Token, Validity),
    /// Proves a further local domain, by dialback. Answered by [`Event::Ready`] or [`Event::PairFailed`]; waits for the
    /// stream to be open.
    AddLocal(Domain),
    /// Asks about a key. Answered by [`Event::Verified`]; waits for the stream to be open.
    Verify(Question),
    /// Ends the stream.
    Close(Option<StreamError>),
}
