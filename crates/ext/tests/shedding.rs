//! Memory is short: what the router gives up, and what it does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod support;

use stonechat_router::{ArchiveSettings, Ending, Resumable, Settings, Shed, Turn};
use stonechat_stanza::Stanza;
use stonechat_store::Accounts;
use support::{Server, account, held};

const BOB: &str = "bob@stone.example";

fn chat(body: &str) -> String {
    format!("<message xmlns='jabber:client' type='chat' to='{BOB}'><body>{body}</body></message>")
}

fn body(stanza: &Stanza) -> Option<String> {
    stanza.child("body", "").map(|body| body.text())
}

#[tokio::test(start_paused = true)]
async fn abuse_149_a_session_that_waits_with_too_much_ends_and_its_client_finds_all_of_it() {
    let without = Settings { archive: ArchiveSettings { enabled: false, keep: None }, ..Settings::default() };
    for settings in [Settings::default(), without] {
        let server = Server::start(settings).await;
        let mut alice = server.connect("alice").await;
        let (mut bob, mut carol) = (server.connect("bob").await, server.connect("carol").await);
        for person in [&mut bob, &mut carol] {
            person.send("<presence xmlns='jabber:client'/>").await;
            person.session.enable_counting(Resumable::Yes).await.unwrap();
        }
        bob.session.end(Ending::Lost, &mut Turn::new());
        carol.session.end(Ending::Lost, &mut Turn::new());
        let bodies: Vec<String> = (0..4).map(|number| format!("{number}{}", "x".repeat(30_000))).collect();
        for text in &bodies {
            alice.send(&chat(text)).await;
        }
        let memory = server.router.memory();
        memory.set_ceiling(Some(100 << 20));
        memory.measured(79 << 20);
        assert_eq!(server.router.shed(), Shed::default(), "it is not so short that anybody must go");
        memory.measured(85 << 20);
        let shed = server.router.shed();
        assert_eq!(shed.sessions, 1);
        assert!(shed.bytes >= 120_000, "{shed:?}");
        assert!(server.router.sessions_of(&account("bob")).is_empty());
        assert_eq!(server.router.sessions_of(&account("carol")).len(), 1, "who holds little waits on");
        let mut bob = server.connect("bob").await;
        bob.send("<presence xmlns='jabber:client'/>").await;
        bob.inbox.wait("the last", |stanza| body(stanza).as_ref() == bodies.last()).await;
        let found: Vec<_> = bob.inbox.stanzas().iter().filter_map(body).collect();
        assert_eq!(found, bodies);
    }
}

#[tokio::test]
async fn abuse_149_accounts_that_nobody_uses_are_forgotten_and_read_again() {
    let server = Server::start(Settings::default()).await;
    let mut bob = server.connect("bob").await;
    bob.ask("set", "", "<query xmlns='jabber:iq:roster'><item jid='friend@far.example' name='C'/></query>")
        .await
        .unwrap();
    bob.session.end(Ending::Closed, &mut Turn::new());
    // As long as an account is in memory, nobody looks what the store has become.
    let id = server.account_id("carol").await.unwrap();
    server.router.account_id(&account("carol")).await.unwrap();
    server.store.delete_account(id, 1).await.unwrap();
    assert!(server.router.account_id(&account("carol")).await.is_some());
    server.router.forget_unused();
    assert!(server.router.account_id(&account("carol")).await.is_none());
    let mut bob = server.connect("bob").await;
    held("the roster", &bob.ask("get", "", "<query xmlns='jabber:iq:roster'/>").await, &Ok("friend@far.example"));
}
