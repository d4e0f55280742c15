//! Handshakes over real sockets with peers that ask for the wrong thing, present the wrong thing, or do not stop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::*;
use crate::certificates::provider;
use crate::link::{LinkLimits, Received};
use crate::session::tests::{certified, client};
use crate::verify::TakeButDoNotJudge;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, Stream};
use sha2::Digest;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream as Blocking;
use std::time::Duration;
use stonechat_jid::Domain;
use stonechat_router::Outbox;
use stonechat_stanza::ContentNamespace;
use tokio::net::TcpListener;

/// Everything ends by itself long before.
const PATIENCE: Duration = Duration::from_secs(30);

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn certificates() -> Arc<Certificates> {
    let both = ["a.example", "b.example"].map(|name| (domain(name), Arc::new(certified(name))));
    Arc::new(Certificates::new(domain("a.example"), HashMap::from(both)).unwrap())
}

/// Our end of a connection whose other end is what `peer` does, in a thread of its own.
async fn connected<T: Send + 'static>(
    peer: impl FnOnce(Blocking) -> T + Send + 'static,
) -> (Link, tokio::task::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = tokio::task::spawn_blocking(move || {
        let socket = Blocking::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        peer(socket)
    });
    let (socket, _) = listener.accept().await.unwrap();
    (Link::new(socket, ContentNamespace::Client, LinkLimits::default(), &Arc::default()), peer)
}

async fn accepted(link: &Link, choice: Choice<'_>, facing: Facing) -> io::Result<Arc<CertifiedDomain>> {
    tokio::time::timeout(PATIENCE, accept(link, choice, facing)).await.expect("it ends by itself")
}

/// Runs the handshake, and gives the certificate that came.
fn presented(mut client: ClientConnection, mut socket: Blocking) -> Option<CertificateDer<'static>> {
    while client.is_handshaking() {
        client.complete_io(&mut socket).ok()?;
    }
    client.peer_certificates().and_then(|chain| chain.first().cloned())
}

/// All that comes until the end.
fn rest(mut socket: Blocking) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A connection that is reset has ended too.
    let _ = socket.read_to_end(&mut bytes);
    bytes
}

/// The description of the alert in the first record.
fn alert(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [21, _, _, 0, 2, 2, description, ..] => Some(*description),
        _ => None,
    }
}

#[tokio::test]
async fn abuse_43_an_unknown_server_name_gets_the_default_certificate_and_no_others() {
    let certificates = certificates();
    for (asked, answered) in
        [("a.example", "a.example"), ("b.example", "b.example"), ("B.Example", "b.example"), ("c.example", "a.example")]
    {
        let (link, peer) = connected(move |socket| presented(client(&[&TLS13], b"xmpp-client", asked), socket)).await;
        let chosen = accepted(&link, Choice::ByServerName(&certificates), Facing::Clients).await.unwrap();
        assert_eq!(chosen.names, [answered], "{asked}");
        let leaf = peer.await.unwrap().unwrap();
        assert_eq!(leaf, chosen.key.cert[0], "{asked}");
    }
    // An address is no server name, and is not sent as one.
    let (link, peer) = connected(|socket| presented(client(&[&TLS13], b"xmpp-client", "127.0.0.1"), socket)).await;
    let chosen = accepted(&link, Choice::ByServerName(&certificates), Facing::Clients).await.unwrap();
    assert_eq!(chosen.names, ["a.example"]);
    assert!(peer.await.unwrap().is_some());
}

#[tokio::test]
async fn abuse_44_the_stream_goes_before_the_server_name_and_the_binding_is_of_what_was_presented() {
    let certificates = certificates();
    // STARTTLS for a.example by a client whose server name is another of ours.
    let (link, peer) = connected(|socket| presented(client(&[&TLS13], b"xmpp-client", "b.example"), socket)).await;
    let of_stream = certificates.of(&domain("a.example")).unwrap();
    let chosen = accepted(&link, Choice::Fixed(of_stream), Facing::Clients).await.unwrap();
    let leaf = peer.await.unwrap().unwrap();
    assert_eq!(chosen.names, ["a.example"]);
    assert_eq!(bindings(&link, &chosen).tls_server_end_point.unwrap(), sha2::Sha256::digest(&leaf).to_vec());
    // Direct TLS: whatever the stream will say, the binding is of the certificate that the client saw.
    let (link, peer) = connected(|socket| presented(client(&[&TLS12], b"xmpp-client", "b.example"), socket)).await;
    let chosen = accepted(&link, Choice::ByServerName(&certificates), Facing::Clients).await.unwrap();
    let leaf = peer.await.unwrap().unwrap();
    let bindings = bindings(&link, &chosen);
    assert_eq!(bindings.tls_server_end_point.unwrap(), sha2::Sha256::digest(&leaf).to_vec());
    assert_eq!(bindings.tls_exporter, None, "RFC 9266 §4.2: not on TLS 1.2");
}

