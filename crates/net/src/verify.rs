//! Certificates of other servers: taken at the handshake, judged when the stream has said which domain it is.
//!
//! RFC 6120 §13.7.2 and RFC 9525: the name is looked for in the subject alternative names only (DNS-ID, and XmppAddr and
//! SRVName where they are present); the common name is ignored. The chain is verified for server authentication even for
//! an initiating server: public authorities no longer issue certificates for client authentication.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::sync::Arc;
use stonechat_jid::Domain;

/// Asks for a certificate, checks that the peer holds its key, and leaves the judgement of the chain for later.
#[derive(Debug)]
pub(crate) struct AskButDoNotJudge {
    provider: Arc<CryptoProvider>,
}

impl AskButDoNotJudge {
    pub(crate) fn new(provider: Arc<CryptoProvider>) -> Self {
        AskButDoNotJudge { provider }
    }
}

impl ClientCertVerifier for AskButDoNotJudge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// As initiating entity: takes whatever certificate comes, checks that the peer holds its key, and leaves the judgement
/// to [`Roots::judge`], so that a certificate that fails can still fall back to dialback and be explained.
#[derive(Debug)]
pub(crate) struct TakeButDoNotJudge {
    provider: Arc<CryptoProvider>,
}

impl TakeButDoNotJudge {
    pub(crate) fn new(provider: Arc<CryptoProvider>) -> Self {
        TakeButDoNotJudge { provider }
    }
}

impl rustls::client::danger::ServerCertVerifier for TakeButDoNotJudge {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Names in one certificate that are looked at; a certificate with more is not believed (abuse: SAN flood).
const MAX_NAMES: usize = 200;
/// Certificates of one presented chain that are looked at.
const MAX_CHAIN: usize = 10;

/// The trusted roots.
pub struct Roots {
    anchors: Vec<rustls::pki_types::TrustAnchor<'static>>,
    provider: Arc<CryptoProvider>,
}

/// What a certificate is worth for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateVerdict {
    /// Chain and name hold.
    Valid,
    /// None was presented.
    NonePresented,
    /// The chain does not lead to a trusted root, has expired, or the like; for people.
    BadChain(String),
    /// The chain holds, the name is not in it; the names that are.
    WrongName(Vec<String>),
}

impl Roots {
    /// The system's roots and further PEM files.
    pub fn load(extra: &[std::path::PathBuf]) -> Result<Roots, crate::CertificateError> {
        use rustls::pki_types::pem::PemObject;
        let mut anchors = Vec::new();
        let mut add = |certificate: &CertificateDer<'_>| {
            if let Ok(anchor) = webpki::anchor_from_trusted_cert(certificate) {
                anchors.push(anchor.to_owned());
            }
        };
        for certificate in rustls_native_certs::load_native_certs().certs {
            add(&certificate);
        }
        for path in extra {
            let bytes = std::fs::read(path)
                .map_err(|source| crate::CertificateError::Unreadable { path: path.clone(), source })?;
            let mut any = false;
            for certificate in CertificateDer::pem_slice_iter(&bytes).flatten() {
                add(&certificate);
                any = true;
            }
            if !any {
                return Err(crate::CertificateError::Empty { path: path.clone(), what: "certificate" });
            }
        }
        Ok(Roots { anchors, provider: crate::certificates::provider() })
    }

    /// Judges a presented chain for a domain.
    pub fn judge(&self, chain: &[CertificateDer<'_>], domain: &Domain, now: UnixTime) -> CertificateVerdict {
        let Some((leaf, intermediates)) = chain.split_first() else { return CertificateVerdict::NonePresented };
        if intermediates.len() > MAX_CHAIN {
            return CertificateVerdict::BadChain("the chain is too long".into());
        }
        let parsed = match webpki::EndEntityCert::try_from(leaf) {
            Ok(parsed) => parsed,
            Err(error) => return CertificateVerdict::BadChain(error.to_string()),
        };
        let verified = parsed.verify_for_usage(
            self.provider.signature_verification_algorithms.all,
            &self.anchors,
            intermediates,
            now,
            webpki::KeyUsage::server_auth(),
            None,
            None,
        );
        if let Err(error) = verified {
            return CertificateVerdict::BadChain(error.to_string());
        }
        let names = names_of(leaf);
        if names.len() > MAX_NAMES {
            return CertificateVerdict::BadChain("the certificate has too many names".into());
        }
        if names.iter().any(|name| name.matches(domain)) {
            CertificateVerdict::Valid
        } else {
            CertificateVerdict::WrongName(names.into_iter().map(|name| name.to_string()).collect())
        }
    }
}

