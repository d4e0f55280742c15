//! TLS as both ends: configurations, the accepting handshake, and what a finished handshake tells the stream.

use crate::certificates::{Certificates, CertifiedDomain};
use crate::link::{Link, Shake};
use crate::session::{self, ExporterLog, TlsSession};
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, ServerConfig};
use std::io;
use std::sync::Arc;
use stonechat_sasl::{ChannelBindings, TlsVersion};

/// ALPN of XEP-0368.
pub(crate) const ALPN_CLIENT: &[u8] = b"xmpp-client";
/// ALPN of XEP-0368.
pub(crate) const ALPN_SERVER: &[u8] = b"xmpp-server";

/// A handshake larger than this is not one (P4).
const MAX_HELLO: usize = 64 * 1024;

#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The domain was chosen before the handshake began, by SNI or by the stream's `to`.
        Some(Arc::clone(&self.0))
    }
}

/// For clients: no certificate is asked of them.
pub(crate) fn client_facing(
    key: &Arc<CertifiedKey>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Fixed(Arc::clone(key))));
    config.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
    // One ticket suffices for a client that comes back; each costs a record in the first flight.
    config.send_tls13_tickets = 1;
    config.key_log = Arc::new(ExporterLog);
    Ok(Arc::new(config))
}

/// For servers: a certificate is asked for and judged later, when the stream has said which domain it is.
pub(crate) fn server_facing(
    key: &Arc<CertifiedKey>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let verifier = crate::verify::AskButDoNotJudge::new(Arc::clone(provider));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(Fixed(Arc::clone(key))));
    config.alpn_protocols = vec![ALPN_SERVER.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Which of a domain's two configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facing {
    Clients,
    Servers,
}

/// How the certificate is chosen.
pub(crate) enum Choice<'a> {
    /// Direct TLS: by the ClientHello's server name.
    ByServerName(&'a Certificates),
    /// STARTTLS: by the stream's `to`, which goes before the server name.
    Fixed(Arc<CertifiedDomain>),
}

/// Runs the accepting handshake to its end, and gives the certificate it presented. The caller bounds its time.
pub(crate) async fn accept(link: &Link, choice: Choice<'_>, facing: Facing) -> io::Result<Arc<CertifiedDomain>> {
    // The last word in the clear goes out in the clear.
    while link.wants_write() {
        link.writable().await?;
        link.write_out()?;
    }
    let (first, server_name) = client_hello(link).await?;
    let certificate = match choice {
        Choice::Fixed(certificate) => certificate,
        Choice::ByServerName(certificates) => certificates
            .for_server_name(server_name.as_deref())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no certificate"))?,
    };
    let config = match facing {
        Facing::Clients => &certificate.client,
        Facing::Servers => &certificate.server,
    };
    link.set_tls(TlsSession::accepting(Arc::clone(config), first).map_err(session::invalid)?);
    complete(link).await?;
    Ok(certificate)
}

/// Reads until the ClientHello is there: all bytes so far, and the server name it asks for.
async fn client_hello(link: &Link) -> io::Result<(Vec<u8>, Option<String>)> {
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::new();
    let mut seen = 0;
    loop {
        match link.read_raw(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                link.readable().await?;
                continue;
            }
            Err(error) => return Err(error),
        }
        while let Some(mut rest) = bytes.get(seen..).filter(|rest| !rest.is_empty()) {
            seen = seen.saturating_add(acceptor.read_tls(&mut rest)?);
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_owned);
                    return Ok((bytes, name));
                }
                Ok(None) if seen <= MAX_HELLO => {}
                Ok(None) => return Err(io::Error::new(io::ErrorKind::InvalidData, "the ClientHello does not end")),
                Err((error, mut alert)) => {
                    let mut bytes = Vec::new();
                    let _ = alert.write_all(&mut bytes);
                    link.write_raw(&bytes);
                    return Err(session::invalid(error));
                }
            }
        }
    }
}

/// Drives a handshake on the link to its end. Plaintext that comes in its last flight stays in the session.
pub(crate) async fn complete(link: &Link) -> io::Result<()> {
    loop {
        match link.shake_hands()? {
            Shake::Done => return Ok(()),
            Shake::Reading => link.readable().await?,
            Shake::Writing => link.writable().await?,
        }
    }
}

/// The channel bindings of a session that was just accepted.
pub(crate) fn bindings(link: &Link, certificate: &CertifiedDomain) -> ChannelBindings {
    let exporter = link.with_tls(TlsSession::take_channel_binding).flatten();
    // XEP-0515: read from the connection, never from the configuration.
    let version = link.with_tls(|tls| tls.protocol_version()).flatten();
    ChannelBindings {
        tls_exporter: exporter.map(|data| data.to_vec()),
        tls_server_end_point: Some(certificate.end_point.clone()),
        tls_version: match version {
            Some(ProtocolVersion::TLSv1_3) => Some(TlsVersion::Tls13),
            Some(ProtocolVersion::TLSv1_2) => Some(TlsVersion::Tls12),
            _ => None,
        },
    }
}

/// The version for people.
pub(crate) fn version_name(link: &Link) -> &'static str {
    match link.with_tls(|tls| tls.protocol_version()).flatten() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(_) => "TLS",
        None => "clear",
    }
}

#[cfg(test)]
mod tests;
