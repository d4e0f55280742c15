//! Devices and their tokens.

use super::account;
use crate::{AccountId, Device, Error, Proofs, Store, StoredToken};

const MOST: usize = 3;

pub(super) fn device(id: &str, at: u64) -> Device {
    Device {
        id: id.into(),
        software: Some("Chatter \u{1F319}".into()),
        name: None,
        mechanism: Some("SCRAM-SHA-256".into()),
        first_seen: at,
        last_seen: at,
        tokens: Vec::new(),
    }
}

pub(super) fn token(mark: u8, issued: u64) -> StoredToken {
    StoredToken { seed: [mark; 16], mechanism: "HT-SHA-256-EXPR".into(), issued, expires: issued + 1_000, count: 0 }
}

async fn marks(store: &dyn Store, account: AccountId, id: &str) -> Vec<u8> {
    store.device(account, id).await.unwrap().unwrap().tokens.iter().map(|token| token.seed[0]).collect()
}

pub(super) async fn a_device_comes_back_as_it_was_put(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    assert!(store.devices(juliet).await.unwrap().is_empty());
    assert!(store.device(juliet, "phone").await.unwrap().is_none());
    store.put_device(juliet, device("phone", 10), MOST).await.unwrap();
    store.put_device(juliet, device("laptop", 20), MOST).await.unwrap();
    assert_eq!(store.device(juliet, "phone").await.unwrap(), Some(device("phone", 10)));
    assert_eq!(store.devices(juliet).await.unwrap(), [device("laptop", 20), device("phone", 10)]);
    assert!(store.devices(nurse).await.unwrap().is_empty());

    // Again, under another name: its first time and its tokens stay.
    store.put_token(juliet, "phone", token(1, 25), None).await.unwrap();
    let again = Device { name: Some("Her phone".into()), software: None, mechanism: None, ..device("phone", 30) };
    store.put_device(juliet, Device { tokens: vec![token(9, 30)], ..again.clone() }, MOST).await.unwrap();
    let expected = Device { first_seen: 10, tokens: vec![token(1, 25)], ..again };
    assert_eq!(store.devices(juliet).await.unwrap(), [expected, device("laptop", 20)]);

    store.delete_account(juliet, 40).await.unwrap();
    assert!(store.devices(juliet).await.unwrap().is_empty());
    assert!(matches!(store.put_device(juliet, device("phone", 50), MOST).await, Err(Error::NotFound)));
}

pub(super) async fn the_device_seen_longest_ago_makes_room(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    for (id, at) in [("a", 30), ("b", 10), ("c", 20)] {
        store.put_device(juliet, device(id, at), MOST).await.unwrap();
    }
    store.put_token(juliet, "b", token(1, 10), None).await.unwrap();
    // The newest goes in, though it was seen before all others.
    store.put_device(juliet, device("d", 5), MOST).await.unwrap();
    let ids = async || store.devices(juliet).await.unwrap().into_iter().map(|device| device.id).collect::<Vec<_>>();
    assert_eq!(ids().await, ["a", "c", "d"]);
    assert!(matches!(store.use_token(juliet, "b", [1; 16], 0, 40).await, Err(Error::NotFound)));
    // One that is there needs no room.
    store.put_device(juliet, device("c", 50), MOST).await.unwrap();
    assert_eq!(ids().await, ["c", "a", "d"]);
    // A lower bound lets several go.
    store.put_device(juliet, device("e", 40), 2).await.unwrap();
    assert_eq!(ids().await, ["c", "e"]);
}

pub(super) async fn a_new_token_leaves_the_one_in_use(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    store.put_device(juliet, device("phone", 10), MOST).await.unwrap();
    store.put_device(juliet, device("laptop", 10), MOST).await.unwrap();
    store.put_token(juliet, "laptop", token(8, 10), None).await.unwrap();
    store.put_token(juliet, "phone", token(1, 10), None).await.unwrap();
    store.put_token(juliet, "phone", token(2, 20), Some([1; 16])).await.unwrap();
    assert_eq!(marks(store, juliet, "phone").await, [1, 2]);
    store.put_token(juliet, "phone", token(3, 30), Some([1; 16])).await.unwrap();
    assert_eq!(marks(store, juliet, "phone").await, [1, 3]);
    store.put_token(juliet, "phone", token(4, 40), None).await.unwrap();
    assert_eq!(marks(store, juliet, "phone").await, [4]);
    assert_eq!(store.device(juliet, "phone").await.unwrap().unwrap().tokens, [token(4, 40)]);
    assert_eq!(marks(store, juliet, "laptop").await, [8]);
    assert!(matches!(store.put_token(juliet, "watch", token(5, 50), None).await, Err(Error::NotFound)));
}

