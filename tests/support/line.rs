//! A client's connection inside TLS that counts its flights: how often it waited for the server after it had said
//! something. It blocks, one step after another, because that is what is counted.

use super::PASSWORD;
use rustls::{ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;
use stonechat_sasl::client::{HashedToken, Scram};
use stonechat_sasl::{Hash, decode, encode, prepare_password};
use stonechat_xml::{Element, Framing, Item, Limits, Parser};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Line {
    stream: StreamOwned<ClientConnection, TcpStream>,
    parser: Parser,
    buffer: Vec<u8>,
    spoke: bool,
    flights: u32,
}

pub const HEADER: &str = "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>";

impl Line {
    /// Connects, and completes the handshake: what follows is counted.
    pub fn dial(port: u16) -> Line {
        let mut tls = super::tls::client();
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).expect("a handshake");
        }
        let parser = Parser::new(Framing::Stream, Limits::CLIENT);
        Line { stream: StreamOwned::new(tls, socket), parser, buffer: Vec::new(), spoke: false, flights: 0 }
    }

    /// How often it waited for an answer so far.
    pub fn flights(&self) -> u32 {
        self.flights
    }

    /// The server's certificate.
    pub fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().expect("a handshake")[0].to_vec()
    }

    /// The data of tls-exporter (RFC 9266 §2).
    pub fn exporter(&self) -> Vec<u8> {
        self.stream.conn.export_keying_material(vec![0u8; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap()
    }

    pub fn write(&mut self, text: &str) {
        self.spoke = true;
        self.stream.write_all(text.as_bytes()).unwrap();
        self.stream.flush().unwrap();
    }

    /// The next element, which the server owes.
    pub fn next(&mut self) -> Element {
        loop {
            let mut rest = self.buffer.as_slice();
            let item = self.parser.next(&mut rest).expect("what the server writes is well-formed");
            let used = self.buffer.len() - rest.len();
            self.buffer.drain(..used);
            match item {
                Some(Item::Frame(frame)) => return frame.to_element().unwrap(),
                Some(Item::Footer) => panic!("the server closed the stream"),
                Some(_) => {}
                None => {
                    if std::mem::take(&mut self.spoke) {
                        self.flights += 1;
                    }
                    let mut bytes = [0u8; 4096];
                    let count = self.stream.read(&mut bytes).expect("the server answers");
                    assert!(count > 0, "the server closed the connection");
                    self.buffer.extend_from_slice(&bytes[..count]);
                }
            }
        }
    }

    /// The next element, which has this name.
    pub fn expect(&mut self, name: &str) -> Element {
        let came = self.next();
        assert_eq!(came.name(), name, "{}", came.to_xml());
        came
    }

    /// The answer to an IQ of this id, and whatever comes before it.
    pub fn until_answer(&mut self, id: &str) -> (Vec<Element>, Element) {
        let mut before = Vec::new();
        loop {
            let came = self.next();
            if came.name() == "iq" && came.attribute("id") == Some(id) {
                return (before, came);
            }
            before.push(came);
        }
    }

    /// A new stream on the same connection, as after classic SASL: features follow.
    pub fn restart(&mut self) {
        self.parser = Parser::new(Framing::Stream, Limits::CLIENT);
        self.write(HEADER);
    }

    /// Begins a SCRAM exchange; its first message.
    pub fn scram(name: &str) -> (Scram, String) {
        Line::scram_with(name, PASSWORD)
    }

    /// The same, with a password of its own.
    pub fn scram_with(name: &str, password: &str) -> (Scram, String) {
        let password = prepare_password(password).unwrap();
        let scram = Scram::new(Hash::Sha256, name, &password, b"a nonce that is long enough", None);
        let initial = encode(&scram.initial());
        (scram, initial)
    }

    /// Answers a challenge in the given namespace; what came with the success is checked and returned.
    pub fn prove(&mut self, mut scram: Scram, namespace: &'static str) -> Element {
        let challenge = self.expect("challenge");
        let response = scram.respond(&decode(&challenge.text()).unwrap()).expect("an acceptable challenge");
        self.write(&format!("<response xmlns='{namespace}'>{}</response>", encode(&response)));
        let success = self.expect("success");
        let proof = success.child("additional-data", namespace).map_or_else(|| success.text(), Element::text);
        scram.finish(&decode(&proof).unwrap()).expect("the server proves itself");
        success
    }

    /// The exchange of a token: HT-SHA-256-EXPR.
    pub fn token(&self, token: &str) -> HashedToken {
        HashedToken::new(token, &self.exporter())
    }
}