/// An identifier in a certificate (RFC 6120 §13.7.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Identifier {
    Dns(String),
    Srv(String),
    Xmpp(String),
}

impl std::fmt::Display for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Identifier::Dns(name) | Identifier::Srv(name) | Identifier::Xmpp(name) => f.write_str(name),
        }
    }
}

impl Identifier {
    fn matches(&self, domain: &Domain) -> bool {
        let same = |name: &str| Domain::parse(name).is_ok_and(|name| name == *domain);
        match self {
            Identifier::Dns(name) => match name.strip_prefix("*.") {
                // RFC 9525 §6.3: the wildcard is the whole left-most label and stands for one.
                Some(parent) => {
                    let Ok(ascii) = domain.to_ascii() else { return false };
                    ascii.split_once('.').is_some_and(|(label, rest)| {
                        !label.is_empty() && rest.contains('.') && rest.eq_ignore_ascii_case(parent)
                    })
                }
                None => same(name),
            },
            Identifier::Srv(name) => {
                name.strip_prefix("_xmpp-server.").or_else(|| name.strip_prefix("_xmpps-server.")).is_some_and(same)
            }
            Identifier::Xmpp(name) => same(name),
        }
    }
}

/// id-on-dnsSRV (RFC 4985) and id-on-xmppAddr (RFC 6120 §13.7.1.4).
const ON_DNS_SRV: &str = "1.3.6.1.5.5.7.8.7";
const ON_XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";

/// Whether a name in a leaf certificate is the domain.
pub(crate) fn names_domain(leaf: &[u8], domain: &Domain) -> bool {
    names_of(leaf).iter().any(|name| name.matches(domain))
}

fn names_of(leaf: &[u8]) -> Vec<Identifier> {
    use x509_parser::extensions::GeneralName;
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(leaf) else { return Vec::new() };
    let Ok(Some(san)) = certificate.subject_alternative_name() else { return Vec::new() };
    san.value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(Identifier::Dns((*name).to_owned())),
            GeneralName::OtherName(oid, value) => {
                let text = other_name_text(value)?;
                match oid.to_id_string().as_str() {
                    ON_DNS_SRV => Some(Identifier::Srv(text)),
                    ON_XMPP_ADDR => Some(Identifier::Xmpp(text)),
                    _ => None,
                }
            }
            _ => None,
        })
        .collect()
}

/// The string inside an otherName's `[0] EXPLICIT` value: UTF8String or IA5String, short or one-byte long form.
fn other_name_text(value: &[u8]) -> Option<String> {
    fn inner<'a>(bytes: &'a [u8], tags: &[u8]) -> Option<&'a [u8]> {
        let (tag, rest) = bytes.split_first()?;
        if !tags.contains(tag) {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            0x81 => {
                let (length, rest) = rest.split_first()?;
                (usize::from(*length), rest)
            }
            0x82 => {
                let (high, rest) = rest.split_first()?;
                let (low, rest) = rest.split_first()?;
                (usize::from(u16::from_be_bytes([*high, *low])), rest)
            }
            _ => return None,
        };
        (rest.len() >= length).then(|| rest.get(..length)).flatten()
    }
    const EXPLICIT: u8 = 0xa0;
    const UTF8: u8 = 0x0c;
    const IA5: u8 = 0x16;
    // Parsers differ on whether they hand over the explicit tag.
    let string = match inner(value, &[EXPLICIT]) {
        Some(content) => inner(content, &[UTF8, IA5])?,
        None => inner(value, &[UTF8, IA5])?,
    };
    let text = std::str::from_utf8(string).ok()?;
    (!text.contains('\0')).then(|| text.to_owned())
}
