//! The client's half of TLS, with or without it being waited for.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::{Arc, LazyLock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The certificate is made by the server itself: whoever answers is believed.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let mut config =
        ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    Arc::new(config)
});

/// A connection to be made.
pub fn client() -> ClientConnection {
    ClientConnection::new(Arc::clone(&CONFIG), ServerName::try_from("localhost").unwrap()).unwrap()
}

/// A socket, inside TLS or not.
pub struct Socket {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Socket {
    pub fn plain(stream: TcpStream) -> Socket {
        Socket { stream, tls: None }
    }

    /// Completes a handshake.
    pub async fn secure(stream: TcpStream) -> io::Result<Socket> {
        let mut socket = Socket { stream, tls: Some(Box::new(client())) };
        while socket.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            socket.flush().await?;
            if socket.fill().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        socket.flush().await?;
        Ok(socket)
    }

    /// What came; nothing when the connection has ended. Nothing is lost when the wait is given up.
    pub async fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(tls) = &mut self.tls else { return self.stream.read(bytes).await };
            match tls.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.fill().await? == 0 {
                return Ok(0);
            }
        }
    }

    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes).await,
            Some(tls) => {
                tls.writer().write_all(bytes)?;
                self.flush().await
            }
        }
    }

    /// Only the connection, with the keys thrown away.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let mut sealed = [0u8; 4096];
        let count = self.stream.read(&mut sealed).await?;
        if let Some(tls) = &mut self.tls {
            let mut rest = &sealed[..count];
            while !rest.is_empty() {
                tls.read_tls(&mut rest)?;
                tls.process_new_packets().map_err(io::Error::other)?;
            }
        }
        Ok(count)
    }

    async fn flush(&mut self) -> io::Result<()> {
        let mut sealed = Vec::new();
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut sealed)?;
            }
        }
        self.stream.write_all(&sealed).await
    }
}
