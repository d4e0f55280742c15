//! Accounts that begin to be used.

use super::{account, jid};
use crate::{
    ArchiveId, ArchiveRow, Half, Holder, Mark, Others, PushRegistration, Reference, Repeatable, RosterRecord, SmId,
    SpoolRow, Store, StoredSubscription, XmlKind,
};

pub(super) async fn what_is_read_together_is_what_is_read_apart(store: &dyn Store) {
    let name = jid("juliet@example.org");
    assert_eq!(store.resident(&name, 10).await.unwrap(), None);
    let (nurse, id) = (account(store, "nurse@example.org").await, account(store, "juliet@example.org").await);
    let empty = store.resident(&name, 10).await.unwrap().unwrap();
    assert_eq!((empty.id, empty.last_archived, empty.archive_preferences), (id, None, None));
    assert_eq!((empty.marks.len(), empty.blocked.len(), empty.push.len(), empty.holders.len()), (0, 0, 0, 0));

    // Called, and not waited for.
    for owner in [nurse, id] {
        for number in 1..=5_u64 {
            let contact = jid(&format!("friend{number}@example.net"));
            let entry = RosterRecord {
                jid: contact.clone(),
                name: Some(format!("{owner:?}")),
                groups: vec!["Friends".into()],
                subscription: StoredSubscription { to: true, ..StoredSubscription::default() },
                request: None,
                listed: true,
                version: number,
            };
            drop(store.put_roster_entry(owner, entry));
            let mark = Mark {
                reference: Reference(owner.0 * 100 + number.cast_signed()),
                repeatable: Repeatable::Recognised,
                named: None,
            };
            let archived = ArchiveId(number << 40);
            let half = Half {
                at: number,
                archive: Some(ArchiveRow {
                    id: archived,
                    with: contact.into(),
                    stanza: b"a".to_vec(),
                    mark: Some(mark),
                }),
                spool: vec![SpoolRow {
                    at: number,
                    stanza: b"a".to_vec(),
                    archive: Some(archived),
                    holder: Holder::Session {
                        id: SmId([owner.0 as u8; 16]),
                        place: crate::Place::Sent(number),
                        others: Others::None,
                    },
                }],
                ..Half::default()
            };
            drop(store.record(owner, half, (u64::MAX, u64::MAX)));
        }
        drop(store.remove_roster_entry(owner, &jid("friend1@example.net"), 6));
        drop(store.change_blocked(owner, vec![jid("tybalt@example.net").into()], Vec::new(), 10));
        let registration = PushRegistration {
            service: jid("push@example.net").into(),
            node: format!("{owner:?}"),
            options: None,
            resource: "phone".into(),
        };
        drop(store.put_push(owner, registration, 10));
        let document = format!("<prefs of='{owner:?}'/>").into_bytes();
        drop(store.put_xml(owner, XmlKind::ArchivePreferences, "", Some(document), 1_000));
    }
    let together = store.resident(&name, 3).await.unwrap().unwrap();
    assert_eq!(together.id, id);
    assert_eq!(together.roster, store.roster(id).await.unwrap());
    assert_eq!((together.roster.entries.len(), together.roster.removed.len()), (4, 1));
    assert_eq!(together.last_archived, Some(ArchiveId(5 << 40)));
    assert_eq!(together.marks, [5, 4, 3].map(|number| Reference(id.0 * 100 + number)));
    assert_eq!(together.archive_preferences, Some(format!("<prefs of='{id:?}'/>").into_bytes()));
    assert_eq!(together.blocked, store.blocked(id).await.unwrap());
    assert_eq!(together.push, store.push_registrations(id).await.unwrap());
    assert_eq!((together.blocked.len(), together.push.len()), (1, 1));
    assert_eq!(together.holders, [(SmId([id.0 as u8; 16]), crate::Claim::Open)]);

    store.delete_account(id, 1).await.unwrap();
    assert_eq!(store.resident(&name, 10).await.unwrap(), None);
}
