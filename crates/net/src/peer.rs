//! Connections to other servers: what federation is given of a socket.

use crate::accept::{Addresses, Place};
use crate::certificates::{Certificates, provider};
use crate::link::{Link, LinkLimits, Received};
use crate::session::{self, TlsSession};
use crate::tls::{self, Choice, Facing};
use crate::verify::{CertificateVerdict, Roots, TakeButDoNotJudge};
use async_trait::async_trait;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_router::Memory;
use stonechat_s2s::{Channel, Dialler, Judgement, TlsRole};
use stonechat_stanza::ContentNamespace;
use stonechat_stream::{PeerCertificate, TlsFacts, Validity};
use tokio::net::TcpStream;
use tracing::debug;

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// A peer that does not take our bytes for so long is gone.
const WRITE: Duration = Duration::from_secs(60);

/// What connections to other servers need.
pub struct PeerFront {
    /// Ours.
    pub certificates: Arc<Certificates>,
    /// Those we trust.
    pub roots: Arc<Roots>,
    /// What addresses may do.
    pub addresses: Arc<Addresses>,
    /// What queues are counted with.
    pub memory: Arc<Memory>,
}

/// A connection to another server.
struct PeerChannel {
    front: Arc<PeerFront>,
    link: Link,
    peer: SocketAddr,
    chain: Vec<CertificateDer<'static>>,
    /// Kept for as long as the connection lives.
    _place: Option<Place>,
}

/// Opens connections to other servers.
pub struct PeerDialler {
    front: Arc<PeerFront>,
}

impl PeerDialler {
    /// Puts it together.
    pub fn new(front: Arc<PeerFront>) -> Self {
        PeerDialler { front }
    }
}

#[async_trait]
impl Dialler for PeerDialler {
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Channel>> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Box::new(PeerChannel::new(Arc::clone(&self.front), socket, address, None)))
    }
}

/// Takes a connection that another server opened; `None` when its address has too many.
pub fn accept_peer(front: &Arc<PeerFront>, socket: TcpStream, peer: SocketAddr) -> Option<Box<dyn Channel>> {
    match front.addresses.arrive(peer, Instant::now()) {
        Ok(place) => Some(Box::new(PeerChannel::new(Arc::clone(front), socket, peer, Some(place)))),
        Err(refused) => {
            debug!(event = "s2s.refused", %peer, reason = ?refused, "a connection was refused");
            None
        }
    }
}

impl PeerChannel {
    fn new(front: Arc<PeerFront>, socket: TcpStream, peer: SocketAddr, place: Option<Place>) -> Self {
        let link = Link::new(socket, ContentNamespace::Server, LinkLimits::default(), &front.memory);
        PeerChannel { front, link, peer, chain: Vec::new(), _place: place }
    }

    async fn initiate(&mut self, local: &Domain, remote: &Domain) -> io::Result<()> {
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(session::invalid)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakeButDoNotJudge::new(provider())));
        let mut config = match self.front.certificates.of(local) {
            Some(ours) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                Arc::unwrap_or_clone(Arc::clone(&ours.key)),
            ))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![tls::ALPN_SERVER.to_vec()];
        let name = remote.to_ascii().ok().and_then(|name| ServerName::try_from(name).ok());
        let name =
            name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the domain is not a server name"))?;
        self.link.set_tls(TlsSession::connecting(Arc::new(config), name).map_err(session::invalid)?);
        tls::complete(&self.link).await
    }
}

#[async_trait]
impl Channel for PeerChannel {
    async fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match self.link.receive(&mut |bytes| buffer.extend_from_slice(bytes))? {
                Received::Bytes(count) => return Ok(count),
                Received::End => return Ok(0),
                Received::Nothing => self.link.readable().await?,
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.link.transmit(bytes)?;
        let written = async {
            while self.link.wants_write() {
                self.link.writable().await?;
                self.link.write_out()?;
            }
            Ok(())
        };
        tokio::time::timeout(WRITE, written).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn secure(&mut self, role: TlsRole) -> io::Result<TlsFacts> {
        let handshake = async {
            match &role {
                TlsRole::Initiate { local, remote } => self.initiate(local, remote).await,
                TlsRole::Accept(domain) => {
                    let choice = match self.front.certificates.of(domain) {
                        Some(certificate) => Choice::Fixed(certificate),
                        None => Choice::ByServerName(&self.front.certificates),
                    };
                    tls::accept(&self.link, choice, Facing::Servers).await.map(|_| ())
                }
                TlsRole::AcceptByServerName => {
                    let choice = Choice::ByServerName(&self.front.certificates);
                    tls::accept(&self.link, choice, Facing::Servers).await.map(|_| ())
                }
            }
        };
        tokio::time::timeout(HANDSHAKE, handshake).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let chain = self.link.with_tls(|tls| tls.peer_certificates().map(<[_]>::to_vec)).flatten();
        self.chain = chain.unwrap_or_default();
        let peer = if self.chain.is_empty() { PeerCertificate::Absent } else { PeerCertificate::Presented };
        Ok(TlsFacts { peer, ..TlsFacts::default() })
    }

    fn judge(&self, domain: &Domain) -> Judgement {
        let verdict = self.front.roots.judge(&self.chain, domain, UnixTime::now());
        let (validity, reason) = match verdict {
            CertificateVerdict::Valid => (Validity::Valid, format!("good for {domain}")),
            CertificateVerdict::NonePresented => (Validity::Invalid, "none was presented".to_owned()),
            CertificateVerdict::BadChain(why) => (Validity::Invalid, format!("not trusted: {why}")),
            CertificateVerdict::WrongName(names) => {
                (Validity::Invalid, format!("not for {domain}, but for {}", names.join(", ")))
            }
        };
        Judgement { validity, reason }
    }

    fn describe(&self) -> String {
        format!("{} by {}", self.peer, tls::version_name(&self.link))
    }

    async fn close(&mut self) {
        self.link.shut();
        self.link.linger().await;
    }
}