pub(super) async fn xep0484_3_5_a_used_token_ends_those_before_it(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    store.put_device(juliet, device("phone", 10), MOST).await.unwrap();
    store.put_token(juliet, "phone", token(1, 10), None).await.unwrap();
    store.put_token(juliet, "phone", token(2, 20), Some([1; 16])).await.unwrap();
    assert_eq!(store.use_token(juliet, "phone", [1; 16], 0, 30).await.unwrap(), Some(10));
    assert_eq!(marks(store, juliet, "phone").await, [1, 2]);
    assert_eq!(store.use_token(juliet, "phone", [2; 16], 0, 40).await.unwrap(), Some(20));
    assert_eq!(marks(store, juliet, "phone").await, [2]);
    let seen = store.device(juliet, "phone").await.unwrap().unwrap();
    assert_eq!((seen.first_seen, seen.last_seen), (10, 40));
    assert_eq!(seen.mechanism.as_deref(), Some("SCRAM-SHA-256"));
    assert!(matches!(store.use_token(juliet, "phone", [1; 16], 0, 50).await, Err(Error::NotFound)));
    assert!(matches!(store.use_token(juliet, "watch", [2; 16], 0, 50).await, Err(Error::NotFound)));
}

pub(super) async fn abuse_62_a_count_is_taken_once(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    store.put_device(juliet, device("phone", 10), MOST).await.unwrap();
    store.put_token(juliet, "phone", token(1, 10), None).await.unwrap();
    let last = u64::MAX;
    let table = [
        (0, true),
        (0, true),
        (3, true),
        (3, false),
        (2, false),
        (0, false),
        (4, true),
        (last - 1, true),
        (last, true),
        (last, false),
    ];
    for (at, (count, taken)) in table.into_iter().enumerate() {
        assert_eq!(
            store.use_token(juliet, "phone", [1; 16], count, at as u64).await.unwrap().is_some(),
            taken,
            "{count}"
        );
    }
    let device = store.device(juliet, "phone").await.unwrap().unwrap();
    assert_eq!(device.tokens[0].count, last);
    assert_eq!(device.last_seen, 8, "a replay is no sign of the device");
}

pub(super) async fn abuse_62_what_is_revoked_is_gone(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    let furnish = async || {
        for (owner, id) in [(juliet, "phone"), (juliet, "laptop"), (nurse, "phone")] {
            store.put_device(owner, device(id, 10), MOST).await.unwrap();
            store.put_token(owner, id, token(1, 10), None).await.unwrap();
        }
    };
    // Of juliet's phone and laptop: tokens, and whether the password is known.
    let left = async || {
        let mut left = Vec::new();
        for id in ["phone", "laptop"] {
            let device = store.device(juliet, id).await.unwrap();
            left.push(device.map(|device| (device.tokens.len(), device.mechanism.is_some())));
        }
        left
    };
    furnish().await;
    store.remove_tokens(juliet, Proofs::Device("phone")).await.unwrap();
    assert_eq!(left().await, [Some((0, true)), Some((1, true))]);
    furnish().await;
    store.remove_tokens(juliet, Proofs::Tokens).await.unwrap();
    assert_eq!(left().await, [Some((0, true)), Some((0, true))]);
    furnish().await;
    store.remove_tokens(juliet, Proofs::Password).await.unwrap();
    assert_eq!(left().await, [Some((0, false)), Some((0, false))]);
    furnish().await;
    store.remove_device(juliet, "phone").await.unwrap();
    assert_eq!(left().await, [None, Some((1, true))]);
    assert!(matches!(store.remove_device(juliet, "phone").await, Err(Error::NotFound)));
    // A device of that name that comes later has no token.
    store.put_device(juliet, device("phone", 20), MOST).await.unwrap();
    assert_eq!(left().await, [Some((0, true)), Some((1, true))]);
    assert_eq!(marks(store, nurse, "phone").await, [1]);

    let nobody = AccountId(i64::MAX);
    assert!(store.devices(nobody).await.unwrap().is_empty());
    assert!(matches!(store.remove_device(nobody, "phone").await, Err(Error::NotFound)));
    assert!(matches!(store.use_token(nobody, "phone", [1; 16], 0, 1).await, Err(Error::NotFound)));
    assert!(matches!(store.put_token(nobody, "phone", token(1, 1), None).await, Err(Error::NotFound)));
    store.remove_tokens(nobody, Proofs::Password).await.unwrap();
}
