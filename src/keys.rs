//! Certificates from the configuration: from files, or made here and kept in `data_dir`.

use crate::config::{Config, KeyPair, Tls};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use stonechat_admin::CertificateView;
use stonechat_jid::Domain;
use stonechat_net::{CertificateError, Certificates, CertifiedDomain};

pub(crate) type Loaded = HashMap<Domain, Arc<CertifiedDomain>>;

/// Loads every domain's certificate; makes those that are to be made and are not there.
pub(crate) fn load(config: &Config) -> Result<Loaded, CertificateError> {
    let mut loaded = HashMap::new();
    for domain in &config.domains {
        let certified = match &config.tls {
            Tls::Files { default, domains } => {
                let KeyPair { cert, key } = domains.get(domain).unwrap_or(default);
                CertifiedDomain::load(domain, cert, key)?
            }
            Tls::SelfSigned => self_signed(domain, &config.data_dir.join("self-signed"))?,
        };
        loaded.insert(domain.clone(), Arc::new(certified));
    }
    Ok(loaded)
}

/// One per domain, so that no tenant's names stand in another's certificate.
fn self_signed(domain: &Domain, directory: &Path) -> Result<CertifiedDomain, CertificateError> {
    let name = domain.to_ascii().unwrap_or_else(|_| domain.to_string());
    let file = name.replace(['/', ':', '[', ']'], "_");
    let (cert, key) = (directory.join(format!("{file}.crt")), directory.join(format!("{file}.key")));
    if !(cert.exists() && key.exists()) {
        make(&name, directory, &cert, &key)?;
    }
    CertifiedDomain::load(domain, &cert, &key)
}

fn make(name: &str, directory: &Path, cert: &Path, key: &Path) -> Result<(), CertificateError> {
    let unusable =
        |error: rcgen::Error| CertificateError::Unmade { domain: name.to_owned(), reason: error.to_string() };
    let pair = rcgen::KeyPair::generate().map_err(unusable)?;
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).map_err(unusable)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    let made = parameters.self_signed(&pair).map_err(unusable)?;
    std::fs::create_dir_all(directory)
        .map_err(|source| CertificateError::Unreadable { path: directory.to_owned(), source })?;
    for (path, text, mode) in [(key, pair.serialize_pem(), 0o600), (cert, made.pem(), 0o644)] {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| CertificateError::Unreadable { path: path.to_owned(), source })?;
    }
    Ok(())
}

/// For `cert status`.
pub(crate) fn views(certificates: &Certificates, now: i64) -> Vec<CertificateView> {
    let mut views: Vec<CertificateView> = certificates
        .all()
        .into_iter()
        .map(|(domain, certificate)| CertificateView {
            covers_domain: certificate.covers(&domain),
            names: certificate.names.clone(),
            not_after: certificate.not_after,
            days_left: certificate.not_after.saturating_sub(now).div_euclid(86_400),
            self_signed: certificate.self_signed,
            domain: domain.to_string(),
        })
        .collect();
    views.sort_by(|a, b| a.domain.cmp(&b.domain));
    views
}
