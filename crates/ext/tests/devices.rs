//! Devices, their tokens (XEP-0484), and what their owner sees of them and revokes (XEP-0494).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;
use stonechat_router::{
    BindError, DeviceProof, Ending, KeysAdded, LoginStart, NotResumed, PasswordProved, Resumable, SessionFacts,
    SessionStanding, Settings, TokenKept, TokenUse, Turn, UserAgent,
};
use stonechat_sasl::client::HashedToken;
use stonechat_sasl::{
    ChannelBindings, Credentials, Failure, Hash, TokenMechanism, TokenNegotiation, TokenStep, UpgradeTask,
    prepare_password,
};
use stonechat_store::AccountState;
use support::{ALICE, Client, Event, NOBODY, Server, account, answer_of};

const PHONE: &str = "d4565fa7-4d72-4749-b3d3-740edbf87770";
const LAPTOP: &str = "0b5a1d1c-5d4f-4c39-a4e3-1f3a3e1a52c7";
const DAY: Duration = Duration::from_secs(86_400);
const LIST: &str = "<list xmlns='urn:xmpp:cam:0'/>";
const OFFERED: [TokenMechanism; 3] = [TokenMechanism::Exporter, TokenMechanism::EndPoint, TokenMechanism::None];

fn agent(id: &str) -> UserAgent {
    UserAgent::new(id, Some("Chatter"), Some("Juliet's phone")).unwrap()
}

fn bindings() -> ChannelBindings {
    ChannelBindings {
        tls_exporter: Some(vec![1; 32]),
        tls_server_end_point: Some(vec![2; 32]),
        ..ChannelBindings::default()
    }
}

fn revoke(id: &str) -> String {
    format!("<revoke xmlns='urn:xmpp:cam:0' id='{id}'/>")
}

/// What a log-in with a token came to.
type LoggedIn = Result<([u8; 16], TokenUse), Failure>;

impl Server {
    /// A log-in with the password, and the token it is given.
    async fn token(&self, device: &str, mechanism: TokenMechanism) -> String {
        self.router.note_device(&account("alice"), &agent(device), "SCRAM-SHA-256").await.unwrap();
        self.issue(self.router.login_start(), device, mechanism, None).await.unwrap()
    }

    async fn issue(
        &self,
        start: LoginStart,
        device: &str,
        mechanism: TokenMechanism,
        beside: Option<[u8; 16]>,
    ) -> Option<String> {
        let issued = self.router.issue_token(start, &account("alice"), device, mechanism, beside).await.unwrap();
        issued.map(|issued| issued.token.expose().to_owned())
    }

    /// A log-in with a token, as a stream does it.
    async fn log_in(&self, name: &str, device: &str, mechanism: TokenMechanism, token: &str, count: u64) -> LoggedIn {
        let (bindings, account) = (bindings(), account(name));
        let data = match mechanism {
            TokenMechanism::Exporter => &[1; 32][..],
            TokenMechanism::EndPoint => &[2; 32],
            TokenMechanism::Unique | TokenMechanism::None => &[],
        };
        let client = HashedToken::new(token, data);
        let secret = self.router.token_secret();
        let mut exchange =
            TokenNegotiation::begin(mechanism.name(), &OFFERED, &bindings, secret, device).expect("offered");
        let TokenStep::NeedCandidates { .. } = exchange.message(&client.initial(name)) else { panic!("malformed") };
        let seed = match exchange.candidates(self.router.token_candidates(&account, device, mechanism).await) {
            TokenStep::UseToken { seed } => seed,
            TokenStep::Failure(failure) => return Err(failure),
            step => panic!("{step:?}"),
        };
        let used = self.router.use_token(&account, device, seed, count).await;
        match exchange.used(used.verdict()) {
            TokenStep::Success(success) => {
                assert_eq!(client.finish(&success.data.unwrap()), Ok(()));
                Ok((seed, used))
            }
            TokenStep::Failure(failure) => Err(failure),
            step => panic!("{step:?}"),
        }
    }

