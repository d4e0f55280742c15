//! A process that may not hold as much memory as others would have it hold.

use super::{CLIENT, Person};
use crate::support::line::HEADER;
use crate::support::server::{Limits, Options, Server, binary};
use crate::support::wire::{Lost, Wire};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const MIB: u64 = 1 << 20;

/// Bytes of anonymous memory that a process holds.
fn held(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

/// Looks all the while at what the server holds.
struct Watch {
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    fn start(id: u32) -> Watch {
        let (most, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (most, over) = (Arc::clone(&most), Arc::clone(&over));
            move || {
                while !over.load(Ordering::Relaxed) {
                    most.fetch_max(held(id), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Watch { most, over, thread }
    }

    fn most(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the server ran all the while");
        self.most.load(Ordering::Relaxed)
    }
}

/// Thirty sessions of an account that are there and do not read. So many of them count (XEP-0198).
async fn deaf(server: &Server, name: &str, counting: usize) -> Vec<Person> {
    let mut all = Vec::new();
    for number in 0..30 {
        let wire = Wire::dial_narrow(server.port.get()).await.expect("the server listens");
        let mut person = Person::bound_over(wire, name, &format!("deaf{number}")).await;
        if number < counting {
            person.say("<enable xmlns='urn:xmpp:sm:3'/>").await;
        }
        person.say("<presence/>").await;
        person.heard().await;
        all.push(person);
    }
    all
}

const DEAF: [&str; 3] = ["juliet", "nurse", "tybalt"];
const LOUD: [&str; 5] = ["juliet", "nurse", "tybalt", "mercutio", "paris"];

fn options(memory: &'static str) -> Options {
    let accounts = ["romeo", "benvolio"].into_iter().chain(LOUD).map(str::to_owned).collect();
    Options { accounts, limits: Limits::Off, memory, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_149_however_many_do_not_read_the_server_stays_below_its_ceiling() {
    let server = Server::start_with(&options("\"160MiB\"")).await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    let mut benvolio = Person::present(&server, "benvolio", "square").await;
    let mut crowd = Vec::new();
    for name in DEAF {
        crowd.extend(deaf(&server, name, 10).await);
    }
    let watch = Watch::start(server.id());
    let body = "x".repeat(240_000);
    let mut said = Vec::new();
    for number in 0..25 {
        for name in DEAF {
            // Each is seven megabytes to those who do not read.
            romeo.say(&format!("<message to='{name}@localhost' type='headline'><body>{body}</body></message>")).await;
            romeo.heard().await;
        }
        let kept = format!("kept {number}");
        romeo.say(&format!("<message to='juliet@localhost' type='chat'><body>{kept}</body></message>")).await;
        romeo.heard().await;
        said.push(kept);
        benvolio.say("<message to='romeo@localhost/balcony' type='chat'><body>here</body></message>").await;
        benvolio.heard().await;
        let heard = romeo.heard().await;
        assert!(heard.iter().any(|came| came.child("body", CLIENT).is_some()), "{heard:?}");
    }
    let most = watch.most();
    assert!(most <= 160 * MIB, "{} MiB: {:#?}", most / MIB, server.log.with("memory."));
    // Who would not read is gone; what was said to her is not.
    let mut juliet = Person::present(&server, "juliet", "garden").await;
    juliet.say("<iq type='set' id='a'><query xmlns='urn:xmpp:mam:2'/></iq>").await;
    let found: Vec<String> = juliet
        .heard()
        .await
        .iter()
        .filter_map(|came| came.child("result", "urn:xmpp:mam:2")?.child("forwarded", "urn:xmpp:forward:0"))
        .filter_map(|came| Some(came.child("message", CLIENT)?.child("body", CLIENT)?.text()))
        .collect();
    assert_eq!(found, said);
    server.stop().await;
}

/// Changes the ceiling of a running server.
fn reload(server: &Server, memory: &str) {
    let config = server.config();
    let text = std::fs::read_to_string(&config).unwrap();
    let lines: Vec<String> = text
        .lines()
        .map(|line| if line.starts_with("memory =") { format!("memory = {memory}") } else { line.to_owned() })
        .collect();
    std::fs::write(&config, lines.join("\n")).unwrap();
    let applied = command(server, &["reload", "--json"]);
    assert_eq!(applied["applied"], serde_json::json!(["limits.memory"]), "{applied}");
}

fn command(server: &Server, arguments: &[&str]) -> serde_json::Value {
    let answer = Command::new(binary()).args(arguments).arg("--config").arg(server.config()).output().unwrap();
    assert!(answer.status.success(), "{answer:?}");
    serde_json::from_slice(&answer.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_149_newcomers_wait_and_those_who_are_there_go_on() {
    let server = Server::start_with(&options("\"off\"")).await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    let mut benvolio = Person::present(&server, "benvolio", "square").await;
    // No queues: sessions whose presence is as large as it may be.
    let status = "x".repeat(250_000);
    let mut crowd = JoinSet::new();
    for name in LOUD {
        for number in 0..10 {
            let mut person = Person::bound(&server, name, &format!("loud{number}")).await;
            person.say(&format!("<presence><status>{status}</status></presence>")).await;
            crowd.spawn(person.wire.discard());
        }
    }
    while held(server.id()) < 15 * MIB {
        romeo.heard().await;
    }
    let mut halfway = Wire::dial(server.port.get(), None).await.expect("the server listens");
    halfway.open().await.expect("features");
    assert_eq!(command(&server, &["status", "--json"])["memory"]["shortage"], "none");
    reload(&server, &(held(server.id()) * 100 / 93).to_string());
    let closed = |status: &serde_json::Value| {
        ["newcomers", "everybody"].iter().any(|stage| status["memory"]["shortage"] == **stage)
    };
    let status = loop {
        let status = command(&server, &["status", "--json"]);
        if closed(&status) {
            break status;
        }
        romeo.heard().await;
    };
    assert!(status["warnings"].to_string().contains("MEM-001"), "{status}");
    // Who has not logged in yet is sent away with the next word.
    let error = halfway.log_in("nurse").await.expect_err("it is not let in");
    assert_eq!(error, Lost::Error("resource-constraint".into()));
    // Who connects is not answered, and those who are there talk.
    let mut stranger = Wire::dial(server.port.get(), None).await.expect("the system accepts");
    stranger.write(HEADER.as_bytes()).await.expect("the system takes it");
    for _ in 0..5 {
        romeo.say("<message to='benvolio@localhost/square' type='chat'><body>here</body></message>").await;
        romeo.heard().await;
        let heard = benvolio.heard().await;
        assert!(heard.iter().any(|came| came.child("body", CLIENT).is_some()), "{heard:?}");
    }
    assert!(!stranger.has_something().await, "nobody new is answered");
    // There is memory again: who waited is served.
    reload(&server, "\"off\"");
    stranger.answer().await.expect("the features of the stream that was opened long ago");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_149_at_the_ceiling_those_who_hold_the_most_go() {
    let server = Server::start_with(&options("\"off\"")).await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    let mut benvolio = Person::present(&server, "benvolio", "square").await;
    let _deaf = deaf(&server, "juliet", 0).await;
    let body = "x".repeat(60_000);
    while held(server.id()) < 64 * MIB {
        romeo.say(&format!("<message to='juliet@localhost' type='headline'><body>{body}</body></message>")).await;
        romeo.heard().await;
    }
    reload(&server, &(held(server.id()) * 100 / 85).to_string());
    while server.log.with("memory.sessions_ended").is_empty() {
        romeo.heard().await;
    }
    while !["none", "caches"]
        .iter()
        .any(|stage| command(&server, &["status", "--json"])["memory"]["shortage"] == *stage)
    {
        romeo.heard().await;
    }
    let left = command(&server, &["session", "list", "--json"]);
    let left: Vec<&str> = left.as_array().unwrap().iter().map(|session| session["jid"].as_str().unwrap()).collect();
    assert!(left.contains(&"romeo@localhost/balcony") && left.contains(&"benvolio@localhost/square"), "{left:?}");
    assert!((3..32).contains(&left.len()), "some of those who do not read go, and not all: {left:?}");
    benvolio.heard().await;
    server.stop().await;
}
