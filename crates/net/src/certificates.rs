//! Certificates of the served domains: loading, swapping while sessions go on, and the hash that channel binding needs.
//!
//! Each domain has one immutable [`CertifiedDomain`]; the table of them is swapped whole. A connection keeps the one it
//! was accepted with, so that its channel binding always belongs to the certificate it really presented.

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::Digest;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stonechat_jid::Domain;

/// Why a certificate cannot be used; each says what and where.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds no certificate or key in PEM form.
    #[error("{path} holds no {what} in PEM form")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Key and certificate do not belong together, or are of a kind that is not supported.
    #[error("the certificate and key for {domain} cannot be used: {source}")]
    Unusable {
        /// The domain.
        domain: String,
        /// Why.
        source: rustls::Error,
    },
    /// The certificate could not be parsed.
    #[error("the certificate for {domain} cannot be parsed")]
    Unparsable {
        /// The domain.
        domain: String,
    },
    /// A self-signed certificate could not be made.
    #[error("no certificate could be made for {domain}: {reason}")]
    Unmade {
        /// The domain.
        domain: String,
        /// Why.
        reason: String,
    },
    /// There is no certificate at all for a domain.
    #[error("there is no certificate for {domain}")]
    Missing {
        /// The domain.
        domain: String,
    },
}

/// What one domain presents.
pub struct CertifiedDomain {
    /// The chain and key.
    pub key: Arc<CertifiedKey>,
    /// RFC 5929 §4.1: the hash of the leaf for tls-server-end-point.
    pub end_point: Vec<u8>,
    /// DNS names in the leaf.
    pub names: Vec<String>,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// Issuer and subject are the same.
    pub self_signed: bool,
    pub(crate) client: Arc<rustls::ServerConfig>,
    pub(crate) server: Arc<rustls::ServerConfig>,
}

/// The certificates in force.
pub struct Certificates {
    table: ArcSwap<Table>,
}

struct Table {
    default: Domain,
    domains: HashMap<Domain, Arc<CertifiedDomain>>,
}

/// The one crypto provider; passed explicitly everywhere so that no feature of a dependency can choose another.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl CertifiedDomain {
    /// Reads a chain and a key in PEM form.
    pub fn load(domain: &Domain, cert: &Path, key: &Path) -> Result<CertifiedDomain, CertificateError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.to_owned(), source })
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(cert)?)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::Empty { path: cert.to_owned(), what: "certificate" })?;
        let private = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|_| CertificateError::Empty { path: key.to_owned(), what: "private key" })?;
        if chain.is_empty() {
            return Err(CertificateError::Empty { path: cert.to_owned(), what: "certificate" });
        }
        Self::from_parts(domain, chain, private)
    }

    /// From a chain and a key in DER form.
    pub fn from_parts(
        domain: &Domain,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<CertifiedDomain, CertificateError> {
        let unusable = |source| CertificateError::Unusable { domain: domain.to_string(), source };
        let provider = provider();
        let certified = Arc::new(CertifiedKey::from_der(chain, key, &provider).map_err(unusable)?);
        let unparsable = || CertificateError::Unparsable { domain: domain.to_string() };
        let leaf = certified.cert.first().ok_or_else(unparsable)?;
        let facts = LeafFacts::read(leaf).ok_or_else(unparsable)?;
        let client = crate::tls::client_facing(&certified, &provider).map_err(unusable)?;
        let server = crate::tls::server_facing(&certified, &provider).map_err(unusable)?;
        Ok(CertifiedDomain {
            end_point: facts.end_point,
            names: facts.names,
            not_after: facts.not_after,
            self_signed: facts.self_signed,
            key: certified,
            client,
            server,
        })
    }
}

impl CertifiedDomain {
    /// Whether a name in the certificate is the domain.
    pub fn covers(&self, domain: &Domain) -> bool {
        self.key.cert.first().is_some_and(|leaf| crate::verify::names_domain(leaf, domain))
    }
}

struct LeafFacts {
    end_point: Vec<u8>,
    names: Vec<String>,
    not_after: i64,
    self_signed: bool,
}

impl LeafFacts {
    fn read(leaf: &[u8]) -> Option<LeafFacts> {
        let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
        // RFC 5929 §4.1: the hash of the signature algorithm, SHA-256 where that is MD5 or SHA-1 or has none of its own.
        let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
        let end_point = match algorithm.as_str() {
            "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => sha2::Sha384::digest(leaf).to_vec(),
            "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => sha2::Sha512::digest(leaf).to_vec(),
            _ => sha2::Sha256::digest(leaf).to_vec(),
        };
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|san| {
                san.value
                    .general_names
                    .iter()
                    .filter_map(|name| match name {
                        x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
                        _ => None,
                    })
                    .collect()
            })
            .unwrap_or_default();
        Some(LeafFacts {
            end_point,
            names,
            not_after: certificate.validity().not_after.timestamp(),
            self_signed: certificate.issuer() == certificate.subject(),
        })
    }
}

impl Certificates {
    /// A table with a default domain, whose certificate a client gets that names no domain we know.
    pub fn new(
        default: Domain,
        domains: HashMap<Domain, Arc<CertifiedDomain>>,
    ) -> Result<Certificates, CertificateError> {
        if !domains.contains_key(&default) {
            return Err(CertificateError::Missing { domain: default.to_string() });
        }
        Ok(Certificates { table: ArcSwap::from_pointee(Table { default, domains }) })
    }

    /// Swaps the whole table; live sessions keep what they have.
    pub fn replace(
        &self,
        default: Domain,
        domains: HashMap<Domain, Arc<CertifiedDomain>>,
    ) -> Result<(), CertificateError> {
        if !domains.contains_key(&default) {
            return Err(CertificateError::Missing { domain: default.to_string() });
        }
        self.table.store(Arc::new(Table { default, domains }));
        Ok(())
    }

    /// The certificate of a domain.
    pub fn of(&self, domain: &Domain) -> Option<Arc<CertifiedDomain>> {
        self.table.load().domains.get(domain).cloned()
    }

    /// The certificate for a server name from a ClientHello: its own, or the default's when there is no name or none of
    /// ours (abuse case 43: never another tenant's by accident).
    pub fn for_server_name(&self, name: Option<&str>) -> Option<Arc<CertifiedDomain>> {
        let table = self.table.load();
        name.and_then(|name| Domain::parse(name).ok())
            .and_then(|domain| table.domains.get(&domain))
            .or_else(|| table.domains.get(&table.default))
            .cloned()
    }

    /// Every domain with its certificate.
    pub fn all(&self) -> Vec<(Domain, Arc<CertifiedDomain>)> {
        let table = self.table.load();
        table.domains.iter().map(|(domain, certificate)| (domain.clone(), Arc::clone(certificate))).collect()
    }
}