    async fn phone_logs_in(&self, token: &str) -> LoggedIn {
        self.log_in("alice", PHONE, TokenMechanism::Exporter, token, 0).await
    }

    async fn connect_device(&self, device: &str, resource: &str) -> Client {
        let facts = SessionFacts { device: Some(device.to_owned()), ..SessionFacts::default() };
        self.connect_with("alice", resource, facts).await
    }

    async fn set_password(&self, password: &str) {
        let credentials = Credentials::derive(&prepare_password(password).unwrap(), [[9; 16]; 3], 1);
        self.router.set_credentials(&account("alice"), credentials).await.unwrap();
    }
}

fn was_closed(client: &Client) -> bool {
    client.inbox.events().iter().any(|event| matches!(event, Event::Closed(Some("not-authorized"))))
}

#[tokio::test]
async fn xep0484_3_3_a_token_is_good_for_its_device_and_its_mechanism() {
    let server = Server::start(Settings::default()).await;
    for mechanism in OFFERED {
        let token = server.token(PHONE, mechanism).await;
        server.token(LAPTOP, mechanism).await;
        assert!(matches!(server.log_in("alice", PHONE, mechanism, &token, 0).await, Ok((_, TokenUse::Good))));
        assert_eq!(server.log_in("alice", LAPTOP, mechanism, &token, 0).await, Err(Failure::NotAuthorized));
        assert_eq!(server.log_in("bob", PHONE, mechanism, &token, 0).await, Err(Failure::NotAuthorized));
        assert_eq!(server.log_in("nobody", PHONE, mechanism, &token, 0).await, Err(Failure::NotAuthorized));
        for other in OFFERED.into_iter().filter(|other| *other != mechanism) {
            assert_eq!(server.log_in("alice", PHONE, other, &token, 0).await, Err(Failure::NotAuthorized));
        }
    }
    let start = server.router.login_start();
    assert!(server.issue(start, PHONE, TokenMechanism::Unique, None).await.is_none());
    assert!(server.issue(start, "a device that was never noted", TokenMechanism::None, None).await.is_none());
}

#[tokio::test]
async fn xep0484_3_5_an_old_token_is_good_until_the_new_one_is_used() {
    let server = Server::start(Settings::default()).await;
    let old = server.token(PHONE, TokenMechanism::Exporter).await;
    assert!(matches!(server.phone_logs_in(&old).await, Ok((_, TokenUse::Good))));
    server.clock.forward(DAY);
    let Ok((seed, TokenUse::Due)) = server.phone_logs_in(&old).await else { panic!("it is a day old") };

    let start = server.router.login_start();
    // The first answer gets lost, and what it gave with it.
    let lost = server.issue(start, PHONE, TokenMechanism::Exporter, Some(seed)).await.unwrap();
    assert!(server.phone_logs_in(&old).await.is_ok());
    let new = server.issue(start, PHONE, TokenMechanism::Exporter, Some(seed)).await.unwrap();
    assert_eq!(server.phone_logs_in(&lost).await, Err(Failure::NotAuthorized));
    assert!(server.phone_logs_in(&old).await.is_ok());

    assert!(matches!(server.phone_logs_in(&new).await, Ok((_, TokenUse::Good))));
    assert_eq!(server.phone_logs_in(&old).await, Err(Failure::NotAuthorized));
    assert!(server.phone_logs_in(&new).await.is_ok());
}

