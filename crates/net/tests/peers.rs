//! Connections between servers over real sockets and TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use stonechat_jid::Domain;
use stonechat_net::{Addresses, Certificates, CertifiedDomain, PeerDialler, PeerFront, Roots, accept_peer};
use stonechat_s2s::{Channel, Dialler, TlsRole};
use stonechat_stream::{PeerCertificate, Validity};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// An authority, and certificates of it for server authentication alone, as public authorities issue them.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    roots: Arc<Roots>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.pem");
        std::fs::write(&path, issuer.pem()).unwrap();
        let roots = Arc::new(Roots::load(&[path]).unwrap());
        Authority { issuer, roots }
    }

    fn front(&self, name: &str) -> Arc<PeerFront> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let certified = CertifiedDomain::from_parts(&domain(name), vec![certificate.der().clone()], private).unwrap();
        let certificates = Certificates::new(domain(name), HashMap::from([(domain(name), Arc::new(certified))]));
        Arc::new(PeerFront {
            certificates: Arc::new(certificates.unwrap()),
            roots: Arc::clone(&self.roots),
            addresses: Addresses::new(None),
            memory: Arc::default(),
        })
    }
}

/// Both ends of a connection from `a.example` to `b.example`, behind TLS.
async fn connected(authority: &Authority) -> (Box<dyn Channel>, Box<dyn Channel>) {
    let (a, b) = (authority.front("a.example"), authority.front("b.example"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async {
        let (socket, peer) = listener.accept().await.unwrap();
        let mut channel = accept_peer(&b, socket, peer).expect("no limits");
        let facts = channel.secure(TlsRole::Accept(domain("b.example"))).await.unwrap();
        assert_eq!(facts.peer, PeerCertificate::Presented);
        channel
    };
    let dialling = async {
        let mut channel = PeerDialler::new(a).dial(address).await.unwrap();
        let role = TlsRole::Initiate { local: domain("a.example"), remote: domain("b.example") };
        let facts = channel.secure(role).await.unwrap();
        assert_eq!(facts.peer, PeerCertificate::Presented);
        channel
    };
    let both = async { tokio::join!(dialling, accepting) };
    tokio::time::timeout(PATIENCE, both).await.expect("the handshake ends")
}

#[tokio::test]
async fn abuse_134_a_certificate_for_servers_only_is_good_for_either_end() {
    let authority = Authority::new();
    let (outgoing, incoming) = connected(&authority).await;
    let judged = incoming.judge(&domain("a.example"));
    assert_eq!(judged.validity, Validity::Valid, "{}", judged.reason);
    assert_eq!(outgoing.judge(&domain("b.example")).validity, Validity::Valid);
    // And for no other.
    let judged = incoming.judge(&domain("b.example"));
    assert_eq!((judged.validity, judged.reason.as_str()), (Validity::Invalid, "not for b.example, but for a.example"));
}

#[tokio::test]
async fn abuse_133_a_certificate_of_somebody_elses_authority_does_not_hold() {
    let (outgoing, incoming) = connected(&Authority::new()).await;
    let stranger = Authority::new().front("c.example");
    drop((outgoing, incoming));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = Authority::new().front("b.example");
    let accepting = async {
        let (socket, peer) = listener.accept().await.unwrap();
        let mut channel = accept_peer(&own, socket, peer).unwrap();
        channel.secure(TlsRole::Accept(domain("b.example"))).await.unwrap();
        channel.judge(&domain("c.example"))
    };
    let dialling = async {
        let mut channel = PeerDialler::new(stranger).dial(address).await.unwrap();
        let role = TlsRole::Initiate { local: domain("c.example"), remote: domain("b.example") };
        channel.secure(role).await.unwrap();
        channel
    };
    let (_channel, judged) = tokio::join!(dialling, accepting);
    assert_eq!(judged.validity, Validity::Invalid);
    assert!(judged.reason.starts_with("not trusted: "), "{}", judged.reason);
}

#[tokio::test]
async fn what_is_written_at_once_may_be_large() {
    let authority = Authority::new();
    let (mut outgoing, mut incoming) = connected(&authority).await;
    let sent: Vec<u8> = (0..2_000_000u32).map(|number| number as u8).collect();
    let writing = async {
        outgoing.send(&sent).await.expect("it is taken, however large");
        outgoing
    };
    let reading = async {
        let mut received = Vec::new();
        while received.len() < sent.len() {
            assert_ne!(incoming.receive(&mut received).await.unwrap(), 0, "after {} bytes", received.len());
        }
        received
    };
    let both = async { tokio::join!(writing, reading) };
    let (_outgoing, received) = tokio::time::timeout(PATIENCE, both).await.expect("it crosses");
    assert!(received == sent);
}
