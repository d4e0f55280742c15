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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::certified;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use sha2::Digest;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    /// A certificate that an authority with such a key has signed.
    fn signed(authority: &'static rcgen::SignatureAlgorithm) -> CertifiedDomain {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate_for(authority).unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "a server");
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        CertifiedDomain::from_parts(&domain("a.example"), vec![leaf.der().clone()], private).unwrap()
    }

    #[test]
    fn rfc5929_4_1_the_end_point_is_hashed_as_the_certificate_was_signed() {
        let leaf = |certified: &CertifiedDomain| certified.key.cert.first().unwrap().to_vec();
        let by_sha256 = signed(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(by_sha256.end_point, sha2::Sha256::digest(leaf(&by_sha256)).to_vec());
        let by_sha384 = signed(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(by_sha384.end_point, sha2::Sha384::digest(leaf(&by_sha384)).to_vec());
        // It has no hash of its own.
        let by_ed25519 = signed(&rcgen::PKCS_ED25519);
        assert_eq!(by_ed25519.end_point, sha2::Sha256::digest(leaf(&by_ed25519)).to_vec());
    }

    #[test]
    fn what_an_operator_is_told_of_a_certificate() {
        let own = certified("a.example");
        assert!(own.self_signed && own.covers(&domain("a.example")) && !own.covers(&domain("b.example")));
        assert_eq!(own.names, ["a.example"]);
        assert!(!signed(&rcgen::PKCS_ECDSA_P256_SHA256).self_signed);
    }

    #[test]
    fn a_file_that_has_nothing_in_it_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let (chain, key) = (path("chain", &made.cert.pem()), path("key", &made.signing_key.serialize_pem()));
        let nothing = path("nothing", "");
        let load = |chain, key| CertifiedDomain::load(&domain("a.example"), chain, key).err();
        assert!(load(&chain, &key).is_none());
        for (chain, key, wanted) in [(&nothing, &key, "certificate"), (&chain, &nothing, "private key")] {
            match load(chain, key) {
                Some(CertificateError::Empty { path, what }) => assert_eq!((path, what), (nothing.clone(), wanted)),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_table_is_swapped_whole_and_never_without_its_default() {
        let table = |names: &[&str]| names.iter().map(|name| (domain(name), Arc::new(certified(name)))).collect();
        assert!(Certificates::new(domain("b.example"), table(&["a.example"])).is_err());
        let certificates = Certificates::new(domain("a.example"), table(&["a.example"])).unwrap();
        let before = certificates.of(&domain("a.example")).unwrap();
        assert!(certificates.replace(domain("c.example"), table(&["b.example"])).is_err());
        assert!(Arc::ptr_eq(&certificates.of(&domain("a.example")).unwrap(), &before), "nothing has changed");
        certificates.replace(domain("b.example"), table(&["b.example"])).unwrap();
        assert!(certificates.of(&domain("a.example")).is_none());
        let unnamed = certificates.for_server_name(None).unwrap();
        assert!(Arc::ptr_eq(&unnamed, &certificates.of(&domain("b.example")).unwrap()));
    }
}