#[tokio::test]
async fn xep0484_3_a_device_is_given_what_it_asks_for_or_what_is_due() {
    let server = Server::start(Settings::default()).await;
    let (alice, phone, start) = (account("alice"), agent(PHONE), server.router.login_start());
    let admit = async |proof, requested| {
        let issued = server.router.admit_device(start, &alice, &phone, proof, requested).await;
        issued.map(|issued| issued.map(|issued| issued.token.expose().to_owned()))
    };
    let by_token = |seed, count, kept| DeviceProof::Token { mechanism: TokenMechanism::Exporter, seed, count, kept };
    let seeds = async || {
        let devices = server.router.devices(&alice).await.unwrap();
        devices[0].device.tokens.iter().map(|token| token.seed).collect::<Vec<_>>()
    };

    // By the password: what it asks for, and it is known from then on.
    assert_eq!(admit(DeviceProof::Password("PLAIN"), None).await, Ok(None));
    assert_eq!(server.router.devices(&alice).await.unwrap().len(), 1);
    assert!(admit(DeviceProof::Password("PLAIN"), Some(TokenMechanism::Exporter)).await.unwrap().is_some());
    let [first] = seeds().await[..] else { panic!("one token") };

    // By a token: nothing, until it is a day old.
    assert_eq!(admit(by_token(first, 1, TokenKept::Kept), None).await, Ok(None));
    assert_eq!(admit(by_token(first, 1, TokenKept::Kept), None).await, Err(Failure::NotAuthorized));
    assert_eq!(admit(by_token([0xff; 16], 0, TokenKept::Kept), None).await, Err(Failure::NotAuthorized));
    server.clock.forward(DAY);
    assert!(admit(by_token(first, 2, TokenKept::Kept), None).await.unwrap().is_some());
    let [_, second] = seeds().await[..] else { panic!("two tokens") };
    // One that it asks for takes the place of the one that is due.
    assert!(admit(by_token(first, 3, TokenKept::Kept), Some(TokenMechanism::None)).await.unwrap().is_some());
    let [_, third] = seeds().await[..] else { panic!("two tokens") };
    assert_ne!(second, third);

    // Given back: gone, and not replaced unless asked for, though it is due.
    assert_eq!(admit(by_token(first, 4, TokenKept::GivenBack), None).await, Ok(None));
    assert!(seeds().await.is_empty());
    assert_eq!(admit(by_token(first, 5, TokenKept::Kept), None).await, Err(Failure::NotAuthorized));
    assert!(admit(DeviceProof::Password("PLAIN"), Some(TokenMechanism::Exporter)).await.unwrap().is_some());
    let [fourth] = seeds().await[..] else { panic!("one token") };
    let again = admit(by_token(fourth, 1, TokenKept::GivenBack), Some(TokenMechanism::Exporter)).await;
    assert!(again.unwrap().is_some());
    assert!(seeds().await.len() == 1 && seeds().await != [fourth]);
}

#[tokio::test]
async fn xep0484_4_2_a_token_whose_time_is_over_is_told_so() {
    let server = Server::start(Settings::default()).await;
    let token = server.token(PHONE, TokenMechanism::Exporter).await;
    server.clock.forward(14 * DAY - Duration::from_secs(1));
    assert!(server.phone_logs_in(&token).await.is_ok());
    server.clock.forward(Duration::from_secs(1));
    assert_eq!(server.phone_logs_in(&token).await, Err(Failure::CredentialsExpired));
    assert_eq!(server.phone_logs_in("guessed").await, Err(Failure::NotAuthorized));
    let devices = server.router.devices(&account("alice")).await.unwrap();
    assert!(devices[0].device.tokens.is_empty());
}

#[tokio::test]
async fn abuse_62_a_count_is_good_once() {
    let server = Server::start(Settings::default()).await;
    let token = server.token(PHONE, TokenMechanism::None).await;
    let log_in = |count| server.log_in("alice", PHONE, TokenMechanism::None, &token, count);
    for (count, good) in [(0, true), (0, true), (1, true), (1, false), (0, false), (5, true), (3, false), (6, true)] {
        let heard = log_in(count).await;
        assert_eq!(heard.as_ref().err(), (!good).then_some(&Failure::NotAuthorized), "{count}");
    }
}

