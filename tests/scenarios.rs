//! Scenarios: scripts that read like a chat, played twice: in memory on the router under a clock that the test holds, and
//! over sockets against the real binary.
//!
//! A script is a list of lines: who connects, sends, must receive (in order), must receive nothing more, disconnects. The
//! element follows on indented lines. What is expected is a part of what comes: attributes and children that are not named
//! do not matter; `*` stands for any value.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::HashMap;
use std::path::Path;
use stonechat_xml::{Element, Node};
use support::{Peer, memory, socket};

enum Step {
    Connects,
    Sends(Element),
    Receives(Element),
    Nothing,
    Disconnects,
}

struct Script {
    name: String,
    steps: Vec<(usize, String, Step)>,
}

fn read(path: &Path) -> Script {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().enumerate().peekable();
    let mut steps = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (who, verb) =
            line.split_once(' ').unwrap_or_else(|| panic!("{}:{}: who does what?", path.display(), number + 1));
        let mut body = String::new();
        while let Some((_, more)) = lines.next_if(|(_, line)| line.starts_with(' ')) {
            body.push_str(more.trim());
        }
        let element = || {
            Element::parse(body.as_bytes(), "jabber:client")
                .unwrap_or_else(|error| panic!("{}:{}: {error}: {body}", path.display(), number + 1))
        };
        let step = match verb {
            "connects" => Step::Connects,
            "sends" => Step::Sends(element()),
            "receives" => Step::Receives(element()),
            "receives nothing" => Step::Nothing,
            "disconnects" => Step::Disconnects,
            other => panic!("{}:{}: what is {other:?}?", path.display(), number + 1),
        };
        steps.push((number + 1, who.to_owned(), step));
    }
    Script { name: path.file_name().unwrap().to_string_lossy().into_owned(), steps }
}

fn scripts() -> Vec<Script> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "chat"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "there are no scenarios");
    paths.iter().map(|path| read(path)).collect()
}

/// Whether what came has everything that is expected.
fn matches(expected: &Element, actual: &Element) -> bool {
    let attributes = expected.attributes().all(|(namespace, name, value)| {
        actual.attributes().any(|(ns, n, v)| ns == namespace && n == name && (value == "*" || v == value))
    });
    let mut rest = actual.children();
    let children = expected.children().all(|child| rest.any(|candidate| matches(child, candidate)));
    let has_text = expected.nodes().iter().any(|node| matches!(node, Node::Text(_)));
    let text = !has_text || expected.text() == "*" || expected.text() == actual.text();
    expected.is(actual.name(), actual.namespace()) && attributes && children && text
}

async fn play<P: Peer>(script: &Script, server: &P::Server) {
    let mut peers: HashMap<String, P> = HashMap::new();
    for (line, who, step) in &script.steps {
        let place = format!("{}:{line}: {who}", script.name);
        match step {
            Step::Connects => {
                let (name, resource) = who.split_once('/').unwrap_or_else(|| panic!("{place}: needs a resource"));
                peers.insert(who.clone(), P::connect(server, name, resource).await);
            }
            Step::Disconnects => peers.remove(who).unwrap_or_else(|| panic!("{place} is not connected")).leave().await,
            Step::Sends(element) => {
                let peer = peers.get_mut(who).unwrap_or_else(|| panic!("{place} is not connected"));
                peer.send(element).await;
                // What was sent is done with when the server answers what was sent after it.
                peer.fence().await;
            }
            Step::Receives(expected) => {
                let peer = peers.get_mut(who).unwrap_or_else(|| panic!("{place} is not connected"));
                let came = peer.receive().await;
                let came = came.unwrap_or_else(|| panic!("{place}: nothing came, expected {}", expected.to_xml()));
                assert!(
                    matches(expected, &came),
                    "{place}:\n expected {}\n came     {}",
                    expected.to_xml(),
                    came.to_xml()
                );
            }
            Step::Nothing => {
                let peer = peers.get_mut(who).unwrap_or_else(|| panic!("{place} is not connected"));
                peer.fence().await;
                if let Some(came) = peer.already() {
                    panic!("{place}: expected nothing, came {}", came.to_xml());
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn scenarios_in_memory() {
    for script in scripts() {
        let server = memory::Server::start().await;
        play::<memory::Client>(&script, &server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scenarios_against_the_binary() {
    for script in scripts() {
        let server = socket::Server::start().await;
        play::<socket::Client>(&script, &server).await;
        server.stop().await;
    }
}
