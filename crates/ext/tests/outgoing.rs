//! What is kept for other domains, where there is no way to them.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;
use stonechat_jid::Domain;
use stonechat_router::{Resumable, Settings};
use stonechat_store::{Archives, Half, Outgoing, OutgoingRow};
use support::Server;

async fn wait_for_none(server: &Server) {
    let emptied = async {
        while !server.store.outgoing(None, 10).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), emptied).await.expect("nothing is left");
}

#[tokio::test]
async fn what_is_kept_without_a_sender_is_given_up_at_the_start() {
    let server = Server::start(Settings::default()).await;
    let id = server.account_id("alice").await.unwrap();
    for stanza in ["<message xmlns='jabber:client' to='dave@elsewhere.example'><body>hi</body></message>", "<mess"] {
        let row = OutgoingRow {
            at: 0,
            remote: Domain::parse("elsewhere.example").unwrap(),
            stanza: stanza.as_bytes().to_vec(),
        };
        let half = Half { outgoing: Some(row), ..Half::default() };
        server.store.record(id, half, (100, 100_000)).await.unwrap();
    }
    assert_eq!(server.store.outgoing(None, 10).await.unwrap().len(), 2);
    server.router.resend_outgoing().await.unwrap();
    wait_for_none(&server).await;
    assert!(server.elsewhere().stanzas().is_empty());
}

#[tokio::test]
async fn without_federation_a_message_comes_back_once_and_nothing_is_kept_of_it() {
    let server = Server::start_alone().await;
    let mut alice = server.connect("alice").await;
    alice.session.enable_counting(Resumable::Yes).await;
    alice
        .send("<message xmlns='jabber:client' to='dave@elsewhere.example' type='chat' id='m'><body>hi</body></message>")
        .await;
    let error = alice.inbox.wait("the error", |stanza| stanza.id().is_some_and(|id| **id == *"m")).await;
    assert_eq!(error.error().unwrap().condition.name(), "remote-server-not-found");
    wait_for_none(&server).await;
    server.router.resend_outgoing().await.unwrap();
    alice.ask("get", "", "<ping xmlns='urn:xmpp:ping'/>").await.unwrap();
    let told = alice.inbox.stanzas().iter().filter(|stanza| stanza.stanza_type().is_error()).count();
    assert_eq!(told, 1);
}