#[tokio::test]
async fn abuse_62_a_new_password_ends_all_tokens_and_no_session() {
    let server = Server::start(Settings::default()).await;
    let (phone, laptop) =
        (server.token(PHONE, TokenMechanism::Exporter).await, server.token(LAPTOP, TokenMechanism::None).await);
    let connected = server.connect_device(PHONE, "phone").await;
    server.set_password("another secret").await;
    assert_eq!(server.phone_logs_in(&phone).await, Err(Failure::NotAuthorized));
    let heard = server.log_in("alice", LAPTOP, TokenMechanism::None, &laptop, 0).await;
    assert_eq!(heard, Err(Failure::NotAuthorized));
    assert!(!was_closed(&connected));
    // The devices are known, but not as ones that know the password.
    let devices = server.router.devices(&account("alice")).await.unwrap();
    assert!(devices.len() == 2 && devices.iter().all(|view| view.device.mechanism.is_none()));
}

#[tokio::test]
async fn abuse_62_a_new_password_set_in_band_ends_all_tokens() {
    let server = Server::start(Settings::default()).await;
    let token = server.token(PHONE, TokenMechanism::Exporter).await;
    let mut alice = server.connect("alice").await;
    let query = "<query xmlns='jabber:iq:register'><username>alice</username><password>new secret</password></query>";
    assert!(alice.ask("set", "stone.example", query).await.is_ok());
    assert_eq!(server.phone_logs_in(&token).await, Err(Failure::NotAuthorized));
}

#[tokio::test]
async fn abuse_62_a_lock_ends_all_tokens_and_they_do_not_come_back() {
    let server = Server::start(Settings::default()).await;
    let token = server.token(PHONE, TokenMechanism::Exporter).await;
    server.router.set_account_state(&account("alice"), AccountState::Locked).await.unwrap();
    assert_eq!(server.phone_logs_in(&token).await, Err(Failure::NotAuthorized));
    server.router.set_account_state(&account("alice"), AccountState::Active).await.unwrap();
    assert_eq!(server.phone_logs_in(&token).await, Err(Failure::NotAuthorized));
    // The password is the same one, and the device knows it.
    let devices = server.router.devices(&account("alice")).await.unwrap();
    assert_eq!(devices[0].device.mechanism.as_deref(), Some("SCRAM-SHA-256"));
}

#[tokio::test]
async fn abuse_62_a_later_owner_of_the_name_has_none_of_the_tokens() {
    let server = Server::start(Settings { tombstone_seconds: 0, ..Settings::default() }).await;
    let token = server.token(PHONE, TokenMechanism::Exporter).await;
    server.router.delete_account(&account("alice")).await.unwrap();
    assert_eq!(server.phone_logs_in(&token).await, Err(Failure::NotAuthorized));
    let credentials = Credentials::derive(&prepare_password("hers").unwrap(), [[9; 16]; 3], 1);
    server.router.create_account(account("alice"), credentials).await.unwrap();
    assert_eq!(server.phone_logs_in(&token).await, Err(Failure::NotAuthorized));
    assert!(server.router.devices(&account("alice")).await.unwrap().is_empty());
}

#[tokio::test]
async fn xep0484_3_6_what_is_given_back_is_good_no_more() {
    let server = Server::start(Settings::default()).await;
    let (phone, laptop) =
        (server.token(PHONE, TokenMechanism::Exporter).await, server.token(LAPTOP, TokenMechanism::None).await);
    server.phone_logs_in(&phone).await.unwrap();
    server.router.invalidate_tokens(&account("alice"), PHONE).await.unwrap();
    assert_eq!(server.phone_logs_in(&phone).await, Err(Failure::NotAuthorized));
    assert!(server.log_in("alice", LAPTOP, TokenMechanism::None, &laptop, 0).await.is_ok());
}

