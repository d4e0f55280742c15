//! What a peer says that it has, and what becomes of the rest (XEP-0198).

use crate::world::{Answering, PATIENCE, Server, World, eventually, id, numbers};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stonechat_router::Record;
use stonechat_stanza::{StanzaCondition, StreamCondition};
use stonechat_stream::s2s_in::{Command, Event, S2sIn};
use stonechat_stream::{PeerCertificate, TlsFacts, Validity};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// A peer that does what the test says.
struct Peer {
    machine: S2sIn,
    stream: DuplexStream,
    /// Ids of what came.
    received: Vec<String>,
    /// The count in the last request, which is not answered yet.
    asked: Option<u32>,
}

impl Peer {
    fn new(server: &Server, stream: DuplexStream) -> Peer {
        let machine = S2sIn::new(Arc::clone(&server.incoming), Instant::now());
        Peer { machine, stream, received: Vec::new(), asked: None }
    }

    async fn settle(&mut self) {
        loop {
            let mut out = Vec::new();
            self.machine.poll_transmit(&mut out);
            let _ = self.stream.write_all(&out).await;
            let Some(event) = self.machine.poll_event() else { return };
            match event {
                Event::StartTls(_) => {
                    let facts = TlsFacts { peer: PeerCertificate::Presented, ..TlsFacts::default() };
                    self.machine.on_tls(Instant::now(), facts);
                }
                Event::CheckCertificate(token, _) => {
                    self.machine.command(Instant::now(), Command::CertificateChecked(token, Validity::Valid));
                }
                Event::Stanza(stanza) => self.received.push(id(&stanza)),
                Event::AcknowledgementRequested(count) => self.asked = Some(count),
                _ => {}
            }
        }
    }

    async fn read(&mut self) {
        let mut buffer = Vec::new();
        self.stream.read_buf(&mut buffer).await.unwrap();
        self.machine.on_bytes(Instant::now(), &buffer);
        self.settle().await;
    }

    /// Reads until so many stanzas came.
    async fn receive(&mut self, count: usize) {
        let received = async {
            while self.received.len() < count {
                self.read().await;
            }
        };
        tokio::time::timeout(PATIENCE, received).await.expect("the stanzas come");
    }

