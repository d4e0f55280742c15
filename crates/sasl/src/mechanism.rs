//! Mechanism names, channel bindings, and what one stream offers.

/// Hash functions of the SCRAM family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hash {
    /// SHA-1 (RFC 5802): still what some clients have alone.
    Sha1,
    /// SHA-256 (RFC 7677).
    Sha256,
    /// SHA-512.
    Sha512,
}

/// A mechanism this server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// SCRAM without channel binding.
    Scram(Hash),
    /// SCRAM-…-PLUS.
    ScramPlus(Hash),
    /// RFC 4616; only over TLS.
    Plain,
    /// RFC 4422 appendix A; the certificate of the peer.
    External,
}

impl Mechanism {
    /// The registered name.
    pub fn name(self) -> &'static str {
        todo!()
    }
    /// By registered name.
    pub fn from_name(_name: &str) -> Option<Mechanism> {
        todo!()
    }
}

/// A channel-binding type (RFC 5056) that this server can compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelBinding {
    /// RFC 9266; only on TLS 1.3, or on 1.2 with the extended master secret.
    TlsExporter,
    /// RFC 5929 §4: the hash of the server's certificate.
    TlsServerEndPoint,
}

impl ChannelBinding {
    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            ChannelBinding::TlsExporter => "tls-exporter",
            ChannelBinding::TlsServerEndPoint => "tls-server-end-point",
        }
    }
    /// By registered name.
    pub fn from_name(name: &str) -> Option<ChannelBinding> {
        match name {
            "tls-exporter" => Some(ChannelBinding::TlsExporter),
            "tls-server-end-point" => Some(ChannelBinding::TlsServerEndPoint),
            _ => None,
        }
    }
}

/// The binding data of one TLS connection. Both or none are usable for `-PLUS` (specs: XEP-0440 makes
/// tls-server-end-point mandatory).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChannelBindings {
    /// 32 bytes exported with label `EXPORTER-Channel-Binding`, when permitted on this connection.
    pub tls_exporter: Option<Vec<u8>>,
    /// Hash of the certificate this connection presented.
    pub tls_server_end_point: Option<Vec<u8>>,
}

impl ChannelBindings {
    /// The data of one type.
    pub fn get(&self, kind: ChannelBinding) -> Option<&[u8]> {
        match kind {
            ChannelBinding::TlsExporter => self.tls_exporter.as_deref(),
            ChannelBinding::TlsServerEndPoint => self.tls_server_end_point.as_deref(),
        }
    }
    /// The types available, strongest first: what XEP-0440 advertises.
    pub fn types(&self) -> Vec<ChannelBinding> {
        [ChannelBinding::TlsExporter, ChannelBinding::TlsServerEndPoint]
            .into_iter()
            .filter(|kind| self.get(*kind).is_some())
            .collect()
    }
}

impl std::fmt::Debug for ChannelBindings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.types()).finish()
    }
}

/// What was advertised on one stream: the mechanisms in the order sent, and the channel-binding types. A mechanism not in
/// it is refused; XEP-0474 signs exactly these lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// In the order of the stream feature.
    pub mechanisms: Vec<Mechanism>,
    /// As advertised by XEP-0440.
    pub channel_bindings: Vec<ChannelBinding>,
}