#[tokio::test]
async fn abuse_62_a_revoked_device_is_gone_with_its_sessions() {
    let server = Server::start(Settings::default()).await;
    let alice = account("alice");
    let (phone, laptop) =
        (server.token(PHONE, TokenMechanism::Exporter).await, server.token(LAPTOP, TokenMechanism::None).await);
    let (live, other, unnamed) = (
        server.connect_device(PHONE, "phone").await,
        server.connect_device(LAPTOP, "laptop").await,
        server.connect_as("alice", "old client").await,
    );
    let mut waiting = server.connect_device(PHONE, "waiting").await;
    waiting.session.enable_counting(Resumable::Yes).await.unwrap();
    waiting.session.end(Ending::Lost, &mut Turn::new());
    let standing = |resource: &str| {
        server.router.sessions_of(&alice).iter().find(|s| s.jid.as_str().ends_with(resource)).map(|s| s.state)
    };
    assert_eq!(standing("/waiting"), Some(SessionStanding::Waiting));

    let revoked = server.router.revoke_device(&alice, PHONE).await.unwrap().unwrap();
    assert_eq!((revoked.sessions, revoked.password), (2, PasswordProved::Yes));
    assert!(was_closed(&live));
    assert_eq!(standing("/waiting"), None);
    assert_eq!(server.phone_logs_in(&phone).await, Err(Failure::NotAuthorized));
    assert!(!was_closed(&other) && !was_closed(&unnamed));
    assert!(server.log_in("alice", LAPTOP, TokenMechanism::None, &laptop, 0).await.is_ok());

    live.session.end(Ending::Closed, &mut Turn::new());
    assert_eq!(server.router.revoke_device(&alice, PHONE).await.unwrap(), None);
    assert!(server.router.revoke_device(&account("nobody"), PHONE).await.is_err());

    assert_eq!(server.router.revoke_devices(&alice).await.unwrap(), 1);
    assert!(was_closed(&other) && was_closed(&unnamed));
    let heard = server.log_in("alice", LAPTOP, TokenMechanism::None, &laptop, 0).await;
    assert_eq!(heard, Err(Failure::NotAuthorized));
}

#[tokio::test]
async fn abuse_62_a_log_in_under_way_does_not_escape_a_revocation() {
    let server = Server::start(Settings::default()).await;
    let alice = account("alice");
    let bind = async |start, device: &str| {
        let facts = SessionFacts { device: Some(device.to_owned()), login: Some(start), ..SessionFacts::default() };
        let inbox = std::sync::Arc::new(support::Inbox::default());
        server.router.bind(&alice, Some(device), inbox, facts).await
    };
    server.token(PHONE, TokenMechanism::Exporter).await;
    server.token(LAPTOP, TokenMechanism::Exporter).await;
    let begun = server.router.login_start();
    assert!(bind(begun, PHONE).await.is_ok());
    server.router.revoke_device(&alice, PHONE).await.unwrap();
    assert!(matches!(bind(begun, PHONE).await, Err(BindError::NotAllowed)));
    assert!(bind(begun, LAPTOP).await.is_ok());
    assert!(bind(server.router.login_start(), PHONE).await.is_ok());

    // Its own password let it in a moment ago, and the next token would outlive that.
    server.router.note_device(&alice, &agent(PHONE), "PLAIN").await.unwrap();
    assert!(server.issue(begun, PHONE, TokenMechanism::Exporter, None).await.is_none());
    let token = server.issue(begun, LAPTOP, TokenMechanism::Exporter, None).await.unwrap();
    let devices = server.router.devices(&alice).await.unwrap();
    assert!(devices.iter().all(|view| view.device.id != PHONE || view.device.tokens.is_empty()));
    assert!(server.log_in("alice", LAPTOP, TokenMechanism::Exporter, &token, 0).await.is_ok());

    let begun = server.router.login_start();
    server.set_password("another secret").await;
    assert!(matches!(bind(begun, LAPTOP).await, Err(BindError::NotAllowed)));
    assert!(server.issue(begun, LAPTOP, TokenMechanism::Exporter, None).await.is_none());
    let begun = server.router.login_start();
    server.router.set_account_state(&alice, AccountState::Locked).await.unwrap();
    assert!(matches!(bind(begun, LAPTOP).await, Err(BindError::NotAllowed)));
    // Another account is not concerned.
    let facts = SessionFacts { login: Some(begun), ..SessionFacts::default() };
    server.connect_with("bob", "desk", facts).await;
    assert_eq!(server.router.sessions_of(&alice).iter().filter(|s| s.state == SessionStanding::Waiting).count(), 0);
}

