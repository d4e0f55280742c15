//! What the driver tells about TLS (RFC 6120 §5, §13.7). The handshake itself is none of the machines' business.

use stonechat_sasl::ChannelBindings;

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
