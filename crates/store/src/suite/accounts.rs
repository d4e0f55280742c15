//! Accounts and their tombstones.

use super::{account, archive, credentials, devices, halves, jid, keep, lists, new_account};
use crate::{
    AccountState, ArchiveFilter, ArchivePosition, Error, Holder, NewAccount, Others, Reference, SavedSession, Share,
    SmId, SpoolRow, Store, StoredRoster, StoredSubscription, XmlKind,
};
use stonechat_sasl::Credentials;

pub(super) async fn what_is_created_is_found(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let found = store.account(&jid("juliet@example.org")).await.unwrap().unwrap();
    assert_eq!((found.id, found.jid.as_str(), found.created), (id, "juliet@example.org", 1_000));
    assert_eq!((found.state, found.last_activity), (AccountState::Active, None));
    assert!(found.credentials == credentials(1));
    assert!(store.account(&jid("romeo@example.org")).await.unwrap().is_none());
    assert!(store.account(&jid("juliet@example.net")).await.unwrap().is_none());
    let bare = NewAccount { credentials: Credentials::default(), ..new_account("bare@example.org") };
    store.create_account(bare, 0).await.unwrap();
    let found = store.account(&jid("bare@example.org")).await.unwrap().unwrap();
    assert!(found.credentials == Credentials::default(), "keys that were not given are not there");
}

pub(super) async fn a_name_is_taken_once(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let again = NewAccount { credentials: credentials(9), ..new_account("juliet@example.org") };
    assert!(matches!(store.create_account(again, 0).await, Err(Error::Conflict)));
    let found = store.account(&jid("juliet@example.org")).await.unwrap().unwrap();
    assert!(found.id == id && found.credentials == credentials(1), "the first owner keeps everything");
}

pub(super) async fn changes_are_seen_and_need_the_account(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    let only_sha256 = Credentials { sha1: None, sha512: None, ..credentials(7) };
    store.set_credentials(id, only_sha256.clone()).await.unwrap();
    store.set_account_state(id, AccountState::Locked).await.unwrap();
    store.set_last_activity(id, 77, "gone to the \u{1F319} garden".into()).await.unwrap();
    let found = store.account(&jid("juliet@example.org")).await.unwrap().unwrap();
    assert!(found.credentials == only_sha256, "old keys of a hash that is not set again are gone");
    assert_eq!(found.state, AccountState::Locked);
    assert_eq!(found.last_activity, Some((77, "gone to the \u{1F319} garden".into())));
    store.set_account_state(id, AccountState::Active).await.unwrap();
    assert_eq!(store.account(&jid("juliet@example.org")).await.unwrap().unwrap().state, AccountState::Active);

    store.delete_account(id, 2_000).await.unwrap();
    assert!(matches!(store.set_credentials(id, credentials(1)).await, Err(Error::NotFound)));
    assert!(matches!(store.set_account_state(id, AccountState::Active).await, Err(Error::NotFound)));
    assert!(matches!(store.set_last_activity(id, 1, String::new()).await, Err(Error::NotFound)));
    assert!(matches!(store.delete_account(id, 2_000).await, Err(Error::NotFound)));
    assert!(store.account(&jid("juliet@example.org")).await.unwrap().is_none());
}