#[tokio::test]
async fn abuse_62_a_session_is_not_resumed_by_a_log_in_that_was_revoked() {
    let server = Server::start(Settings::default()).await;
    let alice = account("alice");
    let mut waiting = server.connect_device(LAPTOP, "laptop").await;
    let previous = waiting.session.enable_counting(Resumable::Yes).await.unwrap().text();
    waiting.session.end(Ending::Lost, &mut Turn::new());
    let resume = async |start, device: &str| {
        let facts = SessionFacts { device: Some(device.to_owned()), login: Some(start), ..SessionFacts::default() };
        let inbox = std::sync::Arc::new(support::Inbox::default());
        server.router.resume(&alice, &previous, 0, inbox, facts).await.map(|_| ())
    };
    server.token(PHONE, TokenMechanism::Exporter).await;
    let begun = server.router.login_start();
    server.router.revoke_device(&alice, PHONE).await.unwrap();
    assert_eq!(resume(begun, PHONE).await, Err(NotResumed::Unknown(None)));
    // It waits for the device that may.
    assert_eq!(resume(begun, LAPTOP).await, Ok(()));
}

#[tokio::test]
async fn xep0480_keys_of_an_old_password_are_not_added_to_a_new_one() {
    let server = Server::start(Settings::default()).await;
    let alice = account("alice");
    let task = UpgradeTask::ScramSha512;
    // "old secret" and "new secret", as far as a hash that is brought can be either.
    let keys = |mark: u8| task.keys(&[mark; 64], [3; 16], 4096).unwrap();
    let start = server.router.login_start();
    assert_eq!(server.router.add_keys(start, &alice, Hash::Sha512, keys(1)).await.unwrap(), KeysAdded::Yes);
    let stored = async || server.router.store().account(&alice).await.unwrap().unwrap().credentials;
    assert!(stored().await.sha512 == Some(keys(1)));
    assert!(stored().await.sha1.is_some());

    server.set_password("another secret").await;
    let set = stored().await;
    assert_eq!(server.router.add_keys(start, &alice, Hash::Sha512, keys(2)).await.unwrap(), KeysAdded::No);
    assert!(stored().await == set);
    // Keys that are added are no new password.
    let token = server.token(PHONE, TokenMechanism::Exporter).await;
    let start = server.router.login_start();
    assert_eq!(server.router.add_keys(start, &alice, Hash::Sha512, keys(2)).await.unwrap(), KeysAdded::Yes);
    assert!(server.phone_logs_in(&token).await.is_ok());
}

#[tokio::test]
async fn abuse_62_an_account_has_64_devices_and_the_one_seen_longest_ago_makes_room() {
    let server = Server::start(Settings::default()).await;
    let first = server.token("device 0", TokenMechanism::None).await;
    for number in 1..=64 {
        server.clock.forward(Duration::from_secs(1));
        server.router.note_device(&account("alice"), &agent(&format!("device {number}")), "PLAIN").await.unwrap();
    }
    let devices = server.router.devices(&account("alice")).await.unwrap();
    assert_eq!(devices.len(), 64);
    assert_eq!((devices[0].device.id.as_str(), devices[63].device.id.as_str()), ("device 64", "device 1"));
    let heard = server.log_in("alice", "device 0", TokenMechanism::None, &first, 0).await;
    assert_eq!(heard, Err(Failure::NotAuthorized));
}

