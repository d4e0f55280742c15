//! TLS as both ends: configurations, the accepting handshake, and what a finished handshake tells the stream.

use crate::certificates::{Certificates, CertifiedDomain};
use crate::link::Link;
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use std::io::{self, Write};
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
    let mut acceptor = Acceptor::default();
    let mut received = 0usize;
    let accepted = loop {
        match acceptor.read_tls(&mut link.raw_reader()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => received = received.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                link.readable().await?;
                continue;
            }
            Err(error) => return Err(error),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) if received <= MAX_HELLO => {}
            Ok(None) => return Err(io::Error::new(io::ErrorKind::InvalidData, "the ClientHello does not end")),
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                let _ = alert.write_all(&mut bytes);
                let _ = link.raw_writer().write(&bytes);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    };
    let server_name = accepted.client_hello().server_name().map(str::to_owned);
    let certificate = match choice {
        Choice::Fixed(certificate) => certificate,
        Choice::ByServerName(certificates) => certificates
            .for_server_name(server_name.as_deref())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no certificate"))?,
    };
    let config = match facing {
        Facing::Clients => Arc::clone(&certificate.client),
        Facing::Servers => Arc::clone(&certificate.server),
    };
    let connection: ServerConnection = match accepted.into_connection(config) {
        Ok(connection) => connection,
        Err((error, mut alert)) => {
            // For one, no_application_protocol (abuse case 48).
            let mut bytes = Vec::new();
            let _ = alert.write_all(&mut bytes);
            let _ = link.raw_writer().write(&bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    };
    link.set_tls(rustls::Connection::Server(connection));
    complete(link).await?;
    Ok(certificate)
}

/// Drives a handshake on the link to its end.
pub(crate) async fn complete(link: &Link) -> io::Result<()> {
    loop {
        link.write_out()?;
        let handshaking = link.with_tls(|tls| tls.is_handshaking()).unwrap_or(false);
        if !handshaking && !link.wants_write() {
            return Ok(());
        }
        if link.wants_write() {
            link.writable().await?;
            continue;
        }
        link.readable().await?;
        // No plaintext can arrive before the handshake is done; what comes in its last flight stays in the session.
        if let crate::link::Received::End = link.receive_handshake()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The channel bindings of an accepted session.
pub(crate) fn bindings(link: &Link, certificate: &CertifiedDomain) -> ChannelBindings {
    let exporter = link
        .with_tls(|tls| {
            // RFC 9266 §4.2: on TLS 1.2 only with the extended master secret, which rustls does not report; so 1.3 alone.
            if tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
                return None;
            }
            let rustls::Connection::Server(server) = tls else { return None };
            server.export_keying_material([0u8; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok()
        })
        .flatten();
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
