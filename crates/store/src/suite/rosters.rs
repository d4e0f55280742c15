//! Rosters and their versions.

use super::{account, jid};
use crate::{AccountId, Error, ROSTER_REMOVALS_KEPT, RosterRecord, Store, StoredRoster, StoredSubscription};

pub(super) fn entry(contact: &str, version: u64) -> RosterRecord {
    RosterRecord {
        jid: jid(contact),
        name: None,
        groups: Vec::new(),
        subscription: StoredSubscription::default(),
        request: None,
        listed: true,
        version,
    }
}

fn sorted(mut entries: Vec<RosterRecord>) -> Vec<RosterRecord> {
    entries.sort_by(|one, other| one.jid.as_str().cmp(other.jid.as_str()));
    entries
}

pub(super) async fn entries_come_back_as_they_were_put(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    assert_eq!(store.roster(id).await.unwrap(), StoredRoster::default());
    // Every combination of the flags: one that is mixed up with another shows.
    let mut put = Vec::new();
    for bits in 0..64_u64 {
        let bit = |number: u32| bits >> number & 1 == 1;
        let mut entry = entry(&format!("c{bits:02}@example.net"), bits + 1);
        entry.subscription =
            StoredSubscription { to: bit(0), from: bit(1), pending_out: bit(2), pending_in: bit(3), approved: bit(4) };
        entry.listed = bit(5);
        entry.request = bit(3).then(|| format!("<presence id='{bits}'/>").into_bytes());
        entry.name = bit(0).then(|| "Roméo".into());
        // The client's order is kept.
        entry.groups = if bit(1) { vec!["Z\u{fc}rich".into(), "a, b".into(), "a".into()] } else { Vec::new() };
        store.put_roster_entry(id, entry.clone()).await.unwrap();
        put.push(entry);
    }
    // An empty name is not the same as none.
    put[0].name = Some(String::new());
    store.put_roster_entry(id, put[0].clone()).await.unwrap();
    let roster = store.roster(id).await.unwrap();
    assert_eq!(sorted(roster.entries), put);
    assert_eq!(roster.version, 64);
}

pub(super) async fn rfc6121_2_6_the_version_follows_every_change(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    store.put_roster_entry(id, entry("romeo@example.net", 1)).await.unwrap();
    store.put_roster_entry(id, entry("nurse@example.net", 2)).await.unwrap();
    let mut renamed = entry("romeo@example.net", 3);
    renamed.name = Some("R".into());
    store.put_roster_entry(id, renamed).await.unwrap();
    let roster = store.roster(id).await.unwrap();
    assert_eq!(roster.version, 3);
    let versions: Vec<_> = sorted(roster.entries).into_iter().map(|entry| (entry.version, entry.name)).collect();
    assert_eq!(versions, [(2, None), (3, Some("R".into()))]);
    store.remove_roster_entry(id, &jid("nurse@example.net"), 4).await.unwrap();
    let roster = store.roster(id).await.unwrap();
    assert_eq!((roster.version, roster.horizon, roster.entries.len()), (4, 0, 1));
    assert_eq!(roster.removed, [(jid("nurse@example.net"), 4)]);
}

pub(super) async fn a_removal_is_told_until_the_contact_is_listed_again(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    store.put_roster_entry(id, entry("romeo@example.net", 1)).await.unwrap();
    store.remove_roster_entry(id, &jid("romeo@example.net"), 2).await.unwrap();
    // Not there: no error, and remembered all the same.
    store.remove_roster_entry(id, &jid("paris@example.net"), 3).await.unwrap();
    store.remove_roster_entry(id, &jid("paris@example.net"), 4).await.unwrap();
    let removed = store.roster(id).await.unwrap().removed;
    assert_eq!(removed, [(jid("romeo@example.net"), 2), (jid("paris@example.net"), 4)]);
    // A request of the removed contact comes in: clients have still to hear of the removal.
    let hidden =
        RosterRecord { listed: false, request: Some(b"<presence/>".to_vec()), ..entry("romeo@example.net", 5) };
    store.put_roster_entry(id, hidden).await.unwrap();
    let roster = store.roster(id).await.unwrap();
    assert_eq!(roster.removed.len(), 2);
    assert_eq!(roster.entries.len(), 1);
    store.put_roster_entry(id, entry("romeo@example.net", 6)).await.unwrap();
    assert_eq!(store.roster(id).await.unwrap().removed, [(jid("paris@example.net"), 4)]);
}

pub(super) async fn removals_are_bounded_by_the_horizon(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let kept = u64::from(ROSTER_REMOVALS_KEPT);
    let removals: Vec<_> = (1..=kept + 5)
        .map(|version| store.remove_roster_entry(id, &jid(&format!("c{version}@example.net")), version))
        .collect();
    for removal in removals {
        removal.await.unwrap();
    }
    let roster = store.roster(id).await.unwrap();
    assert_eq!(roster.version, kept + 5);
    assert_eq!(roster.removed.len() as u64, kept);
    // A client that has version 5 has seen the five that are forgotten.
    assert_eq!(roster.horizon, 5);
    assert_eq!(roster.removed.iter().map(|(_, version)| *version).min(), Some(6));
    // A change does not lower it.
    store.put_roster_entry(id, entry("romeo@example.net", kept + 6)).await.unwrap();
    assert_eq!(store.roster(id).await.unwrap().horizon, 5);
}

pub(super) async fn rosters_are_apart(store: &dyn Store) {
    let juliet = account(store, "juliet@example.org").await;
    let nurse = account(store, "nurse@example.org").await;
    store.put_roster_entry(juliet, entry("romeo@example.net", 1)).await.unwrap();
    store.put_roster_entry(nurse, entry("romeo@example.net", 9)).await.unwrap();
    store.remove_roster_entry(nurse, &jid("romeo@example.net"), 10).await.unwrap();
    let roster = store.roster(juliet).await.unwrap();
    assert_eq!((roster.version, roster.entries.len(), roster.removed.len()), (1, 1, 0));
    let nobody = AccountId(i64::MAX);
    assert_eq!(store.roster(nobody).await.unwrap(), StoredRoster::default());
    let put = store.put_roster_entry(nobody, entry("romeo@example.net", 1)).await;
    assert!(matches!(put, Err(Error::NotFound)));
    let removed = store.remove_roster_entry(nobody, &jid("romeo@example.net"), 1).await;
    assert!(matches!(removed, Err(Error::NotFound)));
}