#[tokio::test]
async fn a_device_that_logs_in_again_keeps_its_first_time_and_its_tokens() {
    let server = Server::start(Settings::default()).await;
    let token = server.token(PHONE, TokenMechanism::Exporter).await;
    let first = server.router.devices(&account("alice")).await.unwrap()[0].device.first_seen;
    server.clock.forward(DAY);
    let renamed = UserAgent::new(PHONE, Some("Chatter 2"), None).unwrap();
    server.router.note_device(&account("alice"), &renamed, "PLAIN").await.unwrap();
    let device = server.router.devices(&account("alice")).await.unwrap()[0].device.clone();
    assert_eq!((device.first_seen, device.last_seen), (first, first + DAY.as_secs()));
    assert_eq!((device.software.as_deref(), device.name), (Some("Chatter 2"), None));
    assert_eq!(device.mechanism.as_deref(), Some("PLAIN"));
    assert!(server.phone_logs_in(&token).await.is_ok());
    // Nor does a token tell that the password is known.
    assert_eq!(server.router.devices(&account("alice")).await.unwrap()[0].device.mechanism.as_deref(), Some("PLAIN"));
}

#[test]
fn xep0388_2_2_what_a_client_tells_of_itself_is_kept_within_bounds() {
    for id in ["", "a\u{7}b", "a\nb", "\u{202e}b", &"x".repeat(129)] {
        assert_eq!(UserAgent::new(id, None, None), None, "{id:?}");
    }
    let told = |software: &str| format!("{:?}", UserAgent::new("x", Some(software), None).unwrap());
    assert!(told("  ").contains("software: None"));
    assert!(told("\u{1b}[2J").contains("software: Some(\"[2J\")"));
    assert!(told(" Chat\u{202e}ter\n ").contains("software: Some(\"Chatter\")"));
    assert!(told(&"\u{e9}".repeat(500)).contains(&format!("Some(\"{}\")", "\u{e9}".repeat(128))));
    assert_eq!(UserAgent::new(&"x".repeat(128), None, None).unwrap().id().len(), 128);
}

#[tokio::test]
async fn abuse_62_whoever_has_the_data_alone_has_no_token() {
    let (one, other) = (Server::start(Settings::default()).await, Server::start(Settings::default()).await);
    other.router.set_token_secret(stonechat_sasl::TokenSecret([7; 32]));
    // The same account, device and seed.
    let (token, foreign) =
        (one.token(PHONE, TokenMechanism::Exporter).await, other.token(PHONE, TokenMechanism::Exporter).await);
    let id = one.account_id("alice").await.unwrap();
    assert_eq!(Some(id), other.account_id("alice").await);
    assert_ne!(token, foreign);
    assert!(one.phone_logs_in(&token).await.is_ok());
    assert_eq!(one.phone_logs_in(&foreign).await, Err(Failure::NotAuthorized));
}

