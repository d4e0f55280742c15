//! What was acknowledged to a client and is on its way to another server when the binary is killed, or stopped: it arrives
//! after the next start, in order, and what was given over arrives once.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_stream::s2s_in::{Command, Config, Event, Limits, S2sIn};
use stonechat_stream::{
    Dialback, DialbackPolicy, DialbackSecret, HostStatus, Hosts, Random, S2sPolicy, S2sTransport, TlsPolicy,
};
use stonechat_xml::Element;
use support::server::Server;
use support::socket::Client;
use support::{Counting, Peer, chance};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the other server does with those who connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It says nothing.
    Silent,
    /// It takes stanzas and says that it has them.
    Acknowledging,
}

/// What came on one connection.
#[derive(Clone, Debug, Default)]
struct Heard {
    numbers: Vec<u32>,
    /// So many of them it said that it had.
    acknowledged: usize,
}

/// Another server, which believes everybody.
struct Elsewhere {
    port: u16,
    manner: Arc<Mutex<Manner>>,
    connections: Arc<Mutex<Vec<Heard>>>,
}

struct OneHost;

impl Hosts for OneHost {
    fn status(&self, domain: &Domain) -> HostStatus {
        if domain.as_str() == "elsewhere.test" { HostStatus::Served } else { HostStatus::Unknown }
    }
}

struct NotRandom;

impl Random for NotRandom {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

impl Elsewhere {
    async fn start(manner: Manner) -> Elsewhere {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let elsewhere = Elsewhere {
            port: listener.local_addr().unwrap().port(),
            manner: Arc::new(Mutex::new(manner)),
            connections: Arc::default(),
        };
        let (manner, connections) = (Arc::clone(&elsewhere.manner), Arc::clone(&elsewhere.connections));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let manner = *manner.lock().unwrap();
                let index = {
                    let mut connections = connections.lock().unwrap();
                    connections.push(Heard::default());
                    connections.len() - 1
                };
                let connections = Arc::clone(&connections);
                tokio::spawn(async move {
                    match manner {
                        Manner::Silent => be_silent(socket).await,
                        Manner::Acknowledging => {
                            listen(socket, |heard| heard(&mut connections.lock().unwrap()[index])).await
                        }
                    }
                });
            }
        });
        elsewhere
    }

    fn change(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// What came, by connection; those that brought nothing are left out.
    fn heard(&self) -> Vec<Heard> {
        let mut heard = self.connections.lock().unwrap().clone();
        heard.retain(|heard| !heard.numbers.is_empty());
        heard
    }

    fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&[Heard]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&self.heard()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.heard());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn be_silent(mut socket: TcpStream) {
    let mut sink = Vec::new();
    let _ = socket.read_to_end(&mut sink).await;
}

/// A stream in the clear, whose dialback keys are all good.
async fn listen(mut socket: TcpStream, mut note: impl FnMut(&mut dyn FnMut(&mut Heard))) {
    let policy = S2sPolicy { tls: TlsPolicy::Optional, dialback: DialbackPolicy::Allowed, ..S2sPolicy::default() };
    let config = Config {
        hosts: Arc::new(OneHost),
        random: Arc::new(NotRandom),
        secret: DialbackSecret::new(&[1; 32]),
        // It has no STARTTLS to offer.
        transport: S2sTransport::DirectTls,
        policy,
        limits: Limits::default(),
    };
    let mut machine = S2sIn::new(Arc::new(config), Instant::now());
    loop {
        let mut asked = None;
        while let Some(event) = machine.poll_event() {
            match event {
                Event::DialbackResult { token, .. } => {
                    machine.command(Instant::now(), Command::DialbackVerdict(token, Dialback::Valid));
                }
                Event::Stanza(stanza) => {
                    let body = stanza.elements().iter().find(|child| child.name() == "body").map(Element::text);
                    if let Some(number) = body.and_then(|body| body.parse().ok()) {
                        note(&mut |heard| heard.numbers.push(number));
                    }
                }
                Event::AcknowledgementRequested(count) => asked = Some(count),
                Event::Closed(_) => return,
                _ => {}
            }
        }
        if let Some(count) = asked {
            machine.command(Instant::now(), Command::Acknowledge(count));
        }
        let mut out = Vec::new();
        machine.poll_transmit(&mut out);
        if socket.write_all(&out).await.is_err() {
            return;
        }
        if asked.is_some() {
            note(&mut |heard| heard.acknowledged = heard.numbers.len());
        }
        let mut input = Vec::new();
        match socket.read_buf(&mut input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => machine.on_bytes(Instant::now(), &input),
        }
    }
}

/// A server that knows where the other one is.
async fn serve(elsewhere: &Elsewhere) -> Server {
    let mut server = Server::start().await;
    server.stopped().await;
    let text = format!(
        "domains = [\"localhost\"]\ndata_dir = \"data\"\n[listen]\nc2s = [\"127.0.0.1:0\"]\nc2s_tls = []\n\
         s2s = [\"127.0.0.1:0\"]\ns2s_tls = []\n[c2s]\nallow_plaintext = true\n[s2s]\nallow_plaintext = true\n\
         [s2s.hosts]\n\"elsewhere.test\" = \"127.0.0.1:{}\"\n",
        elsewhere.port
    );
    std::fs::write(server.config(), text).unwrap();
    server.restart().await;
    server
}

