//! Mechanism names, what a TLS connection is known by, and what one stream offers.
//!
//! Deliberately absent: tls-unique, which TLS 1.3 does not define and RFC 9266 replaces.

use crate::base64::encode_attribute;

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
    /// All of them, strongest first.
    pub const ALL: [Mechanism; 8] = [
        Mechanism::External,
        Mechanism::ScramPlus(Hash::Sha512),
        Mechanism::ScramPlus(Hash::Sha256),
        Mechanism::ScramPlus(Hash::Sha1),
        Mechanism::Scram(Hash::Sha512),
        Mechanism::Scram(Hash::Sha256),
        Mechanism::Scram(Hash::Sha1),
        Mechanism::Plain,
    ];
    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Scram(Hash::Sha1) => "SCRAM-SHA-1",
            Mechanism::Scram(Hash::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(Hash::Sha512) => "SCRAM-SHA-512",
            Mechanism::ScramPlus(Hash::Sha1) => "SCRAM-SHA-1-PLUS",
            Mechanism::ScramPlus(Hash::Sha256) => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramPlus(Hash::Sha512) => "SCRAM-SHA-512-PLUS",
            Mechanism::Plain => "PLAIN",
            Mechanism::External => "EXTERNAL",
        }
    }
    /// By registered name. RFC 4422 §3.1: upper case only.
    pub fn from_name(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name)
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

/// A version of TLS that log-ins are accepted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// The number on the wire, as XEP-0515 §4.1 writes it.
    pub fn hex(self) -> &'static str {
        match self {
            TlsVersion::Tls12 => "0303",
            TlsVersion::Tls13 => "0304",
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
    /// What was negotiated, where TLS ends here: SCRAM tells it to the client (XEP-0515). `None` where it is not known.
    pub tls_version: Option<TlsVersion>,
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

impl Offer {
    /// Whether a `-PLUS` mechanism was advertised, of whatever hash (RFC 5802 §6).
    pub(crate) fn has_channel_binding(&self) -> bool {
        self.mechanisms.iter().any(|mechanism| matches!(mechanism, Mechanism::ScramPlus(_)))
    }

    /// The downgrade protection hash of XEP-0474 §5.1 over what was advertised, in base64.
    ///
    /// An empty list of channel-binding types means that XEP-0440 was not advertised at all.
    pub(crate) fn downgrade_protection(&self, hash: Hash) -> String {
        // Names are ASCII: the order of `str` is that of "i;octet".
        let mut mechanisms: Vec<&str> = self.mechanisms.iter().map(|mechanism| mechanism.name()).collect();
        mechanisms.sort_unstable();
        let mut text = mechanisms.join("\u{1e}");
        if !self.channel_bindings.is_empty() {
            let mut kinds: Vec<&str> = self.channel_bindings.iter().map(|kind| kind.name()).collect();
            kinds.sort_unstable();
            text.push('\u{1f}');
            text.push_str(&kinds.join("\u{1e}"));
        }
        encode_attribute(&hash.digest(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_mechanisms_agree() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::from_name(mechanism.name()), Some(mechanism));
        }
        for name in ["", "scram-sha-1", "SCRAM-SHA-1 ", "SCRAM-SHA-384", "DIGEST-MD5", "plain", "ANONYMOUS"] {
            assert_eq!(Mechanism::from_name(name), None, "{name:?}");
        }
        for kind in [ChannelBinding::TlsExporter, ChannelBinding::TlsServerEndPoint] {
            assert_eq!(ChannelBinding::from_name(kind.name()), Some(kind));
        }
        assert_eq!(ChannelBinding::from_name("tls-unique"), None);
    }

    #[test]
    fn xep0474_example_2() {
        let offer = Offer {
            mechanisms: vec![Mechanism::ScramPlus(Hash::Sha1), Mechanism::Scram(Hash::Sha1)],
            channel_bindings: vec![ChannelBinding::TlsServerEndPoint, ChannelBinding::TlsExporter],
        };
        assert_eq!(offer.downgrade_protection(Hash::Sha1), "G6k/rBLDqgOhRRaCuuatSDFkJ08=");
    }

    #[test]
    fn xep0474_without_channel_binding_types_there_is_no_unit_separator() {
        let offer = Offer {
            mechanisms: vec![Mechanism::Scram(Hash::Sha256), Mechanism::Plain, Mechanism::Scram(Hash::Sha1)],
            channel_bindings: Vec::new(),
        };
        let expected = Hash::Sha256.digest(b"PLAIN\x1eSCRAM-SHA-1\x1eSCRAM-SHA-256");
        assert_eq!(offer.downgrade_protection(Hash::Sha256), encode_attribute(&expected));
    }

    #[test]
    fn channel_bindings_print_their_types_alone() {
        let bindings = ChannelBindings { tls_exporter: Some(vec![1, 2, 3]), ..ChannelBindings::default() };
        assert_eq!(format!("{bindings:?}"), "[TlsExporter]");
        assert_eq!(bindings.types(), [ChannelBinding::TlsExporter]);
    }
}