#[tokio::test]
async fn xep0494_3_1_the_owner_sees_what_has_access() {
    let server = Server::start(Settings::default()).await;
    server.token(PHONE, TokenMechanism::Exporter).await;
    server.clock.forward(DAY);
    server.router.note_device(&account("alice"), &UserAgent::new(LAPTOP, None, None).unwrap(), "PLAIN").await.unwrap();
    let _phone = server.connect_device(PHONE, "phone").await;
    let mut desk = server.connect("alice").await;
    let number = desk.session.id().0;
    let expected = format!(
        "<clients xmlns='urn:xmpp:cam:0'>\
         <client connected='false' id='device-{LAPTOP}' type='session'>\
         <first-seen>2023-11-15T22:13:20Z</first-seen><last-seen>2023-11-15T22:13:20Z</last-seen>\
         <auth><password/></auth><permission status='unrestricted'/><user-agent/></client>\
         <client connected='true' id='device-{PHONE}' type='session'>\
         <first-seen>2023-11-14T22:13:20Z</first-seen><last-seen>2023-11-15T22:13:20Z</last-seen>\
         <auth><password/><fast/></auth><permission status='unrestricted'/>\
         <user-agent><software>Chatter</software><device>Juliet's phone</device></user-agent></client>\
         <client connected='true' id='session-{number}' type='session'>\
         <first-seen>2023-11-15T22:13:20Z</first-seen><last-seen>2023-11-15T22:13:20Z</last-seen>\
         <auth><password/></auth><permission status='unrestricted'/><user-agent/></client>\
         </clients>"
    );
    assert_eq!(desk.ask("get", "", LIST).await.unwrap(), expected);
    assert_eq!(desk.ask("get", ALICE, LIST).await.unwrap(), expected);

    // Who knows no valid password and has no token is not there any more, unless it is connected.
    server.set_password("another secret").await;
    let list = desk.ask("get", "", LIST).await.unwrap();
    assert!(!list.contains(LAPTOP), "{list}");
    let phone = &list[list.find(PHONE).unwrap()..];
    assert!(phone.contains("<auth/><permission"), "{list}");
}

#[tokio::test]
async fn xep0494_3_2_who_knows_the_password_is_revoked_after_it_changed() {
    let server = Server::start(Settings::default()).await;
    server.token(PHONE, TokenMechanism::Exporter).await;
    let phone = server.connect_device(PHONE, "phone").await;
    let mut desk = server.connect("alice").await;
    let (device, session) = (format!("device-{PHONE}"), format!("session-{}", desk.session.id().0));
    for id in [&device, &session] {
        let answer = desk.ask_whole("set", "", &revoke(id)).await;
        let error = answer.error().unwrap();
        assert_eq!(error.condition.name(), "service-unavailable");
        let application = error.application.unwrap();
        assert!(application.is("password-reset-required", "urn:xmpp:cam:0"));
    }
    assert!(!was_closed(&phone));
    server.set_password("another secret").await;
    assert_eq!(desk.ask("set", "", &revoke(&device)).await, support::DONE);
    assert!(was_closed(&phone));
    phone.session.end(Ending::Closed, &mut Turn::new());
    assert_eq!(desk.ask("set", "", &revoke(&device)).await, Err("item-not-found"));
}

#[tokio::test]
async fn xep0494_3_2_ids_that_are_nobodys() {
    let server = Server::start(Settings::default()).await;
    let mut desk = server.connect("alice").await;
    for id in ["", "device-", PHONE, "device-x", "session-", "session-99999", "session-x"] {
        assert_eq!(desk.ask("set", "", &revoke(id)).await, Err("item-not-found"), "{id}");
    }
    assert_eq!(desk.ask("set", "", "<revoke xmlns='urn:xmpp:cam:0'/>").await, Err("bad-request"));
    // Of another account, by its number.
    let bob = server.connect("bob").await;
    let id = format!("session-{}", bob.session.id().0);
    assert_eq!(desk.ask("set", "", &revoke(&id)).await, Err("item-not-found"));
}

#[tokio::test]
async fn xep0494_5_nobody_but_the_owner_is_answered() {
    let server = Server::start(Settings::default()).await;
    server.token(PHONE, TokenMechanism::Exporter).await;
    let (mut bob, mut carol) = (server.connect("bob").await, server.connect("carol").await);
    for (kind, payload) in [("get", LIST.to_owned()), ("set", revoke(&format!("device-{PHONE}")))] {
        for to in [ALICE, NOBODY] {
            assert_eq!(bob.ask(kind, to, &payload).await, Err("forbidden"));
            assert_eq!(carol.ask(kind, to, &payload).await, Err("forbidden"));
            assert_eq!(answer_of(&server.ask_from_elsewhere(kind, to, &payload).await), Err("forbidden"));
        }
    }
    assert_eq!(server.router.devices(&account("alice")).await.unwrap().len(), 1);
}
