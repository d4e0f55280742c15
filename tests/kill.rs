//! kill -9 of the real binary while messages for somebody who is away are being accepted: whatever was accepted is there
//! afterwards, in order, once.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use stonechat_xml::Element;
use support::server::Server;
use support::{Counting, Peer, socket};

fn message(number: u32) -> Element {
    Element::new("message", "jabber:client")
        .with_attribute("to", "juliet@localhost")
        .with_attribute("type", "chat")
        .with_attribute("id", format!("m{number}"))
        .with_child(Element::new("body", "jabber:client").with_text(number.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn reliability_r1_what_was_accepted_survives_kill_9() {
    let mut server = Server::start().await;
    let mut sent = 0u32;
    let mut accepted = Vec::new();
    for round in 0..5u32 {
        let mut romeo = socket::Client::connect(&server, "romeo", "balcony", Counting::No).await;
        // A ping that is answered acknowledges everything sent before it.
        for _ in 0..3 + round {
            let first = sent;
            for _ in 0..7 {
                romeo.try_send(&message(sent)).await.expect("taken");
                sent += 1;
            }
            romeo.try_fence().await.expect("answered");
            accepted.extend(first..sent);
        }
        // These may or may not have been accepted when the end comes.
        for _ in 0..20 {
            if romeo.try_send(&message(sent)).await.is_err() {
                break;
            }
            sent += 1;
        }
        server.kill_and_restart().await;
    }
    let mut juliet = socket::Client::connect(&server, "juliet", "garden", Counting::No).await;
    juliet.send(&Element::new("presence", "jabber:client")).await;
    let mut received = Vec::new();
    let last = *accepted.last().unwrap();
    while !received.contains(&last) {
        let came = juliet.receive().await.expect("what was accepted is delivered");
        if came.name() == "message" {
            let body = came.child("body", "jabber:client").unwrap().text();
            assert!(came.child("delay", "urn:xmpp:delay").is_some(), "it says when it was accepted");
            received.push(body.parse::<u32>().unwrap());
        }
    }
    let lost: Vec<_> = accepted.iter().filter(|number| !received.contains(number)).collect();
    assert!(lost.is_empty(), "accepted and lost: {lost:?}");
    assert!(received.windows(2).all(|pair| pair[0] < pair[1]), "in order, and once: {received:?}");
    server.stop().await;
}