/// A ClientHello without extensions.
fn hello(version: [u8; 2], suites: &[[u8; 2]]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    body.extend(suites.concat());
    body.extend([1, 0]);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    record.extend([1, 0, 0, u8::try_from(body.len()).unwrap()]);
    record.extend(body);
    record
}

#[tokio::test]
async fn abuse_45_old_versions_and_weak_suites_get_an_alert() {
    const CBC: [u8; 2] = [0x00, 0x2f];
    const NULL: [u8; 2] = [0x00, 0x02];
    const EXPORT: [u8; 2] = [0x00, 0x03];
    for (what, bytes) in [
        ("SSL 3.0", hello([3, 0], &[CBC])),
        ("TLS 1.0", hello([3, 1], &[CBC])),
        ("TLS 1.1", hello([3, 2], &[CBC])),
        ("no encryption", hello([3, 3], &[NULL])),
        ("export", hello([3, 3], &[EXPORT])),
        ("CBC", hello([3, 3], &[CBC])),
    ] {
        let (link, peer) = connected(move |mut socket| {
            socket.write_all(&bytes).unwrap();
            rest(socket)
        })
        .await;
        let certificates = certificates();
        assert!(accepted(&link, Choice::ByServerName(&certificates), Facing::Clients).await.is_err(), "{what}");
        drop(link);
        let answer = peer.await.unwrap();
        // handshake_failure, protocol_version or insufficient_security, and not a byte more.
        assert!(matches!(alert(&answer), Some(40 | 70 | 71)), "{what}: {answer:?}");
        assert_eq!(answer.len(), 7, "{what}");
    }
}

#[tokio::test]
async fn abuse_46_a_handshake_without_end_is_cut_off() {
    // One ClientHello of 16 MB, in records as large as they may be.
    let (link, peer) = connected(|mut socket| {
        let mut record = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff, 3, 3];
        record.resize(5 + 0x4000, 0);
        let mut more = vec![22, 3, 1, 0x40, 0];
        more.resize(5 + 0x4000, 0);
        let mut sent = 0_usize;
        let mut next = &record;
        while socket.write_all(next).is_ok() && sent < 1 << 24 {
            sent += next.len();
            next = &more;
        }
        sent
    })
    .await;
    let certificates = certificates();
    assert!(accepted(&link, Choice::ByServerName(&certificates), Facing::Clients).await.is_err());
    drop(link);
    assert!(peer.await.unwrap() < 1 << 24, "it was not read to its end");
}

/// A client that presents this chain, whatever it is worth.
fn presenting(chain: Vec<CertificateDer<'static>>, key: &rcgen::KeyPair) -> ClientConnection {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakeButDoNotJudge::new(provider())))
        .with_client_auth_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    config.alpn_protocols = vec![ALPN_SERVER.to_vec()];
    ClientConnection::new(Arc::new(config), ServerName::try_from("a.example").unwrap()).unwrap()
}

