//! The session against rustls's own client, in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::*;
use crate::certificates::{CertifiedDomain, provider};
use crate::verify::TakeButDoNotJudge;
use rustls::{ClientConnection, SupportedProtocolVersion};
use std::io::{Read, Write};
use stonechat_jid::Domain;

pub(crate) fn certified(domain: &str) -> CertifiedDomain {
    let made = rcgen::generate_simple_self_signed([domain.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    CertifiedDomain::from_parts(&Domain::parse(domain).unwrap(), vec![made.cert.der().clone()], key.into()).unwrap()
}

pub(crate) fn client(versions: &[&'static SupportedProtocolVersion], alpn: &[u8], name: &str) -> ClientConnection {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakeButDoNotJudge::new(provider())))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

const BOTH: &[&[&SupportedProtocolVersion]] = &[&[&rustls::version::TLS13], &[&rustls::version::TLS12]];

/// Both ends, and what the server has been told.
struct Pair {
    client: ClientConnection,
    server: TlsSession,
    heard: Vec<u8>,
}

impl Pair {
    fn new(versions: &[&'static SupportedProtocolVersion]) -> Pair {
        let client = client(versions, b"xmpp-client", "a.example");
        let server = TlsSession::accepting(Arc::clone(&certified("a.example").client), Vec::new()).unwrap();
        Pair { client, server, heard: Vec::new() }
    }

    fn connected(versions: &[&'static SupportedProtocolVersion]) -> Pair {
        let mut pair = Pair::new(versions);
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            pair.exchange(usize::MAX).unwrap();
        }
        pair
    }

    /// Moves what both ends have to say, the client's words in pieces of that size.
    fn exchange(&mut self, piece: usize) -> Result<(), rustls::Error> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        for piece in bytes.chunks_mut(piece) {
            if self.server.is_handshaking() {
                self.server.receive(piece)?;
                self.server.advance()?;
            } else {
                self.server.open(piece, &mut self.heard)?;
            }
        }
        self.tell_client();
        Ok(())
    }

    fn tell_client(&mut self) {
        while !self.server.unsent().is_empty() {
            // A socket that takes little at a time.
            let mut part = &self.server.unsent()[..self.server.unsent().len().min(1000)];
            let count = self.client.read_tls(&mut part).unwrap();
            self.server.sent(count);
            self.client.process_new_packets().unwrap();
        }
    }

    fn client_hears(&mut self, wanted: usize) -> Vec<u8> {
        let mut text = vec![0; wanted];
        self.client.reader().read_exact(&mut text).unwrap();
        text
    }
}

#[test]
fn words_cross_in_both_directions_wherever_they_are_cut() {
    for versions in BOTH {
        for piece in [1, 7, 100, usize::MAX] {
            let mut pair = Pair::new(versions);
            while pair.client.is_handshaking() || pair.server.is_handshaking() {
                pair.exchange(piece).unwrap();
            }
            for text in ["one", "two", &"three ".repeat(4_000)] {
                pair.client.writer().write_all(text.as_bytes()).unwrap();
                pair.exchange(piece).unwrap();
                assert_eq!(std::mem::take(&mut pair.heard), text.as_bytes());
                pair.server.seal(text.as_bytes()).unwrap();
                pair.tell_client();
                assert_eq!(pair.client_hears(text.len()), text.as_bytes());
            }
        }
    }
}

#[test]
fn what_comes_with_the_last_flight_is_kept_for_the_first_reading() {
    let mut pair = Pair::new(&[&rustls::version::TLS13]);
    pair.exchange(usize::MAX).unwrap();
    assert!(!pair.client.is_handshaking() && pair.server.is_handshaking());
    pair.client.writer().write_all(b"<?xml version='1.0'?>").unwrap();
    pair.exchange(usize::MAX).unwrap();
    assert!(!pair.server.is_handshaking() && pair.server.has_early());
    pair.client.writer().write_all(b"<stream>").unwrap();
    pair.exchange(usize::MAX).unwrap();
    assert_eq!(pair.heard, b"<?xml version='1.0'?><stream>");
}

#[test]
fn an_idle_session_holds_no_buffer() {
    let mut pair = Pair::connected(&[&rustls::version::TLS13]);
    pair.client.writer().write_all(b"<presence/>").unwrap();
    pair.exchange(usize::MAX).unwrap();
    pair.server.seal(b"<presence/>").unwrap();
    pair.tell_client();
    let TlsSession { incomplete, outgoing, early, .. } = &pair.server;
    assert_eq!((incomplete.capacity(), outgoing.capacity(), early.capacity()), (0, 0, 0));
}

#[test]
fn a_burst_larger_than_every_buffer_is_sealed_whole() {
    let mut pair = Pair::connected(&[&rustls::version::TLS13]);
    let text = vec![b'x'; 1 << 20];
    pair.server.seal(&text).unwrap();
    // The client's own plaintext buffer is bounded, so it is read in between.
    let mut heard = Vec::new();
    while !pair.server.unsent().is_empty() {
        let mut part = &pair.server.unsent()[..pair.server.unsent().len().min(4096)];
        let count = pair.client.read_tls(&mut part).unwrap();
        pair.server.sent(count);
        pair.client.process_new_packets().unwrap();
        let mut some = [0; 32 * 1024];
        if let Ok(count) = pair.client.reader().read(&mut some) {
            heard.extend_from_slice(&some[..count]);
        }
    }
    assert_eq!(heard.len(), text.len());
}

#[test]
fn rfc9266_both_ends_export_the_same_and_on_tls_1_2_nothing() {
    let mut pair = Pair::connected(&[&rustls::version::TLS13]);
    let theirs = pair.client.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
    assert_eq!(pair.server.take_channel_binding(), Some(theirs));
    assert_eq!(pair.server.take_channel_binding(), None, "the secret is not kept");
    let mut pair = Pair::connected(&[&rustls::version::TLS12]);
    assert_eq!(pair.server.take_channel_binding(), None);
}

#[test]
fn rfc9266_every_suite_exports_with_its_own_hash() {
    for suite in rustls::crypto::ring::ALL_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_some()) {
        let only = rustls::crypto::CryptoProvider { cipher_suites: vec![*suite], ..(*provider()).clone() };
        let config = ClientConfig::builder_with_provider(Arc::new(only))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakeButDoNotJudge::new(provider())))
            .with_no_client_auth();
        let mut pair = Pair::new(&[&rustls::version::TLS13]);
        pair.client = ClientConnection::new(Arc::new(config), ServerName::try_from("a.example").unwrap()).unwrap();
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            pair.exchange(usize::MAX).unwrap();
        }
        let theirs = pair.client.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
        assert_eq!(pair.server.take_channel_binding(), Some(theirs), "{:?}", suite.suite());
    }
}