    /// Reads until it is asked what it has.
    async fn be_asked(&mut self) -> u32 {
        let asked = async {
            loop {
                if let Some(count) = self.asked.take() {
                    return count;
                }
                self.read().await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("a request comes")
    }

    async fn acknowledge(&mut self, h: u32) {
        self.machine.command(Instant::now(), Command::Acknowledge(h));
        self.settle().await;
    }

    async fn close(&mut self) {
        self.machine.command(Instant::now(), Command::Close(Some(StreamCondition::Reset.into())));
        self.settle().await;
        let _ = self.stream.shutdown().await;
    }
}

/// A server, the peer's own server for later, and the connections that the first opens to it.
async fn scripted() -> (Arc<World>, Server, Server, mpsc::UnboundedReceiver<DuplexStream>) {
    let world = World::new();
    let a = Server::start(&world, "a.example").await;
    let b = Server::start(&world, "b.example").await;
    world.name("b.example", &["192.0.2.2"]);
    let (sender, connections) = mpsc::unbounded_channel();
    world.place("192.0.2.2:5269", Answering::Test(sender));
    (world, a, b, connections)
}

async fn next(b: &Server, connections: &mut mpsc::UnboundedReceiver<DuplexStream>) -> Peer {
    let stream = tokio::time::timeout(PATIENCE, connections.recv()).await.expect("it connects").unwrap();
    Peer::new(b, stream)
}

fn queued(server: &Server) -> usize {
    server.federation.links().iter().map(|link| link.queued).sum()
}

#[tokio::test]
async fn xep0198_a_stanza_is_delivered_when_the_peer_says_so() {
    let (_world, a, b, mut connections) = scripted().await;
    for number in 0..5 {
        a.send(a.message("b.example", number), Record::Unkept);
    }
    let mut peer = next(&b, &mut connections).await;
    peer.receive(5).await;
    assert_eq!(peer.be_asked().await, 5);
    assert_eq!(queued(&a), 5, "it is not known to be there");
    peer.acknowledge(3).await;
    // What it has not is asked after again.
    assert_eq!(peer.be_asked().await, 5);
    assert_eq!(queued(&a), 2);
    peer.acknowledge(5).await;
    eventually("everything is delivered", || queued(&a) == 0).await;
}

#[tokio::test]
async fn abuse_139_what_was_not_acknowledged_goes_first_on_the_next_stream() {
    let (world, a, b, mut connections) = scripted().await;
    let (here, there) = (a.log_in("x").await, b.log_in("there").await);
    for number in 0..5 {
        a.send(a.message("b.example", number), Record::Unkept);
    }
    let mut peer = next(&b, &mut connections).await;
    peer.receive(5).await;
    peer.be_asked().await;
    peer.acknowledge(2).await;
    world.place("192.0.2.2:5269", Answering::Server(b.clone()));
    // It dies, and what was never acknowledged comes to its successor, in order, before what is new.
    peer.close().await;
    for number in 5..8 {
        a.send(a.message("b.example", number), Record::Unkept);
    }
    assert_eq!(there.ids(6).await, numbers(2..8));
    eventually("everything is delivered", || queued(&a) == 0).await;
    assert!(here.message_within(Duration::from_millis(20)).await.is_none(), "nothing came back");
}

#[tokio::test]
async fn abuse_139_what_ends_one_stream_after_the_other_goes_back_alone() {
    let (world, a, b, mut connections) = scripted().await;
    let (here, there) = (a.log_in("x").await, b.log_in("there").await);
    a.send(a.message("b.example", 0), Record::Unkept);
    for _ in 0..2 {
        let mut peer = next(&b, &mut connections).await;
        peer.receive(1).await;
        peer.close().await;
    }
    let error = here.message().await;
    assert_eq!(error.error().unwrap().condition, StanzaCondition::RemoteServerTimeout);
    assert_eq!(id(&error), "0");
    world.place("192.0.2.2:5269", Answering::Server(b.clone()));
    a.send(a.message("b.example", 1), Record::Unkept);
    assert_eq!(there.ids(1).await, ["1"]);
}

#[tokio::test]
async fn p5_at_an_orderly_end_the_peers_last_word_is_waited_for() {
    let (_world, a, b, mut connections) = scripted().await;
    let here = a.log_in("x").await;
    a.send(a.message("b.example", 0), Record::Unkept);
    let mut peer = next(&b, &mut connections).await;
    peer.receive(1).await;
    peer.be_asked().await;
    let (federation, router) = (a.federation.clone(), a.router.clone());
    let drained = tokio::spawn(async move {
        federation.drain(&router, PATIENCE).await;
        federation.close(PATIENCE).await;
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!drained.is_finished());
    peer.acknowledge(1).await;
    let ended = async {
        while a.federation.links().len() == 1 {
            peer.read().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the stream is closed");
    drained.await.unwrap();
    assert!(here.message_within(Duration::from_millis(20)).await.is_none(), "nothing came back");
}

#[tokio::test]
async fn p2_what_is_sent_again_is_recognised_by_its_origin_id() {
    let world = World::new();
    let a = Server::start(&world, "a.example").await;
    let b = Server::start(&world, "b.example").await;
    world.name("b.example", &["192.0.2.2"]);
    world.place("192.0.2.2:5269", Answering::Server(b.clone()));
    let there = b.log_in("there").await;
    let message = |number: u32| {
        let xml = format!(
            "<message xmlns='jabber:client' type='chat' id='{number}' from='user@a.example/x' to='user@b.example'>\
             <body>{number}</body><origin-id xmlns='urn:xmpp:sid:0' id='o{number}'/></message>"
        );
        stonechat_stanza::Stanza::parse(xml.as_bytes()).unwrap()
    };
    // As after a kill: the first was given over, and nobody had written that down.
    for number in [1, 2, 1, 2, 3] {
        a.send(message(number), Record::Unkept);
    }
    assert_eq!(there.ids(3).await, ["1", "2", "3"]);
    assert!(there.message_within(Duration::from_millis(50)).await.is_none(), "none is shown twice");
}