pub(super) async fn a_domain_is_listed_in_order_and_in_pages(store: &dyn Store) {
    for name in ["d@example.org", "a@example.org", "c.c@example.org", "c@example.org", "b@example.net"] {
        account(store, name).await;
    }
    let mut listed = Vec::new();
    loop {
        let after = listed.last().cloned();
        let page = store.accounts("example.org", after.as_deref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        listed.extend(page.iter().map(|account| account.jid.to_string()));
    }
    // In the order of the addresses as text, whatever the backend's language thinks.
    assert_eq!(listed, ["a@example.org", "c.c@example.org", "c@example.org", "d@example.org"]);
    assert_eq!(store.count_accounts("example.org").await.unwrap(), 4);
    assert_eq!(store.count_accounts("example.net").await.unwrap(), 1);
    assert_eq!(store.count_accounts("example.com").await.unwrap(), 0);
}

pub(super) async fn a_tombstone_keeps_a_name_until_it_is_old(store: &dyn Store) {
    let id = account(store, "juliet@example.org").await;
    store.delete_account(id, 5_000).await.unwrap();
    let at = |now| NewAccount { now, ..new_account("juliet@example.org") };
    for now in [4_000, 5_000, 5_099] {
        // A clock that was set back makes no tombstone older.
        assert!(matches!(store.create_account(at(now), 100).await, Err(Error::Conflict)), "at {now}");
    }
    let second = store.create_account(at(5_100), 100).await.unwrap();
    assert!(second > id);
    store.delete_account(second, 6_000).await.unwrap();
    assert!(matches!(store.create_account(at(6_050), 100).await, Err(Error::Conflict)), "each removal counts anew");
    store.create_account(at(6_050), 0).await.unwrap();
}

/// An account with one of everything.
async fn furnish(store: &dyn Store, name: &str) -> crate::AccountId {
    let id = account(store, name).await;
    store.set_last_activity(id, 1, "was here".into()).await.unwrap();
    let mut entry = super::rosters::entry("romeo@example.net", 4);
    entry.subscription = StoredSubscription { pending_in: true, ..StoredSubscription::default() };
    entry.request = Some(b"<presence/>".to_vec());
    store.put_roster_entry(id, entry).await.unwrap();
    store.remove_roster_entry(id, &jid("paris@example.net"), 5).await.unwrap();
    keep(store, id, "kept").await;
    store.put_xml(id, XmlKind::Private, "{a}b", Some(b"<b xmlns='a'/>".to_vec()), 100).await.unwrap();
    store.put_xml(id, XmlKind::VCard, "", Some(b"<vCard/>".to_vec()), 100).await.unwrap();
    let holder = Holder::Session { id: SmId([1; 16]), place: crate::Place::Sent(1), others: Others::None };
    let spool = vec![SpoolRow { at: 1, stanza: b"held".to_vec(), archive: None, holder }];
    store.record(id, halves::whole(77, spool), (10, 100)).await.unwrap();
    // Searched, so that its words are in the index.
    assert_eq!(store.count_archive(id, searched(), archive::words).await.unwrap(), 1);
    let session = SavedSession { id: SmId([1; 16]), until: 1, state: b"state".to_vec() };
    store.save_sessions(id, vec![session]).await.unwrap();
    store.change_blocked(id, vec![jid("paris@example.net").into()], Vec::new(), 10).await.unwrap();
    store.put_push(id, lists::registration("push.example", "node", Some("secret")), 10).await.unwrap();
    store.put_device(id, devices::device("phone", 1), 10).await.unwrap();
    store.put_token(id, "phone", devices::token(1, 1), None).await.unwrap();
    id
}

fn searched() -> ArchiveFilter {
    ArchiveFilter { words: Some("word".into()), ..ArchiveFilter::default() }
}

async fn assert_bare(store: &dyn Store, id: crate::AccountId) {
    assert_eq!(store.roster(id).await.unwrap(), StoredRoster::default());
    assert_eq!(store.offline(id, Share::Anybodys, None, 10).await.unwrap(), []);
    assert_eq!(store.count_offline(id).await.unwrap(), 0);
    assert_eq!(store.xml(id, XmlKind::Private, "{a}b").await.unwrap(), None);
    assert_eq!(store.xml(id, XmlKind::VCard, "").await.unwrap(), None);
    for filter in [ArchiveFilter::default(), searched()] {
        assert_eq!(store.count_archive(id, filter.clone(), archive::words).await.unwrap(), 0);
        let page = store.archive_page(id, filter, ArchivePosition::First, 10, archive::words).await.unwrap();
        assert_eq!(page.messages, []);
    }
    assert_eq!(store.archive_bounds(id).await.unwrap(), None);
    assert_eq!(store.recent_marks(id, 10).await.unwrap(), []);
    assert_eq!(store.committed_count(id, SmId([1; 16])).await.unwrap(), None);
    assert_eq!(store.spool_holders(id).await.unwrap(), []);
    assert!(store.outgoing(None, 10).await.unwrap().iter().all(|message| message.account != id));
    assert_eq!(store.take_sessions(id).await.unwrap(), []);
    assert_eq!(store.blocked(id).await.unwrap(), []);
    assert_eq!(store.push_registrations(id).await.unwrap(), []);
    assert_eq!(store.devices(id).await.unwrap(), []);
    assert_eq!(store.device(id, "phone").await.unwrap(), None);
}

pub(super) async fn abuse_156_a_new_owner_of_a_name_inherits_nothing(store: &dyn Store) {
    let first = furnish(store, "juliet@example.org").await;
    store.delete_account(first, 2_000).await.unwrap();
    let heir = NewAccount { credentials: credentials(3), now: 3_000, ..new_account("juliet@example.org") };
    let second = store.create_account(heir, 0).await.unwrap();
    assert_ne!(first, second);
    let found = store.account(&jid("juliet@example.org")).await.unwrap().unwrap();
    assert!(found.id == second && found.credentials == credentials(3));
    assert_eq!((found.created, found.last_activity), (3_000, None));
    assert_bare(store, second).await;
    // Nor is the id of the newest account given again when it is the newest that goes.
    store.delete_account(second, 4_000).await.unwrap();
    assert!(account(store, "nurse@example.org").await > second);
}

pub(super) async fn abuse_157_nothing_of_an_erased_account_can_be_read(store: &dyn Store) {
    let erased = furnish(store, "juliet@example.org").await;
    let other = furnish(store, "nurse@example.org").await;
    // Not even by those who ask before it is done.
    let deleted = store.delete_account(erased, 2_000);
    assert_bare(store, erased).await;
    deleted.await.unwrap();
    assert_bare(store, erased).await;
    assert_eq!(store.count_accounts("example.org").await.unwrap(), 1);
    assert_eq!(store.accounts("example.org", None, 10).await.unwrap().len(), 1);
    // Somebody else's is untouched.
    assert_eq!(store.roster(other).await.unwrap().entries.len(), 1);
    assert_eq!(store.count_offline(other).await.unwrap(), 1);
    assert!(store.xml(other, XmlKind::VCard, "").await.unwrap().is_some());
    assert_eq!(store.count_archive(other, searched(), archive::words).await.unwrap(), 1);
    assert_eq!(store.recent_marks(other, 10).await.unwrap(), [Reference(8), Reference(7)]);
    assert_eq!(store.committed_count(other, SmId([1; 16])).await.unwrap(), Some(3));
    assert_eq!(store.spool_holders(other).await.unwrap(), [(SmId([1; 16]), crate::Claim::Open)]);
    assert_eq!(store.outgoing(None, 10).await.unwrap().len(), 1);
    assert_eq!(store.take_sessions(other).await.unwrap().len(), 1);
    assert_eq!(store.blocked(other).await.unwrap().len(), 1);
    assert_eq!(store.push_registrations(other).await.unwrap().len(), 1);
    assert_eq!(store.device(other, "phone").await.unwrap().unwrap().tokens.len(), 1);
    // And goes on.
    store.record(other, halves::whole(78, Vec::new()), (10, 100)).await.unwrap();
    assert_eq!(store.count_archive(other, searched(), archive::words).await.unwrap(), 2);
}
