//! The trail of a stream between servers: what was tried and what happened, in the order it did, for people.

use crate::{Dialback, Validity};
use stonechat_jid::Domain;
use stonechat_stanza::StreamError;

/// One step. Its `Display` is a sentence part that stands after a time, in English.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The peer's stream header came.
    Header {
        /// Who the peer says it is.
        from: Option<Domain>,
        /// Whether it said `version='1.0'`.
        version: PeerVersion,
    },
    /// The peer's features came.
    Features {
        /// STARTTLS.
        starttls: Offered,
        /// SASL EXTERNAL.
        external: Offered,
        /// Dialback, as a feature; peers of old know it without saying so.
        dialback: Offered,
        /// Acknowledgements (XEP-0198).
        management: Offered,
        /// The largest stanza the peer takes, in bytes (XEP-0478).
        max_bytes: Option<usize>,
    },
    /// The TLS handshake begins.
    TlsStarted,
    /// The peer refused to begin it.
    TlsRefused,
    /// TLS is there.
    TlsEstablished,
    /// The peer's certificate was judged for a domain.
    Certificate(Domain, Validity),
    /// The peer presented no certificate.
    NoCertificate,
    /// SASL EXTERNAL was tried for a domain.
    ExternalTried(Domain),
    /// It was refused, with this condition.
    ExternalRefused(String),
    /// It succeeded.
    ExternalAccepted(Domain),
    /// A dialback key was sent.
    DialbackSent {
        /// The domain that it speaks for.
        from: Domain,
        /// The domain that it is sent to.
        to: Domain,
    },
    /// A dialback key was received.
    DialbackReceived {
        /// The domain that it speaks for.
        from: Domain,
        /// The domain that it was sent to.
        to: Domain,
    },
    /// What became of a dialback key, sent or received.
    DialbackAnswered {
        /// The domain that it speaks for.
        from: Domain,
        /// The domain that it was sent to.
        to: Domain,
        /// The answer.
        answer: Dialback,
    },
    /// Another server's key was checked for somebody who had been given it.
    VerifyAnswered {
        /// The receiving server that asked.
        from: Domain,
        /// The domain it asked about.
        to: Domain,
        /// The answer.
        answer: Dialback,
    },
    /// The peer acknowledges stanzas.
    Acknowledges,
    /// The peer ended the stream with an error.
    PeerError(StreamError),
}

/// Whether a feature is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is.
    Yes,
    /// It is, and the peer insists.
    Required,
    /// It is not.
    No,
}

/// RFC 6120 §4.7.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerVersion {
    /// 1.0 or later: features follow.
    Current,
    /// None: a server from before RFC 3920, which knows dialback and nothing else.
    Old,
}

impl std::fmt::Display for Offered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Offered::Yes => "yes",
            Offered::Required => "required",
            Offered::No => "no",
        })
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Header { from, version } => {
                match from {
                    Some(from) => write!(f, "the stream of {from} was opened")?,
                    None => f.write_str("a stream was opened that does not say whose it is")?,
                }
                match version {
                    PeerVersion::Current => Ok(()),
                    PeerVersion::Old => f.write_str(", without version 1.0"),
                }
            }
            Step::Features { starttls, external, dialback, management, max_bytes } => {
                write!(
                    f,
                    "it offers STARTTLS: {starttls}, EXTERNAL: {external}, dialback: {dialback}, \
                     acknowledgements: {management}"
                )?;
                match max_bytes {
                    Some(bytes) => write!(f, "; takes stanzas of {bytes} bytes at most"),
                    None => Ok(()),
                }
            }
            Step::TlsStarted => f.write_str("the TLS handshake begins"),
            Step::TlsRefused => f.write_str("it refused to begin TLS"),
            Step::TlsEstablished => f.write_str("TLS is established"),
            Step::Certificate(domain, Validity::Valid) => write!(f, "its certificate is good for {domain}"),
            Step::Certificate(domain, Validity::Invalid) => write!(f, "its certificate is not good for {domain}"),
            Step::NoCertificate => f.write_str("it presented no certificate"),
            Step::ExternalTried(domain) => write!(f, "log-in as {domain} by certificate (SASL EXTERNAL)"),
            Step::ExternalRefused(condition) => write!(f, "log-in by certificate was refused: {condition}"),
            Step::ExternalAccepted(domain) => write!(f, "{domain} is logged in by certificate"),
            Step::DialbackSent { from, to } => write!(f, "a dialback key of {from} was sent to {to}"),
            Step::DialbackReceived { from, to } => write!(f, "a dialback key of {from} came for {to}"),
            Step::DialbackAnswered { from, to, answer } => write!(f, "dialback of {from} to {to}: {answer}"),
            Step::VerifyAnswered { from, to, answer } => {
                write!(f, "{from} asked whether a key of {to} is genuine: {answer}")
            }
            Step::Acknowledges => f.write_str("it acknowledges stanzas"),
            Step::PeerError(error) => {
                write!(f, "it ended the stream: {error}")?;
                match &error.text {
                    Some(text) => write!(f, " ({text})"),
                    None => Ok(()),
                }
            }
        }
    }
}
