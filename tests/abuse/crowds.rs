//! Many at once, and those who do not keep up.

use super::Person;
use crate::support::PASSWORD;
use crate::support::server::{Limits, Options, Server, Transport};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use stonechat_sasl::encode;

#[tokio::test(flavor = "multi_thread")]
async fn abuse_144_a_reader_that_does_not_read_costs_itself_alone() {
    let options = Options { limits: Limits::Off, ..Options::default() };
    let server = Server::start_with(&options).await;
    let mut slow = Person::present(&server, "juliet", "garden").await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    let mut nurse = Person::present(&server, "nurse", "hall").await;
    // More than every buffer between the two takes; headlines, which are not kept for later.
    let body = "x".repeat(60_000);
    for number in 0..600 {
        let text = format!(
            "<message to='juliet@localhost/garden' type='headline' id='h{number}'><body>{body}</body></message>"
        );
        romeo.say(&text).await;
        // The one who floods and the one who has nothing to do with it are served all the while.
        romeo.heard().await;
        if number % 50 == 0 {
            nurse.say("<message to='romeo@localhost/balcony' id='n' type='chat'><body>here</body></message>").await;
            nurse.heard().await;
        }
    }
    // She is cut off: whatever she finds when she reads at last, it has an end.
    slow.ended_with().await;
    nurse.heard().await;
    let mut back = Person::present(&server, "juliet", "garden").await;
    back.heard().await;
    server.stop().await;
}

/// A client over TLS that trusts the server's own certificate.
fn secured(server: &Server) -> StreamOwned<ClientConnection, TcpStream> {
    let certificate = server.directory.path().join("data/self-signed/localhost.crt");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", server.port.get())).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    StreamOwned::new(client, socket)
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams'>";

/// Reads until this stands in what came.
fn read_until(stream: &mut impl Read, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).expect("an answer in time");
        assert_ne!(count, 0, "the connection ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

/// By the one mechanism for which the server must do the slow hashing.
fn log_in_plain(stream: &mut (impl Read + Write), name: &str, password: &str) -> String {
    stream.write_all(HEADER.as_bytes()).unwrap();
    read_until(stream, "</stream:features>");
    let message = encode(format!("\0{name}\0{password}").as_bytes());
    let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{message}</auth>");
    stream.write_all(auth.as_bytes()).unwrap();
    let answer = read_until(stream, "urn:ietf:params:xml:ns:xmpp-sasl");
    if answer.contains("<success") { "success" } else { "failure" }.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_145_a_crowd_that_logs_in_at_once_gets_in_and_holds_nobody_up() {
    let options = Options { limits: Limits::Off, transport: Transport::Tls, ..Options::default() };
    let server = Arc::new(Server::start_with(&options).await);
    let mut there = secured(&server);
    assert_eq!(log_in_plain(&mut there, "romeo", PASSWORD), "success");
    there.write_all(HEADER.as_bytes()).unwrap();
    read_until(&mut there, "</stream:features>");
    let crowd: Vec<_> = (0..60)
        .map(|number| {
            let server = Arc::clone(&server);
            tokio::task::spawn_blocking(move || {
                let mut stream = secured(&server);
                let password = if number % 3 == 0 { "not the password" } else { PASSWORD };
                log_in_plain(&mut stream, "juliet", password)
            })
        })
        .collect();
    // Somebody who is there is answered in their midst.
    tokio::task::block_in_place(|| {
        for number in 0..20 {
            let bind = format!("<iq type='set' id='b{number}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
            there.write_all(bind.as_bytes()).unwrap();
            read_until(&mut there, &format!("'b{number}'"));
        }
    });
    let mut outcomes = Vec::new();
    for one in crowd {
        outcomes.push(one.await.unwrap());
    }
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "success").count(), 40);
    drop(there);
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_floods_is_read_more_slowly_and_loses_nothing() {
    // The burst is 2,000 stanzas; 200 a second follow.
    const FLOOD: usize = 2_300;
    let server = Server::start().await;
    let mut romeo = Person::bound(&server, "romeo", "balcony").await;
    let mut juliet = Person::bound(&server, "juliet", "garden").await;
    let mut flood = String::new();
    for number in 0..FLOOD {
        flood.push_str(&format!("<iq type='get' id='f{number}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"));
    }
    romeo.say(&flood).await;
    let last = tokio::spawn(async move {
        for number in 0..FLOOD {
            let answer = romeo.wire.answer().await.expect("every stanza is answered");
            assert_eq!(answer.attribute("id"), Some(format!("f{number}").as_str()), "in order");
        }
        romeo
    });
    for _ in 0..50 {
        juliet.heard().await;
    }
    assert!(!last.is_finished(), "who does not flood is not held up by who does");
    last.await.unwrap().heard().await;
    server.stop().await;
}
