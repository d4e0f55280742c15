//! What is queued when, what a read sees, and the end.

use super::{account, bodies, credentials, jid, new_account};
use crate::{AccountState, Error, NewAccount, OfflineId, OfflineStored, Pending, Result, Share, Store, XmlKind};

fn append(store: &dyn Store, id: crate::AccountId, number: usize) -> Pending<OfflineStored> {
    store.append_offline(id, 1, format!("{number}").into(), 10_000, 1_000_000)
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

pub(super) async fn writes_happen_in_the_order_of_the_calls(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let pending: Vec<_> = (0..200).map(|number| append(store, id, number)).collect();
    let mut last = None;
    // Polled from the last to the first.
    for stored in pending.into_iter().rev() {
        let OfflineStored::Stored(stored) = stored.await.unwrap() else { panic!("there is room") };
        assert!(last.is_none_or(|last: OfflineId| stored < last));
        last = Some(stored);
    }
    assert_eq!(bodies(&store.offline(id, Share::Anybodys, None, 1_000).await.unwrap()), numbers(200));

    // Writes of different kinds are one queue: the last call wins, whoever is waited for first.
    let first = store.set_last_activity(id, 1, "first".into());
    let second = store.set_last_activity(id, 2, "second".into());
    second.await.unwrap();
    first.await.unwrap();
    let found = store.account(&jid("juliet@example.org")).await.unwrap().unwrap();
    assert_eq!(found.last_activity, Some((2, "second".into())));
    let (put, deleted) =
        (store.put_xml(id, XmlKind::VCard, "", Some(b"<v/>".to_vec()), 10), store.delete_account(id, 1));
    let late = append(store, id, 0);
    assert!(matches!(late.await, Err(Error::NotFound)));
    deleted.await.unwrap();
    put.await.unwrap();
}

pub(super) async fn a_write_whose_future_is_dropped_happens(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    for number in 0..50 {
        drop(append(store, id, number));
    }
    drop(store.set_account_state(id, AccountState::Locked));
    append(store, id, 50).await.unwrap();
    assert_eq!(bodies(&store.offline(id, Share::Anybodys, None, 1_000).await.unwrap()), numbers(51));
    assert_eq!(store.account(&jid("juliet@example.org")).await.unwrap().unwrap().state, AccountState::Locked);
}

pub(super) async fn a_read_sees_the_writes_called_before_it(store: &dyn Store) {
    for round in 0..20_u8 {
        let name = format!("a{round}@example.org");
        let created = store.create_account(new_account(&name), 0);
        let found = store.account(&jid(&name)).await.unwrap();
        let id = created.await.unwrap();
        assert!(found.is_some_and(|found| found.id == id), "round {round}");
        let pending: Vec<_> = (0..10).map(|number| append(store, id, number)).collect();
        let (read, count) = (store.offline(id, Share::Anybodys, None, 100), store.count_offline(id));
        assert_eq!(count.await.unwrap(), 10, "round {round}");
        assert_eq!(bodies(&read.await.unwrap()), numbers(10), "round {round}");
        drop(pending);
        drop(store.set_credentials(id, credentials(round)));
        drop(store.put_roster_entry(id, super::rosters::entry("romeo@example.net", 1)));
        drop(store.put_xml(id, XmlKind::VCard, "", Some(b"<v/>".to_vec()), 10));
        let (account, roster, card) = (store.account(&jid(&name)), store.roster(id), store.xml(id, XmlKind::VCard, ""));
        let (domain, listed) = (store.count_accounts("example.org"), store.accounts("example.org", None, 100));
        assert!(card.await.unwrap().is_some(), "round {round}");
        assert_eq!(roster.await.unwrap().entries.len(), 1, "round {round}");
        assert!(account.await.unwrap().unwrap().credentials == credentials(round), "round {round}");
        assert_eq!(domain.await.unwrap(), u64::from(round) + 1);
        assert_eq!(listed.await.unwrap().len(), usize::from(round) + 1);
    }
}

pub(super) async fn a_write_that_fails_costs_the_others_nothing(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let mut pending: Vec<Pending<Result<()>>> = Vec::new();
    for number in 0..30 {
        let good = append(store, id, number);
        pending.push(Box::pin(async move { Ok(good.await.map(|_| ())) }));
        let taken = NewAccount { credentials: credentials(9), ..new_account("juliet@example.org") };
        let bad = store.create_account(taken, 0);
        pending.push(Box::pin(async move { Ok(bad.await.map(|_| ())) }));
        let bad = store.put_xml(id, XmlKind::Private, "a", Some(vec![b'x'; 11]), 10);
        pending.push(Box::pin(async move { Ok(bad.await) }));
    }
    for (number, outcome) in pending.into_iter().enumerate() {
        let outcome = outcome.await.unwrap();
        match number % 3 {
            0 => outcome.unwrap(),
            1 => assert!(matches!(outcome, Err(Error::Conflict))),
            _ => assert!(matches!(outcome, Err(Error::Full(_)))),
        }
    }
    assert_eq!(bodies(&store.offline(id, Share::Anybodys, None, 100).await.unwrap()), numbers(30));
}

pub(super) async fn after_the_close_everything_is_refused(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let pending: Vec<_> = (0..100).map(|number| append(store, id, number)).collect();
    // Not polled yet, and it counts from here.
    let closed = store.close();
    assert!(matches!(append(store, id, 100).await, Err(Error::Closed)));
    closed.await.unwrap();
    for stored in pending {
        assert!(matches!(stored.await, Ok(OfflineStored::Stored(_))), "what was queued before is done");
    }
    assert!(matches!(store.account(&jid("juliet@example.org")).await, Err(Error::Closed)));
    assert!(matches!(store.secret("decoy", [1; 32]).await, Err(Error::Closed)));
    store.close().await.unwrap();
}
