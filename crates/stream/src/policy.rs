//! What a stream between servers must prove before it is used.

/// How a connection between servers comes by its TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S2sTransport {
    /// It begins in the clear; STARTTLS may follow (RFC 6120 §5).
    StartTls,
    /// TLS is there from the first byte (XEP-0368).
    DirectTls,
}

/// Whether a stream may stay in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// It may not.
    Required,
    /// It may, with a peer that does not do TLS.
    Optional,
}

/// Whether the peer's certificate must hold for its domain. It says nothing about streams in the clear, which have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificatePolicy {
    /// It must.
    Required,
    /// Dialback does as well.
    Preferred,
}

/// Whether dialback (XEP-0220) proves a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialbackPolicy {
    /// It does.
    Allowed,
    /// It does not.
    Never,
}

/// What streams between servers must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S2sPolicy {
    /// TLS.
    pub tls: TlsPolicy,
    /// Certificates.
    pub certificate: CertificatePolicy,
    /// Dialback.
    pub dialback: DialbackPolicy,
}

impl Default for S2sPolicy {
    fn default() -> Self {
        S2sPolicy {
            tls: TlsPolicy::Required,
            certificate: CertificatePolicy::Required,
            dialback: DialbackPolicy::Allowed,
        }
    }
}
