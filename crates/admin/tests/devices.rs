//! `user devices`, `user revoke` and what `session list` says of devices, on a store in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stonechat_admin::{Admin, Command, ErrorCode, Exit, dispatch};
use stonechat_jid::{BareJid, Domain};
use stonechat_router::{
    ClientSession, Clock, Delivery, Hosts, NoRemote, Outbox, Parts, Pushed, Random, Registrar, Registry, Router,
    SessionFacts, Settings, UserAgent,
};
use stonechat_sasl::{Credentials, TokenMechanism, prepare_password};
use stonechat_stanza::StreamError;
use stonechat_store::memory::MemoryStore;

const JID: &str = "alice@stone.example";
/// Stands still.
const NOW: u64 = 1_700_000_000;

struct Still(Instant);

impl Clock for Still {
    fn monotonic(&self) -> Instant {
        self.0
    }
    fn unix(&self) -> Duration {
        Duration::from_secs(NOW)
    }
}

struct NotRandom;

impl Random for NotRandom {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

struct Nowhere;

impl Outbox for Nowhere {
    fn push(&self, _delivery: Delivery<'_>) -> Pushed {
        Pushed::Queued
    }
    fn flush(&self) {}
    fn written(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(std::future::ready(true))
    }
    fn close(&self, _error: Option<StreamError>) {}
    fn cork(&self) {}
    fn cut(&self) {
        self.close(None);
    }
    fn queued_bytes(&self) -> usize {
        0
    }
    fn is_open(&self) -> bool {
        true
    }
    fn request_acknowledgement(&self) -> Pushed {
        Pushed::Queued
    }
}

struct Desk {
    admin: Admin,
    account: BareJid,
}

impl Desk {
    /// alice has a phone with a token, which is there, and a laptop.
    async fn set_up() -> (Desk, ClientSession) {
        let router = Router::new(Parts {
            hosts: Hosts::new([Domain::parse("stone.example").unwrap()]).unwrap(),
            settings: Settings::default(),
            store: Arc::new(MemoryStore::new()),
            registry: Registry::build(Registrar::new()).unwrap(),
            remote: Arc::new(NoRemote),
            clock: Arc::new(Still(Instant::now())),
            random: Arc::new(NotRandom),
            memory: Arc::default(),
        });
        let account = BareJid::parse(JID).unwrap();
        let credentials = Credentials::derive(&prepare_password("pencil").unwrap(), [[1; 16]; 3], 1);
        router.create_account(account.clone(), credentials).await.unwrap();
        let phone = UserAgent::new("phone-1", Some("Chatter"), Some("Her phone")).unwrap();
        router.note_device(&account, &phone, "SCRAM-SHA-256-PLUS").await.unwrap();
        let start = router.login_start();
        router.issue_token(start, &account, "phone-1", TokenMechanism::Exporter, None).await.unwrap().unwrap();
        let laptop = UserAgent::new("laptop-1", None, None).unwrap();
        router.note_device(&account, &laptop, "PLAIN").await.unwrap();
        let facts = SessionFacts {
            connection: "192.0.2.1".to_owned(),
            device: Some("phone-1".to_owned()),
            ..SessionFacts::default()
        };
        let session = router.bind(&account, Some("phone"), Arc::new(Nowhere), facts).await.unwrap();
        let admin = Admin { router, federation: None, certificates: None, lifecycle: None, version: "0" };
        (Desk { admin, account }, session)
    }

    async fn ask(&self, command: Command) -> Value {
        dispatch(&self.admin, command).await.unwrap()
    }

    async fn refused(&self, command: Command) -> ErrorCode {
        dispatch(&self.admin, command).await.unwrap_err().code
    }

    async fn devices(&self) -> Value {
        self.ask(Command::UserDevices { jid: JID.to_owned() }).await
    }
}

fn revoke(jid: &str, device: &str) -> Command {
    Command::UserRevoke { jid: jid.to_owned(), device: device.to_owned() }
}

#[tokio::test]
async fn devices_are_listed_as_documented() {
    let (desk, _session) = Desk::set_up().await;
    let expected = json!([
        {
            "id": "laptop-1", "software": null, "name": null, "first_seen": NOW, "last_seen": NOW,
            "password": "PLAIN", "token": null, "token_expires": null, "sessions": []
        },
        {
            "id": "phone-1", "software": "Chatter", "name": "Her phone", "first_seen": NOW, "last_seen": NOW,
            "password": "SCRAM-SHA-256-PLUS", "token": "HT-SHA-256-EXPR", "token_expires": NOW + 14 * 86_400,
            "sessions": ["alice@stone.example/phone"]
        }
    ]);
    assert_eq!(desk.devices().await, expected);
    let nobody = Command::UserDevices { jid: "nobody@stone.example".to_owned() };
    assert_eq!(desk.refused(nobody).await, ErrorCode::NoSuchUser);
    assert_eq!(desk.refused(Command::UserDevices { jid: "@".to_owned() }).await, ErrorCode::BadArgument);
}

#[tokio::test]
async fn a_device_is_revoked_and_its_password_warned_of() {
    let (desk, session) = Desk::set_up().await;
    let expected = json!({ "jid": JID, "device": "phone-1", "sessions": 1, "knows_password": true });
    assert_eq!(desk.ask(revoke(JID, "phone-1")).await, expected);
    drop(session);
    assert_eq!(desk.refused(revoke(JID, "phone-1")).await, ErrorCode::NoSuchDevice);
    assert_eq!(ErrorCode::NoSuchDevice.exit(), Exit::NotFound);
    assert_eq!(desk.refused(revoke("nobody@stone.example", "phone-1")).await, ErrorCode::NoSuchUser);

    let credentials = Credentials::derive(&prepare_password("pen").unwrap(), [[1; 16]; 3], 1);
    desk.admin.router.set_credentials(&desk.account, credentials).await.unwrap();
    let expected = json!({ "jid": JID, "device": "laptop-1", "sessions": 0, "knows_password": false });
    assert_eq!(desk.ask(revoke(JID, "laptop-1")).await, expected);
    assert_eq!(desk.devices().await, json!([]));
}

#[tokio::test]
async fn all_devices_are_revoked_at_once() {
    let (desk, _session) = Desk::set_up().await;
    let all = || Command::UserRevokeAll { jid: JID.to_owned() };
    assert_eq!(desk.ask(all()).await, json!({ "jid": JID, "devices": 2 }));
    assert_eq!(desk.ask(all()).await, json!({ "jid": JID, "devices": 0 }));
    assert!([all(), revoke(JID, "x"), Command::UserDevices { jid: JID.to_owned() }].iter().all(Command::works_offline));
}

#[tokio::test]
async fn sessions_are_listed_with_their_devices() {
    let (desk, session) = Desk::set_up().await;
    let expected = json!([{
        "jid": "alice@stone.example/phone", "id": session.id().0, "since": NOW, "connection": "192.0.2.1",
        "priority": null, "queued_bytes": 0, "state": "connected", "device": "phone-1"
    }]);
    assert_eq!(desk.ask(Command::SessionList { account: None }).await, expected);
}