fn message(number: u32) -> Element {
    Element::new("message", "jabber:client")
        .with_attribute("to", "juliet@elsewhere.test")
        .with_attribute("type", "chat")
        .with_attribute("id", format!("m{number}"))
        .with_child(Element::new("body", "jabber:client").with_text(number.to_string()))
}

/// Sends messages, and waits until the server has said that it has them.
async fn say(client: &mut Client, numbers: std::ops::Range<u32>) {
    for number in numbers {
        client.send(&message(number)).await;
    }
    client.fence().await;
}

fn all(heard: &[Heard]) -> Vec<u32> {
    heard.iter().flat_map(|heard| heard.numbers.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn reliability_r1_what_waits_for_another_server_survives_kill_9() {
    let elsewhere = Elsewhere::start(Manner::Silent).await;
    let mut server = serve(&elsewhere).await;
    let mut romeo = Client::connect(&server, "romeo", "balcony", Counting::No).await;
    say(&mut romeo, 0..50).await;
    elsewhere.until("it tries", |_| elsewhere.connections() > 0).await;
    // Killed twice, before it has given anything over.
    server.kill_and_restart().await;
    server.kill().await;
    elsewhere.change(Manner::Acknowledging);
    server.restart().await;
    elsewhere.until("everything arrives", |heard| all(heard).len() >= 50).await;
    // New ones come behind the old, and what was given over is not kept: another start sends nothing.
    let mut romeo = Client::connect(&server, "romeo", "balcony", Counting::No).await;
    say(&mut romeo, 50..60).await;
    elsewhere.until("the new ones too", |heard| all(heard).len() >= 60).await;
    elsewhere
        .until("it is said", |heard| heard.last().is_some_and(|last| last.acknowledged == last.numbers.len()))
        .await;
    server.stopped().await;
    server.restart().await;
    let mut romeo = Client::connect(&server, "romeo", "balcony", Counting::No).await;
    say(&mut romeo, 60..61).await;
    elsewhere.until("the last one", |heard| all(heard).contains(&60)).await;
    assert_eq!(all(&elsewhere.heard()), (0..61).collect::<Vec<_>>(), "in order, and once");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_what_waits_for_another_server_survives_an_orderly_stop() {
    let elsewhere = Elsewhere::start(Manner::Silent).await;
    let mut server = serve(&elsewhere).await;
    let mut romeo = Client::connect(&server, "romeo", "balcony", Counting::No).await;
    say(&mut romeo, 0..20).await;
    server.stopped().await;
    elsewhere.change(Manner::Acknowledging);
    server.restart().await;
    elsewhere.until("everything arrives", |heard| all(heard).len() >= 20).await;
    assert_eq!(all(&elsewhere.heard()), (0..20).collect::<Vec<_>>(), "in order, and once");
    server.stop().await;
}

/// Kills at any moment. What the other server has said that it has may come again only when the kill came before that was
/// written down; nothing is lost, and each connection brings what follows on what was written down before it.
#[tokio::test(flavor = "multi_thread")]
async fn reliability_r1_kills_while_messages_cross_lose_nothing_and_keep_the_order() {
    let seed = chance::seed("STONECHAT_OUTGOING_SEED");
    let mut chance = chance::Chance::new(seed);
    let elsewhere = Elsewhere::start(Manner::Acknowledging).await;
    let mut server = serve(&elsewhere).await;
    let mut sent = 0u32;
    let mut accepted = Vec::new();
    for _ in 0..5 {
        let mut romeo = Client::connect(&server, "romeo", "balcony", Counting::No).await;
        let until = Instant::now() + chance.millis(50, 400);
        'alive: while Instant::now() < until {
            let first = sent;
            for _ in 0..chance.between(1, 12) {
                if romeo.try_send(&message(sent)).await.is_err() {
                    break 'alive;
                }
                sent += 1;
            }
            romeo.try_fence().await.expect("answered");
            accepted.extend(first..sent);
        }
        // These may or may not have been accepted when the end comes.
        for _ in 0..chance.between(0, 12) {
            if romeo.try_send(&message(sent)).await.is_err() {
                break;
            }
            sent += 1;
        }
        server.kill_and_restart().await;
    }
    let mut romeo = Client::connect(&server, "romeo", "balcony", Counting::No).await;
    say(&mut romeo, sent..sent + 1).await;
    elsewhere.until("the last one arrives", |heard| all(heard).contains(&sent)).await;
    let heard = elsewhere.heard();
    let came = all(&heard);
    let lost: Vec<_> = accepted.iter().filter(|number| !came.contains(number)).collect();
    assert!(lost.is_empty(), "seed {seed}: accepted and lost: {lost:?}");
    for (index, connection) in heard.iter().enumerate() {
        let in_order = connection.numbers.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(in_order, "seed {seed}, connection {index}: {:?}", connection.numbers);
    }
    let copies = came.len() - came.iter().collect::<std::collections::HashSet<_>>().len();
    eprintln!("seed {seed}: {} messages, {copies} of them again after a kill", accepted.len());
    server.stop().await;
}
