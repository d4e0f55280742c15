//! Devices and their tokens.

use super::account;
use crate::{AccountId, Device, Error, Store, StoredToken};

pub(super) fn token(mark: u8, issued: u64) -> StoredToken {
    StoredToken { seed: [mark; 16], mechanism: "HT-SHA-256-EXPR".into(), issued, expires: issued + 100, count: 0 }
}

pub(super) fn device(id: &str, last_seen: u64, tokens: Vec<StoredToken>) -> Device {
    Device {
        id: id.into(),
        software: Some("Client".into()),
        name: None,
        mechanism: "SCRAM-SHA-256".into(),
        first_seen: 1,
        last_seen,
        tokens,
    }
}

fn names(devices: &[Device]) -> Vec<&str> {
    devices.iter().map(|device| device.id.as_str()).collect()
}

pub(super) async fn a_device_is_put_and_replaced_whole(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    assert_eq!(store.devices(juliet).await.unwrap(), []);
    let first = device("phone", 5, vec![token(1, 10), token(2, 20)]);
    store.put_device(juliet, first.clone(), 10).await.unwrap();
    assert_eq!(store.device(juliet, "phone").await.unwrap(), Some(first.clone()));
    let mut second =
        Device { software: None, name: Some("Ph\u{f6}ne".into()), ..device("phone", 6, vec![token(3, 30)]) };
    second.mechanism = "HT-SHA-256-ENDP".into();
    second.tokens[0].count = u64::MAX;
    store.put_device(juliet, second.clone(), 10).await.unwrap();
    assert_eq!(store.device(juliet, "phone").await.unwrap(), Some(second.clone()));
    store.put_device(juliet, device("laptop", 9, Vec::new()), 10).await.unwrap();
    store.put_device(nurse, device("phone", 1, vec![token(9, 1)]), 10).await.unwrap();
    let all = store.devices(juliet).await.unwrap();
    assert_eq!(all, [device("laptop", 9, Vec::new()), second]);
    assert_eq!(store.device(juliet, "tablet").await.unwrap(), None);
    store.remove_device(juliet, "phone").await.unwrap();
    assert!(matches!(store.remove_device(juliet, "phone").await, Err(Error::NotFound)));
    assert_eq!(names(&store.devices(juliet).await.unwrap()), ["laptop"]);
    assert_eq!(store.device(nurse, "phone").await.unwrap().unwrap().tokens.len(), 1);
    // Its tokens went with it.
    store.put_device(juliet, device("phone", 1, Vec::new()), 10).await.unwrap();
    assert_eq!(store.device(juliet, "phone").await.unwrap().unwrap().tokens, []);
    let nobody = AccountId(i64::MAX);
    assert!(matches!(store.put_device(nobody, first, 10).await, Err(Error::NotFound)));
    assert!(matches!(store.remove_device(nobody, "phone").await, Err(Error::NotFound)));
    assert_eq!(store.devices(nobody).await.unwrap(), []);
    store.remove_tokens(nobody).await.unwrap();
}

pub(super) async fn the_device_seen_longest_ago_makes_room(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    for (name, seen) in [("a", 30), ("b", 10), ("c", 20)] {
        store.put_device(id, device(name, seen, vec![token(1, 1)]), 3).await.unwrap();
    }
    // A device that is seen again takes no place of another.
    store.put_device(id, device("b", 11, Vec::new()), 3).await.unwrap();
    assert_eq!(names(&store.devices(id).await.unwrap()), ["a", "c", "b"]);
    // Not even one that says it was seen before all others makes room by going.
    store.put_device(id, device("d", 0, Vec::new()), 3).await.unwrap();
    assert_eq!(names(&store.devices(id).await.unwrap()), ["a", "c", "d"]);
    // A lower bound lets several go.
    store.put_device(id, device("e", 40, Vec::new()), 2).await.unwrap();
    assert_eq!(names(&store.devices(id).await.unwrap()), ["e", "a"]);
}

pub(super) async fn xep0484_a_token_is_used_with_growing_counts(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    for owner in [juliet, nurse] {
        store.put_device(owner, device("phone", 1, vec![token(1, 10), token(2, 20)]), 9).await.unwrap();
        store.put_device(owner, device("laptop", 1, vec![token(3, 5)]), 9).await.unwrap();
    }
    let used = |device, mark, count| store.use_token(juliet, device, [mark; 16], count);
    let marks = async |owner, name| {
        let device = store.device(owner, name).await.unwrap().unwrap();
        device.tokens.iter().map(|token| (token.seed[0], token.count)).collect::<Vec<_>>()
    };
    // Without counts, any number of times.
    assert!(used("phone", 1, 0).await.unwrap());
    assert!(used("phone", 1, 0).await.unwrap());
    assert_eq!(marks(juliet, "phone").await, [(1, 0), (2, 0)], "one that was issued later stays");
    assert!(used("phone", 1, 5).await.unwrap());
    for replayed in [5, 4, 0] {
        assert!(!used("phone", 1, replayed).await.unwrap(), "{replayed}");
    }
    assert!(used("phone", 1, u64::MAX - 1).await.unwrap());
    assert!(used("phone", 1, u64::MAX).await.unwrap());
    assert!(!used("phone", 1, u64::MAX).await.unwrap());
    assert_eq!(marks(juliet, "phone").await, [(1, u64::MAX), (2, 0)]);
    // The first use of the newer one ends the older.
    assert!(used("phone", 2, 1).await.unwrap());
    assert_eq!(marks(juliet, "phone").await, [(2, 1)]);
    assert!(matches!(used("phone", 1, 9).await, Err(Error::NotFound)));
    assert!(matches!(used("laptop", 2, 9).await, Err(Error::NotFound)), "another device's token");
    assert!(matches!(used("tablet", 2, 9).await, Err(Error::NotFound)));
    assert!(matches!(store.use_token(AccountId(i64::MAX), "phone", [2; 16], 9).await, Err(Error::NotFound)));
    assert_eq!(marks(juliet, "laptop").await, [(3, 0)]);
    assert_eq!(marks(nurse, "phone").await, [(1, 0), (2, 0)]);
    // The password was changed.
    store.remove_tokens(juliet).await.unwrap();
    assert_eq!(marks(juliet, "phone").await, []);
    assert_eq!(marks(juliet, "laptop").await, []);
    assert_eq!(names(&store.devices(juliet).await.unwrap()).len(), 2, "devices stay known");
    assert_eq!(marks(nurse, "laptop").await, [(3, 0)]);
}