#[test]
fn an_end_is_told_in_both_directions() {
    let mut pair = Pair::connected(&[&rustls::version::TLS13]);
    pair.client.writer().write_all(b"bye").unwrap();
    pair.client.send_close_notify();
    pair.exchange(usize::MAX).unwrap();
    assert_eq!(pair.heard, b"bye");
    assert!(pair.server.peer_has_closed());
    // Ours may still speak.
    pair.server.seal(b"well then").unwrap();
    pair.server.close().unwrap();
    pair.tell_client();
    assert_eq!(pair.client_hears(9), b"well then");
    assert_eq!(pair.client.reader().read(&mut [0; 1]).unwrap(), 0, "a clean end");
}

#[test]
fn a_session_that_is_resumed_exports_its_own_secret() {
    let config = {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakeButDoNotJudge::new(provider())))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"xmpp-client".to_vec()];
        Arc::new(config)
    };
    let domain = certified("a.example");
    let mut bindings = Vec::new();
    for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let name = ServerName::try_from("a.example").unwrap();
        let client = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let server = TlsSession::accepting(Arc::clone(&domain.client), Vec::new()).unwrap();
        let mut pair = Pair { client, server, heard: Vec::new() };
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            pair.exchange(usize::MAX).unwrap();
        }
        pair.tell_client();
        assert_eq!(pair.client.handshake_kind(), Some(kind));
        let theirs = pair.client.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
        assert_eq!(pair.server.take_channel_binding(), Some(theirs));
        bindings.push(theirs);
    }
    assert_ne!(bindings[0], bindings[1]);
}

#[test]
fn abuse_46_keys_are_not_updated_for_ever_and_a_few_updates_do_no_harm() {
    let mut pair = Pair::connected(&[&rustls::version::TLS13]);
    for _ in 0..5 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(b"x").unwrap();
        pair.exchange(usize::MAX).unwrap();
        pair.server.seal(b"y").unwrap();
        pair.tell_client();
        assert_eq!(pair.client_hears(1), b"y");
    }
    assert_eq!(pair.heard, b"xxxxx");
    let mut updates = 0;
    let error = loop {
        updates += 1;
        assert!(updates < 10_000, "key updates without end");
        pair.client.refresh_traffic_keys().unwrap();
        if let Err(error) = pair.exchange(usize::MAX) {
            break error;
        }
    };
    assert!(matches!(error, rustls::Error::PeerMisbehaved(_)), "{error:?}");
}

#[test]
fn abuse_46_a_record_or_message_that_does_not_end_is_bounded() {
    // A record as long as records may be, drip by drip: it is kept until it is whole, and then refused.
    let mut pair = Pair::connected(&[&rustls::version::TLS13]);
    let mut record = vec![23, 3, 3, 0x41, 0x00];
    record.resize(5 + 0x4100, 0);
    let mut plain = Vec::new();
    let (last, rest) = record.split_last_mut().unwrap();
    for piece in rest.chunks_mut(1000) {
        pair.server.open(piece, &mut plain).unwrap();
        assert!(pair.server.incomplete.len() <= MAX_INCOMPLETE);
    }
    assert!(pair.server.open(std::slice::from_mut(last), &mut plain).is_err());
    // A handshake that goes on and on.
    let mut server = TlsSession::accepting(Arc::clone(&certified("a.example").client), Vec::new()).unwrap();
    let mut record = vec![22, 3, 1, 0x40, 0x00, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let mut refused = false;
    for _ in 0..100 {
        if server.receive(&record).and_then(|()| server.advance()).is_err() {
            refused = true;
            break;
        }
        assert!(server.incomplete.len() <= MAX_INCOMPLETE + record.len());
    }
    assert!(refused);
}

#[test]
fn abuse_45_renegotiation_does_not_exist() {
    // A ClientHello inside the session, on TLS 1.2: a warning or an end, never a new handshake.
    let mut pair = Pair::connected(&[&rustls::version::TLS12]);
    let mut second = client(&[&rustls::version::TLS12], b"xmpp-client", "a.example");
    let mut hello = Vec::new();
    second.write_tls(&mut hello).unwrap();
    assert!(pair.server.open(&mut hello, &mut Vec::new()).is_err(), "in the clear it is not even decrypted");
    assert!(!pair.server.is_handshaking());
}
