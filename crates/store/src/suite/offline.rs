//! Messages for those who are away.

use super::{account, bodies, keep};
use crate::{AccountId, Error, OfflineId, OfflineStored, Share, Store};

pub(super) async fn messages_come_in_order_and_in_pages(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let stored = store.append_offline(juliet, 100 + number, format!("{number}").into(), 10, 100).await.unwrap();
        let OfflineStored::Stored(id) = stored else { panic!("there is room") };
        ids.push(id);
        keep(store, nurse, "somebody else's").await;
    }
    assert!(ids.is_sorted_by(|one, next| one < next));
    assert_eq!(store.count_offline(juliet).await.unwrap(), 5);
    let first = store.offline(juliet, Share::Anybodys, None, 2).await.unwrap();
    assert_eq!(bodies(&first), ["0", "1"]);
    assert_eq!((first[1].id, first[1].at), (ids[1], 101));
    let rest = store.offline(juliet, Share::Anybodys, Some(first[1].id), 10).await.unwrap();
    assert_eq!(bodies(&rest), ["2", "3", "4"]);
    assert_eq!(store.offline(juliet, Share::Anybodys, Some(ids[4]), 10).await.unwrap(), []);
    assert_eq!(store.offline(juliet, Share::Anybodys, None, 0).await.unwrap(), []);
}

pub(super) async fn what_is_removed_is_gone_and_its_id_with_it(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let mut last = OfflineId(i64::MIN);
    for body in ["a", "b", "c"] {
        let OfflineStored::Stored(stored) = keep(store, id, body).await else { panic!("there is room") };
        last = stored;
    }
    let second = store.offline(id, Share::Anybodys, None, 2).await.unwrap()[1].id;
    store.remove_offline(id, Share::Anybodys, second).await.unwrap();
    store.remove_offline(id, Share::Anybodys, second).await.unwrap();
    assert_eq!(bodies(&store.offline(id, Share::Anybodys, None, 10).await.unwrap()), ["c"]);
    assert_eq!(store.count_offline(id).await.unwrap(), 1);
    store.remove_offline(id, Share::Anybodys, last).await.unwrap();
    assert_eq!(store.count_offline(id).await.unwrap(), 0);
    // The queue is empty; the next id is a new one all the same: who asks after the last one must see it.
    let OfflineStored::Stored(next) = keep(store, id, "d").await else { panic!("there is room") };
    assert!(next > last);
    assert_eq!(bodies(&store.offline(id, Share::Anybodys, Some(last), 10).await.unwrap()), ["d"]);
}

pub(super) async fn the_number_and_the_bytes_are_bounded(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let append = |body: &str, messages, bytes| store.append_offline(id, 1, body.into(), messages, bytes);
    let stored = |outcome: OfflineStored| matches!(outcome, OfflineStored::Stored(_));
    assert!(stored(append("1234", 2, 8).await.unwrap()));
    assert_eq!(append("12345", 2, 8).await.unwrap(), OfflineStored::Full, "one byte too many");
    assert!(stored(append("1234", 2, 8).await.unwrap()), "what was refused does not count");
    assert_eq!(append("", 2, 8).await.unwrap(), OfflineStored::Full, "one message too many");
    assert_eq!(store.count_offline(id).await.unwrap(), 2);
    // Room comes back with what goes.
    let first = store.offline(id, Share::Anybodys, None, 1).await.unwrap()[0].id;
    store.remove_offline(id, Share::Anybodys, first).await.unwrap();
    assert!(stored(append("4321", 2, 8).await.unwrap()));
    assert_eq!(append("", 2, 8).await.unwrap(), OfflineStored::Full);
    assert_eq!(append("x", 100, 8).await.unwrap(), OfflineStored::Full);
    assert_eq!(append("", 0, 0).await.unwrap(), OfflineStored::Full);
    assert!(stored(append("more", u64::MAX, u64::MAX).await.unwrap()));
    assert_eq!(bodies(&store.offline(id, Share::Anybodys, None, 10).await.unwrap()), ["1234", "4321", "more"]);
}

pub(super) async fn an_account_that_is_not_there_keeps_nothing(store: &dyn Store) {
    let nobody = AccountId(i64::MAX);
    assert!(matches!(store.append_offline(nobody, 1, b"a".to_vec(), 10, 10).await, Err(Error::NotFound)));
    assert_eq!(store.offline(nobody, Share::Anybodys, None, 10).await.unwrap(), []);
    assert_eq!(store.count_offline(nobody).await.unwrap(), 0);
    store.remove_offline(nobody, Share::Anybodys, OfflineId(1)).await.unwrap();
}