#[tokio::test]
async fn abuse_47_a_worthless_certificate_proves_nothing_and_harms_nothing() {
    let certificates = certificates();
    let roots = crate::Roots::load(&[]).unwrap();
    let expired = {
        let mut parameters = rcgen::CertificateParams::new(["peer.example".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        (parameters.self_signed(&key).unwrap().der().clone(), key)
    };
    let self_signed = {
        let made = rcgen::generate_simple_self_signed(["peer.example".to_owned()]).unwrap();
        (made.cert.der().clone(), made.signing_key)
    };
    for (leaf, key) in [expired, self_signed] {
        let (link, peer) = connected(move |mut socket| {
            let mut client = presenting(vec![leaf], &key);
            let mut stream = Stream::new(&mut client, &mut socket);
            stream.write_all(b"<stream>").is_ok() && stream.flush().is_ok()
        })
        .await;
        accepted(&link, Choice::ByServerName(&certificates), Facing::Servers).await.unwrap();
        let chain = link.with_tls(|tls| tls.peer_certificates().map(<[_]>::to_vec)).flatten().unwrap();
        let verdict = roots.judge(&chain, &domain("peer.example"), rustls::pki_types::UnixTime::now());
        assert!(matches!(verdict, crate::CertificateVerdict::BadChain(_)), "{verdict:?}");
        // The connection is as good as one without a certificate.
        let mut heard = Vec::new();
        while heard != b"<stream>" {
            link.readable().await.unwrap();
            assert_ne!(link.receive(&mut |bytes| heard.extend_from_slice(bytes)).unwrap(), Received::End);
        }
        assert!(peer.await.unwrap());
    }
    // Megabytes of certificates are not taken.
    let made = rcgen::generate_simple_self_signed(["peer.example".to_owned()]).unwrap();
    let (link, peer) = connected(move |socket| {
        presented(presenting(vec![made.cert.der().clone(); 10_000], &made.signing_key), socket);
    })
    .await;
    assert!(accepted(&link, Choice::ByServerName(&certificates), Facing::Servers).await.is_err());
    drop(link);
    peer.await.unwrap();
}

#[tokio::test]
async fn abuse_48_a_foreign_protocol_is_refused_with_its_own_alert() {
    let certificates = certificates();
    for (facing, offered) in [(Facing::Clients, &b"h2"[..]), (Facing::Servers, b"http/1.1")] {
        let (link, peer) = connected(move |mut socket| {
            let mut client = client(&[&TLS13, &TLS12], offered, "a.example");
            while client.is_handshaking() {
                if let Err(error) = client.complete_io(&mut socket) {
                    return error.downcast::<rustls::Error>().ok();
                }
            }
            None
        })
        .await;
        assert!(accepted(&link, Choice::ByServerName(&certificates), facing).await.is_err());
        drop(link);
        let told = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
        assert_eq!(peer.await.unwrap(), Some(told));
    }
}

#[tokio::test]
async fn abuse_49_a_connection_that_is_cut_off_loses_what_was_not_whole_and_no_more() {
    let certificates = certificates();
    let (link, peer) = connected(|mut socket| {
        let mut client = client(&[&TLS13], b"xmpp-client", "a.example");
        while client.is_handshaking() {
            client.complete_io(&mut socket).unwrap();
        }
        client.writer().write_all(b"<message/>").unwrap();
        client.write_tls(&mut socket).unwrap();
        // The next record is cut in its middle, and nobody says goodbye.
        client.writer().write_all(b"<message id='lost'/>").unwrap();
        let mut record = Vec::new();
        client.write_tls(&mut record).unwrap();
        socket.write_all(&record[..record.len() - 5]).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        rest(socket);
    })
    .await;
    accepted(&link, Choice::ByServerName(&certificates), Facing::Clients).await.unwrap();
    let mut heard = Vec::new();
    while link.receive(&mut |bytes| heard.extend_from_slice(bytes)).unwrap() != Received::End {
        tokio::time::timeout(PATIENCE, link.readable()).await.expect("an end").unwrap();
    }
    assert_eq!(heard, b"<message/>");
    drop(link);
    peer.await.unwrap();
}

#[tokio::test]
async fn a_burst_beyond_every_buffer_reaches_a_slow_reader_whole() {
    const MUCH: usize = 3 << 20;
    let certificates = certificates();
    let (link, peer) = connected(|mut socket| {
        let mut client = client(&[&TLS13], b"xmpp-client", "a.example");
        let mut stream = Stream::new(&mut client, &mut socket);
        let mut bytes = vec![0; MUCH];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    })
    .await;
    accepted(&link, Choice::ByServerName(&certificates), Facing::Clients).await.unwrap();
    let sent: Vec<u8> = (0..MUCH).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect();
    link.transmit(&sent).unwrap();
    while link.wants_write() {
        tokio::time::timeout(PATIENCE, link.writable()).await.expect("the reader goes on").unwrap();
        link.write_out().unwrap();
    }
    assert!(peer.await.unwrap() == sent, "every byte, in its place");
    assert_eq!(link.queued_bytes(), 0);
}

#[tokio::test]
async fn rfc8446_4_6_1_a_ticket_waits_for_the_first_words_and_comes_with_them() {
    let certificates = certificates();
    for (version, tickets) in [(&TLS13, 1), (&TLS12, 0)] {
        let (link, peer) = connected(move |mut socket| {
            let mut client = client(&[version], b"xmpp-client", "a.example");
            let mut word = [0; 7];
            Stream::new(&mut client, &mut socket).read_exact(&mut word).unwrap();
            (word, client.tls13_tickets_received())
        })
        .await;
        accepted(&link, Choice::ByServerName(&certificates), Facing::Clients).await.unwrap();
        assert!(!link.wants_write(), "nobody waits for anything");
        assert_eq!(link.queued_bytes() > 0, tickets > 0);
        link.transmit(b"welcome").unwrap();
        assert_eq!(link.queued_bytes(), 0);
        assert_eq!(peer.await.unwrap(), (*b"welcome", tickets));
    }
}

#[tokio::test]
async fn rfc8446_6_1_the_last_words_are_followed_by_the_end() {
    let certificates = certificates();
    let (link, peer) = connected(|mut socket| {
        let mut client = client(&[&TLS13], b"xmpp-client", "a.example");
        let mut words = Vec::new();
        // Without a close_notify it would be an error.
        Stream::new(&mut client, &mut socket).read_to_end(&mut words).unwrap();
        words
    })
    .await;
    accepted(&link, Choice::ByServerName(&certificates), Facing::Clients).await.unwrap();
    link.append(b"one ");
    link.append(b"two");
    link.shut();
    assert_eq!(link.queued_bytes(), 0);
    drop(link);
    assert_eq!(peer.await.unwrap(), b"one two");
}
